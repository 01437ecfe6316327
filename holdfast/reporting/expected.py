"""``suites/expected.toml``: what a run of our own tree must come to, strictly in both directions."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import UsageError
from holdfast.verdicts import ClaimVerdict, Verdict

PARTLY = "partly"


@dataclass(frozen=True)
class Expected:
    """One expectation.

    Attributes:
        lane: the lane; every one where it is empty, as for what the tree alone shows.
        smoke: the lab smoke selects all of its tests (true), none, or ``partly``: then it is unproven there, and those that ran come to the
            verdict.
    """

    claim: str
    level: str
    verdict: Verdict
    reason: str
    lane: str = ""
    smoke: bool | str = False


def load(path: Path) -> list[Expected]:
    """Reads the file; an entry may name several claims. Raises UsageError with what is wrong in it."""
    try:
        return [
            Expected(**{**entry, "claim": claim, "verdict": Verdict(entry["verdict"])})
            for entry in tomllib.loads(path.read_text())["expected"]
            for claim in ([entry["claim"]] if isinstance(entry["claim"], str) else entry["claim"])
        ]
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} can't be read: {error}", "fix it, then run again") from None


def differences(findings: Iterable[ClaimVerdict], expected: Iterable[Expected], lane: str, *, smoke: bool) -> list[str]:
    """What is not as expected, in words: another verdict or level, a claim that is missing, one that nobody expected."""
    wanted = {(e.claim, _rung(e.level)): e for e in expected if e.lane in ("", lane) and (e.smoke or not smoke)}
    got = {(f.claim, _rung(f.level)): f for f in findings if f.tests}
    said = []
    for key in sorted(wanted.keys() | got.keys()):
        claim, one, wish = key[0], got.get(key), wanted.get(key)
        if one is None:
            said.append(f"{claim}: expected {wanted[key].verdict} at {wanted[key].level}, but no test for it ran")
        elif wish is None:
            said.append(f"{claim}: {one.verdict} at {one.level}, and nothing is expected of it ({one.reason})")
        elif smoke and wish.smoke == PARTLY and wish.verdict is not Verdict.BROKE:
            if (one.verdict, one.selected, one.level) != (Verdict.UNPROVEN, wish.verdict, wish.level):
                said.append(
                    f"{claim}: in the smoke its tests must come to {wish.verdict} at {wish.level}, got {one.selected or one.verdict} at "
                    f"{one.level} ({one.reason})"
                )
        elif (one.verdict, one.level) != (wish.verdict, wish.level):
            said.append(
                f"{claim}: expected {wish.verdict} at {wish.level}, got {one.verdict} at {one.level} ({one.reason})"
            )
    return said


def _rung(level: str) -> str:
    """What the tree shows, or what a cluster shows: a claim can have a verdict on each."""
    return level if level == "static" else "cluster"
