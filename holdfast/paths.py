"""Where holdfast keeps things: what it works on, caches outside of any checkout, results."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from pathlib import Path

from holdfast.errors import UsageError

_PACKAGE = Path(__file__).resolve().parent


def cache_dir() -> Path:
    """The user's cache folder for built images, state of lanes and logs (``XDG_CACHE_HOME`` is honoured). Raises UsageError."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = root / "holdfast"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the folder for caches, {path}, can't be made: {error.strerror}",
            "name one that can be written: XDG_CACHE_HOME=/path holdfast …",
        ) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise UsageError(
            f"the folder for caches, {path}, can't be written", "name one that can: XDG_CACHE_HOME=/path holdfast …"
        )
    return path


def checkout() -> Path | None:
    """The checkout that this package is part of; None where it was installed from a wheel."""
    return _PACKAGE.parent if (_PACKAGE.parent / "suites" / "claims.toml").is_file() else None


def _root() -> Path:
    """The folder with ``suites``, ``clusters`` and ``fixtures``: the checkout, or what the wheel brought, unpacked once into the cache."""
    if here := checkout():
        return here
    archives = list(_PACKAGE.glob("shipped-*.tar.gz"))
    if len(archives) != 1:
        raise RuntimeError(
            f"{_PACKAGE} holds {len(archives)} archives of suites and recipes, not one: install holdfast again"
        )
    archive = archives[0]
    target = cache_dir() / archive.name.removesuffix(".tar.gz")
    if not target.is_dir():
        part = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
        with tarfile.open(archive) as tar:
            tar.extractall(part, filter="tar")
        try:
            part.rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(part)
    return target


ROOT = _root()


def reports_dir() -> Path:
    """One folder a run is here (``HOLDFAST_REPORTS`` moves it): in a checkout its own, else in the user's cache."""
    usual = ROOT / "reports" / "out" if checkout() else cache_dir() / "reports"
    path = Path(os.environ.get("HOLDFAST_REPORTS") or usual)
    path.mkdir(parents=True, exist_ok=True)
    return path
