"""A vantage: where looks are taken from. There are three, and a watch starts only those that its targets ask for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from holdfast.drivers.driver import NodeShell
from holdfast.sampling.looks import Target


@dataclass(frozen=True)
class WatchedTargets:
    """What one watch looks at from the vantage points of one vantage.

    Attributes:
        watch: the watch's own name.
        nonce: what every probed endpoint of the run answers with.
        folder: where copies of the records go.
        targets: by vantage point.
    """

    watch: str
    nonce: str
    folder: Path
    targets: dict[str, list[Target]]

    def specification(self, point: str) -> str:
        """What the sampler of a vantage point is told."""
        plain = [{k: v for k, v in asdict(t).items() if not k.startswith("_")} for t in self.targets.get(point, [])]
        return json.dumps({"watch": self.watch, "nonce": self.nonce, "targets": plain})


@dataclass(frozen=True)
class Fetched:
    """The records of one vantage point, as texts.

    Attributes:
        point: whose they are.
        at: wall time at which reading them began, in seconds: what was written later may be missing.
        texts: one for each record.
    """

    point: str
    at: float
    texts: list[str]


class Vantage(Protocol):
    """The samplers of one kind, for one watch."""

    def start(self) -> None:
        """Lets them look."""

    def collect(self) -> Iterator[Fetched]:
        """The records of each vantage point, one after another."""

    def stop(self) -> None:
        """Ends them; looks under way go on to their end."""


def fetch(shell: NodeShell, point: str, nodes: list[str], folder: str, watched: WatchedTargets) -> Fetched:
    """The records of a vantage point in a *folder* of whichever node; a copy of each stays in the watch's own."""
    at, texts = time.time(), []
    for node in nodes:
        for file, data in sorted(shell.read_files(node, f"{folder}/records/{watched.watch}").items()):
            (watched.folder / "-".join(dict.fromkeys((point, node, file)))).write_bytes(data)
            texts.append(data.decode(errors="replace"))
    return Fetched(point, at, texts)


def rest(shell: NodeShell, nodes: list[str], folder: str, nonce: str = "") -> None:
    """Tells the samplers that follow a *folder* on these nodes to look at nothing, until the next watch."""
    for node in nodes:
        shell.write_files(node, folder, {"spec.json": json.dumps({"watch": "", "nonce": nonce, "targets": []})})
