"""Ports of the nodes that two things want: LoadBalancers behind k3s' own load balancer, host ports, addresses from outside."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from holdfast.tree import bundled, nodes
from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Inconclusive, Outcome, Severity, Violation, rule
from holdfast.tree.manifest import Body, Manifest, get, mapping, sequence
from holdfast.tree.releases import Release
from holdfast.tree.repository import Location
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import Tree

FAMILY = "network"
_POOL = "svccontroller.k3s.cattle.io/lbpool"
_BALANCER_KINDS = frozenset(
    {
        "IPAddressPool", "AddressPool", "L2Advertisement", "BGPAdvertisement", "CiliumLoadBalancerIPPool", "CiliumL2AnnouncementPolicy",
        "CiliumBGPPeeringPolicy", "CiliumBGPClusterConfig", "ServiceGroup", "Eip", "LBNodeAgent",
    }
)  # fmt: skip
_BALANCERS = re.compile(
    r"metallb|kube-?vip|purelb|openelb|porter-?lb|loxilb|cloud-controller|cloud-provider|\bccm\b|inlets"
)
_ANNOTATED = re.compile(r"metallb|kube-vip|lbipam|purelb|openelb|loxilb|load-balancer\.|loadbalancer\.|tailscale")
_BUNDLED = {"web": 80, "websecure": 443}


@dataclass(frozen=True)
class Listener:
    """Something that takes a port of the nodes.

    Attributes:
        name: what it is, in words.
        pool: which nodes, where k3s' load balancer is told that.
        address: the one address on which it listens; empty: all of them.
        every: on every node that it may run on; else *count* pods of it on a node each.
    """

    manifest: Manifest | None
    path: tuple[PathKey, ...]
    name: str
    port: int
    protocol: str = "TCP"
    pool: str = ""
    address: str = ""
    every: bool = True
    count: int | None = 1
    selector: str = ""

    @property
    def owner(self) -> str:
        """The object that wants the port, by its id."""
        return self.manifest.id if self.manifest is not None else self.name

    def meets(self, other: Listener) -> bool:
        """Whether both want one port of one address."""
        return (self.port, self.protocol) == (other.port, other.protocol) and (
            self.address == other.address or "" in (self.address, other.address)
        )


# -- LoadBalancers behind the load balancer of k3s ---------------------------------------------------------------------


def _other_balancer(tree: Tree) -> str:
    """What else gives LoadBalancers their addresses; empty where nothing does."""
    for manifest in tree.objects:
        images = " ".join(str(c.get("image", "")) for _, c in manifest.containers())
        if manifest.kind in _BALANCER_KINDS or (
            manifest.pod_path and _BALANCERS.search(f"{manifest.name} {images}".lower())
        ):
            return manifest.id
    for release in [*tree.releases, *bundled.charts(tree)]:
        values = release.values
        cilium = release.chart == "cilium" and (
            get(values, "l2announcements", "enabled") is True or get(values, "bgpControlPlane", "enabled") is True
        )
        if cilium or _BALANCERS.search(f"{release.chart} {release.manifest.name}".lower()):
            return release.manifest.id
    return ""


def _balanced(tree: Tree) -> Iterator[Listener]:
    """What Services of the type LoadBalancer take, those of known charts among them; what an own class or address leads elsewhere isn't."""
    told = set()
    for release in tree.releases:
        for fact in release.parts("service"):
            if release.manifest.id in tree.charts.rendered:
                continue
            told.add(release.manifest.id)
            yield from _of_chart(release, fact, release.manifest.id, ("spec", "values", *fact["type"].split(".")))
    for service in tree.of("Service"):
        if not service.group and service.spec.get("type") == "LoadBalancer" and service.owner not in told:
            yield from _of_service(service)


def _of_service(service: Manifest) -> Iterator[Listener]:
    notes = mapping(service.meta.get("annotations"))
    if (
        service.spec.get("loadBalancerClass")
        or service.spec.get("loadBalancerIP")
        or _ANNOTATED.search(" ".join(map(str, notes)))
    ):
        return
    pool = str(mapping(service.meta.get("labels")).get(_POOL) or "")
    for index, port in enumerate(map(mapping, sequence(service.spec.get("ports")))):
        if isinstance(port.get("port"), int):
            yield Listener(
                service,
                ("spec", "ports", index, "port"),
                service.id,
                port["port"],
                str(port.get("protocol") or "TCP"),
                pool,
            )


def _of_chart(release: Release, fact: Body, name: str, at: tuple[PathKey, ...]) -> Iterator[Listener]:
    """The ports of a known chart's Service: ingress-nginx and Traefik."""
    kind = release.value(fact["type"], release.value(fact.get("spec_type", ""), fact["default"]))
    if kind != "LoadBalancer" or release.unread:
        return
    above = fact["type"].rpartition(".")[0]
    held = mapping(release.value(above))
    annotations = " ".join(map(str, mapping(held.get("annotations"))))
    if (
        held.get("loadBalancerClass")
        or held.get("loadBalancerIP")
        or get(held, "spec", "loadBalancerClass")
        or get(held, "spec", "loadBalancerIP")
        or _ANNOTATED.search(annotations)
    ):
        return
    pool = str(mapping(held.get("labels")).get(_POOL) or "")
    for port, protocol in chart_ports(release):
        yield Listener(release.manifest, at, name, port, protocol, pool)


