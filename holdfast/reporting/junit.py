"""JUnit XML of the verdicts: broke = failure, unproven = error, not exercised = skipped."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from holdfast.verdicts import ClaimVerdict, Verdict

_TAGS = {Verdict.BROKE: "failure", Verdict.UNPROVEN: "error", Verdict.NOT_EXERCISED: "skipped"}


def write(path: Path, findings: Iterable[ClaimVerdict], run: str) -> None:
    """One test case a claim."""
    found = list(findings)
    counts = {tag: str(sum(f.verdict is verdict for f in found)) for verdict, tag in _TAGS.items()}
    suite = ElementTree.Element(
        "testsuite",
        name=f"holdfast {run}",
        tests=str(len(found)),
        failures=counts["failure"],
        errors=counts["error"],
        skipped=counts["skipped"],
    )
    for one in found:
        case = ElementTree.SubElement(suite, "testcase", classname=f"{one.lane}.{one.level or 'none'}", name=one.claim)
        if one.verdict in _TAGS:
            ElementTree.SubElement(case, _TAGS[one.verdict], message=_printable(one.reason))
        ElementTree.SubElement(case, "system-out").text = _printable(
            "\n".join([one.reason, *(f"note: {n}" for n in one.notes)])
        )
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def _printable(text: str) -> str:
    """Without the control characters that XML can't hold."""
    return "".join(c for c in text if c >= " " or c in "\n\t")
