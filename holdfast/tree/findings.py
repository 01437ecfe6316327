"""Findings: what a rule says, where it stands, why it matters and what to do; and what the owner of a tree has allowed, with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum

from holdfast.tree.envsubst import spelled
from holdfast.tree.manifest import Manifest
from holdfast.tree.repository import Location, Repository
from holdfast.tree.tree import Tree

_ALLOW = re.compile(r"#\s*holdfast:\s*allow\s+([\w.-]+)(?:\s+because\s+(\S.*))?")


class Severity(IntEnum):
    """How bad a finding is; more is worse."""

    HYGIENE = 1
    UPGRADE_HAZARD = 2
    BREAKS_CLAIM = 3
    BREAKS_APPLY = 4

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")

    @classmethod
    def of(cls, text: str) -> Severity:
        """By its name, such as ``breaks-claim``. Raises KeyError."""
        return cls[text.upper().replace("-", "_")]


@dataclass(frozen=True)
class Finding:
    """One defect with one cause.

    Attributes:
        rule: its id, such as ``apply.build``.
        claim: the claim that it is about, or the rule's family.
        object: what it is about; *hits* are all objects that the same cause hits.
        locations: where it stands, the most telling first; never empty.
        what, why, do: one sentence each.
        unreferenced: it is in what isn't applied today.
        reach: how many Kustomizations it keeps from being applied or ready; where it keeps none, how many objects it hits.
        each: where it was said of many places at once: each of them with its sentence.
        cause: what it comes of; findings of one rule and one cause are told together. Empty where each has its own.
    """

    rule: str
    claim: str
    severity: Severity
    object: str
    locations: tuple[Location, ...]
    what: str
    why: str
    do: str
    hits: tuple[str, ...] = ()
    unreferenced: bool = False
    reach: int = 0
    each: tuple[tuple[Location, str], ...] = ()
    cause: str = ""


def readable(one: Finding) -> Finding:
    """A finding with every unknown value spelled as the variable that it stands for."""
    return replace(
        one,
        object=spelled(one.object),
        what=spelled(one.what),
        hits=tuple(map(spelled, one.hits)),
        each=tuple((where, spelled(what)) for where, what in one.each),
    )


@dataclass(frozen=True)
class Violation:
    """What a rule saw, before the rule's own words are put to it."""

    object: str
    locations: tuple[Location, ...]
    what: str
    why: str = ""
    do: str = ""
    hits: tuple[str, ...] = ()
    severity: Severity | None = None
    unreferenced: bool = False
    cause: str = ""


@dataclass(frozen=True)
class Inconclusive:
    """Why a rule can't say that all is well."""

    reason: str


@dataclass(frozen=True)
class Evidence:
    """What a rule looked at and found in order, in words: the evidence of a claim that holds."""

    text: str


@dataclass(frozen=True)
class NotApplicable:
    """The tree has nothing of what the claim is about: not exercised, or broke where the tree says that it makes this promise."""

    reason: str
    do: str = ""


@dataclass(frozen=True)
class OutOfScope:
    """The claim can't be judged from this tree at all (it names no runbook, say): not exercised, whatever was promised."""

    reason: str


Outcome = Violation | Inconclusive | Evidence | NotApplicable | OutOfScope
Check = Callable[[Tree], Iterator[Outcome]]


@dataclass(frozen=True)
class Rule:
    """A small pure function over a tree with its words; *promise*: it is a defect only where the tree promises what the claim says."""

    id: str
    claim: str
    severity: Severity
    why: str
    do: str
    judge: Check = field(compare=False)
    opt_in: bool = False


RULES: dict[str, Rule] = {}


def rule(
    name: str, claim: str, severity: Severity, *, why: str, do: str, opt_in: bool = False
) -> Callable[[Check], Check]:
    """Registers a function as a rule of a *claim* (or a family); *why* and *do* are said where a hit brings none of its own."""

    def register(function: Check) -> Check:
        if name in RULES:
            raise ValueError(f"there are two rules {name}")
        RULES[name] = Rule(name, claim, severity, why, do, function, opt_in)
        return function

    return register


