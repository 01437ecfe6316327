"""Workloads and their pods."""

from __future__ import annotations

from holdfast.cluster import Cluster
from holdfast.kube import Object, condition, name_of
from holdfast.waiting import HOLDS, Sighting, probe


def lacks(item: Object) -> str:
    """What a workload lacks, or an empty string."""
    status, meta = item.get("status") or {}, item["metadata"]
    wanted = status.get("desiredNumberScheduled", 0) if item["kind"] == "DaemonSet" else item["spec"].get("replicas", 1)
    ready = status.get("numberReady" if item["kind"] == "DaemonSet" else "readyReplicas", 0) or 0
    if status.get("observedGeneration", 0) < meta["generation"]:
        return f"{name_of(item)} was not looked at by its controller yet"
    return "" if ready >= wanted else f"{name_of(item)} has {ready} of {wanted} pods ready"


@probe
def workloads_ready(cluster: Cluster) -> Sighting:
    """Every Deployment, DaemonSet and StatefulSet of the cluster has all its pods ready."""
    items = [i for kind in ("Deployment", "DaemonSet", "StatefulSet") for i in cluster.objects.list(kind)]
    return next((why for item in items if (why := lacks(item))), HOLDS) if items else "there is no workload"


@probe
def workload_ready(cluster: Cluster, workload: str, namespace: str) -> Sighting:
    """One workload, written ``Kind/name``, has all its pods ready."""
    kind, _, name = workload.partition("/")
    found = cluster.objects.get(kind, name, namespace)
    return (lacks(found) or HOLDS) if found else f"there is no {workload} in {namespace}"


def selector(cluster: Cluster, workload: str, namespace: str) -> str:
    """The label selector of a workload, as text."""
    kind, _, name = workload.partition("/")
    found = cluster.objects.get(kind, name, namespace)
    return (
        ",".join(f"{k}={v}" for k, v in found["spec"]["selector"]["matchLabels"].items())
        if found
        else "holdfast=absent"
    )


def pods(cluster: Cluster, namespace: str, labels: str) -> list[Object]:
    """Pods that aren't on their way out."""
    return [
        p for p in cluster.objects.list("Pod", namespace, labels=labels) if not p["metadata"].get("deletionTimestamp")
    ]


@probe
def spread(cluster: Cluster, namespace: str, labels: str) -> Sighting:
    """Ready pods of a selector run on every node."""
    ready = {
        p["spec"].get("nodeName")
        for p in pods(cluster, namespace, labels)
        if condition(p, "Ready").get("status") == "True"
    }
    missing = [n.name for n in cluster.nodes() if n.name not in ready]
    return f"no ready pod ({labels}) on {', '.join(missing)}" if missing else HOLDS


def lives(cluster: Cluster, *except_: str) -> dict[str, tuple[str, int]]:
    """(UID, restarts of all containers) of every pod outside of the namespaces *but*, by namespace/name."""
    return {
        f"{p['metadata']['namespace']}/{p['metadata']['name']}": (
            p["metadata"]["uid"],
            sum(c.get("restartCount", 0) for c in (p.get("status") or {}).get("containerStatuses") or []),
        )
        for p in cluster.objects.list("Pod")
        if p["metadata"]["namespace"] not in except_
    }


@probe
def undisturbed(cluster: Cluster, before: dict[str, tuple[str, int]], except_: tuple[str, ...]) -> Sighting:
    """Every pod of *before* is still the same pod, with no restart more."""
    now = lives(cluster, *except_)
    for name, life in before.items():
        if now.get(name) != life:
            return f"{name} was replaced or restarted" if name in now else f"{name} is gone"
    return HOLDS


@probe
def stateless_run_elsewhere(cluster: Cluster, lost: str) -> Sighting:
    """Every Deployment without a volume has all its pods ready, none of them on the lost node."""
    for item in cluster.objects.list("Deployment"):
        spec, meta = item["spec"], item["metadata"]
        if any(v.get("persistentVolumeClaim") for v in spec["template"]["spec"].get("volumes") or []):
            continue
        labels = ",".join(f"{k}={v}" for k, v in spec["selector"]["matchLabels"].items())
        ready = [p for p in pods(cluster, meta["namespace"], labels) if condition(p, "Ready").get("status") == "True"]
        found = [p for p in ready if p["spec"].get("nodeName") != lost]
        if len(found) < spec.get("replicas", 1):
            return f"{name_of(item)} has {len(found)} of {spec.get('replicas', 1)} pods ready away from {lost}"
    return HOLDS


def together(cluster: Cluster) -> list[str]:
    """The Deployments of several replicas whose pods are all on one node, by namespace/name."""
    found = []
    for item in cluster.objects.list("Deployment"):
        meta, wanted = item["metadata"], item["spec"].get("replicas", 1)
        labels = selector(cluster, f"Deployment/{meta['name']}", meta["namespace"])
        homes = {p["spec"].get("nodeName") for p in pods(cluster, meta["namespace"], labels)}
        if wanted > 1 and len(homes) == 1:
            found.append(f"{meta['namespace']}/{meta['name']}")
    return found


