"""Admission policies: what a lane changes in what a tree's objects ask of the API server, at every write, so that Flux sees no drift."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from holdfast.kube import Object
from holdfast.tree.assumed import ASSUMED
from holdfast.tree.manifest import mapping
from holdfast.tree.settings_file import Adaptation


def admission_policy(change: Adaptation, plural: str) -> list[Object]:
    """A policy that changes one object at every write, so that Flux sees no drift and the tree stays as it is."""
    name = f"holdfast-{change.kind.lower()}-{change.namespace}-{change.name}"
    patches = ", ".join(
        f'JSONPatch{{op: "add", path: {json.dumps(pointer)}, value: {json.dumps(value)}}}'
        for pointer, value in change.set.items()
    )
    return policy(name, ["*"], [plural], in_namespace(change.namespace), f"[{patches}]", resourceNames=[change.name])


def in_namespace(name: str) -> list[dict[str, str]]:
    """The condition that an object lies in a namespace; none where it lies in none."""
    return [{"name": "the-one", "expression": f"object.metadata.namespace == {json.dumps(name)}"}] if name else []


def suspension(mark: str) -> str:
    """The steps of a JSON patch that suspend one of Flux's objects and mark it as assumed, as an expression that gives a list of them."""
    key = ASSUMED.replace("/", "~1")
    return (
        '[JSONPatch{op: "add", path: "/spec/suspend", value: true}] + (has(object.metadata.annotations) '
        f'? [JSONPatch{{op: "add", path: "/metadata/annotations/{key}", value: "{mark}"}}] '
        f': [JSONPatch{{op: "add", path: "/metadata/annotations", value: {{"{ASSUMED}": "{mark}"}}}}])'
    )


SERVED = "holdfast.dev/served"  # the versions that a lane added to a kind of Flux's
_SOURCES = ("gitrepositories", "helmrepositories", "ocirepositories", "buckets", "helmcharts", "externalartifacts")


def _strings(values: Iterable[str]) -> str:
    return f"[{', '.join(json.dumps(v) for v in values)}]"


def elsewhere_policies(
    sources: Iterable[str], unread: Iterable[str], address: str, mark: str, lost: Iterable[str] = ()
) -> list[Object]:
    """Policies that suspend what a lane can't fetch or read, and mark it as assumed: every source but *sources* and what pulls from the lane's
    own *address*, the Kustomizations that build from another one but those that are *lost*, and those that are *unread*. Objects by
    ``namespace/name``. What the tree itself suspends stays as it is.
    """
    own, there = _strings(sources), json.dumps(address)
    ref = "object.spec.sourceRef"
    space = f"(has({ref}.namespace) ? {ref}.namespace : object.metadata.namespace)"
    named = 'object.metadata.namespace + "/" + object.metadata.name'
    of_ours = f'{ref}.kind == "GitRepository" && ({space} + "/" + {ref}.name) in {own}'
    kinds = {
        "sources": (
            "source.toolkit.fluxcd.io",
            _SOURCES,
            f'object.kind != "GitRepository" || !(({named}) in {own} || object.spec.url == {there})',
        ),
        "kustomizations": (
            "kustomize.toolkit.fluxcd.io",
            ("kustomizations",),
            f"!({of_ours} || ({named}) in {_strings(lost)}) || ({named}) in {_strings(unread)} || has(object.spec.kubeConfig)",
        ),
    }
    return [
        wish
        for name, (group, resources, which) in kinds.items()
        for wish in _suspending(name, group, resources, mark, [{"name": "elsewhere", "expression": which}])
    ]


def chart_policies(mark: str, address: str, manifests: Iterable[str] = ()) -> list[Object]:
    """Policies for a lane that the charts come with: chart repositories are the lane's own, at an *address*; what can't be is suspended and marked.

    A suspended repository would be one that the tree's own alerts tell of. *manifests*: OCIRepositories (``namespace/name``) that Kustomizations
    build from: they hold no charts.
    """
    static = {
        "name": "fetched",
        "expression": 'object.kind == "HelmRepository" && (!has(object.spec.type) || object.spec.type != "oci")',
    }
    dropped = ("secretRef", "certSecretRef", "passCredentials", "provider", "insecure")  # another server's
    gone = " + ".join(
        f'(has(object.spec.{field}) ? [JSONPatch{{op: "remove", path: "/spec/{field}"}}] : [])' for field in dropped
    )
    there = f'[JSONPatch{{op: "add", path: "/spec/url", value: {json.dumps(address)}}}]'
    named = 'object.metadata.namespace + "/" + object.metadata.name'
    others = {
        "name": "of-charts",
        "expression": f'object.kind != "OCIRepository" || !(({named}) in {_strings(sorted(manifests))})',
    }
    group = "source.toolkit.fluxcd.io"
    return [
        *policy("holdfast-chart-repositories", [group], ["helmrepositories"], [static], f"{there} + {gone}"),
        *_suspending("charts", group, ("ocirepositories", "helmcharts"), mark, [others]),
    ]


