"""The user's own cluster, where its owner lets holdfast break it: one fault at a time, each asked for, each undone by the cluster itself."""

from __future__ import annotations

import shlex
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast import consent
from holdfast.drivers.attached import Attached
from holdfast.drivers.deadman import Deadman
from holdfast.drivers.driver import Driver, DriverError
from holdfast.drivers.profile import Note
from holdfast.durations import go_seconds
from holdfast.errors import NotExercised, UsageError
from holdfast.kube import KubeClient, condition
from holdfast.progress import console
from holdfast.tree.settings import Settings
from holdfast.tree.settings_file import Disruption, NodeCommands
from holdfast.waiting import CannotLook, Unproven

LIMIT = "{limit_s}"
_COMMAND_S = 60.0
_STOP_EVERY_S = 0.5


class Disruptable(Attached):
    """It may be changed, and only by a fault that its owner said yes to.

    Args:
        context, folder: as of an attached cluster.
        rules: what its owner's settings say of faults.
    """

    def __init__(self, context: str, folder: Path, rules: Disruption) -> None:
        super().__init__(context, folder)
        self.rules = rules
        self.limit_s = go_seconds(rules.limit) or 0.0
        self._fault = ""
        self._stopped = ""
        self._ended = threading.Event()
        self._deadman: Deadman | None = None

    @property
    def stop_file(self) -> Path:
        """Where this file lies, nothing is broken any more."""
        return self.folder / "stop"

    @property
    def writer(self) -> KubeClient:
        """Its API, with the right to write."""
        return KubeClient(self.kubeconfig)

    @property
    def deadman(self) -> Deadman:
        """What undoes its faults though holdfast is gone."""
        if self._deadman is None:
            self._deadman = Deadman(self.writer, self.rules.image, self.limit_s)
        return self._deadman

    def preflight(self) -> None:
        """As of an attached cluster; besides, nothing of an earlier run may be in it."""
        super().preflight()
        try:
            there = self.deadman.exists()
        except CannotLook as why:
            raise UsageError(
                f"it can't be seen whether a fault is in: {why}", "see that the account may read namespaces"
            ) from None
        if there:
            raise UsageError(
                "a dead man's switch of holdfast's is in this cluster: another holdfast breaks it now, or one died",
                f"where none is running: holdfast heal --lane attached/{self.context} --allow-disruption {self.context}",
            )

    def before_change(self) -> None:
        """Raises NotExercised where no fault is in that the owner said yes to, and Unproven where the owner has said stop."""
        if not self._fault:
            raise NotExercised("a cluster of your own is changed by faults alone, each of which you are asked for")
        self.check_stop()
        try:
            why = self.deadman.healed()
        except CannotLook as blind:
            raise Unproven(f"it isn't changed: what the switch did can't be seen ({blind})") from None
        if why:
            raise Unproven(f"it isn't changed any more: the cluster has undone the fault ({why})")

    def check_stop(self) -> None:
        """Raises Unproven where the owner has said stop."""
        if self._stopped or self.stop_file.exists():
            raise Unproven(f"stopped by its owner: {self.stop_file} is there")

    def begin_fault(self, fault: str, lost: frozenset[str]) -> None:
        """Lets a fault change the cluster, once its owner has said yes and the cluster is able to undo it by itself.

        Args:
            fault: in words.
            lost: the nodes that it takes away; the switch runs on another one.

        Raises NotExercised where the owner doesn't want it, Unproven where the switch can't be relied on.
        """
        self.check_stop()
        self.same()
        consent.ask(
            self.context,
            [
                f"{fault} is about to be done to {self.context}, a cluster of your own",
                f"it is undone at the end of its test; and by the cluster itself after {self.rules.limit}, whatever happens here",
                f"to stop: touch {shlex.quote(str(self.stop_file))}",
            ],
        )
        try:
            self.deadman.arm(fault, lost)
        except (DriverError, CannotLook) as why:
            raise Unproven(f"{fault} wasn't done: {why}") from None
        self._fault, self._stopped, self._ended = fault, "", threading.Event()
        threading.Thread(target=self._heed, args=(self._ended,), daemon=True).start()

    def has_undone(self) -> bool:
        """Whether the cluster says that it has undone all of the fault by itself; where that can't be seen, it hasn't said so."""
        try:
            return self.deadman.has_healed()
        except CannotLook:
            return False

    def leave_fault(self) -> None:
        """Nothing is changed any more; the switch stays as it is."""
        self._ended.set()
        self._fault = ""

    def end_fault(self) -> str:
        """The fault is undone: takes the switch away; returns why it had undone it already, where it had."""
        self.leave_fault()
        try:
            why = self.deadman.healed()
        except CannotLook as blind:
            why = f"nobody knows what the switch did: {blind}"
        try:
            self.deadman.disarm()
        except (DriverError, CannotLook) as left:
            console.print(f"  the switch is still there: {left}", style="red", markup=False)
        return why

    def protect(self, step: Mapping[str, Any]) -> None:
        """Returns once the cluster can undo a step by itself. Raises Unproven where that isn't known."""
        if step["action"] == "power-on":
            return  # a node that is off is given back by its own timer: see `power_off`
        try:
            self.deadman.protect(step)
        except (DriverError, CannotLook) as why:
            raise Unproven(f"it wasn't done: {why}") from None

    def _heed(self, ended: threading.Event) -> None:
        """Looks for the stop file while a fault is in, and has the cluster undo it at once."""
        while not ended.wait(_STOP_EVERY_S):
            if self.stop_file.exists():
                self._stopped = "stopped by its owner"
                try:
                    self.deadman.request_healing(self._stopped)
                except Exception as why:  # whatever it is, the next look tries again
                    console.print(f"  the switch isn't told yet: {why}", style="red", markup=False)
                    continue
                return

    def heal(self) -> bool:
        """Has the cluster undo what a dead run left in it; whether it says that it has. The switch stays until `end_fault`."""
        self.connect()
        try:
            return self.deadman.heal("asked for by: holdfast heal")
        except DriverError as why:  # its pod can't run: how to undo it is in the run's undo file, too
            console.print(f"  {why}", style="yellow", markup=False)
            return False

    def notes(self) -> list[Note]:
        return [Note("the cluster is the user's own: it is broken only as far as its owner said yes to")]


