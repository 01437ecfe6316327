"""A rehearsal as text: the waves, the critical path, what was in the way, and what was assumed."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.checking.text import COLOURS
from holdfast.rehearsal.change import Revert, Transition
from holdfast.rehearsal.outage import sentence
from holdfast.rehearsal.outcome import Outcome, Proof
from holdfast.tree.findings import Severity

_MOST = 300
_FEW = 8


def lines(out: Outcome, *, colour: bool) -> Iterator[str]:
    """The whole text; *colour* for a terminal."""

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colour else text

    if out.transition:
        yield f"the change since {out.transition.revision}, as it went:"
    else:
        yield "a cold start, as it went:"
    for number, (at, names) in enumerate(out.waves(), 1):
        yield f"  {number}. after {at:.1f}s  {', '.join(names)}"
    path = out.critical_path()
    if len(path) > 1:
        yield f"critical path: {' → '.join(f'{name} ({at:.1f}s)' for name, at in path)}"
    yield ""
    for number, proof in enumerate(out.proofs, 1):
        yield from _proof(number, proof, paint)
    if out.allowed:
        yield f"allowed, with a reason ({len(out.allowed)}):"
        for proof, reason in out.allowed:
            yield f"  {proof.finding.locations[0]}  {proof.finding.what}  [{proof.finding.rule}] because {reason}"
        yield ""
    yield from _listed(
        "the start needs what Git doesn't hold", [f"{what}, for {who}" for what, who in sorted(out.by_hand.items())]
    )
    yield from _listed("in the way, and perhaps the lane's own doing (no finding)", out.doubts)
    yield from _listed(
        "not settled", [f"{name}: {said[:_MOST]}" for name, said in sorted(out.course.unsettled.items())]
    )
    if out.transition:
        yield from of_the_change(out.transition)
    if out.outage:
        yield f"while {', '.join(out.outage.down)} {'is' if len(out.outage.down) == 1 else 'are'} unhealthy, a new commit:"
        for one in out.outage.arrivals:
            yield f"  {sentence(one)}"
        surprises = len(out.outage.surprises)
        yield f"  {surprises} of {len(out.outage.arrivals)} otherwise than `holdfast check --if-down` foretells"
    yield from _listed("not as in production", out.notes)
    yield ""
    yield _summary(out)


def _listed(title: str, items: list[str]) -> Iterator[str]:
    if items:
        yield f"{title}:"
        for item in items:
            yield f"  {item}"


def of_the_change(one: Transition) -> Iterator[str]:
    """What a change did, worst first; long lists by their first names."""
    stopped = [f"{name} for {s:.1f}s" for name, s in one.stopped.items()]
    counted = {
        "deleted": one.gone,
        "deleted and made anew": one.recreated,
        "new": one.made,
        "its pods are made anew": one.restarted,
    }
    for words, names in [*counted.items(), ("not reconciled meanwhile", stopped)]:
        if names:
            yield f"{words} ({len(names)}): {', '.join(names[:_FEW])}{' …' if len(names) > _FEW else ''}"
    if one.compared:
        differs = [*(f"{n} isn't there" for n in one.lacking), *(f"{n} has other content" for n in one.otherwise)]
        differs += [f"{n} is left behind" for n in one.left]
        yield f"beside a start of the new commit from nothing: {', '.join(differs[:_FEW]) or 'the same'}"
    for prediction in one.disagreements:
        seen = prediction.seen[:_MOST] or "nothing of it was seen"
        yield f"foretold otherwise: {prediction.object}: {prediction.foretold or 'nothing was foretold'}; {seen}"
    if one.revert:
        yield from _of_the_revert(one.revert)


def _of_the_revert(back: Revert) -> Iterator[str]:
    if back.clean:
        yield f"the revert is clean: all is as it was, {back.took_s:.1f}s after it was pushed"
        return
    yield "the revert is not clean:"
    if not back.converged:
        yield "  not everything became ready again"
    parts = {
        "refused": back.refused,
        "still there": back.left,
        "not there any more": back.lacking,
        "other content": back.otherwise,
    }
    for words, names in parts.items():
        for name in names[:_FEW]:
            yield f"  {words}: {name[:_MOST]}"
        if len(names) > _FEW:
            yield f"  {words}: {len(names) - _FEW} more"


def _proof(number: int, proof: Proof, paint: object) -> Iterator[str]:
    assert callable(paint)
    one = proof.finding
    yield f"{number}. {paint(str(one.severity), COLOURS[one.severity])}  {one.locations[0]}  {one.what[:_MOST]}"
    if proof.said and proof.said not in one.what:
        yield f"      said: {proof.said[:_MOST]}"
    yield f"      why: {one.why}"
    yield f"      do:  {one.do}  [{one.rule}]"
    if others := [str(place) for place in one.locations[1:]]:
        yield f"      also: {', '.join(others)}"
    if proof.after:
        yield f"      seen once {', '.join(f'no. {n}' for n in proof.after)} was out of the way"
    if proof.removal:
        yield f"      in the lane: {proof.removal}, and the start went on"
    yield ""


def _summary(out: Outcome) -> str:
    counts = {s: sum(1 for p in out.proofs if p.finding.severity is s) for s in sorted(Severity, reverse=True)}
    words = ", ".join(f"{n} {s}" for s, n in counts.items() if n) or "no finding"
    kustomizations = [n for n in out.course.bars if n.startswith("Kustomization/")]
    end = "everything is ready" if out.course.converged else f"{len(out.course.unsettled)} never became ready"
    if out.course.converged and (removed := sum(1 for o in out.course.obstacles if o.removal)):
        end = f"everything became ready once {removed} thing{'s were' if removed > 1 else ' was'} out of the way"
    if out.assumed:
        end += f" ({out.assumed} of {len(out.tree.kustomizations)} taken for ready: what they build isn't read)"
    return (
        f"{words} · {len(kustomizations)} Kustomizations, {end} after {out.course.took_s:.1f}s · "
        f"Kubernetes {out.kubernetes}, Flux {out.flux}"
    )
