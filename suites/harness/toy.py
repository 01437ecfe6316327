"""A cluster in a JSON file: enough of an API and of a driver for faults to be injected, killed and healed without a container."""

import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from holdfast.cluster import Cluster
from holdfast.drivers import profile
from holdfast.drivers.driver import DriverError, Node
from holdfast.drivers.flavour import KUBEADM
from holdfast.drivers.profile import Note
from holdfast.faults.flux import TROUBLE
from holdfast.faults.longhorn import SHARE
from holdfast.kube import KubeClient as RealClient
from holdfast.tree.manifest import Manifest
from holdfast.tree.settings import Settings
from holdfast.tree.settings_file import App
from holdfast.tree.tree import Sync
from holdfast.undo import UndoFile
from holdfast.waiting import CannotLook


class World:
    """The state, on disk after every change; kills its process at the *n*-th step, before or after the change is made."""

    def __init__(self, path: Path, kill_at: int = 0, *, after: bool = False):
        self.path, self.kill_at, self.after, self.steps = path, kill_at, after, 0

    def read(self):
        return json.loads(self.path.read_text())

    def change(self, edit):
        self.steps += 1
        if self.steps == self.kill_at and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        state = self.read()
        edit(state)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(state, sort_keys=True))
        part.replace(self.path)
        if self.steps == self.kill_at and self.after:
            os.kill(os.getpid(), signal.SIGKILL)


