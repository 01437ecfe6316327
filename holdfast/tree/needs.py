"""The words of the graph: states of objects, why one needs another, and the net of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from holdfast.tree.repository import Location


class Phase(StrEnum):
    """What a state says of its object."""

    DEFINED = "defined"  # a Kustomization's namespaces and definitions are applied
    APPLIED = "applied"  # all that a Kustomization renders is applied
    EXISTS = "exists"
    READY = "ready"
    ANY = "any"  # one of several is enough
    MISSING = "lacking"  # nothing in the tree gives it


LazyLocation = Location | Callable[[], Location]


class State(NamedTuple):
    """One state of one object; *id* is KIND/NAMESPACE/NAME."""

    id: str
    phase: Phase

    def __str__(self) -> str:
        return self.id if self.phase in (Phase.MISSING, Phase.ANY) else f"{self.id} {self.phase}"


@dataclass(frozen=True)
class Need:
    """Why one state needs another.

    Attributes:
        why: in words, as a part of a sentence: "… because WHY".
        where: the line that says so, or what finds it: most are never asked for.
        boot: it counts only while a cluster starts from nothing (what was made stays when its maker goes).
        run: it counts only once all is there (a webhook doesn't stand in the way before it exists).
        guess: only a name speaks for it: it may excuse, and explains nothing where something better is known.
    """

    why: str
    where: LazyLocation
    how: str
    boot: bool = False
    run: bool = False
    guess: bool = False

    @property
    def location(self) -> Location:
        """The line that says so."""
        return self.where if isinstance(self.where, Location) else self.where()


class DependencyGraph:
    """States and their needs, both ways."""

    def __init__(self) -> None:
        self.requires: dict[State, dict[State, Need]] = {}
        self.required_by: dict[State, list[State]] = {}

    def add(self, state: State) -> None:
        """A state, if it isn't there yet."""
        self.requires.setdefault(state, {})
        self.required_by.setdefault(state, [])

    def add_edge(self, state: State, other: State, need: Need) -> None:
        """*state* needs *other*; the first reason stays."""
        self.add(state)
        self.add(other)
        if other not in self.requires[state]:
            self.requires[state][other] = need
            self.required_by[other].append(state)

    def __contains__(self, state: State) -> bool:
        return state in self.requires

    def __iter__(self) -> Iterator[State]:
        return iter(self.requires)
