"""Faults of the control plane: what it holds is lost."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.cluster import Cluster
from holdfast.drivers.driver import EtcdSnapshot
from holdfast.faults.fault import fault
from holdfast.probes.nodes import api_away, nodes_ready


@fault(EtcdSnapshot)
def etcd_lost(cluster: Cluster, saved: str) -> Iterator[None]:
    """etcd's data is destroyed, with the API server stopped; it is healed by what was *saved* before, a file on the server."""
    cluster.inject.lose_etcd(saved)
    cluster.eventually(api_away(), within="60s")
    yield
    cluster.heal()
    cluster.eventually(nodes_ready(), within="3m")
