"""One rehearsal from its first process to what it came to."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.drivers import distribution
from holdfast.drivers.failing import Failing
from holdfast.errors import HostCannot, UsageError
from holdfast.lane.subject import Subject
from holdfast.progress import console, step
from holdfast.rehearsal import outage
from holdfast.rehearsal.after import look_after
from holdfast.rehearsal.again import look_again
from holdfast.rehearsal.change import Means, rehearsed_change
from holdfast.rehearsal.judge import Judge
from holdfast.rehearsal.outcome import Outcome
from holdfast.rehearsal.past import subject_at
from holdfast.rehearsal.stage import Stage, staged
from holdfast.rehearsal.watcher import Watcher
from holdfast.waiting import CannotLook

LIMIT_S = 1200.0


def rehearsed(
    subject: Subject,
    profile: str,
    *,
    strict: bool = False,
    once: bool = False,
    if_down: str = "",
    fail: Sequence[str] = (),
    flux: str = "",
    brought_by: str = "",
    against: str = "",
    limit_s: float = LIMIT_S,
) -> Outcome:
    """What a start of *subject* from nothing comes to, with a line for each thing that happens.

    Args:
        profile: of the lane of processes, such as ``1.36``.
        strict: stop at the first obstacles. *once*: don't have everything reconciled again.
        if_down: what is made unhealthy afterwards; empty for nothing.
        fail: workloads whose pods fail from the start, as `Failing.parse` reads them.
        flux: the minor of Flux; empty for the profile's. *brought_by*: the distribution, as `distribution.named` has them.
        against: a revision that runs before *subject* is pushed onto it; empty for a start from nothing.
        limit_s: how long the start may take.

    Raises HostCannot where this machine can't run the lane.
    """
    if if_down:
        outage.targets(subject.tree, if_down)  # before anything is started
    failing = tuple(Failing.parse(text) for text in fail)

    def prepare(stage: Stage) -> None:
        stage.driver.failing = failing
        stage.driver.flux = flux or stage.driver.flux
        stage.driver.distribution = distribution.named(brought_by) if brought_by else stage.driver.distribution
        try:
            stage.driver.ensure_host()
        except UsageError as why:
            raise HostCannot(why.what, why.next_step) from None

    for said in (*subject.checkout.said, *subject.settings.notices):
        console.print(f"  note: {said}", style="yellow", markup=False)
    if against:
        with subject_at(subject, against) as past:
            return rehearsed_change(subject, past, against, Means(profile, prepare, _say, limit_s))
    with staged(subject, profile) as stage:
        prepare(stage)
        stage.start()
        watcher = Watcher(stage, strict=strict, limit_s=limit_s, say=_say)
        course = watcher.run()
        with step("looking at what runs, and at what takes nothing"):
            lame = look_after(stage) if course.converged else []
        absent = [one for one in failing if not _came(stage, one)]
        unseen = [f"--fail {one}: no such workload came to the cluster" for one in absent]
        if course.converged and not once:
            with step("reconciling all of it again, with nothing changed"):
                unsteady, untold = look_again(stage)
            lame += unsteady
            unseen += untold
        without = None
        if if_down and course.converged:
            try:
                without = outage.watch(stage, if_down, _say)
            except UsageError as why:  # all else that was seen still counts
                unseen.append(f"--if-down {if_down}: {why}")
        elif if_down:
            unseen.append(f"--if-down {if_down} wasn't tried: not everything became ready")
        out = Judge(subject.tree, stage.foretold).outcome(
            course,
            stage.driver.kubernetes,
            stage.driver.flux,
            [n.text for n in stage.driver.notes()]
            + [f"the pods of {one} fail, as told" for one in failing if one not in absent]
            + stage.notes,
            lame,
        )
    out.doubts += unseen
    out.outage = without
    return out


def _came(stage: Stage, one: Failing) -> bool:
    """Whether there is such a workload: in the tree (a Job may be gone again), or by a chart in the cluster; true where nobody answers."""
    if any(one.takes(m.namespace, m.name) for m in stage.tree.of(one.kind)):
        return True
    try:
        there = [item["metadata"] for item in stage.client.list(one.kind)]
    except CannotLook:
        return True
    return any(one.takes(meta["namespace"], meta["name"]) for meta in there)


def _say(line: str) -> None:
    console.print(f"  {line}", markup=False)