def _suspending(
    name: str, group: str, resources: Iterable[str], mark: str, conditions: list[dict[str, str]]
) -> list[Object]:
    """A policy that suspends and marks what meets some conditions, but what the tree itself suspends."""
    # An object that is marked already is suspended by the lane: the mark must come back with each write.
    by_the_tree = {
        "name": "not-by-the-tree",
        "expression": "!has(object.spec.suspend) || !object.spec.suspend || (has(object.metadata.annotations) "
        f'&& "{ASSUMED}" in object.metadata.annotations && object.metadata.annotations["{ASSUMED}"] == "{mark}")',
    }
    return policy(f"holdfast-elsewhere-{name}", [group], list(resources), [*conditions, by_the_tree], suspension(mark))


def redirection_policy(space: str, name: str, address: str, branch: str, key: str) -> list[Object]:
    """A policy that has a GitRepository pull from the lane's own server with the Secret *key*, and its binding."""
    there = {"/spec/url": address, "/spec/secretRef": {"name": key}, "/spec/ref": {"branch": branch}}
    steps = ", ".join(f'JSONPatch{{op: "add", path: "{at}", value: {json.dumps(v)}}}' for at, v in there.items())
    dropped = ("proxySecretRef", "verify", "provider", "recurseSubmodules")  # another server's, or it would fetch
    gone = " + ".join(
        f'(has(object.spec.{field}) ? [JSONPatch{{op: "remove", path: "/spec/{field}"}}] : [])' for field in dropped
    )
    return policy(
        f"holdfast-git-{space}-{name}",
        ["*"],
        ["gitrepositories"],
        in_namespace(space),
        f"[{steps}] + {gone}",
        resourceNames=[name],
    )


KINDS_STAY = "holdfast-flux-kinds"
_FLUX_GROUP = ".toolkit.fluxcd.io"


def is_kind_of_flux(wish: Object) -> bool:
    """Whether an object defines one of Flux's own kinds."""
    group = str(mapping(wish.get("spec")).get("group") or "")
    return wish.get("kind") == "CustomResourceDefinition" and group.endswith(_FLUX_GROUP)


def kinds_stay_policy() -> list[Object]:
    """A policy that keeps Flux's kinds as they are, whatever a tree brings: the controllers of the lane are of its own version."""

    def mark(item: str) -> str:
        notes = f"{item}.metadata.annotations"
        return f'(has({notes}) && "{SERVED}" in {notes} ? {notes}["{SERVED}"] : "")'

    conditions = [
        {"name": "of-flux", "expression": 'object.spec.group.endsWith(".toolkit.fluxcd.io")'},
        # The lane itself may add a version: it says so by changing the mark.
        {"name": "not-by-the-lane", "expression": f"{mark('object')} == {mark('oldObject')}"},
    ]
    return policy(
        KINDS_STAY,
        ["apiextensions.k8s.io"],
        ["customresourcedefinitions"],
        conditions,
        '[JSONPatch{op: "add", path: "/spec", value: oldObject.spec}]',
        operations=["UPDATE"],
    )


def no_calls_policies() -> list[Object]:
    """Policies that keep the API server from calling what a tree names: conversions of a kind by a webhook, and API services."""
    none = '[JSONPatch{op: "add", path: "/spec/conversion", value: {"strategy": "None"}}]'
    gone = " + ".join(
        f'(has(object.spec.{field}) ? [JSONPatch{{op: "remove", path: "/spec/{field}"}}] : [])'
        for field in ("service", "caBundle", "insecureSkipTLSVerify")
    )
    asks = {
        "name": "calls",
        "expression": 'has(object.spec.conversion) && object.spec.conversion.strategy == "Webhook"',
    }
    serves = {"name": "calls", "expression": "has(object.spec.service)"}
    return [
        *policy("holdfast-no-conversion", ["apiextensions.k8s.io"], ["customresourcedefinitions"], [asks], none),
        *policy("holdfast-no-api-service", ["apiregistration.k8s.io"], ["apiservices"], [serves], gone),
    ]


def policy(
    name: str, groups: list[str], resources: list[str], conditions: list[dict[str, str]], expression: str, **more: Any
) -> list[Object]:
    """A MutatingAdmissionPolicy that applies a JSON patch at every write, and its binding."""
    rule = {"apiGroups": groups, "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": resources}
    policy = {
        "matchConstraints": {"resourceRules": [{**rule, **more}]},
        "matchConditions": conditions,
        "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
    }
    api = "admissionregistration.k8s.io/v1"
    binding = {"kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name}, "spec": {"policyName": name}}
    return [
        {"apiVersion": api, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": policy},
        {"apiVersion": api, **binding},
    ]
