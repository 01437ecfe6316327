"""What samplers and writers wrote down, as series of looks by vantage point. Pure: texts in, looks out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from holdfast.sampling import records
from holdfast.sampling.intervals import Look, gaps, outages
from holdfast.sampling.looks import OK
from holdfast.sampling.process import CONTROL
from holdfast.sampling.targets import OUTSIDE, VOLUME, AssignedTarget
from holdfast.sampling.vantage import Fetched

STEADY_S = 2.0
LONGEST_GAP_S = 1.5


@dataclass
class Series:
    """The looks at one target from one vantage point."""

    vantage: str
    target: str
    kind: str
    mode: str
    negative_control: bool
    rate_hz: float = 5.0
    looks: list[Look] = field(default_factory=list)

    def __str__(self) -> str:
        return self.target if self.vantage == OUTSIDE else f"{self.target} from {self.vantage}"


def parse(text: str) -> tuple[list[str], dict[int, list[Look]], list[tuple[float, float]]]:
    """A record as (target names, looks by index, stalls); a line that was cut is left out."""
    lines = text.splitlines()
    names = [t["name"] for t in json.loads(lines[0][2:])["targets"]] if lines and lines[0].startswith("# ") else []
    looks: dict[int, list[Look]] = {}
    stalls = []
    for line in lines[1:]:
        parts = line.split(" ")
        with suppress(ValueError, IndexError):
            start, took = float(parts[1]), float(parts[2])
            if parts[0] == "-":
                stalls.append((start - took / 1000, start))
            elif parts[3]:
                looks.setdefault(int(parts[0]), []).append(Look(start, start + took / 1000, parts[3]))
    return names, looks, stalls


def acknowledged(text: str) -> list[records.Record]:
    """The records that a writer's record of looks calls acknowledged; a line that was cut says nothing."""
    found = []
    for line in text.split("\n")[:-1]:
        parts = line.split(" ")
        if len(parts) == 6 and parts[3] == OK:
            found.append((int(parts[4]), int(parts[5])))
    return found


def with_absences(looks: list[Look], until: float) -> list[Look]:
    """A writer's looks, with a failed one a second wherever none was taken: a writer that doesn't run can't write, and that is an outage.

    (Unlike the samplers, which must look on whatever happens, a writer is a workload like any other: it moves with its volume.)
    """
    filled: list[Look] = []
    for a, b in gaps(looks, looks[0].start if looks else until, until, LONGEST_GAP_S):
        times = [a + LONGEST_GAP_S / 2 + n for n in range(int(b - a - LONGEST_GAP_S / 2) + 1)]
        filled += [Look(t, t, "absent") for t in times if t < b]
    return sorted([*looks, *filled])


def control_stalls(looks: Iterable[Look]) -> list[tuple[float, float]]:
    """When a sampler, its control target or the machine stood still: nothing else makes the control target fail or answer late."""
    found = []
    for look in looks:
        if not look.ok:
            found.append((look.start - LONGEST_GAP_S, look.end + LONGEST_GAP_S))
        elif look.end - look.start > 1:
            found.append((look.start, look.end))
    return found


class Recorded:
    """The records of one watch, as far as they were fetched.

    Attributes:
        series: by target and vantage point.
        fetched: wall time at which reading the records of a vantage point last began.
        stalls: stretches in which a vantage point's sampler stood still.
        control: how many looks at its own control target each took.
        acknowledged: what was acknowledged to each writer.
    """

    def __init__(self, assigned: list[tuple[str, AssignedTarget]]) -> None:
        self.series = [
            Series(p.vantage, p.target.name, kind, p.target.mode, p.target.negative_control, p.target.rate_hz)
            for kind, p in assigned
        ]
        self.fetched: dict[str, float] = {}
        self.stalls: dict[str, list[tuple[float, float]]] = {}
        self.control: dict[str, int] = {}
        self.acknowledged: dict[str, list[records.Record]] = {}

    @property
    def writers(self) -> list[str]:
        """The writers that were looked through, by name."""
        return sorted({s.vantage for s in self.series if s.kind == VOLUME})

    def take(self, fetched: Fetched, until: float) -> None:
        """Replaces what is known from one vantage point by its records; a writer is absent where it wrote nothing *until* then."""
        vantage = fetched.point
        self.fetched[vantage] = fetched.at
        own = {s.target: s for s in self.series if s.vantage == vantage}
        for series in own.values():
            series.looks = []
        self.stalls[vantage], self.control[vantage], self.acknowledged[vantage] = [], 0, []
        for text in fetched.texts:
            names, looks, stalls = parse(text)
            self.stalls[vantage] += stalls
            self.acknowledged[vantage] += acknowledged(text)
            for index, of_target in looks.items():
                if index < len(names) and names[index] in own:
                    own[names[index]].looks += of_target
                elif index < len(names) and names[index] == CONTROL:
                    self.control[vantage] += len(of_target)
                    self.stalls[vantage] += control_stalls(of_target)
        for series in own.values():
            series.looks.sort()
            if series.kind == VOLUME and not series.negative_control:
                series.looks = with_absences(series.looks, until)

    def green_control(self) -> str:
        """The negative control that was green, in words; empty where none was."""
        green = [s for s in self.series if s.negative_control and any(look.ok for look in s.looks)]
        return f"the negative control '{green[0]}' was green" if green else ""

    def not_steady(self) -> str:
        """Why the targets aren't all steadily green and the negative controls red yet; empty once they are."""
        if why := self.green_control():
            return why
        for series in self.series:
            # Reading them all takes seconds on a busy machine: each counts from when it was read itself.
            now = self.fetched.get(series.vantage, 0.0)
            recent = [look for look in series.looks if 0 <= now - look.start < STEADY_S + 1]
            if series.negative_control:
                if len(series.looks) < 2:
                    return f"the negative control '{series}' has not been looked at"
            elif len(recent) < series.rate_hz * STEADY_S:
                return f"{series}: {len(recent)} looks in the last seconds"
            elif bad := [look for look in recent if not look.ok]:
                return f"{series}: {len(bad)} of {len(recent)} looks failed ({bad[-1].result})"
        return ""

    def unfinished(self) -> list[str]:
        """The targets whose last outage isn't over yet, by a stable stretch of good looks."""
        return [
            str(series)
            for series in self.series
            if not series.negative_control and any(o.before is None for o in outages(series.looks))
        ]

    def select(self, *kinds: str, via: str = "", vantage: str = "", mode: str = "") -> list[Series]:
        """The series of some kinds, without negative controls: only those looking through or from a node, or in one mode."""
        return [
            s
            for s in self.series
            if not s.negative_control
            and (not kinds or s.kind in kinds)
            and (not via or s.vantage != OUTSIDE or f"via {via}" in s.target)
            and (not vantage or s.vantage == vantage)
            and (not mode or s.mode == mode)
        ]
