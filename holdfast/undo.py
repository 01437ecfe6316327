"""How to undo a fault, on disk before the fault goes in. Live healing and `holdfast heal` replay the same lines."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.drivers.driver import (
    AssumedReleases,
    Driver,
    DriverError,
    EtcdSnapshot,
    GitOutage,
    NodeMembership,
    NodeNetwork,
    NodePower,
    NodeShell,
)
from holdfast.kube import KubeClient

UndoStep = dict[str, Any]


def _scale(driver: Driver, objects: KubeClient, step: UndoStep) -> None:
    objects.scale(step["kind"], step["name"], step["namespace"], step["replicas"])


def _apply(driver: Driver, objects: KubeClient, step: UndoStep) -> None:
    """Puts an object back where it is gone; one that is there again is its owner's."""
    wanted = step["object"]
    if not objects.get(
        wanted["kind"], wanted["metadata"]["name"], wanted["metadata"].get("namespace"), version=wanted["apiVersion"]
    ):
        objects.apply(wanted)


def _suspend(driver: Driver, objects: KubeClient, step: UndoStep) -> None:
    objects.patch(step["kind"], step["name"], step["namespace"], {"spec": {"suspend": step["suspend"]}})


def _patch(driver: Driver, objects: KubeClient, step: UndoStep) -> None:
    """Sets fields back by a merge patch; on an object that is gone there is nothing to set back."""
    if objects.get(step["kind"], step["name"], step["namespace"]):
        objects.patch(step["kind"], step["name"], step["namespace"], step["body"])


def _delete(driver: Driver, objects: KubeClient, step: UndoStep) -> None:
    objects.delete(step["kind"], step["name"], step["namespace"])


def _unmount(driver: Driver, objects: KubeClient, step: UndoStep) -> None:
    """Takes a mount off a folder of a node; where there is none, nothing happens."""
    assert isinstance(driver, NodeShell), "whoever mounts on a node asked for a driver that gives a shell"
    done = driver.shell(step["node"]).run(f"umount -l '{step['path']}' || ! mountpoint -q '{step['path']}'")
    if done.rc:
        raise DriverError(f"{step['path']} is still mounted on {step['node']}: {done.stderr.strip()[-200:]}")


def _power_on(driver: Driver, objects: KubeClient, step: UndoStep) -> None:
    assert isinstance(driver, NodePower), "a fault that cuts power asked for a driver that can"
    driver.power_on(step["node"])


def _join_node(driver: Driver, objects: KubeClient, step: UndoStep) -> None:
    assert isinstance(driver, NodeMembership), "a fault that removes a node asked for a driver that has it join"
    driver.join_node(step["node"])


def _restore_etcd(driver: Driver, objects: KubeClient, step: UndoStep) -> None:
    assert isinstance(driver, EtcdSnapshot), "a fault that loses etcd asked for a driver that can restore it"
    driver.restore_etcd(step["file"])


def _restore_network(driver: Driver, objects: KubeClient, step: UndoStep) -> None:
    assert isinstance(driver, NodeNetwork), "a fault that cuts the network asked for a driver that can"
    driver.restore_network(step["node"])


def _restore_git(driver: Driver, objects: KubeClient, step: UndoStep) -> None:
    assert isinstance(driver, GitOutage), "a fault that takes Git's host away asked for a driver that can"
    driver.restore_git()


def _restore_releases(driver: Driver, objects: KubeClient, step: UndoStep) -> None:
    assert isinstance(driver, AssumedReleases), "a fault of an assumed release asked for a driver that assumes them"
    driver.restore_releases()


def _irreversible(driver: Driver, objects: KubeClient, step: UndoStep) -> None:
    raise DriverError(f"{step['what']}, and cut short: what is changed isn't known")


ACTIONS: dict[str, Callable[[Driver, KubeClient, UndoStep], None]] = {
    "scale": _scale,
    "apply": _apply,
    "suspend": _suspend,
    "patch": _patch,
    "unmount": _unmount,
    "delete": _delete,
    "power-on": _power_on,
    "restore-network": _restore_network,
    "join-node": _join_node,
    "restore-etcd": _restore_etcd,
    "restore-git": _restore_git,
    "restore-releases": _restore_releases,
    "irreversible": _irreversible,
}


