"""In which order findings are said: what takes most else down with it first; and one habit of a tree once."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from holdfast.tree.boot import lost
from holdfast.tree.findings import Finding, Severity
from holdfast.tree.needs import Phase, State
from holdfast.tree.tree import Tree

_PREFIX = "Kustomization/"


def ordered(tree: Tree, findings: list[Finding]) -> list[Finding]:
    """Findings with their reach, the worst severity first, and in it what reaches furthest."""
    reaching = _Reach(tree)
    found = [replace(f, reach=reaching.of(f)) for f in findings]
    return sorted(
        found, key=lambda f: (f.unreferenced, -f.severity, -f.reach, f.claim, f.rule, f.locations[0], f.object)
    )


class _Reach:
    """How far the defects of one tree reach, each Kustomization worked out once."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.below: dict[str, frozenset[str]] = {}

    @cached_property
    def never(self) -> frozenset[State]:
        """What can't come true without any further defect either."""
        return frozenset(lost(self.tree.graph, ()))

    @cached_property
    def owners(self) -> dict[str, str]:
        """Which Kustomization applies an object, by its id."""
        found = {}
        for manifest in self.tree.objects:
            if owner := self.tree.kustomization_of(manifest):
                found[manifest.id] = owner.id
        return found

    def of(self, one: Finding) -> int:
        """How many Kustomizations a defect keeps from being applied or ready; for one that keeps none, how many objects it hits."""
        if one.unreferenced or one.severity is not Severity.BREAKS_APPLY:
            return len(one.hits)
        ids = {h.removeprefix(_PREFIX) for h in one.hits if h.removeprefix(_PREFIX) in self.tree.kustomizations}
        if not ids:
            ids = {self.owners[h] for h in one.hits if h in self.owners}
        return len(frozenset(ids).union(*(self._takes_down(i) for i in ids)))

    def _takes_down(self, kustomization: str) -> frozenset[str]:
        if kustomization not in self.below:
            states = [State(f"{_PREFIX}{kustomization}", phase) for phase in (Phase.APPLIED, Phase.READY)]
            gone = lost(self.tree.graph, states) - self.never
            self.below[kustomization] = frozenset(
                i for i in self.tree.kustomizations if State(f"{_PREFIX}{i}", Phase.READY) in gone
            )
        return self.below[kustomization]


def habits(findings: list[Finding]) -> list[Finding]:
    """Advice that a tree needs in many places, once: findings of a hygiene rule with one remedy become one that holds all of them.

    So do those of any rule that come of one cause.
    """
    merged: dict[tuple[str, str, str, bool], list[Finding]] = {}
    out: list[Finding] = []
    for one in findings:
        if one.severity is Severity.HYGIENE:
            merged.setdefault((one.rule, one.why, one.do, one.unreferenced), []).append(one)
        elif one.cause:
            merged.setdefault((one.rule, one.cause, one.do, one.unreferenced), []).append(one)
        else:
            out.append(one)
    return out + [_one(group) for group in merged.values()]


def _one(group: list[Finding]) -> Finding:
    first = group[0]
    if len(group) == 1:
        return first
    return replace(
        first,
        what=f"{first.what}; so in {len(group) - 1} more place{'s' * (len(group) > 2)}",
        hits=tuple(dict.fromkeys(h for f in group for h in f.hits)),
        locations=tuple(dict.fromkeys(p for f in group for p in f.locations)),
        each=tuple((f.locations[0], f.what) for f in group),
    )
