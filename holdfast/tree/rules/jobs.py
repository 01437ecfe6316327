"""Jobs: their pods' template can't be changed, so one that Flux applies under the same name can be applied once only."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast.tree.findings import Outcome, Severity, Violation, rule
from holdfast.tree.fluxapi import told
from holdfast.tree.manifest import Manifest, get, mapping
from holdfast.tree.repository import Location
from holdfast.tree.sources import PathKey, scalar
from holdfast.tree.tree import Tree

FAMILY = "apply"
_COUNTED = re.compile(
    r"(?:^|[-.])(?:v|r)?\d[\d.-]*$|[-.](?=[a-f]*\d)[0-9a-f]{7,}$"
)  # migrate-3, migrate-v2.4.1, migrate-4f2a9c1
_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)[^}]*\}")
_OF_VERSIONS = re.compile(r"ver|tag|rev|sha|hash|date|build|digest|release", re.IGNORECASE)


@rule(
    "apply.job-twice",
    FAMILY,
    Severity.UPGRADE_HAZARD,
    why="a Job's template can't be changed: the next change of it is refused, and with it the whole set of its Kustomization",
    do="annotate it kustomize.toolkit.fluxcd.io/force: enabled, or give it a name per version",
)
def twice(tree: Tree) -> Iterator[Outcome]:
    """Jobs under a fixed name that Flux may neither replace nor leave alone."""
    for job in tree.of("Job"):
        kustomization = tree.kustomization_of(job)
        if job.by == "HelmChart" or kustomization is None or kustomization.spec.get("force") is True:
            continue
        if _is_left_alone(job) or _has_a_name_per_version(tree, job):
            continue
        location, words = _what_changes(tree, job)
        yield Violation(job.id, (location,), f"{job.id} has one name for all its versions, and {words}")


def _is_left_alone(job: Manifest) -> bool:
    """Whether Flux replaces it, or doesn't apply it again; one that goes by itself is away when it changes."""
    notes = mapping(job.meta.get("annotations"))
    return (
        told(job, "force", "enabled")
        or any(told(job, "ssa", how) for how in ("IfNotPresent", "Ignore"))
        or told(job, "reconcile", "disabled")
        or "helm.sh/hook" in notes
        or job.spec.get("ttlSecondsAfterFinished") is not None
    )


def _tag(image: str) -> str:
    """What follows the name of an image: its tag and digest."""
    return image.rpartition("/")[2].partition(":")[2]


def _has_a_name_per_version(tree: Tree, job: Manifest) -> bool:
    if _COUNTED.search(job.name):
        return True
    for _, container in job.containers(every=True):
        tag = re.sub(r"[^a-z0-9]", "-", _tag(str(container.get("image"))).partition("@")[0].lower())
        if len(tag) > 1 and tag in re.sub(r"[^a-z0-9]", "-", job.name.lower()):
            return True
    node = tree.sources.find(job.file, "Job", job.name)
    of_name = set(_VARIABLE.findall(scalar(node, "metadata", "name")))
    of_tags = {v for _, text in _tags(tree, job) for v in _VARIABLE.findall(text)}
    return any(v in of_tags or _OF_VERSIONS.search(v) for v in of_name)


def _tags(tree: Tree, job: Manifest) -> Iterator[tuple[tuple[PathKey, ...], str]]:
    """The tags of its images as its file has them, before anything is put in."""
    for path, _ in job.containers(every=True):
        node = tree.sources.find(job.file, "Job", job.name)
        yield (*path, "image"), _tag(scalar(node, *path, "image"))


def _what_changes(tree: Tree, job: Manifest) -> tuple[Location, str]:
    """What will change of a Job's template, and where that stands."""
    for path, tag in _tags(tree, job):
        found = _VARIABLE.search(tag)
        if found:
            at = tree.sources.locate(job.file, "Job", job.name, path)
            return at, f"its image's tag is ${{{found[1]}}}"
    for path, _ in job.containers():
        if isinstance(get(job.body, *path, "image"), str):
            return tree.locate(job, *path, "image"), "its image will change"
    return tree.locate(job, "spec", "template"), "its template will change"
