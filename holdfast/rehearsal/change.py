"""`holdfast rehearse --against`: what was there before runs, the change is pushed onto it and watched, and then it is reverted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from holdfast.errors import UsageError
from holdfast.lane.subject import Subject
from holdfast.progress import step
from holdfast.rehearsal import inventory
from holdfast.rehearsal.blockers import IMMUTABLE, Lack
from holdfast.rehearsal.course import Bar, Course, Obstacle
from holdfast.rehearsal.detours import Detour
from holdfast.rehearsal.inventory import Inventory, Key, name_of
from holdfast.rehearsal.judge import Judge
from holdfast.rehearsal.looks import Doing
from holdfast.rehearsal.outcome import Outcome
from holdfast.rehearsal.removal import DELETED
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
    foretold = change.findings()
    with staged(subject, means.profile) as new, staged(past, means.profile) as stage:
        means.prepare(new)
        means.say("the new commit, from nothing, to compare with:")
        new.start()  # Flux brings it up while the old one is looked at
        means.prepare(stage)
        first, before = _as_before(stage, revision, means)
        converged = copy.deepcopy(stage.detours)
        stage.take_back(first.detours)  # what was in the way before may be what the change mends
        with step("pushing the change"):
            pushed = stage.become(subject, f"the change since {revision}")
        course = Watcher(stage, revision=pushed.revision, limit_s=means.limit_s, say=means.say).run()
        after = _settled(stage, before.versions)
        cold_course, cold = _from_nothing(new, after, means)
        out = Judge(subject.tree, stage.foretold).outcome(
            course, stage.driver.kubernetes, stage.driver.flux, [n.text for n in stage.driver.notes()] + stage.notes
        )
        transition = _transition(revision, course, before, after)
        aside = _Aside(change, [first.course, course, cold_course], [stage, new])
        if cold_course.converged and course.converged:
            transition.compared = True
            transition.left = aside.sift(inventory.left_behind(after, cold, before), gone=True)
            transition.lacking = aside.sift(inventory.lacking(after, cold))
            transition.otherwise = aside.sift(inventory.otherwise(after, cold))
        if course.converged:
            transition.predictions = [p for p in _predictions(foretold, course, transition) if aside.counts(p)]
        out.notes = list(dict.fromkeys(out.notes))
        _name_the_field(out, foretold)
        _leave_what_was_there(out, first.course, revision)
        out.notes.append("what charts install is neither compared nor counted here, only what Kustomizations apply")
        out.doubts += [
            f"{name_of(key)} is deleted, and something holds it for longer than {_LEAVES_WITHIN_S:g}s"
            for key in after.leaving
        ]
        stage.take_back(converged)
        transition.revert = _reverted(stage, past, revision, before, means)
    if not transition.compared:
        out.doubts.append(
            "the end wasn't compared with a start from nothing: one of the two didn't become ready by itself"
        )
    out.transition = transition
    out.left_behind([_left(change, name) for name in transition.left if not change.is_kept(name)])
    return out


@dataclass(frozen=True)
class _First:
    """The start of the old commit: how it went, and what was otherwise in the lane before anything of it was seen."""

    course: Course
    detours: dict[str, Detour]


class _Aside:
    """What says nothing of the change: the lane's own doing in one of its starts, and what the new commit holds and wasn't applied."""

    def __init__(self, change: Change, courses: list[Course], stages: list[Stage]) -> None:
        obstacles = [o for course in courses for o in _given_up(course)]
        holders = {o.blocker.holder.partition("/")[2] for o in obstacles}
        trees = change.before, change.after
        self.owned = {
            m.id for tree in trees for k in holders if k in tree.kustomizations for m in tree.kustomizations[k].objects
        }
        self.own = {o.blocker.object for o in obstacles} | {name for stage in stages for name in stage.detours}
        self.wanted = {m.id for m in change.after.objects}
        self.unread = any(k.gap or k.error for k in change.after.kustomizations.values())

    def sift(self, keys: Iterable[Key], *, gone: bool = False) -> list[str]:
        """The names of those that count; *gone*: of what the new commit doesn't hold any more, if that is known."""
        names = [name for name in _names(keys) if name not in self.owned | self.own]
        return [n for n in names if n not in self.wanted and not self.unread] if gone else names

    def counts(self, one: Prediction) -> bool:
        """Whether a prediction was tried: not where its Kustomization was taken out of the way."""
        return bool(one.seen) or one.object not in self.owned | self.own


