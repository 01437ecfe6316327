"""Monitoring: the two tiers, and whether selectors, ports, rules and alerts meet what exists."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from holdfast.tree import state_metrics
from holdfast.tree.boot import reaches
from holdfast.tree.findings import Check, Evidence, Inconclusive, NotApplicable, Outcome, Severity, hit, rule
from holdfast.tree.manifest import Body, Manifest, get, mapping, matches, sequence
from holdfast.tree.names import labels_of
from holdfast.tree.needs import Phase, State
from holdfast.tree.releases import Release, whole_namespace
from holdfast.tree.roles import LONGTERM, MONITORING, kustomizations, role, states_of, storage_states
from holdfast.tree.rules.core import reaching, unknown_charts
from holdfast.tree.tree import Tree

STACK = "kube-prometheus-stack"
_CONTROLLERS = ("source-controller", "kustomize-controller", "helm-controller", "notification-controller")


def stacks(tree: Tree, tier: str) -> list[Release]:
    """The Prometheus stacks of a tier."""
    return [
        r
        for r in tree.releases
        if r.chart == STACK
        and r.manifest.owner in tree.kustomizations
        and role(tree, tree.kustomizations[r.manifest.owner]) == tier
    ]


def monitors(tree: Tree) -> list[Manifest]:
    """The ServiceMonitors and PodMonitors of the tree."""
    return [m for m in tree.of("ServiceMonitor", "PodMonitor") if m.group == "monitoring.coreos.com"]


def monitor_namespaces(monitor: Manifest) -> set[str] | None:
    """The namespaces that a monitor looks in; None for all."""
    chosen = mapping(monitor.spec.get("namespaceSelector"))
    if chosen.get("any") is True:
        return None
    return set(map(str, sequence(chosen.get("matchNames")))) or {monitor.namespace}


def scraped(tree: Tree, namespace: str, labels: Body) -> Manifest | None:
    """A monitor that takes pods or Services with *labels* in *namespace*."""
    return next(
        (
            m
            for m in monitors(tree)
            if (monitor_namespaces(m) is None or namespace in (monitor_namespaces(m) or ()))
            and matches(m.spec.get("selector"), labels)
        ),
        None,
    )


def of_core_tier(judge: Callable[[Tree, list[Release]], Iterator[Outcome]]) -> Check:
    """A rule about the Prometheus stacks of the core tier: without one there is nothing to judge, and charts that aren't known leave doubt."""

    @functools.wraps(judge)
    def whole(tree: Tree) -> Iterator[Outcome]:
        core = stacks(tree, MONITORING)
        if not core:
            yield NotApplicable("the tree has no kube-prometheus-stack in a core tier")
            return
        yield from unknown_charts(tree, MONITORING, LONGTERM)
        yield from judge(tree, core)

    return whole


@rule(
    "monitoring.ephemeral",
    "monitoring-ephemeral",
    Severity.BREAKS_CLAIM,
    why="a Prometheus on a volume is blind exactly when storage fails",
    do="use an emptyDir and a retention of 2h in the core tier",
    opt_in=True,
)
@of_core_tier
def ephemeral(tree: Tree, core: list[Release]) -> Iterator[Outcome]:
    """The core tier on emptyDir, 2h, without storage."""
    for release in core:
        bad = list(release.volumes())
        for volume in bad:
            yield hit(
                tree,
                release.manifest,
                f"{volume.what} of {release.manifest.id} keeps its data on a volume",
                *volume.path,
            )
        retention = str(release.value("prometheus.prometheusSpec.retention", "10d"))
        if retention != str(tree.settings.declared.core_retention):
            yield hit(
                tree,
                release.manifest,
                f"Prometheus of {release.manifest.id} keeps {retention}, and 2h is promised",
                "spec",
                "values",
                "prometheus",
                "prometheusSpec",
                "retention",
            )
        elif "persistentVolumeClaim" in str(release.value("prometheus.prometheusSpec.volumes")):
            yield Inconclusive(f"{release.manifest.id} mounts volumes of its own (prometheusSpec.volumes)")
        elif not bad:
            yield Evidence(f"{release.manifest.id}: no volume, retention {retention}")
        kustomization = tree.kustomizations[release.manifest.owner]
        reach = reaches(tree.graph, states_of(kustomization), storage_states(tree))
        if reach and not bad:
            yield reaching(kustomization, reach, "the core tier reaches storage")


