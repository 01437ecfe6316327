"""Names that differ by a slip of the finger, and those that only look like it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from holdfast.tree.envsubst import UNKNOWN

_SPLIT = re.compile(r"[-_./]+")
_SERIES = re.compile(r"[-_.]?\d+[a-z]?(?=$|[-_.])|\d+")
_NO_MARKS = str.maketrans("", "", "-_.")
_OPPOSITES = frozenset({frozenset({"http", "https"}), frozenset({"internal", "external"}), frozenset({"app", "apps"})})
HASH = re.compile(r"-[bcdfghkmt2456789]{10}$")  # what kustomize's generators put at the end of a name
SHORTEST = 5  # a shorter name is too easily one letter from another


def near(name: str, candidates: Iterable[str], seen: Counter[str] | None = None) -> str:
    """The candidate of which *name* is a slip of the finger; empty where there is none.

    A slip is one letter more, less or other, two that changed places, or two such in a long word. Short names, numbers of a series and
    words that stand for different things (``internal``, ``external``) are none; nor is a word that names other things too, by *seen*:
    in how many names of the tree each word stands.
    """
    found = [(_distance(name, c), c) for c in candidates if c != name and _slip(name, c, seen or Counter())]
    return min(found)[1] if found else ""


def closest(name: str, candidates: Iterable[str]) -> str:
    """The candidate that differs least, where it is close at all: only to be offered where something is known to be missing."""
    allowed = 1 if len(name) < 8 else 2
    found = [
        (d, c) for c in candidates if len(name) > 2 and UNKNOWN not in c and 0 < (d := _distance(name, c)) <= allowed
    ]
    return min(found)[1] if found else ""


def words_of(name: str) -> list[str]:
    """The words of a name."""
    return [w for w in _SPLIT.split(name) if w]


def _slip(name: str, other: str, seen: Counter[str]) -> bool:
    if min(len(name), len(other)) < SHORTEST or UNKNOWN in name or UNKNOWN in other or abs(len(name) - len(other)) > 2:
        return False
    if _SERIES.sub("", name) == _SERIES.sub("", other):
        return name.translate(_NO_MARKS) == other.translate(_NO_MARKS)  # only the marks between the words differ
    mine, its = words_of(name), words_of(other)
    differing = [(a, b) for a, b in zip(mine, its, strict=False) if a != b] if len(mine) == len(its) else []
    if not differing:
        return mine == its or (
            len(mine) != len(its) and _distance(name, other) == 1
        )  # a mark between the words, or a word cut
    if len(differing) > 1 or frozenset(differing[0]) in _OPPOSITES:
        return False
    return _word_slip(*differing[0], seen)


def _word_slip(mine: str, its: str, seen: Counter[str]) -> bool:
    if min(len(mine), len(its)) >= 3 and (mine == f"{its}s" or its == f"{mine}s"):
        return True
    if seen[mine] > 0 and seen[its] > 1:  # both are words of this tree
        return False
    least, distance = min(len(mine), len(its)), _distance(mine, its)
    if distance == 1:
        swapped = sorted(mine) == sorted(its)
        return least >= (5 if len(mine) == len(its) and not swapped else 3)
    return distance == 2 and least >= 7 and mine[0] == its[0]


def _distance(one: str, other: str) -> int:
    """How many letters are more, less or other, or changed places (optimal string alignment)."""
    rows = [list(range(len(other) + 1))]
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, sign in enumerate(other, 1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (letter != sign))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == sign:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]
