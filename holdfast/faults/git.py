"""Faults of the way to Git: its host, and the key."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime

from holdfast.cluster import Cluster
from holdfast.drivers.driver import GitOutage
from holdfast.durations import seconds
from holdfast.faults.fault import fault
from holdfast.gitserver import Key
from holdfast.kube import REQUESTED_AT, Object
from holdfast.probes.flux import REFUSED, not_ready, source_fails, source_ready

_BACK = "5m"  # source-controller asks again after longer and longer times
_ASKED_S = 30.0  # to be told, besides the source's own timeout


def _ask(cluster: Cluster) -> Object:
    """Has the source look at once, as `flux reconcile` does: a fault isn't to wait for the next poll. Returns it."""
    source = cluster.sync.source
    there = cluster.objects.get("GitRepository", source.name, source.namespace)
    assert there, "a steady cluster has the source that it syncs by"
    now = {REQUESTED_AT: datetime.now(UTC).isoformat()}
    cluster.inject.patch("GitRepository", source.name, source.namespace, {"metadata": {"annotations": now}})
    return there


def _within_s(source: Object) -> float:
    """How long until source-controller must have asked, and been told or given up."""
    return seconds(str(source["spec"].get("timeout") or "60s")) + _ASKED_S


@fault(GitOutage)
def git_host_down(cluster: Cluster) -> Iterator[None]:
    """Nobody answers where the tree is pulled from; the effect check is the source, which says that it isn't ready."""
    source = cluster.sync.source
    cluster.inject.stop_git()
    asked = _ask(cluster)
    cluster.eventually(not_ready("GitRepository", source.name, source.namespace), within=_within_s(asked))
    yield
    cluster.heal()
    cluster.eventually(source_ready(source.name, source.namespace), within=_BACK)


@fault(GitOutage)
def git_host_slow(cluster: Cluster, delay_s: float) -> Iterator[None]:
    """Whoever asks the host waits *delay_s* for the first word: longer than the source's own timeout, or nothing would come of it."""
    source = cluster.sync.source
    cluster.inject.delay_git(delay_s)
    asked = _ask(cluster)
    cluster.eventually(not_ready("GitRepository", source.name, source.namespace), within=_within_s(asked))
    yield
    cluster.heal()
    cluster.eventually(source_ready(source.name, source.namespace), within=_BACK)


@fault()
def git_key_refused(cluster: Cluster) -> Iterator[None]:
    """The key that the tree is pulled with is another one; the effect check is the source, which says that it was refused."""
    source = cluster.sync.source
    there = cluster.objects.get("GitRepository", source.name, source.namespace)
    assert there, "a steady cluster has the source that it syncs by"
    other = base64.b64encode(Key.make().private.encode()).decode()
    body = {"data": {"identity": other}}
    cluster.inject.patch("Secret", there["spec"]["secretRef"]["name"], source.namespace, body)
    asked = _ask(cluster)
    refused = source_fails(source.name, source.namespace, *REFUSED)
    cluster.eventually(refused, within=_within_s(asked))
    yield
    cluster.heal()
    cluster.eventually(source_ready(source.name, source.namespace), within=_BACK)
