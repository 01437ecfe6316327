"""The one error that a user is meant to read: what is wrong, and what to do next."""

from __future__ import annotations

EXIT_USAGE = 64
EXIT_UNREAD = 11  # nothing was found, and too much wasn't read
EXIT_INTERRUPTED = 130  # as a shell says it of Ctrl-C


class NotExercised(Exception):
    """The lane lacks what a test, a fault or a probe needs; the message is the reason."""


class UsageError(Exception):
    """The command, the tree or the machine can't be used as asked: exit 64, no traceback.

    Args:
        what: what is wrong, one sentence.
        next_step: what the user can do about it, one sentence or a command.
    """

    def __init__(self, what: str, next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what}\n  next: {self.next_step}" if self.next_step else self.what


class AnotherClusterError(UsageError):
    """A name leads to another cluster than the one that it was first used for."""


class HostCannot(UsageError):
    """This machine can't run a lane."""
