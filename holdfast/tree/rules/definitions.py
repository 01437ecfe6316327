"""Definitions (CRDs) that stay as they were at a chart's first installation (``knowledge/definitions.toml``)."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.tree.findings import Outcome, Severity, Violation, rule
from holdfast.tree.knowledge import table
from holdfast.tree.manifest import Body, get, mapping
from holdfast.tree.releases import Release
from holdfast.tree.tree import Tree


@rule(
    "versions.definitions",
    "resilience",
    Severity.UPGRADE_HAZARD,
    why="Helm installs what lies in crds/ once and never upgrades it: after an upgrade the operator's new fields are unknown",
    do="set spec.install.crds and spec.upgrade.crds to CreateReplace",
)
def old_definitions(tree: Tree) -> Iterator[Outcome]:
    """Releases whose CRDs no upgrade changes."""
    found = [r for r in tree.releases if definitions_stay(tree, r)]
    if found:
        yield Violation(
            found[0].manifest.id,
            tuple(tree.locate(r.manifest, "spec", "upgrade") for r in found),
            f"{', '.join(r.manifest.id for r in found)}: the chart's CRDs stay as they were at the first installation",
            hits=tuple(r.manifest.id for r in found),
        )


def definitions_stay(tree: Tree, release: Release) -> bool:
    """Whether an upgrade of a release leaves its chart's definitions as they were at the first installation."""
    fact = table("definitions").get(release.chart)
    return bool(fact) and _stay(tree, release, mapping(fact))


def _stay(tree: Tree, release: Release, fact: Body) -> bool:
    spec = release.manifest.spec
    install, upgrade = mapping(spec.get("install")), mapping(spec.get("upgrade"))
    if release.manifest.id in tree.charts.unrendered:  # a chart of the tree itself, whatever its name
        return False
    if install.get("crds") == "Skip" or install.get("skipCRDs") is True or upgrade.get("crds") == "CreateReplace":
        return False
    if any(release.value(key) is False for key in fact.get("off", [])):
        return False
    if fact.get("job") and release.value(fact["job"]) is True:
        return False
    return not release.unread and not _given_otherwise(tree, release, fact)


def _given_otherwise(tree: Tree, release: Release, fact: Body) -> bool:
    """Whether something else of the tree brings these CRDs, and so may upgrade them."""
    groups = set(fact["groups"])
    if any(str(get(m.spec, "group")) in groups for m in tree.of("CustomResourceDefinition")):
        return True
    others = [r for r in tree.releases if r.manifest is not release.manifest and r.chart not in table("definitions")]
    return any("crd" in r.chart.lower() and (groups & set(r.groups) or not r.known) for r in others)
