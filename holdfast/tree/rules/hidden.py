"""Parts of the control plane that a stack looks for and that the distribution keeps inside its own process (``knowledge/hidden.toml``)."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.tree.distribution import k3s
from holdfast.tree.findings import Outcome, Severity, Violation, rule
from holdfast.tree.knowledge import table
from holdfast.tree.manifest import Body, mapping
from holdfast.tree.releases import Release
from holdfast.tree.tree import Tree


@rule(
    "monitoring.hidden",
    "monitoring",
    Severity.BREAKS_CLAIM,
    why="k3s runs them inside its own process, so no target is ever found and these alerts fire from the first hour on",
    do="set enabled: false below each (and below kubeEtcd), or give endpoints and let k3s bind their metrics to the node's address",
)
def hidden(tree: Tree) -> Iterator[Outcome]:
    """Alerts on components that k3s hides."""
    for release in tree.releases:
        facts = [f for f in map(mapping, table("hidden")["component"]) if f["chart"] == release.chart]
        if not facts or release.unread or release.manifest.id in tree.charts.unrendered:
            continue
        alone = [f for f in facts if _fires(release, f)]
        evidence = k3s(tree) if alone else ""
        if not evidence:
            continue
        said = next((f for f in alone if release.value(f["key"]) is not None), None)
        path = ("spec", "values", said["key"], "enabled") if said else ("spec", "values")
        yield Violation(
            release.manifest.id,
            (tree.locate(release.manifest, *path),),
            f"{release.manifest.id} looks for {', '.join(f['key'] for f in alone)}, which k3s hides ({evidence}): "
            f"{', '.join(f['alert'] for f in alone)}",
        )


def _fires(release: Release, fact: Body) -> bool:
    """Whether the values leave a component and its alert on, and name nothing by which it could be found."""
    own = mapping(release.value(fact["key"]))
    if own.get("enabled") is False or own.get("endpoints") or mapping(own.get("service")).get("selector"):
        return False
    off = ("defaultRules.create", "kubernetesServiceMonitors.enabled", *fact["rules"])
    if any(release.value(key) is False for key in off):
        return False
    disabled = mapping(release.value("defaultRules.disabled"))
    return not disabled.get(fact["alert"])
