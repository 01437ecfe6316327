"""Namespaces into which something of a tree puts what isn't in it: custom resources that an operator acts on, scripts of Jobs."""

from __future__ import annotations

import re

from holdfast.tree.manifest import Manifest, sequence
from holdfast.tree.tree import Tree

# Custom resources that make no pod and no Service, only what they name, or nothing.
_MAKE_NO_PODS = frozenset(
    {
        "ExternalSecret",
        "PushSecret",
        "SecretStore",
        "SealedSecret",
        "SopsSecret",
        "Certificate",
        "Issuer",
        "OnePasswordItem",
        "BitwardenSecret",
        "InfisicalSecret",
        "IngressRoute",
        "IngressRouteTCP",
        "IngressRouteUDP",
        "Middleware",
        "ServersTransport",
        "TLSOption",
        "TLSStore",
        "CiliumNetworkPolicy",
        "ScaledObject",
        "TriggerAuthentication",
        "VerticalPodAutoscaler",
        "DNSEndpoint",
        "GrafanaDashboard",
        "GrafanaDatasource",
        "IPAddressPool",
        "L2Advertisement",
        "BGPAdvertisement",
        "BGPPeer",
    }
)
_INSTALLS = re.compile(
    r"\bkubectl\b[^\n]*\bapply\b|\bhelm\b[^\n]*\b(?:install|upgrade)\b|\b(?:istioctl|linkerd|cilium)\b[^\n]*\binstall\b"
)
_WRITE_EVERYWHERE = frozenset({"Bundle", "ClusterPolicy", "ClusterExternalSecret", "ClusterSecret", "ResourceSet"})


def makers(tree: Tree) -> dict[str, str]:
    """What puts things into a namespace that aren't in the tree, by the namespace: ``a custom resource`` or ``a Job's script``."""
    return dict.fromkeys(_of_operators(tree), "a custom resource") | dict.fromkeys(_of_scripts(tree), "a Job's script")


def _of_operators(tree: Tree) -> set[str]:
    """The namespaces with a custom resource that an operator may make pods of."""
    foreign = [
        m
        for m in tree.objects
        if "." in m.group
        and not m.group.endswith((".k8s.io", ".fluxcd.io", "monitoring.coreos.com"))
        and m.kind not in _MAKE_NO_PODS
    ]
    if any(m.kind in _WRITE_EVERYWHERE for m in foreign):
        return {m.namespace for m in tree.objects}
    operated = [
        m for m in tree.objects if m.group == "monitoring.coreos.com" and m.kind in ("Prometheus", "Alertmanager")
    ]
    return {m.namespace for m in foreign if m.namespace} | {m.namespace for m in operated}


def _of_scripts(tree: Tree) -> set[str]:
    """The namespaces that a Job's script installs something into: its own, and those that it names."""
    found: set[str] = set()
    spaces = {m.namespace for m in tree.objects} - {""}
    for job in (m for m in tree.objects if m.kind in ("Job", "CronJob")):
        if _INSTALLS.search(text := _script(job)):
            found |= {job.namespace} | (spaces & set(re.findall(r"[a-z0-9-]+", text)))
    return found


def _script(job: Manifest) -> str:
    containers = [c for _, c in job.containers(every=True)]
    return "\n".join(str(w) for c in containers for w in (*sequence(c.get("command")), *sequence(c.get("args"))))
