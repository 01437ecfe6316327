"""A rehearsal as a page: one bar a Kustomization and release, by what it was at, and the findings below. One file, no script."""

from __future__ import annotations

from html import escape

from holdfast.rehearsal.course import Bar
from holdfast.rehearsal.looks import Doing
from holdfast.rehearsal.outcome import Outcome, Proof

_STYLE = """
:root{--ground:#fff;--text:#1c2430;--soft:#5d6a7a;--line:#e3e7ec;--card:#f7f8fa;--waiting:#c9d2dd;--building:#8fb4e8;--applying:#4d86d8;
--checking:#e3b341;--ready:#57a773;--failed:#d9534f;--assumed:#b7d8c2;--suspended:#9aa3ad}
@media(prefers-color-scheme:dark){:root{--ground:#14181e;--text:#e4e8ee;--soft:#94a0af;--line:#2a313b;--card:#1b2028;--waiting:#3d4755;
--building:#4f7fc0;--applying:#6ea4f2;--checking:#d9a92f;--ready:#4f9c6b;--failed:#e06c67;--assumed:#35593f;--suspended:#5b6570}}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--text);font:15px/1.5 system-ui,sans-serif}
main{max-width:1280px;margin:0 auto;padding:28px 24px 60px}h1{font-size:22px;margin:0 0 4px}h2{font-size:16px;margin:36px 0 10px}
.lead{color:var(--soft);margin:0 0 18px}.key{display:flex;flex-wrap:wrap;gap:6px 16px;font-size:13px;color:var(--soft);margin:0 0 14px}
.key i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px;vertical-align:-1px}
.chart{position:relative;border-top:1px solid var(--line)}.row{display:grid;grid-template-columns:minmax(150px,300px) 1fr 58px;gap:12px;
align-items:center;height:26px;border-bottom:1px solid var(--line)}.row:hover{background:var(--card)}
.name{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;font-size:13px}.name small{color:var(--soft)}
.track{position:relative;height:14px}.track b{position:absolute;top:0;height:14px;min-width:2px;border-radius:2px}
.at{font-size:12px;color:var(--soft);text-align:right;font-variant-numeric:tabular-nums}.axis{height:22px;color:var(--soft);font-size:12px}
.axis .track span{position:absolute;transform:translateX(-50%)}.never .name,.never .at{color:var(--failed);font-weight:600}
.find{border:1px solid var(--line);border-left:4px solid var(--failed);border-radius:6px;background:var(--card);padding:12px 16px;margin:0 0 12px}
.find.upgrade-hazard,.find.hygiene{border-left-color:var(--checking)}.find p{margin:4px 0;overflow-wrap:anywhere}.find code{font-size:13px}
.find .place{color:var(--soft);font-size:13px}
.said{font:13px/1.45 ui-monospace,monospace;color:var(--soft)}ul{padding-left:20px}li{overflow-wrap:anywhere}
@media(max-width:700px){main{padding:18px 12px}.row{grid-template-columns:110px 1fr 48px;gap:8px}}
"""
_WORDS = {
    Doing.WAITING: "waits for another",
    Doing.BUILDING: "is built",
    Doing.APPLYING: "is applied",
    Doing.CHECKING: "waits for its objects' health",
    Doing.READY: "ready",
    Doing.FAILED: "failed",
    Doing.ASSUMED: "taken for ready",
    Doing.SUSPENDED: "suspended",
}
_TICKS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600)


def page(out: Outcome) -> str:
    """The page."""
    course = out.course
    whole = max(course.took_s, 1.0)
    title = f"{out.tree.repository.root.name}: a cold start"
    bars = sorted(
        (n for n in course.bars if not n.startswith("GitRepository/")),
        key=lambda n: (course.bars[n].ready_at is None, course.bars[n].ready_at or 0.0, n),
    )
    rows = "".join(_row(name, course.bars[name], whole, never=name in course.unsettled) for name in bars)
    key = "".join(f'<span><i style="background:var(--{d.value})"></i>{escape(w)}</span>' for d, w in _WORDS.items())
    findings = "".join(_finding(n, p) for n, p in enumerate(out.proofs, 1)) or "<p>Nothing was in the way.</p>"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><main><h1>{escape(title)}</h1>"
        f'<p class="lead">{escape(_lead(out))}</p><div class="key">{key}</div>'
        f'<div class="chart">{_axis(whole)}{rows}</div>'
        f"<h2>What was in the way</h2>{findings}{_lists(out)}</main></html>\n"
    )


