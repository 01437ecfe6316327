"""Which Kubernetes a tree's cluster runs, where the repository says so, and since when a version of an API is gone."""

from __future__ import annotations

import re

from holdfast.tree.manifest import Manifest
from holdfast.tree.repository import Location
from holdfast.tree.tree import Tree

_FILES = (".yaml", ".yml", ".toml", ".tfvars", ".tf", ".env", ".ini", ".sh")
# As Ansible's roles, Talos' settings and Terraform's modules of k3s call it; not what a chart or a check of manifests asks for.
_SAID = re.compile(
    r"(?i)^\s*(?:export )?[\"']?(?:install_)?(?:k3s|k8s|kubernetes)_?(?:release_)?version[\"']?\s*[:=]\s*[\"']?v?1\.(\d+)\b",
    re.MULTILINE,
)
_NOT_THE_CLUSTER = (".github/", ".gitlab", ".forgejo/", ".gitea/")
# (group, version) -> the minor that no longer serves it, by Kubernetes' own list of what was removed.
_GONE = {
    ("extensions", "v1beta1"): 22,
    ("apps", "v1beta1"): 16,
    ("apps", "v1beta2"): 16,
    ("networking.k8s.io", "v1beta1"): 22,
    ("rbac.authorization.k8s.io", "v1beta1"): 22,
    ("apiextensions.k8s.io", "v1beta1"): 22,
    ("admissionregistration.k8s.io", "v1beta1"): 22,
    ("scheduling.k8s.io", "v1beta1"): 22,
    ("storage.k8s.io", "v1beta1"): 22,
    ("batch", "v1beta1"): 25,
    ("policy", "v1beta1"): 25,
    ("discovery.k8s.io", "v1beta1"): 25,
    ("node.k8s.io", "v1beta1"): 25,
    ("autoscaling", "v2beta1"): 25,
    ("autoscaling", "v2beta2"): 26,
}


def said_minor(tree: Tree) -> tuple[int, Location] | None:
    """The highest minor of Kubernetes 1 that the repository says its cluster runs, and where; None where it says none."""
    found = [
        (int(minor), tree.locate(plan, "spec", "version"))
        for plan in tree.of("Plan")
        if plan.group == "upgrade.cattle.io" and (minor := _minor(str(plan.spec.get("version") or "")))
    ]
    for name in tree.repository.files:
        if name.endswith(_FILES) and not name.startswith(_NOT_THE_CLUSTER):
            text = tree.repository.text(name)
            found += [(int(m[1]), Location(name, text.count("\n", 0, m.start(1)) + 1)) for m in _SAID.finditer(text)]
    return max(found, default=None, key=lambda one: one[0])


def is_gone(manifest: Manifest, minor: int) -> bool:
    """Whether a minor no longer serves an object's version; true also where nothing is known of it."""
    if manifest.group == "extensions" and manifest.kind != "Ingress":
        return minor >= _GONE["apps", "v1beta1"]
    return minor >= _GONE.get((manifest.group, manifest.api.rpartition("/")[2]), 0)


def _minor(version: str) -> str:
    found = re.match(r"v?1\.(\d+)\b", version)
    return found[1] if found else ""
