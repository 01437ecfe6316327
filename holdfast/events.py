"""What a journal's lines say: one class an event. A line holds the event's name, its fields, and the test that it belongs to.

Times are wall times in seconds. ``held``, where it is None: it couldn't be known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar


class Event:
    """A line of a journal: *event* is its name there."""

    event: ClassVar[str]


# -- of the run ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunBegin(Event):
    """The first line: what runs, on what. *said*: notices on the checkout and the settings; *claims*: the tree's own claims file."""

    run: str
    holdfast: str
    lane: str
    tree: str
    commit: str
    own_commit: bool
    said: list[str]
    claims: str
    event = "run-begin"


@dataclass(frozen=True)
class Collected(Event):
    """Which tests were selected: ``{"test", "kind", "claims": [{"id", "level"}]}``; subjects by claim; deselected tests by claim."""

    tests: list[dict[str, Any]]
    subjects: dict[str, list[str]]
    left_out: dict[str, list[str]]
    event = "collected"


@dataclass(frozen=True)
class LaneBegin(Event):
    """Before the first cluster: what of the lane isn't as in production. *notes*: ``{"text", "touches"}``."""

    kubernetes: str
    offline: bool
    notes: list[dict[str, Any]]
    stand_ins: list[str]
    reused: bool
    event = "lane-begin"


@dataclass(frozen=True)
class LaneReady(Event):
    """A cluster is steady."""

    took_s: float
    reused: bool
    nodes: list[str]
    event = "lane-ready"


@dataclass(frozen=True)
class LaneFailed(Event):
    """A cluster never became steady."""

    reason: str
    event = "lane-failed"


@dataclass(frozen=True)
class Quarantined(Event):
    """The cluster can't be trusted any more."""

    reason: str
    event = "quarantined"


@dataclass(frozen=True)
class ClusterReplaced(Event):
    """The cluster that the run ended with is another than the one that it began with: which of them was seen when?"""

    reason: str
    event = "cluster-replaced"


@dataclass(frozen=True)
class UnclaimedFailed(Event):
    """A test that shows no claim failed in its set-up, its call or its teardown (*when*)."""

    of: str
    when: str
    reason: str
    event = "unclaimed-failed"


@dataclass(frozen=True)
class Seal(Event):
    """The last line: how many there are before it."""

    lines: int
    event = "seal"


# -- of a test -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TestBegin(Event):
    """A test begins; *kind*: ``static``, ``observation`` or ``fault``; *part*: how far it can show its claims, where not all of them."""

    claims: list[str]
    kind: str
    part: str = ""
    event = "test-begin"


@dataclass(frozen=True)
class Steady(Event):
    """It was looked at before anything was broken."""

    what: str
    ok: bool
    sighting: str
    event = "steady"


@dataclass(frozen=True)
class NegativeControl(Event):
    """A probe was held against something broken on purpose; *red*: it said so."""

    probe: str
    red: bool
    sighting: str
    event = "negative-control"


@dataclass(frozen=True)
class Assertion(Event):
    """What must hold was looked at. *claims*: those that it is about, all of the test's where empty; *faults*: those that were in;
    *unread*: for a static one, what bears on it and wasn't read; *stalled*: it isn't known, only because a sampler or a node stood still."""

    what: str
    probe: str
    held: bool | None
    sighting: str
    figure: Any = None
    budget: Any = None
    claims: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unread: list[str] | None = None
    stalled: bool = False
    event = "assertion"


@dataclass(frozen=True)
class Limit(Event):
    """What the cluster can't give by the way it is made, as it was measured; it breaks no promise. *about*: which one of the
    certificate's."""

    about: str
    sighting: str
    event = "limit"


@dataclass(frozen=True)
class BlastRadius(Event):
    """What a failure of *component* hit, beside what the tree said."""

    component: str
    predicted: list[str]
    measured: list[str]
    unforeseen: list[str]
    spared: list[str]
    event = "blast-radius"


@dataclass(frozen=True)
class FaultInject(Event):
    """A fault is about to go in; *fault_id* is unique in a run."""

    fault: str
    fault_id: int
    event = "fault-inject"


@dataclass(frozen=True)
class FaultTookEffect(Event):
    """It is really in: *effects* say by what that was seen."""

    fault: str
    fault_id: int
    effects: list[str]
    event = "fault-took-effect"


@dataclass(frozen=True)
class FaultHealed(Event):
    """Its healing ended: *ok*, whether it went well; *undone*, whether every undo step was done."""

    fault: str
    fault_id: int
    ok: bool
    undone: bool
    sighting: str
    effects: list[str]
    event = "fault-healed"


@dataclass(frozen=True)
class Converged(Event):
    """Whether the cluster came to a steady state that lasts, and how long after the undoing."""

    fault: str
    fault_id: int
    ok: bool | None
    took_s: float
    budget: str
    sighting: str
    event = "converged"


@dataclass(frozen=True)
class Sampled(Event):
    """What a watch saw of one target from one vantage point. *intervals*: [begin, end, result, looks]."""

    watch: str
    vantage: str
    target: str
    kind: str
    mode: str
    negative_control: bool
    begin: float
    end: float
    looks: int
    failed: int
    outages: list[dict[str, Any]]
    intervals: list[list[Any]]
    event = "sampled"


@dataclass(frozen=True)
class Bands(Event):
    """What the cluster's own monitoring saw during a watch; no verdict depends on it."""

    watch: str
    bands: list[dict[str, Any]]
    event = "bands"


@dataclass(frozen=True)
class Evidence(Event):
    """Where evidence of a failure is, below the run's folder, and what of it couldn't be kept."""

    folder: str
    failed: list[str]
    event = "evidence"


@dataclass(frozen=True)
class Doubt(Event):
    """Something leaves a test unproven."""

    reason: str
    event = "unproven"


@dataclass(frozen=True)
class Again(Event):
    """The test begins once more: *reason* is all that left its first try unproven, and it is about the machine."""

    reason: str
    event = "again"


@dataclass(frozen=True)
class NotExercised(Event):
    """The lane lacks what a test needs."""

    reason: str
    event = "not-exercised"


@dataclass(frozen=True)
class TestEnd(Event):
    """A test ended: *outcome* is ``completed`` or ``stopped``."""

    outcome: str
    reason: str
    event = "test-end"
