"""Folders of a test's own for a command that it starts: cache, reports, lock; and no engine to be had."""

import os
from pathlib import Path

from holdfast.provision import tools


def cache(folder: Path) -> Path:
    """A cache with nothing in it but the kustomize that stays, which would be built anew there; returns what XDG_CACHE_HOME is to be."""
    tool = tools.kustomize()
    if tool.stays:
        made = Path(tool.command[0])
        here = folder / "holdfast" / "bin"
        here.mkdir(parents=True, exist_ok=True)
        if not (here / made.name).exists():
            (here / made.name).symlink_to(made)
    return folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a command that keeps all that it writes in *folder*."""
    own = {
        "XDG_CACHE_HOME": str(cache(folder / "cache")),
        "HOLDFAST_REPORTS": str(folder / "out"),
        "HOLDFAST_LOCK": str(folder),
        "DOCKER_HOST": "tcp://127.0.0.1:1",
        "COLUMNS": "200",
    }
    return {**os.environ, **own, **more}
