"""A cluster that matters, and may be broken: only by a fault that its owner said yes to, once the cluster can undo it by itself."""

import os
import pty
import threading
from types import SimpleNamespace

import pytest

from holdfast import consent
from holdfast.drivers import attached, deadman, disruption
from holdfast.drivers.attached import Attached
from holdfast.drivers.deadman import request, rule
from holdfast.drivers.disruption import Disruptable, Powered, allowed
from holdfast.drivers.driver import DriverError, Guarded, Live, NodePower, Writable
from holdfast.errors import NotExercised, UsageError
from holdfast.faults import fault as faulting
from holdfast.faults.flux import flux_down
from holdfast.faults.ingress import ingress_deleted
from holdfast.faults.longhorn import longhorn_control_plane_down, longhorn_data_plane_down, longhorn_gone
from holdfast.faults.nodes import node_drained, node_loss
from holdfast.probes.calm import can_lose, undamaged
from holdfast.tree import settings as reading
from holdfast.tree.settings import Settings
from holdfast.tree.settings_file import Disruption, NodeCommands
from holdfast.waiting import HOLDS, CannotLook, Probe, Unproven
from suites.harness import toy
from suites.harness.test_faults import OWN, Bench, made

# -- the owner's word ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch):
    """A terminal at which somebody types."""
    monkeypatch.delenv(consent.UNATTENDED, raising=False)
    ours, theirs = pty.openpty()
    monkeypatch.setattr(
        consent, "_TERMINAL", SimpleNamespace(open=lambda *_, **__: os.fdopen(os.dup(theirs), "r+b", 0))
    )
    yield lambda words: os.write(ours, f"{words}\n".encode())
    os.close(ours)
    os.close(theirs)


def test_the_name_of_the_cluster_is_typed_once_more(terminal):
    terminal("home")
    consent.ask("home", ["a fault"])


@pytest.mark.parametrize("typed", ["", "y", "yes", "Home", "home2"])
def test_anything_else_is_a_no(terminal, typed):
    terminal(typed)
    with pytest.raises(NotExercised, match="was not wanted"):
        consent.ask("home", ["a fault"])


def test_without_a_terminal_nothing_is_broken(monkeypatch, tmp_path):
    monkeypatch.setattr(consent, "_TERMINAL", tmp_path / "absent")
    for word in (None, "", "1", "yes", "another"):
        monkeypatch.delenv(consent.UNATTENDED, raising=False)
        if word is not None:
            monkeypatch.setenv(consent.UNATTENDED, word)
        with pytest.raises(NotExercised, match="there is none"):
            consent.ask("home", ["a fault"])
    monkeypatch.setenv(consent.UNATTENDED, "home")
    consent.ask("home", ["a fault"])


def test_only_the_cluster_that_is_meant_is_allowed(tmp_path):
    plain = Attached("home", tmp_path)
    with pytest.raises(UsageError, match="isn't the cluster that is meant, home"):
        allowed(plain, "home2", Settings())
    with pytest.raises(UsageError, match="is none"):
        allowed(SimpleNamespace(name="kind"), "home", Settings())
    one = allowed(plain, "home", Settings())
    assert isinstance(one, Guarded) and isinstance(one, Writable) and isinstance(one, Live)
    assert not isinstance(one, NodePower)
    assert not isinstance(plain, Writable)
    other = allowed(plain, "home", Settings(nodes={"k3s2": NodeCommands(power_off="off {limit_s}")}))
    assert isinstance(other, NodePower) and isinstance(other, Guarded)


# -- the driver ----------------------------------------------------------------------------------------------------------------


class Switch:
    """A dead man's switch that notes what it is told."""

    def __init__(self):
        self.told, self.why, self.cannot, self.blind = [], "", "", False
        self.there = False

    def exists(self):
        return self.there

    def arm(self, what, away_from=()):
        if self.cannot:
            raise DriverError(self.cannot)
        self.told.append(("arm", what, sorted(away_from)))

    def protect(self, step):
        self.told.append(("protect", step["action"], step.get("name")))
        if self.why:
            raise DriverError(self.why)

    def healed(self):
        return self.why

    def has_healed(self):
        if self.blind:
            raise CannotLook("away")
        return self.why.startswith("its")

    def heal(self, why):
        self.told.append(("heal", why))
        return not self.cannot

    def request_healing(self, why):
        self.told.append(("heal", why))
        self.why = why

    def disarm(self):
        self.told.append(("disarm",))


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """The driver of an own cluster whose owner says yes to everything."""
    monkeypatch.setenv(consent.UNATTENDED, "home")
    monkeypatch.setattr(disruption, "_STOP_EVERY_S", 0.01)
    made = Disruptable("home", tmp_path, Disruption())
    made._deadman = Switch()
    monkeypatch.setattr(made, "same", lambda: None)
    yield made
    made._ended.set()


