"""`holdfast report`: renders the reports of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from holdfast.errors import UsageError
from holdfast.paths import reports_dir
from holdfast.progress import console
from holdfast.reporting import report as reporting


def report(
    run: Annotated[Path | None, typer.Argument(help="A run's folder; the newest one without it.")] = None,
) -> None:
    """Renders the reports of a run again, from its journal alone."""
    folders = sorted(p for p in reports_dir().iterdir() if (p / "journal.jsonl").exists())
    if run is None and not folders:
        raise UsageError("there is no run yet", "run: holdfast verify")
    folder = run or folders[-1]
    try:
        reporting.make(folder, console)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise UsageError(
            f"the journal in {folder} holds what this version of holdfast doesn't understand ({type(error).__name__}: {str(error)[:120]})",
            "use the version that wrote it (its first line says which), or another run's folder",
        ) from None
