"""Every way in which a test can end: what pytest prints of it is what the journal comes to."""

from contextlib import nullcontext
from types import SimpleNamespace

from holdfast import events
from holdfast.journal import Journal, read_file
from holdfast.session import Session
from holdfast.verdicts import Verdict, of_test, verdicts

pytest_plugins = ["pytester"]

SUITE = """
import pytest
from holdfast.marks import claim
from holdfast.drivers.driver import DriverError
from holdfast.errors import NotExercised
from holdfast.waiting import Broke, CannotLook, Unproven


@pytest.fixture
def clean():
    yield
    raise RuntimeError("the teardown failed")


@pytest.fixture
def broken_setup(experiment):
    raise RuntimeError("the setup failed")


def begin(experiment):
    experiment.steady("steady", True, "yes")
    experiment.negative_control("look", True, "red")


def looked(experiment, held, claims=()):
    experiment.assertion("works", "look", held, f"seen: {held}", claims=claims)
"""
# name -> (body, extra fixture, verdict)
ENDS = {
    "held": ("looked(experiment, True)", "", Verdict.HELD),
    "broke": ("looked(experiment, False)", "", Verdict.BROKE),
    "broke_and_goes_on": ("looked(experiment, False); looked(experiment, True)", "", Verdict.BROKE),
    "required": (
        "experiment.assertion('works', 'look', False, 'seen', required=True); looked(experiment, True)",
        "",
        Verdict.BROKE,
    ),
    "doubt": ("looked(experiment, None)", "", Verdict.UNPROVEN),
    "nothing": ("pass", "", Verdict.UNPROVEN),
    "unproven": ("looked(experiment, True); raise Unproven('no data')", "", Verdict.UNPROVEN),
    "a_verdict_out_of_nowhere": ("looked(experiment, True); raise Broke('a driver says so')", "", Verdict.UNPROVEN),
    "driver_error": ("looked(experiment, True); raise DriverError('the node is still on')", "", Verdict.UNPROVEN),
    "cannot_look": ("looked(experiment, True); raise CannotLook('no API')", "", Verdict.UNPROVEN),
    "defect": ("looked(experiment, True); {}['x']", "", Verdict.UNPROVEN),
    "plain_assert": ("looked(experiment, True); assert 1 == 2", "", Verdict.UNPROVEN),
    "defect_after_broke": ("looked(experiment, False); {}['x']", "", Verdict.BROKE),
    "not_exercised": ("raise NotExercised('the lane lacks it')", "", Verdict.NOT_EXERCISED),
    "skipped": ("pytest.skip('not today')", "", Verdict.NOT_EXERCISED),
    "broke_then_not_exercised": ("looked(experiment, False); raise NotExercised('the rest')", "", Verdict.BROKE),
    "setup_fails": ("looked(experiment, True)", "broken_setup", Verdict.UNPROVEN),
    "teardown_fails": ("looked(experiment, True)", "clean", Verdict.UNPROVEN),
    "teardown_fails_after_broke": ("looked(experiment, False)", "clean", Verdict.BROKE),
}


def toy_run(journal):
    """A run on a lane that has no cluster."""
    driver = SimpleNamespace(name="toy", evidence_level="lab")
    lane = SimpleNamespace(fidelity=SimpleNamespace(stand_ins=()), driver=driver)
    return SimpleNamespace(journal=journal, lane=lane, rerun=str, begin_lane=lambda: None)


def session(pytester, tmp_path, suite, *options):
    """What pytest says of a suite of a toy lane, and its journal, sealed."""
    pytester.makepyfile(suite)
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("run-begin", lane="toy", notes=[])
    plugin = Session(lambda clusters: nullcontext(toy_run(journal)))
    result = pytester.inline_run(*options, "-p", "no:cacheprovider", "-p", "holdfast.fixtures", plugins=[plugin])
    journal.seal()
    return result, journal


def test_what_pytest_prints_is_what_the_journal_says(pytester, tmp_path):
    body = SUITE
    for name, (lines, extra, _) in ENDS.items():
        steps = "; ".join(("begin(experiment)", lines)) if name not in ("not_exercised", "skipped") else lines
        body += f"\n\n@claim('ingress-tls')\ndef test_{name}(experiment{', ' + extra if extra else ''}):\n    {steps}\n"
    result, _ = session(pytester, tmp_path, body, "-v")
    assert result.ret == 1
    record = read_file(tmp_path / "journal.jsonl")
    by_test = {}
    for item in next(record.of(events.Collected))["tests"]:
        alone = {**next(record.of(events.Collected)), "tests": [item]}
        lines = tuple(alone if e["event"] == "collected" else e for e in record.entries)
        found = verdicts(type(record)(lines, record.sealed))[0]
        by_test[item["test"].partition("::test_")[2]] = found.verdict
    assert by_test == {name: wanted for name, (_, _, wanted) in ENDS.items()}
    printed = {}
    for report in result.getreports("pytest_runtest_logreport"):
        for key, value in report.user_properties:
            if key == "verdict":
                printed[report.nodeid.partition("::test_")[2]] = Verdict(value)
                assert report.outcome == {"held": "passed", "not exercised": "skipped"}.get(value, "failed")
    assert printed == by_test  # the last word that pytest prints of each


