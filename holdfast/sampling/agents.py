"""The samplers inside the cluster: one on every node, its program brought as a ConfigMap, its records kept on the node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from holdfast.drivers.driver import NodeShell
from holdfast.kube import KubeClient, KubeReader, Object
from holdfast.sampling.process import PEER_PORT
from holdfast.sampling.vantage import Fetched, WatchedTargets, fetch, rest

NAMESPACE, NAME = "holdfast-system", "sampler"
FOLDER = "/var/lib/holdfast/sampler"  # on each node: spec.json, and records/
_LABELS, _PORT = {"app": "holdfast-sampler"}, "peers"
_FILES = ("looks.py", "process.py", "records.py")


def install(objects: KubeClient, image: str) -> None:
    """Puts the samplers on the cluster; they look at nothing until a watch gives them a specification."""
    files = {name: (Path(__file__).parent / name).read_text() for name in _FILES}
    meta = {"name": NAME, "namespace": NAMESPACE}
    objects.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": files})
    objects.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta, "automountServiceAccountToken": False}
    )
    objects.apply({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": meta, "spec": _daemon_set(image)})


def enable_scraping(objects: KubeClient) -> None:
    """Asks the tree's Prometheus to scrape the samplers, where it is one of prometheus-operator's.

    Early, and for good: a running Prometheus learns of a new target minutes later (its config reloader looks every three minutes once the first
    change has taken its file watch away: github.com/prometheus-operator/prometheus-operator/pull/7366).
    """
    if objects.get("CustomResourceDefinition", "podmonitors.monitoring.coreos.com"):
        objects.apply(
            {
                "apiVersion": "monitoring.coreos.com/v1",
                "kind": "PodMonitor",
                "metadata": {"name": NAME, "namespace": NAMESPACE},
                "spec": {"selector": {"matchLabels": _LABELS}, "podMetricsEndpoints": [{"port": _PORT}]},
            }
        )


def program() -> tuple[list[Object], list[Object]]:
    """The volumes and mounts that bring the samplers' program into a pod of their namespace, below ``/app``."""
    items = [{"key": name, "path": f"holdfast/sampling/{name}"} for name in _FILES]
    return [{"name": "program", "configMap": {"name": NAME, "items": items}}], [
        {"name": "program", "mountPath": "/app"}
    ]


def _daemon_set(image: str) -> Object:
    volumes, mounts = program()
    container = {
        "name": "sampler",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "PYTHONPATH", "value": "/app"}],
        "command": [
            "python3",
            "-m",
            "holdfast.sampling.process",
            "--follow",
            "/node/spec.json",
            "--out",
            "/node/records",
        ],
        # Without a share of its own it stands still whenever many pods start at once, and then proves nothing.
        "ports": [{"name": _PORT, "containerPort": PEER_PORT}],
        "resources": {"requests": {"cpu": "250m", "memory": "48Mi"}},
        "volumeMounts": [*mounts, {"name": "node", "mountPath": "/node"}],
    }
    volumes.append({"name": "node", "hostPath": {"path": FOLDER, "type": "DirectoryOrCreate"}})
    # It must go on looking through whatever happens to the node, and must never be what a fault evicts.
    spec = {
        "serviceAccountName": NAME,
        "priorityClassName": "system-node-critical",
        "tolerations": [{"operator": "Exists"}],
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": volumes,
    }
    return {
        "selector": {"matchLabels": _LABELS},
        "template": {"metadata": {"labels": _LABELS}, "spec": spec},
        "updateStrategy": {"rollingUpdate": {"maxUnavailable": "100%"}},
    }


class AgentsInside:
    """The samplers on the nodes, for one watch: each finds on its node what to look at, so that it needs no API server."""

    def __init__(self, shell: NodeShell, nodes: list[str], watched: WatchedTargets) -> None:
        self.shell, self.nodes, self.watched = shell, nodes, watched

    def start(self) -> None:
        for node in self.nodes:
            self.shell.write_files(node, FOLDER, {"spec.json": self.watched.specification(node)})

    def collect(self) -> Iterator[Fetched]:
        for node in self.nodes:
            yield fetch(self.shell, node, [node], FOLDER, self.watched)

    def stop(self) -> None:
        rest(self.shell, self.nodes, FOLDER, self.watched.nonce)


def pods(objects: KubeReader) -> dict[str, str]:
    """The samplers' addresses, by node."""
    found = objects.list("Pod", NAMESPACE, labels="app=holdfast-sampler")
    return {
        p["spec"]["nodeName"]: p["status"]["podIP"]
        for p in found
        if p["spec"].get("nodeName")
        and (p.get("status") or {}).get("podIP")
        and not p["metadata"].get("deletionTimestamp")
    }
