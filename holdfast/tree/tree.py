"""A tree read from its Flux entry: which Kustomizations are reached, by what way, what each renders, and what is not reached."""

from __future__ import annotations

import base64
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from holdfast.errors import UsageError
from holdfast.tree.adaptations import Adaptations
from holdfast.tree.build import Builder, Built, Request, Tool
from holdfast.tree.envsubst import UNKNOWN, substitute
from holdfast.tree.manifest import Body, Key, Manifest, get, mapping, sequence
from holdfast.tree.references import FILES, Closure
from holdfast.tree.repository import Place, Repository, is_test_data
from holdfast.tree.sources import Loader, Sources, Step, load_text

KUSTOMIZE, SOURCE, HELM, NOTIFICATION = (f"{n}.toolkit.fluxcd.io" for n in ("kustomize", "source", "helm", "notification"))
_DISABLED = "kustomize.toolkit.fluxcd.io/substitute"
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


@dataclass(eq=False)
class Layer:
    """A Flux Kustomization and what it renders.

    Attributes:
        manifest: the object itself; for an entry without one, a made one.
        folder: what it builds, relative to the tree.
        way: the ids of the Kustomizations that lead to it, from the entry.
        built: how the build ended; None where it isn't built here, and *not_read* says why.
        objects: what it applies.
    """

    manifest: Manifest
    folder: str
    way: tuple[str, ...] = ()
    built: Built | None = None
    objects: list[Manifest] = field(default_factory=list)
    error: str = ""
    not_read: str = ""
    latent: bool = False

    @property
    def id(self) -> str:
        return f"{self.manifest.namespace}/{self.manifest.name}"

    @property
    def spec(self) -> Body:
        return self.manifest.spec

    @property
    def waits(self) -> bool:
        return self.spec.get("wait") is True

    @property
    def depends_on(self) -> list[str]:
        """The ids of the Kustomizations that it waits for."""
        here = self.id.partition("/")[0]
        return [f"{d.get('namespace') or here}/{d.get('name')}" for d in sequence(self.spec.get("dependsOn")) if isinstance(d, dict)]


@dataclass
class Tree:
    """All that was read.

    Attributes:
        layers: the Kustomizations that the cluster gets to, by id, in the order of the walk.
        latent: those that lie in the repository and aren't applied today.
        entry: how the entry was found, in words.
        unreachable: manifest files that nothing applied reads.
        left_alone: folders that are test data for something else.
        charted: what charts render (see `helm.render`), for the releases whose ids are in *rendered*.
        taken: the Kustomization objects that were followed, by id.
        chart_errors: releases whose chart can't be rendered, with helm's words.
        kubernetes: the version whose schemas count; the newest without one.
        not_read: what wasn't read and why; as long as it isn't empty, a clean result means less.
    """

    repository: Repository
    sources: Sources
    adaptations: Adaptations
    tool: Tool
    entry: str = ""
    root: Layer | None = None
    layers: dict[str, Layer] = field(default_factory=dict)
    latent: list[Layer] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)
    left_alone: list[str] = field(default_factory=list)
    not_read: list[str] = field(default_factory=list)
    kubernetes: str = ""
    charted: list[Manifest] = field(default_factory=list)
    rendered: set[str] = field(default_factory=set)
    chart_errors: list[tuple[Manifest, str]] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    @cached_property
    def objects(self) -> list[Manifest]:
        """Everything that is applied, in the order of the walk."""
        return [m for layer in self.layers.values() for m in layer.objects] + self.charted

    def refresh(self) -> None:
        """Forgets what was worked out before more objects came."""
        for name in ("objects", "by_key", "by_kind", "_workloads", "_workloads_by_namespace", "custom_namespaces", "_releases", "_graph", "_boot"):
            self.__dict__.pop(name, None)

    @cached_property
    def latent_objects(self) -> list[Manifest]:
        return [m for layer in self.latent for m in layer.objects]

    @cached_property
    def by_key(self) -> dict[Key, Manifest]:
        """Applied objects by kind, namespace and name; the first where there are two."""
        found: dict[Key, Manifest] = {}
        for manifest in self.objects:
            found.setdefault(manifest.key, manifest)
        return found

    @cached_property
    def by_kind(self) -> dict[str, list[Manifest]]:
        found: dict[str, list[Manifest]] = {}
        for manifest in self.objects:
            found.setdefault(manifest.kind, []).append(manifest)
        return found

    def of(self, *kinds: str) -> list[Manifest]:
        """Applied objects of these kinds."""
        return [m for kind in kinds for m in self.by_kind.get(kind, [])]

    def workloads(self) -> list[Manifest]:
        """Applied objects that have pods."""
        return self._workloads

    @cached_property
    def _workloads(self) -> list[Manifest]:
        return [m for m in self.objects if m.pod_path]

    def workloads_in(self, namespace: str) -> list[Manifest]:
        """Applied objects of a namespace that have pods."""
        return self._workloads_by_namespace.get(namespace, [])

    @cached_property
    def _workloads_by_namespace(self) -> dict[str, list[Manifest]]:
        found: dict[str, list[Manifest]] = {}
        for manifest in self._workloads:
            found.setdefault(manifest.namespace, []).append(manifest)
        return found

    @cached_property
    def custom_namespaces(self) -> frozenset[str]:
        """The namespaces with a custom resource that an operator may make pods of."""
        return frozenset(m.namespace for m in self.objects if m.namespace and "." in m.group and
                         not m.group.endswith((".k8s.io", ".fluxcd.io", "monitoring.coreos.com")))

    def layer_of(self, manifest: Manifest) -> Layer | None:
        if manifest.owner.startswith("HelmRelease/"):
            owner = next((m for m in self.of("HelmRelease") if m.id == manifest.owner), None)
            return self.layer_of(owner) if owner is not None else None
        return self.layers.get(manifest.owner)

    def place(self, manifest: Manifest, *path: Step) -> Place:
        """Where a field of an object stands: in its base, or in the patch that holds more of it."""
        if manifest.at is not None:
            return manifest.at
        kind, name = ("", "") if manifest.by else (manifest.kind, manifest.name)
        best = self.sources.place(manifest.file, kind, name, () if manifest.by else path)
        deep = self.sources.depth(manifest.file, kind, name, path) if not manifest.by else 0
        if deep >= len(path):
            return best
        for file in reversed(manifest.patches):
            there = self.sources.depth(file, manifest.kind, manifest.name, path)
            if there > deep:
                best, deep = self.sources.place(file, manifest.kind, manifest.name, path), there
        return best

    def all_layers(self) -> Iterable[Layer]:
        yield from self.layers.values()
        yield from self.latent


