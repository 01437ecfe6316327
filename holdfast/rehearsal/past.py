"""The tree as it was at another commit, as something that can be rehearsed itself: a checkout of its own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from holdfast.errors import UsageError
from holdfast.lane.subject import Subject
from holdfast.tree import checkout, past
from holdfast.tree.git import git
from holdfast.tree.settings import FILE

_USER = re.compile(r"(?<=://)[^/@]*@")  # it may hold a token


@contextmanager
def subject_at(subject: Subject, revision: str) -> Iterator[Subject]:
    """*subject* as it was at a *revision* of its checkout, with its settings of now; its folder is gone afterwards.

    Raises UsageError where there is no such revision, or its entry wasn't there.
    """
    with past.at(subject.folder, revision) as then:
        entry = subject.entry or subject.tree.root.folder
        if entry not in then.folders:
            raise UsageError(
                f"at {revision} there is no folder {entry}, the entry of the tree as it is now",
                "a change that moves the entry can't be rehearsed: start each of the two from nothing",
            )
        # The repository's own rules of what is ignored don't count for what it holds all the same.
        git("init", "-q", f"--initial-branch={then.branch or 'main'}", folder=then.root)
        for number, url in enumerate(then.remotes):  # which source is this repository is told by them
            git("remote", "add", f"remote{number}", _USER.sub("", url), folder=then.root)
        git("add", "--all", "--force", folder=then.root)
        checkout.commit(then.root, f"as it was at {revision}")
        beside = then.root.parent / f"{then.root.name}{FILE}"
        try:
            _give_settings(subject, then.root, beside)
            yield replace(subject, folder=then.root, entry=entry)
        finally:
            beside.unlink(missing_ok=True)


def _give_settings(subject: Subject, root: Path, there: Path) -> None:
    """The settings of now where the old tree looks for them, and the files that they name."""
    settings = subject.settings
    if settings.path is None or not Path(settings.path).is_file():
        return
    shutil.copyfile(settings.path, there if settings.beside else root / FILE)
    for secret in settings.secrets:
        if secret.file and not Path(secret.file).is_absolute():
            found = settings.file(subject.folder, secret.file, "a Secret's file")
            target = root / secret.file
            if target.resolve().is_relative_to(root) and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(found, target)
