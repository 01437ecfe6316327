"""The certificate of a sign-off: what is proved of a tree and what isn't, how, and until when; by rules that are written down (docs/signoff.md).

It is made of journals alone, and names each by its digest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from holdfast import events
from holdfast.claims import Claim
from holdfast.errors import UsageError
from holdfast.journal import JournalRecord
from holdfast.reporting.ledger import STATIC, Ledger, RunRow, Standing
from holdfast.reporting.machine_report import LIFE, MachineReport
from holdfast.verdicts import Verdict

VERSION = 1
# How long what was seen is taken for true: a tree alone until it changes, a running cluster for a week.
LIVES = {STATIC: timedelta(days=90), "model": timedelta(days=30), "lab": timedelta(days=30), "live": timedelta(days=7)}
_STRONG = ("live", "lab")  # levels at which the claim's subject was the real thing
LEVELS = ("live", "lab", "model", STATIC)  # the strongest first
# What two nodes with one control plane can't give, whatever was shown of them; a run that measured it says how it was.
LIMITS = {
    "quorum": "One server holds etcd: with it gone nothing can be changed and nothing is rescheduled, and its loss is a restore. "
    "A quorum needs three servers.",
    "dns": "A Deployment with one replica (CoreDNS in k3s is one) is away until its pod runs on the other node: for as long as the node timers last.",
    "spread": "Pods that moved in a node's absence don't spread back by themselves.",
}


class Ready(StrEnum):
    """What a certificate comes to."""

    READY = "ready"
    CONDITIONS = "ready with conditions"
    NOT = "not ready"


def comes_to(verdicts: Collection[Verdict], machines: Collection[Verdict] = (), *, doubt: bool) -> Ready:
    """By the rules: nothing broke and something is proved; without conditions only where everything is, and nothing leaves doubt.

    *verdicts* are of claims; that a *machine* is right proves nothing of them, and that it isn't is as bad as a broken one.
    """
    if Verdict.BROKE in {*verdicts, *machines} or Verdict.HELD not in verdicts:
        return Ready.NOT
    return Ready.CONDITIONS if doubt or {*verdicts, *machines} != {Verdict.HELD} else Ready.READY


@dataclass(frozen=True)
class Proof:
    """What is shown of a claim: the newest word at its strongest level, or why nothing is.

    Attributes:
        doubts: what keeps it from being proved without conditions, as sentences; empty for what is proved.
    """

    claim: Claim
    standing: Standing | None
    digest: str
    doubts: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """The verdict that counts."""
        return self.standing.verdict.verdict if self.standing else Verdict.NOT_EXERCISED

    @property
    def valid_until(self) -> datetime | None:
        """The end of its evidence's life (UTC); None where it has none."""
        return self.standing.run.began + LIVES[self.standing.verdict.level] if self.standing else None


@dataclass(frozen=True)
class Certificate:
    """All that is signed.

    Attributes:
        lanes: of each lane its Kubernetes and its nodes, by the newest run with a cluster.
        asked: what of all the claims was asked for, as a sentence; empty where all were.
        conditions: what holds of the whole, as sentences.
        limits: what it can't give, as sentences, each with what was measured of it last.
        machines: what was seen on machines that are to join.
    """

    tree: str
    commit: str
    made: datetime
    holdfast: str
    proofs: tuple[Proof, ...]
    lanes: Mapping[str, Mapping[str, Any]]
    asked: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    limits: tuple[str, ...] = tuple(LIMITS.values())
    machines: tuple[MachineReport, ...] = ()

    @property
    def unproved(self) -> list[Proof]:
        """What isn't proved: it broke, it is in doubt, or nobody looked."""
        order = (Verdict.BROKE, Verdict.UNPROVEN, Verdict.NOT_EXERCISED)
        found = [p for p in self.proofs if p.verdict is not Verdict.HELD]
        return sorted(found, key=lambda p: (order.index(p.verdict), p.claim.id))

    @property
    def proved(self) -> list[Proof]:
        """What held."""
        return [p for p in self.proofs if p.verdict is Verdict.HELD]

    @property
    def ready(self) -> Ready:
        """By the rules: nothing broke and something is proved; without conditions only where everything is, on the real thing, and on this commit."""
        doubt = bool(self.conditions) or any(p.doubts for p in self.proofs)
        return comes_to([p.verdict for p in self.proofs], [m.verdict for m in self.machines], doubt=doubt)

    @property
    def valid_until(self) -> datetime:
        """The shortest life of its evidence; where there is none, the moment in which it was made."""
        ends = [p.valid_until for p in self.proved if p.valid_until is not None]
        ends += [m.looked + LIFE for m in self.machines]
        return min(ends, default=self.made)

    def as_json(self) -> dict[str, Any]:
        """What is written and signed; times as ISO 8601 in UTC."""
        return {
            "certificate": VERSION,
            "tree": self.tree,
            "commit": self.commit,
            "made": self.made.isoformat(timespec="seconds"),
            "holdfast": self.holdfast,
            "result": self.ready.value,
            "valid_until": self.valid_until.isoformat(timespec="seconds"),
            "asked": list(self.asked),
            "conditions": list(self.conditions),
            "void_when": list(VOID_WHEN),
            "limits": list(self.limits),
            "machines": [m.as_json() for m in self.machines],
            "not_proved": [_told(p) for p in self.unproved],
            "proved": [_told(p) for p in self.proved],
            "lanes": {name: dict(lane) for name, lane in sorted(self.lanes.items())},
        }