def clean(path: str) -> str:
    """A path of a Kustomization relative to the tree."""
    return posixpath.normpath(path.strip().lstrip("/") or ".")


def read(repository: Repository, tool: Tool, adaptations: Adaptations, *, entry: str = "", cache: Path | None = None) -> Tree:
    """Reads a tree from its entry on. Raises UsageError where it has no entry, or several and none was named."""
    sources = Sources(repository)
    tree = Tree(repository, sources, adaptations, tool)
    flux = _flux_documents(sources)
    root, tree.entry = _entry(repository, flux, entry or adaptations.entry)
    packed = repository.packed
    rules = _source_rules(flux, root)
    if rules is not None:
        packed = repository.packed_with(rules)
    tree.root = root
    with Builder(repository, sources, tool, packed, cache) as builder:
        _walk(tree, builder, root)
        _read_latent(tree, builder, flux)
    tree.not_read += [f"the name {name} is no text: Git has it, nothing else was read of it" for name in repository.odd]
    return tree


def _flux_documents(sources: Sources) -> list[tuple[str, Body]]:
    """The Flux objects of every file, applied or not, with their files. Files that can't be parsed are passed over here."""
    found = []
    for name in sources.repository.files:
        if name.endswith((".yaml", ".yml")) and "toolkit.fluxcd.io/" in (text := sources.repository.text(name)) and \
                re.search(r"^kind: [\"']?(?:Kustomization|GitRepository|OCIRepository|FluxInstance)\b", text, re.MULTILINE):
            found += [(name, body) for _, body in sources.bodies(name) if ".fluxcd." in str(body.get("apiVersion")) or
                      str(body.get("apiVersion", "")).startswith("fluxcd.controlplane.io/")]
    return found


def _is_kustomization(body: Body) -> bool:
    return body.get("kind") == "Kustomization" and str(body.get("apiVersion", "")).startswith(f"{KUSTOMIZE}/")


def _path_of(body: Body) -> str:
    return clean(str(mapping(body.get("spec")).get("path") or "."))


