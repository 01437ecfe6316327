"""What a kustomization file names: folders, files, addresses. All of it is looked at before the builder runs, so that nothing outside is read."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import yaml

from holdfast.tree.repository import Location
from holdfast.tree.sources import Sources, compose, construct, line_of, words_of

FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_FOLDERS = ("resources", "bases", "components")
_LISTS = (*_FOLDERS, "crds", "configurations", "generators", "transformers", "validators", "patchesStrategicMerge")
_WITH_PATH = ("patches", "patchesJson6902", "replacements")
_RUN = ("generators", "transformers", "validators")  # whose own files can name further files
_REMOTE = re.compile(
    r"^(?:https?|git|ssh|file)::?//|^git@|^(?:github\.com|gitlab\.com|bitbucket\.org)[/:]|[?&](?:ref|version)=|\.git(?:[/?]|$)"
)


class ReferenceKind(StrEnum):
    """Where a reference leads."""

    FILE = "file"
    FOLDER = "folder"
    INLINE = "inline"
    REMOTE = "remote"
    OUTSIDE = "outside"
    LINK = "link"
    MISSING = "missing"


@dataclass(frozen=True)
class Reference:
    """One entry of a kustomization file: *target* is a path relative to the tree (or the text itself where it is none)."""

    kind: ReferenceKind
    field: str
    target: str
    location: Location


def is_kustomize(body: Mapping[str, Any]) -> bool:
    """Whether a document is kustomize's own, such as its list of what a folder holds."""
    return str(body.get("apiVersion")).startswith("kustomize.config.k8s.io/")


def kustomization_of(sources: Sources, folder: str) -> str:
    """The kustomization file of a folder, or an empty text."""
    return next(
        (
            path
            for name in FILES
            if (path := posixpath.normpath(posixpath.join(folder, name))) in sources.repository.known
        ),
        "",
    )


def read(sources: Sources, file: str) -> dict[str, Any]:
    """The kustomization that a file holds; empty where it can't be parsed."""
    bodies = sources.bodies(file)
    return bodies[0][1] if bodies else {}


def folded(value: Any) -> Any:
    """A kustomization with its field names in lower case: kustomize takes them in any case."""
    if isinstance(value, dict):
        return {str(k).lower(): folded(v) for k, v in value.items()}
    return [folded(v) for v in value] if isinstance(value, list) else value


class Closure:
    """All that the build of one folder reads.

    Attributes:
        kustomizations, files, folders: relative to the tree; *opaque* are those files that become data, and need not be YAML.
        barred: references that must not be followed: outside, links, remote.
        missing: references that lead to nothing.
    """

    def __init__(self, sources: Sources, folder: str, extra: dict[str, Any] | None = None) -> None:
        self.sources = sources
        self.kustomizations: list[str] = []
        self.files: set[str] = set()
        self.opaque: set[str] = set()
        self.folders: list[str] = []
        self.barred: list[Reference] = []
        self.missing: list[Reference] = []
        self.loop: list[str] = []
        self._visit(folder, ())
        if extra:
            for reference in references(sources, folder, extra, Location(folder, 1)):
                self._follow(reference, (folder,))

    def _visit(self, folder: str, above: tuple[str, ...]) -> None:
        if folder in above:
            self.loop = [*above[above.index(folder) :], folder]
            return
        if folder in self.folders:
            return
        self.folders.append(folder)
        file = kustomization_of(self.sources, folder)
        if not file:
            self._generated(folder, above)
            return
        self.kustomizations.append(file)
        for reference in references(self.sources, folder, read(self.sources, file), Location(file, 1)):
            self._follow(reference, (*above, folder))

    def _follow(self, reference: Reference, above: tuple[str, ...]) -> None:
        if reference.kind is ReferenceKind.FILE:
            self.files.add(reference.target)
            if reference.field in ("configMapGenerator", "secretGenerator"):
                self.opaque.add(reference.target)
        elif reference.kind is ReferenceKind.FOLDER:
            self._visit(reference.target, above)
        elif reference.kind is ReferenceKind.MISSING:
            self.missing.append(reference)
        elif reference.kind is not ReferenceKind.INLINE:
            self.barred.append(reference)

    def _generated(self, folder: str, above: tuple[str, ...]) -> None:
        """Without a kustomization file every manifest below counts, and every folder with one of its own as a whole."""
        for name in manifests_below(self.sources, folder):
            if posixpath.basename(name) in FILES:
                self._visit(posixpath.dirname(name) or ".", (*above, folder))
            else:
                self.files.add(name)


def manifests_below(sources: Sources, folder: str) -> list[str]:
    """What a generated kustomization lists: manifests, and in place of a folder with a kustomization that file. Relative to the tree."""
    below = sources.repository.below(folder)
    owned = sorted(
        {
            posixpath.dirname(f)
            for f in below
            if posixpath.basename(f) in FILES and (posixpath.dirname(f) or ".") != folder
        }
    )
    tops: list[str] = []
    for one in owned:
        if not any(one.startswith(f"{t}/") for t in tops):
            tops.append(one)
    found = [kustomization_of(sources, t) for t in tops]
    return sorted(
        [*found, *(f for f in below if f.endswith((".yaml", ".yml")) and not any(f.startswith(f"{t}/") for t in tops))]
    )


