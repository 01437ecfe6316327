"""One shell on a node that stays: a command in it costs the node's own work, and no program of the engine's.

An ``exec`` of its own for each command takes 0.1–0.3 s of processor time in the engine, and copying a folder out of a container 0.1 s
(measured). A watch asks for a dozen of them at once, on the machine whose node it watches: the samplers then stood still by our own doing.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

from testinfra.backend.base import BaseBackend, CommandResult

from holdfast.drivers.driver import DriverError

_COMMAND_S = 600.0  # a command that takes longer is given up, with its shell
_OPENS_S = 60.0
_LOST, _GIVEN_UP = 137, 124  # what a shell says of what was killed, and `timeout` of what took too long
_READY = b"ready\n"
_WORDS = 300  # of what it said at last
# A command's output goes into files, so that it comes back byte by byte with its length in front; each has files of its own, since what it left
# running may still hold them. It is ended on the node itself when its time is up.
_BEGIN = "d=$(mktemp -d {folder}/holdfast-shell.XXXXXX) && trap 'rm -rf \"$d\"' EXIT && echo ready\n"
_COMMAND = (
    'rm -f "$d/out" "$d/err"; timeout -k 5 {limit_s:g} /bin/sh -c {command} </dev/null >"$d/out" 2>"$d/err"; '
    'echo "$? $(wc -c <"$d/out") $(wc -c <"$d/err")"; cat "$d/out" "$d/err"\n'
)
_ENDS_WITHIN_S = 10.0  # a shell whose input has ended; and a command, once the node was to end it


class Lost(Exception):
    """The shell ended, or could not be begun; the message says why."""


class _Session:
    """A shell that runs, and the pipes to it."""

    def __init__(self, command: list[str], folder: str) -> None:
        # Not a pipe: one that nobody reads would stop the shell once it is full.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  `close` closes it
        # A session of its own: Ctrl-C is for holdfast, which still has to heal on this node. It ends with its input.
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, start_new_session=True
            )
        except OSError as why:
            raise Lost(f"the node's shell can't be begun: {why}") from None
        self._read, self._is_idle = bytearray(), False
        try:
            self._send(_BEGIN.format(folder=shlex.quote(folder)))
            if self._line(time.monotonic() + _OPENS_S) != _READY:
                raise Lost("the node's shell doesn't begin")
        except TimeoutError:
            self.close()
            raise Lost(f"the node's shell doesn't begin within {_OPENS_S:g}s") from None
        except BaseException:
            self.close()
            raise
        self._is_idle = True

    @property
    def alive(self) -> bool:
        """Whether it hasn't ended yet."""
        return self._process.poll() is None

    def run(self, command: str, limit_s: float) -> tuple[int, bytes, bytes]:
        """Exit code, output and error output. Raises Lost, and TimeoutError where the node doesn't end it in time; it is of no use after either."""
        limit, self._is_idle = time.monotonic() + limit_s + _ENDS_WITHIN_S, False
        self._send(_COMMAND.format(command=shlex.quote(command), limit_s=limit_s))
        answer = self._line(limit)
        try:
            code, out, err = (int(part) for part in answer.split())
        except ValueError:
            words = answer.decode(errors="replace").strip()
            raise Lost(f"the node's shell can't keep what a command says: {words}") from None
        said, failed = self._exactly(out, limit), self._exactly(err, limit)
        self._is_idle = True
        return code, said, failed

    def close(self) -> None:
        """Ends it, and waits for that; one that has a command still is not waited for."""
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        try:
            self._process.wait(timeout=_ENDS_WITHIN_S if self._is_idle else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._said.close()

    def _send(self, text: str) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()
        except OSError:
            raise self._lost() from None

    def _more(self, limit: float) -> None:
        assert self._process.stdout
        pipe = select.poll()
        pipe.register(self._process.stdout, select.POLLIN)
        if not pipe.poll(max(0.0, limit - time.monotonic()) * 1000):
            raise TimeoutError
        data = os.read(self._process.stdout.fileno(), 1 << 20)
        if not data:
            raise self._lost()
        self._read += data

    def _lost(self) -> Lost:
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip()[-_WORDS:]
        return Lost(f"the node's shell ended{f': {said}' if said else ''}")

    def _line(self, limit: float) -> bytes:
        while b"\n" not in self._read:
            self._more(limit)
        return self._exactly(self._read.index(b"\n") + 1, limit)

    def _exactly(self, size: int, limit: float) -> bytes:
        while len(self._read) < size:
            self._more(limit)
        found = bytes(self._read[:size])
        del self._read[:size]
        return found


class NodeShellBackend(BaseBackend):  # type: ignore[misc]  # testinfra has no types
    """A backend of pytest-testinfra: commands of one node, one after another, in a shell that is begun when the first one comes.

    Args:
        node: the node's name.
        begin: gives the command line that begins a shell on the node as it is now. May raise `Lost`.
        folder: a folder of the node's memory, for what a command says until it is read.
        limit_s: how long a command may take; then it is ended on the node, and 124 is its exit code.
    """

    NAME = "holdfast"

    def __init__(
        self, node: str, begin: Callable[[], list[str]], *, folder: str = "/run", limit_s: float = _COMMAND_S
    ) -> None:
        super().__init__(node)
        self._encoding = "UTF-8"  # what testinfra would else start a Python for
        self._begin, self._folder, self._limit_s = begin, folder, limit_s
        self._session: _Session | None = None
        self._one_at_a_time = threading.Lock()

    def run(self, command: str, *args: str, **_: Any) -> CommandResult:
        """As any other backend: a node that can't be reached is an exit code and words, too.

        A command is never sent twice: of one that was lost with its shell nobody knows what it did.
        """
        text = self.get_command(command, *args)
        with self._one_at_a_time:
            try:
                code, out, err = self._opened().run(text, self._limit_s)
            except Lost as why:
                self._close()
                code, out, err = _LOST, b"", str(why).encode()
            except TimeoutError:
                self._close()
                code, out, err = _GIVEN_UP, b"", f"given up after {self._limit_s:g}s".encode()
            except BaseException:  # Ctrl-C, say: the answer to this command must not become the next one's
                self._close()
                raise
        return self.result(code, text.encode(), out, err)

    def close(self) -> None:
        """Ends the shell; the next command begins another."""
        with self._one_at_a_time:
            self._close()

    def _opened(self) -> _Session:
        if self._session is None or not self._session.alive:
            self._close()
            self._session = _Session(self._begin(), self._folder)
        return self._session

    def _close(self) -> None:
        if self._session:
            self._session.close()
        self._session = None


def run_or_raise(shell: Any, command: str) -> str:
    """What a command on a node prints. Raises DriverError with the last of its own words where it fails."""
    done = shell.run(command)
    if done.rc:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()][-4:]
        raise DriverError(f"{' '.join(command.split()[:2])}: {' / '.join(said)[-500:]}")
    return str(done.stdout)
