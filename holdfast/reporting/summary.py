"""What several lanes came to, side by side: one verdict for each claim, level and lane."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from holdfast.reporting.html import template
from holdfast.reporting.terminal import STYLES
from holdfast.verdicts import ClaimVerdict, Verdict

TREE = "the tree"  # the column of what no lane makes a difference to
_WORST = (Verdict.BROKE, Verdict.UNPROVEN, Verdict.HELD, Verdict.NOT_EXERCISED)


@dataclass(frozen=True)
class Part:
    """The suites on one lane.

    Attributes:
        folder: of the run, with its journal and its report.
        unclaimed: what failed and shows no claim, in words.
        unexpected: what isn't as the file of expectations says, in words.
    """

    lane: str
    folder: Path
    found: list[ClaimVerdict]
    unclaimed: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """One claim: its verdict in each column, where it has one."""

    claim: str
    cells: dict[str, ClaimVerdict]

    @property
    def worst(self) -> int:
        """Where it stands in the order of what is read first."""
        return min(_WORST.index(f.verdict) for f in self.cells.values())


def columns(parts: Sequence[Part]) -> list[str]:
    """What the tree shows, then each lane."""
    return [TREE, *(part.lane for part in parts)]


def rows(parts: Sequence[Part]) -> list[Row]:
    """Every claim that a test was selected for, the worst first."""
    found: dict[str, dict[str, ClaimVerdict]] = {}
    for part in parts:
        for one in part.found:
            if one.tests:
                found.setdefault(one.claim, {})[TREE if one.level == "static" else part.lane] = one
    return sorted((Row(claim, cells) for claim, cells in found.items()), key=lambda r: (r.worst, r.claim))


def show(console: Console, parts: Sequence[Part]) -> None:
    """The table on a terminal, or in a CI log."""
    table = Table(title="All lanes", title_justify="left", expand=False)
    for name in ("claim", *columns(parts)):
        table.add_column(name, no_wrap=True)
    for row in rows(parts):
        table.add_row(row.claim, *_cells(row, parts))
    console.print(table)


def _cells(row: Row, parts: Sequence[Part]) -> Iterator[str]:
    for column in columns(parts):
        one = row.cells.get(column)
        if one is None:
            yield ""
        else:
            level = "" if column == TREE or one.verdict is Verdict.NOT_EXERCISED else f" ({one.level})"
            yield f"[{STYLES[one.verdict]}]{one.verdict}[/]{level}"


def write(parts: Sequence[Part], beside: Sequence[tuple[str, str]] = ()) -> Path:
    """The same as a page in the last part's folder, with the reason of each verdict and links to the lanes' reports.

    *beside*: further pages in that folder, each with what it is called.
    """
    path = parts[-1].folder / "summary.html"
    reports = [(p.lane, f"../{p.folder.name}/report.html") for p in parts if (p.folder / "report.html").is_file()]
    links = [*beside, *reports]
    counts = [
        (
            column,
            [
                (v, n)
                for v in _WORST
                if (n := sum(r.cells[column].verdict is v for r in rows(parts) if column in r.cells))
            ],
        )
        for column in columns(parts)
    ]
    text = template("summary.html.j2").render(columns=columns(parts), rows=rows(parts), links=links, counts=counts)
    path.write_text(text, encoding="utf-8")
    return path
