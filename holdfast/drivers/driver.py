"""What a driver is, and what only some drivers can do. A driver satisfies these by its shape: nothing is inherited.

A capability is named by whoever needs it: a fault (``@fault(NodePower)``), a test (``@needs(NodeShell)``); in between,
`capable` gives the driver as that capability, or says why there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from holdfast.drivers.flavour import NodeFlavour
from holdfast.drivers.nodelook import What
from holdfast.drivers.profile import Note, Timers
from holdfast.errors import NotExercised


class DriverError(Exception):
    """A driver couldn't do what it was asked to: the harness's trouble, and never a verdict on the cluster."""


@dataclass(frozen=True)
class Node:
    """A node of a cluster.

    Attributes:
        name: as the API names it.
        role: ``server`` (control plane) or ``worker``.
    """

    name: str
    role: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Stray:
    """Something that is called as a lane's own things are, and isn't known to be the lane's: it is said, and never touched.

    Attributes:
        name: what it is called.
        removal: the command that removes it, for a user who knows that nobody needs it.
    """

    name: str
    removal: str


class Driver(Protocol):
    """Creates a cluster, says what it consists of, takes it away.

    Attributes:
        name: the driver's, as lanes are called by it.
        kubernetes: the version of its Kubernetes.
        timers: what that Kubernetes waits for.
        evidence_level: what a cluster test reaches at most: ``model``, ``lab`` or ``live``.
    """

    name: str
    timers: Timers
    evidence_level: str

    @property
    def kubernetes(self) -> str: ...

    def ensure_host(self) -> None:
        """Makes sure that this machine can run the lane, installing only what the user said may be; raises UsageError."""

    def preflight(self) -> None:
        """What can be known before `up` without making anything, such as ports in use. Raises UsageError."""

    def up(self) -> None:
        """Creates the cluster; returns when its API answers and every node is Ready. What it makes it records before it makes it."""

    def down(self) -> None:
        """Removes everything that `up` made, also half of it. Touches nothing else. Raises UsageError where that can't be known."""

    def exists(self) -> bool:
        """Whether anything of this cluster is there."""

    def strays(self) -> list[Stray]:
        """What looks like this lane's and isn't known to be."""

    def nodes(self) -> list[Node]:
        """The nodes, the server first."""

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig of its own; the user's default one is never read or written."""

    def notes(self) -> list[Note]:
        """What every cluster of this driver has otherwise than production."""

    def stand_ins(self, images: Mapping[str, str]) -> dict[str, str]:
        """What stands in for something else here: subject -> in words. *images*: the tree's controllers, by name."""

    def address(self, node: str, port: int) -> tuple[str, int] | None:
        """(host, port) at which a node's *port* is reached from where holdfast runs; None where it isn't."""


@runtime_checkable
class Writable(Protocol):
    """May be changed at all. A driver without it is read-only, whatever else it can do."""

    def before_change(self) -> None:
        """Called before each change; raises where this very cluster may not be changed (any more)."""


@runtime_checkable
class Guarded(Writable, Protocol):
    """A cluster that matters: only a fault that its owner said yes to changes it, and it undoes one by itself should holdfast be gone.

    Attributes:
        writer: its API, with the right to write.
        limit_s: how long a fault may last, in seconds.
    """

    limit_s: float

    @property
    def writer(self) -> Any: ...

    def begin_fault(self, fault: str, lost: frozenset[str]) -> None:
        """Lets a fault in, that takes the nodes *lost* away. Raises NotExercised where the owner doesn't want it, Unproven where the cluster
        couldn't undo it.
        """

    def protect(self, step: Mapping[str, Any]) -> None:
        """Returns once the cluster can undo a step by itself. Raises Unproven where that isn't known."""

    def check_stop(self) -> None:
        """Raises Unproven where the owner has said stop."""

    def heal(self) -> bool:
        """Has the cluster undo what a dead run left in it; whether it says that it has."""

    def has_undone(self) -> bool:
        """Whether the cluster says that it has undone all of the fault by itself; where that can't be seen, it hasn't said so."""

    def leave_fault(self) -> None:
        """Nothing is changed any more, whatever becomes of what was."""

    def end_fault(self) -> str:
        """The fault is undone: returns why the cluster had done so before; empty where it hadn't."""


