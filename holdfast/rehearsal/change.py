"""`holdfast rehearse --against`: what was there before runs, the change is pushed onto it and watched, and then it is reverted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from holdfast.errors import UsageError
from holdfast.lane.subject import Subject
from holdfast.progress import step
from holdfast.rehearsal import inventory
from holdfast.rehearsal.blockers import IMMUTABLE, Lack
from holdfast.rehearsal.course import Bar, Course
from holdfast.rehearsal.inventory import Inventory, Key, name_of
from holdfast.rehearsal.judge import Judge
from holdfast.rehearsal.looks import Doing
from holdfast.rehearsal.outcome import Outcome
from holdfast.rehearsal.stage import Stage, staged
from holdfast.rehearsal.watcher import Watcher
from holdfast.tree.changes import Change
from holdfast.tree.findings import Finding, Severity
from holdfast.tree.repository import Location
from holdfast.waiting import CannotLook, Clock

_LEAVES_WITHIN_S = 30.0
_LONG_S = 5.0  # whoever depends on another waits for it at every commit
_EVERY_S = 0.5
_STOPS = (Doing.FAILED, Doing.WAITING)


@dataclass(frozen=True)
class Means:
    """How each of the starts is made: the lane's *profile*, what has to be told to each stage, who takes each line, and how long one may take."""

    profile: str
    prepare: Callable[[Stage], None]
    say: Callable[[str], None]
    limit_s: float


@dataclass(frozen=True)
class Prediction:
    """What `holdfast check --against` says of one object, beside what happened: *foretold* and *seen* are words, empty where there is nothing."""

    object: str
    foretold: str
    seen: str

    @property
    def agrees(self) -> bool:
        return bool(self.foretold) is bool(self.seen)


@dataclass
class Revert:
    """The way back: whether everything became ready again, what was refused, and what isn't as it was."""

    converged: bool
    took_s: float
    refused: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    otherwise: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether the cluster is what it was before the change."""
        return self.converged and not (self.refused or self.left or self.lacking or self.otherwise)


@dataclass
class Transition:
    """A change, as it went. Objects are written ``Kind/namespace/name``.

    Attributes:
        revision: what it was compared with, as it was asked for.
        took_s: from the push until everything was settled.
        stopped: Kustomizations that weren't reconciled meanwhile, and for how long, in seconds.
        left, lacking, otherwise: how the end differs from a start of the new commit from nothing; *compared*: whether that was looked at.
    """

    revision: str
    took_s: float = 0.0
    made: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    recreated: list[str] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)
    stopped: dict[str, float] = field(default_factory=dict)
    compared: bool = False
    left: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    otherwise: list[str] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    revert: Revert | None = None

    @property
    def disagreements(self) -> list[Prediction]:
        """What went otherwise than foretold: each is a defect of the tool."""
        return [p for p in self.predictions if not p.agrees]


def rehearsed_change(subject: Subject, past: Subject, revision: str, means: Means) -> Outcome:
    """What becomes of a cluster that runs *past* when *subject* is pushed. Raises UsageError where the past doesn't become ready."""
    change = Change(past.tree, subject.tree)
    with staged(subject, means.profile) as new, staged(past, means.profile) as stage:
        means.prepare(new)
        means.say("the new commit, from nothing, to compare with:")
        new.start()  # Flux brings it up while the old one is looked at
        means.prepare(stage)
        before = _as_before(stage, revision, means)
        detours = copy.deepcopy(stage.detours)
        with step("pushing the change"):
            pushed = stage.become(subject, f"the change since {revision}")
        course = Watcher(stage, revision=pushed.revision, limit_s=means.limit_s, say=means.say).run()
        after = _settled(stage, before)
        transition = _transition(revision, course, before, after)
        cold, cold_course = _from_nothing(new, means)
        if cold and cold_course.converged and course.converged:
            transition.compared = True
            transition.left = _names(inventory.left_behind(after, cold, before))
            transition.lacking = [n for n in _names(inventory.lacking(after, cold)) if n not in _left_out(course)]
            transition.otherwise = _names(inventory.otherwise(after, cold))
        out = Judge(subject.tree, stage.foretold).outcome(
            course, stage.driver.kubernetes, stage.driver.flux, [n.text for n in stage.driver.notes()] + stage.notes
        )
        foretold = change.findings()
        transition.predictions = list(_predictions(foretold, course, transition))
        known = {f.object: f for f in foretold if f.rule == "change.immutable"}  # they know the field and the price
        out.proofs = [
            replace(p, finding=known.get(p.finding.object, p.finding)) if p.finding.rule == Lack.REFUSED else p
            for p in out.proofs
        ]
        out.doubts += [
            f"{name_of(key)} is deleted, and something holds it for longer than {_LEAVES_WITHIN_S:g}s"
            for key in after.leaving
        ]
        stage.take_back(detours)
        transition.revert = _reverted(stage, past, revision, before, means)
    if not transition.compared:
        out.doubts.append(
            "the end wasn't compared with a start from nothing: one of the two didn't become ready by itself"
        )
    out.transition = transition
    out.left_behind([_left(change, name) for name in transition.left])
    return out


