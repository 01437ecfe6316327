"""Whether a name that one object gives another leads anywhere: what there is, and what is almost of that name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.made import made_by
from holdfast.tree.manifest import Body, Key, Manifest, get, mapping, sequence
from holdfast.tree.near import HASH, SHORTEST, closest, near, words_of
from holdfast.tree.repository import Location, is_sync_of_bootstrap
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import Tree
from holdfast.tree.unread import Unread, unread

_MIRRORED = ("reflector", "replicator", "kubed", "mirror", "propagate", "sync")
_PRESENT = frozenset({("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt"), ("Service", "kubernetes")})


class Lack(NamedTuple):
    """Why a name leads to nothing; *hint* says what may have been meant, and *elsewhere* the one namespace that has it."""

    hint: str = ""
    elsewhere: str = ""


class Reference(NamedTuple):
    """A name that an object gives: what it is to lead to, and where it stands."""

    path: tuple[PathKey, ...]
    kind: str
    namespace: str
    name: str
    by_hand: bool = False


def _notes(manifest: Manifest) -> Iterator[str]:
    """The keys of the annotations and labels of an object, and of those that it gives to the Secret that it makes."""
    templates = (("template", "metadata"), ("target", "template", "metadata"), ("secretTemplate",), ("destination",))
    for meta in (manifest.meta, *(mapping(get(manifest.spec, *path)) for path in templates)):
        yield from (str(k) for part in ("annotations", "labels") for k in mapping(meta.get(part)))


class Names:
    """What the names of a tree lead to."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.unread = [k for k in tree.kustomizations.values() if k.gap]
        self._by: dict[
            tuple[str, str], dict[str, str]
        ] = {}  # kind and namespace -> name -> who makes it, where that isn't the thing itself
        self._everywhere: dict[str, set[str]] = {}
        for manifest in (*tree.objects, *tree.bootstrap):
            self._add(manifest.kind, manifest.namespace, manifest.name, "")
            for kind, namespace, name in made_by(manifest):
                if namespace == "*":
                    self._everywhere.setdefault(kind, set()).add(name)
                else:
                    self._add(kind, namespace, name, manifest.id)
        for secret in tree.settings.secrets:
            self._add("Secret", secret.namespace, secret.name, "")
        self._add(*self._entry, "")

    def _add(self, kind: str, namespace: str, name: str, by: str) -> None:
        self._by.setdefault((kind, namespace), {}).setdefault(name, by)

    # -- asking --------------------------------------------------------------------------------------------------------

    def has(self, kind: str, namespace: str, name: str) -> bool:
        """Whether something of that name is there, or is made by what is there; or may be, where a name or namespace isn't wholly known."""
        if self.surely_has(kind, namespace, name):
            return True
        here = self._by.get((kind, namespace), {})
        return any(UNKNOWN in other and _pattern(other).fullmatch(name) for other in here) or any(
            UNKNOWN in space and name in names for (k, space), names in self._by.items() if k == kind
        )

    def surely_has(self, kind: str, namespace: str, name: str) -> bool:
        """Whether something of just that name is there, or is made by what is there."""
        here = self._by.get((kind, namespace), {})
        return name in here or name in self._everywhere.get(kind, ()) or (kind, name) in _PRESENT

    def lacks(self, kind: str, namespace: str, name: str, *, by_hand: bool = False, early: bool = False) -> Lack | None:
        """Why a name leads to nothing; None where it leads somewhere, or may.

        Args:
            by_hand: such things are often made by hand, so only a name that is almost there, or there in another namespace, is a defect.
            early: it must be there before any chart of its namespace can be installed.
        """
        if not name or UNKNOWN in name or UNKNOWN in namespace or self.has(kind, namespace, name):
            return None
        if hint := self.hint(kind, namespace, name):
            return Lack(hint)
        elsewhere = self._elsewhere(kind, namespace, name)
        giver = self.giver(kind, namespace, name)
        if elsewhere and (not giver or (early and not self._open_to(kind, namespace, name))):
            return Lack(f"; there is one in the namespace {elsewhere}", elsewhere)
        if giver or by_hand:
            return None
        offered = closest(name, self._by.get((kind, namespace), {}))
        return Lack(f"; did you mean {offered}?" if offered else "")

    def hint(self, kind: str, namespace: str, name: str) -> str:
        """What was meant by a name of the same namespace: one with a generator's hash, with a prefix, or a slip."""
        for manifest in self.tree.of(kind):
            if manifest.namespace == namespace and manifest.name != name and self._renamed(manifest, name):
                how = "a generator puts a hash at its end" if HASH.search(manifest.name) else "its build renames it"
                return f"; did you mean {manifest.name}? ({how})"
        here = self._by.get((kind, namespace), {})
        found = near(name, (n for n in here if not HASH.search(n)), self._words)
        if (
            not found and not namespace and self._uses[kind, name] < 2
        ):  # what a chart brings isn't in the tree, but others name it
            often = [n for (k, n), count in self._uses.items() if k == kind and count > 1]
            found = near(name, often, self._words)
        of = f" (of {here[found]})" if here.get(found) else ""
        return f"; did you mean {found}{of}?" if found else ""

    def other_place(self, kind: str, namespace: str, name: str) -> tuple[Location, ...]:
        """Where the thing stands that was meant: under another name, in another namespace, or what makes it."""
        there = [
            m for m in self.tree.of(kind) if m.name != name and m.namespace == namespace and self._renamed(m, name)
        ]
        space = self._elsewhere(kind, namespace, name)
        here = self._by.get((kind, namespace), {})
        found = near(name, (n for n in here if not HASH.search(n)), self._words)
        makers = [m for m in self.tree.objects if here.get(found) and m.id == here[found]]
        there += [
            m for m in [self.tree.by_key.get((kind, space or namespace, name if space else found))] if m is not None
        ]
        return tuple(self.tree.locate(m, "metadata", "name") for m in [*there, *makers][:1])

    @cached_property
    def _aside(self) -> dict[tuple[str, str], set[str]]:
        """What lies in the repository and isn't applied by Flux: some of it is applied by hand, before Flux runs."""
        found: dict[tuple[str, str], set[str]] = {}
        for manifest in self.tree.unreferenced_objects:
            for kind, namespace, name in (manifest.key, *made_by(manifest)):
                found.setdefault((kind, namespace), set()).add(name)
        return found

    @cached_property
    def _uses(self) -> Counter[tuple[str, str]]:
        """How often the objects of the tree name things of the whole cluster: kind and name."""
        return Counter(use for m in self.tree.objects for use in set(_uses_in(m.body)))

    def _renamed(self, manifest: Manifest, name: str) -> bool:
        """Whether *name* is what an object was called before the build put a hash, a prefix or a suffix to it."""
        bare = HASH.sub("", manifest.name)
        if manifest.by and bare != manifest.name:
            return bare == name or (
                len(name) >= SHORTEST and bare.endswith(f"-{name}") and self._generated(manifest, name)
            )
        if manifest.by or name not in manifest.name:
            return False
        return self.tree.sources.value(manifest.file, manifest.kind, name, ("metadata", "name")) == name

    def _generated(self, manifest: Manifest, name: str) -> bool:
        bodies = [b for _, b in self.tree.sources.bodies(manifest.file)]
        return any(
            mapping(g).get("name") == name
            for body in bodies
            for part in ("configMapGenerator", "secretGenerator")
            for g in sequence(body.get(part))
        )

    def _elsewhere(self, kind: str, namespace: str, name: str) -> str:
        """The one other namespace that has something of this kind and name; empty where that says nothing."""
        if not namespace:
            return ""
        spaces = [space for (k, space), names in self._by.items() if k == kind and space != namespace and name in names]
        if len(spaces) != 1 or UNKNOWN in spaces[0]:
            return ""
        held = self.tree.by_key.get((kind, spaces[0], name))
        if held is not None and not held.is_placed:
            return ""  # it names no namespace, so it is in none
        makers = [held] if held else [m for m in self.tree.objects if (kind, spaces[0], name) in made_by(m)]
        notes = [note for m in makers for note in _notes(m)]
        if kind in ("Secret", "ConfigMap") and any(w in note for note in notes for w in _MIRRORED):
            return ""
        return spaces[0]

    @cached_property
    def _words(self) -> Counter[str]:
        """In how many names of the tree each word stands."""
        found: Counter[str] = Counter()
        for (_, namespace), names in self._by.items():
            for name in names:
                found.update({*words_of(HASH.sub("", name)), *(words_of(namespace) if len(names) > 1 else ())})
        for release in self.tree.releases:
            found.update({*words_of(release.chart), *words_of(release.name)})
        return found

    def meant(self, wanted: Body, candidates: Iterable[tuple[Body, str]]) -> tuple[str, str]:
        """The label of a selector that is a slip, and what was meant: all others agree. Empty where no label is one.

        Args:
            candidates: labels, and whose they are.
        """
        for labels, whose in candidates:
            off = [(k, str(v)) for k, v in wanted.items() if str(labels.get(k)) != str(v)]
            if len(off) != 1:
                continue
            key, value = off[0]
            if key in labels and near(value, [str(labels[key])], self._words):
                return key, f"; did you mean {key}={labels[key]} (of {whose})?"
            other = near(key, [k for k, v in labels.items() if str(v) == value and k not in wanted])
            if other:
                return key, f"; did you mean {other}={value} (of {whose})?"
        return "", ""

    # -- what isn't read -----------------------------------------------------------------------------------------------

    def giver(self, kind: str, namespace: str, name: str) -> str:
        """What isn't read and could plausibly give something; empty where nothing could."""
        of_flux = kind in _OF_FLUX
        if (kind, namespace, name) in self._by_script | self._bootstrapped:
            return "what bootstraps the cluster"
        if (of_flux or kind == "Namespace") and self.tree.of("ResourceSet"):
            return "a ResourceSet"
        if layer := self._open_to(kind, namespace, name):
            return layer
        if of_flux or kind == "Namespace":
            return self._of_instance(kind, namespace, name)
        return self._other_giver(namespace)

    def _other_giver(self, namespace: str) -> str:
        """Whether a cluster itself, a chart that wasn't rendered or a custom resource may bring something into a namespace."""
        if namespace in ("kube-system", "kube-public", "kube-node-lease"):
            return "Kubernetes"
        if namespace == "flux-system" and ("Deployment", "flux-system", "kustomize-controller") not in self.tree.by_key:
            return "Flux"
        if maker := self._of_argo.get(namespace) or self._of_argo.get(""):
            return maker
        for release in self.tree.releases:
            whole = release.manifest.id in self.tree.charts.rendered and not release.unread
            if not whole and (not namespace or release.target_namespace == namespace):
                return release.manifest.id
        return self.tree.unseen_makers.get(namespace, "")

    def _of_instance(self, kind: str, namespace: str, name: str) -> str:
        """What Flux's operator, or the entry that isn't in the tree, brings: the sync's own source and Kustomization."""
        root, own = self.tree.root, self._entry
        if (kind, namespace, name) == ("Kustomization", root.manifest.namespace, root.manifest.name):
            return "the entry"
        if kind in (*_SOURCES, "Kustomization") and (namespace, name) in self._synced:
            return "Flux's operator"
        if not self._is_synced_here and kind in _SOURCES and namespace == own[1]:
            return "the entry, which isn't in the tree"
        if kind == "Kustomization" and not root.manifest.file and namespace == own[1] and self._leans_outside:
            return "who syncs this tree, which isn't in it"
        if kind == "Namespace" and name in self._spaces_of_secrets:
            return "who makes its Secrets"
        return ""

    @cached_property
    def _bootstrapped(self) -> set[Key]:
        """What the files of a bootstrap give that lie aside of the entry: where the entry's own source comes from is one of these, or none."""
        if self._is_synced_here:
            return set()
        files = [f for f in self.tree.repository.files if is_sync_of_bootstrap(f)]
        bodies = [b for f in files for _, b in self.tree.sources.bodies(f)]
        return {
            (str(b.get("kind")), str(get(b, "metadata", "namespace") or ""), str(get(b, "metadata", "name")))
            for b in bodies
        }

    @cached_property
    def _entry(self) -> Key:
        """The source of the entry, be it in the tree or not."""
        root = self.tree.root
        ref = mapping(root.spec.get("sourceRef"))
        return str(ref.get("kind")), str(ref.get("namespace") or root.manifest.namespace), str(ref.get("name"))

    @cached_property
    def _is_synced_here(self) -> bool:
        """Whether what the entry is synced by is in the tree, with its source: else the tree is a part of something larger."""
        root = self.tree.root.manifest
        there = self._entry in self.tree.by_key or any(m.key == self._entry for m in self.tree.bootstrap)
        return bool(root.file) and (there or root.at is not None)

    @cached_property
    def _by_script(self) -> set[Key]:
        """What lies in files that a script applies, and in the folders of the Kustomizations among these: a second root, which isn't followed."""
        known = self.tree.before_flux
        applied = [m for m in self.tree.unreferenced_objects if known.applies(m)]
        applied += [k.manifest for k in self.tree.unreferenced if k.manifest.file and known.applies(k.manifest)]
        folders = {
            str(m.spec.get("path")).strip("./") for m in applied if m.kind == "Kustomization" and m.spec.get("path")
        }
        below = [
            m for m in self.tree.unreferenced_objects if any(m.file.startswith(f"{folder}/") for folder in folders)
        ]
        return {m.key for m in (*applied, *below)}

    @cached_property
    def _of_argo(self) -> dict[str, str]:
        """The applications of Argo's that may put something into a namespace, which isn't read here; under an empty name what may into any."""
        found: dict[str, str] = {}
        applied = [m for m in self.tree.of("Application", "ApplicationSet") if m.group == "argoproj.io"]
        for manifest in applied:
            inner = [manifest.body, *self._applications_below(manifest)]
            for body in inner:
                target = str(get(body, "spec", "destination", "namespace") or "")
                found.setdefault("" if body.get("kind") == "ApplicationSet" else target, manifest.id)
        return found

    def _applications_below(self, manifest: Manifest) -> Iterator[Body]:
        """The applications in the folders that an application applies, where they are this repository's: one of them often applies the others."""
        sources = [mapping(manifest.spec.get("source")), *map(mapping, sequence(manifest.spec.get("sources")))]
        for path in {str(s.get("path")).strip("./") for s in sources if s.get("path")}:
            for file in self.tree.repository.below(path) if path in self.tree.repository.folders else ():
                if file.endswith((".yaml", ".yml")) and "argoproj.io" in self.tree.repository.text(file):
                    yield from (
                        b
                        for _, b in self.tree.sources.bodies(file)
                        if b.get("kind") in ("Application", "ApplicationSet")
                    )

    @cached_property
    def _leans_outside(self) -> bool:
        """Whether releases take their charts from sources beside the entry's that aren't in the tree: it is a part of a larger one."""
        for manifest in self.tree.of("HelmRelease"):
            ref = mapping(get(manifest.spec, "chart", "spec", "sourceRef"))
            key = (str(ref.get("kind")), str(ref.get("namespace") or manifest.namespace), str(ref.get("name")))
            if ref and key[1] == self._entry[1] and UNKNOWN not in key[2] and key not in self.tree.by_key:
                return True
        return False

    @cached_property
    def _synced(self) -> set[tuple[str, str]]:
        """The source and the Kustomization that Flux's operator makes for its instances: namespace and name."""
        found = {(m.namespace, str(get(m.spec, "sync", "name") or m.namespace)) for m in self.tree.of("FluxInstance")}
        for release in self.tree.releases:
            if {release.chart, release.manifest.name} & {"flux-instance", "flux2-sync"}:
                space = release.target_namespace
                found |= {
                    (space, space),
                    (space, str(release.value("instance.sync.name", space))),
                    (space, release.name),
                }
        return found

    @cached_property
    def _spaces_of_secrets(self) -> set[str]:
        return {s.namespace for s in self.tree.settings.secrets}

    def open_in(self, namespace: str) -> str:
        """An unread Kustomization that could put something into a namespace; empty where none could."""
        return self._open_to("", namespace, "")

    def _open_to(self, kind: str, namespace: str, name: str) -> str:
        return next(
            (f"Kustomization/{k.id}" for k in self.unread if self._unread_of[k.id].gives(kind, namespace, name)), ""
        )

    @cached_property
    def _unread_of(self) -> dict[str, Unread]:
        return {k.id: unread(self.tree, k) for k in self.unread}


