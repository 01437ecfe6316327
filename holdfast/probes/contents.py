"""What Flux applied, with exactly those fields that it applied: two clusters of one tree are the same where these are."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from holdfast.cluster import Cluster
from holdfast.inventory import inventory_of
from holdfast.kube import Object, name_of
from holdfast.probes.flux import MARKER, NAMESPACE
from holdfast.waiting import HOLDS, CannotLook, Sighting, probe

_MANAGER = "kustomize-controller"
_MOST = 5


def owned(value: Any, fields: dict[str, Any]) -> Any:
    """The part of an object that *fields* (one manager's ``fieldsV1``) names; lists by their keys."""
    if not [key for key in fields if key != "."]:
        return value
    if isinstance(value, list):
        return [part for key, more in sorted(fields.items()) for part in _items(value, key, more)]
    if not isinstance(value, dict):
        return value
    names = {key[2:]: more for key, more in fields.items() if key.startswith("f:")}
    return {name: owned(value[name], more) for name, more in sorted(names.items()) if name in value}


def _items(value: list[Any], key: str, more: dict[str, Any]) -> Iterator[Any]:
    sort, _, text = key.partition(":")
    if sort == "v":
        wanted = json.loads(text)
        yield from (one for one in value if one == wanted)
    elif sort == "k":
        wanted = json.loads(text)
        yield from (owned(one, more) for one in value if isinstance(one, dict) and wanted.items() <= one.items())


def fields_of(item: Object) -> dict[str, Any]:
    """The fields of an object that kustomize-controller has, as ``fieldsV1`` names them."""
    merged: dict[str, Any] = {}
    for entry in item["metadata"].get("managedFields") or []:
        if entry.get("manager") == _MANAGER and not entry.get("subresource"):
            merged.update(entry.get("fieldsV1") or {})
    return merged


def applied(item: Object) -> Any:
    """What kustomize-controller applied of an object."""
    merged = fields_of(item)
    return owned(item, merged) if merged else None


def _digest(item: Object | None) -> str:
    if item is None:
        return ""
    return hashlib.sha256(json.dumps(applied(item), sort_keys=True).encode()).hexdigest()[:16]


def contents(cluster: Cluster) -> dict[str, str]:
    """Everything in the inventories of the cluster's Kustomizations, by id: a digest of what was applied of it. Raises CannotLook.

    The source that Flux syncs by is left out, since where a lane serves Git differs from one cluster to the next, and so is the marker that
    other tests push: a new cluster begins with the tree's own commit.
    """
    wanted: defaultdict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for item in cluster.objects.list("Kustomization"):
        for one in inventory_of(item):
            wanted[one.version, one.kind].add((one.namespace, one.name))
    found: dict[str, str] = {}
    for (version, kind), names in sorted(wanted.items()):
        there = {
            (i["metadata"].get("namespace", ""), i["metadata"]["name"]): i
            for i in cluster.objects.list(kind, version=version)
        }
        for key in sorted(names):
            found[f"{kind}/{'/'.join(filter(None, key))}"] = _digest(there.get(key))
    source = cluster.sync.source
    for own in (f"{source.kind}/{source.namespace}/{source.name}", f"ConfigMap/{NAMESPACE}/{MARKER}"):
        found.pop(own, None)
    if not found:
        raise CannotLook("no Kustomization has an inventory")
    return found


@probe
def contents_are(cluster: Cluster, wanted: dict[str, str]) -> Sighting:
    """What Flux applied is what another cluster had: the same objects, with the same fields."""
    there = contents(cluster)
    differs = sorted(name for name in there.keys() | wanted.keys() if there.get(name) != wanted.get(name))
    if not differs:
        return HOLDS
    words = [_difference(name, there, wanted) for name in differs[:_MOST]]
    return f"{len(differs)} of {len(wanted)} objects differ: {'; '.join(words)}"


def _difference(name: str, there: dict[str, str], wanted: dict[str, str]) -> str:
    if not there.get(name):
        return f"{name} isn't there"
    return f"{name} is new" if name not in wanted else f"{name} has other fields"


def not_in_git(cluster: Cluster) -> list[str]:
    """What a cluster from Git alone doesn't have: Secrets that nobody in the cluster made, and the data of volumes."""
    in_inventories = set(contents(cluster))
    secrets = [
        name_of(s)
        for s in cluster.objects.list("Secret")
        if name_of(s) not in in_inventories
        and not s["metadata"].get("ownerReferences")
        and not str(s.get("type", "")).startswith(
            ("helm.sh/", "kubernetes.io/service-account", "bootstrap.kubernetes.io")
        )
    ]
    claims = [
        c for c in cluster.objects.list("PersistentVolumeClaim") if (c.get("status") or {}).get("phase") == "Bound"
    ]
    return [*secrets, *(f"the data of {name_of(claim)}" for claim in claims)]
