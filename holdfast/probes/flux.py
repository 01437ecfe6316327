"""What Flux has done: Kustomizations, releases, sources, its controllers."""

from __future__ import annotations

from holdfast.cluster import Cluster
from holdfast.gitserver import Push
from holdfast.inventory import Applied, inventory_of
from holdfast.kube import Object, condition, name_of
from holdfast.waiting import HOLDS, Sighting, probe

NAMESPACE = "flux-system"
CONTROLLERS = ("source-controller", "kustomize-controller", "helm-controller", "notification-controller")
MARKER = "holdfast-marker"


def _ready(item: Object) -> str:
    """Why an object of Flux's isn't ready, or an empty string."""
    found = condition(item, "Ready")
    if found.get("status") == "True" and (
        item["status"].get("observedGeneration") in (None, item["metadata"].get("generation"))
    ):
        return ""
    return f"{name_of(item)} is not ready: {str(found.get('message') or 'no status yet')[:160]}"


def _not_suspended(items: list[Object]) -> list[Object]:
    return [i for i in items if not i["spec"].get("suspend")]


@probe
def tree_applied(cluster: Cluster) -> Sighting:
    """Every Kustomization and release that isn't suspended is ready, the Kustomizations at the revision that their source has."""
    source = cluster.objects.get("GitRepository", cluster.sync.source.name, cluster.sync.source.namespace)
    if not source:
        return "the GitRepository isn't there"
    revision = ((source.get("status") or {}).get("artifact") or {}).get("revision")
    kustomizations = _not_suspended(cluster.objects.list("Kustomization"))
    for item in [source, *kustomizations, *_not_suspended(cluster.objects.list("HelmRelease"))]:
        if why := _ready(item):
            return why
    for item in kustomizations:
        applied = (item.get("status") or {}).get("lastAppliedRevision")
        if applied != revision:
            return f"{name_of(item)} is at {applied}, its source at {revision}"
    return HOLDS if kustomizations else "there is no Kustomization yet"


@probe
def at_revision(cluster: Cluster, push: Push) -> Sighting:
    """Every Kustomization carries Ready with the pushed revision, every release Ready (but what is suspended)."""
    for item in _not_suspended(cluster.objects.list("Kustomization")):
        status = item.get("status") or {}
        if status.get("lastAppliedRevision") != push.revision or _ready(item):
            return f"{name_of(item)} is at {status.get('lastAppliedRevision')}, Ready {condition(item, 'Ready').get('status')}"
    releases = _not_suspended(cluster.objects.list("HelmRelease"))
    return next((why for item in releases if (why := _ready(item))), HOLDS)


def _marker(cluster: Cluster) -> str | None:
    found = cluster.objects.get("ConfigMap", MARKER, NAMESPACE)
    return (found.get("data") or {}).get("marker") if found else None


@probe
def fetched(cluster: Cluster, push: Push) -> Sighting:
    """The source has the pushed commit."""
    source = cluster.sync.source
    found = cluster.objects.get("GitRepository", source.name, source.namespace) or {}
    revision = ((found.get("status") or {}).get("artifact") or {}).get("revision")
    return HOLDS if revision == push.revision else f"the source is at {revision}"


@probe
def reported(cluster: Cluster, push: Push) -> Sighting:
    """The root Kustomization says that it applied the pushed commit."""
    root = cluster.sync.root
    found = cluster.objects.get("Kustomization", root.name, root.namespace) or {}
    revision = (found.get("status") or {}).get("lastAppliedRevision")
    return HOLDS if revision == push.revision else f"the root Kustomization is at {revision}"


@probe
def lists(cluster: Cluster, key: str) -> Sighting:
    """The marker in the cluster has a key."""
    found = cluster.objects.get("ConfigMap", MARKER, NAMESPACE) or {}
    return HOLDS if key in (found.get("data") or {}) else f"the marker has no {key}"


@probe
def marked(cluster: Cluster, marker: str) -> Sighting:
    """The commit with this marker is applied."""
    found = _marker(cluster)
    return HOLDS if found == marker else f"the marker in the cluster is {found!r}, not {marker!r}"


@probe
def not_marked(cluster: Cluster, marker: str) -> Sighting:
    """The commit with this marker is not applied."""
    return f"the commit with the marker {marker!r} is applied" if _marker(cluster) == marker else HOLDS


@probe
def commit_status_written(cluster: Cluster) -> Sighting:
    """Something writes a commit's status back to the Git host: a Provider of such a kind, with an Alert that uses it."""
    kinds = ("github", "gitlab", "gitea", "bitbucket", "bitbucketserver", "azuredevops")
    providers = {p["metadata"]["name"] for p in cluster.objects.list("Provider") if p["spec"].get("type") in kinds}
    if not providers:
        return "the tree has no Provider that writes commit status, so nothing is reported back to Git"
    alerts = [a for a in cluster.objects.list("Alert") if (a["spec"].get("providerRef") or {}).get("name") in providers]
    return HOLDS if alerts else f"no Alert uses the Provider {', '.join(sorted(providers))}"


