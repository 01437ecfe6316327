"""What is assumed of a tree where nothing is fetched: what each HelmRelease comes to, and which objects aren't read here."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from holdfast.tree.chart_files import put
from holdfast.tree.given import GIVEN_GROUPS
from holdfast.tree.manifest import Body, Manifest
from holdfast.tree.releases import Release
from holdfast.tree.tree import Tree

ASSUMED = "holdfast.dev/assumed"  # on what a lane takes for there, and on what it made for that
_CLASS_MANY = ("s", "x", "ch", "sh")


def plural(kind: str) -> str:
    """The resource's name of a kind, as English and Kubernetes' own kinds have it."""
    name = kind.lower()
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(_CLASS_MANY) else f"{name}s"


def definition(group: str, kind: str, versions: Iterable[str], *, namespaced: bool) -> Body:
    """A CustomResourceDefinition that takes whatever it is given."""
    served = sorted(set(versions))
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural(kind)}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, of a lane", ASSUMED: "true"},
        },
        "spec": {
            "group": group,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural(kind),
                "singular": kind.lower(),
            },
            "scope": "Namespaced" if namespaced else "Cluster",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == served[-1],
                    "schema": schema,
                    "subresources": {"status": {}},
                }
                for version in served
            ],
        },
    }


def definition_of(tree: Tree, group: str, kind: str, version: str = "") -> Body:
    """A definition for a kind as the tree uses it: in which versions, and with or without a namespace."""
    used = [m for m in tree.objects if m.group == group and m.kind == kind]
    versions = {m.api.rpartition("/")[2] for m in used} | ({version} if version else set())
    of_cluster = any(not m.namespace for m in used) or (kind.startswith("Cluster") and kind != "Cluster")
    namespaced = not of_cluster
    return definition(group, kind, versions or {"v1"}, namespaced=namespaced)


def _kinds(tree: Tree, groups: Iterable[str]) -> list[tuple[str, str]]:
    """The kinds of some API groups that the tree uses and doesn't define itself."""
    wanted = set(groups)
    defined = {
        (str(m.spec.get("group")), str(m.spec.get("names", {}).get("kind")))
        for m in tree.of("CustomResourceDefinition")
    }
    return sorted({(m.group, m.kind) for m in tree.objects if m.group in wanted} - defined)


def of_flux(tree: Tree, there: Iterable[tuple[str, str]]) -> list[Body]:
    """Definitions of the kinds of Flux's own, and of its operator's, that the tree uses and a lane hasn't got: (API group, kind) are *there*."""
    groups = {m.group for m in tree.objects if m.group.endswith((".fluxcd.io", "fluxcd.controlplane.io"))}
    return [definition_of(tree, group, kind) for group, kind in _kinds(tree, groups) if (group, kind) not in set(there)]


def of_unread_charts(tree: Tree) -> list[Body]:
    """Definitions of the kinds that the tree uses and nothing that is read or known brings, where a chart that isn't known here may bring them."""
    if not tree.unknown_releases:
        return []
    given = {group for release in tree.releases for group in release.groups}
    groups = {
        m.group
        for m in tree.objects
        if "." in m.group and m.group not in given | GIVEN_GROUPS and not m.group.endswith(".fluxcd.io")
    }
    return [definition_of(tree, group, kind) for group, kind in _kinds(tree, groups)]


def objects_of(tree: Tree, release: Release) -> list[Body]:
    """What the declared facts of a release's chart say that it makes, as far as other objects of the tree need it."""
    made = [definition_of(tree, group, kind) for group, kind in _kinds(tree, release.groups)]
    for fact in release.parts("storage_class"):
        default = release.value(fact.get("default_class", ""), fact.get("default_class_default", False))
        marks = {"storageclass.kubernetes.io/is-default-class": "true"} if default is True else {}
        made.append(
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"name": fact["name"], "annotations": marks},
                "provisioner": fact["provisioner"],
            }
        )
    for fact in release.parts("ingress_class"):
        name = str(release.value(fact.get("name", ""), fact.get("default", "")))
        if name:
            meta = {"name": name}
            made.append(
                {
                    "apiVersion": "networking.k8s.io/v1",
                    "kind": "IngressClass",
                    "metadata": meta,
                    "spec": {"controller": f"holdfast.dev/{name}"},
                }
            )
    return made


def releases(tree: Tree, folder: Path) -> dict[str, dict[str, Any]]:
    """What each HelmRelease comes to, by ``namespace/name``: the *chart* that can be read, copied below *folder*, or the *objects* assumed."""
    told: dict[str, dict[str, Any]] = {}
    for number, release in enumerate(tree.releases):
        manifest = release.manifest
        at = tree.charts.folders.get(manifest.id)
        if at and manifest.id in tree.charts.rendered:
            chart = folder / str(number)
            shutil.rmtree(chart, ignore_errors=True)
            put(tree, release, at, chart)
            told[f"{manifest.namespace}/{manifest.name}"] = {"chart": str(chart)}
        else:
            told[f"{manifest.namespace}/{manifest.name}"] = {"objects": objects_of(tree, release)}
    return told


def unread(tree: Tree) -> list[str]:
    """The Kustomizations that aren't read here, as ``namespace/name``: what they apply is assumed."""
    return sorted(k.id for k in tree.kustomizations.values() if (k.not_read or k.left_out) and k is not tree.root)


def own_sources(tree: Tree, source: Manifest) -> list[Manifest]:
    """The GitRepositories that are this very repository: the entry's own *source*, and others with its URL and its reference."""

    def what(manifest: Manifest) -> tuple[Any, Any]:
        return manifest.spec.get("url"), manifest.spec.get("ref")

    same = [
        m
        for m in [*tree.bootstrap, *tree.objects]
        if m.kind == "GitRepository" and what(m) == what(source) and m.key != source.key
    ]
    return [source, *same]
