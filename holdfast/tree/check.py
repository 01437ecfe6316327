"""All rules over one tree: findings, what was allowed, a verdict a claim, and what wasn't read."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.errors import UsageError
from holdfast.tree import fluxapi, repository, rules, schema, settings
from holdfast.tree.changes import RULE_IDS
from holdfast.tree.entry import entries_of
from holdfast.tree.envsubst import spelled
from holdfast.tree.findings import (
    RULES,
    Evidence,
    Finding,
    Inconclusive,
    NotApplicable,
    OutOfScope,
    Rule,
    Severity,
    Violation,
    allow,
    allowances,
    found_by,
    readable,
    together,
)
from holdfast.tree.flux_documents import flux_documents
from holdfast.tree.helm import Fetched, render
from holdfast.tree.kustomize import Tool
from holdfast.tree.manifest import Manifest
from holdfast.tree.reach import habits, ordered
from holdfast.tree.repository import Location, Repository
from holdfast.tree.sources import Sources
from holdfast.tree.steps import Step
from holdfast.tree.tree import Kustomization, Tree
from holdfast.tree.walk import read

for _module in pkgutil.iter_modules(rules.__path__):
    importlib.import_module(f"{rules.__name__}.{_module.name}")

FAMILIES = frozenset({"apply", "schema", "resilience", "monitoring", "security", "network"})
_WITHOUT_LIMIT = "all"


@dataclass(frozen=True)
class StaticVerdict:
    """What the tree alone says of a claim: ``held``, ``broke``, ``unproven`` or ``not exercised``, and why."""

    verdict: str
    reason: str


@dataclass
class Result:
    """What `check` came to.

    Attributes:
        findings: those that count, worst first and in that what reaches furthest; *allowed* are the others, each with its reason.
        claims: the verdict of each claim that has rules.
        not_read: what wasn't read or judged, and why.
        assumed: what must come from outside the tree, and who needs it.
        steps: the order of the upgrade that was asked for.
    """

    tree: Tree
    findings: list[Finding]
    allowed: list[tuple[Finding, str]]
    claims: dict[str, StaticVerdict]
    not_read: list[str]
    external: dict[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()

    def worst(self) -> Severity | None:
        """The worst severity of what is applied."""
        return max((f.severity for f in self.findings if not f.unreferenced), default=None)

    def unread(self) -> list[Kustomization]:
        """The applied Kustomizations that weren't read."""
        return [k for k in self.tree.kustomizations.values() if k.error or k.not_read]

    def too_little(self) -> bool:
        """Whether so much wasn't read that nothing found means nothing."""
        sets = len(resource_sets(self.tree))
        return (len(self.unread()) + sets) * 10 > len(self.tree.kustomizations) + sets


def claims() -> list[str]:
    """The claims that have rules."""
    return sorted({r.claim for r in RULES.values()} - FAMILIES)


def load(
    root: Path,
    tool: Tool,
    helm: Callable[[], str] = str,  # no helm
    *,
    entry: str = "",
    kubernetes: str = "",
    flux: str = "",
    cache: Path | None = None,
    charts: Path | None = None,
    fetch: Callable[[Tree], Fetched] | None = None,
    found: Repository | None = None,
) -> Tree:
    """Reads the tree at *root*, and by the program that *helm* gives the charts in it, in the folder *charts*, and those that *fetch* gets.

    *found*: its files, where they were listed already. Raises UsageError where it can't be read at all.
    """
    schema.load(kubernetes)
    flux = fluxapi.known(flux) if flux else ""
    found = found or repository.read(root)
    said = settings.load(root)
    if unknown := [a.rule for a in said.allow if a.rule not in {*RULES, *RULE_IDS}]:
        near = difflib.get_close_matches(unknown[0], RULES, 1)
        raise UsageError(
            f"{said.path}: [[allow]] names no rule: {', '.join(unknown)}"
            + (f"; did you mean '{near[0]}'?" if near else ""),
            "each finding of 'holdfast check --format json' names its rule",
        )
    tree = read(found, tool, said, entry=entry, kubernetes=kubernetes, flux=flux, cache=cache)
    return render(tree, helm, charts, fetch(tree) if fetch else Fetched())


def entries(root: Path) -> list[str]:
    """The entries of the repository at *root*, a cluster each. Raises UsageError where it has none."""
    sources = Sources(repository.read(root))
    return entries_of(sources, flux_documents(sources))


