"""What a fault is, and how one is run: undo on disk first, an effect check, healing whatever happens, convergence at the end."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Concatenate, ParamSpec, cast

from holdfast.cluster import Cluster
from holdfast.drivers.driver import Guarded, Writable, lacks
from holdfast.durations import seconds
from holdfast.errors import NotExercised
from holdfast.events import Converged, FaultHealed, FaultInject, FaultTookEffect
from holdfast.experiment import Experiment, FaultTime, Stage
from holdfast.probes.calm import can_lose, undamaged
from holdfast.probes.flux import tree_applied
from holdfast.probes.nodes import nodes_ready
from holdfast.probes.workloads import workloads_ready
from holdfast.waiting import HOLDS, Broke, Probe, Sighting, Unproven, always, eventually, patiently

P = ParamSpec("P")
_ids = count(1)
FACTORIES: dict[str, Callable[..., Fault]] = {}  # every fault there is, by module and name


@dataclass(frozen=True)
class Fault:
    """A fault that is about to be injected.

    Attributes:
        text: how it reads in a sentence, such as ``node_loss('k3s2')``.
        needs: the capabilities that the driver must have: every fault changes something, so `Writable` is one of them.
        run: injects it, waits for its effect check, yields, heals.
        own_cluster: whether it may be injected into a cluster that matters: the cluster itself can undo it, and no data is at stake.
        about: what it was told, such as the name of a node.
    """

    text: str
    needs: tuple[type, ...]
    run: Callable[[Cluster], Iterator[None]]
    own_cluster: bool = False
    about: tuple[object, ...] = ()


def fault(
    *needs: type, own_cluster: bool = False
) -> Callable[[Callable[Concatenate[Cluster, P], Iterator[None]]], Callable[P, Fault]]:
    """Makes a fault factory of a generator function ``(cluster, ...)`` with one ``yield``. *own_cluster*: see `Fault`."""

    def decorate(function: Callable[Concatenate[Cluster, P], Iterator[None]]) -> Callable[P, Fault]:
        @functools.wraps(function)
        def factory(*args: P.args, **kwargs: P.kwargs) -> Fault:
            words = [repr(a) for a in args] + [f"{k}={v!r}" for k, v in kwargs.items()]
            return Fault(
                f"{function.__name__}({', '.join(words)})",
                (Writable, *needs),
                lambda cluster: function(cluster, *args, **kwargs),
                own_cluster,
                (*args, *kwargs.values()),
            )

        FACTORIES[f"{function.__module__}.{function.__name__}"] = factory
        return factory

    return decorate


def _converged(cluster: object) -> Sighting:
    """The steady state of a whole lane: nodes, tree, workloads."""
    for one in (nodes_ready(), tree_applied(), workloads_ready()):
        if (seen := one(cluster)) is not HOLDS:
            return seen
    return HOLDS


CONVERGED = Probe("converged", "converged()", _converged)
STABLE_S = 10.0  # an API server that comes back repeats the statuses of before: a steady state that doesn't last this long was none


_PATIENCE_S = 15.0  # for each step
_CALM_WITHIN_S = 20.0  # one that runs is steady, or it is a bad time to break it


class Faults:
    """Runs faults in a test.

    Args:
        cluster: what they are injected into.
        capture: called with a name before healing when the test failed: what evidence there is, it keeps outside the cluster.
        quarantine: called with the reason when the cluster can't be trusted any more.
    """

    def __init__(self, cluster: Cluster, capture: Callable[[str], None], quarantine: Callable[[str], None]) -> None:
        self.cluster, self.capture, self.quarantine = cluster, capture, quarantine
        self._undone_at = 0.0

    @property
    def _experiment(self) -> Experiment:
        return cast(Experiment, self.cluster.experiment)

    @contextmanager
    def __call__(
        self, wanted: Fault, *, recovery: str | float = "3m", after_heal: Callable[[], object] | None = None
    ) -> Iterator[None]:
        """Injects *wanted*, and heals it at the end of the block, whatever happened in it.

        Args:
            after_heal: what to see right after healing, before the whole cluster is waited for: times from the healing are taken here.
            recovery: how long the cluster may take to converge once it is healed: a budget, so more than that is *broke*.
        """
        if why := lacks(self.cluster.driver, *wanted.needs):
            raise NotExercised(f"{wanted.text}: {why}")
        with self._guarded(wanted):
            yield from self._run(wanted, recovery, after_heal)

    def _run(self, wanted: Fault, recovery: str | float, after_heal: Callable[[], object] | None) -> Iterator[None]:
        experiment, number = self._experiment, next(_ids)
        generator, undo = wanted.run(self.cluster), self.cluster.undo
        floor, undo.floor = undo.floor, undo.count()
        experiment.write(FaultInject(wanted.text, number))
        experiment.stage, experiment.effects = Stage.EFFECT, []
        time_in = FaultTime(wanted.text, time.time())
        experiment.history.append(time_in)
        failed: BaseException | None = None
        try:
            next(generator)
            experiment.write(FaultTookEffect(wanted.text, number, experiment.effects[:]))
            if not experiment.effects:
                raise Unproven(f"{wanted.text} looked for no effect check")
            experiment.stage = Stage.FAULT
            experiment.faults.append(wanted.text)
            before = experiment.failures
            yield
            if experiment.failures > before:
                self._capture(wanted.text)
        except BaseException as error:
            failed = error
            self._capture(wanted.text)
            raise
        finally:
            experiment.stage = Stage.EFFECT
            stop = self._heal(wanted, number, generator, time_in)
            undo.floor = floor
            if wanted.text in experiment.faults:
                experiment.faults.remove(wanted.text)
            interrupted = [e for e in (failed, stop) if e is not None and not isinstance(e, Exception)]
            try:
                if after_heal and failed is None and stop is None:
                    experiment.stage = Stage.AFTER
                    after_heal()
            finally:
                experiment.stage = Stage.EFFECT
                if not interrupted:
                    self._converge(wanted, number, recovery, quiet=failed is not None or stop is not None)
                experiment.stage = Stage.AFTER
            if stop is not None and (failed is None or not isinstance(stop, Exception)):
                raise stop

    @contextmanager
    def _guarded(self, wanted: Fault) -> Iterator[None]:
        """Before a cluster that matters is broken: that the fault is one for such a cluster, that nothing is amiss there, and its owner's word.

        Whatever becomes of the fault, nothing may change that cluster afterwards.
        """
        driver = self.cluster.driver
        if not isinstance(driver, Guarded):
            yield
            return
        if not wanted.own_cluster:
            raise NotExercised(f"{wanted.text} is for a cluster that may be thrown away")
        lost = frozenset(n.name for n in self.cluster.nodes() if n.name in wanted.about)
        self._calm(wanted, lost)
        try:
            driver.begin_fault(wanted.text, lost)
            try:
                self._calm(wanted, lost)  # the question may have stood for hours
            except BaseException:
                driver.end_fault()
                raise
            yield
        finally:
            driver.leave_fault()

    def _calm(self, wanted: Fault, lost: frozenset[str]) -> None:
        for one in (CONVERGED, undamaged(), *(can_lose(node) for node in sorted(lost))):
            wait = eventually(self.cluster, one, _CALM_WITHIN_S)
            if wait.held is not True:
                raise Unproven(f"{wanted.text} isn't injected into a cluster with trouble of its own: {wait.last}")

    def _capture(self, what: str) -> None:
        """Keeps evidence while the fault is still in; what goes wrong meanwhile must not hide what went wrong before."""
        with suppress(Exception):
            self.capture(what)

    def since_undone_s(self) -> float:
        """Seconds since the last fault was undone: what comes back is timed from there, not from where the waiting for it ended."""
        return time.monotonic() - self._undone_at

    def _heal(self, wanted: Fault, number: int, generator: Iterator[None], time_in: FaultTime) -> BaseException | None:
        """Runs the fault's own healing; whatever it leaves in the undo file is replayed after it.

        Returns what must end the test: an interrupt that came meanwhile, or the doubt that it wasn't healed.
        """
        why, stop, undone, undo, began = "", None, True, self.cluster.undo, time.monotonic()
        driver = self.cluster.driver
        guard = driver if isinstance(driver, Guarded) else None
        if guard and guard.has_undone():  # what it is like now, somebody may have wanted since
            undo.give_up_but("power-on")
        try:
            next(generator, None)
        except BaseException as error:
            why, stop = _first_line(error), error if not isinstance(error, Exception) else None
        try:  # a cluster that undoes it by itself isn't waited for as long as one that doesn't
            self.cluster.inject.heal(functools.partial(patiently, within_s=_PATIENCE_S) if guard else patiently)
        except BaseException as error:
            why, stop, undone = why or _first_line(error), error if not isinstance(error, Exception) else stop, False
            by_itself = f"; the cluster itself undoes it within {guard.limit_s:g}s" if guard else ""
            self.quarantine(f"{wanted.text} could not be undone: {_first_line(error)}{by_itself}")
        if undone and guard:  # else its switch stays, and does it
            ended = guard.end_fault()
            why = why or (ended and f"it was over before its test was: {ended}")
        self._undone_at = max(began, undo.done_at)
        time_in.healed = time.time()
        effects = self._experiment.effects[:]
        self._experiment.write(FaultHealed(wanted.text, number, not why, undone, why or "healed", effects))
        return stop or (Unproven(f"{wanted.text} was not healed: {why}") if why else None)

    def _settle(self, wanted: Fault, limit_s: float) -> tuple[bool | None, float, str]:
        """Waits for a steady state that lasts: whether it came within *limit_s* of the undoing, when it began, and that in words."""
        after = f"after {wanted.text} was undone"
        while True:
            wait = eventually(self.cluster, CONVERGED, max(0.0, limit_s - self.since_undone_s()))
            took = self.since_undone_s()
            if wait.held is not True:
                return wait.held, took, f"the cluster must converge within {limit_s:g}s {after}; last seen: {wait.last}"
            if took > limit_s:
                return (
                    False,
                    took,
                    f"the cluster must converge within {limit_s:g}s {after}; a state that may last was first seen at {took:.1f}s",
                )
            if always(self.cluster, CONVERGED, STABLE_S).held is True:
                return True, took, f"converged {took:.1f}s {after}"

    def _converge(self, wanted: Fault, number: int, recovery: str | float, *, quiet: bool) -> None:
        held, took, sighting = self._settle(wanted, seconds(recovery))
        self.cluster.calm_since = time.time()
        self._experiment.write(Converged(wanted.text, number, held, round(took, 1), str(recovery), sighting))
        if held is not True:
            self._capture(f"{wanted.text} not converged")
            self.quarantine(sighting)
            if not quiet:
                raise Broke(sighting) if held is False else Unproven(sighting)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}"
