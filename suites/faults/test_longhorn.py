"""Longhorn down, in three degrees; and brought back by Flux."""

import secrets
import time

import pytest

from holdfast.bootstrap import SYSTEM
from holdfast.changes import set_values
from holdfast.claims import claim
from holdfast.durations import seconds
from holdfast.faults.longhorn import longhorn_control_plane_down, longhorn_data_plane_down, longhorn_gone, longhorn_workloads_deleted
from holdfast.faults.nodes import node_loss
from holdfast.objects import name_of
from holdfast.plugin import budget
from holdfast.probes.blast import hit, predicted
from holdfast.probes.flux import tree_applied
from holdfast.probes.longhorn import blocks_on, storage_ready, volumes_work, workloads
from holdfast.probes.monitoring import has_series, scrape_interval_s, scraped_without_gap
from holdfast.probes.releases import hook, job_failed
from holdfast.probes.workloads import has_replicas, workloads_ready
from holdfast.sampling import writers
from holdfast.sampling.targets import api, dns, ingress, ingress_itself, pods, prometheus, service, volumes
from holdfast.sampling.writers import writers_run
from holdfast.waiting import Unproven

CONTINUE, CASCADE, CORE = ("longhorn-down-core-continues",), ("storage-does-not-cascade",), ("core-always-available",)
EPHEMERAL, EXPORTERS = ("monitoring-ephemeral",), ("monitoring-exporters",)
REDEPLOY, BY_FLUX, FAILOVER = ("longhorn-redeploy",), ("longhorn-by-flux",), ("node-loss-replica-failover",)
NO_FILE = "absent/file"


@claim(*CONTINUE, *CASCADE, *CORE, *EPHEMERAL)
@pytest.mark.parametrize("degree", [
    pytest.param(longhorn_control_plane_down, id="control-plane"),
    pytest.param(longhorn_data_plane_down, id="data-plane", marks=pytest.mark.smoke),
    pytest.param(longhorn_gone, id="everything"),
])
def test_all_but_apps_with_volumes_continue_while_longhorn_is_down(cluster, faults, sampler, git, run, arc, degree):
    """Core and stateless apps lose no request, a commit to a stateless app still arrives, and no acknowledged record is lost."""
    app, place = cluster.app, cluster.adaptations.storage
    _steady(cluster)
    kind, _, name = app.workload.partition("/")
    replicas = cluster.objects.get(kind, name, app.namespace)["spec"]["replicas"]
    cluster.canary(has_replicas(app.workload, app.namespace, replicas + 1))
    foreseen, but = predicted(run.checked.tree, place.namespace), frozenset([SYSTEM, place.namespace])
    cluster.eventually(workloads_ready(), within="2m")
    broken = hit(cluster, but, NO_FILE)
    arc.canary("blast", bool(broken), f"with volumes that can't be written it names {', '.join(sorted(broken))}" if broken else "it named nothing")
    cluster.canary(scraped_without_gap("up", time.time() - 60, time.time() + 1000))
    targets = (ingress(), ingress(tls=True), ingress_itself(), service(), dns(), pods(), api(), prometheus(), volumes())
    try:
        with sampler.watch(*targets) as seen, faults(degree(), recovery="4m"):
            git.push(set_values(kind, name, ("spec", "replicas"), replicas + 1), "scale a stateless app while storage is down")
            cluster.eventually(has_replicas(app.workload, app.namespace, replicas + 1), within=budget(CASCADE[0], "applied"), claims=CASCADE)
            seen.look_on(10)
            arc.blast(place.namespace, foreseen, hit(cluster, but), CONTINUE)
    finally:
        git.push(set_values(kind, name, ("spec", "replicas"), replicas), "as many replicas as before")
    limit, when = budget(CONTINUE[0], "outage"), f"storage down ({arc.history[-1].text})"
    seen.outage_at_most(limit, "ingress", "ingress-tls", "service", failed_share=0, claims=(*CONTINUE, *CASCADE), what=f"the stateless app, {when}")
    seen.outage_at_most(limit, "api", failed_share=0, claims=CONTINUE, what=f"the API, {when}")
    seen.outage_at_most(limit, "ingress-itself", "dns", "pods", failed_share=0, claims=(*CONTINUE, *CORE), what=f"core components, {when}")
    seen.outage_at_most(limit, "prometheus", failed_share=0, claims=(*CONTINUE, *EPHEMERAL), what=f"core Prometheus, {when}")
    seen.kept(claims=CONTINUE, what=f"the writers' volumes, {when}")
    cluster.eventually(has_replicas(app.workload, app.namespace, replicas), within="3m", claims=CASCADE)
    elsewhere = f'up{{namespace!="{place.namespace}"}}'
    cluster.eventually(scraped_without_gap(elsewhere, seen.begin, seen.end), within="0s", claims=(*CONTINUE, *EPHEMERAL))


