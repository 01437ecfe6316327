"""The result of a check as text: a summary of ten lines, what was found, worst first, each rule with the next step; at the end what was not read."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterator

from holdfast.checking.words import LONGEST, count, listed, shown, steps
from holdfast.tree.boot import Down
from holdfast.tree.check import FAMILIES, Result, promised, resource_sets
from holdfast.tree.findings import Finding, Severity

COLOURS = {
    Severity.BREAKS_APPLY: "31;1",
    Severity.BREAKS_CLAIM: "31",
    Severity.UPGRADE_HAZARD: "33",
    Severity.HYGIENE: "36",
}
_VERDICTS = {
    "broke": "31",
    "unproven": "35",
    "held": "32",
    "not exercised": "90",
}  # in the order in which they are listed
_MEANING = {
    Severity.BREAKS_APPLY: "Flux or the API server refuses it, or it never becomes ready",
    Severity.BREAKS_CLAIM: "it is applied, and something that is promised of the cluster isn't true",
    Severity.UPGRADE_HAZARD: "a later change breaks on it",
    Severity.HYGIENE: "worth putting in order",
}
_WORST = 3  # findings that the summary names
_RULES, _PLACES, _STEPS, _MOST = 8, 3, 4, 6  # how much of each is said without --verbose
_REASON, _WIDTH = 160, 130

Paint = Callable[[str, str], str]


def lines(result: Result, *, colour: bool, verbose: bool = False) -> Iterator[str]:
    """The whole text; *colour* for a terminal; all that is known where *verbose*, else what fits two screens."""

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colour else text

    yield from _summary(result, paint)
    yield ""
    yield from _findings(result, paint, verbose=verbose)
    yield from _aside(result, paint, verbose=verbose)
    yield from _verdicts(result, paint, verbose=verbose)
    if verbose:
        yield from _boot(result)
    yield from _unread(result, verbose=verbose)
    if result.steps:
        yield ""
        yield "the order of this upgrade:"
        for number, step in enumerate(result.steps, 1):
            yield f"  {number}. {step.what}" + (f"  ({step.at})" if step.at else "")


# -- the first ten lines -----------------------------------------------------------------------------------------------


def _summary(result: Result, paint: Paint) -> Iterator[str]:
    """What was read, what came of it, and where to begin."""
    tree, unread = result.tree, result.unread()
    every = len(tree.kustomizations)
    yield (
        f"{every - len(unread):,} of {count(every, 'Kustomization')}, {count(len(tree.objects), 'object')}"
        f" · entry {tree.entry} · kustomize {tree.tool.version}"
    )
    yield _counts(result, paint)
    worst = [f for f in result.findings if not f.unreferenced and f.severity >= Severity.BREAKS_CLAIM][:_WORST]
    for one in worst:
        also = f" (with it {count(one.reach, 'Kustomization')})" if _takes_down(one) else ""
        yield f"  {shown(f'{one.locations[0]}  {steps(one.what)[0]}', LONGEST - len(also))}{also}"
    by_verdict = {v: sum(1 for c in result.claims.values() if c.verdict == v) for v in ("broke", "unproven", "held")}
    yield f"claims: {', '.join(f'{n} {v}' for v, n in by_verdict.items() if n) or 'none judged'}"
    never = sum(len(b.kustomizations) for b in tree.boot.blocked)
    yield f"a start from nothing: {count(len(tree.boot.waves), 'wave')}" + (
        f", and {count(never, 'Kustomization')} never" if never else ""
    )
    if result.too_little():
        sets = len(resource_sets(tree))
        missing = count(len(unread), "Kustomization") + (f", {count(sets, 'ResourceSet')}" if sets else "")
        yield paint(
            f"more than a tenth wasn't read ({missing}): what isn't said here may be there all the same", "31;1"
        )
    yield "all of it: --verbose · a rule: --explain RULE"


def _counts(result: Result, paint: Paint) -> str:
    counts = {
        s: sum(len(f.each) or 1 for f in result.findings if f.severity is s and not f.unreferenced)
        for s in sorted(Severity, reverse=True)
    }
    unreferenced = sum(len(f.each) or 1 for f in result.findings if f.unreferenced)
    return (
        (", ".join(paint(f"{n} {s}", COLOURS[s]) for s, n in counts.items() if n) or "no finding")
        + (f", {unreferenced} unreferenced" if unreferenced else "")
        + (f", {len(result.allowed)} allowed" if result.allowed else "")
    )


def _takes_down(one: Finding) -> bool:
    return one.severity is Severity.BREAKS_APPLY and one.reach > 1


# -- findings ----------------------------------------------------------------------------------------------------------


def _findings(result: Result, paint: Paint, *, verbose: bool) -> Iterator[str]:
    """Each severity, in it each rule once, in the order in which they reach furthest."""
    for severity in sorted(Severity, reverse=True):
        groups: dict[tuple[str, str, str], list[Finding]] = {}
        for one in result.findings:
            if one.severity is severity and not one.unreferenced:
                groups.setdefault((one.rule, one.why, one.do), []).append(one)
        if not groups:
            continue
        yield paint(f"{severity}: {_MEANING[severity]}", COLOURS[severity])
        brief = not verbose and severity < Severity.BREAKS_CLAIM
        for number, ((name, why, do), found) in enumerate(groups.items()):
            if brief or (not verbose and number >= _RULES):
                yield from _in_brief(name, do, found)
            else:
                yield from _in_full(result, name, why, do, found, verbose=verbose)
        yield ""


def _in_brief(name: str, do: str, found: list[Finding]) -> Iterator[str]:
    """A rule in two lines: how often, where first, and what to do."""
    first, times = found[0], sum(len(f.each) or 1 for f in found)
    what = first.each[0][1] if first.each else steps(first.what)[0]
    more = f" · and {count(times - 1, 'more place')}" if times > 1 else ""
    yield f"  [{name}] {shown(f'{first.locations[0]}  {what}', LONGEST - len(more))}{more}"
    yield f"    do: {shown(do)}"


def _in_full(result: Result, name: str, why: str, do: str, found: list[Finding], *, verbose: bool) -> Iterator[str]:
    claim = found[0].claim
    of_claim = f" · claim {claim}" if claim not in FAMILIES else ""
    verdict = result.claims[claim].verdict if of_claim and claim in result.claims else ""
    yield f"  [{name}]{of_claim}{f' ({verdict})' if verdict else ''}"
    for one in found if verbose else found[:_PLACES]:
        yield from _one(one, verbose=verbose)
    rest = [] if verbose else found[_PLACES:]
    if rest:
        places = ", ".join(str(f.locations[0]) for f in rest[:_PLACES])
        yield f"    and {len(rest)} more: {shown(places)}" + (" …" if len(rest) > _PLACES else "")
    if why:
        yield f"    why: {shown(why)}"
    yield f"    do:  {shown(do)}"


def _one(one: Finding, *, verbose: bool) -> Iterator[str]:
    longest = 100_000 if verbose else LONGEST
    said, chain = steps(one.what)
    places = one.each or ((one.locations[0], said),)
    for where, what in places if verbose else places[:_PLACES]:
        yield f"    {where}  {shown(what, longest)}"
    if not verbose and len(places) > _PLACES:
        yield f"    and {len(places) - _PLACES} more places"
    told = chain if verbose or len(chain) <= _STEPS else (*chain[:_STEPS], f"and {len(chain) - _STEPS} more steps")
    for step in told:
        yield f"      → {shown(step, longest)}"
    others = [str(p) for p in one.locations[1:] if not one.each and not any(str(p) in step for step in chain)]
    hits = [h for h in one.hits if h != one.object and not any(h in what for _, what in places)]
    for title, items in (("also", others), ("hits", hits)):
        if items:
            yield f"      {title}: {listed(items, len(items) if verbose else _MOST, longest)}"


# -- the rest ----------------------------------------------------------------------------------------------------------


def _tally(names: list[str]) -> str:
    """Names with how often each comes, the commonest first."""
    counted = Counter(names)
    return ", ".join(
        f"{name} {n}" if n > 1 else name for name, n in sorted(counted.items(), key=lambda i: (-i[1], i[0]))
    )


def _aside(result: Result, paint: Paint, *, verbose: bool) -> Iterator[str]:
    """What isn't applied today, and what is allowed."""
    unreferenced = [f for f in result.findings if f.unreferenced]
    if unreferenced:
        title = "unreferenced: in the repository, and applied by nothing today"
        if verbose:
            yield paint(title, "1")
            for one in unreferenced:
                for where, what in one.each or ((one.locations[0], one.what),):
                    yield f"  {paint(str(one.severity), COLOURS[one.severity])}  {where}  {shown(what, 100_000)}  [{one.rule}]"
        else:
            yield f"{paint(title, '1')}: {shown(_tally([f.rule for f in unreferenced for _ in f.each or (f,)]))}"
        yield ""
    if result.allowed and (verbose or len(result.allowed) <= _PLACES):
        yield f"allowed, with a reason ({len(result.allowed)}):"
        for one, reason in result.allowed:
            yield f"  {one.locations[0]}  {one.what}  [{one.rule}] because {reason}"
        yield ""
    elif result.allowed:
        yield f"allowed, with a reason ({len(result.allowed)}): {shown(_tally([f.rule for f, _ in result.allowed]))}"
        yield ""


