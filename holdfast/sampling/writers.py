"""The writers: pods with a volume of the tree's storage class each, which append records to it and say which were acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from holdfast.cluster import Cluster
from holdfast.drivers.driver import NodeShell
from holdfast.kube import KubeClient, KubeReader, Object, condition
from holdfast.sampling.agents import NAME, NAMESPACE, program
from holdfast.sampling.vantage import Fetched, WatchedTargets, fetch, rest
from holdfast.waiting import HOLDS, Sighting, probe

FOLDER = "/var/lib/holdfast/writers"  # on each node: WRITER/spec.json and WRITER/records/, so that a writer may move
COUNT = 5  # all but the last by a StatefulSet, the last by a Deployment
DEPLOYMENT, STATEFUL = "writer-deployment", "writer"
FILE = "/data/records"
LABELS = {"app": "holdfast-writer"}
_SIZE = "64Mi"


def names() -> list[str]:
    """The writers' names, which are their vantage points too."""
    return [*(f"{STATEFUL}-{n}" for n in range(COUNT - 1)), DEPLOYMENT]


def folder(writer: str) -> str:
    """Where a writer's specification and records lie, on each node."""
    return f"{FOLDER}/{writer}"


def claim_of(writer: str) -> str:
    """The name of a writer's PersistentVolumeClaim."""
    return writer if writer == DEPLOYMENT else f"data-{writer}"


def install(objects: KubeClient, storage_class: str) -> None:
    """Puts the writers on the cluster, beside the samplers and with their image; where they are already, nothing changes."""
    sampler = objects.get("DaemonSet", NAME, NAMESPACE)
    assert sampler, "a lane has its samplers"
    image = sampler["spec"]["template"]["spec"]["containers"][0]["image"]
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "resources": {"requests": {"storage": _SIZE}},
    }
    meta = {"namespace": NAMESPACE, "labels": LABELS}
    stateful = {
        "serviceName": STATEFUL,
        "replicas": COUNT - 1,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": {**LABELS, "by": "stateful-set"}},
        "template": _pod("stateful-set", image, None),
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
    }
    single = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": {**LABELS, "by": "deployment"}},
        "template": _pod("deployment", image, DEPLOYMENT),
    }
    objects.apply(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {**meta, "name": DEPLOYMENT}, "spec": claim}
    )
    objects.apply(
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {**meta, "name": STATEFUL}, "spec": stateful}
    )
    objects.apply(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {**meta, "name": DEPLOYMENT}, "spec": single}
    )


def _pod(by: str, image: str, writer: str | None) -> Object:
    own: dict[str, Any] = {"value": writer} if writer else {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    volumes, mounts = program()
    volumes.append({"name": "node", "hostPath": {"path": FOLDER, "type": "DirectoryOrCreate"}})
    if writer:
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": writer}})
    mounts += [{"name": "node", "mountPath": "/node"}, {"name": "data", "mountPath": str(PurePosixPath(FILE).parent)}]
    container = {
        "name": "writer",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "WRITER", **own}, {"name": "PYTHONPATH", "value": "/app"}],
        "command": [
            "python3",
            "-m",
            "holdfast.sampling.process",
            "--follow",
            "/node/$(WRITER)/spec.json",
            "--out",
            "/node/$(WRITER)/records",
        ],
        "volumeMounts": mounts,
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}},
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": LABELS},
    }
    return {
        "metadata": {"labels": {**LABELS, "by": by}},
        "spec": {
            "serviceAccountName": NAME,
            "terminationGracePeriodSeconds": 1,
            "topologySpreadConstraints": [spread],
            "containers": [container],
            "volumes": volumes,
        },
    }


class WritersInside:
    """The writers, for one watch. A writer may move: it finds what to do, and leaves its records, wherever it comes to."""

    def __init__(self, shell: NodeShell, nodes: list[str], watched: WatchedTargets) -> None:
        self.shell, self.nodes, self.watched = shell, nodes, watched

    def start(self) -> None:
        for writer in self.watched.targets:
            specification = self.watched.specification(writer)
            for node in self.nodes:
                self.shell.write_files(node, folder(writer), {"spec.json": specification})

    def collect(self) -> Iterator[Fetched]:
        for writer in self.watched.targets:
            yield fetch(self.shell, writer, self.nodes, folder(writer), self.watched)

    def stop(self) -> None:
        for writer in self.watched.targets:
            rest(self.shell, self.nodes, folder(writer), self.watched.nonce)


def homes(objects: KubeReader) -> dict[str, tuple[str, str]]:
    """(node, pod UID) of each writer that is ready."""
    found = {}
    for pod in objects.list("Pod", NAMESPACE, labels="app=holdfast-writer"):
        if condition(pod, "Ready").get("status") == "True" and not pod["metadata"].get("deletionTimestamp"):
            name = pod["metadata"]["name"] if pod["metadata"]["labels"]["by"] == "stateful-set" else DEPLOYMENT
            found[name] = (pod["spec"]["nodeName"], pod["metadata"]["uid"])
    return found


def file_on_node(objects: KubeReader, writer: str, uid: str) -> str:
    """Where the node of a writer's pod has the file with its records, as kubelet mounts volumes of CSI."""
    claim = objects.get("PersistentVolumeClaim", claim_of(writer), NAMESPACE)
    volume = claim["spec"]["volumeName"] if claim else ""
    return f"/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~csi/{volume}/mount/{PurePosixPath(FILE).name}"


@probe
def writers_run(cluster: Cluster, on: str = "", away_from: str = "") -> Sighting:
    """Every writer is ready, on one node or away from one."""
    found = homes(cluster.objects)
    for name in names():
        node = found.get(name, ("", ""))[0]
        if not node or (on and node != on) or node == away_from:
            return f"{name} is {f'on {node}' if node else 'not ready'}"
    return HOLDS
