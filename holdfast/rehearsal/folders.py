"""The folders of rehearsals: each is held by a lock that ends with its process, so that what a killed one left is known, and ended."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from holdfast.drivers import kwok
from holdfast.paths import cache_dir


def _root() -> Path:
    root = cache_dir() / "rehearsals"
    root.mkdir(parents=True, exist_ok=True)
    return root


def _lock(folder: Path) -> IO[str] | None:
    """The open file that holds the lock on a folder; None where another process has it."""
    file = (folder / "lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def clean_dead() -> None:
    """Ends what rehearsals left whose process is gone: nobody holds the lock on their folder any more."""
    for folder in sorted(p for p in _root().iterdir() if p.is_dir()):
        if lock := _lock(folder):
            with lock:
                kwok.open(kwok.profiles()[-1], folder, "").down()
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def held() -> Iterator[Path]:
    """A new folder, which is gone afterwards; what dead rehearsals left is ended first."""
    with (_root() / ".making").open("a") as making:  # so that a folder is never seen without its lock held
        fcntl.flock(making, fcntl.LOCK_EX)
        clean_dead()
        folder = _root() / f"{os.getpid()}-{secrets.token_hex(3)}"
        folder.mkdir(mode=0o700)
        lock = _lock(folder)
        assert lock, "nobody else knows it yet"
    with lock:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
