"""Waiting for the truth: `HOLDS`, probes, `eventually` and `always`. The one place that words a failed wait."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Concatenate, Final, ParamSpec, final

from holdfast.durations import seconds

P = ParamSpec("P")


@final
class _Holds:
    def __repr__(self) -> str:
        return "HOLDS"

    def __bool__(self) -> bool:
        raise TypeError("HOLDS is no boolean: compare with 'is HOLDS'")


HOLDS: Final = _Holds()
Sighting = str | _Holds


class CannotLook(Exception):
    """The probe got no data: neither green nor red (the API server didn't answer, a file couldn't be read)."""


class Broke(AssertionError):
    """A promise was seen broken."""


class Unproven(Exception):
    """Something leaves doubt, so that neither held nor broke may be said; the message is the reason."""


class ProbeError(TypeError):
    """A probe returned what is no sighting: a defect of the probe, never a verdict on the cluster."""


@dataclass(frozen=True)
class Probe:
    """One look at a cluster.

    Attributes:
        kind: the probe function's name; a negative control counts for all probes of its kind.
        text: how the probe reads in a sentence, such as ``node_ready('k3s2')``.
        look: takes the cluster, gives `HOLDS` or a sentence that says what was seen.
    """

    kind: str
    text: str
    look: Callable[[Any], Sighting]

    def __call__(self, cluster: Any) -> Sighting:
        seen = self.look(cluster)
        if seen is not HOLDS and not (isinstance(seen, str) and seen.strip()):
            raise ProbeError(
                f"{self.text} returned {seen!r}; a probe returns HOLDS or a sentence that says what was seen"
            )
        return seen

    def __str__(self) -> str:
        return self.text


def probe(function: Callable[Concatenate[Any, P], Sighting]) -> Callable[P, Probe]:
    """Makes a probe factory of ``function(cluster, ...)``: called with the rest of the arguments it gives a `Probe`."""

    @functools.wraps(function)
    def factory(*args: P.args, **kwargs: P.kwargs) -> Probe:
        words = [_short(a) for a in args] + [f"{k}={_short(v)}" for k, v in kwargs.items()]
        return Probe(
            function.__name__,
            f"{function.__name__}({', '.join(words)})",
            lambda cluster: function(cluster, *args, **kwargs),
        )

    return factory


def _short(value: object) -> str:
    if isinstance(value, frozenset | dict | set) and len(value) > 4:
        return f"<{len(value)} entries>"
    if isinstance(value, str) and "\n" in value:
        return f"<text of {len(value)} characters>"
    text = (
        str(value)
        if hasattr(value, "__dataclass_fields__")
        else repr(sorted(value) if isinstance(value, frozenset) else value)
    )
    return text if len(text) <= 60 else text[:57] + "…"


@dataclass(frozen=True)
class Clock:
    """Where time comes from; tests bring their own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Wait:
    """How a wait ended.

    Attributes:
        probe: what was looked at.
        held: whether it held; None where there was no data.
        took_s: seconds until it ended.
        looks: how many looks were taken.
        last: the last sighting in words.
    """

    probe: Probe
    held: bool | None
    took_s: float
    looks: int
    last: str

    def sentence(self, mode: str, limit: str | float) -> str:
        """The failure in words: what was expected, what was last seen, when."""
        limit_text = limit if isinstance(limit, str) else f"{limit:g}s"
        last = f"'{self.last}' at {self.took_s:.1f}s, look {self.looks}"
        if self.held is None:
            return f"{self.probe} could not be looked at: {last}"
        must = f"must hold within {limit_text}" if mode == "eventually" else f"must hold throughout {limit_text}"
        return f"{self.probe} {must}; last seen: {last}"


def eventually(
    subject: object, what: Probe, within: str | float, *, every_s: float = 0.5, clock: Clock | None = None
) -> Wait:
    """Looks until *what* holds, or the limit is over.

    A look that got no data counts as not held yet; where the very last look got none, the wait proves nothing (``held`` is None).
    """
    clock = clock or Clock()
    limit, began, looks = seconds(within), clock.now(), 0
    while True:
        looks += 1
        held: bool | None = False
        try:
            seen = what(subject)
            if seen is HOLDS:
                return Wait(what, True, clock.now() - began, looks, "held")
            last = str(seen)
        except CannotLook as why:
            held, last = None, str(why)
        if clock.now() - began >= limit:
            return Wait(what, held, clock.now() - began, looks, last)
        clock.sleep(min(every_s, max(0.0, limit - (clock.now() - began))))


