"""Faults: undo before injection, an effect check, healing whatever happens; and kill -9 at every step."""

import copy
import importlib
import inspect
import itertools
import os
import pkgutil
import re
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import events
from holdfast import faults as all_faults
from holdfast.errors import NotExercised
from holdfast.experiment import Experiment
from holdfast.faults import fault as faulting
from holdfast.faults.fault import FACTORIES, Faults, fault
from holdfast.faults.flux import flux_down
from holdfast.faults.nodes import node_loss
from holdfast.inject import Inject, inverse
from holdfast.journal import Journal, read_file
from holdfast.kube import name_of
from holdfast.paths import ROOT
from holdfast.probes.blast import hit
from holdfast.probes.longhorn import storage_ready, workloads
from holdfast.probes.nodes import nodes_ready
from holdfast.undo import UndoFile
from holdfast.verdicts import Verdict, verdicts
from holdfast.waiting import HOLDS, Broke, Probe, Unproven
from suites.harness import toy

for _module in pkgutil.iter_modules(all_faults.__path__):
    importlib.import_module(f"{all_faults.__name__}.{_module.name}")

# What a fault is given on the toy, by the names of its parameters: a new fault is under the kill -9 test without a word here.
GIVEN = {
    "node": "k3s2",
    "name": "source-controller",
    "kustomization": "storage",
    "image": "image",
    "saved": "/a/file",
    "release": "longhorn",
    "namespace": toy.STORAGE,
    "delay_s": 90.0,
}
OWN = {name.rpartition(".")[2]: factory for name, factory in FACTORIES.items() if name.startswith("holdfast.faults.")}
# In these somebody else heals (a Deployment, Flux), whom the toy hasn't got: the child is killed or ends while the fault is in.
HEALED_BY_OTHERS = {"controller_killed", "longhorn_workloads_deleted"}


def made(factory):
    asked = [p for p in inspect.signature(factory).parameters.values() if p.default is p.empty]
    return factory(**{p.name: GIVEN[p.name] for p in asked if p.name != "cluster"})


FAULTS = {name: made(factory) for name, factory in OWN.items()}


def whole_fault(folder, name, kill_at, *, after):
    """Injects and heals in a child process, which is killed at one step; returns how the child ended."""
    child = os.fork()
    if child == 0:
        try:
            world = toy.World(folder / "world.json", kill_at, after=after)
            running = FAULTS[name].run(toy.cluster(world, folder / "undo.jsonl"))
            next(running)
            world.change(lambda state: None)  # the fault is in
            if name not in HEALED_BY_OTHERS:
                next(running, None)
            os._exit(0)
        except BaseException:
            os._exit(9)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize("after", [False, True], ids=["before the step", "after the step"])
@pytest.mark.parametrize("name", FAULTS)
def test_heal_mends_what_kill_9_leaves_at_every_step(tmp_path, name, after):
    killed = 0
    for step in range(1, 40):
        folder = tmp_path / str(step)
        folder.mkdir()
        path, first = toy.fresh(folder)
        end = whole_fault(folder, name, step, after=after)
        world = toy.World(path)
        UndoFile(folder / "undo.jsonl").replay(toy.Driver(world), toy.KubeClient(world))
        assert toy.settled(world.read()) == toy.settled(first), f"step {step}"
        assert UndoFile(folder / "undo.jsonl").open_steps() == []
        if os.WIFEXITED(end):
            assert os.WEXITSTATUS(end) == 0
            break
        assert os.WTERMSIG(end) == signal.SIGKILL
        killed += 1
    assert killed >= 2


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_really_changes_something(tmp_path, name):
    path, first = toy.fresh(tmp_path)
    running = FAULTS[name].run(toy.cluster(toy.World(path), tmp_path / "undo.jsonl"))
    next(running)
    assert toy.World(path).read() != first
    if toy.settled(toy.World(path).read()) != toy.settled(first):  # more than pods, which their owners bring back
        assert UndoFile(tmp_path / "undo.jsonl").open_steps()


