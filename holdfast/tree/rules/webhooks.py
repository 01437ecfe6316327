"""Webhooks that stand in their own way."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.tree.findings import Inconclusive, Outcome, Severity, hit, rule
from holdfast.tree.manifest import Body, Manifest, get, mapping, matches, sequence
from holdfast.tree.tree import Tree

FAMILY = "network"


def _takes_pods(hook: Body) -> bool:
    """Whether a webhook is asked before a pod is made."""
    return any(
        {"", "*"} & {str(g) for g in sequence(one.get("apiGroups"))}
        and {"pods", "*", "*/*", "pods/*"} & {str(r) for r in sequence(one.get("resources"))}
        and {"CREATE", "*"} & {str(o) for o in sequence(one.get("operations"))}
        and one.get("scope") != "Cluster"
        for one in map(mapping, sequence(hook.get("rules")))
    )


def _behind(tree: Tree, hook: Body) -> list[Manifest]:
    """The workloads that answer for a webhook."""
    service = mapping(get(hook, "clientConfig", "service"))
    found = tree.by_key.get(("Service", str(service.get("namespace")), str(service.get("name"))))
    selector = mapping(found.spec.get("selector")) if found is not None else {}
    if found is None or not selector:
        return []
    return [m for m in tree.workloads_in(found.namespace) if matches({"matchLabels": selector}, m.pod_labels)]


def _catches(tree: Tree, hook: Body, manifest: Manifest) -> bool:
    """Whether the pods of a workload are among those that a webhook is asked about."""
    space = tree.by_key.get(("Namespace", "", manifest.namespace))
    labels = {
        **(mapping(space.meta.get("labels")) if space is not None else {}),
        "kubernetes.io/metadata.name": manifest.namespace,
    }
    return matches(hook.get("namespaceSelector"), labels) and matches(hook.get("objectSelector"), manifest.pod_labels)


@rule(
    "network.own-webhook",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="once none of its pods runs, none can be made: the API server asks the webhook first, and nothing answers",
    do="leave its own namespace out (namespaceSelector or objectSelector), or set failurePolicy: Ignore",
)
def own_webhook(tree: Tree) -> Iterator[Outcome]:
    """Admission webhooks that fail closed and are asked before their own pods are made."""
    for config in tree.of("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
        for index, hook in enumerate(map(mapping, sequence(config.body.get("webhooks")))):
            if hook.get("failurePolicy") == "Ignore" or not _takes_pods(hook):
                continue
            for manifest in _behind(tree, hook):
                if not _catches(tree, hook, manifest) or manifest.kind in ("Job", "CronJob"):
                    continue
                if hook.get("matchConditions"):
                    yield Inconclusive(
                        f"{config.id}: whether its matchConditions leave {manifest.id} out isn't worked out"
                    )
                    continue
                yield hit(
                    tree,
                    config,
                    f"{config.id} fails closed and takes the pods of {manifest.id}, which answers for it",
                    "webhooks",
                    index,
                    hits=(config.id, manifest.id),
                )
                break
