"""Runs a command whose children must not outlive whoever started it: where that process dies, however it dies, the whole group is killed.

``python -m holdfast.drivers.leash COMMAND …``. Standard library only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time


def on(*command: str) -> list[str]:
    """A command on the leash: neither it nor its children may go on making nodes, say, for a run that was killed.

    -P: the folder that the user stands in may be a tree, whose files must not be taken for modules.
    """
    return [sys.executable, "-P", "-m", "holdfast.drivers.leash", *command]


def main(command: list[str]) -> int:
    """Runs *command* in a process group of its own; returns its exit code."""
    parent = os.getppid()
    child = subprocess.Popen(command, start_new_session=True)

    def end(*_: object) -> None:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    while child.poll() is None:
        if os.getppid() != parent:
            end()
        time.sleep(0.05)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
