"""What a change has replaced: workloads whose pods are made anew, in the order in which Flux gets to them, and which of them are away meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from holdfast.tree.manifest import Body, Manifest, get, mapping, matches, sequence
from holdfast.tree.quantity import quantity
from holdfast.tree.tree import Tree

_KINDS = ("Deployment", "StatefulSet", "DaemonSet")
_QUARTER = "25%"


@dataclass(frozen=True)
class Restart:
    """A workload whose pods are made anew.

    Attributes:
        away: why nobody answers for it meanwhile, in words; empty where somebody does, or where that isn't known.
        path: the field that decides it.
        served: whether a Service leads to it.
    """

    manifest: Manifest
    away: str = ""
    path: tuple[str, ...] = ("spec",)
    served: bool = False


def restarts(before: Tree, after: Tree) -> list[Restart]:
    """The workloads of Kustomizations whose pod templates differ, by the wave of a start in which they come."""
    old = {m.key: m for k in before.kustomizations.values() for m in k.objects if m.kind in _KINDS}
    waves = {name: number for number, wave in enumerate(after.boot.waves) for name in wave}
    found = []
    for kustomization in after.kustomizations.values():
        for manifest in kustomization.objects:
            was = old.get(manifest.key) if manifest.kind in _KINDS else None
            if was is not None and _template(was.body) != _template(manifest.body):
                found.append((waves.get(kustomization.id, len(waves)), manifest.id, _restart(after, manifest)))
    return [one for _, _, one in sorted(found, key=lambda e: e[:2])]


def _template(body: Body) -> Any:
    """A pod template, without what is empty: that changes nothing."""
    return _plain(get(body, "spec", "template"))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: _plain(v) for k, v in value.items()}
        return {k: v for k, v in kept.items() if v not in (None, {}, [])}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _restart(tree: Tree, manifest: Manifest) -> Restart:
    services = list(_services(tree, manifest))
    away, path = {"Deployment": _deployment, "StatefulSet": _stateful_set, "DaemonSet": _daemon_set}[manifest.kind](
        manifest, services
    )
    return Restart(manifest, away, path, bool(services))


def _services(tree: Tree, manifest: Manifest) -> Iterator[Manifest]:
    labels = mapping(get(manifest.body, "spec", "template", "metadata", "labels"))
    for service in tree.of("Service"):
        selector = mapping(service.spec.get("selector"))
        if selector and service.namespace == manifest.namespace and matches({"matchLabels": selector}, labels):
            yield service


Away = tuple[str, tuple[str, ...]]
_STAYS: Away = ("", ("spec",))


def _deployment(manifest: Manifest, _: list[Manifest]) -> Away:
    spec, replicas = manifest.spec, _number(_one_if_unsaid(manifest.spec.get("replicas")))
    if get(spec, "strategy", "type") == "Recreate":
        return "its strategy is Recreate: all its pods end before new ones start", ("spec", "strategy", "type")
    update = mapping(get(spec, "strategy", "rollingUpdate"))
    gone = _share(update.get("maxUnavailable", _QUARTER), replicas, up=False)
    more = _share(update.get("maxSurge", _QUARTER), replicas, up=True)
    if gone == more == 0:
        gone = 1  # Kubernetes takes one away where it may do neither
    if replicas and gone is not None and gone >= replicas:
        return f"maxUnavailable lets all of its {replicas} pods end before a new one is ready", ("spec", "strategy")
    return _STAYS


def _stateful_set(manifest: Manifest, _: list[Manifest]) -> Away:
    if (
        get(manifest.spec, "updateStrategy", "type") == "OnDelete"
        or _number(_one_if_unsaid(manifest.spec.get("replicas"))) != 1
    ):
        return _STAYS
    return "it has one pod, which ends before the new one starts", ("spec", "replicas")


def _daemon_set(manifest: Manifest, services: list[Manifest]) -> Away:
    update = mapping(manifest.spec.get("updateStrategy"))
    if update.get("type") == "OnDelete" or _share(get(update, "rollingUpdate", "maxSurge") or 0, 1, up=True):
        return _STAYS
    path = ("spec", "updateStrategy")
    pod = mapping(get(manifest.body, "spec", "template", "spec"))
    ports = [mapping(p) for c in sequence(pod.get("containers")) for p in sequence(mapping(c).get("ports"))]
    if pod.get("hostNetwork") is True or any("hostPort" in p for p in ports):
        return "it answers on its nodes' own ports, and each node's pod ends before the new one starts", path
    local = [
        s.id for s in services if "Local" in (s.spec.get("externalTrafficPolicy"), s.spec.get("internalTrafficPolicy"))
    ]
    if local:
        return f"{local[0]} leads to each node's own pod, which ends before the new one starts (no maxSurge)", path
    return _STAYS


def _one_if_unsaid(replicas: object) -> object:
    return 1 if replicas is None else replicas


def _number(value: object) -> int | None:
    found = quantity(value)
    return None if found is None else int(found)


def _share(value: object, of: int | None, *, up: bool) -> int | None:
    """An absolute number, or a share of *of*, rounded *up* or down; None where it isn't known."""
    text = str(value)
    if not text.endswith("%"):
        return _number(value)
    share = _number(text[:-1])
    if share is None or of is None:
        return None
    return -(-share * of // 100) if up else share * of // 100
