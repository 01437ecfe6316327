"""A rehearsal for programs: JSON in a stable order, and JUnit."""

from __future__ import annotations

import dataclasses
from typing import Any
from xml.etree import ElementTree

from holdfast.checking.documents import finding, junit_case
from holdfast.rehearsal.change import Transition
from holdfast.rehearsal.outage import Outage
from holdfast.rehearsal.outcome import Outcome, Proof
from holdfast.tree.findings import Severity


def _proof(one: Proof) -> dict[str, Any]:
    return {
        **finding(one.finding),
        "said": one.said,
        "at_s": one.at_s,
        "after": list(one.after),
        "in_the_lane": one.removal,
    }


def _outage(outage: Outage) -> dict[str, Any]:
    return {
        "what": outage.what,
        "down": list(outage.down),
        "kustomizations": [
            {
                "kustomization": a.kustomization,
                "fate": a.fate.value,
                "foretold": a.foretold.value,
                "after_s": a.after_s,
                "back_s": a.back_s,
            }
            for a in outage.arrivals
        ],
    }


def _transition(one: Transition) -> dict[str, Any]:
    found = dataclasses.asdict(one)
    found["revert"] = {**found["revert"], "clean": one.revert.clean} if one.revert else None
    return found


def as_json(out: Outcome) -> dict[str, Any]:
    """All of it."""
    return {
        "tree": out.tree.repository.root.name,
        "commit": out.tree.repository.commit,
        "entry": out.tree.entry,
        "kubernetes": out.kubernetes,
        "flux": out.flux,
        "converged": out.course.converged,
        "took_s": out.course.took_s,
        "waves": [{"ready_s": at, "kustomizations": names} for at, names in out.waves()],
        "critical_path": [{"kustomization": name, "ready_s": at} for name, at in out.critical_path()],
        "findings": [_proof(p) for p in out.proofs],
        "allowed": [{**_proof(p), "because": reason} for p, reason in out.allowed],
        "by_hand": out.by_hand,
        "doubts": out.doubts,
        "unsettled": out.course.unsettled,
        "notes": out.notes,
        "against": _transition(out.transition) if out.transition else None,
        "if_down": _outage(out.outage) if out.outage else None,
        "timeline": {
            name: [{"from_s": at, "doing": doing.value, "said": said} for at, doing, said in bar.parts]
            for name, bar in sorted(out.course.bars.items())
        },
    }


def as_junit(out: Outcome, fail_on: Severity) -> str:
    """A case a finding, and a case a Kustomization and release: those that never became ready fail."""
    suite = ElementTree.Element("testsuite", name="holdfast rehearse")
    failures = 0
    for proof in out.proofs:
        failures += junit_case(suite, proof.finding, fail_on, proof.said)
    for name in sorted(out.course.bars):
        case = ElementTree.SubElement(suite, "testcase", classname="start", name=name)
        if name in out.course.unsettled:
            failures += 1
            ElementTree.SubElement(case, "failure", message=out.course.unsettled[name], type="never ready")
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(failures))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode")
