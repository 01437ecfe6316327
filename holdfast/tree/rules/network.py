"""What answers from outside: node ports, host ports; and the address ranges that parts of the tree must agree on."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from holdfast.tree.certificates import class_of, controllers, serving
from holdfast.tree.distribution import k3s
from holdfast.tree.findings import Evidence, Inconclusive, NotApplicable, Outcome, Severity, Violation, hit, rule
from holdfast.tree.manifest import Manifest, get, mapping, sequence, texts
from holdfast.tree.repository import Location
from holdfast.tree.rules.core import unknown_charts
from holdfast.tree.rules.node_ports import chart_ports
from holdfast.tree.tree import Tree

PODS, SERVICES, _HOME = "10.42.0.0/16", "10.43.0.0/16", "192.168.86.0/24"
_TAILSCALE = re.compile(r"(?:^|/)tailscaled?(?:[:@]|$)|/tailscale/")
_CIDR = re.compile(r"\b(\d{1,3}(?:\.\d{1,3}){3}/\d{1,2})\b")


def _exposed(tree: Tree) -> Iterator[tuple[Manifest, tuple[str | int, ...], str, int | None]]:
    """Whatever a tree opens to the outside: object, field, what, and the port where one is named."""
    for service in tree.of("Service"):
        if service.spec.get("type") in ("NodePort", "LoadBalancer"):
            balanced = service.spec["type"] == "LoadBalancer"
            ports: list[object] = [
                mapping(p).get("nodePort") or (mapping(p).get("port") if balanced else None)
                for p in sequence(service.spec.get("ports"))
            ]
            for index, port in enumerate(ports or [None]):
                yield (
                    service,
                    ("spec", "ports", index),
                    str(service.spec["type"]),
                    port if isinstance(port, int) else None,
                )
        for address in sequence(service.spec.get("externalIPs")):
            at = ("spec", "externalIPs")
            for port in map(mapping, sequence(service.spec.get("ports"))):
                number = port.get("port")
                yield service, at, f"external address {address}", number if isinstance(number, int) else None
    for manifest in tree.workloads():
        if manifest.pod.get("hostNetwork") is True:
            yield manifest, (*manifest.pod_path, "hostNetwork"), "hostNetwork", None
        for path, container in manifest.containers(every=True):
            for index, port in enumerate(sequence(container.get("ports"))):
                if mapping(port).get("hostPort"):
                    yield manifest, (*path, "ports", index), "hostPort", port["hostPort"]
    for release in tree.releases:
        for fact in release.parts("service"):
            kind = release.value(fact["type"], release.value(fact.get("spec_type", ""), fact["default"]))
            at = ("spec", "values", *fact["type"].split("."))
            if kind in ("NodePort", "LoadBalancer"):
                named = [p for p in mapping(release.value(fact.get("node_ports", ""))).values() if isinstance(p, int)]
                named += [p for p in [release.value(fact.get("node_port", ""))] if isinstance(p, int)]
                if kind == "LoadBalancer" and not named:
                    named = [p for p, _ in chart_ports(release)]
                some: list[int | None] = [*named]
                for one in some or [None]:
                    yield release.manifest, at, f"{kind} ({fact['what']})", one
        for fact in release.parts("workload"):
            for field in ("host_network", "host_port"):
                if fact.get(field) and release.value(fact[field]) is True:
                    yield (
                        release.manifest,
                        ("spec", "values", *fact[field].split(".")),
                        f"{field.replace('_', ' ')} ({fact['what']})",
                        None,
                    )


@rule(
    "network.exposed",
    "no-exposed-ports",
    Severity.BREAKS_CLAIM,
    why="it answers to whoever reaches the node",
    do="make it ClusterIP behind the ingress, or state it: [declared] node_ports / exposed",
    opt_in=True,
)
def exposed(tree: Tree) -> Iterator[Outcome]:
    """Node ports, load balancers, host ports and host networks beyond the stated ones."""
    yield from unknown_charts(tree)
    declared = set(tree.settings.declared.node_ports)
    named = set(tree.settings.declared.exposed)
    declared |= {p for p in named if isinstance(p, int)}
    for manifest, path, what, port in _exposed(tree):
        if port in declared or manifest.id in named:
            yield Evidence(f"{manifest.id}: {what} {port or ''}, stated".replace(" ,", ","))
        else:
            yield hit(
                tree, manifest, f"{manifest.id} is open to the outside: {what}" + (f" {port}" if port else ""), *path
            )
    if not _has_tailscale(tree):
        yield Inconclusive("nothing of the tree is Tailscale, so how it is reached from outside isn't in it")
    yield from _served_elsewhere(tree)
    yield Evidence("nothing else of the tree is open to the outside")


def _has_tailscale(tree: Tree) -> bool:
    """Whether the tree brings Tailscale: its operator's chart or objects, or a pod with its image."""
    if any("tailscale" in r.chart for r in tree.releases) or any(m.group == "tailscale.com" for m in tree.objects):
        return True
    images = (str(c.get("image")) for m in tree.workloads() for _, c in m.containers(every=True))
    return any(_TAILSCALE.search(image) for image in images)