@rule(
    "monitoring.tiers",
    "monitoring-core-independent",
    Severity.BREAKS_CLAIM,
    why="the tier that must see a failure goes down with it",
    do="let the core tier depend on nothing of the long-term tier, in a Kustomization of its own",
    opt_in=True,
)
def tiers(tree: Tree) -> Iterator[Outcome]:
    """Core tier and long-term tier apart, and the one without the other."""
    core, longterm = kustomizations(tree, MONITORING), kustomizations(tree, LONGTERM)
    if not core or not longterm:
        yield NotApplicable("the tree has no two tiers of monitoring")
        return
    yield from unknown_charts(tree, MONITORING, LONGTERM)
    far = {
        State(f"Kustomization/{kustomization.id}", s)
        for kustomization in longterm
        for s in (Phase.READY, Phase.APPLIED, Phase.DEFINED)
    } | storage_states(tree)
    for kustomization in core:
        if reach := reaches(tree.graph, states_of(kustomization), far):
            yield reaching(kustomization, reach, "the core tier needs what may be away")
        else:
            yield Evidence(
                f"Kustomization/{kustomization.id} needs nothing of {', '.join(la.id for la in longterm)}, nor storage"
            )


@rule(
    "monitoring.exporters",
    "monitoring-exporters",
    Severity.BREAKS_CLAIM,
    why="no figure of any node, or of no object",
    do="switch them on in the core tier",
    opt_in=True,
)
@of_core_tier
def exporters(tree: Tree, core: list[Release]) -> Iterator[Outcome]:
    """Node exporter and kube-state-metrics in the core tier."""
    every = [r for r in tree.releases if r.manifest.owner in {c.manifest.owner for c in core}]
    for fact in core[0].facts.get("exporter", []):
        if not any(r.value(fact["enabled"], True) is not False for r in core) and not any(
            fact["what"] in r.chart for r in every
        ):
            yield hit(
                tree,
                core[0].manifest,
                f"{fact['what']} is switched off in {core[0].manifest.id}",
                "spec",
                "values",
                *fact["enabled"].split("."),
            )
        elif fact["what"] == "kube-state-metrics" and any(one.only for one in state_metrics.of(tree)):
            yield Inconclusive(f"kube-state-metrics of {core[0].manifest.id} gives custom resources only")
        else:
            yield Evidence(f"{fact['what']} is part of {core[0].manifest.id}")


@rule(
    "monitoring.longterm",
    "monitoring-longterm",
    Severity.BREAKS_CLAIM,
    why="the past is gone when it is asked for",
    do="set retention 30d, a volumeClaimTemplate of Longhorn's class, Grafana and Alertmanager in the long-term tier",
    opt_in=True,
)
def longterm(tree: Tree) -> Iterator[Outcome]:
    """Prometheus on a volume for 30d, Grafana, Alertmanager."""
    found = stacks(tree, LONGTERM)
    if not found:
        yield NotApplicable("the tree has no long-term tier with kube-prometheus-stack")
        return
    yield from unknown_charts(tree, LONGTERM)
    for release in found:
        volumes = {v.what: v for v in release.volumes()}
        retention = str(release.value("prometheus.prometheusSpec.retention", "10d"))
        at = ("spec", "values", "prometheus", "prometheusSpec")
        if "Prometheus" not in volumes:
            yield hit(tree, release.manifest, f"Prometheus of {release.manifest.id} has no volume", *at)
        if retention != str(tree.settings.declared.longterm_retention):
            yield hit(
                tree,
                release.manifest,
                f"Prometheus of {release.manifest.id} keeps {retention}, and 30d is promised",
                *at,
                "retention",
            )
        for part in ("grafana", "alertmanager"):
            if release.value(f"{part}.enabled", True) is False:
                yield hit(
                    tree,
                    release.manifest,
                    f"{part} is switched off in the long-term tier",
                    "spec",
                    "values",
                    part,
                    "enabled",
                )
        yield from _in_doubt(tree, release)
        yield Evidence(f"{release.manifest.id}: retention {retention}, volumes {', '.join(volumes) or 'none'}")


