"""Faults of whole nodes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

from holdfast.cluster import Cluster, PowerWindow
from holdfast.drivers.driver import NodeMembership, NodePower, PodRuntime
from holdfast.durations import seconds
from holdfast.faults.fault import fault
from holdfast.probes.longhorn import nothing_attached
from holdfast.probes.nodes import api_refuses, drained, node_absent, node_not_ready, node_ready, pods_that_leave
from holdfast.waiting import CannotLook, patiently


@fault(PodRuntime, own_cluster=True)
def node_drained(cluster: Cluster, node: str, within: str = "3m") -> Iterator[None]:
    """A node takes no pods any more, and those that it has leave it, as budgets of disruptions let them.

    The effect check is what runs there: nothing but what belongs to the node.
    """
    _drain(cluster, node, within)
    yield
    cluster.heal()
    cluster.eventually(node_ready(node), within="30s")


def _drain(cluster: Cluster, node: str, within: str) -> None:
    cluster.inject.patch("Node", node, None, {"spec": {"unschedulable": True}})
    with suppress(CannotLook):  # what is left then, the effect check says
        patiently(lambda: _send_away(cluster, node), f"draining {node}", seconds(within))
    cluster.eventually(drained(node), within="5s")


def _send_away(cluster: Cluster, node: str) -> None:
    """Has every pod leave that isn't leaving; raises CannotLook while any is left."""
    leaving = pods_that_leave(cluster, node)
    for meta in (pod["metadata"] for pod in leaving):
        if not meta.get("deletionTimestamp"):
            with suppress(CannotLook):  # a budget that is used up: asked again
                cluster.inject.evict(meta["name"], meta["namespace"])
    if leaving:
        raise CannotLook(f"{len(leaving)} pods are still on {node}")


@fault(NodePower, own_cluster=True)
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


@fault(NodeMembership, PodRuntime)
def node_removed(cluster: Cluster, node: str, within: str = "3m") -> Iterator[None]:
    """A worker is drained and leaves the cluster for good, as its owner would have it; healed by its joining as a new node.

    The effect check is the API, which doesn't know it any more.
    """
    _drain(cluster, node, within)
    # A drain ends with the pods. A node that goes while a volume is still attached to it keeps it from any other for 6 minutes.
    cluster.eventually(nothing_attached(node), within="60s")
    window = PowerWindow(node, time.time())
    cluster.power_windows.append(window)
    cluster.inject.remove_node(node)
    cluster.eventually(node_absent(node), within="30s")
    yield
    cluster.heal()
    window.on = time.time()
    cluster.eventually(node_ready(node), within="3m")
