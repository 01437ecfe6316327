"""A tree read from its Flux entry: which Kustomizations are reached, by what way, what each renders, and what is not reached."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import UsageError
from holdfast.tree.build import Built
from holdfast.tree.kustomize import Tool
from holdfast.tree.manifest import Body, Key, Manifest, mapping, sequence
from holdfast.tree.memory import Memory
from holdfast.tree.repository import Location, Repository
from holdfast.tree.settings import Settings
from holdfast.tree.sources import PathKey, Sources

if TYPE_CHECKING:
    from holdfast.tree.boot import Boot
    from holdfast.tree.bringers import BeforeFlux
    from holdfast.tree.graph import Graph
    from holdfast.tree.names import Names
    from holdfast.tree.places import Places
    from holdfast.tree.releases import Release

KUSTOMIZE, SOURCE, HELM, NOTIFICATION = (
    f"{n}.toolkit.fluxcd.io" for n in ("kustomize", "source", "helm", "notification")
)


@dataclass(eq=False)
class Kustomization:
    """A Flux Kustomization and what it renders.

    Attributes:
        manifest: the object itself; for an entry without one, a made one.
        folder: what it builds, relative to the tree.
        way: the ids of the Kustomizations that lead to it, from the entry.
        built: how the build ended; None where it isn't built here, and *not_read* says why.
        objects: what it applies.
        left_out: what of it isn't read here, because it would have to be fetched; all else is in *objects*.
    """

    manifest: Manifest
    folder: str
    way: tuple[str, ...] = ()
    built: Built | None = None
    objects: list[Manifest] = field(default_factory=list)
    error: str = ""
    not_read: str = ""
    left_out: str = ""
    unreferenced: bool = False

    @property
    def id(self) -> str:
        return f"{self.manifest.namespace}/{self.manifest.name}"

    @property
    def gap(self) -> str:
        """Why it may apply more than is known here; empty where it was read whole."""
        return self.error or self.not_read or self.left_out

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
        return [
            f"{d.get('namespace') or here}/{d.get('name')}"
            for d in sequence(self.spec.get("dependsOn"))
            if isinstance(d, dict)
        ]


@dataclass(frozen=True)
class Charts:
    """What charts that can be read render, and what couldn't be rendered.

    Attributes:
        objects: what they render, for the releases whose ids are in *rendered*.
        errors: releases whose chart can't be rendered, with helm's words.
        unrendered: releases whose chart is in the tree and couldn't be rendered, by id, with the reason.
        incomplete_because: why claims about all of the tree are in doubt, besides Kustomizations that weren't read.
        folders: where the chart of a release was read, by its id: a folder of the tree, or an absolute path.
        fetched: the names of the files that were fetched, by the release's id; *not_fetched*: what wasn't to be had, in words.
    """

    objects: tuple[Manifest, ...] = ()
    rendered: frozenset[str] = frozenset()
    errors: tuple[tuple[Manifest, str], ...] = ()
    unrendered: Mapping[str, str] = field(default_factory=dict)
    incomplete_because: tuple[str, ...] = ()
    folders: Mapping[str, str] = field(default_factory=dict)
    fetched: Mapping[str, str] = field(default_factory=dict)
    not_fetched: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sync:
    """What Flux syncs a cluster by: the *folder* of the entry, its source and its Kustomization."""

    folder: str
    source: Manifest
    root: Manifest

    @property
    def branch(self) -> str:
        return str(mapping(self.source.spec.get("ref")).get("branch") or "master")

    @property
    def url(self) -> str:
        return str(self.source.spec["url"])


@dataclass(frozen=True, eq=False)
class Tree:
    """All that was read. What is worked out of it is worked out once, when it is asked for.

    Attributes:
        entry: how the entry was found, in words.
        root: the entry's own Kustomization.
        kustomizations: those that the cluster gets to, by id, in the order of the walk.
        unreferenced: those that are in the repository and aren't applied today.
        unreachable: manifest files that nothing applied reads.
        skipped: folders that are set aside: an archive, a copy kept, a template, test data for something else.
        not_read: what wasn't read and why; as long as it isn't empty, a clean result means less.
        bootstrap: what is applied by hand before Flux runs: the folder in which the entry's own Kustomization stands.
        kubernetes: the version whose schemas count; the one that lanes run without one.
        flux: the minor of Flux that is asked for, such as ``2.9``; what the tree says of its own without one.
        charts: what the releases' charts render.
        memory: what was found in its texts before.
    """

    repository: Repository
    sources: Sources
    settings: Settings
    tool: Tool
    entry: str
    root: Kustomization
    kustomizations: Mapping[str, Kustomization]
    unreferenced: tuple[Kustomization, ...] = ()
    unreachable: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    not_read: tuple[str, ...] = ()
    bootstrap: tuple[Manifest, ...] = ()
    kubernetes: str = ""
    flux: str = ""
    charts: Charts = Charts()
    memory: Memory = field(default_factory=lambda: Memory(None, Path()))

    @cached_property
    def objects(self) -> tuple[Manifest, ...]:
        """Everything that is applied, in the order of the walk; what charts render after it."""
        walked = (m for kustomization in self.kustomizations.values() for m in kustomization.objects)
        return (*walked, *self.charts.objects)

    @cached_property
    def releases(self) -> tuple[Release, ...]:
        """Every applied HelmRelease."""
        from holdfast.tree import releases  # noqa: PLC0415  a release is made of a tree

        return releases.of(self)

    @cached_property
    def unread_releases(self) -> tuple[Release, ...]:
        """The releases whose charts weren't rendered: of what they make only declared facts are known, if any."""
        return tuple(r for r in self.releases if r.manifest.id not in self.charts.rendered)

    @cached_property
    def unknown_releases(self) -> tuple[Release, ...]:
        """The releases of whose charts nothing is known: they may make anything."""
        return tuple(r for r in self.unread_releases if not r.known)

    @cached_property
    def graph(self) -> Graph:
        """The needs of everything that is applied."""
        from holdfast.tree.graph import Graph  # noqa: PLC0415  a graph is made of a tree

        return Graph(self)

    @cached_property
    def before_flux(self) -> BeforeFlux:
        """What bootstraps the cluster before Flux runs."""
        from holdfast.tree.bringers import BeforeFlux  # noqa: PLC0415  it is what a tree doesn't apply

        return BeforeFlux(self)

    @cached_property
    def names(self) -> Names:
        """What the names that objects give each other lead to."""
        from holdfast.tree.names import Names  # noqa: PLC0415  names are those of a tree

        return Names(self)

    @cached_property
    def boot(self) -> Boot:
        """How it starts from nothing."""
        from holdfast.tree.boot import boot  # noqa: PLC0415  so is a start

        return boot(self.graph)

    @cached_property
    def sync(self) -> Sync:
        """What Flux syncs the cluster by. Raises UsageError where the tree holds no GitRepository for its entry."""
        root = self.root
        ref = mapping(root.spec.get("sourceRef"))
        found = [
            m
            for m in [*self.bootstrap, *self.objects]
            if m.kind == "GitRepository"
            and m.name == str(ref.get("name"))
            and m.namespace == str(ref.get("namespace") or root.manifest.namespace)
        ]
        if not root.manifest.file or not found:
            raise UsageError(
                f"the entry {self.entry} has no Kustomization with a GitRepository beside it, so a lane doesn't know what Flux pulls",
                "run 'flux bootstrap' on the tree, or name the folder of another entry: --entry clusters/NAME",
            )
        url = found[0].spec.get("url")
        if not isinstance(url, str) or not url:
            raise UsageError(
                f"the GitRepository at {self.locate(found[0])} has no url", "give it spec.url, as flux bootstrap does"
            )
        return Sync(root.folder, found[0], root.manifest)

    @cached_property
    def unreferenced_objects(self) -> list[Manifest]:
        return [m for kustomization in self.unreferenced for m in kustomization.objects]

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
    def unseen_makers(self) -> Mapping[str, str]:
        """What puts things into a namespace that aren't in the tree, by the namespace."""
        from holdfast.tree.unseen import makers  # noqa: PLC0415  they are those of a tree

        return makers(self)

    def kustomization_of(self, manifest: Manifest) -> Kustomization | None:
        if manifest.owner.startswith("HelmRelease/"):
            owner = next((m for m in self.of("HelmRelease") if m.id == manifest.owner), None)
            return self.kustomization_of(owner) if owner is not None else None
        return self.kustomizations.get(manifest.owner)

    @cached_property
    def _places(self) -> Places:
        from holdfast.tree.places import Places  # noqa: PLC0415  places are those of a tree

        return Places(self)

    def locate(self, manifest: Manifest, *path: PathKey) -> Location:
        """Where a field of an object stands: in its base, or in the patch that holds more of it."""
        return self._places.locate(manifest, *path)

    def all_kustomizations(self) -> Iterable[Kustomization]:
        yield from self.kustomizations.values()
        yield from self.unreferenced


def clean(path: str) -> str:
    """A path of a Kustomization relative to the tree: what leads above the root ends there, as kustomize-controller joins it."""
    return posixpath.normpath(f"/{path.strip()}").lstrip("/") or "."


def object_in(kustomizations: Mapping[str, Kustomization], key: Key) -> Manifest | None:
    """An object that some Kustomizations apply."""
    return next((m for kustomization in kustomizations.values() for m in kustomization.objects if m.key == key), None)


def in_chart(repository: Repository, file: str) -> bool:
    """Whether a file belongs to a Helm chart: a template isn't a manifest."""
    folder = posixpath.dirname(file)
    while folder:
        if f"{folder}/Chart.yaml" in repository.known:
            return True
        folder = posixpath.dirname(folder)
    return "Chart.yaml" in repository.known
