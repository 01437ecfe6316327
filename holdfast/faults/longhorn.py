"""Faults of the storage system: its control plane gone, its data plane gone, all of it gone, and its workloads deleted."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.cluster import Cluster
from holdfast.drivers.driver import NodeShell, PodRuntime
from holdfast.errors import NotExercised
from holdfast.faults.fault import fault
from holdfast.kube import name_of
from holdfast.probes.longhorn import (
    no_control_plane_pod,
    no_data_plane_pod,
    pods,
    storage_ready,
    volumes_fail,
    volumes_work,
    workloads,
)

SHARE = "longhorn.io/component=share-manager"
_NOWHERE = "holdfast/nowhere"  # no node has this label: a DaemonSet that asks for it runs nowhere


def _hold(cluster: Cluster) -> None:
    """Whoever keeps the storage system as it is in Git stands still meanwhile: its release."""
    component = cluster.settings.storage
    cluster.inject.suspend("HelmRelease", component.release, component.namespace)


def _stop_control_plane(cluster: Cluster) -> None:
    namespace = cluster.settings.storage.namespace
    for item in sorted(
        workloads(cluster), key=lambda i: i["kind"] == "DaemonSet"
    ):  # what deploys the others goes first
        kind, name = item["kind"], item["metadata"]["name"]
        if kind == "DaemonSet":
            cluster.inject.patch(
                kind, name, namespace, {"spec": {"template": {"spec": {"nodeSelector": {_NOWHERE: "true"}}}}}
            )
        else:
            cluster.inject.scale(kind, name, namespace, 0)
    for pod in pods(cluster, data_plane=False):  # or they go on working until their grace period is over
        cluster.inject.delete_pod(pod, namespace, grace_s=0)


def _kill_data_plane(cluster: Cluster) -> None:
    for pod in pods(cluster, data_plane=True):
        cluster.inject.delete_pod(pod, cluster.settings.storage.namespace, grace_s=0)


def _names(cluster: Cluster) -> frozenset[str]:
    return frozenset(name_of(item) for item in workloads(cluster))


def _back(cluster: Cluster, names: frozenset[str]) -> None:
    cluster.heal()
    cluster.eventually(storage_ready(names=names), within="3m")
    if isinstance(cluster.driver, NodeShell):  # on the nodes, where they can be asked
        cluster.eventually(volumes_work(), within="3m")


@fault(PodRuntime, own_cluster=True)
def longhorn_control_plane_down(cluster: Cluster) -> Iterator[None]:
    """No manager and no CSI plugin runs; what is attached is still served. Its release is suspended, so that they stay away.

    Raises NotExercised where volumes are shared by way of pods that would be deleted with the others: those would be cut off.
    """
    if shared := cluster.objects.list("Pod", cluster.settings.storage.namespace, labels=SHARE):
        raise NotExercised(f"{len(shared)} shared volumes are served by pods of the storage system's control plane")
    names = _names(cluster)
    _hold(cluster)
    _stop_control_plane(cluster)
    cluster.eventually(no_control_plane_pod(), within="60s")
    yield
    _back(cluster, names)


@fault(NodeShell, PodRuntime)
def longhorn_data_plane_down(cluster: Cluster) -> Iterator[None]:
    """The pods that serve blocks are killed, and nothing is there to bring them back: an I/O error on every mounted volume."""
    names = _names(cluster)
    _hold(cluster)
    _stop_control_plane(cluster)
    cluster.eventually(no_control_plane_pod(), within="60s")
    _kill_data_plane(cluster)
    cluster.eventually(no_data_plane_pod(), within="30s")
    cluster.eventually(volumes_fail(), within="60s")
    yield
    _back(cluster, names)


def _delete_all(cluster: Cluster) -> None:
    items, namespace = workloads(cluster), cluster.settings.storage.namespace
    for item in items:
        cluster.inject.delete(item["kind"], item["metadata"]["name"], namespace, grace_s=0)
    for pod in [*pods(cluster, data_plane=False), *pods(cluster, data_plane=True)]:
        cluster.inject.delete_pod(pod, namespace, grace_s=0)


@fault(NodeShell, PodRuntime)
def longhorn_gone(cluster: Cluster) -> Iterator[None]:
    """Nothing of it runs any more, and nothing brings it back: its Kustomization and its release are suspended."""
    names = _names(cluster)
    cluster.inject.suspend("Kustomization", cluster.settings.storage.kustomization, cluster.sync.root.namespace)
    _hold(cluster)
    _delete_all(cluster)
    cluster.eventually(no_control_plane_pod(), within="60s")
    cluster.eventually(no_data_plane_pod(), within="30s")
    cluster.eventually(volumes_fail(), within="60s")
    yield
    _back(cluster, names)


@fault(NodeShell, PodRuntime)
def longhorn_workloads_deleted(cluster: Cluster) -> Iterator[None]:
    """Its workloads and all its pods are deleted; whoever owns them has to bring them back."""
    names = _names(cluster)
    _delete_all(cluster)
    cluster.eventually(no_control_plane_pod(), within="30s", every_s=0.1)
    cluster.eventually(volumes_fail(), within="30s", every_s=0.1)
    yield
    cluster.eventually(storage_ready(names=names), within="3m")
    cluster.eventually(volumes_work(), within="3m")
