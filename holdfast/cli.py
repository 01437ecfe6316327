"""The `holdfast` command: thin, every verb calls the room that owns it."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import pytest
import typer
from docker.errors import DockerException
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from typer.exceptions import Abort, TyperException

from holdfast import claims
from holdfast.checking import command as checking
from holdfast.drivers.driver import DriverError
from holdfast.errors import UsageError
from holdfast.journal import read_file
from holdfast.lane.lane import Lane
from holdfast.lane.lock import LaneLock
from holdfast.paths import CHECKOUT, reports_dir
from holdfast.plugin import Plugin
from holdfast.progress import console
from holdfast.provision import engine, images
from holdfast.provision.recipes import Recipes
from holdfast.reporting import expected as expecting
from holdfast.reporting import live, terminal
from holdfast.reporting import report as reporting
from holdfast.run import TEMP, Run, clean_temp, new_name, private_temp
from holdfast.verdicts import (
    EXIT_INTERRUPTED,
    EXIT_NOT_EXERCISED,
    EXIT_UNEXPECTED,
    EXIT_UNPROVEN,
    EXIT_USAGE,
    exit_code,
    lacking,
)
from holdfast.waiting import Broke, CannotLook, Unproven

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=(
        "Takes a Flux GitOps tree, runs it on a throw-away cluster, breaks things on purpose, and says which sentences of the "
        "architecture document are true. Start with: holdfast verify"
    ),
)

LaneName = Annotated[
    str,
    typer.Option("--lane", envvar="LANE", help="DRIVER/PROFILE, such as kind/fast (fast node timers) or kind/default."),
]
TreePath = Annotated[
    Path, typer.Option("--tree", envvar="TREE", help="The GitOps tree: a Git checkout with a Flux entry.")
]
EntryName = Annotated[
    str, typer.Option("--entry", help="The folder of the Flux entry, where the tree has more than one.")
]
_GOES_ON = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
_TREE = CHECKOUT / "fixtures" / "gitops"


@app.command()
def verify(  # noqa: PLR0917, PLR0912  a command line, and every way in which a run can end
    lane: LaneName = "kind/fast",
    tree: TreePath = _TREE,
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
    charts: Annotated[
        Path | None,
        typer.Option(
            "--charts",
            metavar="FOLDER",
            help="Charts that are rendered: NAME/, NAME-VERSION/ or NAME-VERSION.tgz in it.",
        ),
    ] = None,
    expect: Annotated[
        Path | None,
        typer.Option("--expect", help="Compare with this file; exit 13 where a verdict differs, either way."),
    ] = None,
) -> None:
    """Runs the suites on a lane and says what held, what broke, and what is unproven.

    Exit: 0 every selected claim held · 10 one broke · 11 one is unproven · 12 a required one was not exercised · 13 not as expected ·
    64 the command or the tree can't be used.
    """
    one = Lane(lane, tree, entry, charts)
    one.subject.preflight()
    if own := one.subject.claims_file():
        claims.use(own)
    register = claims.load()
    for wanted in [*(claim or []), *(require or [])]:
        if wanted not in register and wanted != "all":
            raise UsageError(claims.unknown(wanted, register), "see suites/claims.toml for all ids")
    wishes = expecting.load(expect) if expect else []
    folder = reports_dir() / new_name()
    with LaneLock(folder.name):
        clean_temp(reports_dir())
        one.driver.ensure_host()
        one.clean_dead()
        one.check(reuse=reuse)
        run = Run(one, folder, reuse=reuse, command=_command(one))
        console.print(f"run {run.name} on {lane}: tree {one.subject.folder.name} at {one.checkout.commit[:12]}")
        run.journal.listener = lambda entry: live.show(console, entry)
        run.begin()
        try:
            codes = [
                _pytest(run, ("static",), select, claim or [], smoke=smoke)
            ]  # what needs no cluster comes before anything slow
            if codes[0] in _GOES_ON:
                codes.append(
                    _pytest(
                        run, ("bootstrap", "faults", "driver"), select, claim or [], smoke=smoke, prepare=run.begin_lane
                    )
                )
        finally:
            _end(run, keep=keep or reuse)
    if pytest.ExitCode.INTERRUPTED in codes:
        reporting.make(folder, console)
        console.print("stopped; what is left is healed or removed by the next start", style="yellow")
        raise typer.Exit(EXIT_INTERRUPTED)
    if any(code not in (*_GOES_ON, pytest.ExitCode.USAGE_ERROR) for code in codes):
        raise UsageError(
            "pytest stopped by itself: not every suite was run", "fix what the lines above name, then run again"
        )
    if all(code == pytest.ExitCode.NO_TESTS_COLLECTED for code in codes):
        raise UsageError("no test was selected", "see -k and --claim: holdfast verify --help")
    if pytest.ExitCode.USAGE_ERROR in codes:
        raise UsageError("pytest can't use this selection", "see the lines above; holdfast verify --help")
    if len(list(read_file(folder / "journal.jsonl").of("collected"))) < sum(
        code != pytest.ExitCode.NO_TESTS_COLLECTED for code in codes
    ):
        raise UsageError("the suites can't all be collected", "fix what the lines above name, then run again")
    _, found = reporting.make(folder, console)
    unclaimed = [
        f"{line['of']} shows no claim, and failed: {line['reason']}"
        for line in read_file(folder / "journal.jsonl").of("unclaimed-failed")
    ]
    code = exit_code(found, require or []) or (EXIT_UNPROVEN if unclaimed else 0)
    if expect:
        said = [*expecting.differences(found, wishes, lane, smoke=smoke), *unclaimed]
        for line in said:
            console.print(f"  not as expected: {line}", style="red", markup=False)
        code = EXIT_UNEXPECTED if said else EXIT_NOT_EXERCISED if lacking(found, require or []) else 0
        console.print(
            f"exit 13: {len(said)} verdicts are not as expected"
            if said
            else f"exit {code}: every verdict is as {expect.name} expects"
        )
    else:
        for line in unclaimed:
            console.print(f"  {line}", style="red", markup=False)
        console.print(terminal.exit_line(code))
    raise typer.Exit(code)


def _command(lane: Lane) -> str:
    """The command that runs one of this run's tests again, but for its name."""
    words = ["holdfast", "verify", "--lane", lane.name]
    if lane.subject.folder != _TREE.resolve():
        words += ["--tree", str(lane.subject.folder)]
    if lane.subject.entry:
        words += ["--entry", lane.subject.entry]
    if lane.subject.charts:
        words += ["--charts", str(lane.subject.charts)]
    return shlex.join(words)


