"""HelmReleases: which chart with which values, and what the declared facts of a known chart say that this creates (``charts/*.toml``)."""

from __future__ import annotations

import copy
import functools
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from holdfast.tree.manifest import Body, Manifest, get, mapping, sequence
from holdfast.tree.sources import PathKey, load_text
from holdfast.tree.tree import HELM, Tree, object_in


@functools.cache
def known_charts() -> dict[str, Body]:
    """The facts of every known chart, by its name."""
    folder = resources.files("holdfast.tree") / "charts"
    return {
        f.name.removesuffix(".toml"): tomllib.loads(f.read_text()) for f in folder.iterdir() if f.name.endswith(".toml")
    }


@dataclass(frozen=True)
class Volume:
    """A volume that a release's values ask for; *path* is where in the values."""

    what: str
    storage_class: str
    path: tuple[PathKey, ...]


@dataclass(frozen=True)
class Release:
    """A HelmRelease with its chart and its merged values.

    Attributes:
        chart: its name; empty where another object (chartRef) names it and that isn't in the tree.
        facts: what is declared about the chart; empty where it isn't known.
        unread: valuesFrom that aren't in the tree.
    """

    manifest: Manifest
    chart: str
    version: str
    values: Body
    facts: Body
    unread: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        return bool(self.facts)

    @property
    def target_namespace(self) -> str:
        return str(self.manifest.spec.get("targetNamespace") or self.manifest.namespace)

    @property
    def name(self) -> str:
        """The name of the release in Helm."""
        target = self.manifest.spec.get("targetNamespace")
        return str(
            self.manifest.spec.get("releaseName")
            or (f"{target}-{self.manifest.name}" if target else self.manifest.name)
        )

    @property
    def role(self) -> str:
        return str(self.facts.get("role", ""))

    @property
    def minor(self) -> bool:
        """Whether it is a helper that says nothing of what the rest of its Kustomization is for."""
        return self.facts.get("minor") is True

    @property
    def groups(self) -> list[str]:
        """The API groups whose CRDs the release installs, as its values stand."""
        facts = self.facts
        if facts.get("crds_enabled"):
            said = get(self.values, *facts["crds_enabled"].split("."))
            before = get(self.values, *str(facts.get("crds_enabled_before", "")).split("."))
            if not (said if said is not None else before if before is not None else facts.get("crds_default", True)):
                return []
        install = mapping(self.manifest.spec.get("install"))
        if (
            facts
            and not facts.get("crds_in_templates")
            and (install.get("crds") == "Skip" or install.get("skipCRDs") is True)
        ):
            return []
        return [str(g) for g in facts.get("groups", [])]

    def value(self, dotted: str, default: Any = None) -> Any:
        """A value by its dotted path; *default*, the chart's own, where the values don't say (see `unread`: then it may still be another)."""
        found = get(self.values, *dotted.split(".")) if dotted else None
        return default if found is None else found

    def parts(self, name: str) -> Iterator[Body]:
        """The declared facts of one sort (``volume``, ``service`` …) that the values leave switched on."""
        for fact in self.facts.get(name, []):
            if (
                self.value(fact.get("enabled", ""), fact.get("default", True) if name == "webhook" else True)
                is not False
            ):
                yield fact

    def ingress_classes(self) -> set[str]:
        """The names that its IngressClasses may have."""
        found = set()
        for fact in self.parts("ingress_class"):
            found.add(str(self.value(fact["name"], fact["default"])))
            if fact.get("by_release") and not self.value(fact["name"]):
                found |= {self.name, f"{self.name}-{self.chart}"}
        return found

    def volumes(self) -> Iterator[Volume]:
        """The volumes that the values ask for: declared ones, and in a chart that isn't known what looks like one."""
        for fact in self.parts("volume"):
            if "template" in fact and (template := mapping(self.value(fact["template"]))):
                yield Volume(
                    fact["what"],
                    str(get(template, "spec", "storageClassName") or ""),
                    ("spec", "values", *fact["template"].split(".")),
                )
            elif "flag" in fact and self.value(fact["flag"], fact.get("flag_default", False)) is True:
                yield Volume(
                    fact["what"],
                    str(self.value(fact.get("class", ""), "")),
                    ("spec", "values", *fact["flag"].split(".")),
                )
        if not self.known:
            yield from _volumes_in(self.values, ("spec", "values"))

    def webhooks(self) -> Iterator[Body]:
        """Its admission webhooks that fail closed."""
        for fact in self.parts("webhook"):
            if self.value(fact.get("ignore", "")) != "Ignore":
                yield fact


