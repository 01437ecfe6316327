"""Flux's own components in a tree: what its own commands write, and its owner hasn't."""

from __future__ import annotations

import posixpath

from holdfast.tree.manifest import Manifest, mapping


def is_component(manifest: Manifest) -> bool:
    """Whether an object is one of what ``flux install`` writes: by its label, or where that is of before the label, by its file's name."""
    part = mapping(manifest.meta.get("labels")).get("app.kubernetes.io/part-of")
    return part == "flux" or posixpath.basename(manifest.file) in ("gotk-components.yaml", "gotk-components.yml")