def _served_elsewhere(tree: Tree) -> Iterator[Inconclusive]:
    """Ingresses and routes whose controller isn't in the tree: where that listens isn't known."""
    known = controllers(tree)
    for ingress in tree.of("Ingress"):
        if class_of(ingress) != "tailscale" and not serving(tree, ingress, known):
            yield Inconclusive(f"{ingress.id}: what serves it isn't in the tree, nor where that listens")
            return
    routes = tree.of("IngressRoute", "IngressRouteTCP", "IngressRouteUDP")
    if routes and not any("traefik" in c.id for c in known):
        yield Inconclusive(f"{routes[0].id}: what serves it isn't in the tree, nor where that listens")


@rule(
    "network.nodeports",
    "ingress-nodeports",
    Severity.BREAKS_CLAIM,
    why="what points at these ports (router, DNS, monitoring) finds nothing there",
    do="set controller.service.type: NodePort and nodePorts http 30080, https 30443",
    opt_in=True,
)
def nodeports(tree: Tree) -> Iterator[Outcome]:
    """The ingress controller on 30080 and 30443."""
    found = [r for r in tree.releases if r.chart == "ingress-nginx"]
    if not found:
        yield NotApplicable("the tree has no release of ingress-nginx")
        return
    for release in found:
        at = ("spec", "values", "controller", "service")
        if release.value("controller.service.type", "LoadBalancer") != "NodePort":
            yield hit(
                tree,
                release.manifest,
                f"its Service is a {release.value('controller.service.type', 'LoadBalancer')}",
                *at,
                "type",
            )
            continue
        for name, port in (("http", 30080), ("https", 30443)):
            have = release.value(f"controller.service.nodePorts.{name}")
            if have != port:
                yield hit(
                    tree,
                    release.manifest,
                    f"the node port of {name} is {have or 'left to chance'}, and {port} is promised",
                    *at,
                    "nodePorts",
                    name,
                )
            else:
                yield Evidence(f"{name} on {port}")


@rule(
    "network.ranges",
    "network-ranges",
    Severity.BREAKS_CLAIM,
    why="a part of the cluster then isn't reached, or isn't allowed",
    do="write the same ranges everywhere",
    opt_in=True,
)
def ranges(tree: Tree) -> Iterator[Outcome]:
    """Pod and service ranges wherever the tree names them."""
    wanted = [ipaddress.ip_network(c) for c in (tree.settings.declared.ranges or [PODS, SERVICES])]
    seen: set[str] = set()
    named = set()
    for manifest in tree.objects:
        for path, text in texts(manifest.body):
            if "\n" in text.strip():
                continue  # a script or a file: whatever it names there, it isn't the cluster's setting
            for found in _CIDR.findall(text):
                try:
                    net = ipaddress.ip_network(found, strict=False)
                except ValueError:
                    continue
                near = next((w for w in wanted if net.version == w.version and net.overlaps(w)), None)
                if near is not None and net != near and net.prefixlen > 8 and net.prefixlen < 29:
                    yield hit(tree, manifest, f"{manifest.id} names {found}, and the range is {near}", *path)
                elif near is not None and net == near:
                    seen.add(f"{manifest.id} {found}")
                    named.add(near)
    if not seen:
        yield NotApplicable("no object of the tree names the pods' or the services' range")
        return
    yield Evidence(f"agree: {', '.join(sorted(seen))}")
    yield from (Inconclusive(f"nothing of the tree names the range {w}") for w in wanted if w not in named)
    if not k3s(tree) and not any("flannel" in f"{m.name} {m.namespace}" for m in tree.objects):
        yield Inconclusive(
            "that Flannel is the network is said by nothing of the tree, and nothing shows that it is for k3s, which brings it"
        )
    yield from _other_networks(tree, wanted)


