"""Faults of a release: it fails, and whoever waits for it waits."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.cluster import Cluster
from holdfast.drivers.driver import AssumedReleases
from holdfast.faults.fault import fault
from holdfast.probes.flux import not_ready, ready


@fault(AssumedReleases)
def release_fails(cluster: Cluster, release: str, namespace: str) -> Iterator[None]:
    """A release that the lane assumes fails; the effect check is the release, which says that it isn't ready."""
    cluster.inject.fail_release(release, namespace)
    cluster.inject.request_reconciliation("HelmRelease", release, namespace)
    cluster.eventually(not_ready("HelmRelease", release, namespace), within="60s")
    yield
    cluster.heal()
    cluster.inject.request_reconciliation("HelmRelease", release, namespace)
    cluster.eventually(ready("HelmRelease", release, namespace), within="2m")
