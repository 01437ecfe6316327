"""Numbered, checksummed records that a writer appends to a volume. Standard library only: it runs in pods too."""

from __future__ import annotations

import errno
import os
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

Record = tuple[int, int]  # its number, and the wall time in nanoseconds at which it was made


def line(record: Record) -> bytes:
    """A record as it stands in the file. The line's end comes first, too: a line that was cut must not swallow the next one."""
    text = f"{record[0]} {record[1]}"
    return f"\n{text} {zlib.crc32(text.encode()):08x}\n".encode()


def parse(data: bytes) -> list[Record]:
    """The whole records of a file, in its order; what was cut or garbled is left out."""
    found = []
    for one in data.split(b"\n"):
        text, _, checksum = one.rpartition(b" ")
        try:
            if zlib.crc32(text) == int(checksum, 16) and len(checksum) == 8:
                number, at = text.split(b" ")
                found.append((int(number), int(at)))
        except ValueError:
            continue
    return found


def fault_in(acknowledged: Iterable[Record], data: bytes) -> str:
    """What is wrong with a file, given the records that were acknowledged: one lost, one twice, or out of order. Empty where it is right."""
    kept = parse(data)
    there = set(kept)
    lost = [record for record in acknowledged if record not in there]
    if lost:
        return f"{len(lost)} acknowledged records are lost, the first is number {lost[0][0]}"
    if len(there) < len(kept):
        return f"record {next(r[0] for r in kept if kept.count(r) > 1)} is there twice"
    wrong = next((b[0] for a, b in zip(kept, kept[1:], strict=False) if b[0] <= a[0]), None)
    return f"record {wrong} is out of order" if wrong is not None else ""


class Writer:
    """Appends to the file *path*. A record counts as acknowledged once its flush to the disk returned."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.number: int | None = (
            None  # the last one that was tried: a number is never used again, whatever became of it
        )

    def append(self) -> Record:
        """Writes the next record and flushes it; raises OSError where either fails."""
        if self.number is None:
            self.number = (
                max((number for number, _ in parse(self.path.read_bytes())), default=0) if self._begin() else 0
            )
        self.number += 1
        record = (self.number, time.time_ns())
        text = line(record)
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            if os.write(file, text) < len(text):
                raise OSError(errno.ENOSPC, "written in part")
            os.fsync(file)
        finally:
            os.close(file)
        return record

    def _begin(self) -> bool:
        """Whether the file was there; one that wasn't is made, and its name flushed."""
        if self.path.exists():
            return True
        self.path.touch()
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return False
