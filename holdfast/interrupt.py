"""An interrupt that isn't lost: Ctrl-C, SIGTERM and SIGHUP end a command, wherever it is when they arrive."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_AGAIN_AFTER_S = 0.02


def arm() -> None:
    """Has all three raise KeyboardInterrupt in the main thread.

    Python drops what is raised in a finalizer (a connection of a library's that closes, say): such an interrupt is raised once more a moment
    later, by SIGALRM, until somebody sees it.
    """
    signal.signal(signal.SIGTERM, _interrupted)  # cleaned up as after Ctrl-C
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup wants it ignored
        signal.signal(signal.SIGHUP, _interrupted)
    signal.signal(signal.SIGALRM, _interrupted)
    before = sys.unraisablehook

    def dropped(what: UnraisableHookArgs) -> None:
        if issubclass(what.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_AFTER_S)
        else:
            before(what)

    sys.unraisablehook = dropped


def _interrupted(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  the shape of a signal's handler
    raise KeyboardInterrupt
