"""The result of a check for programs: JSON in a stable order, and JUnit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from holdfast.checking import words
from holdfast.tree.boot import Blocked, Down
from holdfast.tree.check import Result
from holdfast.tree.findings import Finding
from holdfast.tree.repository import Location

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "holdfast check",
    "type": "object",
    "required": [
        "tree",
        "commit",
        "read",
        "entry",
        "kustomize",
        "not_read",
        "assumed",
        "claims",
        "findings",
        "allowed",
        "boot",
    ],
    "properties": {
        "tree": {"type": "string"},
        "commit": {"type": "string"},
        "read": {
            "type": "object",
            "required": ["kustomizations", "of", "objects"],
            "properties": {n: {"type": "integer", "minimum": 0} for n in ("kustomizations", "of", "objects")},
        },
        "entry": {"type": "string"},
        "kustomize": {"type": "string"},
        "not_read": {"type": "array", "items": {"type": "string"}},
        "assumed": {"type": "object", "additionalProperties": {"type": "string"}},
        "claims": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["verdict", "reason"],
                "properties": {
                    "verdict": {"enum": ["held", "broke", "unproven", "not exercised"]},
                    "reason": {"type": "string"},
                },
            },
        },
        "findings": {"type": "array", "items": {"$ref": "#/$defs/finding"}},
        "allowed": {"type": "array", "items": {"allOf": [{"$ref": "#/$defs/finding"}], "required": ["because"]}},
        "boot": {"type": "object", "required": ["waves", "never"]},
        "steps": {"type": "array", "items": {"type": "object", "required": ["what", "at"]}},
    },
    "$defs": {
        "finding": {
            "type": "object",
            "required": [
                "rule",
                "claim",
                "severity",
                "object",
                "files",
                "what",
                "steps",
                "each",
                "why",
                "do",
                "hits",
                "reach",
                "unreferenced",
            ],
            "properties": {
                "steps": {"type": "array", "items": {"type": "string"}},
                "each": {"type": "array", "items": {"type": "object", "required": ["path", "line", "what"]}},
                "reach": {"type": "integer", "minimum": 0},
                "severity": {"enum": ["breaks-apply", "breaks-claim", "upgrade-hazard", "hygiene"]},
                "files": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["path", "line"],
                        "properties": {"path": {"type": "string"}, "line": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        }
    },
}


def finding(one: Finding) -> dict[str, Any]:
    """One finding."""
    return {
        "rule": one.rule,
        "claim": one.claim,
        "severity": str(one.severity),
        "object": one.object,
        "files": [_place(p) for p in one.locations],
        "what": one.what,
        "steps": list(words.steps(one.what)[1]),
        "each": [{**_place(where), "what": what} for where, what in one.each],
        "why": one.why,
        "do": one.do,
        "hits": list(one.hits),
        "reach": one.reach,
        "unreferenced": one.unreferenced,
    }


def _place(location: Location) -> dict[str, Any]:
    return {"path": location.file, "line": location.line}


def _blocked(one: Blocked) -> dict[str, Any]:
    return {
        "kustomizations": list(one.kustomizations),
        "loop": one.loop,
        "chain": [{"why": s.need.why, "how": s.need.how, **_place(s.need.location)} for s in one.chain],
    }


def as_json(result: Result) -> dict[str, Any]:
    """All of it; see `SCHEMA`."""
    tree, boot = result.tree, result.tree.boot
    return {
        "tree": tree.repository.root.name,
        "commit": tree.repository.commit,
        "read": {
            "kustomizations": len(tree.kustomizations) - len(result.unread()),
            "of": len(tree.kustomizations),
            "objects": len(tree.objects),
        },
        "entry": tree.entry,
        "kustomize": tree.tool.version,
        "not_read": result.not_read
        + [
            f"{r.manifest.id}: its chart wasn't rendered" + ("" if r.known else ", and isn't known here")
            for r in tree.unread_releases
        ]
        + [f"{la.folder}: {la.error}" for la in tree.kustomizations.values() if la.error],
        "assumed": dict(sorted(result.external.items())),
        "claims": {c: {"verdict": v.verdict, "reason": v.reason} for c, v in sorted(result.claims.items())},
        "findings": [finding(f) for f in result.findings],
        "allowed": [{**finding(f), "because": reason} for f, reason in result.allowed],
        "steps": [{"what": s.what, "at": _place(s.at) if s.at else None} for s in result.steps],
        "boot": {
            "waves": [list(wave) for wave in boot.waves],
            "never": [_blocked(b) for b in boot.blocked],
            "never_ready": [_blocked(b) for b in boot.never_ready],
        },
    }


def down_json(wanted: str, found: Down) -> dict[str, Any]:
    """What follows when something is down."""

    def told(what: dict[str, Any]) -> dict[str, Any]:
        return {name: [{"why": s.need.why, **_place(s.need.location)} for s in steps] for name, steps in what.items()}

    return {
        "down": wanted,
        "objects": list(found.seeds),
        "frozen": told(found.frozen),
        "unready": told(found.unready),
        "stopped": told(found.stopped),
    }


def junit_case(suite: ElementTree.Element, one: Finding, fail_on: int, said: str = "") -> bool:
    """Adds the case of a finding, with what the real thing *said*; returns whether it fails."""
    at = one.locations[0]
    case = ElementTree.SubElement(
        suite, "testcase", classname=one.claim, name=f"{one.rule} {one.object}", file=at.file, line=str(at.line)
    )
    text = "\n".join([f"{at}: {one.what}", *([f"said: {said}"] if said else []), f"why: {one.why}", f"do: {one.do}"])
    fails = one.severity >= fail_on and not one.unreferenced
    if fails:
        ElementTree.SubElement(case, "failure", message=one.what, type=str(one.severity)).text = text
    else:
        ElementTree.SubElement(case, "system-out").text = text
    return fails


def as_junit(results: Sequence[Result], fail_on: int) -> str:
    """JUnit: a suite an entry, in it a case a finding and a case a claim; findings below *fail_on* pass with their text."""
    suites = [_suite(result, fail_on) for result in results]
    if len(suites) > 1:
        for suite, result in zip(suites, results, strict=True):
            suite.set("name", f"holdfast check {result.tree.root.folder}")
        top = ElementTree.Element("testsuites")
        top.extend(suites)
    else:
        top = suites[0]
    ElementTree.indent(top)
    return ElementTree.tostring(top, encoding="unicode")


def _suite(result: Result, fail_on: int) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name="holdfast check")
    failures = skipped = 0
    for one in result.findings:
        failures += junit_case(suite, one, fail_on)
    for claim, verdict in sorted(result.claims.items()):
        case = ElementTree.SubElement(suite, "testcase", classname="claims", name=claim)
        if verdict.verdict in ("unproven", "not exercised"):
            skipped += 1
            ElementTree.SubElement(case, "skipped", message=f"{verdict.verdict}: {verdict.reason}")
        elif verdict.verdict == "broke":
            failures += 1
            ElementTree.SubElement(case, "failure", message=verdict.reason, type="broke")
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(failures))
    suite.set("skipped", str(skipped))
    return suite
