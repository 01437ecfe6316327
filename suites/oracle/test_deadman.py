"""The dead man's switch against a real API server: its own program, with the account that is made for it, undoes what holdfast left."""

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from kubernetes import client as official
from kubernetes import config as loading
from kubernetes.client.exceptions import ApiException

from holdfast.drivers import kwok
from holdfast.drivers.deadman import NAMESPACE, SWITCH, Deadman
from holdfast.drivers.driver import DriverError
from holdfast.lane.subject import Subject
from holdfast.paths import ROOT
from holdfast.rehearsal.stage import staged

LIMIT_S = 8  # half of it for the steps


@pytest.fixture(scope="module")
def stage():
    """A real API server and controller manager; nobody runs pods."""
    with staged(Subject(ROOT / "fixtures" / "gitops"), kwok.profiles()[-1]) as made:
        made.driver.ensure_host()
        made.start()
        yield made


class Pod:
    """What kubelet would do: runs the program once the Job is there, with its account's own token."""

    def __init__(self, stage, folder):
        self.stage, self.folder, self.process, self.log = stage, folder, None, folder / "log"
        settings = official.Configuration()
        loading.load_kube_config(config_file=str(stage.driver.kubeconfig), client_configuration=settings)
        self.core, self.settings = official.CoreV1Api(official.ApiClient(settings)), settings
        self.over = threading.Event()

    def start(self):
        while not self.over.is_set():
            if self.stage.client.get("Job", SWITCH, NAMESPACE):
                break
            time.sleep(0.1)
        else:
            return
        wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        token = self.core.create_namespaced_service_account_token(SWITCH, NAMESPACE, wanted).status.token
        (self.folder / "token").write_text(token)
        (self.folder / "ca.crt").write_bytes(Path(self.settings.ssl_ca_cert).read_bytes())
        job = self.stage.client.get("Job", SWITCH, NAMESPACE)
        (container,) = job["spec"]["template"]["spec"]["containers"]
        environment = {e["name"]: e["value"] for e in container["env"]}
        environment |= {
            "DEADMAN_ACCOUNT": str(self.folder),
            "DEADMAN_SERVER": self.settings.host,
            "PATH": os.environ["PATH"],
        }
        script = self.folder / "deadman.py"
        script.write_text(self.stage.client.get("ConfigMap", SWITCH, NAMESPACE)["data"]["deadman.py"])
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", str(script)], env=environment, stdout=log, stderr=log
            )


@contextmanager
def pod(stage, folder):
    one = Pod(stage, folder)
    thread = threading.Thread(target=one.start)
    thread.start()
    try:
        yield one
    finally:
        one.over.set()
        thread.join()
        if one.process:
            one.process.kill()
            one.process.wait()


def deployment(name, replicas=3):
    container = {"name": "c", "image": "image.invalid/c:1"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        },
    }


def scaled(name, replicas=3):
    return {"action": "scale", "kind": "Deployment", "name": name, "namespace": "default", "replicas": replicas}


def replicas(stage, name):
    found = stage.client.get("Deployment", name, "default")
    return found and found["spec"]["replicas"]


def until(what, within_s=30):
    limit = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < limit, "it never came"
        time.sleep(0.2)


@pytest.fixture
def switch(stage, tmp_path):
    """An armed switch, whose program runs."""
    made = Deadman(stage.client, "image.invalid/python:3", LIMIT_S)
    with pod(stage, tmp_path) as running:
        made.arm("a fault of the test")
        made.pod = running
        yield made
        made.disarm()


def test_what_was_broken_is_undone_in_time_though_nobody_asks(stage, switch):
    """Scaled, patched, suspended, deleted and created: each is as before, and it says when and why."""
    client = stage.client
    for name in ("one", "two", "gone"):
        client.apply(deployment(name))
    client.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "kept", "namespace": "default"},
            "data": {"a": "1"},
        }
    )
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "lost"}}
    client.apply(node)
    began = time.monotonic()
    patched = {
        "action": "patch",
        "kind": "Node",
        "name": "lost",
        "namespace": None,
        "body": {"spec": {"unschedulable": None}},
    }
    made = {"action": "delete", "kind": "ConfigMap", "name": "made", "namespace": "default"}
    for step in (
        scaled("one"),
        scaled("two"),
        patched,
        made,
        {"action": "apply", "object": client.get("Deployment", "gone", "default")},
    ):
        switch.protect(step)
    client.scale("Deployment", "one", "default", 0)
    client.scale("Deployment", "two", "default", 0)
    client.patch("Node", "lost", None, {"spec": {"unschedulable": True}})
    client.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "made", "namespace": "default"}})
    client.delete("Deployment", "gone", "default")
    assert switch.healed() == ""
    until(switch.has_healed)  # and not only begun with it
    assert time.monotonic() - began >= LIMIT_S - 1  # the server's clock counts whole seconds
    assert switch.healed() == f"its {LIMIT_S}s were over"
    assert [replicas(stage, n) for n in ("one", "two", "gone")] == [3, 3, 3]
    assert not client.get("Node", "lost")["spec"].get("unschedulable")
    assert client.get("ConfigMap", "made", "default") is None
    assert client.get("ConfigMap", "kept", "default")["data"] == {"a": "1"}
    with pytest.raises(DriverError, match=r"has undone the fault|more than half"):
        switch.protect(scaled("one"))
    client.delete("Node", "lost")