def test_nothing_but_a_fault_changes_it(driver):
    with pytest.raises(NotExercised, match="changed by faults alone"):
        driver.before_change()
    driver.begin_fault("a fault", frozenset({"k3s2"}))
    driver.before_change()
    assert driver.end_fault() == ""
    with pytest.raises(NotExercised, match="changed by faults alone"):
        driver.before_change()
    assert driver._deadman.told == [("arm", "a fault", ["k3s2"]), ("disarm",)]


def test_nothing_is_changed_once_the_switch_has_undone_or_the_fault_is_left(driver):
    driver.begin_fault("a fault", frozenset())
    driver._deadman.why = "its 300s were over"
    with pytest.raises(Unproven, match="has undone the fault"):
        driver.before_change()
    driver._deadman.why = ""
    driver.before_change()
    driver.leave_fault()
    with pytest.raises(NotExercised, match="changed by faults alone"):
        driver.before_change()
    assert ("disarm",) not in driver._deadman.told  # it goes on to undo it by itself


def test_without_its_switch_no_fault_goes_in(driver):
    driver._deadman.cannot = "the image can't be pulled"
    with pytest.raises(Unproven, match="the image can't be pulled"):
        driver.begin_fault("a fault", frozenset())
    with pytest.raises(NotExercised):
        driver.before_change()


def test_a_no_leaves_no_switch(driver, monkeypatch, tmp_path):
    monkeypatch.delenv(consent.UNATTENDED)
    monkeypatch.setattr(consent, "_TERMINAL", tmp_path / "absent")
    with pytest.raises(NotExercised):
        driver.begin_fault("a fault", frozenset())
    assert driver._deadman.told == []


def test_a_stop_file_ends_it_and_keeps_the_next_from_beginning(driver):
    driver.begin_fault("a fault", frozenset())
    driver.stop_file.touch()
    told = threading.Event()
    for _ in range(500):
        if ("heal", "stopped by its owner") in driver._deadman.told:
            told.set()
            break
        threading.Event().wait(0.01)
    assert told.is_set()
    for asked in (driver.before_change, driver.check_stop):
        with pytest.raises(Unproven, match="stopped by its owner"):
            asked()
    assert driver.end_fault() == "stopped by its owner"
    with pytest.raises(Unproven, match="stopped by its owner"):
        driver.begin_fault("another", frozenset())


def test_what_was_asked_for_or_cannot_be_seen_is_not_done_yet(driver):
    """Only the switch's own word that all is undone keeps holdfast from undoing it, too."""
    switch = driver._deadman
    for switch.why, switch.blind, said in (
        ("", False, False),
        ("stopped by its owner", False, False),
        ("its 300s were over", False, True),
        ("its 300s were over", True, False),
    ):
        assert driver.has_undone() is said


def test_a_switch_that_is_there_already_stops_the_run(driver, monkeypatch):
    monkeypatch.setattr(driver, "connect", lambda: None)
    driver.preflight()
    driver._deadman.there = True
    with pytest.raises(UsageError, match="another holdfast breaks it now, or one died") as error:
        driver.preflight()
    assert "--allow-disruption home" in error.value.next_step


def test_a_node_comes_back_by_its_owners_commands(driver, tmp_path, monkeypatch):
    out = tmp_path / "said"
    commands = {
        "k3s2": NodeCommands(power_off=f"sh -c 'echo off {{limit_s}} >> {out}'", power_on=f"sh -c 'echo on >> {out}'")
    }
    made = Powered("home", tmp_path, Disruption(limit="10m"), commands)
    made.power_off("k3s2")
    made.power_on("k3s2")
    assert out.read_text().split() == ["off", "600", "on"]
    with pytest.raises(NotExercised, match="no command that cuts the power of k3s1"):
        made.power_off("k3s1")
    failing = Powered(
        "home", tmp_path, Disruption(), {"k3s2": NodeCommands(power_off="sh -c 'echo no {limit_s} >&2; exit 3'")}
    )
    with pytest.raises(DriverError, match="failed: no 300"):
        failing.power_off("k3s2")
    failing.power_on("k3s2")  # no command: its own timer gives it back


