"""The verdict table and the outage figures on a terminal or in a CI log."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from holdfast.journal import JournalRecord
from holdfast.verdicts import (
    EXIT_BROKE,
    EXIT_HELD,
    EXIT_NOT_EXERCISED,
    EXIT_UNEXPECTED,
    EXIT_UNPROVEN,
    ClaimVerdict,
    Verdict,
)

_AT_ONCE = re.compile(r"0\.\ds")  # a wait that held at the first look measures nothing
STYLES = {Verdict.HELD: "green", Verdict.BROKE: "bold red", Verdict.UNPROVEN: "yellow", Verdict.NOT_EXERCISED: "dim"}
MEANING = {
    EXIT_HELD: "every selected claim held",
    EXIT_BROKE: "a claim broke",
    EXIT_UNPROVEN: "nothing broke, and a claim is unproven, or nothing was shown at all",
    EXIT_NOT_EXERCISED: "a required claim was not exercised",
    EXIT_UNEXPECTED: "a verdict is not the expected one",
}


def show(console: Console, findings: Iterable[ClaimVerdict], record: JournalRecord) -> None:
    """Prints the table of what was selected, the worst first, and counts the rest."""
    found = list(findings)
    table = Table(title="Verdicts", title_justify="left", expand=False, show_lines=False)
    for name, options in (
        ("verdict", {"no_wrap": True}),
        ("claim", {"no_wrap": True}),
        ("level", {"no_wrap": True}),
        ("why", {"overflow": "fold"}),
    ):
        table.add_column(name, **options)
    order = [Verdict.BROKE, Verdict.UNPROVEN, Verdict.NOT_EXERCISED, Verdict.HELD]
    for one in sorted((f for f in found if f.tests), key=lambda f: (order.index(f.verdict), f.claim)):
        reason = one.reason if len(one.reason) < 400 else one.reason[:397] + "…"
        table.add_row(f"[{STYLES[one.verdict]}]{one.verdict}[/]", one.claim, one.level, reason.replace("[", r"\["))
    console.print(table)
    rest = sum(not f.tests for f in found)
    if rest:
        console.print(
            f"  {rest} more claims have no test in this run: not exercised (listed in the report)", style="dim"
        )
    _outages(console, found)
    if record.problem:
        console.print(f"  the journal is not whole: {record.problem}", style="yellow")


def _outages(console: Console, findings: list[ClaimVerdict]) -> None:
    rows = [
        (f.claim, g)
        for f in findings
        for g in f.figures
        if g.get("figure") not in (None, "-") and not _AT_ONCE.fullmatch(str(g["figure"]))
    ]
    if not rows:
        return
    table = Table(title="Figures", title_justify="left", expand=False)
    for name in ("claim", "what", "figure", "budget"):
        table.add_column(name, overflow="fold")
    for claim, figure in rows:
        table.add_row(claim, *(str(figure[k]).replace("[", r"\[") for k in ("what", "figure", "budget")))
    console.print(table)


def exit_line(code: int) -> str:
    """What an exit code means, in words."""
    return f"exit {code}: {MEANING.get(code, 'the command could not be used as asked')}"
