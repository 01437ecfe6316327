"""Verdicts from a journal, by a pure function. Only `held` is green, and it is given for nothing that leaves doubt.

What the journal has to hold for a test, by the kind of its claim (all between its ``test-begin`` and ``test-end``):

==============  ==============================================================================================
observation     ``steady`` ok · ``negative control`` red for each promise's probe kind · ``promise`` held
fault           besides these, for every ``fault-inject``: ``fault-took-effect``, ``fault-healed``, ``converged`` after it,
                and at least one promise looked at after a fault took effect
static          ``promise`` held, ``unread`` empty
==============  ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from holdfast import events
from holdfast.journal import JournalRecord, Line, header


class Verdict(StrEnum):
    """What a run says of a claim."""

    HELD = "held"
    BROKE = "broke"
    UNPROVEN = "unproven"
    NOT_EXERCISED = "not exercised"


# Exit codes of `holdfast verify`; pytest's 1–5 and make's 2 mean something else.
EXIT_HELD, EXIT_BROKE, EXIT_UNPROVEN, EXIT_NOT_EXERCISED, EXIT_UNEXPECTED = 0, 10, 11, 12, 13


NOT_ALL = "not all of its tests were selected in this run"


@dataclass(frozen=True)
class ClaimVerdict:
    """One verdict: a claim at a level on a lane.

    Attributes:
        reason: a sentence: what held, what broke, what leaves doubt.
        figures: what was measured, as ``{"what": …, "figure": …, "budget": …}``.
    """

    claim: str
    level: str
    lane: str
    verdict: Verdict
    reason: str
    tests: tuple[str, ...] = ()
    figures: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = field(default=())
    selected: Verdict | None = None  # of the tests that were selected, where others were left out


@dataclass(frozen=True)
class _Part:
    """What one test says of one claim."""

    verdict: Verdict
    reason: str
    figures: tuple[dict[str, Any], ...] = ()


def _bears_on(entry: Line, claim: str) -> bool:
    return not entry.get("claims") or claim in entry["claims"]


def _first_doubt(entries: list[Line], assertions: list[Line], kind: str) -> str:
    """The first thing that the kind of claim asks for and that *entries* don't hold, as a sentence; empty where all is there."""
    for entry in entries:
        if entry["event"] == events.Doubt.event:
            return str(entry.get("reason") or "a step of the test could not be proved")
    if not assertions:
        return "no promise was looked at"
    unknown = [p for p in assertions if p.get("held") not in (True, False)]
    if unknown:
        return str(unknown[0].get("sighting") or "a promise could not be looked at")
    early = [p for p in assertions if p["held"] is False]
    if early:
        return f"it was seen broken while no fault had taken effect yet: {early[0].get('sighting') or early[0].get('what')}"
    if kind == "static":
        unread = [p for p in assertions if p.get("unread") != []]
        return f"not everything was read: {unread[0].get('unread')}" if unread else ""
    return (
        _doubt_in_steady(entries)
        or _doubt_in_negative_controls(entries, assertions)
        or (_doubt_in_faults(entries, assertions) if kind == "fault" else "")
    )


def _doubt_in_steady(entries: list[Line]) -> str:
    steady = [e for e in entries if e["event"] == events.Steady.event]
    first = next((e["seq"] for e in entries if e["event"] in (events.Assertion.event, events.FaultInject.event)), None)
    if not any(e.get("ok") is True and (first is None or e["seq"] < first) for e in steady):
        return "it was not seen steady before"
    bad = [e for e in steady if e.get("ok") is not True]
    return f"it was not steady before: {bad[0].get('sighting', 'no sighting')}" if bad else ""


def _doubt_in_negative_controls(entries: list[Line], assertions: list[Line]) -> str:
    negative_controls = [e for e in entries if e["event"] == events.NegativeControl.event]
    green = [e for e in negative_controls if e.get("red") is not True]
    if green:
        return f"the negative control of {green[0].get('probe')} stayed green: the probe can't be seen red"
    for assertion in assertions:
        if not any(c.get("probe") == assertion.get("probe") for c in negative_controls):
            return f"the probe {assertion.get('probe')} has never been seen red (no negative control)"
    return ""