class Powered(Disruptable):
    """Besides, its owner's own commands cut the power of its nodes, and give it back.

    A node that is off can't undo anything, so its command must make it come back: ``{limit_s}`` in it is the time after which it does.
    """

    def __init__(self, context: str, folder: Path, rules: Disruption, nodes: Mapping[str, NodeCommands]) -> None:
        super().__init__(context, folder, rules)
        self.commands = nodes

    def power_off(self, node: str) -> None:
        """Runs the owner's command. Raises NotExercised for a node that has none."""
        self._run(self._commands(node).power_off.replace(LIMIT, f"{self.limit_s:.0f}"), node)

    def power_on(self, node: str) -> None:
        """Runs the owner's command, where there is one; else the node comes back by itself."""
        if command := self._commands(node).power_on:
            self._run(command, node)

    def is_on(self, node: str) -> bool:
        """Whether the control plane hears of it."""
        found = self.reader.get("Node", node)
        return found is not None and condition(found, "Ready").get("status") == "True"

    def _commands(self, node: str) -> NodeCommands:
        if node not in self.commands or not self.commands[node].power_off:
            raise NotExercised(f"your settings name no command that cuts the power of {node}: [nodes.{node}] power_off")
        return self.commands[node]

    def _run(self, command: str, node: str) -> None:
        try:
            done = subprocess.run(
                shlex.split(command),
                capture_output=True,
                text=True,
                timeout=_COMMAND_S,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired) as why:
            raise DriverError(f"the command about the power of {node} can't be run: {why}") from None
        if done.returncode:
            raise DriverError(f"the command about the power of {node} failed: {done.stderr.strip()[-200:]}")


def allowed(driver: Driver, context: str, settings: Settings) -> Disruptable:
    """The driver of a cluster whose owner allows faults. Raises UsageError where *context* names another one, or a lane that needs no leave."""
    if not isinstance(driver, Attached):
        raise UsageError(
            f"--allow-disruption is about a cluster of your own, and {driver.name} is none: it is always broken",
            "leave it out",
        )
    if context != driver.context:
        raise UsageError(
            f"--allow-disruption {context} isn't the cluster that is meant, {driver.context}",
            "name the same context twice, or leave it out: then the cluster is only read",
        )
    if any(one.power_off for one in settings.nodes.values()):
        return Powered(context, driver.folder, settings.disruption, settings.nodes)
    return Disruptable(context, driver.folder, settings.disruption)
