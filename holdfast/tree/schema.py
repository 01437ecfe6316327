"""Objects against the schemas of one Kubernetes version (package data, made by `make schemas`) and of the tree's own CRDs."""

from __future__ import annotations

import difflib
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

from holdfast.errors import UsageError
from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.manifest import Body, Manifest, get, mapping, sequence
from holdfast.tree.sources import PathKey

_FREE = {"x": 1}  # takes anything
_ENUM = re.compile(r"^ - `\"(.*?)\"`", re.MULTILINE)
_QUANTITY = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?")
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}
_DURATIONS = (r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$", r"^([0-9]+(\.[0-9]+)?(ms|s|m))+$")  # Flux's: no days
_NAMES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
}
_KINDS = {str: "a text", bool: "true or false", int: "a number", float: "a number", dict: "a mapping", list: "a list"}


@dataclass(frozen=True)
class Fault:
    """Where an object isn't what its schema says, and that in words."""

    path: tuple[PathKey, ...]
    what: str
    is_unknown: bool = False


@dataclass(frozen=True)
class Schemas:
    """The schemas of one version: *kinds* names the definition of each ``group/version/kind``."""

    version: str
    kinds: dict[str, str]
    definitions: dict[str, Any]


def versions() -> list[str]:
    """The Kubernetes versions that there are schemas for."""
    folder = resources.files("holdfast.tree") / "schemas"
    return sorted(
        f.name.removeprefix("kubernetes-").removesuffix(".json.gz")
        for f in folder.iterdir()
        if f.name.startswith("kubernetes-")
    )


USUAL = "1.36"  # what lanes run, where nothing else is asked for


@functools.cache
def load(version: str = "") -> Schemas:
    """The schemas of a version (``1.36`` or ``1.36.3``); the usual one's without one. Raises UsageError for one that isn't there."""
    have = versions()
    wanted = ".".join(version.lstrip("v").split(".")[:2]) if version else USUAL
    if wanted not in have:
        raise UsageError(
            f"there are no schemas of Kubernetes {version}",
            f"there are: {', '.join(have)}; others are made by: make schemas",
        )
    data = json.loads(
        gzip.decompress((resources.files("holdfast.tree") / "schemas" / f"kubernetes-{wanted}.json.gz").read_bytes())
    )
    return Schemas(data["version"], data["kinds"], data["definitions"])


@functools.cache
def names_in(name: str, version: str = "") -> frozenset[str]:
    """Every field's name that a definition of Kubernetes has, at whatever depth."""
    definitions, done, found = load(version).definitions, set(), set()
    waiting: list[Any] = [{"$": name}]
    while waiting:
        one = waiting.pop()
        if "$" in one:
            if one["$"] not in done:
                done.add(one["$"])
                waiting.append(definitions.get(one["$"], _FREE))
            continue
        found |= set(one.get("p", {}))
        waiting += [*one.get("p", {}).values(), *(one[k] for k in ("a", "i") if k in one)]
    return frozenset(found)


def compact(swagger: Body) -> Body:
    """The part of an OpenAPI document that checking needs: fields, types, what is required."""
    kinds, definitions = {}, {}
    for name, definition in swagger["definitions"].items():
        definitions[name] = _compacted(definition)
        for kind in definition.get("x-kubernetes-group-version-kind", []):
            kinds[f"{kind['group']}/{kind['version']}/{kind['kind']}"] = name
    return {"kinds": kinds, "definitions": definitions}


def _compacted(schema: Body) -> Any:
    """One schema: ``$`` a reference, ``t`` its type, ``p`` properties, ``a`` a map's values, ``i`` a list's items, ``r`` required,
    ``e`` an enum, ``m`` a pattern.
    """
    if "$ref" in schema and schema["$ref"].endswith("resource.Quantity"):
        return {"t": "quantity"}
    if "$ref" in schema:
        return {"$": schema["$ref"].rpartition("/")[2]}
    if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string"):
        return {"t": "int-or-string"}
    out: Body = {"t": schema["type"]} if "type" in schema else {}
    if "properties" in schema:
        out["p"] = {k: _compacted(v) for k, v in schema["properties"].items()}
    if isinstance(schema.get("additionalProperties"), dict):
        out["a"] = _compacted(schema["additionalProperties"])
    if isinstance(schema.get("items"), dict):
        out["i"] = _compacted(schema["items"])
    given = {
        k for k, v in schema.get("properties", {}).items() if isinstance(v, dict) and "default" in v
    }  # filled in before it is looked at
    if required := [r for r in schema.get("required", []) if r not in given]:
        out["r"] = required
    if schema.get("pattern"):
        out["m"] = schema["pattern"]
    if schema.get("enum"):
        out["e"] = schema["enum"]
    elif "Possible enum values:" in schema.get("description", ""):  # the document has them in words only
        out["e"] = _ENUM.findall(schema["description"].partition("Possible enum values:")[2])
    if schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-embedded-resource"):
        out["x"] = 1
    if schema.get("nullable"):
        out["n"] = 1
    return out or _FREE


