"""Reports read the journal alone, and say what it says."""

import re
from xml.etree import ElementTree

import pytest
from rich.console import Console

from holdfast import claims
from holdfast.journal import Journal, read_file
from holdfast.reporting import html, junit, live, report, terminal
from holdfast.verdicts import ClaimVerdict, Verdict, exit_code, verdicts

TEST = "suites/faults/test_flux.py::test_x"


@pytest.fixture
def run(tmp_path):
    """The folder of a run with one fault, one target that failed for a while, and text that could break a page."""
    journal = Journal(tmp_path / "journal.jsonl")
    begin = journal.append(
        "run-begin",
        run="r",
        lane="kind/fast",
        tree="gitops",
        commit="abc",
        own_commit=True,
        said=[],
        kubernetes="1.36.3",
        offline=True,
        notes=[{"text": "a <b>note</b>", "touches": ["*"]}],
        holdfast="0",
    )
    at = __import__("datetime").datetime.fromisoformat(begin["t"]).timestamp()
    ids = [{"id": "flux-down-workloads-continue", "level": "lab"}]
    journal.append(
        "collected",
        tests=[{"test": TEST, "kind": "fault", "claims": ids}],
        subjects={"flux-down-workloads-continue": ["workloads"]},
    )
    for event, fields in [
        ("test-begin", {}),
        ("steady", {"what": "w", "ok": True, "sighting": "s"}),
        ("negative-control", {"probe": "sampler", "red": True}),
        ("fault-inject", {"fault": "flux_down()", "fault_id": 1}),
        ("fault-took-effect", {"fault": "flux_down()", "fault_id": 1, "effects": ["no pod after 1s"]}),
        ("fault-healed", {"fault": "flux_down()", "fault_id": 1, "ok": True, "sighting": "healed"}),
        ("converged", {"fault": "flux_down()", "fault_id": 1, "ok": True, "sighting": "converged"}),
        (
            "sampled",
            {
                "watch": "w",
                "vantage": "outside",
                "target": "http://x via k3s1 (new)",
                "kind": "ingress",
                "mode": "new",
                "negative-control": False,
                "begin": at,
                "end": at + 60,
                "looks": 600,
                "failed": 3,
                "outages": [],
                "intervals": [
                    [at, at + 20, "ok", 200],
                    [at + 20, at + 20.3, "refused", 3],
                    [at + 20.3, at + 60, "ok", 397],
                ],
            },
        ),
        (
            "assertion",
            {
                "what": "p",
                "probe": "sampler",
                "held": False,
                "sighting": "3 of 600 <script>alert(1)</script>",
                "figure": "0.3s",
                "budget": "0s",
                "faults": ["flux_down()"],
            },
        ),
        ("test-end", {"outcome": "completed"}),
    ]:
        journal.append(event, test=TEST, **fields)
    journal.seal()
    return tmp_path


def test_the_page_is_one_file_with_every_claim_and_a_timeline(run):
    report.make(run, Console(quiet=True))
    page = (run / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!#)', page)
    for one in claims.load():
        assert f"<code>{one}</code>" in page
    assert "All running workloads continue operating" in page
    assert page.count("<rect") == 3
    for word in ("injected", "took effect", "healed", "converged"):
        assert f">{word}</text>" in page


def test_nothing_that_was_seen_becomes_markup(run):
    report.make(run, Console(quiet=True))
    page = (run / "report.html").read_text()
    assert "<script>" not in page
    assert "a &lt;b&gt;note" in page


def test_junit_counts_what_the_verdicts_say(run):
    found = verdicts(read_file(run / "journal.jsonl"), claims.load())
    junit.write(run / "junit.xml", found, "r")
    suite = ElementTree.parse(run / "junit.xml").getroot()
    assert suite.attrib["failures"] == "1"
    assert int(suite.attrib["tests"]) == len(claims.load())
    assert int(suite.attrib["skipped"]) == len(claims.load()) - 1


def test_the_table_shows_the_reason_and_an_unsealed_journal_is_said(run):
    text = (run / "journal.jsonl").read_text().splitlines()
    (run / "journal.jsonl").write_text("\n".join(text[:-1]) + "\n")
    console = Console(record=True, width=160, file=__import__("io").StringIO())
    report.make(run, console)
    said = console.export_text()
    assert "broke" in said
    assert "3 of 600" in said
    assert "the journal is not whole" in said
    assert "not whole" in (run / "report.html").read_text()


@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_exit_line_says_the_verdict_that_the_code_comes_from(verdict):
    found = [ClaimVerdict("c", "lab", "kind/fast", verdict, "so", ("t",))]
    words = terminal.exit_line(exit_code(found, ["c"]))
    assert verdict.value in words


def test_every_exit_code_of_the_design_has_its_own_words():
    said = [terminal.exit_line(code) for code in (0, 10, 11, 12, 13, 64)]
    assert len({line.partition(":")[2] for line in said}) == len(said)


def test_each_step_of_an_arc_has_its_line(run):
    lines = [live.line(e)[0] for e in read_file(run / "journal.jsonl").entries]
    said = "\n".join(filter(None, lines))
    for part in (
        "injecting flux_down()",
        "flux_down() took effect: no pod after 1s",
        "flux_down() healed",
        "converged",
        "broke: 3 of 600",
    ):
        assert part in said


def test_a_timeline_without_samples_is_left_out():
    assert html._timeline("t", [{"event": "test-begin", "test": "t"}]) is None
