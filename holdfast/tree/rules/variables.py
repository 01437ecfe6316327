"""The variables of a Kustomization: their names and values, as Flux and its API take them."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.tree.findings import Outcome, Severity, Violation, rule
from holdfast.tree.manifest import Manifest, get, mapping
from holdfast.tree.repository import Location
from holdfast.tree.tree import KUSTOMIZE, Kustomization, Tree
from holdfast.tree.variables import bad_names

FAMILY = "apply"


@rule(
    "apply.variable-name",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="Flux refuses the whole set of variables for one such name, also where nothing uses it, and builds nothing with it",
    do="write the name with letters, digits and _ only, here and wherever it is used",
)
def variable_name(tree: Tree) -> Iterator[Outcome]:
    """Names of variables that Flux refuses (a dash, a dot, a digit at the front)."""
    found: dict[tuple[Location, str], list[str]] = {}
    for kustomization in tree.kustomizations.values():
        for source, path in bad_names(tree.kustomizations, kustomization):
            key = _key_at(tree, kustomization.manifest if source is None else source, path), path[-1]
            found.setdefault(key, []).append(f"Kustomization/{kustomization.id}")
    for (location, name), hits in found.items():
        yield Violation(
            hits[0],
            (location,),
            f"'{name}' is no name of a variable, so {_said(hits)} can't be built",
            hits=tuple(hits),
        )


def _said(hits: list[str]) -> str:
    return hits[0] if len(hits) == 1 else f"{len(hits)} Kustomizations"


def _key_at(tree: Tree, manifest: Manifest, path: tuple[str, ...]) -> Location:
    """Where a key stands: in the object, or among the literals of what generates it."""
    if manifest.by:
        for file in (manifest.file, *manifest.patches):
            lines = tree.repository.text(file).splitlines() if file in tree.repository.known else []
            if line := next((n for n, text in enumerate(lines, 1) if f"{path[-1]}=" in text), 0):
                return Location(file, line)
    return tree.locate(manifest, *path)


@rule(
    "apply.variable-value",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="the API takes texts only there, and refuses the Kustomization",
    do="put the value in quotes",
)
def variable_value(tree: Tree) -> Iterator[Outcome]:
    """Values in postBuild.substitute that are no texts."""
    for kustomization in _kustomizations(tree):
        manifest = kustomization.manifest
        for name, value in mapping(get(manifest.spec, "postBuild", "substitute")).items():
            if value is None or isinstance(value, str):
                continue
            kind = (
                "true or false"
                if isinstance(value, bool)
                else "a number"
                if isinstance(value, int | float)
                else "no text"
            )
            shown = (
                f" ({str(value).lower() if isinstance(value, bool) else value})"
                if not isinstance(value, dict | list)
                else ""
            )
            yield Violation(
                manifest.id,
                (tree.locate(manifest, "spec", "postBuild", "substitute", str(name)),),
                f"{manifest.id}: the variable {name} must be a text, and is {kind}{shown}",
                unreferenced=kustomization.unreferenced,
            )


def _kustomizations(tree: Tree) -> Iterator[Kustomization]:
    """Those that stand in a file of the tree."""
    for kustomization in tree.all_kustomizations():
        if kustomization.manifest.file and kustomization.manifest.is_(KUSTOMIZE, "Kustomization"):
            yield kustomization
