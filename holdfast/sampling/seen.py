"""What a watch saw: measured once it is over, each measure an assertion."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, cast

from holdfast.claims import Claims
from holdfast.cluster import Cluster
from holdfast.durations import seconds
from holdfast.events import Sampled
from holdfast.experiment import Experiment
from holdfast.sampling import durability
from holdfast.sampling.intervals import Outage, intervals, outages
from holdfast.sampling.judge import Judgement, Limit, Stretch, Window, judge
from holdfast.sampling.series import Recorded, Series
from holdfast.sampling.targets import AssignedTarget
from holdfast.sampling.vantage import Fetched

_AFTER_POWER_S = 60.0  # how long a vantage point may need until it looks again, once its node has power


class Seen:
    """What a watch saw. Every measure of it goes into the journal as an assertion.

    Args:
        cluster: whose experiment the assertions belong to.
        assigned: the targets, each with its kind.
        watch: the watch's own name.
    """

    def __init__(self, cluster: Cluster, assigned: list[tuple[str, AssignedTarget]], watch: str) -> None:
        self.cluster, self.watch = cluster, watch
        self.recorded = Recorded(assigned)
        self.begin = self.end = 0.0

    @property
    def _experiment(self) -> Experiment:
        return cast(Experiment, self.cluster.experiment)

    def take(self, fetched: Fetched) -> None:
        """Replaces what is known from one vantage point by its records."""
        self.recorded.take(fetched, self.end or fetched.at - 1)

    def observe_for(self, for_s: float) -> None:
        """Goes on looking for so many seconds: the time that an assertion is about, not a wait for something."""
        time.sleep(for_s)

    # -- afterwards ------------------------------------------------------------------------------------------------------

    def outage_at_most(
        self,
        limit: str | float,
        *kinds: str,
        failed_share: float | None = None,
        claims: Claims = (),
        via: str = "",
        vantage: str = "",
        mode: str = "",
        what: str = "",
    ) -> None:
        """Asserts that no outage of these targets is longer than *limit*, nor fails a larger share of looks.

        See `judge` for when that held. The test goes on: every measure of a watch is taken.
        """
        chosen = self.recorded.select(*kinds, via=via, vantage=vantage, mode=mode)
        allowed = Limit(seconds(limit), failed_share)
        found = [judge(series, allowed, self._window(series.vantage)) for series in chosen]
        if lacking := set(kinds) - {series.kind for series in chosen}:
            found = [Judgement(None, 0.0, f"nothing was looked at of: {', '.join(sorted(lacking))}")]
        held = _all(found)
        worst = max(
            found, key=lambda j: (j.held is held, j.length_s), default=Judgement(None, 0.0, "no target was looked at")
        )
        name = what or (
            f"{', '.join(kinds) or 'all targets'}{f' via {via}' if via else ''}{f' from {vantage}' if vantage else ''}"
        )
        unknown = [j for j in found if j.held is None]
        self._experiment.assertion(
            f"outage of {name} at most {limit}",
            "sampler",
            held,
            f"{name}: {worst.sighting}",
            figure=worst.figure,
            budget=f"{limit} and {failed_share:.0%} of looks" if failed_share is not None else str(limit),
            claims=claims,
            faults=self._experiment.faults_between(self.begin, self.end),
            stalled=held is None and bool(unknown) and all(j.stalled for j in unknown),
        )

    def longest_outage_s(self, *kinds: str, via: str = "", vantage: str = "") -> float | None:
        """The longest outage of these targets that was seen, at least, in seconds; None where nothing was looked at. No promise is judged by it."""
        chosen = self.recorded.select(*kinds, via=via, vantage=vantage)
        if not chosen or not all(series.looks for series in chosen):
            return None
        return max((o.at_least_s for series in chosen for o in outages(series.looks)), default=0.0)

    def _window(self, vantage: str) -> Window:
        recorded = self.recorded
        elsewhere = {
            point: [(a, b) for a, b in stalls if not any(off <= b and a <= on for off, on in self._lost(point))]
            for point, stalls in recorded.stalls.items()
            if point != vantage
        }
        return Window(
            self.begin,
            self.end,
            recorded.stalls.get(vantage, []),
            recorded.control.get(vantage, 0),
            self._lost(vantage),
            elsewhere,
        )

    def _lost(self, vantage: str) -> list[Stretch]:
        """When a vantage point was lost with its node: until it looks again, it stands still by the fault and not by itself."""
        windows = [w for w in self.cluster.power_windows if w.node == vantage]
        return [(w.off, w.on + _AFTER_POWER_S if w.on else self.end) for w in windows]

    def no_acknowledged_write_lost(self, *, claims: Claims = (), what: str = "") -> None:
        """Asserts that every record that was acknowledged to a writer is on its volume, in order, and none twice.

        Read on the node where the volume is mounted now, after the watch.
        """
        red, name = durability.control(), what or "the volumes"
        self._experiment.negative_control("records", bool(red), red or "a record that was never written was not missed")
        found = durability.read(self.cluster, {w: self.recorded.acknowledged.get(w, []) for w in self.recorded.writers})
        self._experiment.assertion(
            f"every acknowledged record is on {name}",
            "records",
            found.held,
            f"{name}: {found.sighting}",
            figure=f"{found.total} records",
            claims=claims,
            faults=self._experiment.faults_between(self.begin, self.end),
        )

    def journal(self) -> None:
        """Writes what was seen of every target, as intervals."""
        for series in self.recorded.series:
            self._experiment.write(_sampled(self.watch, series, self.begin, self.end))


def _all(found: list[Judgement]) -> bool | None:
    if any(j.held is False for j in found):
        return False
    return None if not found or any(j.held is None for j in found) else True


def _sampled(watch: str, series: Series, begin: float, end: float) -> Sampled:
    return Sampled(
        watch=watch,
        vantage=series.vantage,
        target=series.target,
        kind=series.kind,
        mode=series.mode,
        negative_control=series.negative_control,
        begin=begin,
        end=end,
        looks=len(series.looks),
        failed=sum(not look.ok for look in series.looks),
        outages=[] if series.negative_control else [_plain(o) for o in outages(series.looks)],
        intervals=[[round(i.start, 3), round(i.end, 3), i.result, i.looks] for i in intervals(series.looks)[:300]],
    )


def _plain(outage: Outage) -> dict[str, Any]:
    return {
        **asdict(outage),
        "at_least_s": round(outage.at_least_s, 3),
        "at_most_s": outage.at_most_s and round(outage.at_most_s, 3),
    }
