"""A lane's profile: nodes, versions, node timers, address ranges and ports, from ``clusters/profiles/*.toml``."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import UsageError
from holdfast.paths import CHECKOUT

PROFILES = CHECKOUT / "clusters" / "profiles"


@dataclass(frozen=True)
class NodeSpec:
    """A node as a profile wants it: *loopback* is the host address that its node ports are published on."""

    name: str
    role: str
    loopback: str


@dataclass(frozen=True)
class Timers:
    """What Kubernetes waits for before it gives a node up, in seconds."""

    node_monitor_grace_s: int
    node_monitor_period_s: int
    node_lease_s: int
    node_status_update_s: int
    toleration_s: int
    defaults: bool = False

    @property
    def node_lost_s(self) -> float:
        """How long a dead node may still be called Ready: its grace, and two rounds of the controller that looks."""
        return self.node_monitor_grace_s + 2 * self.node_monitor_period_s + self.node_status_update_s

    @property
    def evicted_s(self) -> float:
        """How long until the pods of a dead node are given up."""
        return self.node_lost_s + self.toleration_s


@dataclass(frozen=True)
class Note:
    """A fidelity note: what is not as in production, and the subjects that it touches (``*``: every verdict)."""

    text: str
    touches: tuple[str, ...] = ("*",)


@dataclass(frozen=True)
class Profile:
    """One profile, as its file says."""

    name: str
    kubernetes: str
    pod_cidr: str
    service_cidr: str
    node_ports: tuple[int, ...]
    nodes: tuple[NodeSpec, ...]
    timers: Timers
    notes: tuple[Note, ...]


def names() -> list[str]:
    """The profiles that there are."""
    return sorted(p.stem for p in PROFILES.glob("*.toml"))


def load(name: str, folder: Path = PROFILES) -> Profile:
    """Reads a profile; raises UsageError for an unknown one, with the nearest name."""
    path = folder / f"{name}.toml"
    if not path.is_file():
        near = difflib.get_close_matches(name, names(), 1)
        raise UsageError(
            f"unknown profile '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""),
            f"choose one of: {', '.join(names())}",
        )
    table = tomllib.loads(path.read_text())
    return Profile(
        name=name,
        kubernetes=table["kubernetes"],
        pod_cidr=table["pod_cidr"],
        service_cidr=table["service_cidr"],
        node_ports=tuple(table["node_ports"]),
        nodes=tuple(NodeSpec(**n) for n in table["node"]),
        timers=Timers(**table["timers"]),
        notes=tuple(Note(n["text"], tuple(n["touches"])) for n in table.get("note", [])),
    )
