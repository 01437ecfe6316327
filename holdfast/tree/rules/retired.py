"""Images and charts of registries and projects that have ended or moved (``knowledge/retired.toml``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from holdfast.tree.findings import Outcome, Severity, Violation, rule
from holdfast.tree.knowledge import table
from holdfast.tree.manifest import Body, Manifest, get, mapping
from holdfast.tree.releases import Release
from holdfast.tree.repository import Location
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import Tree

Found = list[tuple[str, Location]]  # (the object, where)
_NAMES = re.compile(r"^(image|images?name|imagerepository)$", re.IGNORECASE)


def full_name(image: str) -> str:
    """The name of an image with its registry, as a container runtime reads it."""
    name = image.strip().removeprefix("docker://").removeprefix("oci://").lower()
    first, slash, rest = name.partition("/")
    if not slash:
        return f"docker.io/library/{name}"
    if "." not in first and ":" not in first and first != "localhost":
        return f"docker.io/{name}"
    return f"docker.io/{rest}" if first in ("index.docker.io", "registry-1.docker.io") else name


def retired(name: str, kind: str = "image") -> Body | None:
    """What is known of a name's registry or project, if that has ended."""
    fits = [e for e in map(mapping, table("retired")[kind]) if _meant(name, e)]
    return max(fits, key=lambda e: len(e["from"]), default=None)


def _meant(name: str, entry: Body) -> bool:
    return _fits(name, entry["from"]) and not any(_fits(name, one) for one in entry.get("except", ()))


def _fits(name: str, start: str) -> bool:
    return name.startswith(start) and (start.endswith("/") or name[len(start) : len(start) + 1] in ("", ":", "@", "/"))


def images(value: Any, path: tuple[PathKey, ...] = ()) -> Iterator[tuple[tuple[PathKey, ...], str]]:
    """The images that an object or a release's values name: a text, or a repository with its registry."""
    if isinstance(value, dict):
        repository = value.get("repository")
        if isinstance(repository, str) and ("tag" in value or "digest" in value or "image" in str(path[-1:]).lower()):
            registry = value.get("registry")
            yield (
                (*path, "repository"),
                f"{registry}/{repository}" if isinstance(registry, str) and registry else repository,
            )
        for key, below in value.items():
            if isinstance(below, str) and _NAMES.match(str(key)):
                yield (*path, str(key)), below
            yield from images(below, (*path, str(key)))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from images(below, (*path, index))


def _of_object(tree: Tree, manifest: Manifest, found: dict[str, Found]) -> None:
    if manifest.kind in ("CustomResourceDefinition", "ConfigMap", "Secret") or manifest.kind.startswith("Image"):
        return  # what an image policy looks at runs nothing
    for path, name in images(manifest.body):
        if path[:2] != ("spec", "values") and (known := retired(full_name(name))):
            found.setdefault(known["from"], []).append((manifest.id, tree.locate(manifest, *path)))


def _of_values(tree: Tree, release: Release, found: dict[str, Found]) -> None:
    for path, name in images(release.values):
        if known := retired(full_name(name)):
            place = tree.locate(release.manifest, "spec", "values", *path)
            found.setdefault(known["from"], []).append((release.manifest.id, place))


def _of_chart(tree: Tree, release: Release, found: dict[str, Found]) -> None:
    spec = mapping(get(release.manifest.spec, "chart", "spec"))
    at: tuple[PathKey, ...] = ("spec", "chart", "spec", "sourceRef")
    ref = mapping(spec.get("sourceRef"))
    if reference := mapping(release.manifest.spec.get("chartRef")):
        ref, at = reference, ("spec", "chartRef")
    key = (str(ref.get("kind")), str(ref.get("namespace") or release.manifest.namespace), str(ref.get("name")))
    source = tree.by_key.get(key)
    address = re.sub(r"^\w+://", "", str(source.spec.get("url") or "")) if source is not None else ""
    if known := retired(address.rstrip("/"), "charts"):
        found.setdefault(known["from"], []).append((release.manifest.id, tree.locate(release.manifest, *at)))


@rule(
    "versions.retired",
    "resilience",
    Severity.UPGRADE_HAZARD,
    why="there are no new versions of it, also none that fix a hole, and it may be gone at the next pull",
    do="take it from where it is published now",
)
def retired_sources(tree: Tree) -> Iterator[Outcome]:
    """Images and charts from where nothing is published any more."""
    found: dict[str, Found] = {}
    for manifest in tree.objects:
        _of_object(tree, manifest, found)
    for release in tree.releases:
        _of_values(tree, release, found)
        _of_chart(tree, release, found)
    for start, hits in found.items():
        known = retired(start) or retired(start, "charts") or {}
        names = tuple(dict.fromkeys(name for name, _ in hits))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield Violation(
            hits[0][0],
            tuple(dict.fromkeys(place for _, place in hits)),
            f"{', '.join(names[:3])}{more}: {start.rstrip('/')} {known['what']} ({known['since']})",
            do=f"take it from {known['to']} ({known['source']})",
            hits=names,
        )