def _entry(repository: Repository, flux: list[tuple[str, Body]], wanted: str) -> tuple[Layer, str]:
    """The Kustomization that syncs the cluster, and how it was found."""
    kustomizations = [(f, b) for f, b in flux if _is_kustomization(b)]
    own = [e for e in kustomizations if get(e[1], "spec", "sourceRef", "name") == "flux-system"] or \
        [e for e in kustomizations if get(e[1], "spec", "sourceRef", "name") == get(e[1], "metadata", "name")]
    found: dict[str, list[tuple[str, Body]]] = {}
    for file, body in own or kustomizations:  # a path within some other repository can look as if it held its own file
        folder = _path_of(body)
        external = str(get(body, "spec", "sourceRef", "kind")) != "GitRepository" and get(body, "spec", "sourceRef", "name") != "flux-system"
        if (folder == "." or file.startswith(f"{folder}/")) and not external:
            found.setdefault(folder, []).append((file, body))
    for file, body in flux:
        if body.get("kind") == "FluxInstance" and (path := get(body, "spec", "sync", "path")):
            found.setdefault(clean(str(path)), []).append((file, _of_instance(body)))
    if wanted:
        return _named(repository, found, flux, clean(wanted))
    # The outermost wins where one entry lies within another: the cluster is synced by the one that nothing else applies.
    tops = {f: e for f, e in found.items() if not any(o != f and (o == "." or f.startswith(f"{o}/")) for o in found)}
    if len(tops) == 1:
        folder, entries = next(iter(tops.items()))
        return _layer(*_outermost(entries)), f"{folder}, synced by {_outermost(entries)[0]}"
    if len(tops) > 1:
        raise UsageError(f"the tree has {len(tops)} Flux entries: {', '.join(f'{f} ({e[0][0]})' for f, e in sorted(tops.items()))}",
                         "name one: --entry FOLDER, or [flux] entry in .holdfast.toml")
    return _without_sync(kustomizations, flux)


def _outermost(entries: list[tuple[str, Body]]) -> tuple[str, Body]:
    return next((e for e in entries if get(e[1], "metadata", "name") == "flux-system"), entries[0])


def _of_instance(body: Body) -> Body:
    sync = mapping(get(body, "spec", "sync"))
    name = str(sync.get("name") or get(body, "metadata", "namespace") or "flux-system")
    namespace = str(get(body, "metadata", "namespace") or "flux-system")
    return {"apiVersion": f"{KUSTOMIZE}/v1", "kind": "Kustomization", "metadata": {"name": name, "namespace": namespace},
            "spec": {"path": sync.get("path"), "prune": True, "interval": sync.get("interval", "1m"),
                     "sourceRef": {"kind": sync.get("kind", "GitRepository"), "name": name}}}


def _named(repository: Repository, found: dict[str, list[tuple[str, Body]]], flux: list[tuple[str, Body]], wanted: str) -> tuple[Layer, str]:
    if wanted in found:
        return _layer(*_outermost(found[wanted])), f"{wanted}, as named"
    if wanted not in repository.folders:
        raise UsageError(f"there is no folder {wanted} in the tree", f"entries that were found: {', '.join(sorted(found)) or 'none'}")
    return _made(wanted, flux), f"{wanted}, as named (no Kustomization in the tree syncs it)"


def _without_sync(kustomizations: list[tuple[str, Body]], flux: list[tuple[str, Body]]) -> tuple[Layer, str]:
    """No Kustomization holds its own file: the entry is the one folder whose Kustomizations no other one applies."""
    folders = {posixpath.dirname(f) or "." for f, _ in kustomizations}
    applied = {_path_of(b) for _, b in kustomizations}
    tops = sorted(f for f in folders if not any(f == a or f.startswith(f"{a}/") for a in applied if a != "."))
    tops = [f for f in tops if not any(f.startswith(f"{t}/") for t in tops)]
    if len(tops) == 1:
        return _made(tops[0], flux), f"{tops[0]}: its Kustomizations are applied by no other one (what syncs it isn't in the tree)"
    if len(tops) > 1:
        raise UsageError(f"the tree has no Kustomization that syncs it, and {len(tops)} folders that could be its entry: {', '.join(tops)}",
                         "name one: --entry FOLDER, or [flux] entry in .holdfast.toml")
    raise UsageError("the tree has no Flux entry: no Flux Kustomization was found in it", "name the folder that is applied: --entry FOLDER")


