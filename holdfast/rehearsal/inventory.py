"""What Flux has applied to a cluster, and whether it is the same later."""

from __future__ import annotations

import copy
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ResourceNotFoundError

from holdfast.inventory import inventory_of
from holdfast.kube import KubeReader, Object
from holdfast.probes.contents import fields_of, owned
from holdfast.waiting import CannotLook

Key = tuple[str, str, str, str]  # API group, kind, namespace, name
_NOT_FOUND = 404
_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
# Where a lane serves Git differs from one to the next.
_OF_THE_LANE = ("GitRepository", "HelmRepository", "OCIRepository", "HelmChart", "Bucket")


def name_of(key: Key) -> str:
    """An object's id as findings write it: ``Kind/namespace/name``."""
    return "/".join(part for part in key[1:] if part)


@dataclass(frozen=True)
class Held:
    """One object: its *uid*, all of it, and a digest of the *pods* that it makes."""

    uid: str
    item: Object
    pods: str = ""

    def is_like(self, other: Held) -> bool:
        """Whether both hold what Flux applied of either. (What was so already isn't applied again, so that the owners of fields may differ.)"""
        if self.item["kind"] in _OF_THE_LANE:
            return True
        every = (fields_of(self.item), fields_of(other.item))
        return all(owned(self.item, fields) == owned(other.item, fields) for fields in every if fields)


@dataclass
class Inventory:
    """All objects in the inventories of the cluster's Kustomizations, and of each kind of them those that nobody owns."""

    held: dict[Key, Held] = field(default_factory=dict)
    there: dict[Key, str] = field(default_factory=dict)  # whatever is in the cluster of these kinds: its uid
    versions: dict[tuple[str, str], str] = field(default_factory=dict)
    leaving: list[Key] = field(default_factory=list)  # deleted, and held by a finalizer


def taken(client: KubeReader, kinds: dict[tuple[str, str], str] | None = None) -> Inventory:
    """Looks at a cluster; *kinds* (API group and kind to version) are looked for also where nothing of them is owned. Raises CannotLook."""
    found = Inventory(versions=dict(kinds or {}))
    owned: defaultdict[tuple[str, str], set[Key]] = defaultdict(set)
    for item in client.list("Kustomization"):
        for one in inventory_of(item):
            owned[one.group, one.kind].add((one.group, one.kind, one.namespace, one.name))
            found.versions[one.group, one.kind] = one.version
    for (group, kind), version in sorted(found.versions.items()):
        for item in _listed(client, kind, version):
            meta = item["metadata"]
            key = group, kind, meta.get("namespace", ""), meta["name"]
            if kind == "Job" and item["spec"].get("ttlSecondsAfterFinished") is not None:
                continue  # it goes by itself
            if meta.get("deletionTimestamp"):
                found.leaving.append(key)
                continue
            found.there[key] = meta["uid"]
            if key in owned[group, kind]:
                found.held[key] = Held(meta["uid"], _as_written(item), _pods(item))
    return found


def _as_written(item: Object) -> Object:
    """An object without what names the single one that it is: a Job's own id among the labels of its pods."""
    if item["kind"] != "Job":
        return item
    found = copy.deepcopy(item)
    labels = found["spec"]["template"]["metadata"].get("labels") or {}
    for name in [label for label in labels if label.endswith("controller-uid")]:
        del labels[name]
    return found


def _listed(client: KubeReader, kind: str, version: str) -> list[Object]:
    """All objects of a kind; none where it isn't served any more. Raises CannotLook: what couldn't be looked at isn't gone."""
    try:
        return client.list(kind, version=version)
    except ResourceNotFoundError:
        return []
    except ApiException as error:
        if error.status == _NOT_FOUND:
            return []
        raise CannotLook(str(error.reason)) from None


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _pods(item: Object) -> str:
    return _digest(item["spec"].get("template")) if item["kind"] in _WORKLOADS else ""


def left_behind(now: Inventory, cold: Inventory, before: Inventory) -> list[Key]:
    """What is there now, was applied before, and isn't there after a start from nothing."""
    return sorted(key for key in before.held if key in now.there and key not in cold.there)


def lacking(now: Inventory, cold: Inventory) -> list[Key]:
    """What a start from nothing applies and isn't there now."""
    return sorted(key for key in cold.held if key not in now.there)


def otherwise(now: Inventory, cold: Inventory) -> list[Key]:
    """What is there in both, with other content."""
    return sorted(key for key, one in now.held.items() if key in cold.held and not one.is_like(cold.held[key]))


def recreated(now: Inventory, before: Inventory) -> list[Key]:
    """What was deleted and made anew."""
    return sorted(key for key, one in before.held.items() if now.there.get(key, one.uid) != one.uid)


def gone(now: Inventory, before: Inventory) -> list[Key]:
    """What was applied before and isn't there any more."""
    return sorted(key for key in before.held if key not in now.there and key not in now.leaving)


def made(now: Inventory, before: Inventory) -> list[Key]:
    """What is applied now and wasn't there before."""
    return sorted(key for key in now.held if key not in before.there)


def restarted(now: Inventory, before: Inventory) -> Iterator[Key]:
    """Workloads whose pods are made anew, since their template differs."""
    for key, one in sorted(now.held.items()):
        was = before.held.get(key)
        if was and one.uid == was.uid and one.pods != was.pods:
            yield key
