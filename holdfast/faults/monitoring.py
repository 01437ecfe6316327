"""Faults of the monitoring: its long-term tier gone."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.cluster import Cluster
from holdfast.faults.fault import fault
from holdfast.objects import Object
from holdfast.probes.monitoring import has_endpoint, no_endpoint


def _of_release(item: Object, release: str) -> bool:
    return (item["metadata"].get("annotations") or {}).get("meta.helm.sh/release-name") == release


@fault()
def longterm_tier_gone(cluster: Cluster) -> Iterator[None]:
    """Nothing of the long-term tier runs, Alertmanager included; its release is suspended, so that it stays away."""
    place, objects = cluster.adaptations.monitoring, cluster.objects
    for service in (place.longterm, place.alertmanager):
        cluster.eventually(
            has_endpoint(service, place.namespace), within="60s"
        )  # or the witness would hold without any fault
    cluster.undo.before(
        "suspend", kind="HelmRelease", name=place.longterm_release, namespace=place.namespace, suspend=False
    )
    objects.patch("HelmRelease", place.longterm_release, place.namespace, {"spec": {"suspend": True}})
    for kind in ("Prometheus", "Alertmanager", "Deployment"):
        for item in objects.list(kind, place.namespace):
            if _of_release(item, place.longterm_release):
                name, before = item["metadata"]["name"], {"spec": {"replicas": item["spec"].get("replicas", 1)}}
                cluster.undo.before("patch", kind=kind, name=name, namespace=place.namespace, body=before)
                objects.patch(kind, name, place.namespace, {"spec": {"replicas": 0}})
    for service in (place.longterm, place.alertmanager):
        cluster.eventually(no_endpoint(service, place.namespace), within="60s")
    yield
    cluster.undo.replay(cluster.driver, objects)
    for service in (place.longterm, place.alertmanager):
        cluster.eventually(has_endpoint(service, place.namespace), within="2m")
