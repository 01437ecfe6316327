"""`holdfast heal`: undoes what a dead run left."""

from __future__ import annotations

from holdfast import tempdir
from holdfast.drivers import catalogue
from holdfast.lane.lane import Lane
from holdfast.lane.lock import LaneLock
from holdfast.lane.reference import REFERENCE
from holdfast.lane.subject import Subject
from holdfast.options import LaneName
from holdfast.progress import console


def heal(lane: LaneName = catalogue.KEPT) -> None:
    """Replays what a dead run left undone on a lane's cluster; the cluster stays."""
    with LaneLock("holdfast heal"):
        tempdir.use_apart()
        count = Lane(lane, Subject(REFERENCE)).heal()
        console.print(f"  {count} steps undone" if count else "  nothing is left to heal")
