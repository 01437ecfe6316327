"""What the parts of a tree are for - core, storage, monitoring (core tier and long-term tier), apps - by what they install, or as its owner says."""

from __future__ import annotations

import re

from holdfast.tree.given import GIVEN_CLASSES
from holdfast.tree.manifest import Manifest
from holdfast.tree.needs import Phase, State
from holdfast.tree.tree import KUSTOMIZE, Kustomization, Tree

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
_CORE_NAME = re.compile(r"core|infra|system|network|ingress", re.IGNORECASE)
_FLUX_KINDS = frozenset(
    {"Kustomization", "HelmRelease", "GitRepository", "HelmRepository", "OCIRepository", "HelmChart", "Bucket"}
)


def role(tree: Tree, kustomization: Kustomization) -> str:  # noqa: PLR0911  one return a role
    """What a Kustomization is for: as ``[roles]`` says, else by the charts and kinds in it."""
    for name, members in tree.settings.roles.items():
        if kustomization.manifest.name in members or kustomization.id in members:
            return name
    if kustomization is tree.root or any(
        m.kind == "Deployment" and m.name == "kustomize-controller" for m in kustomization.objects
    ):
        return FLUX
    if any(m.kind == "DaemonSet" and m.name == "longhorn-manager" for m in kustomization.objects):
        return STORAGE  # without its chart
    here = [r for r in tree.releases if r.manifest.owner == kustomization.id]
    found = {r.role for r in here if r.role and not r.minor}
    for wanted in (STORAGE, CORE, MONITORING):
        if wanted in found:
            tier = wanted == MONITORING and _LONGTERM.search(f"{kustomization.manifest.name} {kustomization.folder}")
            return LONGTERM if tier else wanted
    leads_on = sum(m.is_(KUSTOMIZE, "Kustomization") for m in kustomization.objects)
    own = sum(m.kind not in ("Kustomization", "Namespace") for m in kustomization.objects)
    if leads_on > own:
        return OTHER  # what all begins with is for nothing of its own, whatever lies beside it
    if any(m.kind == "CSIDriver" for m in kustomization.objects):
        return STORAGE
    classes = sum(m.kind == "StorageClass" for m in kustomization.objects)
    if (
        classes and 2 * classes >= own
    ):  # one beside much else makes nobody storage: a class runs nothing, and can't be down
        return STORAGE
    if any(m.kind in ("IngressClass", "GatewayClass") for m in kustomization.objects):
        return CORE
    if any(m.group == "monitoring.coreos.com" for m in kustomization.objects) and not any(
        m.pod_path for m in kustomization.objects
    ):
        return MONITORING
    if found:
        return min(found)  # whatever several say, each run says the same
    helpers = {r.manifest.id for r in here if r.minor}  # such as metrics-server: neither core nor apps
    # What runs in kube-system is the cluster's own, whoever brings it.
    rest = (
        m
        for m in kustomization.objects
        if (m.pod_path and m.namespace != "kube-system") or (m.kind == "HelmRelease" and m.id not in helpers)
    )
    return APPS if any(rest) else OTHER


def role_of(tree: Tree, manifest: Manifest) -> str:
    """What an object is for: what its Kustomization is, unless that mixes apps with something else; then what its own release or namespace says."""
    kustomization = tree.kustomization_of(manifest)
    whole = role(tree, kustomization) if kustomization is not None else OTHER
    if kustomization is None or not mixed(tree, kustomization):
        return whole
    here = [r for r in tree.releases if r.manifest.owner == kustomization.id and r.role]
    own = next((r.role for r in here if r.manifest is manifest), "")
    if own or manifest.kind == "HelmRelease":
        return own or APPS
    return next((r.role for r in here if r.target_namespace == manifest.namespace), APPS)


def is_declared(tree: Tree, kustomization: Kustomization) -> bool:
    """Whether ``[roles]`` says what a Kustomization is for."""
    named = [name for members in tree.settings.roles.values() for name in members]
    return kustomization.manifest.name in named or kustomization.id in named


def mixed(tree: Tree, kustomization: Kustomization) -> bool:
    """Whether a Kustomization that counts as core for one of its releases also holds apps, which lie in namespaces of their own."""
    if is_declared(tree, kustomization) or role(tree, kustomization) != CORE:
        return False
    if _CORE_NAME.search(f"{kustomization.manifest.name} {kustomization.folder}"):
        return False
    here = [r for r in tree.releases if r.manifest.owner == kustomization.id]
    spaces = {r.target_namespace for r in here if r.role == CORE}
    return bool(spaces) and (
        any(m.pod_path and m.namespace not in spaces for m in kustomization.objects)
        or any(r.role != CORE and r.target_namespace not in spaces for r in here)
    )


