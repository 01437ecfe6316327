"""Reads a tree from its entry outwards: what is reached, by what way, what each Kustomization renders, and what isn't reached."""

from __future__ import annotations

import copy
import posixpath
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from holdfast.tree import placeholders, plaintext, references, tokens
from holdfast.tree.build import Builder, Built, Request, to_fetch
from holdfast.tree.entry import Entry, entry_of, made
from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.flux_documents import flux_documents, is_kustomization, is_whole, source_rules, sources_of
from holdfast.tree.kustomize import Tool
from holdfast.tree.manifest import Body, Manifest, get, mapping, objects_in
from holdfast.tree.memory import Memory
from holdfast.tree.references import FILES, Closure, is_kustomize, kustomization_of
from holdfast.tree.repository import Repository, is_set_aside
from holdfast.tree.settings import Settings
from holdfast.tree.sources import Sources
from holdfast.tree.tree import KUSTOMIZE, Kustomization, Tree, in_chart
from holdfast.tree.variables import WithUnknown, has_variable, substitute_all, substitute_one, values_of

_CONTROLLER = re.compile(r"^ +name: [\"']?(?:source|kustomize)-controller\b", re.MULTILINE)
_ROUNDS = 4  # a Kustomization that its own build changes settles at once, or never
# kustomize's words for what only another way of building it can do: bootstrap folders inflate charts, say.
_BY_HAND = re.compile(r"--enable-(?:helm|exec|alpha-plugins)")


@dataclass
class _Reading:
    """What is known of a tree so far; *visited*: the Kustomizations that were followed, by id; *bootstrap*: files applied by hand."""

    repository: Repository
    sources: Sources
    entry: Entry
    kustomizations: dict[str, Kustomization] = field(default_factory=dict)
    unreferenced: list[Kustomization] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    not_read: list[str] = field(default_factory=list)
    visited: set[str] = field(default_factory=set)
    bootstrap: set[str] = field(default_factory=set)

    @property
    def root(self) -> Kustomization:
        return self.entry.root


def read(
    repository: Repository,
    tool: Tool,
    settings: Settings,
    *,
    entry: str = "",
    kubernetes: str = "",
    flux: str = "",
    cache: Path | None = None,
) -> Tree:
    """Reads a tree from its entry on. Raises UsageError where it has no entry, or several and none was named."""
    sources = Sources(repository)
    documents = flux_documents(sources)
    found = entry_of(sources, documents, entry or settings.entry)
    root = found.root
    packed = repository.packed
    rules = source_rules(documents, root)
    if rules is not None:
        packed = repository.packed_with(rules)
    reading = _Reading(repository, sources, found)
    with Builder(repository, sources, tool, packed, cache) as builder:
        _walk(reading, builder)
        beside = _roots_beside(reading, documents)
        _walk_on(reading, builder, beside)
        substitute_all(reading.kustomizations, sources)
        bootstrap = [*_bootstrap(reading, builder), *(k.manifest for k in beside)]
        _read_unreferenced(reading, builder, documents)
    _scope([m for k in [*reading.kustomizations.values(), *reading.unreferenced] for m in k.objects])
    modules = [f"{name} is a Git submodule: its files are another repository's" for name in repository.modules]
    odd = [f"the name {name} is no text: Git has it, nothing else was read of it" for name in repository.odd]
    return Tree(
        repository,
        sources,
        settings,
        tool,
        "; ".join(
            [found.how, *(f"{k.manifest.file} is applied by hand, too, for the source in {k.folder}" for k in beside)]
        ),
        root,
        reading.kustomizations,
        tuple(reading.unreferenced),
        tuple(reading.unreachable),
        tuple(reading.skipped),
        (*reading.not_read, *modules, *odd),
        tuple(bootstrap),
        kubernetes,
        flux,
        memory=Memory(cache, repository.root, plaintext, placeholders, tokens),
    )


_OF_SOURCES = frozenset(
    {"GitRepository", "HelmRepository", "OCIRepository", "Bucket", "Namespace", "Secret", "ConfigMap"}
)


def _gives_sources_alone(body: Body) -> bool:
    """Whether a document is a source, or what one needs, or kustomize's list of these."""
    return body.get("kind") in _OF_SOURCES or is_kustomize(body) or not body.get("apiVersion")


