"""Bad input: one clear message with the next step, exit 64, no traceback, nothing left behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.errors import UsageError
from holdfast.journal import Journal
from holdfast.lane.lock import LaneLock
from holdfast.lane.state import LaneState
from holdfast.paths import ROOT
from suites.harness import apart


@pytest.fixture
def elsewhere(tmp_path):
    """An environment with folders of its own, and with an engine that can't be reached."""
    return apart.environment(tmp_path)


def holdfast(*arguments, env):
    """The command's end, with all that it said in ``stdout``."""
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", *arguments],
        env=env,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        cwd=ROOT,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout + done.stderr, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tree", "/absent"], ["there is no folder /absent", "next:"]),
        (["--tree", "/"], ["is no Git checkout", "git init"]),
        (["--lane", "kind/fats"], ["unknown lane 'kind/fats'; did you mean 'kind/fast'?"]),
        (["--lane", "knd/swift"], ["unknown lane 'knd/swift'; did you mean 'kind/fast'?", "kind/default"]),
        (["--lane", "k3d/true"], ["unknown lane 'k3d/true'"]),
        (["--lane", "kind/slow"], ["unknown lane 'kind/slow'", "kind/default, kind/fast"]),
        (["--claim", "flux-down"], ["unknown claim 'flux-down'", "suites/claims.toml"]),
        (["--require", "ingres-tls"], ["unknown claim 'ingres-tls'; did you mean 'ingress-tls'?"]),
        (["--entry", "clusters/office"], ["there is no folder clusters/office in the tree", "clusters/home"]),
        (["--expect", "/absent.toml"], ["/absent.toml can't be read"]),
        (["--lane", "kind/fast"], ["the engine at DOCKER_HOST=tcp://127.0.0.1:1 doesn't answer", "next:"]),
    ],
)
def test_bad_input_is_one_message_and_exit_64(elsewhere, arguments, words):
    done = holdfast("verify", *arguments, env=elsewhere)
    said = done.stdout + done.stderr
    assert done.returncode == 64, said
    assert "Traceback" not in said
    for part in words:
        assert part in said
    assert not list(__import__("pathlib").Path(elsewhere["HOLDFAST_REPORTS"]).glob("*"))  # nothing is left behind


@pytest.mark.parametrize(
    ("lane", "code", "words"),
    [
        ("kwok/1.36", 0, ["container engine", "none answers", "nothing speaks against it"]),
        ("kind/fast", 64, ["kind/fast can't run: no container engine answers", "next:", "HOLDFAST_INSTALL_ENGINE"]),
        ("kind/fats", 64, ["did you mean 'kind/fast'?"]),
    ],
)
def test_the_doctor_says_what_there_is_and_whether_it_is_enough(elsewhere, lane, code, words):
    done = holdfast("doctor", "--lane", lane, env=elsewhere)
    assert done.returncode == code, done.stdout
    assert not [part for part in words if part not in done.stdout]
    assert os.uname().nodename not in done.stdout  # it is to be sent to others


def test_broken_yaml_in_the_tree_is_named_with_its_line(elsewhere, tmp_path):
    tree = copied(tmp_path)
    (tree / "apps/stateless/bad.yaml").write_text("kind: A\n  b: c\n")
    listed = tree / "apps/stateless/kustomization.yaml"
    listed.write_text(listed.read_text().replace("resources:", "resources:\n  - bad.yaml"))
    done = holdfast("verify", "--lane", "kind/fast", "--tree", str(tree), env=elsewhere)
    assert done.returncode == 64
    assert "Flux can't build this tree" in done.stdout
    assert "apps/stateless/bad.yaml" in done.stdout
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def copied(tmp_path):
    """The reference tree, in a repository of its own."""
    tree = tmp_path / "tree"
    subprocess.run(["cp", "-r", str(ROOT / "fixtures/gitops"), str(tree)], check=True)
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    return tree


def test_a_secret_that_nobody_gave_is_named_before_anything_is_built(elsewhere, tmp_path):
    tree = tmp_path / "tree"
    subprocess.run(["cp", "-r", str(ROOT / "fixtures/gitops"), str(tree)], check=True)
    (tree / ".holdfast.toml").write_text("")
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    done = holdfast("verify", "--lane", "kind/fast", "--tree", str(tree), env=elsewhere)
    assert done.returncode == 64
    for part in ("the Secret apps/web-tls", "the Git host github.com", "[[secret]]"):
        assert part in done.stdout


def test_a_second_run_is_told_who_holds_the_lane(tmp_path):
    with (
        LaneLock("run-1", tmp_path / "lock"),
        pytest.raises(UsageError, match=f"run-1 .process {os.getpid()}"),
        LaneLock("run-2", tmp_path / "lock"),
    ):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    child = os.fork()
    if child == 0:
        LaneLock("dead", tmp_path / "lock").__enter__()
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    with LaneLock("alive", tmp_path / "lock"):
        assert "alive" in (tmp_path / "lock").read_text()


