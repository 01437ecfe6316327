"""All rules over one tree: findings, what was allowed, a verdict a claim, and what wasn't read."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.tree import adaptations, repository, rules, schema
from holdfast.tree.build import Tool
from holdfast.tree.findings import (
    RULES,
    Absent,
    Doubt,
    Finding,
    Hit,
    Outside,
    Rule,
    Severity,
    Shown,
    allow,
    allowances,
    found_by,
    together,
)
from holdfast.tree.helm import render
from holdfast.tree.repository import Place
from holdfast.tree.roles import graph_of
from holdfast.tree.tree import Tree
from holdfast.tree.walk import read

for _module in pkgutil.iter_modules(rules.__path__):
    importlib.import_module(f"{rules.__name__}.{_module.name}")

FAMILIES = frozenset({"apply", "schema", "resilience", "monitoring", "security"})
_WITHOUT_LIMIT = "all"


@dataclass(frozen=True)
class Verdict:
    """What the tree alone says of a claim: ``held``, ``broke``, ``unproven`` or ``not exercised``, and why."""

    verdict: str
    reason: str


@dataclass
class Result:
    """What `check` came to.

    Attributes:
        findings: those that count, worst first; *allowed* are the others, each with its reason.
        claims: the verdict of each claim that has rules.
        not_read: what wasn't read or judged, and why.
        assumed: what must come from outside the tree, and who needs it.
    """

    tree: Tree
    findings: list[Finding]
    allowed: list[tuple[Finding, str]]
    claims: dict[str, Verdict]
    not_read: list[str]
    assumed: dict[str, str] = field(default_factory=dict)

    def worst(self) -> Severity | None:
        """The worst severity of what is applied."""
        return max((f.severity for f in self.findings if not f.latent), default=None)


def claims() -> list[str]:
    """The claims that have rules."""
    return sorted({r.claim for r in RULES.values()} - FAMILIES)


def load(
    root: Path,
    tool: Tool,
    *,
    entry: str = "",
    kubernetes: str = "",
    cache: Path | None = None,
    helm: str = "",
    charts: Path | None = None,
) -> Tree:
    """Reads the tree at *root*, and by *helm* the charts in it and in the folder *charts*. Raises UsageError where it can't be read at all."""
    schema.load(kubernetes)
    found = repository.read(root)
    tree = read(found, tool, adaptations.load(root), entry=entry, cache=cache)
    tree.kubernetes = kubernetes
    render(tree, helm, charts)
    return tree


def check(tree: Tree, *, only: Iterable[str] = (), strict: bool = False) -> Result:
    """Runs the rules (of the claims or families *only*, where any are named). *strict*: a rule that fails raises, as tests want it."""
    only = set(only)
    said: dict[str, list[Hit | Doubt | Shown | Absent | Outside]] = {}
    findings: list[Finding] = []
    broken_rules = []
    for one in RULES.values():
        if only and one.claim not in only:
            continue
        try:
            found = list(one.judge(tree))
        except Exception as error:  # a tree can hold anything: one rule that trips must not hide what the others see
            if strict:
                raise
            broken_rules.append(
                f"the rule {one.id} stopped at something that it didn't expect ({type(error).__name__}: {str(error)[:120]})"
            )
            found = [Doubt(broken_rules[-1])]
        gaps = [la for la in tree.layers.values() if la.error or la.not_read]
        unread = tree.opened + [f"Kustomization/{la.id} wasn't read: {la.error or la.not_read}" for la in gaps]
        if unread:  # what isn't there may lie in what wasn't read
            found = [Doubt(f"{s.reason}, and {unread[0]}") if isinstance(s, Absent) else s for s in found]
        if one.promise and not promised(tree, one.claim):
            found = [Absent(f"the tree doesn't promise it ({s.what})") if isinstance(s, Hit) else s for s in found]
        said.setdefault(one.claim, []).extend(found)
        findings += [found_by(one, h) for h in found if isinstance(h, Hit)]
        findings += [_absent(tree, one, a) for a in found if isinstance(a, Absent) and promised(tree, one.claim)]
    stated = allowances(tree.repository)
    findings += [_without_reason(a.place, a.rule) for a in stated if not a.reason or a.rule not in RULES]
    counting, allowed = allow(together(findings), stated, tree.adaptations.allowed)
    not_read = [*tree.not_read, *broken_rules]
    verdicts = {c: _verdict(tree, c, said.get(c, []), findings) for c in claims() if c in said}
    return Result(tree, counting, allowed, verdicts, not_read, dict(graph_of(tree).assumed))


def promised(tree: Tree, claim: str) -> bool:
    """Whether the tree says that it makes this promise (``[check] promises``)."""
    return claim in tree.adaptations.promises or _WITHOUT_LIMIT in tree.adaptations.promises


def _absent(tree: Tree, one: Rule, absent: Absent) -> Finding:
    root = tree.root
    place = tree.place(root.manifest) if root and root.manifest.file else Place(root.folder if root else ".")
    name = f"Kustomization/{root.id}" if root else "the tree"
    return Finding(
        one.id, one.claim, Severity.BREAKS_CLAIM, name, (place,), absent.reason, one.why, absent.do or one.do, (name,)
    )


def _without_reason(place: Place, name: str) -> Finding:
    known = name in RULES
    what = f"'holdfast: allow {name}' gives no reason" if known else f"'holdfast: allow {name}' names no rule"
    return Finding(
        "check.allow",
        "apply",
        Severity.BREAKS_CLAIM,
        str(place),
        (place,),
        what,
        "in a year nobody knows whether it still holds",
        f"write: # holdfast: allow {name if known else 'RULE'} because REASON",
        (str(place),),
    )


def _verdict(
    tree: Tree, claim: str, said: list[Hit | Doubt | Shown | Absent | Outside], findings: list[Finding]
) -> Verdict:
    broken = [
        f
        for f in together([f for f in findings if f.claim == claim])
        if f.severity >= Severity.BREAKS_CLAIM and not f.latent
    ]
    if broken:
        return Verdict("broke", "; ".join(f"{f.what} ({f.places[0]})" for f in broken))
    kinds = {kind: [s for s in said if isinstance(s, kind)] for kind in (Outside, Absent, Doubt, Shown)}
    if kinds[Outside]:
        return Verdict("not exercised", _first(kinds[Outside]))
    if kinds[Absent]:
        return Verdict("not exercised", _first(kinds[Absent]))
    unread = [layer for layer in tree.layers.values() if layer.error or layer.not_read]
    doubts = [_first(kinds[Doubt])] if kinds[Doubt] else []
    doubts += tree.opened + [f"Kustomization/{la.id} wasn't read: {la.error or la.not_read}" for la in unread]
    if doubts:
        return Verdict("unproven", "; ".join(doubts))
    return Verdict(
        "held",
        "; ".join(dict.fromkeys(s.text for s in kinds[Shown] if isinstance(s, Shown)))
        or "the rules found nothing against it",
    )


def _first(said: Sequence[object]) -> str:
    return str(getattr(said[0], "reason", ""))
