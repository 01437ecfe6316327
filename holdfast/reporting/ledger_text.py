"""The ledger in words: a table for a terminal, and all of it for programs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from holdfast.reporting.ledger import STATIC, History, Ledger, RunRow, Standing, unshown
from holdfast.reporting.terminal import STYLES
from holdfast.reporting.versions import Figure
from holdfast.verdicts import ClaimVerdict, Verdict

_WORST = (Verdict.BROKE, Verdict.UNPROVEN, Verdict.HELD, Verdict.NOT_EXERCISED)
_DAY, _HOUR = 86_400.0, 3_600.0
_MUCH = 0.2  # a share: figures of two runs that lie closer aren't told


@dataclass(frozen=True)
class Told:
    """What the ledger has to say of a tree."""

    tree: str
    now: datetime
    days: float
    runs: Sequence[RunRow]
    standings: Sequence[Standing]
    histories: Sequence[History]
    unshown: Mapping[str, timedelta | None]

    @classmethod
    def of(cls, known: Ledger, tree: str, register: Collection[str], now: datetime, days: float) -> Told:
        """All of a tree, as it stands now."""
        standings = known.standings(tree)
        return cls(
            tree, now, days, known.runs(tree), standings, known.histories(tree), unshown(standings, register, now, days)
        )

    @property
    def worse(self) -> list[History]:
        """The figures whose newest value lies beyond their spread."""
        return [h for h in self.histories if h.is_worse]

    def show(self, console: Console) -> None:
        """The table, the worst first and then the oldest; what nobody has shown; figures that got worse."""
        lanes = sorted({r.lane for r in self.runs})
        console.print(
            f"  {self.tree}: {len(self.runs)} runs on {', '.join(lanes)}, {_day(self.runs[0].began)} to {_day(self.runs[-1].began)}",
            markup=False,
        )
        table = Table(title="The newest word on each claim", title_justify="left")
        for name in ("verdict", "claim", "level", "lane", "age", "shown on", "since then"):
            table.add_column(name, no_wrap=name in ("verdict", "claim", "level", "age"), overflow="fold")
        shown = [s for s in self.standings if s.verdict.verdict is not Verdict.NOT_EXERCISED]
        for one in sorted(shown, key=lambda s: (_WORST.index(s.verdict.verdict), s.run.began, s.verdict.claim)):
            verdict = one.verdict
            table.add_row(
                f"[{STYLES[verdict.verdict]}]{verdict.verdict}[/]",
                escape(verdict.claim),
                verdict.level,
                escape(lane_of(verdict)),
                age(one.age(self.now)),
                escape(one.run.commit[:12] + (f", Kubernetes {one.run.kubernetes}" if one.run.kubernetes else "")),
                escape("; ".join(one.since)),
            )
        console.print(table)
        for line in self.lines():
            console.print(f"  {line}", markup=False)

    def lines(self) -> Iterable[str]:
        """What stands below the table."""
        never = [claim for claim, since in self.unshown.items() if since is None]
        old = sorted(((since, claim) for claim, since in self.unshown.items() if since is not None), reverse=True)
        if old:
            yield f"not shown for {self.days:g} days: " + ", ".join(f"{claim} ({age(since)})" for since, claim in old)
        if never:
            yield f"never shown to hold or to break, of {self.tree}: {', '.join(never)}"
        for one in self.worse:
            before = [p.value_s for p in one.points[:-1]]
            yield (
                f"worse beyond its spread: {one.claim} on {one.lane}, {one.what}: {one.points[-1].value_s:g}s, "
                f"and {min(before):g} to {max(before):g}s in {len(before)} runs before"
            )

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs; ages in seconds, times as ISO 8601 in UTC."""
        return {
            "tree": self.tree,
            "runs": [_run(r) for r in self.runs],
            "claims": [
                {
                    "claim": s.verdict.claim,
                    "level": s.verdict.level,
                    "lane": s.verdict.lane,
                    "verdict": s.verdict.verdict.value,
                    "reason": s.verdict.reason,
                    "run": s.run.name,
                    "age_s": round(s.age(self.now).total_seconds()),
                    "since": list(s.since),
                }
                for s in self.standings
            ],
            "not_shown": {c: None if d is None else round(d.total_seconds()) for c, d in self.unshown.items()},
            "figures": [
                {
                    "claim": h.claim,
                    "lane": h.lane,
                    "what": h.what,
                    "values_s": [p.value_s for p in h.points],
                    "runs": [p.run.name for p in h.points],
                    "worse": h.is_worse,
                }
                for h in self.histories
            ],
        }


def lane_of(verdict: ClaimVerdict) -> str:
    """Where it was shown: the tree alone needs no lane."""
    return "-" if verdict.level == STATIC else verdict.lane


def _run(run: RunRow) -> dict[str, str]:
    return {
        "run": run.name,
        "began": run.began.isoformat(),
        "lane": run.lane,
        "commit": run.commit,
        "kubernetes": run.kubernetes,
        "holdfast": run.holdfast,
        "problem": run.problem,
    }


def age(span: timedelta) -> str:
    """A span in its two largest words or fewer, such as ``3d`` or ``5h``."""
    seconds = max(span.total_seconds(), 0)
    if seconds >= 2 * _DAY:
        return f"{seconds / _DAY:.0f}d"
    return f"{seconds / _HOUR:.0f}h" if seconds >= _HOUR else f"{seconds / 60:.0f}min"


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")


def show_figures(console: Console, measured: Sequence[Figure]) -> None:
    """The figures of two runs that lie apart by more than a fifth. One run each says nothing of a spread: none is called worse."""
    apart = [f for f in measured if abs(f.candidate[0] - f.current[0]) > max(_MUCH * f.current[0], 0.1)]
    for one in apart:
        console.print(f"  {one.claim}, {one.what}: {one.current[0]:g}s → {one.candidate[0]:g}s", markup=False)
    console.print(
        f"  {len(measured) - len(apart)} of {len(measured)} figures lie within a fifth of each other", markup=False
    )
