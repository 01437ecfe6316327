"""Watches a cold start to its end: what is in the way for good is taken out of it, so that it goes on."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from holdfast.rehearsal.blockers import Blocker, Lack, blockers, waits_for
from holdfast.rehearsal.course import Bar, Course, Late, Obstacle
from holdfast.rehearsal.looks import Doing, State, as_of, look
from holdfast.rehearsal.removal import Removal
from holdfast.rehearsal.sick import Sick, sick_of
from holdfast.rehearsal.stage import Stage
from holdfast.waiting import CannotLook, Clock

_EVERY_S = 0.4
_QUIET_S = 4.0  # what may still come by itself counts as never after so long without any change
# Flux looks at health every 5 seconds: so long without a change, and once more, nothing will be healthy.
_CHECKING_S = 8.0
_ASK_AFTER_S = 0.8
_SHARED = (Lack.KIND, Lack.NAMESPACE, Lack.CONFIG)  # what is lacking to many, and is given to all at once
_LOST_S = 20.0
_BUSY = (Doing.BUILDING, Doing.APPLYING)
_MOST_TRIES = 12
_WORK_S = 240.0


@dataclass
class Trial:
    """What is known of the tries of one object that failed; times in seconds since the start.

    Attributes:
        since: since when it fails with this *answer*; None while it doesn't.
        token: of the try that was asked for and isn't over, *before* what it said before it, *asked_at* when that was.
        confirmed: the answer that it gave twice; None where it has to be asked. *answered_at*: when the try began that confirmed it.
        tries: how many were asked for.
        is_given_up: it was taken for ready, since nothing else helped. *is_stuck*: not even that did.
    """

    since: float | None = None
    answer: str = ""
    token: str = ""
    before: str = ""
    asked_at: float = 0.0
    confirmed: str | None = None
    answered_at: float = 0.0
    tries: int = 0
    is_given_up: bool = False
    is_stuck: bool = False


class Watcher:
    """Watches one start.

    Args:
        strict: stop at the first obstacles instead of taking them away.
        limit_s: how long the whole start may take.
        revision: of what the cluster syncs by; whoever is ready with another isn't ready yet. Empty where there is but one.
        say: takes each line of what happens.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        strict: bool = False,
        limit_s: float = 1200,
        revision: str = "",
        say: Callable[[str], None] = print,
        clock: Clock | None = None,
    ) -> None:
        self.stage, self.strict, self.limit_s, self.say = stage, strict, limit_s, say
        self.revision = revision
        self.clock = clock or Clock()
        self.removal = Removal(stage, anew=bool(revision))
        self.course = Course()
        self._trials: defaultdict[str, Trial] = defaultdict(Trial)
        self._first_failures: dict[str, Blocker] = {}
        self._known: dict[str, tuple[Doing, str, str]] = {}
        self._moved_at = 0.0
        self._settled_at: dict[str, float] = {}
        self._removed_at: dict[tuple[Lack, str], float] = {}
        self._number = 0

    @property
    def _now(self) -> float:
        return self.clock.now() - self._began

    def run(self) -> Course:
        """To the end: everything is ready, or nothing moves any more, or time is up."""
        self._began = self.clock.now()
        states: Mapping[str, State] = {}
        while True:
            self.stage.driver.check()
            try:
                states = self._look()
                self._record(states)
                if self._ended(states):
                    return self.course
            except CannotLook:
                if self._now > self.limit_s:
                    self._finish(states, set())
                    return self.course
            self.clock.sleep(_EVERY_S)

    def _look(self) -> Mapping[str, State]:
        states = look(self.stage.client)
        if not self.revision:
            return states
        known = self.stage.tree.kustomizations
        # What the change takes away may fail until whoever applied it deletes it: that it fails says nothing.
        staying = {n: s for n, s in states.items() if s.kind != "Kustomization" or f"{s.namespace}/{s.name}" in known}
        return as_of(staying, self.stage.own_sources, self.revision)

    # -- what is seen ----------------------------------------------------------------------------------------------------------

    def _record(self, states: Mapping[str, State]) -> None:
        for name, state in states.items():
            doing, words = state.doing, state.answer
            if self._known.get(name) == (doing, words, state.progress):
                continue
            asked = self._trials[name].token and doing not in (Doing.READY, Doing.ASSUMED)
            self._known[name] = (doing, words, state.progress)
            if not asked:  # a try that was asked for and answers as before is no move
                self._moved_at = self._now
            if state.settled:
                self._settled_at.setdefault(name, self._now)
            bar = self.course.bars.setdefault(name, Bar(state))
            bar.state = state
            if not bar.parts or bar.parts[-1][1] is not doing:
                bar.parts.append((round(self._now, 1), doing, words))
                self._announce(name, doing, state)
            if doing is Doing.FAILED:
                self._note_failure(state)
            else:
                self._trials[name].since = None

    def _announce(self, name: str, doing: Doing, state: State) -> None:
        if doing in (Doing.READY, Doing.ASSUMED) and state.kind == "Kustomization":
            self.say(f"{self._now:6.1f}s  {doing.value:9s} {name}")

    def _note_failure(self, state: State) -> None:
        trial = self._trials[state.id]
        if trial.since is None or trial.answer != state.answer:
            trial.since, trial.answer, trial.confirmed = self._now, state.answer, None
        for blocker in blockers(state):
            if blocker.lack in _SHARED and state.id not in self._first_failures:
                self._first_failures[state.id] = blocker

    # -- where it stands -------------------------------------------------------------------------------------------------------

    def _ended(self, states: Mapping[str, State]) -> bool:
        open_ones = {n: s for n, s in states.items() if not s.settled and not self._trials[n].is_stuck}
        flux = [s for s in states.values() if s.kind == "Kustomization"]
        missing = self._expected - {s.id for s in flux}
        if not open_ones and flux and (not missing or self._quiet(_QUIET_S)):
            self._finish(states, missing)
            return True
        if self._now > self.limit_s:
            self._finish(states, missing)
            return True
        failing = {n: s for n, s in open_ones.items() if s.doing is Doing.FAILED}
        self._ask_again(failing)
        certain = [b for s in failing.values() for b in self._certain(s, states)]
        if not certain and self._quiet(_QUIET_S):
            certain = self._deadlocked(open_ones, states)
        if certain:
            self._act(certain, states)
            if self.strict:
                self._finish(states, missing)
                return True
        return False

    @cached_property
    def _expected(self) -> frozenset[str]:
        """The Kustomizations that the tree says there will be."""
        tree = self.stage.tree
        asleep = {f"{a.namespace}/{a.name}" for a in tree.settings.adaptations if a.suspends}
        asleep |= {k.id for k in tree.kustomizations.values() if k.spec.get("suspend") is True}
        return frozenset(
            f"Kustomization/{k.id}"
            for k in tree.kustomizations.values()
            if k.manifest.file and not asleep.intersection(k.way)
        )

    def _quiet(self, for_s: float) -> bool:
        return self._now - self._moved_at >= for_s

    def _ask_again(self, failing: Mapping[str, State]) -> None:
        """A second try, now: Flux's own would come after its interval."""
        for state in failing.values():
            trial = self._trials[state.id]
            if trial.confirmed is not None:
                continue
            if trial.token and state.handled == trial.token:
                trial.token, trial.tries = "", trial.tries + 1
                # An answer that differs from try to try is none the truer for it.
                if state.answer == trial.before or trial.tries > _MOST_TRIES:
                    trial.confirmed, trial.answered_at = state.answer, trial.asked_at
            elif not trial.token and trial.since is not None and self._now - trial.since >= _ASK_AFTER_S:
                self._request(state)

    def _request(self, state: State) -> None:
        self._number += 1
        token = f"{datetime.datetime.now(datetime.UTC).isoformat()}-{self._number}"
        if self.removal.request(state, token):
            trial = self._trials[state.id]
            trial.token, trial.before, trial.asked_at = token, state.answer, self._now

    def _certain(self, state: State, states: Mapping[str, State]) -> list[Blocker]:
        """What is in the way for good; empty where it isn't known yet, or where it may still come by itself."""
        trial = self._trials[state.id]
        if trial.confirmed != state.answer:
            return []
        found = blockers(state)
        if max((self._news_of(b) for b in found), default=0.0) > trial.answered_at:
            # Its answer of before may not be the one of now. (A try costs a build: it isn't asked for without a reason.)
            trial.since, trial.confirmed = self._now, None
            return []
        if any(self.removal.may_come(b, states) for b in found):
            at_work = any(states[g].doing in _BUSY for b in found for g in self.removal.givers(b) if g in states)
            if not self._quiet(_WORK_S if at_work else _QUIET_S):
                return []
        return [b for b in found if not self._follows(b, states)]

    def _news_of(self, blocker: Blocker) -> float:
        """When something was seen last that may have given what is lacking."""
        came = [self._settled_at.get(giver, 0.0) for giver in self.removal.givers(blocker)]
        return max([self._removed_at.get((blocker.lack, blocker.what), 0.0), *came])

    def _follows(self, blocker: Blocker, states: Mapping[str, State]) -> bool:
        """Whether it is only a consequence of another object that isn't settled."""
        other = states.get(blocker.what)
        return blocker.lack is Lack.HEALTH and other is not None and not other.settled and other.id != blocker.holder

    def _deadlocked(self, open_ones: Mapping[str, State], states: Mapping[str, State]) -> list[Blocker]:
        """Nothing moves, and nothing failed: objects that never become healthy, or a circle of waiting."""
        if any(s.doing is Doing.FAILED and self._trials[n].confirmed is None for n, s in open_ones.items()):
            return []
        if any(s.doing in _BUSY for s in open_ones.values()) and not self._quiet(_WORK_S):
            return []  # something is at work: its own time counts
        checking = [s for s in open_ones.values() if s.doing is Doing.CHECKING]
        if checking and not self._quiet(_CHECKING_S):
            return []
        found = []
        for state in checking:
            for sick in sick_of(self.stage, state.namespace, state.name):
                other = states.get(sick.id)
                if other is None or other.settled:
                    found.append(_never_ready(state, sick))
        return found or self._circle(open_ones, states) or self._at_a_loss(open_ones)

    def _at_a_loss(self, open_ones: Mapping[str, State]) -> list[Blocker]:
        """Nothing moves, and nothing that is known explains it: whoever waits is said with the words that it waits by."""
        if not self._quiet(_LOST_S):
            return []
        waiting = {n for n, s in open_ones.items() if (other := waits_for(s)) and self._is_open(other, open_ones)}
        alone = {n: s for n, s in open_ones.items() if n not in waiting}
        return [Blocker(Lack.OTHER, n, n, n, s.progress or s.said or "it says nothing") for n, s in alone.items()]

    def _is_open(self, name: str, open_ones: Mapping[str, State]) -> bool:
        """Whether an object is open, or would be if anything could be done about it."""
        return name in open_ones or (name in self._trials and self._trials[name].is_stuck)

    def _circle(self, open_ones: Mapping[str, State], states: Mapping[str, State]) -> list[Blocker]:
        """One link of a circle in which objects wait for each other."""
        needs = {name: self._waited_for(state, states) for name, state in open_ones.items()}
        for start in sorted(needs):
            path, here = [start], start
            while (after := next((n for n in needs.get(here, []) if n in open_ones), "")) and after not in path:
                path.append(after)
                here = after
            if after and after in path:
                ring = path[path.index(after) :]
                said = " → ".join([*ring, ring[0]])
                return [
                    Blocker(Lack.LOOP, ring[0], (ring[1:] or ring)[0], ring[0], f"they wait for each other: {said}")
                ]
        return []

    def _waited_for(self, state: State, states: Mapping[str, State]) -> list[str]:
        if dependency := waits_for(state):
            return [dependency]
        if state.doing is Doing.CHECKING:
            return [s.id for s in sick_of(self.stage, state.namespace, state.name) if s.id in states]
        return []

    # -- what is done about it ---------------------------------------------------------------------------------------------------

    def _act(self, found: list[Blocker], states: Mapping[str, State]) -> None:
        for blocker in found:
            if any(
                o.blocker == blocker for o in self.course.obstacles
            ):  # taken away before, and it is still in the way
                self._again(blocker, states)
                continue
            if (given := self._removed_at.get((blocker.lack, blocker.what))) is not None:
                # For another one, a moment ago: it is asked again. Where it was asked since, it didn't help.
                if given < self._trials[blocker.holder].answered_at:
                    self._again(blocker, states)
                continue
            removal = "" if self.strict else self.removal.remove(blocker, states)
            if removal and blocker.lack in _SHARED:
                self._removed_at[blocker.lack, blocker.what] = self._now
            self.course.obstacles.append(Obstacle(blocker, round(self._now, 1), self._before(blocker, states), removal))
            self.say(f"{self._now:6.1f}s  blocked   {blocker.holder}: {blocker.said[:160]}")
            self._trials[blocker.holder].is_stuck |= not removal
        self._moved_at = self._now
        for holder in {b.holder for b in found}:
            trial = self._trials[holder]
            if not trial.is_stuck:
                trial.confirmed, trial.token = None, ""
                if holder in states:
                    self._request(states[holder])

    def _again(self, blocker: Blocker, states: Mapping[str, State]) -> None:
        """What was done about it did nothing: its holder is taken for ready, once."""
        trial = self._trials[blocker.holder]
        if trial.is_given_up or self.strict or not self.removal.give_up_on(blocker, states):
            trial.is_stuck = True
        trial.is_given_up = True

    def _before(self, blocker: Blocker, states: Mapping[str, State]) -> tuple[int, ...]:
        """The obstacles of what its holder had to wait for, and of its holder itself."""
        wanted, seen = [blocker.holder], set[str]()
        while wanted:
            name = wanted.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in states:
                kustomization = self.stage.tree.kustomizations.get(name.partition("/")[2])
                wanted += [f"Kustomization/{d}" for d in kustomization.depends_on] if kustomization else []
                wanted += [f"Kustomization/{w}" for w in kustomization.way] if kustomization else []
        return tuple(n for n, o in enumerate(self.course.obstacles, 1) if o.blocker.holder in seen)

    def _finish(self, states: Mapping[str, State], missing: Iterable[str]) -> None:
        course = self.course
        course.took_s = round(self._now, 1)
        course.unsettled = {n: s.said or s.progress or "no word yet" for n, s in states.items() if not s.settled}
        course.unsettled |= dict.fromkeys(missing, "it never came to the cluster")
        course.converged = not course.unsettled
        blamed = {o.blocker.holder for o in course.obstacles}
        course.late = [
            Late(blocker, self.course.bars[name].ready_at or 0.0)
            for name, blocker in sorted(self._first_failures.items())
            if name not in blamed and name in states and states[name].settled and self._came(blocker)
        ]

    def _came(self, blocker: Blocker) -> bool:
        """Whether what was lacking came by itself: from the tree, and not from the lane."""
        by_the_lane = any(o.blocker.what == blocker.what for o in self.course.obstacles)
        return bool(self.removal.givers(blocker)) and not by_the_lane


def _never_ready(state: State, sick: Sick) -> Blocker:
    return Blocker(Lack.HEALTH, state.id, sick.id, sick.id, sick.said)
