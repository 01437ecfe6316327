"""`holdfast verify`: runs the suites on a lane, and says what held, what broke, and what is unproven."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from kubernetes.client.exceptions import ApiException

from holdfast import claims, events
from holdfast.drivers import catalogue, kwok
from holdfast.drivers.driver import DriverError, Guarded
from holdfast.errors import HostCannot, UsageError
from holdfast.journal import read_file
from holdfast.lane.lane import Lane
from holdfast.lane.reference import default_tree, is_default
from holdfast.lane.subject import Subject
from holdfast.nightly import Night
from holdfast.options import AllowDisruption, ChartsPath, EntryName, LaneName, TreePath
from holdfast.paths import ROOT, reports_dir
from holdfast.plugin import FIXTURES
from holdfast.progress import console
from holdfast.rehearsal import page, text
from holdfast.rehearsal.outcome import Outcome
from holdfast.rehearsal.run import rehearsed
from holdfast.reporting import expected as expecting
from holdfast.reporting import report as reporting
from holdfast.reporting import summary, terminal
from holdfast.reporting.summary import Part
from holdfast.run import new_name, opened
from holdfast.session import ROOMS, SUITES, Session
from holdfast.tree.findings import Severity
from holdfast.verdicts import (
    EXIT_NOT_EXERCISED,
    EXIT_UNEXPECTED,
    EXIT_UNPROVEN,
    ClaimVerdict,
    across,
    exit_code,
    lacking,
)
from holdfast.waiting import CannotLook

_LAST = "driver"  # it takes the nodes' power
_STATIC = "static"  # a lane makes no difference to it


@dataclass(frozen=True)
class Wanted:
    """What of the suites is run, whatever the lane.

    Attributes:
        select: only tests whose name matches, as pytest's ``-k``; *claims* only those of these claims, *smoke* only the lab smoke.
        keep, reuse: leave the cluster for later runs; take the kept one.
        suites: folders of the user's own suites.
        expect: the file of what it must come to.
        rooms: the suites that are run; those of every run where none is named.
        resume: take over the cluster of an upgrade in place that was cut short.
    """

    select: str = ""
    claims: frozenset[str] = frozenset()
    smoke: bool = False
    keep: bool = False
    reuse: bool = False
    suites: tuple[Path, ...] = ()
    expect: Path | None = None
    rooms: tuple[str, ...] = ()
    resume: bool = False

    @property
    def narrowed(self) -> bool:
        """Whether only some tests are asked for."""
        return bool(self.select or self.claims or self.smoke)


def verify(  # noqa: PLR0917  a command line
    lane: LaneName = "",
    context: Annotated[
        str,
        typer.Option(
            "--context",
            metavar="NAME",
            help="With --lane attached: your own cluster, by a context of your kubeconfig. It is only read.",
        ),
    ] = "",
    allow_disruption: AllowDisruption = "",
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
    nightly: Annotated[
        bool,
        typer.Option(
            "--nightly",
            help="Exit by what got worse since the runs before (see: holdfast ledger), and remove old runs.",
        ),
    ] = False,
    keep_last: Annotated[
        int,
        typer.Option(
            "--keep-last", metavar="N", min=1, help="With --nightly: how many runs of each tree and lane are kept."
        ),
    ] = 30,
) -> None:
    """Runs the suites and says what held, what broke, and what is unproven.

    Without --lane it does all that this machine can, the quickest first: a rehearsed start from nothing, what the tree alone shows, the lane
    of processes, and the lane of containers where an engine is there or may be installed. Each part prints its verdicts as it ends; a summary
    comes last.

    Exit: 0 every selected claim held · 10 one broke · 11 one is unproven · 12 a required one was not exercised · 13 not as expected ·
    64 the command or the tree can't be used. With --nightly: 0 nothing got worse · 10 a claim broke that hadn't · 11 one is in doubt, or isn't
    shown, that was; or what shows no claim failed · 13 a figure lies beyond its spread.
    """
    wanted = Wanted(select, frozenset(claim or []), smoke, keep, reuse, tuple(suites or []), expect)
    _usable(wanted)
    if not lane and (keep or reuse):
        lane = catalogue.KEPT
    lane = _of_context(lane, context, allow_disruption)
    if lane:
        catalogue.parse(lane)
    names = [lane] if lane else catalogue.usual()
    subject = Subject((tree or default_tree()).resolve(), entry, charts)
    subject.preflight(made_by_a_lane=not catalogue.is_named_by_user(lane))
    if own := subject.claims_file():
        claims.use(own)
    claims.check_known([*wanted.claims, *(require or [])], "the command line")
    if nightly:
        _whole_night(wanted, require or [])
    night = Night.begins(subject.folder.name) if nightly else None
    parts: list[Part] = []
    skipped: list[str] = []
    start = Start() if lane or wanted.narrowed else _rehearsal(subject)
    for on in [Lane(name, subject, allow_disruption) for name in names]:
        try:
            part = run_on(on, wanted, before=parts)
            parts += [part] if part.folder.is_dir() else []
        except HostCannot as why:
            if lane:
                raise
            skipped.append(on.name)
            console.print(f"\n  {on.name} isn't run: {why}", style="yellow", markup=False)
    if not parts:
        raise UsageError(
            "no lane can be run on this machine, for the reasons above", "see: holdfast verify --lane, and the guide"
        )
    pages = _page(parts[-1].folder, start.out)
    if len(parts) > 1:
        summary.show(console, parts)
        console.print(f"  summary: {summary.write(parts, pages)}", markup=False)
    for title, name in pages:
        console.print(f"  {title}: {parts[-1].folder / name}", markup=False)
    code = _end(parts, wanted, require or [], list(start.said))
    line = terminal.exit_line(code)
    if night is not None:
        console.print(f"  tonight alone: {terminal.MEANING[code]}", markup=False)
        doubts = [line for part in parts for line in part.unclaimed] + list(start.said)
        code = night.ends(parts, keep_last, skipped=skipped, doubts=doubts)
        line = f"exit {code}: {'something' if code else 'nothing'} got worse since the runs before"
    if not wanted.expect:
        console.print(line)
    raise typer.Exit(code)


def _whole_night(wanted: Wanted, require: list[str]) -> None:
    """Raises UsageError where a night would be held against something else than the nights before."""
    if wanted.expect or require:
        raise UsageError(
            "--nightly compares with the runs before, not with --expect or --require", "leave one of them out"
        )
    if wanted.narrowed:
        raise UsageError(
            "--nightly compares whole nights, and only some tests are asked for", "leave out -k, --claim and --smoke"
        )


def _of_context(lane: str, context: str, allow_disruption: str) -> str:
    """The lane that is meant: one of the user's own clusters has the name of its context. Raises UsageError."""
    if allow_disruption and not catalogue.is_named_by_user(lane):
        raise UsageError(
            "--allow-disruption is about a cluster of your own: every other lane is one to be thrown away",
            f"name it with: --lane attached --context {allow_disruption}",
        )
    if not context:
        return lane
    if not catalogue.is_named_by_user(lane):
        raise UsageError(
            f"--context is about a cluster of your own, and {lane or 'no lane'} is none",
            "name it with: --lane attached",
        )
    if lane.partition("/")[2] not in ("", context):
        raise UsageError(f"{lane} and --context {context} are two clusters", "name one of them")
    return f"{lane.partition('/')[0]}/{context}"


