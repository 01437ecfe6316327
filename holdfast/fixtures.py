"""What a test is given, in a session that is a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import pytest

from holdfast.cluster import Cluster
from holdfast.drivers.driver import lacks
from holdfast.errors import NotExercised
from holdfast.events import TestBegin
from holdfast.experiment import Experiment
from holdfast.faults.fault import Faults
from holdfast.gitserver import GitServer
from holdfast.run import Run
from holdfast.runbook import Runbook
from holdfast.sampling.watch import Sampler
from holdfast.session import RUN, claim_ids, kind_of, needs_of, part_of
from holdfast.waiting import Unproven, patiently


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Run:
    """The run that this test belongs to."""
    return request.config.stash[RUN]


@pytest.fixture
def experiment(request: pytest.FixtureRequest, run: Run) -> Experiment:
    """The experiment of this test; the journal knows it from here on."""
    item = cast(pytest.Item, request.node)
    made = Experiment(run.journal, item.nodeid, kind_of(item), run.rerun(item.nodeid))
    made.write(TestBegin(claim_ids(item), made.kind, part_of(item)))
    if why := lacks(run.lane.driver, *needs_of(item)):
        raise NotExercised(why)
    return made


@pytest.fixture
def tree(run: Run, experiment: Experiment) -> Callable[[str], None]:
    """Says what the tree alone shows of a claim: it returns where the claim holds, and raises where not."""

    def shows(claim: str) -> None:
        found = run.checked.claims[claim]
        if found.verdict == "broke":
            experiment.assertion(claim, "rules", False, found.reason)
        elif found.verdict == "unproven":
            raise Unproven(found.reason)
        elif found.verdict == "not exercised":
            raise NotExercised(found.reason)
        else:
            experiment.shown(claim, found.reason)

    return shows


@pytest.fixture
def cluster(run: Run, experiment: Experiment) -> Iterator[Cluster]:
    """The lane's cluster, steady when a test gets it."""
    made = run.cluster()
    made.experiment = experiment
    made.power_windows.clear()
    yield made
    try:
        if not run.quarantined:
            made.inject.heal(patiently)  # what the test itself changed and left
    finally:
        made.experiment = None


@pytest.fixture
def faults(run: Run, cluster: Cluster, experiment: Experiment) -> Faults:
    """Runs faults: `with faults(node_loss("k3s2")): …`."""
    return Faults(cluster, lambda what: run.capture(experiment.test, what), run.quarantine)


@pytest.fixture
def sampler(run: Run, cluster: Cluster, experiment: Experiment) -> Sampler:
    """Runs watches: `with sampler.watch(ingress()) as seen: …`."""
    return Sampler(cluster, run.folder / "samples" / experiment.test.rpartition("::")[2])


@pytest.fixture
def runbook(run: Run, cluster: Cluster) -> Runbook:
    """The runbook that the tree names, to be followed."""
    name, repository = cluster.settings.runbook, run.lane.tree.repository
    if not name or name not in repository.known:
        raise NotExercised("the tree names no runbook")
    return Runbook(cluster, name, repository.text(name), run.lane.subject.folder)


@pytest.fixture
def git(run: Run) -> GitServer:
    """The Git server that Flux pulls from."""
    return run.lane.git()
