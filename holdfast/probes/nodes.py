"""Nodes: ready or lost, and what listens on them."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import urlsplit

from holdfast.cluster import Cluster
from holdfast.drivers.driver import NodeLook, NodeShell, lacks
from holdfast.kube import Object, condition
from holdfast.waiting import HOLDS, CannotLook, Sighting, probe

_Network = IPv4Network | IPv6Network


def _status(cluster: Cluster, node: str) -> str:
    found = cluster.objects.get("Node", node)
    return str(condition(found, "Ready").get("status")) if found else "absent"


@probe
def node_ready(cluster: Cluster, node: str) -> Sighting:
    """The API says that the node is Ready."""
    status = _status(cluster, node)
    return HOLDS if status == "True" else f"{node} is {status}"


@probe
def node_absent(cluster: Cluster, node: str) -> Sighting:
    """The API knows no such node."""
    status = _status(cluster, node)
    return HOLDS if status == "absent" else f"{node} is there ({status})"


@probe
def serves_its_own(cluster: Cluster, node: str) -> Sighting:
    """Every DaemonSet that has a pod on each other node has a ready one on this one, too, which began after the node did."""
    found = cluster.objects.get("Node", node)
    if not found:
        return f"{node} is absent"
    others = {n.name for n in cluster.nodes()} - {node}
    pods = [p for p in cluster.objects.list("Pod") if not p["metadata"].get("deletionTimestamp")]
    for item in cluster.objects.list("DaemonSet"):
        of_it = [
            p
            for p in pods
            if item["metadata"]["uid"] in {o.get("uid") for o in p["metadata"].get("ownerReferences") or []}
        ]
        here = [p for p in of_it if p["spec"].get("nodeName") == node and condition(p, "Ready").get("status") == "True"]
        # Of a node that left, the API keeps its pods as they were; they are there again once their containers began anew.
        fresh = [p for p in here if _began(p) >= found["metadata"]["creationTimestamp"]]
        if others <= {str(p["spec"].get("nodeName")) for p in of_it} and not fresh:
            return (
                f"the DaemonSet {item['metadata']['namespace']}/{item['metadata']['name']} has no ready pod on {node}"
            )
    return node_ready(node)(cluster)


def _began(pod: Object) -> str:
    """When the first of a pod's running containers began, as the API writes times; empty where none says so."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return min(
        (str(((s.get("state") or {}).get("running") or {}).get("startedAt") or "") for s in statuses), default=""
    )


@probe
def nodes_ready(cluster: Cluster) -> Sighting:
    """Every node of the lane is Ready and schedulable."""
    for node in cluster.nodes():
        found = cluster.objects.get("Node", node.name)
        if not found or condition(found, "Ready").get("status") != "True":
            return f"{node.name} is not Ready"
        if found["spec"].get("unschedulable"):
            return f"{node.name} is cordoned: it takes no pods"
    return HOLDS


_OF_THE_CONTROL_PLANE = frozenset(f"node.kubernetes.io/{n}" for n in ("not-ready", "unreachable", "unschedulable"))


def marks(cluster: Cluster) -> dict[str, list[str]]:
    """What somebody set on each node to keep pods away: its taints, but for those that come and go by themselves, and whether it is cordoned."""
    found = {}
    for node in cluster.objects.list("Node"):
        taints = [f"{t['key']}:{t['effect']}" for t in node["spec"].get("taints") or []]
        own = [t for t in taints if t.partition(":")[0] not in _OF_THE_CONTROL_PLANE]
        found[node["metadata"]["name"]] = sorted([*own, *(["cordoned"] if node["spec"].get("unschedulable") else [])])
    return found


@probe
def marked_as(cluster: Cluster, before: dict[str, list[str]]) -> Sighting:
    """Nothing keeps pods away from a node that didn't before."""
    for node, now in marks(cluster).items():
        if now != before.get(node, []):
            return f"{node} has {', '.join(now) or 'nothing'}, and had {', '.join(before.get(node, [])) or 'nothing'}"
    return HOLDS