def _in_doubt(tree: Tree, release: Release) -> Iterator[Inconclusive]:
    """What the document says of the long-term tier, and the values don't show: Longhorn's volumes, dashboards that stay, the whole past."""
    of_longhorn = {"longhorn", "longhorn-static"} | {
        m.name for m in tree.of("StorageClass") if m.body.get("provisioner") == "driver.longhorn.io"
    }
    volumes = {v.what: v for v in release.volumes()}
    for what in ("Prometheus", "Grafana"):
        if what not in volumes:
            yield Inconclusive(f"{what} of {release.manifest.id} has no volume of its own")
        elif volumes[what].storage_class not in of_longhorn:
            name = volumes[what].storage_class or "the default one"
            yield Inconclusive(f"the class of {what}'s volume ({name}) isn't known to be Longhorn's")
    if release.value("prometheus.prometheusSpec.retentionSize"):
        yield Inconclusive(f"retentionSize of {release.manifest.id} may end the past before the retention does")


@rule(
    "monitoring.flux",
    "flux-dual-collection",
    Severity.BREAKS_CLAIM,
    why="a controller that nobody scrapes fails in silence",
    do="add a PodMonitor for app in (the four controllers), port http-prom, in flux-system",
    opt_in=True,
)
def dual(tree: Tree) -> Iterator[Outcome]:
    """All four controllers scraped, by ServiceMonitor and PodMonitor, nothing twice into the same labels."""
    found = {m.name: m for m in tree.of("Deployment") if m.name in _CONTROLLERS}
    for_flux = [
        m
        for m in monitors(tree)
        if any(
            matches(m.spec.get("selector"), d.pod_labels)
            and (monitor_namespaces(m) is None or d.namespace in (monitor_namespaces(m) or ()))
            for d in found.values()
        )
    ]
    if not found or not for_flux:
        yield NotApplicable(
            "no ServiceMonitor or PodMonitor of the tree takes a Flux controller",
            "add a PodMonitor for the four controllers, port http-prom",
        )
        return
    for name, controller in found.items():
        takers = [m for m in for_flux if matches(m.spec.get("selector"), controller.pod_labels)]
        if not takers:
            yield hit(tree, for_flux[0], f"nothing scrapes {name}", "spec", "selector")
    for kind in ("ServiceMonitor", "PodMonitor"):
        if not any(m.kind == kind for m in for_flux):
            yield hit(
                tree,
                for_flux[0],
                f"no {kind} takes a Flux controller: 'dual collection' is by one way only",
                "spec",
                "selector",
            )
    for monitor in for_flux:
        if taken(tree, monitor.kind, mapping(monitor.meta.get("labels"))) is not True:
            yield Inconclusive(f"no Prometheus of the tree is known to take {monitor.id}")
    yield Evidence(f"{', '.join(m.id for m in for_flux)} take {', '.join(found)}")


@rule(
    "monitoring.selected",
    "monitoring",
    Severity.BREAKS_CLAIM,
    why="the operator takes only what carries the release's label, and says nothing about the rest",
    do="add the label, or set the stack's …SelectorNilUsesHelmValues to false",
)
def selected(tree: Tree) -> Iterator[Outcome]:
    """Monitors and rules that no Prometheus of the tree takes."""
    stacks = [r for r in tree.releases if r.chart == STACK]
    every = [r for r in stacks if r.value("prometheus.enabled") is not False]  # one that runs none takes nothing
    if not every or len(stacks) != len([r for r in tree.releases if "prometheus" in r.chart or "victoria" in r.chart]):
        return
    for manifest in [*monitors(tree), *tree.of("PrometheusRule")]:
        field = _FIELDS[manifest.kind]
        if not any(_takes(r, field, manifest) for r in every):
            name = every[0].name
            yield hit(
                tree,
                manifest,
                f"{manifest.id} has no label 'release: {name}', and no Prometheus of the tree takes it without",
                "metadata",
                "labels",
            )


_FIELDS = {"ServiceMonitor": "serviceMonitor", "PodMonitor": "podMonitor", "PrometheusRule": "rule"}


