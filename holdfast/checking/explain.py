"""`holdfast check --explain RULE`: what a rule finds, why that matters, what to do, an example, and how it is proved."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

from holdfast.errors import UsageError
from holdfast.tree.check import FAMILIES
from holdfast.tree.findings import RULES, Severity

FILE = "examples.json"
KUBELET = "a kubelet"  # begins what a pair is proved on where no rehearsal can show it: its pods are simulated


def examples() -> dict[str, Any]:
    """The example of each rule, by its id (``python -m suites.harness.examples`` makes them from the rules' pairs)."""
    found: dict[str, Any] = json.loads((resources.files("holdfast.checking") / FILE).read_text(encoding="utf-8"))
    return found


def lines(name: str) -> Iterator[str]:
    """All about one rule. Raises UsageError where there is none of that name."""
    one = RULES.get(name)
    if one is None:
        near = difflib.get_close_matches(name, RULES, 1)
        raise UsageError(
            f"there is no rule {name}" + (f"; did you mean '{near[0]}'?" if near else ""),
            f"there are: {', '.join(sorted(RULES))}",
        )
    example = examples().get(name)
    said = " ".join((one.judge.__doc__ or (example or {}).get("about", "")).split())
    yield f"{one.id} · {one.severity} · {'of the family' if one.claim in FAMILIES else 'claim'} {one.claim}"
    yield f"  what: {said}"
    if one.why:
        yield f"  why:  {one.why}"
    yield f"  do:   {one.do}"
    if one.opt_in:
        yield "  only where the tree says that it makes this claim: [check] claims in .holdfast.toml"
    yield ""
    if example:
        yield from _example(example)
    yield f"  proved: {proof(name, one.severity, example)}"
    yield f"  allow it here: # holdfast: allow {name} because REASON"


def table() -> list[dict[str, Any]]:
    """Every rule with its severity, its claim or family, and what proves it: the pairs that real controllers refused, and their versions."""
    found = examples()
    return [
        {
            "rule": one.id,
            "severity": str(one.severity),
            "claim": one.claim,
            "oracle": found.get(one.id, {}).get("rehearsed", []),
            "on": found.get(one.id, {}).get("on", ""),
        }
        for one in sorted(RULES.values(), key=lambda r: (-r.severity, r.id))
    ]


def rows() -> Iterator[str]:
    """The table of all rules as text."""
    found = table()
    wide = {key: max(len(one[key]) for one in found) for key in ("rule", "severity", "claim")}
    yield f"{'rule':{wide['rule']}}  {'severity':{wide['severity']}}  {'claim':{wide['claim']}}  oracle"
    for one in found:
        proved = f"{', '.join(one['oracle'])} ({one['on']})" if one["oracle"] else "its pair of trees only"
        yield f"{one['rule']:{wide['rule']}}  {one['severity']:{wide['severity']}}  {one['claim']:{wide['claim']}}  {proved}"
    proved_ones = sum(bool(one["oracle"]) for one in found)
    yield ""
    yield f"{len(found)} rules. oracle: pairs whose invalid tree a real API server, Flux's own controllers or a kubelet refused ({proved_ones} rules)."
    yield "Each rule has a pair of trees: it finds the one at its line, and is silent on the other. More of one: --explain RULE"


def proof(name: str, severity: Severity, example: dict[str, Any] | None) -> str:
    """How it is known that a rule is right."""
    if example and example.get("on", "").startswith(KUBELET):
        return f"by {example['on']}, which never starts such a pod ({', '.join(example['rehearsed'])})"
    if example and example["rehearsed"]:
        return f"by real controllers and a real API server, in a rehearsal of its invalid tree ({', '.join(example['rehearsed'])}; {example['on']})"
    pair = (
        "by a pair of trees: it finds the invalid one at its line, and is silent on the valid one"
        if example
        else f"{name} has no pair here"
    )
    return f"{pair}; not by a rehearsal" if severity is Severity.BREAKS_APPLY else pair


def _example(example: dict[str, Any]) -> Iterator[str]:
    yield f"  example: {example['about']}"
    if example["lines"]:
        yield f"    {example['file']}"
        for number, line in enumerate(example["lines"], example["first"]):
            yield f"    {'>' if number == example['line'] else ' '} {number:3} {line}".rstrip()
    if example["valid"]:
        yield f"    valid, in {example['changed']}:"
        for line in example["valid"]:
            yield f"          {line}".rstrip()
    yield ""
