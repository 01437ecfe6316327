"""The ledger: what many journals say of each claim, how old that is, what got worse, and that no journal is ever changed."""

import hashlib
import json
import re
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from holdfast import nightly
from holdfast.__main__ import VERBS, _alone
from holdfast.errors import UsageError
from holdfast.journal import Journal
from holdfast.lane.state import LaneState
from holdfast.nightly import Night
from holdfast.reporting import ledger_page
from holdfast.reporting.ledger import History, Ledger, Point, RunRow, unshown
from holdfast.reporting.ledger_text import Told
from holdfast.reporting.summary import Part
from holdfast.verdicts import NOT_ALL, ClaimVerdict, Verdict

CLAIM, OTHER = "flux-reconciles", "git-over-ssh"


def run(folder, name, *, figure="1s", held=True, lane="kwok/1.36", tree="home", commit="a" * 40, seal=True, **more):
    """A run's journal: one observation of one claim, with a figure."""
    path = folder / name
    path.mkdir(parents=True)
    journal = Journal(path / "journal.jsonl")
    journal.append("run-begin", run=name, lane=lane, tree=tree, commit=commit, holdfast=more.get("holdfast", "0.1.0"))
    journal.append(
        "lane-begin",
        kubernetes=more.get("kubernetes", "1.36.3"),
        notes=[{"text": n, "touches": ["*"]} for n in more.get("notes", [])],
    )
    if "nodes" in more:
        journal.append("lane-ready", nodes=more["nodes"])
    claims = [{"id": more.get("claim", CLAIM), "level": more.get("level", "lab")}]
    test = "suites/x.py::test_x"
    journal.append(
        "collected",
        tests=[{"test": test, "kind": "observation", "claims": claims}],
        subjects={},
        left_out=more.get("left_out", {}),
    )
    for event, fields in (
        ("test-begin", {}),
        ("steady", {"ok": True}),
        ("negative-control", {"probe": "p", "red": True}),
        ("assertion", {"what": "back", "probe": "p", "held": held, "sighting": "seen", "figure": figure}),
        *(("limit", {"about": a, "sighting": s}) for a, s in more.get("limits", {}).items()),
        ("test-end", {"outcome": "completed"}),
    ):
        journal.append(event, test=test, **fields)
    if seal:
        journal.seal()
    return path


@pytest.fixture
def known(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        yield ledger


def test_the_newest_word_counts_and_each_lane_and_level_has_its_own(tmp_path, known):
    runs = tmp_path / "runs"
    run(runs, "1")
    run(runs, "2", held=False)
    run(runs, "3", lane="kind/fast")
    assert known.take([runs]).new == ["1", "2", "3"]
    assert [(s.verdict.lane, s.verdict.verdict, s.run.name) for s in known.standings("home")] == [
        ("kind/fast", Verdict.HELD, "3"),
        ("kwok/1.36", Verdict.BROKE, "2"),
    ]


def test_what_a_run_did_not_look_at_hides_nothing(tmp_path, known):
    runs = tmp_path / "runs"
    run(runs, "1")
    run(runs, "2", left_out={CLAIM: ["another test"]})
    known.take([runs])
    (one,) = known.standings("home")
    assert (one.verdict.verdict, one.run.name) == (Verdict.HELD, "1")
    assert known.verdicts(known.run("2"))[0].reason == NOT_ALL


def test_a_tree_alone_shows_the_same_whatever_the_lane(tmp_path, known):
    runs = tmp_path / "runs"
    run(runs, "1", level="static")
    run(runs, "2", level="static", lane="kind/fast")
    known.take([runs])
    assert [s.run.name for s in known.standings("home")] == ["2"]


def test_what_has_changed_since_is_said(tmp_path, known):
    runs = tmp_path / "runs"
    run(runs, "1", kubernetes="1.36.3")
    run(runs, "2", commit="b" * 40, kubernetes="1.37.2", claim=OTHER, holdfast="0.2.0")
    known.take([runs])
    first = next(s for s in known.standings("home") if s.verdict.claim == CLAIM)
    assert first.since == (
        "the tree is at bbbbbbbbbbbb now (1 commit tried since)",
        "Kubernetes 1.36.3 → 1.37.2",
        "holdfast 0.1.0 → 0.2.0",
    )
    assert next(s for s in known.standings("home") if s.verdict.claim == OTHER).since == ()


def test_a_journal_is_read_only_and_read_once(tmp_path, known):
    runs = tmp_path / "runs"
    path = run(runs, "1") / "journal.jsonl"
    before = hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns
    assert known.take([runs]).new == ["1"]
    assert known.take([runs, runs]).new == []
    assert (hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns) == before


def test_one_that_goes_on_is_read_again_and_one_that_is_another_is_named(tmp_path, known):
    runs = tmp_path / "runs"
    path = run(runs, "1", seal=False) / "journal.jsonl"
    whole = path.read_text()
    path.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    known.take([runs])
    assert [s.verdict.verdict for s in known.standings("home")] == [Verdict.UNPROVEN]
    path.write_text(whole)
    assert known.take([runs]).new == ["1"]
    (path.parent / "journal.jsonl").unlink()
    path.parent.rmdir()
    run(runs, "1", figure="9s")  # the same name, and something else in it
    assert known.take([runs]).altered == ["1"]
    assert known.histories("home")[0].points[-1].value_s == 1.0


@pytest.mark.parametrize("moment", ["", "no time", "2026-01-01T00:00:00", "2099-01-01T00:00:00+00:00"])
def test_a_run_of_no_time_or_of_the_future_is_named_and_stops_nothing(tmp_path, known, moment):
    runs = tmp_path / "runs"
    path = run(runs, "1") / "journal.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.unlink()
    journal = Journal(path)
    for line in lines[:-1]:
        fields = {k: v for k, v in line.items() if k not in ("event", "seq", "hash", "prev")}
        journal.append(line["event"], **(fields | {"t": moment}))
    journal.seal()
    read = known.take([runs])
    assert (read.new, read.unreadable) == ([], [str(path)])
    assert known.runs() == []


def test_a_journal_that_was_moved_is_found_where_it_is(tmp_path, known):
    path = run(tmp_path / "runs", "1")
    known.take([tmp_path / "runs"])
    path.rename(tmp_path / "moved")
    assert known.evidence(known.run("1")) is None
    known.take([tmp_path / "moved"])
    assert known.evidence(known.run("1")) is not None


def test_one_that_another_uses_is_not_to_be_thrown_away(tmp_path, monkeypatch):
    path = tmp_path / "ledger.sqlite"
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda p: connect(p, timeout=0.1))
    with connect(path) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UsageError, match="in use by another holdfast") as caught:
            Ledger(path)
    assert "--rebuild" not in caught.value.next_step


