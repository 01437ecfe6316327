"""Outage arithmetic: from looks to ordered intervals and outages with both bounds. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass

from holdfast.sampling.looks import OK

STABLE_S = 10.0


@dataclass(frozen=True, order=True)
class Look:
    """One look: wall times in seconds, and ``ok`` or the word for what went wrong."""

    start: float
    end: float
    result: str

    @property
    def ok(self) -> bool:
        return self.result == OK


@dataclass(frozen=True)
class Interval:
    """Looks in a row with the same result: from the start of the first to the end of the last."""

    start: float
    end: float
    result: str
    looks: int


@dataclass(frozen=True)
class Outage:
    """One outage, from the first failed look to the last one before a stable stretch.

    Attributes:
        after: start of the last good look before it, None where there was none (it was never good).
        first: start of the first failed look.
        last: end of the last failed look.
        before: end of the first good look after it, None where no stable stretch after it was seen (right-censored).
        looks: looks from the first failed to the last failed one.
        failed: those of them that failed.
        words: how often each thing went wrong.
        core: (earliest end, latest start) of its failed looks: each of them met the outage somewhere.
    """

    after: float | None
    first: float
    last: float
    before: float | None
    looks: int
    failed: int
    words: tuple[tuple[str, int], ...]
    core: tuple[float, float]

    @property
    def at_least_s(self) -> float:
        """The shortest that it can have been: it must have met every failed look between its start and its end."""
        return max(0.0, self.core[1] - self.core[0])

    @property
    def at_most_s(self) -> float | None:
        """The longest that it can have been; None where an end wasn't seen."""
        return None if self.after is None or self.before is None else self.before - self.after

    @property
    def share(self) -> float:
        """The share of failed looks in it."""
        return self.failed / self.looks


def intervals(looks: Iterable[Look]) -> list[Interval]:
    """Ordered intervals, split wherever the result changes."""
    found: list[Interval] = []
    for look in sorted(looks):
        if found and found[-1].result == look.result:
            before = found[-1]
            found[-1] = Interval(before.start, max(before.end, look.end), look.result, before.looks + 1)
        else:
            found.append(Interval(look.start, look.end, look.result, 1))
    return found


def outages(looks: Iterable[Look], stable_s: float = STABLE_S) -> list[Outage]:
    """The outages in order. Two failed looks with less than *stable_s* between them belong to one: flapping is one outage."""
    ordered = sorted(looks)
    failed = [look for look in ordered if not look.ok]
    groups: list[list[Look]] = []
    for look in failed:
        if groups and look.start - max(other.end for other in groups[-1]) < stable_s:
            groups[-1].append(look)
        else:
            groups.append([look])
    return [_outage(group, ordered, stable_s) for group in groups]


def _outage(group: list[Look], ordered: list[Look], stable_s: float) -> Outage:
    first, last = group[0], group[-1]
    starts = [look.start for look in ordered]
    low, high = bisect.bisect_left(starts, first.start), bisect.bisect_right(starts, last.start)
    good_before = [look for look in ordered[:low] if look.ok]
    good_after = [look for look in ordered[high:] if look.ok]
    inside = ordered[low:high]
    # A good look alone doesn't end an outage: only a stretch without a failure does.
    over = ordered[-1].start - max(look.end for look in group) >= stable_s
    words: dict[str, int] = {}
    for look in group:
        words[look.result] = words.get(look.result, 0) + 1
    # A look that succeeded late may have started before others that failed: its end is when the target was surely good again.
    return Outage(
        good_before[-1].start if good_before else None,
        first.start,
        max(look.end for look in group),
        min(look.end for look in good_after) if good_after and over else None,
        len(inside),
        len(group),
        tuple(sorted(words.items(), key=lambda w: -w[1])),
        (min(look.end for look in group), last.start),
    )


def gaps(looks: Iterable[Look], begin: float, end: float, longest_s: float) -> list[tuple[float, float]]:
    """Stretches between *begin* and *end* in which no look was started for more than *longest_s*."""
    marks = [begin, *sorted(look.start for look in looks if begin <= look.start <= end), end]
    return [(a, b) for a, b in zip(marks, marks[1:], strict=False) if b - a > longest_s]


def united(stretches: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Stretches in order, those that overlap as one."""
    found: list[tuple[float, float]] = []
    for a, b in sorted(stretches):
        if found and a <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], b))
        else:
            found.append((a, b))
    return found


def overlap(apart: Iterable[tuple[float, float]], stretch: tuple[float, float]) -> float:
    """How many seconds of a stretch lie in some others that don't overlap each other."""
    return sum(max(0.0, min(b, stretch[1]) - max(a, stretch[0])) for a, b in apart)