# -- faults on it --------------------------------------------------------------------------------------------------------------


class Own(toy.Driver):
    """The toy as a cluster that matters."""

    limit_s = 300.0

    def __init__(self, world):
        super().__init__(world)
        self.told, self.refuses, self.ended = [], "", ""

    @property
    def writer(self):
        return toy.KubeClient(self.world)

    def begin_fault(self, fault, lost):
        self.told.append(("begin", fault, sorted(lost)))

    def protect(self, step):
        assert toy.settled(self.world.read()) == self.last, "it is told before it is done"
        self.told.append(("protect", step["action"]))
        if self.refuses and len(self.told) > 2:
            raise Unproven(self.refuses)

    @property
    def last(self):
        return toy.settled(self.world.read())

    def check_stop(self):
        pass

    def heal(self):
        return False

    def has_undone(self):
        return self.ended.startswith("its")

    def leave_fault(self):
        self.told.append(("leave",))

    def end_fault(self):
        self.told.append(("end",))
        return self.ended


@pytest.fixture
def bench(tmp_path, monkeypatch):
    one = Bench(tmp_path, monkeypatch)
    one.cluster.driver = Own(one.world)
    monkeypatch.setattr(faulting, "undamaged", lambda: Probe("undamaged", "undamaged()", lambda _: HOLDS))
    monkeypatch.setattr(faulting, "can_lose", lambda node: Probe("can_lose", f"can_lose({node!r})", lambda _: HOLDS))
    monkeypatch.setattr(faulting, "_CALM_WITHIN_S", 0.0)
    return one


def test_each_step_is_known_to_the_cluster_before_it_is_taken(bench):
    bench.cluster.experiment.steady("steady", True, "yes")
    with bench.faults(flux_down()):
        assert bench.cluster.driver.told == [("begin", "flux_down()", []), *[("protect", "scale")] * 4]
    assert bench.cluster.driver.told[-2:] == [("end",), ("leave",)]
    assert bench.state() == toy.settled(bench.first)


def test_a_step_that_the_cluster_cannot_undo_is_not_taken(bench):
    bench.cluster.driver.refuses = "the switch may not"
    with pytest.raises(Unproven, match="the switch may not"), bench.faults(flux_down()):
        pass
    assert bench.state() == toy.settled(bench.first)
    assert bench.cluster.driver.told[-2:] == [("end",), ("leave",)]


def test_what_was_over_before_its_test_was_proves_nothing(bench):
    bench.cluster.experiment.steady("steady", True, "yes")

    def undone_meanwhile():
        with bench.faults(flux_down()):
            bench.cluster.driver.ended = "its 300s were over"
            for name in ("source", "kustomize", "helm", "notification"):  # the cluster has brought them back, and
                bench.cluster.client.scale(
                    "Deployment", f"{name}-controller", "flux-system", 1 if name != "helm" else 2
                )

    with pytest.raises(Unproven, match="over before its test was: its 300s were over"):
        undone_meanwhile()
    left = bench.state()["objects"]["Deployment/flux-system/helm-controller"]
    assert left["spec"]["replicas"] == 2  # what somebody wanted since isn't undone once more
    assert bench.cluster.undo.open_steps() == []


def test_a_switch_that_was_told_to_and_has_not_yet_is_no_reason_to_undo_nothing(bench):
    bench.cluster.driver.ended = "stopped by its owner"
    with pytest.raises(Unproven, match="stopped by its owner"), bench.faults(flux_down()):
        pass
    assert bench.state() == toy.settled(bench.first)


def test_what_cannot_be_undone_leaves_the_switch(bench, monkeypatch):
    monkeypatch.setattr(faulting, "_PATIENCE_S", 0.0)

    def away():
        with bench.faults(flux_down()):
            bench.world.change(lambda s: s.__setitem__("lost", True))
            monkeypatch.setattr(toy.KubeClient, "scale", lambda *_, **__: (_ for _ in ()).throw(CannotLook("away")))

    with pytest.raises(Unproven, match="not healed"):
        away()
    assert ("end",) not in bench.cluster.driver.told
    assert bench.cluster.driver.told[-1] == ("leave",)  # the switch stays, and nothing else is changed
    assert "the cluster itself undoes it within 300s" in bench.quarantined[0]


