"""Several lanes in one command: each keeps its verdicts, and a summary stands at the end."""

from pathlib import Path

import pytest
import typer
from rich.console import Console

from holdfast import verify
from holdfast.drivers.driver import DriverError
from holdfast.errors import HostCannot, UsageError
from holdfast.reporting import summary
from holdfast.reporting.summary import Part
from holdfast.verdicts import ClaimVerdict, Verdict, across, exit_code, lacking
from suites.harness.test_rehearsal_outcome import KIND, came_to, tree, widget

HELD, BROKE, UNPROVEN, NOT = Verdict.HELD, Verdict.BROKE, Verdict.UNPROVEN, Verdict.NOT_EXERCISED
QUICK, SLOW = "kwok/1.36", "kind/fast"


def verdict(claim, level, lane, said, reason="so", tests=("t",)):
    return ClaimVerdict(claim, level, lane, said, reason, tests)


@pytest.fixture
def parts(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.html").write_text("x")
    return [
        Part(
            QUICK,
            tmp_path / "one",
            [verdict("a", "static", QUICK, HELD), verdict("b", "lab", QUICK, NOT), verdict("c", "lab", QUICK, NOT)],
        ),
        Part(
            SLOW,
            tmp_path / "two",
            [
                verdict("b", "lab", SLOW, HELD),
                verdict("a", "model", SLOW, BROKE, "<b>no</b>"),
                verdict("d", "", SLOW, NOT, tests=()),
            ],
        ),
    ]


def test_a_claim_has_one_row_with_each_level_and_lane_and_what_broke_comes_first(parts):
    rows = summary.rows(parts)
    assert [r.claim for r in rows] == ["a", "b", "c"]  # d has no test
    assert {c: f.verdict for c, f in rows[0].cells.items()} == {summary.TREE: HELD, SLOW: BROKE}
    assert {c: f.verdict for c, f in rows[1].cells.items()} == {QUICK: NOT, SLOW: HELD}


def test_the_table_and_the_page_say_all_of_it(parts):
    console = Console(record=True, width=120)
    summary.show(console, parts)
    said = console.export_text()
    assert "broke (model)" in said and "held (lab)" in said and "not exercised" in said
    path = summary.write(parts)
    page = path.read_text()
    assert path == parts[1].folder / "summary.html"
    assert "&lt;b&gt;no&lt;/b&gt;" in page and '<a href="../one/report.html">kwok/1.36</a>' in page


def test_what_one_lane_exercised_is_exercised(parts):
    found = across(p.found for p in parts)
    assert lacking(found, ["b"]) == set()
    assert lacking(found, ["c"]) == {"c"}
    assert exit_code(found) == 10
    alone = across([[verdict("e", "static", QUICK, HELD), verdict("e", "lab", QUICK, NOT)]])
    assert lacking(alone, ["e"]) == {"e"}  # where a cluster would show it, too, the tree alone is not enough


class Command:
    """`holdfast verify` with lanes that come to what a test says."""

    def __init__(self, monkeypatch, tmp_path, cannot=(), **found):
        self.ran, self.cannot, self.found, self.folder, self.rehearsed = [], cannot, found, tmp_path, []
        self.start = came_to(tree(tmp_path / "tree"))
        monkeypatch.setattr(verify, "run_on", self.run)
        monkeypatch.setattr(verify, "rehearsed", self.rehearse)

    def rehearse(self, subject, profile):
        if self.start is None:
            raise HostCannot("no programs", "install Go")
        self.rehearsed.append(profile)
        return self.start

    def run(self, on, wanted, before):
        if on.name in self.cannot:
            raise HostCannot("no engine", "install one")
        self.ran.append((on.name, len(before)))
        said = self.found.get(on.driver.name, HELD)
        return Part(on.name, self.folder, [verdict("git-over-ssh", "lab", on.name, said)])

    def __call__(self, **options):
        with pytest.raises(typer.Exit) as end:
            verify.verify(**options)
        return end.value.exit_code


def test_without_a_lane_all_that_the_machine_can_is_run_the_quickest_first(monkeypatch, tmp_path):
    command = Command(monkeypatch, tmp_path, kind=UNPROVEN)
    assert command() == 11
    assert command.ran == [(QUICK, 0), (SLOW, 1)]
    assert '<a href="rehearsal.html">' in (Path(tmp_path) / "summary.html").read_text()
    assert "Kustomization" in (Path(tmp_path) / "rehearsal.html").read_text()
    assert [f"kwok/{profile}" for profile in command.rehearsed] == [QUICK]


def test_what_is_in_the_way_of_a_start_keeps_the_whole_from_being_green(monkeypatch, tmp_path, capsys):
    command = Command(monkeypatch, tmp_path)
    assert command() == 0
    command.start = came_to(tree(tmp_path / "other", widget("one")), KIND)
    assert command() == 11
    assert "a start from nothing: " in capsys.readouterr().out
    command.start = came_to(tree(tmp_path / "third"), converged=False)
    assert command() == 11
    command.start = None  # that the machine can't is said, and no verdict
    assert command() == 0
    assert "it isn't rehearsed: no programs" in capsys.readouterr().out
    monkeypatch.setattr(verify, "rehearsed", failing)
    assert command() == 11
    assert "wasn't seen to its end: the API server went away" in capsys.readouterr().out


def failing(subject, profile):
    raise DriverError("the API server went away")


def test_what_is_narrowed_is_not_rehearsed(monkeypatch, tmp_path):
    command = Command(monkeypatch, tmp_path)
    for options in ({"select": "x"}, {"smoke": True}, {"lane": "kwok"}, {"claim": ["git-over-ssh"]}):
        command(**options)
    assert command.rehearsed == []


def test_a_lane_that_the_machine_can_not_run_is_said_and_left_out(monkeypatch, tmp_path, capsys):
    command = Command(monkeypatch, tmp_path, cannot=(SLOW,))
    assert command() == 0
    assert command.ran == [(QUICK, 0)]
    assert f"{SLOW} isn't run: no engine" in capsys.readouterr().out
    command.cannot = (QUICK, SLOW)
    with pytest.raises(UsageError, match="no lane can be run"):
        verify.verify()


def test_a_lane_that_was_named_is_the_only_one(monkeypatch, tmp_path):
    command = Command(monkeypatch, tmp_path, cannot=(SLOW,))
    assert command(lane="kwok") == 0
    assert command.ran == [(QUICK, 0)]
    with pytest.raises(HostCannot, match="no engine"):
        verify.verify(lane="kind")


def test_a_cluster_is_kept_of_one_lane(monkeypatch, tmp_path):
    command = Command(monkeypatch, tmp_path)
    assert command(reuse=True) == 0
    assert command.ran == [(SLOW, 0)]


def test_a_machine_without_the_programs_can_not_rehearse(monkeypatch, tmp_path):
    """The driver says what it lacks in its own error: the command goes on with what the machine can."""
    from holdfast.drivers.kwok import Kwok
    from holdfast.lane.subject import Subject
    from holdfast.paths import ROOT
    from holdfast.rehearsal import run

    def lacking(self):
        raise UsageError("there is no Go", "install Go")

    monkeypatch.setattr(Kwok, "ensure_host", lacking)
    with pytest.raises(HostCannot, match="there is no Go"):
        run.rehearsed(Subject(ROOT / "fixtures" / "gitops"), "1.36")
