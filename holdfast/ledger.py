"""`holdfast ledger`: what was ever shown of each claim, how old that is, and which figures got worse."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from holdfast import claims
from holdfast.errors import UsageError
from holdfast.nightly import FILE
from holdfast.paths import cache_dir, reports_dir
from holdfast.progress import console
from holdfast.reporting import ledger_page, ledger_text, versions
from holdfast.reporting.ledger import Ledger, Reading

_DAYS = 30.0


def ledger(  # noqa: PLR0917  a command line
    folders: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="FOLDER",
            help="A folder with journals, at any depth below it (again for more). Without it: this machine's own runs.",
        ),
    ] = None,
    tree: Annotated[
        str,
        typer.Option(
            "--tree", metavar="NAME", help="The tree, by its folder's name. Without it: that of the newest run."
        ),
    ] = "",
    diff: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--diff", metavar="RUN RUN", help="Only what is otherwise between two runs, by their names' beginnings."
        ),
    ] = None,
    older_than: Annotated[
        float,
        typer.Option("--older-than", metavar="DAYS", min=0, help="Name the claims that nobody has shown for so long."),
    ] = _DAYS,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a page with every figure's history.")
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Forget what is known, and read every journal anew.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All of it as JSON instead.")] = False,
) -> None:
    """Evidence grows old: each claim's newest verdict at each level and lane, its age, and what has changed since.

    It is made of the journals of runs, which are only read; a run stays in it when its folder is removed. Verdicts of several runs are
    never merged: the newest counts, and one that showed something comes before a newer run that didn't exercise the claim.

    Exit: 0 it was told · 64 the command or the file can't be used. What got worse makes `holdfast verify --nightly` fail.
    """
    path = cache_dir() / FILE
    if rebuild:
        _rebuild(path, folders or [reports_dir()])
    with Ledger(path) as known:
        read = known.take(folders or [reports_dir()])
        runs = known.runs()
        if not runs:
            raise UsageError("there is no run yet", "run: holdfast verify, or name a folder of journals with --from")
        wanted = tree or runs[-1].tree
        if not known.runs(wanted):
            trees = ", ".join(sorted({r.tree for r in runs}))
            raise UsageError(f"no run was of a tree that is called {wanted}", f"there are: {trees}")
        if diff:
            _difference(known, *diff, as_json=as_json)
            return
        told = ledger_text.Told.of(known, wanted, claims.load(), datetime.now(UTC), older_than)
        if html:
            ledger_page.write(html, told)
        if as_json:
            typer.echo(json.dumps(told.as_json(), indent=2))
            return
        _say(read)
        told.show(console)
        if html:
            console.print(f"  page: {html}", markup=False)


def _rebuild(path: Path, folders: list[Path]) -> None:
    """Puts a new ledger in the place of the old one; that stays where a folder can't be read."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with Ledger(part) as new:
        new.take(folders)
    part.replace(path)


def _say(read: Reading) -> None:
    for name in read.altered:
        console.print(
            f"  {name}: its journal isn't what it was when it was read first; what was read then stays",
            style="red",
            markup=False,
        )
    for file in read.unreadable:
        console.print(f"  {file} is no journal that can be read", style="yellow", markup=False)


def _difference(known: Ledger, first: str, second: str, *, as_json: bool) -> None:
    """What is otherwise between two runs: verdicts, and figures side by side."""
    runs = known.run(first), known.run(second)
    found = [[known.verdicts(run)] for run in runs]
    names = f"{runs[0].name} ({runs[0].lane})", f"{runs[1].name} ({runs[1].lane})"
    rows, measured = versions.compared(*found), versions.figures(*found)
    if as_json:
        typer.echo(json.dumps(versions.as_json(names, rows, measured), indent=2))
        return
    versions.show(console, names, rows, measured)
    ledger_text.show_figures(console, measured)
