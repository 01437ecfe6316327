"""Plain pytest with ``--lane``: what it selects, what it starts, what it leaves behind however it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from holdfast import events
from holdfast.journal import read_file
from holdfast.paths import ROOT
from holdfast.session import not_asked_for
from holdfast.verdicts import Verdict, verdicts
from suites.harness import apart

pytest_plugins = ["pytester"]


@pytest.fixture
def elsewhere(tmp_path):
    """An environment with folders of its own, and no engine to be had."""
    return apart.environment(tmp_path)


def plain(*arguments, env):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--lane", "kind/fast", *arguments]
    return subprocess.run(
        command, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, cwd=ROOT
    )


def runs(tmp_path):
    return sorted((tmp_path / "out").glob("2*")) if (tmp_path / "out").exists() else []


def test_collect_only_starts_nothing(elsewhere, tmp_path):
    done = plain("--collect-only", "-q", "suites/faults", env=elsewhere)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_flux.py::test_running_workloads_continue_while_flux_is_down" in done.stdout
    assert not runs(tmp_path)


def test_what_needs_no_cluster_runs_without_an_engine(elsewhere, tmp_path):
    done = plain("suites/static", "-k", "ingress-tls or longhorn-backup", env=elsewhere)
    assert done.returncode == 1, done.stdout + done.stderr  # Longhorn has no backup target
    assert "1 failed, 1 passed" in done.stdout
    assert "Run again: pytest --lane kind/fast" in done.stdout
    (folder,) = runs(tmp_path)
    assert (folder / "report.html").exists()
    found = {v.claim: v.verdict for v in verdicts(read_file(folder / "journal.jsonl")) if v.tests}
    assert found == {"ingress-tls": Verdict.HELD, "longhorn-backup": Verdict.BROKE}


def test_a_run_that_stops_early_is_sealed_and_says_what_it_did_not_look_at(elsewhere, tmp_path):
    done = plain("suites/static", "-x", "-k", "longhorn-backup or tailscale-router", env=elsewhere)
    assert "stopping after 1 failures" in done.stdout, done.stdout + done.stderr
    (folder,) = runs(tmp_path)
    record = read_file(folder / "journal.jsonl")
    assert record.sealed
    found = {v.claim: v.verdict for v in verdicts(record) if v.tests}
    assert found == {"longhorn-backup": Verdict.BROKE, "tailscale-router": Verdict.UNPROVEN}
    assert not (folder / "tmp").exists()


def test_a_claim_is_not_held_by_the_test_that_was_named_alone(pytester):
    """By its file or node id a test hides the claim's others from pytest; they count all the same."""
    pytester.makepyfile(
        """
        from holdfast.marks import claim

        @claim("ingress-redeploy-quick")
        def test_one(cluster):
            pass
        """
    )
    items, _ = pytester.inline_genitems("-p", "no:cacheprovider")
    names = {item.name for item in not_asked_for(items)}
    assert names >= {"test_ingress_comes_back_by_drift_correction", "test_ingress_is_redeployed_by_a_commit"}
    assert "test_one" not in names
    assert not_asked_for([]) == []


def test_a_test_by_its_node_id_needs_an_engine_where_it_needs_a_cluster(elsewhere, tmp_path):
    test = "suites/faults/test_flux.py::test_running_workloads_continue_while_flux_is_down"
    done = plain(test, env=elsewhere)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    assert "the engine at DOCKER_HOST=tcp://127.0.0.1:1 doesn't answer" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tree", "/absent"], "there is no folder /absent"),
        (["--entry", "clusters/office"], "there is no folder clusters/office"),
        (["-n", "2"], "a lane is one cluster"),
    ],
)
def test_what_can_not_be_used_is_said(elsewhere, arguments, words):
    done = plain("suites/static", *arguments, env=elsewhere)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_an_unknown_lane_is_said_with_the_nearest(elsewhere):
    done = plain("--lane", "kind/fats", "suites/static", env=elsewhere)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "did you mean 'kind/fast'?" in done.stdout + done.stderr


def test_without_a_lane_a_test_of_a_claim_says_how_it_runs(elsewhere):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "suites/faults/test_apps.py"]
    done = subprocess.run(command, env=elsewhere, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert "pytest --lane kind/fast" in done.stdout
    assert not runs(Path(elsewhere["HOLDFAST_REPORTS"]).parent)


def test_verify_runs_suites_of_ones_own_beside_ours(elsewhere, tmp_path):
    """A test of the user's own that fails without a claim, one that breaks a claim: both are in the verdicts and in the exit code."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "test_own.py").write_text(
        "from holdfast.marks import claim\n\n\ndef test_plain():\n    assert 1 == 2\n\n\n"
        "@claim('ingress-tls')\ndef test_breaks(tree, experiment):\n    experiment.assertion('x', 'rules', False, 'it is broken on purpose')\n"
    )
    command = [
        sys.executable,
        "-m",
        "holdfast",
        "verify",
        "--suites",
        str(own),
        "-k",
        "plain or breaks or (shows and ingress-tls)",
    ]
    done = subprocess.run(command, env=elsewhere, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 10, done.stdout + done.stderr
    assert "it is broken on purpose" in done.stdout
    assert "shows no claim, and failed" in done.stdout
    record = read_file(runs(tmp_path)[0] / "journal.jsonl")
    assert [line["reason"] for line in record.of(events.UnclaimedFailed)] == ["AssertionError: assert 1 == 2"]
