"""Joins one pytest session to a run: what was collected, how each test ended, and the end of the run, whatever ends the session."""

from __future__ import annotations

import contextlib
import io
import shlex
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack
from typing import Any, cast

import pytest
from _pytest.runner import runtestprotocol

from holdfast import claims, events
from holdfast.drivers.driver import Driver, GitHosting, Writable, lacks
from holdfast.errors import NotExercised, UsageError
from holdfast.experiment import Experiment
from holdfast.journal import Journal
from holdfast.lane.lane import Lane
from holdfast.lane.reference import default_tree
from holdfast.lane.subject import Subject
from holdfast.paths import ROOT, reports_dir
from holdfast.progress import console
from holdfast.reporting import report as reporting
from holdfast.run import Run, new_name, opened
from holdfast.verdicts import Verdict, of_test, only_stalled, tries
from holdfast.waiting import Broke, Unproven

RUN = pytest.StashKey[Run]()
SUITES = ROOT / "suites"
ROOMS = (
    "static",
    "live",
    "bootstrap",
    "upgrade",
    "faults",
    "recovery",
)  # what needs no cluster comes before anything slow
_MOST_TRIES = 3  # of a test that only a machine which stood still left unproven
OpenRun = Callable[[bool], AbstractContextManager[Run]]


def claim_ids(item: pytest.Item) -> list[str]:
    """The claims that a test shows, by id."""
    return list(dict.fromkeys(i for mark in item.iter_markers("claim") for i in mark.args))


def kind_of(item: pytest.Item) -> str:
    """The kind of its claims: what it uses says how it shows them."""
    used = getattr(item, "fixturenames", ())
    return "static" if "tree" in used else "fault" if "faults" in used else "observation"


_NEEDED_BY = {"faults": Writable, "git": GitHosting}


def needs_of(item: pytest.Item) -> list[type]:
    """The capabilities that a test names, and those that its fixtures need."""
    used = getattr(item, "fixturenames", ())
    named = [need for mark in item.iter_markers("needs") for need in mark.args]
    return list(dict.fromkeys([*named, *(need for fixture, need in _NEEDED_BY.items() if fixture in used)]))


def part_of(item: pytest.Item) -> str:
    """How far a test can show its claims; empty where it shows all of them."""
    mark = item.get_closest_marker("in_part")
    return str(mark.args[0]) if mark else ""


def _is_for_others(item: pytest.Item, driver: Driver) -> bool:
    """Whether a test shows a part of a claim that isn't this driver's to show: the whole is shown on it, or not even the part can be."""
    mark = item.get_closest_marker("in_part")
    if mark is None:
        return False
    return any(not lacks(driver, one) for one in mark.args[1:]) or bool(lacks(driver, *needs_of(item)))


def _on_a_cluster(item: pytest.Item) -> bool:
    used = getattr(item, "fixturenames", ())
    return "cluster" in used or "git" in used or ("run" in used and "tree" not in used)


