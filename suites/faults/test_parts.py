"""What a lane of simulated pods can show of a fault: what the scheduler and Flux make of it. The whole is shown where pods run."""

import pytest

from holdfast.claims import get
from holdfast.commits import add_copy, remove
from holdfast.drivers.driver import NodePower, NodeShell
from holdfast.faults.nodes import node_loss
from holdfast.faults.releases import release_fails
from holdfast.marks import claim, in_part, needs
from holdfast.probes.flux import tree_applied
from holdfast.probes.nodes import api_refuses
from holdfast.probes.workloads import absent, pods_of_node, pods_stay, stateless_run_elsewhere, workload_ready

CASCADE = get("storage-does-not-cascade")


@pytest.mark.smoke
@in_part("the scheduler goes", NodeShell)
@needs(NodePower)
@claim("node-loss-rescheduled", "ha-multi-node")
def test_stateless_pods_are_scheduled_elsewhere_when_the_worker_is_lost(cluster, faults):
    """The worker's power is cut: all pods of stateless Deployments become ready on what is left, and the cluster converges when it is back."""
    worker = cluster.node("worker").name
    cluster.eventually(tree_applied(), within="5m")
    cluster.negative_control(stateless_run_elsewhere(worker))
    with faults(node_loss(worker), recovery="3m"):
        cluster.eventually(stateless_run_elsewhere(worker), within=cluster.timers.evicted_s + 60)


@in_part("the control plane itself goes", NodeShell)
@needs(NodePower)
@claim("control-plane-down")
def test_what_the_worker_runs_is_not_made_anew_when_the_control_plane_is_lost(cluster, faults):
    """The server's power is cut, and the control plane with it: once it is back, the worker isn't taken for lost, and its pods are the same."""
    worker, server = cluster.node("worker").name, cluster.node("server").name
    cluster.eventually(tree_applied(), within="5m")
    pods = pods_of_node(cluster, worker)
    cluster.negative_control(pods_stay(worker, {"none": "a pod that never was"}))
    cluster.negative_control(api_refuses())

    def same():
        cluster.always(pods_stay(worker, pods), during="20s")

    with faults(node_loss(server), recovery="3m", after_heal=same):
        cluster.always(api_refuses(), during=cluster.timers.node_lost_s + 5)


@pytest.mark.smoke
@in_part("Flux goes", NodeShell)
@claim(CASCADE)
def test_a_commit_to_a_stateless_app_is_applied_while_the_storage_systems_release_fails(cluster, faults, git):
    """What waits for storage waits; a commit to an app that doesn't use it arrives all the same."""
    app, component = cluster.app, cluster.settings.storage
    kind, _, name = app.workload.partition("/")
    added = f"{name}-added"
    cluster.eventually(tree_applied(), within="5m")
    cluster.negative_control(workload_ready(f"{kind}/{added}", app.namespace))
    cluster.negative_control(absent(kind, name, app.namespace))
    with faults(release_fails(component.release, component.namespace), recovery="5m"):
        git.push(add_copy(kind, name, added), "one more stateless app while storage's release fails")
        try:
            cluster.eventually(workload_ready(f"{kind}/{added}", app.namespace), within=CASCADE.budget("applied"))
        finally:
            git.push(remove(kind, added), "without it again")
    cluster.eventually(absent(kind, added, app.namespace), within="3m")
