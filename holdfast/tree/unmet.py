"""A kustomization without what changes a remote base that isn't read: all that lies beside the base can be built then."""

from __future__ import annotations

import posixpath

import yaml

from holdfast.tree.manifest import Body, get, mapping, sequence
from holdfast.tree.references import Closure, read
from holdfast.tree.sources import Sources, compose, construct

GENERATORS = ("configmapgenerator", "secretgenerator")
_PATCHES = ("patches", "patchesstrategicmerge")


def met(sources: Sources, closure: Closure, body: Body, folder: str) -> Body:
    """A kustomization without patches of objects that the tree hasn't got, and without what changes what another one generates elsewhere."""
    patches = {path for file in closure.kustomizations for path in _patches_of(sources, file)}
    names = {
        (str(b.get("kind")), str(get(b, "metadata", "name")))
        for f in closure.files - closure.opaque - patches
        for _, b in sources.bodies(f)
    }
    made = dict(body)
    for key in (k for k in body if str(k).lower() in _PATCHES):
        made[key] = [p for p in sequence(body[key]) if _meets(sources, p, folder, names)]
    generated = {
        str(mapping(g).get("name"))
        for file in closure.kustomizations
        for key, value in read(sources, file).items()
        if str(key).lower() in GENERATORS
        for g in sequence(value)
        if mapping(g).get("behavior") not in ("merge", "replace")
    }
    for key in (k for k in body if str(k).lower() in GENERATORS):
        made[key] = [g for g in sequence(body[key]) if _makes_or_meets(mapping(g), generated)]
    return {k: v for k, v in made.items() if str(k).lower() not in ("replacements", "vars")}


def _patches_of(sources: Sources, file: str) -> set[str]:
    """The files with patches that a kustomization names."""
    entries = [p for k, v in read(sources, file).items() if str(k).lower() in _PATCHES for p in sequence(v)]
    paths = [p if isinstance(p, str) else str(mapping(p).get("path") or "") for p in entries]
    return {posixpath.normpath(posixpath.join(posixpath.dirname(file), p)) for p in paths if p and "\n" not in p}


def _meets(sources: Sources, patch: object, folder: str, names: set[tuple[str, str]]) -> bool:
    """Whether a patch is of an object with one of these kinds and names; one with a target is never refused, whatever it meets."""
    if isinstance(patch, dict) and patch.get("target"):
        return True
    text = patch if isinstance(patch, str) else str(mapping(patch).get("path") or mapping(patch).get("patch") or "")
    path = posixpath.normpath(posixpath.join(folder, text)) if "\n" not in text else ""
    if path in sources.repository.known:
        bodies = [b for _, b in sources.bodies(path)]
    else:
        try:
            bodies = [b for b in map(construct, compose(text)) if isinstance(b, dict)]
        except (yaml.YAMLError, ValueError, RecursionError):
            return True
    return all((str(b.get("kind")), str(get(b, "metadata", "name"))) in names for b in bodies)


def _makes_or_meets(generator: Body, generated: set[str]) -> bool:
    return generator.get("behavior") not in ("merge", "replace") or str(generator.get("name")) in generated