VOID_WHEN = (
    "the tree's commit, or a lane's Kubernetes or nodes, are others than those named here",
    "a newer run shows a claim of it broken or in doubt",
    "the journal of a proof is another than the one whose digest is named here",
)


def _told(proof: Proof) -> dict[str, Any]:
    said: dict[str, Any] = {
        "claim": proof.claim.id,
        "quotes": list(proof.claim.quotes),
        "verdict": proof.verdict.value,
        "conditions": list(proof.doubts),
    }
    if proof.standing:
        verdict, run = proof.standing.verdict, proof.standing.run
        said |= {
            "level": verdict.level,
            "lane": verdict.lane,
            "reason": verdict.reason,
            "notes": list(verdict.notes),
            "run": run.name,
            "began": run.began.isoformat(timespec="seconds"),
            "commit": run.commit,
            "kubernetes": run.kubernetes,
            "holdfast": run.holdfast,
            "evidence_sha256": proof.digest,
        }
    if proof.valid_until:
        said["valid_until"] = proof.valid_until.isoformat(timespec="seconds")
    return said


@dataclass(frozen=True)
class Wish:
    """What a certificate is asked for.

    Attributes:
        claims: those that are asked for.
        register: how many there are.
        only: the runs that count, by name; all of the tree's where empty.
        commit: where the tree is now; empty where nobody says.
        machines: reports of machines that it is to speak of, too.
        version: of holdfast.
    """

    tree: str
    claims: Sequence[Claim]
    register: int
    now: datetime
    version: str
    only: Collection[str] = ()
    commit: str = ""
    machines: tuple[MachineReport, ...] = ()


def certify(known: Ledger, wish: Wish) -> Certificate:
    """Works a certificate out: only a whole run proves something, and any run that is known can break it. Raises UsageError where none is whole."""
    every = known.runs(wish.tree)
    runs = [r for r in every if not wish.only or r.name in wish.only]
    journals = {r.name: found for r in runs if (found := known.evidence(r))}
    whole = [r for r in runs if r.name in journals]
    if not whole:
        raise UsageError(
            f"no run of {wish.tree} is whole and has its journal",
            "run: holdfast verify, or name a folder with journals: --from FOLDER",
        )
    standings = known.standings(
        wish.tree,
        {r.name for r in runs},
        lambda run, verdict: run.name in journals or verdict.verdict in (Verdict.BROKE, Verdict.UNPROVEN),
    )
    evidence = Evidence(
        commit=wish.commit or whole[-1].commit,
        now=wish.now,
        version=wish.version,
        digests={name: sha256 for name, (_, sha256) in journals.items()},
        nodes={name: nodes(record) for name, (record, _) in journals.items()},
        lanes=lanes_of(whole, {name: nodes(record) for name, (record, _) in journals.items()}),
    )
    proofs = tuple(_proof(claim, standings, evidence) for claim in wish.claims)
    return Certificate(
        wish.tree,
        evidence.commit,
        wish.now,
        wish.version,
        proofs,
        evidence.lanes,
        asked=tuple(_asked(wish)),
        conditions=(*_left_out(known, every, wish), *_old_looks(wish)),
        machines=wish.machines,
        limits=tuple(_limits([(run, journals[run.name][0]) for run in whole])),
    )


def _limits(runs: Sequence[tuple[RunRow, JournalRecord]]) -> Iterator[str]:
    """Each limit, with the newest measure of it, and what else was measured; *runs*: the oldest first."""
    measured = {
        str(line.get("about")): f"Measured on {run.lane}, {run.began:%Y-%m-%d}: {line.get('sighting')}."
        for run, record in runs
        for line in record.of(events.Limit)
    }
    for about in dict.fromkeys([*LIMITS, *measured]):
        yield " ".join(filter(None, (LIMITS.get(about), measured.get(about))))


@dataclass(frozen=True)
class Evidence:
    """What the verdicts are held against: the digests and nodes of whole runs by their names, and what each lane is now."""

    commit: str
    now: datetime
    version: str
    digests: Mapping[str, str]
    nodes: Mapping[str, list[str]]
    lanes: Mapping[str, Mapping[str, Any]]


