"""The order of an upgrade as steps, each with the place that changes: what is refused there first, Flux, charts, and then Kubernetes.

Sources: Kubernetes' version skew policy (one minor at a time, the control plane first), Longhorn's upgrade notes (one minor at a time), Helm
(definitions of a chart's ``crds/`` folder stay as they were at its first installation).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from holdfast.errors import UsageError
from holdfast.tree import fluxapi
from holdfast.tree.findings import Finding
from holdfast.tree.manifest import Manifest, get, mapping, sequence
from holdfast.tree.near import closest
from holdfast.tree.releases import Release
from holdfast.tree.repository import Location
from holdfast.tree.rules.definitions import definitions_stay
from holdfast.tree.tree import Tree

REFUSED = frozenset({"schema.version", "schema.flux-version", "schema.field", "schema.flux-field"})
_MINOR = re.compile(r"v?(\d+)\.(\d+)")
_ONE_BY_ONE = frozenset({"longhorn"})  # charts whose project allows no minor to be left out
_SERVER = re.compile(r"control-plane|master|server", re.IGNORECASE)


@dataclass(frozen=True)
class Target:
    """Where an upgrade goes: versions of Kubernetes and Flux (empty: as they are), and of charts, by chart or by release."""

    kubernetes: str = ""
    flux: str = ""
    charts: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.kubernetes or self.flux or self.charts)


@dataclass(frozen=True)
class Step:
    """One step: what to do, and where in the tree; None where the tree doesn't hold it."""

    what: str
    at: Location | None = None


def steps(tree: Tree, target: Target, found: list[Finding]) -> list[Step]:
    """All of them, in their order. *found*: what `check` found of the tree on the target's versions.

    Raises UsageError for a chart that no release installs, and for one that would go back.
    """
    refused = [
        Step(f"before all else: {f.what}", f.locations[0]) for f in found if f.rule in REFUSED and not f.unreferenced
    ]
    return [*refused, *_flux(tree, target.flux), *_charts(tree, target.charts), *_kubernetes(tree, target.kubernetes)]


def _flux(tree: Tree, wanted: str) -> Iterator[Step]:
    known = fluxapi.version_of(tree)
    minor = wanted and fluxapi.known(wanted)
    own = fluxapi.own_minor(tree)
    if not minor or own == minor:
        return
    if own and fluxapi.minors().index(minor) < fluxapi.minors().index(own):
        raise UsageError(f"the tree has Flux {own}, and {minor} is older", "name the version to go to")
    at = known.location if known and own else None
    yield Step(
        f"Flux from {own or 'its version'} to {minor}: its components and their kinds in one commit, and wait until all is ready",
        at,
    )


def _charts(tree: Tree, wanted: Mapping[str, str]) -> Iterator[Step]:
    names = {r.chart for r in tree.releases if r.chart} | {r.manifest.name for r in tree.releases}
    for name, version in wanted.items():
        meant = [r for r in tree.releases if r.manifest.name == name] or [r for r in tree.releases if r.chart == name]
        if not meant:
            near = closest(name, names)
            raise UsageError(
                f"no release of the tree has the chart {name}" + (f"; did you mean {near}?" if near else ""),
                f"charts are: {', '.join(sorted({r.chart for r in tree.releases if r.chart})) or 'none'}",
            )
        for release in meant:
            yield from _of_chart(tree, release, version)


def _of_chart(tree: Tree, release: Release, version: str) -> Iterator[Step]:
    at = tree.locate(release.manifest, "spec", "chart", "spec", "version")
    name, old, new = release.manifest.id, _minor(release.version), _minor(version)
    if old and new and new < old:
        raise UsageError(f"{name} has {release.version}, and {version} is older", "name the version to go to")
    if definitions_stay(tree, release):
        where = tree.locate(release.manifest, "spec", "upgrade")
        yield Step(
            f"{name}: upgrade.crds to CreateReplace before, or Helm leaves its definitions as they were at first", where
        )
    if release.chart in _ONE_BY_ONE and old and new and old[0] == new[0] and old < new:
        for minor in range(old[1] + 1, new[1] + 1):
            last = version if minor == new[1] else f"{old[0]}.{minor}.x"
            yield Step(
                f"{name} to {last}, and wait until every volume is healthy on the new engine: one minor at a time", at
            )
        return
    yield Step(f"{name} from {release.version or 'whatever is newest'} to {version}", at)


def _kubernetes(tree: Tree, wanted: str) -> Iterator[Step]:
    new = _minor(wanted)
    if not new:
        return
    plans = _plans(tree)
    said = [v for p in plans if (v := _minor(str(p.spec.get("version") or "")))]
    old = min(said, default=None)
    if old and new < old:
        raise UsageError(
            f"the tree's plans have Kubernetes {old[0]}.{old[1]}, and {wanted} is older",
            "it doesn't go back: name a newer one",
        )
    yield Step("save etcd, off the node: Kubernetes doesn't go back")
    for minor in range(old[1] + 1 if old else new[1], new[1] + 1):
        for who in ("the servers", "the agents"):
            plan = next((p for p in plans if bool(_SERVER.search(_words(p))) is (who == "the servers")), None)
            at = tree.locate(plan, "spec", "version") if plan else None
            unsure = "" if old else ", one minor at a time from what runs now"
            yield Step(f"Kubernetes {new[0]}.{minor}: {who}, one after the other{unsure}", at)


def _plans(tree: Tree) -> list[Manifest]:
    """The plans of system-upgrade-controller: how the tree itself upgrades its nodes."""
    return [m for m in tree.of("Plan") if m.group == "upgrade.cattle.io"]


def _words(plan: Manifest) -> str:
    """What tells a plan of servers from one of agents: its name, and which nodes it takes (an agent's excludes the servers)."""
    wants = [mapping(e) for e in sequence(get(plan.spec, "nodeSelector", "matchExpressions"))]
    taken = [str(e.get("key")) for e in wants if e.get("operator") != "DoesNotExist"]
    return " ".join([plan.name, *taken]) if not any(e.get("operator") == "DoesNotExist" for e in wants) else "agents"


def _minor(version: str) -> tuple[int, int] | None:
    found = _MINOR.search(version)
    return (int(found[1]), int(found[2])) if found else None
