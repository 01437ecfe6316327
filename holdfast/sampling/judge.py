"""Whether an outage fits a limit, from looks alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.sampling.intervals import Look, Outage, gaps, outages, overlap, united
from holdfast.sampling.series import LONGEST_GAP_S, Series
from holdfast.sampling.targets import VOLUME

Stretch = tuple[float, float]
_TIMEOUTS = ("timeout", "dns-timeout")
_STALL_ELSEWHERE_S = (
    1.0  # half of a look's timeout: a vantage point that stood still for less let nobody's look time out
)


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
        elsewhere: stalls of the other vantage points, by name: where a node stands still, what goes through it times out.
    """

    begin: float
    end: float
    stalls: list[Stretch]
    control: int
    lost: list[Stretch]
    elsewhere: dict[str, list[Stretch]] = field(default_factory=dict)

    def holes(self, series: Series) -> list[Stretch]:
        """The stretches that nobody looked at."""
        if series.kind == VOLUME:
            return []  # where a writer stood still it wrote nothing, and that counts as failed already
        stalls = [(a, b) for a, b in self.stalls if b - a > LONGEST_GAP_S]
        found = [*gaps(series.looks, self.begin, self.end, LONGEST_GAP_S), *stalls]
        return [(a, b) for a, b in found if not any(off - 3 <= a and b <= on for off, on in self.lost)]

    def stood_still(self, hole: Stretch) -> bool:
        """Whether a hole is there because the sampler stood still, and not because there was none."""
        return hole[1] - hole[0] - overlap(united(self.stalls), hole) <= LONGEST_GAP_S

    def explains(self, look: Look) -> str:
        """What stood still and may have made a look fail, in words; empty where nothing did."""
        if any(a <= look.end and look.start <= b for a, b in self.stalls):
            return "the sampler stood still meanwhile"
        if look.result in _TIMEOUTS:
            for point, stalls in self.elsewhere.items():
                for a, b in stalls:
                    if b - a > _STALL_ELSEWHERE_S and a <= look.end and look.start <= b:
                        return f"{point} stood still for {b - a:.1f}s meanwhile"
        return ""


@dataclass(frozen=True)
class Judgement:
    """Of one series: whether it held, the outage that says so in seconds, in words, and as a figure.

    *stalled*: it isn't known, and for no other reason than that something stood still: apart from that it held.
    """

    held: bool | None
    length_s: float
    sighting: str
    figure: str = "-"
    stalled: bool = False


def judge(series: Series, limit: Limit, window: Window) -> Judgement:
    """Held where even the longest possible outage fits, broken where the shortest possible one doesn't; between them, where an end was not
    seen, or where the sampler has a gap, it isn't known (None).
    """
    looks = [look for look in series.looks if window.begin <= look.start <= window.end]
    if not looks:
        return Judgement(None, 0.0, f"{series}: no data")
    unchecked = "" if window.control else "the sampler's own control target was never looked at"
    holes, found = window.holes(series), outages(looks)
    # What stood still may have made a look fail: an assertion is broken only by the looks that nothing explains.
    explained = {look: why for look in looks if not look.ok and (why := window.explains(look))}
    sure = outages(look for look in looks if look not in explained)
    held, stalled, doubt = None, False, ""
    if any(limit.broken_by(o) for o in sure):
        held = False
    elif not unchecked and not holes and (limit.outage_s > 0 or not found) and all(limit.fits(o) for o in found):
        held = True
    else:
        still = all(window.stood_still(hole) for hole in holes) and all(limit.fits(o) for o in sure)
        stalled = still and not unchecked
        doubt = unchecked or _doubt(holes, list(explained.values()) if stalled or limit.outage_s == 0 else [], window)
    if not found:
        return Judgement(held, 0.0, f"{series}: {doubt}" if doubt else f"0 of {len(looks)} looks failed", "0s", stalled)
    worst = max(found, key=lambda o: (o.at_least_s, o.failed))
    upper = "not seen to be over" if worst.at_most_s is None else f"{worst.at_most_s:.1f}s"
    sighting = _sighting(series, worst, upper, len(found), window)
    figure = f"{worst.at_least_s:.1f}–{upper} ({worst.share:.0%})"
    return Judgement(held, worst.at_least_s, f"{sighting}; {doubt}" if doubt else sighting, figure, stalled)


def _doubt(holes: list[Stretch], explained: list[str], window: Window) -> str:
    if not holes:
        return explained[0] if explained else ""
    a, b = holes[0]
    return f"the sampler has a gap of {b - a:.1f}s, {a - window.begin:.1f}s into the watch"


def _sighting(series: Series, worst: Outage, upper: str, count: int, window: Window) -> str:
    words = ", ".join(f"{n} {w}" for w, n in worst.words)
    return (
        f"{series}: {worst.failed} of {worst.looks} looks failed ({words}), out for {worst.at_least_s:.1f}s to {upper}, "
        f"{worst.first - window.begin:.1f}s into the watch" + (f"; {count} outages" if count > 1 else "")
    )
