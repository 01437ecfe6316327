"""Tailscale's routers: each has a state of its own, and with it a name of its own in the network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Evidence, Outcome, Severity, Violation, rule
from holdfast.tree.manifest import Manifest, get, mapping, sequence
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import Tree

_IMAGE = re.compile(r"(?:^|/)(?:tailscale|tailscaled)(?:[:@]|$)")
Path = tuple[PathKey, ...]


@dataclass(frozen=True)
class _Router:
    """What runs Tailscale with a state Secret: *pods* is 2 where it is one a node, *at* where the Secret is named, *replicas* where their number is."""

    manifest: Manifest
    id: str
    pods: int
    at: Path
    replicas: Path


@rule(
    "network.tailscale-state",
    "tailscale-router",
    Severity.BREAKS_CLAIM,
    why="two routers with one state are one node to Tailscale: they take the connection from each other, again and again",
    do="give each its own: a StatefulSet with TS_KUBE_SECRET: $(POD_NAME), or replicas: 1 with strategy: Recreate",
)
def state(tree: Tree) -> Iterator[Outcome]:
    """One state Secret a router: never several replicas or several workloads with one."""
    users: dict[tuple[str, str], list[_Router]] = {}
    for namespace, name, router in (*_of_workloads(tree), *_of_releases(tree)):
        if name and UNKNOWN not in name and "$" not in name and "{{" not in name and router.pods:
            users.setdefault((namespace, name), []).append(router)
    for (namespace, name), by in users.items():
        several = next((r for r in by if r.pods > 1), None)
        ids = tuple(dict.fromkeys(r.id for r in by))
        if several is not None:
            what = f"{several.id} runs several pods with one state, Secret/{namespace}/{name}"
            places = (tree.locate(several.manifest, *several.at), tree.locate(several.manifest, *several.replicas))
            yield Violation(several.id, tuple(dict.fromkeys(places)), what)
        elif len(ids) > 1:
            what = f"{' and '.join(ids)} have one state, Secret/{namespace}/{name}"
            yield Violation(by[-1].id, tuple(tree.locate(r.manifest, *r.at) for r in reversed(by)), what, hits=ids)
        else:
            yield Evidence(f"{by[0].id}: its state is Secret/{namespace}/{name}, and nothing else has it")


def _of_workloads(tree: Tree) -> Iterator[tuple[str, str, _Router]]:
    for manifest in tree.workloads():
        if manifest.kind in ("Job", "CronJob"):
            continue
        for path, container in manifest.containers(every=True):
            once = "initContainers" in path and container.get("restartPolicy") != "Always"
            name, at = ("", path) if once else _state(path, container)
            replicas = ("spec", "replicas") if "replicas" in manifest.spec else ("spec",)
            yield manifest.namespace, name, _Router(manifest, manifest.id, _pods(tree, manifest), at, replicas)


def _of_releases(tree: Tree) -> Iterator[tuple[str, str, _Router]]:
    """The controllers of the app-template chart, each with its containers."""
    for release in tree.unread_releases:
        for name, controller in mapping(release.value("controllers")).items():
            above: Path = ("spec", "values", "controllers", str(name))
            count = 2 if mapping(controller).get("type") == "daemonset" else mapping(controller).get("replicas", 1)
            for part, container in mapping(mapping(controller).get("containers")).items():
                said = mapping(mapping(container).get("env")).get("TS_KUBE_SECRET")
                at = (*above, "containers", str(part), "env", "TS_KUBE_SECRET")
                who = f"{release.manifest.id} ({name})"
                pods = count if isinstance(count, int) else 1
                secret = said if isinstance(said, str) else ""
                yield release.target_namespace, secret, _Router(release.manifest, who, pods, at, (*above, "replicas"))


def _state(path: Path, container: dict[str, object]) -> tuple[str, Path]:
    """The state Secret that a container names, and where; empty where it names none, or its state is elsewhere."""
    variables = {str(mapping(e).get("name")): i for i, e in enumerate(sequence(container.get("env")))}
    if (index := variables.get("TS_KUBE_SECRET")) is not None:
        return str(get(container, "env", index, "value") or ""), (*path, "env", index, "value")
    for part in ("command", "args"):
        for index, text in enumerate(sequence(container.get(part))):
            if found := re.search(r"--state=kube:([\w.$()-]+)", str(text)):
                return found[1], (*path, part, index)
    elsewhere = {"TS_STATE_DIR", "TS_TAILSCALED_EXTRA_ARGS"} & variables.keys()
    silent = not any(container.get(part) for part in ("command", "args", "envFrom")) and not elsewhere
    if silent and _IMAGE.search(str(container.get("image") or "")):
        return "tailscale", (*path, "image")  # what the image takes without a word
    return "", path


def _pods(tree: Tree, manifest: Manifest) -> int:
    """How many pods a workload has at most; 2 stands for one a node."""
    if manifest.kind == "DaemonSet":
        return 2
    replicas = manifest.spec.get("replicas", 1)
    count = replicas if isinstance(replicas, int) else 1
    for scaler in tree.of("HorizontalPodAutoscaler", "ScaledObject"):
        target = mapping(scaler.spec.get("scaleTargetRef"))
        if scaler.namespace == manifest.namespace and target.get("name") == manifest.name:
            most = scaler.spec.get("maxReplicas", scaler.spec.get("maxReplicaCount"))
            count = max(count, most if isinstance(most, int) else 1)
    return count


@rule(
    "network.tailscale-connector",
    "tailscale-router",
    Severity.BREAKS_CLAIM,
    why="the operator's definition refuses it: a name is for one device, and several need a prefix",
    do="replace hostname by hostnamePrefix, or set replicas: 1",
)
def connector(tree: Tree) -> Iterator[Outcome]:
    """A Connector of several devices with one name."""
    for manifest in tree.of("Connector"):
        replicas = manifest.spec.get("replicas", 1)
        if manifest.group != "tailscale.com" or not isinstance(replicas, int):
            continue
        if manifest.spec.get("hostname") and replicas > 1:
            what = f"{manifest.id} asks for {replicas} devices under one hostname"
            yield Violation(manifest.id, (tree.locate(manifest, "spec", "hostname"),), what)
        else:
            yield Evidence(f"{manifest.id}: each of its devices has a name")