def references(sources: Sources, folder: str, body: dict[str, Any], fallback: Location) -> Iterator[Reference]:
    """Every reference of a kustomization in *folder*."""
    for field, text, path in _texts(body):
        location = sources.locate(fallback.file, path=path) if fallback.file in sources.repository.known else fallback
        yield resolve(sources, folder, field, text, location)
        if field in _RUN:
            yield from _within_plugin(sources, folder, field, text, location)


def _texts(original: dict[str, Any]) -> Iterator[tuple[str, str, tuple[str | int, ...]]]:
    body = folded(original)
    for field in _LISTS:
        for index, text in _enumerated(body.get(field.lower())):
            if isinstance(text, str):
                yield field, text, (field, index)
    for field in _WITH_PATH:
        for index, entry in _enumerated(body.get(field.lower())):
            if isinstance(entry, dict) and isinstance(entry.get("path"), str):
                yield field, entry["path"], (field, index, "path")
    for field in ("configMapGenerator", "secretGenerator"):
        for index, entry in _enumerated(body.get(field.lower())):
            if isinstance(entry, dict):
                yield from _of_generator(field, index, entry)
    if isinstance(body.get("openapi"), dict) and isinstance(body["openapi"].get("path"), str):
        yield "openapi", body["openapi"]["path"], ("openapi", "path")
    for field in ("helmCharts", "helmGlobals", "helmChartInflationGenerator"):
        if body.get(field.lower()):
            yield from (
                (field, text, (field,)) for text in _all_texts(body[field.lower()]) if text.startswith(("/", ".."))
            )


def _of_generator(field: str, index: int, entry: dict[str, Any]) -> Iterator[tuple[str, str, tuple[str | int, ...]]]:
    for part in ("files", "envs"):
        for at, text in _enumerated(entry.get(part)):
            if isinstance(text, str):
                yield field, text.partition("=")[2] or text if part == "files" else text, (field, index, part, at)
    if isinstance(entry.get("env"), str):
        yield field, entry["env"], (field, index, "env")


def _enumerated(value: Any) -> Iterator[tuple[int, Any]]:
    return iter(enumerate(value)) if isinstance(value, list) else iter(())


def _all_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for below in value.values():
            yield from _all_texts(below)
    elif isinstance(value, list):
        for below in value:
            yield from _all_texts(below)


def _within_plugin(sources: Sources, folder: str, field: str, text: str, location: Location) -> Iterator[Reference]:
    """A generator's or transformer's own configuration can name files under any key: every text of it that leads outside is barred."""
    target = posixpath.normpath(posixpath.join(folder, text))
    if target in sources.repository.known:
        names = [target]
    elif target in sources.repository.folders:  # its kustomization can name what lies elsewhere
        inner = Closure(sources, target)
        names = sorted({*inner.files, *(f for f in sources.repository.below(target) if f.endswith((".yaml", ".yml")))})
        yield from inner.barred
    else:
        names = []
    try:
        bodies = [b for n in names for _, b in sources.bodies(n)] if names else [construct(n) for n in compose(text)]
    except (yaml.YAMLError, ValueError) as error:
        yield Reference(
            ReferenceKind.MISSING, field, words_of(error), Location(location.file, location.line + line_of(error))
        )
        return
    for body in bodies:
        for one in _all_texts(body):
            for part in {one, one.partition("=")[2]}:
                found = resolve(sources, folder, field, part, location) if part and len(part) < 1000 else None
                if found and (
                    found.kind is ReferenceKind.FILE
                    or (
                        found.kind in (ReferenceKind.OUTSIDE, ReferenceKind.LINK, ReferenceKind.REMOTE)
                        and _like_a_path(part)
                    )
                ):
                    yield found


def _like_a_path(text: str) -> bool:
    return text.startswith(("/", "..")) or "/.." in text or _REMOTE.search(text) is not None


def resolve(sources: Sources, folder: str, field: str, text: str, location: Location) -> Reference:  # noqa: PLR0911  one return a kind
    """Where one reference leads."""
    if "\n" in text.strip() or (field in _RUN and ("{" in text or ": " in text)):
        return Reference(ReferenceKind.INLINE, field, "", location)
    target = posixpath.normpath(posixpath.join(folder, text))
    if text.startswith("/") or target == ".." or target.startswith("../"):
        return Reference(ReferenceKind.OUTSIDE, field, text, location)
    if any(target == link or target.startswith(f"{link}/") for link in sources.repository.links):
        return Reference(ReferenceKind.LINK, field, target, location)
    if target in sources.repository.known:
        return Reference(ReferenceKind.FILE, field, target, location)
    if target in sources.repository.folders:
        return Reference(
            ReferenceKind.FOLDER if field in (*_FOLDERS, *_RUN) else ReferenceKind.MISSING, field, target, location
        )
    if _REMOTE.search(text) or "//" in text:
        return Reference(ReferenceKind.REMOTE, field, text, location)
    if field in ("patchesStrategicMerge", *_RUN) and ":" in text:
        return Reference(ReferenceKind.INLINE, field, "", location)
    return Reference(ReferenceKind.MISSING, field, target, location)