def test_it_is_told_to_undo_at_once(stage, switch):
    stage.client.apply(deployment("one"))
    switch.protect(scaled("one"))
    stage.client.scale("Deployment", "one", "default", 0)
    switch.heal("stopped by its owner")
    assert (replicas(stage, "one"), switch.healed()) == (3, "stopped by its owner")


def test_what_its_owner_undid_stays_when_it_is_taken_away(stage, tmp_path):
    """Taken away before its time it does nothing more, ends, and everything that was made for it goes with it."""
    made = Deadman(stage.client, "image.invalid/python:3", LIMIT_S)
    with pod(stage, tmp_path) as running:
        made.arm("a fault of the test")
        stage.client.apply(deployment("one"))
        made.protect(scaled("one"))
        stage.client.scale("Deployment", "one", "default", 5)  # as somebody wants it from now on
        made.disarm()
        assert running.process.wait(timeout=10) == 0  # it says so itself, and undoes nothing
        time.sleep(LIMIT_S)
    assert replicas(stage, "one") == 5
    until(
        lambda: (
            not any(stage.client.get(kind, NAMESPACE) for kind in ("ClusterRole", "ClusterRoleBinding", "Namespace"))
        )
    )


def test_what_it_could_not_undo_is_refused_before_it_is_broken(stage, switch):
    with pytest.raises(DriverError, match="can't undo 'irreversible' by itself"):
        switch.protect({"action": "irreversible", "what": "x"})
    stage.client.apply(deployment("one"))
    with pytest.raises(
        DriverError, match="could not undo it: PATCH /apis/apps/v1/namespaces/default/deployments/one: 4"
    ):
        switch.protect({**scaled("one"), "replicas": "many"})


def test_two_of_them_never_break_one_cluster(stage, switch):
    with pytest.raises(DriverError, match="already exists"):
        Deadman(stage.client, "image.invalid/python:3", LIMIT_S).arm("another fault")
    assert switch.exists()


def test_it_may_do_nothing_else(stage, switch, tmp_path):
    """Its account undoes the step that it was told, and neither reads, changes nor removes anything besides."""
    stage.client.apply(deployment("one"))
    stage.client.apply(deployment("two"))
    switch.protect(scaled("one"))
    settings = official.Configuration()
    loading.load_kube_config(config_file=str(stage.driver.kubeconfig), client_configuration=settings)
    settings.cert_file = settings.key_file = None
    settings.api_key = {"authorization": f"Bearer {(switch.pod.folder / 'token').read_text()}"}
    client = official.ApiClient(settings)
    apps, core = official.AppsV1Api(client), official.CoreV1Api(client)
    body = {"spec": {"replicas": 1}}
    assert apps.patch_namespaced_deployment("one", "default", body).spec.replicas == 1
    for forbidden in (
        lambda: apps.patch_namespaced_deployment("two", "default", body),
        lambda: apps.read_namespaced_deployment("one", "default"),
        lambda: apps.delete_namespaced_deployment("one", "default"),
        lambda: core.list_namespaced_secret("default"),
        lambda: core.list_namespaced_secret(NAMESPACE),
        lambda: core.create_namespaced_pod(NAMESPACE, {"metadata": {"name": "x"}, "spec": {"containers": []}}),
        lambda: core.delete_namespace("default"),
    ):
        with pytest.raises(ApiException) as said:
            forbidden()
        assert said.value.status == 403


def test_a_pod_that_is_replaced_goes_on_where_the_last_was(stage, switch, tmp_path):
    """The time counts from the first step, by the API server's clock, whoever runs."""
    stage.client.apply(deployment("one"))
    switch.protect(scaled("one"))
    began = time.monotonic()
    stage.client.scale("Deployment", "one", "default", 0)
    switch.pod.process.kill()
    switch.pod.process.wait()
    time.sleep(LIMIT_S / 2)
    other = tmp_path / "other"
    other.mkdir()
    with pod(stage, other):
        until(switch.has_healed)  # and not only begun with it
    assert replicas(stage, "one") == 3
    assert time.monotonic() - began < LIMIT_S + 6


def test_a_switch_that_somebody_removes_undoes_what_it_still_can(stage, tmp_path):
    """Without a word that the fault is over: nobody would undo it any more."""
    made = Deadman(stage.client, "image.invalid/python:3", 60)
    with pod(stage, tmp_path) as running:
        made.arm("a fault of the test")
        stage.client.apply(deployment("one"))
        made.protect(scaled("one"))
        stage.client.scale("Deployment", "one", "default", 0)
        stage.client.delete("Secret", SWITCH, NAMESPACE)
        until(lambda: replicas(stage, "one") == 3)
        assert running.process.wait(timeout=10) == 0
        made.disarm()


def test_anothers_switch_is_neither_used_nor_removed(stage, switch, tmp_path):
    """A holdfast that wakes up after its own switch has gone finds the next one's in its place."""
    sleeper = Deadman(stage.client, "image.invalid/python:3", LIMIT_S)
    sleeper._uid = "of-before"
    for act in (lambda: sleeper.protect(scaled("one")), lambda: sleeper.request_healing("x")):
        with pytest.raises(DriverError, match="another holdfast's"):
            act()
    assert "gone" in sleeper.healed()
    sleeper.disarm()
    assert switch.exists() and switch.healed() == ""


def test_a_switch_that_was_never_armed_is_taken_away(stage):
    """holdfast died while it made it: there is no Secret, and nothing to undo."""
    stage.client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    left = Deadman(stage.client, "image.invalid/python:3", LIMIT_S)
    assert left.heal("asked for") is False
    left.disarm()
    assert not left.exists()
