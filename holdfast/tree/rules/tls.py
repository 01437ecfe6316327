"""TLS of what answers from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast.tree.certificates import Controller, class_of, controllers, covers, serving
from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Evidence, Inconclusive, NotApplicable, Outcome, Severity, hit, rule
from holdfast.tree.manifest import Manifest, get, mapping, sequence
from holdfast.tree.rules.core import unknown_charts
from holdfast.tree.tree import Tree

# The cloud's or the network's own: they bring certificates by ways that no manifest shows.
_ELSEWHERE = re.compile(r"^(?:tailscale|cloudflare|alb|aws|gce|gke|azure|webapprouting|caddy|kong|ngrok|pomerium)")
_OF_CONTROLLER = re.compile(r"nginx|traefik|haproxy|ingress|contour|envoy")
_BY_ANNOTATION = re.compile(
    r"router\.(?:tls|entrypoints)$|^alb\.ingress\.kubernetes\.io/certificate-arn|managed-certificates$|pre-shared-cert$|ssl-cert(?:ificate)?s?$|appgw-ssl-certificate$"
)


@rule(
    "network.tls",
    "ingress-tls",
    Severity.BREAKS_CLAIM,
    why="browsers get the controller's own certificate, or plain HTTP",
    do="add tls with this host and a Secret that exists, is stated, or that cert-manager makes",
)
def tls(tree: Tree) -> Iterator[Outcome]:
    """Every Ingress with TLS for each host, and a Secret that comes from somewhere."""
    if not tree.of("Ingress"):
        yield NotApplicable("the tree has no Ingress")
    yield from unknown_charts(tree)
    known = controllers(tree)
    for ingress in tree.of("Ingress"):
        by = serving(tree, ingress, known)
        if not any(_is_nginx(tree, c) for c in by):
            name = class_of(ingress)
            yield Inconclusive(
                f"{ingress.id}: no NGINX of the tree is known to serve {f'the class {name}' if name else 'it'}"
            )
        yield from _hosts(tree, ingress, by)
        yield from _secrets(tree, ingress)


def _is_nginx(tree: Tree, controller: Controller) -> bool:
    """Whether a controller is an NGINX: by its class, its name, or the chart of its release."""
    chart = next((r.chart for r in tree.releases if r.manifest.id == controller.id), "")
    return any("nginx" in word for word in (*controller.classes, controller.id, chart))


def _hosts(tree: Tree, ingress: Manifest, by: list[Controller]) -> Iterator[Outcome]:
    """Each host of an Ingress that its tls leaves out, where the controller has nothing for it either."""
    blocks = [mapping(b) for b in sequence(ingress.spec.get("tls"))]
    if any(not sequence(b.get("hosts")) for b in blocks):
        return  # it is for all hosts then
    covered = {str(h) for b in blocks for h in sequence(b.get("hosts"))}
    if any(_BY_ANNOTATION.search(str(k)) for k in mapping(ingress.meta.get("annotations"))):
        return
    for index, one in enumerate(sequence(ingress.spec.get("rules"))):
        host = str(mapping(one).get("host") or "")
        if host and host not in covered and "*." + host.partition(".")[2] not in covered:
            yield _without(tree, ingress, host, index, by)


def _without(tree: Tree, ingress: Manifest, host: str, index: int, by: list[Controller]) -> Outcome:
    """What becomes of a host without tls: the controller's default certificate may be for it."""
    certificates = [c for c in by if c.certificate]
    for one in certificates:
        if covers(tree, one, host):
            return Evidence(f"{ingress.id}: {host} by the default certificate {one.certificate} of {one.id}")
    if _ELSEWHERE.match(class_of(ingress)):
        return Inconclusive(f"{ingress.id}: what TLS the class {class_of(ingress)} brings to {host} isn't in the tree")
    for one in certificates:
        if covers(tree, one, host) is None:
            return Inconclusive(
                f"{ingress.id}: {host} has the default certificate {one.certificate} of {one.id}, and its names aren't in the tree"
            )
    if unread := next((c for c in by if c.unread), None):
        return Inconclusive(f"{ingress.id}: whether {unread.id} has a default certificate isn't known: {unread.unread}")
    if front := _in_front(tree, ingress, by):
        return Inconclusive(f"{ingress.id}: {host} may be reached through {front}, which ends TLS before it")
    what = f"{ingress.id} answers for {host} without TLS"
    if certificates:
        what += f", and the default certificate {certificates[0].certificate} isn't for it"
    return hit(tree, ingress, what, "spec", "rules", index, "host")


