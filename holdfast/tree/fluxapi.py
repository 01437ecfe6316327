"""Flux's own kinds: which API versions each Flux minor serves, their schemas (package data), and which Flux a tree runs.

The data is made by ``python -m holdfast.tree.fluxapi FOLDER OUT``: FOLDER has one folder a minor (``2.9/``) with the controllers' CRDs.
"""

from __future__ import annotations

import functools
import gzip
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from holdfast.errors import UsageError
from holdfast.tree import schema
from holdfast.tree.manifest import Manifest, get, mapping, sequence
from holdfast.tree.repository import Location
from holdfast.tree.tree import KUSTOMIZE, Tree

_FILE = "flux.json.gz"
_CONTROLLERS = ("source-controller", "kustomize-controller", "notification-controller")  # 1.N is of Flux 2.N
_MINOR = re.compile(r"^v?(2\.\d+)(?:\.\d+)?(?:[-+].*)?$")
_OF_CONTROLLER = re.compile(r"^v?1\.(\d+)(?:\.\d+)?(?:[-+].*)?$")
_PINNED = re.compile(r"^[~=v ]*(2\.\d+)(?:\.(?:x|X|\*|\d+))?$")  # ranges of one minor only
_REMOTE = re.compile(
    r"github\.com/fluxcd/flux2/(?:\S*[?&]ref=v(2\.\d+)\.|releases/download/v(2\.\d+)\.)"
)  # a remote resource of a kustomization


def told(manifest: Manifest, key: str, value: str) -> bool:
    """Whether an object tells kustomize-controller something, by a label or an annotation of its; Flux doesn't mind the case."""
    return any(
        str(mapping(manifest.meta.get(part)).get(f"{KUSTOMIZE}/{key}") or "").lower() == value.lower()
        for part in ("labels", "annotations")
    )


@dataclass(frozen=True)
class Version:
    """The Flux minor that a tree runs, and where it says so."""

    minor: str
    location: Location


@functools.cache
def _data() -> dict[str, Any]:
    packed = (resources.files("holdfast.tree") / "schemas" / _FILE).read_bytes()
    data: dict[str, Any] = json.loads(gzip.decompress(packed))
    return data


def _number(minor: str) -> int:
    return int(minor.partition(".")[2])


def minors() -> list[str]:
    """The Flux minors that are known, oldest first."""
    return sorted(_data()["minors"], key=_number)


def schemas(minor: str = "") -> dict[str, Any]:
    """The schemas of what a minor serves, by ``group/version/kind``; of every version that any minor serves, as its last one has it, without one."""
    data = _data()
    wanted = [minor] if minor in data["minors"] else minors()
    found = {name: at for each in wanted for name, at in data["minors"][each].items()}
    return {name: data["schemas"][at] for name, at in found.items()}


@dataclass(frozen=True)
class Life:
    """Of one API version: the minors that serve it, and since when it is deprecated (empty where it isn't)."""

    first: str
    last: str
    deprecated: str

    @property
    def gone(self) -> str:
        """The first known minor that doesn't serve it any more; empty where the newest does."""
        every = minors()
        at = every.index(self.last) + 1
        return every[at] if at < len(every) else ""


def life(name: str) -> Life | None:
    """Of ``group/version/kind``; None where no known minor serves it."""
    served = [m for m in minors() if name in _data()["minors"][m]]
    if not served:
        return None
    marked = [m for m in served if name in _data()["deprecated"][m]]
    return Life(served[0], served[-1], marked[0] if marked else "")


def served(group: str, kind: str, minor: str) -> list[str]:
    """The API versions of a kind that a minor serves, the stable ones first."""
    found = [n.split("/")[1] for n in _data()["minors"][minor] if n.startswith(f"{group}/") and n.endswith(f"/{kind}")]
    return sorted(found, key=lambda v: ("beta" in v or "alpha" in v, v))


def is_known(group: str, kind: str) -> bool:
    """Whether a kind is one of Flux's that the data has."""
    return (group, kind) in _kinds()


@functools.cache
def _kinds() -> frozenset[tuple[str, str]]:
    return frozenset((n.split("/")[0], n.split("/")[2]) for each in _data()["minors"].values() for n in each)


def known(version: str) -> str:
    """The minor of a Flux version such as ``2.9`` or ``v2.9.1``. Raises UsageError for one that isn't known."""
    found = _MINOR.match(version)
    if found is None or found[1] not in minors():
        raise UsageError(f"Flux {version} isn't known", f"known are: {', '.join(minors())}")
    return found[1]


def version_of(tree: Tree) -> Version | None:
    """The Flux that was asked for; else the one that the tree runs, where it says so: components, their images, a FluxInstance, an artifact or
    a remote resource."""
    found = next(_said(tree), None)
    if tree.flux:
        return Version(tree.flux, found[1] if found else Location(tree.root.folder, 1))
    if found is None:
        return None
    minor, location = found
    return Version(minor, location)


def own_minor(tree: Tree) -> str:
    """The Flux minor that the tree itself says, whatever was asked for; empty where it says none."""
    return next((minor for minor, _ in _said(tree)), "")


_FIRST_SERVER_SIDE = 15  # kustomize-controller's minor from which on it applies server-side (Flux 0.18)


def applies_as_kubectl(tree: Tree) -> bool:
    """Whether the Flux that the tree itself pins is of before server-side apply: an object at a time, and into a default namespace."""
    for manifest in (*tree.objects, *tree.bootstrap):
        if manifest.kind == "Deployment" and manifest.name == "kustomize-controller":
            tags = [str(c.get("image") or "").partition("@")[0].rpartition(":")[2] for _, c in manifest.containers()]
            found = [m for tag in tags if (m := re.match(r"v0\.(\d+)\.", tag))]
            return any(int(m[1]) < _FIRST_SERVER_SIDE for m in found)
    return False


