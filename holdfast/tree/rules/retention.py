"""How much Prometheus may keep, against the room that it has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from holdfast.tree.findings import Outcome, Severity, hit, rule
from holdfast.tree.manifest import Manifest, get, mapping, sequence
from holdfast.tree.quantity import quantity, retention
from holdfast.tree.releases import Release
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import Tree

_ARGUMENT = re.compile(r"^--?storage\.tsdb\.retention\.size(?:=(.+))?$")
# Classes whose volumes are folders: what is asked for is a wish, and the room is the whole disk's, or the server's.
_FOLDERS = re.compile(r"^(?:openebs-|local-)?hostpath|local-path|(?:^|-)nfs(?:$|-)|(?:^|-)smb(?:$|-)", re.IGNORECASE)
_FOLDER_PROVISIONERS = re.compile(r"rancher\.io/local-path|openebs\.io/local$|nfs|smb|hostpath|no-provisioner")


class Room(NamedTuple):
    """How much a volume is asked to have, and of which class."""

    size: Any
    storage_class: Any = None


Told = tuple[Manifest, tuple[PathKey, ...], Any, Room]  # the object, where the limit stands, the limit, the room


def _of_claim(claim: Any) -> Room:
    return Room(get(claim, "spec", "resources", "requests", "storage"), get(claim, "spec", "storageClassName"))


def _of_spec(spec: Any) -> tuple[Any, Room]:
    """(what may be kept, the room) of a Prometheus of the operator's."""
    storage = mapping(get(spec, "storage") or get(spec, "storageSpec"))
    claim = get(storage, "volumeClaimTemplate") or get(storage, "ephemeral", "volumeClaimTemplate")
    room = _of_claim(claim) if claim else Room(get(storage, "emptyDir", "sizeLimit"))
    return get(spec, "retentionSize"), room


def _of_release(release: Release) -> Iterator[Told]:
    at = ("spec", "values")
    if release.chart == "kube-prometheus-stack" and release.value("prometheus.enabled") is not False:
        keys = ("prometheus", "prometheusSpec")
        yield release.manifest, (*at, *keys, "retentionSize"), *_of_spec(get(release.values, *keys))
    if release.chart == "prometheus":
        server = mapping(release.values.get("server"))
        own = mapping(server.get("persistentVolume"))
        size = own.get("size", "8Gi") if own.get("enabled") is not False else get(server, "emptyDir", "sizeLimit")
        room = Room(None if own.get("existingClaim") else size, own.get("storageClass"))
        yield release.manifest, (*at, "server", "retentionSize"), server.get("retentionSize"), room


def _of_workload(tree: Tree, manifest: Manifest) -> Iterator[Told]:
    for path, container in manifest.containers():
        for part in ("args", "command"):
            words = [str(w) for w in sequence(container.get(part))]
            for index, word in enumerate(words):
                if found := _ARGUMENT.match(word):
                    said = found[1] or (words[index + 1] if index + 1 < len(words) else None)
                    yield manifest, (*path, part, index), said, _room(tree, manifest, container)


def _room(tree: Tree, manifest: Manifest, container: dict[str, Any]) -> Room:
    """The only volume that a container could keep its data on."""
    mounted = {str(get(m, "name")) for m in sequence(container.get("volumeMounts"))}
    rooms = [
        _of_claim(t)
        for t in sequence(manifest.spec.get("volumeClaimTemplates"))
        if get(t, "metadata", "name") in mounted
    ]
    for volume in map(mapping, sequence(manifest.pod.get("volumes"))):
        name = get(volume, "persistentVolumeClaim", "claimName")
        if name and volume.get("name") in mounted:
            claim = tree.by_key.get(("PersistentVolumeClaim", manifest.namespace, str(name)))
            rooms.append(_of_claim(claim.body) if claim is not None else Room(None))
    return rooms[0] if len(rooms) == 1 else Room(None)


def _every(tree: Tree) -> Iterator[Told]:
    for release in tree.releases:
        if not release.unread and release.manifest.id not in tree.charts.unrendered:
            yield from _of_release(release)
    for manifest in tree.of("Prometheus"):
        if manifest.group == "monitoring.coreos.com" and manifest.by != "HelmChart":
            yield manifest, ("spec", "retentionSize"), *_of_spec(manifest.spec)
    for manifest in tree.workloads():
        if manifest.by != "HelmChart":
            yield from _of_workload(tree, manifest)


@rule(
    "monitoring.retention",
    "monitoring",
    Severity.BREAKS_CLAIM,
    why="nothing is thrown away before the disk is full, and Prometheus stops when it is",
    do="keep a fifth of the volume free: set retentionSize to four fifths of its size, or make the volume larger",
)
def kept(tree: Tree) -> Iterator[Outcome]:
    """A Prometheus that may keep more than its volume holds."""
    for manifest, path, said, room in _every(tree):
        limit, size = retention(said), quantity(room.size)
        if limit and size and limit >= size and _is_kept_to(tree, room):
            yield hit(
                tree, manifest, f"Prometheus of {manifest.id} may keep {said}, and has room for {room.size}", *path
            )


def _is_kept_to(tree: Tree, room: Room) -> bool:
    """Whether a volume has the size that was asked for, and no more."""
    name = str(room.storage_class or "")
    known = next((m for m in tree.of("StorageClass") if m.name == name), None)
    if known is not None:
        return not _FOLDER_PROVISIONERS.search(str(known.body.get("provisioner")))
    return not _FOLDERS.search(name)
