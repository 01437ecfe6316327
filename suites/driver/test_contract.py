"""The contract of drivers, held on the cluster that the other suites ran on: the last of a run."""

import pytest

from holdfast.drivers.driver import NodeNetwork, NodePower, Writable, lacks
from holdfast.errors import NotExercised
from holdfast.faults.fault import CONVERGED
from suites.driver.contract import PROMISES, Promise, Subject

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize("promise", PROMISES, ids=str)
def test_the_driver_keeps(promise: Promise, cluster):
    if why := promise.lacking(cluster.driver):
        raise NotExercised(why)
    subject = Subject(cluster.driver, cluster.objects)
    with cluster.inject.for_a_while() if not lacks(cluster.driver, Writable) else pytest.MonkeyPatch.context():
        if not lacks(cluster.driver, Writable, NodePower, NodeNetwork):
            cluster.inject.safeguard(subject.worker)  # a killed run must not leave it without power
        promise.check(subject)


def test_a_cluster_that_is_kept_is_steady_again(run, cluster):
    """One that goes away isn't waited for; whoever gets it all the same gets a new one."""
    if run.kept:
        cluster.eventually(CONVERGED, within="5m", required=True)
    else:
        run.quarantine("the driver's contract took its nodes' power")
