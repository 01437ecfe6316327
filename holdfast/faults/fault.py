"""What a fault is, and how one is run: undo on disk first, a witness, healing whatever happens, convergence at the end."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Concatenate, ParamSpec, cast

from holdfast.arc import Arc, FaultTime, Stage
from holdfast.cluster import Cluster
from holdfast.probes.flux import tree_applied
from holdfast.probes.nodes import nodes_ready
from holdfast.probes.workloads import workloads_ready
from holdfast.waiting import HOLDS, Broke, CannotLook, Probe, Sighting, Unproven, eventually, seconds

P = ParamSpec("P")
_ids = count(1)


class NotExercised(Exception):
    """The lane lacks what a fault needs; the message is the reason."""


@dataclass(frozen=True)
class Fault:
    """A fault that is about to be injected.

    Attributes:
        text: how it reads in a sentence, such as ``node_loss('k3s2')``.
        needs: the optional capabilities that the driver must have.
        run: injects it, waits for its witness, yields, heals.
    """

    text: str
    needs: tuple[type, ...]
    run: Callable[[Cluster], Iterator[None]]


def fault(*needs: type) -> Callable[[Callable[Concatenate[Cluster, P], Iterator[None]]], Callable[P, Fault]]:
    """Makes a fault factory of a generator function ``(cluster, ...)`` with one ``yield``."""

    def decorate(function: Callable[Concatenate[Cluster, P], Iterator[None]]) -> Callable[P, Fault]:
        @functools.wraps(function)
        def factory(*args: P.args, **kwargs: P.kwargs) -> Fault:
            words = [repr(a) for a in args] + [f"{k}={v!r}" for k, v in kwargs.items()]
            return Fault(f"{function.__name__}({', '.join(words)})", needs, lambda cluster: function(cluster, *args, **kwargs))

        return factory

    return decorate


def _converged(cluster: object) -> Sighting:
    """The steady state of a whole lane: nodes, tree, workloads."""
    for one in (nodes_ready(), tree_applied(), workloads_ready()):
        if (seen := one(cluster)) is not HOLDS:
            return seen
    return HOLDS


CONVERGED = Probe("converged", "converged()", _converged)


class Faults:
    """Runs faults in a test.

    Args:
        cluster: what they are injected into.
        capture: called with a name before healing when the test failed: what evidence there is, it keeps outside the cluster.
        taint: called with the reason when the cluster can't be trusted any more.
    """

    def __init__(self, cluster: Cluster, capture: Callable[[str], None], taint: Callable[[str], None]) -> None:
        self.cluster, self.capture, self.taint = cluster, capture, taint

    @property
    def _arc(self) -> Arc:
        return cast(Arc, self.cluster.arc)

    @contextmanager
    def __call__(self, wanted: Fault, *, recovery: str | float = "3m", then: Callable[[], object] | None = None) -> Iterator[None]:
        """Injects *wanted*, and heals it at the end of the block, whatever happened in it.

        Args:
            then: what to see right after healing, before the whole cluster is waited for: times from the healing are taken here.
            recovery: how long the cluster may take to converge once it is healed: a budget, so more than that is *broke*.
        """
        missing = [need.__name__ for need in wanted.needs if not isinstance(self.cluster.driver, need)]
        if missing:
            raise NotExercised(f"{wanted.text} needs {', '.join(missing)}, and the driver {self.cluster.driver.name} can't do that")
        arc, number = self._arc, next(_ids)
        generator = wanted.run(self.cluster)
        arc.write("fault-inject", fault=wanted.text, fault_id=number)
        arc.stage, arc.witnessed = Stage.WITNESS, []
        time_in = FaultTime(wanted.text, time.time())
        arc.history.append(time_in)
        failed: BaseException | None = None
        try:
            next(generator)
            arc.write("fault-bit", fault=wanted.text, fault_id=number, witness=arc.witnessed[:])
            if not arc.witnessed:
                raise Unproven(f"{wanted.text} looked for no witness")
            arc.stage = Stage.FAULT
            arc.faults.append(wanted.text)
            yield
        except BaseException as error:
            failed = error
            self.capture(wanted.text)
            raise
        finally:
            arc.stage = Stage.WITNESS
            self._heal(wanted, number, generator, time_in)
            if wanted.text in arc.faults:
                arc.faults.remove(wanted.text)
            try:
                if then and failed is None:
                    arc.stage = Stage.AFTER
                    then()
            finally:
                arc.stage = Stage.WITNESS
                self._converge(wanted, number, recovery, quiet=failed is not None)
                arc.stage = Stage.AFTER

    def _heal(self, wanted: Fault, number: int, generator: Iterator[None], time_in: FaultTime) -> None:
        """Runs the fault's own healing; whatever it leaves in the undo file is replayed after it."""
        why = ""
        try:
            next(generator, None)
        except BaseException as error:
            why = _first_line(error)
        try:
            self.cluster.undo.replay(self.cluster.driver, self.cluster.objects, _patiently)
        except Exception as error:
            why = why or _first_line(error)
            self.taint(f"{wanted.text} could not be healed: {why}")
        time_in.healed = time.time()
        self._arc.write("fault-healed", fault=wanted.text, fault_id=number, ok=not why, sighting=why or "healed", witness=self._arc.witnessed[:])

    def _converge(self, wanted: Fault, number: int, recovery: str | float, *, quiet: bool) -> None:
        wait = eventually(self.cluster, CONVERGED, recovery)
        sighting = f"converged {wait.took_s:.1f}s after {wanted.text} was healed" if wait.held else \
            f"the cluster must converge within {seconds(recovery):g}s after {wanted.text} was healed; last seen: {wait.last}"
        self._arc.write("converged", fault=wanted.text, fault_id=number, ok=wait.held, took_s=round(wait.took_s, 1), budget=str(recovery),
                        sighting=sighting)
        if wait.held is not True:
            self.capture(f"{wanted.text} not converged")
            self.taint(sighting)
            if not quiet:
                raise Broke(sighting) if wait.held is False else Unproven(sighting)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}"


def _patiently(action: Callable[[], None], what: str, within_s: float = 120) -> None:
    """Does one step of healing, trying again while the API server doesn't answer."""
    limit = time.monotonic() + within_s
    while True:
        try:
            return action()
        except CannotLook as why:
            if time.monotonic() > limit:
                raise CannotLook(f"{what}: {why}") from None
            time.sleep(0.5)
