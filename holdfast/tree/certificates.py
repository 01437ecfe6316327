"""Ingress controllers and the certificate that each serves where an Ingress brings none of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.manifest import Manifest, get, mapping, sequence, texts
from holdfast.tree.sources import load_text
from holdfast.tree.tree import Tree

_ARGUMENT = re.compile(
    r"^-{1,2}(?:default-ssl-certificate|default-server-tls-secret|wildcard-tls-secret|default-tls-secret)(?:=(?P<name>\S+))?$"
)
_RESOLVER = re.compile(r"(?i)^--entrypoints\.\w+\.http\.tls\.certresolver=(?P<name>\S+)$")
_CLASS = re.compile(
    r"^-{1,2}(?:ingress-class|ingress\.class|kubernetesingress\.ingressclass)=(?P<name>\S+)$", re.IGNORECASE
)
_KEYS = frozenset(
    {"default-ssl-certificate", "default-server-tls-secret", "defaultSSLCertificate", "ingress-default-secret-name"}
)
_CHARTS = {
    "ingress-nginx": "nginx",
    "nginx-ingress": "nginx",
    "traefik": "traefik",
    "haproxy-ingress": "haproxy",
    "kubernetes-ingress": "haproxy",
    "cilium": "cilium",
}


@dataclass(frozen=True)
class Controller:
    """An ingress controller of the tree.

    Attributes:
        id: the object that brings it.
        classes: the ingress classes that it serves, as far as they are known.
        certificate: the Secret (or the resolver) that it serves by default; empty where its settings name none.
        namespace: where that Secret is looked for, where it is named without one.
        unread: why its settings aren't known whole.
    """

    id: str
    classes: frozenset[str]
    certificate: str = ""
    namespace: str = ""
    unread: str = ""

    def secret(self) -> tuple[str, str]:
        """The namespace and the name of its default certificate's Secret."""
        namespace, _, name = self.certificate.rpartition("/")
        return namespace or self.namespace, name


def controllers(tree: Tree) -> list[Controller]:
    """The ingress controllers of a tree: releases, k3s' charts, workloads, and Traefik's default store."""
    stores = [_of_store(m) for m in tree.of("TLSStore") if m.name == "default"]
    return [*stores, *_of_releases(tree), *_of_helm_charts(tree), *_of_workloads(tree)]


def serving(tree: Tree, ingress: Manifest, known: list[Controller]) -> list[Controller]:
    """The controllers that may serve an Ingress: by its class, or all where none has that class."""
    name = class_of(ingress)
    own = [c for c in known if name in c.classes] if name else []
    made = next((m for m in tree.of("IngressClass") if m.name == name), None)
    if made is not None and not own:
        kind = str(made.spec.get("controller"))
        own = [c for c in known if any(one and one in kind for one in c.classes)]
    return own or [c for c in known if not c.classes] or ([] if name and known and _is_foreign(name) else known)


def class_of(ingress: Manifest) -> str:
    """The class of an Ingress; empty where it leaves that to the cluster."""
    return str(
        ingress.spec.get("ingressClassName")
        or mapping(ingress.meta.get("annotations")).get("kubernetes.io/ingress.class")
        or ""
    )


def _is_foreign(name: str) -> bool:
    return bool(re.search(r"tailscale|cloudflare|(?:^|-)alb|gce|azure|kong|istio|contour|caddy", name))


def _of_store(store: Manifest) -> Controller:
    name = get(store.spec, "defaultCertificate", "secretName") or get(store.spec, "defaultGeneratedCert", "resolver")
    return Controller(store.id, frozenset({"traefik", ""}), str(name or ""), store.namespace)


