"""Whether an outage fits a limit, from looks alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.sampling.intervals import Outage, gaps, outages
from holdfast.sampling.series import LONGEST_GAP_S, Series
from holdfast.sampling.targets import VOLUME

Stretch = tuple[float, float]


@dataclass(frozen=True)
class Limit:
    """What is allowed: *outage_s* seconds, and of an outage's looks a *failed_share* at most (None: any)."""

    outage_s: float
    failed_share: float | None = None

    def broken_by(self, outage: Outage) -> bool:
        """Whether even the shortest that this outage can have been is more than that."""
        return (
            outage.at_least_s > self.outage_s
            or self.outage_s == 0
            or (self.failed_share is not None and outage.share > self.failed_share)
        )

    def fits(self, outage: Outage) -> bool:
        """Whether even the longest that this outage can have been is no more than that."""
        return (
            outage.at_most_s is not None
            and outage.at_most_s <= self.outage_s
            and (self.failed_share is None or outage.share <= self.failed_share)
        )


@dataclass(frozen=True)
class Window:
    """What a watch saw of one vantage point, apart from its looks at targets.

    Attributes:
        begin, end: wall times of the watch, in seconds.
        stalls: stretches in which the sampler stood still.
        control: how many looks at its own control target it took.
        lost: stretches in which the vantage point was lost with its node, which is data and no gap.
    """

    begin: float
    end: float
    stalls: list[Stretch]
    control: int
    lost: list[Stretch]

    def hole(self, series: Series) -> str:
        """A stretch that nobody looked at, in words."""
        if not self.control:
            return "the sampler's own control target was never looked at"
        if series.kind == VOLUME:
            return ""  # where a writer stood still it wrote nothing, and that counts as failed already
        stalls = [(a, b) for a, b in self.stalls if b - a > LONGEST_GAP_S]
        for a, b in [*gaps(series.looks, self.begin, self.end, LONGEST_GAP_S), *stalls]:
            if not any(off - 3 <= a and b <= on for off, on in self.lost):
                return f"the sampler has a gap of {b - a:.1f}s, {a - self.begin:.1f}s into the watch"
        return ""


@dataclass(frozen=True)
class Judgement:
    """Of one series: whether it held, the outage that says so in seconds, in words, and as a figure."""

    held: bool | None
    length_s: float
    sighting: str
    figure: str = "-"


def judge(series: Series, limit: Limit, window: Window) -> Judgement:
    """Held where even the longest possible outage fits, broken where the shortest possible one doesn't; between them, where an end was not
    seen, or where the sampler has a gap, it isn't known (None).
    """
    looks = [look for look in series.looks if window.begin <= look.start <= window.end]
    if not looks:
        return Judgement(None, 0.0, f"{series}: no data")
    hole, found = window.hole(series), outages(looks)
    if not found:
        if hole:
            return Judgement(None, 0.0, f"{series}: {hole}")
        return Judgement(True, 0.0, f"0 of {len(looks)} looks failed", "0s")
    worst = max(found, key=lambda o: (o.at_least_s, o.failed))
    upper = "not seen to be over" if worst.at_most_s is None else f"{worst.at_most_s:.1f}s"
    sighting = _sighting(series, worst, upper, len(found), window)
    figure = f"{worst.at_least_s:.1f}–{upper} ({worst.share:.0%})"
    # What stood still may have made a look fail: an assertion is broken only by the looks apart from every stall.
    sure = outages(look for look in looks if not any(a <= look.end and look.start <= b for a, b in window.stalls))
    if any(limit.broken_by(o) for o in sure):
        return Judgement(False, worst.at_least_s, sighting, figure)
    if hole or limit.outage_s == 0 or not all(limit.fits(o) for o in found):
        doubt = hole or ("the sampler stood still meanwhile" if limit.outage_s == 0 else "")
        return Judgement(None, worst.at_least_s, f"{sighting}; {doubt}" if doubt else sighting, figure)
    return Judgement(True, worst.at_least_s, sighting, figure)


def _sighting(series: Series, worst: Outage, upper: str, count: int, window: Window) -> str:
    words = ", ".join(f"{n} {w}" for w, n in worst.words)
    return (
        f"{series}: {worst.failed} of {worst.looks} looks failed ({words}), out for {worst.at_least_s:.1f}s to {upper}, "
        f"{worst.first - window.begin:.1f}s into the watch" + (f"; {count} outages" if count > 1 else "")
    )
