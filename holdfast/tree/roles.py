"""What the parts of a tree are for - core, storage, monitoring (core tier and long-term tier), apps - by what they install, or as its owner says."""

from __future__ import annotations

import re

from holdfast.tree.boot import Boot, boot
from holdfast.tree.graph import GIVEN_CLASSES, Graph
from holdfast.tree.manifest import Manifest
from holdfast.tree.needs import Sort, State
from holdfast.tree.releases import releases
from holdfast.tree.tree import KUSTOMIZE, Layer, Tree

CORE, STORAGE, MONITORING, LONGTERM, APPS, FLUX, OTHER = (
    "core",
    "storage",
    "monitoring",
    "longterm",
    "apps",
    "flux",
    "other",
)
_LONGTERM = re.compile(r"long-?term|(?:^|[-/])lt(?:$|[-/])|archive|thanos|mimir", re.IGNORECASE)
_FLUX_KINDS = frozenset(
    {"Kustomization", "HelmRelease", "GitRepository", "HelmRepository", "OCIRepository", "HelmChart", "Bucket"}
)


def graph_of(tree: Tree) -> Graph:
    """The tree's graph, made once."""
    made: Graph | None = tree.__dict__.get("_graph")
    if made is None:
        made = tree.__dict__["_graph"] = Graph(tree)
    return made


def boot_of(tree: Tree) -> Boot:
    """How the tree starts, worked out once."""
    made: Boot | None = tree.__dict__.get("_boot")
    if made is None:
        made = tree.__dict__["_boot"] = boot(graph_of(tree))
    return made


def role(tree: Tree, layer: Layer) -> str:  # noqa: PLR0911  one return a role
    """What a Kustomization is for: as ``[roles]`` says, else by the charts and kinds in it."""
    for name, members in tree.adaptations.roles.items():
        if layer.manifest.name in members or layer.id in members:
            return name
    if layer is tree.root or any(m.kind == "Deployment" and m.name == "kustomize-controller" for m in layer.objects):
        return FLUX
    found = {r.role for r in releases(tree) if r.manifest.owner == layer.id and r.role}
    for wanted in (STORAGE, CORE, MONITORING):
        if wanted in found:
            tier = wanted == MONITORING and _LONGTERM.search(f"{layer.manifest.name} {layer.folder}")
            return LONGTERM if tier else wanted
    if any(m.kind in ("CSIDriver", "StorageClass") for m in layer.objects):
        return STORAGE
    if any(m.kind in ("IngressClass", "GatewayClass") for m in layer.objects):
        return CORE
    if any(m.group == "monitoring.coreos.com" for m in layer.objects) and not any(m.pod_path for m in layer.objects):
        return MONITORING
    if found:
        return found.pop()
    if layer.objects and all(m.is_(KUSTOMIZE, "Kustomization") for m in layer.objects):
        return OTHER
    return APPS if any(m.pod_path or m.kind == "HelmRelease" for m in layer.objects) else OTHER


def layers(tree: Tree, *wanted: str) -> list[Layer]:
    """The applied Kustomizations with these roles."""
    return [layer for layer in tree.layers.values() if role(tree, layer) in wanted]


def storage_states(tree: Tree) -> set[State]:
    """What it means to need storage: the readiness of what provides it, and the Kustomizations that hold it."""
    found = {State(r.manifest.id, Sort.READY) for r in releases(tree) if r.role == STORAGE}
    found |= {State(m.id, Sort.EXISTS) for m in tree.of("StorageClass")}
    found |= {
        State(m.id, Sort.EXISTS)
        for m in tree.of("PersistentVolumeClaim")
        if m.spec.get("storageClassName") not in GIVEN_CLASSES
    }
    for layer in layers(tree, STORAGE):
        found |= {State(f"Kustomization/{layer.id}", s) for s in (Sort.READY, Sort.APPLIED, Sort.DEFINED)}
    return found


def states_of(layer: Layer) -> list[State]:
    """The states of a Kustomization and of everything that it applies."""
    return [State(f"Kustomization/{layer.id}", s) for s in (Sort.READY, Sort.APPLIED)] + [
        State(m.id, s)
        for m in layer.objects
        if not m.is_(KUSTOMIZE, "Kustomization")
        for s in (Sort.READY, Sort.EXISTS)
    ]


def stateless(manifest: Manifest) -> bool:
    """Whether a workload has no volume that could fail with storage."""
    return bool(manifest.pod_path) and not any(manifest.claims()) and not manifest.spec.get("volumeClaimTemplates")
