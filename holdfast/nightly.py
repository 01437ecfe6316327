"""`holdfast verify --nightly`: what got worse since the last nights, and how long runs are kept."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.lane.state import LaneState
from holdfast.paths import cache_dir, reports_dir
from holdfast.progress import console
from holdfast.reporting.ledger import JOURNAL, History, Ledger, Reading, Standing, says_nothing
from holdfast.reporting.ledger_text import lane_of
from holdfast.reporting.summary import Part
from holdfast.verdicts import EXIT_BROKE, EXIT_HELD, EXIT_UNEXPECTED, EXIT_UNPROVEN, ClaimVerdict, Verdict

FILE = "ledger.sqlite"


@dataclass(frozen=True)
class Worse:
    """A claim that is shown less than before, at one level on one lane."""

    before: Standing
    now: ClaimVerdict

    def __str__(self) -> str:
        was = f"{self.before.verdict.verdict} in {self.before.run.name}"
        return f"{self.now.claim} ({self.now.level}, {self.now.lane}): {self.now.verdict}, and {was}: {self.now.reason}"


@dataclass(frozen=True)
class Night:
    """What the ledger knew before a night's runs.

    Attributes:
        tree: the name of the tree's folder.
    """

    tree: str
    standings: tuple[Standing, ...]

    @classmethod
    def begins(cls, tree: str) -> Night:
        """With everything in the ledger that this machine has run."""
        with Ledger(cache_dir() / FILE) as known:
            known.take([reports_dir()])
            return cls(tree, tuple(known.standings(tree)))

    def worse(self, parts: Sequence[Part]) -> list[Worse]:
        """The claims that had been shown and now break or are in doubt, and those that were in doubt and now break."""
        before = {(s.verdict.claim, s.verdict.level, lane_of(s.verdict)): s for s in self.standings}
        found = []
        for now in (v for part in parts for v in part.found if v.tests and not says_nothing(v)):
            was = before.get((now.claim, now.level, lane_of(now)))
            if was is not None and _rank(now.verdict) > _rank(was.verdict.verdict):
                found.append(Worse(was, now))
        return found

    def lost(self, parts: Sequence[Part], skipped: Collection[str]) -> list[Standing]:
        """What the run before had shown to hold on the lanes of tonight, and nothing looked at: also of lanes that can't be run any more."""
        shown = {
            (v.claim, v.level, lane_of(v)) for part in parts for v in part.found if v.tests and not says_nothing(v)
        }
        tonight = {part.lane for part in parts} | set(skipped)
        newest = {
            s.run.lane: max(o.run.began for o in self.standings if o.run.lane == s.run.lane) for s in self.standings
        }
        return [
            s
            for s in self.standings
            if s.run.lane in tonight
            and s.run.began == newest[s.run.lane]
            and s.verdict.verdict is Verdict.HELD
            and (s.verdict.claim, s.verdict.level, lane_of(s.verdict)) not in shown
        ]

    def ends(
        self, parts: Sequence[Part], keep: int, *, skipped: Collection[str] = (), doubts: Sequence[str] = ()
    ) -> int:
        """Takes the night's runs into the ledger, says what got worse, and removes old runs; returns the exit code.

        Args:
            keep: how many runs of a tree on a lane stay.
            skipped: the lanes that couldn't be run tonight.
            doubts: what failed and shows no claim, as sentences.
        """
        worse, lost = self.worse(parts), self.lost(parts, skipped)
        with Ledger(cache_dir() / FILE) as known:
            read = known.take([reports_dir()])
            here = {part.lane for part in parts}
            figures = [h for h in known.histories(self.tree) if h.lane in here and h.is_worse]
            code = exit_code(worse, figures) or (EXIT_UNPROVEN if lost or doubts else EXIT_HELD)
            for one in worse:
                console.print(f"  worse than before: {one}", style="red", markup=False)
            for gone in lost:
                where = lane_of(gone.verdict)
                console.print(
                    f"  not shown tonight: {gone.verdict.claim} ({gone.verdict.level}, {where}), which held in {gone.run.name}",
                    style="red",
                    markup=False,
                )
            for line in doubts:
                console.print(f"  failed: {line}", style="red", markup=False)
            for figure in figures:
                console.print(f"  worse than before: {_told(figure)}", style="yellow", markup=False)
            _prune(known, read, keep)
        return code


def _prune(known: Ledger, read: Reading, keep: int) -> None:
    """Removes old runs, and says so; what can't be removed is said, and stops nothing."""
    removed, problems = prune(known, reports_dir(), keep, set(read.altered))
    if removed:
        were = "1 older run was" if len(removed) == 1 else f"{len(removed)} older runs were"
        console.print(f"  {were} removed; what is shown there stays in the ledger", markup=False)
    for line in problems:
        console.print(f"  {line}", style="yellow", markup=False)


def _rank(verdict: Verdict) -> int:
    """How bad a verdict is. That a claim wasn't exercised says nothing of it."""
    return {Verdict.BROKE: 2, Verdict.UNPROVEN: 1}.get(verdict, 0)


def _told(figure: History) -> str:
    before = [p.value_s for p in figure.points[:-1]]
    return (
        f"{figure.claim} on {figure.lane}, {figure.what}: {figure.points[-1].value_s:g}s, "
        f"and {min(before):g} to {max(before):g}s in {len(before)} runs before"
    )


def exit_code(worse: Sequence[Worse], figures: Sequence[History]) -> int:
    """10 a claim broke that hadn't · 11 one is in doubt that wasn't · 13 a figure lies beyond its spread · 0 nothing got worse."""
    if any(one.now.verdict is Verdict.BROKE for one in worse):
        return EXIT_BROKE
    if worse:
        return EXIT_UNPROVEN
    return EXIT_UNEXPECTED if figures else EXIT_HELD


def prune(known: Ledger, folder: Path, keep: int, altered: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """Removes runs of a folder but for the last *keep* of each tree and lane; returns their names, and what couldn't be done, as sentences.

    Only what is whole and what the ledger has of it goes; nothing that is the newest word on a claim, and nothing that a lane's state
    still names: that says how to undo a fault. Where a state can't be read, nothing goes.
    """
    states = [LaneState.read(path) for path in (cache_dir() / "lanes").glob("*/state.json")]
    if any(state is not None and not state.readable for state in states):
        return [], ["no older run was removed: a lane's state can't be read, and it may need one"]
    stays = {Path(undo).parent.name for state in states if state for undo in state.undo} | set(altered)
    runs = known.runs()
    for tree in {r.tree for r in runs}:
        stays |= {s.run.name for s in known.standings(tree)}
        for lane in {r.lane for r in runs if r.tree == tree}:
            stays |= {r.name for r in [r for r in runs if (r.tree, r.lane) == (tree, lane)][-keep:]}
    removed, problems = [], []
    for run in runs:
        path = folder / run.name
        if run.name in stays or path.is_symlink() or not (path / JOURNAL).is_file() or known.evidence(run) is None:
            continue
        try:
            shutil.rmtree(path)
            removed.append(run.name)
        except OSError as error:
            problems.append(f"{path} can't be removed: {error.strerror or error}")
    return removed, problems
