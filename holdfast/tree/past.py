"""A tree as it was at another commit of its checkout."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from holdfast.errors import UsageError
from holdfast.tree import repository
from holdfast.tree.git import Checkout, top_of
from holdfast.tree.repository import Repository

SETTINGS = ".holdfast.toml"


@contextmanager
def at(root: Path, revision: str) -> Iterator[Repository]:
    """The files of the tree at *root* as they were at a *revision*, in a folder that is gone afterwards. Raises UsageError."""
    folder = root.resolve()
    top = top_of(folder)
    if top is None:
        raise UsageError(
            f"{root} is no Git checkout, so it has no other commit", "compare a checkout, or leave --against out"
        )
    with Checkout(top) as source, tempfile.TemporaryDirectory(prefix="holdfast-past-") as name:
        commit = source.commit(revision)
        if not commit:
            raise UsageError(
                f"{top} has no commit {revision}",
                "name a branch, a tag or a commit of this checkout; one of CI has often only its newest: fetch the other first (fetch-depth: 0)",
            )
        root = Path(name).resolve()
        names = source.put(commit, folder.relative_to(top).as_posix(), root)
        found = repository.read(root)
        files = tuple(
            n for n in names if n not in found.links and (root / n).is_file() and not repository.is_linked(root, n)
        )
        now = folder / SETTINGS  # the settings of now are those that count
        if now.is_file():
            shutil.copyfile(now, root / SETTINGS)
        yield replace(found, files=files, commit=commit, remotes=source.remotes, branch=source.branch)
