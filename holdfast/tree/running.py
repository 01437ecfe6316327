"""Which Kubernetes a tree's cluster runs, where the repository says so."""

from __future__ import annotations

import re

from holdfast.tree.repository import Location
from holdfast.tree.tree import Tree

_FILES = (".yaml", ".yml", ".toml", ".tfvars", ".tf", ".env", ".ini", ".sh")
# As Ansible's roles, Talos' settings and Terraform's modules of k3s call it; not what a chart or a check of manifests asks for.
_SAID = re.compile(
    r"(?i)^\s*(?:export )?[\"']?(?:install_)?(?:k3s|k8s|kubernetes)_?(?:release_)?version[\"']?\s*[:=]\s*[\"']?v?1\.(\d+)\b",
    re.MULTILINE,
)
_NOT_THE_CLUSTER = (".github/", ".gitlab", ".forgejo/", ".gitea/")


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


def _minor(version: str) -> str:
    found = re.match(r"v?1\.(\d+)\b", version)
    return found[1] if found else ""