def _doubt_in_faults(entries: list[Line], assertions: list[Line]) -> str:
    injected = [e for e in entries if e["event"] == events.FaultInject.event]
    if not injected:
        return "no fault was injected"
    for start in injected:
        of_fault = [e for e in entries if e.get("fault_id") == start.get("fault_id")]
        later = {e["event"]: e for e in of_fault if e["seq"] > start["seq"]}
        effect, healed, converged = (later.get(k) for k in ("fault-took-effect", "fault-healed", "converged"))
        if effect is None:
            return f"no effect check saw {start.get('fault')} take effect"
        if healed is None or any(e.get("ok") is not True for e in of_fault if e["event"] == events.FaultHealed.event):
            return f"{start.get('fault')} was not healed"
        if converged is None:
            return f"the cluster was not seen to converge after {start.get('fault')}"
        if not effect["seq"] < healed["seq"] < converged["seq"]:
            return f"{start.get('fault')}: effect, healing and convergence stand out of order"
    effects = [e["seq"] for e in entries if e["event"] == events.FaultTookEffect.event]
    watched = any(p["seq"] > min(effects) for p in assertions)
    return "" if watched else "no promise was watched while a fault was in, or after it"


def _broken(entries: list[Line], assertions: list[Line], kind: str) -> Line | None:
    """The assertion that was really seen broken: while steady before, and where a fault is asked for, with it in effect.

    What comes later in the test can't take it back; what the harness failed to undo is its own failure, not the cluster's.
    """
    effects = [e["seq"] for e in entries if e["event"] == events.FaultTookEffect.event]
    unhealed = min(
        (e["seq"] for e in entries if e["event"] == events.FaultHealed.event and e.get("undone") is False),
        default=float("inf"),
    )
    for assertion in assertions:
        if assertion.get("held") is not False or assertion["seq"] > unhealed:
            continue
        before = [e for e in entries if e["seq"] < assertion["seq"]]
        steady = kind == "static" or not _doubt_in_steady(before)
        if steady and (kind != "fault" or any(seq < assertion["seq"] for seq in effects)):
            return assertion
    for late in entries:
        if late["event"] == events.Converged.event and late.get("ok") is False and effects and late["seq"] < unhealed:
            before = [e for e in entries if e["seq"] < late["seq"]]
            return late if kind == "static" or not _doubt_in_steady(before) else None
    return None


def tries(entries: list[Line]) -> list[list[Line]]:
    """A test's lines by try: after a line that says so it begins once more."""
    found: list[list[Line]] = [[]]
    for entry in entries:
        if entry["event"] == events.Again.event:
            found.append([])
        else:
            found[-1].append(entry)
    return found


def only_stalled(entries: list[Line], claims: Iterable[str], kind: str) -> str:
    """What stood still, where a test would have held every claim but for that; empty where anything else is amiss, or it held."""
    stalled = [e for e in entries if e["event"] == events.Assertion.event and e.get("stalled") and e["held"] is None]
    without = [{**e, "held": True} if e in stalled else e for e in entries]
    held = all(_judge_try(without, claim, kind).verdict is Verdict.HELD for claim in claims)
    return str(stalled[0]["sighting"]) if stalled and held else ""


def _judge(entries: list[Line], claim: str, kind: str) -> _Part:
    """The last try counts, and a broken promise in whichever: another try takes nothing back."""
    parts = [_judge_try(one, claim, kind) for one in tries(entries)]
    counts = next((p for p in parts if p.verdict is Verdict.BROKE), parts[-1])
    if len(parts) == 1:
        return counts
    return replace(counts, reason=f"{counts.reason}; tried {len(parts)} times: at first {parts[0].reason}")


