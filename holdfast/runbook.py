"""Follows a runbook: types what a section says, as it is written, while the fault that it is about is in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from holdfast.claims import Claims
from holdfast.cluster import Cluster
from holdfast.errors import NotExercised
from holdfast.terminal import Typed
from holdfast.tree.runbook import Command, Section, sections
from holdfast.waiting import HOLDS, Probe, Sighting

KIND = "runbook"
_CONTROL_S = 30.0


class Runbook:
    """The runbook of a tree, beside a cluster.

    Args:
        name: its file; *text*: what that says.
        folder: the tree, in whose folder a command finds the files that it names.
    """

    def __init__(self, cluster: Cluster, name: str, text: str, folder: Path) -> None:
        self._cluster, self._name, self._folder = cluster, name, folder
        self._sections = sections(text)

    def negative_control(self) -> None:
        """Sees a step fail: what is asked for isn't there."""

        def look(_: object) -> Sighting:
            typed = self._typed([Command(0, "", ("kubectl", "get", "node", "absent"))], _CONTROL_S)[0]
            return HOLDS if typed.code == 0 else typed.last

        self._cluster.negative_control(Probe(KIND, "a step of the runbook", look))

    def section(self, scenario: str) -> Section:
        """What it has on a scenario. Raises NotExercised where it has nothing."""
        if scenario not in self._sections:
            raise NotExercised(f"{self._name} has no section on: {scenario}")
        return self._sections[scenario]

    def follow(self, scenario: str, within_s: float, claims: Claims, *, afterwards: bool = False) -> float:
        """Does what the section on a scenario says (*afterwards*: what it says for when all is back), and asserts that each step worked.

        Returns how many seconds are left of *within_s*.
        """
        section = self.section(scenario)
        steps = [self._checked(s) for s in (section.afterwards if afterwards else section.commands)]
        run = [s for s in steps if not s.not_run]
        began = time.monotonic()
        typed = self._typed(run, within_s)
        took_s = time.monotonic() - began
        failed = next(((s, t) for s, t in zip(run, typed, strict=False) if t.code != 0), None)
        left = [f"line {s.line}: {s.not_run}" for s in steps if s.not_run]
        held: bool | None = True
        said = f"{len(run)} steps worked"
        if failed:
            held, said = False, self._failure(*failed)
        elif left:
            held, said = None, f"{len(run)} steps worked, {len(left)} weren't run: {'; '.join(left)}"
        elif not steps:
            held, said = None, f"{self._name}:{section.line} gives no command"
        elif not afterwards and not any(s.changes for s in steps):
            held, said = (
                None,
                f"{len(run)} steps worked, and none of them changes anything: what came back did so by itself",
            )
        assert self._cluster.experiment, "a runbook is followed in a test"
        self._cluster.experiment.assertion(
            f"the runbook on {scenario}{', once it is back' if afterwards else ''}",
            KIND,
            held,
            said,
            figure=f"{len(typed) - bool(failed)} of {len(steps)} steps, {took_s:.1f}s",
            budget=f"{within_s:g}s",
            claims=claims,
        )
        return round(max(0.0, within_s - took_s), 1)

    def _checked(self, step: Command) -> Command:
        """A step that names a file by a link out of the tree isn't run."""
        root = self._folder.resolve()
        for word in step.words:
            if not step.not_run and _leads_out(root, word.rpartition("=")[2]):
                return replace(step, not_run=f"it names a file outside of the tree: {word}")
        return step

    def _failure(self, step: Command, typed: Typed) -> str:
        how = "didn't end in time" if typed.code is None else f"ended with {typed.code}"
        return f"{self._name}:{step.line}: {step.text} {how}: {typed.last}"

    def _typed(self, steps: Sequence[Command], within_s: float) -> list[Typed]:
        """Types the steps in their order, up to the first that fails: whoever is in the middle of an emergency stops there, too."""
        ends, done = time.monotonic() + within_s, []
        with self._cluster.inject.by_hand(self._folder) as terminal:
            for step in steps:
                done.append(terminal.type(step.words, step.stdin, ends - time.monotonic()))
                if done[-1].code != 0:
                    terminal.in_doubt = step.changes
                    break
        return done


def _leads_out(root: Path, name: str) -> bool:
    """Whether a word names a file, or a folder with one, that lies outside of the tree by a link."""
    try:
        named = root / name
        if not name or not named.exists():
            return False
        inside = [named, *named.iterdir()] if named.is_dir() else [named]
        return any(not one.resolve().is_relative_to(root) for one in inside)
    except (OSError, ValueError, RuntimeError):  # too long for a name, or a circle of links: no file
        return False
