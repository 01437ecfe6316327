"""The pairs of ``fixtures/changes``: what a Kustomization applies, a change of it that breaks something, and a sound one beside it.

A pair is one file: the *rule* that finds the change and the *object* that it is about, the ``objects`` of before, and how ``[[breaking]]`` and
``[[valid]]`` change their text: ``replace`` … ``with`` …, where what is replaced stands there once.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from typing import Any

from holdfast.paths import ROOT

CHANGES = ROOT / "fixtures" / "changes"
SPACE = "changes"  # the namespace of the objects that have one


@dataclass(frozen=True)
class ChangePair:
    """One pair."""

    name: str
    rule: str
    object: str
    before: str
    breaking: str
    valid: str


def _changed(name: str, text: str, changes: list[dict[str, Any]]) -> str:
    for one in changes:
        assert text.count(one["replace"]) == 1, f"{name}: what is replaced must stand there once: {one['replace']!r}"
        text = text.replace(one["replace"], one["with"])
    return text


@functools.cache
def load() -> dict[str, ChangePair]:
    """Every pair, by its name."""
    found = {}
    for path in sorted(CHANGES.glob("*.toml")):
        table = tomllib.loads(path.read_text())
        name, text = path.stem, table["objects"]
        found[name] = ChangePair(
            name,
            table["rule"],
            table["object"],
            text,
            _changed(name, text, table["breaking"]),
            _changed(name, text, table["valid"]),
        )
    return found
