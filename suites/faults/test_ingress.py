"""The ingress controller gone."""

import datetime

import pytest

from holdfast.claims import get
from holdfast.commits import set_values
from holdfast.drivers.driver import PodRuntime
from holdfast.durations import seconds
from holdfast.faults.ingress import ingress_deleted
from holdfast.marks import claim, needs
from holdfast.probes.flux import tree_applied
from holdfast.probes.ingress import answers
from holdfast.probes.workloads import workload_ready
from holdfast.sampling.targets import dns, pods, service, volumes

INTERNAL, QUICK = get("ingress-down-internal-continues"), get("ingress-redeploy-quick")


@pytest.mark.smoke
@needs(PodRuntime)
@claim(INTERNAL)
def test_internal_communication_continues_without_ingress(cluster, faults, sampler):
    """Service to service, pod to pod, DNS and volumes over the network lose no look while nothing answers from outside."""
    app = cluster.app
    cluster.eventually(tree_applied(), within="5m")
    cluster.negative_control(workload_ready("Deployment/absent", app.namespace))
    with sampler.watch(service(), dns(), pods(), volumes()) as seen, faults(ingress_deleted()):
        cluster.always(workload_ready(app.workload, app.namespace), during="20s")
    outage = INTERNAL.budget("outage")
    for kind in ("service", "dns", "pods", "volume"):
        seen.outage_at_most(outage, kind, failed_share=0, what=f"{kind} from every node")


@needs(PodRuntime)
@claim(QUICK)
def test_ingress_is_redeployed_quickly_when_it_is_asked_for(cluster, faults):
    """Deleted, and a reconciliation of its release asked for: answers again within the budget."""
    _steady(cluster)
    component = cluster.settings.ingress
    with faults(ingress_deleted(hold=False)):
        now = datetime.datetime.now(datetime.UTC).isoformat()
        cluster.inject.annotate(
            "HelmRelease", component.release, component.namespace, {"reconcile.fluxcd.io/requestedAt": now}
        )
        _answers_within(cluster, QUICK.budget("answer"))


@needs(PodRuntime)
@claim(QUICK)
def test_ingress_comes_back_by_drift_correction(cluster, faults):
    """Deleted, and nothing done: the release's drift correction brings it back, within the budget after its next interval."""
    _steady(cluster)
    component = cluster.settings.ingress
    interval = cluster.objects.get("HelmRelease", component.release, component.namespace)["spec"]["interval"]
    with faults(ingress_deleted(hold=False)):
        _answers_within(cluster, seconds(interval) + seconds(QUICK.budget("answer")))


@needs(PodRuntime)
@claim(QUICK)
def test_ingress_is_redeployed_by_a_commit(cluster, faults, git):
    """Deleted, and a commit changes its release: answers again within the budget after the poll."""
    _steady(cluster)
    component = cluster.settings.ingress
    poll = cluster.sync.source.spec["interval"]
    value = f"{60 + datetime.datetime.now(datetime.UTC).second}"
    with faults(ingress_deleted(hold=False)):
        git.push(
            set_values(
                "HelmRelease", component.release, ("spec", "values", "controller", "config", "keep-alive"), value
            ),
            "redeploy the ingress",
        )
        _answers_within(cluster, seconds(poll) + seconds(QUICK.budget("answer")))


def _steady(cluster):
    cluster.eventually(tree_applied(), within="5m")
    for node in cluster.nodes():
        cluster.eventually(answers(node.name, cluster.app.host), within="30s")
    cluster.negative_control(answers(cluster.nodes()[0].name, "absent.example"))


def _answers_within(cluster, limit):
    for node in cluster.nodes():
        cluster.eventually(answers(node.name, cluster.app.host), within=limit, every_s=0.2)
