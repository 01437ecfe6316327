"""The user's own cluster: looked at by the context that the user names, and never changed. It has no `Writable`, so no test or fault changes it;
and its client sends nothing but GET, whoever asks.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from holdfast.drivers import kubeconfigs, nodelook
from holdfast.drivers.driver import Node, Stray
from holdfast.drivers.nodelook import What
from holdfast.drivers.profile import Note, Timers
from holdfast.errors import AnotherClusterError, NotExercised, UsageError
from holdfast.kube import GetOnlyReader
from holdfast.waiting import CannotLook

NAMED_BY_USER = (
    True  # its profiles are the contexts of the user's kubeconfig, which is read only where one of them is named
)
_SERVER = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
_MAY_READ = "see that kubectl reaches it, and that the account may read: docs/own-cluster.md"
_TIMERS = Timers(
    50, 5, 40, 10, 300, defaults=True
)  # what Kubernetes brings; no fault is injected that would wait for them


def profiles() -> list[str]:
    """None that is known without the user's word."""
    return []


def known(context: str) -> None:
    """Raises UsageError where the user has no such context, with those that there are; none is ever guessed."""
    kubeconfigs.of_context(context)


def open(name: str, folder: Path, owner: str) -> Attached:  # noqa: A001, ARG001  the words of the protocol; nothing of it gets a name
    """The driver of a context."""
    return Attached(name, folder)


class Attached:
    """A cluster that holdfast didn't make.

    Args:
        context: of the user's kubeconfig (``KUBECONFIG``, else the usual file), or ``in-cluster`` for the account of the pod that this runs in.
        folder: where the one context's own kubeconfig and the cluster's identity are kept.
    """

    name = "attached"
    evidence_level = "live"
    timers = _TIMERS

    def __init__(self, context: str, folder: Path) -> None:
        self.context, self.folder = context, folder
        self.ways: Mapping[str, str] = {}

    # -- who it is ---------------------------------------------------------------------------------------------------------

    def ensure_host(self) -> None:
        """Nothing is made, so nothing is needed."""

    def preflight(self) -> None:
        """What is done before anything is asked of it."""
        self.connect()

    def connect(self) -> None:
        """Takes the context's own part of the kubeconfig, and sees that the cluster is the one that this name was first used for."""
        made = kubeconfigs.of_context(self.context)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.chmod(0o600)  # it may lie there from before
        self.kubeconfig.write_text(json.dumps(made))
        self.kubeconfig.with_suffix(".discovery").unlink(missing_ok=True)
        try:
            self.same()
        except BaseException:
            self.forget()
            raise

    def same(self) -> None:
        """Raises UsageError where this is another cluster than the one that the name was first used for, which is written down."""
        now, file = self.identity(), self.folder / "identity.json"
        if not file.exists():
            file.write_text(json.dumps(now))
            return
        before = _identity(file)
        if before != now:
            what = ", ".join(k for k in now if now[k] != before.get(k))
            raise AnotherClusterError(
                f"the context {self.context} leads to another cluster than before: {what} differs",
                f"look at your kubeconfig; where the new one is meant, remove {file}",
            )

    def forget(self) -> None:
        """Removes the copy of what the user's kubeconfig says."""
        self.kubeconfig.unlink(missing_ok=True)
        self.kubeconfig.with_suffix(".discovery").unlink(missing_ok=True)

    def identity(self) -> dict[str, str]:
        """What tells this cluster from any other: the UID of kube-system, its certificate authority, its address. Raises UsageError."""
        cluster = json.loads(self.kubeconfig.read_text())["clusters"][0]["cluster"]
        try:
            found = self.reader.get("Namespace", "kube-system")
        except CannotLook as why:
            raise UsageError(
                f"the cluster of the context {self.context} can't be looked at: {why}",
                _MAY_READ,
            ) from None
        if not found:
            raise UsageError(f"the cluster of the context {self.context} has no kube-system", "name another context")
        authority = str(cluster.get("certificate-authority-data") or _read(cluster.get("certificate-authority")))
        return {
            "uid": str(found["metadata"]["uid"]),
            "authority": hashlib.sha256(authority.encode()).hexdigest(),
            "server": str(cluster.get("server")),
        }

    @property
    def reader(self) -> GetOnlyReader:
        """Its API, as far as it is read."""
        return GetOnlyReader(self.kubeconfig)

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    # -- what is done with the others, and not with this one ---------------------------------------------------------------

    def up(self) -> None:
        raise UsageError("a cluster of your own is there already: holdfast makes none of it", "leave out 'up'")

    def down(self) -> None:
        raise UsageError(
            "a cluster of your own isn't holdfast's to remove", "nothing of it was made: nothing is to be removed"
        )

    def exists(self) -> bool:
        """Nothing of it is holdfast's."""
        return False

    def strays(self) -> list[Stray]:
        return []

    # -- what it consists of -----------------------------------------------------------------------------------------------

    @cached_property
    def _nodes(self) -> list[dict[str, Any]]:
        try:
            return self.reader.list("Node")
        except CannotLook as why:
            raise UsageError(f"the nodes of {self.context} can't be read: {why}", _MAY_READ) from None

    @property
    def kubernetes(self) -> str:
        return self._told_by_nodes("kubeletVersion", "of no node")

    def nodes(self) -> list[Node]:
        found = [
            Node(n["metadata"]["name"], "server" if {*_SERVER} & {*(n["metadata"].get("labels") or {})} else "worker")
            for n in self._nodes
        ]
        return sorted(found, key=lambda n: (n.role != "server", n.name))

    def notes(self) -> list[Note]:
        return [Note("the cluster is the user's own, and was only read: nothing was broken to see what then happens")]

    def stand_ins(self, images: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG002  whatever runs there is the real thing
        return {}

    def address(self, node: str, port: int) -> tuple[str, int] | None:
        """Its internal address, which is reached from within the user's network."""
        addresses = self._status(node).get("addresses") or []
        at = [a["address"] for a in addresses if a["type"] == "InternalIP"]
        return (str(at[0]), port) if at else None

    def look(self, node: str, what: What) -> str:
        if node not in self.ways:
            raise NotExercised(f"your settings name no way to look at {node} itself: [nodes.{node}] ssh")
        machine = (self._status(node).get("nodeInfo") or {}).get("machineID")
        return nodelook.look(self.ways[node], what, str(machine or "unknown"))

    def _status(self, node: str) -> Mapping[str, Any]:
        """What a node says of itself; one that has just come may not have said it yet."""
        return next(n for n in self._nodes if n["metadata"]["name"] == node).get("status") or {}

    def runtime(self) -> str:
        return self._told_by_nodes("containerRuntimeVersion", "nothing that is known")

    def _told_by_nodes(self, what: str, otherwise: str) -> str:
        """What the nodes say of themselves, such as a version; one that has just come may not have said it yet."""
        told = {str((n.get("status") or {}).get("nodeInfo", {}).get(what, "")).removeprefix("v") for n in self._nodes}
        return ", ".join(sorted(told - {""})) or otherwise


def _identity(file: Path) -> dict[str, str]:
    """What was written down of a cluster. Raises UsageError where that can't be read: then nobody knows which one was meant."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(
            f"{file} can't be read, so it isn't known which cluster the context was first used for",
            f"see that the context leads to the one that you mean, then remove {file}",
        )
    return found


def _read(path: object) -> str:
    try:
        return Path(os.fspath(str(path))).read_text() if path else ""
    except OSError:
        return ""
