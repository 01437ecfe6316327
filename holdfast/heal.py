"""`holdfast heal`: undoes what a dead run left."""

from __future__ import annotations

from holdfast import tempdir
from holdfast.drivers import catalogue
from holdfast.drivers.driver import Live
from holdfast.errors import UsageError
from holdfast.lane.lane import Lane
from holdfast.lane.lock import LaneLock
from holdfast.lane.reference import default_tree
from holdfast.lane.subject import Subject
from holdfast.options import AllowDisruption, LaneName, TreePath
from holdfast.progress import console


def heal(lane: LaneName = catalogue.KEPT, allow_disruption: AllowDisruption = "", tree: TreePath = None) -> None:
    """Replays what a dead run left undone on a lane's cluster; the cluster stays.

    A cluster of your own undoes it by itself when the fault's time is over; this has it do so now.
    """
    if catalogue.is_named_by_user(lane) and not allow_disruption:
        raise UsageError(
            "healing changes the cluster, and this one is your own",
            f"name it once more: holdfast heal --lane {lane} --allow-disruption {lane.partition('/')[2] or 'CONTEXT'}",
        )
    with LaneLock("holdfast heal"):
        tempdir.use_apart()
        on = Lane(lane, Subject((tree or default_tree()).resolve()), allow_disruption)
        try:
            count = on.heal()
        finally:
            if isinstance(on.driver, Live):
                on.driver.forget()
        console.print(f"  {count} steps undone" if count else "  nothing is left to heal")
