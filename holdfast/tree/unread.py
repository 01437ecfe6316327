"""What a Kustomization that isn't read could plausibly give to others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.manifest import Body, get, mapping, sequence
from holdfast.tree.near import HASH, words_of
from holdfast.tree.origin import same_address
from holdfast.tree.tree import KUSTOMIZE, Kustomization, Tree

_SAY_NOTHING = (
    "app apps application base bundle charts cluster com config configs controller core default deploy deployment download flux "
    "github gitlab githubusercontent heads https http infra infrastructure install io kubernetes kustomize latest main manifests "
    "master namespace operator org overlays prod production raw refs release releases secret secrets settings source staging "
    "system tree values yaml"
)
_SAY_NOTHING_OF_A_CHART = (
    "kube k8s stack manager operators com dev net sh x cloud cluster local services service platform"
)
_OF_ANY_CHART = frozenset(_SAY_NOTHING_OF_A_CHART.split())
_GENERIC = frozenset(_SAY_NOTHING.split())  # words of an address that don't say what it gives

# Addresses of what holds definitions only; an installer "with CRDs" is none.
_DEFINITIONS = re.compile(
    r"(?:^|[/.])crds?(?:\.ya?ml|/kustomization\.ya?ml)?(?:[?#]|$)|/config/crds?(?:[/?#]|$)", re.IGNORECASE
)


class Unread(NamedTuple):
    """What is known of an unread Kustomization: its words, the namespaces it is for, the objects in its own files."""

    text: str
    namespaces: frozenset[str] = frozenset()
    objects: frozenset[tuple[str, str]] = frozenset()
    anything: bool = False
    possible: bool = True

    def gives(self, kind: str, namespace: str, name: str) -> bool:
        """Whether it could give something: by what it has of its own, by namespace, and by its words."""
        if not self.possible:
            return False
        space = name if kind == "Namespace" else namespace
        if self.anything or (not namespace and kind != "Namespace") or space in self.namespaces:
            return True
        if any(k == kind and name in (n, HASH.sub("", n)) for k, n in self.objects):
            return True
        if space in ("default", "flux-system"):
            space = ""
        return any(_speaks(self.text, word) for word in [*words_of(space), *words_of(name)])

    def may_bring(self, words: Iterable[str]) -> bool:
        """Whether it could bring the definitions of a group that some words tell of."""
        return self.possible and (self.anything or any(_speaks(self.text, word) for word in words))


def telling(*names: str) -> frozenset[str]:
    """The words of names that tell what something is for: not those that any may have."""
    return frozenset(w for name in names for w in words_of(name.lower())) - _GENERIC - _OF_ANY_CHART


def unread(tree: Tree, kustomization: Kustomization) -> Unread:
    """What is known of a Kustomization that isn't read."""
    spec, words = kustomization.spec, f"{kustomization.manifest.name} {kustomization.folder} {kustomization.gap}"
    target = str(spec.get("targetNamespace") or "")
    if get(spec, "kubeConfig"):
        return Unread("", possible=False)
    if UNKNOWN in kustomization.folder:
        return Unread("", frozenset({target} - {""}), anything=not target)
    text = re.sub(r"[^a-z0-9]", "", words.lower())
    if kustomization.built is None:
        return Unread(text, frozenset({target} - {""}), anything=not target and not _foreign(tree, kustomization))
    addresses = [r.target for r in kustomization.built.left_out]
    if addresses and kustomization.left_out.count(";") < len(addresses) and all(map(_DEFINITIONS.search, addresses)):
        return Unread(re.sub(r"[^a-z0-9]", "", " ".join(addresses).lower()))  # kinds, and nothing in a namespace
    closure = kustomization.built.closure
    bodies = [
        b for f in sorted({*closure.files, *closure.kustomizations} - closure.opaque) for _, b in tree.sources.bodies(f)
    ]
    spaces = {target or str(kustomization.manifest.meta.get("namespace") or "")} | {
        s for b in bodies for s in _spaces(b)
    }
    children = (
        b for b in bodies if b.get("kind") == "Kustomization" and str(b.get("apiVersion")).startswith(KUSTOMIZE)
    )
    leads_on = not kustomization.left_out and any(children)
    objects = frozenset(o for b in bodies for o in _objects(b))
    return Unread(text, frozenset(spaces - {"", "flux-system"}), objects, anything=leads_on)


def _spaces(body: Body) -> Iterator[str]:
    """The namespaces that a document of a Kustomization is about."""
    if body.get("kind") in ("Kustomization", "Component", None):
        yield str(body.get("namespace") or "")
    yield str(get(body, "metadata", "namespace") or "")
    if body.get("kind") == "Namespace":
        yield str(get(body, "metadata", "name") or "")
    if body.get("kind") == "HelmRelease":
        yield str(get(body, "spec", "targetNamespace") or "")


def _objects(body: Body) -> Iterator[tuple[str, str]]:
    yield str(body.get("kind")), str(get(body, "metadata", "name"))
    for part, kind in (("configMapGenerator", "ConfigMap"), ("secretGenerator", "Secret")):
        for entry in sequence(body.get(part)):
            yield kind, str(mapping(entry).get("name"))


def _foreign(tree: Tree, kustomization: Kustomization) -> bool:
    """Whether a Kustomization builds from somebody else's repository: by the owner in its URL."""
    ref = mapping(kustomization.spec.get("sourceRef"))
    space = str(ref.get("namespace") or kustomization.manifest.namespace)
    source = tree.by_key.get((str(ref.get("kind")), space, str(ref.get("name"))))
    own = mapping(tree.root.spec.get("sourceRef"))
    root = next(
        (m for m in (*tree.bootstrap, *tree.objects) if m.kind == own.get("kind") and m.name == own.get("name")), None
    )
    if source is None or root is None:
        return False
    mine, its = _owner(root.spec.get("url")), _owner(source.spec.get("url"))
    return bool(mine and its and mine != its)


def _owner(url: object) -> str:
    """Host and first folder of an address that has more than these; empty where it hasn't."""
    host, *folders = same_address(str(url or "")).split("/")
    return f"{host}/{folders[0]}" if len(folders) > 1 else ""


def _speaks(text: str, word: str) -> bool:
    """Whether a Kustomization's own words hold a word of a name."""
    return len(word) > 2 and word.lower() not in _GENERIC and word.lower() in text
