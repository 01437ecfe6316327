"""The pytest plugin: what makes a session a run. Without ``--lane`` it is inert, and loads nothing that only a lane needs.

``pytest --lane kind/fast --tree PATH suites/faults/test_flux.py`` runs tests on a throw-away cluster, as `holdfast verify` does, with all that
pytest can do: ``-k``, ``-m``, ``-x``, node ids, an IDE's "run this test".
"""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import UsageError

FIXTURES, SESSION = "holdfast.fixtures", "holdfast-session"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The lane's options."""
    group = parser.getgroup("holdfast", "a throw-away cluster with a Flux tree on it")
    group.addoption("--lane", metavar="DRIVER/PROFILE", help="run the tests on this lane, such as kind/fast")
    group.addoption("--tree", metavar="PATH", type=Path, help="the GitOps tree: a Git checkout with a Flux entry")
    group.addoption("--entry", metavar="FOLDER", default="", help="its Flux entry, where the tree has more than one")
    group.addoption("--charts", metavar="FOLDER", type=Path, help="charts that are rendered")
    group.addoption("--lane-keep", action="store_true", help="leave the cluster for a later --lane-reuse")
    group.addoption("--lane-reuse", action="store_true", help="use the kept cluster, healed first; it is kept again")


def pytest_configure(config: pytest.Config) -> None:
    """Declares the marks; with ``--lane`` makes this session a run."""
    config.addinivalue_line("markers", "claim(*ids): the claims of suites/claims.toml that the test shows")
    config.addinivalue_line("markers", "needs(*capabilities): what the lane's driver must be able to do")
    config.addinivalue_line(
        "markers", "in_part(how_far, *lacking): shows a part of its claims, where the driver lacks what the whole needs"
    )
    config.addinivalue_line("markers", "smoke: part of the lab smoke")
    if not config.getoption("--lane"):
        return
    if getattr(config.option, "numprocesses", None) or hasattr(config, "workerinput"):
        raise pytest.UsageError("a lane is one cluster, which tests take in turn: run without -n")
    if config.getoption("continue_on_collection_errors", default=False):
        raise pytest.UsageError(
            "a claim isn't held by a part of its tests: run without --continue-on-collection-errors"
        )
    from holdfast.session import PlainSession  # noqa: PLC0415  half a second of imports that only a lane needs

    try:
        config.pluginmanager.register(PlainSession(config), SESSION)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.import_plugin(FIXTURES)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fails collection for a claim id that isn't in the register."""
    from holdfast import claims  # noqa: PLC0415

    marked = [(item, i) for item in items for mark in item.iter_markers("claim") for i in mark.args]
    register = claims.load() if marked else {}
    for item, wanted in marked:
        if wanted not in register:
            raise pytest.UsageError(f"{item.nodeid}: {claims.unknown(wanted, register)}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test of a claim has nothing to run on without a lane."""
    if item.get_closest_marker("claim") and not item.config.pluginmanager.has_plugin(FIXTURES):
        pytest.fail(
            "a test of a claim runs on a lane: pytest --lane kind/fast …, or holdfast verify -k NAME", pytrace=False
        )
