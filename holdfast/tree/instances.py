"""What a FluxInstance syncs: said by the object itself, or by the values of its chart in a values file, a release or a helmfile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.tree.manifest import Body, get, mapping, objects_in, sequence
from holdfast.tree.origin import SourceName
from holdfast.tree.repository import is_set_aside
from holdfast.tree.sources import Sources
from holdfast.tree.tree import KUSTOMIZE


@dataclass(frozen=True)
class InstanceSync:
    """What a FluxInstance syncs, or the values of its chart."""

    file: str
    line: int
    body: Body
    namespace: str
    values: bool

    @property
    def source(self) -> SourceName:
        return str(self.body.get("kind") or "GitRepository"), self.name

    @property
    def name(self) -> str:
        return str(self.body.get("name") or self.namespace)

    @property
    def path(self) -> str:
        return str(self.body.get("path") or ".")


def syncs(sources: Sources, flux: list[tuple[str, Body]]) -> Iterator[InstanceSync]:
    """Every sync that a FluxInstance of the tree, or a values file, release or helmfile of its chart, says.

    Its path may have a variable in it, which somebody fills in before it is applied.
    """
    instances = {f for f, b in flux if b.get("kind") == "FluxInstance"}
    for name in sources.repository.files:
        if not name.endswith((".yaml", ".yml")) or is_set_aside(name):
            continue
        if name in instances:
            for line, one in sources.bodies(name):
                for body in objects_in(one):
                    if body.get("kind") == "FluxInstance":
                        yield from _sync(sources, name, line, get(body, "spec", "sync"), body, values=False)
        elif "instance:" in (text := sources.repository.text(name)) and "sync:" in text and "path:" in text:
            for line, body in sources.bodies(name):
                for values in _values_in(body):
                    yield from _sync(sources, name, line, get(values, "instance", "sync"), body, values=True)


def _values_in(body: Body) -> list[Body]:
    """The places where values of a chart stand: a values file, a HelmRelease, the releases of a helmfile."""
    if str(body.get("apiVersion", "")).startswith("helm.toolkit.fluxcd.io/"):
        return [mapping(get(body, "spec", "values"))]
    listed = [v for r in sequence(body.get("releases")) for v in sequence(mapping(r).get("values"))]
    return [body, *(v for v in listed if isinstance(v, dict))]


def _sync(sources: Sources, file: str, line: int, sync: object, body: Body, *, values: bool) -> Iterator[InstanceSync]:
    if not isinstance(sync, dict) or not isinstance(sync.get("path"), str):
        return
    lines = sources.repository.text(file).splitlines()[line - 1 :]
    at = next((n for n, text in enumerate(lines, line) if re.match(r"\s*path:", text) and sync["path"] in text), line)
    namespace = get(body, "spec", "targetNamespace") or get(body, "metadata", "namespace")
    yield InstanceSync(file, at, sync, str(namespace or "flux-system"), values)


def kustomization_of_sync(sync: InstanceSync) -> Body:
    """The Kustomization that the Flux Operator makes of a sync."""
    return {
        "apiVersion": f"{KUSTOMIZE}/v1",
        "kind": "Kustomization",
        "metadata": {"name": sync.name, "namespace": sync.namespace},
        "spec": {
            "path": sync.path,
            "prune": True,
            "interval": sync.body.get("interval", "1m"),
            "sourceRef": {"kind": sync.source[0], "name": sync.name},
        },
    }