def _name_the_field(out: Outcome, foretold: list[Finding]) -> None:
    """What the tree foretold of a refusal knows the field and the price of each way out."""
    known = {f.object: f for f in foretold if f.rule == "change.immutable"}
    out.proofs = [
        replace(p, finding=known.get(p.finding.object, p.finding)) if p.finding.rule == Lack.REFUSED else p
        for p in out.proofs
    ]


def _leave_what_was_there(out: Outcome, first: Course, revision: str) -> None:
    """What was in the way at the old commit, too, is told and is no finding of the change."""
    met = [(o.blocker.lack, o.blocker.object) for o in out.course.obstacles]
    known = {(o.blocker.lack, o.blocker.object) for o in first.obstacles}
    old = [p for p in out.proofs if any(met[number - 1] in known for number in p.obstacles)]
    out.proofs = [p for p in out.proofs if p not in old]
    out.notes += [f"in the way at {revision}, too: {p.finding.what[:200]}" for p in old]
    # What the lane made for all is still there, so that nobody lacks it again.
    own = [o.blocker for o in first.obstacles if o.blocker.lack not in (Lack.KIND, Lack.NAMESPACE, Lack.CONFIG)]
    mended = [b for b in own if (b.lack, b.object) not in met]
    out.notes += [f"in the way at {revision}, and no more: {b.holder}: {b.said[:160]}" for b in mended]


def _from_nothing(stage: Stage, after: Inventory, means: Means) -> tuple[Course, Inventory]:
    """What a start of the new commit from nothing comes to; looked at for all the kinds that *after* has, too."""
    with step("looking at the start from nothing"):
        course = Watcher(stage, limit_s=means.limit_s, say=lambda _: None).run()
        return course, _settled(stage, after.versions)


def _as_before(stage: Stage, revision: str, means: Means) -> tuple[_First, Inventory]:
    means.say(f"what was there at {revision}:")
    stage.start()
    detours = copy.deepcopy(stage.detours)
    course = Watcher(stage, limit_s=means.limit_s, say=means.say).run()
    if not course.converged:
        names = ", ".join(sorted(course.unsettled)[:5])
        raise UsageError(
            f"at {revision} not everything becomes ready in the lane ({names}), so a change of it can't be shown",
            "see what is in the way there: git worktree add ../before REVISION, then: holdfast rehearse ../before",
        )
    return _First(course, detours), _settled(stage, None)


def _settled(stage: Stage, kinds: dict[tuple[str, str], str] | None) -> Inventory:
    """The inventory once nothing is on its way out any more, or that takes too long. Raises UsageError where the API server doesn't answer."""
    clock = Clock()
    limit = clock.now() + _LEAVES_WITHIN_S
    while True:
        try:
            found = inventory.taken(stage.client, kinds)
            if not found.leaving or clock.now() > limit:
                return found
        except CannotLook as why:
            if clock.now() > limit:
                raise UsageError(f"the lane's API server can't be looked at: {why}", "run again") from None
        clock.sleep(_EVERY_S)


def _transition(revision: str, course: Course, before: Inventory, after: Inventory) -> Transition:
    return Transition(
        revision,
        course.took_s,
        made=_names(inventory.made(after, before)),
        gone=[n for n in _names(inventory.gone(after, before)) if n not in _taken_out(course)],
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


def _taken_out(course: Course) -> set[str]:
    """What the lane took out of the change, since nothing else helped: that it isn't there is the lane's doing."""
    return {o.blocker.object for o in _given_up(course)}


def _given_up(course: Course) -> list[Obstacle]:
    """What was gone past in some other way than its owner's: by making it anew."""
    return [o for o in course.obstacles if not o.removal.startswith(DELETED)]


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
    after = _settled(stage, before.versions)
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
