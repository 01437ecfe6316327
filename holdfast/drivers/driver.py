"""What a driver is, and what only some drivers can do. A driver satisfies these by its shape: nothing is inherited."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


class DriverError(Exception):
    """A driver couldn't do what it was asked to: the harness's trouble, and never a verdict on the cluster."""


@dataclass(frozen=True)
class Node:
    """A node of a running cluster.

    Attributes:
        name: as the API names it.
        role: ``server`` (control plane) or ``worker``.
        loopback: the host address that its node ports are published on.
        handle: what the driver knows it by (a container's id).
    """

    name: str
    role: str
    loopback: str
    handle: str

    def __str__(self) -> str:
        return self.name


class Driver(Protocol):
    """Creates a cluster, says what it consists of, takes it away."""

    name: str

    def up(self) -> None:
        """Creates the cluster; returns when its API answers and every node is Ready."""

    def down(self) -> None:
        """Removes everything that `up` made, also half of it. Touches nothing else."""

    def nodes(self) -> list[Node]:
        """The nodes, the server first."""

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig of its own; the user's default one is never read or written."""


@runtime_checkable
class NodePower(Protocol):
    """Can cut a node's power and give it back: no drain, no goodbye."""

    def power_off(self, node: str) -> None: ...

    def power_on(self, node: str) -> None: ...

    def is_on(self, node: str) -> bool: ...


@runtime_checkable
class NodePause(Protocol):
    """Can freeze a node and thaw it."""

    def pause(self, node: str) -> None: ...

    def unpause(self, node: str) -> None: ...


@runtime_checkable
class NodeNetwork(Protocol):
    """Can cut a node off the network. The cut ends by itself after *for_s* seconds, whatever becomes of the harness."""

    def cut_network(self, node: str, for_s: float) -> None: ...

    def restore_network(self, node: str) -> None: ...


@runtime_checkable
class NodeShell(Protocol):
    """Can run commands on a node and exchange files with it; reading files works also while the node is off."""

    def shell(self, node: str) -> Any:
        """A pytest-testinfra host of the node."""

    def read_files(self, node: str, folder: str) -> dict[str, bytes]:
        """The files of a folder on a node, by name; empty where there is no such folder."""

    def write_files(self, node: str, folder: str, files: dict[str, str]) -> None:
        """Puts text files into a folder of a node (it is made where it is missing)."""


@runtime_checkable
class Writable(Protocol):
    """May be changed at all. A driver without it is read-only, whatever else it can do."""

    def before_change(self) -> None:
        """Called before each change; raises where this very cluster may not be changed (any more)."""


@runtime_checkable
class ImageLoader(Protocol):
    """Can put an image of the engine into every node under the names that the tree uses."""

    def load_images(self, images: dict[str, str]) -> None:
        """*images*: full name in the cluster -> tag in the engine."""
