"""``suites/expected.toml``: what a run of our own tree must come to, strictly in both directions."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import UsageError
from holdfast.verdicts import Finding, Verdict


@dataclass(frozen=True)
class Expected:
    """One expectation; *smoke*: the lab smoke selects it too."""

    claim: str
    level: str
    lane: str
    verdict: Verdict
    reason: str
    smoke: bool = False


def load(path: Path) -> list[Expected]:
    """Reads the file. Raises UsageError with what is wrong in it."""
    try:
        return [Expected(**{**e, "verdict": Verdict(e["verdict"])}) for e in tomllib.loads(path.read_text())["expected"]]
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} can't be read: {error}", "mend it, then run again") from None


def differences(findings: Iterable[Finding], expected: Iterable[Expected], lane: str, *, smoke: bool) -> list[str]:
    """What is not as expected, in words: another verdict or level, a claim that is missing, one that nobody expected."""
    wanted = {e.claim: e for e in expected if e.lane == lane and (e.smoke or not smoke)}
    got = {f.claim: f for f in findings if f.tests}
    said = []
    for claim in sorted(wanted.keys() | got.keys()):
        if claim not in got:
            said.append(f"{claim}: expected {wanted[claim].verdict}, but no test for it ran")
        elif claim not in wanted:
            said.append(f"{claim}: {got[claim].verdict} at {got[claim].level}, and nothing is expected of it ({got[claim].reason})")
        elif (got[claim].verdict, got[claim].level) != (wanted[claim].verdict, wanted[claim].level):
            said.append(f"{claim}: expected {wanted[claim].verdict} at {wanted[claim].level}, got {got[claim].verdict} at {got[claim].level} "
                        f"({got[claim].reason})")
    return said
