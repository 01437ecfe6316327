"""The pytest plugin: fixtures and hooks that join tests to a run. Glue only; inert outside of `holdfast verify`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, cast

import pytest

from holdfast import claims
from holdfast.cluster import Cluster
from holdfast.drivers.driver import GitHosting, Writable, lacks
from holdfast.errors import NotExercised, UsageError
from holdfast.experiment import Experiment
from holdfast.faults.fault import Faults
from holdfast.gitserver import GitServer
from holdfast.run import Run
from holdfast.sampling.watch import Sampler
from holdfast.verdicts import Verdict, of_test
from holdfast.waiting import Broke, Unproven, patiently

RUN = pytest.StashKey[Run]()


class Plugin:
    """Registered by `holdfast verify` with its run; *wanted* limits it to tests of these claims.

    *prepare* is called once there is a test to run, before the first: what it raises is kept in `stopped`, and no test runs.
    """

    def __init__(
        self, run: Run, wanted: frozenset[str] = frozenset(), prepare: Callable[[], None] | None = None
    ) -> None:
        self.run, self.wanted, self.prepare = run, wanted, prepare
        self.left_out: list[pytest.Item] = []
        self.stopped: BaseException | None = None

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keeps the tests of the wanted claims, where any were named."""
        left = [item for item in items if self.wanted and not self.wanted & set(_ids(item))]
        if left:
            config.hook.pytest_deselected(items=left)
            items[:] = [item for item in items if item not in left]

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[RUN] = self.run

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Remembers what was left out: a claim isn't held by a part of its tests."""
        self.left_out += [item for item in items if _ids(item)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Writes down which claims were selected: what was collected and has no end later is unproven."""
        if session.testsfailed or not session.items:
            return None  # collection itself failed, or nothing was selected
        try:
            if self.prepare:
                self.prepare()
        except BaseException as error:  # pytest would wrap it into its own words
            self.stopped = error
            return True
        register = claims.load()
        tests: list[dict[str, Any]] = []
        subjects: dict[str, list[str]] = {}
        for item in session.items:
            ids = _ids(item)
            if ids:
                levels = [
                    {
                        "id": i,
                        "level": "static"
                        if _kind(item) == "static"
                        else register[i].level(self.run.lane.fidelity.stand_ins, self.run.lane.driver.evidence_level),
                    }
                    for i in ids
                ]
                tests.append({"test": item.nodeid, "kind": _kind(item), "claims": levels})
                subjects |= {i: [*register[i].subjects, *register[i].touches] for i in ids}
        left_out: dict[str, list[str]] = {}
        for item in self.left_out:
            for i in _ids(item):
                left_out.setdefault(i, []).append(item.nodeid)
        self.run.journal.write("collected", tests=tests, subjects=subjects, left_out=left_out)
        return None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Ends a test in the journal, and says in pytest what the journal comes to: the two can't differ."""
        report = yield
        error = call.excinfo.value if call.excinfo else None
        if not _ids(item):
            return self._unclaimed(item, error, report)
        if call.when == "setup" and error is None:
            return report
        if error is not None or call.when == "call":
            self._end(item, error, report)
        if call.when == "teardown" and error is None:
            return report
        lines = self.run.journal.of_test.get(item.nodeid, [])
        verdict, reason = of_test(lines, _ids(item), _kind(item))
        report.user_properties.append(("verdict", verdict.value))
        if verdict is Verdict.HELD:
            report.outcome, report.longrepr = "passed", None
        elif verdict is Verdict.NOT_EXERCISED:
            report.outcome, report.longrepr = (
                "skipped",
                (str(item.path), item.location[1] or 0, f"not exercised: {reason}"),
            )
        else:
            report.outcome = "failed"
            ours = isinstance(error, Broke | Unproven) and reason in str(error)
            if error is None or isinstance(error, Broke | Unproven | NotExercised | pytest.skip.Exception):
                report.longrepr = str(error) if ours else reason
        return report

    def _unclaimed(
        self, item: pytest.Item, error: BaseException | None, report: pytest.TestReport
    ) -> pytest.TestReport:
        """A test that shows no claim: no verdict comes of it, but where it fails the run isn't green either."""
        if isinstance(error, NotExercised):
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.location[1] or 0, f"not exercised: {error}")
        elif report.failed:
            first = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
            self.run.journal.write("unclaimed-failed", of=item.nodeid, when=report.when, reason=first)
        return report

    def _end(self, item: pytest.Item, error: BaseException | None, report: pytest.TestReport) -> None:
        """The last lines of a test, once its call is over; an error of its teardown adds to them."""
        looked_at_all = getattr(
            error, "at_the_end", False
        )  # then the assertions themselves say which claims are in doubt
        if report.skipped or isinstance(error, NotExercised):
            self.run.journal.write("not-exercised", test=item.nodeid, reason=str(error))
        elif isinstance(error, Unproven) and not looked_at_all:
            self.run.journal.write("unproven", test=item.nodeid, reason=str(error))
        elif error is not None and not isinstance(error, Broke | Unproven):
            first = str(error).partition("\n")[0][:300]
            where = "" if report.when == "call" else f" in its {report.when}"
            reason = f"harness error{where}: {type(error).__name__}: {first}"
            self.run.journal.write("unproven", test=item.nodeid, reason=reason)
        outcome = "completed" if error is None or looked_at_all else "stopped"
        self.run.journal.write("test-end", test=item.nodeid, outcome=outcome, reason=str(error) if error else "")

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
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


