"""`holdfast verify --nightly`: what got worse since the last nights, and how long runs are kept."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.lane.state import LaneState
from holdfast.paths import cache_dir, reports_dir
from holdfast.progress import console
from holdfast.reporting.ledger import JOURNAL, History, Ledger, Standing
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
        for now in (v for part in parts for v in part.found if v.tests):
            was = before.get((now.claim, now.level, lane_of(now)))
            if was is not None and _rank(now.verdict) > _rank(was.verdict.verdict):
                found.append(Worse(was, now))
        return found

    def ends(self, parts: Sequence[Part], keep: int) -> int:
        """Takes the night's runs into the ledger, says what got worse, and removes all but the last *keep* runs; returns the exit code."""
        worse = self.worse(parts)
        with Ledger(cache_dir() / FILE) as known:
            known.take([reports_dir()])
            names = {run.name for run in known.runs() if not run.problem}
            here = {part.lane for part in parts}
            figures = [h for h in known.histories(self.tree) if h.lane in here and h.is_worse]
        for one in worse:
            console.print(f"  worse than before: {one}", style="red", markup=False)
        for figure in figures:
            console.print(f"  worse than before: {_told(figure)}", style="yellow", markup=False)
        gone = prune(reports_dir(), keep, names)
        if gone:
            were = "1 older run was" if len(gone) == 1 else f"{len(gone)} older runs were"
            console.print(f"  {were} removed; what is shown there stays in the ledger", markup=False)
        return exit_code(worse, figures)


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


def prune(folder: Path, keep: int, known: set[str]) -> list[str]:
    """Removes the oldest runs of a folder but for the last *keep*, and returns their names.

    Only what is whole and *known* to the ledger goes, and nothing that a lane's state still names: that says how to undo a fault.
    """
    needed = {Path(undo).parent.name for undo in _undo_files()}
    runs = sorted(p for p in folder.iterdir() if (p / JOURNAL).is_file() and not p.is_symlink())
    gone = [run for run in runs[: max(len(runs) - keep, 0)] if run.name in known and run.name not in needed]
    for run in gone:
        shutil.rmtree(run)
    return [run.name for run in gone]


def _undo_files() -> list[str]:
    states = [LaneState.read(path) for path in (cache_dir() / "lanes").glob("*/state.json")]
    return [undo for state in states if state for undo in state.undo]
