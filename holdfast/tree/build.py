"""Builds Kustomizations as kustomize-controller does, by kustomize, in a copy that holds nothing but the tree's own files."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.tree.kept import KeptBuilds
from holdfast.tree.kustomize import BuildError, Folder, Kustomize, NoAnswerError, Tool
from holdfast.tree.manifest import Body, get, mapping, sequence
from holdfast.tree.near import closest
from holdfast.tree.references import Closure, Reference, ReferenceKind, folded, kustomization_of, manifests_below, read
from holdfast.tree.repository import Location, Repository
from holdfast.tree.sources import Sources
from holdfast.tree.unmet import GENERATORS, met

_MANY_FILES = 1500
_CACHE_FORMAT = "3"
_ORIGIN = "config.kubernetes.io/origin"
_REMOTE_LISTS = ("resources", "bases")
_MAKES = frozenset({"configmapgenerator", "secretgenerator", "components", "generators", "helmcharts", "transformers"})
_EXTRA = (("targetNamespace", "namespace"), ("namePrefix", "namePrefix"), ("nameSuffix", "nameSuffix"))


@dataclass(frozen=True)
class Request:
    """One folder to build, with what the Flux Kustomization adds (its spec)."""

    folder: str
    spec: Body = field(default_factory=dict, hash=False)


@dataclass
class Built:
    """How a build ended.

    Attributes:
        objects: rendered bodies, each with its file and what generated it.
        closure: what the build read.
        error: kustomize's own words where it failed, with the place that they are about.
        not_read: what kept it from being built here although Flux may well build it (a remote base that something patches).
        left_out: the remote resources that it was built without.
        without_unmet: it was built without the patches of these, too.
    """

    request: Request
    closure: Closure
    objects: list[tuple[Body, str, str]] = field(default_factory=list)
    error: str = ""
    location: Location | None = None
    not_read: str = ""
    left_out: tuple[Reference, ...] = ()
    without_unmet: bool = False


class UnbuildableError(Exception):
    """What keeps kustomize-controller from even starting a build, and where."""

    def __init__(self, what: str, location: Location) -> None:
        super().__init__(what)
        self.location = location


class Builder:
    """Runs builds side by side, each in a copy of its own, and keeps what they came to by content.

    Args:
        cache: a folder for what was rendered before; None keeps nothing.
        packed: the files that the source packs.
    """

    def __init__(
        self, repository: Repository, sources: Sources, tool: Tool, packed: frozenset[str], cache: Path | None = None
    ) -> None:
        self.repository, self.sources, self.tool, self.packed = repository, sources, tool, packed
        self.kept = KeptBuilds(cache)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._hashes: dict[str, str] = {}
        self.workers = max(2, os.cpu_count() or 2)
        self._kustomize: Kustomize | None = None

    def __enter__(self) -> Builder:
        self._kustomize = self.tool.start(self.workers, many=len(self.packed) > _MANY_FILES)
        self._folder = tempfile.TemporaryDirectory(prefix="holdfast-check-")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._folder
        assert self._kustomize
        self._kustomize.close()
        self._folder.cleanup()
        self.kept.trim()

    def build(self, requests: list[Request]) -> list[Built]:
        """All of *requests*, in their order."""
        closures = [self._closure(r) for r in requests]
        with ThreadPoolExecutor(self.workers) as pool:
            all_built = list(pool.map(self._one, requests, closures))
        for built in all_built:
            if built.left_out and not (built.objects or built.error):  # nothing but what is remote
                built.not_read, built.location = to_fetch(built.left_out[0]), built.left_out[0].location
        return all_built

    def _closure(self, request: Request) -> Closure:
        components = [c for c in sequence(request.spec.get("components")) if self._there(request, c)]
        extra = {"components": components} if components else None
        return Closure(self.sources, request.folder, extra)

    def _one(self, request: Request, closure: Closure) -> Built:
        built = Built(request, closure)
        if self._refused(built):
            return built
        try:
            content = self._content(built)
        except UnbuildableError as error:
            built.error, built.location = str(error), error.location
            return built
        digest = self._digest(request, closure, content) if self.kept.folder else ""
        if (known := self.kept.of(digest)) is not None:
            built.objects = known
            return built
        self._run(built, content)
        if built.objects:
            self.kept.keep(digest, built.objects)
        return built

    def _refused(self, built: Built) -> bool:
        """Whether it must not be built: what it names lies outside, is a link, or would have to be fetched."""
        folder, closure = built.request.folder, built.closure
        if folder not in self.repository.folders:
            near = posixpath.dirname(folder) or "."
            built.error = f"there is no folder {folder} in the repository" + (
                "" if near in self.repository.folders else f", nor {near}"
            )
            if meant := closest(folder, self.repository.folders):
                built.error += f"; did you mean {meant}?"
            return True
        for reference in closure.barred:
            if _can_do_without(closure, reference):
                built.left_out = (*built.left_out, reference)
                continue
            built.location = reference.location
            if reference.kind is ReferenceKind.REMOTE:
                built.not_read = to_fetch(reference)
            else:
                built.error = _words(reference)
        for name in sorted(closure.files - closure.opaque):  # kustomize would write every alias out
            if (
                name in self.repository.known
                and "&" in self.repository.text(name)
                and "*" in self.repository.text(name)
            ):
                self.sources.documents(name)
                if name in self.sources.troubles:
                    built.error, built.location = self.sources.troubles[name].what, self.sources.troubles[name].location
        if closure.loop:
            built.error = f"the folders name each other in a circle: {' → '.join(closure.loop)}"
            built.location = Location(kustomization_of(self.sources, closure.loop[0]) or closure.loop[0], 1)
        return bool(built.error or built.not_read)

    def _content(self, built: Built) -> str:
        """The kustomization file as kustomize-controller writes it. Raises UnbuildableError with what keeps it from doing so."""
        request = built.request
        file, spec = kustomization_of(self.sources, request.folder), request.spec
        if file:
            body = self._without_remote(built, file)
            if file in self.sources.troubles:
                trouble = self.sources.troubles[file]
                raise UnbuildableError(trouble.what, trouble.location)
        else:
            body = self._generated(request.folder)
        for ours, theirs in _EXTRA:
            if spec.get(ours):
                body[theirs] = spec[ours]
        # Flux' own type has no path in a patch: what stands there would be read by kustomize.
        patches = [
            {k: v for k, v in p.items() if k in ("patch", "target", "options")}
            for p in sequence(spec.get("patches"))
            if isinstance(p, dict)
        ]
        components = [c for c in sequence(spec.get("components")) if self._there(request, c)]
        for part, added in (("patches", patches), ("components", components)):
            if added:
                body[part] = [*sequence(body.get(part)), *added]
        body["images"] = _images(sequence(body.get("images")), sequence(spec.get("images")))
        if built.without_unmet:
            body = met(self.sources, built.closure, body, request.folder)
        body["buildMetadata"] = ["originAnnotations"]
        return json.dumps(body, default=str)  # JSON is YAML, and no text in it is taken for a number

    def _without_remote(self, built: Built, file: str) -> Body:
        """A kustomization without what is left out; with nothing else in it, it is still none that kustomize takes for empty."""
        body = dict(read(self.sources, file))
        remote = {r.target for r in built.left_out if r.location.file == file}
        if not remote:
            return body
        listed = [k for k in body if str(k).lower() in _REMOTE_LISTS and isinstance(body[k], list)]
        for key in listed:
            body[key] = [one for one in body[key] if not (isinstance(one, str) and one in remote)]
        for key in (k for k in body if str(k).lower() in GENERATORS):
            body[key] = [_without_files(one, remote) for one in sequence(body[key])]
        else_makes = any(body[k] for k in body if str(k).lower() in _MAKES or k in listed)
        if not else_makes and body.get("kind") != "Component":
            body.setdefault("namespace", "_placeholder")  # of nothing
        return body

    def _there(self, request: Request, component: object) -> bool:
        """Whether a component counts: one that is missing doesn't where the Kustomization says so."""
        target = posixpath.normpath(posixpath.join(request.folder, str(component)))
        return not request.spec.get("ignoreMissingComponents") or target in self.repository.folders

    def _generated(self, folder: str) -> Body:
        listed = []
        for name in manifests_below(self.sources, folder):
            here = posixpath.relpath(name, folder)
            if name not in self.packed:
                continue
            if posixpath.basename(here) in ("kustomization.yaml", "kustomization.yml", "Kustomization"):
                listed.append(posixpath.dirname(here))
            else:
                self._decodable(name)
                listed.append(here)
        made: Body = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
        return made | ({"resources": listed} if listed else {"namespace": "_placeholder"})

    def _decodable(self, name: str) -> None:
        self.sources.documents(name)
        if name in self.sources.troubles:
            raise UnbuildableError(self.sources.troubles[name].what, self.sources.troubles[name].location)
        for line, body in self.sources.bodies(name):
            if not body.get("kind") or not (get(body, "metadata", "name") or str(body["kind"]).endswith("List")):
                raise UnbuildableError(
                    "it is no Kubernetes object (no kind, or no metadata.name), and without a kustomization.yaml Flux takes every "
                    "YAML file of the folder for one",
                    Location(name, line),
                )

    def _run(self, built: Built, content: str) -> None:
        """Has kustomize build it, in a copy that holds the files of this build and nothing else."""
        assert self._folder
        assert self._kustomize
        closure, request = built.closure, built.request
        with tempfile.TemporaryDirectory(dir=self._folder.name) as name:
            copy = Path(name).resolve() / "artifact"
            folder = copy / request.folder
            self._copy(closure, copy)
            folder.mkdir(parents=True, exist_ok=True)
            for other in {r.location.file for r in built.left_out} & self.packed:
                (copy / other).write_text(json.dumps(self._without_remote(built, other), default=str))
            for other in {*closure.kustomizations} & self.packed if built.without_unmet else ():
                left = met(self.sources, closure, self._without_remote(built, other), posixpath.dirname(other))
                (copy / other).write_text(json.dumps(left, default=str))
            file = kustomization_of(self.sources, request.folder)
            (copy / file if file else folder / "kustomization.yaml").write_text(content)
            anywhere = any(
                not f.startswith(f"{posixpath.dirname(k)}/") for k in closure.kustomizations for f in closure.files
            )
            own_schema = any("openapi" in folded(read(self.sources, k)) for k in closure.kustomizations)
            try:
                bodies = self._kustomize.build(Folder(copy, folder, anywhere, own_schema))
            except NoAnswerError as error:
                built.not_read = str(error)
                return
            except BuildError as error:
                broken = closure.missing or any(f in self.sources.troubles for f in closure.files)
                if built.left_out and not broken:
                    if not built.without_unmet:  # what patches what is missing keeps nothing else from being read
                        built.without_unmet = True
                        self._run(built, self._content(built))
                    return  # it may be right with what is missing here
                self._failed(built, str(error).replace(f"{copy}/", "").replace(str(copy), "."))
                return
        built.objects = [_unmarked(body, request.folder) for body in bodies]

    def _copy(self, closure: Closure, copy: Path) -> None:
        made: set[str] = set()
        for name in {*closure.files, *closure.kustomizations} & self.packed:
            parent = posixpath.dirname(name)
            if parent not in made:
                made.add(parent)
                (copy / parent).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(f"{self.repository.root}/{name}", f"{copy}/{name}", follow_symlinks=False)

    def _failed(self, built: Built, words: str) -> None:
        """kustomize's words without its repetitions, and the file that they are about."""
        last = words.strip().removeprefix("Error: ")
        built.error = last if len(last) < 400 else f"{last[:120]} … {last[-260:]}"
        if built.closure.missing:
            first = built.closure.missing[0]
            built.location, built.error = (
                first.location,
                f"'{first.field}' names {first.target}, which isn't in the repository",
            )
            return
        for name in sorted(built.closure.files, key=lambda f: -last.rfind(posixpath.basename(f))):
            self.sources.documents(name)
            if name in self.sources.troubles:
                built.location = self.sources.troubles[name].location
                return
            if posixpath.basename(name) in last:
                line = re.search(r"line (\d+)", last)
                built.location = Location(name, int(line[1]) if line else 1)
                return
        built.location = Location(kustomization_of(self.sources, built.request.folder) or built.request.folder, 1)

    def _digest(self, request: Request, closure: Closure, content: str) -> str:
        """Of all that goes into what is rendered."""
        digest = hashlib.sha256(f"{_CACHE_FORMAT}\0{self.tool.identity}\0{request.folder}\0{content}".encode())
        read_by_it = {*closure.kustomizations, *closure.files}
        for folder in closure.folders:
            read_by_it |= {f for f in self.repository.below(folder) if not kustomization_of(self.sources, folder)}
        for name in sorted(read_by_it):
            digest.update(f"\0{name}\0{name in self.packed}\0{self._hash(name)}".encode())
        return digest.hexdigest()

    def _hash(self, name: str) -> str:
        if name not in self._hashes:
            self._hashes[name] = hashlib.sha256(self.repository.raw(name)).hexdigest()
        return self._hashes[name]


