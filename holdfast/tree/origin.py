"""Which sources of a tree are this repository, under whatever name and spelling, and where the paths in their artifacts begin."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import urlsplit

from holdfast.tree import artifacts
from holdfast.tree.artifacts import Artifacts
from holdfast.tree.manifest import Body, get, mapping
from holdfast.tree.repository import Repository, is_set_aside
from holdfast.tree.tree import clean

_SYNC = "flux-system"  # what flux bootstrap and the Flux Operator call the source of the sync
_KINDS = ("GitRepository", "OCIRepository", "Bucket")
_HOSTS = {"ssh.github.com": "github.com", "altssh.gitlab.com": "gitlab.com", "altssh.bitbucket.org": "bitbucket.org"}
SourceName = tuple[str, str]  # kind, name


def same_address(url: str) -> str:
    """A repository's address as ``host/path``: without scheme, user, port, ``.git`` and case, so that its spellings are equal."""
    text = url.strip().strip("\"'")
    if short := re.match(r"^(?:[^@/:\s]+@)?([^/:\s]+):(?!//)(?!\d+/)(.+)$", text):  # as scp writes it: HOST:PATH
        host, path = short[1], short[2]
    else:
        try:
            parts = urlsplit(text)
            host, path = parts.hostname or "", parts.path
        except ValueError:  # such as an address that was never closed: it is no repository's
            return ""
    host = _HOSTS.get(host.lower(), host.lower())
    path = re.sub(r"/+", "/", path).strip("/").lower().removesuffix(".git").rstrip("/")
    return f"{host}/{path}" if host or path else ""


@dataclass
class _Named:
    """What is known of one source: the *urls* by namespace where the tree defines it, and the *paths* that Kustomizations take from it."""

    urls: dict[str, str] = field(default_factory=dict)
    branches: set[str] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)
    users: list[tuple[str, str]] = field(default_factory=list)  # file and path of each Kustomization


