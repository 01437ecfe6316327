"""Nodes lost: one, and then the other."""

import pytest

from holdfast.claims import claim
from holdfast.faults.nodes import node_loss
from holdfast.plugin import budget
from holdfast.probes.flux import tree_applied
from holdfast.probes.workloads import pods as pods_of
from holdfast.probes.workloads import selector, spread, stateless_run_elsewhere
from holdfast.sampling.targets import api, dns, ingress, ingress_itself, service, volumes

RESCHEDULED, HA, CORE = ("node-loss-rescheduled",), ("ha-multi-node",), ("core-always-available",)


@pytest.mark.smoke
@claim(*RESCHEDULED, *HA, *CORE)
def test_node_loss_of_the_worker_and_then_of_the_server(cluster, faults, sampler):
    """The worker's power is cut and comes back; then the server's: pods don't spread again by themselves, so the sequence matters.

    What becomes of volumes is seen in the report, and promised by another test.
    """
    worker, server, timers = cluster.node("worker").name, cluster.node("server").name, cluster.timers
    cluster.eventually(tree_applied(), within="5m")
    _spread(cluster)
    cluster.canary(stateless_run_elsewhere(worker))
    outage, targets = timers.node_lost_s + 10, (ingress(), ingress(tls=True), ingress_itself(), service(), dns(), volumes())

    with sampler.watch(*targets, api()) as seen, faults(node_loss(worker), recovery="4m"):
        cluster.eventually(stateless_run_elsewhere(worker), within=timers.evicted_s + 60, claims=RESCHEDULED)
    for claims in (RESCHEDULED, HA):
        seen.outage_at_most(outage, "ingress", "ingress-tls", via=server, claims=claims, what=f"the app through {server}, {worker} lost")
        seen.outage_at_most(outage, "service", vantage=server, claims=claims, what=f"the app's Service from {server}, {worker} lost")
    _core(seen, server, f"{worker} lost")
    seen.outage_at_most(budget(CORE[0], "outage"), "api", claims=CORE, what=f"the API, {worker} lost")

    with sampler.watch(*targets) as seen, faults(node_loss(server), recovery="4m"):
        seen.look_on(outage + 10)
    seen.outage_at_most(outage, "ingress", "ingress-tls", via=worker, claims=HA, what=f"the app through {worker}, then {server} lost")
    seen.outage_at_most(outage, "service", vantage=worker, claims=HA, what=f"the app's Service from {worker}, then {server} lost")
    _core(seen, worker, f"then {server} lost")


def _core(seen, survivor, when):
    limit = budget(CORE[0], "outage")
    seen.outage_at_most(limit, "ingress-itself", via=survivor, claims=CORE, what=f"the ingress itself through {survivor}, {when}")
    seen.outage_at_most(limit, "dns", vantage=survivor, claims=CORE, what=f"DNS from {survivor}, {when}")


def _spread(cluster):
    """The steady state of this test: the app on both nodes. Pods that an earlier fault left together are sent away once."""
    app = cluster.app
    labels = selector(cluster, app.workload, app.namespace)
    homes = [p["spec"].get("nodeName") for p in pods_of(cluster, app.namespace, labels)]
    if len(set(homes)) < len(cluster.nodes()):
        crowded = pods_of(cluster, app.namespace, labels)[0]["metadata"]["name"]
        cluster.objects.delete("Pod", crowded, app.namespace)
    cluster.eventually(spread(app.namespace, labels), within="90s")
