"""The static rules, held against the API server and Flux's own controllers: an invalid tree is refused or stuck, for the reason that the rule gives.

Each pair is rehearsed on a control plane of its own: some 15 seconds a tree. ``HOLDFAST_NIGHTLY=1`` takes every pair, and the valid trees.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holdfast.lane.subject import Subject
from holdfast.paths import ROOT, cache_dir
from holdfast.rehearsal.after import look_after
from holdfast.rehearsal.judge import Judge
from holdfast.rehearsal.stage import staged
from holdfast.rehearsal.watcher import Watcher
from suites.harness import pairs

NIGHTLY = bool(os.environ.get("HOLDFAST_NIGHTLY"))
# What Flux or the API server says of a pair's invalid tree, by the rule that the rehearsal gives it; the pair's own rule where none is named.
SAYS = {
    "gone-version": "schema.version",
    "loop-depends-on": "boot.loop",
    "missing-dependency": "apply.missing-dependency",
    "missing-kind": "apply.missing-kind",
    "substitution": "apply.build",
    "wrong-type": "apply.refused",
}
AT_NIGHT = {
    "build-broken-yaml": "apply.build",
    "build-circle": "apply.build",
    "build-missing-file": "apply.build",
    "build-no-folder": "apply.build",
    "build-outside": "apply.build",
    "build-values-file": "apply.build",
    "loop-wait": "boot.loop",
    "missing-class": "apply.missing-class",
    "missing-health-check": "apply.never-ready",
    "missing-namespace": "apply.missing-namespace",
    "missing-source": "apply.missing-source",
    "no-api-version": "apply.build",
    "required": "apply.refused",
    "selector": "apply.refused",
    "unknown-field-of-a-crd": "apply.refused",
}
PROFILE = "1.36"  # what is said of a rule's proof names its versions
RUNS_ON = {"missing-class"}  # all is applied, and something of it does nothing


def rehearsed(tree, tmp_path, *, strict=False):
    """What a rehearsal of a tree comes to."""
    folder = tmp_path / "tree"
    if not folder.exists():
        subprocess.run(["cp", "-r", str(tree), str(folder)], check=True)
        git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@localhost"]
        for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "a tree"]):
            subprocess.run([*git, *words], check=True)
    subject = Subject(folder)
    with staged(subject, PROFILE) as stage:
        stage.driver.ensure_host()
        stage.start()
        course = Watcher(stage, strict=strict, limit_s=180, say=lambda _: None).run()
        lame = look_after(stage) if course.converged else []
        return Judge(subject.tree).outcome(
            course, stage.driver.kubernetes, stage.driver.profile.more["flux"], stage.notes, lame
        )


@pytest.mark.parametrize("name", [*SAYS, *(AT_NIGHT if NIGHTLY else [])])
def test_the_real_thing_refuses_what_the_rule_finds(name, tmp_path):
    out = rehearsed(pairs.invalid(name), tmp_path, strict=True)
    rules = {proof.finding.rule for proof in out.proofs}
    assert (SAYS | AT_NIGHT)[name] in rules, (out.proofs, out.doubts, out.course.unsettled)
    assert out.course.converged is (name in RUNS_ON)


@pytest.mark.parametrize("name", [*SAYS, *AT_NIGHT] if NIGHTLY else ["missing-namespace"])
def test_the_valid_tree_starts(name, tmp_path):
    out = rehearsed(pairs.valid(name), tmp_path)
    assert out.proofs == [], [p.finding.what for p in out.proofs]
    assert out.course.converged, out.course.unsettled


def test_a_field_that_is_none_is_dropped_without_a_word(tmp_path):
    """Why the rule calls it a broken claim, and not a refusal: kustomize-controller takes it away itself."""
    out = rehearsed(pairs.invalid("unknown-field"), tmp_path, strict=True)
    assert out.course.converged
    assert out.proofs == []


def test_what_is_in_the_way_is_taken_out_of_it_and_the_start_goes_on(tmp_path):
    out = rehearsed(pairs.invalid("missing-namespace"), tmp_path)
    assert out.course.converged
    assert [p.finding.rule for p in out.proofs] == ["apply.missing-namespace"]
    assert out.proofs[0].removal.startswith("the lane made Namespace/")


def ours(cache):
    """The processes that have a lane of *cache* in their command line or as their folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(cache) in f"{words} {(path / 'cwd').readlink()}" and path.name != str(os.getpid()):
                found.append(words)
    return found


def begun(tmp_path, stage):
    """A rehearsal in a cache of its own, once its record names the process *stage*: (the process, its cache, its environment)."""
    cache = tmp_path / "cache"
    (cache / "holdfast").mkdir(parents=True)
    (cache / "holdfast" / "bin").symlink_to(cache_dir() / "bin")
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-P", "-m", "holdfast", "rehearse", str(ROOT / "fixtures" / "gitops")]
    out = (tmp_path / "out.txt").open("wb")
    run = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    limit = time.monotonic() + 120
    while not any(stage in record.read_text() for record in cache.glob("holdfast/rehearsals/*/processes.json")):
        assert run.poll() is None, (tmp_path / "out.txt").read_text()
        assert time.monotonic() < limit
        time.sleep(0.05)
    return run, cache / "holdfast", environment


def folders(cache):
    return [p for p in (cache / "rehearsals").iterdir() if p.is_dir()]


@pytest.mark.parametrize("stage", ["token", "kube-scheduler", "git-server"])
def test_a_killed_rehearsal_leaves_nothing_that_the_next_one_does_not_end(tmp_path, stage):
    run, cache, environment = begun(tmp_path, stage)
    run.kill()
    run.wait()
    assert folders(cache)
    cleaning = "from holdfast.rehearsal.folders import clean_dead; clean_dead()"
    subprocess.run([sys.executable, "-P", "-c", cleaning], env=environment, check=True)
    assert ours(cache) == []
    assert folders(cache) == []


@pytest.mark.parametrize("stage", ["kube-scheduler", "git-server"])
def test_ctrl_c_leaves_nothing(tmp_path, stage):
    run, cache, _ = begun(tmp_path, stage)
    run.send_signal(signal.SIGINT)
    run.wait(timeout=90)
    out = (tmp_path / "out.txt").read_text()
    assert "Traceback" not in out
    assert "stopped" in out
    assert ours(cache) == []
    assert folders(cache) == []
