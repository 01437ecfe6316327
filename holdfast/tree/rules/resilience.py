"""What makes a loss or an update worse than it must be: budgets that forbid every drain, volumes that two pods fight for, pods that can't spread."""

from __future__ import annotations

import math
from collections.abc import Iterator

from holdfast.tree.findings import Outcome, Severity, Violation, hit, rule
from holdfast.tree.manifest import Manifest, get, mapping, matches, sequence
from holdfast.tree.names import labels_of
from holdfast.tree.tree import Tree

FAMILY = "resilience"


def _replicas(manifest: Manifest) -> int:
    count = manifest.spec.get("replicas", 1)
    return count if isinstance(count, int) else 1


def _share(value: object, count: int) -> int | None:
    """How many pods a number or a share (rounded up, as the disruption controller does) is; None where it is neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value).strip()
    if not text.endswith("%"):
        return int(text) if text.isdigit() else None
    return math.ceil(int(text[:-1]) * count / 100) if text[:-1].isdigit() else None


def _none_away(count: int, least: object, most: object) -> bool:
    """Whether a budget lets none of so many pods be away."""
    if least is not None:
        return (_share(least, count) or 0) >= count
    return most is not None and _share(most, count) == 0


@rule(
    "resilience.budget",
    FAMILY,
    Severity.UPGRADE_HAZARD,
    why="no node that runs it can ever be drained: an upgrade stops there",
    do="allow one pod to be away (maxUnavailable: 1), or run one more",
)
def budget(tree: Tree) -> Iterator[Outcome]:
    """PodDisruptionBudgets that allow no disruption at all, and those that select nothing."""
    for pdb in tree.of("PodDisruptionBudget"):
        pods = [
            m
            for m in tree.workloads_in(pdb.namespace)
            if matches(pdb.spec.get("selector"), m.pod_labels) and m.kind in ("Deployment", "StatefulSet")
        ]
        if not pods or not pdb.spec.get("selector"):
            continue
        count, least, most = sum(map(_replicas, pods)), pdb.spec.get("minAvailable"), pdb.spec.get("maxUnavailable")
        autoscaled = any(
            get(h.spec, "scaleTargetRef", "name") == p.name
            for h in tree.of("HorizontalPodAutoscaler", "ScaledObject")
            for p in pods
        )
        if count and not autoscaled and _none_away(count, least, most):
            field = "minAvailable" if least is not None else "maxUnavailable"
            yield hit(tree, pdb, f"{pdb.id} allows no pod of {pods[0].id} ({count}) to be away", "spec", field)


@rule(
    "resilience.two-budgets",
    FAMILY,
    Severity.UPGRADE_HAZARD,
    why="the API server evicts no pod that two budgets are for, so no node that runs one can be drained",
    do="keep one of them, or make their selectors apart",
)
def two_budgets(tree: Tree) -> Iterator[Outcome]:
    """Pods that two PodDisruptionBudgets are for."""
    budgets = [b for b in tree.of("PodDisruptionBudget") if b.spec.get("selector") is not None]
    seen: dict[tuple[str, ...], list[str]] = {}
    by_id = {b.id: b for b in budgets}
    for manifest in tree.of("Deployment", "StatefulSet"):
        taking = sorted(
            {
                b.id
                for b in budgets
                if b.namespace == manifest.namespace and matches(b.spec["selector"], manifest.pod_labels)
            }
        )
        if len(taking) > 1:
            seen.setdefault(tuple(taking), []).append(manifest.id)
    for ids, pods in seen.items():
        both = [by_id[i] for i in ids]
        places = tuple(tree.locate(b, "spec", "selector") for b in both[::-1])
        yield Violation(
            ids[-1], places, f"{ids[-1]} and {ids[0]} are both for the pods of {pods[0]}", hits=(*ids[::-1], *pods)
        )


@rule(
    "resilience.budget-on-nothing",
    FAMILY,
    Severity.HYGIENE,
    why="it protects nothing",
    do="let its selector be labels of the pods that it is for",
)
def budget_on_nothing(tree: Tree) -> Iterator[Outcome]:
    """PodDisruptionBudgets without pods."""
    for pdb in tree.of("PodDisruptionBudget"):
        near_by = tree.workloads_in(pdb.namespace)
        wanted = labels_of(pdb.spec.get("selector"))
        taken = any(matches(pdb.spec.get("selector"), m.pod_labels) for m in near_by)
        key, meant = ("", "") if taken else tree.names.meant(wanted, ((m.pod_labels, m.id) for m in near_by))
        if key:
            yield hit(tree, pdb, f"{pdb.id} takes no pod{meant}", "spec", "selector", "matchLabels", key)
        elif (
            not any(r.target_namespace == pdb.namespace for r in tree.releases)
            and pdb.spec.get("selector")
            and not taken
            and pdb.namespace not in tree.unseen_makers
            and not tree.names.open_in(pdb.namespace)
        ):
            yield hit(tree, pdb, f"{pdb.id} takes no pod", "spec", "selector")


@rule(
    "resilience.shared-volume",
    FAMILY,
    Severity.UPGRADE_HAZARD,
    why="on two nodes the new pod waits for a volume that the old one holds, and the rollout never ends",
    do="use strategy Recreate, or a StatefulSet, or a ReadWriteMany volume",
)
def shared_volume(tree: Tree) -> Iterator[Outcome]:
    """Deployments that roll over, or run twice, on a ReadWriteOnce volume."""
    for manifest in tree.of("Deployment"):
        if get(manifest.spec, "strategy", "type") == "Recreate" and _replicas(manifest) <= 1:
            continue
        for path, name in manifest.claims():
            claim = tree.by_key.get(("PersistentVolumeClaim", manifest.namespace, name))
            modes = set(map(str, sequence(claim.spec.get("accessModes")))) if claim else set()
            stops_first = get(manifest.spec, "strategy", "rollingUpdate", "maxSurge") in (0, "0", "0%")
            if (
                modes
                and modes <= {"ReadWriteOnce", "ReadWriteOncePod"}
                and (_replicas(manifest) > 1 or not stops_first)
            ):
                how = (
                    f"runs {_replicas(manifest)} pods"
                    if _replicas(manifest) > 1
                    else "starts the new pod before the old one is gone"
                )
                yield hit(
                    tree, manifest, f"{manifest.id} {how} on the volume {name}, which one node at a time may use", *path
                )


@rule(
    "resilience.spread",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="pods that may not share a node stay Pending when one is lost",
    do="make it a wish: ScheduleAnyway, or preferredDuringScheduling",
)
def spread(tree: Tree) -> Iterator[Outcome]:
    """More replicas than nodes, with a spread that is a must."""
    nodes = int(tree.settings.declared.nodes or 0)
    for manifest in tree.of("Deployment", "StatefulSet"):
        for index, term in enumerate(
            sequence(get(manifest.pod, "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution"))
        ):
            own = matches(mapping(term).get("labelSelector"), manifest.pod_labels)
            if (
                own
                and mapping(term).get("topologyKey") == "kubernetes.io/hostname"
                and nodes
                and _replicas(manifest) > nodes
            ):
                yield hit(
                    tree,
                    manifest,
                    f"{manifest.id} wants {_replicas(manifest)} pods, each on a node of its own, and there are {nodes}",
                    *manifest.pod_path,
                    "affinity",
                    "podAntiAffinity",
                    "requiredDuringSchedulingIgnoredDuringExecution",
                    index,
                )


@rule(
    "resilience.pinned",
    FAMILY,
    Severity.HYGIENE,
    why="it goes with that node, and comes back only with it",
    do="select by a label that more than one node can have",
)
def pinned(tree: Tree) -> Iterator[Outcome]:
    """Workloads that are tied to one node by its name."""
    for manifest in tree.workloads():
        if manifest.pod.get("nodeName"):
            yield hit(
                tree,
                manifest,
                f"{manifest.id} is tied to the node {manifest.pod['nodeName']}",
                *manifest.pod_path,
                "nodeName",
            )
        elif name := mapping(manifest.pod.get("nodeSelector")).get("kubernetes.io/hostname"):
            yield hit(
                tree,
                manifest,
                f"{manifest.id} is tied to the node {name}",
                *manifest.pod_path,
                "nodeSelector",
                "kubernetes.io/hostname",
            )


@rule(
    "resilience.never-evicted",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="a pod that tolerates a lost node is never moved away from it",
    do="tolerate what you mean by its key, not everything",
)
def never_evicted(tree: Tree) -> Iterator[Outcome]:
    """Deployments and StatefulSets that tolerate everything."""
    for manifest in tree.of("Deployment", "StatefulSet"):
        for index, one in enumerate(map(mapping, sequence(manifest.pod.get("tolerations")))):
            everything = (
                one.get("operator") == "Exists" and not one.get("key") and one.get("effect") in (None, "NoExecute")
            )
            lost = one.get("key") in ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
            if (
                (everything or lost)
                and one.get("tolerationSeconds") is None
                and one.get("effect") in (None, "NoExecute")
            ):
                yield hit(
                    tree,
                    manifest,
                    f"{manifest.id} tolerates the loss of its node for ever",
                    *manifest.pod_path,
                    "tolerations",
                    index,
                )


@rule(
    "resilience.scaled-twice",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="Flux sets the replicas back at every interval that the autoscaler has raised",
    do="take replicas out of the workload",
)
def scaled_twice(tree: Tree) -> Iterator[Outcome]:
    """An autoscaler and a fixed count for one workload."""
    for scaler in tree.of("HorizontalPodAutoscaler"):
        ref = mapping(scaler.spec.get("scaleTargetRef"))
        found = tree.by_key.get((str(ref.get("kind")), scaler.namespace, str(ref.get("name"))))
        least, most = scaler.spec.get("minReplicas", 1), scaler.spec.get("maxReplicas")
        if found is not None and "replicas" in found.spec and not found.spec["replicas"] == least == most:
            yield hit(
                tree,
                found,
                f"{found.id} sets replicas, and {scaler.id} scales it",
                "spec",
                "replicas",
                hits=(found.id, scaler.id),
            )


@rule(
    "resilience.probe-port",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="the probe fails for ever, and the pod is restarted or never gets a request",
    do="name a port of the container",
)
def probe_port(tree: Tree) -> Iterator[Outcome]:
    """Probes on a named port that the container doesn't have."""
    for manifest in tree.workloads():
        for path, container in manifest.containers():
            names = {str(mapping(p).get("name")) for p in sequence(container.get("ports"))}
            for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
                for how in ("httpGet", "tcpSocket"):
                    port = get(container, probe, how, "port")
                    if isinstance(port, str) and not port.isdigit() and port not in names:
                        yield hit(
                            tree,
                            manifest,
                            f"the {probe} of {manifest.id} asks the port '{port}', which its container doesn't have",
                            *path,
                            probe,
                            how,
                            "port",
                        )