def of_crds(crds: list[Manifest]) -> dict[str, Any]:
    """The schemas of CRDs by ``group/version/kind``; what has none takes anything."""
    found = {}
    for crd in crds:
        group, kind = str(crd.spec.get("group")), str(get(crd.spec, "names", "kind"))
        for version in sequence(crd.spec.get("versions")):
            schema = get(version, "schema", "openAPIV3Schema")
            if mapping(version).get("served") is not False:
                found[f"{group}/{mapping(version).get('name')}/{kind}"] = (
                    _compacted(schema) if isinstance(schema, dict) else _FREE
                )
    return found


def check(body: Body, schema: Any, definitions: dict[str, Any]) -> Iterator[Fault]:
    """Every place where *body* isn't what *schema* says. A field that nothing was substituted for is left alone."""
    root = dict(_deref(schema, definitions))
    if root.get("p"):
        root["p"] = {"apiVersion": _FREE, "kind": _FREE, "metadata": _FREE, **root["p"]}
    yield from _check(body, root, definitions, ())


def _deref(schema: Any, definitions: dict[str, Any]) -> Any:
    while "$" in schema:
        schema = definitions.get(schema["$"], _FREE)
    return schema


def _check(value: Any, schema: Any, definitions: dict[str, Any], path: tuple[PathKey, ...]) -> Iterator[Fault]:
    schema = _deref(schema, definitions)
    if schema is _FREE or (value is None) or (isinstance(value, str) and UNKNOWN in value):
        return  # null is "not set" to the API server
    wanted = schema.get("t")
    if wanted == "int-or-string":
        if not isinstance(value, int | str) or isinstance(value, bool):
            yield Fault(path, f"{_dotted(path)} must be a number or a text, and is {_named(value)}")
        return
    if wanted == "quantity":
        if isinstance(value, bool) or not isinstance(value, int | float | str) or not _QUANTITY.fullmatch(str(value)):
            yield Fault(path, f"{_dotted(path)} must be a quantity such as 100m or 1Gi, and is {_named(value)}")
        return
    if wanted in _TYPES and (
        not isinstance(value, _TYPES[wanted]) or (isinstance(value, bool) and wanted != "boolean")
    ):
        if not (wanted == "integer" and isinstance(value, float) and value.is_integer()):
            yield Fault(path, f"{_dotted(path)} must be {_article(wanted)}, and is {_named(value)}")
        return
    if schema.get("e") and value not in schema["e"]:
        near = difflib.get_close_matches(str(value), [str(e) for e in schema["e"]], 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        yield Fault(path, f"{_dotted(path)} is {value!r}; it may be {', '.join(map(str, schema['e'][:6]))}{meant}")
    if isinstance(value, str) and "m" in schema and not _fits(value, schema["m"]):
        yield Fault(path, f"{_dotted(path)} is {_named(value)}, which doesn't fit {_pattern(schema['m'])}")
    if isinstance(value, dict):
        yield from _check_mapping(value, schema, definitions, path)
    elif isinstance(value, list) and "i" in schema:
        for index, item in enumerate(value):
            yield from _check(item, schema["i"], definitions, (*path, index))


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """A pattern of a CRD; None where it is one of Go's that Python doesn't know."""
    try:
        return re.compile(pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern)
    except re.error:
        return None


def _fits(value: str, pattern: str) -> bool:
    found = _compiled(pattern)
    return found is None or found.search(value) is not None


def _pattern(pattern: str) -> str:
    """A pattern in words where it is Flux's of a duration."""
    if pattern in _DURATIONS:
        return f"a duration such as 30s, 10m{' or 1h30m' if 'h' in pattern.rpartition('|')[2] else ''}"
    return pattern


def _check_mapping(value: Body, schema: Any, definitions: dict[str, Any], path: tuple[PathKey, ...]) -> Iterator[Fault]:
    known = schema.get("p")
    for key, below in value.items():
        if known is not None and key in known:
            yield from _check(below, known[key], definitions, (*path, str(key)))
        elif "a" in schema:
            yield from _check(below, schema["a"], definitions, (*path, str(key)))
        elif known is not None and not schema.get("x"):
            near = difflib.get_close_matches(str(key), known, 1, cutoff=0.6)
            meant = f"; did you mean {near[0]}?" if near else ""
            yield Fault((*path, str(key)), f"{_dotted((*path, str(key)))} is no field{meant}", is_unknown=True)
    for name in schema.get("r", ()):
        if value.get(name) is None and name not in value:
            yield Fault(path, f"{_dotted((*path, name))} is required")


def _dotted(path: tuple[PathKey, ...]) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or "the object"


def _named(value: Any) -> str:
    kind = _KINDS.get(type(value), "something else")
    return f"{kind} ({value!r})" if isinstance(value, str | int | float) and len(str(value)) < 40 else kind


def _article(kind: str) -> str:
    return _NAMES[kind]


def main() -> None:
    """``python -m holdfast.tree.schema SWAGGER VERSION FOLDER``: makes the package data of one Kubernetes version."""
    source, full, folder = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    data = compact(json.loads(source.read_text())) | {"version": full}
    version = ".".join(full.split(".")[:2])
    text = json.dumps(data, separators=(",", ":"), sort_keys=True).encode()
    (folder / f"kubernetes-{version}.json.gz").write_bytes(gzip.compress(text, mtime=0))


if __name__ == "__main__":
    main()
