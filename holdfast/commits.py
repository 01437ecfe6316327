"""Commits that a test pushes: edits of the clone, each a function of its folder."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from holdfast.probes.flux import MARKER, NAMESPACE
from holdfast.tree import repository
from holdfast.tree.sources import Sources, scalar
from holdfast.tree.tree import Sync

Edit = Callable[[Path], None]


def mark(sync: Sync, marker: str, **more: str) -> Edit:
    """A ConfigMap in the entry's folder that says *marker*: the smallest commit whose arrival can be seen."""
    data = {"marker": marker, **more}
    meta = {"name": MARKER, "namespace": NAMESPACE}
    return add(sync, MARKER, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})


def add(sync: Sync, file: str, body: dict[str, Any]) -> Edit:
    """An object of its own in the entry's folder, in *file* (without ``.yaml``), or in its place where there is one."""

    def edit(folder: Path) -> None:
        entry = folder / sync.folder
        (entry / f"{file}.yaml").write_text(yaml.safe_dump(body))
        _list(entry, f"{file}.yaml", listed=True)

    return edit


def take_back(sync: Sync, file: str) -> Edit:
    """Takes away again what `add` added."""

    def edit(folder: Path) -> None:
        entry = folder / sync.folder
        (entry / f"{file}.yaml").unlink(missing_ok=True)
        _list(entry, f"{file}.yaml", listed=False)

    return edit


def _list(entry: Path, name: str, *, listed: bool) -> None:
    """Has a file be among the resources of a folder, or not; where the folder has no list every file is."""
    path = entry / "kustomization.yaml"
    if not path.exists():
        return
    table = yaml.safe_load(path.read_text())
    resources = [r for r in table.get("resources") or [] if r != name]
    table["resources"] = [*resources, name] if listed else resources
    path.write_text(yaml.safe_dump(table))


def set_values(kind: str, name: str, path: tuple[str, ...], value: Any) -> Edit:
    """Sets one field of one object of the tree (its file is written anew, comments are lost: it is a clone)."""

    def change(_: list[Any], body: dict[str, Any]) -> None:
        at = body
        for key in path[:-1]:
            at = at.setdefault(key, {})
        at[path[-1]] = value

    return _of(kind, name, change)


def add_copy(kind: str, name: str, copy: str) -> Edit:
    """Adds a workload like one of the tree's, beside it, with pods of its own that no Service selects."""

    def change(bodies: list[Any], body: dict[str, Any]) -> None:
        added = deepcopy(body)
        added["metadata"]["name"] = copy
        labels = dict.fromkeys(added["spec"]["selector"]["matchLabels"], copy)
        added["spec"]["selector"]["matchLabels"] = added["spec"]["template"]["metadata"]["labels"] = labels
        bodies.append(added)

    return _of(kind, name, change)


def remove(kind: str, name: str) -> Edit:
    """Takes one object out of the tree."""
    return _of(kind, name, lambda bodies, body: bodies.remove(body))


def _of(kind: str, name: str, change: Callable[[list[Any], dict[str, Any]], None]) -> Edit:
    """*change* gets the objects of the file that holds one, and that one."""

    def edit(folder: Path) -> None:
        sources = Sources(repository.read(folder))
        file = folder / next(
            f for f in sources.repository.files if f.endswith((".yaml", ".yml")) and _holds(sources, f, kind, name)
        )
        bodies = [body for body in yaml.safe_load_all(file.read_text()) if body]
        change(bodies, next(b for b in bodies if b["kind"] == kind and b["metadata"]["name"] == name))
        file.write_text(yaml.safe_dump_all(bodies, sort_keys=False))

    return edit


def _holds(sources: Sources, file: str, kind: str, name: str) -> bool:
    return scalar(sources.find(file, kind, name), "metadata", "name") == name


# Where a chart takes the priority class of its pods: another one has them replaced, and changes nothing else.
_PRIORITY: dict[str, tuple[str, ...]] = {
    "ingress-nginx": ("controller", "priorityClassName"),
    "longhorn": ("longhornManager", "priorityClass"),
    "kube-prometheus-stack": ("prometheus", "prometheusSpec", "priorityClassName"),
}


def roll_release(release: str, chart: str, priority_class: str) -> Edit | None:
    """Has a release's pods replaced, by another priority class; None where it isn't known where the chart takes it."""
    path = _PRIORITY.get(chart)
    return set_values("HelmRelease", release, ("spec", "values", *path), priority_class) if path else None


def roll_workload(workload: str, number: str) -> Edit:
    """Has a workload's pods replaced, written ``Kind/name``: by a *number* in an annotation."""
    kind, _, name = workload.partition("/")
    return set_values(kind, name, ("spec", "template", "metadata", "annotations", "holdfast.dev/update"), number)
