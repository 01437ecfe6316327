"""What a watch saw: series of looks by vantage point, measured afterwards, each measure a promise."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from holdfast.cluster import Cluster
from holdfast.drivers.driver import NodeShell
from holdfast.durations import seconds
from holdfast.experiment import Experiment
from holdfast.sampling import records, writers
from holdfast.sampling.intervals import Look, Outage, gaps, intervals, outages
from holdfast.sampling.looks import OK
from holdfast.sampling.process import CONTROL
from holdfast.sampling.targets import OUTSIDE, AssignedTarget

VOLUME = "volume"
STEADY_S = 2.0
_LONGEST_GAP_S = 1.5


@dataclass
class Series:
    """The looks at one target from one vantage point."""

    vantage: str
    target: str
    kind: str
    mode: str
    negative_control: bool
    rate_hz: float = 10.0
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
    for a, b in gaps(looks, looks[0].start if looks else until, until, _LONGEST_GAP_S):
        times = [a + _LONGEST_GAP_S / 2 + n for n in range(int(b - a - _LONGEST_GAP_S / 2) + 1)]
        filled += [Look(t, t, "absent") for t in times if t < b]
    return sorted([*looks, *filled])


class Seen:
    """What a watch saw. Measured once it is over; every measure goes into the journal as a promise.

    Args:
        cluster: whose experiment the promises belong to.
        placed: the targets, each with its kind.
    """

    def __init__(self, cluster: Cluster, assigned: list[tuple[str, AssignedTarget]], watch: str) -> None:
        self.cluster, self.watch = cluster, watch
        self.series = [
            Series(p.vantage, p.target.name, kind, p.target.mode, p.target.negative_control, p.target.rate_hz)
            for kind, p in assigned
        ]
        self.fetched: dict[str, float] = {}  # when the records of a vantage point were read last
        self.stalls: dict[str, list[tuple[float, float]]] = {}
        self.control: dict[str, int] = {}
        self.acknowledged: dict[str, list[records.Record]] = {}  # by writer
        self.begin = self.end = 0.0

    def take(self, vantage: str, texts: list[str]) -> None:
        """Replaces what is known from one vantage point by its records of now."""
        self.fetched[vantage] = now = time.time()
        own = {s.target: s for s in self.series if s.vantage == vantage}
        for one in own.values():
            one.looks = []
        self.stalls[vantage], self.control[vantage], self.acknowledged[vantage] = [], 0, []
        for text in texts:
            names, looks, stalls = parse(text)
            self.stalls[vantage] += stalls
            self.acknowledged[vantage] += acknowledged(text)
            for index, of_target in looks.items():
                if index < len(names) and names[index] in own:
                    own[names[index]].looks += of_target
                elif index < len(names) and names[index] == CONTROL:
                    # The control target only fails where the sampler, its control or the machine stood still.
                    self.control[vantage] = self.control.get(vantage, 0) + len(of_target)
                    self.stalls[vantage] += [
                        (look.start - _LONGEST_GAP_S, look.end + _LONGEST_GAP_S) for look in of_target if not look.ok
                    ]
                    self.stalls[vantage] += [
                        (look.start, look.end) for look in of_target if look.ok and look.end - look.start > 1
                    ]
        for one in own.values():
            one.looks.sort()
            if one.kind == VOLUME and not one.negative_control:
                one.looks = with_absences(one.looks, self.end or now - 1)

    # -- before ----------------------------------------------------------------------------------------------------------

    def not_steady(self) -> str:
        """Why the targets aren't all steadily green and the negative controls red yet; empty once they are."""
        for one in self.series:
            now = self.fetched.get(
                one.vantage, 0.0
            )  # reading them all takes a while: what was read first isn't older for that
            recent = [look for look in one.looks if now - look.start < STEADY_S + 1]
            if one.negative_control:
                if [look for look in one.looks if look.ok]:
                    return f"the negative control '{one}' was green"
                if len(one.looks) < 2:
                    return f"the negative control '{one}' has not been looked at"
            elif len(recent) < one.rate_hz * STEADY_S:
                return f"{one}: {len(recent)} looks in the last seconds"
            elif bad := [look for look in recent if not look.ok]:
                return f"{one}: {len(bad)} of {len(recent)} looks failed ({bad[-1].result})"
        return ""

    def unfinished(self) -> list[str]:
        """The targets whose last outage isn't over yet, by a stable stretch of good looks."""
        return [
            str(one)
            for one in self.series
            if not one.negative_control and any(o.before is None for o in outages(one.looks))
        ]

    def observe_for(self, for_s: float) -> None:
        """Goes on looking for so many seconds: the time that a promise is watched for, not a wait for something."""
        time.sleep(for_s)

    # -- after -----------------------------------------------------------------------------------------------------------

    def select(self, *kinds: str, via: str = "", vantage: str = "", mode: str = "") -> list[Series]:
        """The series of some kinds, without negative controls: only those looking through or from a node, or in one mode."""
        found = [s for s in self.series if not s.negative_control and (not kinds or s.kind in kinds)]
        return [
            s
            for s in found
            if (not via or s.vantage != OUTSIDE or f"via {via}" in s.target)
            and (not vantage or s.vantage == vantage)
            and (not mode or s.mode == mode)
        ]

    def outage_at_most(
        self,
        limit: str | float,
        *kinds: str,
        failed_share: float | None = None,
        claims: tuple[str, ...] = (),
        via: str = "",
        vantage: str = "",
        mode: str = "",
        what: str = "",
    ) -> None:
        """Promises that no outage of these targets is longer than *limit*, nor fails a larger share of looks.

        Held where even the longest possible outage fits, broke where the shortest possible one doesn't; between them, where an end
        was not seen, or where the sampler has a gap, it is unproven. The test goes on: every measure of a watch is taken.
        """
        chosen = self.select(*kinds, via=via, vantage=vantage, mode=mode)
        experiment = cast(Experiment, self.cluster.experiment)
        budget = f"{limit} and {failed_share:.0%} of looks" if failed_share is not None else str(limit)
        parts = [self._judge(one, seconds(limit), failed_share, self.begin, self.end) for one in chosen]
        lacking = set(kinds) - {one.kind for one in chosen}
        if lacking:
            parts = [_Part(None, 0.0, f"nothing was looked at of: {', '.join(sorted(lacking))}", "-")]
        held: bool | None = True if parts else None
        if any(p.held is False for p in parts):
            held = False
        elif any(p.held is None for p in parts):
            held = None
        worst = max(
            parts, key=lambda p: (p.held is held, p.length_s), default=_Part(None, 0.0, "no target was looked at", "-")
        )
        name = (
            what
            or f"{', '.join(kinds) or 'all targets'}{f' via {via}' if via else ''}{f' from {vantage}' if vantage else ''}"
        )
        experiment.assertion(
            f"outage of {name} at most {limit}",
            "sampler",
            held,
            f"{name}: {worst.sighting}",
            figure=worst.figure,
            budget=budget,
            claims=claims,
            faults=experiment.faults_between(self.begin, self.end),
        )

    def _judge(self, one: Series, limit_s: float, share: float | None, begin: float, end: float) -> _Part:
        looks = [look for look in one.looks if begin <= look.start <= end]
        if not looks:
            return _Part(None, 0.0, f"{one}: no data", "-")
        found = outages(looks)
        if not found:
            hole = self._hole(one, begin, end)
            if hole:
                return _Part(None, 0.0, f"{one}: {hole}", "-")
            return _Part(True, 0.0, f"0 of {len(looks)} looks failed", "0s")
        worst = max(found, key=lambda o: (o.at_least_s, o.failed))
        words = ", ".join(f"{n} {w}" for w, n in worst.words)
        upper = "not seen to be over" if worst.at_most_s is None else f"{worst.at_most_s:.1f}s"
        sighting = (
            f"{one}: {worst.failed} of {worst.looks} looks failed ({words}), out for {worst.at_least_s:.1f}s to {upper}, "
            f"{worst.first - self.begin:.1f}s into the watch" + (f"; {len(found)} outages" if len(found) > 1 else "")
        )
        figure = f"{worst.at_least_s:.1f}–{upper} ({worst.share:.0%})"
        hole = self._hole(one, begin, end)
        # What stood still may have made a look fail: a promise is broken only by the looks apart from every stall.
        stalls = self.stalls.get(one.vantage, [])
        sure = outages(look for look in looks if not any(a <= look.end and look.start <= b for a, b in stalls))
        if any(o.at_least_s > limit_s or limit_s == 0 or (share is not None and o.share > share) for o in sure):
            return _Part(False, worst.at_least_s, sighting, figure)
        fits = all(
            o.at_most_s is not None and o.at_most_s <= limit_s and (share is None or o.share <= share) for o in found
        )
        if hole or not fits or limit_s == 0:
            doubt = hole or ("the sampler stood still meanwhile" if limit_s == 0 else "")
            return _Part(None, worst.at_least_s, f"{sighting}; {doubt}" if doubt else sighting, figure)
        return _Part(True, worst.at_least_s, sighting, figure)

    def _hole(self, one: Series, begin: float, end: float) -> str:
        """A stretch that nobody looked at, in words; a vantage point that was lost with its node is no hole but data."""
        if not self.control.get(one.vantage):
            return "the sampler's own control target was never looked at"
        lost = [(w.off, w.on + 60 if w.on else end) for w in self.cluster.power_windows if w.node == one.vantage]
        for a, b in [
            *gaps(one.looks, begin, end, _LONGEST_GAP_S),
            *((s, e) for s, e in self.stalls.get(one.vantage, []) if e - s > _LONGEST_GAP_S),
        ]:
            if not any(off - 3 <= a and b <= on for off, on in lost):
                return f"the sampler has a gap of {b - a:.1f}s, {a - self.begin:.1f}s into the watch"
        return ""

    def kept(self, *, claims: tuple[str, ...] = (), what: str = "") -> None:
        """Promises that every record that was acknowledged to a writer is on its volume, in order, and none twice.

        Read on the node where the volume is mounted now, after the watch.
        """
        experiment, objects = cast(Experiment, self.cluster.experiment), self.cluster.objects
        invented = (10**9, 1)
        red = records.fault_in([invented], records.line((1, 1)))
        experiment.negative_control("records", bool(red), red or "a record that was never written was not missed")
        homes, total, broken, doubts = writers.homes(objects), 0, [], []
        for writer in sorted({s.vantage for s in self.series if s.kind == VOLUME}):
            said = self.acknowledged.get(writer, [])
            total += len(said)
            if writer not in homes or not said:
                doubts.append(
                    f"{writer} isn't ready" if writer not in homes else f"{writer} was never acknowledged a record"
                )
                continue
            node, uid = homes[writer]
            data = (
                cast(NodeShell, self.cluster.driver)
                .shell(node)
                .run(f"cat {writers.file_on_node(objects, writer, uid)}")
            )
            why = records.fault_in(said, data.stdout_bytes) if data.rc == 0 else ""
            broken += [f"{writer}: {why}"] if why else []
            doubts += [f"the volume of {writer} can't be read: {data.stderr.strip()[:120]}"] if data.rc else []
        held = False if broken else None if doubts else True
        sighting = "; ".join(broken or doubts) or f"all {total} acknowledged records are there, in order, none twice"
        name = what or "the volumes"
        experiment.assertion(
            f"every acknowledged record is on {name}",
            "records",
            held,
            f"{name}: {sighting}",
            figure=f"{total} records",
            claims=claims,
            faults=experiment.faults_between(self.begin, self.end),
        )

    def journal(self) -> None:
        """Writes what was seen of every target, as intervals."""
        experiment = cast(Experiment, self.cluster.experiment)
        for one in self.series:
            found = outages(one.looks)
            experiment.write(
                "sampled",
                watch=self.watch,
                vantage=one.vantage,
                target=one.target,
                kind=one.kind,
                mode=one.mode,
                negative_control=one.negative_control,
                begin=self.begin,
                end=self.end,
                looks=len(one.looks),
                failed=sum(not look.ok for look in one.looks),
                outages=[_plain(o) for o in found] if not one.negative_control else [],
                intervals=[[round(i.start, 3), round(i.end, 3), i.result, i.looks] for i in intervals(one.looks)][:300],
            )


@dataclass(frozen=True)
class _Part:
    held: bool | None
    length_s: float
    sighting: str
    figure: str


def _plain(outage: Outage) -> dict[str, Any]:
    return {
        **asdict(outage),
        "at_least_s": round(outage.at_least_s, 3),
        "at_most_s": outage.at_most_s and round(outage.at_most_s, 3),
    }