def chart_ports(release: Release) -> Iterator[tuple[int, str]]:
    """The ports (number, protocol) of a known chart's own Service."""
    if release.chart == "ingress-nginx":
        for name, default in (("http", 80), ("https", 443)):
            if release.value(f"controller.service.enable{name.title()}", True) is not False:
                port = release.value(f"controller.service.ports.{name}", default)
                if isinstance(port, int):
                    yield port, "TCP"
        for protocol in ("tcp", "udp"):
            for port in mapping(release.values.get(protocol)):
                if str(port).isdigit():
                    yield int(port), protocol.upper()
    if release.chart == "traefik":
        given = {**dict.fromkeys(_BUNDLED), **mapping(release.values.get("ports"))}
        for name, settings in given.items():
            shown = get(settings, "expose")
            shown = get(shown, "default") if isinstance(shown, dict) else shown
            if shown is False or (shown is None and name not in _BUNDLED):
                continue
            port = get(settings, "exposedPort") or _BUNDLED.get(str(name))
            if isinstance(port, int):
                yield port, str(get(settings, "protocol") or "TCP")


def _of_k3s(tree: Tree) -> Iterator[Listener]:
    """The Traefik that k3s brings, where something shows that it is there."""
    config = next((r for r in bundled.charts(tree) if r.chart == "traefik"), None)
    off = bundled.disabled(tree, "traefik")
    if off or (config is None and off is None):
        return
    if config is None:
        for port in _BUNDLED.values():
            yield Listener(None, (), "the Traefik that k3s brings", port)
        return
    for fact in config.parts("service"):
        yield from _of_chart(config, fact, "the Traefik that k3s brings", ("spec", "valuesContent"))


def _meeting(found: Iterable[Listener]) -> Iterator[tuple[Listener, list[Listener]]]:
    """Each that wants what an earlier one of another object has, with those."""
    seen: list[Listener] = []
    for one in found:
        others = [o for o in seen if o.meets(one) and o.owner != one.owner and o.pool == one.pool]
        if others:
            yield one, others
        seen.append(one)


def _told(tree: Tree, lost: list[tuple[Listener, list[Listener]]], end: str) -> Violation:
    """One finding for all the ports that one object doesn't get."""
    first = lost[0][0]
    assert first.manifest is not None
    ports = ", ".join(dict.fromkeys(_port(one) for one, _ in lost))
    names = list(dict.fromkeys(o.name for _, others in lost for o in others))
    places: list[Location] = [tree.locate(one.manifest, *one.path) for one, _ in lost if one.manifest]
    places += [tree.locate(o.manifest, *o.path) for _, others in lost for o in others if o.manifest]
    who = " and ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
    ids = [o.manifest.id for _, others in lost for o in others if o.manifest]
    return Violation(
        first.manifest.id,
        tuple(dict.fromkeys(places)),
        f"{first.manifest.id} wants {ports} of the nodes, which {who} {'has' if len(names) == 1 else 'have'}{end}",
        hits=tuple(dict.fromkeys([first.manifest.id, *ids])),
    )


def _port(one: Listener) -> str:
    return f"port {one.port}" + ("" if one.protocol == "TCP" else f"/{one.protocol}")


def _by_object(found: Iterable[tuple[Listener, list[Listener]]]) -> Iterator[list[tuple[Listener, list[Listener]]]]:
    grouped: dict[str, list[tuple[Listener, list[Listener]]]] = {}
    for one, others in found:
        if one.manifest is not None:
            grouped.setdefault(one.manifest.id, []).append((one, others))
    yield from grouped.values()


@rule(
    "network.load-balancer",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="k3s' load balancer takes each Service's port on every node: of two with one port the later stays pending for ever",
    do="give one another port or make it ClusterIP, switch off the bundled Traefik, or bring a load balancer with addresses of its own",
)
def load_balancer(tree: Tree) -> Iterator[Outcome]:
    """LoadBalancers on one port behind the service load balancer of k3s."""
    declared = [one for one in _balanced(tree) if UNKNOWN not in one.pool]
    if not declared or _other_balancer(tree):
        return
    lost = list(_meeting([*(_of_k3s(tree) if bundled.is_k3s(tree) else ()), *declared]))
    if not lost or bundled.disabled(tree, "servicelb"):
        return
    if elsewhere := bundled.names(tree, _BALANCERS):
        yield Inconclusive(
            f"{lost[0][0].name} and {lost[0][1][0].name} want one port, and {elsewhere} names another load balancer"
        )
        return
    if not bundled.is_k3s(tree):
        yield Inconclusive(
            f"{lost[0][0].name} and {lost[0][1][0].name} want one port, and what gives LoadBalancers addresses isn't known"
        )
        return
    for found in _by_object(lost):
        yield _told(tree, found, "")


# -- host ports --------------------------------------------------------------------------------------------------------


