"""Who brings what a tree needs: definitions and releases of the tree, and what bootstraps the cluster before Flux runs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from holdfast.tree.manifest import Manifest, get
from holdfast.tree.releases import Release, known_charts
from holdfast.tree.tree import Tree

Giver = Manifest | Release
_NAMESPACE = re.compile(r"(?:\bcreate (?:namespace|ns) |^ +namespace: )[\"']?([a-z0-9-]+)\b", re.MULTILINE)
_BY_HAND = re.compile(r"(?:bootstrap|helmfile).*\.(?:ya?ml|gotmpl|sh|just|tf)$", re.IGNORECASE)


def givers_of(tree: Tree) -> dict[tuple[str, str], list[Giver]]:
    """Who installs which kind, by group and kind: definitions in the tree, and releases (the kind is empty: all of the group)."""
    found: dict[tuple[str, str], list[Giver]] = {}
    for crd in tree.of("CustomResourceDefinition"):
        found.setdefault((str(crd.spec.get("group")), str(get(crd.spec, "names", "kind"))), []).append(crd)
    for release in tree.releases:
        for group in release.groups:
            found.setdefault((group, ""), []).append(release)
    return found


class BeforeFlux:
    """What bootstraps the cluster and isn't applied by Flux: a helmfile, a folder or a script for it."""

    def __init__(self, tree: Tree) -> None:
        applied = {f for k in tree.kustomizations.values() if k.built for f in k.built.closure.files}
        files = (f for f in tree.repository.files if _BY_HAND.search(f) and f not in applied)
        self._texts = [tree.repository.text(f) for f in files]
        self._names: dict[str, bool] = {}
        self._namespaces = {m[1] for text in self._texts for m in _NAMESPACE.finditer(text)}
        self._commands = [line for text in self._texts for line in text.splitlines() if "kubectl" in line]

    def makes_namespace(self, name: str) -> bool:
        """Whether it makes a namespace: by a command, or as that of a release of a helmfile."""
        return name in self._namespaces

    def applies(self, manifest: Manifest) -> bool:
        """Whether it applies the file that an object comes from: a command of kubectl names it, and the folder that it lies in."""
        tail = "/".join(manifest.file.rsplit("/", 2)[-2:])
        return bool(self._commands) and "/" in tail and any(tail in line for line in self._commands)

    def brings(self, group: str, givers: Iterable[Giver] = ()) -> bool:
        """Whether it installs the definitions of a group: it names the group, a chart that is known to have them, or one of the tree's *givers*."""
        if not self._texts:
            return False
        names = {group, *(chart for chart, facts in known_charts().items() if group in facts.get("groups", ()))}
        for giver in givers:
            names |= {giver.name} if isinstance(giver, Manifest) else {giver.manifest.name, giver.chart} - {""}
        return any(map(self._named, names))

    def _named(self, name: str) -> bool:
        if name not in self._names:
            self._names[name] = any(name in text for text in self._texts)
        return self._names[name]
