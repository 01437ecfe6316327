"""Whether a certificate still holds: its age, the tree's commit, what newer runs show, and whether its evidence is what it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from holdfast.errors import UsageError
from holdfast.reporting.certificate import VERSION, digest, nodes
from holdfast.reporting.ledger import Ledger
from holdfast.verdicts import Verdict

_WRONG = "get the file anew from whoever made it, or make one: holdfast signoff"


def load(path: Path) -> dict[str, Any]:
    """A certificate. Raises UsageError for what is none."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}", "name the JSON file of a certificate") from None
    except ValueError:
        raise UsageError(f"{path} is no JSON", _WRONG) from None
    if not isinstance(found, dict) or found.get("certificate") != VERSION:
        raise UsageError(f"{path} is no certificate of this version", _WRONG)
    lacking = {"tree", "commit", "valid_until", "proved", "not_proved", "lanes", "result"} - found.keys()
    if lacking:
        raise UsageError(f"{path} lacks {', '.join(sorted(lacking))}", _WRONG)
    return found


def void_because(certificate: dict[str, Any], known: Ledger, commit: str, now: datetime) -> Iterator[str]:
    """Why it doesn't hold any more, as sentences.

    Args:
        commit: where the tree is now; empty where nobody says.
    """
    if now > datetime.fromisoformat(certificate["valid_until"]):
        yield f"its evidence has run out at {certificate['valid_until']}"
    if commit and commit != certificate["commit"]:
        yield f"the tree is at {commit[:12]}, and it is about {certificate['commit'][:12]}"
    runs = known.runs(certificate["tree"])
    by_name = {r.name: r for r in runs}
    for proof in certificate["proved"]:
        run = by_name.get(proof["run"])
        if run is None:
            continue  # evidence of another machine: its digest is named, and whoever has the journal can hold it against that
        journal = known.journal(run)
        if journal.is_file() and digest(journal) != proof["evidence_sha256"]:
            yield f"the journal of {proof['run']}, which shows {proof['claim']}, isn't what it was"
    for name, lane in certificate["lanes"].items():
        newest = next((r for r in reversed(runs) if r.lane == name), None)
        if newest and newest.kubernetes and newest.kubernetes != lane["kubernetes"]:
            yield f"{name} runs Kubernetes {newest.kubernetes} now, and it is about {lane['kubernetes']}"
        now_there = nodes(known.journal(newest)) if newest and known.journal(newest).is_file() else []
        if now_there and lane["nodes"] and now_there != lane["nodes"]:
            yield f"{name} has the nodes {', '.join(now_there)} now, and it is about {', '.join(lane['nodes'])}"
    shown = {(p["claim"], p["level"], p["lane"]): p for p in certificate["proved"]}
    for standing in known.standings(certificate["tree"]):
        verdict = standing.verdict
        proof = shown.get((verdict.claim, verdict.level, verdict.lane))
        worse = verdict.verdict in (Verdict.BROKE, Verdict.UNPROVEN)
        if proof and worse and standing.run.began.isoformat() > proof["began"]:
            yield f"{verdict.claim} is {verdict.verdict} in {standing.run.name}, a newer run: {verdict.reason}"
