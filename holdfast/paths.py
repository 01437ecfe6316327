"""Where holdfast keeps things: what it works on, caches outside of any checkout, results."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def cache_dir() -> Path:
    """The user's cache folder for built images, state of lanes and logs (``XDG_CACHE_HOME`` is honoured)."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = root / "holdfast"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _checkout() -> Path | None:
    """The checkout that this package is part of; None where it was installed from a wheel."""
    return _PACKAGE.parent if (_PACKAGE.parent / "suites" / "claims.toml").is_file() else None


def _root() -> Path:
    """The folder with ``suites``, ``clusters`` and ``fixtures``: the checkout, or what the wheel brought, unpacked once into the cache."""
    if checkout := _checkout():
        return checkout
    archive = next(_PACKAGE.glob("shipped-*.tar.gz"))
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


def default_tree() -> Path:
    """The tree that is meant where none is named: the nearest folder from here upwards with a `.holdfast.toml`, else the reference tree."""
    here = Path.cwd()
    own = next((folder for folder in (here, *here.parents) if (folder / ".holdfast.toml").is_file()), None)
    if own:
        return own
    reference = ROOT / "fixtures" / "gitops"
    if not _checkout() and not (reference / ".git").exists():
        _commit(reference)
    return reference


def _commit(folder: Path) -> None:
    """Makes a repository of a folder that came with the wheel: a lane serves a commit."""
    who = ["-c", "user.name=holdfast", "-c", "user.email=holdfast@localhost", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], [*who, "commit", "-q", "-m", "the reference tree"]):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def reports_dir() -> Path:
    """One folder a run is here (``HOLDFAST_REPORTS`` moves it): in a checkout its own, else in the user's cache."""
    usual = ROOT / "reports" / "out" if _checkout() else cache_dir() / "reports"
    path = Path(os.environ.get("HOLDFAST_REPORTS") or usual)
    path.mkdir(parents=True, exist_ok=True)
    return path