_BY_THE_DRIVER = (
    "power-on",
    "restore-network",
    "join-node",
    "restore-etcd",
    "restore-git",
    "restore-releases",
)  # done first, by the driver: the API may come back only with the power


class UndoFile:
    """The open undo steps of a run, one JSON line each; a step that was done gets a line that says so.

    Every step may be replayed any number of times: what is as it should be stays so.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done_at = 0.0  # monotonic time of the last step that was undone
        self.floor = 0  # a fault that is healed undoes its own steps only: those from here on

    def before(self, action: str, **fields: Any) -> int:
        """Writes down how to undo what comes next; returns its id once it is on disk."""
        assert action in ACTIONS, f"undo knows no '{action}'"
        number = self.count()
        self._append({"id": number, "action": action, **fields})
        return number

    def settled(self, number: int) -> None:
        """A step needs no undoing any more."""
        self._append({"done": number})

    def count(self) -> int:
        """The id that the next step gets."""
        return 1 + max((line["id"] for line in self._lines() if "id" in line), default=-1)

    def _append(self, line: UndoStep) -> None:
        # The line's end comes first, too: a line that was cut by a full disk or a crash must not swallow this one.
        with self.path.open("a") as file:
            file.write("\n" + json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _lines(self) -> list[UndoStep]:
        return [line for text in self._texts() if (line := _parsed(text)) is not None]

    def _texts(self) -> list[str]:
        return [t for t in self.path.read_text(errors="replace").split("\n") if t.strip()] if self.path.exists() else []

    def unreadable(self) -> int:
        """How many lines say nothing: cut by a crash while they were written (then their fault hadn't begun), or changed since."""
        return sum(_parsed(text) is None for text in self._texts())

    def open_steps(self) -> list[UndoStep]:
        """The steps that were not done yet, the newest first."""
        lines = self._lines()
        done = {line["done"] for line in lines if "done" in line}
        return [
            line for line in reversed(lines) if "action" in line and line["id"] not in done and line["id"] >= self.floor
        ]

    def give_up(self, action: str = "") -> None:
        """Marks every open step (of one *action*, where it is named) as done: the cluster that it was for is gone, or it is done once more."""
        for step in self.open_steps():
            if action in ("", step["action"]):
                self._append({"done": step["id"]})

    def give_up_but(self, action: str) -> None:
        """Marks every open step but those of one *action* as done."""
        for step in self.open_steps():
            if step["action"] != action:
                self._append({"done": step["id"]})

    def replay(
        self,
        driver: Driver,
        objects: KubeClient,
        wait: Callable[[Callable[[], None], str], None] = lambda action, _: action(),
        *,
        before_api: Callable[[], None] = lambda: None,
        only: str = "",
    ) -> int:
        """Does every open step, the newest first, and after a failure the others all the same; returns how many.

        Args:
            wait: calls its first argument until it raises no `CannotLook` any more (the API may come back only with the power); without it
                each step is done once.
            before_api: called once, before the first step that changes the cluster by its API; where it raises, no such step is done.
            only: the steps of one action, where it is named.
        """
        steps = [step for step in self.open_steps() if only in ("", step["action"])]
        steps = sorted(steps, key=lambda s: s["action"] not in _BY_THE_DRIVER)
        failed: Exception | None = None
        asked = False
        for step in steps:
            if step["action"] not in _BY_THE_DRIVER and not asked:
                before_api()
                asked = True
            try:
                wait(lambda step=step: ACTIONS[step["action"]](driver, objects, step), f"undo {step['action']}")  # type: ignore[misc]
                self._append({"done": step["id"]})
                self.done_at = time.monotonic()
            except Exception as error:
                failed = failed or error
        if failed:
            raise failed
        return len(steps)


def _parsed(text: str) -> UndoStep | None:
    """A line as a step, or as the word that one was done; None where it is neither."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    if not isinstance(line, dict):
        return None
    known = line.get("action") in ACTIONS and isinstance(line.get("id"), int)
    return line if known or isinstance(line.get("done"), int) else None
