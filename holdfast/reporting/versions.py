"""The same claims on the versions that run and on those that an upgrade goes to: what broke, what is in doubt, which figures are worse."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from holdfast.reporting.terminal import STYLES
from holdfast.verdicts import EXIT_BROKE, EXIT_HELD, EXIT_UNEXPECTED, EXIT_UNPROVEN, ClaimVerdict, Verdict

_WORST = (Verdict.BROKE, Verdict.UNPROVEN, Verdict.NOT_EXERCISED, Verdict.HELD)
_SECONDS = re.compile(r"^(\d+(?:\.\d+)?)s$")
ENOUGH_RUNS = 3  # before a figure says anything: its spread has to be known


@dataclass(frozen=True)
class Compared:
    """One claim at one level: the worst verdict of all runs on each side; None where there is none."""

    claim: str
    level: str
    current: ClaimVerdict | None
    candidate: ClaimVerdict | None

    @property
    def broke(self) -> bool:
        """Whether it broke on the candidate, and on the current versions it didn't."""
        return _is(self.candidate, Verdict.BROKE) and not _is(self.current, Verdict.BROKE)

    @property
    def doubtful(self) -> bool:
        """Whether the candidate leaves open what the current versions show: unproven, or not exercised any more."""
        if self.broke:
            return False
        if (
            _is(self.current, Verdict.NOT_EXERCISED) and self.current and self.current.figures
        ):  # seen as far as the lane goes
            seen = (
                self.candidate is not None
                and bool(self.candidate.figures)
                and not _is(self.candidate, Verdict.UNPROVEN)
            )
            return not (seen or _is(self.candidate, Verdict.HELD))
        return _is(self.current, Verdict.HELD) and not _is(self.candidate, Verdict.HELD)

    @property
    def changed(self) -> str:
        """What the upgrade makes of it, in words."""
        if self.broke:
            return "broke"
        if self.doubtful:
            return "not shown any more"
        if _is(self.candidate, Verdict.HELD) and not _is(self.current, Verdict.HELD):
            return "holds now"
        return (
            "the same" if self.current and self.candidate and self.current.verdict is self.candidate.verdict else "else"
        )


def _is(one: ClaimVerdict | None, verdict: Verdict) -> bool:
    return one is not None and one.verdict is verdict


@dataclass(frozen=True)
class Figure:
    """One figure of one claim, in seconds, of every run on each side."""

    claim: str
    what: str
    current: tuple[float, ...]
    candidate: tuple[float, ...]

    @property
    def is_worse(self) -> bool:
        """Whether every run of the candidate is worse than every run of the current versions, and there are enough to know the spread."""
        return self._enough and min(self.candidate) > max(self.current)

    @property
    def is_better(self) -> bool:
        """As `is_worse`, the other way."""
        return self._enough and max(self.candidate) < min(self.current)

    @property
    def _enough(self) -> bool:
        return min(len(self.current), len(self.candidate)) >= ENOUGH_RUNS

    @property
    def worse_by(self) -> float:
        """By how much its median is worse, as a share of the current one; 0 where it lies within the spread."""
        if not self.is_worse:
            return 0.0
        before = median(self.current)
        return (median(self.candidate) - before) / before if before else float("inf")


def compared(current: Sequence[Sequence[ClaimVerdict]], candidate: Sequence[Sequence[ClaimVerdict]]) -> list[Compared]:
    """Every claim that was selected on either side, what changed first. Several runs never merge into a better verdict."""
    before, after = _worst(current), _worst(candidate)
    rows = [Compared(*key, before.get(key), after.get(key)) for key in sorted(before.keys() | after.keys())]
    return sorted(rows, key=lambda row: (not row.broke, not row.doubtful, row.changed == "the same"))


def _worst(runs: Sequence[Sequence[ClaimVerdict]]) -> dict[tuple[str, str], ClaimVerdict]:
    found: dict[tuple[str, str], ClaimVerdict] = {}
    for one in (verdict for run in runs for verdict in run if verdict.tests):
        key = one.claim, one.level
        if key not in found or _WORST.index(one.verdict) < _WORST.index(found[key].verdict):
            found[key] = one
    return found


def figures(current: Sequence[Sequence[ClaimVerdict]], candidate: Sequence[Sequence[ClaimVerdict]]) -> list[Figure]:
    """Every figure in seconds that both sides have."""
    before, after = _seconds(current), _seconds(candidate)
    return [Figure(*key, tuple(before[key]), tuple(after[key])) for key in sorted(before.keys() & after.keys())]


