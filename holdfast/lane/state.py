"""What is on disk about a lane, so that a later command finds what an earlier one made, dead or alive."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from holdfast.paths import cache_dir


def owner_id() -> str:
    """Who owns this cache folder's lanes: part of each cluster's name, so that two users of one engine don't meet."""
    path = cache_dir() / "owner"
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(secrets.token_hex(3))
        part.replace(path)
    return path.read_text().strip()


@dataclass
class LaneState:
    """The state of one lane; written before a thing is made, so that nothing is made that isn't known.

    Attributes:
        stage: ``making``, ``ready`` or ``quarantined``.
        run: the run that owns it, or empty where none does.
        kept: whether a user asked for it to stay.
        fidelity: what it was made with: versions, stand-ins, adaptations; one that differs now fits no verdict.
        uid: the kube-system UID: the identity of the cluster.
        branch, source: what Flux follows: the branch, and the GitRepository as [namespace, name].
        undo: the undo files that may hold what a dead run left.
        upgrading_to, upgraded: the version that its nodes are taken to in place, and those that are there.
    """

    stage: str = "making"
    run: str = ""
    uid: str = ""
    nonce: str = ""
    tree: str = ""
    commit: str = ""
    fidelity: list[str] = field(default_factory=list)
    kept: bool = False
    readable: bool = True
    undo: list[str] = field(default_factory=list)
    branch: str = ""
    source: list[str] = field(default_factory=list)
    git: dict[str, Any] = field(default_factory=dict)
    upgrading_to: str = ""
    upgraded: list[str] = field(default_factory=list)

    @staticmethod
    def read(path: Path) -> LaneState | None:
        """The state, or None where there is none; a file that can't be read counts as an unfinished lane of a dead run."""
        try:
            return LaneState(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return LaneState(run="a run whose state can't be read", readable=False)

    def write(self, path: Path) -> None:
        """Replaces the file whole."""
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=1))
        part.chmod(0o600)
        part.replace(path)
