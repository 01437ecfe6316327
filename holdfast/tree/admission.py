"""What must answer before objects of some kinds are applied: admission webhooks that fail closed, and API servers of other groups."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from holdfast.tree.manifest import Body, Manifest, get, mapping, matches, sequence
from holdfast.tree.needs import LazyLocation, Phase, State
from holdfast.tree.tree import KUSTOMIZE, Tree


class Guard(NamedTuple):
    """What stands before some objects.

    Attributes:
        takes: whether it stands before an object.
        state: in which it answers.
        what: it is, in words.
        location: where that is said.
        own: what it runs as, which can't wait for itself.
    """

    takes: Callable[[Manifest], bool]
    state: State
    what: str
    location: LazyLocation
    own: Manifest | None = None


def guards(tree: Tree) -> Iterator[Guard]:
    """Every one of a tree: by what is known of its charts, and by what stands in it."""
    for release in tree.releases:
        for fact in release.webhooks():
            yield Guard(
                partial(_stated, fact),
                State(release.manifest.id, Phase.READY),
                f"the admission webhook of {release.manifest.id}",
                partial(tree.locate, release.manifest),
            )
    for config in tree.of("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
        for index, hook in enumerate(map(mapping, sequence(config.body.get("webhooks")))):
            backend = _backend(tree, mapping(get(hook, "clientConfig", "service")))
            if hook.get("failurePolicy") != "Ignore" and backend is not None:
                yield Guard(
                    partial(_stands_before, tree, hook),
                    State(backend.id, Phase.READY),
                    f"the webhook of {config.id} ({backend.id})",
                    partial(tree.locate, config, "webhooks", index),
                    backend,
                )
    for api in tree.of("APIService"):
        backend = _backend(tree, mapping(api.spec.get("service")))
        if backend is not None:
            yield Guard(
                partial(_of_group, str(api.spec.get("group"))),
                State(backend.id, Phase.READY),
                f"{api.id} ({backend.id})",
                partial(tree.locate, api, "spec", "service"),
                backend,
            )


def _backend(tree: Tree, service: Body) -> Manifest | None:
    """The workload behind the Service that something calls."""
    found = tree.by_key.get(("Service", str(service.get("namespace")), str(service.get("name"))))
    if found is None:
        return None
    selector = {"matchLabels": mapping(found.spec.get("selector"))}
    return next((m for m in tree.workloads_in(found.namespace) if matches(selector, m.pod_labels)), None)


def _stands_before(tree: Tree, hook: Body, manifest: Manifest) -> bool:
    """Whether a webhook stands before an object: by its rules, and by the labels of the object and of its namespace."""
    if not _takes(hook, manifest):
        return False
    space = next((m for m in tree.of("Namespace") if m.name == manifest.namespace), None)
    labels = {
        "kubernetes.io/metadata.name": manifest.namespace,
        **(mapping(space.meta.get("labels")) if space is not None else {}),
    }
    of_space = not manifest.namespace or matches(hook.get("namespaceSelector"), labels)
    return of_space and matches(hook.get("objectSelector"), mapping(manifest.meta.get("labels")))


def _of_group(group: str, manifest: Manifest) -> bool:
    return manifest.group == group


def _stated(fact: Body, manifest: Manifest) -> bool:
    """Whether the webhook that a chart's facts declare takes an object."""
    return f"{manifest.group}/{manifest.kind}" in fact.get("kinds", []) or manifest.group in fact.get("groups", [])


def _takes(hook: Body, manifest: Manifest) -> bool:
    """Whether a webhook's rules take an object that is created or changed."""
    plural = _plural(manifest.kind)
    for rule in map(mapping, sequence(hook.get("rules"))):
        operations = sequence(rule.get("operations"))
        if (
            ({manifest.group, "*"} & set(map(str, sequence(rule.get("apiGroups")))))
            and ({plural, "*", "*/*"} & set(map(str, sequence(rule.get("resources")))))
            and ({"CREATE", "UPDATE", "*"} & set(map(str, operations)))
        ):
            return True
    return False


def _plural(kind: str) -> str:
    """The resource's name of a kind, as nearly all kinds have it."""
    name = kind.lower()
    if name == "endpoints" or name.endswith("ies"):
        return name
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("s", "x", "ch")) else f"{name}s"


_MUTATES_KUSTOMIZATIONS = re.compile(r"kustomiz\w*-mutat\w*|mutat\w*-kustomiz\w*")


def changed_on_the_way(tree: Tree) -> str:
    """What may change Flux's Kustomizations as they are applied, so that they hold more than Git says; empty where nothing does."""
    for release in tree.releases:
        if _MUTATES_KUSTOMIZATIONS.search(release.chart):
            return release.manifest.id
    for config in tree.of("MutatingWebhookConfiguration"):
        for hook in map(mapping, sequence(config.body.get("webhooks"))):
            for one in map(mapping, sequence(hook.get("rules"))):
                if "kustomizations" in sequence(one.get("resources")) and KUSTOMIZE in sequence(one.get("apiGroups")):
                    return config.id
    for policy in tree.of("ClusterPolicy", "Policy", "MutatingPolicy"):
        for one in map(mapping, sequence(policy.spec.get("rules"))):
            if one.get("mutate") and "Kustomization" in str(one.get("match")):
                return policy.id
        if policy.kind == "MutatingPolicy" and "kustomizations" in str(policy.spec.get("matchConstraints")):
            return policy.id
    return ""
