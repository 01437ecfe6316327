"""The sample tests of the documentation are run, on a toy cluster: copied as they stand, they are held."""

import re
from contextlib import contextmanager

import pytest

from holdfast.commits import mark
from holdfast.faults import fault as faulting
from holdfast.faults.flux import flux_down
from holdfast.kube import Object
from holdfast.marks import claim
from holdfast.paths import ROOT
from holdfast.probes.flux import CONTROLLERS, MARKER, NAMESPACE, marked, not_marked
from holdfast.probes.workloads import workload_ready, workloads_ready
from holdfast.sampling.targets import ingress, service
from holdfast.verdicts import Verdict
from holdfast.waiting import HOLDS, Clock, Probe
from suites.harness.test_faults import Bench

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SAMPLES = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    if "@claim(" in block
]


class Git:
    """Applies a commit at once while any of Flux's controllers runs, and keeps the others until one does."""

    def __init__(self, cluster):
        self.cluster, self.waiting = cluster, []

    def push(self, edit, message=""):
        body = next(c.cell_contents for c in edit.__closure__ if isinstance(c.cell_contents, dict))
        marker = body["data"]["marker"]
        self.waiting.append(marker)
        self.sync()

    def sync(self):
        client = self.cluster.objects
        if all(client.get("Deployment", name, NAMESPACE)["spec"]["replicas"] for name in CONTROLLERS):
            for marker in self.waiting:
                wish: Object = {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": MARKER, "namespace": NAMESPACE},
                    "data": {"marker": marker},
                }
                client.apply(wish)


class Sampler:
    """Sees every target answer."""

    def __init__(self, experiment):
        self.experiment = experiment

    @contextmanager
    def watch(self, *_):
        self.experiment.negative_control("sampler", True, "a broken target was red")
        yield self

    def outage_at_most(self, limit, *kinds, failed_share=None, **_):
        self.experiment.assertion(f"outage at most {limit}", "sampler", True, "0 of 10 looks failed")


@pytest.mark.parametrize("block", SAMPLES)
def test_a_sample_is_held(tmp_path, monkeypatch, block):
    bench = Bench(tmp_path, monkeypatch)
    git, clock = Git(bench.cluster), [0.0]

    def sleep(seconds):
        clock[0] += max(seconds, 0.5)
        git.sync()

    monkeypatch.setattr("holdfast.waiting.Clock", lambda: Clock(lambda: clock[0], sleep))
    names = {
        "claim": claim, "mark": mark, "flux_down": flux_down, "marked": marked, "not_marked": not_marked, "workload_ready": workload_ready, "workloads_ready": workloads_ready, "ingress": ingress, "service": service,
        "tree_applied": lambda: Probe("tree_applied", "tree_applied()", lambda _: HOLDS),
    }  # fmt: skip
    exec(compile(block, "sample", "exec"), names)
    (test,) = [value for name, value in names.items() if name.startswith("test_")]
    fixtures = {
        "cluster": bench.cluster,
        "faults": bench.faults,
        "sampler": Sampler(bench.cluster.experiment),
        "git": git,
    }
    test(**{name: fixtures[name] for name in test.__code__.co_varnames[: test.__code__.co_argcount]})
    bench.cluster.experiment.finish()
    found = bench.verdict()
    assert found.verdict is Verdict.HELD, found.reason
    assert faulting.CONVERGED.kind == "converged"


def test_there_are_samples():
    assert SAMPLES
