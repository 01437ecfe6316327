"""Processes of the user's own account that a lane is made of: started in one folder, known by what was written down, ended by that alone."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from holdfast.drivers.driver import DriverError
from holdfast.drivers.ports import Ports

_TOKEN = "HOLDFAST_TOKEN"  # noqa: S105  the name of a variable
_ENDS_WITHIN_S = 1.2
# Whoever ends because of an error says much more after it, of how it ends.
_TELLS_OF_AN_ERROR = re.compile(
    r'"level":"(?:error|fatal|panic)"|^[EF]\d{4} |^(?:panic|fatal error|Error): |Traceback|^\w*(?:Error|Exception)\b'
)


@dataclass(frozen=True)
class Started:
    """A process: its id, and when the kernel says that it started (in clock ticks since boot), since ids are used again."""

    name: str
    pid: int
    ticks: int

    def runs(self) -> bool:
        """Whether it is still there, and no zombie."""
        return ticks(self.pid) == self.ticks


def ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None where it is gone, or a zombie.

    One whose first thread has ended while others still end is neither: its sockets may still be open.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" and int(fields[17]) <= 1 else int(fields[19])


class Processes:
    """The processes of one lane.

    A secret token is on disk before the first of them starts, and every one of them has it in its environment: one that a killed run had no
    time to write down is found by it.

    Args:
        folder: where the record is, and their logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "processes.json"
        self.ports = Ports()
        self.token, self.started, self.readable = "", dict[str, Started](), True
        self.commands: dict[str, tuple[list[str], dict[str, str]]] = {}
        try:
            found = json.loads(self.file.read_text())
            self.token = str(found["token"])
            self.started = {
                name: Started(name, int(pid), int(ticks)) for name, (pid, ticks) in found["started"].items()
            }
            self.commands = {
                name: (list(words), dict(given)) for name, (words, given) in found.get("commands", {}).items()
            }
        except FileNotFoundError:
            pass
        except (ValueError, TypeError, KeyError):
            self.readable = False

    def begin(self) -> None:
        """A new token, on disk from now on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.token, self.started, self.commands, self.readable = secrets.token_hex(16), {}, {}, True
        self._write()

    def _write(self) -> None:
        part = self.file.with_suffix(".part")
        started = {name: (p.pid, p.ticks) for name, p in self.started.items()}
        part.touch(mode=0o600)
        part.write_text(json.dumps({"token": self.token, "started": started, "commands": self.commands}))
        part.replace(self.file)

    def log(self, name: str) -> Path:
        """What a process says."""
        return self.folder / "log" / f"{name}.log"

    def start(self, name: str, command: list[str], environment: Mapping[str, str] | None = None) -> Started:
        """Starts one in a process group of its own; it outlives this process. Raises DriverError where the program can't be started."""
        assert self.token, "begin() came first"
        self.log(name).parent.mkdir(exist_ok=True)
        home = str(self.folder)  # not the user's own, where programs look for settings of theirs (kwok does)
        base = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG")} | {"HOME": home}
        with self.log(name).open("ab") as log:
            try:
                child = subprocess.Popen(
                    command,
                    env={**base, **(environment or {}), _TOKEN: self.token},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    start_new_session=True,
                )
            except OSError as error:
                raise DriverError(f"{name} can't be started: {error}") from None
        started = Started(name, child.pid, ticks(child.pid) or 0)
        self.started[name] = started
        self.commands[name] = command, dict(environment or {})
        self._write()
        return started

    def again(self, name: str) -> Started:
        """Starts one as it was started before, also where another process did that. Raises DriverError where nobody did."""
        if name not in self.commands:
            raise DriverError(f"{name} was never started here")
        return self.start(name, *self.commands[name])

    def runs(self, name: str) -> bool:
        """Whether one that was started still runs."""
        return name in self.started and self.started[name].runs()

    def any(self) -> bool:
        """Whether any of them runs."""
        return bool(self._there())

    def _there(self) -> set[int]:
        known = {p.pid for p in self.started.values() if p.runs()}
        if not self.token:
            return known
        mark = f"{_TOKEN}={self.token}".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mark in path.read_bytes().split(b"\0") and ticks(int(path.parent.name)) is not None:
                    known.add(int(path.parent.name))
        return known - {os.getpid()}

    def stop(self, name: str, *, at_once: bool = False) -> None:
        """Ends one of them; *at_once*: without a word to it before, as a power cut does."""
        started = self.started.get(name)
        if started and started.runs():
            _end({started.pid}, (signal.SIGKILL,) if at_once else _POLITELY)
        self.started.pop(name, None)
        self._write()

    def end(self) -> None:
        """Ends all of them, also those that nobody wrote down; nothing is recorded any more afterwards."""
        limit = time.monotonic() + 10
        while there := self._there():
            _end(there)
            if time.monotonic() > limit:
                raise DriverError(f"these processes don't end: {', '.join(map(str, sorted(there)))}")
        self.token, self.started, self.commands = "", {}, {}
        self.ports.release()
        self.file.unlink(missing_ok=True)

    def last_words(self, name: str, lines: int = 3) -> str:
        """The last lines that a process said, for an error: of those that tell of one, where some do."""
        try:
            text = self.log(name).read_text(errors="replace")
        except OSError:
            return "no word in its log"
        said = [line.strip() for line in text.splitlines() if line.strip()]
        bad = [line for line in said[-200:] if _TELLS_OF_AN_ERROR.search(line)]
        return " / ".join(line[-200:] for line in (bad or said)[-lines:]) or "no word in its log"


_POLITELY = (signal.SIGTERM, signal.SIGKILL)


def _end(pids: set[int], signals: tuple[signal.Signals, ...] = _POLITELY) -> None:
    """A polite word to each, then the end; children of ours are waited for, so that none is left as a zombie."""
    for number in signals:
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        limit = time.monotonic() + _ENDS_WITHIN_S
        while time.monotonic() < limit and any(ticks(pid) is not None for pid in pids):
            time.sleep(0.02)
        if all(ticks(pid) is None for pid in pids):
            break
    for pid in pids:
        with suppress(ChildProcessError, OSError):
            os.waitpid(pid, os.WNOHANG)
