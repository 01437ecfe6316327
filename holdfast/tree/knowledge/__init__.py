"""What is known of the world outside a tree, as data: each file says where it was read, and when."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources

from holdfast.tree.manifest import Body


@functools.cache
def table(name: str) -> Body:
    """The data of ``NAME.toml``."""
    return tomllib.loads((resources.files("holdfast.tree.knowledge") / f"{name}.toml").read_text())
