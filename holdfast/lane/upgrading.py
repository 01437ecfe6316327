"""An upgrade in place: what the nodes of one cluster are taken to, one after the other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Upgrading:
    """What is asked of it.

    Attributes:
        to: the version of Kubernetes, such as ``1.37.2``.
        drain: each node is drained before.
        resumed: one that was cut short goes on.
    """

    to: str
    drain: bool = False
    resumed: bool = False
