"""Who owns an object besides its Kustomization: a release beside the chart's own objects, a namespace under another's name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Inconclusive, Outcome, Severity, Violation, rule
from holdfast.tree.fluxapi import told, version_of
from holdfast.tree.given import GIVEN_NAMESPACES
from holdfast.tree.manifest import Manifest, get, mapping
from holdfast.tree.references import read
from holdfast.tree.releases import Release
from holdfast.tree.tree import Kustomization, Tree

FAMILY = "apply"
_CHART = re.compile(r"^(.+?)-v?\d")
_TAKES_OVER = 5  # from Flux 2.5 on a release takes over what it finds
_PLACEHOLDERS = frozenset({"_", "not-used", "notused", "unused", "placeholder", "namespace"})


@rule(
    "apply.helm-owned",
    "git-single-source",
    Severity.BREAKS_CLAIM,
    why="a release and a Kustomization overwrite each other's object at every interval, and what either prunes the other lacks",
    do="leave the chart's objects to the release, or take the release out",
)
def helm_owned(tree: Tree) -> Iterator[Outcome]:
    """What a chart renders, applied by a Kustomization beside the chart's own release."""
    found: dict[tuple[str, str], list[Manifest]] = {}
    for manifest in tree.objects:
        release = _release_of(tree, manifest)
        if release is not None:
            found.setdefault((release.manifest.id, manifest.file), []).append(manifest)
    by_id = {r.manifest.id: r for r in tree.releases}
    for (name, _), objects in found.items():
        places = tuple(tree.locate(m, "metadata", "labels", "helm.sh/chart") for m in objects)
        if name not in tree.charts.rendered and not any(
            "helm.sh/chart" in mapping(m.meta.get("labels")) for m in objects
        ):
            for (
                manifest
            ) in objects:  # an annotation that its writer gave it: whether the chart has one of that name isn't known
                yield Inconclusive(
                    f"{manifest.id} says that it is of {name}, whose chart wasn't rendered ({tree.locate(manifest)})"
                )
            continue
        first, more = objects[0], f" and {len(objects) - 1} more" if len(objects) > 1 else ""
        refused = _is_refused(tree, by_id[name]) and not all(_is_adopted(m, by_id[name]) for m in objects)
        yield Violation(
            first.id,
            places,
            f"{first.id}{more} of the chart of {name} {'are' if more else 'is'} applied by Kustomization/{first.owner} too",
            why="Helm refuses to install over an object that isn't its own" if refused else "",
            hits=(*(m.id for m in objects), name),
            severity=Severity.BREAKS_APPLY if refused else None,
        )


def _release_of(tree: Tree, manifest: Manifest) -> Release | None:
    """The release whose chart an object says that it comes from, where a Kustomization applies it all the same."""
    if manifest.by == "HelmChart" or manifest.kind in ("CustomResourceDefinition", "HelmRelease", "Namespace"):
        return None
    labels, notes = (mapping(manifest.meta.get(k)) for k in ("labels", "annotations"))
    chart = _CHART.match(str(labels.get("helm.sh/chart") or ""))
    named = str(notes.get("meta.helm.sh/release-name") or "")
    if not chart and not named:
        return None  # managed-by and instance alone are labels that people write, too
    if told(manifest, "ssa", "Ignore") or told(manifest, "ssa", "IfNotPresent") or told(manifest, "ssa", "Merge"):
        return None
    for release in tree.releases:
        space = str(notes.get("meta.helm.sh/release-namespace") or manifest.namespace or release.target_namespace)
        is_its = named == release.name if named else chart is not None and _is_instance(release, chart[1], labels)
        if is_its and space == release.target_namespace and UNKNOWN not in release.name + space:
            made = manifest.key in {m.key for m in tree.charts.objects if m.owner == release.manifest.id}
            return release if made or release.manifest.id not in tree.charts.rendered else None
    return None


def _is_instance(release: Release, chart: str, labels: dict[str, object]) -> bool:
    instance = labels.get("app.kubernetes.io/instance") or labels.get("release")
    return release.chart == chart and instance in (None, release.name)


def _is_adopted(manifest: Manifest, release: Release) -> bool:
    """Whether an object says of itself that it is the release's: Helm takes such a one over, whoever made it."""
    labels, notes = (mapping(manifest.meta.get(k)) for k in ("labels", "annotations"))
    return (
        labels.get("app.kubernetes.io/managed-by") == "Helm"
        and notes.get("meta.helm.sh/release-name") == release.name
        and notes.get("meta.helm.sh/release-namespace") == release.target_namespace
    )


def _is_refused(tree: Tree, release: Release) -> bool:
    """Whether Helm refuses what is there already: it must be told so, or be of a Flux before 2.5."""
    if get(release.manifest.spec, "install", "disableTakeOwnership") is True:
        return True
    flux = version_of(tree)
    return flux is not None and int(flux.minor.partition(".")[2]) < _TAKES_OVER


@rule(
    "apply.renamed-namespace",
    "git-single-source",
    Severity.BREAKS_CLAIM,
    why="targetNamespace renames a Namespace in the folder, too: it takes another's over, and pruning takes that one with all in it",
    do="take the Namespace out of the folder, or give targetNamespace its name",
)
def renamed_namespace(tree: Tree) -> Iterator[Outcome]:
    """Namespaces that targetNamespace gives the name of one that others own or need."""
    for kustomization in tree.kustomizations.values():
        for manifest, before in renamed(tree, kustomization):
            target = manifest.name
            others = [m for m in tree.of("Namespace") if m.name == target and m.owner != kustomization.id]
            needed = [m for m in tree.objects if m.namespace == before or (m.kind == "Namespace" and m.name == before)]
            if target not in GIVEN_NAMESPACES and not others and not needed:
                continue
            owner = f", which {'Kustomization/' + others[0].owner + ' applies' if others else 'is there anyway'}"
            yield Violation(
                f"Kustomization/{kustomization.id}",
                (
                    tree.locate(kustomization.manifest, "spec", "targetNamespace"),
                    tree.locate(manifest, "metadata", "name"),
                ),
                f"targetNamespace of Kustomization/{kustomization.id} makes its Namespace/{before} Namespace/{target}"
                + (owner if others or target in GIVEN_NAMESPACES else f", and {needed[0].id} needs {before}"),
                hits=(f"Kustomization/{kustomization.id}", f"Namespace/{target}"),
            )


def renamed(tree: Tree, kustomization: Kustomization) -> Iterator[tuple[Manifest, str]]:
    """The Namespaces of a Kustomization that targetNamespace renames, each with the name that its file gives it."""
    target = kustomization.spec.get("targetNamespace")
    if not isinstance(target, str) or UNKNOWN in target or kustomization.built is None:
        return
    inner = {str(read(tree.sources, f).get("namespace")) for f in kustomization.built.closure.kustomizations}
    for manifest in kustomization.objects:
        if manifest.kind != "Namespace" or manifest.group or manifest.name != target or target in inner:
            continue
        before = tree.sources.value(manifest.file, "Namespace", manifest.name, ("metadata", "name")) or target
        pruned = not told(manifest, "prune", "disabled")
        if before not in (target, *_PLACEHOLDERS) and "$" not in before and pruned:
            yield manifest, before


def left_alone(manifest: Manifest) -> bool:
    """Whether Flux doesn't touch an object that is there."""
    return told(manifest, "reconcile", "disabled") or any(
        told(manifest, "ssa", how) for how in ("Ignore", "IfNotPresent")
    )