def _verdicts(result: Result, paint: Paint, *, verbose: bool) -> Iterator[str]:
    if not result.claims:
        return
    yield "claims, as far as the tree alone shows them:"
    order = list(_VERDICTS)
    shown_ones = [c for c, v in result.claims.items() if v.verdict != "not exercised" or promised(result.tree, c)]
    width = max(map(len, shown_ones), default=0)
    if verbose:
        for claim, one in sorted(
            ((c, result.claims[c]) for c in shown_ones), key=lambda c: (order.index(c[1].verdict), c[0])
        ):
            reason = one.reason if len(one.reason) < _REASON else f"{one.reason[: _REASON - 3]}…"
            yield f"  {paint(one.verdict.ljust(13), _VERDICTS[one.verdict])}  {claim.ljust(width)}  {shown(reason)}"
    else:
        for verdict in order:
            if named := [c for c in sorted(shown_ones) if result.claims[c].verdict == verdict]:
                if verdict == "unproven" and not result.tree.settings.claimed and len(named) > _MOST:
                    named = [f"{len(named)} of them, which the tree doesn't say that it makes"]
                first, *more = textwrap.wrap(", ".join(named), _WIDTH, break_on_hyphens=False)
                yield f"  {paint(verdict.ljust(13), _VERDICTS[verdict])}  {first}"
                yield from (f"{'':17}{line}" for line in more)
    rest = sorted(set(result.claims) - set(shown_ones))
    if rest and verbose:
        yield f"  not exercised, since the tree doesn't promise them or has nothing of the kind: {', '.join(rest)}"
    yield ""


