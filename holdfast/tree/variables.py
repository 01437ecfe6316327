"""The variables of a Kustomization (``postBuild``), and putting them into what it renders."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from holdfast.tree.envsubst import UNKNOWN, SubstitutionError, substitute, without_value
from holdfast.tree.manifest import Manifest, mapping, sequence, texts
from holdfast.tree.repository import Location
from holdfast.tree.sources import OldLoader, Sources, load_text
from holdfast.tree.tree import Kustomization, object_in

_DISABLED = "kustomize.toolkit.fluxcd.io/substitute"
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


def values_of(known: Mapping[str, Kustomization], kustomization: Kustomization) -> dict[str, str] | None:
    """The variables of a Kustomization, from what is *known* so far; None where it substitutes nothing."""
    after = mapping(kustomization.spec.get("postBuild"))
    if not after:
        return None
    values: dict[str, str] = {}
    here = kustomization.id.partition("/")[0]
    kustomization.manifest.unknown = ()
    for ref in sequence(after.get("substituteFrom")):
        kind, name = str(mapping(ref).get("kind")), str(mapping(ref).get("name"))
        held = object_in(known, (kind, here, name))
        if held is None:
            kustomization.manifest.unknown += (f"{kind}/{here}/{name}",) if not mapping(ref).get("optional") else ()
            continue
        values |= _data(held)
    inline = mapping(after.get("substitute"))
    return values | {str(k): str(v).replace("\n", "") for k, v in inline.items()}


def _data(manifest: Manifest) -> dict[str, str]:
    found = {}
    encoded = manifest.kind == "Secret"
    for key, value in mapping(manifest.body.get("data")).items():
        text = str(value)
        if "sops" in manifest.body or text.startswith("ENC["):
            text = f"{UNKNOWN}{key}"
        elif encoded:
            try:
                text = base64.b64decode(text, validate=True).decode()
            except ValueError:
                text = f"{UNKNOWN}{key}"
        found[str(key)] = text.replace("\n", "")
    for key, value in mapping(manifest.body.get("stringData")).items():
        text = str(value)
        found[str(key)] = f"{UNKNOWN}{key}" if text.startswith("ENC[") else text
    return found


class _Dumper(yaml.CSafeDumper):
    """Writes as kustomize does: a text of several lines as a block, and in quotes what any YAML would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  kustomize writes no anchors: what is there twice it writes twice
        return True


_Dumper.yaml_implicit_resolvers = {
    k: [*yaml.CSafeDumper.yaml_implicit_resolvers.get(k, []), *OldLoader.yaml_implicit_resolvers.get(k, [])]
    for k in {*yaml.CSafeDumper.yaml_implicit_resolvers, *OldLoader.yaml_implicit_resolvers}
}
_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


class WithUnknown(dict[str, str]):
    """Variables of which some come from outside the tree: what isn't known is marked, not taken for empty."""

    def __contains__(self, key: object) -> bool:
        return True

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ARG002  every name has a value here
        return super().get(key) if super().__contains__(key) else f"{UNKNOWN}{key}"


def bad_names(
    known: Mapping[str, Kustomization], kustomization: Kustomization
) -> Iterator[tuple[Manifest | None, tuple[str, ...]]]:
    """The names of a Kustomization's variables that Flux refuses: the object that holds them (None: the Kustomization itself), and where in it."""
    after = mapping(kustomization.spec.get("postBuild"))
    here = kustomization.id.partition("/")[0]
    for ref in sequence(after.get("substituteFrom")):
        held = object_in(known, (str(mapping(ref).get("kind")), here, str(mapping(ref).get("name"))))
        for part in ("data", "stringData") if held is not None else ():
            for key in mapping(held.body.get(part) if held else None):
                if not _NAME.match(str(key)):
                    yield held, (part, str(key))
    for key in mapping(after.get("substitute")):
        if not _NAME.match(str(key)):
            yield None, ("spec", "postBuild", "substitute", str(key))


def _place(sources: Sources, manifest: Manifest, values: dict[str, str]) -> Location | None:
    """Where the first text of an object stands that can't be substituted; None where that can't be told."""
    if manifest.by:
        return None
    space = str(manifest.meta.get("namespace") or "")
    for path, text in texts(manifest.body):
        if "${" not in text:
            continue
        try:
            substitute(text, values)
        except ValueError:
            for file in dict.fromkeys((manifest.file, *manifest.patches)):
                written = sources.value(file, manifest.kind, manifest.name, path, space)
                if written and "${" in written:
                    return sources.locate(file, manifest.kind, manifest.name, path, space)
    return None


