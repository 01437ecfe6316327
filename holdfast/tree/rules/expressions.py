"""The expressions of rules and alerts: whether they can be parsed, and read metrics that exist."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

from holdfast.tree import state_metrics
from holdfast.tree.components import is_component
from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Inconclusive, Outcome, Severity, hit, rule
from holdfast.tree.fluxapi import version_of
from holdfast.tree.manifest import Manifest, mapping, sequence
from holdfast.tree.rules.monitoring import STACK, scraped
from holdfast.tree.tree import Tree

GONE = {
    "gotk_reconcile_condition": "Flux 2.5 and later don't export it; kube-state-metrics can give gotk_resource_info in its place",
    "gotk_suspend_status": "Flux 2.5 and later don't export it; kube-state-metrics can give gotk_resource_info in its place",
    "flux_daemon_sync_duration_seconds_count": "it is of Flux 1, which has ended",
    "flux_daemon_sync_duration_seconds_bucket": "it is of Flux 1, which has ended",
    "flux_daemon_sync_manifests": "it is of Flux 1, which has ended",
    "flux_helm_operator_release_condition_info": "it is of Flux 1, which has ended",
    "flux_helm_operator_release_duration_seconds_count": "it is of Flux 1, which has ended",
}


def alerts(tree: Tree) -> Iterator[tuple[Manifest, tuple[str | int, ...], str, str]]:
    """Every alerting rule of the tree: its object, where its expression stands, its name, its expression."""
    for manifest in tree.of("PrometheusRule", "VMRule"):
        yield from _alerts_in(manifest, manifest.spec.get("groups"), ("spec", "groups"))
    for release in tree.releases:
        if release.chart == STACK:
            at = ("spec", "values", "additionalPrometheusRulesMap")
            for name, one in mapping(release.value(at[-1])).items():
                yield from _alerts_in(release.manifest, mapping(one).get("groups"), (*at, str(name), "groups"))


def _alerts_in(
    manifest: Manifest, groups: Any, at: tuple[str | int, ...]
) -> Iterator[tuple[Manifest, tuple[str | int, ...], str, str]]:
    for g, group in enumerate(sequence(groups)):
        for r, one in enumerate(sequence(mapping(group).get("rules"))):
            if mapping(one).get("alert"):
                yield manifest, (*at, g, "rules", r, "expr"), str(one["alert"]), str(one.get("expr", ""))


@rule(
    "monitoring.gone-metric",
    "monitoring",
    Severity.BREAKS_CLAIM,
    why="an expression without data never fires",
    do="use a metric that exists",
)
def gone_metric(tree: Tree) -> Iterator[Outcome]:
    """Alerts on metrics that no current version exports, or that nothing in the tree scrapes."""
    longhorn = any(r.chart == "longhorn" for r in tree.releases)
    pushing = _pushing(tree) if longhorn else ""
    for manifest, path, name, expression in alerts(tree):
        for metric in sorted(metrics_of(expression)[0]):
            if metric in GONE and not _is_still_there(tree, metric):
                known = [state_metrics.gives(one, metric) for one in state_metrics.of(tree)]
                if True in known:
                    continue  # made anew, of the objects themselves
                if None in known:
                    yield Inconclusive(f"{manifest.id} reads {metric}, which values that aren't read may make anew")
                    continue
                yield hit(tree, manifest, f"the alert {name} reads {metric}: {GONE[metric]}", *path)
            elif metric.startswith("longhorn_") and longhorn and not _longhorn_scraped(tree) and metric not in pushing:
                yield hit(
                    tree,
                    manifest,
                    f"the alert {name} reads {metric}, and nothing in the tree scrapes Longhorn",
                    *path,
                    do="set metrics.serviceMonitor.enabled: true in Longhorn's values",
                )


def _is_still_there(tree: Tree, metric: str) -> bool:
    """Whether the Flux that the tree runs is of before a metric of its own went."""
    runs = version_of(tree)
    first = any(
        is_component(m) and str(mapping(m.meta.get("labels")).get("app.kubernetes.io/version")).startswith("v0.")
        for m in tree.of("Deployment")
    )
    if metric.startswith("gotk_") and first:
        return True
    return metric.startswith("gotk_") and runs is not None and _number(runs.minor) < _number(_WITHOUT)


_PUSHES = re.compile(r"pushgateway|/metrics/job/", re.IGNORECASE)


def _pushing(tree: Tree) -> str:
    """What the scripts of the tree say that push to a gateway."""
    texts = [str(v) for m in tree.of("ConfigMap") for v in mapping(m.body.get("data")).values()]
    texts += [json.dumps(c, default=str) for m in tree.workloads() for _, c in m.containers(every=True)]
    return "\n".join(text for text in texts if _PUSHES.search(text))


def _number(minor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in minor.split("."))


_WITHOUT = "2.5"  # https://github.com/fluxcd/flux2/issues/5083


def _longhorn_scraped(tree: Tree) -> bool:
    if any(
        "longhorn" in f"{m.namespace} {m.name} {m.spec.get('selector')}"
        for m in tree.of("VMServiceScrape", "VMPodScrape")
    ):
        return True
    return any(
        r.chart == "longhorn"
        and (
            r.unread
            or r.value("metrics.serviceMonitor.enabled") is True
            or scraped(tree, r.target_namespace, {"app": "longhorn-manager"})
        )
        for r in tree.releases
    )


@rule(
    "monitoring.expression",
    "monitoring",
    Severity.BREAKS_CLAIM,
    why="Prometheus refuses the whole group",
    do="fix the expression",
)
def expression(tree: Tree) -> Iterator[Outcome]:
    """Expressions of rules that can't be parsed, in the parser's words."""
    for manifest in tree.of("PrometheusRule"):
        for g, group in enumerate(sequence(manifest.spec.get("groups"))):
            for r, one in enumerate(sequence(mapping(group).get("rules"))):
                text = str(mapping(one).get("expr", ""))
                fault = metrics_of(text)[1]
                if fault and UNKNOWN not in text:
                    name = mapping(one).get("alert") or mapping(one).get("record")
                    yield hit(
                        tree,
                        manifest,
                        f"the expression of {name} can't be parsed: {fault}",
                        "spec",
                        "groups",
                        g,
                        "rules",
                        r,
                        "expr",
                    )


@functools.cache
def metrics_of(text: str) -> tuple[frozenset[str], str]:
    """The metrics that a PromQL expression reads, and what is wrong with it."""
    import promql_parser  # noqa: PLC0415  only a tree with rules needs it

    names: set[str] = set()

    def visit(node: object) -> bool:
        if isinstance(node, promql_parser.VectorSelector) and node.name:
            names.add(node.name)
        return True

    try:
        promql_parser.walk(promql_parser.parse(text), visit)
    except ValueError as error:
        return frozenset(names), str(error)
    return frozenset(names), ""