def _seconds(runs: Sequence[Sequence[ClaimVerdict]]) -> dict[tuple[str, str], list[float]]:
    found: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        for key, value in seconds_of(run).items():
            found.setdefault(key, []).append(value)
    return found


def seconds_of(run: Sequence[ClaimVerdict]) -> dict[tuple[str, str], float]:
    """The figures in seconds of a run, by (claim, what): what it measured several times is one figure of it, the worst."""
    worst: dict[tuple[str, str], float] = {}
    for verdict in run:
        for one in verdict.figures:
            if said := _SECONDS.match(str(one.get("figure") or "")):
                key = verdict.claim, str(one.get("what"))
                worst[key] = max(worst.get(key, 0.0), float(said[1]))
    return worst


def exit_code(rows: Sequence[Compared], measured: Sequence[Figure], worse_by: float | None) -> int:
    """10 something broke on the candidate only · 11 something isn't shown there, or nothing was shown at all · 13 a figure is worse by more
    than *worse_by* (a share) · 0 nothing worse."""
    if any(row.broke for row in rows):
        return EXIT_BROKE
    decided = any(_is(r.current, v) for r in rows for v in (Verdict.HELD, Verdict.BROKE))
    if any(r.doubtful for r in rows) or not decided or not any(_is(r.candidate, Verdict.HELD) for r in rows):
        return EXIT_UNPROVEN
    if worse_by is not None and any(one.worse_by > worse_by for one in measured):
        return EXIT_UNEXPECTED
    return EXIT_HELD


def as_json(names: tuple[str, str], rows: Sequence[Compared], measured: Sequence[Figure]) -> dict[str, Any]:
    """All of it, for programs."""

    def side(one: ClaimVerdict | None) -> dict[str, str] | None:
        return {"verdict": one.verdict.value, "reason": one.reason} if one else None

    return {
        "from": names[0],
        "to": names[1],
        "claims": [
            {"claim": r.claim, "level": r.level, "from": side(r.current), "to": side(r.candidate), "changed": r.changed}
            for r in rows
        ],
        "figures": [
            {
                "claim": f.claim,
                "what": f.what,
                "from_s": f.current,
                "to_s": f.candidate,
                "worse": f.is_worse,
                "better": f.is_better,
            }
            for f in measured
        ],
    }


def show(console: Console, names: tuple[str, str], rows: Sequence[Compared], measured: Sequence[Figure]) -> None:
    """The table on a terminal: what changed first, then how many are the same."""
    table = Table(title=f"{names[0]} → {names[1]}", title_justify="left")
    for heading in ("claim", "level", names[0], names[1], "what changed"):
        table.add_column(heading, overflow="fold")
    same = [row for row in rows if row.changed == "the same"]
    for row in rows:
        if row not in same:
            why = row.candidate.reason if row.candidate and row.changed != "holds now" else ""
            table.add_row(
                row.claim,
                row.level,
                _word(row.current),
                _word(row.candidate),
                f"{row.changed}: {why}" if why else row.changed,
            )
    if table.row_count:
        console.print(table)
    console.print(f"  {len(same)} of {len(rows)} claims have the same verdict on both", markup=False)
    for line in _told(measured):
        console.print(f"  {line}", markup=False)


def _word(one: ClaimVerdict | None) -> str:
    return f"[{STYLES[one.verdict]}]{one.verdict.value}[/]" if one else "-"


def _told(measured: Sequence[Figure]) -> Iterator[str]:
    """The figures that lie beyond their spread, or why none can."""
    few = [f for f in measured if min(len(f.current), len(f.candidate)) < ENOUGH_RUNS]
    runs = max((len(side) for f in measured for side in (f.current, f.candidate)), default=0)
    if few and runs < ENOUGH_RUNS:
        yield f"{len(few)} figures aren't judged: their spread shows in {ENOUGH_RUNS} runs (--runs {ENOUGH_RUNS})"
    elif few:
        yield f"{len(few)} figures aren't judged: not every run measured them"
    for one in measured:
        if one.is_worse or one.is_better:
            how = "worse" if one.is_worse else "better"
            yield f"{how} beyond its spread: {one.claim}, {one.what}: {_span(one.current)} → {_span(one.candidate)}"


def _span(values: tuple[float, ...]) -> str:
    return f"{median(values):g}s ({min(values):g}-{max(values):g})"