def lanes_of(runs: Sequence[RunRow], of_run: Mapping[str, list[str]]) -> dict[str, dict[str, Any]]:
    """What each lane's cluster is, by the newest of *runs* (the oldest first) that had one: its Kubernetes, and its nodes."""
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        before = found.get(run.lane, {"kubernetes": "", "nodes": []})
        found[run.lane] = {
            "kubernetes": run.kubernetes or before["kubernetes"],
            "nodes": of_run.get(run.name) or before["nodes"],
        }
    return found


def _asked(wish: Wish) -> Iterator[str]:
    if len(wish.claims) < wish.register:
        names = ", ".join(c.id for c in wish.claims)
        yield f"only {len(wish.claims)} of {wish.register} claims were asked for: {names}"


def _old_looks(wish: Wish) -> Iterator[str]:
    for machine in wish.machines:
        if wish.now > machine.looked + LIFE:
            yield f"{machine.host} was looked at {(wish.now - machine.looked).days} days ago"


def _left_out(known: Ledger, every: Sequence[RunRow], wish: Wish) -> Iterator[str]:
    """What of the tree's runs doesn't count, by the command line."""
    if not wish.only:
        return
    yield f"only these runs were asked for: {', '.join(sorted(wish.only))}"
    asked = {c.id for c in wish.claims}
    for run in every:
        if run.name in wish.only:
            continue
        for verdict in known.verdicts(run):
            if verdict.claim in asked and verdict.verdict is Verdict.BROKE:
                yield f"{verdict.claim} broke in {run.name}, which was left out"


def _proof(claim: Claim, standings: Sequence[Standing], evidence: Evidence) -> Proof:
    of_claim = [s for s in standings if s.verdict.claim == claim.id and s.verdict.verdict is not Verdict.NOT_EXERCISED]
    if not of_claim:
        return Proof(claim, None, "", ("no run has looked at it",))
    broke = [s for s in of_claim if s.verdict.verdict is Verdict.BROKE]
    strongest = min(of_claim, key=lambda s: (LEVELS.index(s.verdict.level), _newest_first(s)))
    counts = max(broke, key=lambda s: s.run.began) if broke else strongest
    doubts = list(_doubts(counts, evidence))
    doubts += [
        f"on {s.verdict.lane} it is unproven: {s.verdict.reason}"
        for s in of_claim
        if s is not counts and s.verdict.level == counts.verdict.level and s.verdict.verdict is Verdict.UNPROVEN
    ]
    return Proof(claim, counts, evidence.digests.get(counts.run.name, ""), tuple(doubts))


def _newest_first(one: Standing) -> float:
    return -one.run.began.timestamp()


def _doubts(counts: Standing, evidence: Evidence) -> Iterator[str]:
    """What is to be said beside a verdict."""
    level, run = counts.verdict.level, counts.run
    if counts.verdict.verdict is Verdict.UNPROVEN:
        yield "it was looked at, and something leaves doubt"
    elif level not in _STRONG:
        yield "only the tree was read for it: nothing ran" if level == STATIC else "what it is about was a stand-in"
    if counts.verdict.notes:
        yield f"{len(counts.verdict.notes)} things there are unlike production"
    if run.name not in evidence.digests:
        yield "the run's journal isn't here, or isn't whole"
    if run.commit != evidence.commit:
        yield f"it was shown on commit {run.commit[:12]}, and this is about {evidence.commit[:12]}"
    if run.holdfast != evidence.version:
        yield f"holdfast {run.holdfast} showed it, and this is {evidence.version}"
    if level != STATIC:
        yield from _elsewhere(run, evidence)
    if evidence.now > run.began + LIVES[level]:
        yield f"its evidence is older than {LIVES[level].days} days"


def _elsewhere(run: RunRow, evidence: Evidence) -> Iterator[str]:
    """What of the cluster was otherwise than it is on that lane now."""
    lane = evidence.lanes.get(run.lane, {"kubernetes": "", "nodes": []})
    if run.kubernetes != lane["kubernetes"] and lane["kubernetes"]:
        yield f"it was shown on Kubernetes {run.kubernetes or 'of no version'}, and {run.lane} has {lane['kubernetes']} now"
    there = evidence.nodes.get(run.name, [])
    if there and there != lane["nodes"]:
        yield f"it was shown with the nodes {', '.join(there)}, and {run.lane} has {', '.join(lane['nodes'])} now"


def nodes(record: JournalRecord) -> list[str]:
    """The nodes of the last cluster that a run had."""
    ready = list(record.of(events.LaneReady))
    return sorted(ready[-1].get("nodes", [])) if ready else []
