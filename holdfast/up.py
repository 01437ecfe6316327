"""`holdfast up`: brings a lane up with a tree on it, and keeps it."""

from __future__ import annotations

from holdfast.drivers import catalogue
from holdfast.errors import UsageError
from holdfast.lane.lane import Lane
from holdfast.lane.reference import default_tree
from holdfast.lane.subject import Subject
from holdfast.options import EntryName, LaneName, TreePath
from holdfast.paths import reports_dir
from holdfast.progress import console
from holdfast.run import new_name, opened
from holdfast.waiting import Unproven


def up(lane: LaneName = catalogue.KEPT, tree: TreePath = None, entry: EntryName = "") -> None:
    """Brings a lane up with the tree on it and keeps it, for a suite author's loop with: holdfast verify --reuse."""
    on = Lane(lane, Subject((tree or default_tree()).resolve(), entry))
    on.subject.preflight()
    folder = reports_dir() / new_name()
    with opened(on, folder, lambda test: "holdfast up", keep=True) as run:
        try:
            run.cluster()
        except Unproven as why:
            raise UsageError(str(why), f"see {folder / 'evidence'}, then: holdfast down --lane {on.name}") from None
        except KeyboardInterrupt:
            console.print("  interrupted: what was made is taken away again", style="yellow")
            on.down(quiet=True)
            raise
    console.print(f"  {on.name} is up; its kubeconfig: {on.driver.kubeconfig}")
