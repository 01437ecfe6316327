"""The ledger as a page: each claim's newest verdict, and each figure's history as a small chart. One file, nothing loaded from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.reporting.html import template
from holdfast.reporting.ledger import History
from holdfast.reporting.ledger_text import Told, age, lane_of

_WIDTH, _HEIGHT, _EDGE = 260.0, 44.0, 4.0


def write(path: Path, told: Told) -> None:
    """Writes the page."""
    page = template("ledger.html.j2").render(
        tree=told.tree,
        runs=told.runs,
        rows=[
            {
                "verdict": s.verdict.verdict.value,
                "claim": s.verdict.claim,
                "level": s.verdict.level,
                "lane": lane_of(s.verdict),
                "age": age(s.age(told.now)),
                "run": s.run,
                "since": s.since,
                "reason": s.verdict.reason,
            }
            for s in told.standings
        ],
        lines=list(told.lines()),
        figures=[chart(h) for h in told.histories if len(h.points) > 1],
    )
    path.write_text(page, encoding="utf-8")


def chart(one: History) -> dict[str, Any]:
    """A figure's history in units of its picture: one point a run, from 0 up to the largest, the newest apart."""
    values = [p.value_s for p in one.points]
    top = max(*values, 1e-9)
    step = (_WIDTH - 2 * _EDGE) / max(len(values) - 1, 1)
    points = [
        (round(_EDGE + number * step, 1), round(_HEIGHT - _EDGE - value / top * (_HEIGHT - 2 * _EDGE), 1))
        for number, value in enumerate(values)
    ]
    return {
        "claim": one.claim,
        "lane": one.lane,
        "what": one.what,
        "line": " ".join(f"{x},{y}" for x, y in points),
        "points": [
            {"x": x, "y": y, "title": f"{p.value_s:g}s · {p.run.name} · {p.run.commit[:12]}"}
            for (x, y), p in zip(points, one.points, strict=True)
        ],
        "newest": values[-1],
        "least": min(values),
        "most": max(values),
        "worse": one.is_worse,
        "width": _WIDTH,
        "height": _HEIGHT,
    }
