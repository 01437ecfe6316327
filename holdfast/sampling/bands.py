"""What the cluster's own monitoring saw during a watch, as bands beside the outages: the volumes' robustness, and the alerts that fired."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from holdfast.cluster import Cluster
from holdfast.probes.monitoring import query

ROBUSTNESS = {0: "unknown", 1: "healthy", 2: "degraded", 3: "faulted"}  # Longhorn's metric longhorn_volume_robustness
_WORST = [3, 2, 0, 1]
_APART_S = 45.0  # samples further apart than this are no stretch: nobody looked


@dataclass(frozen=True)
class Band:
    """One row: its name, and stretches as (begin, end, word), wall times in seconds."""

    name: str
    stretches: tuple[tuple[float, float, str], ...]


def stretches(samples: Iterable[tuple[float, str]]) -> tuple[tuple[float, float, str], ...]:
    """Samples in a row with the same word, as stretches."""
    found: list[tuple[float, float, str]] = []
    for at, word in sorted(samples):
        if found and found[-1][2] == word and at - found[-1][1] <= _APART_S:
            found[-1] = (found[-1][0], at, word)
        else:
            found.append((at, at, word))
    return tuple(found)


def bands(cluster: Cluster, begin: float, end: float) -> list[Band]:
    """The bands between two wall times, read from the core tier's Prometheus. Raises CannotLook where it doesn't answer."""
    span = f"[{max(1, int(end - begin))}s] @ {end:.3f}"
    worst: dict[float, int] = {}
    for series in query(cluster, f"longhorn_volume_robustness{span}"):
        for at, value in series.values:
            known = worst.get(round(at), int(value))
            worst[round(at)] = min(known, int(value), key=_WORST.index)
    found = (
        [Band("volumes, the worst robustness", stretches((at, ROBUSTNESS[value]) for at, value in worst.items()))]
        if worst
        else []
    )
    alerts: dict[str, list[tuple[float, str]]] = {}
    own = {
        c.name for c in cluster.settings.adaptations if c.suspends
    }  # what the lane itself suspends is always alerted on
    for series in query(cluster, f'ALERTS{{alertstate="firing"}}{span}'):
        if series.labels.get("name") in own:
            continue
        alerts.setdefault(series.labels["alertname"], []).extend((at, "firing") for at, _ in series.values)
    return found + [Band(f"alert {name}", stretches(samples)) for name, samples in sorted(alerts.items())]


def plain(band: Band) -> dict[str, Any]:
    """A band as the journal keeps it."""
    return {"name": band.name, "stretches": [[round(a, 3), round(b, 3), word] for a, b, word in band.stretches]}
