"""What is on disk about a lane, so that a later command finds what an earlier one made, dead or alive."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class LaneState:
    """The state of one lane; written before a thing is made, so that nothing is made that isn't known.

    Attributes:
        stage: ``making``, ``ready`` or ``tainted``.
        run: the run that owns it, or empty where it is kept.
        uid: the kube-system UID: the identity of the cluster.
        undo: the undo files that may hold what a dead run left.
    """

    stage: str = "making"
    run: str = ""
    cluster: str = ""
    uid: str = ""
    nonce: str = ""
    tree: str = ""
    commit: str = ""
    offline: bool = True
    containers: list[str] = field(default_factory=list)
    undo: list[str] = field(default_factory=list)
    git: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def read(path: Path) -> LaneState | None:
        """The state, or None where there is none (or it was cut while it was written, which can't be: it is replaced whole)."""
        try:
            return LaneState(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None

    def write(self, path: Path) -> None:
        """Replaces the file whole."""
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=1))
        part.chmod(0o600)
        part.replace(path)
