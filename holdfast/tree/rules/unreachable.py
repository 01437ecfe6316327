"""What looks as if Git ruled it, and nothing applies it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from holdfast.tree.components import is_component
from holdfast.tree.findings import Evidence, Inconclusive, Outcome, Severity, Violation, rule
from holdfast.tree.manifest import Manifest
from holdfast.tree.references import FILES
from holdfast.tree.repository import Location
from holdfast.tree.tree import Tree

_IN_COMMENT = re.compile(r"^\s*#.*?(?:- +|(?=\./))[\"']?(\.?[\w./-]+)")


@rule(
    "flux.unreachable",
    "git-single-source",
    Severity.BREAKS_CLAIM,
    why="it looks as if Git ruled it, and nothing applies it",
    do="list it in a kustomization, or take it out",
)
def unreachable(tree: Tree) -> Iterator[Outcome]:
    """Flux Kustomizations that nothing applies, and folders and manifests that nobody reads."""
    applied = {f for k in tree.kustomizations.values() if k.built and not k.error for f in k.built.closure.files}
    unread = {f: k.id for k in tree.kustomizations.values() if k.gap and k.built for f in k.built.closure.files}
    for kustomization in tree.unreferenced:
        if kustomization.manifest.file in unread:
            yield Inconclusive(
                f"Kustomization/{kustomization.id} lies in what Kustomization/{unread[kustomization.manifest.file]} builds, which wasn't read"
            )
            continue
        if kustomization.manifest.file in applied:
            continue  # of two of one name: the other one counts, and apply.duplicate-object says so
        if kustomization.manifest.file and tree.before_flux.applies(kustomization.manifest):
            yield Inconclusive(
                f"Kustomization/{kustomization.id} is applied by hand or by a script, as a file of the repository says"
            )
            continue
        if kustomization.manifest.file and "$" in str(kustomization.manifest.meta.get("name")):
            continue  # a template: whoever fills it in gives it its name
        if kustomization.manifest.file:
            off = _turned_off(tree, kustomization.manifest.file)
            yield Violation(
                f"Kustomization/{kustomization.id}",
                (Location(kustomization.manifest.file, 1),),
                f"Kustomization/{kustomization.id} is "
                + (f"turned off: a comment names it ({off})" if off else "applied by nothing"),
                severity=Severity.HYGIENE if off else None,
                unreferenced=True,
            )
        else:
            yield Violation(
                kustomization.folder,
                (
                    Location(
                        kustomization.built.closure.kustomizations[0]
                        if kustomization.built and kustomization.built.closure.kustomizations
                        else kustomization.folder
                    ),
                ),
                f"{kustomization.folder} is built by nothing that is applied",
                severity=Severity.HYGIENE,
                unreferenced=True,
            )
            yield Inconclusive(
                f"{kustomization.folder} is built by nothing that is applied: whether the cluster has it isn't known"
            )
    if tree.unreachable:
        yield Violation(
            tree.unreachable[0],
            tuple(Location(f) for f in tree.unreachable),
            f"{len(tree.unreachable)} manifest files are read by no build",
            severity=Severity.HYGIENE,
            hits=tuple(tree.unreachable),
            unreferenced=True,
        )
    if not any(not _is_flux(m) for m in tree.objects):
        yield Inconclusive(
            "nothing but Flux's own objects is applied, so nothing of a cluster is seen to come from Git"
        )
        return
    yield from _from_elsewhere(tree)
    yield Evidence(
        f"{len(tree.objects)} objects, each of one of {len(tree.kustomizations)} Kustomizations that the entry leads to"
    )


def _is_flux(manifest: Manifest) -> bool:
    """Whether an object is one of Flux's kinds, a part of Flux itself, or a namespace: none of them is a part of what the cluster is for."""
    return manifest.group.endswith(".toolkit.fluxcd.io") or manifest.kind == "Namespace" or is_component(manifest)


def _from_elsewhere(tree: Tree) -> Iterator[Inconclusive]:
    """What the cluster must have and Git doesn't hold, but for Secrets: somebody makes it by hand, or something that isn't read here."""
    outside = {what: who for what, who in tree.graph.external.items() if not what.startswith("Secret/")}
    if outside:
        what, who = next(iter(outside.items()))
        more = f" (and {len(outside) - 1} more)" if len(outside) > 1 else ""
        yield Inconclusive(f"{what}{more} must come from outside of the tree: {who}")


def _turned_off(tree: Tree, file: str) -> Location | None:
    """Where a kustomization above a file names it, or a folder that it lies in, in a comment: somebody took it out on purpose, and left it there."""
    for name in (f"{folder}/{one}".removeprefix("./") for folder in PurePosixPath(file).parents for one in FILES):
        if name not in tree.repository.known:
            continue
        for line, text in enumerate(tree.repository.text(name).splitlines(), start=1):
            for said in _IN_COMMENT.findall(text):
                path = posixpath.normpath(posixpath.join(posixpath.dirname(name), said))
                inside = path.startswith(f"{posixpath.dirname(name)}/") or not posixpath.dirname(name)
                if inside and (file == path or file.startswith(f"{path}/")):
                    return Location(name, line)
    return None