def _said(tree: Tree) -> Iterator[tuple[str, Location]]:
    every = [*tree.objects, *tree.bootstrap]
    for manifest in every:
        if manifest.kind == "FluxInstance":
            yield from _of_instance(tree, manifest, get(manifest.spec, "distribution", "version"), "spec")
    for release in tree.releases:
        if release.chart == "flux-instance":
            said = release.value("instance.distribution.version")
            yield from _of_instance(tree, release.manifest, said, "spec", "values", "instance")
    for manifest in every:
        yield from _of_components(tree, manifest)
    for manifest in every:
        if manifest.kind == "OCIRepository" and str(manifest.spec.get("url")).endswith("/fluxcd/flux-manifests"):
            yield from _match(_MINOR, get(manifest.spec, "ref", "tag"), tree.locate(manifest, "spec", "ref", "tag"))
    read = {f for k in tree.kustomizations.values() if k.built for f in k.built.closure.kustomizations}
    for file in sorted(read):
        for number, line in enumerate(tree.repository.text(file).splitlines(), 1):
            if said_there := _REMOTE.search(line):
                yield said_there[1] or said_there[2], Location(file, number)


def _of_instance(tree: Tree, manifest: Manifest, said: Any, *path: str) -> Iterator[tuple[str, Location]]:
    yield from _match(_PINNED, said, tree.locate(manifest, *path, "distribution", "version"))


def _of_components(tree: Tree, manifest: Manifest) -> Iterator[tuple[str, Location]]:
    """By the label that `flux install` puts on its components, or by the tag of a controller's image."""
    labels = mapping(manifest.meta.get("labels"))
    if labels.get("app.kubernetes.io/part-of") == "flux":
        said = labels.get("app.kubernetes.io/version")
        yield from _match(_MINOR, said, tree.locate(manifest, "metadata", "labels", "app.kubernetes.io/version"))
    if manifest.kind == "Deployment" and manifest.name in _CONTROLLERS:
        for path, container in manifest.containers():
            image = str(container.get("image") or "").partition("@")[0]
            if image.partition(":")[0].rpartition("/")[2] == manifest.name:
                tag = _OF_CONTROLLER.match(image.rpartition(":")[2])
                if tag:
                    yield f"2.{tag[1]}", tree.locate(manifest, *path, "image")


def _match(pattern: re.Pattern[str], said: Any, location: Location) -> Iterator[tuple[str, Location]]:
    found = pattern.match(said) if isinstance(said, str) else None
    if found:
        yield found[1], location


def compact(folder: Path) -> dict[str, Any]:
    """The data of every minor below *folder*; a schema that several have stands once."""
    store: list[Any] = []
    known: dict[str, int] = {}
    out: dict[str, Any] = {"minors": {}, "deprecated": {}, "schemas": store}
    for below in sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: _number(p.name)):
        crds = [Manifest(b) for f in sorted(below.glob("*.yaml")) for b in yaml.safe_load_all(f.read_text()) if b]
        out["minors"][below.name] = _stored(crds, store, known)
        out["deprecated"][below.name] = sorted(_deprecated(crds))
    return out


def _stored(crds: list[Manifest], store: list[Any], known: dict[str, int]) -> dict[str, int]:
    """The place of each kind's schema in the *store*, by group, version and kind; one that is *known* by its text stands there already."""
    found = {}
    for name, one in schema.of_crds(crds).items():
        text = json.dumps(_without_status(one), sort_keys=True)
        if text not in known:
            known[text] = len(store)
            store.append(json.loads(text))
        found[name] = known[text]
    return found


def _without_status(one: dict[str, Any]) -> dict[str, Any]:
    """A schema whose status takes anything: nobody writes that into Git."""
    return one | {"p": {k: ({"x": 1} if k == "status" else v) for k, v in one.get("p", {}).items()}}


def _deprecated(crds: list[Manifest]) -> Iterator[str]:
    for crd in crds:
        for version in map(mapping, sequence(crd.spec.get("versions"))):
            if version.get("deprecated") and version.get("served") is not False:
                yield f"{crd.spec.get('group')}/{version.get('name')}/{get(crd.spec, 'names', 'kind')}"


def added(data: dict[str, Any], minor: str, packed: Path) -> dict[str, Any]:
    """The data with one minor more, from a file of definitions; kinds of controllers that it doesn't hold are as in the minor before."""
    crds = [Manifest(b) for b in yaml.safe_load_all(gzip.decompress(packed.read_bytes())) if b]
    store: list[Any] = list(data["schemas"])
    own = _stored(crds, store, {json.dumps(one, sort_keys=True): number for number, one in enumerate(store)})
    before = data["minors"][max(data["minors"], key=_number)]
    told = {tuple(name.split("/")[::2]) for name in own}
    found = {name: number for name, number in before.items() if tuple(name.split("/")[::2]) not in told} | own
    deprecated = {**data["deprecated"], minor: sorted(_deprecated(crds))}
    return {"minors": {**data["minors"], minor: found}, "deprecated": deprecated, "schemas": store}


def main() -> None:
    """``python -m holdfast.tree.fluxapi FOLDER OUT`` makes the package data; ``… add MINOR FILE OUT`` adds a minor to it."""
    if sys.argv[1] == "add":
        data, out = added(_data(), sys.argv[2], Path(sys.argv[3])), sys.argv[4]
    else:
        data, out = compact(Path(sys.argv[1])), sys.argv[2]
    text = json.dumps(data, separators=(",", ":"), sort_keys=True).encode()
    (Path(out) / _FILE).write_bytes(gzip.compress(text, mtime=0))


if __name__ == "__main__":
    main()
