"""A rehearsal as Markdown, for the comment on a change: at most sixty lines, what is in the way first."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.checking.markdown import code, counted, table
from holdfast.rehearsal.outcome import Outcome
from holdfast.rehearsal.text import of_the_change
from holdfast.tree.findings import Severity

_MOST_LINES = 12


def summary(out: Outcome, fail_on: Severity) -> str:
    """The whole."""
    return "\n".join(_lines(out, fail_on))


def _lines(out: Outcome, fail_on: Severity) -> Iterator[str]:
    worst = out.worst()
    bad = not out.shown or (worst is not None and worst >= fail_on)
    of_what = f"the change since {code(out.transition.revision)}" if out.transition else "a cold start"
    yield f"### {'❌' if bad else '✅'} holdfast rehearse, {of_what}: {counted([p.finding for p in out.proofs])}"
    yield ""
    end = "everything became ready" if out.course.converged else f"{len(out.course.unsettled)} never became ready"
    yield f"{end} after {out.course.took_s:.1f} s · Kubernetes {out.kubernetes}, Flux {out.flux}"
    yield from table([p.finding for p in out.proofs])
    told = list(of_the_change(out.transition)) if out.transition else []
    told += [f"not settled: {name}: {said}" for name, said in sorted(out.course.unsettled.items())]
    told += [f"no finding, and perhaps the lane's own doing: {doubt}" for doubt in out.doubts]
    if told:
        yield ""
    for line in told[:_MOST_LINES]:
        yield f"- {code(line[:300])}"
    if len(told) > _MOST_LINES:
        yield f"- and {len(told) - _MOST_LINES} more: holdfast rehearse"
