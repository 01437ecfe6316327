"""Fields of custom resources that their own definition lets nobody change: its validation rules that hold an object against the one of before.

Only rules that say plainly that something stays are judged (``self == oldSelf``, and the same of one field); of any other nothing is said.
Source: the API server asks such a rule only where the value is there before and after (docs: "transition rules").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from holdfast.tree.immutable import Path, Refusal
from holdfast.tree.manifest import Manifest, get, mapping, sequence
from holdfast.tree.tree import Tree

_STAYS = re.compile(r"^\(?\s*self\s*==\s*oldSelf\s*\)?$")
_FIELD_STAYS = re.compile(
    r"^(?:!\s*has\(\s*oldSelf\.(?P<has>\w+)\s*\)\s*\|\|\s*)?self\.(?P<new>\w+)\s*==\s*oldSelf\.(?P<old>\w+)$"
)
_ABSENT = object()


def definition(tree: Tree, manifest: Manifest) -> dict[str, Any]:
    """The schema that the tree's own definition of an object's kind gives its version; empty where the tree has none."""
    for crd in tree.of("CustomResourceDefinition"):
        if (crd.spec.get("group"), get(crd.spec, "names", "kind")) == (manifest.group, manifest.kind):
            for version in map(mapping, sequence(crd.spec.get("versions"))):
                if version.get("name") == manifest.api.rpartition("/")[2]:
                    return mapping(get(version, "schema", "openAPIV3Schema"))
    return {}


def frozen(schema: dict[str, Any], before: Any, after: Any, path: Path = ()) -> Iterator[Refusal]:
    """What of a change a schema's own rules refuse."""
    found = [
        one
        for rule in sequence(schema.get("x-kubernetes-validations"))
        if (one := _by(mapping(rule), before, after, path))
    ]
    yield from found[:1]
    if found or not isinstance(before, dict) or not isinstance(after, dict):
        return
    for name, below in mapping(schema.get("properties")).items():
        inner = mapping(below)
        old, new = (side.get(name, inner.get("default", _ABSENT)) for side in (before, after))
        if old is not _ABSENT and new is not _ABSENT and (path or name != "status"):
            yield from frozen(inner, old, new, (*path, str(name)))
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        for name in before.keys() & after.keys():
            yield from frozen(values, before[name], after[name], (*path, str(name)))


def _by(rule: dict[str, Any], before: Any, after: Any, path: Path) -> Refusal | None:
    """What one rule refuses."""
    words = str(rule.get("rule") or "").strip()
    if rule.get("optionalOldSelf"):
        return None
    if _STAYS.match(words):
        return Refusal(path, before, after) if before != after else None
    field = _FIELD_STAYS.match(words)
    if field is None or field["new"] != field["old"] or field["has"] not in (None, field["new"]):
        return None
    old, new = mapping(before).get(field["new"], _ABSENT), mapping(after).get(field["new"], _ABSENT)
    there = old is not _ABSENT and new is not _ABSENT
    return Refusal((*path, field["new"]), old, new) if there and old != new else None