Steps = Mapping[str, Probe]


@dataclass(frozen=True)
class FirstSeen:
    """When something first held, in seconds from the begin of the looking.

    Attributes:
        after: it didn't hold yet at this time: the start of the last look that failed.
        at: it held at this time: the end of the first look that it held in.
    """

    after: float
    at: float


@dataclass(frozen=True)
class Sequence:
    """What was seen of several things. *blind*: those that never held, and whose last look got no data."""

    seen: Mapping[str, FirstSeen]
    blind: frozenset[str]

    def in_order(self, names: Iterable[str], limit_s: float) -> bool | None:
        """Whether each of *names* held in time, and none surely before the one that is named before it; None where that isn't known."""
        known = [self.seen.get(name) for name in names]
        if any(one is None and name not in self.blind for one, name in zip(known, names, strict=True)):
            return False
        there = [one for one in known if one is not None]
        if any(one.after >= limit_s for one in there) or any(b.at < a.after for a, b in pairwise(there)):
            return False
        return None if len(there) < len(known) or any(one.at > limit_s for one in there) else True


def first_seen(
    subject: object,
    steps: Steps | Callable[[float], Steps],
    within: str | float,
    *,
    count: int = 0,
    every_s: float = 0.2,
    clock: Clock | None = None,
) -> Sequence:
    """Looks for several things until each has held once, or the limit is over.

    Args:
        steps: what to look for, by name; or a function that is given the seconds since the begin before each round of looks, for what is
            looked for from some moment on.
        count: how many there will be; as many as *steps* names where it is 0.
    """
    clock = clock or Clock()
    limit, began = seconds(within), clock.now()
    seen, failed, blind = dict[str, FirstSeen](), dict[str, float](), set[str]()
    while True:
        now = steps(clock.now() - began) if callable(steps) else steps
        for name, what in now.items():
            if name in seen:
                continue
            start = clock.now() - began
            try:
                held = what(subject) is HOLDS
            except CannotLook:
                blind.add(name)
                continue
            blind.discard(name)
            if held:
                seen[name] = FirstSeen(failed.get(name, 0.0), clock.now() - began)
            else:
                failed[name] = start
        if len(seen) >= (count or len(now)) or clock.now() - began >= limit:
            return Sequence(seen, frozenset(blind))
        clock.sleep(min(every_s, max(0.0, limit - (clock.now() - began))))


def patiently(action: Callable[[], object], what: str, within_s: float = 120, *, clock: Clock | None = None) -> None:
    """Does one action, trying again while it raises `CannotLook`; raises that, with *what* and the last words, after *within_s*."""
    clock = clock or Clock()
    limit = clock.now() + within_s
    while True:
        try:
            action()
            return
        except CannotLook as why:
            if clock.now() > limit:
                raise CannotLook(f"{what}, for {within_s:g}s: {why}") from None
            clock.sleep(0.5)


def always(
    subject: object, what: Probe, during: str | float, *, every_s: float = 0.5, clock: Clock | None = None
) -> Wait:
    """Looks again and again for the whole of *during*; the first look that doesn't hold ends it.

    Looks without data are allowed as long as half of all looks had some and the last one had.
    """
    clock = clock or Clock()
    limit, began, looks, blind, last = seconds(during), clock.now(), 0, 0, "held"
    while True:
        looks += 1
        blind_now = False
        try:
            seen = what(subject)
            if seen is not HOLDS:
                return Wait(what, False, clock.now() - began, looks, str(seen))
        except CannotLook as why:
            blind, blind_now, last = blind + 1, True, str(why)
        if clock.now() - began >= limit:
            enough = not blind_now and blind * 2 <= looks
            return Wait(
                what, True if enough else None, clock.now() - began, looks, "held" if enough else f"no data ({last})"
            )
        clock.sleep(min(every_s, max(0.0, limit - (clock.now() - began))))