def _volumes_in(value: Any, path: tuple[PathKey, ...]) -> Iterator[Volume]:
    """Values that name a storage class, whatever the chart."""
    if isinstance(value, dict):
        name = value.get("storageClass", value.get("storageClassName"))
        other = value.get("type") in ("emptyDir", "hostPath", "nfs", "configMap", "secret")
        off = value.get("enabled") is False or value.get("existingClaim") or other
        if isinstance(name, str) and name not in ("", "-") and not off:
            yield Volume(str(path[-1]), name, path)
        for key, below in value.items():
            yield from _volumes_in(below, (*path, str(key)))


def of(tree: Tree) -> tuple[Release, ...]:
    """Every applied HelmRelease (see `Tree.releases`)."""
    return tuple(_release(tree, m) for m in tree.of("HelmRelease") if m.group == HELM)


def _release(tree: Tree, manifest: Manifest) -> Release:
    chart = str(get(manifest.spec, "chart", "spec", "chart") or "")
    version = str(get(manifest.spec, "chart", "spec", "version") or "")
    reference = mapping(manifest.spec.get("chartRef"))
    if reference:
        source = tree.by_key.get(
            (
                str(reference.get("kind")),
                str(reference.get("namespace") or manifest.namespace),
                str(reference.get("name")),
            )
        )
        if source is not None:
            chart = str(source.spec.get("chart") or source.spec.get("url") or "").rstrip("/").rpartition("/")[2]
            version = str(
                source.spec.get("version") or get(source.spec, "ref", "tag") or get(source.spec, "ref", "semver") or ""
            )
    name = chart.rstrip("/").rpartition("/")[2]
    values: Body = {}
    unread = []
    for entry in sequence(manifest.spec.get("valuesFrom")):
        held = object_in(
            tree.kustomizations, (str(mapping(entry).get("kind")), manifest.namespace, str(mapping(entry).get("name")))
        )
        key = str(mapping(entry).get("valuesKey") or "values.yaml")
        text = get(held.body, "data", key) if held is not None and held.kind == "ConfigMap" else None
        if not isinstance(text, str) or mapping(entry).get("targetPath"):
            if not mapping(entry).get("optional"):
                unread.append(f"{mapping(entry).get('kind')}/{manifest.namespace}/{mapping(entry).get('name')}")
            continue
        try:
            values = merged(values, mapping(load_text(text)))
        except (yaml.YAMLError, ValueError):
            unread.append(f"ConfigMap/{manifest.namespace}/{mapping(entry).get('name')} (its YAML is broken)")
    values = merged(values, mapping(manifest.spec.get("values")))
    return Release(manifest, name, version, values, known_charts().get(name, {}), tuple(unread))


def merged(below: Body, above: Body) -> Body:
    """Helm's merge: mappings go into each other, everything else replaces; null takes away."""
    out = copy.copy(below)
    for key, value in above.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merged(out[key], value)
        else:
            out[key] = value
    return out


def without_releases(tree: Tree, namespace: str) -> bool:
    """Whether all of a namespace is in the tree: no chart installs into it, nothing unread could, and it isn't one that Kubernetes or k3s fills."""
    if namespace in ("kube-system", "kube-public") or tree.names.open_in(namespace):
        return False
    if namespace == "flux-system" and ("Deployment", "flux-system", "kustomize-controller") not in tree.by_key:
        return False
    return not any(r.target_namespace == namespace for r in tree.unread_releases)


def whole_namespace(tree: Tree, namespace: str) -> bool:
    """Whether every pod and Service of a namespace is in the tree."""
    return without_releases(tree, namespace) and namespace not in tree.unseen_makers