ALLOWED = {
    "flux_down",
    "controller_killed",
    "ingress_deleted",
    "longhorn_control_plane_down",
    "node_drained",
    "node_loss",
}


@pytest.mark.parametrize("name", OWN)
def test_few_faults_are_for_it_and_the_others_change_nothing(bench, name):
    wanted = made(OWN[name])
    assert wanted.own_cluster is (name in ALLOWED)
    if name not in ALLOWED:
        with pytest.raises(NotExercised, match="for a cluster that may be thrown away"), bench.faults(wanted):
            pass
        assert bench.cluster.driver.told == []
        assert bench.state() == toy.settled(bench.first)


def test_what_comes_while_the_question_stands_is_seen(bench, monkeypatch):
    """A backup that began between the first look and the answer: the switch goes again, and nothing was changed."""
    looks = iter([HOLDS, "a backup is under way"])
    monkeypatch.setattr(faulting, "undamaged", lambda: Probe("undamaged", "undamaged()", lambda _: next(looks)))
    with pytest.raises(Unproven, match="a backup is under way"), bench.faults(flux_down()):
        pass
    assert [t[0] for t in bench.cluster.driver.told] == ["begin", "end", "leave"]
    assert bench.state() == toy.settled(bench.first)


def test_a_cluster_with_trouble_of_its_own_is_left_alone(bench, monkeypatch):
    for name, probe in (("CONVERGED", False), ("undamaged", True), ("can_lose", True)):
        with monkeypatch.context() as patched:
            sick = Probe(name, name, lambda _: "a volume is degraded")
            patched.setattr(faulting, name, (lambda *_, sick=sick: sick) if probe else sick)
            with (
                pytest.raises(Unproven, match="trouble of its own: a volume is degraded"),
                bench.faults(node_drained("k3s2")),
            ):
                pass
    assert "begin" not in {t[0] for t in bench.cluster.driver.told}


def test_the_switch_stays_away_from_a_node_that_is_lost(bench):
    for wanted in (node_drained("k3s2"), node_loss("k3s2")):
        with bench.faults(wanted):
            pass
    assert [t for t in bench.cluster.driver.told if t[0] == "begin"] == [
        ("begin", "node_drained('k3s2')", ["k3s2"]),
        ("begin", "node_loss('k3s2')", ["k3s2"]),
    ]


@pytest.mark.parametrize(
    "fault", [flux_down, ingress_deleted, longhorn_control_plane_down, lambda: node_drained("k3s2")]
)
def test_every_step_of_an_allowed_fault_is_one_that_a_cluster_can_undo_by_itself(bench, monkeypatch, fault):
    taken = []
    monkeypatch.setattr(bench.cluster.driver, "protect", lambda step: taken.append(request(Paths(), step)))
    with bench.faults(fault()):
        assert taken
    assert all(rule(one)["verbs"] for one in taken)


def test_data_is_never_at_stake():
    assert not longhorn_data_plane_down().own_cluster and not longhorn_gone().own_cluster


# -- whether it may be broken now ----------------------------------------------------------------------------------------------


class World:
    """Objects by kind and version."""

    def __init__(self, **items):
        self.items = {k.replace("_", "/"): v for k, v in items.items()}
        groups = {"longhorn.io", "velero.io", "postgresql.cnpg.io"}
        self.items["CustomResourceDefinition"] = [{"spec": {"group": g}} for g in groups]
        self.objects = self

    def list(self, kind, namespace=None, labels="", version=""):
        found = self.items.get(f"{kind}/{version.partition('/')[0]}", self.items.get(kind, []))
        return [{"kind": kind, "metadata": {"name": "x"}, "spec": {}, **i} for i in found]

    def nodes(self):
        return [SimpleNamespace(name=n, role="server" if n == "k3s1" else "worker") for n in ("k3s1", "k3s2")]


def seen(probe, **items):
    said = probe(World(**items))
    return "" if said is HOLDS else str(said)