class Session:
    """One pytest session as a run. The run is opened once there is a test to run, so `--collect-only` starts nothing.

    Args:
        open_run: opens the run; told whether any test needs a cluster.
        wanted: only tests of these claims; all where it is empty.
        on_a_cluster: only tests that need a cluster: what the tree alone shows was shown before.

    Attributes:
        stopped: what kept the run from being opened; then no test runs.
        interrupted: whether the user stopped it.
    """

    def __init__(self, open_run: OpenRun, wanted: frozenset[str] = frozenset(), *, on_a_cluster: bool = False) -> None:
        self.open_run, self.wanted, self.on_a_cluster = open_run, wanted, on_a_cluster
        self.left_out: list[pytest.Item] = []
        self.run: Run | None = None
        self.stopped: BaseException | None = None
        self.interrupted = False
        self._open = ExitStack()

    # -- what is selected ----------------------------------------------------------------------------------------------------

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keeps the tests of the wanted claims, where any were named."""
        if self.on_a_cluster:
            items[:] = [item for item in items if _on_a_cluster(item)]
        left = [item for item in items if self.wanted and not self.wanted & set(claim_ids(item))]
        if left:
            config.hook.pytest_deselected(items=left)
            items[:] = [item for item in items if item not in left]

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Remembers what was left out: a claim isn't held by a part of its tests."""
        self.left_out += [item for item in items if claim_ids(item)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Opens the run, and writes down which claims were selected: what was collected and has no end later is unproven."""
        if session.testsfailed or not session.items or session.config.option.collectonly:
            return None  # collection itself failed, or nothing is to be run
        on_a_cluster = [item for item in session.items if _on_a_cluster(item)]
        try:
            self.run = self._open.enter_context(self.open_run(bool(on_a_cluster)))
            session.config.stash[RUN] = self.run
            self._leave_to_other_lanes(session)
            on_a_cluster = [item for item in on_a_cluster if item in session.items]
            self._collected([item for item in session.items if item not in on_a_cluster])
            if on_a_cluster:
                self.run.begin_lane()
                self._collected(on_a_cluster)
        except BaseException as error:  # pytest would wrap it into its own words
            self.stopped = error
            return True
        return None

    def _leave_to_other_lanes(self, session: pytest.Session) -> None:
        """Tests of a part of a claim, where the lane can show the whole, or not even that: nothing of it is left out by that."""
        assert self.run
        driver, left_out = self.run.lane.driver, self.left_out
        left = [item for item in session.items if _is_for_others(item, driver)]
        self.left_out = [item for item in left_out if not _is_for_others(item, driver)]
        session.items[:] = [item for item in session.items if item not in left]

    def _collected(self, items: list[pytest.Item]) -> None:
        assert self.run
        register, lane = claims.load(), self.run.lane
        tests: list[dict[str, Any]] = []
        subjects: dict[str, list[str]] = {}
        for item in items:
            if not (ids := claim_ids(item)):
                continue
            static = kind_of(item) == "static"
            levels = [
                {
                    "id": i,
                    "level": "static"
                    if static
                    else register[i].level(lane.fidelity.stand_ins, lane.driver.evidence_level),
                }
                for i in ids
            ]
            tests.append({"test": item.nodeid, "kind": kind_of(item), "claims": levels})
            subjects |= {i: [*register[i].subjects, *register[i].touches] for i in ids}
        static_ones = all(t["kind"] == "static" for t in tests)
        left_out: dict[str, list[str]] = {}
        for item in self.left_out:
            if (kind_of(item) == "static") is static_ones:
                for i in claim_ids(item):
                    left_out.setdefault(i, []).append(item.nodeid)
        if tests:
            self.run.journal.write(events.Collected(tests, subjects, left_out))

    # -- how each test runs --------------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Runs a test of a watch again where nothing but a machine that stood still left it unproven, and all tries stay written.

        What broke is never run again.
        """
        if not claim_ids(item) or "sampler" not in getattr(item, "fixturenames", ()):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        for _ in range(_MOST_TRIES - 1):
            last = tries(self._journal.of_test.get(item.nodeid, []))[-1]
            if not (why := only_stalled(last, claim_ids(item), kind_of(item))):
                break
            self._journal.write(events.Again(why), item.nodeid)
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    # -- how each test ends --------------------------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Ends a test in the journal, and says in pytest what the journal comes to: the two can't differ."""
        report = yield
        error = call.excinfo.value if call.excinfo else None
        if not claim_ids(item):
            return self._unclaimed(item, error, report)
        if call.when == "setup" and error is None:
            return report
        if error is not None or call.when == "call":
            self._end(item, error, report)
        if call.when == "teardown" and error is None:
            return report
        verdict, reason = of_test(self._journal.of_test.get(item.nodeid, []), claim_ids(item), kind_of(item))
        report.user_properties.append(("verdict", verdict.value))
        if verdict is Verdict.HELD:
            report.outcome, report.longrepr = "passed", None
        elif verdict is Verdict.NOT_EXERCISED:
            _skipped(report, item, reason)
        else:
            report.outcome = "failed"
            ours = isinstance(error, Broke | Unproven) and reason in str(error)
            if error is None or isinstance(error, Broke | Unproven | NotExercised | pytest.skip.Exception):
                report.longrepr = str(error) if ours else reason
        return report

    @property
    def _journal(self) -> Journal:
        assert self.run, "no test runs without it"
        return self.run.journal

    def _unclaimed(
        self, item: pytest.Item, error: BaseException | None, report: pytest.TestReport
    ) -> pytest.TestReport:
        """A test that shows no claim: no verdict comes of it, but where it fails the run isn't green either."""
        if isinstance(error, NotExercised):
            _skipped(report, item, str(error))
        elif report.failed:
            first = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
            self._journal.write(events.UnclaimedFailed(item.nodeid, report.when, first))
        return report

    def _end(self, item: pytest.Item, error: BaseException | None, report: pytest.TestReport) -> None:
        """The last lines of a test, once its call is over; an error of its teardown adds to them."""
        # At its end the assertions themselves say which claims are in doubt.
        looked_at_all = getattr(error, "at_the_end", False)
        if report.skipped or isinstance(error, NotExercised):
            self._journal.write(events.NotExercised(str(error)), item.nodeid)
        elif isinstance(error, Unproven) and not looked_at_all:
            self._journal.write(events.Doubt(str(error)), item.nodeid)
        elif error is not None and not isinstance(error, Broke | Unproven):
            first = str(error).partition("\n")[0][:300]
            where = "" if report.when == "call" else f" in its {report.when}"
            reason = f"harness error{where}: {type(error).__name__}: {first}"
            self._journal.write(events.Doubt(reason), item.nodeid)
        outcome = "completed" if error is None or looked_at_all else "stopped"
        self._journal.write(events.TestEnd(outcome, str(error) if error else ""), item.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """A test's assertions that didn't hold fail it at its end, when all else was looked at."""
        result = yield
        experiment = cast(Experiment | None, pyfuncitem.funcargs.get("experiment"))
        if experiment:
            try:
                experiment.finish()
            except (Broke, Unproven) as error:
                error.at_the_end = True  # type: ignore[union-attr]
                raise
        return result

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """broke = failed, unproven = error, not exercised = skipped."""
        verdict = dict(getattr(report, "user_properties", ())).get("verdict")  # pytest asks about collection too
        if verdict is None or (report.when == "setup" and report.passed):
            return None
        return _WORDS[Verdict(str(verdict))]

    # -- the end -------------------------------------------------------------------------------------------------------------

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Remembers that the user stopped it; pytest takes errors of the collection for an interrupt, too."""
        self.interrupted = excinfo.type is KeyboardInterrupt

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        """Closes the run: also where pytest stopped early, or where the end of a test's fixtures raises."""
        try:
            return (yield)
        finally:
            self.close()

    def close(self) -> None:
        """Seals the journal and leaves the machine as it was; done once, whoever asks."""
        self._open.close()


_WORDS = {
    Verdict.HELD: ("passed", "H", "HELD"),
    Verdict.BROKE: ("failed", "B", "BROKE"),
    Verdict.UNPROVEN: ("error", "U", "UNPROVEN"),
    Verdict.NOT_EXERCISED: ("skipped", "N", "NOT EXERCISED"),
}


def _skipped(report: pytest.TestReport, item: pytest.Item, reason: str) -> None:
    report.outcome = "skipped"
    report.longrepr = (str(item.path), item.location[1] or 0, f"not exercised: {reason}")


class _Collected:
    """Takes the tests of a session that only collects."""

    def __init__(self) -> None:
        self.items: list[pytest.Item] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = list(session.items)


def not_asked_for(items: list[pytest.Item]) -> list[pytest.Item]:
    """Every test of the suites that shares a claim with *items* and isn't among them: one that was named by its file or node id hides the others."""
    wanted = {i for item in items for i in claim_ids(item)}
    if not wanted:
        return []
    own = {str(item.path.parent) for item in items if not item.path.is_relative_to(SUITES)}
    found = _Collected()
    options = ["--rootdir", str(ROOT), "-c", str(SUITES / "holdfast.ini"), "--collect-only", "-p", "no:cacheprovider"]
    with contextlib.redirect_stdout(io.StringIO()):
        code = pytest.main([*options, *(str(SUITES / room) for room in ROOMS), *sorted(own)], plugins=[found])
    if code != pytest.ExitCode.OK:
        raise UsageError("the suites can't all be collected", "run: pytest --collect-only on them")
    here = {(item.path, item.name) for item in items}
    return [item for item in found.items if wanted & set(claim_ids(item)) and (item.path, item.name) not in here]


class PlainSession(Session):
    """A session that plain pytest began: it reports at its end, and pytest's own exit code stays."""

    def __init__(self, config: pytest.Config) -> None:
        option = config.option
        lane = Lane(option.lane, Subject((option.tree or default_tree()).resolve(), option.entry, option.charts))
        lane.subject.preflight()
        if own := lane.subject.claims_file():
            claims.use(own)
        self.folder = reports_dir() / new_name()
        words = ["pytest", "--lane", lane.name, *(["--tree", str(option.tree)] if option.tree else [])]
        words += ["--entry", option.entry] if option.entry else []
        words += ["--charts", str(option.charts)] if option.charts else []

        def rerun(test: str) -> str:
            return shlex.join([*words, test])

        super().__init__(
            lambda clusters: opened(
                lane, self.folder, rerun, keep=option.lane_keep, reuse=option.lane_reuse, clusters=clusters
            )
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if session.items and not session.config.option.collectonly and not session.testsfailed:
            try:
                self.left_out += not_asked_for(session.items)
            except UsageError as error:
                raise pytest.UsageError(str(error)) from None
        done = super().pytest_runtestloop(session)
        if isinstance(self.stopped, Exception):
            raise pytest.UsageError(str(self.stopped))
        if self.stopped:
            raise self.stopped
        return done

    def pytest_unconfigure(self) -> None:
        """The verdicts, once pytest has said its own."""
        self.close()
        if self.run:
            reporting.make(self.folder, console)