@claim(*REDEPLOY, *BY_FLUX, *CORE)
def test_longhorn_is_brought_back_by_flux(cluster, faults, sampler, arc):
    """Its workloads and all its pods deleted: Flux brings them back, volumes work again, no acknowledged record is lost, core sees nothing."""
    _steady(cluster)
    names = frozenset(name_of(item) for item in workloads(cluster))
    targets = (ingress(), ingress_itself(), service(), dns(), pods(), volumes())
    with sampler.watch(*targets) as seen, faults(longhorn_workloads_deleted(), recovery="5m"):
        def left_s(claims):
            """Of a budget that began when the workloads were deleted."""
            return max(0.0, round(seconds(budget(claims[0], "back")) - (time.time() - arc.history[-1].injected), 1))

        cluster.eventually(storage_ready(names=names), within=left_s(BY_FLUX), claims=BY_FLUX)
        cluster.eventually(volumes_work(), within=left_s(REDEPLOY), claims=REDEPLOY)
    seen.outage_at_most(budget(REDEPLOY[0], "outage"), "ingress-itself", "dns", "pods", failed_share=0, claims=(*REDEPLOY, *CORE),
                        what="core components while storage is redeployed")
    seen.outage_at_most(budget(REDEPLOY[0], "outage"), "ingress", "service", failed_share=0, claims=REDEPLOY, what="the stateless app meanwhile")
    seen.outage_at_most(budget(REDEPLOY[0], "back"), "volume", claims=REDEPLOY, what="the writers' volumes")
    seen.kept(claims=(*REDEPLOY, *BY_FLUX))
    _uninstall_is_refused(cluster)


def _uninstall_is_refused(cluster):
    """What helm runs before it deletes the release, run without deleting it: it must refuse, or every volume would go."""
    place, name = cluster.adaptations.storage, f"holdfast-uninstall-{secrets.token_hex(3)}"
    job = hook(cluster, place.release, place.namespace, "pre-delete")
    setting = cluster.objects.get("Setting", "deleting-confirmation-flag", place.namespace)
    if not job or not setting or setting["value"] != "false":
        raise Unproven("the release has no pre-delete hook, or its deleting-confirmation-flag isn't false: running it would destroy data")
    job["metadata"] = {"name": name, "namespace": place.namespace}
    cluster.canary(job_failed(name, place.namespace, "deleting-confirmation-flag"))
    cluster.undo.before("delete", kind="Job", name=name, namespace=place.namespace)
    cluster.objects.apply(job)
    try:
        cluster.eventually(job_failed(name, place.namespace, "deleting-confirmation-flag"), within="60s", claims=REDEPLOY)
    finally:
        cluster.undo.replay(cluster.driver, cluster.objects)


def _steady(cluster):
    cluster.eventually(tree_applied(), within="5m")
    cluster.eventually(storage_ready(), within="2m")
    cluster.eventually(volumes_work(), within="60s")
    cluster.canary(storage_ready("absent"))
    cluster.canary(volumes_work(NO_FILE))


@claim(*FAILOVER, *EXPORTERS)
def test_volumes_move_with_their_pods_when_a_node_is_lost(cluster, faults, sampler):
    """The node where the writers run loses its power; their blocks are elsewhere. How long until each is writable again, by kind of workload."""
    worker, timers = cluster.node("worker").name, cluster.timers
    _steady(cluster)
    _gather(cluster, worker)
    homes = {name: blocks_on(cluster, writers.claim_of(name), SYSTEM) for name in writers.names()}
    if "longhorn" in cluster.stand_ins and worker in homes.values():
        raise Unproven(f"the stand-in has one copy of a volume's blocks, and some lie on {worker}: {homes}")
    cluster.canary(writers_run(away_from=worker))
    cluster.canary(has_series('up{job="absent"} == 1'))
    limit = timers.evicted_s + 120
    nodes, limit_s = len(cluster.nodes()), 2 * scrape_interval_s(cluster)

    def scraped_again():  # right after the node is ready
        cluster.eventually(has_series('up{job="node-exporter"} == 1', at_least=nodes), within=limit_s, claims=EXPORTERS)

    with sampler.watch(volumes()) as seen, faults(node_loss(worker), recovery="6m", then=scraped_again):
        cluster.eventually(writers_run(away_from=worker), within=limit, claims=FAILOVER)
        seen.look_on(12)
    seen.outage_at_most(limit, "volume", vantage=writers.DEPLOYMENT, claims=FAILOVER, what="the volume of a Deployment's pod")
    for number in range(writers.COUNT - 1):
        seen.outage_at_most(limit, "volume", vantage=f"{writers.STATEFUL}-{number}", claims=FAILOVER, what=f"the volume of a StatefulSet's pod {number}")
    seen.kept(claims=FAILOVER)


def _gather(cluster, node):
    """Lets every writer run on one node: the others take no pods meanwhile."""
    volumes().place(cluster)
    others = [n.name for n in cluster.nodes() if n.name != node]
    for other in others:
        cluster.undo.before("patch", kind="Node", name=other, namespace=None, body={"spec": {"unschedulable": None}})
        cluster.objects.patch("Node", other, None, {"spec": {"unschedulable": True}})
    for pod in cluster.objects.list("Pod", SYSTEM, labels="app=holdfast-writer"):
        if pod["spec"].get("nodeName") != node:
            cluster.objects.delete("Pod", pod["metadata"]["name"], SYSTEM)
    try:
        cluster.eventually(writers_run(on=node), within="3m")
    finally:
        cluster.undo.replay(cluster.driver, cluster.objects)