def _pytest(
    run: Run,
    rooms: tuple[str, ...],
    select: str,
    wanted: list[str],
    *,
    smoke: bool,
    prepare: Callable[[], None] | None = None,
) -> int:
    suites = [str(CHECKOUT / "suites" / name) for name in rooms]
    options = [
        "--rootdir",
        str(CHECKOUT),
        "-c",
        str(CHECKOUT / "pyproject.toml"),
        "-v",
        "-s",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
        "--alluredir",
        str(run.folder / "allure-results"),
    ]
    if select:
        options += ["-k", select]
    if smoke:
        options += ["-m", "smoke"]
    plugin = Plugin(run, frozenset(wanted), prepare)
    code = int(pytest.main([*options, *suites], plugins=[plugin]))
    if plugin.stopped:
        raise plugin.stopped
    return code


def _end(run: Run, *, keep: bool) -> None:
    """Seals the journal and leaves the machine as it was; what can't be removed now is found on disk by the next start."""
    try:
        run.journal.seal()
    except OSError as error:
        console.print(
            f"  the journal couldn't be sealed ({error}): nothing of this run will be called held",
            style="red",
            markup=False,
        )
    try:
        state = run.lane.state()
        if keep and not run.quarantined and state and state.stage == "ready":
            run.lane.keep()
            console.print(
                f"  the cluster is kept: holdfast verify --reuse --lane {run.lane.name}, or holdfast down --lane {run.lane.name}"
            )
        else:
            run.lane.down(quiet=True)
    except (UsageError, DockerException, OSError) as error:  # the engine died: the run's own verdicts still count
        console.print(
            f"  the cluster couldn't be removed ({type(error).__name__}); the next start, or 'holdfast down', does it",
            style="yellow",
        )
    clean_temp(reports_dir())


app.command()(checking.check)


