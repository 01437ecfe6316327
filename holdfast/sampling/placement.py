"""Which pods run where before a test that takes a node away."""

from __future__ import annotations

from holdfast.cluster import Cluster
from holdfast.probes.longhorn import blocks_on, storage_ready, volumes_work
from holdfast.probes.workloads import pods, selector, spread
from holdfast.sampling.agents import NAMESPACE
from holdfast.sampling.targets import volumes
from holdfast.sampling.writers import claim_of, names, writers_run


def gather_writers(cluster: Cluster, node: str) -> None:
    """Lets every writer run on one node: the others take no pods meanwhile."""
    volumes().assign(cluster)
    others = [n.name for n in cluster.nodes() if n.name != node]
    with cluster.inject.for_a_while():
        for other in others:
            cluster.inject.patch("Node", other, None, {"spec": {"unschedulable": True}})
        for pod in cluster.objects.list("Pod", NAMESPACE, labels="app=holdfast-writer"):
            if pod["spec"].get("nodeName") != node:
                cluster.inject.delete_pod(pod["metadata"]["name"], NAMESPACE)
        cluster.eventually(writers_run(on=node), within="3m")


def writers_to_lose(cluster: Cluster, node: str) -> str:
    """Gathers every writer on a node that is about to go, and tries the probes; returns why their volumes would go with it, or nothing."""
    cluster.eventually(storage_ready(), within="2m")
    cluster.eventually(volumes_work(), within="60s")
    cluster.negative_control(storage_ready("absent"))
    cluster.negative_control(volumes_work("absent/file"))
    gather_writers(cluster, node)
    cluster.negative_control(writers_run(away_from=node))
    homes = {name: blocks_on(cluster, claim_of(name), NAMESPACE) for name in names()}
    if "longhorn" in cluster.stand_ins and node in homes.values():
        return f"the stand-in has one copy of a volume's blocks, and some lie on {node}: {homes}"
    return ""


def spread_app(cluster: Cluster) -> None:
    """The app on every node. Pods that an earlier fault left together are sent away once: they don't spread again by themselves."""
    app = cluster.app
    labels = selector(cluster, app.workload, app.namespace)
    homes = [p["spec"].get("nodeName") for p in pods(cluster, app.namespace, labels)]
    if len(set(homes)) < len(cluster.nodes()):
        crowded = pods(cluster, app.namespace, labels)[0]["metadata"]["name"]
        cluster.inject.delete_pod(crowded, app.namespace)
    cluster.eventually(spread(app.namespace, labels), within="90s")
