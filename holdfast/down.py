"""`holdfast down`: removes a lane's cluster."""

from __future__ import annotations

from holdfast import tempdir
from holdfast.drivers import catalogue
from holdfast.lane.lane import Lane
from holdfast.lane.lock import LaneLock
from holdfast.lane.reference import REFERENCE
from holdfast.lane.subject import Subject
from holdfast.options import LaneName
from holdfast.progress import console
from holdfast.rehearsal.folders import clean_dead


def down(lane: LaneName = catalogue.KEPT) -> None:
    """Removes a lane's cluster, its Git server and its network, and nothing else."""
    with LaneLock("holdfast down"):
        tempdir.use_apart()
        clean_dead()  # what killed rehearsals left, too
        on = Lane(lane, Subject(REFERENCE))
        console.print("  removed" if on.down() else f"  there is nothing of {on.name}")
        for stray in on.driver.strays():
            console.print(
                f"  {stray.name}: called like this lane's, and not made by it; if nobody needs it: {stray.removal}",
                style="yellow",
            )
