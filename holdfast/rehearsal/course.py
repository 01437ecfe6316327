"""How a cold start went: what each of Flux's objects was at, what was in the way, and what came late."""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.rehearsal.blockers import Blocker
from holdfast.rehearsal.looks import Doing, State


@dataclass
class Bar:
    """What one of Flux's objects was at, and from when on, in seconds since the start; the last entry holds to the end."""

    state: State
    parts: list[tuple[float, Doing, str]] = field(default_factory=list)

    @property
    def ready_at(self) -> float | None:
        """When it was ready first."""
        return next((at for at, doing, _ in self.parts if doing in (Doing.READY, Doing.ASSUMED)), None)


@dataclass(frozen=True)
class Obstacle:
    """What was in the way for good.

    Attributes:
        at_s: when that was certain, in seconds since the start.
        after: the numbers of the obstacles that had to be taken away before it could be seen, from 1.
        removal: what was done about it in the lane; empty where nothing was, so that its holder never becomes ready.
    """

    blocker: Blocker
    at_s: float
    after: tuple[int, ...]
    removal: str


@dataclass(frozen=True)
class Late:
    """Something that failed at first and would have been tried again only after its own time: what it lacked came later."""

    blocker: Blocker
    after_s: float


@dataclass
class Course:
    """How a start went.

    Attributes:
        took_s: until everything was settled.
        converged: whether everything that the tree applies became ready, or is taken for it.
        unsettled: what was still moving when time was up, or waits for what nothing moves: by id, its last words.
    """

    bars: dict[str, Bar] = field(default_factory=dict)
    obstacles: list[Obstacle] = field(default_factory=list)
    late: list[Late] = field(default_factory=list)
    took_s: float = 0.0
    converged: bool = False
    unsettled: dict[str, str] = field(default_factory=dict)
