"""Asks the person at the terminal before a cluster that matters is broken."""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.errors import NotExercised
from holdfast.progress import console

UNATTENDED = "HOLDFAST_UNATTENDED"  # the name of the context whose owner isn't asked for each fault
_TERMINAL = Path("/dev/tty")


def ask(context: str, said: list[str]) -> None:
    """Says what is about to be done, and returns where the context's name is typed. Raises NotExercised where it isn't, or nobody can be asked.

    The terminal itself is asked, and not the standard input: what is piped into a command is nobody's word.
    """
    for line in said:
        console.print(f"  {line}", style="yellow", markup=False)
    if os.environ.get(UNATTENDED) == context:
        console.print(f"  {UNATTENDED}={context}: nobody is asked", style="yellow", markup=False)
        return
    try:
        with _TERMINAL.open("r+b", buffering=0) as terminal:
            terminal.write(f"  type the context's name to go on, anything else to leave it: [{context}] ".encode())
            typed = terminal.readline().decode(errors="replace").strip()
    except OSError:
        raise NotExercised(
            f"each fault on a cluster of your own is asked for on a terminal, and there is none ({UNATTENDED}={context} asks for none)"
        ) from None
    if typed != context:
        raise NotExercised(f"it was not wanted: '{typed[:40]}' was typed, and not {context}")
