"""The tree as it was at another commit, as something that can be rehearsed itself: a checkout of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from holdfast.lane.subject import Subject
from holdfast.tree import checkout, past
from holdfast.tree.git import git


@contextmanager
def subject_at(subject: Subject, revision: str) -> Iterator[Subject]:
    """*subject* as it was at a *revision* of its checkout, with its settings of now; its folder is gone afterwards. Raises UsageError."""
    with past.at(subject.folder, revision) as then:
        git("init", "-q", f"--initial-branch={then.branch or 'main'}", folder=then.root)
        for number, url in enumerate(then.remotes):  # which source is this repository is told by them
            git("remote", "add", f"remote{number}", url, folder=then.root)
        checkout.commit(then.root, f"as it was at {revision}")
        entry = subject.entry or subject.tree.root.folder
        yield replace(subject, folder=then.root, entry=entry if entry in then.folders else "")
