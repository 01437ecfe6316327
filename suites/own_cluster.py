"""A fault on a cluster that matters, with holdfast killed while it is in: the cluster undoes it by itself.

``python -m suites.own_cluster`` takes the kept cluster of kind/fast (or makes one), which to the lane `attached` is a cluster like any other, and leaves it
kept. It says what it measured, and ends with 1 where anything wasn't so.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from holdfast.consent import UNATTENDED
from holdfast.drivers.deadman import NAMESPACE, PREFIX, SWITCH
from holdfast.kube import KubeClient
from holdfast.lane.lane import Lane
from holdfast.lane.subject import Subject
from holdfast.paths import ROOT
from holdfast.probes.flux import CONTROLLERS
from holdfast.progress import console
from holdfast.waiting import HOLDS, Probe, eventually

LANE, LIMIT_S, SLACK_S = "kind/fast", 60, 20
TREE = ROOT / "fixtures" / "gitops"


def commanded(*words):
    """A holdfast command, as a user types it."""
    return [sys.executable, "-m", "holdfast", *words]


def kept():
    """The lane of a cluster that is there."""
    lane = Lane(LANE, Subject(TREE))
    state = lane.state()
    if not (state and state.stage == "ready" and lane.driver.exists()):
        subprocess.run(commanded("up", "--lane", LANE), check=True, cwd=ROOT)
    return lane


def owned(folder, image):
    """The owner's checkout, with the settings beside it that only they may write; returns it."""
    tree = folder / "home"
    shutil.copytree(TREE, tree, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    git = [
        "git",
        "-C",
        str(tree),
        "-c",
        "user.name=owner",
        "-c",
        "user.email=owner@localhost",
        "-c",
        "commit.gpgsign=false",
    ]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "the tree"]):
        subprocess.run([*git, *words], check=True)
    (folder / "home.holdfast.toml").write_text(f'[disruption]\nlimit = "{LIMIT_S}s"\nimage = "{image}"\n')
    return tree


def replicas(client):
    """How many pods each controller of Flux's is asked to have."""
    found = [client.get("Deployment", name, "flux-system") for name in CONTROLLERS]
    return [one["spec"].get("replicas") if one else None for one in found]


def until(what, within_s, words):
    """Waits; what doesn't come ends the exercise."""
    wait = eventually(None, Probe("until", words, lambda _: HOLDS if what() else "not yet"), within_s, every_s=0.25)
    if wait.held is not True:
        raise SystemExit(f"{words}: not within {within_s:g}s; last seen: {wait.last}")
    return wait.took_s


def exercise(folder, lane):
    """Flux is scaled away, holdfast is killed, and the cluster brings Flux back."""
    config = lane.driver.kubeconfig
    context = yaml.safe_load(config.read_text())["current-context"]
    os.environ["KUBECONFIG"] = str(config)  # as its owner's
    own = Lane(f"attached/{context}", Subject(TREE))
    shutil.rmtree(own.folder)  # the last cluster's identity: this one has another
    tree, client = owned(folder, lane.driver.agent_image()), KubeClient(config)
    more = {"KUBECONFIG": str(config), UNATTENDED: context, "HOLDFAST_LOCK": str(folder / "lock")}
    environment = {**os.environ, **more, "PYTHONPATH": str(ROOT)}
    words = ["--lane", f"attached/{context}", "--allow-disruption", context, "--tree", str(tree)]
    with (folder / "log").open("wb") as log:
        run = subprocess.Popen(
            commanded("verify", *words, "-k", "flux_is_down"),
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            until(lambda: run.poll() is not None or set(replicas(client)) == {0}, 120, "the fault doesn't go in")
            if run.poll() is not None:
                raise SystemExit(f"holdfast ended before its fault was in: exit {run.returncode}")
        finally:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
    console.print(f"  holdfast was killed with {len(CONTROLLERS)} controllers scaled to 0")
    took_s = until(lambda: set(replicas(client)) == {1}, LIMIT_S + SLACK_S, "the cluster doesn't undo it")
    notes = client.get("Secret", SWITCH, NAMESPACE)["metadata"]["annotations"]
    console.print(f"  the cluster undid it {took_s:.0f}s later: {notes[PREFIX + 'healed']}")
    refused = subprocess.run(
        commanded("verify", *words, "-k", "flux_is_down"),
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if refused.returncode != 64 or "a dead man's switch" not in refused.stderr:
        raise SystemExit(f"a run beside what is left isn't refused: exit {refused.returncode}, {refused.stderr[-300:]}")
    subprocess.run(commanded("heal", *words[:4], "--tree", str(tree)), env=environment, cwd=folder, check=True)
    until(lambda: client.get("Namespace", NAMESPACE) is None, 60, "the switch doesn't go")
    until(
        lambda: all(
            (client.get("Deployment", n, "flux-system").get("status") or {}).get("readyReplicas") == 1
            for n in CONTROLLERS
        ),
        120,
        "Flux isn't ready",
    )
    console.print("  Flux is ready, and nothing of the fault is left")


def main():
    lane = kept()
    with tempfile.TemporaryDirectory(prefix="holdfast-own-") as made:
        folder = Path(made)
        try:
            exercise(folder, lane)
        except BaseException:
            if (folder / "log").exists():
                print((folder / "log").read_text(errors="replace")[-3000:])
            raise


if __name__ == "__main__":
    main()