@pytest.mark.parametrize("what", ["folder", "another"])
def test_what_stands_in_its_place_is_said(tmp_path, what):
    path = tmp_path / "ledger.sqlite"
    if what == "folder":
        path.mkdir()
    else:
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 1")
    with pytest.raises(UsageError):
        Ledger(path)


@pytest.mark.parametrize("text", ["", "no journal\n", '{"seq": 0}\n'])
def test_what_is_no_journal_is_named_and_stops_nothing(tmp_path, known, text):
    runs = tmp_path / "runs"
    run(runs, "1")
    (runs / "2").mkdir()
    (runs / "2" / "journal.jsonl").write_text(text)
    read = known.take([runs])
    assert (read.new, read.unreadable) == (["1"], [str(runs / "2" / "journal.jsonl")])


def test_a_run_stays_when_its_folder_is_gone_and_the_whole_is_made_anew_from_what_is_there(tmp_path, known):
    runs = tmp_path / "runs"
    path = run(runs, "1")
    known.take([runs])
    (path / "journal.jsonl").unlink()
    assert known.take([runs]).new == []
    assert [r.name for r in known.runs("home")] == ["1"]


@pytest.mark.parametrize("damage", ["text", "version"])
def test_a_file_that_is_no_ledger_is_said_with_the_way_out(tmp_path, damage):
    path = tmp_path / "ledger.sqlite"
    if damage == "text":
        path.write_text("something else " * 100)
    else:
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
    with pytest.raises(UsageError) as caught:
        Ledger(path)
    assert "--rebuild" in caught.value.next_step


def history(*values):
    rows = [
        RunRow(datetime(2026, 1, n + 1, tzinfo=UTC), str(n), "l", "t", "c", "k", "h", "") for n in range(len(values))
    ]
    return History("c", "l", "w", tuple(Point(r, v) for r, v in zip(rows, values, strict=True)))


@pytest.mark.parametrize(
    ("values", "worse"),
    [
        ((10, 11, 12, 20), True),
        ((10, 11, 12, 13), False),  # not further beyond than they lie apart
        ((10, 11, 20), False),  # too few to know how far they lie apart
        ((10, 10, 10, 10.5), False),
        ((10, 10, 10, 11.5), True),
        ((20, 11, 12, 10), False),
        ((0, 0, 0, 0.05), False),
    ],
)
def test_a_figure_is_worse_only_beyond_the_spread_of_those_before(values, worse):
    assert history(*values).is_worse is worse