_CORE_WORDS = re.compile(
    r"ingress|traefik|nginx|haproxy|envoy|gateway|proxy|dns|cert-?manager|metallb|kube-vip|cilium|calico|flannel|multus|network|tailscale",
    re.IGNORECASE,
)


def is_core(tree: Tree, kustomization: Kustomization, manifest: Manifest) -> bool:
    """Whether an object of a core Kustomization is networking, ingress or certificates: a layer that is called infrastructure holds much else."""
    declared = tree.settings.roles.get(CORE, ())
    if kustomization.manifest.name in declared or kustomization.id in declared:
        return True
    if re.search(r"(?:^|[-/])core(?:$|[-/])", f"{kustomization.manifest.name}/{kustomization.folder}"):
        return True
    release = next((r for r in tree.releases if r.manifest is manifest), None)
    if release is not None and release.role:
        return release.role == CORE
    return _CORE_WORDS.search(f"{manifest.namespace} {manifest.name}") is not None


def kustomizations(tree: Tree, *wanted: str) -> list[Kustomization]:
    """The applied Kustomizations with these roles."""
    return [kustomization for kustomization in tree.kustomizations.values() if role(tree, kustomization) in wanted]


_NOBODY = "kubernetes.io/no-provisioner"  # a class of volumes that somebody made: nothing of it can be down


def storage_states(tree: Tree) -> set[State]:
    """What it means to need storage: the readiness of what provides it, and the Kustomizations that hold it."""
    found = {State(r.manifest.id, Phase.READY) for r in tree.releases if r.role == STORAGE}
    classes = (m for m in tree.of("StorageClass") if m.body.get("provisioner") != _NOBODY)
    found |= {State(m.id, Phase.EXISTS) for m in classes}
    found |= {
        State(m.id, Phase.EXISTS)
        for m in tree.of("PersistentVolumeClaim")
        if m.spec.get("storageClassName") not in GIVEN_CLASSES and not _is_bound_by_name(tree, m)
    }
    found |= {
        State(m.id, Phase.READY) for m in tree.workloads() if any(_is_bound_by_name(tree, c) for c in _claims(tree, m))
    }
    for kustomization in (k for k in kustomizations(tree, STORAGE) if _is_storage_alone(tree, k)):
        found |= {State(f"Kustomization/{kustomization.id}", s) for s in (Phase.READY, Phase.APPLIED, Phase.DEFINED)}
    return found


def _is_bound_by_name(tree: Tree, claim: Manifest) -> bool:
    """Whether a claim names a volume that is in the tree: it is bound at once, by nobody's work. Who mounts it needs its storage all the same."""
    name = claim.spec.get("volumeName")
    return isinstance(name, str) and ("PersistentVolume", "", name) in tree.by_key


def _claims(tree: Tree, manifest: Manifest) -> list[Manifest]:
    found = [tree.by_key.get(("PersistentVolumeClaim", manifest.namespace, name)) for _, name in manifest.claims()]
    return [claim for claim in found if claim is not None]


def _is_storage_alone(tree: Tree, kustomization: Kustomization) -> bool:
    """Whether needing anything of a Kustomization means to need storage: beside other releases only storage's own states do."""
    declared = tree.settings.roles.get(STORAGE, ())
    if kustomization.manifest.name in declared or kustomization.id in declared:
        return True
    return not any(r.manifest.owner == kustomization.id and r.role != STORAGE and not r.minor for r in tree.releases)


def states_of(kustomization: Kustomization) -> list[State]:
    """The states of a Kustomization and of everything that it applies."""
    return [State(f"Kustomization/{kustomization.id}", s) for s in (Phase.READY, Phase.APPLIED)] + [
        State(m.id, s)
        for m in kustomization.objects
        if not m.is_(KUSTOMIZE, "Kustomization")
        for s in (Phase.READY, Phase.EXISTS)
    ]


def stateless(manifest: Manifest) -> bool:
    """Whether a workload has no volume that could fail with storage."""
    return bool(manifest.pod_path) and not any(manifest.claims()) and not manifest.spec.get("volumeClaimTemplates")