@probe
def has_replicas(cluster: Cluster, workload: str, namespace: str, count: int) -> Sighting:
    """A workload, written ``Kind/name``, asks for so many replicas."""
    kind, _, name = workload.partition("/")
    found = cluster.objects.get(kind, name, namespace)
    return (
        HOLDS
        if found and found["spec"].get("replicas") == count
        else f"{workload} asks for {found and found['spec'].get('replicas')} replicas"
    )


@probe
def exists(cluster: Cluster, kind: str, name: str, namespace: str) -> Sighting:
    """An object is there."""
    return HOLDS if cluster.objects.get(kind, name, namespace) else f"{kind} {namespace}/{name} is not there"


@probe
def absent(cluster: Cluster, kind: str, name: str, namespace: str) -> Sighting:
    """An object isn't there."""
    return f"{kind} {namespace}/{name} is there" if cluster.objects.get(kind, name, namespace) else HOLDS


@probe
def misbehaves(cluster: Cluster, app: str, namespace: str, how: str) -> Sighting:
    """A container of an app (by its label) ended in this way and was started again; without *how*: half a megabyte is in its log."""
    found = cluster.objects.list("Pod", namespace, labels=f"app={app}")
    statuses = [(p, s) for p in found for s in (p.get("status") or {}).get("containerStatuses") or []]
    if how:
        ends = [
            s["lastState"]["terminated"]["reason"] for _, s in statuses if (s.get("lastState") or {}).get("terminated")
        ]
        return HOLDS if how in ends else f"{app} ended so far: {', '.join(ends) or 'never'}"
    sizes = [
        len(cluster.objects.log(p["metadata"]["name"], namespace, tail=8000)) for p, s in statuses if s.get("started")
    ]
    return HOLDS if any(size > 500_000 for size in sizes) else f"{app} has logged {max(sizes, default=0)} bytes"


@probe
def pod_ready(cluster: Cluster, name: str, namespace: str) -> Sighting:
    """One pod is ready."""
    found = cluster.objects.get("Pod", name, namespace)
    if not found:
        return f"there is no pod {namespace}/{name}"
    if condition(found, "Ready").get("status") == "True":
        return HOLDS
    return f"{namespace}/{name} is {(found.get('status') or {}).get('phase')}, not ready"


@probe
def pod_waits(cluster: Cluster, name: str, namespace: str, word: str) -> Sighting:
    """A pod isn't ready, and an event about it has a word in it."""
    found = cluster.objects.get("Pod", name, namespace)
    said = said_of(cluster, "Pod", name, namespace)
    if not found or condition(found, "Ready").get("status") == "True":
        return f"{namespace}/{name} is {'ready' if found else 'not there'}"
    return (
        HOLDS
        if any(word in one for one in said)
        else f"the events about {namespace}/{name} say: {'; '.join(said)[-160:] or 'nothing'}"
    )


def said_of(cluster: Cluster, kind: str, name: str, namespace: str) -> list[str]:
    """The messages of the events about an object."""
    return [
        str(e.get("message", ""))
        for e in cluster.objects.list("Event", namespace)
        if (e.get("involvedObject") or {}).get("kind") == kind and e["involvedObject"].get("name") == name
    ]


def pods_of_node(cluster: Cluster, node: str) -> dict[str, str]:
    """The pods of a node that aren't on their way out: uid -> namespace/name."""
    found = (p for p in cluster.objects.list("Pod") if p["spec"].get("nodeName") == node)
    return {
        p["metadata"]["uid"]: f"{p['metadata']['namespace']}/{p['metadata']['name']}"
        for p in found
        if not p["metadata"].get("deletionTimestamp")
    }


@probe
def pods_stay(cluster: Cluster, node: str, pods: dict[str, str]) -> Sighting:
    """Each of these pods is still there, and on its node: the very same, so none was made anew."""
    there = pods_of_node(cluster, node)
    gone = sorted(name for uid, name in pods.items() if uid not in there)
    return f"{len(gone)} of {len(pods)} pods of {node} are gone: {', '.join(gone)}" if gone else HOLDS


def uids_of(cluster: Cluster, workload: str, namespace: str) -> frozenset[str]:
    """The pods of a workload, written ``Kind/name``, by uid."""
    return frozenset(p["metadata"]["uid"] for p in pods(cluster, namespace, selector(cluster, workload, namespace)))


@probe
def pods_replaced(cluster: Cluster, workload: str, namespace: str, old: frozenset[str]) -> Sighting:
    """None of a workload's pods is one of the *old* ones, and as many as it wants are ready."""
    kept = uids_of(cluster, workload, namespace) & old
    if kept:
        return f"{len(kept)} of {len(old)} pods of {workload} are those of before"
    return workload_ready(workload, namespace)(cluster)
