"""``externalTrafficPolicy: Local``: a node without a pod drops what comes to its node port."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from holdfast.tree import bundled, nodes
from holdfast.tree.findings import Evidence, Inconclusive, Outcome, Severity, hit, rule
from holdfast.tree.manifest import Body, Manifest, get, mapping, matches, sequence
from holdfast.tree.releases import Release
from holdfast.tree.roles import CORE, role
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import Tree

_HOSTNAME = "kubernetes.io/hostname"
_ANY_NODE = frozenset({"kubernetes.io/os", "kubernetes.io/arch"})
_APP_TEMPLATE = "app-template"


@dataclass(frozen=True)
class Behind:
    """The pods behind a node port: of which *kind*, how many (None: not known), *spread* for sure, *limited* to some nodes, *pinned* to one."""

    what: str
    kind: str = "Deployment"
    count: int | None = 1
    spread: bool = False
    limited: bool = False
    pinned: bool = False


@dataclass(frozen=True)
class Local:
    """A node port that is answered only where a pod runs; *entrance*: it is the way into the cluster, not one app's own."""

    manifest: Manifest
    path: tuple[PathKey, ...]
    behind: Behind
    entrance: bool


def _spreads(pod: Body) -> bool:
    """Whether no two pods of a workload may share a node."""
    return any(
        mapping(t).get("topologyKey") == _HOSTNAME
        for t in sequence(get(pod, "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution"))
    ) or any(
        mapping(t).get("topologyKey") == _HOSTNAME
        and mapping(t).get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule"
        and mapping(t).get("maxSkew", 1) == 1
        for t in sequence(pod.get("topologySpreadConstraints"))
    )


