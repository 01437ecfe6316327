"""Where a field of a rendered object stands: in its base, in a patch, or in the kustomization that sets it."""

from __future__ import annotations

from functools import cached_property

from holdfast.tree.manifest import Manifest, get
from holdfast.tree.repository import Location
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import HELM, Tree
from holdfast.tree.value_places import value_location


class Places:
    """The places of a tree's fields."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    def locate(self, manifest: Manifest, *path: PathKey) -> Location:
        """Where a field of an object stands: in its base, or in the patch that holds more of it."""
        if manifest.at is not None:
            return manifest.at
        elsewhere = (
            path[:2] == ("spec", "values") and manifest.is_(HELM, "HelmRelease") and manifest.spec.get("valuesFrom")
        )
        if elsewhere and (there := value_location(self.tree, manifest, path)) is not None:
            return there
        kind, name = ("", "") if manifest.by else (manifest.kind, manifest.name)
        space = str(manifest.meta.get("namespace") or "")
        best = self.tree.sources.locate(manifest.file, kind, name, () if manifest.by else path, space)
        deep = self.tree.sources.depth(manifest.file, kind, name, path, space) if not manifest.by else 0
        changed = deep >= len(path) and self._changed(manifest, path, space)
        if deep >= len(path) and not changed:
            return best
        base = best
        for file in reversed(manifest.patches):
            if file != manifest.file and manifest.name not in self._bases.get((file, manifest.kind), {manifest.name}):
                continue  # it holds another object of the kind, and no patch of this one
            reached = self.tree.sources.depth(file, manifest.kind, manifest.name, path)
            if file != manifest.file and (reached > deep or (reached == deep == len(path) and path)):
                best, deep = self.tree.sources.locate(file, manifest.kind, manifest.name, path), reached
        return self._set_at(manifest, str(get(manifest.body, *path)), base) if changed and best is base else best

    @cached_property
    def _bases(self) -> dict[tuple[str, str], set[str]]:
        """The names of the objects of a kind that a file holds, by file and kind."""
        found: dict[tuple[str, str], set[str]] = {}
        for manifest in (*self.tree.objects, *self.tree.unreferenced_objects):
            found.setdefault((manifest.file, manifest.kind), set()).add(manifest.name)
        return found

    def _set_at(self, manifest: Manifest, value: str, base: Location) -> Location:
        """The line of a kustomization, or of the Flux Kustomization, that holds a value which isn't the base's (an inline patch, an image's tag)."""
        kustomization = self.tree.kustomization_of(manifest)
        if kustomization is None or kustomization.built is None:
            return base
        for file in [*kustomization.built.closure.kustomizations, kustomization.manifest.file]:
            lines = self.tree.repository.text(file).splitlines() if file in self.tree.repository.known else []
            for part in (value, value.rpartition(":")[2]):
                if found := next((n for n, line in enumerate(lines, 1) if len(part) > 2 and part in line), 0):
                    return Location(file, found)
        return base

    def _changed(self, manifest: Manifest, path: tuple[PathKey, ...], namespace: str) -> bool:
        """Whether a scalar of the base was set to another value on the way."""
        rendered, before = (
            get(manifest.body, *path),
            self.tree.sources.value(manifest.file, manifest.kind, manifest.name, path, namespace),
        )
        return (
            before is not None
            and isinstance(rendered, str | int)
            and not isinstance(rendered, bool)
            and str(rendered) != before
        )