@app.command()
def up(lane: LaneName = "kind/fast", tree: TreePath = _TREE, entry: EntryName = "") -> None:
    """Brings a lane up with the tree on it and keeps it, for a suite author's loop with: holdfast verify --reuse."""
    one = Lane(lane, tree, entry)
    one.subject.preflight()
    folder = reports_dir() / new_name()
    with LaneLock(folder.name):
        clean_temp(reports_dir())
        one.driver.ensure_host()
        one.clean_dead()
        one.check(reuse=False)
        run = Run(one, folder)
        run.begin()
        try:
            run.cluster()
        except Unproven as why:
            raise UsageError(str(why), f"see {folder / 'evidence'}, then: holdfast down --lane {lane}") from None
        except KeyboardInterrupt:
            console.print("  interrupted: what was made is taken away again", style="yellow")
            one.down(quiet=True)
            raise
        finally:
            run.journal.seal()
            clean_temp(reports_dir())
        one.keep()
    console.print(f"  {lane} is up; its kubeconfig: {one.driver.kubeconfig}")


@app.command()
def down(lane: LaneName = "kind/fast") -> None:
    """Removes a lane's cluster, its Git server and its network, and nothing else."""
    with LaneLock("holdfast down"):
        _temp_apart()
        one = Lane(lane, _TREE)
        console.print("  removed" if one.down() else f"  there is nothing of {lane}")
        for stray in one.driver.strays():
            console.print(
                f"  {stray.name}: called like this lane's, and not made by it; if nobody needs it: {stray.removal}",
                style="yellow",
            )


@app.command()
def heal(lane: LaneName = "kind/fast") -> None:
    """Replays what a dead run left undone on a lane's cluster; the cluster stays."""
    with LaneLock("holdfast heal"):
        _temp_apart()
        count = Lane(lane, _TREE).heal()
        console.print(f"  {count} steps undone" if count else "  nothing is left to heal")


def _temp_apart() -> None:
    """A folder of this command's own for temporary files, and the end of those that dead runs left."""
    with suppress(OSError):  # a full disk must not keep anybody from cleaning up
        clean_temp(reports_dir())
        private_temp(reports_dir() / ".commands" / TEMP)


@app.command()
def build() -> None:
    """Builds the offline images that aren't there yet (`holdfast verify` does so by itself where no image registry answers)."""
    engine.ensure()
    console.print(f"  node image: {images.build(Recipes())}")


@app.command()
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


def main() -> None:
    """The entry point: whatever can't be done is one message with the next step and exit 64, never a traceback."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # cleaned up as after Ctrl-C
    try:
        code = _main()
    except (BrokenPipeError, KeyboardInterrupt):
        code = EXIT_INTERRUPTED
    except OSError:  # not even the message could be written
        code = EXIT_USAGE
    try:
        sys.stdout.flush()
    except OSError as error:  # closed, or on a full disk: Python would end with a traceback of its own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or (EXIT_INTERRUPTED if error.errno == errno.EPIPE else EXIT_USAGE)
    sys.exit(code)


def _main() -> int:
    try:
        return int(app(standalone_mode=False) or 0)
    except TyperException as error:
        return _said(f"holdfast: {error}\n  next: holdfast --help")
    except (Abort, KeyboardInterrupt):
        console.print("stopped; what is left is healed or removed by the next start", style="yellow")
        return EXIT_INTERRUPTED
    except UsageError as error:
        return _said(f"holdfast: {error}")
    except BrokenPipeError:
        raise
    except OSError as error:
        return _said(
            f"holdfast: {type(error).__name__}: {str(error)[:300]}\n  next: {_WAYS_OUT.get(error.errno or 0, 'holdfast down, then run again')}"
        )
    except (DockerException, ApiException, ConfigException, CannotLook, DriverError, Broke, Unproven) as error:
        first = str(error).partition("\n")[0][:300]
        return _said(f"holdfast: {type(error).__name__}: {first}\n  next: holdfast down, then run again")


_WAYS_OUT = {
    errno.ENOSPC: "free some space, then run the same command again",
    errno.EROFS: "make that folder writable, or name others: XDG_CACHE_HOME, HOLDFAST_REPORTS",
    errno.EACCES: "run as the user who owns it, or name other folders: XDG_CACHE_HOME, HOLDFAST_REPORTS",
}


def _said(text: str) -> int:
    console.print(text, style="red", markup=False)
    return EXIT_USAGE


if __name__ == "__main__":
    main()
