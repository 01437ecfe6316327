"""What the static graph foretells of generated trees is what Flux does: which Kustomizations become ready, which never, and in which order.

``HOLDFAST_NIGHTLY=1`` grows 300 of them; ``HOLDFAST_GROVES=17,23`` those of some seeds, to look at one that went otherwise.
"""

import os
import subprocess
import time

import pytest

from holdfast.lane.subject import Subject
from holdfast.rehearsal.looks import Doing, look
from holdfast.rehearsal.stage import staged
from holdfast.tree.boot import lost
from holdfast.tree.check import check
from holdfast.tree.findings import Severity
from holdfast.tree.needs import Phase, State
from suites.harness import pairs
from suites.oracle.forest import AGAIN_S, TIMEOUT_S, grove, plant

A_FOREST = 25
# The API server takes it, and it never runs.
APPLIED_ALL_THE_SAME = {"apply.missing-class", "apply.unschedulable"}
SEEDS = [int(n) for n in os.environ.get("HOLDFAST_GROVES", "").split(",") if n]
FORESTS = range(12) if os.environ.get("HOLDFAST_NIGHTLY") else range(1)
QUIET_S = TIMEOUT_S + AGAIN_S + 8.0  # a whole try more, and what it takes to see it
LIMIT_S = 300.0
SKEW_S = 1.0  # of two looks


def awaited(tree, hit, owner):
    """Whether the Kustomization that applies an object, or what it waits for, is ready only once the object's pods are."""
    spec = tree.kustomizations[owner].spec if owner in tree.kustomizations else {}
    name = hit.rpartition("/")[2]  # here a claim and the workload that mounts it have one name
    return bool(spec.get("wait")) or any(one.get("name") == name for one in spec.get("healthChecks") or [])


def health_checks(kustomization):
    """What the health checks of a Kustomization name, as the graph does."""
    for one in kustomization.spec.get("healthChecks") or []:
        yield f"{one['kind']}/{one['namespace']}/{one['name']}"


def foretold(tree):
    """The Kustomizations that never become ready, as `holdfast check` sees it."""
    result = check(tree, only=["apply", "schema"])
    boot = tree.boot
    never = {k for blocked in (*boot.blocked, *boot.never_ready) for k in blocked.kustomizations}
    owners = {m.id: m.owner for m in tree.objects}
    refused = set()  # nothing of these is applied, nor what they would apply
    for finding in result.findings:
        if finding.severity is Severity.BREAKS_APPLY:
            never |= {
                hit.partition("/")[2] if hit.startswith("Kustomization/") else owners.get(hit, "")
                for hit in finding.hits
                if finding.rule not in APPLIED_ALL_THE_SAME or awaited(tree, hit, owners.get(hit, ""))
            }
            if finding.rule not in APPLIED_ALL_THE_SAME:
                refused |= {
                    owners[hit] for hit in finding.hits if owners.get(hit) and not hit.startswith("Kustomization/")
                }
    # Outside of these trees there is nothing: what check takes to exist there never comes.
    checks = [(name, k) for k, one in tree.kustomizations.items() for name in health_checks(one)]
    never |= {k for name, k in checks if name in tree.graph.external}
    checked = {name for name, _ in checks}
    lacking = {
        who.partition(" ")[0].removesuffix(",") for name, who in tree.graph.external.items() if name not in checked
    }
    never |= {one.partition("/")[2] for one in lacking if one.startswith("Kustomization/")}
    broken = {State(one, phase) for one in lacking for phase in (Phase.DEFINED, Phase.APPLIED, Phase.READY)}
    broken |= {State(f"Kustomization/{k}", Phase.APPLIED) for k in refused}
    gone = lost(tree.graph, broken | {ready_state(k) for k in never})
    return {k for k in tree.kustomizations if ready_state(k) in gone}


def ready_state(name):
    return State(f"Kustomization/{name}", Phase.READY)


def seen(stage):
    """When each Kustomization was first seen ready, in seconds, once a whole try more changes nothing."""
    began, since, ready = time.monotonic(), time.monotonic(), {}
    while time.monotonic() - since < QUIET_S:
        now = time.monotonic()
        assert now - began < LIMIT_S, "it doesn't settle"
        states = look(stage.client)
        for state in states.values():
            name = state.id.partition("/")[2]
            if state.kind == "Kustomization" and state.doing is Doing.READY and name not in ready:
                ready[name], since = now - began, now
        time.sleep(0.3)
    words = {s.id.partition("/")[2]: s.said or s.progress for s in states.values() if s.kind == "Kustomization"}
    return ready, words


def too_early(tree, names, ready):
    """What was ready before something that it can't be ready without, in words."""
    for first in names:
        if first in ready:
            without = lost(tree.graph, {ready_state(first)})
            for second in names:
                if second in ready and ready[second] < ready[first] - SKEW_S and ready_state(second) in without:
                    yield f"{second} was ready {ready[first] - ready[second]:.1f}s before {first}, which it needs"


@pytest.mark.parametrize("number", [0] if SEEDS else FORESTS)
def test_what_is_foretold_is_what_flux_does(number, tmp_path):
    groves = [grove(seed) for seed in SEEDS or range(number * A_FOREST, (number + 1) * A_FOREST)]
    folder = tmp_path / "tree"
    plant(groves, folder, (pairs.valid("image") / "cluster" / "flux.yaml").read_text())
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@localhost"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "a forest"]):
        subprocess.run([*git, *words], check=True)
    subject = Subject(folder)
    never = foretold(subject.tree)
    with staged(subject, "1.36") as stage:
        stage.driver.ensure_host()
        stage.start()
        ready, words = seen(stage)
    otherwise = []
    for one in groves:
        differs = {n for n in one.names if (n in never) is (n in ready)}
        if differs:
            said = [
                f"{n}: foretold {'never' if n in never else 'ready'}, and it says: {words.get(n, 'nothing')[:300]}"
                for n in sorted(differs)
            ]
            otherwise.append("\n".join([*said, one.text()]))
    early = [words for one in groves for words in too_early(subject.tree, one.names, ready)]
    assert not otherwise, f"{len(otherwise)} of {len(groves)} groves went otherwise:\n" + "\n\n".join(otherwise)
    assert early == []
    assert {n for one in groves for n in one.names} & never, "nothing of it was stuck, so nothing was learnt"