def _where(pod: Body) -> str:
    """On which nodes pods may run, as a text to compare."""
    placed = {k: v for k, v in mapping(pod.get("nodeSelector")).items() if k != "kubernetes.io/os"}
    required = get(pod, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    return f"{placed or ''}{required or ''}{pod.get('nodeName') or ''}"


def _host_ports(tree: Tree) -> Iterator[Listener]:
    """What workloads take of their nodes: host ports, and the ports of pods in the nodes' own network."""
    for manifest in tree.workloads():
        if manifest.kind in ("Job", "CronJob", "ReplicaSet"):
            continue
        count = 1 if manifest.kind == "Pod" else manifest.spec.get("replicas", 1)
        if count == 0 or UNKNOWN in str(manifest.pod):
            continue
        for path, container in manifest.containers():
            for index, port in enumerate(map(mapping, sequence(container.get("ports")))):
                number = port.get("hostPort") or (
                    port.get("containerPort") if manifest.pod.get("hostNetwork") is True else None
                )
                if isinstance(number, int):
                    address = str(port.get("hostIP") or "")
                    yield Listener(
                        manifest,
                        (*path, "ports", index),
                        manifest.id,
                        number,
                        str(port.get("protocol") or "TCP"),
                        address="" if address in ("0.0.0.0", "::") else address,  # noqa: S104  it is compared, nothing listens
                        every=manifest.kind == "DaemonSet",
                        count=count if isinstance(count, int) else None,
                        selector=_where(manifest.pod),
                    )
    yield from _host_ports_of_charts(tree)


def _host_ports_of_charts(tree: Tree) -> Iterator[Listener]:
    """ingress-nginx on ports of its nodes: the one known chart whose facts say so."""
    for release in tree.releases:
        if release.manifest.id in tree.charts.rendered or release.unread:
            continue
        for fact in release.parts("workload"):
            flag = fact.get("host_port") or ""
            if release.chart != "ingress-nginx" or not flag or release.value(flag) is not True:
                continue
            kind = release.value(fact.get("kind", ""), fact["kind_default"])
            for name, default in (("http", 80), ("https", 443)):
                port = release.value(f"controller.hostPort.ports.{name}", default)
                placed = release.value(fact.get("node_selector", ""))
                if isinstance(port, int):
                    yield Listener(
                        release.manifest,
                        ("spec", "values", *flag.split(".")),
                        release.manifest.id,
                        port,
                        every=kind == "DaemonSet",
                        count=release.value(fact.get("replicas", ""), 1),
                        selector=_where({"nodeSelector": placed}),
                    )


def _no_room(tree: Tree, one: Listener, other: Listener) -> bool:
    """Whether two can't both run: no node is left for the one that comes second."""
    if one.selector != other.selector:
        return False  # they may be for different nodes
    if one.every or other.every:
        return True
    least = tree.settings.declared.nodes
    return bool(least and one.count and other.count and not one.selector and one.count + other.count > least)


@rule(
    "network.host-port",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="a port of a node is one pod's: a pod that wants one that is taken stays Pending for ever",
    do="give one of them another host port, or nodes of its own (nodeSelector)",
)
def host_port(tree: Tree) -> Iterator[Outcome]:
    """Two workloads on the same nodes with one host port; a host port that k3s' load balancer takes."""
    found = list(_host_ports(tree))
    if not found:
        return
    taken: list[Listener] = []
    if bundled.is_k3s(tree) and not _other_balancer(tree) and not bundled.disabled(tree, "servicelb"):
        taken = [
            replace(one, name=f"{one.name} (a LoadBalancer)")
            for one in [*_of_k3s(tree), *_balanced(tree)]
            if not one.pool
        ]
    lost = []
    seen: list[Listener] = []
    for one in found:
        others = [o for o in taken if o.meets(one)] if not bundled.names(tree, _BALANCERS) else []
        others += [o for o in seen if o.meets(one) and o.owner != one.owner and _no_room(tree, one, o)]
        if others:
            lost.append((one, others))
        seen.append(one)
    for group in _by_object(lost):
        yield _told(tree, group, " on the same nodes" if nodes.known(tree) != 1 else "")


# -- addresses from outside --------------------------------------------------------------------------------------------


@rule(
    "network.external-address",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="whichever rule of kube-proxy comes first gets all of it, and the other Service is never reached",
    do="give one of them another port or another address",
)
def external_address(tree: Tree) -> Iterator[Outcome]:
    """Two Services with one external address and one port."""
    found: list[Listener] = []
    for service in tree.of("Service"):
        if service.group or UNKNOWN in str(service.spec):
            continue
        for index, port in enumerate(map(mapping, sequence(service.spec.get("ports")))):
            for address in sequence(service.spec.get("externalIPs")):
                if isinstance(port.get("port"), int):
                    at = ("spec", "ports", index, "port")
                    found.append(
                        Listener(
                            service,
                            at,
                            service.id,
                            port["port"],
                            str(port.get("protocol") or "TCP"),
                            address=str(address),
                        )
                    )
    for group in _by_object(_meeting(found)):
        yield _told(tree, group, f" at {group[0][0].address}")
