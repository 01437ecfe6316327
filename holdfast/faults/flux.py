"""Faults of Flux's controllers."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.cluster import Cluster
from holdfast.faults.fault import fault
from holdfast.probes.flux import CONTROLLERS, NAMESPACE, controller_replaced, controllers_ready, no_controller_pod, pod_gone, uids


@fault()
def flux_down(cluster: Cluster) -> Iterator[None]:
    """No Flux controller runs: their Deployments are scaled to zero."""
    for name in CONTROLLERS:
        found = cluster.objects.get("Deployment", name, NAMESPACE)
        assert found, f"a steady cluster has the Deployment {name}"
        cluster.undo.before("scale", kind="Deployment", name=name, namespace=NAMESPACE, replicas=found["spec"].get("replicas", 1))
        cluster.objects.scale("Deployment", name, NAMESPACE, 0)
    cluster.eventually(no_controller_pod(), within="90s")
    yield
    cluster.undo.replay(cluster.driver, cluster.objects, lambda action, what: action())
    cluster.eventually(controllers_ready(), within="2m")


@fault()
def controller_killed(cluster: Cluster, name: str) -> Iterator[None]:
    """One controller's pod is deleted without grace; its Deployment has to bring another."""
    old = uids(cluster, name)
    for pod in cluster.objects.list("Pod", NAMESPACE, labels=f"app={name}"):
        cluster.objects.delete("Pod", pod["metadata"]["name"], NAMESPACE, grace_s=0)
    cluster.eventually(pod_gone(name, old), within="60s")
    yield
    cluster.eventually(controller_replaced(name, old), within="2m")