def test_an_undo_file_that_was_cut_while_it_was_written_is_read_as_far_as_it_goes(tmp_path):
    undo = UndoFile(tmp_path / "undo.jsonl")
    undo.before("power-on", node="k3s2")
    with undo.path.open("a") as file:
        file.write('{"id": 1, "action": "sca')
    assert [s["action"] for s in undo.open_steps()] == ["power-on"]


def test_replay_may_be_repeated(tmp_path):
    path, first = toy.fresh(tmp_path)
    world = toy.World(path)
    undo = UndoFile(tmp_path / "undo.jsonl")
    undo.before("scale", kind="Deployment", name="helm-controller", namespace="flux-system", replicas=1)
    world_objects = toy.KubeClient(world)
    world_objects.scale("Deployment", "helm-controller", "flux-system", 0)
    assert undo.replay(toy.Driver(world), world_objects, lambda a, w: a()) == 1
    assert undo.replay(toy.Driver(world), world_objects, lambda a, w: a()) == 0
    assert toy.settled(world.read()) == toy.settled(first)


# -- the runner --------------------------------------------------------------------------------------------------------


class Bench:
    """A cluster in the middle of a test, with everything that the runner writes."""

    def __init__(self, folder, monkeypatch, *, converges=True, stable_s=0.0):
        path, self.first = toy.fresh(folder)
        self.world = toy.World(path)
        self.cluster = toy.cluster(self.world, folder / "undo.jsonl")
        self.journal = Journal(folder / "journal.jsonl")
        self.journal.append("run-begin", lane="toy", notes=[])
        self.journal.append(
            "collected", tests=[{"test": "t", "kind": "fault", "claims": [{"id": "c", "level": "lab"}]}], subjects={}
        )
        self.cluster.experiment = Experiment(self.journal, "t", "fault", "holdfast verify -k t")
        self.cluster.experiment.write(events.TestBegin([], "fault"))
        self.captured, self.quarantined, self.folder = [], [], folder
        self.faults = Faults(self.cluster, self.captured.append, self.quarantined.append)
        monkeypatch.setattr(
            faulting,
            "CONVERGED",
            Probe("converged", "converged()", lambda _: HOLDS if converges else "a pod is missing"),
        )
        monkeypatch.setattr(faulting, "STABLE_S", stable_s)

    def state(self):
        return toy.settled(self.world.read())

    def verdict(self):
        self.cluster.experiment.write(events.TestEnd("completed", ""))
        self.journal.seal()
        return verdicts(read_file(self.folder / "journal.jsonl"))[0]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    return Bench(tmp_path, monkeypatch)


def test_the_whole_arc_is_held(bench):
    experiment = bench.cluster.experiment
    experiment.steady("steady", True, "yes")
    experiment.negative_control("look", True, "red")
    with bench.faults(flux_down()):
        experiment.assertion("works", "look", True, "0 of 10 failed")
    assert bench.state() == toy.settled(bench.first)
    assert bench.verdict().verdict is Verdict.HELD
    assert not bench.quarantined


def test_the_calm_begins_anew_where_a_fault_is_over(bench):
    cluster, before = bench.cluster, bench.cluster.calm_since
    cluster.experiment.steady("steady", True, "yes")
    with bench.faults(flux_down()):
        assert cluster.calm_since == before
    assert cluster.calm_since >= cluster.experiment.history[-1].healed > before


def test_what_does_not_hold_lets_the_others_be_looked_at_and_leaves_evidence(bench):
    cluster, experiment = bench.cluster, bench.cluster.experiment
    experiment.steady("steady", True, "yes")
    experiment.negative_control("look", True, "red")
    with bench.faults(flux_down()):
        cluster.eventually(Probe("look", "first()", lambda _: "not yet"), 0)
        cluster.eventually(Probe("look", "second()", lambda _: HOLDS), 0)
    with pytest.raises(Broke, match="not yet"):
        experiment.finish()
    said = {
        e["probe"] + str(e["held"])
        for e in read_file(bench.folder / "journal.jsonl").entries
        if e["event"] == "assertion"
    }
    assert said == {"lookFalse", "lookTrue"}
    assert bench.verdict().verdict is Verdict.BROKE