def _judge_try(entries: list[Line], claim: str, kind: str) -> _Part:  # noqa: PLR0911  one return a verdict reads best
    if not entries or entries[0]["event"] != events.TestBegin.event:
        return _Part(Verdict.UNPROVEN, "the test never began")
    assertions = [e for e in entries if e["event"] == events.Assertion.event and _bears_on(e, claim)]
    figures = tuple(
        {k: p.get(k) for k in ("what", "probe", "figure", "budget", "held", "sighting")} for p in assertions
    )
    broken = _broken(entries, assertions, kind)
    if broken:
        return _Part(Verdict.BROKE, str(broken.get("sighting") or "it was seen broken"), figures)
    if sum(e["event"] == events.TestBegin.event for e in entries) > 1:
        return _Part(Verdict.UNPROVEN, "the test began twice, and nothing says why", figures)
    skipped = [e for e in entries if e["event"] == events.NotExercised.event]
    if skipped:
        return _Part(Verdict.NOT_EXERCISED, str(skipped[0].get("reason") or "no reason was given"))
    if entries[-1]["event"] != events.TestEnd.event:
        return _Part(Verdict.UNPROVEN, "the test didn't end: the journal stops in it", figures)
    if entries[-1].get("outcome") != "completed" and not any(e["event"] == events.Doubt.event for e in entries):
        why = str(entries[-1].get("reason") or "no reason was given").partition(". Faults in")[0]
        return _Part(Verdict.UNPROVEN, f"the test stopped early: {why}", figures)
    doubt = _first_doubt(entries, assertions, kind)
    late = [e for e in entries if e["event"] == events.Converged.event and e.get("ok") is not True]
    if doubt or late:
        return _Part(Verdict.UNPROVEN, doubt or str(late[0].get("sighting")), figures)
    seen = "; ".join(str(p.get("sighting") or p.get("what")) for p in assertions)
    if part := entries[0].get("part"):  # a part that held is no claim that held; one that broke would have broken it
        return _Part(
            Verdict.NOT_EXERCISED,
            f"as far as {part}, it held ({seen}); for the rest the lane lacks what it needs",
            figures,
        )
    return _Part(Verdict.HELD, seen, figures)


def of_test(entries: list[Line], claims: Iterable[str], kind: str) -> tuple[Verdict, str]:
    """The worst verdict that a test's lines come to for one of its claims, with the reason: what pytest prints of it, too."""
    parts = [_judge(entries, claim, kind) for claim in claims]
    worst = min(parts, key=lambda p: _ORDER.index(p.verdict))
    reasons = dict.fromkeys(p.reason for p in parts if p.verdict is worst.verdict)
    return worst.verdict, "; ".join(reasons)


_ORDER = (Verdict.BROKE, Verdict.UNPROVEN, Verdict.NOT_EXERCISED, Verdict.HELD)


def verdicts(record: JournalRecord, all_claims: Iterable[str] = ()) -> list[ClaimVerdict]:
    """Works out every verdict that a journal holds; claims of *all_claims* that no test was collected for come as not exercised.

    One test that broke breaks its claim; a collected test that is missing leaves doubt. Nothing merges into a better verdict.
    """
    begin = header(record)
    lane, notes = str(begin.get("lane", "")), begin.get("notes", [])
    by_test: dict[str, list[Line]] = {}
    for entry in record.entries:
        if entry.get("test"):
            by_test.setdefault(entry["test"], []).append(entry)
    found: list[ClaimVerdict] = []
    replaced = next((str(line.get("reason")) for line in record.of(events.ClusterReplaced)), "")
    for collected in record.of(
        events.Collected
    ):  # one for what needs no cluster, one for the rest: they share no level
        parts: dict[tuple[str, str], list[tuple[str, _Part]]] = {}
        for item in collected.get("tests", []):
            for claim in item["claims"]:
                part = _judge(by_test.get(item["test"], []), claim["id"], item["kind"])
                if part.verdict is Verdict.HELD and not record.sealed:
                    part = _Part(Verdict.UNPROVEN, f"the journal isn't whole: {record.problem}", part.figures)
                if replaced and part.verdict in (Verdict.BROKE, Verdict.HELD) and claim["level"] != "static":
                    part = _Part(Verdict.UNPROVEN, f"it was seen of one of two clusters: {replaced}", part.figures)
                parts.setdefault((claim["id"], claim["level"]), []).append((item["test"], part))
        about = collected.get("subjects", {})
        for (claim, level), of_claim in parts.items():
            left_out = [
                (left, _Part(Verdict.UNPROVEN, NOT_ALL)) for left in collected.get("left_out", {}).get(claim, [])
            ]
            touching = _touching(notes, about.get(claim, [])) if level != "static" else ()  # a tree has no stand-ins
            merged = _merged(claim, level, lane, [*of_claim, *left_out], touching)
            found.append(
                replace(merged, selected=_merged(claim, level, lane, of_claim, ()).verdict) if left_out else merged
            )
    found.sort(key=lambda f: (f.claim, f.level))
    missing = sorted(set(all_claims) - {f.claim for f in found})
    return found + [
        ClaimVerdict(claim, "", lane, Verdict.NOT_EXERCISED, "no test for it ran in this run") for claim in missing
    ]