def _lead(out: Outcome) -> str:
    kustomizations = sum(1 for n in out.course.bars if n.startswith("Kustomization/"))
    end = "everything ready" if out.course.converged else f"{len(out.course.unsettled)} never ready"
    said = f"{kustomizations} Kustomizations, {end} after {out.course.took_s:.1f} s · Kubernetes {out.kubernetes}, Flux {out.flux}"
    return f"{said} · commit {out.tree.repository.commit[:12]}" if out.tree.repository.commit else said


def _axis(whole: float) -> str:
    every = next((t for t in _TICKS if whole / t <= 8), _TICKS[-1])
    ticks = "".join(
        f'<span style="left:{100 * at / whole:.2f}%">{at} s</span>' for at in range(0, int(whole) + 1, every)
    )
    return f'<div class="row axis"><span></span><div class="track">{ticks}</div><span></span></div>'


def _row(name: str, bar: Bar, whole: float, *, never: bool) -> str:
    kind, _, own = name.partition("/")
    ends = [at for at, _, _ in bar.parts[1:]] + [whole]
    parts = "".join(
        f'<b title="{escape(_title(doing, said, at, end), quote=True)}" '
        f'style="left:{100 * at / whole:.2f}%;width:{100 * max(end - at, 0) / whole:.2f}%;background:var(--{doing.value})"></b>'
        for (at, doing, said), end in zip(bar.parts, ends, strict=True)
    )
    at = "never" if never else f"{bar.ready_at:.1f} s" if bar.ready_at is not None else "–"
    short = "release" if kind == "HelmRelease" else ""
    return (
        f'<div class="row{" never" if never else ""}"><span class="name" title="{escape(name, quote=True)}">{escape(own)} '
        f'<small>{short}</small></span><div class="track">{parts}</div><span class="at">{at}</span></div>'
    )


def _title(doing: Doing, said: str, begin: float, end: float) -> str:
    return f"{_WORDS[doing]}, {begin:.1f} s to {end:.1f} s" + (f": {said[:300]}" if said else "")


def _finding(number: int, proof: Proof) -> str:
    one = proof.finding
    after = f"<p>Seen once {', '.join(f'no. {n}' for n in proof.after)} was out of the way.</p>" if proof.after else ""
    lane = f"<p>In the lane: {escape(proof.removal)}, and the start went on.</p>" if proof.removal else ""
    said = f'<p class="said">{escape(proof.said)}</p>' if proof.said and proof.said not in one.what else ""
    return (
        f'<div class="find {one.severity}"><p><b>{number}. {escape(one.what)}</b></p>'
        f'<p class="place">{escape(", ".join(map(str, one.locations)))} · {escape(one.rule)} · {one.severity}</p>{said}'
        f"<p>{escape(one.why)}</p><p>Do: {escape(one.do)}</p>{after}{lane}</div>"
    )


def _lists(out: Outcome) -> str:
    parts = {
        "The start needs what Git doesn't hold": [f"{what}, for {who}" for what, who in sorted(out.by_hand.items())],
        "In the way, and perhaps the lane's own doing": out.doubts,
        "Not settled": [f"{name}: {said}" for name, said in sorted(out.course.unsettled.items())],
        "Not as in production": out.notes,
    }
    return "".join(
        f"<h2>{escape(title)}</h2><ul>{''.join(f'<li>{escape(i)}</li>' for i in items)}</ul>"
        for title, items in parts.items()
        if items
    )
