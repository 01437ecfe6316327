"""Charts of this very repository, and files of values in it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Outcome, Severity, hit, rule
from holdfast.tree.manifest import Body, Manifest, get, mapping, sequence
from holdfast.tree.near import closest
from holdfast.tree.origin import same_address
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import HELM, SOURCE, Tree

FAMILY = "apply"


@rule(
    "apply.missing-chart",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="source-controller finds no chart there, and the release is never installed or upgraded",
    do="fix the path: it begins at the root of the repository",
)
def missing_chart(tree: Tree) -> Iterator[Outcome]:
    """Releases of a chart of this repository, or with files of values, by a path that isn't there."""
    for manifest in tree.of("HelmRelease", "HelmChart"):
        at: tuple[PathKey, ...] = ("spec", "chart", "spec") if manifest.is_(HELM, "HelmRelease") else ("spec",)
        spec = mapping(get(manifest.body, *at))
        path = str(spec.get("chart") or "")
        if not path or manifest.group not in (HELM, SOURCE) or not _own(tree, manifest, mapping(spec.get("sourceRef"))):
            continue
        folder = _within(path)
        if said := _no_chart(tree, folder):
            yield hit(tree, manifest, f"{manifest.id} takes its chart from {folder}: {said}", *at, "chart")
        for index, file in enumerate(map(str, sequence(spec.get("valuesFiles")))):
            target = _within(file)
            if not spec.get("ignoreMissingValuesFiles") and _absent(tree, target):
                meant = closest(target, tree.repository.known)
                more = f"; did you mean {meant}?" if meant else ""
                said = f"{manifest.id} takes values from the file {target}, which isn't in the repository{more}"
                yield hit(tree, manifest, said, *at, "valuesFiles", index)


def _within(path: str) -> str:
    """A path as source-controller joins it to the repository: what leads out of it is the root."""
    return posixpath.normpath(f"/{path}").lstrip("/") or "."


def _own(tree: Tree, manifest: Manifest, ref: Body) -> bool:
    """Whether a source is this very repository: the entry's own, or one with its URL."""
    own = mapping(tree.root.spec.get("sourceRef"))
    home = str(own.get("namespace") or tree.root.manifest.namespace)
    key = (str(ref.get("kind")), str(ref.get("namespace") or manifest.namespace), str(ref.get("name")))
    entry = (str(own.get("kind")), home, str(own.get("name")))
    if key == entry:
        return key[0] == "GitRepository"
    its, mine = tree.by_key.get(key), tree.by_key.get(entry)
    if its is None or mine is None or not its.kind == mine.kind == "GitRepository":
        return False
    return same_address(str(its.spec.get("url"))) == same_address(str(mine.spec.get("url")))


def _absent(tree: Tree, path: str) -> bool:
    """Whether a path is surely not in the repository."""
    repository = tree.repository
    aside = any(path == a or path.startswith(f"{a}/") for a in (*repository.links, *repository.modules))
    return UNKNOWN not in path and not aside and path not in repository.known


def _no_chart(tree: Tree, folder: str) -> str:
    """Why a path holds no chart; empty where it does."""
    if not _absent(tree, f"{folder}/Chart.yaml".removeprefix("./")) or not _absent(tree, folder):
        return ""
    charts = sorted({posixpath.dirname(f) for f in tree.repository.files if posixpath.basename(f) == "Chart.yaml"})
    meant = closest(folder, charts) or next(
        (c for c in charts if posixpath.basename(c) == posixpath.basename(folder)), ""
    )
    there = "it holds no Chart.yaml" if folder in tree.repository.folders else "there is no such folder"
    return f"{there}; did you mean {meant}?" if meant else there
