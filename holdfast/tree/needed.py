"""What a lane must give a tree: the Secrets that aren't in Git, and the Git hosts that its sources point at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from holdfast.tree.manifest import Manifest, mapping, sequence
from holdfast.tree.tree import Tree


def host_of(url: object) -> str:
    """The host of a Git URL; empty where it has none, or none that can be read."""
    text = str(url)
    try:
        return urlsplit(text).hostname or ""
    except ValueError:  # such as an address that was never closed
        return ""


def _references(value: Any) -> list[str]:
    """The names of Secrets that an object can't do without."""
    found: list[str] = []
    if isinstance(value, dict):
        if value.get("optional") is True:
            return []
        for key, below in value.items():
            if key in ("secretRef", "secretKeyRef") and isinstance(below, dict) and "name" in below:
                found += [str(below["name"])] if below.get("optional") is not True else []
            elif key == "secretName" and isinstance(below, str):
                found.append(below)
            elif key == "imagePullSecrets":
                found += [str(mapping(s)["name"]) for s in sequence(below) if "name" in mapping(s)]
            else:
                found += _references(below)
    elif isinstance(value, list):
        for item in value:
            found += _references(item)
    return found


@dataclass(frozen=True)
class NeededSecret:
    """A Secret that isn't in Git; *by* says who needs it, and where that stands."""

    namespace: str
    name: str
    by: str

    def __str__(self) -> str:
        return f"the Secret {self.namespace}/{self.name}, needed by {self.by}"


@dataclass(frozen=True)
class NeededHost:
    """A Git host that a source points at, and where that stands."""

    host: str
    at: str

    def __str__(self) -> str:
        return f"the Git host {self.host} ({self.at})"


def lacking(tree: Tree) -> list[NeededSecret | NeededHost]:
    """What the tree needs and nobody gives."""
    settings, objects = tree.settings, [*tree.objects, *tree.bootstrap]
    have = {(m.namespace, m.name) for m in objects if m.kind == "Secret"} | {
        (s.namespace, s.name) for s in settings.secrets
    }
    key = mapping(tree.sync.source.spec.get("secretRef"))
    have.add((tree.sync.source.namespace, str(key.get("name"))))  # the sync's own key is always made for the run
    suspended = {(a.kind, a.namespace, a.name) for a in settings.adaptations if a.suspends}
    found: list[NeededSecret | NeededHost] = []
    for manifest in objects:
        if manifest.kind in ("CustomResourceDefinition", "Secret") or manifest.key in suspended:
            continue
        for name in _references(manifest.body.get("spec")):
            if (manifest.namespace, name) not in have:
                have.add((manifest.namespace, name))
                by = f"{manifest.kind}/{manifest.name} ({tree.locate(manifest)})"
                found.append(NeededSecret(manifest.namespace, name, by))
    hosts: dict[str, Manifest] = {}
    for manifest in objects:
        if manifest.kind == "GitRepository" and (host := host_of(manifest.spec.get("url"))):
            hosts.setdefault(host, manifest)
    return found + [NeededHost(h, str(tree.locate(m))) for h, m in hosts.items() if h not in settings.aliases]


def astray(tree: Tree) -> list[str]:
    """Objects that the settings change and that nothing of the tree makes, in words; none where a part that wasn't read may make them."""
    if tree.not_read or any(k.error for k in tree.kustomizations.values()):
        return []
    there = {m.key for m in [*tree.objects, *tree.bootstrap]}
    made_by_charts = {m.spec.get("targetNamespace") or m.namespace for m in tree.of("HelmRelease")}
    return [
        f"{a.kind}/{a.namespace}/{a.name}"
        for a in tree.settings.adaptations
        if (a.kind, a.namespace, a.name) not in there and (a.suspends or a.namespace not in made_by_charts)
    ]
