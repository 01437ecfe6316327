"""`Cluster`: the facade that a test holds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from holdfast.claims import Claims
from holdfast.drivers.driver import Capability, Driver, Guarded, Node, NodeShell, capable
from holdfast.drivers.flavour import NodeFlavour
from holdfast.drivers.profile import Timers
from holdfast.durations import seconds
from holdfast.errors import NotExercised
from holdfast.experiment import Experiment
from holdfast.inject import Inject
from holdfast.kube import KubeClient, KubeReader
from holdfast.tree.settings import Settings
from holdfast.tree.settings_file import App
from holdfast.tree.tree import Sync
from holdfast.undo import UndoFile
from holdfast.waiting import HOLDS, Broke, Probe, Sequence, Sighting, Unproven, Wait, always, eventually, first_seen


@dataclass
class PowerWindow:
    """When a node was without power, as wall times in seconds: a vantage point on it is lost with it, which is data."""

    node: str
    off: float
    on: float = 0.0


@dataclass
class Cluster:
    """A running cluster with the tree on it.

    Attributes:
        driver: what can power and cut its nodes.
        client: its API, for what holdfast itself brings along (samplers, writers); tests and faults read by *objects*, and change by *inject*.
        sync: what Flux syncs the tree by.
        adaptations: what the lane changed, and which apps are sampled.
        folder: the lane's folder (kubeconfig, made-up certificates).
        nonce: what every probed endpoint of this run answers with.
        undo: where to write how to undo a fault.
        stand_ins: what stands in here for something else; a claim about one of these reaches ``model`` at most.
        experiment: the test that runs, or None.
        calm_since: wall time in seconds since when it is steady and no fault is in.
    """

    driver: Driver
    client: KubeClient
    sync: Sync
    settings: Settings
    folder: Path
    nonce: str
    undo: UndoFile
    stand_ins: frozenset[str] = frozenset()
    experiment: Experiment | None = None
    power_windows: list[PowerWindow] = field(default_factory=list)
    calm_since: float = field(default_factory=time.time)

    @property
    def objects(self) -> KubeReader:
        """Its API, read-only."""
        return self.client

    @cached_property
    def inject(self) -> Inject:
        """The only door through which a test or a fault changes it."""
        client = self.driver.writer if isinstance(self.driver, Guarded) else self.client
        return Inject(self.driver, client, self.undo)

    def heal(self) -> int:
        """Undoes what is open of this test's changes, or within a fault of the fault's; returns how many steps."""
        return self.inject.heal()

    @property
    def timers(self) -> Timers:
        """What Kubernetes waits for on this lane, in seconds."""
        return self.driver.timers

    def nodes(self) -> list[Node]:
        """The nodes, the server first."""
        return self.driver.nodes()

    def node(self, name_or_role: str) -> Node:
        """A node by name, or the first of a role (``server``, ``worker``)."""
        return next(n for n in self.nodes() if name_or_role in (n.name, n.role))

    def host(self, node: str) -> Any:
        """A pytest-testinfra host of a node."""
        return capable(self.driver, NodeShell).shell(node)

    def capable(self, capability: type[Capability]) -> Capability:
        """Its driver as one that has a capability; raises NotExercised, with the reason, where it hasn't."""
        return capable(self.driver, capability)

    @property
    def flavour(self) -> NodeFlavour:
        """What its nodes are like, for whoever asks them something."""
        return capable(self.driver, NodeShell).flavour

    def address(self, node: str, port: int) -> tuple[str, int]:
        """(host, port) at which a node's *port* is reached from here; raises NotExercised where it isn't."""
        found = self.driver.address(node, port)
        if found is None:
            raise NotExercised(f"port {port} of {node} isn't reached from where holdfast runs")
        return found

    @property
    def app(self) -> App:
        """The first app that `.holdfast.toml` names."""
        if not self.settings.apps:
            raise Unproven("the tree names no [[app]] in .holdfast.toml: there is nothing to sample")
        return self.settings.apps[0]

    # -- waiting -------------------------------------------------------------------------------------------------------

    def eventually(
        self,
        what: Probe,
        within: str | float,
        *,
        claims: Claims = (),
        every_s: float = 0.5,
        required: bool = False,
    ) -> Wait:
        """Waits until *what* holds. In a fault's test before the fault this is the steady state, afterwards a promise.

        Args:
            required: an assertion that doesn't hold ends the test at once; any other fails it at its end, when all else was looked at.
        """
        return self._record(
            eventually(self, self._heeding(what), within, every_s=every_s),
            "eventually",
            within,
            claims,
            required=required,
        )

    def always(self, what: Probe, during: str | float, *, claims: Claims = (), every_s: float = 0.5) -> Wait:
        """Sees that *what* holds all the time."""
        return self._record(always(self, self._heeding(what), during, every_s=every_s), "always", during, claims)

    def _heeding(self, what: Probe) -> Probe:
        """A probe that also heeds the word of the cluster's owner, where it has one."""
        driver = self.driver
        if not isinstance(driver, Guarded):
            return what

        def look(cluster: Any) -> Sighting:
            driver.check_stop()
            return what(cluster)

        return Probe(what.kind, what.text, look)

    def _record(self, wait: Wait, mode: str, limit: str | float, claims: Claims, *, required: bool = False) -> Wait:
        if self.experiment:
            return self.experiment.waited(wait, mode, limit, claims, required=required)
        if wait.held is not True:
            raise Broke(wait.sentence(mode, limit)) if wait.held is False else Unproven(wait.sentence(mode, limit))
        return wait

    def in_order(self, what: str, steps: Mapping[str, Probe], within: str | float, *, claims: Claims = ()) -> Sequence:
        """Asserts that each of *steps* holds within the limit, and that none was seen before the one that is named before it.

        What lies between two looks has no order: it isn't held against anybody. *what*: the assertion in words.
        """
        found = first_seen(self, steps, within)
        words = [f"{name} +{found.seen[name].at:.1f}s" for name in steps if name in found.seen]
        words += [f"{name} couldn't be looked at" for name in steps if name in found.blind]
        figure = ", ".join(words) or "nothing happened"
        last = list(steps.values())[-1]
        assert self.experiment, "in_order() belongs into a test"
        self.experiment.assertion(
            f"{what}, in this order",
            last.kind,
            found.in_order(list(steps), seconds(within)),
            figure,
            figure=figure,
            budget=str(within),
            claims=claims,
        )
        return found

    def steady(self, what: Probe, within: str | float = "3m") -> None:
        """The steady state of an observation: what must be so before the promise is looked at at all."""
        wait = eventually(self, what, within)
        assert self.experiment, "steady() belongs into a test"
        self.experiment.steady(
            str(what),
            wait.held is True,
            f"held after {wait.took_s:.1f}s" if wait.held else wait.sentence("eventually", within),
        )

    def negative_control(self, broken: Probe, within: str | float = 0) -> None:
        """Sees a probe red: *broken* is the probe of a promise, held against something broken on purpose."""
        assert self.experiment, "negative control() belongs into a test"
        seen: list[str] = []

        def look(subject: object) -> Sighting:
            sighting = broken(subject)
            if sighting is HOLDS:
                return f"{broken} held against what is broken on purpose"
            seen.append(str(sighting))
            return HOLDS

        wait = eventually(self, Probe(broken.kind, f"not {broken}", look), within)
        self.experiment.negative_control(broken.kind, wait.held is True, seen[-1] if seen else wait.last)