def test_what_comes_right_after_healing_is_seen_before_convergence(bench):
    experiment, seen = bench.cluster.experiment, []
    experiment.steady("steady", True, "yes")
    experiment.negative_control("look", True, "red")
    with bench.faults(flux_down(), after_heal=lambda: seen.append(experiment.stage)):
        experiment.assertion("works", "look", True, "fine")
    assert seen == ["after"]
    assert bench.verdict().verdict is Verdict.HELD


def test_a_promise_broken_right_after_healing_still_lets_the_cluster_converge(bench):
    def late():
        experiment.assertion("arrives", "look", False, "not within 2m", required=True)

    experiment = bench.cluster.experiment
    experiment.steady("steady", True, "yes")
    with pytest.raises(Broke), bench.faults(flux_down(), after_heal=late):
        pass
    assert [e["ok"] for e in read_file(bench.folder / "journal.jsonl").of(events.Converged)] == [True]
    assert bench.verdict().verdict is Verdict.BROKE


@pytest.mark.parametrize(
    "error", [Broke("seen broken"), Unproven("no data"), KeyboardInterrupt(), ValueError("a defect")]
)
def test_healing_runs_whatever_happens(bench, error):
    def goes_wrong():
        with bench.faults(node_loss("k3s2")):
            assert not bench.cluster.driver.is_on("k3s2")
            raise error

    with pytest.raises(type(error)):
        goes_wrong()
    assert bench.state() == toy.settled(bench.first)
    assert bench.captured == ["node_loss('k3s2')"]


def test_a_capability_that_is_missing_is_said(bench):
    class Bare:
        name = "bare"

    bench.cluster.driver = Bare()
    with pytest.raises(NotExercised, match="NodePower"), bench.faults(node_loss("k3s2")):
        pass


@fault()
def without_effect_check(cluster):
    cluster.undo.before("power-on", node="k3s2")
    cluster.driver.power_off("k3s2")
    yield


@fault()
def without_effect(cluster):
    cluster.undo.before("power-on", node="k3s2")
    cluster.eventually(Probe("effect", "effect()", lambda _: "still working"), within="0s")
    yield


@fault()
def that_cannot_be_healed(cluster):
    cluster.undo.before("scale", kind="Deployment", name="absent", namespace="flux-system", replicas=1)
    cluster.eventually(Probe("effect", "effect()", lambda _: HOLDS), within="0s")
    yield
    raise RuntimeError("stuck")


@pytest.mark.parametrize("wanted", [without_effect_check(), without_effect()])
def test_a_fault_without_a_witness_proves_nothing(bench, wanted):
    bench.cluster.experiment.steady("steady", True, "yes")
    with pytest.raises(Unproven), bench.faults(wanted):
        pytest.fail("the test went on without an effect check")
    assert bench.state() == toy.settled(bench.first)


def test_a_fault_that_can_not_be_healed_taints_the_cluster(bench):
    experiment = bench.cluster.experiment
    experiment.steady("steady", True, "yes")
    experiment.negative_control("look", True, "red")
    with pytest.raises(Unproven, match="was not healed"), bench.faults(that_cannot_be_healed()):
        experiment.assertion("works", "look", True, "fine")
    assert "could not be undone" in bench.quarantined[0]
    assert bench.verdict().verdict is Verdict.UNPROVEN


def test_no_recovery_within_the_budget_is_broke(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch, converges=False)
    bench.cluster.experiment.steady("steady", True, "yes")
    with pytest.raises(Broke, match="must converge within 0s"), bench.faults(flux_down(), recovery="0s"):
        pass
    assert bench.quarantined
    assert bench.verdict().verdict is Verdict.BROKE


