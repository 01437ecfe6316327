"""A cluster in a JSON file: enough of an API and of a driver for faults to be injected, killed and healed without a container."""

import json
import os
import signal
from pathlib import Path

from holdfast.cluster import Cluster
from holdfast.drivers import profile
from holdfast.drivers.driver import Node
from holdfast.tree.adaptations import Adaptations, App
from holdfast.tree.documents import Document, Entry
from holdfast.undo import UndoFile


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


class Objects:
    """The calls that faults, probes and undo make."""

    server = "https://127.0.0.1:1"

    def __init__(self, world):
        self.world = world

    def get(self, kind, name, namespace=None, **_):
        state = self.world.read()
        if kind == "Node":
            ready = "True" if state["nodes"].get(name) == "on" else "Unknown"
            return {"kind": "Node", "metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}
        return state["objects"].get(f"{kind}/{namespace}/{name}")

    def list(self, kind, namespace=None, labels="", **_):
        found = [o for o in self.world.read()["objects"].values() if o["kind"] in (kind, "Deployment", "DaemonSet")]
        if kind != "Pod":
            return [o for o in found if o["kind"] == kind]
        label = labels.partition("=")[2]
        return [{"kind": "Pod", "metadata": {"name": f"{o['metadata']['name']}-x", "namespace": o["metadata"]["namespace"], "uid": o["metadata"]["name"]},
                 "spec": {"nodeName": "k3s1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
                for o in found if o["metadata"]["namespace"] == namespace and (not label or o["metadata"]["name"] == label) and o["spec"].get("replicas", 1)]

    def apply(self, wanted):
        meta = wanted["metadata"]
        self.world.change(lambda s: s["objects"].__setitem__(f"{wanted['kind']}/{meta.get('namespace')}/{meta['name']}", wanted))

    def scale(self, kind, name, namespace, replicas):
        def edit(state):
            item = state["objects"][f"{kind}/{namespace}/{name}"]
            item["spec"]["replicas"] = replicas
            item["status"] = {"readyReplicas": replicas}

        self.world.change(edit)

    def patch(self, kind, name, namespace, body):
        self.world.change(lambda s: s["objects"][f"{kind}/{namespace}/{name}"]["spec"].update(body["spec"]))

    def delete(self, kind, name, namespace=None, **_):
        self.world.change(lambda s: s["objects"].pop(f"{kind}/{namespace}/{name}", None))
        return True


class Driver:
    """Two nodes with a switch each."""

    name = "toy"
    kubeconfig = Path("absent")

    def __init__(self, world):
        self.world = world

    def up(self):
        pass

    def down(self):
        pass

    def nodes(self):
        return [Node("k3s1", "server", "127.0.0.1", "1"), Node("k3s2", "worker", "127.0.0.1", "2")]

    def power_off(self, node):
        self.world.change(lambda s: s["nodes"].__setitem__(node, "off"))

    def power_on(self, node):
        self.world.change(lambda s: s["nodes"].__setitem__(node, "on"))

    def is_on(self, node):
        return self.world.read()["nodes"][node] == "on"


def workload(kind, name, namespace, **spec):
    labels = {"app": name}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": {"matchLabels": labels}, **spec}, "status": {"readyReplicas": spec.get("replicas", 1)}}


def fresh(folder: Path):
    """A new world in *folder*, and its first state."""
    objects = [workload("Deployment", f"{n}-controller", "flux-system", replicas=1) for n in ("source", "kustomize", "helm", "notification")]
    objects += [workload("DaemonSet", "ingress-nginx-controller", "ingress-nginx"),
                {"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": {"name": "ingress-nginx", "namespace": "ingress-nginx"},
                 "spec": {"suspend": False}}]
    state = {"nodes": {"k3s1": "on", "k3s2": "on"},
             "objects": {f"{o['kind']}/{o['metadata']['namespace']}/{o['metadata']['name']}": o for o in objects}}
    path = folder / "world.json"
    path.write_text(json.dumps(state, sort_keys=True))
    return path, state


def settled(state):
    """A state without what the API server makes up itself."""
    return {"nodes": state["nodes"], "objects": {k: {**{x: y for x, y in o.items() if x != "status"}} for k, o in state["objects"].items()}}


def cluster(world, undo: Path):
    """The facade over a world."""
    document = Document("clusters/home/flux-system/gotk-sync.yaml", 1, {"kind": "GitRepository", "metadata": {"name": "flux-system", "namespace": "flux-system"}})
    adaptations = Adaptations(apps=(App("web", "apps", "Deployment/web", "web", 80, host="web.example"),))
    made = Cluster(Driver(world), Objects(world), profile.load("swift"), Entry("clusters/home", "clusters/home/flux-system", document, document), adaptations,
                   undo.parent, "nonce", UndoFile(undo))
    object.__setattr__(made.profile, "node_ports", (1, 1))  # nothing listens there
    return made
