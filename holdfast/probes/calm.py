"""Whether a cluster that matters may be broken now: nothing is damaged already, nothing is being saved, and what a node holds lies elsewhere too."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.cluster import Cluster
from holdfast.kube import Object, condition, name_of
from holdfast.probes.nodes import pods_that_leave
from holdfast.tree.manifest import matches
from holdfast.waiting import HOLDS, Sighting, probe

_LONGHORN = "longhorn.io/v1beta2"
_QUORUM = 3  # servers: with fewer, one that is lost takes the API with it


def _phase(item: Object) -> str:
    status = item.get("status") or {}
    return str(status.get("state") or status.get("phase") or "")


# What saves or brings back data, and the words of one that is at it.
_SAVING: tuple[tuple[str, str, Callable[[Object], bool]], ...] = (
    ("Backup", _LONGHORN, lambda i: _phase(i) in ("InProgress", "Pending")),
    ("Backup", "velero.io/v1", lambda i: _phase(i) in ("", "New", "InProgress", "WaitingForPluginOperations", "Finalizing")),
    ("Restore", "velero.io/v1", lambda i: _phase(i) in ("", "New", "InProgress", "WaitingForPluginOperations")),
    ("Backup", "postgresql.cnpg.io/v1", lambda i: _phase(i) in ("", "pending", "started", "running")),
    ("ReplicationSource", "volsync.backube/v1alpha1", lambda i: condition(i, "Synchronizing").get("status") == "True"),
    ("ReplicationDestination", "volsync.backube/v1alpha1", lambda i: condition(i, "Synchronizing").get("status") == "True"),
    ("Job", "batch/v1", lambda i: bool((i.get("status") or {}).get("active")) and _is_about_saving(i)),
)  # fmt: skip


def _is_about_saving(job: Object) -> bool:
    return any(word in job["metadata"]["name"].lower() for word in ("backup", "restore", "snapshot", "restic", "dump"))


@probe
def undamaged(cluster: Cluster) -> Sighting:
    """No volume of Longhorn's lacks a replica, no backup or restore is under way."""
    served = {d["spec"]["group"] for d in cluster.objects.list("CustomResourceDefinition")} | {"batch"}
    for volume in cluster.objects.list("Volume", version=_LONGHORN) if "longhorn.io" in served else []:
        status = volume.get("status") or {}
        if status.get("state") == "attached" and status.get("robustness") != "healthy":
            return (
                f"Longhorn's volume {volume['metadata']['name']} is {status.get('robustness') or 'of unknown health'}"
            )
        if status.get("restoreRequired") or status.get("restoreInitiated"):
            return f"Longhorn's volume {volume['metadata']['name']} is being restored"
    for kind, version, is_at_it in _SAVING:
        group = version.partition("/")[0]
        for item in cluster.objects.list(kind, version=version) if group in served else []:
            if is_at_it(item):
                return f"{name_of(item)} ({group}) is under way"
    return HOLDS


@probe
def can_lose(cluster: Cluster, node: str) -> Sighting:
    """What a node holds lies elsewhere too: its volumes' replicas, the API's quorum, and a node that can take its pods."""
    items = {n["metadata"]["name"]: n for n in cluster.objects.list("Node")}
    others = [
        n for name, n in items.items() if name != node and not n["spec"].get("unschedulable") and not _keeps_away(n)
    ]
    if not others:
        return f"there is no other node that takes the pods of {node}"
    servers = [n.name for n in cluster.nodes() if n.role == "server"]
    if node in servers and len(servers) < _QUORUM:
        return f"{node} is one of {len(servers)} servers: the API would be lost with it"
    healthy: dict[str, set[str]] = {}
    for replica in cluster.objects.list("Replica", version=_LONGHORN):
        spec = replica["spec"]
        if not spec.get("failedAt"):  # also one that is stopped with its volume: it holds the data
            healthy.setdefault(str(spec.get("volumeName")), set()).add(str(spec.get("nodeID")))
    for volume, homes in sorted(healthy.items()):
        if homes == {node}:
            return f"every good replica of Longhorn's volume {volume} is on {node}"
    for pod in pods_that_leave(cluster, node):
        if not pod["metadata"].get("ownerReferences"):
            return f"{name_of(pod)} belongs to nothing that would bring it back"
    return next((why for v in cluster.objects.list("PersistentVolume") if (why := _bound_to(v, node, others))), HOLDS)


def _keeps_away(node: Object) -> bool:
    """Whether a node's taints keep pods away that don't ask for it."""
    return any(t.get("effect") in ("NoSchedule", "NoExecute") for t in node["spec"].get("taints") or [])


def _bound_to(volume: Object, node: str, others: list[Object]) -> str:
    """Why a volume's data would be away with a node: no other node may have it. Empty where one may."""
    if (volume.get("status") or {}).get("phase") != "Bound":
        return ""
    terms = ((volume["spec"].get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or []
    claim = volume["spec"].get("claimRef") or {}
    of = f"{claim.get('namespace')}/{claim.get('name')}"
    elsewhere = not terms or any(_takes(term, other) for term in terms for other in others)
    return "" if elsewhere else f"the volume of {of} lies on {node} alone"


def _takes(term: Object, node: Object) -> bool:
    """Whether a node is one of those that a term of an affinity names; a word that isn't known here names none."""
    labels = {**(node["metadata"].get("labels") or {}), "metadata.name": node["metadata"]["name"]}
    asked = [*(term.get("matchExpressions") or []), *(term.get("matchFields") or [])]
    known = all(e.get("operator") in ("In", "NotIn", "Exists", "DoesNotExist") for e in asked)
    return known and matches({"matchExpressions": asked}, labels)