def _usable(wanted: Wanted) -> None:
    """Raises UsageError for what a run would only meet after minutes: a file of expectations that can't be read, a folder that isn't there."""
    if wanted.expect:
        expecting.load(wanted.expect)
    for path in wanted.suites:
        if not path.exists():
            raise UsageError(f"there is no folder {path}", "name the folder of your suites")


@dataclass(frozen=True)
class Start:
    """The rehearsed start from nothing: what it came to, and what keeps the whole from being green; neither where this machine can't."""

    out: Outcome | None = None
    said: tuple[str, ...] = ()


def _rehearsal(subject: Subject) -> Start:
    """A start of the tree from nothing on the lane of processes, told in full."""
    console.print("\n  a start from nothing, on a control plane of processes", markup=False)
    try:
        out = rehearsed(subject, kwok.profiles()[-1])
    except HostCannot as why:
        console.print(f"  it isn't rehearsed: {why}", style="yellow", markup=False)
        return Start()
    except (UsageError, DriverError, ApiException, CannotLook) as why:  # what the suites show doesn't hang on it
        console.print(f"  it wasn't seen to its end: {why}", style="red", markup=False)
        return Start(said=(f"a start from nothing wasn't seen to its end: {why}",))
    console.print("\n".join(text.lines(out, colour=False)), markup=False)
    return Start(out, tuple(_in_the_way(out)))