@probe
def controllers_ready(cluster: Cluster, *names: str) -> Sighting:
    """The controllers' Deployments have a ready pod each."""
    for name in names or CONTROLLERS:
        found = cluster.objects.get("Deployment", name, NAMESPACE)
        if not found:
            return f"there is no Deployment {NAMESPACE}/{name}"
        if not (found.get("status") or {}).get("readyReplicas"):
            return f"{name} has no ready pod"
    return HOLDS


@probe
def no_controller_pod(cluster: Cluster) -> Sighting:
    """No pod of any controller exists any more, seen at the pods and not at what was scaled."""
    left = [
        p["metadata"]["name"]
        for name in CONTROLLERS
        for p in cluster.objects.list("Pod", NAMESPACE, labels=f"app={name}")
    ]
    return f"still there: {', '.join(left)}" if left else HOLDS


def uids(cluster: Cluster, name: str) -> frozenset[str]:
    """The UIDs of a controller's pods."""
    return frozenset(p["metadata"]["uid"] for p in cluster.objects.list("Pod", NAMESPACE, labels=f"app={name}"))


@probe
def pod_gone(cluster: Cluster, name: str, old: frozenset[str]) -> Sighting:
    """None of the *old* pods (UIDs) of a controller exists any more."""
    left = [
        p["metadata"]["name"]
        for p in cluster.objects.list("Pod", NAMESPACE, labels=f"app={name}")
        if p["metadata"]["uid"] in old
    ]
    return f"still there: {', '.join(left)}" if left else HOLDS


@probe
def controller_replaced(cluster: Cluster, name: str, old: frozenset[str]) -> Sighting:
    """A controller runs in a ready pod that is none of the *old* ones (UIDs)."""
    pods = cluster.objects.list("Pod", NAMESPACE, labels=f"app={name}")
    fresh = [p for p in pods if p["metadata"]["uid"] not in old and condition(p, "Ready").get("status") == "True"]
    return HOLDS if fresh else f"{name}: {len(pods)} pods, none of them new and ready"


REFUSED = ("denied", "unable to authenticate")  # a key: OpenSSH's words, and those of Flux's own client


@probe
def source_fails(cluster: Cluster, name: str, namespace: str, *words: str) -> Sighting:
    """A GitRepository says that it isn't ready, with one of *words* in its message."""
    found = cluster.objects.get("GitRepository", name, namespace)
    ready = condition(found or {}, "Ready") if found else {}
    if ready.get("status") == "False" and any(w in ready.get("message", "") for w in words):
        return HOLDS
    return f"{name}: Ready is {ready.get('status')}, '{ready.get('message', '')[:120]}'"


@probe
def source_ready(cluster: Cluster, name: str, namespace: str) -> Sighting:
    """A GitRepository holds an artifact."""
    found = cluster.objects.get("GitRepository", name, namespace)
    return (_ready(found) or HOLDS) if found else f"there is no GitRepository {namespace}/{name}"


@probe
def not_ready(cluster: Cluster, kind: str, name: str, namespace: str) -> Sighting:
    """An object of Flux's says that it isn't ready."""
    found = cluster.objects.get(kind, name, namespace)
    status = condition(found or {}, "Ready").get("status")
    return HOLDS if status == "False" else f"{kind} {namespace}/{name}: Ready is {status}"


@probe
def ready(cluster: Cluster, kind: str, name: str, namespace: str) -> Sighting:
    """An object of Flux's says that it is ready, as it is now."""
    found = cluster.objects.get(kind, name, namespace)
    return (_ready(found) or HOLDS) if found else f"there is no {kind} {namespace}/{name}"


@probe
def suspended(cluster: Cluster, name: str, namespace: str) -> Sighting:
    """A Kustomization is suspended."""
    found = cluster.objects.get("Kustomization", name, namespace)
    return HOLDS if found and found["spec"].get("suspend") else f"Kustomization {namespace}/{name} isn't suspended"


def inventory(cluster: Cluster) -> frozenset[str]:
    """Every object that Flux's Kustomizations say they own."""
    return frozenset(f"{owner}:{one.id}" for owner, one in _owned(cluster))


def _owned(cluster: Cluster) -> list[tuple[str, Applied]]:
    return [(k["metadata"]["name"], one) for k in cluster.objects.list("Kustomization") for one in inventory_of(k)]


@probe
def inventory_is(cluster: Cluster, wanted: frozenset[str]) -> Sighting:
    """Flux owns exactly these objects, and each of them is still there."""
    owned = _owned(cluster)
    now = frozenset(f"{owner}:{one.id}" for owner, one in owned)
    if now != wanted:
        return f"gone from the inventory: {sorted(wanted - now)[:3]}; new in it: {sorted(now - wanted)[:3]}"
    for _, one in owned:
        if not cluster.objects.get(one.kind, one.name, one.namespace or None, version=one.version):
            return f"{one.kind} {one.namespace}/{one.name} is in the inventory, but not in the cluster"
    return HOLDS