def _made(folder: str, flux: list[tuple[str, Body]] | None = None) -> Layer:
    """A Kustomization for an entry that the tree itself doesn't sync; its source is the one that most name and that the tree doesn't define."""
    defined = {(b.get("kind"), get(b, "metadata", "name")) for _, b in flux or () if not _is_kustomization(b)}
    refs = [mapping(get(b, "spec", "sourceRef")) for _, b in flux or () if _is_kustomization(b)]
    named = Counter((str(r.get("kind") or "GitRepository"), str(r.get("name"))) for r in refs if (r.get("kind"), r.get("name")) not in defined)
    kind, name = named.most_common(1)[0][0] if named else ("GitRepository", "flux-system")
    body = {"apiVersion": f"{KUSTOMIZE}/v1", "kind": "Kustomization", "metadata": {"name": "flux-system", "namespace": "flux-system"},
            "spec": {"path": f"./{folder}", "prune": True, "interval": "10m", "sourceRef": {"kind": kind, "name": name}}}
    return Layer(Manifest(body, owner=""), folder)


def _layer(file: str, body: Body) -> Layer:
    return Layer(Manifest(body, file), _path_of(body))


def _source_rules(flux: list[tuple[str, Body]], root: Layer) -> str | None:
    """The ignore rules of the source that the entry reads."""
    name = get(root.spec, "sourceRef", "name")
    for _, body in sorted(flux, key=lambda e: not e[0].startswith(f"{root.folder}/")):  # another cluster of the repository may have one of that name
        if body.get("kind") in ("GitRepository", "OCIRepository") and get(body, "metadata", "name") == name:
            rules = get(body, "spec", "ignore")
            return rules if isinstance(rules, str) else None
    return None


def _walk(tree: Tree, builder: Builder, root: Layer) -> None:
    """From the entry outwards, everything that is known to be next side by side."""
    frontier = [root]
    tree.layers[root.id] = root
    while frontier:
        built = builder.build([Request(layer.folder, layer.spec) for layer in frontier])
        for layer, one in zip(frontier, built, strict=True):
            _take(tree, layer, one)
        # What an earlier Kustomization left open may be known by now: every child that isn't taken yet is looked at again.
        known = list(tree.layers.values())
        frontier = [new for layer in known for new in _next(tree, root, layer, last=False)] or \
            [new for layer in known for new in _next(tree, root, layer, last=True)]
    _substitute_all(tree, list(tree.layers.values()))


def _next(tree: Tree, root: Layer, layer: Layer, *, last: bool) -> list[Layer]:
    """The Kustomizations that a layer leads to. One that a variable of its hides waits for the others, and is said to be unread at the *last*."""
    found = []
    for manifest in layer.objects:
        if not manifest.is_(KUSTOMIZE, "Kustomization") or (manifest.id in tree.taken):
            continue
        values = _values(tree, layer)
        open_ = bool(layer.manifest.unknown) and _has_variable(manifest.body)
        if open_ and not last:
            continue
        with suppress(ValueError, yaml.YAMLError):  # said when all of the layer is substituted
            _substitute_one(manifest, _WithUnknown(values or {}) if layer.manifest.unknown else values)
        tree.taken.add(manifest.id)
        new = Layer(manifest, clean(str(manifest.spec.get("path") or ".")), (*layer.way, layer.id))
        if new.id in tree.layers:
            if new.id == root.id and not root.way:
                root.manifest = manifest
            continue
        tree.layers[new.id] = new
        if UNKNOWN in new.folder:
            new.not_read = f"Kustomization {new.id} builds {new.folder.replace(UNKNOWN, '$')}, and what that stands for isn't in the tree"
            tree.not_read.append(new.not_read)
            continue
        other = _other_source(tree, root, layer, manifest)
        if other:
            new.not_read = f"Kustomization {new.id} builds from {other}, which isn't this repository"
            tree.not_read.append(new.not_read)
        elif get(manifest.spec, "kubeConfig"):
            new.not_read = f"Kustomization {new.id} applies to another cluster (spec.kubeConfig)"
            tree.not_read.append(new.not_read)
        else:
            found.append(new)
    return found


