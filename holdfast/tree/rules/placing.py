"""What has no place to go: objects of a namespace that name none, and pods that ask for more than any node has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from holdfast.tree.findings import Outcome, Severity, hit, rule
from holdfast.tree.fluxapi import applies_as_kubectl
from holdfast.tree.given import GIVEN_GROUPS
from holdfast.tree.manifest import Manifest, get, mapping
from holdfast.tree.quantity import quantity
from holdfast.tree.rules.ownership import left_alone
from holdfast.tree.tree import Tree

FAMILY = "apply"
NO_NODE_HAS_CPUS, FEW_NODES_HAVE_CPUS = 2000, 200  # the largest machine that is let has 1,920


@rule(
    "apply.no-namespace",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="Flux knows no default namespace: 'namespace not specified', and nothing of its Kustomization is applied",
    do="name one: metadata.namespace, namespace: in the kustomization.yaml, or spec.targetNamespace of the Kustomization",
)
def no_namespace(tree: Tree) -> Iterator[Outcome]:
    """Objects of a kind that lies in namespaces, applied by Flux without one."""
    more: dict[str, Any] = {"severity": Severity.UPGRADE_HAZARD} if applies_as_kubectl(tree) else {}
    for kustomization in tree.kustomizations.values():
        if kustomization.spec.get("suspend") is True:
            continue
        for manifest in kustomization.objects:
            if not manifest.meta.get("namespace") and _lies_in_one(manifest) and not left_alone(manifest):
                yield hit(tree, manifest, f"{manifest.kind}/{manifest.name} names no namespace", "metadata", **more)


def _lies_in_one(manifest: Manifest) -> bool:
    """Whether its kind surely does: by its definition in the tree, or by Kubernetes' and Flux's own kinds; of others nothing is known."""
    known = manifest.group in GIVEN_GROUPS or manifest.group.endswith(".toolkit.fluxcd.io")
    return bool(manifest.kind and manifest.namespace) and (manifest.namespaced is True or known)


@rule(
    "apply.unschedulable",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="no node has so many, so that its pods stay pending: what is ready only with them never is",
    do="write thousandths of a CPU with an m: 100m is a tenth of one",
)
def unschedulable(tree: Tree) -> Iterator[Outcome]:
    """Containers that ask for hundreds of CPUs: what nodes a cluster has isn't known here, but two thousand no node has."""
    for manifest in [*tree.objects, *tree.unreferenced_objects]:
        if manifest.spec.get("replicas") == 0 or manifest.spec.get("suspend") is True:
            continue  # it has no pod
        for path, container in manifest.containers():
            resources = mapping(container.get("resources"))
            wanted = get(resources, "requests", "cpu")
            how = "requests" if wanted is not None else "limits"  # without a request the limit is one
            said = wanted if wanted is not None else get(resources, "limits", "cpu")
            amount = quantity(said)
            if amount is None or amount < FEW_NODES_HAVE_CPUS:
                continue
            severity = Severity.BREAKS_APPLY if amount >= NO_NODE_HAS_CPUS else Severity.HYGIENE
            what = f"the container {container.get('name')} of {manifest.id} asks for {said} CPUs"
            yield hit(tree, manifest, what, *path, "resources", how, "cpu", severity=severity)
