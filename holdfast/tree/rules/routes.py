"""Routes that two Ingresses claim: one host and one path, for two backends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Outcome, Severity, Violation, rule
from holdfast.tree.manifest import Body, Manifest, mapping, sequence
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import Tree

FAMILY = "apply"
_NGINX = "nginx.ingress.kubernetes.io"
_TRAEFIK = "traefik.ingress.kubernetes.io/router."
_WEBHOOK = "controller.admissionWebhooks.enabled"


@dataclass(frozen=True)
class _Route:
    """One host and path of an Ingress, and where it stands."""

    ingress: Manifest
    path: tuple[PathKey, ...]
    host: str
    url: str


@rule(
    "network.one-route-twice",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="which of the two answers is left to chance",
    do="give one of them another host or path, or put both into one Ingress",
)
def twice(tree: Tree) -> Iterator[Outcome]:
    """Two Ingresses of one class with one host and path; ingress-nginx's webhook refuses the second."""
    found: dict[tuple[str, ...], list[_Route]] = {}
    for ingress in tree.of("Ingress"):
        for route in _routes(ingress) if not _has_own_balancer(ingress) else ():
            found.setdefault((*_class(ingress), route.host, route.url), []).append(route)
    for (name, _, host, url), routes in found.items():
        others = [r for r in routes if r.ingress.key != routes[0].ingress.key]
        if not others:
            continue
        refused = _is_refused(tree, name)
        yield Violation(
            routes[0].ingress.id,
            tuple(tree.locate(r.ingress, *r.path) for r in (routes[0], *others)),
            f"{routes[0].ingress.id} and {others[0].ingress.id} both answer for {host or 'every host'}{url}",
            why="ingress-nginx's webhook refuses the one that comes second, and with it the whole set of its Kustomization"
            if refused
            else "",
            hits=(routes[0].ingress.id, *(r.ingress.id for r in others)),
            severity=Severity.BREAKS_APPLY if refused else None,
        )


def _has_own_balancer(ingress: Manifest) -> bool:
    """Whether a cloud's controller gives each Ingress of its class an address of its own: then two don't compete."""
    notes = mapping(ingress.meta.get("annotations"))
    name = str(ingress.spec.get("ingressClassName") or notes.get("kubernetes.io/ingress.class") or "")
    by_itself = name == "alb" and "alb.ingress.kubernetes.io/group.name" not in notes
    return name.startswith("gce") or by_itself or any("static-ip-name" in str(key) for key in notes)


def _routes(ingress: Manifest) -> Iterator[_Route]:
    notes = mapping(ingress.meta.get("annotations"))
    if str(notes.get(f"{_NGINX}/canary")).lower() == "true":
        return  # it is meant to share its route
    for index, one in enumerate(map(mapping, sequence(ingress.spec.get("rules")))):
        host = str(one.get("host") or "")
        for number, path in enumerate(map(mapping, sequence(mapping(one.get("http")).get("paths")))):
            url = str(path.get("path") or "/")
            if UNKNOWN not in host + url and "$" not in host:
                yield _Route(ingress, ("spec", "rules", index, "http", "paths", number, "path"), host, url)


def _class(ingress: Manifest) -> tuple[str, str]:
    """Whose Ingress it is, and what else sets two of them apart: Traefik's entry points."""
    notes: Body = mapping(ingress.meta.get("annotations"))
    name = ingress.spec.get("ingressClassName") or notes.get("kubernetes.io/ingress.class") or ""
    apart = sorted(f"{k}={v}" for k, v in notes.items() if str(k).startswith(_TRAEFIK))
    return str(name), " ".join(apart)


def _is_refused(tree: Tree, name: str) -> bool:
    """Whether the class is of an ingress-nginx in the tree whose webhook is on."""
    for release in tree.releases:
        if release.chart != "ingress-nginx" or release.value(_WEBHOOK, True) is False or release.unread:
            continue
        default = release.value("controller.ingressClassResource.default", False) is True
        if name == release.value("controller.ingressClassResource.name", "nginx") or (not name and default):
            return True
    return False
