"""`holdfast init`: what it writes is filled in from the tree, can be read, and runs; it overwrites nothing."""

import os
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml

from holdfast.journal import read_file
from holdfast.lane.subject import Subject
from holdfast.paths import ROOT
from holdfast.verdicts import Verdict, verdicts
from suites.harness import apart


def holdfast(*arguments, cwd, tmp_path):
    environment = apart.environment(tmp_path, PYTHONPATH=str(ROOT))
    command = [sys.executable, "-P", "-m", "holdfast", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def repository(tmp_path):
    """A user's repository with a Flux tree, and nothing of holdfast's."""
    tree = tmp_path / "home"
    shutil.copytree(ROOT / "examples" / "small", tree)
    (tree / ".holdfast.toml").unlink()
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    return tree


@pytest.mark.parametrize("ci", ["github", "gitlab", "none"])
def test_what_it_writes_can_be_read_and_is_filled_in(repository, tmp_path, ci):
    done = holdfast("init", "--ci", ci, cwd=repository, tmp_path=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    settings = tomllib.loads((repository / ".holdfast.toml").read_text())
    assert settings["flux"]["entry"] == "flux"
    assert settings["git"]["aliases"] == ["git.example.org"]
    assert [(s["namespace"], s["name"]) for s in settings["secret"]] == [("whoami", "greeting")]
    assert "needed by Deployment/whoami (apps/whoami.yaml" in (repository / ".holdfast.toml").read_text()
    assert len(tomllib.loads((repository / ".holdfast" / "claims.toml").read_text())["claim"]) == 2
    for path in (*repository.glob(".github/**/*.yaml"), *repository.glob(".holdfast/*.yaml")):
        assert yaml.safe_load(path.read_text())
        assert "{{" not in path.read_text().replace("${{", "")
    Subject(repository).preflight()  # a lane lacks nothing any more


def test_it_overwrites_nothing(repository, tmp_path):
    (repository / ".holdfast").mkdir()
    (repository / ".holdfast" / "claims.toml").write_text("mine")
    done = holdfast("init", cwd=repository, tmp_path=tmp_path)
    assert done.returncode == 64
    assert ".holdfast/claims.toml is there already" in done.stderr
    assert not (repository / ".holdfast.toml").exists()


def test_check_and_verify_run_on_what_it_wrote_and_its_claims_can_break(repository, tmp_path):
    """Their suites beside ours: a claim of their own that is broken on purpose is broken, by its id."""
    holdfast("init", cwd=repository, tmp_path=tmp_path)
    done = holdfast("check", cwd=repository, tmp_path=tmp_path)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    own = repository / ".holdfast" / "suites" / "test_tree.py"
    own.write_text(
        "from holdfast.claims import get\nfrom holdfast.marks import claim\n\n\n@claim(get('own-flux-applies'))\n"
        "def test_broken_on_purpose(tree, experiment):\n    experiment.assertion('x', 'rules', False, 'broken on purpose')\n"
    )
    words = ["verify", "--suites", ".holdfast/suites", "-k", "broken_on_purpose or (shows and rbac-least)"]
    done = holdfast(*words, cwd=repository, tmp_path=tmp_path)
    assert done.returncode == 10, done.stdout + done.stderr
    (journal,) = (tmp_path / "out").glob("2*/journal.jsonl")
    from holdfast import claims

    register = claims.load(repository / ".holdfast" / "claims.toml")
    found = {v.claim: v.verdict for v in verdicts(read_file(journal), register) if v.tests}
    assert found["own-flux-applies"] is Verdict.BROKE
    assert found["rbac-least"] is Verdict.HELD


def test_its_example_suite_is_collected(repository, tmp_path):
    holdfast("init", cwd=repository, tmp_path=tmp_path)
    environment = {**os.environ, "DOCKER_HOST": "tcp://127.0.0.1:1", "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--lane",
        "kind/fast",
        "--tree",
        ".",
        "--collect-only",
        "-q",
    ]
    done = subprocess.run(
        [*command, ".holdfast/suites"], cwd=repository, env=environment, capture_output=True, text=True, check=False
    )
    assert "2 tests collected" in done.stdout, done.stdout + done.stderr
