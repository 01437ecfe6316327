"""What was found in a text the last time: kept beside the builds by the text's content, for what takes long and depends on nothing else."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

Found = list[tuple[int, str]]


class Memory:
    """What a reader found in the texts of one repository: lines from 1, and words.

    Args:
        folder: where it is kept between two checks; None keeps nothing.
        root: the repository, which has a file of its own there.
        readers: the modules that read: another version of them has found nothing yet.
    """

    def __init__(self, folder: Path | None, root: Path, *readers: ModuleType) -> None:
        self._file = folder / f"found-{_digest(str(root), *map(_source, readers))}.json" if folder else None
        self._before = self._read()
        self._now: dict[str, Found] = {}

    def _read(self) -> dict[str, Found]:
        try:
            found = json.loads(self._file.read_bytes()) if self._file else {}
            return {str(k): [(int(line), str(what)) for line, what in v] for k, v in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # nothing is lost: it is found again

    def of(self, name: str, text: str, find: Callable[[], Found]) -> Found:
        """What *find* finds in the text of a file, or found before."""
        key = _digest(name, text)
        if key not in self._now:
            self._now[key] = self._before[key] if key in self._before else find()
        return self._now[key]

    def keep(self) -> None:
        """Writes what was asked for this time, where it differs; a folder that can't be written keeps nothing.

        Where nothing was asked for, as where only other rules ran, what is kept stays.
        """
        if self._file is None or not self._now or self._now == self._before:
            return
        write_private(self._file, json.dumps(self._now))


def write_private(path: Path, text: str) -> None:
    """Writes a file whole, or not at all, which nobody else may read; a folder that can't be written, or is full, keeps nothing."""
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:40]


def _source(module: ModuleType) -> str:
    return Path(str(module.__file__)).read_text(encoding="utf-8")
