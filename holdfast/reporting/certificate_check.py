"""Whether a certificate still holds: its age, the tree's commit, what newer runs show, and whether its evidence is what it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from holdfast.errors import UsageError
from holdfast.reporting.certificate import LEVELS, VERSION, comes_to, lanes_of, nodes
from holdfast.reporting.ledger import STATIC, Ledger, RunRow, Standing
from holdfast.verdicts import Verdict

_WRONG = "get the file anew from whoever made it, or make one: holdfast signoff"
_WORDS = {"tree": str, "commit": str, "made": str, "result": str, "valid_until": str, "lanes": dict, "conditions": list}
_OF_A_PROOF = {
    "claim": str,
    "run": str,
    "began": str,
    "level": str,
    "lane": str,
    "evidence_sha256": str,
    "valid_until": str,
}


def load(path: Path) -> dict[str, Any]:
    """A certificate. Raises UsageError for what is none, or says of itself what doesn't follow from its proofs."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}", "name the JSON file of a certificate") from None
    except ValueError:
        raise UsageError(f"{path} is no JSON", _WRONG) from None
    if not isinstance(found, dict) or found.get("certificate") != VERSION:
        raise UsageError(f"{path} is no certificate of this version", _WRONG)
    if lacking := list(_lacking(found)):
        raise UsageError(f"{path} lacks {', '.join(lacking)}, or has it in another form", _WRONG)
    try:
        as_it_follows = _result(found), _until(found)
        if any(p["level"] not in LEVELS for p in found["proved"]):
            raise ValueError("a level that there isn't")
        as_it_says = found["result"], datetime.fromisoformat(found["valid_until"])
    except ValueError as error:
        raise UsageError(f"{path} names a time or a verdict that is none: {error}", _WRONG) from None
    if as_it_follows != as_it_says:
        raise UsageError(
            f"{path} says {found['result']} until {found['valid_until']}, which its own proofs don't come to", _WRONG
        )
    return found


def _lacking(found: dict[str, Any]) -> Iterator[str]:
    yield from (key for key, kind in _WORDS.items() if not isinstance(found.get(key), kind))
    for part in ("proved", "not_proved"):
        proofs = found.get(part)
        if not isinstance(proofs, list) or not all(
            isinstance(p, dict) and isinstance(p.get("conditions"), list) for p in proofs
        ):
            yield part
            return
    for proof in found["proved"]:
        yield from (f"a proof's {key}" for key, kind in _OF_A_PROOF.items() if not isinstance(proof.get(key), kind))
    machines = found.get("machines", [])
    if not isinstance(machines, list) or not all(
        isinstance(m, dict)
        and all(isinstance(m.get(key), str) for key in ("host", "verdict", "valid_until", "report_sha256"))
        for m in machines
    ):
        yield "machines"
    for lane in (found.get("lanes") or {}).values():
        if (
            not isinstance(lane, dict)
            or not isinstance(lane.get("kubernetes"), str)
            or not isinstance(lane.get("nodes"), list)
        ):
            yield "a lane"


def _result(found: dict[str, Any]) -> str:
    """What its proofs come to, by the rules."""
    verdicts = [Verdict(p.get("verdict")) for p in (*found["proved"], *found["not_proved"])]
    doubt = bool(found["conditions"]) or any(p["conditions"] for p in found["proved"])
    return comes_to(verdicts, [Verdict(m["verdict"]) for m in found.get("machines", [])], doubt=doubt).value


def _until(found: dict[str, Any]) -> datetime:
    ends = [datetime.fromisoformat(p["valid_until"]) for p in [*found["proved"], *found.get("machines", [])]]
    ends = ends or [datetime.fromisoformat(found["made"])]
    if any(end.tzinfo is None for end in ends):
        raise ValueError("it has no zone")
    return min(ends)


def void_because(certificate: dict[str, Any], known: Ledger, commit: str, now: datetime) -> Iterator[str]:
    """Why it doesn't hold any more, or can't be shown to, as sentences.

    Args:
        certificate: one that was loaded.
        commit: where the tree is now; empty where nobody says.
    """
    if now > datetime.fromisoformat(certificate["valid_until"]):
        yield f"its evidence has run out at {certificate['valid_until']}"
    if not commit:
        yield f"the tree here isn't {certificate['tree']}, so its commit can't be compared: --tree TREE"
    elif commit != certificate["commit"]:
        yield f"the tree is at {commit[:12]}, and it is about {certificate['commit'][:12]}"
    runs = known.runs(certificate["tree"])
    yield from _evidence(certificate, known, runs)
    yield from _lanes(certificate, known, runs)
    standings = known.standings(certificate["tree"])
    for proof in certificate["proved"]:
        for standing in standings:
            if standing.verdict.claim == proof["claim"] and _is_newer_and_worse(standing, proof, certificate["made"]):
                verdict = standing.verdict
                yield f"{verdict.claim} is {verdict.verdict} in {standing.run.name}, a newer run: {verdict.reason}"


def _evidence(certificate: dict[str, Any], known: Ledger, runs: Sequence[RunRow]) -> Iterator[str]:
    by_name = {r.name: r for r in runs}
    claims: dict[tuple[str, str], list[str]] = {}
    for proof in certificate["proved"]:
        claims.setdefault((proof["run"], proof["evidence_sha256"]), []).append(proof["claim"])
    for (name, sha256), shown in claims.items():
        run = by_name.get(name)
        of_what = f"{name}, which shows {shown[0]}" + (f" and {len(shown) - 1} more" if shown[1:] else "")
        if run is None or not known.journal(run).is_file():
            yield f"the journal of {of_what}, isn't here: --from FOLDER"
            continue
        found = known.evidence(run)
        if found is None or found[1] != sha256:
            yield f"the journal of {of_what}, isn't what it was"


def _lanes(certificate: dict[str, Any], known: Ledger, runs: Sequence[RunRow]) -> Iterator[str]:
    of_run = {r.name: nodes(found[0]) for r in runs if (found := known.evidence(r))}
    now_there = lanes_of(runs, of_run)
    for name, lane in certificate["lanes"].items():
        now = now_there.get(name, {"kubernetes": "", "nodes": []})
        if now["kubernetes"] and now["kubernetes"] != lane["kubernetes"]:
            yield f"{name} runs Kubernetes {now['kubernetes']} now, and it is about {lane['kubernetes'] or 'none'}"
        if now["nodes"] and now["nodes"] != lane["nodes"]:
            yield f"{name} has the nodes {', '.join(now['nodes'])} now, and it is about {', '.join(lane['nodes']) or 'none'}"


def _is_newer_and_worse(standing: Standing, proof: dict[str, Any], made: str) -> bool:
    """Whether a run since then shows the claim broken on any lane and level, or in doubt where it was as strong."""
    verdict, began = standing.verdict, standing.run.began
    if verdict.verdict is Verdict.BROKE:
        return began > datetime.fromisoformat(proof["began"])
    if verdict.verdict is not Verdict.UNPROVEN or LEVELS.index(verdict.level) > LEVELS.index(proof["level"]):
        return False
    same = (verdict.level, verdict.lane) == (proof["level"], proof["lane"]) or verdict.level == STATIC
    return began > datetime.fromisoformat(proof["began"] if same else made)