def test_a_steady_state_that_does_not_last_is_no_convergence(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch, stable_s=0.8)
    looks = iter(["a stale answer", HOLDS, HOLDS, "a pod is missing", "a pod is missing"])
    monkeypatch.setattr(faulting, "CONVERGED", Probe("converged", "converged()", lambda _: next(looks, HOLDS)))
    with bench.faults(flux_down()):
        pass
    written = next(read_file(bench.folder / "journal.jsonl").of(events.Converged))
    assert written["ok"] is True
    assert next(looks, "all used") == "all used"
    assert written["took_s"] >= 1.5, "the first two looks that held were taken for the end"


def test_a_steady_state_that_never_lasts_is_broke(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch, stable_s=0.8)
    looks = itertools.cycle([HOLDS, "a pod is missing"])
    monkeypatch.setattr(faulting, "CONVERGED", Probe("converged", "converged()", lambda _: next(looks)))
    with pytest.raises(Broke, match="must converge within 2s"), bench.faults(flux_down(), recovery="2s"):
        pass


def test_a_failure_says_what_when_and_how_to_run_it_again(bench):
    bench.cluster.experiment.steady("steady", True, "yes")
    with pytest.raises(Broke) as caught, bench.faults(flux_down()):
        bench.cluster.eventually(Probe("look", "look('x')", lambda _: "3 of 600 refused"), within="0s", required=True)
    text = str(caught.value)
    for part in (
        "look('x') must hold within 0s",
        "3 of 600 refused",
        "Faults in: flux_down()",
        "Steady before: yes",
        "Run again: holdfast verify -k t",
    ):
        assert part in text


def test_an_interrupt_while_healing_ends_the_test_after_everything_is_healed(bench):
    @fault()
    def interrupted(cluster):
        cluster.undo.before("power-on", node="k3s2")
        cluster.driver.power_off("k3s2")
        cluster.eventually(Probe("effect", "effect()", lambda _: HOLDS), within="0s")
        yield
        raise KeyboardInterrupt

    bench.cluster.experiment.steady("steady", True, "yes")
    with pytest.raises(KeyboardInterrupt), bench.faults(interrupted()):
        pass
    assert bench.state() == toy.settled(bench.first)


def test_a_fault_within_another_heals_its_own_steps_only(bench):
    with bench.faults(node_loss("k3s2")):
        with bench.faults(flux_down()):
            pass
        assert not bench.cluster.driver.is_on("k3s2")
    assert bench.state() == toy.settled(bench.first)


def test_a_step_that_can_not_be_undone_holds_back_no_other(tmp_path):
    path, first = toy.fresh(tmp_path)
    world = toy.World(path)
    undo = UndoFile(tmp_path / "undo.jsonl")
    undo.before("power-on", node="k3s2")
    undo.before("scale", kind="Deployment", name="absent", namespace="flux-system", replicas=1)
    undo.before("scale", kind="Deployment", name="helm-controller", namespace="flux-system", replicas=1)
    toy.KubeClient(world).scale("Deployment", "helm-controller", "flux-system", 0)
    toy.Driver(world).power_off("k3s2")
    with pytest.raises(KeyError):
        undo.replay(toy.Driver(world), toy.KubeClient(world))
    assert toy.settled(world.read()) == toy.settled(first)
    assert [s["name"] for s in undo.open_steps()] == ["absent"]
    undo.give_up()
    assert undo.open_steps() == []


def test_a_line_that_was_cut_swallows_no_later_one(tmp_path):
    undo = UndoFile(tmp_path / "undo.jsonl")
    undo.path.write_text('{"id": 0, "action": "po')
    undo.before("power-on", node="k3s2")
    assert [s["node"] for s in undo.open_steps()] == ["k3s2"]