@runtime_checkable
class NodePower(Protocol):
    """Can cut a node's power and give it back: no drain, no goodbye."""

    def power_off(self, node: str) -> None: ...

    def power_on(self, node: str) -> None: ...

    def is_on(self, node: str) -> bool: ...


@runtime_checkable
class NodeNetwork(Protocol):
    """Can cut a node off the network. The cut ends by itself after *for_s* seconds, whatever becomes of the harness."""

    def cut_network(self, node: str, for_s: float) -> None: ...

    def restore_network(self, node: str) -> None: ...


@runtime_checkable
class NodeShell(Protocol):
    """Can run commands on a node and exchange files with it; reading files works also while the node is off.

    Attributes:
        flavour: where a node of this kind keeps things.
    """

    flavour: NodeFlavour

    def shell(self, node: str) -> Any:
        """A pytest-testinfra host of the node."""

    def read_files(self, node: str, folder: str) -> dict[str, bytes]:
        """The files of a folder on a node, by name; empty where there is no such folder."""

    def write_files(self, node: str, folder: str, files: dict[str, str]) -> None:
        """Puts text files into a folder of a node (it is made where it is missing)."""


@runtime_checkable
class NodeLook(Protocol):
    """Can have a node looked at on the node itself, where nothing may be run on it.

    Attributes:
        ways: how each node is reached that is: ``root@k3s2``, by its name.
    """

    ways: Mapping[str, str]

    def look(self, node: str, what: What) -> str:
        """Its ``sockets`` or ``mounts``, as it says them. Raises NotExercised where no way to it is named, CannotLook where it doesn't answer."""


@runtime_checkable
class ImageLoader(Protocol):
    """Can put images into every node under the names that the tree uses."""

    def needs_images(self) -> bool:
        """Whether it must be given them: no image registry answers here."""

    def load_images(self, images: dict[str, str]) -> None:
        """*images*: full name in the cluster -> tag of what runs there."""


@runtime_checkable
class PodRuntime(Protocol):
    """Pods' containers really run. Without it they are simulated, and nothing can be learnt from what they do, or from their loss."""

    def runtime(self) -> str:
        """What runs them, such as ``containerd``."""


@runtime_checkable
class Agents(Protocol):
    """Samplers and writers can run in the cluster, as pods."""

    def agent_image(self) -> str:
        """The image that has Python, for a pod of holdfast's own."""


@runtime_checkable
class EtcdSnapshot(Protocol):
    """Can save what etcd holds, destroy it, and bring back what was saved."""

    def save_etcd(self, file: str) -> None:
        """Saves it into a file on the server."""

    def lose_etcd(self) -> None:
        """Stops the API server and etcd, and destroys what etcd holds."""

    def restore_etcd(self, file: str) -> None:
        """Puts back what a file on the server holds, and starts both; nothing is done where they were never stopped."""


@runtime_checkable
class NodeUpgrade(Protocol):
    """Can take its nodes to another version of Kubernetes while they hold what they hold."""

    def bring_version(self, version: str) -> None:
        """Puts what a version needs onto every node; nothing of it is used yet. Raises UsageError for one that isn't known."""

    def upgrade_node(self, node: str, version: str) -> None:
        """Takes a node to a version that was brought: the server, then each worker. Raises DriverError with the tool's own words."""


@runtime_checkable
class NodeMembership(Protocol):
    """Can take a worker out of the cluster as its owner would, and have it join as a new node."""

    def remove_node(self, node: str) -> None:
        """What it runs ends, and the cluster doesn't know it any more. Raises DriverError with the tool's own words."""

    def join_node(self, node: str) -> None:
        """It is a node of the cluster; nothing is done where it is one whole. Raises DriverError with the tool's own words."""


