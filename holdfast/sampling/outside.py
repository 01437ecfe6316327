"""The sampler outside the cluster: a process on this machine, which looks through what the lane publishes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from holdfast.sampling.targets import OUTSIDE
from holdfast.sampling.vantage import Fetched, WatchedTargets

_ENDS_WITHIN_S = 15


class Outside:
    """One process for all targets."""

    def __init__(self, watched: WatchedTargets) -> None:
        self.watched, self.record = watched, watched.folder / "outside.txt"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        folder = self.watched.folder
        (folder / "outside.json").write_text(self.watched.specification(OUTSIDE))
        command = [sys.executable, "-P", "-m", "holdfast.sampling.process", "--spec", str(folder / "outside.json")]
        with (folder / "outside.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--out", str(self.record)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def collect(self) -> Iterator[Fetched]:
        at = time.time()
        yield Fetched(OUTSIDE, at, [self.record.read_text()] if self.record.exists() else [])

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
