"""Names within a chart's values."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast.tree.findings import Outcome, Severity, hit, rule
from holdfast.tree.manifest import mapping, sequence
from holdfast.tree.names import Reference
from holdfast.tree.near import near
from holdfast.tree.releases import Release
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import Tree

FAMILY = "apply"


@rule(
    "apply.missing-in-values",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="the chart's pods wait for it and never start, or nobody serves it",
    do="fix the name in the values, or add what it names",
)
def missing_in_values(tree: Tree) -> Iterator[Outcome]:
    """Values of a chart that name a Secret, a ConfigMap, a claim or a class which is almost there."""
    for release in tree.releases:
        if release.manifest.id in tree.charts.rendered:
            continue  # its objects are judged
        for ref in named_in_values(release):
            name = re.sub(r"\{\{-?\s*\.Release\.Name\s*-?\}\}", release.name, ref.name)
            if "{" in name or "$" in name:
                continue
            lack = tree.names.lacks(ref.kind, ref.namespace, name, by_hand=True)
            if lack is not None:
                what = "/".join(p for p in (ref.kind, ref.namespace, name) if p)
                said = f"the values of {release.manifest.id} name {what}, which nothing in the tree makes{lack.hint}"
                also = tree.names.other_place(ref.kind, ref.namespace, name)
                severity = Severity.BREAKS_CLAIM if ref.kind == "Gateway" else None
                yield hit(tree, release.manifest, said, *ref.path, also=also, severity=severity)


def named_in_values(release: Release) -> Iterator[Reference]:
    """What a release's values name: Secrets, ConfigMaps, claims, classes, Gateways."""
    return _in_values(release, mapping(release.manifest.spec.get("values")), ("spec", "values"))


_KEYS = {
    "existingClaim": "PersistentVolumeClaim",
    "claimName": "PersistentVolumeClaim",
    "existingSecret": "Secret",
    "existingSecretName": "Secret",
    "secretName": "Secret",
    "existingConfigMap": "ConfigMap",
    "existingConfigmap": "ConfigMap",
    "priorityClassName": "PriorityClass",
}
_WITH_NAME = {
    "secretRef": "Secret",
    "secretKeyRef": "Secret",
    "configMapRef": "ConfigMap",
    "configMapKeyRef": "ConfigMap",
}
_OF_TYPE = {"secret": "Secret", "configMap": "ConfigMap", "persistentVolumeClaim": "PersistentVolumeClaim"}


def _in_values(release: Release, value: object, path: tuple[PathKey, ...]) -> Iterator[Reference]:
    """The references that values hold under the keys that charts use for them."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _in_values(release, item, (*path, index))
        return
    body, space = mapping(value), release.target_namespace
    if body.get("enabled") is False or body.get("optional") is True:
        return
    kind = _OF_TYPE.get(str(body.get("type")))
    if kind and isinstance(body.get("name"), str):
        yield Reference((*path, "name"), kind, space, body["name"])
    for key, below in body.items():
        here = (*path, str(key))
        if isinstance(below, str) and key in _KEYS and "tls" not in path:
            yield Reference(here, _KEYS[key], "" if key == "priorityClassName" else space, below)
        elif isinstance(below, str) and key in ("secret", "configMap") and "envFrom" in path:
            yield Reference(here, _OF_TYPE[key], space, below)
        elif key in _WITH_NAME and isinstance(mapping(below).get("name"), str) and not mapping(below).get("optional"):
            yield Reference((*here, "name"), _WITH_NAME[key], space, below["name"])
        elif key == "parentRefs":
            for index, ref in enumerate(map(mapping, sequence(below))):
                if isinstance(ref.get("name"), str) and ref.get("kind") in (None, "Gateway"):
                    yield Reference((*here, index, "name"), "Gateway", str(ref.get("namespace") or space), ref["name"])
        else:
            yield from _in_values(release, below, here)


@rule(
    "apply.class-in-values",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="no controller serves an Ingress of a class that isn't there",
    do="name a class that is installed",
)
def class_in_values(tree: Tree) -> Iterator[Outcome]:
    """Ingress classes in a chart's values that are a slip of one that the tree installs."""
    classes = {m.name for m in tree.of("IngressClass")}
    for release in tree.releases:
        classes |= release.ingress_classes()
    for release in tree.releases if classes else ():
        for path, name in _classes(mapping(release.manifest.spec.get("values")), ("spec", "values")):
            meant = near(name, classes) if name not in classes else ""
            if meant:
                said = f"the values of {release.manifest.id} name the ingress class {name}; did you mean {meant}?"
                yield hit(tree, release.manifest, said, *path)


def _classes(value: object, path: tuple[PathKey, ...]) -> Iterator[tuple[tuple[PathKey, ...], str]]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _classes(item, (*path, index))
    for key, below in mapping(value).items():
        within = any("ingress" in str(p).lower() for p in path)
        if isinstance(below, str) and (key == "ingressClassName" or (key == "className" and within)):
            yield (*path, str(key)), below
        else:
            yield from _classes(below, (*path, str(key)))