def _other_source(tree: Tree, root: Layer, layer: Layer, manifest: Manifest) -> str:
    """What another repository a Kustomization builds from; empty where it is this one."""
    mine = mapping(root.spec.get("sourceRef"))
    ref = mapping(manifest.spec.get("sourceRef"))
    home = str(root.manifest.meta.get("namespace") or "flux-system")
    own = (mine.get("kind", "GitRepository"), mine.get("namespace") or home, mine.get("name"))
    its = (ref.get("kind", "GitRepository"), ref.get("namespace") or manifest.meta.get("namespace") or home, ref.get("name"))
    if own == its or (not root.manifest.file and its[2] == own[2]):
        return ""
    if not root.manifest.file and not any(m.kind == its[0] and m.name == its[2] for la in tree.layers.values() for m in la.objects):
        return ""  # nothing in the tree says that this source is another repository
    twins = [m for m in layer.objects if m.kind == "GitRepository" and m.name == its[2]]
    origin = [m for m in layer.objects if m.kind == "GitRepository" and m.name == own[2]]
    if twins and origin and twins[0].spec.get("url") == origin[0].spec.get("url"):
        return ""
    return f"{its[0]} {its[1]}/{its[2]}"


def _take(tree: Tree, layer: Layer, built: Built) -> None:
    """What a build came to, as the layer's objects."""
    layer.built, layer.error = built, built.error
    if built.not_read:
        layer.not_read = f"Kustomization {layer.id}: {built.not_read}" if not layer.latent else f"{layer.folder}: {built.not_read}"
        tree.not_read.append(layer.not_read)
    labels, notes = (mapping(get(layer.spec, "commonMetadata", k)) for k in ("labels", "annotations"))
    files = _touching(built.closure)
    for body, file, by in built.objects:
        for key, extra in (("labels", labels), ("annotations", notes)):
            if extra:
                body.setdefault("metadata", {}).setdefault(key, {}).update(extra)
        layer.objects.append(Manifest(body, file, by, files, layer.id, layer.latent))


def _touching(closure: Closure) -> tuple[str, ...]:
    """The files of a build that can hold patches, innermost first."""
    return tuple(sorted((f for f in closure.files - closure.opaque if f.endswith((".yaml", ".yml"))), reverse=True))


def _values(tree: Tree, layer: Layer) -> dict[str, str] | None:
    """The variables of a Kustomization; None where it substitutes nothing."""
    after = mapping(layer.spec.get("postBuild"))
    if not after:
        return None
    values: dict[str, str] = {}
    here = layer.id.partition("/")[0]
    layer.manifest.unknown = ()
    for ref in sequence(after.get("substituteFrom")):
        kind, name = str(mapping(ref).get("kind")), str(mapping(ref).get("name"))
        held = tree_object(tree, (kind, here, name))
        if held is None:
            layer.manifest.unknown += (f"{kind}/{here}/{name}",) if not mapping(ref).get("optional") else ()
            continue
        values |= _data(held)
    inline = mapping(after.get("substitute"))
    return values | {str(k): str(v).replace("\n", "") for k, v in inline.items()}


def tree_object(tree: Tree, key: Key) -> Manifest | None:
    """An object that is known so far (the walk isn't over yet)."""
    return next((m for layer in tree.layers.values() for m in layer.objects if m.key == key), None)


def _data(manifest: Manifest) -> dict[str, str]:
    found = {}
    encoded = manifest.kind == "Secret"
    for key, value in mapping(manifest.body.get("data")).items():
        text = str(value)
        if "sops" in manifest.body or text.startswith("ENC["):
            text = f"{UNKNOWN}{key}"
        elif encoded:
            try:
                text = base64.b64decode(text, validate=True).decode()
            except ValueError:
                text = f"{UNKNOWN}{key}"
        found[str(key)] = text.replace("\n", "")
    for key, value in mapping(manifest.body.get("stringData")).items():
        text = str(value)
        found[str(key)] = f"{UNKNOWN}{key}" if text.startswith("ENC[") else text
    return found


class _Dumper(yaml.CSafeDumper):
    """Writes as kustomize does: a text of several lines as a block, and in quotes what any YAML would take for something else."""


_Dumper.yaml_implicit_resolvers = {k: [*yaml.CSafeDumper.yaml_implicit_resolvers.get(k, []), *Loader.yaml_implicit_resolvers.get(k, [])]
                                   for k in {*yaml.CSafeDumper.yaml_implicit_resolvers, *Loader.yaml_implicit_resolvers}}
_Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None))


class _WithUnknown(dict[str, str]):
    """Variables of which some come from outside the tree: what isn't known is marked, not taken for empty."""

    def __contains__(self, key: object) -> bool:
        return True

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ARG002  every name has a value here
        return super().get(key) if super().__contains__(key) else f"{UNKNOWN}{key}"