@probe
def node_runs(cluster: Cluster, node: str, version: str) -> Sighting:
    """The node is Ready, and its kubelet is of this version, such as ``1.37.2``."""
    found = cluster.objects.get("Node", node)
    runs = str((((found or {}).get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion", "")).removeprefix("v")
    if runs != version:
        return f"{node} runs {runs or 'nothing'}"
    return node_ready(node)(cluster)


def pods_that_leave(cluster: Cluster, node: str) -> list[Object]:
    """The pods of a node that a drain sends away: all that run there, but for those that belong to the node itself: of DaemonSets, of
    kubelet's own, and those by which Longhorn serves the node's blocks.
    """
    found = []
    for pod in cluster.objects.list("Pod"):
        owners = {o["kind"] for o in pod["metadata"].get("ownerReferences") or []}
        serves = "instance-manager" in (pod["metadata"].get("labels") or {}).get("longhorn.io/component", "")
        ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if pod["spec"].get("nodeName") == node and not ended and not serves and not owners & {"DaemonSet", "Node"}:
            found.append(pod)
    return found


@probe
def drained(cluster: Cluster, node: str) -> Sighting:
    """Nothing runs on a node but what belongs to it."""
    left = [f"{p['metadata']['namespace']}/{p['metadata']['name']}" for p in pods_that_leave(cluster, node)]
    return f"still on {node}: {', '.join(left[:5])}" if left else HOLDS


@probe
def node_not_ready(cluster: Cluster, node: str) -> Sighting:
    """The control plane has given the node up: not by the power that was cut, but by the leases that stopped."""
    status = _status(cluster, node)
    return f"{node} is still Ready" if status == "True" else HOLDS


@probe
def api_refuses(cluster: Cluster) -> Sighting:
    """The API server's port takes no connection."""
    url = urlsplit(cluster.objects.server)
    try:
        socket.create_connection((url.hostname, url.port), timeout=2).close()
    except OSError:
        return HOLDS
    return "the API server's port takes connections"


@probe
def api_away(cluster: Cluster) -> Sighting:
    """The API server answers no request (its port may take connections all the same: a proxy before it does)."""
    try:
        cluster.objects.get("Namespace", "kube-system")
    except CannotLook:
        return HOLDS
    return "the API server answers"


def listening(cluster: Cluster, node: str) -> set[int]:
    """TCP ports that a node listens on at an address other than loopback, read on the node itself."""
    if lacks(cluster.driver, NodeShell):
        text = cluster.capable(NodeLook).look(node, "sockets")
    else:
        text = cluster.host(node).check_output(cluster.flavour.listening)
    found = set()
    for line in text.splitlines():
        address, _, port = line.split()[3].rpartition(":")
        if not re.match(r"(\[::1\]|127\.)", address.replace("[::ffff:127.", "127.")):
            found.add(int(port))
    return found


@probe
def listens_only_on(
    cluster: Cluster, node: str, declared: frozenset[int], own: Mapping[str, frozenset[int]] | None = None
) -> Sighting:
    """The node listens on its own ports (*own*, by role; else those of its kind) and on the stated ones, and on no other."""
    ports = cluster.flavour.own_ports if own is None else own
    more = listening(cluster, node) - ports[cluster.node(node).role] - declared
    return f"{node} also listens on {', '.join(map(str, sorted(more)))}" if more else HOLDS


@probe
def exposes_only(cluster: Cluster, declared: frozenset[int]) -> Sighting:
    """No Service but the stated node ports is open to the outside; no pod takes a host port."""
    for service in cluster.objects.list("Service"):
        name, spec = service["metadata"]["name"], service["spec"]
        if spec.get("type") == "LoadBalancer":
            return f"the Service {name} is a LoadBalancer"
        more = [p["nodePort"] for p in spec.get("ports") or [] if p.get("nodePort") and p["nodePort"] not in declared]
        if more:
            return f"the Service {name} opens the node ports {more}"
    for pod in cluster.objects.list("Pod"):
        ports = [p["hostPort"] for c in pod["spec"]["containers"] for p in c.get("ports") or [] if p.get("hostPort")]
        if ports and not pod["spec"].get("hostNetwork"):
            return f"the pod {pod['metadata']['namespace']}/{pod['metadata']['name']} takes the host ports {ports}"
    return HOLDS


@probe
def addresses_lie_in(cluster: Cluster, pods: str, services: str) -> Sighting:
    """The nodes' pod ranges and the pods' own addresses lie in one range, the Services' in another."""
    own, theirs = ip_network(pods), ip_network(services)
    for node in cluster.objects.list("Node"):
        cidr = str(node["spec"].get("podCIDR") or "")
        if cidr and not _within(ip_network(cidr), own):
            return f"{node['metadata']['name']} gives its pods {cidr}, which isn't in {pods}"
    for pod in cluster.objects.list("Pod"):
        at = str((pod.get("status") or {}).get("podIP") or "")
        if at and not pod["spec"].get("hostNetwork") and not _within(ip_network(at), own):
            return f"the pod {pod['metadata']['namespace']}/{pod['metadata']['name']} has {at}, which isn't in {pods}"
    for service in cluster.objects.list("Service"):
        at = str(service["spec"].get("clusterIP") or "None")
        if at != "None" and not _within(ip_network(at), theirs):
            name = f"{service['metadata']['namespace']}/{service['metadata']['name']}"
            return f"the Service {name} has {at}, which isn't in {services}"
    return HOLDS


def _within(one: _Network, other: _Network) -> bool:
    return one.version == other.version and one.subnet_of(other)  # type: ignore[arg-type]


@probe
def nodes_annotated(cluster: Cluster, annotation: str) -> Sighting:
    """Every node carries an annotation, such as the one by which a network says that it is there."""
    lacking = [
        n["metadata"]["name"]
        for n in cluster.objects.list("Node")
        if annotation not in (n["metadata"].get("annotations") or {})
    ]
    return f"{', '.join(lacking)} lacks {annotation}" if lacking else HOLDS
