"""What a change did to a cluster, told from two looks at it: swapped looks swap what came and what went, and one look is like itself."""

import dataclasses
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from holdfast.rehearsal import inventory, watcher
from holdfast.rehearsal.blockers import IMMUTABLE, Blocker, Lack
from holdfast.rehearsal.change import Prediction, Revert, Transition, _predictions, _stood_s
from holdfast.rehearsal.course import Bar, Course, Obstacle
from holdfast.rehearsal.inventory import Held, Inventory
from holdfast.rehearsal.looks import Doing, State, as_of
from holdfast.rehearsal.text import of_the_change
from holdfast.tree.findings import Finding, Severity
from holdfast.tree.repository import Location

NAMES = st.sets(st.sampled_from("abcdef"), max_size=6)
UIDS = st.sampled_from(["1", "2"])
VALUES = st.sampled_from(["x", "y"])
SOURCE = "GitRepository/flux-system/flux-system"


def item(name, value, kind="ConfigMap"):
    fields = {"f:data": {"f:a": {}}}
    entry = {"manager": "kustomize-controller", "fieldsV1": fields}
    return {"kind": kind, "metadata": {"name": name, "managedFields": [entry]}, "data": {"a": value}}


@st.composite
def inventories(draw):
    found = Inventory()
    for name in draw(NAMES):
        key, uid = ("", "ConfigMap", "default", name), draw(UIDS)
        found.there[key] = uid
        if draw(st.booleans()):
            found.held[key] = Held(uid, item(name, draw(VALUES)))
    return found


@given(inventories())
def test_a_cluster_is_like_itself(one):
    assert inventory.gone(one, one) == inventory.made(one, one) == inventory.recreated(one, one) == []
    assert inventory.otherwise(one, one) == inventory.lacking(one, one) == []
    assert inventory.left_behind(one, one, one) == []


@given(inventories(), inventories())
def test_what_is_like_is_like_both_ways(one, other):
    assert inventory.otherwise(one, other) == inventory.otherwise(other, one)


@given(inventories(), inventories())
def test_swapped_looks_swap_what_came_and_what_went(one, other):
    gone, made = set(inventory.gone(other, one)), set(inventory.made(one, other))
    assert gone == made  # what the first applied and the second hasn't got
    assert not gone & set(inventory.recreated(other, one))


@given(inventories(), inventories(), inventories())
def test_only_what_was_applied_before_is_left_behind(before, now, cold):
    left = set(inventory.left_behind(now, cold, before))
    assert left <= set(before.held)
    assert not left & set(cold.there)


def state(name, **fields):
    return State("Kustomization", "flux-system", name, "True", source=SOURCE, **fields)


def test_whoever_is_ready_with_another_commit_is_not_ready_yet():
    states = {s.id: s for s in (state("old", applied="main@sha1:1"), state("new", applied="main@sha1:2"))}
    now = as_of(states, {SOURCE}, "main@sha1:2")
    assert [s.name for s in now.values() if s.settled] == ["new"]
    elsewhere = as_of(states, {"GitRepository/flux-system/another"}, "main@sha1:2")
    assert all(s.settled for s in elsewhere.values())


def test_a_suspended_one_is_waited_for_by_nobody():
    states = {"Kustomization/flux-system/a": state("a", applied="main@sha1:1", suspended=True)}
    assert all(s.settled for s in as_of(states, {SOURCE}, "main@sha1:2").values())


def test_what_the_change_takes_away_is_not_looked_at(monkeypatch):
    """It may fail until whoever applied it deletes it; whatever else Flux has is looked at."""
    release = State("HelmRelease", "flux-system", "gone", "False")
    states = {s.id: s for s in (state("stays", applied="main@sha1:2"), state("gone", applied="main@sha1:1"), release)}
    monkeypatch.setattr(watcher, "look", lambda client: states)
    tree = SimpleNamespace(kustomizations={"flux-system/stays": None})
    made = watcher.Watcher.__new__(watcher.Watcher)
    made.stage, made.revision = SimpleNamespace(client=None, tree=tree, own_sources={SOURCE}), "main@sha1:2"
    assert set(made._look()) == {"Kustomization/flux-system/stays", "HelmRelease/flux-system/gone"}
    made.revision = ""
    assert set(made._look()) == set(states)


def test_how_long_one_stood_still_is_what_it_failed_or_waited():
    bar = Bar(
        state("a"),
        [(0.0, Doing.READY, ""), (2.0, Doing.WAITING, ""), (5.0, Doing.APPLYING, ""), (6.0, Doing.FAILED, "")],
    )
    assert _stood_s(bar, Course(took_s=10.0)) == 7.0


def obstacle(name, said):
    return Obstacle(
        Blocker(Lack.REFUSED, "Kustomization/flux-system/a", name, name, said), 1.0, (), "the lane deleted it"
    )


def foretold(rule, name):
    return Finding(
        rule, "immutable-detected", Severity.BREAKS_APPLY, name, (Location("a.yaml", 1),), f"{name} can't", "", ""
    )


def test_each_thing_that_one_of_the_two_says_is_compared():
    course = Course(
        obstacles=[obstacle("Job/a/seen", "field is immutable"), obstacle("Job/a/both", "field is immutable")]
    )
    said = [foretold("change.immutable", f"Job/a/{n}") for n in ("both", "never", "anew")]
    said += [foretold("change.pruned", f"Namespace/{n}") for n in ("gone", "there")]
    transition = Transition("main", gone=["Namespace/gone"], recreated=["Job/a/anew"])
    found = {p.object: p.agrees for p in _predictions(said, course, transition)}
    expected = {"Job/a/both": True, "Job/a/anew": True, "Job/a/seen": False, "Job/a/never": False}
    assert found == expected | {"Namespace/gone": True, "Namespace/there": False}


def test_a_revert_is_clean_only_where_nothing_differs():
    assert Revert(True, 1.0).clean
    assert not Revert(False, 1.0).clean
    for part in ("refused", "left", "lacking", "otherwise"):
        assert not dataclasses.replace(Revert(True, 1.0), **{part: ["a"]}).clean


def test_the_text_says_what_went_otherwise_than_foretold_and_what_the_revert_leaves():
    one = Transition("main", gone=["ConfigMap/a/b"], compared=True, left=["ConfigMap/a/c"])
    one.predictions = [Prediction("Job/a/b", "it can't be changed", "")]
    one.revert = Revert(True, 2.0, left=["ConfigMap/a/d"])
    text = "\n".join(of_the_change(one))
    for words in (
        "deleted (1): ConfigMap/a/b",
        "ConfigMap/a/c is left behind",
        "foretold otherwise: Job/a/b",
        "still there: ConfigMap/a/d",
    ):
        assert words in text
    assert "the same" in "\n".join(of_the_change(Transition("main", compared=True, revert=Revert(True, 2.0))))


def test_what_the_api_server_says_of_an_unchangeable_field_is_known():
    for said in (
        "spec.selector: Invalid value: {}: field is immutable",
        "spec.clusterIPs[0]: Invalid value: may not change once set",
        "updates to statefulset spec for fields other than 'replicas' are forbidden",
        "value: Forbidden: may not be changed in an update.",
        "roleRef: Invalid value: {}: cannot change roleRef",
        'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions',
        "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity",
    ):
        assert IMMUTABLE.search(said), said
    assert not IMMUTABLE.search("spec.ports[0].port: Required value")
