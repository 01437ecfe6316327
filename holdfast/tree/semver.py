"""Versions and ranges of charts, as far as a rule asks: what they leave open, and whether what they take is at least some version."""

from __future__ import annotations

import re

_BRANCH = re.compile(r"\s*\|\|\s*")
_HYPHEN = re.compile(r"^\s*v?(\d+)(\.(\d+|[xX*]))?\S*\s+-\s+v?(\d+)(\.(\d+|[xX*]))?\S*\s*$")
_PART = re.compile(r"(>=|<=|=>|=<|!=|>|<|=|\^|~>|~)?\s*v?([\dxX*]+)(?:\.([\dxX*]+))?(?:\.([\dxX*]+))?[^\s,]*")
_ANY = ("x", "X", "*")
_Bound = tuple[str, str | None, str | None]


def openness(version: str) -> str:
    """What a version of a chart leaves open: ``major``, ``minor`` or nothing (a patch at most)."""
    text = version.strip()
    if not text or text in (*_ANY, "latest"):
        return "major"
    branches = _BRANCH.split(text)
    found = [_branch(branch) for branch in branches]
    if len({re.sub(r"^\D*", "", b).split(".")[0] for b in branches}) > 1:
        return "major"
    return "major" if "major" in found else "minor" if "minor" in found else ""


def _branch(text: str) -> str:
    """What one alternative of a range leaves open."""
    if ends := _HYPHEN.match(text):
        below, above = (ends[1], ends[3]), (ends[4], ends[6])
        return "major" if below[0] != above[0] else "minor" if below[1] != above[1] or above[1] in _ANY else ""
    floors: list[_Bound] = []
    ceilings: list[_Bound] = []
    worst = ""
    for part in _PART.finditer(text.replace(",", " ")):
        sign, major, minor, patch = part[1] or "=", part[2], part[3], part[4]
        if sign in (">", ">=", "=>"):
            floors.append((major, minor, patch))
        elif sign in ("<", "<=", "=<"):
            ceilings.append((major, minor, patch))
        elif sign != "!=":
            worst = max(worst, _single(sign, major, minor), key=["", "minor", "major"].index)
    return _between(floors, ceilings) if floors or ceilings else worst


def _single(sign: str, major: str, minor: str | None) -> str:
    if major in _ANY:
        return "major"
    if sign == "^":
        return "" if major == "0" and minor not in (None, *_ANY) else "minor"
    return "minor" if minor is None or minor in _ANY else ""


def _number(part: str | None) -> int:
    return int(part) if part is not None and part.isdigit() else 0


def _between(floors: list[_Bound], ceilings: list[_Bound]) -> str:
    if not ceilings or not ceilings[0][0].isdigit():
        return "major"
    if not floors or not floors[0][0].isdigit():  # what is newest below a ceiling stays within its major version
        return "minor"
    low, high = floors[0], ceilings[0]
    major, minor, patch = (_number(p) for p in high)
    if int(low[0]) == major and low[1] is not None and low[1].isdigit():
        return "" if int(low[1]) == minor or (patch == 0 and int(low[1]) == minor - 1) else "minor"
    below = minor == 0 and patch == 0 and int(low[0]) == major - 1  # below 2.0.0 is still 1
    return "minor" if int(low[0]) == major or below else "major"


def at_least(version: str, wanted: str) -> bool | None:
    """Whether the newest version that a version or range takes is *wanted* (``MAJOR.MINOR``) or a later one; None where that can't be told."""
    text = version.strip()
    if text in ("", "latest", *_ANY):
        return True
    limit = tuple(int(p) for p in wanted.split("."))
    told = [_newest(branch, limit) for branch in _BRANCH.split(text)]
    return None if None in told else any(told)


def _newest(text: str, limit: tuple[int, ...]) -> bool | None:
    if ends := _HYPHEN.match(text):
        return _reaches(ends[4], ends[6], limit)
    told: list[bool] = []
    for part in _PART.finditer(text.replace(",", " ")):
        sign, major, minor, patch = part[1] or "=", part[2], part[3], part[4]
        if sign == "<" and not _number(patch) and major.isdigit():
            told.append((int(major), _number(minor)) > limit)
        elif sign in ("^", "<=", "=<", "<") or (sign in ("=", "~", "~>") and major not in _ANY):
            told.append(_reaches(major, None if sign == "^" and major != "0" else minor, limit))
    if told:
        return all(told)
    return True if _PART.match(text) else None


def _reaches(major: str, minor: str | None, limit: tuple[int, ...]) -> bool:
    if not major.isdigit():
        return True
    return (int(major), 10**6 if minor is None or minor in _ANY else int(minor)) >= limit
