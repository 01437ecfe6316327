"""Rollouts that never end: the new pod starts before an old one goes, and no node is left that may run it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from holdfast.tree.findings import Outcome, Severity, hit, rule
from holdfast.tree.manifest import Manifest, get, mapping, matches, sequence
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import Tree

FAMILY = "resilience"
_HOSTNAME = "kubernetes.io/hostname"
_UPDATES = {"ingress-nginx": "controller.updateStrategy"}  # where the values of a chart say how it rolls


@rule(
    "resilience.never-rolls",
    FAMILY,
    Severity.UPGRADE_HAZARD,
    why="the next version's first pod stays Pending for want of a node, and no old one makes room for it",
    do="let an old pod go first: maxSurge: 0 with maxUnavailable: 1, or strategy Recreate",
)
def never_rolls(tree: Tree) -> Iterator[Outcome]:
    """Deployments with a pod on every node that may run them, that add one before they take one away."""
    for manifest in tree.of("Deployment"):
        count = manifest.spec.get("replicas", 1)
        nodes = 1 if _is_on_one_node(manifest) else int(tree.settings.declared.nodes or 0)
        if (
            not isinstance(count, int)
            or not nodes
            or count < nodes
            or _takes_away_first(manifest.spec.get("strategy"), count)
        ):
            continue
        for path, what in _one_a_node(manifest, count > nodes):
            where = "on each node" if nodes > 1 else "on its node"
            yield hit(
                tree, manifest, f"{manifest.id} has {what}, {count} pod(s) {where}, and starts one more first", *path
            )
            break

    yield from _of_charts(tree)


def _of_charts(tree: Tree) -> Iterator[Outcome]:
    """The same of a chart whose facts say where its values have all that."""
    for release in tree.releases:
        update = release.value(_UPDATES.get(release.chart, ""), {}) if not release.unread else None
        for fact in release.parts("workload") if isinstance(update, dict) and release.chart in _UPDATES else ():
            on = next((f for f in ("host_port", "host_network") if release.value(fact.get(f, "")) is True), None)
            count = release.value(fact.get("replicas", ""), 1)
            one = mapping(release.value(fact.get("node_selector", ""))).get(_HOSTNAME)
            nodes = 1 if one else int(tree.settings.declared.nodes or 0)
            if (
                on is None
                or release.value(fact["kind"], fact["kind_default"]) != "Deployment"
                or release.value(fact.get("autoscaling", "")) is True
                or not isinstance(count, int)
                or not nodes
                or count < nodes
                or _takes_away_first(update, count)
            ):
                continue
            what = f"{release.manifest.id} has ports of its node ({fact['what']}), {count} pod(s) on {nodes} node(s)"
            yield hit(
                tree, release.manifest, f"{what}, and starts one more first", "spec", "values", *fact[on].split(".")
            )


def _is_on_one_node(manifest: Manifest) -> bool:
    return bool(manifest.pod.get("nodeName") or mapping(manifest.pod.get("nodeSelector")).get(_HOSTNAME))


def _takes_away_first(said: Any, count: int) -> bool:
    """Whether a rollout may begin by taking a pod away: the API server rounds that share down, and the surge up."""
    strategy = mapping(said)
    if strategy.get("type") not in (None, "RollingUpdate"):
        return True
    rolling = mapping(strategy.get("rollingUpdate"))
    away = _of(rolling.get("maxUnavailable", "25%"), count, math.floor)
    more = _of(rolling.get("maxSurge", "25%"), count, math.ceil)
    return away is None or away > 0 or more == 0  # none of either: then one may be away


def _of(share: Any, count: int, to_whole: Any) -> int | None:
    """A number of pods; None where it can't be read."""
    if isinstance(share, int):
        return share
    text = str(share).strip()
    if text.endswith("%") and text[:-1].isdigit():
        return int(to_whole(count * int(text[:-1]) / 100))
    return int(text) if text.isdigit() else None


def _one_a_node(manifest: Manifest, too_many: bool) -> Iterator[tuple[tuple[PathKey, ...], str]]:
    """What keeps two of its pods from one node: a port of the node, or a rule that they keep apart."""
    own_network = manifest.pod.get("hostNetwork") is True
    for path, container in manifest.containers():
        for index, port in enumerate(map(mapping, sequence(container.get("ports")))):
            if port.get("hostPort"):
                yield (*path, "ports", index, "hostPort"), f"the port {port['hostPort']} of its node"
            elif own_network and port.get("containerPort"):
                yield (
                    (*path, "ports", index, "containerPort"),
                    f"the port {port['containerPort']} of its node (hostNetwork)",
                )
    if too_many:
        return  # resilience.spread says that
    wanted = ("affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    for index, term in enumerate(map(mapping, sequence(get(manifest.pod, *wanted)))):
        selector = term.get("labelSelector")
        if term.get("topologyKey") == _HOSTNAME and selector and matches(selector, manifest.pod_labels):
            yield (*manifest.pod_path, *wanted, index), "pods that must keep apart"
