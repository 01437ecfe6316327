"""Everything that a run leaves for its readers, made from its journal: HTML, JUnit, the table."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from holdfast import claims, journal
from holdfast.errors import UsageError
from holdfast.journal import JournalRecord
from holdfast.reporting import html, junit, terminal
from holdfast.verdicts import ClaimVerdict, verdicts


def make(folder: Path, console: Console) -> tuple[JournalRecord, list[ClaimVerdict]]:
    """Renders the reports of a run from its journal alone, and prints the table."""
    path = folder / "journal.jsonl"
    if not path.is_file():
        raise UsageError(f"there is no journal in {folder}", "name a run's folder below reports/out")
    record = journal.read_file(path)
    own = journal.header(record).get("claims")
    register = claims.load(Path(own) if own else None)
    found = verdicts(record, register)
    html.write(folder / "report.html", record, found, register)
    junit.write(folder / "junit.xml", found, folder.name)
    terminal.show(console, found, record)
    console.print(f"  report: {folder / 'report.html'}")
    return record, found
