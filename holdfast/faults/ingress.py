"""Faults of the ingress controller."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.cluster import Cluster
from holdfast.faults.fault import fault
from holdfast.objects import plain
from holdfast.probes.ingress import controller_pods, refuses
from holdfast.probes.workloads import pods as pods_of
from holdfast.probes.workloads import selector


@fault()
def ingress_deleted(cluster: Cluster, *, hold: bool = True) -> Iterator[None]:
    """The ingress controller's workload is deleted.

    Args:
        hold: its release is suspended, so that it stays away until it is healed; else whoever owns it brings it back by itself.
    """
    place = cluster.adaptations.ingress
    kind, _, name = place.workload.partition("/")
    found = cluster.objects.get(kind, name, place.namespace)
    assert found, f"a steady cluster has {place.workload}"
    cluster.undo.before("apply", object=plain(found))
    if hold:
        cluster.undo.before("suspend", kind="HelmRelease", name=place.release, namespace=place.namespace, suspend=False)
        cluster.objects.patch("HelmRelease", place.release, place.namespace, {"spec": {"suspend": True}})
    pods = pods_of(cluster, place.namespace, selector(cluster, place.workload, place.namespace))
    cluster.objects.delete(kind, name, place.namespace, grace_s=0)
    for pod in pods:  # or they go on answering until their grace period is over
        cluster.objects.delete("Pod", pod["metadata"]["name"], place.namespace, grace_s=0)
    cluster.eventually(refuses(cluster.app.host), within="60s")
    yield
    if hold:
        cluster.undo.replay(cluster.driver, cluster.objects)
    cluster.eventually(controller_pods(1), within="3m")
