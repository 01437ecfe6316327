"""One run at a time holds a machine's lanes: a lock that ends with its process, and a file with the owner's id.

The lock is a socket's name, not a file: the lane's ports and containers are the machine's, whichever user asks and wherever his caches lie.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from holdfast.errors import UsageError
from holdfast.paths import cache_dir


class LaneLock:
    """Held from `__enter__` until the process ends or the block is left. A killed process holds nothing."""

    def __init__(self, owner: str, path: Path | None = None) -> None:
        self.owner, self.path = owner, path or cache_dir() / "lane.lock"
        name = os.environ.get("HOLDFAST_LOCK") or path  # a test's own, beside a run that holds the machine's
        self._name = "\0holdfast-lane" + (f"-{name}" if name else "")

    def __enter__(self) -> LaneLock:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.bind(self._name)
        except OSError:
            self._socket.close()
            raise UsageError(
                f"another run holds this machine's lane: {self._holder()}",
                "wait for it, or end that process; what it leaves is healed by the next run",
            ) from None
        with suppress(OSError):  # a full disk must not keep anybody from cleaning up
            self.path.write_text(json.dumps({"owner": self.owner, "pid": os.getpid()}))
        return self

    def _holder(self) -> str:
        try:
            by = json.loads(self.path.read_text())
            return f"{by['owner']} (process {by['pid']})"
        except (OSError, ValueError, KeyError):
            return "another user's"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
