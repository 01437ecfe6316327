"""What was rendered before: the builds of earlier checks, each under a digest of all that went into it."""

from __future__ import annotations

import json
from pathlib import Path

from holdfast.tree.manifest import Body
from holdfast.tree.memory import write_private

_MOST = 2000
Objects = list[tuple[Body, str, str]]


class KeptBuilds:
    """Builds in a folder, the latest of them; several checks may use it at once.

    Args:
        folder: where they are; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def of(self, digest: str) -> Objects | None:
        """What was rendered before; None where nothing was, or it can't be read any more."""
        if self.folder is None:
            return None
        try:
            found: Objects = json.loads(self._file(self.folder, digest).read_bytes())
        except (OSError, ValueError):
            return None
        return found

    def keep(self, digest: str, objects: Objects) -> None:
        """Writes what was rendered; it can hold what a tree has in plain text, so nobody else may read it."""
        if self.folder is not None:
            write_private(self._file(self.folder, digest), json.dumps(objects, separators=(",", ":")))

    def trim(self) -> None:
        """Removes the oldest beyond the most that are kept."""
        if self.folder and self.folder.is_dir():
            for old in sorted(self.folder.glob("*.json"), key=_age)[:-_MOST]:
                old.unlink(missing_ok=True)

    @staticmethod
    def _file(folder: Path, digest: str) -> Path:
        return folder / f"{digest[:40]}.json"


def _age(path: Path) -> float:
    """When a file was written; another check may have taken it away by now."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
