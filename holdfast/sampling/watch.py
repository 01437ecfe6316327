"""A watch: samplers outside and inside, and writers, look at targets while a test goes on."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import cast

from holdfast.cluster import Cluster
from holdfast.drivers.driver import Agents, NodeShell
from holdfast.events import Bands, Doubt
from holdfast.experiment import Experiment
from holdfast.sampling.agents import AgentsInside
from holdfast.sampling.bands import bands, plain
from holdfast.sampling.looks import Target
from holdfast.sampling.outside import Outside
from holdfast.sampling.seen import Seen
from holdfast.sampling.series import STEADY_S
from holdfast.sampling.targets import OUTSIDE, VOLUME, AssignedTarget, Wanted
from holdfast.sampling.vantage import Vantage, WatchedTargets
from holdfast.sampling.writers import WritersInside
from holdfast.waiting import CannotLook

_LONGER_S = 60.0  # how long a watch goes on for an outage that isn't over
_STEADY_WITHIN_S = 45.0
_numbers = count(1)


class Sampler:
    """Runs watches on a cluster.

    Args:
        cluster: what is looked at.
        folder: where records go: one folder a watch.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder

    @property
    def _experiment(self) -> Experiment:
        return cast(Experiment, self.cluster.experiment)

    @contextmanager
    def watch(self, *wanted: Wanted) -> Iterator[Seen]:
        """Looks at the targets until the block ends, and for up to a minute more while an outage isn't seen to be over by a stable stretch.

        Begins once all are steadily green and every negative control is red. Raises NotExercised where the lane's driver can't look
        from where a target asks for it.
        """
        assigned = [(w.kind, target) for w in wanted for target in w.assign(self.cluster)]
        # Unlike any other: a kept cluster's nodes hold the records of earlier runs, and none of them may be taken for this watch's.
        watch = f"{next(_numbers)}-{secrets.token_hex(4)}"
        seen, folder = Seen(self.cluster, assigned, watch), self.folder / watch
        folder.mkdir(parents=True, exist_ok=True)
        vantages = self._vantages(watch, folder, assigned)
        try:
            for vantage in vantages:
                vantage.start()
            self._steady(seen, vantages)
            # The last steady second: what fails at once has a last good look before it all the same.
            seen.begin = time.time() - 1
            yield seen
            self._to_the_end(seen, vantages)
            seen.end = time.time()
        finally:
            seen.end = seen.end or time.time()
            self._end(seen, vantages, max(target.target.timeout_s for _, target in assigned))

    def _vantages(self, watch: str, folder: Path, assigned: list[tuple[str, AssignedTarget]]) -> list[Vantage]:
        """Those that the targets ask for."""
        outside: dict[str, list[Target]] = {}
        agents: dict[str, list[Target]] = {}
        writers: dict[str, list[Target]] = {}
        for kind, at in assigned:
            group = writers if kind == VOLUME else outside if at.vantage == OUTSIDE else agents
            group.setdefault(at.vantage, []).append(at.target)

        def watched(targets: dict[str, list[Target]]) -> WatchedTargets:
            return WatchedTargets(watch, self.cluster.nonce, folder, targets)

        vantages: list[Vantage] = [Outside(watched(outside))] if outside else []
        if agents or writers:
            self.cluster.capable(Agents)
            shell, nodes = self.cluster.capable(NodeShell), [n.name for n in self.cluster.nodes()]
            vantages += [AgentsInside(shell, nodes, watched(agents))] if agents else []
            vantages += [WritersInside(shell, nodes, watched(writers))] if writers else []
        return vantages

    @staticmethod
    def _collect(seen: Seen, vantages: list[Vantage]) -> None:
        for vantage in vantages:
            for fetched in vantage.collect():
                seen.take(fetched)

    def _steady(self, seen: Seen, vantages: list[Vantage]) -> None:
        experiment, limit, recorded = self._experiment, time.monotonic() + _STEADY_WITHIN_S, seen.recorded
        while True:
            time.sleep(0.5)
            self._collect(seen, vantages)
            why = recorded.not_steady()
            if not why or time.monotonic() > limit or recorded.green_control():
                break
        if green_control := recorded.green_control():
            experiment.negative_control("sampler", False, green_control)
        green = [s for s in recorded.series if not s.negative_control]
        experiment.steady(f"all {len(green)} sampled targets green", not why, why or f"green for {STEADY_S:g}s")
        red = [s for s in recorded.series if s.negative_control]
        words = sorted({look.result for s in red for look in s.looks})
        experiment.negative_control(
            "sampler",
            bool(red),
            f"{len(red)} broken targets were red ({', '.join(words)})" if red else "no negative control was placed",
        )

    def _to_the_end(self, seen: Seen, vantages: list[Vantage]) -> None:
        """Looks on while an outage isn't seen to be over: what is cut off by the end of a watch was not measured."""
        limit = time.monotonic() + _LONGER_S
        while True:
            self._collect(seen, vantages)
            if not seen.recorded.unfinished() or time.monotonic() > limit:
                return
            time.sleep(1)

    def _end(self, seen: Seen, vantages: list[Vantage], longest_s: float) -> None:
        """Ends the samplers, and fetches what they saw once the looks under way have ended: the slowest may take *longest_s*.

        What goes wrong here must not hide what ended the block, and what stays unseen must not be called held.
        """
        failed = ""
        for vantage in vantages:  # each is stopped, whatever becomes of another
            try:
                vantage.stop()
            except Exception as error:
                failed = failed or str(error)
        try:
            time.sleep(longest_s + 0.3)
            self._collect(seen, vantages)
            seen.journal()
            self._bands(seen)
        except Exception as error:
            failed = failed or str(error)
        if failed:
            self._experiment.write(Doubt(f"the samplers' records couldn't be fetched: {failed[:200]}"))

    def _bands(self, seen: Seen) -> None:
        """Writes what the cluster's own monitoring saw meanwhile, where it has one that answers; no verdict depends on it."""
        component = self.cluster.settings.monitoring
        with suppress(CannotLook):
            if not self.cluster.objects.get("Service", component.core, component.namespace):
                return
            found = [plain(band) for band in bands(self.cluster, seen.begin or seen.end, seen.end)]
            self._experiment.write(Bands(seen.watch, found))
