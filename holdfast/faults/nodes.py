"""Faults of whole nodes."""

from __future__ import annotations

import time
from collections.abc import Iterator

from holdfast.cluster import Cluster, PowerWindow
from holdfast.drivers.driver import NodePower
from holdfast.faults.fault import fault
from holdfast.probes.nodes import api_refuses, node_not_ready, node_ready


@fault(NodePower)
def node_loss(cluster: Cluster, node: str) -> Iterator[None]:
    """Cuts the power of a node: no drain, no goodbye.

    The effect check of a worker is the control plane, which calls it NotReady; the effect check of the server is its API, which refuses.
    """
    server = cluster.node(node).role == "server"
    window = PowerWindow(node, time.time())
    cluster.power_windows.append(window)
    cluster.inject.power_off(node)
    cluster.eventually(api_refuses() if server else node_not_ready(node), within=cluster.timers.node_lost_s + 20)
    yield
    cluster.heal()
    window.on = time.time()
    cluster.eventually(node_ready(node), within="5m")