def _scope(objects: list[Manifest]) -> None:
    """Gives every object the scope that a definition of its kind says."""
    said = {
        (str(m.spec.get("group")), str(get(m.spec, "names", "kind"))): m.spec.get("scope") != "Cluster"
        for m in objects
        if m.kind == "CustomResourceDefinition" and m.spec.get("scope") in ("Cluster", "Namespaced")
    }
    for manifest in objects if said else ():
        namespaced = said.get((manifest.group, manifest.kind))
        if namespaced is not None:
            manifest.scope(namespaced)


def _bootstrap(reading: _Reading, builder: Builder) -> list[Manifest]:
    """What is applied by hand before Flux runs: the folder in which the entry's own Kustomization stands, and Flux's own components."""
    root, read_by_layers = reading.root, _read_files(reading.kustomizations.values())
    file = root.manifest.file
    own = posixpath.dirname(file) or "."
    folders = [own] if file and not (root.manifest.at and file in read_by_layers) else []
    components = [f for f in _components(reading) if f not in read_by_layers]
    if components and not any(f in Closure(reading.sources, own).files for f in components if folders):
        folders.append(_applied_as(reading, components[0]))
    found = []
    for one in builder.build([Request(folder, {}) for folder in folders]):
        reading.bootstrap.update(one.closure.files, one.closure.kustomizations)
        found += [Manifest(body, of, by, _touching(one.closure), root.id) for body, of, by in one.objects]
    if file and not root.manifest.at and file not in reading.bootstrap | read_by_layers:
        # Its folder's kustomization doesn't list it, or can't be built: then somebody has applied the file by itself.
        reading.bootstrap.add(file)
        found += [
            Manifest(body, file, owner=root.id) for _, one in reading.sources.bodies(file) for body in objects_in(one)
        ]
    return found


def _components(reading: _Reading) -> list[str]:
    """The files with Flux's own controllers, the nearest to the entry first; those of other clusters are none of this one's."""
    root = reading.root.folder
    found = [
        f
        for f in reading.repository.files
        if f.endswith((".yaml", ".yml"))
        and not is_set_aside(f)
        and not any(f.startswith(f"{other}/") for other in reading.entry.other)
        and _CONTROLLER.search(text := reading.repository.text(f))
        and "app.kubernetes.io/part-of: flux" in text
    ]
    return sorted(found, key=lambda f: (-len(posixpath.commonprefix([f"{root}/", f])), f))


def _applied_as(reading: _Reading, file: str) -> str:
    """The folder that is applied for a file: its own, or the nearest above whose kustomization lists it."""
    folder = posixpath.dirname(file) or "."
    while folder != "." and not kustomization_of(reading.sources, folder):
        above = posixpath.dirname(folder) or "."
        if kustomization_of(reading.sources, above) and file in Closure(reading.sources, above).files:
            return above
        folder = above
    return folder if file in Closure(reading.sources, folder).files else posixpath.dirname(file) or "."


def _read_files(kustomizations: Iterable[Kustomization]) -> set[str]:
    """The files that the builds of some Kustomizations read."""
    built = [k.built.closure for k in kustomizations if k.built]
    return {f for closure in built for f in (*closure.files, *closure.kustomizations)}


def _walk(reading: _Reading, builder: Builder) -> None:
    """From the entry outwards."""
    reading.kustomizations[reading.root.id] = reading.root
    _walk_on(reading, builder, [reading.root], [_as_it_applies_itself(reading, builder)])


def _walk_on(reading: _Reading, builder: Builder, frontier: list[Kustomization], built: Sequence[Built] = ()) -> None:
    """From some Kustomizations outwards, everything that is known to be next side by side."""
    while frontier:
        built = built or builder.build(
            [Request(kustomization.folder, kustomization.spec) for kustomization in frontier]
        )
        for kustomization, one in zip(frontier, built, strict=True):
            _take(reading, kustomization, one)
        built = []
        # What an earlier Kustomization left open may be known by now: every child that isn't taken yet is looked at again.
        known = list(reading.kustomizations.values())
        frontier = [new for kustomization in known for new in _next(reading, kustomization, last=False)] or [
            new for kustomization in known for new in _next(reading, kustomization, last=True)
        ]