def _touching(notes: list[dict[str, Any]], subjects: list[str]) -> tuple[str, ...]:
    """The fidelity notes that a claim about *subjects* carries."""
    return tuple(n["text"] for n in notes if "*" in n["touches"] or set(subjects) & set(n["touches"]))


def _merged(claim: str, level: str, lane: str, parts: list[tuple[str, _Part]], notes: tuple[str, ...]) -> ClaimVerdict:
    worst = min(
        (p for _, p in parts), key=lambda p: (_ORDER.index(p.verdict), not p.figures)
    )  # what was seen of it, first
    reason = worst.reason
    if worst.verdict in (Verdict.BROKE, Verdict.UNPROVEN):
        reason = "; ".join(dict.fromkeys(p.reason for _, p in parts if p.verdict is worst.verdict))
    return ClaimVerdict(
        claim,
        level,
        lane,
        worst.verdict,
        reason,
        tuple(t for t, _ in parts),
        tuple(f for _, p in parts for f in p.figures),
        notes,
    )


def across(parts: Iterable[Iterable[ClaimVerdict]]) -> list[ClaimVerdict]:
    """What several lanes come to together: each verdict stays, but that a claim wasn't exercised counts only where no lane exercised it."""
    found = [f for part in parts for f in part]
    exercised = {f.claim for f in found if f.verdict is not Verdict.NOT_EXERCISED and f.level != "static"}
    by_the_tree = {f.claim for f in found if f.verdict is not Verdict.NOT_EXERCISED and f.level == "static"}
    tried = {f.claim for f in found if f.tests and f.level != "static"}
    # Where a cluster shows a claim too, the tree alone is not enough.
    done = exercised | (by_the_tree - tried)
    return [f for f in found if f.verdict is not Verdict.NOT_EXERCISED or f.claim not in done]


def lacking(findings: list[ClaimVerdict], required: Iterable[str]) -> set[str]:
    """The required claims (or ``all``) that were not exercised; where a cluster shows a claim too, the tree alone is not enough."""
    required = set(required)
    left = {f.claim for f in findings if f.verdict is Verdict.NOT_EXERCISED}
    exercised = {f.claim for f in findings if f.verdict is not Verdict.NOT_EXERCISED} - left
    return (required - {"all"}) - exercised | ({f.claim for f in findings} - exercised if "all" in required else set())


def exit_code(findings: list[ClaimVerdict], required: Iterable[str] = ()) -> int:
    """The exit code of a run, as the design states it."""
    selected = [f for f in findings if f.tests]
    seen = {f.verdict for f in selected}
    if Verdict.BROKE in seen:
        return EXIT_BROKE
    if Verdict.UNPROVEN in seen:
        return EXIT_UNPROVEN
    if lacking(findings, required):
        return EXIT_NOT_EXERCISED
    return EXIT_HELD if Verdict.HELD in seen else EXIT_UNPROVEN  # a run that proved nothing is not green
