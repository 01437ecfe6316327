"""What a rehearsal came to: findings in the same form as those of `holdfast check`, waves, the critical path, and what was assumed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.rehearsal.course import Course
from holdfast.rehearsal.outage import Outage
from holdfast.tree.check import resource_sets
from holdfast.tree.findings import Finding, Severity, allow, allowances
from holdfast.tree.tree import Tree

if TYPE_CHECKING:
    from holdfast.rehearsal.change import Transition


@dataclass(frozen=True)
class Proof:
    """A finding, and what the real thing said.

    Attributes:
        said: the words of Flux or of the API server.
        at_s: when it was certain, in seconds since the start.
        after: the numbers of the findings before it that had to be taken away first.
        removal: what was done about it in the lane.
        obstacles: the numbers of the course's obstacles that it is made of.
    """

    finding: Finding
    said: str
    at_s: float
    after: tuple[int, ...] = ()
    removal: str = ""
    obstacles: frozenset[int] = frozenset()


@dataclass
class Outcome:
    """A rehearsal, whole.

    Attributes:
        proofs: what is wrong, in the order in which it was met; *allowed* what the tree's owner allows, with the reason.
        by_hand: what the start needs and Git doesn't hold, and who needs it.
        outage: what became of a commit while something was down, where that was asked for.
        transition: how a change went, where one was asked for.
        doubts: what was in the way and may be the lane's own doing: it is no finding.
    """

    tree: Tree
    course: Course
    kubernetes: str
    flux: str
    proofs: list[Proof] = field(default_factory=list)
    allowed: list[tuple[Proof, str]] = field(default_factory=list)
    by_hand: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    outage: Outage | None = None
    transition: Transition | None = None

    def left_behind(self, findings: list[Finding]) -> None:
        """Takes what a change leaves in the cluster as seen at its end, but what the tree's owner allows."""
        counting, allowed = allow(findings, allowances(self.tree.repository), self.tree.settings.allowed)
        self.proofs += [Proof(one, "", self.course.took_s) for one in counting]
        self.allowed += [(Proof(one, "", self.course.took_s), reason) for one, reason in allowed]

    @property
    def shown(self) -> bool:
        """Whether all that was asked for was seen: everything read and ready, and of a change its end compared and its way back gone to the end."""
        one = self.transition
        return (
            not self.too_little
            and self.course.converged
            and (one is None or (one.compared and one.revert is not None and one.revert.converged))
        )

    @property
    def assumed(self) -> int:
        """How many Kustomizations were taken for ready, since what they build isn't read here; and objects that make others, which aren't."""
        unread = sum(bool(k.error or k.not_read) for k in self.tree.kustomizations.values())
        return unread + len(resource_sets(self.tree))

    @property
    def too_little(self) -> bool:
        """Whether so many were taken for ready that a start without trouble says little: as `holdfast check` has it."""
        return self.assumed * 10 > len(self.tree.kustomizations) + len(resource_sets(self.tree))

    def worst(self) -> Severity | None:
        """The worst severity of what counts."""
        return max((p.finding.severity for p in self.proofs), default=None)

    def waves(self) -> list[tuple[float, list[str]]]:
        """The Kustomizations by when they were ready, those within a second of each other together."""
        ready = sorted(
            (bar.ready_at, name.partition("/")[2])
            for name, bar in self.course.bars.items()
            if name.startswith("Kustomization/") and bar.ready_at is not None
        )
        waves: list[tuple[float, list[str]]] = []
        for at, name in ready:
            if waves and at - waves[-1][0] <= 1.0:
                waves[-1][1].append(name)
            else:
                waves.append((at, [name]))
        return waves

    def critical_path(self) -> list[tuple[str, float]]:
        """The chain of Kustomizations that took longest, each waiting for the one before it, with when it was ready."""
        bars = {n.partition("/")[2]: b for n, b in self.course.bars.items() if n.startswith("Kustomization/")}
        ready = {name: bar.ready_at for name, bar in bars.items() if bar.ready_at is not None}
        if not ready:
            return []
        here = max(ready, key=lambda name: ready[name])
        path = [here]
        while True:
            known = self.tree.kustomizations.get(here)
            before = [
                d for d in [*(known.depends_on if known else []), *(known.way[-1:] if known else [])] if d in ready
            ]
            before = [d for d in before if d not in path]
            if not before:
                return [(name, ready[name]) for name in reversed(path)]
            here = max(before, key=lambda name: ready[name])
            path.append(here)