_NETWORKS = frozenset({"cilium", "calico", "tigera-operator", "kube-ovn", "antrea", "canal"})
# What a cluster is told its ranges are by: k3s, kubeadm, Talos, and the networks' own settings, in files that Flux needn't apply.
_TOLD = re.compile(
    r"(?i)(?:cluster|pod|service|svc)[-_]?(?:network[-_]?)?(?:cidr|subnet)s?\w{0,60}[\"']?(?:\s*[:=,])?\s*(?:[\[\"'-]+\s*)?(\d{1,3}(?:\.\d{1,3}){3}/\d{1,2})"
)


def _other_networks(tree: Tree, wanted: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> Iterator[Inconclusive]:
    """What in the repository says that the cluster has another network than the one that is claimed, or other ranges."""
    for release in tree.releases:
        if release.chart in _NETWORKS:
            yield Inconclusive(f"{release.manifest.id} is the pods' network, and not Flannel")
    for name in tree.repository.files:
        text = tree.repository.text(name) if not name.endswith((".md", ".json", ".svg")) else ""
        for found in _TOLD.finditer(text):
            try:
                net = ipaddress.ip_network(found[1], strict=False)
            except ValueError:
                continue
            if not any(net.version == w.version and net.overlaps(w) for w in wanted):
                line = text.count("\n", 0, found.start()) + 1
                yield Inconclusive(f"{name}:{line} says that a range of the cluster is {net}")
                break


@rule(
    "network.tailscale",
    "tailscale-router",
    Severity.BREAKS_CLAIM,
    why="what isn't advertised can't be reached from outside the home",
    do="list all three in TS_ROUTES (or in the Connector's advertiseRoutes)",
    opt_in=True,
)
def tailscale(tree: Tree) -> Iterator[Outcome]:
    """The subnet router advertises all three ranges."""
    wanted = {str(c) for c in (tree.settings.declared.routes or [PODS, SERVICES, _HOME])}
    for manifest in tree.objects:
        if manifest.kind == "Connector":
            listed, path = (
                {str(r) for r in sequence(get(manifest.spec, "subnetRouter", "advertiseRoutes"))},
                ("spec", "subnetRouter", "advertiseRoutes"),
            )
        else:
            named = [
                (p, e)
                for p, c in manifest.containers()
                for e in sequence(c.get("env"))
                if mapping(e).get("name") == "TS_ROUTES"
            ]
            if not named:
                continue
            listed, path = set(re.split(r"[,\s]+", str(mapping(named[0][1]).get("value", "")))), (*named[0][0], "env")  # type: ignore[assignment]
        lacking = sorted(wanted - listed)
        if lacking:
            yield hit(tree, manifest, f"{manifest.id} doesn't advertise {', '.join(lacking)}", *path)
        else:
            yield Evidence(f"{manifest.id} advertises {', '.join(sorted(wanted))}")
        return
    unreferenced = [m for m in tree.unreferenced_objects if "tailscale" in m.name]
    if unreferenced:
        yield Violation(
            unreferenced[0].id,
            (Location(unreferenced[0].file or ".", 1),),
            f"{unreferenced[0].id} isn't reached from the entry",
            unreferenced=True,
        )
    else:
        yield NotApplicable("the tree has no Tailscale subnet router")