def substitute_all(known: Mapping[str, Kustomization], sources: Sources) -> None:
    """Puts the variables into all that the layers render; what Flux would fail on is the layer's error."""
    for kustomization in known.values():
        values = values_of(known, kustomization)
        if not values and not kustomization.manifest.unknown:
            continue
        if UNKNOWN in kustomization.folder:
            continue
        usable: dict[str, str] = WithUnknown(values or {}) if kustomization.manifest.unknown else values or {}
        bad = [n for n in usable if not _NAME.match(n)]
        if bad:
            kustomization.error = (
                kustomization.error or f"'{bad[0]}' in postBuild is no name of a variable: letters, digits and _ only"
            )
        for manifest in kustomization.objects:
            try:
                substitute_one(manifest, usable)
            except (ValueError, yaml.YAMLError) as error:
                if kustomization.error:
                    continue
                kustomization.error = f"substitution fails in {manifest.id}: {str(error).partition(chr(10))[0]}"
                if kustomization.built:
                    kustomization.built.location = _place(sources, manifest, usable)


def substitute_one(manifest: Manifest, values: dict[str, str] | None) -> None:
    """Puts *values* into one object, unless it says that it wants none. Raises ValueError or YAMLError where that can't be done."""
    if not values and not isinstance(values, WithUnknown):
        return  # without a variable Flux leaves the text alone, also what is escaped in it
    for part in ("labels", "annotations"):
        if mapping(manifest.meta.get(part)).get(_DISABLED) == "disabled":
            return
    if not has_variable(manifest.body):
        return
    given = dict(values or {})
    manifest.unset += tuple(
        (path, text, name) for path, text in texts(manifest.body) if "${" in text for name in _unset(text, given)
    )
    # Flux substitutes in the whole text. A value has no line break and so can't leave its own line: the lines with variables do.
    parts = list(_with_variables([manifest.body]))
    put_in = substitute(_written(parts), values if values is not None else {})
    try:
        replaced = load_text(put_in)
    except yaml.YAMLError:
        if UNKNOWN in put_in:  # with the real value it may well be read
            return
        raise
    if not isinstance(replaced, list) or len(replaced) != len(parts):
        raise yaml.YAMLError("a value's quotation mark reaches beyond its line")
    body = _put_back([manifest.body], iter(replaced))[0]
    if isinstance(body, dict):
        manifest.replace(body)


def _written(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, width=1_000_000, sort_keys=False)


def _is_part(value: object) -> bool:
    """Whether a value is written with variables: a text, or a mapping of which a key is (it may come to be something else)."""
    if isinstance(value, dict):
        return any(has_variable(key) for key in value)
    return isinstance(value, str) and has_variable(value)


def _with_variables(value: Any) -> Iterator[Any]:
    """What of a value is written with variables, each below its own key or as an item: what it stands in decides how it is read."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from [{key: below}] if _is_part(below) else _with_variables(below)
    elif isinstance(value, list):
        for below in value:
            yield from [[below]] if _is_part(below) else _with_variables(below)


def _put_back(value: Any, parts: Iterator[Any]) -> Any:
    """A value with what became of its parts, in the order of `_with_variables`."""
    if isinstance(value, dict):
        return {k: next(parts).get(k) if _is_part(v) else _put_back(v, parts) for k, v in value.items()}
    if isinstance(value, list):
        return [next(parts)[0] if _is_part(v) else _put_back(v, parts) for v in value]
    return value


def _unset(text: str, given: dict[str, str]) -> list[str]:
    """The variables of a text without a value; what stands in a comment doesn't count."""
    lines = text.splitlines()
    kept = [line for line in lines if len(lines) < 2 or not line.lstrip().startswith(("#", "//"))]
    try:
        return list(dict.fromkeys(without_value("\n".join(kept), given)))
    except SubstitutionError:  # said when it is put in
        return []


def has_variable(value: Any) -> bool:
    """Whether anything in a value is written as a variable."""
    if isinstance(value, str):
        return "${" in value or "$$" in value
    if isinstance(value, dict):
        return any(has_variable(k) or has_variable(v) for k, v in value.items())
    return isinstance(value, list) and any(has_variable(v) for v in value)
