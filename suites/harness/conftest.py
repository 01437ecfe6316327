"""What the tests of holdfast itself share."""

import pytest
from hypothesis import settings

from holdfast.waiting import Clock

# A test is no stopwatch: what one example takes is the machine's doing, and a deadline makes a flake of it.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


class FakeTime:
    """A clock that only moves when somebody sleeps."""

    def __init__(self):
        self.at = 0.0

    def sleep(self, seconds):
        self.at += max(seconds, 0.001)

    @property
    def clock(self):
        return Clock(now=lambda: self.at, sleep=self.sleep)


@pytest.fixture
def time_():
    return FakeTime()
