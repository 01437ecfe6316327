"""Objects that are laid over what somebody else makes: server-side apply adds one to the other, and the whole is what must be right."""

from __future__ import annotations

from holdfast.tree.manifest import Manifest, get
from holdfast.tree.tree import Tree

# What distributions have in kube-system from the start, under names that are nobody else's.
_ADDONS = frozenset({"coredns", "kube-dns", "kube-proxy", "metrics-server", "local-path-provisioner", "traefik"})


def others_of(tree: Tree, manifest: Manifest) -> str:
    """Who else makes an object of this name: another Kustomization, a chart that is rendered, the same build in another version of its API,
    or the cluster's distribution. Empty where nobody does.
    """
    if manifest.unreferenced:
        return ""
    every = [*tree.objects, *tree.charts.objects]
    found = [m for m in every if (m.key, m.group) == (manifest.key, manifest.group) and m is not manifest]
    if other := next((m for m in found if m.owner and m.owner != manifest.owner), None):
        return other.owner
    if other := next((m for m in found if m.api != manifest.api), None):
        return f"{other.file} ({other.api})"
    return "the cluster's distribution" if _is_of_an_addon(manifest) else ""


def _is_of_an_addon(manifest: Manifest) -> bool:
    """Whether an object is a part of what a distribution has under this name: a workload without pods would be none of its own."""
    return (
        manifest.namespace == "kube-system"
        and manifest.name in _ADDONS
        and manifest.kind in ("Deployment", "DaemonSet")
        and not get(manifest.spec, "template", "spec", "containers")
    )
