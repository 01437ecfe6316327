"""A test that shows a part of its claims: what it saw is said, it breaks what broke, and it makes nothing *held*."""

import pytest

from holdfast.drivers.driver import NodeNetwork, NodePower, NodeShell
from holdfast.journal import Journal, read_file
from holdfast.marks import in_part, needs
from holdfast.session import _is_for_others, part_of
from holdfast.verdicts import Verdict, verdicts
from suites.harness.test_journal_and_verdicts import CLAIM, FAULT, OBSERVATION, verdict, written

PART = "the scheduler goes"


def partly(script):
    return [("test-begin", {"part": PART}), *script[1:]]


@pytest.mark.parametrize(("kind", "script"), [("fault", FAULT), ("observation", OBSERVATION)])
def test_what_held_in_part_is_not_exercised_and_says_how_far_it_was_seen(tmp_path, kind, script):
    found = verdict(written(tmp_path, partly(script), kind))
    assert found.verdict is Verdict.NOT_EXERCISED
    assert PART in found.reason
    assert found.figures


def test_what_broke_in_part_broke(tmp_path):
    script = [(e, {**f, "held": False, "sighting": "seen broken"}) if e == "assertion" else (e, f) for e, f in FAULT]
    found = verdict(written(tmp_path, partly(script)))
    assert (found.verdict, found.reason) == (Verdict.BROKE, "seen broken")


def test_what_leaves_doubt_in_part_is_unproven(tmp_path):
    script = [step for step in FAULT if step[0] != "fault-took-effect"]
    assert verdict(written(tmp_path, partly(script))).verdict is Verdict.UNPROVEN


def test_of_what_is_not_exercised_the_part_that_was_seen_is_told_first(tmp_path):
    lacking = [
        ("test-begin", {}),
        ("not-exercised", {"reason": "it lacks NodeShell"}),
        ("test-end", {"outcome": "stopped"}),
    ]
    journal = Journal(tmp_path / "two.jsonl")
    journal.append("run-begin", lane="kwok/1.36", notes=[])
    scripts = {"whole": lacking, "part": partly(FAULT)}
    claims = [{"id": CLAIM, "level": "lab"}]
    journal.append(
        "collected", tests=[{"test": name, "kind": "fault", "claims": claims} for name in scripts], subjects={}
    )
    for name, script in scripts.items():
        for event, fields in script:
            journal.append(event, test=name, **fields)
    journal.seal()
    [found] = verdicts(read_file(tmp_path / "two.jsonl"))
    assert found.verdict is Verdict.NOT_EXERCISED
    assert PART in found.reason


class Item:
    """What a session asks a collected test for."""

    def __init__(self, *marks):
        self.marks = {mark.name: mark for mark in marks}

    def get_closest_marker(self, name):
        return self.marks.get(name)

    def iter_markers(self, name):
        return [self.marks[name]] if name in self.marks else []


class Powered:
    """A driver that can only cut nodes' power."""

    name = "powered"

    def power_off(self, node): ...
    def power_on(self, node): ...
    def is_on(self, node): ...


@pytest.mark.parametrize(("lacking", "for_others"), [(NodeShell, False), (NodePower, True)])
def test_a_part_is_collected_only_where_the_whole_cannot_be_shown(lacking, for_others):
    def one(): ...

    in_part(PART, lacking)(one)
    assert _is_for_others(Item(*one.pytestmark), Powered()) is for_others
    assert part_of(Item(*one.pytestmark)) == PART


@pytest.mark.parametrize(("needed", "for_others"), [(NodePower, False), (NodeShell, True)])
def test_a_part_that_a_lane_cannot_even_show_is_none_of_its_tests(needed, for_others):
    """Or a claim would be in doubt there for want of a test that can't run."""

    def one(): ...

    needs(needed)(in_part(PART, NodeNetwork)(one))
    assert _is_for_others(Item(*one.pytestmark), Powered()) is for_others


def test_a_whole_test_is_for_every_lane():
    assert not _is_for_others(Item(), Powered())
    assert part_of(Item()) == ""
