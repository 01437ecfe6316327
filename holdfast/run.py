"""One run: its folder, its journal, and the cluster that its tests share."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import holdfast
from holdfast import evidence, tempdir
from holdfast.cluster import Cluster
from holdfast.drivers.driver import Live
from holdfast.errors import AnotherClusterError, HostCannot, NotExercised, UsageError
from holdfast.events import ClusterReplaced, Evidence, LaneBegin, LaneFailed, LaneReady, Quarantined, RunBegin
from holdfast.journal import Journal
from holdfast.lane.lane import Lane
from holdfast.lane.lock import LaneLock
from holdfast.paths import reports_dir
from holdfast.probes.flux import at_revision, tree_applied
from holdfast.probes.nodes import nodes_ready
from holdfast.probes.workloads import workloads_ready
from holdfast.progress import console, step
from holdfast.reporting import live
from holdfast.sampling import agents
from holdfast.tree.check import Result, check
from holdfast.waiting import Broke, Unproven, eventually, patiently

_STEADY_WITHIN = "6m"
_LIVE_WITHIN = "1m"  # one that runs is steady, or it is a bad time to look


def new_name() -> str:
    """A name for a new run: the time of its start."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


@dataclass
class Run:
    """What the tests of one `holdfast verify` share.

    Attributes:
        reuse: take the kept cluster over instead of making one.
        resume: take over the cluster of an upgrade in place that was cut short.
        kept: whether the cluster stays for later runs.
        rerun: the command that runs a test again, by its node id, for failure messages.
        steady_after_s: how long the last cluster took from nothing until it was steady.
    """

    lane: Lane
    folder: Path
    reuse: bool = False
    kept: bool = False
    resume: bool = False
    rerun: Callable[[str], str] = lambda test: f"holdfast verify -k {test.rpartition('::')[2]}"
    _cluster: Cluster | None = None
    _failed: str = ""
    quarantined: str = field(default="")
    steady_after_s: float = 0.0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        tempdir.use(self.folder / tempdir.NAME)
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
            RunBegin(
                run=self.name,
                holdfast=holdfast.__version__,
                lane=lane.name,
                tree=lane.subject.folder.name,
                commit=checkout.commit,
                own_commit=checkout.own,
                said=[*checkout.said, *lane.settings.notices],
                claims=str(lane.subject.claims_file() or ""),
            )
        )

    def begin_lane(self) -> None:
        """Before the first cluster: what of this lane is not as in production."""
        lane = self.lane
        notes: list[dict[str, Any]] = [{"text": n.text, "touches": list(n.touches)} for n in lane.fidelity.notes()]
        if lane.is_foreign:
            notes.append({"text": self._compared(), "touches": ["*"]})
        self.journal.write(
            LaneBegin(
                kubernetes=lane.driver.kubernetes,
                offline=lane.fidelity.offline,
                notes=notes,
                stand_ins=sorted(lane.fidelity.stand_ins),
                reused=self.reuse or self.resume,
            )
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
                self.journal.write(LaneFailed(self._failed))
                raise Unproven(f"the cluster never became steady: {self._failed}") from None
            self.quarantined = ""
        return self._cluster

    def cold(self, without: str) -> Cluster:
        """A new cluster on which one stand-in fails from its first second, as soon as its API answers; the next test gets a whole one.

        Raises Unproven where it can't be made, or where it would take the place of a kept cluster.
        """
        self._may_be_remade()
        try:
            cluster = self.lane.up(self.name, self.undo, without)
        except UsageError as error:
            raise Unproven(f"no cluster without {without}: {error}") from None
        finally:
            self.quarantine(f"it was made without {without}")
        self._cluster = cluster  # for evidence; being quarantined, it is handed to no other test
        self.journal.keep_out(self.lane.git().key.private)
        return cluster

    def rebuild(self) -> Cluster:
        """Destroys the cluster and makes a new one from Git alone; the tests that follow get that one.

        Raises Unproven where it never becomes steady, or where it would take the place of a kept cluster.
        """
        self._may_be_remade()
        self.quarantine("it was destroyed, to be made anew from Git alone")
        return self.cluster()

    def _may_be_remade(self) -> None:
        """Raises where another cluster would take the place of one that isn't to be lost."""
        if self.lane.is_foreign:
            raise NotExercised("the cluster is the user's own: it is neither destroyed nor made anew")
        if self.reuse:
            raise Unproven("it would take the place of the cluster that is kept: run it without --reuse")

    def _compared(self) -> str:
        """Whether what Flux runs there is what lies in the checkout, in words."""
        runs, checkout = self.lane.revision_of_flux(), self.lane.checkout
        if checkout.own and runs.rpartition(":")[2] == checkout.commit:
            return f"Flux runs the checkout's own commit, {checkout.commit[:12]}"
        here = f"at {checkout.commit[:12]}" if checkout.own else "none of its commits, but what lies in the folder"
        said = f"Flux runs {runs or 'nothing that is to be seen'}, and the checkout is {here}"
        console.print(f"  note: {said}", style="yellow", markup=False)
        return f"{said}: what the tree says may not be what runs"

    def _attached(self) -> Cluster:
        """The user's own cluster, where it is steady now. Raises Unproven where it isn't."""
        began, cluster = time.monotonic(), self.lane.attach(self.undo)
        for probe in (nodes_ready(), tree_applied()):
            wait = eventually(cluster, probe, _LIVE_WITHIN)
            if wait.held is not True:
                raise Unproven(wait.sentence("eventually", _LIVE_WITHIN))
        self.steady_after_s = round(time.monotonic() - began, 1)
        self.journal.write(LaneReady(took_s=self.steady_after_s, reused=True, nodes=[n.name for n in cluster.nodes()]))
        return cluster

    def _made(self) -> Cluster:
        if self.lane.is_foreign:
            return self._attached()
        began = time.monotonic()
        reuse, resume = (asked and not self.quarantined for asked in (self.reuse, self.resume))
        take = self.lane.resume if resume else self.lane.reuse if reuse else self.lane.up
        cluster = take(self.name, self.undo)
        self.journal.keep_out(self.lane.git().key.private)
        with step("waiting until the tree is applied and every workload is ready"):
            for probe in (nodes_ready(), at_revision(self.lane.git().head()), workloads_ready()):
                wait = eventually(cluster, probe, _STEADY_WITHIN)
                if wait.held is not True:
                    evidence.capture(cluster, self.folder / "evidence" / "never-steady")
                    raise Unproven(wait.sentence("eventually", _STEADY_WITHIN))
        patiently(lambda: agents.enable_scraping(cluster.client), "letting the samplers be scraped")
        cluster.calm_since = time.time()
        self.steady_after_s = round(time.monotonic() - began, 1)
        self.journal.write(
            LaneReady(
                took_s=self.steady_after_s,
                reused=reuse or resume,
                nodes=[n.name for n in cluster.nodes()],
            )
        )
        return cluster

    def capture(self, test: str, what: str) -> None:
        """Keeps evidence of a failure, and says in the journal where."""
        if self._cluster is None:
            return
        folder = self.folder / "evidence" / evidence.folder_name(f"{test.rpartition('::')[2]}-{what}")
        failed = evidence.capture(self._cluster, folder)
        self.journal.write(Evidence(str(folder.relative_to(self.folder)), failed), test)

    def end(self, *, keep: bool, clusters: bool = True) -> None:
        """Seals the journal and leaves the machine as it was; what can't be removed now is found on disk by the next start."""
        try:
            if self._is_still_the_same():
                self.journal.seal()
        except OSError as error:
            console.print(
                f"  the journal couldn't be sealed ({error}): nothing of this run will be called held",
                style="red",
                markup=False,
            )
        if clusters or self._cluster is not None:
            self._end_cluster(keep=keep)

    def _is_still_the_same(self) -> bool:
        """Whether the user's own cluster is the one that the run began with; what was seen of two of them is nobody's verdict."""
        driver = self.lane.driver
        if not isinstance(driver, Live):
            return True
        try:
            if self._cluster is not None:
                driver.same()
        except UsageError as error:
            if isinstance(
                error, AnotherClusterError
            ):  # and not one that nobody could look at: what broke it may be why
                self.journal.write(ClusterReplaced(str(error)))
            console.print(
                f"  the journal isn't sealed, so nothing of this run will be called held: {error}",
                style="red",
                markup=False,
            )
            return False
        finally:
            driver.forget()
        return True

    def _end_cluster(self, *, keep: bool) -> None:
        name = self.lane.name
        try:
            state = self.lane.state()
            if keep and not self.quarantined and state and state.stage == "ready":
                self.lane.keep()
                console.print(
                    f"  the cluster is kept: holdfast verify --reuse --lane {name}, or holdfast down --lane {name}"
                )
            else:
                self.lane.down(quiet=True)
        except Exception as error:  # the engine died: the run's own verdicts still count
            console.print(
                f"  the cluster couldn't be removed ({type(error).__name__}); the next start, or 'holdfast down', does it",
                style="yellow",
            )

    def quarantine(self, why: str) -> None:
        """The cluster can't be trusted any more: the next test gets a new one."""
        self.quarantined = why
        self.lane.quarantine(why)
        self.journal.write(Quarantined(why))


@contextmanager
def opened(
    lane: Lane,
    folder: Path,
    rerun: Callable[[str], str],
    *,
    keep: bool = False,
    reuse: bool = False,
    resume: bool = False,
    clusters: bool = True,
) -> Iterator[Run]:
    """A run, from the lock on the machine's lanes to its seal, and the machine as it was.

    Args:
        folder: where the run keeps everything; it must not be there yet.
        rerun: the command that runs a test again, by its node id.
        keep: leave the cluster to later runs.
        reuse: take the kept cluster over; it is kept again.
        resume: take over the cluster of an upgrade in place that was cut short.
        clusters: whether any test of it needs a cluster; without, neither engine nor lane is asked for anything.
    """
    with LaneLock(folder.name):
        tempdir.clean(reports_dir())
        if clusters:
            try:
                lane.driver.ensure_host()
            except UsageError as why:
                raise HostCannot(why.what, why.next_step) from None
            if resume:
                lane.interrupted()
            else:
                lane.clean_dead()
                lane.check(reuse=reuse)
        run = Run(lane, folder, reuse, keep or reuse, resume, rerun)
        console.print(f"run {run.name} on {lane.name}: tree {lane.subject.folder.name} at {lane.checkout.commit[:12]}")
        run.journal.listener = lambda entry: live.show(console, entry)
        try:
            run.begin()
            yield run
        finally:
            run.end(keep=keep or reuse, clusters=clusters)
            tempdir.clean(reports_dir())  # here, where the lock is surely held: another run's are in use
