"""What a machine must have before it joins: a look each, with what to do where it lacks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from holdfast.hosts.machine import Machine
from holdfast.waiting import CannotLook


@dataclass(frozen=True)
class Wanted:
    """What is asked of a machine.

    Attributes:
        server: a server of the cluster that it is to join, where one is named: version, clock and name are compared with its.
        disks: where the disks of the storage system are to be mounted.
        tailscale: whether it is to be in the tailnet.
    """

    server: Machine | None = None
    disks: tuple[str, ...] = ()
    tailscale: bool = False


@dataclass(frozen=True)
class Seen:
    """What a look came to: *good*, or not; None where it couldn't be seen, or wasn't *asked*. *words* says what was seen."""

    good: bool | None
    words: str
    asked: bool = True


def good(words: str) -> Seen:
    """It is as it must be."""
    return Seen(True, words)


def bad(words: str) -> Seen:
    """It isn't."""
    return Seen(False, words)


def unseen(words: str) -> Seen:
    """It couldn't be seen, for this reason."""
    return Seen(None, words)


def not_asked(words: str) -> Seen:
    """Nobody asked for it, and how it is asked for."""
    return Seen(None, words, asked=False)


Look = Callable[[Machine, Wanted], Seen]


@dataclass(frozen=True)
class Requirement:
    """One of the things that a node must have.

    Attributes:
        name: its id.
        fix: what to do where it lacks it, one sentence.
        look: looks at a machine.
    """

    name: str
    fix: str
    look: Look


REQUIREMENTS: dict[str, Requirement] = {}


def requirement(name: str, *, fix: str) -> Callable[[Look], Look]:
    """Registers a look as a requirement."""

    def register(look: Look) -> Look:
        if name in REQUIREMENTS:
            raise ValueError(f"there are two requirements {name}")
        REQUIREMENTS[name] = Requirement(name, fix, look)
        return look

    return register


def judged(one: Requirement, machine: Machine, wanted: Wanted) -> Seen:
    """What a look comes to; one that can't be taken is nobody's verdict."""
    try:
        return one.look(machine, wanted)
    except CannotLook as why:
        return unseen(str(why))
    except (
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
    ) as why:  # a program of the machine said something that nobody expected
        return unseen(f"what the machine said couldn't be read ({type(why).__name__}: {why})"[:200])