def _can_do_without(closure: Closure, reference: Reference) -> bool:
    """Whether the rest can be built without what a reference names: remote manifests, or files of a generator, in a kustomization of the tree."""
    listed = reference.field.lower() in (*_REMOTE_LISTS, *GENERATORS)
    return listed and reference.kind is ReferenceKind.REMOTE and reference.location.file in closure.kustomizations


def _without_files(generator: object, remote: set[str]) -> object:
    """A generator without the files that would have to be fetched."""
    if not isinstance(generator, dict):
        return generator
    made = dict(generator)
    for key in ("files", "envs"):
        if isinstance(made.get(key), list):
            made[key] = [f for f in made[key] if not {str(f), str(f).partition("=")[2]} & remote]
    return made


def to_fetch(reference: Reference) -> str:
    """Why a remote reference isn't read, and where it stands."""
    return f"{reference.target} would have to be fetched ({reference.location})"


def _words(reference: Reference) -> str:
    if reference.kind is ReferenceKind.LINK:
        return f"'{reference.field}' names {reference.target}, a symbolic link: source-controller leaves links out of what it packs"
    return f"'{reference.field}' names {reference.target}, which lies outside the repository"


def _images(own: list[Any], flux: list[Any]) -> list[Any]:
    """The Kustomization's images laid over those of the file, as kustomize-controller merges them."""
    merged = [dict(i) for i in own if isinstance(i, dict)]
    for image in (i for i in flux if isinstance(i, dict)):
        same = next((i for i in merged if i.get("name") == image.get("name")), None)
        if same is None:
            merged.append(dict(image))
            continue
        if image.get("newName"):
            same["newName"] = image["newName"]
        if image.get("newTag") or image.get("digest"):
            same.pop("newTag", None)
            same.pop("digest", None)
            same |= {k: image[k] for k in ("newTag", "digest") if image.get(k)}
    return merged


def _unmarked(body: Body, folder: str) -> tuple[Body, str, str]:
    """An object without the mark that says where it came from, and what the mark says: file and generator."""
    notes = mapping(get(body, "metadata", "annotations"))
    marked = str(notes.pop(_ORIGIN, ""))
    if not notes and "annotations" in mapping(body.get("metadata")):
        body["metadata"].pop("annotations")
    said = dict(re.findall(r"^\s*(path|configuredIn|kind): (.+)$", marked, re.MULTILINE))
    file = said.get("path") or said.get("configuredIn") or ""
    return body, posixpath.normpath(posixpath.join(folder, file.strip("'\""))) if file else "", said.get("kind", "")
