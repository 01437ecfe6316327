"""Sentences of findings as people can read them: no longer than two lines of a terminal, chains step by step."""

from __future__ import annotations

import re
from collections.abc import Sequence

from holdfast.tree.envsubst import spelled

LONGEST = 200
_ARROW = " → "
_LINK = re.compile(r"\S \([^()\s]+:\d+\)$")  # one step only, with its place
_LIST = re.compile(r"[^\s,;:]+(?: \([^()]*\))?(?:, [^\s,;:]+(?: \([^()]*\))?){4,}")
_KEPT = 3


def steps(what: str) -> tuple[str, tuple[str, ...]]:
    """A sentence that ends in a chain of reasons: what it says, and the steps; others have none."""
    head, colon, chain = what.partition(": ")
    if colon and (_ARROW in chain or _LINK.search(chain)):
        return head, tuple(chain.split(_ARROW))
    return what, ()


def shown(sentence: str, longest: int = LONGEST) -> str:
    """A sentence within *longest* characters: long lists say how many more there are, and what is still too long is cut."""
    sentence = spelled(sentence)
    if len(sentence) > longest:
        sentence = _LIST.sub(_fewer, sentence)
    return sentence if len(sentence) <= longest else f"{sentence[: longest - 1].rpartition(' ')[0]}…"


def _fewer(match: re.Match[str]) -> str:
    items = match[0].split(", ")
    return f"{', '.join(items[:_KEPT])} and {len(items) - _KEPT} more"


def listed(items: Sequence[str], most: int, longest: int = LONGEST) -> str:
    """The first of the items, no more than *most* and than fit into *longest* characters, and how many more there are."""
    kept = 1
    while kept < min(most, len(items)) and len(", ".join(items[: kept + 1])) <= longest:
        kept += 1
    more = len(items) - kept
    return ", ".join(items[:kept]) + (f" and {more} more" if more > 0 else "")


def count(number: int, what: str) -> str:
    """A number with its noun."""
    return f"{number:,} {what}{'s' * (number != 1)}"
