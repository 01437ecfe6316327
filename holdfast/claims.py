"""The claims register (``suites/claims.toml``): the sentences of the architecture document."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.errors import UsageError
from holdfast.paths import ROOT

REGISTER = ROOT / "suites" / "claims.toml"


@dataclass(frozen=True)
class Claim:
    """One sentence of the architecture document.

    Attributes:
        quotes: word for word.
        subjects: what the sentence is about; a stand-in for one of them lowers the verdict to ``model``.
        touches: what else a fidelity note may be about.
        budgets: by name: the value as text, and why it is that.
    """

    id: str
    section: str
    quotes: tuple[str, ...]
    subjects: tuple[str, ...]
    touches: tuple[str, ...] = ()
    budgets: dict[str, dict[str, str]] = field(default_factory=dict)

    def budget(self, name: str) -> str:
        """A budget, as text; raises UsageError for one that the register doesn't have."""
        if name not in self.budgets:
            raise UsageError(
                f"the claim {self.id} has no budget '{name}'", "add it to the claims register, with the reason"
            )
        return str(self.budgets[name]["value"])

    def level(self, stand_ins: Collection[str], at_most: str) -> str:
        """The evidence level that a cluster test of this claim reaches on a lane with these stand-ins, whose driver reaches *at_most*."""
        return "model" if set(stand_ins) & set(self.subjects) else at_most


Claims = Claim | str | tuple[Claim | str, ...]  # a claim, or its id


def ids(claims: Claims) -> list[str]:
    """The ids of one or of several."""
    several = claims if isinstance(claims, tuple) else (claims,)
    return [claim.id if isinstance(claim, Claim) else claim for claim in several]


def get(id_: str) -> Claim:
    """A claim by its id; raises UsageError for one that isn't in the register, with the nearest."""
    register = load()
    if id_ not in register:
        raise UsageError(unknown(id_, register), "see suites/claims.toml for all ids")
    return register[id_]


def load(own: Path | None = None) -> dict[str, Claim]:
    """Every claim, by id: the register's, and over them those of the tree's *own* file (a sentence or a budget of the user's).

    Raises UsageError for a file that is wrong.
    """
    own = own or _own.get("path")
    return _read(REGISTER) | (_read(own) if own else {})


_own: dict[str, Path] = {}


def use(path: Path) -> None:
    """From now on `load` takes the tree's own claims file into account."""
    _own["path"] = path


def _read(path: Path) -> dict[str, Claim]:
    try:
        entries = tomllib.loads(path.read_text())["claim"]
        return {
            e["id"]: Claim(
                e["id"],
                e["section"],
                tuple(e["quotes"]),
                tuple(e["subjects"]),
                tuple(e.get("touches", ())),
                e.get("budgets", {}),
            )
            for e in entries
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"the claims register {path} can't be read: {error}", "fix it, then run again") from None


def check_known(wanted: Iterable[str], file: str) -> None:
    """Raises UsageError for an id that no claim has, with the nearest; *file*: where the ids stand."""
    register = load()
    for id_ in wanted:
        if id_ not in register and id_ != "all":
            raise UsageError(f"{file}: {unknown(id_, register)}", "see suites/claims.toml for all ids")


def unknown(wanted: str, known: dict[str, Claim]) -> str:
    """The sentence for a claim id that isn't in the register, with the nearest one."""
    near = difflib.get_close_matches(wanted, known, 1, cutoff=0.5)
    return f"unknown claim '{wanted}'" + (f"; did you mean '{near[0]}'?" if near else "")
