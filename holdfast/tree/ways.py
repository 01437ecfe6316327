"""Which folders lead to which Flux Kustomizations, by what kustomization files list: enough to tell what nothing else applies. No build is run."""

from __future__ import annotations

import posixpath
from functools import cached_property

from holdfast.tree.references import FILES, Closure, kustomization_of, read
from holdfast.tree.repository import is_set_aside
from holdfast.tree.sources import Sources


class Ways:
    """The ways between folders and Kustomizations.

    Args:
        kustomizations: file and folder of each Flux Kustomization that counts.
    """

    def __init__(self, sources: Sources, kustomizations: list[tuple[str, str]]) -> None:
        self.sources = sources
        self._paths: dict[str, set[str]] = {}
        for file, folder in kustomizations:
            self._paths.setdefault(file, set()).add(folder)
        self._closures: dict[str, Closure] = {}
        self._held: dict[str, set[str]] = {}

    def closure(self, folder: str) -> Closure:
        """What a folder's build reads."""
        if folder not in self._closures:
            self._closures[folder] = Closure(self.sources, folder)
        return self._closures[folder]

    def held(self, folder: str) -> set[str]:
        """The files with Kustomizations that a folder's build applies."""
        if folder not in self._held:
            there = folder in self.sources.repository.folders
            self._held[folder] = self.closure(folder).files & self._paths.keys() if there else set()
        return self._held[folder]

    @cached_property
    def roots(self) -> dict[str, set[str]]:
        """The folders that apply a Kustomization when they are built, each with the files that hold it."""
        listed = {posixpath.dirname(f) or "." for f in self.sources.repository.files if posixpath.basename(f) in FILES}
        plain = {posixpath.dirname(f) or "." for f in self._paths}
        folders = sorted(f for f in listed | plain if not is_set_aside(f"{f}/x"))
        return {f: held for f in folders if (held := self.held(f)) and not self._is_component(f)}

    def _is_component(self, folder: str) -> bool:
        file = kustomization_of(self.sources, folder)
        return bool(file) and read(self.sources, file).get("kind") == "Component"

    @cached_property
    def tops(self) -> list[str]:
        """The roots that no other folder lists, and that no Kustomization but their own applies."""
        return [r for r in self.roots if not self._is_listed(r) and not self._is_applied(r)]

    def _is_listed(self, root: str) -> bool:
        """Whether another folder's kustomization holds this one, or (it has no kustomization of its own) all that it holds."""
        plain = not kustomization_of(self.sources, root)
        for other, held in self.roots.items():
            if other == root or other in self.closure(root).folders:
                continue
            if root in self.closure(other).folders or (plain and self.roots[root] <= held):
                return True
        return any(
            plain and root != other and root.startswith(f"{other}/") and self.roots[root] <= held
            for other, held in self.roots.items()
        )

    @cached_property
    def by_hand(self) -> set[str]:
        """The files with Kustomizations that no build holds: whoever begins the cluster applies them."""
        return self._paths.keys() - set().union(*self.roots.values())

    def _is_applied(self, root: str) -> bool:
        own = self.roots[root]
        others = {file: folders for file, folders in self._paths.items() if file not in own | self.by_hand}
        by_others = {f for folders in others.values() for p in folders for f in self.held(p)}
        return own <= by_others and not self._leads_back(root)

    def _leads_back(self, root: str) -> bool:
        """Whether all that applies a root is applied by it: it is the first of a circle."""
        appliers = {f for f, folders in self._paths.items() if any(self.held(p) & self.roots[root] for p in folders)}
        return appliers <= self.from_root(root)

    def from_root(self, root: str) -> set[str]:
        """The files of all the Kustomizations that a folder leads to."""
        found: set[str] = set()
        queue = list(self.roots.get(root) or self.held(root))
        while queue:
            file = queue.pop()
            if file not in found:
                found.add(file)
                queue += [f for p in self._paths[file] for f in self.held(p)]
        return found

    def kustomizations_of(self, root: str) -> set[str]:
        """The kustomization files that a folder's build reads, and those of all the Kustomizations that it leads to."""
        folders = {root, *(p for file in self.from_root(root) for p in self._paths[file])}
        there = self.sources.repository.folders
        return {f for p in folders if p in there for f in self.closure(p).kustomizations}

    def is_led_to(self, file: str, folder: str) -> bool:
        """Whether a Kustomization in *file* that applies *folder*, itself among it, is led to from somewhere outside of that."""
        inside = {folder, *self.closure(folder).folders}
        own = self.from_root(folder)
        return any(
            file in self.from_root(top)
            and not self.from_root(top) <= own  # one that leads to no more than it does itself is none above it
            for top in self.tops
            if top not in inside and not (folder == "." or top.startswith(f"{folder}/"))
        )
