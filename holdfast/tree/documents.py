"""The YAML documents of a tree with the place of each, and the Flux objects among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from holdfast.errors import UsageError

_KUSTOMIZE = "kustomize.toolkit.fluxcd.io/"
_SOURCE = "source.toolkit.fluxcd.io/"


@dataclass(frozen=True)
class Document:
    """One object in a file of the tree; *line* is where it begins."""

    file: str
    line: int
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.body.get("kind", ""))

    @property
    def api(self) -> str:
        return str(self.body.get("apiVersion", ""))

    @property
    def name(self) -> str:
        return str((self.body.get("metadata") or {}).get("name", ""))

    @property
    def namespace(self) -> str:
        return str((self.body.get("metadata") or {}).get("namespace", ""))

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def read(root: Path, folder: str = ".") -> list[Document]:
    """Every YAML object below *folder* of the tree; follows no link. Raises UsageError with file:line for YAML that is broken."""
    found: list[Document] = []
    for path in sorted((root / folder).rglob("*")):
        parts = path.relative_to(root).parts
        if (
            path.suffix in (".yaml", ".yml")
            and not any(p.startswith(".git") for p in parts)
            and path.is_file()
            and not _linked(root, path)
        ):
            found += _documents(root, path)
    return found


def _linked(root: Path, path: Path) -> bool:
    return any(
        (root / Path(*path.relative_to(root).parts[: i + 1])).is_symlink()
        for i in range(len(path.relative_to(root).parts))
    )


def _documents(root: Path, path: Path) -> Iterator[Document]:
    name = path.relative_to(root).as_posix()
    text = path.read_text(encoding="utf-8", errors="replace")
    loader = yaml.CSafeLoader(text)
    try:
        while loader.check_node():
            node: Any = loader.get_node()
            body = loader.construct_document(node)
            if isinstance(body, dict) and "kind" in body:
                yield Document(name, node.start_mark.line + 1, body)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise UsageError(
            f"{name}:{line}: the YAML is broken: {getattr(error, 'problem', '') or error}",
            "fix the file, then run again",
        ) from None
    finally:
        loader.dispose()


@dataclass(frozen=True)
class Entry:
    """Where Flux enters a tree: the folder, the source and the root Kustomization that syncs it."""

    folder: str
    sync_folder: str
    source: Document
    root: Document

    @property
    def branch(self) -> str:
        return str((self.source.body["spec"].get("ref") or {}).get("branch", "master"))

    @property
    def url(self) -> str:
        return str(self.source.body["spec"]["url"])


def _clean(path: str) -> str:
    return Path(path.lstrip("./") or ".").as_posix()


def entries(documents: list[Document]) -> list[Entry]:
    """Every possible entry: a Kustomization whose path holds the very file that defines it, with its GitRepository."""
    sources = {(d.namespace, d.name): d for d in documents if d.api.startswith(_SOURCE) and d.kind == "GitRepository"}
    found = []
    for doc in documents:
        if not (doc.api.startswith(_KUSTOMIZE) and doc.kind == "Kustomization"):
            continue
        spec = doc.body.get("spec") or {}
        ref, path = spec.get("sourceRef") or {}, _clean(str(spec.get("path", ".")))
        source = sources.get((ref.get("namespace") or doc.namespace, str(ref.get("name"))))
        if source and (path == "." or f"{doc.file}".startswith(f"{path}/")):
            found.append(Entry(path, Path(doc.file).parent.as_posix(), source, doc))
    return found


def entry(documents: list[Document], wanted: str = "") -> Entry:
    """The one entry of the tree, or the one that *wanted* names; UsageError where there is none, or more than one."""
    found = entries(documents)
    if wanted:
        found = [e for e in found if e.folder == _clean(wanted)]
    # The outermost wins where one entry lies within another's file (a Kustomization that applies itself and others).
    if not found:
        raise UsageError(
            "the tree has no Flux entry"
            + (f" at {wanted}" if wanted else "")
            + ": no Kustomization whose path holds its own file, with a GitRepository beside it",
            "run 'flux bootstrap' on the tree, or name its folder: --entry clusters/NAME",
        )
    if len({e.folder for e in found}) > 1:
        raise UsageError(
            f"the tree has more than one Flux entry: {', '.join(sorted(f'{e.folder} ({e.root})' for e in found))}",
            "name one: --entry FOLDER, or [flux] entry in .holdfast.toml",
        )
    return found[0]


def reachable(documents: list[Document], start: Entry) -> list[Document]:
    """The documents that Flux gets to from the entry, by the folders that its Kustomizations name."""
    folders, seen = [start.folder], set()
    found: list[Document] = []
    while folders:
        folder = folders.pop()
        if folder in seen:
            continue
        seen.add(folder)
        below = [d for d in documents if folder == "." or d.file.startswith(f"{folder}/")]
        found += [d for d in below if d not in found]
        folders += [
            _clean(str((d.body.get("spec") or {}).get("path", ".")))
            for d in below
            if d.api.startswith(_KUSTOMIZE) and d.kind == "Kustomization"
        ]
    return found
