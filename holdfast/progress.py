"""Progress with elapsed time: one live line on a terminal, plain lines in a CI log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

# A CI log has no width of its own; 80 columns would break every sentence.
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
_STILL_EVERY_S = 30.0


def _clock(seconds: float) -> str:
    return f"{seconds:.1f}s" if seconds < 60 else f"{int(seconds // 60)}m{int(seconds % 60):02d}s"


@contextmanager
def on_stderr() -> Iterator[None]:
    """Progress goes to standard error meanwhile: standard output is the result, which a program may read."""
    before, console.stderr = console.stderr, True
    try:
        yield
    finally:
        console.stderr = before


@contextmanager
def step(what: str) -> Iterator[None]:
    """Announces a long step, shows that it is alive, and says how long it took.

    Args:
        what: the step in the present tense, such as ``building the node image``.
    """
    began = time.monotonic()
    done = threading.Event()

    def still() -> None:
        while not done.wait(_STILL_EVERY_S):
            console.print(f"  … still {what} ({_clock(time.monotonic() - began)})", style="dim")

    live = console.status(f"{what} …") if console.is_terminal else None
    if live:
        live.start()
    else:
        console.print(f"  ▸ {what} …")
        threading.Thread(target=still, daemon=True).start()
    mark, style = "✗", "red"
    try:
        yield
        mark, style = "✓", "green"
    finally:
        done.set()
        if live:
            live.stop()
        console.print(f"  {mark} {what} ({_clock(time.monotonic() - began)})", style=style)
