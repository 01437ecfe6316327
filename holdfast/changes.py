"""Commits that a test pushes: edits of the clone, each a function of its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from holdfast.probes.flux import MARKER, NAMESPACE
from holdfast.tree.documents import Entry, read

Edit = Callable[[Path], None]


def mark(start: Entry, marker: str, **more: str) -> Edit:
    """A ConfigMap in the entry's folder that says *marker*: the smallest commit whose arrival can be seen."""

    def edit(folder: Path) -> None:
        entry = folder / start.folder
        data = {"marker": marker, **more}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": MARKER, "namespace": NAMESPACE}, "data": data}
        (entry / f"{MARKER}.yaml").write_text(yaml.safe_dump(body))
        listed = entry / "kustomization.yaml"
        if listed.exists():
            table = yaml.safe_load(listed.read_text())
            if f"{MARKER}.yaml" not in table.setdefault("resources", []):
                table["resources"].append(f"{MARKER}.yaml")
                listed.write_text(yaml.safe_dump(table))

    return edit


def set_values(kind: str, name: str, path: tuple[str, ...], value: Any) -> Edit:
    """Sets one field of one object of the tree (its file is written anew, comments are lost: it is a clone)."""

    def edit(folder: Path) -> None:
        place = next(d for d in read(folder) if d.kind == kind and d.name == name)
        file = folder / place.file
        bodies = list(yaml.safe_load_all(file.read_text()))
        for body in bodies:
            if body and body["kind"] == kind and body["metadata"]["name"] == name:
                at = body
                for key in path[:-1]:
                    at = at.setdefault(key, {})
                at[path[-1]] = value
        file.write_text(yaml.safe_dump_all(bodies, sort_keys=False))

    return edit
