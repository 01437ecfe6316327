"""Findings as SARIF 2.1.0, which code hosts show beside the lines of a change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import holdfast
from holdfast.tree.findings import Finding, Severity

_LEVEL = {Severity.BREAKS_APPLY: "error", Severity.BREAKS_CLAIM: "error", Severity.UPGRADE_HAZARD: "warning"}
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"


def as_sarif(command: str, runs: Mapping[str, Iterable[Finding]]) -> dict[str, Any]:
    """The findings of *command* (``check``, ``rehearse``), a run an entry; paths are relative to the repository."""
    several = len(runs) > 1
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [_run(command, list(found), entry if several else "") for entry, found in runs.items()],
    }


def _run(command: str, found: list[Finding], entry: str) -> dict[str, Any]:
    rules = {one.rule: one for one in found}
    driver = {
        "name": f"holdfast {command}",
        "version": holdfast.__version__,
        "rules": [_rule(one) for _, one in sorted(rules.items())],
    }
    run: dict[str, Any] = {"tool": {"driver": driver}, "results": [_result(one) for one in found]}
    # Two runs of one tool over one commit are told apart by their category.
    return run | ({"automationDetails": {"id": f"holdfast {command}/{entry}/"}} if entry else {})


def _rule(one: Finding) -> dict[str, Any]:
    return {"id": one.rule, "shortDescription": {"text": one.why or one.rule}, "help": {"text": one.do or one.why}}


def _result(one: Finding) -> dict[str, Any]:
    places = [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": place.file or ".", "uriBaseId": "%SRCROOT%"},
                "region": {"startLine": max(1, place.line)},
            }
        }
        for place in one.locations
    ]
    return {
        "ruleId": one.rule,
        "level": "note" if one.unreferenced else _LEVEL.get(one.severity, "note"),
        "message": {"text": f"{one.what}. {one.do}" if one.do else one.what},
        "locations": places[:1],
        "relatedLocations": places[1:],
        "properties": {"severity": str(one.severity), "claim": one.claim, "object": one.object, "hits": list(one.hits)},
    }
