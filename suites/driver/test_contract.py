"""The contract of drivers, held on the cluster that the other suites ran on. The last of a run: afterwards the cluster isn't waited for."""

import pytest

from holdfast.errors import NotExercised
from suites.driver.contract import PROMISES, Promise, Subject


@pytest.mark.smoke
@pytest.mark.parametrize("promise", PROMISES, ids=str)
def test_the_driver_keeps(promise: Promise, cluster):
    if why := promise.lacking(cluster.driver):
        raise NotExercised(why)
    promise.check(Subject(cluster.driver, cluster.objects))
