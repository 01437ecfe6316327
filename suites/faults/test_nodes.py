"""Nodes lost: one, and then the other."""

import pytest

from holdfast.claims import get
from holdfast.drivers.driver import NodePower, NodeShell
from holdfast.faults.nodes import node_loss
from holdfast.marks import claim, needs
from holdfast.probes.containers import containers_on, containers_run
from holdfast.probes.flux import tree_applied
from holdfast.probes.monitoring import has_series, scrape_interval_s
from holdfast.probes.workloads import stateless_run_elsewhere
from holdfast.sampling import writers
from holdfast.sampling.placement import spread_app, writers_to_lose
from holdfast.sampling.targets import api, dns, ingress, ingress_itself, service, volumes
from holdfast.sampling.writers import writers_run
from holdfast.waiting import always

RESCHEDULED, HA, CORE = get("node-loss-rescheduled"), get("ha-multi-node"), get("core-always-available")
DOWN = get("control-plane-down")
FAILOVER, EXPORTERS = get("node-loss-replica-failover"), get("monitoring-exporters")


@pytest.mark.smoke
@needs(NodePower, NodeShell)
@claim(RESCHEDULED, HA, CORE, FAILOVER, EXPORTERS)
def test_node_loss_of_the_worker_and_then_of_the_server(cluster, faults, sampler, experiment):
    """The worker's power is cut and comes back; then the server's: pods don't spread again by themselves, so the sequence matters.

    The worker takes every writer with it, whose volumes' blocks are elsewhere: how long until each is writable again, by kind of workload.
    (Asked before the server is lost: a controller manager that starts anew may not notice that a volume was let go of, and then waits for 6
    minutes: github.com/kubernetes/kubernetes/issues/108221. On a kept cluster whose server was lost before, this breaks.)
    """
    worker, server, timers = cluster.node("worker").name, cluster.node("server").name, cluster.timers
    cluster.eventually(tree_applied(), within="5m")
    spread_app(cluster)
    if why := writers_to_lose(cluster, worker):
        experiment.assertion("the volumes' blocks lie elsewhere", "blocks_on", None, why, claims=FAILOVER)
    cluster.negative_control(stateless_run_elsewhere(worker))
    cluster.negative_control(has_series('up{job="absent"} == 1'))
    nodes, scraped_s = len(cluster.nodes()), 2 * scrape_interval_s(cluster)
    outage, moved_s = timers.node_lost_s + 10, timers.evicted_s + 120
    targets = (ingress(), ingress(tls=True), ingress_itself(), service(), dns(), volumes())

    def scraped_again():  # right after the node is ready; a Prometheus that was lost with it has to start first
        cluster.eventually(has_series("vector(1)"), within=EXPORTERS.budget("back"), claims=EXPORTERS)
        cluster.eventually(
            has_series('up{job="node-exporter"} == 1', at_least=nodes), within=scraped_s, claims=EXPORTERS
        )

    with sampler.watch(*targets, api()) as seen, faults(node_loss(worker), recovery="6m", after_heal=scraped_again):
        cluster.eventually(stateless_run_elsewhere(worker), within=timers.evicted_s + 60, claims=RESCHEDULED)
        cluster.eventually(writers_run(away_from=worker), within=moved_s, claims=FAILOVER)
        seen.observe_for(12)  # a stable stretch: the end of each volume's outage is seen while the node is still away
    for claims in (RESCHEDULED, HA):
        seen.outage_at_most(
            outage, "ingress", "ingress-tls", via=server, claims=claims, what=f"the app through {server}, {worker} lost"
        )
        seen.outage_at_most(
            outage, "service", vantage=server, claims=claims, what=f"the app's Service from {server}, {worker} lost"
        )
    _core(seen, server, f"{worker} lost")
    seen.outage_at_most(CORE.budget("outage"), "api", claims=CORE, what=f"the API, {worker} lost")
    seen.outage_at_most(
        moved_s, "volume", vantage=writers.DEPLOYMENT, claims=FAILOVER, what="the volume of a Deployment's pod"
    )
    for number in range(writers.COUNT - 1):
        seen.outage_at_most(
            moved_s,
            "volume",
            vantage=f"{writers.STATEFUL}-{number}",
            claims=FAILOVER,
            what=f"the volume of a StatefulSet's pod {number}",
        )
    seen.no_acknowledged_write_lost(claims=FAILOVER)

    with sampler.watch(*targets) as seen, faults(node_loss(server), recovery="6m"):
        seen.observe_for(outage + 10)
    seen.outage_at_most(
        outage, "ingress", "ingress-tls", via=worker, claims=HA, what=f"the app through {worker}, then {server} lost"
    )
    seen.outage_at_most(
        outage, "service", vantage=worker, claims=HA, what=f"the app's Service from {worker}, then {server} lost"
    )
    _core(seen, worker, f"then {server} lost")
    seen.no_acknowledged_write_lost(claims=FAILOVER, what=f"the volumes, whose blocks were on {server}")


