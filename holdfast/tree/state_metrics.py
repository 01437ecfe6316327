"""The kube-state-metrics of a tree: whether each gives the ordinary metrics, and which of custom resources."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from holdfast.tree.manifest import Manifest, get, mapping, sequence
from holdfast.tree.releases import Release
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import Tree

_ONLY = re.compile(r"^--?custom-resource-state-only(?:=(?:true|True|1|t))?$")
_CONFIG = re.compile(r"^--?custom-resource-state-config(?:-file)?\b")
_PARTS = {"kube-prometheus-stack": "kubeStateMetrics.enabled", "prometheus": "", "victoria-metrics-k8s-stack": ""}
_KEY = "kube-state-metrics"


@dataclass(frozen=True)
class StateMetrics:
    """One kube-state-metrics.

    Attributes:
        only: where it is told to give metrics of custom resources only; None where it isn't.
        custom: its configuration of custom resources, as text; None where it has one that isn't in the tree.
        may_not_list: nothing of the tree lets it list them.
        at: where its values lie in a release.
        in_part: there are values of it that aren't in the tree: what isn't in *custom* may be in them.
    """

    manifest: Manifest
    only: tuple[PathKey, ...] | None
    custom: str | None
    may_not_list: bool = False
    at: tuple[PathKey, ...] = ()
    in_part: bool = False


def parts_of(release: Release) -> tuple[str, ...] | None:
    """Where the values of a release's kube-state-metrics lie; None where it brings none."""
    if release.chart == _KEY:
        return ()
    if release.chart not in _PARTS:
        return None
    switches = (_PARTS[release.chart], f"{_KEY}.enabled")
    return None if any(release.value(s) is False for s in switches) else (_KEY,)


def of(tree: Tree) -> list[StateMetrics]:
    """Every kube-state-metrics that the tree is known to install."""
    found = []
    for release in tree.unread_releases:
        keys = parts_of(release)
        if keys is not None:
            found.append(_of_values(tree, release, keys))
    for manifest in tree.workloads():
        for path, container in manifest.containers():
            if "kube-state-metrics" in str(container.get("image")):
                found.append(_of_container(tree, manifest, path, container))
    return found


def _of_values(tree: Tree, release: Release, keys: tuple[str, ...]) -> StateMetrics:
    values = mapping(get(release.values, *keys)) if keys else release.values
    args = [str(a) for a in sequence(values.get("extraArgs"))]
    at: tuple[PathKey, ...] = ("spec", "values", *keys, "extraArgs")
    only: tuple[PathKey, ...] | None = next(((*at, i) for i, a in enumerate(args) if _ONLY.match(a)), None)
    custom: str | None = " ".join(a for a in args if _CONFIG.match(a))
    state = mapping(values.get("customResourceState"))
    if any(a.partition("=")[0].endswith("-file") for a in args if _CONFIG.match(a)):
        custom = _from_config(tree)
    elif state.get("enabled") not in (None, False):
        custom = f"{custom}{state['config']}" if state.get("config") else _from_config(tree)
    may_not = not release.unread and bool(custom) and not _may_list(tree, values)
    at = ("spec", "values", *keys)
    return StateMetrics(release.manifest, only, custom, may_not, at, bool(release.unread))


def _may_list(tree: Tree, values: dict[str, Any]) -> bool:
    """Whether its values, or a binding of the tree, may let it list more than Kubernetes' own kinds."""
    own = mapping(values.get("rbac"))
    if (
        own.get("extraRules")
        or own.get("create") is False
        or own.get("useExistingRole")
        or own.get("clusterRoleSelectors")
    ):
        return True
    subjects = [
        str(get(s, "name"))
        for b in tree.of("ClusterRoleBinding", "RoleBinding")
        for s in sequence(b.body.get("subjects"))
    ]
    return any(_KEY in name for name in subjects)


def _of_container(tree: Tree, manifest: Manifest, path: tuple[PathKey, ...], container: dict[str, Any]) -> StateMetrics:
    only, custom = None, ""
    for part in ("command", "args"):
        for index, word in enumerate(map(str, sequence(container.get(part)))):
            if _ONLY.match(word):
                only = (*path, part, index)
            if _CONFIG.match(word):
                custom = f"{custom}{word}{_from_config(tree) or ''}"
    return StateMetrics(manifest, only, None if _CONFIG.search(custom) and len(custom) < 200 else custom)


def _from_config(tree: Tree) -> str | None:
    """The configurations of custom resources in ConfigMaps of the tree; None where there is none."""
    texts = [
        str(text)
        for m in tree.of("ConfigMap")
        for text in mapping(m.body.get("data")).values()
        if "groupVersionKind" in str(text)
    ]
    return "\n".join(texts) or None


def gives(one: StateMetrics, metric: str) -> bool | None:
    """Whether it makes a metric of a custom resource; None where that isn't known."""
    if one.custom is None:
        return None
    words = re.findall(r"[a-zA-Z0-9_]+", one.custom)
    found = (
        metric in words
        or any(metric.startswith(f"{prefix}_") and metric[len(prefix) + 1 :] in words for prefix in words if prefix)
        or (metric.startswith("kube_customresource_") and metric.removeprefix("kube_customresource_") in words)
    )
    return None if one.in_part and not found else found


def hidden_ones(tree: Tree) -> Iterator[str]:
    """What may install another kube-state-metrics, or scrape one elsewhere: charts that aren't known here, and parts that weren't read."""
    name = re.compile(
        r"state-metrics|prometheus|monitor|observ|grafana|metrics-k8s|o11y|alloy|telemetry", re.IGNORECASE
    )
    for release in tree.unknown_releases:
        chart = f"{release.chart} {release.manifest.name}"
        if (
            name.search(chart) and release.chart not in _PARTS and release.chart != _KEY and _may(release)
        ) or not release.chart:
            yield f"{release.manifest.id}: its chart {release.chart or 'that it names'} isn't known here"
        elif "customResourceState" in str(release.values):
            yield f"{release.manifest.id} has a customResourceState of its own"
    for kustomization in tree.kustomizations.values():
        if kustomization.gap and name.search(f"{kustomization.id} {kustomization.folder}"):
            yield f"Kustomization/{kustomization.id} wasn't read"


def _may(release: Release) -> bool:
    """Whether a chart of that name could bring kube-state-metrics: an exporter or an adapter of one thing doesn't."""
    return not re.search(r"exporter|adapter|pushgateway|operator-crds|blackbox|snmp", release.chart)
