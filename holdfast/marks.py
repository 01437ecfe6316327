"""What a test says of itself: the claims that it shows, and what the lane's driver must be able to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from holdfast.claims import Claim, ids

T = TypeVar("T", bound=Callable[..., Any])


def claim(*claims: Claim | str) -> Callable[[T], T]:
    """Marks a test as the proof of claims, or of their ids; those that aren't in the register fail at collection."""
    return pytest.mark.claim.with_args(*ids(claims))


def in_part(how_far: str, *lacking: type) -> Callable[[T], T]:
    """Marks a test that shows a part of its claims, for lanes that lack a capability which the whole needs; on others it isn't collected.

    Where the part holds, the claims stay not exercised, and the reason says how far they were shown; where it breaks, they broke.

    Args:
        how_far: as in "as far as the scheduler goes": ``the scheduler goes``.
        lacking: capabilities of which the lane has none.
    """
    return pytest.mark.in_part.with_args(how_far, *lacking)


def needs(*capabilities: type) -> Callable[[T], T]:
    """Marks a test with the capabilities of `holdfast.drivers.driver` that it needs: on a lane that lacks one it is not exercised.

    What its fixtures need goes without saying: `faults` needs `Writable`, `git` needs `GitHosting`.
    """
    return pytest.mark.needs.with_args(
        *capabilities
    )  # a single class given to a mark would be taken for what is marked
