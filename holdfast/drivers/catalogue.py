"""The drivers that there are, by name. A new one is its file, its profiles, and one line here."""

from __future__ import annotations

import difflib

from holdfast.drivers import attached, k3d, kind, kwok
from holdfast.drivers.driver import OpenDriver
from holdfast.errors import UsageError
from holdfast.progress import console

DRIVERS: dict[str, OpenDriver] = {"kwok": kwok, "kind": kind, "k3d": k3d, "attached": attached}  # the quickest first
KEPT = "kind/fast"  # where a cluster is to stay and no lane is named
_OLD_PROFILES = {"swift": "fast", "true": "default"}  # accepted until 0.3


def parse(lane: str) -> tuple[str, str]:
    """``kind/fast`` as driver and profile, ``kind`` as its usual one; UsageError for an unknown one, with the nearest name."""
    driver, _, profile = lane.partition("/")
    if is_named_by_user(lane):
        attached.known(profile)
        return driver, profile
    if not profile and driver in DRIVERS:
        profile = DRIVERS[driver].profiles()[-1]
    if driver == "kind" and profile in _OLD_PROFILES:
        console.print(f"  note: the profile {profile} is called {_OLD_PROFILES[profile]} now", style="yellow")
        profile = _OLD_PROFILES[profile]
    known = lanes()
    if f"{driver}/{profile}" not in known:
        near = difflib.get_close_matches(lane, known, 1, cutoff=0.4)
        raise UsageError(
            f"unknown lane '{lane}'" + (f"; did you mean '{near[0]}'?" if near else ""),
            f"lanes are: {', '.join(known)}",
        )
    return driver, profile


def is_named_by_user(lane: str) -> bool:
    """Whether a lane is one of the user's own clusters, which no other name stands for."""
    return bool(getattr(DRIVERS.get(lane.partition("/")[0]), "NAMED_BY_USER", False))


def lanes() -> list[str]:
    """Every lane, as DRIVER/PROFILE."""
    return [f"{name}/{profile}" for name, driver in DRIVERS.items() for profile in driver.profiles()]


def usual() -> list[str]:
    """The lane of each driver that is run where none is named, the quickest first; without those that are only run by their name."""
    return [
        f"{name}/{driver.profiles()[-1]}"
        for name, driver in DRIVERS.items()
        if driver.profiles() and not getattr(driver, "ONLY_BY_NAME", False)
    ]
