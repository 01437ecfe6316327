"""The second node leaves a cluster that is used, and joins it as a new one. What two nodes promise is asked after this, of the node that joined."""

from holdfast.bootstrap import SYSTEM
from holdfast.claims import get
from holdfast.drivers.driver import Agents, Live, NodeMembership, NodeShell, PodRuntime
from holdfast.faults.nodes import node_removed
from holdfast.marks import claim, in_part, needs
from holdfast.probes.flux import tree_applied
from holdfast.probes.ingress import answers
from holdfast.probes.longhorn import blocks_on, claim_bound, volumes_work
from holdfast.probes.nodes import node_absent, node_ready, serves_its_own
from holdfast.probes.workloads import stateless_run_elsewhere, together
from holdfast.sampling.placement import gather_writers, spread_app, writers_to_lose
from holdfast.sampling.targets import api, dns, ingress, service, volumes
from holdfast.sampling.writers import writers_run
from holdfast.waiting import always

READY = get("k3s2-ready")
_SPACE = "space-on-the-new-node"


@in_part("it joins, works and leaves; what the machine itself must be, `holdfast host` looks at", Live)
@needs(NodeMembership, NodeShell, Agents, PodRuntime)
@claim(READY)
def test_the_second_node_leaves_a_cluster_in_use_and_joins_it_as_a_new_one(cluster, faults, sampler, experiment):
    """Drained and removed, everything runs on one node; joined again, the node gets all that belongs on each, answers, and takes volumes.

    Through the first node the app is answered all the time, and no record that a writer was told of as written is lost.
    """
    worker, server, host = cluster.node("worker").name, cluster.node("server").name, cluster.app.host
    cluster.eventually(tree_applied(), within="5m")
    spread_app(cluster)
    if why := writers_to_lose(cluster, worker):
        experiment.assertion("the volumes' blocks lie elsewhere", "blocks_on", None, why)
    for broken in (
        node_absent(worker),
        node_ready("absent"),
        serves_its_own("absent"),
        stateless_run_elsewhere(worker),
        answers(worker, "absent.holdfast.example"),
        writers_run(on=server),
        claim_bound("absent", SYSTEM),
    ):
        cluster.negative_control(broken)

    def works():
        cluster.eventually(serves_its_own(worker), within=READY.budget("working"))
        cluster.eventually(answers(worker, host), within="30s")

    targets = (ingress(), ingress(tls=True), service(), dns(), api(), volumes())
    with sampler.watch(*targets) as seen, faults(node_removed(worker, within=READY.budget("moved")), after_heal=works):
        cluster.eventually(stateless_run_elsewhere(worker), within="2m")
        cluster.eventually(writers_run(on=server), within="2m")
        seen.observe_for(10)  # one node, in use
    _nothing_lost(seen, server, f"while {worker} leaves and joins")
    crowded = together(cluster)
    if crowded:
        experiment.limit("spread", f"after {worker} had joined all pods of {', '.join(crowded)} were still on one node")
    gather_writers(cluster, worker)
    cluster.eventually(volumes_work(), within="60s")
    _takes_blocks(cluster, experiment, worker)
    _answers_itself(cluster, experiment, host)


def _nothing_lost(seen, server, when):
    limit, moved = READY.budget("outage"), READY.budget("moved")
    seen.outage_at_most(limit, "ingress", "ingress-tls", via=server, what=f"the app through {server}, {when}")
    seen.outage_at_most(limit, "service", vantage=server, what=f"the app's Service from {server}, {when}")
    seen.outage_at_most(limit, "dns", vantage=server, what=f"DNS from {server}, {when}")
    seen.outage_at_most(limit, "api", what=f"the API, {when}")
    seen.outage_at_most(moved, "volume", what=f"the writers' volumes, which move to {server}, {when}")
    seen.no_acknowledged_write_lost(what=f"the writers' volumes, {when}")


def _takes_blocks(cluster, experiment, node):
    """The disk of the new node is one of the storage system's: a volume that asks for it gets its blocks there."""
    if "longhorn" not in cluster.stand_ins:
        experiment.assertion(
            "the new node takes blocks",
            "claim_bound",
            None,
            "only the stand-in is asked where it puts a volume's blocks",
        )
        return
    meta = {"name": _SPACE, "namespace": SYSTEM, "annotations": {"stand-in.holdfast/blocks-on": node}}
    storage = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}}
    storage["storageClassName"] = cluster.settings.storage.storage_class
    with cluster.inject.for_a_while():
        cluster.inject.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": storage})
        cluster.eventually(claim_bound(_SPACE, SYSTEM), within="60s")
        on = blocks_on(cluster, _SPACE, SYSTEM)
        experiment.assertion(
            "the new node takes blocks", "claim_bound", on == node, f"its blocks are on {on or 'no node'}"
        )


def _answers_itself(cluster, experiment, host):
    """Whether each node answers by a pod of its own, with the ingress keeping to the node that was asked."""
    component = cluster.settings.ingress
    open_ports = [
        s for s in cluster.objects.list("Service", component.namespace) if s["spec"].get("type") == "NodePort"
    ]
    if not open_ports:
        return  # nothing to set it on: whose pod answers wouldn't be known
    with cluster.inject.for_a_while():
        for one in open_ports:
            local = {"spec": {"externalTrafficPolicy": "Local"}}
            cluster.inject.patch("Service", one["metadata"]["name"], component.namespace, local)
        for node in cluster.nodes():
            seen = always(cluster, answers(node.name, host), "5s")
            if not component.workload.startswith("DaemonSet/"):  # then nobody has said that each node has one
                if seen.held is False:
                    experiment.limit(
                        "local-traffic", f"with externalTrafficPolicy Local {node} doesn't answer: {seen.last}"
                    )
                continue
            said = "it answers" if seen.held else seen.last
            experiment.assertion(f"{node} answers by a pod of its own", "answers", seen.held, said, budget="5s")
