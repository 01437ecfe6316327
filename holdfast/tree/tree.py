"""A tree read from its Flux entry: which Kustomizations are reached, by what way, what each renders, and what is not reached."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from holdfast.errors import UsageError
from holdfast.tree.build import Built, Tool
from holdfast.tree.manifest import Body, Key, Manifest, get, mapping, sequence
from holdfast.tree.repository import Location, Repository
from holdfast.tree.settings import Settings
from holdfast.tree.sources import PathKey, Sources

KUSTOMIZE, SOURCE, HELM, NOTIFICATION = (
    f"{n}.toolkit.fluxcd.io" for n in ("kustomize", "source", "helm", "notification")
)


_WRITE_EVERYWHERE = frozenset({"Bundle", "ClusterPolicy", "ClusterExternalSecret", "ClusterSecret", "ResourceSet"})


@dataclass(eq=False)
class Kustomization:
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
    unreferenced: bool = False

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
        return [
            f"{d.get('namespace') or here}/{d.get('name')}"
            for d in sequence(self.spec.get("dependsOn"))
            if isinstance(d, dict)
        ]


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


@dataclass
class Tree:
    """All that was read.

    Attributes:
        layers: the Kustomizations that the cluster gets to, by id, in the order of the walk.
        unreferenced: those that lie in the repository and aren't applied today.
        entry: how the entry was found, in words.
        unreachable: manifest files that nothing applied reads.
        left_alone: folders that are test data for something else.
        charted: what charts render (see `helm.render`), for the releases whose ids are in *rendered*.
        opened: why claims about all of the tree are in doubt, besides layers that weren't read.
        taken: the Kustomization objects that were followed, by id.
        chart_errors: releases whose chart can't be rendered, with helm's words.
        unrendered: releases whose chart lies in the tree and couldn't be rendered, by id, with the reason.
        bootstrap: what is applied by hand before Flux runs: the folder in which the entry's own Kustomization stands.
        kubernetes: the version whose schemas count; the newest without one.
        not_read: what wasn't read and why; as long as it isn't empty, a clean result means less.
    """

    repository: Repository
    sources: Sources
    settings: Settings
    tool: Tool
    entry: str = ""
    root: Kustomization | None = None
    kustomizations: dict[str, Kustomization] = field(default_factory=dict)
    unreferenced: list[Kustomization] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    not_read: list[str] = field(default_factory=list)
    kubernetes: str = ""
    chart_objects: list[Manifest] = field(default_factory=list)
    rendered: set[str] = field(default_factory=set)
    chart_errors: list[tuple[Manifest, str]] = field(default_factory=list)
    unrendered: dict[str, str] = field(default_factory=dict)
    visited: set[str] = field(default_factory=set)
    incomplete_because: list[str] = field(default_factory=list)
    bootstrap: list[Manifest] = field(default_factory=list)

    @cached_property
    def objects(self) -> list[Manifest]:
        """Everything that is applied, in the order of the walk."""
        return [m for kustomization in self.kustomizations.values() for m in kustomization.objects] + self.chart_objects

    def refresh(self) -> None:
        """Forgets what was worked out before more objects came."""
        for name in (
            "objects",
            "by_key",
            "by_kind",
            "_workloads",
            "_workloads_by_namespace",
            "custom_namespaces",
            "_releases",
            "_graph",
            "_boot",
        ):
            self.__dict__.pop(name, None)

    @cached_property
    def sync(self) -> Sync:
        """What Flux syncs the cluster by. Raises UsageError where the tree holds no GitRepository for its entry."""
        root = self.root
        ref = mapping(root.spec.get("sourceRef")) if root else {}
        found = [
            m
            for m in [*self.bootstrap, *self.objects]
            if m.kind == "GitRepository"
            and m.name == str(ref.get("name"))
            and m.namespace == str(ref.get("namespace") or (root.manifest.namespace if root else ""))
        ]
        if root is None or not root.manifest.file or not found:
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
    def custom_namespaces(self) -> frozenset[str]:
        """The namespaces with a custom resource that an operator may make pods of."""
        foreign = [
            m
            for m in self.objects
            if "." in m.group and not m.group.endswith((".k8s.io", ".fluxcd.io", "monitoring.coreos.com"))
        ]
        if any(m.kind in _WRITE_EVERYWHERE for m in foreign):
            return frozenset(m.namespace for m in self.objects)
        return frozenset(m.namespace for m in foreign if m.namespace) | frozenset(
            m.namespace
            for m in self.objects
            if m.group == "monitoring.coreos.com" and m.kind in ("Prometheus", "Alertmanager")
        )

    def kustomization_of(self, manifest: Manifest) -> Kustomization | None:
        if manifest.owner.startswith("HelmRelease/"):
            owner = next((m for m in self.of("HelmRelease") if m.id == manifest.owner), None)
            return self.kustomization_of(owner) if owner is not None else None
        return self.kustomizations.get(manifest.owner)

    def locate(self, manifest: Manifest, *path: PathKey) -> Location:
        """Where a field of an object stands: in its base, or in the patch that holds more of it."""
        if manifest.at is not None:
            return manifest.at
        kind, name = ("", "") if manifest.by else (manifest.kind, manifest.name)
        space = str(manifest.meta.get("namespace") or "")
        best = self.sources.locate(manifest.file, kind, name, () if manifest.by else path, space)
        deep = self.sources.depth(manifest.file, kind, name, path, space) if not manifest.by else 0
        changed = deep >= len(path) and self._changed(manifest, path, space)
        if deep >= len(path) and not changed:
            return best
        base = best
        for file in reversed(manifest.patches):
            there = self.sources.depth(file, manifest.kind, manifest.name, path)
            if file != manifest.file and (there > deep or (there == deep == len(path) and path)):
                best, deep = self.sources.locate(file, manifest.kind, manifest.name, path), there
        return self._set_at(manifest, str(get(manifest.body, *path)), base) if changed and best is base else best

    def _set_at(self, manifest: Manifest, value: str, base: Location) -> Location:
        """The line of a kustomization, or of the Flux Kustomization, that holds a value which isn't the base's (an inline patch, an image's tag)."""
        kustomization = self.kustomization_of(manifest)
        if kustomization is None or kustomization.built is None:
            return base
        for file in [*kustomization.built.closure.kustomizations, kustomization.manifest.file]:
            lines = self.repository.text(file).splitlines() if file in self.repository.known else []
            for part in (value, value.rpartition(":")[2]):
                if found := next((n for n, line in enumerate(lines, 1) if len(part) > 2 and part in line), 0):
                    return Location(file, found)
        return base

    def _changed(self, manifest: Manifest, path: tuple[PathKey, ...], namespace: str) -> bool:
        """Whether a scalar of the base was set to another value on the way."""
        rendered, before = (
            get(manifest.body, *path),
            self.sources.value(manifest.file, manifest.kind, manifest.name, path, namespace),
        )
        return (
            before is not None
            and isinstance(rendered, str | int)
            and not isinstance(rendered, bool)
            and str(rendered) != before
        )

    def all_kustomizations(self) -> Iterable[Kustomization]:
        yield from self.kustomizations.values()
        yield from self.unreferenced


def clean(path: str) -> str:
    """A path of a Kustomization relative to the tree."""
    return posixpath.normpath(path.strip().lstrip("/") or ".")


def tree_object(tree: Tree, key: Key) -> Manifest | None:
    """An object that is known so far (the walk isn't over yet)."""
    return next(
        (m for kustomization in tree.kustomizations.values() for m in kustomization.objects if m.key == key), None
    )


def in_chart(repository: Repository, file: str) -> bool:
    """Whether a file belongs to a Helm chart: a template isn't a manifest."""
    folder = posixpath.dirname(file)
    while folder:
        if f"{folder}/Chart.yaml" in repository.known:
            return True
        folder = posixpath.dirname(folder)
    return "Chart.yaml" in repository.known
