"""A watch: samplers outside and inside look at targets while a test goes on, and what they saw is measured afterwards."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, cast

from holdfast.arc import Arc
from holdfast.cluster import Cluster
from holdfast.drivers.driver import NodeShell
from holdfast.durations import seconds
from holdfast.places import CHECKOUT
from holdfast.sampling import inside, records, writers
from holdfast.sampling.bands import bands, plain
from holdfast.sampling.intervals import Look, Outage, gaps, intervals, outages
from holdfast.sampling.looks import OK, Target
from holdfast.sampling.process import CONTROL
from holdfast.sampling.targets import OUTSIDE, Placed, Wanted
from holdfast.waiting import CannotLook

_LONGEST_GAP_S = 1.5
_LONGER_S = 60.0  # how long a watch goes on for an outage that isn't over
_STEADY_S, _STEADY_WITHIN_S = 2.0, 45.0
VOLUME = "volume"
_numbers = count(1)


@dataclass
class Series:
    """The looks at one target from one vantage point."""

    vantage: str
    target: str
    kind: str
    mode: str
    canary: bool
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
        cluster: whose arc the promises belong to.
        placed: the targets, each with its kind.
    """

    def __init__(self, cluster: Cluster, placed: list[tuple[str, Placed]], watch: str) -> None:
        self.cluster, self.watch = cluster, watch
        self.series = [Series(p.vantage, p.target.name, kind, p.target.mode, p.target.canary, p.target.rate_hz) for kind, p in placed]
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
                    self.stalls[vantage] += [(look.start - _LONGEST_GAP_S, look.end + _LONGEST_GAP_S) for look in of_target if not look.ok]
                    self.stalls[vantage] += [(look.start, look.end) for look in of_target if look.ok and look.end - look.start > 1]
        for one in own.values():
            one.looks.sort()
            if one.kind == VOLUME and not one.canary:
                one.looks = with_absences(one.looks, self.end or now - 1)

    # -- before ----------------------------------------------------------------------------------------------------------

    def not_steady(self) -> str:
        """Why the targets aren't all steadily green and the canaries red yet; empty once they are."""
        for one in self.series:
            now = self.fetched.get(one.vantage, 0.0)  # reading them all takes a while: what was read first isn't older for that
            recent = [look for look in one.looks if now - look.start < _STEADY_S + 1]
            if one.canary:
                if [look for look in one.looks if look.ok]:
                    return f"the canary '{one}' was green"
                if len(one.looks) < 2:
                    return f"the canary '{one}' has not been looked at"
            elif len(recent) < one.rate_hz * _STEADY_S:
                return f"{one}: {len(recent)} looks in the last seconds"
            elif bad := [look for look in recent if not look.ok]:
                return f"{one}: {len(bad)} of {len(recent)} looks failed ({bad[-1].result})"
        return ""

    def going_on(self) -> list[str]:
        """The targets whose last outage isn't over yet, by a stable stretch of good looks."""
        return [str(one) for one in self.series if not one.canary and any(o.before is None for o in outages(one.looks))]

    def look_on(self, for_s: float) -> None:
        """Goes on looking for so many seconds: the time that a promise is watched for, not a wait for something."""
        time.sleep(for_s)

    # -- after -----------------------------------------------------------------------------------------------------------

    def select(self, *kinds: str, via: str = "", vantage: str = "", mode: str = "") -> list[Series]:
        """The series of some kinds, without canaries: only those looking through or from a node, or in one mode."""
        found = [s for s in self.series if not s.canary and (not kinds or s.kind in kinds)]
        return [s for s in found if (not via or s.vantage != OUTSIDE or f"via {via}" in s.target) and (not vantage or s.vantage == vantage)
                and (not mode or s.mode == mode)]

    def outage_at_most(self, limit: str | float, *kinds: str, failed_share: float | None = None, claims: tuple[str, ...] = (),
                       via: str = "", vantage: str = "", mode: str = "", what: str = "", since: float = 0.0, until: float = 0.0) -> None:
        """Promises that no outage of these targets is longer than *limit*, nor fails a larger share of looks.

        Held where even the longest possible outage fits, broke where the shortest possible one doesn't; between them, where an end
        was not seen, or where the sampler has a gap, it is unproven. The test goes on: every measure of a watch is taken.
        """
        chosen = self.select(*kinds, via=via, vantage=vantage, mode=mode)
        arc = cast(Arc, self.cluster.arc)
        budget = f"{limit} and {failed_share:.0%} of looks" if failed_share is not None else str(limit)
        parts = [self._judge(one, seconds(limit), failed_share, since or self.begin, until or self.end) for one in chosen]
        lacking = set(kinds) - {one.kind for one in chosen}
        if lacking:
            parts = [_Part(None, 0.0, f"nothing was looked at of: {', '.join(sorted(lacking))}", "-")]
        held: bool | None = True if parts else None
        if any(p.held is False for p in parts):
            held = False
        elif any(p.held is None for p in parts):
            held = None
        worst = max(parts, key=lambda p: (p.held is held, p.length_s), default=_Part(None, 0.0, "no target was looked at", "-"))
        name = what or f"{', '.join(kinds) or 'all targets'}{f' via {via}' if via else ''}{f' from {vantage}' if vantage else ''}"
        arc.promise(f"outage of {name} at most {limit}", "sampler", held, f"{name}: {worst.sighting}", figure=worst.figure, budget=budget,
                    claims=claims, faults=arc.faults_between(self.begin, self.end), soft=True)

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
        sighting = (f"{one}: {worst.failed} of {worst.looks} looks failed ({words}), out for {worst.at_least_s:.1f}s to {upper}, "
                    f"{worst.first - self.begin:.1f}s into the watch" + (f"; {len(found)} outages" if len(found) > 1 else ""))
        figure = f"{worst.at_least_s:.1f}–{upper} ({worst.share:.0%})"
        hole = self._hole(one, begin, end)
        # What stood still may have made a look fail: a promise is broken only by the looks apart from every stall.
        stalls = self.stalls.get(one.vantage, [])
        sure = outages(look for look in looks if not any(a <= look.end and look.start <= b for a, b in stalls))
        if any(o.at_least_s > limit_s or limit_s == 0 or (share is not None and o.share > share) for o in sure):
            return _Part(False, worst.at_least_s, sighting, figure)
        fits = all(o.at_most_s is not None and o.at_most_s <= limit_s and (share is None or o.share <= share) for o in found)
        if hole or not fits or limit_s == 0:
            doubt = hole or ("the sampler stood still meanwhile" if limit_s == 0 else "")
            return _Part(None, worst.at_least_s, f"{sighting}; {doubt}" if doubt else sighting, figure)
        return _Part(True, worst.at_least_s, sighting, figure)

    def _hole(self, one: Series, begin: float, end: float) -> str:
        """A stretch that nobody looked at, in words; a vantage point that was lost with its node is no hole but data."""
        if not self.control.get(one.vantage):
            return "the sampler's own control target was never looked at"
        lost = [(w.off, w.on + 60 if w.on else end) for w in self.cluster.power_windows if w.node == one.vantage]
        for a, b in [*gaps(one.looks, begin, end, _LONGEST_GAP_S), *((s, e) for s, e in self.stalls.get(one.vantage, []) if e - s > _LONGEST_GAP_S)]:
            if not any(off - 3 <= a and b <= on for off, on in lost):
                return f"the sampler has a gap of {b - a:.1f}s, {a - self.begin:.1f}s into the watch"
        return ""

    def kept(self, *, claims: tuple[str, ...] = (), what: str = "") -> None:
        """Promises that every record that was acknowledged to a writer is on its volume, in order, and none twice.

        Read on the node where the volume is mounted now, after the watch.
        """
        arc, objects = cast(Arc, self.cluster.arc), self.cluster.objects
        invented = (10**9, 1)
        red = records.fault_in([invented], records.line((1, 1)))
        arc.canary("records", bool(red), red or "a record that was never written was not missed")
        homes, total, broken, doubts = writers.homes(objects), 0, [], []
        for writer in sorted({s.vantage for s in self.series if s.kind == VOLUME}):
            said = self.acknowledged.get(writer, [])
            total += len(said)
            if writer not in homes or not said:
                doubts.append(f"{writer} isn't ready" if writer not in homes else f"{writer} was never acknowledged a record")
                continue
            node, uid = homes[writer]
            data = cast(NodeShell, self.cluster.driver).shell(node).run(f"cat {writers.file_on_node(objects, writer, uid)}")
            why = records.fault_in(said, data.stdout_bytes) if data.rc == 0 else ""
            broken += [f"{writer}: {why}"] if why else []
            doubts += [f"the volume of {writer} can't be read: {data.stderr.strip()[:120]}"] if data.rc else []
        held = False if broken else None if doubts else True
        sighting = "; ".join(broken or doubts) or f"all {total} acknowledged records are there, in order, none twice"
        name = what or "the volumes"
        arc.promise(f"every acknowledged record is on {name}", "records", held, f"{name}: {sighting}", figure=f"{total} records", claims=claims,
                    faults=arc.faults_between(self.begin, self.end), soft=True)

    def journal(self) -> None:
        """Writes what was seen of every target, as intervals."""
        arc = cast(Arc, self.cluster.arc)
        for one in self.series:
            found = outages(one.looks)
            arc.write("sampled", watch=self.watch, vantage=one.vantage, target=one.target, kind=one.kind, mode=one.mode, canary=one.canary,
                      begin=self.begin, end=self.end, looks=len(one.looks), failed=sum(not look.ok for look in one.looks),
                      outages=[_plain(o) for o in found] if not one.canary else [],
                      intervals=[[round(i.start, 3), round(i.end, 3), i.result, i.looks] for i in intervals(one.looks)][:300])


