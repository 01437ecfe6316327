"""Artifacts that an ArtifactGenerator puts together from folders of sources: which folder of the tree a path in one of them is."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from holdfast.tree.manifest import Body, get, mapping, sequence
from holdfast.tree.tree import clean

KIND = "ExternalArtifact"


@dataclass(frozen=True)
class Copy:
    """One step of an artifact: the folder *frm* of a source (kind, name) is copied to the folder *to*."""

    source: tuple[str, str]
    frm: str
    to: str

    @property
    def above(self) -> str | None:
        """The folder of the source that is the artifact's root as this step sees it; None where none is."""
        if self.to == ".":
            return self.frm
        if self.frm == self.to:
            return "."
        return self.frm.removesuffix(f"/{self.to}") if self.frm.endswith(f"/{self.to}") else None


class Artifacts:
    """The artifacts of a tree's generators, by name."""

    def __init__(self) -> None:
        self._copies: dict[str, list[Copy]] = {}

    def add(self, generator: Body) -> None:
        """Takes what an ArtifactGenerator makes."""
        sources = {
            str(s.get("alias")): (str(s.get("kind")), str(s.get("name")))
            for s in sequence(get(generator, "spec", "sources"))
            if isinstance(s, dict)
        }
        for artifact in sequence(get(generator, "spec", "artifacts")):
            for step in sequence(mapping(artifact).get("copy")):
                if copy := _copy(mapping(step), sources):
                    self._copies.setdefault(str(mapping(artifact).get("name")), []).append(copy)

    def folders(self, name: str, path: str, prefix: Callable[[tuple[str, str]], str | None]) -> Iterator[str]:
        """The folders of the tree that a path of an artifact may be; *prefix*: where a source's paths begin, None for a foreign one."""
        copies = self._copies.get(name, [])
        roots = {c.above for c in copies}
        if len(copies) > 1 and (len(roots) > 1 or None in roots):
            return  # folders lie otherwise beside each other than in the tree: what they name of each other can't be followed
        for copy in reversed(copies):  # the last step lies on top
            begin = prefix(copy.source)
            if begin is not None and (copy.to in (".", path) or path.startswith(f"{copy.to}/")):
                rest = posixpath.relpath(path, copy.to)
                yield posixpath.normpath(posixpath.join(begin, copy.frm, rest))


def _copy(step: Body, sources: dict[str, tuple[str, str]]) -> Copy | None:
    frm = re.match(r"@([^/]+)/?(.*)$", str(step.get("from")))
    to = re.match(r"@artifact/?(.*)$", str(step.get("to")))
    if not frm or not to or frm[1] not in sources:
        return None
    folder = re.sub(r"(?:^|/)\*+(?:/.*)?$", "", frm[2])  # all that lies below it
    return Copy(sources[frm[1]], clean(folder), clean(to[1])) if "*" not in folder else None