class Origin:
    """Tells the sources that are this repository from foreign ones.

    Args:
        flux: the Flux objects of the tree's files, applied or not.
        syncs: of each thing that says what is synced (a FluxInstance, or its chart's values): kind, url and path of the source.
    """

    def __init__(
        self,
        repository: Repository,
        flux: Iterable[tuple[str, Body]],
        syncs: Sequence[tuple[SourceName, str, str]] = (),
    ) -> None:
        self.repository = repository
        self._named: dict[SourceName, _Named] = {}
        self._artifacts = Artifacts()
        for file, body in flux:
            if not is_set_aside(file):
                self._add(file, body)
        for name, url, path in syncs:
            one = self._named.setdefault(name, _Named())
            one.urls.setdefault("", url)
            one.paths.add(clean(path))
        self._syncs = {name for name, _, _ in syncs}
        self._entry = ""

    def _add(self, file: str, body: Body) -> None:
        meta, spec = mapping(body.get("metadata")), mapping(body.get("spec"))
        if body.get("kind") == "ArtifactGenerator":
            self._artifacts.add(body)
        elif body.get("kind") in _KINDS:
            one = self._named.setdefault((str(body["kind"]), str(meta.get("name"))), _Named())
            one.urls[str(meta.get("namespace") or "")] = str(spec.get("url") or spec.get("bucketName") or "")
            one.branches |= {str(b) for b in (get(spec, "ref", "branch"),) if b and "$" not in str(b)}
        elif body.get("kind") == "Kustomization" and spec.get("sourceRef"):
            one = self._named.setdefault(name_of(body), _Named())
            one.paths.add(clean(str(spec.get("path") or ".")))
            one.users.append((file, clean(str(spec.get("path") or "."))))

    @cached_property
    def _remotes(self) -> frozenset[str]:
        return frozenset(filter(None, map(same_address, self.repository.remotes)))

    @cached_property
    def _own(self) -> frozenset[SourceName]:
        """The sources that are this repository whatever namespace is looked at."""
        by_address = {n for n, one in self._named.items() if any(map(self.is_remote, one.urls.values()))}
        addresses = {same_address(u) for n in by_address for u in self._named[n].urls.values()}
        found = set(by_address)
        for name, one in self._named.items():
            share = self._there(one.paths)
            called = self._is_called(name)
            same = bool(addresses & set(map(same_address, one.urls.values())))
            # Named as the sync is: only paths that don't exist here speak against it, and only where another source has the address.
            if same or (called and (not by_address or share is not False)) or self._prefix_of(name) != ".":
                found.add(name)
        found -= {n for n in found if self._is_another_branch(n, found)}
        return frozenset(found or self._by_paths())

    def _is_another_branch(self, name: SourceName, own: set[SourceName]) -> bool:
        """Whether a source takes another branch of this repository than the one that is checked out, which the sync takes."""
        branches = self._named[name].branches
        return (
            bool(self.repository.branch and branches and self.repository.branch not in branches)
            and not self._is_called(name)
            and any(self._is_called(n) and n != name for n in own)
        )

    def _is_called(self, name: SourceName) -> bool:
        """Whether a source is called as the one of the sync is."""
        return name[1] == _SYNC or name in self._syncs

    def _by_paths(self) -> set[SourceName]:
        """No address and no name says it: the sources whose paths all exist here; the only source, where there is one alone."""
        there = {n for n, one in self._named.items() if self._there(one.paths)}
        used = {n for n, one in self._named.items() if one.paths}
        if len(used) != 1 or there:
            return there
        (name,) = (
            used  # an artifact of some registry's that is taken whole: nothing speaks for its being this repository
        )
        foreign = name[0] == "OCIRepository" and self._named[name].urls and self._there(self._named[name].paths) is None
        return set() if foreign else used

    def is_remote(self, url: str) -> bool:
        """Whether an address is one of the checkout's remotes."""
        return same_address(url) in self._remotes

    def _there(self, paths: set[str]) -> bool | None:
        """Whether most of these paths exist here; None where they can't tell (only the root, or variables)."""
        telling = [p for p in paths if p != "." and "$" not in p]
        return 2 * sum(p in self.repository.folders for p in telling) > len(telling) if telling else None

    def is_own(self, kind: str, name: str, namespace: str = "") -> bool:
        """Whether a source is this repository, as far as the tree tells."""
        one = self._named.get((kind, name))
        if kind == artifacts.KIND:
            paths = one.paths if one else {"."}
            return any(self._in_artifact(name, p) for p in paths)
        if "$" in kind:
            return any(n == name for _, n in self._own)
        if one is None:
            return name == _SYNC
        if (
            len(set(map(same_address, one.urls.values()))) > 1 and namespace in one.urls
        ):  # one name for two repositories
            return self.is_remote(one.urls[namespace]) or (kind, name) in self._syncs
        if (kind, name) in self._own:
            return True
        # Made by something outside of the tree: its paths are all that there is.
        return not one.urls and self._there(one.paths) is True

    def prefix(self, kind: str, name: str) -> str:
        """The folder of the tree that is the root of a source's artifact."""
        return self._prefix_of((kind, name))

    def _prefix_of(self, name: SourceName) -> str:
        """An artifact can be pushed from a folder: the one below which most of the paths exist. A Git source has the repository's own root."""
        if name not in self._prefixes:
            self._prefixes[name] = self._inferred(name)
        return self._prefixes[name]

    @cached_property
    def _prefixes(self) -> dict[SourceName, str]:
        return {}

    def _inferred(self, name: SourceName) -> str:
        one = self._named.get(name, _Named())
        of_git = name[0] not in ("OCIRepository", "Bucket")
        if of_git and any(map(self.is_remote, one.urls.values())):
            return "."  # the checkout itself
        paths = {p for p in one.paths if p != "." and "$" not in p}
        here = sum(p in self.repository.folders for p in paths)
        if here == len(paths):
            return "."
        below = Counter(p for path in paths for p in self._above(path))
        best = min(below, key=lambda p: (-below[p], p.count("/"), p), default=".")
        shown = any(p != "." and f.startswith(f"{posixpath.join(best, p)}/") for f, p in one.users)
        # A folder that is a repository of its own elsewhere: only what lies where its path says shows that, and each path must be below it.
        sure = shown and below[best] == len(paths) if of_git else shown or self._is_called(name)
        return best if below[best] > here and sure else "."

    def _above(self, path: str) -> Iterator[str]:
        """The folders that hold *path*."""
        for folder in self.repository.folders:
            if folder.endswith(f"/{path}") and not is_set_aside(f"{folder}/x"):
                yield folder.removesuffix(f"/{path}")

    def _in_artifact(self, name: str, path: str) -> str:
        """The folder of the tree that a path of a generated artifact is; empty where it is none."""

        def begins(source: SourceName) -> str | None:
            return self._prefix_of(source) if self.is_own(*source) else None

        return next((f for f in self._artifacts.folders(name, path, begins) if f in self.repository.folders), "")

    def entered(self, folder: str) -> None:
        """Says which folder the entry is: what a build makes of paths can tell where an artifact begins, too."""
        self._entry = folder

    def _seen(self, name: SourceName, path: str) -> str:
        """The prefix that a path shows which the files don't hold in plain text: the entry must lie below it as well."""
        if name[0] not in ("OCIRepository", "Bucket") or not self._entry or not self._is_called(name):
            return "."
        found = [p for p in self._above(path) if self._entry.startswith(f"{p}/")]
        return min(found, key=len, default=".")

    def folder_of(self, body: Body) -> str:
        """The folder of the tree that a Flux Kustomization builds."""
        path, name = clean(str(mapping(body.get("spec")).get("path") or ".")), name_of(body)
        if name[0] == artifacts.KIND:
            return self._in_artifact(name[1], path) or path
        folder = posixpath.normpath(posixpath.join(self._prefix_of(name), path))
        if folder not in self.repository.folders and self._prefix_of(name) == ".":
            folder = posixpath.normpath(posixpath.join(self._seen(name, path), path))
        return folder


def name_of(kustomization: Body) -> SourceName:
    """Kind and name of the source of a Flux Kustomization."""
    ref = mapping(get(kustomization, "spec", "sourceRef"))
    return str(ref.get("kind") or "GitRepository"), str(ref.get("name"))
