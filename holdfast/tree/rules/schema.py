"""Each rendered object against the schemas of the chosen Kubernetes version, of the tree's CRDs, and of Flux's own kinds."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any

from holdfast.tree import fluxapi, lifecycle, running, schema
from holdfast.tree.assumed import plural
from holdfast.tree.findings import Inconclusive, Outcome, Severity, Violation, hit, rule
from holdfast.tree.given import GIVEN_GROUPS
from holdfast.tree.laid_over import others_of
from holdfast.tree.manifest import Manifest, get, walk
from holdfast.tree.tree import KUSTOMIZE, NOTIFICATION, Tree
from holdfast.tree.variables import has_variable

FAMILY = "schema"


@rule(
    "schema.field",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="server-side apply refuses it, and with it the whole set of its Kustomization",
    do="fix the field",
)
def field(tree: Tree) -> Iterator[Outcome]:
    """Unknown fields, wrong types, what is required and isn't there."""
    known, own = (
        schema.load(tree.kubernetes),
        schema.of_crds([*tree.of("CustomResourceDefinition"), *_latent_crds(tree)]),
    )
    flux = fluxapi.version_of(tree)
    of_flux = fluxapi.schemas(flux.minor if flux else "")
    for manifest in [*tree.objects, *tree.unreferenced_objects]:
        name = f"{manifest.group}/{manifest.api.rpartition('/')[2]}/{manifest.kind}"
        found = own.get(name) or of_flux.get(name) or ({"$": known.kinds[name]} if name in known.kinds else None)
        if found is None:
            continue
        faults = [
            fault
            for fault in schema.check(manifest.body, found, known.definitions)
            if fault.path[:1] not in (("status",), ("sops",))
            and fault.path[1:3] != ("postBuild", "substitute")  # apply.variable-value's
            # Flux takes SOPS' own field away when it decrypts
            and not _is_of_operator(manifest, fault)
            and not (manifest.unreferenced and _is_unfinished(manifest, fault, of_flux.get(name)))
        ]
        if faults and found is of_flux.get(name) and f"{plural(manifest.kind)}.{manifest.group}" in _patched(tree):
            yield Inconclusive(f"{manifest.id}: {faults[0].what}, and a patch changes what its kind takes")
            continue
        if lacking := [f for f in faults if f.what.endswith(" is required")]:
            others = others_of(tree, manifest)
            if others:
                yield Inconclusive(f"{manifest.id}: {lacking[0].what}, and {others} makes the rest of it")
                faults = [f for f in faults if f not in lacking]
        builtin = name in known.kinds and name not in own
        is_dropped = builtin and _is_typed_by_flux(manifest) and all(_keeps_its_type(f) for f in faults)
        for fault in faults:
            if unquoted := _unquoted(tree, manifest, fault):
                yield unquoted
            elif is_dropped and fault.is_unknown:
                more = _DROPPED if _meant(manifest, fault, known, name) else _DROPPED_FOR_NOTHING
                yield hit(tree, manifest, f"{manifest.id}: {fault.what}; Flux drops it", *fault.path, **more)
            else:
                more = _LOST if _is_label(fault) else {}
                one = str(tree.locate(manifest, *fault.path))  # a line of a base that many use is one cause
                yield hit(tree, manifest, f"{manifest.id}: {fault.what}", *fault.path, cause=one, **more)


_TARGET = re.compile(r"kind: *[\"']?CustomResourceDefinition[\"']? *\n[ \t]*name: *[\"']?([a-z0-9.-]+)")


def _patched(tree: Tree) -> set[str]:
    """The definitions that a patch of the tree is for: Flux's own are changed so where it is installed, by an operator or by its bootstrap."""
    texts = (tree.repository.text(f) for f in tree.repository.files if f.endswith((".yaml", ".yml")))
    return {name for text in texts if "CustomResourceDefinition" in text for name in _TARGET.findall(text)}


_DROPPED: dict[str, Any] = {
    "severity": Severity.BREAKS_CLAIM,
    "why": "the field is dropped before the object is applied, without a word: what it was to set stays at its default",
}
_DROPPED_FOR_NOTHING: dict[str, Any] = {
    "severity": Severity.HYGIENE,
    "why": "the field is dropped before the object is applied, without a word: it does nothing",
    "do": "take it out",
}
_NEAR = 0.8  # a slip of a letter or two


def _meant(manifest: Manifest, fault: schema.Fault, known: schema.Schemas, name: str) -> bool:
    """Whether a dropped field was to set something: it has a value, and its name is one that the kind has, elsewhere or nearly so."""
    value, key = get(manifest.body, *fault.path), str(fault.path[-1])
    if value is None or value in ({}, [], ""):
        return False
    names = schema.names_in(known.kinds[name], known.version)
    if key not in names:
        return bool(difflib.get_close_matches(key, names, 1, cutoff=_NEAR))
    if manifest.kind == "Service" and manifest.spec.get("type") == "ExternalName":
        return False  # it has neither ports nor pods
    return sum(1 for path, _ in walk(manifest.body) if path[-1:] == (key,)) == 1  # else it is said where it counts


def _is_unfinished(manifest: Manifest, fault: schema.Fault, of_flux: Any) -> bool:
    """Whether what isn't applied today lacks what whoever applies it gives it: a variable's value, or a patch on Flux's own kinds."""
    return has_variable(get(manifest.body, *fault.path)) or bool(of_flux and fault.what.endswith(" is required"))


_OPERATOR = ("FluxInstance", "FluxReport", "ResourceSet", "ResourceSetInputProvider")


def _is_of_operator(manifest: Manifest, fault: schema.Fault) -> bool:
    """Whether a kind that an Alert or a Receiver names is one of Flux Operator's, which adds them to what Flux takes there."""
    is_named = fault.path[-1:] == ("kind",) and manifest.group == NOTIFICATION
    return is_named and get(manifest.body, *fault.path) in _OPERATOR


