"""Starts from nothing. The last file of its folder: what comes after it needs a new cluster."""

import time

from holdfast.claims import get
from holdfast.durations import seconds
from holdfast.errors import NotExercised
from holdfast.marks import claim
from holdfast.probes.ingress import answers
from holdfast.probes.longhorn import storage_never_ready
from holdfast.probes.nodes import nodes_ready
from holdfast.probes.workloads import workload_ready

CORE, APPS = get("core-no-storage"), get("apps-need-core-only")


@claim(CORE, APPS)
def test_core_and_stateless_apps_start_without_storage(run, experiment):
    """A cluster whose storage fails from the first second: core and the stateless app become ready all the same, and in time."""
    if not run.lane.fidelity.offline:
        raise NotExercised("with stock images storage can't be made to fail from the first second yet")
    cluster = run.cold("longhorn")
    cluster.experiment, began = experiment, time.monotonic()
    component, app = cluster.settings.ingress, cluster.app
    cluster.steady(nodes_ready(), within="2m")
    cluster.negative_control(workload_ready("Deployment/absent", app.namespace))
    cluster.negative_control(answers(cluster.nodes()[0].name, "absent.example"), within="2m")
    limit_s = seconds(CORE.budget("ready"))

    def left_s():
        return max(0.0, round(began + limit_s - time.monotonic(), 1))

    cluster.eventually(workload_ready("Deployment/coredns", "kube-system"), within=left_s(), claims=CORE)
    cluster.eventually(workload_ready(component.workload, component.namespace), within=left_s(), claims=CORE)
    cluster.eventually(workload_ready(app.workload, app.namespace), within=left_s(), claims=APPS)
    for node in cluster.nodes():
        cluster.eventually(answers(node.name, app.host), within=left_s(), claims=(CORE, APPS))
    took = f"{time.monotonic() - began:.1f}s after Flux was put on the cluster"
    cluster.steady(storage_never_ready(), within="60s")  # it was without storage all the time
    experiment.assertion(
        "core and the stateless app are ready",
        "workload_ready",
        True,
        f"ready {took}, without storage",
        figure=took,
        budget=f"{limit_s:g}s",
    )