def taken(tree: Tree, kind: str, labels: Body) -> bool | None:
    """Whether a Prometheus of the tree takes a monitor or a rule with *labels*; None where no Prometheus is known, or values aren't in the tree."""
    every = [r for r in tree.releases if r.chart == STACK and r.value("prometheus.enabled") is not False]
    if any(_takes_labels(r, _FIELDS[kind], labels) for r in every):
        return True
    return None if not every or any(r.unread for r in every) else False


def _takes(release: Release, field: str, manifest: Manifest) -> bool:
    return _takes_labels(release, field, mapping(manifest.meta.get("labels")))


def _takes_labels(release: Release, field: str, labels: Body) -> bool:
    chosen = release.value(f"prometheus.prometheusSpec.{field}Selector")
    if chosen:
        return matches(chosen, labels)
    if release.value(f"prometheus.prometheusSpec.{field}SelectorNilUsesHelmValues", True) is False:
        return True
    return labels.get("release") == release.name


_API_SERVER = {"component": "apiserver", "provider": "kubernetes"}


@rule(
    "monitoring.target",
    "monitoring",
    Severity.BREAKS_CLAIM,
    why="there is no target, so every panel and alert on it is empty",
    do="fix the selector, the namespace or the port's name",
)
def target(tree: Tree) -> Iterator[Outcome]:
    """Monitors that take nothing that exists, or a port that isn't there."""
    for monitor in monitors(tree):
        spaces = monitor_namespaces(monitor)
        if matches(monitor.spec.get("selector"), _API_SERVER) and (spaces is None or "default" in spaces):
            continue  # the Service that the API server makes of itself
        key, meant = _slip(tree, monitor, spaces)
        if key:
            yield hit(tree, monitor, f"{monitor.id} takes nothing{meant}", "spec", "selector", "matchLabels", key)
            continue
        if spaces is None or not all(whole_namespace(tree, s) for s in spaces):
            continue
        if monitor.kind == "ServiceMonitor":
            candidates = [
                s
                for s in tree.of("Service")
                if s.namespace in spaces and matches(monitor.spec.get("selector"), mapping(s.meta.get("labels")))
            ]
            ports = {str(mapping(p).get("name")) for s in candidates for p in sequence(s.spec.get("ports"))}
            endpoints, field = sequence(monitor.spec.get("endpoints")), "endpoints"
        else:
            candidates = [
                w
                for w in tree.workloads()
                if w.namespace in spaces and matches(monitor.spec.get("selector"), w.pod_labels)
            ]
            ports = {
                str(mapping(p).get("name"))
                for w in candidates
                for _, c in w.containers(every=True)
                for p in sequence(c.get("ports"))
            }
            endpoints, field = sequence(monitor.spec.get("podMetricsEndpoints")), "podMetricsEndpoints"
        if not candidates:
            what = "Service" if monitor.kind == "ServiceMonitor" else "pod"
            yield hit(tree, monitor, f"{monitor.id} takes no {what} in {', '.join(sorted(spaces))}", "spec", "selector")
            continue
        for index, endpoint in enumerate(endpoints):
            port = get(endpoint, "port")
            if isinstance(port, str) and port not in ports:
                yield hit(
                    tree,
                    monitor,
                    f"{monitor.id} scrapes the port '{port}'; {candidates[0].id} has {', '.join(sorted(ports - {'None'})) or 'no named one'}",
                    "spec",
                    field,
                    index,
                    "port",
                )


def _slip(tree: Tree, monitor: Manifest, spaces: set[str] | None) -> tuple[str, str]:
    """The label of a monitor's selector that is a slip of one in the tree, and what was meant."""
    wanted = labels_of(monitor.spec.get("selector"))
    if monitor.kind == "ServiceMonitor":
        there = [(mapping(s.meta.get("labels")), s) for s in tree.of("Service")]
    else:
        there = [(w.pod_labels, w) for w in tree.workloads()]
    there = [(labels, m) for labels, m in there if spaces is None or m.namespace in spaces]
    if any(matches(monitor.spec.get("selector"), labels) for labels, _ in there):
        return "", ""
    return tree.names.meant(wanted, ((labels, m.id) for labels, m in there))
