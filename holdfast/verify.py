"""`holdfast verify`: runs the suites on a lane, and says what held, what broke, and what is unproven."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Annotated

import pytest
import typer

from holdfast import claims, events
from holdfast.errors import UsageError
from holdfast.journal import read_file
from holdfast.lane.lane import Lane
from holdfast.lane.reference import default_tree, is_default
from holdfast.options import ChartsPath, EntryName, LaneName, TreePath
from holdfast.paths import ROOT, reports_dir
from holdfast.plugin import FIXTURES
from holdfast.progress import console
from holdfast.reporting import expected as expecting
from holdfast.reporting import report as reporting
from holdfast.reporting import terminal
from holdfast.run import new_name, opened
from holdfast.session import ROOMS, SUITES, Session
from holdfast.verdicts import (
    EXIT_NOT_EXERCISED,
    EXIT_UNEXPECTED,
    EXIT_UNPROVEN,
    ClaimVerdict,
    exit_code,
    lacking,
)

_LAST = "driver"  # it takes the nodes' power


def verify(  # noqa: PLR0917  a command line
    lane: LaneName = "kind/fast",
    tree: TreePath = None,
    entry: EntryName = "",
    select: Annotated[str, typer.Option("-k", help="Only tests whose name matches, as pytest's -k.")] = "",
    claim: Annotated[
        list[str] | None, typer.Option("--claim", help="Only the tests of this claim id (again for more).")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the cluster for a later --reuse.")] = False,
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Use the kept cluster, healed first; it is kept again.")
    ] = False,
    require: Annotated[
        list[str] | None, typer.Option("--require", help="Exit 12 if this claim id (or: all) was not exercised.")
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Only the lab smoke: one claim of each fault, and the observations.")
    ] = False,
    suites: Annotated[
        list[Path] | None,
        typer.Option(
            "--suites",
            metavar="FOLDER",
            help="A folder with suites of your own, run beside ours (again for more). They are programs: name only what you trust.",
        ),
    ] = None,
    charts: ChartsPath = None,
    expect: Annotated[
        Path | None,
        typer.Option("--expect", help="Compare with this file; exit 13 where a verdict differs, either way."),
    ] = None,
) -> None:
    """Runs the suites on a lane and says what held, what broke, and what is unproven.

    Exit: 0 every selected claim held · 10 one broke · 11 one is unproven · 12 a required one was not exercised · 13 not as expected ·
    64 the command or the tree can't be used.
    """
    on = Lane(lane, tree or default_tree(), entry, charts)
    on.subject.preflight()
    if own := on.subject.claims_file():
        claims.use(own)
    claims.check_known([*(claim or []), *(require or [])], "the command line")
    wishes = expecting.load(expect) if expect else []
    folder = reports_dir() / new_name()
    command = rerun_command(on, suites or [])
    session = Session(
        lambda clusters: opened(
            on,
            folder,
            lambda test: f"{command} -k {shlex.quote(test.rpartition('::')[2])}",
            keep=keep,
            reuse=reuse,
            clusters=clusters,
        ),
        frozenset(claim or []),
    )
    code = _pytest(
        session, [*(SUITES / room for room in ROOMS), *(suites or []), SUITES / _LAST], folder, select, smoke=smoke
    )
    if session.run is None:
        shutil.rmtree(folder, ignore_errors=True)  # of Allure's, for a run that didn't come about
    if session.stopped:
        raise session.stopped
    if session.interrupted:
        if session.run:
            reporting.make(folder, console)
        raise KeyboardInterrupt
    _refuse(code)
    _, found = reporting.make(folder, console)
    unclaimed = [
        f"{line['of']} shows no claim, and failed: {line['reason']}"
        for line in read_file(folder / "journal.jsonl").of(events.UnclaimedFailed)
    ]
    if expect:
        said = [*expecting.differences(found, wishes, on.name, smoke=smoke), *unclaimed]
        raise typer.Exit(_compared(said, found, require or [], expect.name))
    for line in unclaimed:
        console.print(f"  {line}", style="red", markup=False)
    result = exit_code(found, require or []) or (EXIT_UNPROVEN if unclaimed else 0)
    console.print(terminal.exit_line(result))
    raise typer.Exit(result)


def rerun_command(on: Lane, suites: list[Path]) -> str:
    """The command that runs one of this run's tests again, but for its name."""
    words = ["holdfast", "verify", "--lane", on.name]
    if not is_default(on.subject.folder):
        words += ["--tree", str(on.subject.folder)]
    if on.subject.entry:
        words += ["--entry", on.subject.entry]
    if on.subject.charts:
        words += ["--charts", str(on.subject.charts)]
    for folder in suites:
        words += ["--suites", str(folder)]
    return shlex.join(words)


def _pytest(session: Session, suites: list[Path], folder: Path, select: str, *, smoke: bool) -> pytest.ExitCode:
    for path in suites:
        if not path.exists():
            raise UsageError(f"there is no folder {path}", "name the folder of your suites")
    options = [
        "--rootdir",
        str(ROOT),
        "-c",
        str(SUITES / "holdfast.ini"),
        "-v",
        "-s",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "-p",
        FIXTURES,
        "--alluredir",
        str(folder / "allure-results"),
    ]
    options += ["-k", select] if select else []
    options += ["-m", "smoke"] if smoke else []
    try:
        code = pytest.main([*options, *map(str, suites)], plugins=[session])
    finally:
        session.close()
    known = {int(one): one for one in pytest.ExitCode}
    return known.get(int(code), pytest.ExitCode.INTERNAL_ERROR)


def _refuse(code: pytest.ExitCode) -> None:
    """Raises UsageError where pytest came to no end of its own."""
    if code is pytest.ExitCode.INTERRUPTED:
        raise UsageError("the suites can't all be collected", "fix what the lines above name, then run again")
    if code is pytest.ExitCode.NO_TESTS_COLLECTED:
        raise UsageError("no test was selected", "see -k and --claim: holdfast verify --help")
    if code is pytest.ExitCode.USAGE_ERROR:
        raise UsageError("pytest can't use this selection", "see the lines above; holdfast verify --help")
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise UsageError(
            "pytest stopped by itself: not every suite was run", "fix what the lines above name, then run again"
        )


def _compared(said: list[str], found: list[ClaimVerdict], require: list[str], name: str) -> int:
    for line in said:
        console.print(f"  not as expected: {line}", style="red", markup=False)
    code = EXIT_UNEXPECTED if said else EXIT_NOT_EXERCISED if lacking(found, require) else 0
    console.print(
        f"exit 13: {len(said)} verdicts are not as expected"
        if said
        else f"exit {code}: every verdict is as {name} expects"
    )
    return code
