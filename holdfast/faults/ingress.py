"""Faults of the ingress controller."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.cluster import Cluster
from holdfast.faults.fault import fault
from holdfast.kube import plain
from holdfast.probes.ingress import controller_pods, refuses
from holdfast.probes.workloads import pods as pods_of
from holdfast.probes.workloads import selector


@fault()
def ingress_deleted(cluster: Cluster, *, hold: bool = True) -> Iterator[None]:
    """The ingress controller's workload is deleted.

    Args:
        hold: its release is suspended, so that it stays away until it is healed; else whoever owns it brings it back by itself.
    """
    component = cluster.settings.ingress
    kind, _, name = component.workload.partition("/")
    found = cluster.objects.get(kind, name, component.namespace)
    assert found, f"a steady cluster has {component.workload}"
    cluster.undo.before("apply", object=plain(found))
    if hold:
        cluster.undo.before(
            "suspend", kind="HelmRelease", name=component.release, namespace=component.namespace, suspend=False
        )
        cluster.objects.patch("HelmRelease", component.release, component.namespace, {"spec": {"suspend": True}})
    pods = pods_of(cluster, component.namespace, selector(cluster, component.workload, component.namespace))
    cluster.objects.delete(kind, name, component.namespace, grace_s=0)
    for pod in pods:  # or they go on answering until their grace period is over
        cluster.objects.delete("Pod", pod["metadata"]["name"], component.namespace, grace_s=0)
    cluster.eventually(refuses(cluster.app.host), within="60s")
    yield
    if hold:
        cluster.undo.replay(cluster.driver, cluster.objects)
    cluster.eventually(controller_pods(1), within="3m")
