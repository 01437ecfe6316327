"""Kubernetes taken to another version in place, node by node, while the cluster is used. Run by `holdfast upgrade --in-place`."""

from pathlib import Path

from holdfast.claims import get
from holdfast.commits import mark
from holdfast.drivers.driver import Agents, NodePower, NodeShell, NodeUpgrade, PodRuntime
from holdfast.durations import seconds
from holdfast.errors import NotExercised
from holdfast.marks import claim, needs
from holdfast.probes.flux import NAMESPACE, controller_replaced, marked, tree_applied, uids
from holdfast.probes.nodes import node_not_ready, node_ready, node_runs
from holdfast.probes.workloads import workload_ready, workloads_ready
from holdfast.sampling.targets import api, dns, ingress, service, volumes
from holdfast.waiting import Unproven

MAINTENANCE = get("node-maintenance")
LIMIT = MAINTENANCE.budget("outage")


@needs(NodeUpgrade, NodePower, Agents, NodeShell, PodRuntime)
@claim(MAINTENANCE)
def test_kubernetes_is_upgraded_in_place_while_the_cluster_is_used(run, cluster, sampler, git, experiment):
    """The server, then the worker; between the two the worker's power is cut: a kubelet that is a minor behind comes back all the same.

    What is asked through the other node is answered meanwhile, what is on volumes stays, and a commit arrives at each step.
    """
    wanted = run.lane.upgrading
    if wanted is None:
        raise NotExercised("no version to go to was named: holdfast upgrade --in-place")
    cluster.steady(tree_applied(), within="5m")
    server, worker = cluster.node("server").name, cluster.node("worker").name
    done = run.lane.nodes_upgraded() if wanted.resumed else []
    for node in (server, worker):
        if node in done:  # what was cut short left it whole, or it never did
            cluster.eventually(node_runs(node, wanted.to), within="2m")
        elif not wanted.resumed:
            cluster.negative_control(node_runs(node, wanted.to))
    cluster.negative_control(node_runs(worker, "0.0.0"))
    cluster.negative_control(node_ready("absent"))
    cluster.negative_control(node_not_ready(worker))
    cluster.negative_control(marked("never pushed"))
    cluster.negative_control(workload_ready("Deployment/absent", cluster.app.namespace))
    if wanted.drain:
        with cluster.inject.by_hand(Path("/")) as terminal:
            typed = terminal.type(["kubectl", "drain", "absent"])
        experiment.negative_control("drain", typed.code != 0, typed.last)
    run.quarantine(f"it is taken to Kubernetes {wanted.to} in place")
    run.lane.upgrade_begins()
    cluster.inject.bring_version(wanted.to)
    if server not in done:
        _upgraded(run, cluster, sampler, git, experiment, server)
    with cluster.inject.for_a_while():
        cluster.inject.power_off(worker)
        cluster.eventually(node_not_ready(worker), within=cluster.timers.node_lost_s + 20)
    cluster.eventually(node_ready(worker), within="5m")
    cluster.steady(workloads_ready(), within="5m")
    _killed(cluster, "kustomize-controller")
    if worker not in done:
        _upgraded(run, cluster, sampler, git, experiment, worker)
    if wanted.resumed:
        nodes = ", ".join(done) or server
        raise Unproven(f"what the upgrade of {nodes} cost isn't known: the run that began it was cut short")


def _killed(cluster, name):
    """A controller of Flux's is killed in the middle of it, and comes back on whichever node is there."""
    old = uids(cluster, name)
    cluster.negative_control(controller_replaced(name, old))
    for pod in cluster.objects.list("Pod", NAMESPACE, labels=f"app={name}"):
        cluster.inject.delete_pod(pod["metadata"]["name"], NAMESPACE, grace_s=0)
    cluster.eventually(controller_replaced(name, old), within="2m")


def _upgraded(run, cluster, sampler, git, experiment, node):
    """One node, watched until it is whole again."""
    version, drain = run.lane.upgrading.to, run.lane.upgrading.drain
    role, other = cluster.node(node).role, next(n.name for n in cluster.nodes() if n.name != node)
    with sampler.watch(ingress(), service(), dns(), api(), volumes()) as seen:
        with cluster.inject.for_a_while():
            if drain:
                _drained(cluster, experiment, node)
            took_s = cluster.inject.upgrade_node(node, version)
        cluster.eventually(node_runs(node, version), within="2m")
        run.lane.node_upgraded(node)
        experiment.assertion(
            f"the {role} is upgraded",
            "node_runs",
            True,
            f"{node} took {took_s:.0f}s",
            figure=f"{took_s:.0f}s",
        )
        cluster.eventually(workload_ready(cluster.app.workload, cluster.app.namespace), within="5m")
        cluster.steady(workloads_ready(), within="5m")
        git.push(mark(cluster.sync, f"{role}-upgraded"), f"a commit with the {role} upgraded")
        cluster.eventually(marked(f"{role}-upgraded"), within="3m")
    what = f"while the {role} is upgraded{' (drained before)' if drain else ''}"
    seen.outage_at_most(LIMIT, "ingress", via=other, what=f"the app through {other}, {what}")
    seen.outage_at_most(LIMIT, "service", vantage=other, what=f"the app's Service from {other}, {what}")
    seen.outage_at_most(LIMIT, "dns", vantage=other, what=f"DNS from {other}, {what}")
    seen.outage_at_most("10m", "ingress", via=node, what=f"the app through {node}, {what}")
    seen.outage_at_most("10m", "api", what=f"the API, {what}")
    # What a drain sends away takes its volume with it: that is what was asked for.
    moved = MAINTENANCE.budget("drained") if drain else LIMIT
    seen.outage_at_most(moved, "volume", what=f"the writers' volumes, {what}")
    seen.no_acknowledged_write_lost(what=f"the writers' volumes, {what}")


def _drained(cluster, experiment, node):
    """By kubectl's own drain, which heeds budgets of disruptions: a pod that its maker puts back at once is none of its own."""
    limit_s = seconds(MAINTENANCE.budget("drained"))
    typed = cluster.inject.drain(node, limit_s)
    experiment.assertion(
        f"{node} is drained",
        "drain",
        typed.code == 0,
        typed.last,
        figure=f"{typed.took_s:.0f}s",
        budget=f"{limit_s:g}s",
    )