def _substitute_all(tree: Tree, layers: Sequence[Layer]) -> None:
    for layer in layers:
        values = _values(tree, layer)
        if not values and not layer.manifest.unknown:
            continue
        if UNKNOWN in layer.folder:
            continue
        usable: dict[str, str] = _WithUnknown(values or {}) if layer.manifest.unknown else values or {}
        bad = [n for n in usable if not _NAME.match(n)]
        if bad:
            layer.error = layer.error or f"'{bad[0]}' in postBuild is no name of a variable: letters, digits and _ only"
        for manifest in layer.objects:
            try:
                _substitute_one(manifest, usable)
            except (ValueError, yaml.YAMLError) as error:
                layer.error = layer.error or f"substitution fails in {manifest.id}: {str(error).partition(chr(10))[0]}"


def _substitute_one(manifest: Manifest, values: dict[str, str] | None) -> None:
    if not values and not isinstance(values, _WithUnknown):
        return  # without a variable Flux leaves the text alone, also what is escaped in it
    for part in ("labels", "annotations"):
        if mapping(manifest.meta.get(part)).get(_DISABLED) == "disabled":
            return
    if not _has_variable(manifest.body):
        return
    text = yaml.dump(manifest.body, Dumper=_Dumper, width=1_000_000, sort_keys=False)
    replaced = load_text(substitute(text, values if values is not None else {}))
    if isinstance(replaced, dict):
        manifest.replace(replaced)


def _has_variable(value: Any) -> bool:
    if isinstance(value, str):
        return "${" in value or "$$" in value
    if isinstance(value, dict):
        return any(_has_variable(k) or _has_variable(v) for k, v in value.items())
    return isinstance(value, list) and any(_has_variable(v) for v in value)


def _read_latent(tree: Tree, builder: Builder, flux: list[tuple[str, Body]]) -> None:
    """What lies in the repository and isn't applied: built and kept apart."""
    used: set[str] = set()
    folders: set[str] = set()
    for layer in tree.layers.values():
        if layer.built:
            used |= {*layer.built.closure.files, *layer.built.closure.kustomizations}
            folders |= set(layer.built.closure.folders)
    roots = sorted({posixpath.dirname(f) or "." for f in tree.repository.files if posixpath.basename(f) in FILES and f not in used})
    aside = [r for r in roots if is_test_data(f"{r}/x")]
    tree.left_alone = _tops(aside)
    roots = [r for r in roots if r not in aside]
    spec = {_path_of(b): (f, b) for f, b in flux if _is_kustomization(b)}
    closures = {r: Closure(tree.sources, r) for r in roots}
    inner = {f for r, c in closures.items() for f in c.folders if f != r}
    layers = []
    for root in (r for r in roots if r not in inner):
        file, body = spec.get(root, ("", {}))
        kind = get(closures[root].sources.bodies(closures[root].kustomizations[0]), 0, 1, "kind") if closures[root].kustomizations else None
        if kind != "Component":
            layer = _layer(file, body) if body else _made(root)
            layer.latent, layer.folder = True, root
            layers.append(layer)
    for layer, one in zip(layers, builder.build([Request(la.folder, la.spec if la.manifest.file else {}) for la in layers]), strict=True):
        _take(tree, layer, one)
        used |= {*one.closure.files, *one.closure.kustomizations}
    tree.latent = layers
    tree.unreachable = [f for f in tree.repository.files if f.endswith((".yaml", ".yml")) and f not in used and not is_test_data(f)
                        and _is_manifest(tree, f)]


def _is_manifest(tree: Tree, file: str) -> bool:
    text = tree.repository.text(file)
    if in_chart(tree.repository, file):
        return False
    return bool(re.search(r"^apiVersion:", text, re.MULTILINE) and re.search(r"^kind:", text, re.MULTILINE))


def in_chart(repository: Repository, file: str) -> bool:
    """Whether a file belongs to a Helm chart: a template isn't a manifest."""
    folder = posixpath.dirname(file)
    while folder:
        if f"{folder}/Chart.yaml" in repository.known:
            return True
        folder = posixpath.dirname(folder)
    return "Chart.yaml" in repository.known


def _tops(folders: list[str]) -> list[str]:
    return [f for f in folders if not any(o != f and f.startswith(f"{o}/") for o in folders)]