class KubeClient:
    """The calls that faults, probes and undo make."""

    server = "https://127.0.0.1:1"

    def __init__(self, world):
        self.world = world

    def get(self, kind, name, namespace=None, **_):
        state = self.world.read()
        if state.get("lost"):
            raise CannotLook("the API server doesn't answer")
        if kind == "Node" and name not in state["nodes"]:
            return None
        if kind == "Node":
            ready = "True" if state["nodes"].get(name) == "on" else "Unknown"
            return {
                "kind": "Node",
                "spec": {"unschedulable": state.get("cordoned") == name},
                "metadata": {"name": name},
                "status": {
                    "conditions": [{"type": "Ready", "status": ready}],
                    "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                },
            }
        found = state["objects"].get(f"{kind}/{namespace}/{name}")
        if kind == "GitRepository" and found and name != TROUBLE:
            why = _in_the_way(state)
            ready = {"type": "Ready", "status": "False" if why else "True", "message": why}
            return {**found, "status": {"conditions": [ready]}}
        if kind == "HelmRelease" and found:
            ready = {
                "type": "Ready",
                "status": "False" if f"{namespace}/{name}" in state.get("failing", []) else "True",
            }
            return {**found, "status": {"conditions": [ready]}}
        return found

    def list(self, kind, namespace=None, labels="", **_):
        state = self.world.read()
        if kind == "Node":
            return [self.get("Node", name) for name in state["nodes"]]
        found = [o for o in state["objects"].values() if o["kind"] in (kind, "Deployment", "DaemonSet")]
        if kind == "EndpointSlice":  # a pod stands behind a Service while the tier that it belongs to runs
            running = [o for o in found if o["metadata"]["namespace"] == namespace and o["spec"].get("replicas")]
            return [{"endpoints": [{"conditions": {"ready": True}}]}] if running else []
        if kind != "Pod":
            return [o for o in found if o["kind"] == kind and namespace in (None, o["metadata"]["namespace"])]
        if namespace == STORAGE:
            return self._storage_pods(labels)
        label = labels.partition("=")[2]
        return [
            self._pod(o, state)
            for o in found
            if namespace in (None, o["metadata"]["namespace"])
            and (not label or o["metadata"]["name"] == label)
            and o["spec"].get("replicas", 1)
        ]

    @staticmethod
    def _pod(owner, state):
        """A pod of a workload: a new one after each time that it was deleted. Apps of `apps_misbehave` end as their names say."""
        name, namespace = owner["metadata"]["name"], owner["metadata"]["namespace"]
        uid = f"{name}{state['deleted'].get(name, '')}"
        ends = {"crash-loop": "Error", "memory-eater": "OOMKilled"}
        container = {"started": True, "lastState": {"terminated": {"reason": ends[name]}} if name in ends else {}}
        return {
            "kind": "Pod", "metadata": {"name": f"{name}-x", "namespace": namespace, "uid": uid}, "spec": {"nodeName": "k3s1"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [container]},
        }  # fmt: skip

    def log(self, pod, namespace, **_):
        return "x" * 600_000 if pod == "log-flood-x" else ""

    def _storage_pods(self, labels):
        """Pods of the control plane while their workloads ask for any; those that serve blocks, which a manager brings back."""
        if labels == SHARE:
            return []
        state = self.world.read()
        running = [
            o
            for o in state["objects"].values()
            if o["metadata"]["namespace"] == STORAGE
            and o["kind"] in ("Deployment", "DaemonSet")
            and o["spec"].get("replicas", 1)
            and not o["spec"]["template"]["spec"]["nodeSelector"]
        ]
        serving = [o for o in state["objects"].values() if o["kind"] == "Pod"]
        if any(o["metadata"]["name"] == "longhorn-manager" for o in running):
            serving = [instance_manager(node) for node in ("k3s1", "k3s2")]
        others = [
            {"kind": "Pod", "metadata": {"name": f"{o['metadata']['name']}-x", "namespace": STORAGE}} for o in running
        ]
        return serving if labels else [*others, *serving]

    def apply(self, wanted):
        meta = wanted["metadata"]
        not_ready = {"conditions": [{"type": "Ready", "status": "False"}]} if meta["name"] == TROUBLE else {}
        wanted = {
            **wanted,
            "metadata": {**meta, "generation": 0},
            "status": {"readyReplicas": wanted.get("spec", {}).get("replicas", 1), **not_ready},
        }
        self.world.change(
            lambda s: s["objects"].__setitem__(f"{wanted['kind']}/{meta.get('namespace')}/{meta['name']}", wanted)
        )

    def scale(self, kind, name, namespace, replicas):
        def edit(state):
            item = state["objects"][f"{kind}/{namespace}/{name}"]
            item["spec"]["replicas"] = replicas
            item["status"] = {"readyReplicas": replicas}

        self.world.change(edit)

    def evict(self, pod, namespace):
        self.delete("Pod", pod, namespace)

    def patch(self, kind, name, namespace, body):
        if kind == "Node":
            self.world.change(lambda s: s.__setitem__("cordoned", name if body["spec"]["unschedulable"] else None))
            return
        self.world.change(lambda s: merge_patch(s["objects"][f"{kind}/{namespace}/{name}"], body))

    def request_reconciliation(self, kind, name, namespace):
        assert self.get(kind, name, namespace), "nobody is asked who isn't there"

    def delete(self, kind, name, namespace=None, **_):
        def edit(state):
            gone = state["objects"].pop(f"{kind}/{namespace}/{name}", None)
            if kind == "Pod" and gone is None:  # one that a workload makes anew
                owner = name.removesuffix("-x")
                state["deleted"][owner] = state["deleted"].get(owner, 0) + 1

        self.world.change(edit)
        return True


def _in_the_way(state):
    """Why the tree can't be pulled; empty where it can."""
    if state.get("git_off"):
        return "connection refused"
    if state.get("git_delay_s"):
        return "context deadline exceeded"
    return "" if state["objects"][f"Secret/{FLUX}/{FLUX}"]["data"]["identity"] == KEY else "unable to authenticate"


FLUX, KEY = "flux-system", "a key"
STORAGE = "longhorn-system"
MOUNT = "/var/lib/kubelet/pods/1/volumes/kubernetes.io~csi/pvc-1/mount"


def merge_patch(item, body):
    """A JSON merge patch (RFC 7396), done to *item*."""
    for key, value in body.items():
        if value is None:
            item.pop(key, None)
        elif isinstance(value, dict):
            if not isinstance(item.get(key), dict):
                item[key] = {}
            merge_patch(item[key], value)
        else:
            item[key] = value


def instance_manager(node):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"instance-manager-{node}", "namespace": STORAGE, "uid": node},
        "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


class Shell:
    """A node with one mounted volume, which can be written while anything serves blocks."""

    def __init__(self, world, node):
        self.world, self.node = world, node

    def check_output(self, command):
        if command == KUBEADM.listening:
            ports = KUBEADM.own_ports["server" if self.node == "k3s1" else "worker"]
            return "".join(f"LISTEN 0 1 *:{port} *:*\n" for port in sorted(ports))
        if command == KUBEADM.containers:
            return "1 1 RUNNING\n"
        if command.startswith("echo "):
            return command.removeprefix("echo ") + "\n"
        return f"/dev/longhorn/pvc-1 {MOUNT} ext4 rw 0 0\n" if self.node == "k3s1" else ""

    def run(self, command):
        if "/dev/tcp/" in command:  # the other node's kubelet
            cut_until = self.world.read().get("cut", {}).get("k3s2", 0)
            return SimpleNamespace(rc=int(time.time() < cut_until))
        if command == KUBEADM.journal or command.startswith("exit "):
            return SimpleNamespace(rc=int(command.removeprefix("exit ")) if command.startswith("exit ") else 0)
        assert MOUNT in command
        works = KubeClient(self.world).list("Pod", STORAGE, labels="longhorn.io/component=instance-manager")
        return SimpleNamespace(rc=0, stdout="## \n" + ("" if works else "Input/output error\nfailed\n"))