def _uses_in(value: object) -> Iterator[tuple[str, str]]:
    """The classes, issuers and stores that a body names."""
    if isinstance(value, list):
        for item in value:
            yield from _uses_in(item)
    body = mapping(value)
    if str(body.get("kind")).startswith("Cluster") and isinstance(body.get("name"), str):
        yield str(body["kind"]), body["name"]
    for key, below in body.items():
        if key in ("storageClass", "storageClassName") and isinstance(below, str):
            yield "StorageClass", below
        elif key == "cert-manager.io/cluster-issuer":
            yield "ClusterIssuer", str(below)
        else:
            yield from _uses_in(below)


_SOURCES = frozenset({"GitRepository", "OCIRepository", "Bucket", "HelmRepository", "ExternalArtifact"})
_OF_FLUX = _SOURCES | {
    "Kustomization",
    "HelmRelease",
    "HelmChart",
    "Provider",
    "Alert",
    "Receiver",
    "ImageRepository",
    "ImagePolicy",
    "ImageUpdateAutomation",
}


def _pattern(name: str) -> re.Pattern[str]:
    """A name with variables that aren't known, as what it may come to."""
    return re.compile(re.sub(re.escape(re.escape(UNKNOWN)) + r"\w+", ".*", re.escape(name)))


def labels_of(selector: object) -> Body:
    """The labels that a selector asks for, where it asks for nothing else."""
    chosen = mapping(selector)
    return {} if chosen.get("matchExpressions") else mapping(chosen.get("matchLabels"))
