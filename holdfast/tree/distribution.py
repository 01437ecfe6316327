"""Which distribution of Kubernetes a tree is for, as far as its own objects and files show it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast.tree.manifest import Manifest, get, mapping, sequence
from holdfast.tree.tree import Tree

_K3S_LABEL = re.compile(r"^([\w.-]+\.)?k3s(\.cattle)?\.io/")
_INSTALLS = re.compile(
    r"get\.k3s\.io|^\s*(?:ExecStart=\S*/)?k3s (?:server|agent)\b|/etc/rancher/k3s/|\bk3sup install\b", re.MULTILINE
)
_OTHERS = re.compile(r"\b(?:rke2|talos|talosctl|talhelper|kubeadm|k0s|microk8s|[ea]ks|gke)\b", re.IGNORECASE)
_TEXTS = (".md", ".sh", ".yml", ".yaml", ".j2", ".service", ".toml", ".tf", ".cfg", ".txt")
_NAMED = re.compile(r"\bk3s\b", re.IGNORECASE)
_SAYS_IT = 2
_MOST = 200_000


def k3s(tree: Tree) -> str:
    """What shows that the cluster is k3s, in words; empty where nothing does, or something speaks for another."""
    if any(_rke2(m) for m in tree.objects):  # which has k3s' kinds, too
        return ""
    return next(_by_objects(tree), "") or ("" if _elsewhere(tree) else next(_by_files(tree), ""))


def _rke2(manifest: Manifest) -> bool:
    if manifest.group == "helm.cattle.io":
        return manifest.name.startswith("rke2-")
    return manifest.group == "upgrade.cattle.io" and "rke2" in str(manifest.spec)


def _by_objects(tree: Tree) -> Iterator[str]:
    for manifest in tree.objects:
        group, plan = manifest.group, mapping(manifest.spec.get("upgrade"))
        if group in ("k3s.cattle.io", "helm.cattle.io"):
            yield f"{manifest.id} is an object of k3s ({group})"
        elif group == "upgrade.cattle.io" and (
            "k3s-upgrade" in str(plan.get("image")) or "+k3s" in str(manifest.spec.get("version"))
        ):
            yield f"{manifest.id} upgrades k3s"
        elif label := _marked(manifest):
            yield f"{manifest.id} has {label}"


def _marked(manifest: Manifest) -> str:
    """A label, an annotation or a selector of nodes that only k3s gives a meaning."""
    notes = {**mapping(manifest.meta.get("labels")), **mapping(manifest.meta.get("annotations"))}
    chosen = mapping(manifest.pod.get("nodeSelector"))
    if chosen.get("node.kubernetes.io/instance-type") == "k3s":
        return "a node selector for k3s"
    terms = sequence(
        get(
            manifest.pod,
            "affinity",
            "nodeAffinity",
            "requiredDuringSchedulingIgnoredDuringExecution",
            "nodeSelectorTerms",
        )
    )
    keys = [str(get(e, "key")) for t in terms for e in sequence(get(t, "matchExpressions"))]
    return next((str(k) for k in [*notes, *chosen, *keys] if _K3S_LABEL.match(str(k))), "")


def _by_files(tree: Tree) -> Iterator[str]:
    """A script, a playbook or a document that installs k3s, or a document that is about it."""
    for name in tree.repository.files:
        if name.endswith(_TEXTS) and (found := _INSTALLS.search(_text(tree, name))):
            yield f"{name} has '{found[0].strip()}'"
    for name in tree.repository.files:
        about = name.endswith(".md") and ("/" not in name or name.startswith("docs/"))
        if about and len(_NAMED.findall(_text(tree, name))) >= _SAYS_IT:
            yield f"{name} says so"


def _text(tree: Tree, name: str) -> str:
    return tree.repository.text(name)[:_MOST] if name in tree.repository.known else ""


def _elsewhere(tree: Tree) -> bool:
    """Whether a file of the tree is about another distribution."""
    return any(
        "talos" in name.lower() or (name.endswith(_TEXTS) and _OTHERS.search(_text(tree, name)))
        for name in tree.repository.files
    )
