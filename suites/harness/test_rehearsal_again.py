"""What a rehearsal looks at after the start: the next intervals, and a commit while something is down. Without a control plane."""

from types import SimpleNamespace

import pytest

from holdfast.errors import UsageError
from holdfast.kube import REQUESTED_AT
from holdfast.rehearsal import outage
from holdfast.rehearsal.again import look_again
from holdfast.rehearsal.detours import Detour, policies
from holdfast.rehearsal.outage import Fate
from holdfast.tree import check as checking
from holdfast.waiting import Clock
from suites.harness.test_check_properties import KUSTOMIZE, kustomization, written


class Lane:
    """An API with Kustomizations that reconcile as soon as they are asked to, and whatever *acts* does at each of these."""

    def __init__(self, tree, objects, inventories, act=lambda lane, name: None):
        self.tree, self.objects, self.act, self.now = tree, objects, act, 0.0
        self.flux = {name: self._kustomization(name, ids) for name, ids in inventories.items()}
        self.client = self
        self.detours, self.policies = {}, []
        self.sync = SimpleNamespace(
            source=SimpleNamespace(kind="GitRepository", name="flux-system", namespace="flux-system"), folder="cluster"
        )
        self.git = SimpleNamespace(push=self.push)
        self.head, self.down, self.sick = "old", set(), set()

    @property
    def clock(self):
        return Clock(lambda: self.now, self.sleep)

    def sleep(self, for_s):
        self.now += for_s

    def _kustomization(self, name, ids):
        ready = {"type": "Ready", "status": "True", "observedGeneration": 1, "message": "Applied"}
        return {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {
                "namespace": "flux-system",
                "name": name,
                "generation": 1,
                "annotations": {},
                "uid": name,
                "resourceVersion": "1",
            },
            "spec": {"sourceRef": {"kind": "GitRepository", "name": "flux-system"}},
            "status": {
                "conditions": [ready],
                "observedGeneration": 1,
                "lastAppliedRevision": "old",
                "lastAttemptedRevision": "old",
                "inventory": {"entries": [{"id": one, "v": "v1"} for one in ids]},
            },
        }

    def list(self, kind, version=""):
        if kind == "Kustomization":
            return list(self.flux.values())
        return [o for o in self.objects if o["kind"] == kind]

    def get(self, kind, name, namespace):
        return self.flux.get(name) if kind == "Kustomization" else None

    def request_reconciliation(self, kind, name, namespace, token="now"):
        self.patch(kind, name, namespace, {"metadata": {"annotations": {REQUESTED_AT: token}}})

    def patch(self, kind, name, namespace, body):
        if kind != "Kustomization":
            self.reconcile()
            return
        token = body.get("metadata", {}).get("annotations", {}).get(REQUESTED_AT)
        if token:
            self.act(self, name)
            self.flux[name]["status"]["lastHandledReconcileAt"] = token
            self.reconcile()

    # -- what is down ---------------------------------------------------------------------------------------------------------

    def push(self, edit, message):
        self.head = "new"
        return SimpleNamespace(revision="new")

    def give_releases(self, unhealthy=()):
        pass

    def detour(self, name, kind):
        space, _, own = name.partition("/")
        return self.detours.setdefault(name, Detour(kind, space, own, "m"))

    def apply_detour(self, detour):
        (self.sick.add if detour.unhealthy else self.sick.discard)(detour.name)
        self.reconcile()

    def reconcile(self):
        """Every Kustomization whose dependencies are ready takes what is there; a sick one takes it and isn't ready."""
        for name, item in self.flux.items():
            needs = {d["name"] for d in self.tree.kustomizations[f"flux-system/{name}"].spec.get("dependsOn") or []}
            if any(self.flux[n]["status"]["conditions"][0]["status"] != "True" for n in needs):
                continue
            item["status"]["lastAttemptedRevision"] = self.head
            ok = name not in self.sick
            item["status"]["conditions"][0]["status"] = "True" if ok else "False"
            if ok:
                item["status"]["lastAppliedRevision"] = self.head


def config(name, version="1", uid="u", writers=("kustomize-controller",)):
    fields = [{"manager": w, "time": f"2026-01-01T00:00:0{9 - i}Z"} for i, w in enumerate(writers)]
    meta = {"namespace": "default", "name": name, "uid": uid, "resourceVersion": version, "managedFields": fields}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}


@pytest.fixture
def tree(tmp_path):
    import yaml

    files = {
        "cluster/all.yaml": yaml.safe_dump_all([kustomization("a"), kustomization("b", ["a"]), kustomization("c")])
    }
    for name in ("a", "b", "c"):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}
        files[f"parts/{name}/c.yaml"] = yaml.safe_dump(body)
    return checking.load(written(tmp_path, files), KUSTOMIZE)


