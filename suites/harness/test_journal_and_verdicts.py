"""No journal that lacks what a claim's kind asks for is ever *held*, and no damage turns *broke* or *unproven* into *held*."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.journal import Journal, read, read_file
from holdfast.verdicts import (
    EXIT_BROKE,
    EXIT_HELD,
    EXIT_NOT_EXERCISED,
    EXIT_UNPROVEN,
    ClaimVerdict,
    Verdict,
    exit_code,
    verdicts,
)

TEST, CLAIM = "suites/faults/test_x.py::test_x", "flux-down-workloads-continue"

FAULT = [
    ("test-begin", {}),
    ("steady", {"ok": True}),
    ("negative-control", {"probe": "sampler", "red": True}),
    ("fault-inject", {"fault": "flux_down()", "fault_id": 1}),
    ("fault-took-effect", {"fault": "flux_down()", "fault_id": 1}),
    ("assertion", {"probe": "sampler", "held": True, "faults": ["flux_down()"]}),
    ("fault-healed", {"fault": "flux_down()", "fault_id": 1, "ok": True}),
    ("converged", {"fault": "flux_down()", "fault_id": 1, "ok": True}),
    ("test-end", {"outcome": "completed"}),
]
OBSERVATION = [FAULT[0], FAULT[1], FAULT[2], ("assertion", {"probe": "sampler", "held": True}), FAULT[-1]]
# What may be missing without a loss of proof: nothing.
NEEDED = {"fault": range(len(FAULT)), "observation": range(len(OBSERVATION))}


def written(tmp_path, script, kind="fault", *, seal=True, tests=1):
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    journal = Journal(path)
    journal.append(
        "run-begin",
        lane="kind/fast",
        notes=[{"text": "everywhere", "touches": ["*"]}, {"text": "elsewhere", "touches": ["tailscale"]}],
    )
    names = [f"{TEST}{i or ''}" for i in range(tests)]
    journal.append(
        "collected",
        tests=[{"test": n, "kind": kind, "claims": [{"id": CLAIM, "level": "lab"}]} for n in names],
        subjects={CLAIM: ["workloads"]},
    )
    for name in names:
        for event, fields in script:
            journal.append(event, test=name, **fields)
    if seal:
        journal.seal()
    return path


def verdict(path):
    return verdicts(read_file(path))[0]


@pytest.mark.parametrize(("kind", "script"), [("fault", FAULT), ("observation", OBSERVATION)])
def test_all_that_the_kind_asks_for_is_held(tmp_path, kind, script):
    found = verdict(written(tmp_path, script, kind))
    assert found.verdict is Verdict.HELD
    assert found.notes == ("everywhere",)


@pytest.mark.parametrize(("kind", "left_out"), [(k, i) for k, r in NEEDED.items() for i in r])
def test_whatever_is_missing_it_is_not_held(tmp_path, kind, left_out):
    script = FAULT if kind == "fault" else OBSERVATION
    found = verdict(written(tmp_path, [*script[:left_out], *script[left_out + 1 :]], kind))
    assert found.verdict is Verdict.UNPROVEN
    assert found.reason


RED = [
    ("steady", {"ok": False}),
    ("negative-control", {"probe": "sampler", "red": False}),
    ("assertion", {"probe": "sampler", "held": None}),
    ("assertion", {"probe": "never red", "held": True}),
    ("unproven", {"reason": "a doubt"}),
    ("fault-inject", {"fault": "another()", "fault_id": 2}),
    ("fault-healed", {"fault": "flux_down()", "fault_id": 1, "ok": False}),
    ("converged", {"fault": "flux_down()", "fault_id": 1, "ok": None}),
]


@pytest.mark.parametrize("doubt", RED, ids=lambda d: f"{d[0]}-{list(d[1].values())}")
@pytest.mark.parametrize("place", [1, 5, 8])
def test_every_doubt_makes_it_unproven(tmp_path, doubt, place):
    assert verdict(written(tmp_path, [*FAULT[:place], doubt, *FAULT[place:]])).verdict is Verdict.UNPROVEN


def test_a_promise_seen_broken_breaks(tmp_path):
    script = [
        *FAULT[:5],
        ("assertion", {"probe": "sampler", "held": False, "sighting": "3 of 600 refused", "faults": ["flux_down()"]}),
        *FAULT[5:],
    ]
    found = verdict(written(tmp_path, script))
    assert (found.verdict, found.reason) == (Verdict.BROKE, "3 of 600 refused")


def test_a_promise_broken_before_the_fault_bit_proves_nothing(tmp_path):
    script = [*FAULT[:4], ("assertion", {"probe": "sampler", "held": False, "faults": []}), *FAULT[4:]]
    assert verdict(written(tmp_path, script)).verdict is Verdict.UNPROVEN


def test_no_recovery_within_the_budget_breaks(tmp_path):
    script = [
        *FAULT[:7],
        ("converged", {"fault": "flux_down()", "fault_id": 1, "ok": False, "sighting": "not after 3m"}),
        FAULT[-1],
    ]
    assert verdict(written(tmp_path, script)).verdict is Verdict.BROKE


def test_one_broken_test_breaks_the_claim_of_two(tmp_path):
    path = written(tmp_path, FAULT, seal=False, tests=2)
    lines = path.read_text().splitlines()
    journal = Journal(tmp_path / "two.jsonl")
    for line in map(json.loads, lines):
        fields = {k: v for k, v in line.items() if k not in ("seq", "t", "at_s", "event", "hash")}
        if line["event"] == "assertion" and line["test"] == TEST:
            fields["held"] = False
        journal.append(line["event"], **fields)
    journal.seal()
    assert verdict(tmp_path / "two.jsonl").verdict is Verdict.BROKE


def test_a_skipped_test_is_not_exercised_with_its_reason(tmp_path):
    found = verdict(
        written(tmp_path, [FAULT[0], ("not-exercised", {"reason": "the driver can't cut power"}), FAULT[-1]])
    )
    assert (found.verdict, found.reason) == (Verdict.NOT_EXERCISED, "the driver can't cut power")


def test_a_claim_without_a_test_is_listed(tmp_path):
    found = verdicts(read_file(written(tmp_path, FAULT)), ["k3s2-ready", CLAIM])
    assert [(f.claim, f.verdict) for f in found] == [(CLAIM, Verdict.HELD), ("k3s2-ready", Verdict.NOT_EXERCISED)]


EVENTS = st.sampled_from([e for e, _ in FAULT])
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "ok": st.sampled_from([True, False, None]),
        "red": st.booleans(),
        "held": st.sampled_from([True, False, None]),
        "probe": st.sampled_from(["sampler", "other"]),
        "faults": st.lists(st.just("flux_down()"), max_size=1),
        "fault_id": st.integers(1, 2),
        "outcome": st.sampled_from(["completed", "stopped"]),
        "claims": st.lists(st.sampled_from([CLAIM, "another"]), max_size=1),
    },
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(EVENTS, FIELDS), max_size=14), st.sampled_from(["fault", "observation"]))
def test_held_implies_everything_that_was_asked_for(tmp_path_factory, script, kind):
    """Whatever a journal says, *held* is only said where each thing that the kind asks for is really in it."""
    path = written(tmp_path_factory.mktemp("j"), script, kind)
    if verdict(path).verdict is not Verdict.HELD:
        return
    assertions = [f for e, f in script if e == "assertion" and (not f.get("claims") or CLAIM in f["claims"])]
    assert script[0][0] == "test-begin" and script[-1][0] == "test-end" and script[-1][1]["outcome"] == "completed"
    assert assertions and all(p["held"] is True for p in assertions)
    assert all(f["ok"] is True for e, f in script if e == "steady") and any(e == "steady" for e, _ in script)
    red = {f["probe"] for e, f in script if e == "negative-control" and f.get("red")}
    assert {p.get("probe") for p in assertions} <= red | {None} and all(
        f.get("red") for e, f in script if e == "negative-control"
    )
    if kind == "fault":
        assert any(e == "fault-inject" for e, _ in script)
        for i, (event, fields) in enumerate(script):
            if event == "fault-inject":
                later = [(e, f) for e, f in script[i + 1 :] if f.get("fault_id") == fields.get("fault_id")]
                assert {"fault-took-effect", "fault-healed", "converged"} <= {e for e, _ in later}
                assert all(f.get("ok") is True for e, f in later if e == "converged")


BAD = [*FAULT[:5], ("assertion", {"probe": "sampler", "held": False, "faults": ["flux_down()"]}), *FAULT[6:]]
DOUBTFUL = [*FAULT[:5], ("assertion", {"probe": "sampler", "held": None, "faults": ["flux_down()"]}), *FAULT[6:]]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([BAD, DOUBTFUL, FAULT[:6]]), st.data())
def test_dropping_cutting_or_reordering_lines_never_makes_it_held(tmp_path_factory, script, data):
    lines = written(tmp_path_factory.mktemp("j"), script, tests=data.draw(st.integers(1, 2))).read_text().splitlines()
    damage = data.draw(st.sampled_from(["drop", "cut", "swap", "shuffle", "truncate-line", "repeat"]))
    at, other = data.draw(st.integers(0, len(lines) - 1)), data.draw(st.integers(0, len(lines) - 1))
    if damage == "drop":
        lines = [line for i, line in enumerate(lines) if i not in (at, other)]
    elif damage == "cut":
        lines = lines[:at]
    elif damage == "swap":
        lines[at], lines[other] = lines[other], lines[at]
    elif damage == "shuffle":
        lines = data.draw(st.permutations(lines))
    elif damage == "truncate-line":
        lines[at] = lines[at][: int(data.draw(st.floats(0, 0.99)) * len(lines[at]))]
    else:
        lines.insert(at, lines[other])
    assert all(f.verdict is not Verdict.HELD for f in verdicts(read(lines)))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_sound_journal_that_was_damaged_is_not_held(tmp_path_factory, data):
    lines = written(tmp_path_factory.mktemp("j"), FAULT).read_text().splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    assert verdicts(read(lines[:at] + lines[at + 1 :])) == [] or all(
        f.verdict is not Verdict.HELD for f in verdicts(read(lines[:at] + lines[at + 1 :]))
    )


@pytest.mark.parametrize("changed", ["held", "ok", "red"])
def test_a_line_that_was_edited_ends_the_trust(tmp_path, changed):
    path = written(tmp_path, BAD if changed == "held" else FAULT)
    text = (
        path.read_text().replace(f'"{changed}": false', f'"{changed}": true')
        if changed == "held"
        else path.read_text().replace(f'"{changed}": true', f'"{changed}": false', 1)
    )
    record = read(text.splitlines())
    assert not record.sealed
    assert "doesn't continue" in record.problem


def test_a_secret_never_reaches_the_journal(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    journal.keep_out("-----BEGIN KEY-----\nabcdef\n", "hunter22")
    journal.append("evidence", text="x -----BEGIN KEY-----\nabcdef\n y hunter22")
    journal.seal()
    assert "abcdef" not in (tmp_path / "j.jsonl").read_text()
    assert "hunter22" not in (tmp_path / "j.jsonl").read_text()
    assert read_file(tmp_path / "j.jsonl").sealed


def finding(verdict_, claim=CLAIM, *, selected=True):
    return ClaimVerdict(claim, "lab", "kind/fast", verdict_, "x", ("t",) if selected else ())


@pytest.mark.parametrize(
    ("found", "required", "code"),
    [
        ([finding(Verdict.HELD)], [], EXIT_HELD),
        ([finding(Verdict.HELD), finding(Verdict.BROKE), finding(Verdict.UNPROVEN)], [], EXIT_BROKE),
        ([finding(Verdict.HELD), finding(Verdict.UNPROVEN)], [], EXIT_UNPROVEN),
        ([finding(Verdict.HELD), finding(Verdict.NOT_EXERCISED, "x", selected=False)], [], EXIT_HELD),
        ([finding(Verdict.HELD), finding(Verdict.NOT_EXERCISED, "x", selected=False)], ["x"], EXIT_NOT_EXERCISED),
        ([finding(Verdict.HELD), finding(Verdict.NOT_EXERCISED, "x", selected=False)], ["all"], EXIT_NOT_EXERCISED),
        ([finding(Verdict.NOT_EXERCISED)], [], EXIT_UNPROVEN),
        ([], [], EXIT_UNPROVEN),
    ],
)
def test_exit_codes(found, required, code):
    assert exit_code(found, required) == code


def test_a_broken_promise_is_not_taken_back_by_what_comes_later(tmp_path):
    broken = (
        "assertion",
        {"probe": "sampler", "held": False, "sighting": "3 of 600 refused", "faults": ["flux_down()"]},
    )
    for later in [
        ("steady", {"ok": False, "sighting": "not steady again"}),
        ("not-exercised", {"reason": "no such capability"}),
        ("unproven", {"reason": "x"}),
    ]:
        assert verdict(written(tmp_path, [*FAULT[:5], broken, *FAULT[6:8], later, FAULT[-1]])).verdict is Verdict.BROKE


def test_what_the_harness_failed_to_heal_is_not_the_clusters_fault(tmp_path):
    unhealed = ("fault-healed", {"fault": "flux_down()", "fault_id": 1, "ok": False, "undone": False})
    late = ("converged", {"fault": "flux_down()", "fault_id": 1, "ok": False, "sighting": "not after 3m"})
    assert verdict(written(tmp_path, [*FAULT[:6], unhealed, late, FAULT[-1]])).verdict is Verdict.UNPROVEN


def test_a_sighting_with_any_character_keeps_the_journal_whole(tmp_path):
    path = written(
        tmp_path,
        [
            *FAULT[:5],
            (
                "assertion",
                {"probe": "sampler", "held": False, "sighting": "a\u2028b\u2029c\u0085d\x1ce", "faults": ["x"]},
            ),
            *FAULT[6:],
        ],
    )
    assert read_file(path).sealed
    assert verdict(path).verdict is Verdict.BROKE


def test_a_cluster_that_does_not_recover_though_the_fault_was_undone_broke(tmp_path):
    slow = (
        "fault-healed",
        {
            "fault": "flux_down()",
            "fault_id": 1,
            "ok": False,
            "undone": True,
            "sighting": "node_ready must hold within 5m",
        },
    )
    late = ("converged", {"fault": "flux_down()", "fault_id": 1, "ok": False, "sighting": "not after 3m"})
    assert verdict(written(tmp_path, [*FAULT[:6], slow, late, FAULT[-1]])).verdict is Verdict.BROKE


def test_a_part_of_a_claims_tests_does_not_hold_it(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append("run-begin", lane="kind/fast", notes=[])
    journal.append(
        "collected",
        tests=[{"test": TEST, "kind": "fault", "claims": [{"id": CLAIM, "level": "lab"}]}],
        subjects={},
        left_out={CLAIM: ["another"]},
    )
    for event, fields in FAULT:
        journal.append(event, test=TEST, **fields)
    journal.seal()
    assert (verdict(path).verdict, verdict(path).reason) == (
        Verdict.UNPROVEN,
        "not all of its tests were selected in this run",
    )


# -- what the tree shows, and what a cluster shows ------------------------------------------------------------------------


STATIC = [
    ("test-begin", {}),
    ("assertion", {"probe": "rules", "held": True, "sighting": "fine", "unread": []}),
    ("test-end", {"outcome": "completed"}),
]


def both(tmp_path, *, static=STATIC, left_out=None, lab=FAULT):
    """A run with its two collections: one for what needs no cluster, one for the rest."""
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append("run-begin", lane="kind/fast")
    journal.append(
        "collected",
        tests=[{"test": "static", "kind": "static", "claims": [{"id": CLAIM, "level": "static"}]}],
        subjects={},
        left_out={},
    )
    for event, fields in static:
        journal.append(event, test="static", **fields)
    if lab is not None:
        journal.append("lane-begin", notes=[{"text": "everywhere", "touches": ["*"]}])
        journal.append(
            "collected",
            tests=[{"test": TEST, "kind": "fault", "claims": [{"id": CLAIM, "level": "lab"}]}],
            subjects={},
            left_out=left_out or {},
        )
        for event, fields in lab:
            journal.append(event, test=TEST, **fields)
    journal.seal()
    return {f.level: f for f in verdicts(read_file(path))}


def test_a_claim_has_a_verdict_on_each_level_and_they_never_merge(tmp_path):
    found = both(
        tmp_path, lab=[*FAULT[:5], ("assertion", {"probe": "sampler", "held": False, "faults": ["x"]}), *FAULT[6:]]
    )
    assert {level: f.verdict for level, f in found.items()} == {"static": Verdict.HELD, "lab": Verdict.BROKE}
    assert found["static"].notes == (), "a tree has no stand-ins"
    assert found["lab"].notes == ("everywhere",)


def test_what_one_collection_leaves_out_is_no_doubt_in_the_other(tmp_path):
    found = both(tmp_path, left_out={CLAIM: ["another"]})
    assert {level: f.verdict for level, f in found.items()} == {"static": Verdict.HELD, "lab": Verdict.UNPROVEN}


@pytest.mark.parametrize(
    "static",
    [
        STATIC[1:],
        STATIC[:1],
        STATIC[:2],
        [STATIC[0], STATIC[2]],
        [STATIC[0], ("assertion", {"probe": "rules", "held": True}), STATIC[2]],
        [STATIC[0], ("assertion", {"probe": "rules", "held": True, "unread": ["a chart"]}), STATIC[2]],
    ],
)
def test_a_static_verdict_lacks_nothing_either(tmp_path, static):
    assert both(tmp_path, static=static, lab=None)["static"].verdict is Verdict.UNPROVEN


def test_a_required_claim_is_not_there_by_its_tree_alone(tmp_path):
    found = both(tmp_path, lab=[FAULT[0], ("not-exercised", {"reason": "no NodePower"}), FAULT[-1]]).values()
    assert exit_code(list(found), [CLAIM]) == EXIT_NOT_EXERCISED
    assert exit_code(list(found)) == EXIT_HELD


def tried(first, second):
    """A fault's lines twice, with these assertions."""
    again = ("again", {"reason": "a node stood still"})
    one, two = ([*FAULT[:5], ("assertion", {"probe": "sampler", **said}), *FAULT[6:]] for said in (first, second))
    return [*one, again, *two]