def _placed(pod: Body) -> tuple[bool, bool]:
    """Whether pods may run on some nodes only, and whether that is one named node."""
    selector = mapping(pod.get("nodeSelector"))
    required = get(pod, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    pinned = bool(pod.get("nodeName")) or _HOSTNAME in selector or _HOSTNAME in str(required)
    return bool(set(selector) - _ANY_NODE) or bool(required) or pinned, pinned


def _of_pods(what: str, kind: str, count: Any, pod: Body, *, scaled: bool = False) -> Behind:
    limited, pinned = _placed(pod)
    known = count if isinstance(count, int) and not isinstance(count, bool) and not scaled else None
    return Behind(what, kind, known, _spreads(pod), limited, pinned)


def _of_services(tree: Tree) -> Iterator[Local]:
    """Services themselves, of the tree and of charts that were rendered."""
    told = {r.manifest.id for r in tree.releases if any(f.get("traffic_policy") for f in r.facts.get("service", []))}
    for service in tree.of("Service"):
        if (
            service.group
            or service.spec.get("type") != "NodePort"
            or service.spec.get("externalTrafficPolicy") != "Local"
            or service.owner in told
        ):
            continue
        selector = mapping(service.spec.get("selector"))
        pods = [
            m
            for m in tree.workloads_in(service.namespace)
            if selector and m.kind not in ("Job", "CronJob") and matches({"matchLabels": selector}, m.pod_labels)
        ]
        owner = tree.kustomization_of(service)
        entrance = owner is not None and role(tree, owner) == CORE
        at = ("spec", "externalTrafficPolicy")
        if not pods:
            if selector:
                yield Local(service, at, Behind(service.id, count=None), entrance)
            continue
        daemon = next((m for m in pods if m.kind == "DaemonSet"), None)
        first = daemon or pods[0]
        scaled = any(
            get(h.spec, "scaleTargetRef", "name") in {m.name for m in pods}
            for h in tree.of("HorizontalPodAutoscaler", "ScaledObject")
        )
        counts = [1 if m.kind == "Pod" else m.spec.get("replicas", 1) for m in pods]
        count = sum(counts) if all(isinstance(c, int) for c in counts) else None
        yield Local(service, at, _of_pods(first.id, first.kind, count, first.pod, scaled=scaled), entrance)


def _of_releases(tree: Tree) -> Iterator[Local]:
    """Charts whose facts say where their values hold the policy and the number of pods."""
    for release in [*tree.releases, *bundled.charts(tree)]:
        entrance = any(release.parts("ingress_class"))
        for fact in release.parts("service"):
            policy = fact.get("traffic_policy", "")
            kind = release.value(fact["type"], release.value(fact.get("spec_type", ""), fact["default"]))
            if not policy or release.value(policy) != "Local" or kind != "NodePort":
                continue
            workload = next((w for w in release.parts("workload") if w["what"] == fact["what"]), {})
            yield Local(
                release.manifest,
                ("spec", "values", *policy.split(".")),
                _of_values(release, workload),
                entrance,
            )


def _of_values(release: Release, fact: Body) -> Behind:
    """The pods that a chart's facts and a release's values come to."""
    if not fact or release.unread:
        return Behind(release.manifest.id, count=None)
    above = fact.get("replicas", "").rpartition(".")[0]
    pod = {
        "nodeSelector": release.value(fact.get("node_selector", "")),
        **{
            k: release.value(f"{above}.{k}" if above else k) or release.value(k)
            for k in ("affinity", "topologySpreadConstraints")
        },
    }
    kind = str(release.value(fact.get("kind", ""), fact["kind_default"]))
    return _of_pods(
        f"its {fact['what']}",
        "DaemonSet" if kind == "Both" else kind,
        release.value(fact.get("replicas", ""), fact.get("replicas_default", 1)),
        pod,
        scaled=release.value(fact.get("autoscaling", "")) is True,
    )


def _of_app_template(tree: Tree) -> Iterator[Local]:
    """The common chart of homelabs: each Service names its controller."""
    for release in tree.releases:
        if release.chart != _APP_TEMPLATE:
            continue
        controllers = {
            k: mapping(v)
            for k, v in mapping(release.values.get("controllers")).items()
            if mapping(v).get("enabled") is not False
        }
        for name, service in mapping(release.values.get("service")).items():
            if mapping(service).get("type") != "NodePort" or mapping(service).get("externalTrafficPolicy") != "Local":
                continue
            named = str(
                mapping(service).get("controller") or (next(iter(controllers)) if len(controllers) == 1 else name)
            )
            found = controllers.get(named)
            at = ("spec", "values", "service", str(name), "externalTrafficPolicy")
            if found is None or release.unread:
                yield Local(release.manifest, at, Behind(release.manifest.id, count=None), False)
                continue
            kind = {"daemonset": "DaemonSet", "statefulset": "StatefulSet"}.get(
                str(found.get("type", "")).lower(), "Deployment"
            )
            pod = {**mapping(release.values.get("defaultPodOptions")), **mapping(found.get("pod"))}
            yield Local(
                release.manifest,
                at,
                _of_pods(f"its controller {named}", kind, found.get("replicas", 1), pod),
                False,
            )


def _of_envoy(tree: Tree) -> Iterator[Local]:
    """Proxies of Envoy Gateway: their own object says how they are run."""
    for proxy in tree.of("EnvoyProxy"):
        given = mapping(get(proxy.spec, "provider", "kubernetes"))
        service = mapping(given.get("envoyService"))
        if service.get("type") != "NodePort" or service.get("externalTrafficPolicy") != "Local":
            continue
        deployment = mapping(given.get("envoyDeployment"))
        kind = "DaemonSet" if "envoyDaemonSet" in given else "Deployment"
        pod = mapping(mapping(given.get("envoyDaemonSet") or deployment).get("pod"))
        at = ("spec", "provider", "kubernetes", "envoyService", "externalTrafficPolicy")
        scaled = bool(given.get("envoyHpa"))
        yield Local(proxy, at, _of_pods(proxy.id, kind, deployment.get("replicas", 1), pod, scaled=scaled), True)


def local(tree: Tree) -> list[Local]:
    """Every node port that is answered only where a pod runs."""
    return [*_of_releases(tree), *_of_services(tree), *_of_app_template(tree), *_of_envoy(tree)]


def doubt(tree: Tree, one: Local) -> str:  # noqa: PLR0911  one return a reason
    """Why not every node may answer; empty where every one does."""
    count, least, pods = one.behind.count, nodes.known(tree), one.behind.what
    if least == 1 and tree.settings.declared.nodes:
        return ""
    if one.behind.kind == "DaemonSet":
        return f"{pods} is a DaemonSet of some nodes only" if one.behind.limited else ""
    if count is None:
        return f"how many pods {pods} has isn't known"
    if not least:
        return (
            f"{pods} has {count} pod{'s' * (count != 1)}, and how many nodes there are isn't known ([declared] nodes)"
        )
    if count < least:
        return f"{pods} has {count} pod{'s' * (count != 1)} for {least} nodes"
    if one.behind.limited or not one.behind.spread or not tree.settings.declared.nodes:
        return f"nothing makes the {count} pods of {pods} run on a node each"
    return ""


def short(tree: Tree, one: Local) -> bool:
    """Whether there are fewer pods than nodes, for sure."""
    count = one.behind.count
    return one.behind.kind != "DaemonSet" and count is not None and 0 < count < nodes.known(tree)


def entrance_doubts(tree: Tree) -> Iterator[Inconclusive]:
    """Why the ways into the cluster may not answer on every node."""
    for one in local(tree):
        if one.entrance and (why := doubt(tree, one)):
            yield Inconclusive(f"{one.manifest.id}: externalTrafficPolicy is Local, and {why}")


@rule(
    "network.local-traffic",
    "ingress-nodeports",
    Severity.BREAKS_CLAIM,
    why="a node without one of its pods drops whatever comes to its port, and says nothing",
    do="run it on every node (a DaemonSet), or leave externalTrafficPolicy at Cluster",
)
def local_traffic(tree: Tree) -> Iterator[Outcome]:
    """Node ports with externalTrafficPolicy Local and fewer pods than nodes."""
    for one in local(tree):
        if one.behind.pinned and not one.entrance:
            continue  # its owner means that node
        why = doubt(tree, one)
        if short(tree, one):
            yield hit(
                tree,
                one.manifest,
                f"{one.manifest.id} is answered only where a pod runs (Local), and {why}",
                *one.path,
                severity=None if one.entrance else Severity.UPGRADE_HAZARD,
            )
        elif one.entrance:
            said = f"{one.manifest.id}: externalTrafficPolicy is Local"
            yield (
                Inconclusive(f"{said}, and {why}")
                if why
                else Evidence(f"{said}, and {one.behind.what} runs on every node")
            )