def test_claims_that_nobody_has_shown_are_named_with_their_age(tmp_path, known):
    runs = tmp_path / "runs"
    run(runs, "1")
    known.take([runs])
    standings, later = known.standings("home"), datetime.now(UTC) + timedelta(days=40)
    found = unshown(standings, [CLAIM, OTHER], later, 30)
    assert found[OTHER] is None
    assert found[CLAIM] > timedelta(days=39)
    assert unshown(standings, [CLAIM], later, 60) == {}


def test_the_page_has_a_chart_of_each_figure_and_escapes_what_it_shows(tmp_path, known):
    runs = tmp_path / "runs"
    for number, figure in enumerate((10, 11, 12, 40)):
        run(runs, f"{number}", figure=f"{figure}s", tree="<b>home")
    known.take([runs])
    told = Told.of(known, "<b>home", [CLAIM, OTHER], datetime.now(UTC), 30)
    ledger_page.write(tmp_path / "page.html", told)
    page = (tmp_path / "page.html").read_text()
    assert "<b>home" not in page
    assert page.count("<svg") == 1
    assert len(re.findall(r"<circle", page)) == 4
    assert 'class="worse"' in page
    assert "://" not in page  # nothing is loaded from elsewhere
    assert any("worse beyond its spread" in line for line in told.lines())


# -- the command -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOLDFAST_REPORTS", str(tmp_path / "runs"))

    def said(*words):
        return CliRunner().invoke(_alone("ledger"), list(words), catch_exceptions=True)

    return said