@dataclass(frozen=True)
class _Part:
    held: bool | None
    length_s: float
    sighting: str
    figure: str


def _plain(outage: Outage) -> dict[str, Any]:
    return {**asdict(outage), "at_least_s": round(outage.at_least_s, 3), "at_most_s": outage.at_most_s and round(outage.at_most_s, 3)}


class Sampler:
    """Runs watches on a cluster.

    Args:
        cluster: what is looked at.
        folder: where records go: one folder a watch.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder

    @contextmanager
    def watch(self, *wanted: Wanted, settle_s: float = 12.0) -> Iterator[Seen]:
        """Looks at the targets until the block ends. Begins once all are steadily green and every canary is red.

        Args:
            settle_s: looking goes on this long after the block, so that the end of an outage is seen and known to be stable; and for up to a
                minute more while one isn't. 0 ends it at once.
        """
        placed = [(one.kind, p) for one in wanted for p in one.place(self.cluster)]
        # Unlike any other: a kept cluster's nodes hold the records of earlier runs, and none of them may be taken for this watch's.
        watch = f"{next(_numbers)}-{secrets.token_hex(4)}"
        seen, folder = Seen(self.cluster, placed, watch), self.folder / watch
        folder.mkdir(parents=True, exist_ok=True)
        outside = self._start_outside(watch, folder, [p.target for _, p in placed if p.vantage == OUTSIDE])
        try:
            self._start_inside(watch, placed)
            self._steady(seen, folder)
            seen.begin = time.time() - 1  # the last steady second: what fails at once has a last good look before it all the same
            yield seen
            if settle_s:
                time.sleep(settle_s)  # not a wait for something: the stable stretch that ends an outage
                self._to_the_end(seen, folder)
            seen.end = time.time()
        finally:
            seen.end = seen.end or time.time()
            outside.terminate()
            try:
                outside.wait(timeout=15)
            except subprocess.TimeoutExpired:
                outside.kill()
            try:
                self._finish(seen, folder)
            except Exception as error:  # it must not hide what ended the block, and what it leaves unseen must not be called held
                cast(Arc, self.cluster.arc).write("unproven", reason=f"the samplers' records couldn't be fetched: {str(error)[:200]}")

    def _to_the_end(self, seen: Seen, folder: Path) -> None:
        """Looks on while an outage isn't seen to be over: what is cut off by the end of a watch was not measured."""
        limit = time.monotonic() + _LONGER_S
        while True:
            self._collect(seen, folder)
            if not seen.going_on() or time.monotonic() > limit:
                return
            time.sleep(1)

    def _finish(self, seen: Seen, folder: Path) -> None:
        """Ends the samplers inside, and fetches what they saw once the looks under way have ended."""
        nodes = [n.name for n in self.cluster.nodes()]
        inside.stop(self._shell, nodes, self.cluster.nonce)
        for writer in {s.vantage for s in seen.series if s.kind == VOLUME}:
            inside.stop(self._shell, nodes, self.cluster.nonce, writers.folder(writer))
        time.sleep(Target("", "http", "", 0).timeout_s + 0.3)
        self._collect(seen, folder)
        seen.journal()
        self._bands(seen)

    def _bands(self, seen: Seen) -> None:
        """Writes what the cluster's own monitoring saw meanwhile, where it has one that answers; no verdict depends on it."""
        place = self.cluster.adaptations.monitoring
        with suppress(CannotLook):
            if not self.cluster.objects.get("Service", place.core, place.namespace):
                return
            found = [plain(band) for band in bands(self.cluster, seen.begin or seen.end, seen.end)]
            cast(Arc, self.cluster.arc).write("bands", watch=seen.watch, bands=found)

    def _specification(self, watch: str, targets: list[Any]) -> str:
        plain = [{k: v for k, v in asdict(t).items() if not k.startswith("_")} for t in targets]
        return json.dumps({"watch": watch, "nonce": self.cluster.nonce, "targets": plain})

    def _start_outside(self, watch: str, folder: Path, targets: list[Any]) -> subprocess.Popen[bytes]:
        (folder / "outside.json").write_text(self._specification(watch, targets))
        with (folder / "outside.log").open("wb") as log:
            return subprocess.Popen([sys.executable, "-m", "holdfast.sampling.process", "--spec", str(folder / "outside.json"), "--out",
                                     str(folder / "outside.txt")], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=CHECKOUT)

    @property
    def _shell(self) -> NodeShell:
        return cast(NodeShell, self.cluster.driver)

    def _start_inside(self, watch: str, placed: list[tuple[str, Placed]]) -> None:
        names = [node.name for node in self.cluster.nodes()]
        for node in names:
            targets = [p.target for _, p in placed if p.vantage == node]
            self._shell.write_files(node, inside.FOLDER, {"spec.json": self._specification(watch, targets)})
        for writer in {p.vantage for kind, p in placed if kind == VOLUME}:
            specification = self._specification(watch, [p.target for _, p in placed if p.vantage == writer])
            for node in names:  # a writer may move: it finds its specification wherever it comes to
                self._shell.write_files(node, writers.folder(writer), {"spec.json": specification})

    def _collect(self, seen: Seen, folder: Path) -> None:
        """Fetches every record: the outside one from disk, the others from the nodes themselves."""
        record = folder / "outside.txt"
        seen.take(OUTSIDE, [record.read_text()] if record.exists() else [])
        nodes = [n.name for n in self.cluster.nodes()]
        for node in nodes:
            seen.take(node, self._fetch(folder, seen.watch, node, inside.FOLDER, node))
        for writer in {s.vantage for s in seen.series if s.kind == VOLUME}:
            seen.take(writer, [t for n in nodes for t in self._fetch(folder, seen.watch, n, writers.folder(writer), f"{writer}-{n}")])

    def _fetch(self, folder: Path, watch: str, node: str, source: str, name: str) -> list[str]:
        """The records of one watch below a folder of a node; a copy of each stays in the run's folder."""
        texts = []
        for file, data in sorted(self._shell.read_files(node, f"{source}/records/{watch}").items()):
            (folder / f"{name}-{file}").write_bytes(data)
            texts.append(data.decode(errors="replace"))
        return texts

    def _steady(self, seen: Seen, folder: Path) -> None:
        arc, limit = cast(Arc, self.cluster.arc), time.monotonic() + _STEADY_WITHIN_S
        while True:
            time.sleep(0.5)
            self._collect(seen, folder)
            why = seen.not_steady()
            if not why or time.monotonic() > limit or "was green" in why:
                break
        if "canary" in why:
            arc.canary("sampler", False, why)
        arc.steady(f"all {len([s for s in seen.series if not s.canary])} sampled targets green", not why, why or f"green for {_STEADY_S:g}s")
        red = [s for s in seen.series if s.canary]
        words = sorted({look.result for s in red for look in s.looks})
        arc.canary("sampler", bool(red), f"{len(red)} broken targets were red ({', '.join(words)})" if red else "no canary was placed")


