"""What the stand-in for helm-controller does with a release that a real helm left pending on a real API server."""

import subprocess
import time
from types import SimpleNamespace

import pytest
from kubernetes import config
from kubernetes.dynamic import DynamicClient

from suites.harness.test_standins import program as standin
from suites.oracle.test_chart_changes import lane, program

__all__ = ["lane", "program"]

SPACE = "default"
NEVER_BOUND = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  storageClassName: nobody-provisions-this
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
"""


@pytest.fixture
def controller(monkeypatch, lane, program, tmp_path):
    """The stand-in's module, and what it reaches the cluster by."""
    module = standin("helm-controller")
    monkeypatch.setenv("KUBECONFIG", str(lane.kubeconfig))
    monkeypatch.setenv("HELM", program)
    monkeypatch.setattr(module, "HOME", str(tmp_path))
    client = DynamicClient(config.new_client_from_config(str(lane.kubeconfig)))
    return module, SimpleNamespace(client=client)


def _status(module):
    last = module.last_release("thing", SPACE)
    return last and last["status"]


def test_a_release_that_was_cut_off_takes_its_next_upgrade(controller, program, tmp_path):
    module, cluster = controller
    chart = tmp_path / "thing"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: thing\nversion: 1.0.0\n")
    (chart / "templates" / "claim.yaml").write_text(NEVER_BOUND)
    assert _status(module) is None
    cut_off = subprocess.Popen([program, "install", "thing", str(chart), "--namespace", SPACE, "--wait"])
    try:
        limit = time.monotonic() + 30
        while _status(module) != "pending-install":
            assert time.monotonic() < limit
            time.sleep(0.2)
    finally:
        cut_off.kill()
        cut_off.wait()
    upgrade = ("upgrade", "--install", "thing", str(chart), "-n", SPACE)
    code, _, said = module.helm(*upgrade)
    assert code, "or there is nothing to unlock"
    assert "another operation" in said
    module.unlocked(cluster, module.last_release("thing", SPACE), "thing", SPACE)
    assert _status(module) == "failed"
    assert module.helm(*upgrade)[0] == 0
    assert _status(module) == "deployed"
    assert module.helm("uninstall", "thing", "-n", SPACE)[0] == 0