def test_the_command_tells_of_the_newest_trees_runs(tmp_path, command):
    run(tmp_path / "runs", "1", tree="other")
    run(tmp_path / "runs", "2")
    done = command("--json")
    assert done.exit_code == 0, done.exception
    told = json.loads(done.stdout)
    assert (told["tree"], [r["run"] for r in told["runs"]]) == ("home", ["2"])
    assert json.loads(command("--json", "--tree", "other").stdout)["runs"][0]["run"] == "1"
    assert told["not_shown"][OTHER] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tree", "none"], "no run was of a tree"),
        (["--diff", "1", "9"], "there is no run 9"),
        (["--from", "/nowhere"], "there is no folder"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(tmp_path, command, words, said):
    run(tmp_path / "runs", "1")
    done = command(*words)
    assert isinstance(done.exception, UsageError)
    assert said in str(done.exception)


def test_a_rebuild_that_cannot_read_its_folder_loses_nothing(tmp_path, command):
    path = run(tmp_path / "runs", "1")
    run(tmp_path / "runs", "2")
    command()
    (path / "journal.jsonl").unlink()  # run 1 is in the ledger alone
    assert isinstance(command("--rebuild", "--from", "/nowhere").exception, UsageError)
    assert [r["run"] for r in json.loads(command("--json").stdout)["runs"]] == ["1", "2"]
    assert [r["run"] for r in json.loads(command("--json", "--rebuild").stdout)["runs"]] == ["2"]


def test_a_lane_of_any_name_is_shown(tmp_path, command):
    run(tmp_path / "runs", "1", lane="attached/[/ctx]")
    assert "attached/[/ctx]" in command().stdout


def test_without_a_run_it_says_what_to_do(command):
    assert "holdfast verify" in str(command().exception)


def test_two_runs_are_held_against_each_other(tmp_path, command):
    run(tmp_path / "runs", "1", figure="10s")
    run(tmp_path / "runs", "2", figure="30s", held=False)
    told = json.loads(command("--diff", "1", "2", "--json").stdout)
    assert [(c["claim"], c["from"]["verdict"], c["to"]["verdict"]) for c in told["claims"]] == [
        (CLAIM, "held", "broke")
    ]
    assert told["figures"][0]["from_s"] == [10.0]


def test_it_is_a_verb():
    assert VERBS["ledger"] == "holdfast.ledger"


# -- the nights ------------------------------------------------------------------------------------------------------------


def part(verdict, claim=CLAIM, lane="kwok/1.36", level="lab"):
    return Part(lane, None, [ClaimVerdict(claim, level, lane, verdict, "why", ("a test",))])


@pytest.fixture
def night(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOLDFAST_REPORTS", str(tmp_path / "runs"))
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("before", "now", "code"),
    [
        (True, Verdict.HELD, 0),
        (True, Verdict.BROKE, 10),
        (True, Verdict.UNPROVEN, 11),
        (False, Verdict.BROKE, 0),  # it was so before: the run itself says it
        (False, Verdict.HELD, 0),
        (True, Verdict.NOT_EXERCISED, 11),  # nobody has shown tonight what held before
    ],
)
def test_a_night_ends_by_what_got_worse(night, before, now, code):
    run(night, "1", held=before)
    assert Night.begins("home").ends([part(now)], keep=30) == code


def test_a_claim_that_nobody_had_looked_at_before_is_no_worse(night):
    run(night, "1")
    tonight = [part(Verdict.HELD), part(Verdict.BROKE, claim=OTHER), part(Verdict.BROKE, lane="kind/fast")]
    assert Night.begins("home").ends(tonight, keep=30) == 0


def test_what_was_shown_before_and_nobody_looked_at_tonight_is_said(night, capsys):
    run(night, "1")
    run(night, "2", lane="kind/fast")
    begun = Night.begins("home")
    assert begun.ends([part(Verdict.HELD)], keep=30) == 0  # kind wasn't asked for
    assert begun.ends([part(Verdict.HELD)], keep=30, skipped=["kind/fast"]) == 11
    assert begun.ends([part(Verdict.HELD, claim=OTHER)], keep=30) == 11
    assert "not shown tonight: flux-reconciles (lab, kwok/1.36), which held in 1" in capsys.readouterr().out
    run(night, "3", claim=OTHER)
    assert Night.begins("home").ends([part(Verdict.HELD, claim=OTHER)], keep=30) == 0  # it was so the night before


def test_what_fails_and_shows_no_claim_ends_a_night_too(night):
    run(night, "1")
    assert Night.begins("home").ends([part(Verdict.HELD)], keep=30, doubts=["a test without a claim failed"]) == 11


def test_what_only_some_tests_say_is_no_worse(night):
    run(night, "1")
    narrow = [Part("kwok/1.36", None, [ClaimVerdict(CLAIM, "lab", "kwok/1.36", Verdict.UNPROVEN, NOT_ALL, ("t",))])]
    assert Night.begins("home").worse(narrow) == []


def test_the_last_runs_of_each_tree_and_lane_stay_and_the_newest_word_on_each_claim(night):
    run(night, "0", claim=OTHER)
    run(night, "1", tree="other")
    run(night, "2", lane="attached/home", level="live")
    for number in range(3, 6):
        run(night, f"{number}")
    run(night, "6", lane="kind/fast")
    Night.begins("home").ends([part(Verdict.HELD)], keep=1)
    assert sorted(p.name for p in night.iterdir()) == ["0", "1", "2", "5", "6"]


def test_what_is_not_what_the_ledger_has_stays(night):
    path = run(night, "1") / "journal.jsonl"
    run(night, "2")
    Night.begins("home")
    path.write_text("something else\n")
    Night.begins("home").ends([part(Verdict.HELD)], keep=1)
    assert path.is_file()


def test_a_run_that_cannot_be_removed_loses_no_result(night, monkeypatch, capsys):
    run(night, "1")
    run(night, "2")

    def refused(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(nightly.shutil, "rmtree", refused)
    assert Night.begins("home").ends([part(Verdict.BROKE)], keep=1) == 10
    assert "can't be removed: Permission denied" in capsys.readouterr().out.replace("\n", " ")


def test_nothing_is_removed_while_a_lanes_state_cannot_be_read(night, tmp_path):
    run(night, "1")
    run(night, "2")
    lane = tmp_path / "cache" / "holdfast" / "lanes" / "kind-fast"
    lane.mkdir(parents=True)
    (lane / "state.json").write_text('{"unknown": 1}')
    Night.begins("home").ends([part(Verdict.HELD)], keep=1)
    assert (night / "1").is_dir()


def test_a_figure_beyond_its_spread_ends_it_too(night):
    for number in range(3):
        run(night, f"{number}", figure=f"{10 + number}s")
    begun = Night.begins("home")
    run(night, "3", figure="40s")
    assert begun.ends([part(Verdict.HELD)], keep=30) == 13


def test_the_last_runs_stay_and_those_that_say_how_to_undo_a_fault(night, tmp_path):
    for number in range(5):
        run(night, f"{number}", seal=number != 1)
    lane = tmp_path / "cache" / "holdfast" / "lanes" / "kind-fast"
    lane.mkdir(parents=True)
    LaneState(undo=[str(night / "0" / "undo.jsonl")]).write(lane / "state.json")
    (night / "notes").mkdir()
    Night.begins("home").ends([part(Verdict.HELD)], keep=2)
    assert sorted(p.name for p in night.iterdir()) == [
        "0",
        "1",
        "3",
        "4",
        "notes",
    ]  # 1 isn't whole, so it isn't thrown away
    with Ledger(tmp_path / "cache" / "holdfast" / nightly.FILE) as known:
        assert [r.name for r in known.runs("home")] == ["0", "1", "2", "3", "4"]
