"""Where the values of a HelmRelease stand: in itself, in a ConfigMap of the tree, or in the file that a ConfigMap is generated from."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import yaml

from holdfast.tree.manifest import Manifest, get, mapping, sequence
from holdfast.tree.repository import Location
from holdfast.tree.sources import PathKey, child, compose, deepest

if TYPE_CHECKING:
    from holdfast.tree.tree import Tree


def value_location(tree: Tree, manifest: Manifest, path: Sequence[PathKey]) -> Location | None:
    """The line of a value that a ConfigMap of the tree gives a HelmRelease; None where it stands in the release itself, or nowhere."""
    keys = path[2:]
    inline = _depth(get(manifest.spec, "values"), keys)
    if inline == len(keys) and inline:
        return None
    best, depth = None, inline
    for entry in sequence(manifest.spec.get("valuesFrom")):
        told = mapping(entry)
        if told.get("kind") != "ConfigMap" or told.get("targetPath"):
            continue
        held = tree.by_key.get(("ConfigMap", manifest.namespace, str(told.get("name"))))
        place = _in_config(tree, held, str(told.get("valuesKey") or "values.yaml"), keys) if held is not None else None
        if place and place[1] >= depth and (place[1] or not mapping(get(manifest.spec, "values"))):
            best, depth = place
    return best


def _depth(value: object, keys: Sequence[PathKey]) -> int:
    return next((n for n in range(len(keys), 0, -1) if get(value, *keys[:n]) is not None), 0)


def _in_config(tree: Tree, held: Manifest, key: str, keys: Sequence[PathKey]) -> tuple[Location, int] | None:
    """(where the deepest of *keys* stands in a text of a ConfigMap, how deep that is)."""
    for file, first, text in _texts(tree, held, key):
        try:
            node = next(compose(text), None)
        except (yaml.YAMLError, ValueError):
            return None
        if node is not None:
            line, depth = deepest(node, keys)
            return Location(file, line if first < 0 else first + line), depth
    return None


def _texts(tree: Tree, held: Manifest, key: str) -> Iterator[tuple[str, int, str]]:
    """The file, the lines before its text (-1: the file is the text) and the text of a ConfigMap's key."""
    if held.by:
        for _, body in tree.sources.bodies(held.file):
            for generator in map(mapping, sequence(body.get("configMapGenerator"))):
                if not str(generator.get("name")) or not held.name.startswith(_prefixed(body, generator)):
                    continue
                for listed in map(str, sequence(generator.get("files"))):
                    name, _, path = listed.rpartition("=")
                    if (name or posixpath.basename(path)) == key:
                        file = posixpath.normpath(posixpath.join(posixpath.dirname(held.file), path))
                        if file in tree.repository.known:
                            yield file, -1, tree.repository.text(file)
        return
    space = str(held.meta.get("namespace") or "")
    node = child(child(tree.sources.find(held.file, held.kind, held.name, space), "data"), key)
    if isinstance(node, yaml.ScalarNode) and node.style == "|":
        yield held.file, node.start_mark.line + 1, str(node.value)


def _prefixed(body: dict[str, object], generator: dict[str, object]) -> str:
    return f"{body.get('namePrefix') or ''}{generator.get('name')}"