def _from_nothing(stage: Stage, means: Means) -> tuple[Inventory | None, Course]:
    """What a start of the new commit from nothing comes to."""
    with step("looking at the start from nothing"):
        course = Watcher(stage, limit_s=means.limit_s, say=lambda _: None).run()
        with suppress(CannotLook):
            return _settled(stage, None), course
    return None, course


def _as_before(stage: Stage, revision: str, means: Means) -> Inventory:
    means.say(f"what was there at {revision}:")
    stage.start()
    course = Watcher(stage, limit_s=means.limit_s, say=means.say).run()
    if not course.converged:
        names = ", ".join(sorted(course.unsettled)[:5])
        raise UsageError(
            f"at {revision} not everything becomes ready in the lane ({names}), so a change of it can't be shown",
            "see what is in the way there: git worktree add ../before REVISION, then: holdfast rehearse ../before",
        )
    return _settled(stage, None)


def _settled(stage: Stage, before: Inventory | None) -> Inventory:
    """The inventory once nothing is on its way out any more, or that takes too long."""
    clock = Clock()
    limit = clock.now() + _LEAVES_WITHIN_S
    while True:
        found = inventory.taken(stage.client, before.versions if before else None)
        if not found.leaving or clock.now() > limit:
            return found
        clock.sleep(_EVERY_S)


def _transition(revision: str, course: Course, before: Inventory, after: Inventory) -> Transition:
    return Transition(
        revision,
        course.took_s,
        made=_names(inventory.made(after, before)),
        gone=[n for n in _names(inventory.gone(after, before)) if n not in _left_out(course)],
        recreated=_names(inventory.recreated(after, before)),
        restarted=_names(inventory.restarted(after, before)),
        stopped={
            n: s
            for n, bar in sorted(course.bars.items())
            if bar.state.kind == "Kustomization" and (s := _stood_s(bar, course)) >= _LONG_S
        },
    )


def _stood_s(bar: Bar, course: Course) -> float:
    """How long a Kustomization stood still: failed, or waiting for another one."""
    ends = [at for at, _, _ in bar.parts[1:]] + [course.took_s]
    return round(sum(end - at for (at, doing, _), end in zip(bar.parts, ends, strict=True) if doing in _STOPS), 1)


def _names(keys: Iterable[Key]) -> list[str]:
    return [name_of(key) for key in keys]


def _left_out(course: Course) -> set[str]:
    """What the lane took out of the change, since nothing else helped: that it isn't there is the lane's doing."""
    return {o.blocker.object for o in course.obstacles if not o.removal.startswith("the lane deleted")}


def _refused(course: Course) -> dict[str, str]:
    """What the API server wouldn't change, with its words."""
    return {o.blocker.object: o.blocker.said for o in course.obstacles if IMMUTABLE.search(o.blocker.said)}


def _predictions(foretold: list[Finding], course: Course, transition: Transition) -> Iterable[Prediction]:
    """Each thing that one of the two says: what is refused, and what is deleted with what goes with it."""
    refused = _refused(course)
    said = {f.object: f.what for f in foretold if f.rule == "change.immutable"}
    for name in sorted(said.keys() | refused.keys()):
        anew = f"{name} was deleted and made anew" if name in transition.recreated else ""
        yield Prediction(name, said.get(name, ""), refused.get(name, "") or anew)
    deleted = {f.object: f.what for f in foretold if f.rule == "change.pruned"}
    for name, words in sorted(deleted.items()):
        yield Prediction(name, words, f"{name} is gone" if name in transition.gone else "")


def _reverted(stage: Stage, past: Subject, revision: str, before: Inventory, means: Means) -> Revert:
    means.say(f"and back to {revision}:")
    pushed = stage.become(past, f"back to {revision}")
    course = Watcher(stage, revision=pushed.revision, limit_s=means.limit_s, say=means.say).run()
    after = _settled(stage, before)
    return Revert(
        course.converged,
        course.took_s,
        refused=[f"{name}: {words}" for name, words in sorted(_refused(course).items())],
        left=sorted(name_of(k) for k in after.held if k not in before.there),
        lacking=_names(inventory.lacking(after, before)),
        otherwise=_names(inventory.otherwise(after, before)),
    )


def _left(change: Change, name: str) -> Finding:
    """What only a cluster has that was there before: no start from Git alone brings it."""
    was = next((m for m in change.before.objects if m.id == name), None)
    place = change.last_place(was) if was else Location(change.after.root.folder, 1)
    return Finding(
        "change.left-behind",
        "git-single-source",
        Severity.UPGRADE_HAZARD,
        name,
        (place,),
        f"{name} stays in the cluster after the change, and a start from nothing doesn't bring it",
        "what Git doesn't hold any more still runs, and nothing changes or deletes it",
        "delete it by hand after the change, or have its Kustomization prune it: spec.prune: true",
        hits=(name,),
    )