_LOST: dict[str, Any] = {
    "severity": Severity.HYGIENE,
    "why": "Flux can't read labels that are no texts, and applies the object with its own labels alone",
    "do": "put the label's value in quotes",
}


def _is_label(fault: schema.Fault) -> bool:
    """Whether a label's value is no text, or the labels are no mapping: those of the object itself, which Flux writes anew with its own."""
    return fault.path[:2] == ("metadata", "labels") and len(fault.path) in (2, 3)


def _unquoted(tree: Tree, manifest: Manifest, fault: schema.Fault) -> Violation | None:
    """A text that became something else when its variable was put in: the build had dropped its quotes. The place is where the variable is used."""
    if _is_label(fault) or isinstance(get(manifest.body, *fault.path), str | dict | list):
        return None
    space = str(manifest.meta.get("namespace") or "")
    for file in dict.fromkeys((manifest.file, *manifest.patches)):
        written = tree.sources.value(file, manifest.kind, manifest.name, fault.path, space)
        if written and "${" in written and " must be a text" in fault.what:
            location = tree.sources.locate(file, manifest.kind, manifest.name, fault.path, space)
            return Violation(
                manifest.id,
                (location,),
                f"{manifest.id}: {fault.what}, once {written[:60]} is replaced: the build drops the quotes around it",
                do=f"let the quotes come with the value: ${{q:='}}{written[:60]}${{q:='}}, or quotes within the variable's own value",
                unreferenced=manifest.unreferenced,
            )
    return None


def _is_typed_by_flux(manifest: Manifest) -> bool:
    """Whether kustomize-controller reads the object into its Go type first, and so loses what that doesn't have: every built-in kind but two."""
    return manifest.by != "HelmChart" and manifest.kind not in ("Role", "ClusterRole")


def _keeps_its_type(fault: schema.Fault) -> bool:
    """With a value of another type the object can't be read into its Go type: it goes to the API server as it is, which refuses it."""
    return fault.is_unknown or fault.what.endswith(" is required")


def _latent_crds(tree: Tree) -> list[Manifest]:
    return [m for m in tree.unreferenced_objects if m.kind == "CustomResourceDefinition"]


@rule(
    "schema.version",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="the API server doesn't serve it, and the whole set of its Kustomization is refused",
    do="use a version that is served",
)
def version(tree: Tree) -> Iterator[Outcome]:
    """API versions that this Kubernetes doesn't serve (any more)."""
    known, own = schema.load(tree.kubernetes), schema.of_crds(tree.of("CustomResourceDefinition"))
    kinds = {(k.split("/")[0], k.split("/")[2]) for k in own}
    gone: list[tuple[Manifest, str]] = []
    everywhere: dict[str, list[str]] = {}
    for name in known.kinds:
        group, number, kind = name.split("/")
        everywhere.setdefault(kind, []).append(f"{group}/{number}".lstrip("/"))
    for manifest in [*tree.objects, *tree.unreferenced_objects]:
        number = manifest.api.rpartition("/")[2]
        name = f"{manifest.group}/{number}/{manifest.kind}"
        builtin = (
            manifest.group in GIVEN_GROUPS and not manifest.group.endswith("cattle.io")
        ) or manifest.group == "extensions"
        if builtin and number and name not in known.kinds:  # without a version: schema.no-object
            served = everywhere.get(manifest.kind, [])
            removed = lifecycle.removed_in(manifest)
            more = f" since 1.{removed}" if removed and removed <= int(known.version.split(".")[1]) else ""
            more += f"; it serves {', '.join(served)}" if served else ""
            what = f"Kubernetes {known.version} serves no {manifest.kind} in {manifest.api}{more}"
            gone.append((manifest, what))
        elif (manifest.group, manifest.kind) in kinds and name not in own:
            served = sorted(
                k.split("/")[1] for k in own if k.startswith(f"{manifest.group}/") and k.endswith(f"/{manifest.kind}")
            )
            yield hit(
                tree,
                manifest,
                f"the tree's CRD of {manifest.kind} serves {', '.join(served)}, and not {number}",
                "apiVersion",
            )
    yield from _gone(tree, gone)


def _gone(tree: Tree, found: list[tuple[Manifest, str]]) -> Iterator[Outcome]:
    """What this Kubernetes doesn't serve; where the repository says that its cluster is older, and nobody asked for this one, an upgrade takes it."""
    runs = running.said_minor(tree) if found and not tree.kubernetes else None
    for manifest, what in found:
        removed = lifecycle.removed_in(manifest)
        if runs and removed and runs[0] < removed:
            why = f"the cluster has Kubernetes 1.{runs[0]} ({runs[1]}), which serves it: an upgrade takes it away"
            yield hit(tree, manifest, what, "apiVersion", severity=Severity.UPGRADE_HAZARD, why=why, cause=manifest.api)
        else:
            yield hit(tree, manifest, what, "apiVersion", cause=manifest.api)


@rule(
    "schema.no-object",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="Flux refuses what has no kind, apiVersion or name",
    do="complete it",
)
def no_object(tree: Tree) -> Iterator[Outcome]:
    """Rendered documents that are no Kubernetes objects."""
    for kustomization in tree.all_kustomizations():
        for manifest in kustomization.objects:
            if not (manifest.kind and manifest.api and manifest.name) and not manifest.is_(KUSTOMIZE, "Kustomization"):
                yield Violation(
                    manifest.id or manifest.file,
                    (tree.locate(manifest),),
                    f"{manifest.file} holds an object without kind, apiVersion or name",
                    unreferenced=manifest.unreferenced,
                )
