"""Faults of Flux's controllers."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.cluster import Cluster
from holdfast.drivers.driver import PodRuntime
from holdfast.faults.fault import fault
from holdfast.probes.flux import (
    CONTROLLERS,
    NAMESPACE,
    controller_replaced,
    controllers_ready,
    no_controller_pod,
    not_ready,
    pod_gone,
    suspended,
    uids,
)


@fault(PodRuntime, own_cluster=True)
def flux_down(cluster: Cluster) -> Iterator[None]:
    """No Flux controller runs: their Deployments are scaled to zero."""
    for name in CONTROLLERS:
        cluster.inject.scale("Deployment", name, NAMESPACE, 0)
    cluster.eventually(no_controller_pod(), within="90s")
    yield
    cluster.heal()
    cluster.eventually(controllers_ready(), within="2m")


@fault(PodRuntime, own_cluster=True)
def controller_killed(cluster: Cluster, name: str) -> Iterator[None]:
    """One controller's pod is deleted without grace; its Deployment has to bring another."""
    old = uids(cluster, name)
    for pod in cluster.objects.list("Pod", NAMESPACE, labels=f"app={name}"):
        cluster.inject.delete_pod(pod["metadata"]["name"], NAMESPACE, grace_s=0)
    cluster.eventually(pod_gone(name, old), within="60s")
    yield
    cluster.eventually(controller_replaced(name, old), within="2m")


TROUBLE = "holdfast-trouble"  # the name of what `flux_in_trouble` makes


@fault(PodRuntime)
def flux_in_trouble(cluster: Cluster, kustomization: str) -> Iterator[None]:
    """A Kustomization of the tree is suspended; another one, made for this, fails; and a source, made for this, can't be reached."""
    root = cluster.sync.root
    source = {
        "kind": cluster.sync.source.kind,
        "name": cluster.sync.source.name,
        "namespace": cluster.sync.source.namespace,
    }
    meta = {"name": TROUBLE, "namespace": root.namespace}
    failing = {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": meta,
        "spec": {
            "interval": "1m",
            "retryInterval": "10s",
            "path": "./absent/folder",
            "prune": True,
            "sourceRef": source,
        },
    }
    unreachable = {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": meta,
        "spec": {"interval": "1m", "url": "https://unreachable.invalid/tree.git", "ref": {"branch": "main"}},
    }
    for item in (failing, unreachable):
        cluster.inject.create(item)
    cluster.eventually(not_ready("Kustomization", TROUBLE, root.namespace), within="90s")
    cluster.eventually(not_ready("GitRepository", TROUBLE, root.namespace), within="90s")
    cluster.inject.suspend("Kustomization", kustomization, root.namespace)
    cluster.eventually(suspended(kustomization, root.namespace), within="5s")
    yield
    cluster.heal()
