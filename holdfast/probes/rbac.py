"""Who may do what: service accounts, and what their roles allow."""

from __future__ import annotations

from holdfast.cluster import Cluster
from holdfast.kube import Object
from holdfast.waiting import HOLDS, Sighting, probe

# The cluster's own parts; their accounts come with Kubernetes, not with the tree.
_OWN = ("kube-system", "kube-public", "kube-node-lease", "holdfast-system")


@probe
def dedicated_accounts(cluster: Cluster) -> Sighting:
    """No pod of the tree runs under a default service account."""
    bad = [
        f"{p['metadata']['namespace']}/{p['metadata']['name']}"
        for p in cluster.objects.list("Pod")
        if p["metadata"]["namespace"] not in _OWN and p["spec"].get("serviceAccountName", "default") == "default"
    ]
    return f"under the default account run: {', '.join(sorted(bad)[:5])}" if bad else HOLDS


def _accounts(binding: Object) -> list[str]:
    return [f"{s.get('namespace')}/{s['name']}" for s in binding.get("subjects") or [] if s["kind"] == "ServiceAccount"]


@probe
def admins_are(cluster: Cluster, declared: frozenset[str]) -> Sighting:
    """Only the stated service accounts (namespace/name) may do everything, by cluster-admin or by a role with wildcards."""
    roles = {r["metadata"]["name"]: r for r in cluster.objects.list("ClusterRole")}
    found = set()
    for binding in cluster.objects.list("ClusterRoleBinding"):
        role = roles.get(binding["roleRef"]["name"]) or {}
        everything = any(
            "*" in (r.get("apiGroups") or []) and "*" in (r.get("resources") or []) and "*" in (r.get("verbs") or [])
            for r in role.get("rules") or []
        )
        if everything:
            found |= {a for a in _accounts(binding) if a.partition("/")[0] not in _OWN}
    more = found - declared
    return f"may do everything and isn't stated: {', '.join(sorted(more))}" if more else HOLDS


@probe
def may(cluster: Cluster, account: str, verb: str, resource: str, wanted: bool) -> Sighting:
    """What the API itself says of one account (namespace/name): it may, or may not, do *verb* on *resource* in all namespaces."""
    namespace, _, name = account.partition("/")
    group, _, plain = resource.rpartition("/")
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {
            "user": f"system:serviceaccount:{namespace}:{name}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
            "resourceAttributes": {"verb": verb, "group": group, "resource": plain},
        },
    }
    allowed = bool(cluster.objects.review(review)["status"]["allowed"])
    return HOLDS if allowed is wanted else f"{account} may{'' if allowed else ' not'} {verb} {resource}"
