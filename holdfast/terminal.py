"""A person's terminal: programs that are called with a cluster's kubeconfig, without a shell, and with nothing else of this machine's."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Typed:
    """How a command ended: its exit *code* (None: its time was up), and the *last* line that it said."""

    code: int | None
    last: str
    took_s: float


class Terminal:
    """Calls programs.

    Args:
        program: where the program of a name lies.
        kubeconfig: the only cluster that they know.
        folder: where they stand, so that a file of the tree is found by its name.
    """

    def __init__(self, program: Callable[[str], Path], kubeconfig: Path, folder: Path) -> None:
        self._program, self._kubeconfig, self._folder = program, kubeconfig, folder

    in_doubt = False  # set by whoever typed a change that failed: then nobody knows what the cluster is like

    def type(self, words: Sequence[str], stdin: str = "", timeout_s: float = 300.0) -> Typed:
        """Runs one command, and ends it with all that it started when its time is up."""
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as home:
            # No PATH: neither plugins nor git nor anything else that a user has may come in.
            # A copy: what is written to it stays here, and the lane's own goes on saying which cluster holdfast talks to.
            own = Path(home) / "kubeconfig"
            own.write_bytes(self._kubeconfig.read_bytes() if self._kubeconfig.exists() else b"")
            own.chmod(0o400)
            environment = {
                "HOME": home,
                "TMPDIR": home,
                "PATH": "",
                "KUBECONFIG": str(own),
                "KUBERC": "off",
            }
            with subprocess.Popen(
                list(words),
                executable=self._program(words[0]),
                cwd=self._folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            ) as process:
                try:
                    said, _ = process.communicate(stdin, timeout=max(0.1, timeout_s))
                except BaseException as error:
                    os.killpg(process.pid, signal.SIGKILL)
                    said, _ = process.communicate()
                    if not isinstance(error, subprocess.TimeoutExpired):
                        raise
                    return Typed(None, _last(said), time.monotonic() - began)
        return Typed(process.returncode, _last(said), time.monotonic() - began)


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
