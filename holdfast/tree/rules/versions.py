"""Versions of charts: a release that takes whatever its repository holds on the day."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Outcome, Severity, Violation, rule
from holdfast.tree.manifest import Manifest, get, mapping
from holdfast.tree.roles import STORAGE
from holdfast.tree.semver import openness
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import Tree


def _version(tree: Tree, release: Manifest) -> tuple[Manifest, tuple[PathKey, ...], str] | None:
    """(the object, the field, the version) by which a release takes its chart; None where that isn't by a version, or isn't in the tree."""
    spec = mapping(get(release.spec, "chart", "spec"))
    reference = mapping(release.spec.get("chartRef"))
    if spec and not reference:
        return _of_chart(release, ("spec", "chart", "spec"), spec)
    kind = str(reference.get("kind"))
    key = (kind, str(reference.get("namespace") or release.namespace), str(reference.get("name")))
    source = tree.by_key.get(key)
    if source is not None and kind == "HelmChart":
        return _of_chart(source, ("spec",), source.spec)
    return _of_artifact(source) if source is not None and kind == "OCIRepository" else None


def _of_artifact(source: Manifest) -> tuple[Manifest, tuple[PathKey, ...], str] | None:
    ref = mapping(source.spec.get("ref"))
    if ref.get("digest"):
        return None
    if ref.get("semver"):
        return source, ("spec", "ref", "semver"), str(ref["semver"])
    tag = str(ref.get("tag") or "")
    if tag and tag != "latest":  # any other tag names one version
        return None
    return source, ("spec", "ref", "tag") if tag else ("spec", "url"), tag


def _of_chart(
    manifest: Manifest, at: tuple[str, ...], spec: dict[str, object]
) -> tuple[Manifest, tuple[PathKey, ...], str] | None:
    if mapping(spec.get("sourceRef")).get("kind") != "HelmRepository":  # of a Git repository its revision counts
        return None
    version = spec.get("version")
    return manifest, (*at, "chart" if version is None else "version"), "" if version is None else str(version)


def _hits(tree: Tree, *, storage: bool) -> list[tuple[Manifest, Manifest, tuple[PathKey, ...], str]]:
    """(the release, the object and the field that leave its version open, the version)."""
    found = []
    for release in tree.releases:
        if (release.role == STORAGE) is not storage:
            continue
        told = _version(tree, release.manifest)
        if told is None or UNKNOWN in told[2] or "$" in told[2]:
            continue
        if openness(told[2]) in (("major", "minor") if storage else ("major",)):
            found.append((release.manifest, *told))
    return found


def _violation(tree: Tree, found: list[tuple[Manifest, Manifest, tuple[PathKey, ...], str]], what: str) -> Violation:
    words = [f"{r.id} ({v if v.strip() else 'no version'})" for r, _, _, v in found]
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return Violation(
        found[0][0].id,
        tuple(dict.fromkeys(tree.locate(m, *path) for _, m, path, _ in found)),
        f"{', '.join(words[:3])}{more}: {what}",
        hits=tuple(r.id for r, *_ in found),
    )


@rule(
    "versions.open",
    "resilience",
    Severity.UPGRADE_HAZARD,
    why="the next major version is installed by itself on the day it is published, and a rebuild gives another cluster than Git says",
    do="name a version, or a range within one major version, and let a bot propose the next",
)
def open_versions(tree: Tree) -> Iterator[Outcome]:
    """Charts at any version."""
    if found := _hits(tree, storage=False):
        yield _violation(tree, found, "any version of the chart is taken")


@rule(
    "versions.storage",
    "resilience",
    Severity.UPGRADE_HAZARD,
    why="storage upgrades itself, may skip a minor version, which it refuses, and can't go back to the one before",
    do="name one version, or a range within one minor version, and upgrade step by step",
)
def storage_versions(tree: Tree) -> Iterator[Outcome]:
    """Storage at a version that moves by itself."""
    if found := _hits(tree, storage=True):
        yield _violation(tree, found, "storage upgrades itself")
