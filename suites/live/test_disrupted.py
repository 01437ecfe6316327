"""Faults on a cluster that matters, where its owner lets them be: what of a scenario shows there without a commit and without a pod of ours."""

from holdfast.claims import get
from holdfast.drivers.driver import Agents, GitHosting, Guarded, NodePower, NodeShell, PodRuntime
from holdfast.durations import seconds
from holdfast.faults.flux import flux_down
from holdfast.faults.ingress import ingress_deleted
from holdfast.faults.longhorn import longhorn_control_plane_down
from holdfast.faults.nodes import node_drained, node_loss
from holdfast.marks import claim, in_part, needs
from holdfast.probes.flux import inventory, inventory_is, tree_applied
from holdfast.probes.longhorn import storage_ready
from holdfast.probes.workloads import lives, stateless_run_elsewhere, undisturbed, workload_ready
from holdfast.sampling.targets import api, ingress, ingress_itself
from holdfast.waiting import Unproven

CONTINUE, NO_LOSS = get("flux-down-workloads-continue"), get("flux-restart-no-loss")
INTERNAL = get("ingress-down-internal-continues")
STORAGE = get("longhorn-down-core-continues")
MAINTENANCE, RESCHEDULED = get("node-maintenance"), get("node-loss-rescheduled")
BUT = ("flux-system", "holdfast-deadman")


@in_part("pods, the app from outside and what Flux owns go; no commit is pushed to your repository", GitHosting)
@needs(Guarded, PodRuntime)
@claim(CONTINUE, NO_LOSS)
def test_what_runs_goes_on_while_flux_is_down(cluster, faults, sampler):
    """No pod outside of Flux's own namespace ends, the app answers from outside, and what Flux owns is the same afterwards."""
    cluster.eventually(tree_applied(), within="1m")
    owned, before = inventory(cluster), lives(cluster, *BUT)
    cluster.negative_control(undisturbed({**before, "apps/absent": ("none", 0)}, BUT))
    cluster.negative_control(inventory_is(owned | {"flux-system:apps_absent__ConfigMap"}))
    with sampler.watch(ingress(), ingress_itself()) as seen, faults(flux_down()):
        cluster.always(undisturbed(before, BUT), during="45s", every_s=3, claims=CONTINUE)
    cluster.eventually(inventory_is(owned), within="60s", claims=NO_LOSS)
    seen.outage_at_most(CONTINUE.budget("outage"), "ingress", failed_share=0, claims=CONTINUE, what="the app, outside")


@in_part("pods go: none of holdfast's own asks from inside", Agents)
@needs(Guarded, PodRuntime)
@claim(INTERNAL)
def test_what_runs_goes_on_without_ingress(cluster, faults):
    """The ingress is gone, and no other pod ends or stops being ready."""
    app, component = cluster.app, cluster.settings.ingress
    cluster.eventually(tree_applied(), within="1m")
    but = (*BUT, component.namespace)
    before = lives(cluster, *but)
    cluster.negative_control(undisturbed({**before, "apps/absent": ("none", 0)}, but))
    cluster.negative_control(workload_ready("Deployment/absent", app.namespace))
    with faults(ingress_deleted()):
        cluster.always(workload_ready(app.workload, app.namespace), during="20s")
        cluster.eventually(undisturbed(before, but), within="0s")


@in_part("pods and the app from outside go: none of holdfast's own writes to a volume", Agents)
@needs(Guarded, PodRuntime)
@claim(STORAGE)
def test_what_runs_goes_on_without_the_control_plane_of_storage(cluster, faults, sampler):
    """No manager and no CSI plugin of Longhorn's runs; no pod elsewhere ends, and the app answers from outside."""
    namespace = cluster.settings.storage.namespace
    cluster.eventually(tree_applied(), within="1m")
    cluster.eventually(storage_ready(), within="30s")
    but = (*BUT, namespace)
    before = lives(cluster, *but)
    cluster.negative_control(storage_ready("absent"))
    cluster.negative_control(undisturbed({**before, "apps/absent": ("none", 0)}, but))
    with sampler.watch(ingress(), ingress_itself()) as seen, faults(longhorn_control_plane_down(), recovery="4m"):
        cluster.always(undisturbed(before, but), during="30s", every_s=3)
    seen.outage_at_most(STORAGE.budget("outage"), "ingress", failed_share=0, what="the app, outside")


@in_part("a node is drained and given back; it isn't upgraded, and no pod of holdfast's own asks from inside", Agents)
@needs(Guarded, PodRuntime)
@claim(MAINTENANCE)
def test_a_node_is_drained_and_given_back(cluster, faults, sampler):
    """What runs on the last worker leaves it as budgets of disruptions let it, and the app answers through the other nodes."""
    node, others = _worker(cluster)
    cluster.eventually(tree_applied(), within="1m")
    with sampler.watch(ingress(), api()) as seen, faults(node_drained(node, MAINTENANCE.budget("drained"))):
        seen.observe_for(10)
    for other in others:
        seen.outage_at_most(
            MAINTENANCE.budget("outage"), "ingress", via=other, what=f"the app through {other}, {node} drained"
        )


@in_part("Deployments and the app from outside go: no pod of holdfast's own asks from inside", NodeShell)
@needs(Guarded, NodePower, PodRuntime)
@claim(RESCHEDULED)
def test_what_a_lost_node_ran_runs_elsewhere(cluster, faults, sampler):
    """The last worker's power is cut by its owner's own command: its stateless pods run on the other nodes once they are evicted."""
    node, others = _worker(cluster)
    timers, limit_s = cluster.timers, cluster.capable(Guarded).limit_s
    if limit_s < timers.node_lost_s + timers.evicted_s + 60:
        raise Unproven(
            f"pods leave a lost node after {timers.evicted_s:g}s, and it is back after {limit_s:g}s: [disruption] limit"
        )
    cluster.eventually(tree_applied(), within="1m")
    cluster.negative_control(stateless_run_elsewhere(node))
    with sampler.watch(ingress(), api()) as seen, faults(node_loss(node), recovery="8m"):
        cluster.eventually(stateless_run_elsewhere(node), within=timers.evicted_s + 60)
    for other in others:
        seen.outage_at_most(
            timers.node_lost_s + seconds("10s"), "ingress", via=other, what=f"the app through {other}, {node} lost"
        )


def _worker(cluster):
    """The last node that is no server, and the others; where there is none, nothing can be lost."""
    workers = [n.name for n in cluster.nodes() if n.role == "worker"]
    if not workers:
        raise Unproven("the cluster has no worker: a server that is lost takes the API with it")
    return workers[-1], [n.name for n in cluster.nodes() if n.name != workers[-1]]
