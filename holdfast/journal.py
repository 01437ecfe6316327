"""The run as data: an append-only file of JSON lines, each with a sequence number and a running hash, the last one a seal."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holdfast.events import Event, LaneBegin, RunBegin, Seal

Line = dict[str, Any]
_START = "holdfast-journal-1"


def _hash(before: str, entry: Line) -> str:
    text = json.dumps({k: v for k, v in entry.items() if k != "hash"}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()[:24]


class Journal:
    """Writes the journal of one run. Every line is on disk before `write` returns: a crash loses nothing that was said.

    *listener*, where one is set, gets every entry after it is on disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", encoding="utf-8")
        self._seq, self._last, self._began = 0, _START, time.monotonic()
        self._lock = threading.Lock()
        self._secrets: list[str] = []
        self.of_test: dict[str, list[Line]] = {}  # what was written of each test, for its end
        self.listener: Callable[[Line], None] | None = None

    def keep_out(self, *secrets: str) -> None:
        """From now on these texts are written as ``***``: a secret never reaches a journal."""
        self._secrets += [s for s in secrets if len(s) >= 6]

    def write(self, event: Event, test: str = "") -> Line:
        """Appends an event, of a *test* where it is one's; returns its line."""
        of_test = {"test": test} if test else {}
        return self.append(event.event, **of_test, **{f.name: getattr(event, f.name) for f in fields(event)})  # type: ignore[arg-type]

    def append(self, event: str, **values: Any) -> Line:
        """Appends a line of any shape; ``t`` is wall time, ``at_s`` seconds since the run began."""
        with self._lock:
            entry: Line = {
                "seq": self._seq,
                "t": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "at_s": round(time.monotonic() - self._began, 3),
                "event": event,
                **values,
            }
            text = json.dumps(entry, ensure_ascii=False, default=str)
            for secret in self._secrets:
                text = text.replace(json.dumps(secret)[1:-1], "***")
            entry = json.loads(text)
            entry["hash"] = self._last = _hash(self._last, entry)
            self._seq += 1
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            if entry.get("test"):
                self.of_test.setdefault(str(entry["test"]), []).append(entry)
        if self.listener:
            self.listener(entry)
        return entry

    def seal(self) -> None:
        """Ends the journal. Without this line it proves only what it holds whole."""
        self.write(Seal(self._seq))
        self._file.close()


@dataclass(frozen=True)
class JournalRecord:
    """A journal that was read.

    Attributes:
        entries: the lines up to the first that doesn't continue the ones before it.
        sealed: whether the last of them is the seal of exactly these lines.
        problem: what is wrong with the file, empty where nothing is.
    """

    entries: tuple[Line, ...]
    sealed: bool
    problem: str = ""

    def of(self, event: type[Event]) -> Iterator[Line]:
        """The lines of one event, in order."""
        return (e for e in self.entries if e.get("event") == event.event)


def header(record: JournalRecord) -> Line:
    """What runs, on what: the first line, and what the lane added to it before its first cluster."""
    return {k: v for event in (RunBegin, LaneBegin) for k, v in next(record.of(event), {}).items()}


def read(lines: list[str]) -> JournalRecord:
    """Reads a journal's lines as far as they can be trusted. Never raises: a broken line ends the trust."""
    entries: list[Line] = []
    last, problem = _START, ""
    for number, line in enumerate(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            problem = f"line {number + 1} is cut or is no JSON"
            break
        if not isinstance(entry, dict) or entry.get("seq") != number or entry.get("hash") != _hash(last, entry):
            problem = f"line {number + 1} doesn't continue the lines before it"
            break
        last = entry["hash"]
        entries.append(entry)
    sealed = (
        bool(entries)
        and not problem
        and entries[-1].get("event") == "seal"
        and entries[-1].get("lines") == len(entries) - 1
    )
    if not problem and not sealed:
        problem = "the seal is missing: the run didn't end by itself"
    return JournalRecord(tuple(entries), sealed, problem)


def read_file(path: Path) -> JournalRecord:
    """Reads a journal file."""
    return read_bytes(path.read_bytes())


def read_bytes(raw: bytes) -> JournalRecord:
    """Reads a journal's content."""
    text = raw.decode("utf-8", errors="replace").removesuffix("\n")
    # not splitlines(): it also cuts at characters that a sighting may hold
    return read(text.split("\n") if text else [])