@pytest.mark.parametrize(
    ("measured", "held"),
    [
        ({}, True),
        ({"Prometheus/m/lt": frozenset({"StatefulSet/m/lt", "HelmRelease/m/lt"})}, True),
        ({"Deployment/apps/web": frozenset({"Deployment/apps/web"})}, False),
    ],
)
def test_more_than_the_tree_foretells_breaks_the_promise(tmp_path, measured, held):
    journal = Journal(tmp_path / "j.jsonl")
    experiment = Experiment(journal, "t::x", "fault")
    experiment.blast("longhorn-system", ["HelmRelease/m/lt", "Deployment/notes/notes"], measured, ("c",))
    radius, assertion = list(read_file(tmp_path / "j.jsonl").entries)[-2:]
    assert assertion["held"] is held
    assert radius["unforeseen"] == ([] if held else ["Deployment/apps/web"])
    assert "Deployment/notes/notes" in radius["spared"]
    assert bool(experiment.broken) is not held


def test_storage_is_not_ready_while_one_of_its_workloads_is_missing(tmp_path):
    path, _ = toy.fresh(tmp_path)
    cluster = toy.cluster(toy.World(path), tmp_path / "undo.jsonl")
    names = frozenset(name_of(item) for item in workloads(cluster))
    assert names == {
        "Deployment/longhorn-system/longhorn-driver-deployer",
        "DaemonSet/longhorn-system/longhorn-manager",
    }
    assert storage_ready(names=names)(cluster) is HOLDS
    cluster.objects.delete("Deployment", "longhorn-driver-deployer", toy.STORAGE)
    assert "longhorn-driver-deployer is not there" in storage_ready(names=names)(cluster)
    assert storage_ready(namespace="absent")(cluster) is not HOLDS


def test_what_is_hit_is_named_by_its_release_too(tmp_path):
    path, _ = toy.fresh(tmp_path)
    cluster = toy.cluster(toy.World(path), tmp_path / "undo.jsonl")
    assert hit(cluster, frozenset()) == {}
    cluster.objects.scale("Deployment", "helm-controller", "flux-system", 0)
    state = toy.World(path).read()
    item = state["objects"]["Deployment/flux-system/helm-controller"]
    item["spec"]["replicas"], item["metadata"]["annotations"] = (
        1,
        {"meta.helm.sh/release-name": "r", "meta.helm.sh/release-namespace": "n"},
    )
    toy.World(path).change(lambda s: s["objects"].update(state["objects"]))
    found = hit(cluster, frozenset())
    assert found == {
        "Deployment/flux-system/helm-controller": frozenset(
            {"Deployment/flux-system/helm-controller", "HelmRelease/n/r"}
        )
    }
    assert hit(cluster, frozenset(["flux-system"])) == {}


def test_a_claim_of_its_own_is_held_beside_one_that_breaks(bench):
    experiment = bench.cluster.experiment
    experiment.steady("steady", True, "yes")
    experiment.negative_control("look", True, "red")
    with bench.faults(flux_down()):
        experiment.assertion("apps are reached", "look", False, "3 of 9 refused", claims=("other",))
        experiment.assertion("monitoring goes on", "look", True, "no gap", claims=("c",))
    with pytest.raises(Broke):
        experiment.finish()
    assert bench.verdict().verdict is Verdict.HELD


def test_a_cordoned_node_is_not_ready_for_pods(tmp_path):
    path, _ = toy.fresh(tmp_path)
    world = toy.World(path)
    cluster = toy.cluster(world, tmp_path / "undo.jsonl")
    assert nodes_ready()(cluster) is HOLDS
    world.change(lambda state: state.__setitem__("cordoned", "k3s2"))
    assert "cordoned" in nodes_ready()(cluster)


def test_undo_is_replayed_only_on_the_cluster_that_it_was_written_for(tmp_path):
    path, _ = toy.fresh(tmp_path)
    world = toy.World(path)
    undo = UndoFile(tmp_path / "undo.jsonl")
    undo.before("power-on", node="k3s2")
    undo.before("scale", kind="Deployment", name="helm-controller", namespace="flux-system", replicas=5)
    toy.Driver(world).power_off("k3s2")
    before = world.read()["objects"]

    def another():
        raise RuntimeError("another cluster")

    with pytest.raises(RuntimeError, match="another cluster"):
        undo.replay(toy.Driver(world), toy.KubeClient(world), before_api=another)
    assert world.read()["objects"] == before
    assert world.read()["nodes"]["k3s2"] == "on"  # by its recorded id, which no other cluster has
    assert [s["action"] for s in undo.open_steps()] == ["scale"]


