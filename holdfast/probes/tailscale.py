"""Tailscale in the cluster: whether what routes is ready, and which ranges it is told to advertise."""

from __future__ import annotations

import re
from collections.abc import Iterable

from holdfast.cluster import Cluster
from holdfast.kube import Object, condition
from holdfast.probes.workloads import lacks
from holdfast.waiting import HOLDS, CannotLook, Sighting, probe

_IMAGE = re.compile(r"(?:^|/)tailscaled?(?:[:@]|$)")
_CONNECTOR = "tailscale.com/v1alpha1"


def _routers(cluster: Cluster) -> dict[str, tuple[set[str], str]]:
    """Of each thing that advertises routes: the routes, and what it lacks to be ready."""
    found = {}
    for kind in ("Deployment", "StatefulSet", "DaemonSet"):
        for item in cluster.objects.list(kind):
            if routes := set(_routes_of(item)):
                found[f"{kind}/{item['metadata']['namespace']}/{item['metadata']['name']}"] = routes, lacks(item)
    for item in cluster.objects.list("Connector", version=_CONNECTOR):
        routes = set((item["spec"].get("subnetRouter") or {}).get("advertiseRoutes") or [])
        ready = condition(item, "ConnectorReady").get("status") == "True"
        if routes:
            found[f"Connector/{item['metadata']['name']}"] = (
                routes,
                "" if ready else "its operator doesn't call it ready",
            )
    return found


def _routes_of(item: Object) -> Iterable[str]:
    for container in item["spec"]["template"]["spec"].get("containers") or []:
        if _IMAGE.search(str(container.get("image"))):
            told = [e for e in container.get("env") or [] if e.get("name") in ("TS_ROUTES", "TS_EXTRA_ARGS")]
            words = [str(w) for w in [*(container.get("command") or []), *(container.get("args") or [])]]
            said = [str(e.get("value") or "") for e in told] + (words if "advertise-routes" in " ".join(words) else [])
            yield from re.findall(r"[0-9a-fA-F.:]+/\d{1,3}", " ".join(said))


@probe
def routes_advertised(cluster: Cluster, routes: frozenset[str]) -> Sighting:
    """What routes is ready, and told to advertise each of these ranges; whether the tailnet has approved them isn't seen in the cluster."""
    routers = _routers(cluster)
    if not routers:
        raise CannotLook(
            "nothing in the cluster is told by its own values to advertise routes (they may stand in a ConfigMap or a Secret)"
        )
    if missing := routes - set().union(*(told for told, _ in routers.values())):
        return f"{', '.join(sorted(routers))} advertises no {', '.join(sorted(missing))}"
    lacking = [f"{name}: {why}" for name, (told, why) in routers.items() if why and told & routes]
    return lacking[0] if lacking else HOLDS
