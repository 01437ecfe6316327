"""What k3s brings and installs itself: charts by objects of its own, the bundled Traefik, the service load balancer; and what switches them off."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from holdfast.tree.manifest import mapping
from holdfast.tree.releases import Release, known_charts
from holdfast.tree.sources import load_text
from holdfast.tree.tree import Tree

_GROUP = "helm.cattle.io"
_MACHINE = re.compile(r"\.(ya?ml|j2|toml|tf|tfvars|sh|env|service|nix|json|conf|cfg|md)$")
_K3S = re.compile(r"(?<![a-z0-9])k3s(?![a-z0-9])", re.IGNORECASE)
_OPTION = re.compile(
    r"^[^#\n]*(?:--(?:disable|no-deploy)\b|\bdisable\b\"?\s*:|\bno-deploy\b|\bdisable\s*=).*$", re.MULTILINE
)
_PARTS = frozenset({"traefik", "servicelb", "local-storage", "metrics-server", "coredns"})
_LIST = re.compile(r"^[ \t]*-[ \t]*(.+)$")


def charts(tree: Tree) -> Iterator[Release]:
    """The charts that k3s' own controller installs, as releases: a HelmChart, or what a HelmChartConfig sets for a bundled one."""
    for manifest in (m for m in tree.of("HelmChart", "HelmChartConfig") if m.group == _GROUP):
        chart = str(manifest.spec.get("chart") or manifest.name).rstrip("/").rpartition("/")[2]
        if manifest.kind == "HelmChartConfig":
            chart = manifest.name
        try:
            values = mapping(load_text(str(manifest.spec.get("valuesContent") or "")))
        except (yaml.YAMLError, ValueError):
            continue
        yield Release(manifest, chart, "", values, known_charts().get(chart, {}))


def is_k3s(tree: Tree) -> bool:
    """Whether objects of the tree show that the cluster is one of k3s."""
    return any(m.group == _GROUP for m in tree.objects) or any(
        m.kind == "Plan" and m.group == "upgrade.cattle.io" and "k3s" in str(m.spec) for m in tree.objects
    )


def disabled(tree: Tree, part: str) -> bool | None:
    """Whether *part* (``traefik``, ``servicelb``) is switched off in the start files of k3s that lie in the repository; None where there are none."""
    seen: bool | None = None
    for name in tree.repository.files:
        if not (_MACHINE.search(name) or "/" not in name) or tree.repository.text(name).find("disable") < 0:
            continue
        text = tree.repository.text(name)
        if not _K3S.search(f"{name}\n{text}"):
            continue
        for match in _OPTION.finditer(text):
            listed = [match[0]]
            for line in text[match.end() :].splitlines()[1:]:
                item = _LIST.match(line)
                if not item:
                    break
                listed.append(item[1])
            parts = set(re.findall(r"[\w-]+", "\n".join(listed)))
            if part in parts:
                return True
            seen = False if parts & _PARTS else seen
    return seen


def names(tree: Tree, words: re.Pattern[str]) -> str:
    """A file of the repository in which one of these *words* stands: a start file, or a note of how the cluster was set up; empty without one."""
    return next(
        (n for n in tree.repository.files if _MACHINE.search(n) and words.search(tree.repository.text(n).lower())), ""
    )
