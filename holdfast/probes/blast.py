"""What a failure of the storage system really hits, beside what the tree alone says of it."""

from __future__ import annotations

from holdfast.cluster import Cluster
from holdfast.kube import Object, name_of
from holdfast.probes.longhorn import KINDS, written
from holdfast.probes.workloads import lacks
from holdfast.tree.boot import down, seeds_of
from holdfast.tree.tree import Tree


def predicted(tree: Tree, namespace: str) -> frozenset[str]:
    """What the tree says stops working when everything in *namespace* is down (`holdfast check --if-down`)."""
    graph = tree.graph
    found = down(graph, seeds_of(graph, namespace))
    return frozenset([*found.stopped, *(name for name in found.frozen if name.startswith("HelmRelease/"))])


def hit(cluster: Cluster, except_: frozenset[str], file: str = "") -> dict[str, frozenset[str]]:
    """The workloads with a mounted volume that can't be written, and all that lack ready pods, with a volume or without.

    Args:
        but: namespaces that are left out: holdfast's own, and that of the component that is down.
        file: what is written, below a volume; one that can't be written anywhere makes every volume look broken.
    """
    bad = {mount.pod_uid for mount, why in (written(cluster, file) if file else written(cluster)) if why}
    items = [p for p in cluster.objects.list("Pod") if p["metadata"]["uid"] in bad]
    items += [i for kind in KINDS for i in cluster.objects.list(kind) if lacks(i)]
    owners = [_line(cluster, item) for item in items if item["metadata"]["namespace"] not in except_]
    return {
        name_of(line[-1]): frozenset(n for item in line for n in (name_of(item), _release(item)) if n)
        for line in owners
    }


def _line(cluster: Cluster, item: Object) -> list[Object]:
    """An object, its owner, that one's owner, and so on."""
    line = [item]
    while owners := line[-1]["metadata"].get("ownerReferences"):
        found = cluster.objects.get(
            owners[0]["kind"], owners[0]["name"], item["metadata"]["namespace"], version=owners[0]["apiVersion"]
        )
        if not found:
            break
        line.append(found)
    return line


def _release(item: Object) -> str:
    notes = item["metadata"].get("annotations") or {}
    name = notes.get("meta.helm.sh/release-name")
    return f"HelmRelease/{notes.get('meta.helm.sh/release-namespace')}/{name}" if name else ""
