"""Where a command's temporary files are: in a folder of its own, so that what a kill leaves there (keys of clients among them) is found again."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from holdfast.paths import reports_dir

NAME = "tmp"  # in a run's folder


def use(folder: Path) -> None:
    """From now on this process's temporary files are in *folder*, which nobody else may read."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    tempfile.tempdir = str(folder)


def clean(reports: Path) -> None:
    """Removes the temporary folders that dead runs left, and this run's own at its end. The machine's lane lock must be held."""
    for left in reports.glob(f"*/{NAME}"):
        shutil.rmtree(left, ignore_errors=True)


def use_apart() -> None:
    """A folder for a command that is no run, and the end of those that dead runs left."""
    with suppress(OSError):  # a full disk must not keep anybody from cleaning up
        clean(reports_dir())
        use(reports_dir() / ".commands" / NAME)
