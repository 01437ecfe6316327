"""The arc of one test - steady, fault in, healed, converged - and what of it goes into the journal."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from holdfast.journal import Journal
from holdfast.waiting import Broke, Unproven, Wait


class Stage(StrEnum):
    """Where in its arc a test is."""

    BEFORE = "before"
    WITNESS = "witness"
    FAULT = "fault"
    AFTER = "after"


@dataclass
class Arc:
    """Writes what a test sees, each line with the test's name.

    Attributes:
        kind: of the claims: ``observation`` or ``fault``.
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

    def write(self, event: str, **fields: Any) -> dict[str, Any]:
        """One line of this test."""
        return self.journal.write(event, test=self.test, **fields)

    def steady(self, what: str, ok: bool, sighting: str) -> None:
        """It was looked at before anything was broken; raises Unproven where it wasn't steady."""
        self.steady_seen += ok
        self.write("steady", what=what, ok=ok, sighting=sighting)
        if not ok:
            raise Unproven(f"it was not steady before: {sighting}")

    def canary(self, probe: str, red: bool, sighting: str) -> None:
        """The probe was held against something broken on purpose; raises Unproven where it stayed green."""
        self.write("canary", probe=probe, red=red, sighting=sighting)
        if not red:
            raise Unproven(f"the canary of {probe} stayed green: {sighting}")

    def promise(self, what: str, probe: str, held: bool | None, sighting: str, *, figure: Any = None, budget: Any = None,
                claims: tuple[str, ...] = ()) -> bool | None:
        """A promise was looked at; it goes into the journal, whatever came out. Returns *held*."""
        self.write("promise", what=what, probe=probe, held=held, sighting=sighting, figure=figure, budget=budget, claims=list(claims),
                   faults=list(self.faults))
        return held

    def require(self, what: str, probe: str, held: bool | None, sighting: str, **more: Any) -> None:
        """As `promise`, and ends the test where it didn't hold."""
        if self.promise(what, probe, held, sighting, **more) is not True:
            self.fail(held, sighting)

    def fail(self, held: bool | None, sighting: str) -> None:
        """Ends the test with the whole sentence: what was seen, which faults were in, how to run it again."""
        faults = f"Faults in: {', '.join(self.faults)}." if self.faults else "No fault is in."
        text = f"{sighting}. {faults} Steady before: {'yes' if self.steady_seen else 'not looked at'}. Run again: {self.rerun}"
        raise Broke(text) if held is False else Unproven(text)

    def waited(self, wait: Wait, mode: str, limit: str | float, claims: tuple[str, ...] = ()) -> Wait:
        """Puts a wait of the cluster's into the place that the stage gives it."""
        took = round(wait.took_s, 1)
        what = f"{mode} {wait.probe} ({'within' if mode == 'eventually' else 'during'} {limit})"
        if self.stage is Stage.WITNESS:
            if wait.held is not True:
                raise Unproven(wait.sentence(mode, limit))
        elif self.stage is Stage.BEFORE and self.kind == "fault":
            self.steady(what, wait.held is True, f"held after {took}s" if wait.held else wait.sentence(mode, limit))
        else:
            good = f"{wait.probe} held after {took}s" if mode == "eventually" else f"{wait.probe} held for {took}s ({wait.looks} looks)"
            self.require(what, wait.probe.kind, wait.held, good if wait.held else wait.sentence(mode, limit), figure=f"{took}s", budget=str(limit),
                         claims=claims)
        return wait