class Driver:
    """Two nodes with a switch each."""

    name = "toy"
    kubernetes = "1.36.3"
    evidence_level = "lab"
    timers = profile.load("kind", "fast").timers
    flavour = KUBEADM

    def __init__(self, world):
        self.world = world
        self.kubeconfig = world.path.with_name("kubeconfig")

    def ensure_host(self):
        pass

    def preflight(self):
        pass

    def up(self):
        self.kubeconfig.write_text("{}")

    def down(self):
        self.kubeconfig.unlink(missing_ok=True)

    def exists(self):
        return self.kubeconfig.exists()

    def strays(self):
        return []

    def nodes(self):
        return [Node("k3s1", "server"), Node("k3s2", "worker")]

    def notes(self):
        return [Note("a toy")]

    def stand_ins(self, images):
        return {"storage": "a file"}

    def address(self, node, port):
        return ("127.0.0.1", 1) if port != 1 else None  # nothing listens there

    # -- capabilities ------------------------------------------------------------------------------------------------------

    def before_change(self):
        pass

    def shell(self, node):
        return Shell(self.world, node)

    def write_files(self, node, folder, files):
        self.world.change(lambda s: s.setdefault("files", {}).setdefault(f"{node}:{folder}", {}).update(files))

    def read_files(self, node, folder):
        found = self.world.read().get("files", {}).get(f"{node}:{folder}", {})
        return {name: text.encode() for name, text in found.items()}

    def _switch(self, node, state):
        if node not in self.world.read()["nodes"]:
            raise DriverError(f"there is no node {node}")
        self.world.change(lambda s: s["nodes"].__setitem__(node, state))

    def power_off(self, node):
        self._switch(node, "off")

    def power_on(self, node):
        self._switch(node, "on")

    def is_on(self, node):
        if node not in self.world.read()["nodes"]:
            raise DriverError(f"there is no node {node}")
        return self.world.read()["nodes"][node] == "on"

    def cut_network(self, node, for_s):
        self.world.change(lambda s: s.setdefault("cut", {}).__setitem__(node, time.time() + for_s))

    def restore_network(self, node):
        self.world.change(lambda s: s.setdefault("cut", {}).pop(node, None))

    def remove_node(self, node):
        self.world.change(lambda s: (s["nodes"].pop(node, None), s.update(cordoned=None)))

    def join_node(self, node):
        if node not in self.world.read()["nodes"]:
            self.world.change(lambda s: s["nodes"].__setitem__(node, "on"))

    def bring_version(self, version):
        self.world.change(lambda s: s.setdefault("brought", []).append(version))

    def upgrade_node(self, node, version):
        if version not in self.world.read().get("brought", []):
            raise DriverError(f"{version} wasn't brought")
        self.world.change(lambda s: s.setdefault("versions", {}).__setitem__(node, version))

    def command(self, program):
        """A program that lists the nodes, whatever it is asked; it fails where something is to be absent."""
        file = self.world.path.with_name(program)
        nodes = "\n".join(f"node/{n.name}" for n in self.nodes())
        file.write_text(f"#!/bin/sh\ncase \"$*\" in *absent*) echo not found; exit 1;; esac\necho '{nodes}'\n")
        file.chmod(0o755)
        return file

    def save_etcd(self, file):
        self.world.change(lambda s: s.setdefault("saved", []).append(file))

    def lose_etcd(self):
        self.world.change(lambda s: s.__setitem__("lost", True))

    def restore_etcd(self, file):
        if self.world.read().get("lost"):
            self.world.change(lambda s: s.__setitem__("lost", False))

    def stop_git(self):
        self.world.change(lambda s: s.__setitem__("git_off", True))

    def delay_git(self, delay_s):
        self.world.change(lambda s: s.__setitem__("git_delay_s", delay_s))

    def restore_git(self):
        self.world.change(lambda s: s.update(git_off=False, git_delay_s=0))

    mark = "toy"

    def give_releases(self, releases):
        self.world.change(lambda s: s.__setitem__("releases", sorted(releases)))

    def fail_release(self, name):
        self.world.change(lambda s: s.setdefault("failing", []).append(name))

    def restore_releases(self):
        self.world.change(lambda s: s.__setitem__("failing", []))

    def git_delay_s(self):
        state = self.world.read()
        return None if state.get("git_off") else state.get("git_delay_s", 0)

    def needs_images(self):
        return True

    def load_images(self, images):
        self.world.change(lambda s: s.setdefault("images", {}).update(images))

    def runtime(self):
        return "toy"

    def agent_image(self):
        return "python"

    def serve_git(self, site):
        self.world.change(lambda s: s.__setitem__("git", list(site.hosts)))
        return site.url


