"""What is said where something is missing or in the way: the command that runs a test again, notes, evidence, a kubeconfig that is gone."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from holdfast import evidence, verify
from holdfast.bootstrap import Bootstrap
from holdfast.errors import EXIT_INTERRUPTED, UsageError
from holdfast.kube import KubeReader
from holdfast.lane.fidelity import Fidelity
from holdfast.lane.lane import Lane
from holdfast.lane.subject import Subject
from holdfast.paths import ROOT
from suites.harness import apart, toy

TREE = ROOT / "fixtures" / "gitops"


def test_the_command_that_runs_a_test_again_names_what_the_run_was_given(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert verify.rerun_command(Lane("kind/fast", Subject(TREE)), []) == "holdfast verify --lane kind/fast"
    other = Lane("kind/default", Subject(ROOT / "examples" / "small", "flux", tmp_path))
    said = verify.rerun_command(other, [Path("own suites")])
    for words in (
        "--lane kind/default",
        f"--tree {ROOT}/examples/small",
        "--entry flux",
        f"--charts {tmp_path}",
        "--suites 'own suites'",
    ):
        assert words in said


def test_an_image_that_is_replaced_is_noted_with_its_recipe():
    driver = toy.Driver(toy.World(Path("absent")))
    notes = [n.text for n in Fidelity(driver, Subject(TREE)).notes()]
    assert "the image nginxinc/nginx-unprivileged:1.29.1 is the offline recipe web in its place" in notes
    driver.needs_images = lambda: False
    assert not [n for n in Fidelity(driver, Subject(TREE)).notes() if "recipe" in n.text]


def test_evidence_has_the_storage_s_objects_and_logs(tmp_path):
    path, _ = toy.fresh(tmp_path)
    cluster = toy.cluster(toy.World(path), tmp_path / "undo.jsonl")
    failed = evidence.capture(cluster, tmp_path / "evidence")
    there = {p.name for p in (tmp_path / "evidence").iterdir()}
    for kind in ("statefulsets", "persistentvolumeclaims", "persistentvolumes", "volumeattachments", "events"):
        assert f"{kind}.json" in there, failed
    pods = json.loads((tmp_path / "evidence" / "pods.json").read_text())
    spaces = {p["metadata"]["namespace"] for p in pods}
    assert spaces, "the toy has pods"
    for pod in pods:
        telling = pod["metadata"]["namespace"] in ("flux-system", "ingress-nginx", toy.STORAGE, "monitoring")
        log = f"log-{pod['metadata']['namespace']}-{pod['metadata']['name']}.txt"
        assert (log in there) is telling


def test_evidence_says_what_it_could_not_keep(tmp_path):
    cluster = SimpleNamespace(
        objects=SimpleNamespace(list=lambda kind: (_ for _ in ()).throw(OSError("the API is away"))),
        nodes=list,
    )
    assert evidence.capture(cluster, tmp_path / "evidence") == ["nodes.json: the API is away"]
    assert (tmp_path / "evidence" / "nodes.txt").exists()


@pytest.mark.parametrize("text", [None, "", "not: [yaml", "a text"])
def test_a_kubeconfig_that_is_gone_or_strange_is_said_with_the_next_step(tmp_path, text):
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match="kubeconfig") as caught:
        KubeReader(path).list("Node")
    assert "holdfast" in caught.value.next_step


def test_a_kind_s_plural_is_that_of_its_crd_or_of_the_api(tmp_path):
    tree = Subject(TREE).tree
    asked = []
    client = SimpleNamespace(plural=lambda kind: asked.append(kind) or {"Ingress": "ingresses"}.get(kind, ""))
    bootstrap = Bootstrap(client, tree, tmp_path)
    assert bootstrap._plural("Kustomization") == "kustomizations"  # the tree's own CRD says so
    assert not asked
    assert bootstrap._plural("Ingress") == "ingresses"
    with pytest.raises(UsageError, match="the kind Nothing is changed in the lane, and neither"):
        bootstrap._plural("Nothing")


def test_down_where_nothing_can_be_written_is_not_told_to_run_down(tmp_path):
    """The advice must not go round: what is in the way is the engine, not the folder of reports."""
    environment = apart.environment(tmp_path, HOLDFAST_REPORTS="/proc/absent")
    command = [sys.executable, "-m", "holdfast", "down"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert "Traceback" not in done.stderr
    assert "/proc/absent" not in done.stderr
    assert "holdfast down" not in done.stderr


def test_sigterm_ends_a_command_as_ctrl_c_does(tmp_path):
    script = (
        "import sys, time, types\nimport holdfast.__main__ as command\n"
        "def heal():\n    print('begun', flush=True)\n    try:\n        time.sleep(60)\n    finally:\n        print('cleaned up', flush=True)\n"
        "sys.modules['slow'] = types.SimpleNamespace(heal=heal)\ncommand.VERBS['heal'] = 'slow'\n"
        "sys.argv = ['holdfast', 'heal']\ncommand.main()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "begun\n"
    time.sleep(0.1)
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=20)
    assert child.returncode == EXIT_INTERRUPTED
    assert "cleaned up" in out
    assert "stopped" in err
    assert "Traceback" not in err