def test_a_second_try_counts_and_takes_no_broken_promise_back(tmp_path):
    unknown, broke = {"held": None, "stalled": True, "sighting": "a node stood still"}, {"held": False}
    found = verdict(written(tmp_path, tried(unknown, {"held": True})))
    assert found.verdict is Verdict.HELD
    assert "tried 2 times: at first a node stood still" in found.reason
    assert verdict(written(tmp_path, tried(broke, {"held": True}))).verdict is Verdict.BROKE
    assert verdict(written(tmp_path, tried(unknown, broke))).verdict is Verdict.BROKE
    assert verdict(written(tmp_path, tried({"held": True}, unknown))).verdict is Verdict.UNPROVEN
    # Two beginnings without a word on it are no second try, and one that never began proves nothing.
    assert verdict(written(tmp_path, [*FAULT[:5], *FAULT])).verdict is Verdict.UNPROVEN
    assert verdict(written(tmp_path, [*FAULT, ("again", {"reason": "?"})])).verdict is Verdict.UNPROVEN


@pytest.mark.parametrize("held", [True, False, None])
@pytest.mark.parametrize("seal", [True, False])
def test_what_was_seen_of_one_of_two_clusters_is_nobodys_verdict(tmp_path, held, seal):
    seen = ("assertion", {"probe": "sampler", "held": held, "sighting": "seen"})
    script = [*OBSERVATION[:3], seen, ("cluster-replaced", {"reason": "uid differs"}), OBSERVATION[-1]]
    path = written(tmp_path, script, "observation", seal=seal)
    (found,) = verdicts(read_file(path))
    assert found.verdict is Verdict.UNPROVEN
    if held is False:
        assert "one of two clusters: uid differs" in found.reason
