"""A registry that stands in the place of the upstream ones (``HOLDFAST_REGISTRY``)."""

from __future__ import annotations

import os

VARIABLE = "HOLDFAST_REGISTRY"


def mirror() -> str:
    """A registry that holds the upstream images under their own names, such as ``127.0.0.1:5000``; empty where none is named."""
    return os.environ.get(VARIABLE, "")


def path(image: str) -> str:
    """An image's name without its registry, as a mirror has it."""
    first, slash, rest = image.partition("/")
    if not slash:
        return f"library/{image}"
    return rest if "." in first or ":" in first else image


def named(image: str) -> str:
    """The name by which an upstream image is pulled: through the mirror, where one is named."""
    return f"{mirror()}/{path(image)}" if mirror() else image