_WORDS = {
    Verdict.HELD: ("passed", "H", "HELD"),
    Verdict.BROKE: ("failed", "B", "BROKE"),
    Verdict.UNPROVEN: ("error", "U", "UNPROVEN"),
    Verdict.NOT_EXERCISED: ("skipped", "N", "NOT EXERCISED"),
}


def _ids(item: pytest.Item) -> list[str]:
    return list(dict.fromkeys(i for mark in item.iter_markers("claim") for i in mark.args))


def _kind(item: pytest.Item) -> str:
    used = getattr(item, "fixturenames", ())
    return "static" if "tree" in used else "fault" if "faults" in used else "observation"


_NEEDED_BY = {"faults": Writable, "git": GitHosting}


def _needs(item: pytest.Item) -> list[type]:
    """The capabilities that a test names, and those that its fixtures need."""
    used = getattr(item, "fixturenames", ())
    named = [need for mark in item.iter_markers("needs") for need in mark.args]
    return list(dict.fromkeys([*named, *(need for fixture, need in _NEEDED_BY.items() if fixture in used)]))


def pytest_configure(config: pytest.Config) -> None:
    """Declares the mark."""
    config.addinivalue_line("markers", "claim(*ids): the claims of suites/claims.toml that the test shows")
    config.addinivalue_line("markers", "needs(*capabilities): what the lane's driver must be able to do")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fails collection for a claim id that isn't in the register."""
    register = claims.load() if any(_ids(item) for item in items) else {}
    for item in items:
        for wanted in _ids(item):
            if wanted not in register:
                raise pytest.UsageError(f"{item.nodeid}: {claims.unknown(wanted, register)}")


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Run:
    """The run that this test belongs to."""
    if RUN not in request.config.stash:
        pytest.fail("a test with a cluster runs by: holdfast verify -k NAME", pytrace=False)
    return request.config.stash[RUN]


@pytest.fixture
def experiment(request: pytest.FixtureRequest, run: Run) -> Experiment:
    """The experiment of this test; the journal knows it from here on."""
    item = cast(pytest.Item, request.node)
    rerun = f"{run.command} -k {item.name}"
    made = Experiment(run.journal, item.nodeid, _kind(item), rerun)
    made.write("test-begin", claims=_ids(item), kind=made.kind)
    if why := lacks(run.lane.driver, *_needs(item)):
        raise NotExercised(why)
    return made


@pytest.fixture
def tree(run: Run, experiment: Experiment) -> Callable[[str], None]:
    """Says what the tree alone shows of a claim: it returns where the claim holds, and raises where not."""

    def shows(claim: str) -> None:
        found = run.checked.claims[claim]
        if found.verdict == "broke":
            experiment.assertion(claim, "rules", False, found.reason)
        elif found.verdict == "unproven":
            raise Unproven(found.reason)
        elif found.verdict == "not exercised":
            raise NotExercised(found.reason)
        experiment.shown(claim, found.reason)

    return shows


@pytest.fixture
def cluster(run: Run, experiment: Experiment) -> Iterator[Cluster]:
    """The lane's cluster, steady when a test gets it."""
    made = run.cluster()
    made.experiment = experiment
    made.power_windows.clear()
    yield made
    try:
        if not run.quarantined:
            made.inject.heal(patiently)  # what the test itself changed and left
    finally:
        made.experiment = None


@pytest.fixture
def faults(run: Run, cluster: Cluster, experiment: Experiment) -> Faults:
    """Runs faults: `with faults(node_loss("k3s2")): …`."""
    return Faults(cluster, lambda what: run.capture(experiment.test, what), run.quarantine)


@pytest.fixture
def sampler(run: Run, cluster: Cluster, experiment: Experiment) -> Sampler:
    """Runs watches: `with sampler.watch(ingress()) as seen: …`."""
    return Sampler(cluster, run.folder / "samples" / experiment.test.rpartition("::")[2])


@pytest.fixture
def git(run: Run) -> GitServer:
    """The Git server that Flux pulls from."""
    return run.lane.git()


def budget(claim_id: str, name: str) -> str:
    """A budget of the register, as text."""
    found: dict[str, Any] = claims.load()[claim_id].budgets
    if name not in found:
        raise UsageError(
            f"the claim {claim_id} has no budget '{name}'", "add it to suites/claims.toml, with the reason"
        )
    return str(found[name]["value"])
