"""One run: its folder, its journal, and the cluster that its tests share."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import holdfast
from holdfast import evidence
from holdfast.cluster import Cluster
from holdfast.errors import UsageError
from holdfast.journal import Journal
from holdfast.lane.lane import Lane
from holdfast.probes.flux import at_revision
from holdfast.probes.nodes import nodes_ready
from holdfast.probes.workloads import workloads_ready
from holdfast.progress import step
from holdfast.sampling import agents
from holdfast.tree.check import Result, check
from holdfast.waiting import Broke, Unproven, eventually, patiently

_STEADY_WITHIN = "6m"


TEMP = "tmp"  # in a run's folder: where this process, and every client in it, keeps files for a while (keys of clients among them)


def private_temp(folder: Path) -> None:
    """From now on this process's temporary files lie in *folder*, which nobody else may read: what a kill leaves there is found again."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    tempfile.tempdir = str(folder)


def clean_temp(reports: Path) -> None:
    """Removes the temporary folders that dead runs left, and this run's own at its end. The machine's lane lock must be held."""
    for left in reports.glob(f"*/{TEMP}"):
        shutil.rmtree(left, ignore_errors=True)


def new_name() -> str:
    """A name for a new run: the time of its start."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


@dataclass
class Run:
    """What the tests of one `holdfast verify` share.

    Attributes:
        reuse: take the kept cluster over instead of making one.
        command: how to run it again, for failure messages.
    """

    lane: Lane
    folder: Path
    reuse: bool = False
    command: str = "holdfast verify"
    _cluster: Cluster | None = None
    _failed: str = ""
    quarantined: str = field(default="")

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        private_temp(self.folder / TEMP)
        self.journal = Journal(self.folder / "journal.jsonl")

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def undo(self) -> Path:
        """Where it stands how to undo the faults of this run."""
        return self.folder / "undo.jsonl"

    def begin(self) -> None:
        """The journal's first line: what runs, on what."""
        lane, checkout = self.lane, self.lane.checkout
        self.journal.write(
            "run-begin",
            run=self.name,
            holdfast=holdfast.__version__,
            lane=lane.name,
            tree=lane.subject.folder.name,
            commit=checkout.commit,
            own_commit=checkout.own,
            said=[*checkout.said, *lane.settings.notices],
            claims=str(lane.subject.claims_file() or ""),
        )

    def begin_lane(self) -> None:
        """Before the first cluster: what of this lane is not as in production."""
        lane = self.lane
        notes: list[dict[str, Any]] = [{"text": n.text, "touches": list(n.touches)} for n in lane.fidelity.notes()]
        self.journal.write(
            "lane-begin",
            kubernetes=lane.driver.kubernetes,
            offline=lane.fidelity.offline,
            notes=notes,
            stand_ins=sorted(lane.fidelity.stand_ins),
            reused=self.reuse,
        )

    @cached_property
    def checked(self) -> Result:
        """What the tree alone shows, read once."""
        return check(self.lane.tree)

    def cluster(self) -> Cluster:
        """The steady cluster; made at the first call, and anew after one was quarantined. Raises Unproven where it never became steady."""
        if self._failed:
            raise Unproven(f"the cluster never became steady: {self._failed}")
        if self._cluster is None or self.quarantined:
            try:
                self._cluster = self._made()
            except Exception as error:  # whatever it is: no suite runs on a cluster that never became steady
                known = isinstance(error, UsageError | Broke | Unproven)
                self._failed = str(error) if known else f"{type(error).__name__}: {str(error)[:300]}"
                self.journal.write("lane-failed", reason=self._failed)
                raise Unproven(f"the cluster never became steady: {self._failed}") from None
            self.quarantined = ""
        return self._cluster

    def cold(self, without: str) -> Cluster:
        """A new cluster on which one stand-in fails from its first second, as soon as its API answers; the next test gets a whole one.

        Raises Unproven where it can't be made, or where it would take the place of a kept cluster.
        """
        if self.reuse:
            raise Unproven("it would take the place of the cluster that is kept: run it without --reuse")
        try:
            cluster = self.lane.up(self.name, self.undo, without)
        except UsageError as error:
            raise Unproven(f"no cluster without {without}: {error}") from None
        finally:
            self.quarantine(f"it was made without {without}")
        self._cluster = cluster  # for evidence; being quarantined, it is handed to no other test
        self.journal.keep_out(self.lane.git().key.private)
        return cluster

    def _made(self) -> Cluster:
        began = time.monotonic()
        reuse = self.reuse and not self.quarantined
        cluster = self.lane.reuse(self.name, self.undo) if reuse else self.lane.up(self.name, self.undo)
        self.journal.keep_out(self.lane.git().key.private)
        with step("waiting until the tree is applied and every workload is ready"):
            for probe in (nodes_ready(), at_revision(self.lane.git().head()), workloads_ready()):
                wait = eventually(cluster, probe, _STEADY_WITHIN)
                if wait.held is not True:
                    evidence.capture(cluster, self.folder / "evidence" / "never-steady")
                    raise Unproven(wait.sentence("eventually", _STEADY_WITHIN))
        patiently(lambda: agents.enable_scraping(cluster.client), "letting the samplers be scraped")
        cluster.calm_since = time.time()
        self.journal.write(
            "lane-ready",
            took_s=round(time.monotonic() - began, 1),
            reused=reuse,
            nodes=[n.name for n in cluster.nodes()],
        )
        return cluster

    def capture(self, test: str, what: str) -> None:
        """Keeps evidence of a failure, and says in the journal where."""
        if self._cluster is None:
            return
        folder = self.folder / "evidence" / evidence.folder_name(f"{test.rpartition('::')[2]}-{what}")
        failed = evidence.capture(self._cluster, folder)
        self.journal.write("evidence", test=test, folder=str(folder.relative_to(self.folder)), failed=failed)

    def quarantine(self, why: str) -> None:
        """The cluster can't be trusted any more: the next test gets a new one."""
        self.quarantined = why
        self.lane.quarantine(why)
        self.journal.write("quarantined", reason=why)
