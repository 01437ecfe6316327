"""The result of a check as text: by claim, worst first, each with its place and the next step; at the end what was not read."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.tree.boot import Down
from holdfast.tree.check import FAMILIES, Result, promised
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
_MOST = 6


def lines(result: Result, *, colour: bool) -> Iterator[str]:
    """The whole text; *colour* for a terminal."""

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colour else text

    applied = [f for f in result.findings if not f.unreferenced]
    groups: dict[str, list[Finding]] = {}
    for one in applied:
        groups.setdefault(one.claim, []).append(one)
    for claim in sorted(groups, key=lambda c: (-max(f.severity for f in groups[c]), c)):
        title = "" if claim in FAMILIES else f" · {result.claims[claim].verdict}" if claim in result.claims else ""
        yield paint(f"{claim}{title}", "1")
        for one in groups[claim]:
            yield from _finding(one, paint)
        yield ""
    unreferenced = [f for f in result.findings if f.unreferenced]
    if unreferenced:
        yield paint("unreferenced: in the repository, and applied by nothing today", "1")
        for one in unreferenced:
            yield f"  {paint(str(one.severity), COLOURS[one.severity])}  {one.locations[0]}  {one.what}  [{one.rule}]"
        yield ""
    yield from _allowed(result)
    yield from _verdicts(result, paint)
    yield from _boot(result)
    yield from _unread(result)
    yield ""
    yield _summary(result)


def _finding(one: Finding, paint: object) -> Iterator[str]:
    assert callable(paint)
    yield f"  {paint(str(one.severity), COLOURS[one.severity])}  {one.locations[0]}  {one.what}"
    if one.why:
        yield f"      why: {one.why}"
    yield f"      do:  {one.do}  [{one.rule}]"
    others = [str(p) for p in one.locations[1:]]
    if others:
        yield f"      also: {', '.join(others[:_MOST])}" + (
            f" and {len(others) - _MOST} more" if len(others) > _MOST else ""
        )
    hits = [h for h in one.hits if h != one.object]
    if hits:
        yield f"      hits: {', '.join(hits[:_MOST])}" + (f" and {len(hits) - _MOST} more" if len(hits) > _MOST else "")


def _allowed(result: Result) -> Iterator[str]:
    if result.allowed:
        yield f"allowed, with a reason ({len(result.allowed)}):"
        for one, reason in result.allowed:
            yield f"  {one.locations[0]}  {one.what}  [{one.rule}] because {reason}"
        yield ""


def _verdicts(result: Result, paint: object) -> Iterator[str]:
    assert callable(paint)
    if not result.claims:
        return
    yield "claims, as far as the tree alone shows them:"
    order = list(_VERDICTS)
    shown = [c for c, v in result.claims.items() if v.verdict != "not exercised" or promised(result.tree, c)]
    width = max(map(len, shown), default=0)
    for claim, one in sorted(((c, result.claims[c]) for c in shown), key=lambda c: (order.index(c[1].verdict), c[0])):
        reason = one.reason if len(one.reason) < 160 else f"{one.reason[:157]}…"
        yield f"  {paint(one.verdict.ljust(13), _VERDICTS[one.verdict])}  {claim.ljust(width)}  {reason}"
    rest = sorted(set(result.claims) - set(shown))
    if rest:
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


def _unread(result: Result) -> Iterator[str]:
    tree = result.tree
    said = [*result.not_read]
    said += [
        f"{kustomization.folder} was not built: {kustomization.error}"
        for kustomization in tree.kustomizations.values()
        if kustomization.error
    ]
    unknown = [r.manifest.id for r in tree.unknown_releases]
    known = [r.manifest.id for r in tree.unread_releases if r.known]
    said += (
        [f"charts that aren't known here, so what they create wasn't judged: {', '.join(unknown)}"] if unknown else []
    )
    said += (
        [f"charts judged by declared facts only (--charts FOLDER renders them): {', '.join(known)}"] if known else []
    )
    said += [f"test data of something else, left alone: {', '.join(tree.skipped)}"] if tree.skipped else []
    said += (
        [f"symbolic links, which source-controller leaves out: {', '.join(sorted(tree.repository.links))}"]
        if tree.repository.links
        else []
    )
    yield "not read or not judged:" if said else "not read or not judged: nothing"
    for one in said:
        yield f"  {one}"
    external = {n: who for n, who in result.external.items() if not any(n in f.what for f in result.findings)}
    if external:
        yield "taken to exist outside of the tree:"
        for name, who in sorted(external.items()):
            yield f"  {name}, for {who}"


def _summary(result: Result) -> str:
    counts = {
        s: sum(1 for f in result.findings if f.severity is s and not f.unreferenced)
        for s in sorted(Severity, reverse=True)
    }
    words = ", ".join(f"{n} {s}" for s, n in counts.items() if n) or "no finding"
    tree = result.tree
    unreferenced = sum(1 for f in result.findings if f.unreferenced)
    return (
        f"{words}"
        + (f", {unreferenced} unreferenced" if unreferenced else "")
        + (f", {len(result.allowed)} allowed" if result.allowed else "")
        + f" · {len(tree.objects)} objects of {len(tree.kustomizations)} Kustomization{'s' * (len(tree.kustomizations) != 1)}, entry {tree.entry} · kustomize {tree.tool.version}"
    )


def down_lines(wanted: str, found: Down) -> Iterator[str]:
    """What follows when something is down, as text."""
    yield f"with {wanted} down ({len(found.seeds)} objects):"
    for title, what in (
        ("frozen: no change of it is applied", found.frozen),
        ("reports failure, and still applies changes", found.unready),
        ("stops working", found.stopped),
    ):
        yield f"  {title}:" if what else f"  {title}: nothing"
        for name, steps in what.items():
            yield f"    {name}"
            for step in steps:
                yield f"      {step}"
    yield "  (a release counts as down when it isn't Ready: one that is installed stays Ready while its pods are away, and freezes others at its next change)"