def _roots_beside(reading: _Reading, flux: list[tuple[str, Body]]) -> list[Kustomization]:
    """What is applied by hand beside the entry: the one Kustomization whose build gives the source of the entry, where nothing else gives it.

    One that holds more than sources may be another cluster, which calls its source the same.
    """
    root, origin = reading.root, reading.entry.origin
    file, ref = root.manifest.file, mapping(root.spec.get("sourceRef"))
    sources = {f for f, _ in sources_of(flux, root) if not is_set_aside(f)}
    beside = Closure(reading.sources, posixpath.dirname(file) or ".").files if file else frozenset()
    if not file or root.manifest.at or sources & {*_read_files(reading.kustomizations.values()), *beside}:
        return []
    found: list[Kustomization] = []
    for of, body in flux:
        one = Kustomization(Manifest(body, of), origin.folder_of(body))
        known = one.id in reading.kustomizations or is_set_aside(of) or not is_kustomization(body) or not is_whole(body)
        same = mapping(one.spec.get("sourceRef")) == ref and one.folder in reading.repository.folders
        files = Closure(reading.sources, one.folder).files if not known and same else frozenset()
        if sources & files and all(_gives_sources_alone(b) for f in files for _, b in reading.sources.bodies(f)):
            found.append(one)
    if len(found) != 1:
        return []
    reading.kustomizations |= {k.id: k for k in found}
    reading.visited |= {k.manifest.id for k in found}
    return found


_OF_THE_BUILD = ("path", "patches", "components", "images", "targetNamespace", "namePrefix", "nameSuffix")


def _as_it_applies_itself(reading: _Reading, builder: Builder) -> Built:
    """Takes the entry's own Kustomization as its build has it, and returns that build: what patches it there counts for all that it builds."""
    root = reading.root
    built = builder.build([Request(root.folder, root.spec)])[0]
    for _ in range(_ROUNDS):
        before, found = root.spec, None
        for body, file, by in built.objects:
            one = Manifest(copy.deepcopy(body), file, by) if body.get("kind") == "Kustomization" else None
            found = one if one and one.is_(KUSTOMIZE, "Kustomization") and one.id == root.manifest.id else found
        if found is None and not (found := _as_bootstrapped(reading, builder)):
            break
        ref, folder = mapping(found.spec.get("sourceRef")), reading.entry.origin.folder_of(found.body)
        space = str(ref.get("namespace") or found.namespace)
        own = reading.entry.origin.is_own(str(ref.get("kind") or "GitRepository"), str(ref.get("name")), space)
        if folder not in reading.repository.folders or not own:
            break  # another repository's, or with a variable in its path: the entry is what it was found to be
        if root.manifest.at:  # an operator's own: what is applied beside it adds to it, and takes nothing away
            added = {**found.body, "spec": {**before, **found.spec}}
            found = Manifest(added, root.manifest.file, at=root.manifest.at)
        root.manifest, root.folder = found, folder
        if all(found.spec.get(part) == before.get(part) for part in _OF_THE_BUILD):
            break
        built = builder.build([Request(root.folder, root.spec)])[0]
    return built


def _as_bootstrapped(reading: _Reading, builder: Builder) -> Manifest | None:
    """The entry's own Kustomization as the build of the folder beside it has it, where the entry itself doesn't apply it: so bootstrap left it."""
    root, own = reading.root, posixpath.dirname(reading.root.manifest.file)
    if not own or root.manifest.at or not kustomization_of(reading.sources, own):
        return None
    for body, file, by in builder.build([Request(own, {})])[0].objects:
        one = Manifest(copy.deepcopy(body), file, by)
        if one.is_(KUSTOMIZE, "Kustomization") and one.id == root.manifest.id:
            return one
    return None


