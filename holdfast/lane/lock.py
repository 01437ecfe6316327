"""One run at a time holds a machine's lanes: a file lock with the owner's id, which ends with its process."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType

from holdfast.errors import UsageError
from holdfast.places import cache_dir


class LaneLock:
    """Held from `__enter__` until the process ends or the block is left. A killed process holds nothing."""

    def __init__(self, owner: str, path: Path | None = None) -> None:
        self.owner, self.path = owner, path or cache_dir() / "lane.lock"

    def __enter__(self) -> LaneLock:
        self._file = self.path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            held = self._file.read().strip() or "{}"
            self._file.close()
            by = json.loads(held)
            raise UsageError(f"another run holds this machine's lane: {by.get('owner', 'unknown')} (process {by.get('pid', '?')})",
                             "wait for it, or end that process; what it leaves is healed by the next run") from None
        self._file.truncate(0)
        self._file.write(json.dumps({"owner": self.owner, "pid": os.getpid()}))
        self._file.flush()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
