"""Which objects of a Kustomization aren't healthy now, and what they say themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ResourceNotUniqueError

from holdfast.kube import KubeReader, Object, condition, name_of
from holdfast.rehearsal.stage import Stage
from holdfast.tree.manifest import mapping, sequence
from holdfast.waiting import CannotLook

_AT_ONCE = frozenset(
    {"Namespace", "ConfigMap", "Secret", "ServiceAccount", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}
)


BY_EXPRESSION = "its health is an expression (healthCheckExprs) over a status that nobody in the lane writes"


@dataclass(frozen=True)
class Sick:
    """An object that isn't healthy, and why, in words."""

    id: str
    said: str


def sick_of(stage: Stage, namespace: str, name: str) -> list[Sick]:
    """The objects that keep a Kustomization from being healthy."""
    item = stage.client.get("Kustomization", name, namespace)
    if not item:
        return []
    found, by_expression = [], []
    judged = {str(mapping(e).get("kind")) for e in sequence(item["spec"].get("healthCheckExprs"))}
    for version, kind, space, own in _checked(stage, item):
        if kind == "Kustomization" and (space, own) == (namespace, name):
            continue
        identity = "/".join(filter(None, [kind, space, own]))
        try:
            there = stage.client.get(kind, own, space or None, version=version)
            if there and kind in _AT_ONCE:
                continue
            why = unhealthy(there, stage.client) if there else f"there is no {identity}"
        except (CannotLook, ApiException, ResourceNotUniqueError, ValueError):
            continue
        if why:
            found.append(Sick(identity, why))
        elif kind in judged:
            by_expression.append(Sick(identity, BY_EXPRESSION))
    return found or by_expression


def _checked(stage: Stage, item: Object) -> Iterator[tuple[str, str, str, str]]:
    """(apiVersion, kind, namespace, name) of what a Kustomization waits for, as it stands in the cluster."""
    spec, namespace, name = item["spec"], item["metadata"]["namespace"], item["metadata"]["name"]
    if not spec.get("wait"):
        for check in map(mapping, sequence(spec.get("healthChecks"))):
            space = str(check.get("namespace") or namespace)
            yield str(check.get("apiVersion")), str(check.get("kind")), space, str(check.get("name"))
        return
    known = stage.tree.kustomizations.get(f"{namespace}/{name}")
    for manifest in known.objects if known else []:
        space = "" if manifest.namespace == "" else manifest.namespace
        yield manifest.api, manifest.kind, space, manifest.name


def unhealthy(item: Object, client: KubeReader) -> str:  # noqa: PLR0911  one return a kind reads best
    """Why an object isn't healthy, in words; empty where it is. As kstatus has it, which Flux asks."""
    kind, spec, status = item["kind"], item.get("spec") or {}, item.get("status") or {}
    generation = int(item["metadata"].get("generation") or 0)
    if int(status.get("observedGeneration") or generation) < generation:
        return "its controller hasn't seen its present form"
    if kind in ("Deployment", "StatefulSet"):
        wanted, there = int(spec.get("replicas", 1)), int(status.get("readyReplicas") or 0)
        return "" if there >= wanted else f"{there} of {wanted} pods are ready{_pods(item, client)}"
    if kind == "DaemonSet":
        wanted, there = int(status.get("desiredNumberScheduled") or 0), int(status.get("numberReady") or 0)
        return "" if there >= wanted else f"{there} of {wanted} pods are ready{_pods(item, client)}"
    if kind == "PersistentVolumeClaim":
        return (
            ""
            if status.get("phase") == "Bound"
            else f"it is {status.get('phase', 'without a phase')}{_last_event(item, client)}"
        )
    if kind == "Job":
        return "" if condition(item, "Complete").get("status") == "True" else "it isn't complete"
    ready = condition(item, "Ready")
    if ready and ready.get("status") != "True":
        return str(ready.get("message") or ready.get("reason") or "it isn't ready")
    return ""


def _pods(item: Object, client: KubeReader) -> str:
    """What the first pod that isn't ready says; or that there is none, with the words of who should have made it."""
    labels = mapping((item.get("spec") or {}).get("selector")).get("matchLabels") or {}
    chosen = ",".join(f"{k}={v}" for k, v in sorted(labels.items()))
    pods = client.list("Pod", item["metadata"]["namespace"], labels=chosen)
    for pod in pods:
        said = condition(pod, "PodScheduled")
        if said.get("status") == "False":
            return f": {name_of(pod)}: {said.get('message', '')}"
    for pod in pods:
        if condition(pod, "Ready").get("status") != "True":
            return f": {name_of(pod)}: {_container_says(pod)}"
    if pods:
        return ""
    return _replica_failure(item) or _last_event(item, client)


def _container_says(pod: Object) -> str:
    """What the first container says that waits, or that it isn't ready."""
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        if waiting := mapping(mapping(status.get("state")).get("waiting")):
            return ": ".join(filter(None, [str(waiting.get("reason") or ""), str(waiting.get("message") or "")]))
    return "it isn't ready"


def _replica_failure(item: Object) -> str:
    """Why no pod is made: a Deployment says it itself."""
    said = condition(item, "ReplicaFailure")
    return f": {said['message']}" if said.get("message") else ""


def _last_event(item: Object, client: KubeReader) -> str:
    meta = item["metadata"]
    found = [
        e
        for e in client.list("Event", meta.get("namespace"))
        if e.get("involvedObject", {}).get("uid") == meta["uid"] and e.get("type") == "Warning"
    ]
    found.sort(key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))
    return f": {found[-1].get('message', '')}" if found else ""