def _next(reading: _Reading, kustomization: Kustomization, *, last: bool) -> list[Kustomization]:
    """The Kustomizations that a layer leads to. One that a variable of its hides waits for the others, and is said to be unread at the *last*."""
    found, root = [], reading.root
    for manifest in kustomization.objects:
        if not manifest.is_(KUSTOMIZE, "Kustomization") or (manifest.id in reading.visited):
            continue
        values = values_of(reading.kustomizations, kustomization)
        open_ = bool(kustomization.manifest.unknown) and has_variable(manifest.body)
        if open_ and not last:
            continue
        with suppress(ValueError, yaml.YAMLError):  # said when all of the layer is substituted
            substitute_one(manifest, WithUnknown(values or {}) if kustomization.manifest.unknown else values)
        reading.visited.add(manifest.id)
        new = Kustomization(
            manifest, reading.entry.origin.folder_of(manifest.body), (*kustomization.way, kustomization.id)
        )
        if new.id in reading.kustomizations:
            if new.id == root.id and not root.way and not root.manifest.at:
                root.manifest = manifest
            continue
        reading.kustomizations[new.id] = new
        if UNKNOWN in new.folder:
            new.not_read = f"Kustomization {new.id} builds {new.folder.replace(UNKNOWN, '$')}, and what that stands for isn't in the tree"
            reading.not_read.append(new.not_read)
            continue
        other = _other_source(reading, manifest)
        if other:
            new.not_read = f"Kustomization {new.id} builds from {other}, which isn't this repository"
            reading.not_read.append(new.not_read)
        elif get(manifest.spec, "kubeConfig"):
            new.not_read = f"Kustomization {new.id} applies to another cluster (spec.kubeConfig)"
            reading.not_read.append(new.not_read)
        else:
            found.append(new)
    return found


def _other_source(reading: _Reading, manifest: Manifest) -> str:
    """What another repository a Kustomization builds from; empty where it is this one."""
    mine, ref = mapping(reading.root.spec.get("sourceRef")), mapping(manifest.spec.get("sourceRef"))
    home = str(reading.root.manifest.meta.get("namespace") or "flux-system")
    kind, name = str(ref.get("kind") or "GitRepository"), str(ref.get("name"))
    namespace = str(ref.get("namespace") or manifest.meta.get("namespace") or home)
    if (kind, name) == (mine.get("kind", "GitRepository"), mine.get("name")) and namespace == (
        mine.get("namespace") or home if reading.root.manifest.file else namespace
    ):
        return ""
    return "" if reading.entry.origin.is_own(kind, name, namespace) else f"{kind} {namespace}/{name}"


def _take(reading: _Reading, kustomization: Kustomization, built: Built) -> None:
    """What a build came to, as the layer's objects."""
    if kustomization.unreferenced and (found := _BY_HAND.search(built.error)):
        built.error, built.not_read = "", f"whoever builds it does so with {found[0]}, which Flux doesn't know"
    kustomization.built, kustomization.error = built, built.error
    if built.not_read:
        kustomization.not_read = (
            f"Kustomization {kustomization.id}: {built.not_read}"
            if not kustomization.unreferenced
            else f"{kustomization.folder}: {built.not_read}"
        )
        reading.not_read.append(kustomization.not_read)
    elif built.left_out:
        who = kustomization.folder if kustomization.unreferenced else f"Kustomization {kustomization.id}"
        reading.not_read += [f"{who}: {to_fetch(one)}; the rest was read" for one in built.left_out]
        kustomization.left_out = "; ".join(map(to_fetch, built.left_out))
    labels, notes = (mapping(get(kustomization.spec, "commonMetadata", k)) for k in ("labels", "annotations"))
    files = _touching(built.closure)
    for body, file, by in built.objects:
        if _is_encrypted(body.get("kind")) or _is_encrypted(body.get("apiVersion")):
            what = f"{file}: an object that is encrypted whole, its kind, too"
            reading.not_read.append(what)
            kustomization.left_out = "; ".join(filter(None, [kustomization.left_out, what]))
            continue
        if body.get("kind") == "Kustomization" and is_kustomize(body):
            continue  # kustomize-controller applies everything but kustomize's own lists
        _name_encrypted(mapping(body.get("metadata")))
        if body.get("kind") != "Secret" and isinstance(body.get("sops"), dict):
            body = {k: _unknown(v) if k != "sops" else v for k, v in body.items()}  # noqa: PLW2901  what is in it isn't known
        for key, extra in (("labels", labels), ("annotations", notes)):
            if extra:
                body.setdefault("metadata", {}).setdefault(key, {}).update(extra)
        kustomization.objects.append(Manifest(body, file, by, files, kustomization.id, kustomization.unreferenced))


def _is_encrypted(value: object) -> bool:
    return isinstance(value, str) and value.startswith("ENC[")