def _of_releases(tree: Tree) -> Iterator[Controller]:
    for release in tree.releases:
        if release.chart not in _CHARTS or (
            release.chart == "cilium" and release.value("ingressController.enabled") is not True
        ):
            continue
        classes = {str(release.value(f["name"], f["default"])) for f in release.facts.get("ingress_class", [])}
        classes |= {t for path, t in texts(release.values) if path[-1:] in (("ingressClass",), ("ingressClassName",))}
        unread = f"its values in {', '.join(release.unread)} aren't in the tree" if release.unread else ""
        found = _certificate(release.values)
        yield Controller(
            release.manifest.id, frozenset(classes or {_CHARTS[release.chart]}), found, release.target_namespace, unread
        )


def _of_helm_charts(tree: Tree) -> Iterator[Controller]:
    """What k3s installs itself, as its objects of Helm set it."""
    for manifest in tree.of("HelmChartConfig", "HelmChart"):
        chart = str(manifest.spec.get("chart") or manifest.name).rpartition("/")[2]
        if not re.search(r"traefik|ingress-nginx", f"{chart} {manifest.name}"):
            continue
        try:
            values = mapping(load_text(str(manifest.spec.get("valuesContent") or "{}")))
        except (yaml.YAMLError, ValueError):
            yield Controller(manifest.id, frozenset({"traefik", "nginx"}), unread="its values can't be read")
            continue
        kind = "nginx" if "nginx" in f"{chart}{manifest.name}" else "traefik"
        yield Controller(manifest.id, frozenset({kind}), _certificate(values), "kube-system")


def _of_workloads(tree: Tree) -> Iterator[Controller]:
    for manifest in tree.workloads():
        for _, container in manifest.containers():
            image = str(container.get("image") or "").partition("@")[0]
            arguments = [str(a) for part in ("command", "args") for a in sequence(container.get(part))]
            found = _in_arguments(arguments)
            named = re.search(
                r"ingress-nginx/controller|/traefik(?:$|:)|^traefik(?:$|:)|haproxy-ingress|nginx-ingress", image
            )
            if found or named:
                classes = {m["name"] for a in arguments if (m := _CLASS.match(a))}
                kind = "traefik" if "traefik" in image else "haproxy" if "haproxy" in image else "nginx"
                yield Controller(manifest.id, frozenset(classes or {kind}), found, manifest.namespace)


def _certificate(values: object) -> str:
    """The default certificate that some values name, whatever the chart calls it."""
    for key in _KEYS:
        if found := next((t for path, t in texts(values) if t and path[-1:] == (key,)), ""):
            return found
    store = get(values, "tlsStore", "default")
    name = get(store, "defaultCertificate", "secretName") or get(store, "defaultGeneratedCert", "resolver")
    for path in (
        ("ports", "websecure", "tls", "certResolver"),
        ("ports", "websecure", "http", "tls", "certResolver"),
        ("controller", "defaultTLS", "secret"),
        ("controller", "wildcardTLS", "secret"),
        ("controller", "defaultTLSSecret", "secret"),
        ("ingressController", "defaultSecretName"),
    ):
        name = name or get(values, *path)
    return str(name) if name else _in_arguments([t for _, t in texts(values) if t.startswith("-")])


def _in_arguments(arguments: list[str]) -> str:
    for index, one in enumerate(arguments):
        if found := _RESOLVER.match(one):
            return found["name"]
        if found := _ARGUMENT.match(one):
            return found["name"] or (arguments[index + 1] if index + 1 < len(arguments) else "")
    return ""


def covers(tree: Tree, controller: Controller, host: str) -> bool | None:
    """Whether a controller's default certificate is for a host; None where the tree doesn't say what it is for."""
    namespace, name = controller.secret()
    for certificate in tree.of("Certificate"):
        if certificate.namespace == namespace and certificate.spec.get("secretName") == name:
            names = [
                str(n) for n in [certificate.spec.get("commonName"), *sequence(certificate.spec.get("dnsNames"))] if n
            ]
            if UNKNOWN in host or any(UNKNOWN in n or "$" in n for n in names):
                return None
            return host in names or f"*.{host.partition('.')[2]}" in names
    return None