def test_what_is_damaged_or_saved_now_is_seen():
    attached_volume = {"state": "attached", "robustness": "degraded"}
    assert seen(undamaged()) == ""
    assert "is degraded" in seen(undamaged(), **{"Volume_longhorn.io": [{"status": attached_volume}]})
    assert seen(undamaged(), **{"Volume_longhorn.io": [{"status": {**attached_volume, "robustness": "healthy"}}]}) == ""
    assert (
        seen(undamaged(), **{"Volume_longhorn.io": [{"status": {"state": "detached", "robustness": "unknown"}}]}) == ""
    )
    for kind, status in (
        ("Backup_longhorn.io", {"state": "InProgress"}),
        ("Backup_velero.io", {"phase": "InProgress"}),
        ("Restore_velero.io", {"phase": "New"}),
        ("Backup_postgresql.cnpg.io", {"phase": "running"}),
    ):
        assert "is under way" in seen(undamaged(), **{kind: [{"status": status}]})
        assert seen(undamaged(), **{kind: [{"status": {"state": "Completed", "phase": "Completed"}}]}) == ""
    job = {"metadata": {"name": "nightly-backup-1"}, "status": {"active": 1}}
    assert "is under way" in seen(undamaged(), Job=[job])
    assert seen(undamaged(), Job=[{**job, "status": {"succeeded": 1}}]) == ""


NODES = [{"metadata": {"name": n, "labels": {"kubernetes.io/hostname": n}}} for n in ("k3s1", "k3s2")]


def volume(*nodes, claim="photos"):
    match = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [n]}]} for n in nodes]
    return {
        "spec": {
            "nodeAffinity": {"required": {"nodeSelectorTerms": match}},
            "claimRef": {"namespace": "apps", "name": claim},
        },
        "status": {"phase": "Bound"},
    }


def replica(node, of="photos", **spec):
    return {"spec": {"volumeName": of, "nodeID": node, **spec}, "status": {"currentState": "running"}}


def test_what_only_one_node_holds_is_not_taken_away():
    assert seen(can_lose("k3s2"), Node=NODES) == ""
    assert "one of 1 servers" in seen(can_lose("k3s1"), Node=NODES)
    assert "no other node" in seen(
        can_lose("k3s2"), Node=[{"metadata": {"name": "k3s1"}, "spec": {"unschedulable": True}}, NODES[1]]
    )
    assert "apps/photos lies on k3s2 alone" in seen(can_lose("k3s2"), Node=NODES, PersistentVolume=[volume("k3s2")])
    assert seen(can_lose("k3s2"), Node=NODES, PersistentVolume=[volume("k3s1"), volume("k3s2", "k3s1")]) == ""
    held = {"Replica_longhorn.io": [replica("k3s2")]}
    assert "every good replica" in seen(can_lose("k3s2"), Node=NODES, **held)
    held = {"Replica_longhorn.io": [replica("k3s2"), replica("k3s1", failedAt="now")]}
    assert "every good replica" in seen(can_lose("k3s2"), Node=NODES, **held)
    held = {"Replica_longhorn.io": [replica("k3s2"), replica("k3s1")]}
    assert seen(can_lose("k3s2"), Node=NODES, **held) == ""
    stopped = {**replica("k3s2"), "status": {"currentState": "stopped"}}
    assert "every good replica" in seen(can_lose("k3s2"), Node=NODES, **{"Replica_longhorn.io": [stopped]})
    tainted = [{**NODES[0], "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}, NODES[1]]
    assert "no other node" in seen(can_lose("k3s2"), Node=tainted)
    zoned = volume("k3s2")
    (expression,) = zoned["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"]
    expression["key"] = "topology.example.org/node"
    assert "lies on k3s2 alone" in seen(can_lose("k3s2"), Node=NODES, PersistentVolume=[zoned])
    bare = {"metadata": {"name": "bare", "namespace": "apps"}, "spec": {"nodeName": "k3s2"}}
    assert "belongs to nothing" in seen(can_lose("k3s2"), Node=NODES, Pod=[bare])


# -- what is sent, and what may be sent ----------------------------------------------------------------------------------------


class Paths:
    """A client that knows where objects lie."""

    def path(self, kind, name, namespace=None, version=""):
        group = {
            "Deployment": "/apis/apps/v1",
            "DaemonSet": "/apis/apps/v1",
            "HelmRelease": "/apis/helm.toolkit.fluxcd.io/v2",
        }.get(kind, "/api/v1")
        return "/".join(filter(None, [group, namespace and f"namespaces/{namespace}", f"{kind.lower()}s", name]))


def test_a_step_is_one_request_and_one_right():
    step = {"action": "scale", "kind": "Deployment", "name": "web", "namespace": "apps", "replicas": 2}
    sent = request(Paths(), step)
    assert (sent["method"], sent["path"], sent["body"]) == (
        "PATCH",
        "/apis/apps/v1/namespaces/apps/deployments/web",
        {"spec": {"replicas": 2}},
    )
    assert rule(sent) == {
        "apiGroups": ["apps"],
        "resources": ["deployments"],
        "verbs": ["patch"],
        "resourceNames": ["web"],
    }
    node = request(Paths(), {"action": "patch", "kind": "Node", "name": "k3s2", "namespace": None, "body": {}})
    assert rule(node) == {"apiGroups": [""], "resources": ["nodes"], "verbs": ["patch"], "resourceNames": ["k3s2"]}
    made = request(Paths(), {"action": "delete", "kind": "Namespace", "name": "x", "namespace": None})
    assert rule(made) == {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["delete"], "resourceNames": ["x"]}
    back = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "a", "namespace": "b", "uid": "u"},
        "status": {},
    }
    again = request(Paths(), {"action": "apply", "object": back})
    assert (again["method"], again["path"], again["done_by"]) == (
        "POST",
        "/apis/apps/v1/namespaces/b/daemonsets",
        [409],
    )
    assert again["body"] == {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "a", "namespace": "b"}}
    assert rule(again) == {"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": ["create"]}
    for action in ("irreversible", "unmount", "restore-etcd", "power-on"):
        with pytest.raises(DriverError, match="can't undo"):
            request(Paths(), {"action": action})


