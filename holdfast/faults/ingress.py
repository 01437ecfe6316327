"""Faults of the ingress controller."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.cluster import Cluster
from holdfast.drivers.driver import PodRuntime
from holdfast.faults.fault import fault
from holdfast.probes.ingress import controller_pods, refuses
from holdfast.probes.workloads import pods as pods_of
from holdfast.probes.workloads import selector


@fault(PodRuntime, own_cluster=True)
def ingress_deleted(cluster: Cluster, *, hold: bool = True) -> Iterator[None]:
    """The ingress controller's workload is deleted.

    Args:
        hold: its release is suspended, so that it stays away until it is healed; else whoever owns it brings it back by itself.
    """
    component = cluster.settings.ingress
    kind, _, name = component.workload.partition("/")
    if hold:
        cluster.inject.suspend("HelmRelease", component.release, component.namespace)
    pods = pods_of(cluster, component.namespace, selector(cluster, component.workload, component.namespace))
    cluster.inject.delete(kind, name, component.namespace, grace_s=0)
    for pod in pods:  # or they go on answering until their grace period is over
        cluster.inject.delete_pod(pod["metadata"]["name"], component.namespace, grace_s=0)
    cluster.eventually(refuses(cluster.app.host), within="60s")
    yield
    if hold:
        cluster.heal()
    cluster.eventually(controller_pods(1), within="3m")
