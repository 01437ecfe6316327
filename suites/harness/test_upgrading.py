"""An upgrade in place that is cut short: what is noted of it, and when it can go on."""

import json
from types import SimpleNamespace

import pytest

from holdfast.errors import UsageError
from holdfast.lane.fidelity import Fidelity
from holdfast.lane.lane import Lane
from holdfast.lane.state import LaneState
from holdfast.lane.subject import Subject
from holdfast.lane.upgrading import Upgrading
from holdfast.undo import UndoFile
from holdfast.upgrade import upgrade
from suites.harness.test_owned import TREE


@pytest.fixture
def lane(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = Lane("kind/fast", Subject(TREE))
    made.upgrading = Upgrading("1.37.2", resumed=True)
    monkeypatch.setattr(made.driver, "exists", lambda: True)
    monkeypatch.setattr(Fidelity, "made_with", lambda _: ["as now"])
    return made


def state_of(lane, **fields):
    """What a run that died has left."""
    known = {"stage": "quarantined", "run": "dead", "tree": str(lane.subject.folder), "fidelity": ["as now"]}
    state = LaneState(**{**known, "upgrading_to": "1.37.2", "upgraded": ["k3s1"], **fields})
    state.write(lane.state_file)
    return state


def test_what_is_upgraded_is_known_to_the_next_process(lane):
    state_of(lane, upgrading_to="", upgraded=[])
    lane.upgrade_begins()
    assert lane.nodes_upgraded() == []
    lane.node_upgraded("k3s1")
    lane.node_upgraded("k3s1")
    lane.upgrade_begins()  # it goes on: what was done stays done
    assert lane.nodes_upgraded() == ["k3s1"]
    assert LaneState.read(lane.state_file).upgrading_to == "1.37.2"
    lane.upgrading = Upgrading("1.38.0")
    lane.upgrade_begins()
    assert lane.nodes_upgraded() == []


def test_one_that_was_cut_short_goes_on(lane):
    state_of(lane)
    assert lane.interrupted().upgraded == ["k3s1"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"upgrading_to": ""}, "no upgrade in place was cut short"),
        ({"upgrading_to": "1.36.3"}, "goes to 1.36.3, not to 1.37.2"),
        ({"tree": "/elsewhere"}, "runs another tree"),
        ({"fidelity": ["otherwise"]}, "made of other images"),
    ],
)
def test_nothing_else_is_taken_for_one(lane, fields, said):
    state_of(lane, **fields)
    with pytest.raises(UsageError, match=said) as caught:
        lane.interrupted()
    assert "without --continue" in caught.value.next_step


def test_what_was_left_broken_must_be_known(lane, tmp_path):
    state_of(lane, undo=[str(tmp_path / "gone" / "undo.jsonl")])
    with pytest.raises(UsageError, match="isn't known any more"):
        lane.interrupted()
    (tmp_path / "gone").mkdir()
    assert lane.interrupted().upgraded == ["k3s1"]


def test_neither_is_a_cluster_that_is_gone_nor_a_state_that_can_not_be_read(lane, monkeypatch):
    with pytest.raises(UsageError, match="no upgrade in place was cut short"):
        lane.interrupted()
    lane.state_file.write_text('{"upgrading_to": ')
    with pytest.raises(UsageError, match="no upgrade in place was cut short"):
        lane.interrupted()
    state_of(lane)
    monkeypatch.setattr(lane.driver, "exists", lambda: False)
    with pytest.raises(UsageError, match="no upgrade in place was cut short"):
        lane.interrupted()


def test_a_node_that_was_under_way_is_done_again_and_everything_else_is_healed(lane, tmp_path, monkeypatch):
    undo = UndoFile(tmp_path / "undo.jsonl")
    undo.before("irreversible", what="k3s1 was on its way")
    undo.before("power-on", node="k3s2")
    state_of(lane, undo=[str(undo.path)])
    healed = []
    monkeypatch.setattr(lane, "heal", lambda: healed.extend(s["action"] for s in UndoFile(undo.path).open_steps()))
    monkeypatch.setattr(lane, "_patiently", lambda *_: None)
    monkeypatch.setattr(lane, "git", lambda: SimpleNamespace(prepare=lambda _: None))
    monkeypatch.setattr(lane, "_bootstrap", lambda: SimpleNamespace(request_reconciliation=None))
    monkeypatch.setattr(lane, "_install_agents", lambda _: None)
    monkeypatch.setattr(lane, "cluster", lambda path: path)
    monkeypatch.setattr("holdfast.lane.lane.KubeClient", lambda _: None)
    assert lane.resume("another", tmp_path / "own.jsonl") == tmp_path / "own.jsonl"
    assert healed == ["power-on"]
    after = json.loads(lane.state_file.read_text())
    assert (after["run"], after["undo"], after["upgraded"]) == ("another", [str(tmp_path / "own.jsonl")], ["k3s1"])
    assert after["stage"] == "quarantined"  # no other run takes it for a cluster of its own


@pytest.mark.parametrize("options", [{"resume": True}, {"drain": True}])
def test_what_is_about_one_cluster_asks_for_it(options):
    with pytest.raises(UsageError, match="upgrade of one cluster") as caught:
        upgrade("1.36", "1.37", **options)
    assert caught.value.next_step == "add --in-place"