def _in_front(tree: Tree, ingress: Manifest, by: list[Controller]) -> str:
    """An Ingress of another class that ends TLS and leads to the namespace of this one's controller; empty where there is none."""
    spaces = {c.namespace for c in by} - {""}
    for other in tree.of("Ingress"):
        by_annotation = any(_BY_ANNOTATION.search(str(k)) for k in mapping(other.meta.get("annotations")))
        ends = by_annotation or sequence(other.spec.get("tls"))
        leads = any(_leads_to(other, c) for c in by if c.namespace in spaces & {other.namespace})
        if leads and class_of(other) != class_of(ingress) and ends:
            return other.id
    return ""


def _leads_to(ingress: Manifest, controller: Controller) -> bool:
    """Whether a backend of an Ingress may be a controller's Service: it is called as what brings it, or as controllers are."""
    spec, brings = ingress.spec, controller.id.rpartition("/")[2]
    paths = [mapping(p) for r in sequence(spec.get("rules")) for p in sequence(get(mapping(r), "http", "paths"))]
    backends = [mapping(spec.get("defaultBackend")), *(mapping(p.get("backend")) for p in paths)]
    names = [str(get(b, "service", "name") or b.get("serviceName") or "") for b in backends]
    return any(n.startswith(brings) or _OF_CONTROLLER.search(n) for n in names if n)


_ISSUERS = {"cert-manager.io/cluster-issuer": "ClusterIssuer", "cert-manager.io/issuer": "Issuer"}


def _issuer_doubt(tree: Tree, ingress: Manifest, secret: str) -> str:
    """Why a Secret that cert-manager would make may not come: its issuer, or cert-manager itself, isn't in the tree. Empty where that isn't so."""
    if ("Secret", ingress.namespace, secret) in tree.by_key:
        return ""
    notes = mapping(ingress.meta.get("annotations"))
    asked = [(kind, str(notes[key])) for key, kind in _ISSUERS.items() if notes.get(key)]
    for one in tree.of("Certificate"):
        if one.namespace == ingress.namespace and one.spec.get("secretName") == secret:
            ref = mapping(one.spec.get("issuerRef"))
            asked = [(str(ref.get("kind") or "Issuer"), str(ref.get("name")))]
    for kind, name in asked:
        space = "" if kind == "ClusterIssuer" else ingress.namespace
        if kind in _ISSUERS.values() and UNKNOWN not in name and not tree.names.has(kind, space, name):
            return f"would come of {kind}/{name}, which isn't in the tree"
    brings = any(r.chart == "cert-manager" for r in tree.releases) or any(
        m.name == "cert-manager" for m in tree.of("Deployment")
    )
    return "would come of cert-manager, which isn't in the tree" if asked and not brings else ""


def _secrets(tree: Tree, ingress: Manifest) -> Iterator[Outcome]:
    """The Secrets of an Ingress' tls: each comes from somewhere."""
    for index, block in enumerate(map(mapping, sequence(ingress.spec.get("tls")))):
        key = ("Secret", ingress.namespace, str(block.get("secretName") or ""))
        if not key[2]:
            continue
        if doubt := _issuer_doubt(tree, ingress, key[2]):
            yield Inconclusive(f"{ingress.id}: Secret/{key[1]}/{key[2]} {doubt}")
            continue
        if UNKNOWN in key[2] or tree.names.surely_has(*key):
            yield Evidence(f"{ingress.id}: TLS from {'/'.join(key)}")
            continue
        if tree.names.has(*key):
            yield Inconclusive(
                f"{ingress.id}: whether {'/'.join(key)} is made isn't known: a name of a Secret has a variable in it"
            )
            continue
        what = f"{ingress.id} takes its certificate from {'/'.join(key)}, which nothing in the tree makes"
        if hint := tree.names.hint(*key):
            yield hit(tree, ingress, f"{what}{hint}", "spec", "tls", index, "secretName")
        else:  # by hand, or copied from another namespace: the tree can't tell
            yield Inconclusive(what)