def run_on(on: Lane, wanted: Wanted, before: list[Part]) -> Part:
    """The suites on one lane, with its report; what the tree alone shows is left out where a part *before* it has shown that."""
    wishes = expecting.load(wanted.expect) if wanted.expect else []
    folder = reports_dir() / new_name()
    command = rerun_command(on, list(wanted.suites))
    session = Session(
        lambda clusters: opened(
            on,
            folder,
            lambda test: f"{command} -k {shlex.quote(test.rpartition('::')[2])}",
            keep=wanted.keep,
            reuse=wanted.reuse,
            resume=wanted.resume,
            clusters=clusters,
        ),
        wanted.claims,
        on_a_cluster=bool(before),
    )
    # The contract of drivers takes nodes their power: on a cluster that is nobody's to break it isn't asked.
    last = () if on.is_foreign else (_LAST,)
    rooms = [SUITES / room for room in wanted.rooms or (*ROOMS, *last)]
    code = _pytest(session, [*rooms, *wanted.suites], folder, wanted.select, smoke=wanted.smoke)
    if session.run is None:
        shutil.rmtree(folder, ignore_errors=True)  # of Allure's, for a run that didn't come about
    if session.stopped:
        raise session.stopped
    if session.interrupted:
        if session.run:
            reporting.make(folder, console)
        raise KeyboardInterrupt
    if before and code is pytest.ExitCode.NO_TESTS_COLLECTED:
        return Part(on.name, folder, [])  # what was asked for, the tree alone shows
    _refuse(code)
    _, found = reporting.make(folder, console)
    unclaimed = [
        f"{line['of']} shows no claim, and failed: {line['reason']}"
        for line in read_file(folder / "journal.jsonl").of(events.UnclaimedFailed)
    ]
    of_the_tree = [f for part in before[:1] for f in part.found if f.level == _STATIC]
    said = (
        [] if not wanted.expect else expecting.differences([*of_the_tree, *found], wishes, on.name, smoke=wanted.smoke)
    )
    return Part(on.name, folder, found, unclaimed, said)


def _end(parts: list[Part], wanted: Wanted, require: list[str], start: list[str]) -> int:
    """Says what the whole came to, and returns the exit code."""
    found, unclaimed = across(part.found for part in parts), [line for part in parts for line in part.unclaimed]
    unclaimed += start
    if wanted.expect:
        several = len(parts) > 1
        said = [f"{p.lane}: {line}" if several else line for p in parts for line in [*p.unexpected, *p.unclaimed]]
        said += start
        return _compared(said, found, require, wanted.expect.name)
    for line in unclaimed:
        console.print(f"  {line}", style="red", markup=False)
    return exit_code(found, require) or (EXIT_UNPROVEN if unclaimed else 0)


def _page(folder: Path, start: Outcome | None) -> list[tuple[str, str]]:
    """Writes the rehearsal's page into the folder of a run; returns what it is called, and its file."""
    if start is None:
        return []
    path = folder / "rehearsal.html"
    path.write_bytes(page.page(start).encode(errors="backslashreplace"))
    return [("a start from nothing", path.name)]


def _in_the_way(start: Outcome) -> list[str]:
    """What the rehearsal found that counts: no claim of the document is about it, and a run with it isn't green."""
    found = [p.finding for p in start.proofs if p.finding.severity >= Severity.BREAKS_CLAIM]
    said = [f"a start from nothing: {f.what} ({f.locations[0]})" for f in found]
    return said or ([] if start.course.converged else ["a start from nothing: not everything became ready"])


def rerun_command(on: Lane, suites: list[Path]) -> str:
    """The command that runs one of this run's tests again, but for its name."""
    words = ["holdfast", "verify", "--lane", on.name]
    if isinstance(on.driver, Guarded):
        words += ["--allow-disruption", on.name.partition("/")[2]]
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
        "no:unraisableexception",  # it would keep the interrupts that `holdfast.interrupt` raises again
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
