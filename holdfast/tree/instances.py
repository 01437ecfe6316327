"""What a FluxInstance syncs: said by the object itself, or by the values of its chart in a values file, a release or a helmfile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from holdfast.tree.manifest import Body, get, mapping, objects_in, sequence
from holdfast.tree.origin import SourceName
from holdfast.tree.releases import merged
from holdfast.tree.repository import is_set_aside
from holdfast.tree.sources import Sources, compose, construct
from holdfast.tree.tree import KUSTOMIZE


@dataclass(frozen=True)
class InstanceSync:
    """What a FluxInstance syncs, or the values of its chart; *patches*: what it changes of all that the operator makes for it."""

    file: str
    line: int
    body: Body
    namespace: str
    values: bool
    patches: tuple[Body, ...] = ()

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
                        yield from _sync(sources, name, line, mapping(body.get("spec")), body, values=False)
        elif "instance:" in (text := sources.repository.text(name)) and "sync:" in text and "path:" in text:
            for line, body in sources.bodies(name):
                for values in _values_in(body):
                    yield from _sync(sources, name, line, mapping(values.get("instance")), body, values=True)


def _values_in(body: Body) -> list[Body]:
    """The places where values of a chart stand: a values file, a HelmRelease, the releases of a helmfile."""
    if str(body.get("apiVersion", "")).startswith("helm.toolkit.fluxcd.io/"):
        return [mapping(get(body, "spec", "values"))]
    listed = [v for r in sequence(body.get("releases")) for v in sequence(mapping(r).get("values"))]
    return [body, *(v for v in listed if isinstance(v, dict))]


def _sync(
    sources: Sources, file: str, line: int, instance: Body, body: Body, *, values: bool
) -> Iterator[InstanceSync]:
    sync = instance.get("sync")
    if not isinstance(sync, dict) or not isinstance(sync.get("path"), str):
        return
    lines = sources.repository.text(file).splitlines()[line - 1 :]
    at = next((n for n, text in enumerate(lines, line) if re.match(r"\s*path:", text) and sync["path"] in text), line)
    namespace = get(body, "spec", "targetNamespace") or get(body, "metadata", "namespace")
    patches = tuple(p for p in sequence(get(instance, "kustomize", "patches")) if isinstance(p, dict))
    yield InstanceSync(file, at, sync, str(namespace or "flux-system"), values, patches)


def kustomization_of_sync(sync: InstanceSync) -> Body:
    """The Kustomization that the Flux Operator makes of a sync, with what the instance changes of it."""
    made: Body = {
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
    for patch in sync.patches:
        target = mapping(patch.get("target"))
        if _is_meant(target, made):
            _apply(made, _read(patch.get("patch")), named=bool(target))
    return made


def _is_meant(target: Body, made: Body) -> bool:
    """Whether a patch's target is an object; its parts are patterns, and without one the patch itself says what it is about."""
    own = {"kind": made["kind"], "group": KUSTOMIZE, **made["metadata"]}
    try:
        said = [re.fullmatch(str(target[part]), str(own[part])) for part in own if target.get(part)]
    except re.error:
        return False
    return all(said) and not target.get("labelSelector") and not target.get("annotationSelector")


def _read(patch: object) -> Any:
    try:
        node = next(compose(str(patch)), None)
        return construct(node) if node is not None else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return None  # whoever applies the instance is told so


def _apply(made: Body, patch: Any, *, named: bool) -> None:
    """A merge, or a list of operations as RFC 6902 has them, on one object; what it can't be applied to it leaves as it is."""
    for one in sequence(patch):
        _operate(made, mapping(one))
    if isinstance(patch, dict) and (named or _same(patch, made)):
        made["spec"] = merged(made["spec"], mapping(patch.get("spec")))


def _operate(made: Body, one: Body) -> None:
    """One operation; a list may be added to at its end."""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in str(one.get("path")).split("/")[1:]]
    if not steps or one.get("op") not in ("add", "replace", "remove"):
        return
    at: Any = made
    for step, after in zip(steps, steps[1:], strict=False):
        if not isinstance(at, dict):
            return
        at = at.setdefault(step, [] if after == "-" else {})
    if isinstance(at, list) and steps[-1] == "-" and one["op"] == "add":
        at.append(one.get("value"))
    elif isinstance(at, dict) and one["op"] == "remove":
        at.pop(steps[-1], None)
    elif isinstance(at, dict):
        at[steps[-1]] = one.get("value")


def _same(patch: Body, made: Body) -> bool:
    return bool(patch.get("kind") == made["kind"]) and get(patch, "metadata", "name") == made["metadata"]["name"]