def test_help_teaches(elsewhere):
    said = holdfast("verify", "--help", env=elsewhere).stdout
    for part in ("--lane", "--reuse", "--keep", "--require", "Exit: 0 every selected claim held"):
        assert part in said


def test_report_without_a_run_says_what_to_do(elsewhere):
    done = holdfast("report", env=elsewhere)
    assert done.returncode == 64
    assert "there is no run yet" in done.stdout


@pytest.mark.parametrize("arguments", [["verify", "--nonsense"], ["verfy"], ["verify", "--tree"]])
def test_a_wrong_command_line_is_exit_64(elsewhere, arguments):
    done = holdfast(*arguments, env=elsewhere)
    assert done.returncode == 64
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("text", ["", "{", '{"colour": "red"}', "[]"])
def test_a_state_that_can_not_be_read_is_a_dead_runs(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    found = LaneState.read(tmp_path / "state.json")
    assert found.stage == "making"
    assert found.run


def test_a_state_is_replaced_whole_and_read_back(tmp_path):
    LaneState(stage="ready", run="r", fidelity=["a"], kept=True).write(tmp_path / "state.json")
    assert LaneState.read(tmp_path / "state.json") == LaneState(stage="ready", run="r", fidelity=["a"], kept=True)
    assert LaneState.read(tmp_path / "absent.json") is None


NASTY = {
    "a date that is none": "a: 2026-99-99\n",
    "a number that is none": "a: !!int zz\n",
    "an anchor that names itself": "a: &a [*a]\n",
    "metadata as text": "metadata: text\n",
    "spec as text": "metadata: {name: x}\nspec: text\n",
    "a source as text": "metadata: {name: x}\nspec: {sourceRef: text, path: ./apps}\n",
    "a url that no parser takes": "metadata: {name: x}\nspec: {url: 'ssh://[::1'}\n",
    "a list of nothing": "- \n",
    "a name that is a number": "metadata: {name: 5, namespace: [x]}\n",
}


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("kind", ["ConfigMap", "Kustomization", "GitRepository"])
def test_whatever_a_tree_holds_verify_says_it_in_words(elsewhere, tmp_path, name, kind):
    tree = copied(tmp_path)
    api = {
        "ConfigMap": "v1",
        "Kustomization": "kustomize.toolkit.fluxcd.io/v1",
        "GitRepository": "source.toolkit.fluxcd.io/v1",
    }[kind]
    (tree / "apps/stateless/nasty.yaml").write_text(f"apiVersion: {api}\nkind: {kind}\n{NASTY[name]}")
    listed = tree / "apps/stateless/kustomization.yaml"
    listed.write_text(listed.read_text().replace("resources:", "resources:\n  - nasty.yaml"))
    done = holdfast("verify", "--lane", "kind/fast", "--tree", str(tree), env=elsewhere)
    assert done.returncode == 64
    assert "Traceback" not in done.stdout + done.stderr, done.stderr[-2000:]
    assert "next:" in done.stdout


@pytest.mark.parametrize(
    "text",
    [
        "[[patch]]\nkind='K'\nname='n'\nreason='r'\nset='x'\n",
        "[[secret]]\nnamespace='a'\nname='b'\nfile='/etc/hostname'\n",
    ],
)
def test_settings_that_can_not_be_used_stop_verify_before_anything_is_built(elsewhere, tmp_path, text):
    tree = copied(tmp_path)
    (tree / ".holdfast.toml").write_text("[git]\naliases=['github.com']\n" + text)
    done = holdfast("verify", "--lane", "kind/fast", "--tree", str(tree), env=elsewhere)
    assert done.returncode == 64
    assert ".holdfast.toml" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_closed_standard_output_ends_without_a_traceback(elsewhere):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", "--help"],
        env=elsewhere,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        check=False,
    )
    os.close(writer)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_full_standard_output_ends_without_a_traceback(elsewhere):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "holdfast", "report"],
            env=elsewhere,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            check=False,
        )
    assert done.returncode == 64
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "entries",
    [
        [{"event": "collected", "tests": 5}],
        [{"event": "collected", "tests": [{"claims": "x"}]}],
        [{"event": "run-begin", "notes": 3}, {"event": "sampled"}],
    ],
)
def test_a_strange_but_sealed_journal_is_said(elsewhere, tmp_path, entries):
    folder = tmp_path / "out" / "run-1"
    folder.mkdir(parents=True)
    journal = Journal(folder / "journal.jsonl")
    for entry in entries:
        journal.append(**entry)
    journal.seal()
    done = holdfast("report", str(folder), env=elsewhere)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode in (0, 64)


def test_temporary_files_of_a_dead_run_are_removed_by_the_next_start(elsewhere, tmp_path):
    left = tmp_path / "out" / "20260101-000000-dead" / "tmp"
    left.mkdir(parents=True)
    (left / "tmpkey").write_text("-----BEGIN PRIVATE KEY-----")
    holdfast("heal", env=elsewhere)
    assert not left.exists()
