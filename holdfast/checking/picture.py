"""The order of a start as a picture: an HTML page with one SVG. Layers from left to right; what never starts, or what is frozen, is coloured."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from holdfast.tree.boot import Down
from holdfast.tree.needs import Phase, State
from holdfast.tree.roles import role
from holdfast.tree.tree import Tree

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _TOP = 180, 46, 56, 16, 60
_FILL = {
    "core": "#e3f1e5",
    "storage": "#fdf0d9",
    "monitoring": "#e4ecf7",
    "longterm": "#e4ecf7",
    "apps": "#f3f3f3",
    "flux": "#efe6f5",
}
_STYLE = """body{font:14px system-ui,sans-serif;margin:24px;color:#222}.p{overflow-x:auto}
text{font:12px system-ui,sans-serif}.n{font-weight:600}.s{fill:#666;font-size:11px}
.e{fill:none;stroke:#9aa;stroke-width:1.2}.bad{stroke:#c0392b;stroke-width:2}li{margin:4px 0}code{background:#f4f4f4;padding:1px 4px}"""


@dataclass(frozen=True)
class _Box:
    x: int
    y: int


def page(tree: Tree, down: Down | None) -> str:
    """The page; with *down*, what it freezes is coloured, else what can never start."""
    boot = tree.boot
    never = [i for b in boot.blocked for i in b.kustomizations]
    columns = [*boot.waves, *([tuple(never)] if never else [])]
    boxes = _placed(tree, columns)
    bad = (
        {i for i in tree.kustomizations if f"Kustomization/{i}" in down.frozen or f"Kustomization/{i}" in down.unready}
        if down
        else set(never)
    )
    width = max((b.x for b in boxes.values()), default=0) + _WIDTH + 30
    height = max((b.y for b in boxes.values()), default=0) + _HEIGHT + 30
    parts = [
        f'<text x="{20 + i * (_WIDTH + _GAP_X)}" y="34" class="s">{"never" if never and i == len(columns) - 1 else f"wave {i + 1}"}</text>'
        for i in range(len(columns))
    ]
    parts += [_edge(boxes, a, b, a in bad and b in bad) for a, b in _needs(tree)]
    seeds = (
        {s.removeprefix("Kustomization/") for s in down.seeds} | {m.owner for m in tree.objects if m.id in down.seeds}
        if down
        else set()
    )
    parts += [_box(tree, i, box, "down" if i in seeds else "bad" if i in bad else "") for i, box in boxes.items()]
    title = f"{tree.repository.root.name}: {'what freezes' if down else 'the order of a start from nothing'}"
    return (
        f"<!doctype html><meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>"
        f'<div class="p"><svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">{"".join(parts)}</svg></div>{_told(tree, down)}'
    )


def _placed(tree: Tree, columns: list[tuple[str, ...]]) -> dict[str, _Box]:
    """Each Kustomization in its column, near what it needs (by the mean place of those), so that few lines cross."""
    boxes: dict[str, _Box] = {}
    needs: dict[str, list[str]] = {}
    for a, b in _needs(tree):
        needs.setdefault(a, []).append(b)
    for number, column in enumerate(columns):

        def mean(i: str) -> float:
            ys = [boxes[n].y for n in needs.get(i, []) if n in boxes]
            return sum(ys) / len(ys) if ys else 0.0

        for row, one in enumerate(sorted(column, key=lambda i: (mean(i), i))):
            boxes[one] = _Box(20 + number * (_WIDTH + _GAP_X), _TOP + row * (_HEIGHT + _GAP_Y))
    return boxes


def _needs(tree: Tree) -> list[tuple[str, str]]:
    """Which Kustomization waits for which: by dependsOn, or for a kind or a namespace that the other brings."""
    graph, found = tree.graph, []
    for one in tree.kustomizations.values():
        states = (State(f"Kustomization/{one.id}", Phase.DEFINED), State(f"Kustomization/{one.id}", Phase.APPLIED))
        for state in states:
            for other in graph.edges.requires.get(state, {}):
                owner = next(
                    (la.id for la in tree.kustomizations.values() if other.id == f"Kustomization/{la.id}"), None
                )
                if owner is None:
                    owner = next((m.owner for m in tree.objects if m.id == other.id), None)
                if (
                    owner
                    and owner != one.id
                    and graph.needs(state, other).how != "source"
                    and other.phase is not Phase.EXISTS
                ):
                    found.append((one.id, owner))
    return list(dict.fromkeys(found))


def _edge(boxes: dict[str, _Box], a: str, b: str, bad: bool) -> str:
    if a not in boxes or b not in boxes:
        return ""
    begin, end = boxes[b], boxes[a]
    x1, y1, x2, y2 = begin.x + _WIDTH, begin.y + _HEIGHT // 2, end.x, end.y + _HEIGHT // 2
    bend = max(30, abs(x2 - x1) // 2)
    return f'<path class="e{" bad" if bad else ""}" d="M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"/>'


def _box(tree: Tree, name: str, box: _Box, state: str) -> str:
    kustomization = tree.kustomizations[name]
    kind = role(tree, kustomization)
    stroke = ' stroke="#c0392b" stroke-width="2.5"' if state else ' stroke="#999"'
    fill = {"down": "#e8a9a1", "bad": "#fbe4e1"}.get(state, _FILL.get(kind, "#fff"))
    short = (
        kustomization.manifest.name if len(kustomization.manifest.name) < 27 else f"{kustomization.manifest.name[:25]}…"
    )
    return (
        f'<g><title>{escape(name)}: {escape(kustomization.folder)}</title><rect x="{box.x}" y="{box.y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" '
        f'fill="{fill}"{stroke}/>'
        f'<text class="n" x="{box.x + 10}" y="{box.y + 20}">{escape(short)}</text>'
        f'<text class="s" x="{box.x + 10}" y="{box.y + 37}">{kind} · {len(kustomization.objects)} object{"s" * (len(kustomization.objects) != 1)}{" · waits" if kustomization.waits else ""}</text></g>'
    )


def _told(tree: Tree, down: Down | None) -> str:
    """The reasons under the picture."""
    items = []
    if down:
        for title, what in (("frozen", down.frozen), ("reports failure", down.unready), ("stops", down.stopped)):
            items += [
                f"<li>{title}: <b>{escape(n)}</b> – {escape(' → '.join(map(str, steps)))}" for n, steps in what.items()
            ]
    else:
        for blocked in tree.boot.blocked:
            items.append(
                f"<li>never: <b>{escape(', '.join(blocked.kustomizations))}</b> – {escape(' → '.join(map(str, blocked.chain)))}"
            )
    return (
        f"<ul>{''.join(items)}</ul>"
        if items
        else "<p>Everything starts.</p>"
        if not down
        else "<p>Nothing follows.</p>"
    )
