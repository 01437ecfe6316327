"""A watch: samplers outside and inside look at targets while a test goes on."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any, cast

from holdfast.cluster import Cluster
from holdfast.drivers.driver import NodeShell
from holdfast.experiment import Experiment
from holdfast.paths import CHECKOUT
from holdfast.sampling import agents, writers
from holdfast.sampling.bands import bands, plain
from holdfast.sampling.seen import STEADY_S, VOLUME, Seen
from holdfast.sampling.targets import OUTSIDE, AssignedTarget, Wanted
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

    @contextmanager
    def watch(self, *wanted: Wanted) -> Iterator[Seen]:
        """Looks at the targets until the block ends, and for up to a minute more while an outage isn't seen to be over by a stable stretch.
        Begins once all are steadily green and every negative control is red.
        """
        assigned = [(one.kind, p) for one in wanted for p in one.assign(self.cluster)]
        # Unlike any other: a kept cluster's nodes hold the records of earlier runs, and none of them may be taken for this watch's.
        watch = f"{next(_numbers)}-{secrets.token_hex(4)}"
        seen, folder = Seen(self.cluster, assigned, watch), self.folder / watch
        folder.mkdir(parents=True, exist_ok=True)
        outside = self._start_outside(watch, folder, [p.target for _, p in assigned if p.vantage == OUTSIDE])
        try:
            self._start_inside(watch, assigned)
            self._steady(seen, folder)
            seen.begin = (
                time.time() - 1
            )  # the last steady second: what fails at once has a last good look before it all the same
            yield seen
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
                self._finish(seen, folder, max(p.target.timeout_s for _, p in assigned))
            except (
                Exception
            ) as error:  # it must not hide what ended the block, and what it leaves unseen must not be called held
                cast(Experiment, self.cluster.experiment).write(
                    "unproven", reason=f"the samplers' records couldn't be fetched: {str(error)[:200]}"
                )

    def _to_the_end(self, seen: Seen, folder: Path) -> None:
        """Looks on while an outage isn't seen to be over: what is cut off by the end of a watch was not measured."""
        limit = time.monotonic() + _LONGER_S
        while True:
            self._collect(seen, folder)
            if not seen.unfinished() or time.monotonic() > limit:
                return
            time.sleep(1)

    def _finish(self, seen: Seen, folder: Path, longest_s: float) -> None:
        """Ends the samplers inside, and fetches what they saw once the looks under way have ended: the slowest may take *longest_s*."""
        nodes = [n.name for n in self.cluster.nodes()]
        agents.stop(self._shell, nodes, self.cluster.nonce)
        for writer in {s.vantage for s in seen.series if s.kind == VOLUME}:
            agents.stop(self._shell, nodes, self.cluster.nonce, writers.folder(writer))
        time.sleep(longest_s + 0.3)
        self._collect(seen, folder)
        seen.journal()
        self._bands(seen)

    def _bands(self, seen: Seen) -> None:
        """Writes what the cluster's own monitoring saw meanwhile, where it has one that answers; no verdict depends on it."""
        assign = self.cluster.settings.monitoring
        with suppress(CannotLook):
            if not self.cluster.objects.get("Service", assign.core, assign.namespace):
                return
            found = [plain(band) for band in bands(self.cluster, seen.begin or seen.end, seen.end)]
            cast(Experiment, self.cluster.experiment).write("bands", watch=seen.watch, bands=found)

    def _specification(self, watch: str, targets: list[Any]) -> str:
        plain = [{k: v for k, v in asdict(t).items() if not k.startswith("_")} for t in targets]
        return json.dumps({"watch": watch, "nonce": self.cluster.nonce, "targets": plain})

    def _start_outside(self, watch: str, folder: Path, targets: list[Any]) -> subprocess.Popen[bytes]:
        (folder / "outside.json").write_text(self._specification(watch, targets))
        with (folder / "outside.log").open("wb") as log:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "holdfast.sampling.process",
                    "--spec",
                    str(folder / "outside.json"),
                    "--out",
                    str(folder / "outside.txt"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=CHECKOUT,
            )

    @property
    def _shell(self) -> NodeShell:
        return cast(NodeShell, self.cluster.driver)

    def _start_inside(self, watch: str, assigned: list[tuple[str, AssignedTarget]]) -> None:
        names = [node.name for node in self.cluster.nodes()]
        for node in names:
            targets = [p.target for _, p in assigned if p.vantage == node]
            self._shell.write_files(node, agents.FOLDER, {"spec.json": self._specification(watch, targets)})
        for writer in {p.vantage for kind, p in assigned if kind == VOLUME}:
            specification = self._specification(watch, [p.target for _, p in assigned if p.vantage == writer])
            for node in names:  # a writer may move: it finds its specification wherever it comes to
                self._shell.write_files(node, writers.folder(writer), {"spec.json": specification})

    def _collect(self, seen: Seen, folder: Path) -> None:
        """Fetches every record: the outside one from disk, the others from the nodes themselves."""
        record = folder / "outside.txt"
        seen.take(OUTSIDE, [record.read_text()] if record.exists() else [])
        nodes = [n.name for n in self.cluster.nodes()]
        for node in nodes:
            seen.take(node, self._fetch(folder, seen.watch, node, agents.FOLDER, node))
        for writer in {s.vantage for s in seen.series if s.kind == VOLUME}:
            seen.take(
                writer,
                [t for n in nodes for t in self._fetch(folder, seen.watch, n, writers.folder(writer), f"{writer}-{n}")],
            )

    def _fetch(self, folder: Path, watch: str, node: str, source: str, name: str) -> list[str]:
        """The records of one watch below a folder of a node; a copy of each stays in the run's folder."""
        texts = []
        for file, data in sorted(self._shell.read_files(node, f"{source}/records/{watch}").items()):
            (folder / f"{name}-{file}").write_bytes(data)
            texts.append(data.decode(errors="replace"))
        return texts

    def _steady(self, seen: Seen, folder: Path) -> None:
        experiment, limit = cast(Experiment, self.cluster.experiment), time.monotonic() + _STEADY_WITHIN_S
        while True:
            time.sleep(0.5)
            self._collect(seen, folder)
            why = seen.not_steady()
            if not why or time.monotonic() > limit or "was green" in why:
                break
        if "negative-control" in why:
            experiment.negative_control("sampler", False, why)
        experiment.steady(
            f"all {len([s for s in seen.series if not s.negative_control])} sampled targets green",
            not why,
            why or f"green for {STEADY_S:g}s",
        )
        red = [s for s in seen.series if s.negative_control]
        words = sorted({look.result for s in red for look in s.looks})
        experiment.negative_control(
            "sampler",
            bool(red),
            f"{len(red)} broken targets were red ({', '.join(words)})" if red else "no negative control was placed",
        )
