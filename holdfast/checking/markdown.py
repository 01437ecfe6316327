"""A result as Markdown, for the comment on a change: the worst first, sixty lines at most, and nothing in it that a comment would act on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from holdfast.checking.words import count, shown, steps
from holdfast.tree.check import Result
from holdfast.tree.findings import Finding, Severity

MOST_ROWS, _MOST_RULES, _MOST_PARTS = 20, 10, 5
_MARKS = {
    Severity.BREAKS_APPLY: "🟥",
    Severity.BREAKS_CLAIM: "🟧",
    Severity.UPGRADE_HAZARD: "🟨",
    Severity.HYGIENE: "🟦",
}


def code(text: str) -> str:
    """A text of the tree's between backticks, in one line, also in a table's cell: no mention, no link and no markup comes of it."""
    return f"`{' '.join(text.split()).replace('`', chr(0x2019)).replace('|', chr(0x00A6))}`"


def summary(result: Result, fail_on: Severity) -> str:
    """The whole of one entry."""
    return "\n".join(_lines(result, fail_on))


def _lines(result: Result, fail_on: Severity) -> Iterator[str]:
    tree = result.tree
    worst = result.worst()
    yield f"### {'❌' if worst is not None and worst >= fail_on else '✅'} holdfast check: {counted(result.findings)}"
    yield ""
    read = len(tree.kustomizations) - len(result.unread())
    yield (
        f"{read} of {count(len(tree.kustomizations), 'Kustomization')}, {count(len(tree.objects), 'object')} · "
        f"entry {code(tree.entry)}"
    )
    yield from table(result.findings)
    parts = [*result.not_read]
    if parts:
        yield ""
        yield f"<details><summary>not read or not judged ({len(parts)})</summary>"
        yield ""
        for part in parts[:_MOST_PARTS]:
            yield f"- {code(shown(part))}"
        if len(parts) > _MOST_PARTS:
            yield f"- and {len(parts) - _MOST_PARTS} more"
        yield ""
        yield "</details>"


def counted(findings: Sequence[Finding]) -> str:
    """How many there are of each severity, in words."""
    counts = {s: sum(1 for f in findings if f.severity is s) for s in sorted(Severity, reverse=True)}
    return ", ".join(f"{n} {s}" for s, n in counts.items() if n) or "no finding"


def table(findings: Sequence[Finding]) -> Iterator[str]:
    """A row a finding, the worst first, and what to do about each rule."""
    found = sorted(findings, key=lambda f: (f.unreferenced, -f.severity))
    if not found:
        return
    yield ""
    yield "| | where | what |"
    yield "| --- | --- | --- |"
    for one in found[:MOST_ROWS]:
        what = shown(steps(one.what)[0])
        yield f"| {_MARKS[one.severity]} {one.severity} | {code(str(one.locations[0]))} | {code(what)} {one.rule} |"
    if len(found) > MOST_ROWS:
        yield f"| | | and {len(found) - MOST_ROWS} more |"
    remedies = {f.rule: f for f in reversed(found)}
    yield ""
    yield "<details><summary>why, and what to do</summary>"
    yield ""
    for one in list(reversed(remedies.values()))[:_MOST_RULES]:
        yield f"- {one.rule}: {code(one.why)} {code(one.do)}"
    if len(remedies) > _MOST_RULES:
        yield f"- and {count(len(remedies) - _MOST_RULES, 'more rule')}: holdfast check"
    yield ""
    yield "</details>"