@runtime_checkable
class GitOutage(Protocol):
    """Can take away the host that serves Git, and make it slow."""

    def stop_git(self) -> None:
        """Nobody answers there any more."""

    def delay_git(self, delay_s: float) -> None:
        """Whoever asks waits so long for the first word."""

    def restore_git(self) -> None:
        """It answers again, and at once; nothing is done where it does."""

    def git_delay_s(self) -> float | None:
        """How long it takes it to answer, about; None where nobody does."""


@runtime_checkable
class CommandLine(Protocol):
    """Commands of a runbook can be typed against it: it was made to be thrown away, and what they break costs nobody anything."""

    def command(self, program: str) -> Path:
        """The program ``kubectl`` or ``flux``; it is to be called by that name. Raises UsageError where it can't be had."""


CHARTS_PORT = 8088  # where the Git server of a lane of containers also serves an index of charts


@dataclass(frozen=True)
class GitSite:
    """A repository as a lane serves it.

    Attributes:
        folder: where the server may keep files of its own.
        repository: the bare repository.
        url: as the tree's source names it; the server answers under its path.
        hosts: the names that the cluster must find the server by.
        host_key, user_key: private key of the server, public key of the one who may pull (where it is SSH).
    """

    folder: Path
    repository: Path
    url: str
    hosts: tuple[str, ...]
    host_key: str
    user_key: str


@runtime_checkable
class GitHosting(Protocol):
    """Can serve a Git repository to the cluster."""

    def serve_git(self, site: GitSite) -> str:
        """Starts a server, which ends with the cluster; returns the URL that the cluster finds it at: the site's own, where it does by the
        site's hosts."""


@runtime_checkable
class AssumedReleases(Protocol):
    """Has no charts of its own: it is told what each HelmRelease comes to.

    Attributes:
        mark: the value of the annotation on what the lane itself takes for ready: no tree knows it.
    """

    mark: str

    def give_releases(self, releases: Mapping[str, Mapping[str, Any]]) -> None:
        """*releases*, by ``namespace/name``: ``chart``, a folder that is installed; or ``objects``, what is assumed to come of it."""

    def fail_release(self, name: str) -> None:
        """One of them, by ``namespace/name``, fails from its next reconciliation on."""

    def restore_releases(self) -> None:
        """None of them fails any more; nothing is done where none did."""


@runtime_checkable
class Live(Protocol):
    """A cluster that holdfast didn't make, with all that only such a one has: its own network, storage and nodes."""

    def identity(self) -> dict[str, str]:
        """What tells it from any other cluster."""

    def same(self) -> None:
        """Raises UsageError where it is another one than before."""

    def forget(self) -> None:
        """Keeps nothing of how it is reached."""


Capability = TypeVar("Capability")


def lacks(driver: Driver, *capabilities: type) -> str:
    """Why a driver can't do what is needed, as a sentence; empty where it can."""
    missing = [c.__name__ for c in capabilities if not isinstance(driver, c)]
    return f"the driver {driver.name} can't do that: it lacks {', '.join(missing)}" if missing else ""


def capable(driver: Driver, capability: type[Capability]) -> Capability:
    """The driver as one that has a capability; raises NotExercised where it hasn't."""
    if why := lacks(driver, capability):
        raise NotExercised(why)
    return cast(Capability, driver)


class OpenDriver(Protocol):
    """What makes a driver of a lane: `profiles` names what a lane may be called by, and `open` gives the driver of one."""

    def profiles(self) -> list[str]:
        """The profiles that there are; the last is meant where a lane names its driver only."""

    def open(self, profile: str, folder: Path, owner: str) -> Driver:
        """The driver of a profile. *folder*: where it keeps its files; *owner*: part of each name that it gives on this machine."""