def test_the_pod_of_the_switch_is_restricted_and_stays_off_the_lost_node():
    job = deadman.objects("python:3", 300, {"k3s2"})[-1]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchFields"] == [{"key": "metadata.name", "operator": "NotIn", "values": ["k3s2"]}]
    lost = [t for t in pod["tolerations"] if t["effect"] == "NoExecute"]
    assert all(t["tolerationSeconds"] < 60 for t in lost) and len(lost) == 2
    assert "affinity" not in deadman.objects("python:3", 300, ())[-1]["spec"]["template"]["spec"]


# -- settings ------------------------------------------------------------------------------------------------------------------


def test_a_trees_own_settings_name_no_commands(tmp_path):
    tree = tmp_path / "home"
    tree.mkdir()
    inside, beside = tree / ".holdfast.toml", tmp_path / "home.holdfast.toml"
    inside.write_text('[nodes.k3s2]\npower_off = "rm -rf {limit_s}"\n')
    with pytest.raises(UsageError, match="a tree's own settings can't say it") as error:
        reading.load(tree)
    assert str(beside) in error.value.next_step
    inside.write_text('[disruption]\nimage = "somebody.example.org/python"\n')
    with pytest.raises(UsageError, match="rights to undo a fault"):
        reading.load(tree)
    inside.write_text("[declared]\nnodes = 2\n")
    beside.write_text('[disruption]\nlimit = "10m"\n[nodes.k3s2]\npower_off = "off {limit_s}"\n')
    found = reading.load(tree)
    assert (found.declared.nodes, found.disruption.limit, found.nodes["k3s2"].power_off) == (2, "10m", "off {limit_s}")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('[disruption]\nlimit = "10s"', "1m to 30m"),
        ('[disruption]\nlimit = "2h"', "1m to 30m"),
        ('[nodes.k3s2]\npower_off = "ssh k3s2 poweroff"', "power_off"),
        ('[disruption]\nimage = ""', "must not be empty"),
    ],
)
def test_settings_of_faults_that_cannot_be_meant_are_said(tmp_path, text, word):
    tree = tmp_path / "home"
    tree.mkdir()
    (tmp_path / "home.holdfast.toml").write_text(text)
    with pytest.raises(UsageError, match=word):
        reading.load(tree)


def test_the_reader_of_it_still_sends_nothing_but_get(driver):
    assert attached.GetOnlyReader is type(Attached("home", driver.folder).reader)
    assert type(driver.reader) is attached.GetOnlyReader
