"""The arc of one test - steady, fault in, healed, converged - and what of it goes into the journal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from holdfast.claims import Claims, ids
from holdfast.events import Assertion, BlastRadius, Event, Limit, NegativeControl, Steady
from holdfast.journal import Journal
from holdfast.waiting import Broke, Unproven, Wait


@dataclass
class FaultTime:
    """When a fault was in, as wall times in seconds; *healed* is None while it is in."""

    text: str
    injected: float
    healed: float | None = None


class Stage(StrEnum):
    """Where in its arc a test is."""

    BEFORE = "before"
    EFFECT = "effect check"
    FAULT = "fault"
    AFTER = "after"


@dataclass
class Experiment:
    """Writes what a test sees, each line with the test's name.

    Attributes:
        kind: of the claims: ``static``, ``observation`` or ``fault``.
        faults: the faults that are in, as text.
        rerun: the command that runs the test again.
    """

    journal: Journal
    test: str
    kind: str
    rerun: str = ""
    stage: Stage = Stage.BEFORE
    faults: list[str] = field(default_factory=list)
    steady_seen: int = 0
    broken: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    effects: list[str] = field(default_factory=list)
    history: list[FaultTime] = field(default_factory=list)

    def write(self, event: Event) -> None:
        """One line of this test."""
        self.journal.write(event, self.test)

    def steady(self, what: str, ok: bool, sighting: str) -> None:
        """It was looked at before anything was broken; raises Unproven where it wasn't steady."""
        self.steady_seen += ok
        self.write(Steady(what, ok, sighting))
        if not ok:
            raise Unproven(f"it was not steady before: {sighting}")

    def negative_control(self, probe: str, red: bool, sighting: str) -> None:
        """The probe was held against something broken on purpose; raises Unproven where it stayed green."""
        self.write(NegativeControl(probe, red, sighting))
        if not red:
            raise Unproven(f"the negative control of {probe} stayed green: {sighting}")

    def assertion(
        self,
        what: str,
        probe: str,
        held: bool | None,
        sighting: str,
        *,
        figure: Any = None,
        budget: Any = None,
        claims: Claims = (),
        faults: list[str] | None = None,
        required: bool = False,
        stalled: bool = False,
    ) -> None:
        """An assertion was looked at; it goes into the journal, whatever came out.

        One that didn't hold fails the test at its end: what else there is to look at is looked at, for the sake of the other claims. One that
        is *required* ends the test at once, since what comes after it makes no sense without it.
        """
        in_then = list(self.faults if faults is None else faults)
        self.write(Assertion(what, probe, held, sighting, figure, budget, ids(claims), in_then, stalled=stalled))
        if held is True:
            return
        if required:
            self.fail(held, sighting)
        (self.broken if held is False else self.doubts).append(sighting)

    @property
    def failures(self) -> int:
        """How many assertions didn't hold so far."""
        return len(self.broken) + len(self.doubts)

    def blast(
        self, component: str, predicted: Iterable[str], measured: dict[str, frozenset[str]], claims: Claims
    ) -> None:
        """What a failure of *component* hit, beside what the tree said: more than that breaks the promise, each difference is written down."""
        foreseen = frozenset(predicted)
        unforeseen = sorted(name for name, known in measured.items() if not known & foreseen)
        spared = sorted(foreseen - frozenset(n for known in measured.values() for n in known))
        self.write(BlastRadius(component, sorted(foreseen), sorted(measured), unforeseen, spared))
        hits = ", ".join(sorted(measured)) or "nothing"
        sighting = (
            f"{component} down hits {hits}"
            + (f"; the tree didn't say so of {', '.join(unforeseen)}" if unforeseen else "")
            + (f"; spared, though the tree says so: {', '.join(spared)}" if spared else "")
        )
        self.assertion(
            "only what the tree names is hit",
            "blast",
            not unforeseen,
            sighting,
            figure=f"{len(measured)} workloads",
            claims=claims,
        )

    def limit(self, about: str, sighting: str) -> None:
        """Something that the cluster can't give was measured: it stands in the certificate, and breaks no promise."""
        self.write(Limit(about, sighting))

    def shown(self, what: str, sighting: str) -> None:
        """A static promise that the tree keeps; everything that bears on it was read."""
        self.write(Assertion(what, "rules", True, sighting, unread=[]))

    def faults_between(self, begin: float, end: float) -> list[str]:
        """The faults that were in at any time between two wall times."""
        return [f.text for f in self.history if f.injected <= end and (f.healed is None or f.healed >= begin)]

    def finish(self) -> None:
        """At the end of the test: raises for the promises that didn't hold and had let it go on."""
        if self.broken:
            self.fail(False, "; ".join(self.broken))
        if self.doubts:
            self.fail(None, "; ".join(self.doubts))

    def fail(self, held: bool | None, sighting: str) -> None:
        """Ends the test with the whole sentence: what was seen, which faults were in, how to run it again."""
        faults = f"Faults in: {', '.join(self.faults)}." if self.faults else "No fault is in."
        if self.kind == "static":
            raise (
                Broke(f"{sighting}. Run again: {self.rerun}")
                if held is False
                else Unproven(f"{sighting}. Run again: {self.rerun}")
            )
        text = f"{sighting}. {faults} Steady before: {'yes' if self.steady_seen else 'not looked at'}. Run again: {self.rerun}"
        raise Broke(text) if held is False else Unproven(text)

    def waited(self, wait: Wait, mode: str, limit: str | float, claims: Claims = (), *, required: bool = False) -> Wait:
        """Puts a wait of the cluster's into the place that the stage gives it."""
        took = round(wait.took_s, 1)
        what = f"{mode} {wait.probe} ({'within' if mode == 'eventually' else 'during'} {limit})"
        if self.stage is Stage.EFFECT:
            if wait.held is not True:
                raise Unproven(wait.sentence(mode, limit))
            self.effects.append(f"{wait.probe} after {took}s")
        elif self.stage is Stage.BEFORE and self.kind == "fault":
            self.steady(what, wait.held is True, f"held after {took}s" if wait.held else wait.sentence(mode, limit))
        else:
            good = (
                f"{wait.probe} held after {took}s"
                if mode == "eventually"
                else f"{wait.probe} held for {took}s ({wait.looks} looks)"
            )
            self.assertion(
                what,
                wait.probe.kind,
                wait.held,
                good if wait.held else wait.sentence(mode, limit),
                figure=f"{took}s",
                budget=str(limit),
                claims=claims,
                required=required,
            )
        return wait
