"""What is looked at once everything is applied: what doesn't run, what is bound by nobody, and what takes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from holdfast.kube import Object, condition
from holdfast.rehearsal.sick import unhealthy
from holdfast.rehearsal.stage import Stage
from holdfast.tree.manifest import Manifest, get
from holdfast.tree.releases import whole_namespace
from holdfast.waiting import CannotLook, Clock

_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
_SETTLED_S = 6.0  # so long without a change
_NOTHING_S = 2.0  # controllers write a status some time after an object was made
_LIMIT_S = 45.0
_EVERY_S = 1.0


@dataclass(frozen=True)
class Lame:
    """An object of the tree that is applied and does nothing, or never runs.

    Attributes:
        rule: the rule of `holdfast check` that is about it, or one of the rehearsal's own.
        manifest: the object; *path* is the field that is at fault.
        said: what was seen.
        unsure: a chart that isn't read may make the difference; it counts where the tree alone says that nothing can.
    """

    rule: str
    manifest: Manifest
    path: tuple[str, ...]
    said: str
    unsure: bool = False


def look_after(stage: Stage, clock: Clock | None = None) -> list[Lame]:
    """Looks until nothing changes any more. Only at what the tree itself applies, where nothing that isn't read could make the difference."""
    clock = clock or Clock()
    began, since = clock.now(), clock.now()
    last: list[Lame] | None = None
    while True:
        found = last
        with suppress(CannotLook):
            found = list(_looks(stage))
        now = clock.now()
        if found != last:
            last, since = found, now
        settled = found is not None and now - since >= (_SETTLED_S if found else _NOTHING_S)
        if settled or now - began >= _LIMIT_S:
            return found or []
        clock.sleep(_EVERY_S)


def _looks(stage: Stage) -> Iterator[Lame]:
    for look in (_claims, _workloads, _services, _budgets):
        yield from look(stage)


def _own(stage: Stage, *kinds: str) -> Iterator[tuple[Manifest, Object]]:
    """The tree's own objects of some kinds, each as it stands in the cluster."""
    changed = {d.id.partition("/")[2] for d in stage.detours.values() if d.excluded or d.assumed}
    spaces = {m.namespace for m in stage.tree.objects if m.owner in changed}  # there the lane left something out
    wanted = [m for m in stage.tree.of(*kinds) if not m.by and m.namespace not in spaces]
    there = {
        (i["kind"], i["metadata"]["namespace"], i["metadata"]["name"]): i for k in kinds for i in stage.client.list(k)
    }
    for manifest in wanted:
        if (item := there.get(manifest.key)) is not None:
            yield manifest, item


def _claims(stage: Stage) -> Iterator[Lame]:
    """Claims of a class that there isn't."""
    classes = {c["metadata"]["name"] for c in stage.client.list("StorageClass")}
    for manifest, item in _own(stage, "PersistentVolumeClaim"):
        name = item["spec"].get("storageClassName")
        if (item.get("status") or {}).get("phase") == "Pending" and name and name not in classes:
            yield Lame(
                "apply.missing-class",
                manifest,
                ("spec", "storageClassName"),
                f"{manifest.id} asks for the class {name}, which nothing makes: it stays Pending",
                unsure=bool(stage.tree.unknown_releases),
            )


def _workloads(stage: Stage) -> Iterator[Lame]:
    """Workloads whose pods don't run, with what their pods say; those that were told to fail do as they were told."""
    for manifest, item in _own(stage, *_WORKLOADS):
        if any(f.kind == manifest.kind and f.takes(manifest.namespace, manifest.name) for f in stage.driver.failing):
            continue
        suspended = item["kind"] == "Job" and item["spec"].get("suspend")
        if why := "" if suspended else unhealthy(item, stage.client):
            unsure = not whole_namespace(stage.tree, manifest.namespace)
            yield Lame("apply.never-runs", manifest, (), f"{manifest.id} never runs: {why}", unsure)


def _services(stage: Stage) -> Iterator[Lame]:
    """Services with a selector and no pod behind it."""
    slices = stage.client.list("EndpointSlice")
    served = {
        (s["metadata"]["namespace"], (s["metadata"].get("labels") or {}).get("kubernetes.io/service-name"))
        for s in slices
        if s.get("endpoints")
    }
    for manifest, item in _own(stage, "Service"):
        named = (manifest.namespace, manifest.name)
        if item["spec"].get("selector") and named not in served and whole_namespace(stage.tree, manifest.namespace):
            yield Lame("apply.service-without-pods", manifest, ("spec", "selector"), f"{manifest.id} takes no pod")


def _budgets(stage: Stage) -> Iterator[Lame]:
    """Budgets that protect nothing."""
    for manifest, item in _own(stage, "PodDisruptionBudget"):
        seen = get(item, "status", "observedGeneration") is not None and condition(item, "DisruptionAllowed")
        if seen and get(item, "status", "expectedPods") == 0 and whole_namespace(stage.tree, manifest.namespace):
            yield Lame("resilience.budget-on-nothing", manifest, ("spec", "selector"), f"{manifest.id} protects no pod")