def test_what_the_driver_lacks_is_not_exercised_and_a_failure_without_a_claim_is_kept(pytester, tmp_path):
    suite = (
        SUITE
        + """
from holdfast.drivers.driver import NodePower
from holdfast.marks import needs


@needs(NodePower)
@claim("ingress-tls")
def test_needs_power(experiment):
    raise AssertionError("it must not begin")


@claim("ingress-nodeports")
def test_pushes(experiment, git):
    raise AssertionError("it must not begin")


def test_without_a_claim():
    assert 1 == 2


@needs(NodePower)
def test_without_a_claim_needs_power(experiment):
    raise AssertionError("it must not begin")
"""
    )
    result, _ = session(pytester, tmp_path, suite)
    record = read_file(tmp_path / "journal.jsonl")
    found = {v.claim: (v.verdict, v.reason) for v in verdicts(record) if v.tests}
    why = "the driver toy can't do that: it lacks"
    assert found == {
        "ingress-tls": (Verdict.NOT_EXERCISED, f"{why} NodePower"),
        "ingress-nodeports": (Verdict.NOT_EXERCISED, f"{why} GitHosting"),
    }
    outcomes = {
        r.nodeid.partition("::")[2]: r.outcome
        for r in result.getreports("pytest_runtest_logreport")
        if r.outcome != "passed"
    }
    assert outcomes == {
        "test_needs_power": "skipped",
        "test_pushes": "skipped",
        "test_without_a_claim": "failed",
        "test_without_a_claim_needs_power": "skipped",
    }
    assert [e["of"].partition("::")[2] for e in record.of(events.UnclaimedFailed)] == ["test_without_a_claim"]


AGAIN = """
from holdfast.marks import claim
import pytest

TRIES = {}


@pytest.fixture
def sampler():
    return None


def seen(experiment, *held):
    tried = TRIES[experiment.test] = TRIES.get(experiment.test, 0) + 1
    experiment.steady("steady", held[tried - 1] != [], f"try {tried}: steady")
    experiment.negative_control("sampler", True, "red")
    for one in held[tried - 1]:
        experiment.assertion("outage", "sampler", one if one is not ... else None, f"try {tried}: {one}", stalled=one is ...)
"""
# name -> (what each try sees: None: unknown, ...: unknown because a node stood still), the verdict, how many tries
TRIES = {
    "held": ([[True]], Verdict.HELD, 1),
    "stalled_once": ([[True, ...], [True, True]], Verdict.HELD, 2),
    "stalled_twice": ([[...], [...], [True]], Verdict.HELD, 3),
    "stalled_always": ([[...], [...], [...], [True]], Verdict.UNPROVEN, 3),
    "stalled_then_in_doubt": ([[...], [None], [True]], Verdict.UNPROVEN, 2),
    "stalled_then_broke": ([[...], [False]], Verdict.BROKE, 2),
    "not_steady_before": ([[], [True]], Verdict.UNPROVEN, 1),
    "broke": ([[False], [True]], Verdict.BROKE, 1),
    "broke_and_stalled": ([[..., False], [True]], Verdict.BROKE, 1),
    "another_doubt_too": ([[..., None], [True]], Verdict.UNPROVEN, 1),
    "another_doubt": ([[None], [True]], Verdict.UNPROVEN, 1),
}


def test_only_what_a_stall_left_unproven_is_tried_again_and_not_for_ever(pytester, tmp_path):
    body = AGAIN
    for name, (held, _, _) in TRIES.items():
        body += f"\n\n@claim('ingress-tls')\ndef test_{name}(experiment, sampler):\n    seen(experiment, *{held!r})\n".replace(
            "Ellipsis", "..."
        )
    result, journal = session(pytester, tmp_path, body)
    found, reported = {}, {}
    for test, lines in journal.of_test.items():
        verdict, reason = of_test(lines, ["ingress-tls"], "observation")
        count = sum(line["event"] == "test-begin" for line in lines)
        assert (f"tried {count} times: at first try 1" in reason) is (count > 1)
        found[test.partition("::test_")[2]] = (verdict, count)
    assert found == {name: (verdict, count) for name, (_, verdict, count) in TRIES.items()}
    for report in result.getreports("pytest_runtest_logreport"):
        if report.when == "call":
            reported.setdefault(report.nodeid.partition("::test_")[2], []).append(report.outcome)
    assert reported == {n: ["passed" if v is Verdict.HELD else "failed"] for n, (_, v, _) in TRIES.items()}
    assert verdicts(read_file(tmp_path / "journal.jsonl"))[0].verdict is Verdict.BROKE