@needs(NodePower, NodeShell)
@claim(DOWN)
def test_workloads_continue_on_the_worker_while_the_control_plane_is_down(cluster, faults, sampler, experiment):
    """The server's power is cut with the app on both nodes: no container on the worker ends; and what its requests meet is measured."""
    worker, server, outage = cluster.node("worker").name, cluster.node("server").name, DOWN.budget("outage")
    cluster.eventually(tree_applied(), within="5m")
    spread_app(cluster)
    # The stand-in's leader ends itself without the API; whether a real Longhorn manager does isn't to be seen here.
    running = containers_on(
        cluster, worker, frozenset([cluster.settings.storage.namespace] if "longhorn" in cluster.stand_ins else [])
    )
    run_on = containers_run(worker, running)
    cluster.eventually(run_on, within="10s")
    cluster.negative_control(containers_run(worker, {**running, "0" * 64: "absent"}))
    with sampler.watch(ingress(), service(), dns(), api()) as seen, faults(node_loss(server), recovery="6m"):
        wait = always(cluster, run_on, "30s")
        seen.observe_for(max(0.0, 30 - wait.took_s))
        experiment.assertion(
            "the containers on the worker run on",
            run_on.kind,
            wait.held,
            f"all {len(running)} did" if wait.held else wait.last,
            figure=f"{len(running)} containers, {wait.took_s:.0f}s",
            budget="30s",
            claims=DOWN,
        )
    _say_limits(cluster, experiment, seen, worker, server)
    for kind, what in (("ingress", "the app through"), ("service", "the app's Service from"), ("dns", "DNS from")):
        component = {"via": worker} if kind == "ingress" else {"vantage": worker}
        seen.outage_at_most(
            outage, kind, failed_share=0, claims=DOWN, what=f"{what} {worker}, {server} lost", **component
        )


def _say_limits(cluster, experiment, seen, worker, server):
    """What no second worker changes, as it was measured."""
    etcd = cluster.objects.list("Pod", "kube-system", labels="component=etcd")
    away, unknown = seen.longest_outage_s("api"), seen.longest_outage_s("dns", vantage=worker)
    if away is not None:
        members = f", with {len(etcd)} member{'s' if len(etcd) > 1 else ''} of etcd" if etcd else ""
        experiment.limit("quorum", f"without {server} the API was away for {away:.0f}s{members}")
    replicas = sum(
        i["spec"].get("replicas", 1)
        for i in cluster.objects.list("Deployment", "kube-system", labels="k8s-app=kube-dns")
    )
    if unknown is not None:
        experiment.limit(
            "dns",
            f"without {server} DNS was away for {unknown:.1f}s on {worker}, with {replicas} of CoreDNS's pods in the cluster",
        )


def _core(seen, survivor, when):
    limit = CORE.budget("outage")
    seen.outage_at_most(
        limit, "ingress-itself", via=survivor, claims=CORE, what=f"the ingress itself through {survivor}, {when}"
    )
    seen.outage_at_most(limit, "dns", vantage=survivor, claims=CORE, what=f"DNS from {survivor}, {when}")