def _boot(result: Result) -> Iterator[str]:
    found = result.tree.boot
    yield "order of a start from nothing:"
    for number, wave in enumerate(found.waves, 1):
        yield f"  {number}. {', '.join(wave)}"
    for blocked in found.blocked:
        yield f"  never: {', '.join(blocked.kustomizations)}"
    yield ""


def _unread(result: Result, *, verbose: bool) -> Iterator[str]:
    tree = result.tree
    said = [*result.not_read]
    said += [
        f"{kustomization.folder} was not built: {kustomization.error}"
        for kustomization in tree.kustomizations.values()
        if kustomization.error
    ]
    said = [s if verbose else shown(s) for s in said]
    if not verbose and len(said) > _MOST:
        said = [*said[:_MOST], f"and {len(said) - _MOST} more"]
    unknown = [r.manifest.id for r in tree.unknown_releases]
    known = [r.manifest.id for r in tree.unread_releases if r.known]
    for title, names in (
        ("charts that aren't known here, so what they create wasn't judged", unknown),
        ("charts judged by declared facts only (--charts FOLDER renders them)", known),
        ("set aside (archives, copies, templates, test data), left alone", list(tree.skipped)),
        ("symbolic links, which source-controller leaves out", sorted(tree.repository.links)),
    ):
        if names:
            few = verbose or len(names) <= _MOST
            said.append(f"{title}: {', '.join(names) if few else len(names)}")
    yield "not read or not judged:" if said else "not read or not judged: nothing"
    for one in said:
        yield f"  {one}"
    external = {n: who for n, who in result.external.items() if not any(n in f.what for f in result.findings)}
    if external and not verbose:
        kinds = _tally([name.partition("/")[0] if "/" in name.partition(" ")[0] else "kinds" for name in external])
        yield f"taken to exist outside of the tree: {shown(kinds)}"
    elif external:
        yield "taken to exist outside of the tree:"
        for name, who in sorted(external.items()):
            yield f"  {name}, for {who}"


def down_lines(wanted: str, found: Down) -> Iterator[str]:
    """What follows when something is down, as text."""
    yield f"with {wanted} down ({len(found.seeds)} objects):"
    for title, what in (
        ("frozen: no change of it is applied", found.frozen),
        ("reports failure, and still applies changes", found.unready),
        ("stops working", found.stopped),
    ):
        yield f"  {title}:" if what else f"  {title}: nothing"
        for name, why in what.items():
            yield f"    {name}"
            for step in why:
                yield f"      {step}"
    yield "  (a release counts as down when it isn't Ready: one that is installed stays Ready while its pods are away, and freezes others at its next change)"