def workload(kind, name, namespace, **spec):
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "generation": 0},
        "spec": {"selector": {"matchLabels": labels}, "template": {"spec": {"nodeSelector": {}}}, **spec},
        "status": {"readyReplicas": spec.get("replicas", 1)},
    }


def fresh(folder: Path):
    """A new world in *folder*, and its first state."""
    objects = [
        workload("Deployment", f"{n}-controller", "flux-system", replicas=1)
        for n in ("source", "kustomize", "helm", "notification")
    ]
    longterm = workload("Deployment", "longterm", "monitoring", replicas=1)
    longterm["metadata"]["annotations"] = {"meta.helm.sh/release-name": "monitoring-longterm"}
    objects += [
        workload("DaemonSet", "ingress-nginx-controller", "ingress-nginx"),
        {
            "apiVersion": "helm.toolkit.fluxcd.io/v2",
            "kind": "HelmRelease",
            "metadata": {"name": "ingress-nginx", "namespace": "ingress-nginx"},
            "spec": {"suspend": False},
        },
    ]
    objects += [
        workload("Deployment", "longhorn-driver-deployer", STORAGE, replicas=1),
        workload("DaemonSet", "longhorn-manager", STORAGE),
        instance_manager("k3s1"),
        instance_manager("k3s2"),
        {
            "apiVersion": "helm.toolkit.fluxcd.io/v2",
            "kind": "HelmRelease",
            "metadata": {"name": "longhorn", "namespace": STORAGE},
            "spec": {"suspend": False},
        },
        {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": "storage", "namespace": "flux-system"},
            "spec": {"suspend": False},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "pvc-1", "namespace": None},
            "spec": {"csi": {"driver": "driver.longhorn.io"}},
        },
        {
            "apiVersion": "helm.toolkit.fluxcd.io/v2",
            "kind": "HelmRelease",
            "metadata": {"name": "monitoring-longterm", "namespace": "monitoring"},
            "spec": {"suspend": False},
        },
        longterm,
    ]
    objects.append(workload("Deployment", "coredns", "kube-system", replicas=1))
    meta = {"name": FLUX, "namespace": FLUX, "generation": 0}
    pulled = {"url": "ssh://x/y", "secretRef": {"name": FLUX}}
    objects.append(
        {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": meta, "spec": pulled}
    )
    objects.append({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"identity": KEY}})
    state = {
        "nodes": {"k3s1": "on", "k3s2": "on"},
        "deleted": {},
        "objects": {f"{o['kind']}/{o['metadata']['namespace']}/{o['metadata']['name']}": o for o in objects},
    }
    path = folder / "world.json"
    path.write_text(json.dumps(state, sort_keys=True))
    return path, state


def settled(state):
    """A state without what the API server makes up itself."""
    plain = {
        k: {x: y for x, y in o.items() if x not in ("status", "apiVersion")}
        for k, o in state["objects"].items()
        if o["kind"] != "Pod"
    }
    for item in plain.values():
        item["metadata"] = {k: v for k, v in item["metadata"].items() if k != "generation"}
    return {
        "nodes": state["nodes"],
        "cordoned": state.get("cordoned"),
        "objects": plain,
        "lost": bool(state.get("lost")),
        "git": [bool(state.get("git_off")), state.get("git_delay_s", 0)],
        "failing": state.get("failing", []),
    }


def cluster(world, undo: Path):
    """The facade over a world."""
    source = Manifest(
        {
            "kind": "GitRepository",
            "metadata": {"name": "flux-system", "namespace": "flux-system"},
            "spec": {"url": "ssh://x/y"},
        }
    )
    settings = Settings(
        apps=(App(name="web", namespace="apps", workload="Deployment/web", service="web", port=80, host="web.example"),)
    )
    return Cluster(
        Driver(world),
        cast(RealClient, KubeClient(world)),
        Sync("clusters/home", source, source),
        settings,
        undo.parent,
        "nonce",
        UndoFile(undo),
    )