def check(tree: Tree, *, only: Iterable[str] = (), strict: bool = False) -> Result:
    """Runs the rules (of the claims or families *only*, where any are named). *strict*: a rule that fails raises, as tests want it."""
    only = set(only)
    said: dict[str, list[Violation | Inconclusive | Evidence | NotApplicable | OutOfScope]] = {}
    findings: list[Finding] = []
    broken_rules = []
    unread = _gaps(tree)
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
            found = [Inconclusive(broken_rules[-1])]
        if unread:  # what isn't there may lie in what wasn't read
            found = [Inconclusive(f"{s.reason}, and {unread[0]}") if isinstance(s, NotApplicable) else s for s in found]
        if one.opt_in and not promised(tree, one.claim):
            found = [
                NotApplicable(f"the tree doesn't promise it ({s.what})") if isinstance(s, Violation) else s
                for s in found
            ]
        said.setdefault(one.claim, []).extend(found)
        findings += [found_by(one, h) for h in found if isinstance(h, Violation)]
        findings += [_absent(tree, one, a) for a in found if isinstance(a, NotApplicable) and promised(tree, one.claim)]
    tree.memory.keep()
    declared = allowances(tree.repository)
    findings += [
        _without_reason(a.location, a.rule) for a in declared if not a.reason or a.rule not in {*RULES, *RULE_IDS}
    ]
    counting, allowed = allow(together(findings), declared, tree.settings.allowed)
    counting = [readable(f) for f in ordered(tree, habits(counting))]
    sets = [f"{m.id} makes objects of its own, which aren't read ({m.file})" for m in resource_sets(tree)]
    not_read = [spelled(line) for line in (*tree.not_read, *sets, *broken_rules)]
    judged = {c: _verdict(unread, c, said.get(c, []), findings) for c in claims() if c in said}
    verdicts = {c: StaticVerdict(v.verdict, spelled(v.reason)) for c, v in judged.items()}
    return Result(
        tree, counting, [(readable(f), why) for f, why in allowed], verdicts, not_read, dict(tree.graph.external)
    )


def promised(tree: Tree, claim: str) -> bool:
    """Whether the tree says that it makes this promise (``[check] promises``)."""
    return claim in tree.settings.claimed or _WITHOUT_LIMIT in tree.settings.claimed


def _absent(tree: Tree, one: Rule, absent: NotApplicable) -> Finding:
    root = tree.root
    location = tree.locate(root.manifest) if root.manifest.file else Location(root.folder)
    name = f"Kustomization/{root.id}"
    return Finding(
        one.id,
        one.claim,
        Severity.BREAKS_CLAIM,
        name,
        (location,),
        absent.reason,
        one.why,
        absent.do or one.do,
        (name,),
    )


def _without_reason(location: Location, name: str) -> Finding:
    known = name in RULES
    what = f"'holdfast: allow {name}' gives no reason" if known else f"'holdfast: allow {name}' names no rule"
    return Finding(
        "check.allow",
        "apply",
        Severity.BREAKS_CLAIM,
        str(location),
        (location,),
        what,
        "in a year nobody knows whether it still holds",
        f"write: # holdfast: allow {name if known else 'RULE'} because REASON",
        (str(location),),
    )


def _verdict(
    unread: list[str],
    claim: str,
    said: list[Violation | Inconclusive | Evidence | NotApplicable | OutOfScope],
    findings: list[Finding],
) -> StaticVerdict:
    broken = [
        f
        for f in together([f for f in findings if f.claim == claim])
        if f.severity >= Severity.BREAKS_CLAIM and not f.unreferenced
    ]
    if broken:
        return StaticVerdict("broke", "; ".join(f"{f.what} ({f.locations[0]})" for f in broken))
    kinds = {
        kind: [s for s in said if isinstance(s, kind)] for kind in (OutOfScope, NotApplicable, Inconclusive, Evidence)
    }
    if kinds[OutOfScope]:
        return StaticVerdict("not exercised", _first(kinds[OutOfScope]))
    if kinds[NotApplicable]:
        return StaticVerdict("not exercised", _first(kinds[NotApplicable]))
    doubts = [_first(kinds[Inconclusive])] if kinds[Inconclusive] else []
    doubts += unread
    if claim not in _OF_FILES and (stuck := _not_applied(findings)):
        doubts.append(stuck)
    if doubts:
        return StaticVerdict("unproven", "; ".join(doubts))
    return StaticVerdict(
        "held",
        "; ".join(dict.fromkeys(s.text for s in kinds[Evidence] if isinstance(s, Evidence)))
        or "the rules found nothing against it",
    )


# What is claimed of the repository itself: whether it can be applied makes no difference.
_OF_FILES = frozenset({"secrets-not-in-git", "git-over-ssh", "immutable-detected", "emergency-procedures"})


def _not_applied(findings: list[Finding]) -> str:
    """What is seen of objects is seen of a tree that isn't applied as it stands; empty where it is, as far as the rules see."""
    stuck = [f for f in findings if f.severity >= Severity.BREAKS_APPLY and not f.unreferenced]
    return f"the tree isn't applied as it stands: {stuck[0].what} ({stuck[0].locations[0]})" if stuck else ""


def resource_sets(tree: Tree) -> list[Manifest]:
    """The objects of flux-operator that make others, which aren't read."""
    return [m for m in tree.of("ResourceSet") if m.group == "fluxcd.controlplane.io"]


def _gaps(tree: Tree) -> list[str]:
    """Why claims about all of the tree are in doubt: what may hold the opposite and isn't read."""
    unread = [k for k in tree.kustomizations.values() if k.gap]
    sets = resource_sets(tree)
    more = f" (and {len(sets) - 1} more do)" if len(sets) > 1 else ""
    return [
        *(f"{m.id} makes objects of its own{more}, which aren't read" for m in sets[:1]),
        *tree.charts.incomplete_because,
        *(f"Kustomization/{k.id} wasn't read{' whole' if k.gap == k.left_out else ''}: {k.gap}" for k in unread),
    ]


def _first(said: Sequence[object]) -> str:
    return str(getattr(said[0], "reason", ""))
