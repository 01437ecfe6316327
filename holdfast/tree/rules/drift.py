"""What Flux puts back of a release: nothing that was changed by hand, unless drift detection corrects it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast.tree.findings import Evidence, Inconclusive, Outcome, Severity, Violation, rule
from holdfast.tree.manifest import get, mapping, sequence
from holdfast.tree.releases import Release
from holdfast.tree.rules.in_values import named_in_values
from holdfast.tree.tree import HELM, Tree

_GATE = re.compile(r"CorrectDrift=true")  # of helm-controller: for every release that doesn't say otherwise
_WITHOUT_LIMIT = "all"


@rule(
    "flux.drift",
    "git-single-source",
    Severity.BREAKS_CLAIM,
    why="what is changed or deleted by hand of such a release stays so until its chart or its values change",
    do="set driftDetection: {mode: enabled}",
)
def drift(tree: Tree) -> Iterator[Outcome]:
    """Releases whose objects aren't put back: a defect where the tree promises that Git alone rules, else a doubt."""
    yield from _judged(tree, _is_promised(tree, "git-single-source"))
    if not tree.root.manifest.file:
        yield Inconclusive("what syncs the entry isn't in the tree")
    for release in tree.unread_releases:
        for name in _claims_of_others(tree, release):
            yield Inconclusive(f"{release.manifest.id} takes the volume claim {name}, which nothing in the tree makes")


def _claims_of_others(tree: Tree, release: Release) -> list[str]:
    """The claims that a release's values name as there already, and that the tree doesn't make."""
    named = (
        r
        for r in named_in_values(release)
        if r.kind == "PersistentVolumeClaim" and "$" not in r.name and "{" not in r.name
    )
    return sorted({r.name for r in named if (r.kind, r.namespace, r.name) not in tree.by_key})


@rule(
    "flux.drift-recovery",
    "auto-recovery",
    Severity.BREAKS_CLAIM,
    why="what is deleted of such a release by hand doesn't come back by itself",
    do="set driftDetection: {mode: enabled}",
)
def recovery(tree: Tree) -> Iterator[Outcome]:
    """The same for what recovers by itself."""
    # Where both are promised, one finding is enough: flux.drift has it.
    yield from _judged(tree, _is_promised(tree, "auto-recovery") and not _is_promised(tree, "git-single-source"))


def _judged(tree: Tree, promised: bool) -> Iterator[Outcome]:
    lacking = _uncorrected(tree)
    words = f"{_named(lacking)} no drift detection that corrects" if lacking else ""
    if lacking and promised:
        yield Violation(
            lacking[0].manifest.id,
            tuple(tree.locate(r.manifest, "spec", "driftDetection", "mode") for r in lacking),
            words,
            hits=tuple(r.manifest.id for r in lacking),
        )
    elif lacking:
        yield Inconclusive(f"{words}: what is changed or deleted of it by hand stays so")
    elif tree.releases:
        yield Evidence(f"{len(tree.releases)} releases: what is changed by hand is put back")


def _named(lacking: list[Release]) -> str:
    if len(lacking) == 1:
        return f"{lacking[0].manifest.id} has"
    return f"{lacking[0].manifest.id} and {len(lacking) - 1} more releases have"


def _is_promised(tree: Tree, claim: str) -> bool:
    return claim in tree.settings.claimed or _WITHOUT_LIMIT in tree.settings.claimed


def _uncorrected(tree: Tree) -> list[Release]:
    """The releases that Flux doesn't put back; what only warns doesn't correct."""
    by_default = _corrects_all(tree)
    modes = [(r, get(r.manifest.spec, "driftDetection", "mode")) for r in tree.releases]
    return [r for r, mode in modes if mode != "enabled" and not (mode is None and by_default)]


def _corrects_all(tree: Tree) -> bool:
    """Whether helm-controller is told to correct every release: by its arguments, or by a patch of a FluxInstance."""
    for manifest in [*tree.objects, *tree.bootstrap]:
        if manifest.kind == "Deployment" and manifest.name == "helm-controller":
            texts = [str(a) for _, c in manifest.containers() for a in sequence(c.get("args"))]
        elif manifest.kind == "FluxInstance":
            texts = [str(mapping(p).get("patch")) for p in sequence(get(manifest.spec, "kustomize", "patches"))]
        elif manifest.is_(HELM, "HelmRelease"):
            patches = get(manifest.spec, "values", "instance", "kustomize", "patches")
            texts = [str(mapping(p).get("patch")) for p in sequence(patches)]
        else:
            continue
        if any(_GATE.search(t) for t in texts):
            return True
    return False
