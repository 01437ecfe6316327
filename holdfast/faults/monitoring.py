"""Faults of the monitoring: its long-term tier gone."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.cluster import Cluster
from holdfast.drivers.driver import PodRuntime
from holdfast.faults.fault import fault
from holdfast.kube import Object
from holdfast.probes.monitoring import has_endpoint, no_endpoint


def _of_release(item: Object, release: str) -> bool:
    return (item["metadata"].get("annotations") or {}).get("meta.helm.sh/release-name") == release


@fault(PodRuntime)
def longterm_tier_gone(cluster: Cluster) -> Iterator[None]:
    """Nothing of the long-term tier runs, Alertmanager included; its release is suspended, so that it stays away."""
    component, objects = cluster.settings.monitoring, cluster.objects
    for service in (component.longterm, component.alertmanager):
        cluster.eventually(
            has_endpoint(service, component.namespace), within="60s"
        )  # or the effect check would hold without any fault
    cluster.inject.suspend("HelmRelease", component.longterm_release, component.namespace)
    for kind in ("Prometheus", "Alertmanager", "Deployment"):
        for item in objects.list(kind, component.namespace):
            if _of_release(item, component.longterm_release):
                cluster.inject.patch(kind, item["metadata"]["name"], component.namespace, {"spec": {"replicas": 0}})
    for service in (component.longterm, component.alertmanager):
        cluster.eventually(no_endpoint(service, component.namespace), within="60s")
    yield
    cluster.heal()
    for service in (component.longterm, component.alertmanager):
        cluster.eventually(has_endpoint(service, component.namespace), within="2m")