def _unknown(value: Any) -> Any:
    """A value as far as it is known: what SOPS has encrypted in it isn't."""
    if isinstance(value, dict):
        return {k: _unknown(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_unknown(v) for v in value]
    return f"{UNKNOWN}encrypted" if _is_encrypted(value) else value


def _name_encrypted(meta: Body) -> None:
    """What SOPS has made of a name is no name: it isn't known."""
    for key in ("name", "namespace"):
        if _is_encrypted(meta.get(key)):
            meta[key] = f"{UNKNOWN}encrypted"


def _touching(closure: Closure) -> tuple[str, ...]:
    """The files of a build that can hold patches, innermost first."""
    return tuple(sorted((f for f in closure.files - closure.opaque if f.endswith((".yaml", ".yml"))), reverse=True))


def _read_unreferenced(reading: _Reading, builder: Builder, flux: list[tuple[str, Body]]) -> None:
    """What lies in the repository and isn't applied: built and kept apart."""
    used = _read_files(reading.kustomizations.values()) | reading.bootstrap
    roots = sorted(
        {
            posixpath.dirname(f) or "."
            for f in reading.repository.files
            if posixpath.basename(f) in FILES
            and f not in used
            and f in builder.packed  # nothing else could be applied
            and not is_kustomization(references.read(reading.sources, f))  # a Flux object in a file of that name
        }
    )
    aside = [r for r in roots if is_set_aside(f"{r}/x")]
    reading.skipped = _tops(aside)
    elsewhere = _other_entries(reading, flux)
    reading.not_read += [
        f"the entry {folder} is another cluster's: --entry {folder} reads it" for folder in elsewhere.entries
    ]
    roots = [r for r in roots if r not in aside and not elsewhere.has(f"{r}/x")]
    spec = {reading.entry.origin.folder_of(b): (f, b) for f, b in flux if is_kustomization(b) and is_whole(b)}
    closures = {r: Closure(reading.sources, r) for r in roots}
    inner = {f for r, c in closures.items() for f in c.folders if f != r}
    kustomizations = []
    for root in (r for r in roots if r not in inner):
        file, body = spec.get(root, ("", {}))
        own = kustomization_of(reading.sources, root)
        # A component is built by whoever uses it, and never alone.
        if not own or references.read(reading.sources, own).get("kind") != "Component":
            kustomization = Kustomization(Manifest(body, file), root) if body else made(root)
            kustomization.unreferenced = True
            kustomizations.append(kustomization)
    for kustomization, one in zip(
        kustomizations,
        builder.build([Request(la.folder, la.spec if la.manifest.file else {}) for la in kustomizations]),
        strict=True,
    ):
        _take(reading, kustomization, one)
        used |= {*one.closure.files, *one.closure.kustomizations}
    reading.unreferenced = kustomizations
    reading.unreachable = [
        f
        for f in reading.repository.files
        if f.endswith((".yaml", ".yml"))
        and f not in used
        and not is_set_aside(f)
        and not elsewhere.has(f)
        and _is_manifest(reading.repository, f)
    ]


@dataclass(frozen=True)
class _Elsewhere:
    """What other clusters of the repository apply: their entries, every folder that those lead to, and the files that their builds read."""

    entries: tuple[str, ...]
    folders: frozenset[str]
    files: frozenset[str]

    def has(self, file: str) -> bool:
        return file in self.files or any(file.startswith(f"{folder}/") for folder in self.folders)


def _other_entries(reading: _Reading, flux: list[tuple[str, Body]]) -> _Elsewhere:
    mine = {kustomization.folder for kustomization in reading.kustomizations.values()}
    paths = [(f, reading.entry.origin.folder_of(b)) for f, b in flux if is_kustomization(b)]
    folders: set[str] = set(reading.entry.other)
    files: set[str] = set()
    more = set(folders)
    while more:
        for folder in more:  # a cluster's folder may list what lies beside it, in folders that several clusters share
            closure = Closure(reading.sources, folder)
            files |= {*closure.files, *closure.kustomizations}
        here = {p for f, p in paths if f in files or any(f.startswith(f"{folder}/") for folder in folders)}
        more = here - folders - {"."}
        folders |= more
    return _Elsewhere(reading.entry.other, frozenset(folders - mine), frozenset(files))


def _is_manifest(repository: Repository, file: str) -> bool:
    text = repository.text(file)
    if in_chart(repository, file):
        return False
    return bool(re.search(r"^apiVersion:", text, re.MULTILINE) and re.search(r"^kind:", text, re.MULTILINE))


def _tops(folders: list[str]) -> list[str]:
    return [f for f in folders if not any(o != f and f.startswith(f"{o}/") for o in folders)]