def inventories(**more):
    return {"a": ["default_a__ConfigMap"], "b": ["default_b__ConfigMap"], "c": ["default_c__ConfigMap"], **more}


def objects():
    return [config(n) for n in ("a", "b", "c")]


def rewrite(name, **more):
    """At each reconciliation of *name* its ConfigMap is written."""

    def act(lane, asked):
        if asked == name:
            meta = next(o for o in lane.objects if o["metadata"]["name"] == name)["metadata"]
            meta["resourceVersion"] = str(int(meta["resourceVersion"]) + 1)
            meta.update(more.get("meta", lambda m: {})(meta))

    return act


def test_what_is_steady_has_no_finding(tree):
    lane = Lane(tree, objects(), inventories())
    assert look_again(lane, lane.clock) == ([], [])


def test_two_owners_that_undo_each_other_are_named(tree):
    lane = Lane(tree, objects(), inventories(c=["default_a__ConfigMap"]), rewrite("a"))
    (found,), unseen = look_again(lane, lane.clock)
    assert found.rule == "apply.duplicate-object"
    assert "flux-system/a and flux-system/c" in found.said
    assert unseen == []


def test_what_another_one_writes_between_two_applies_is_named(tree):
    pulled = objects()
    pulled[0] = config("a", writers=("an-operator", "kustomize-controller"))
    lane = Lane(tree, pulled, inventories(), rewrite("a"))
    (found,), _ = look_again(lane, lane.clock)
    assert found.rule == "apply.pulled-at"
    assert "an-operator" in found.said


def test_what_is_written_once_has_settled(tree):
    done = []

    def once(lane, asked):
        if asked == "a" and not done:
            done.append(asked)
            rewrite("a")(lane, asked)

    lane = Lane(tree, objects(), inventories(), once)
    assert look_again(lane, lane.clock) == ([], [])


def test_what_is_made_anew_is_said(tree):
    lane = Lane(tree, objects(), inventories(), rewrite("a", meta=lambda m: {"uid": m["uid"] + "x"}))
    (found,), _ = look_again(lane, lane.clock)
    assert found.rule == "apply.made-anew"


def test_what_fails_a_second_time_is_a_finding(tree):
    def refuse(lane, asked):
        if asked == "a":
            lane.sick.add("a")
            lane.flux["a"]["status"]["conditions"][0]["message"] = "Job/default/a dry-run failed: field is immutable"

    lane = Lane(tree, objects(), inventories(), refuse)
    found, _ = look_again(lane, lane.clock)
    assert [f.rule for f in found] == ["apply.not-again"]
    assert "field is immutable" in found[0].said


def test_while_one_is_down_it_is_measured_who_gets_a_commit_and_laid_beside_what_is_foretold(tree):
    lane = Lane(tree, objects(), inventories())
    said = []
    out = outage.watch(lane, "Kustomization/flux-system/a", said.append, lane.clock)
    assert {a.kustomization: (a.fate, a.foretold) for a in out.arrivals} == {
        "flux-system/b": (Fate.FROZEN, Fate.FROZEN),
        "flux-system/c": (Fate.ARRIVES, Fate.ARRIVES),
    }
    assert out.surprises == []
    frozen = next(a for a in out.arrivals if a.fate is Fate.FROZEN)
    assert frozen.back_s is not None  # afterwards it is there
    assert lane.sick == set()
    assert any("flux-system/b: frozen" in line for line in said)


def test_what_goes_otherwise_than_foretold_is_said(tree):
    lane = Lane(tree, objects(), inventories())
    assert tree.graph  # what is foretold, with the dependency
    lane.tree.kustomizations["flux-system/b"].spec.pop("dependsOn")  # the cluster knows of no dependency
    out = outage.watch(lane, "Kustomization/flux-system/a", lambda _: None, lane.clock)
    assert [a.kustomization for a in out.surprises] == ["flux-system/b"]
    assert "foretold: frozen" in outage.sentence(out.surprises[0])


@pytest.mark.parametrize(
    ("wanted", "words"),
    [("Kustomization/flux-system/aa", "nothing of this tree"), ("ConfigMap/default/a", "can make unhealthy")],
)
def test_what_can_not_be_taken_down_is_said_before_anything_starts(tree, wanted, words):
    with pytest.raises(UsageError, match=words):
        outage.targets(tree, wanted)


def test_a_detour_that_changes_nothing_has_no_policy():
    detour = Detour("Kustomization", "flux-system", "a", "m")
    assert policies(detour) == []
    detour.unhealthy = True
    assert "holdfast-never-there" in policies(detour)[0]["spec"]["mutations"][0]["jsonPatch"]["expression"]
