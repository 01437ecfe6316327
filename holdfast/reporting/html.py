"""The HTML report: one self-contained file with the verdict table, and a timeline for each fault."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, Template

from holdfast import events
from holdfast.claims import Claim
from holdfast.journal import JournalRecord, Line, header
from holdfast.paths import ROOT
from holdfast.verdicts import ClaimVerdict, Verdict, tries

_TEMPLATES = ROOT / "reports" / "templates"
_WIDTH, _LABEL, _ROW = 1080.0, 330.0, 15.0
_BAND = {"healthy": "#9bd3b3", "faulted": "#c0392b", "unknown": "#c9d1d9"}
_MARKS = (
    (events.FaultInject.event, "injected"),
    (events.FaultTookEffect.event, "took effect"),
    (events.FaultHealed.event, "healed"),
    (events.Converged.event, "converged"),
)


def _wall(entry: Line) -> float:
    return datetime.fromisoformat(str(entry["t"])).timestamp()


def _timeline(test: str, entries: list[Line]) -> dict[str, Any] | None:
    """The picture of one test: its marks, and every sampled target's intervals, in units of the SVG."""
    series = [e for e in entries if e["event"] == events.Sampled.event and not e.get("negative_control")]
    if not series:
        return None
    marks = [(name, _wall(e), e.get("fault", "")) for e in entries for event, name in _MARKS if e["event"] == event]
    moments = [m[1] for m in marks] + [e["begin"] for e in series]
    begin = min(moments + [i[0] for e in series for i in e["intervals"]])
    end = max([*moments, *(e["end"] for e in series), begin + 1])
    scale = (_WIDTH - _LABEL) / (end - begin)

    def x(moment: float) -> float:
        return float(round(_LABEL + (min(max(moment, begin), end) - begin) * scale, 1))

    rows = []
    for number, one in enumerate(
        sorted(series, key=lambda e: (e["watch"], e["vantage"] != "outside", e["target"], e["vantage"]))
    ):
        bars = [
            {
                "x": x(i[0]),
                "w": max(1.0, round(x(i[1]) - x(i[0]), 1)),
                "colour": "#9bd3b3" if i[2] == "ok" else "#c0392b",
                "title": f"{i[2]}: {i[3]} looks, {i[0] - begin:.1f}s–{i[1] - begin:.1f}s",
            }
            for i in one["intervals"]
        ]
        place = "" if one["vantage"] == "outside" else f" from {one['vantage']}"
        rows.append(
            {
                "y": 44 + number * _ROW,
                "label": f"{one['target']}{place}",
                "bars": bars,
                "failed": one["failed"],
                "looks": one["looks"],
            }
        )
    for band in (band for e in entries if e["event"] == events.Bands.event for band in e["bands"]):
        bars = [
            {
                "x": x(a),
                "w": max(2.0, round(x(b) - x(a), 1)),
                "colour": _BAND.get(word, "#e8a33d"),
                "title": f"{word}: {a - begin:.1f}s–{b - begin:.1f}s",
            }
            for a, b, word in band["stretches"]
        ]
        rows.append({"y": 44 + len(rows) * _ROW, "label": band["name"], "bars": bars, "failed": "", "looks": ""})
    lines = [
        {"x": x(moment), "name": name, "title": f"{fault} {name} at {moment - begin:.1f}s", "kind": name}
        for name, moment, fault in marks
    ]
    for level, line in enumerate(lines):
        line["y"] = 12 + 11 * (level % 3)
    ticks = [{"x": x(begin + s), "text": f"{s:g}s"} for s in _ticks(end - begin)]
    hit = [e for e in entries if e["event"] == events.BlastRadius.event]
    return {
        "test": test,
        "hit": hit,
        "faults": list(dict.fromkeys(m[2] for m in marks)),
        "rows": rows,
        "marks": lines,
        "ticks": ticks,
        "width": _WIDTH,
        "row": _ROW,
        "height": 64 + len(rows) * _ROW,
    }


def _ticks(length: float) -> list[float]:
    step = next(s for s in (5, 10, 20, 30, 60, 120, 300, 600, 1e9) if length / s <= 12)
    return [i * step for i in range(int(length / step) + 1)]


def template(name: str) -> Template:
    """One of holdfast's own templates; what is put into it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name)


def render(
    record: JournalRecord, findings: Iterable[ClaimVerdict], claims: dict[str, Claim], evidence: list[str]
) -> str:
    """The report as one HTML text."""
    found = sorted(
        findings,
        key=lambda f: (
            [Verdict.BROKE, Verdict.UNPROVEN, Verdict.HELD, Verdict.NOT_EXERCISED].index(f.verdict),
            f.claim,
        ),
    )
    by_test: dict[str, list[Line]] = {}
    for entry in record.entries:
        if entry.get("test"):
            by_test.setdefault(entry["test"], []).append(entry)
    parts = ((test, tries(entries)) for test, entries in by_test.items())
    timelines = [
        timeline
        for test, of_test in parts
        for number, entries in enumerate(of_test, start=1)
        if (timeline := _timeline(f"{test} · try {number} of {len(of_test)}" if len(of_test) > 1 else test, entries))
    ]
    return template("report.html.j2").render(
        begin=header(record),
        findings=found,
        claims=claims,
        timelines=timelines,
        problem=record.problem,
        evidence=evidence,
        counts={v.value: sum(f.verdict is v for f in found) for v in Verdict},
        ready=next(record.of(events.LaneReady), None),
        last=record.entries[-1] if record.entries else None,
    )


def write(path: Path, record: JournalRecord, findings: Iterable[ClaimVerdict], claims: dict[str, Claim]) -> None:
    """Writes the report beside the journal."""
    evidence = [str(e["folder"]) for e in record.of(events.Evidence)]
    path.write_text(render(record, findings, claims, evidence), encoding="utf-8")
