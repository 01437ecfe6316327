"""The tree that is meant where none is named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from holdfast.paths import ROOT, checkout
from holdfast.tree.git import git

REFERENCE = ROOT / "fixtures" / "gitops"


def _own() -> Path | None:
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / ".holdfast.toml").is_file()), None)


def default_tree() -> Path:
    """The nearest folder from here upwards with a `.holdfast.toml`, else the reference tree."""
    if own := _own():
        return own
    if not checkout() and not (REFERENCE / ".git").exists():
        _commit()
    return REFERENCE


def is_default(folder: Path) -> bool:
    """Whether a tree is the one that is meant where none is named."""
    return folder == (_own() or REFERENCE).resolve()


def _commit() -> None:
    """Makes a repository of the reference tree, which came with a wheel without one: a lane serves a commit."""
    part = REFERENCE.with_name(f"gitops.{os.getpid()}")
    shutil.copytree(REFERENCE, part)
    who = ("-c", "user.name=holdfast", "-c", "user.email=holdfast@localhost", "-c", "commit.gpgsign=false")
    git("init", "-q", "-b", "main", folder=part)
    git("add", "-A", folder=part)
    git(*who, "commit", "-q", "-m", "the reference tree", folder=part)
    try:
        (part / ".git").rename(REFERENCE / ".git")
    except OSError:  # another process was faster
        pass
    finally:
        shutil.rmtree(part, ignore_errors=True)
