"""Containers, asked of the runtime on their node: it answers when the API is gone."""

from __future__ import annotations

from holdfast.cluster import Cluster
from holdfast.waiting import HOLDS, Sighting, probe


def containers_on(cluster: Cluster, node: str, except_: frozenset[str] = frozenset()) -> dict[str, str]:
    """What runs on a node by the API, but in some namespaces: id of the container at the runtime -> namespace/pod."""
    found = {}
    for pod in cluster.objects.list("Pod"):
        if (
            pod["spec"].get("nodeName") == node
            and not pod["metadata"].get("deletionTimestamp")
            and pod["metadata"]["namespace"] not in except_
        ):
            for status in (pod.get("status") or {}).get("containerStatuses") or []:
                if "running" in status["state"]:
                    found[status["containerID"].rpartition("/")[2]] = (
                        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
                    )
    return found


@probe
def containers_run(cluster: Cluster, node: str, containers: dict[str, str]) -> Sighting:
    """Each of these containers still runs on its node: the very same, so none was started anew."""
    tasks = cluster.host(node).check_output(cluster.flavour.containers).splitlines()
    running = {parts[0] for parts in map(str.split, tasks) if parts and parts[-1] == "RUNNING"}
    ended = sorted({name for one, name in containers.items() if one not in running})
    return f"{len(ended)} of {len(containers)} containers on {node} ended: {', '.join(ended)}" if ended else HOLDS