def hit(
    tree: Tree, manifest: Manifest, what: str, *path: str | int, also: tuple[Location, ...] = (), **more: object
) -> Violation:
    """A hit at a field of an object; *also*: where else the same cause stands."""
    locations = (tree.locate(manifest, *path), *also)
    return Violation(manifest.id, locations, what, unreferenced=manifest.unreferenced, **more)  # type: ignore[arg-type]


def found_by(one: Rule, said: Violation) -> Finding:
    """The finding that a hit makes with its rule's words."""
    return Finding(
        one.id,
        one.claim,
        said.severity or one.severity,
        said.object,
        said.locations,
        said.what,
        said.why or one.why,
        said.do or one.do,
        said.hits or (said.object,),
        said.unreferenced,
        cause=said.cause,
    )


@dataclass(frozen=True)
class Allowance:
    """``# holdfast: allow RULE because …`` in a file: it holds for the object that follows, or for the whole file where it stands first."""

    rule: str
    reason: str
    location: Location
    until: int


def allowances(repository: Repository) -> list[Allowance]:
    """Every allowance of the tree's files."""
    found = []
    for name in repository.files:
        if not name.endswith((".yaml", ".yml")) or "holdfast:" not in (text := repository.text(name)):
            continue
        lines = text.splitlines()
        ends = [i for i, line in enumerate(lines, 1) if line.startswith("---")] + [len(lines) + 1]
        for number, line in enumerate(lines, 1):
            if said := _ALLOW.search(line):
                found.append(
                    Allowance(said[1], (said[2] or "").strip(), Location(name, number), _end(lines, ends, number))
                )
    return found


def _end(lines: list[str], ends: list[int], number: int) -> int:
    """The last line that an allowance covers: its document, or one field's where it stands beside it."""
    if not lines[number - 1].lstrip().startswith("#"):
        return number
    following = next(
        (i for i in range(number, len(lines)) if lines[i].strip() and not lines[i].lstrip().startswith("#")), None
    )
    if following is not None and lines[following][:1] in (" ", "-") and not lines[following].startswith("---"):
        return following + 1  # inside an object: the next line
    later = [e for e in ends if e > number + 1]
    return later[0] if later else number


def allow(
    findings: list[Finding], declared: list[Allowance], by_file: dict[str, str]
) -> tuple[list[Finding], list[tuple[Finding, str]]]:
    """Splits findings into those that count and those that are allowed, each with its reason. *by_file*: rule (or ``rule object``) → reason."""
    counting, allowed = [], []
    for one in findings:
        reason = by_file.get(f"{one.rule} {one.object}") or by_file.get(one.rule) or ""
        for line in declared:
            location = one.locations[0]
            if (
                line.rule == one.rule
                and line.reason
                and line.location.file == location.file
                and line.location.line <= location.line <= line.until
            ):
                reason = line.reason
        if reason:
            allowed.append((one, reason))
        else:
            counting.append(one)
    return counting, allowed


def together(findings: list[Finding]) -> list[Finding]:
    """The same cause once: what one rule says in the same words of the same place is one finding with all the objects that it hits."""
    merged: dict[tuple[str, Location, str, bool], Finding] = {}
    for one in findings:
        key = one.rule, one.locations[0], one.what if one.object not in one.what else one.object, one.unreferenced
        known = merged.get(key)
        merged[key] = (
            one
            if known is None
            else replace(
                known,
                hits=tuple(dict.fromkeys([*known.hits, *one.hits])),
                locations=tuple(dict.fromkeys([*known.locations, *one.locations])),
            )
        )
    return sorted(
        merged.values(), key=lambda f: (f.unreferenced, -f.severity, f.claim, f.rule, f.locations[0], f.object)
    )