@pytest.mark.parametrize(
    "line", ['{"id": 1, "action": "sca', "[]", '"text"', '{"id": 7, "action": "dance"}', "null", "\x00\xff"]
)
def test_a_line_of_the_undo_file_that_says_nothing_is_counted(tmp_path, line):
    undo = UndoFile(tmp_path / "undo.jsonl")
    undo.before("power-on", node="k3s2")
    with undo.path.open("a") as file:
        file.write(line + "\n")
    undo.before("power-on", node="k3s1")
    assert [s["node"] for s in undo.open_steps()] == ["k3s1", "k3s2"]
    assert undo.unreadable() == 1


def test_every_fault_is_under_the_kill_test():
    assert len(FAULTS) >= 11
    assert set(FAULTS) == {name for m in pkgutil.iter_modules(all_faults.__path__) for name in _marked(m.name)}


def _marked(module):
    text = (ROOT / "holdfast" / "faults" / f"{module}.py").read_text()
    return re.findall(r"^@fault\(.*\)\ndef (\w+)", text, re.MULTILINE)


# -- the one door -------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda c: st.dictionaries(st.sampled_from("abc"), c, max_size=3),
    max_leaves=8,
)
OBJECT = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)


def without_null(value):
    """As an API server keeps an object: null is not there."""
    return {k: without_null(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value


@given(OBJECT, OBJECT)
def test_the_inverse_of_a_merge_patch_sets_back_what_it_set(item, body):
    before = without_null(item)
    changed = copy.deepcopy(before)
    toy.merge_patch(changed, body)
    toy.merge_patch(changed, inverse(before, body))
    assert pruned(changed) == pruned(before)


def pruned(value):
    """Without empty tables: whether one is there makes no difference to an API object."""
    if not isinstance(value, dict):
        return value
    found = {k: pruned(v) for k, v in value.items()}
    return {k: v for k, v in found.items() if v not in ({}, None)}


def test_a_read_only_lane_refuses_every_change(tmp_path):
    path, first = toy.fresh(tmp_path)
    world = toy.World(path)

    class ReadOnly:
        name = "read-only"

        def power_off(self, node):
            raise AssertionError("it was done")

    inject = Inject(ReadOnly(), toy.KubeClient(world), UndoFile(tmp_path / "undo.jsonl"))
    for change in (
        lambda: inject.scale("Deployment", "helm-controller", "flux-system", 0),
        lambda: inject.suspend("HelmRelease", "longhorn", toy.STORAGE),
        lambda: inject.patch("Deployment", "helm-controller", "flux-system", {"spec": {"replicas": 0}}),
        lambda: inject.delete("Deployment", "helm-controller", "flux-system"),
        lambda: inject.delete_pod("helm-controller-x", "flux-system"),
        lambda: inject.create({"kind": "ConfigMap", "metadata": {"name": "x"}}),
        lambda: inject.patch_own("Deployment", "helm-controller", "flux-system", {}),
        lambda: inject.power_off("k3s2"),
    ):
        with pytest.raises(NotExercised):
            change()
    assert world.read() == first
    assert not (tmp_path / "undo.jsonl").exists()


def test_what_is_changed_for_a_while_is_undone_and_the_rest_stays(tmp_path):
    path, first = toy.fresh(tmp_path)
    cluster = toy.cluster(toy.World(path), tmp_path / "undo.jsonl")
    cluster.inject.suspend("HelmRelease", "longhorn", toy.STORAGE)
    suspended = toy.settled(toy.World(path).read())
    with cluster.inject.for_a_while():
        cluster.inject.scale("Deployment", "helm-controller", "flux-system", 0)
        cluster.inject.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "a"}})
    assert toy.settled(toy.World(path).read()) == suspended
    assert cluster.heal() == 1
    assert toy.settled(toy.World(path).read()) == toy.settled(first)
