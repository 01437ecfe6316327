"""A lane's profile: versions, nodes and node timers, from ``clusters/profiles/DRIVER/*.toml``. What only one driver has, it reads itself."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.errors import UsageError
from holdfast.paths import ROOT

PROFILES = ROOT / "clusters" / "profiles"


@dataclass(frozen=True)
class Timers:
    """What Kubernetes waits for before it gives a node up, in seconds; *defaults*: nothing is set, its version brings them."""

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
class NodeSpec:
    """A node as a profile wants it: *role* is ``server`` or ``worker``, *more* what its driver alone reads."""

    name: str
    role: str
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """One profile, as its file says; *more* is what its driver alone reads."""

    name: str
    kubernetes: str
    nodes: tuple[NodeSpec, ...]
    timers: Timers
    notes: tuple[Note, ...]
    more: dict[str, Any] = field(default_factory=dict)


def names(driver: str, folder: Path = PROFILES) -> list[str]:
    """The profiles that a driver has."""
    return sorted(p.stem for p in (folder / driver).glob("*.toml"))


def load(driver: str, name: str, folder: Path = PROFILES) -> Profile:
    """Reads a profile; raises UsageError for an unknown one, with the nearest name. One that is ``like`` another says only what differs."""
    path = folder / driver / f"{name}.toml"
    known = names(driver, folder)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise UsageError(
            f"the driver {driver} has no profile '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""),
            f"choose one of: {', '.join(known)}",
        )
    table = tomllib.loads(path.read_text())
    if like := table.pop("like", ""):
        table = {**tomllib.loads((folder / driver / f"{like}.toml").read_text()), **table}
    nodes = [dict(node) for node in table.pop("node")]
    return Profile(
        name=name,
        kubernetes=table.pop("kubernetes"),
        nodes=tuple(NodeSpec(node.pop("name"), node.pop("role"), node) for node in nodes),
        timers=Timers(**table.pop("timers")),
        notes=tuple(Note(n["text"], tuple(n["touches"])) for n in table.pop("note", [])),
        more=table,
    )
