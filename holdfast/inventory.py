"""What a Kustomization of Flux's says that it has applied."""

from __future__ import annotations

from typing import NamedTuple

from holdfast.kube import Object


class Applied(NamedTuple):
    """An entry of a Kustomization's inventory: *id* as Flux writes it, and what that says."""

    id: str
    version: str
    group: str
    kind: str
    namespace: str
    name: str


def inventory_of(kustomization: Object) -> list[Applied]:
    """What a Kustomization says that it applied."""
    found = []
    for entry in ((kustomization.get("status") or {}).get("inventory") or {}).get("entries") or []:
        # namespace_name_group_kind; a colon of a name is written as two underscores
        space, _, rest = str(entry["id"]).partition("_")
        rest, _, kind = rest.rpartition("_")
        name, _, group = rest.rpartition("_")
        version = f"{group}/{entry['v']}" if group else str(entry["v"])
        found.append(Applied(str(entry["id"]), version, group, kind, space, name.replace("__", ":")))
    return found
