"""The certificate of a sign-off: what is proved of a tree and what isn't, how, and until when; by rules that are written down (docs/signoff.md).

It is made of journals alone, and names each by its digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from holdfast import events
from holdfast.claims import Claim
from holdfast.errors import UsageError
from holdfast.journal import read_file
from holdfast.reporting.ledger import STATIC, Ledger, RunRow, Standing
from holdfast.verdicts import Verdict

VERSION = 1
# How long what was seen is taken for true: a tree alone until it changes, a running cluster for a week.
LIVES = {STATIC: timedelta(days=90), "model": timedelta(days=30), "lab": timedelta(days=30), "live": timedelta(days=7)}
_STRONG = ("live", "lab")  # levels at which the claim's subject was the real thing
_ORDER = ("live", "lab", "model", STATIC)
# What two nodes with one control plane can't give, whatever was shown of them.
LIMITS = (
    "One server holds etcd: with it gone nothing can be changed and nothing is rescheduled, and its loss is a restore. A quorum needs three servers.",
    "A Deployment with one replica (CoreDNS in k3s is one) is away until its pod runs on the other node: for as long as the node timers last.",
    "Pods that moved in a node's absence don't spread back by themselves.",
)


class Ready(StrEnum):
    """What a certificate comes to."""

    READY = "ready"
    CONDITIONS = "ready with conditions"
    NOT = "not ready"


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
        """The end of its evidence's life; None where it has none."""
        return self.standing.run.began + LIVES[self.standing.verdict.level] if self.standing else None


@dataclass(frozen=True)
class Certificate:
    """All that is signed."""

    tree: str
    commit: str
    made: datetime
    holdfast: str
    proofs: tuple[Proof, ...]
    lanes: Mapping[str, Mapping[str, Any]]

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
        if any(p.verdict is Verdict.BROKE for p in self.proofs) or not self.proved:
            return Ready.NOT
        return Ready.CONDITIONS if self.unproved or any(p.doubts for p in self.proofs) else Ready.READY

    @property
    def valid_until(self) -> datetime:
        """The shortest life of its evidence; where there is none, the moment in which it was made."""
        ends = [p.valid_until for p in self.proved if p.valid_until is not None]
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
            "void_when": list(VOID_WHEN),
            "limits": list(LIMITS),
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


def certify(
    known: Ledger,
    *,
    tree: str,
    asked: Sequence[Claim],
    only: Collection[str],
    now: datetime,
    version: str,
) -> Certificate:
    """Works a certificate out. *only*: the runs that count, by name; all of the tree's where empty. Raises UsageError where none is whole."""
    runs = [r for r in known.runs(tree) if not only or r.name in only]
    whole = [r for r in runs if not r.problem and known.journal(r).is_file()]
    if not whole:
        raise UsageError(
            f"no run of {tree} is whole and has its journal",
            "run: holdfast verify, or name a folder with journals: --from FOLDER",
        )
    commit = whole[-1].commit
    standings = known.standings(tree, {r.name for r in whole})
    proofs = tuple(_proof(known, claim, standings, commit, now) for claim in asked)
    lanes = {r.lane: {"kubernetes": r.kubernetes, "nodes": nodes(known.journal(r))} for r in whole}
    return Certificate(tree, commit, now, version, proofs, lanes)


def _proof(known: Ledger, claim: Claim, standings: Sequence[Standing], commit: str, now: datetime) -> Proof:
    of_claim = [s for s in standings if s.verdict.claim == claim.id and s.verdict.verdict is not Verdict.NOT_EXERCISED]
    if not of_claim:
        return Proof(claim, None, "", ("no run has looked at it",))
    broke = [s for s in of_claim if s.verdict.verdict is Verdict.BROKE]
    strongest = min(of_claim, key=lambda s: (_ORDER.index(s.verdict.level), _newest_first(s)))
    counts = max(broke, key=lambda s: s.run.began) if broke else strongest
    run = counts.run
    return Proof(claim, counts, digest(known.journal(run)), tuple(_doubts(counts, run, commit, now)))


def _newest_first(one: Standing) -> float:
    return -one.run.began.timestamp()


def _doubts(counts: Standing, run: RunRow, commit: str, now: datetime) -> list[str]:
    """What is to be said beside a verdict."""
    level, found = counts.verdict.level, []
    if counts.verdict.verdict is Verdict.UNPROVEN:
        found.append("it was looked at, and something leaves doubt")
    elif level not in _STRONG:
        found.append(
            "only the tree was read for it: nothing ran" if level == STATIC else "what it is about was a stand-in"
        )
    if counts.verdict.notes:
        found.append(f"{len(counts.verdict.notes)} things there are unlike production")
    if run.commit != commit:
        found.append(f"it was shown on commit {run.commit[:12]}, and the newest run is of {commit[:12]}")
    if now > run.began + LIVES[level]:
        found.append(f"its evidence is older than {LIVES[level].days} days")
    return found


def digest(journal: Path) -> str:
    """The SHA-256 of a journal."""
    return hashlib.sha256(journal.read_bytes()).hexdigest()


def nodes(journal: Path) -> list[str]:
    """The nodes of the last cluster that a run had."""
    ready = list(read_file(journal).of(events.LaneReady))
    return sorted(ready[-1].get("nodes", [])) if ready else []
