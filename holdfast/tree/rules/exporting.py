"""Metrics that rules read and nothing in the tree makes."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.tree import state_metrics
from holdfast.tree.findings import Outcome, Severity, Violation, hit, rule
from holdfast.tree.knowledge import table
from holdfast.tree.manifest import Manifest, mapping
from holdfast.tree.rules.expressions import alerts, metrics_of
from holdfast.tree.sources import PathKey
from holdfast.tree.state_metrics import StateMetrics, gives
from holdfast.tree.tree import Tree

_RULES = ("PrometheusRule", "VMRule", "GrafanaDashboard")


def readers(tree: Tree) -> Iterator[tuple[Manifest, tuple[PathKey, ...], str, str]]:
    """Every metric that an alert reads: the object, where, the alert, the metric."""
    for manifest, path, name, expression in alerts(tree):
        for metric in sorted(metrics_of(expression)[0]):
            yield manifest, path, name, metric


def of_custom_resources(metric: str) -> bool:
    """Whether only kube-state-metrics with a configuration of its own makes a metric."""
    return metric == "gotk_resource_info" or metric.startswith("kube_customresource_")


def unfed(tree: Tree, metric: str, known: list[StateMetrics]) -> bool:
    """Whether no kube-state-metrics of the tree makes a metric of custom resources, so far as all of them are known."""
    return (
        bool(known) and all(gives(one, metric) is False for one in known) and not any(state_metrics.hidden_ones(tree))
    )


@rule(
    "monitoring.custom-state",
    "gitops-health-monitored",
    Severity.BREAKS_CLAIM,
    why="an expression without data never fires: what it watches can fail for weeks without anybody being told",
    do="give kube-state-metrics its customResourceState (enabled, with a config that makes this metric, and rbac.extraRules)",
)
def custom_state(tree: Tree) -> Iterator[Outcome]:
    """Alerts on states of custom resources that no kube-state-metrics is set up to give."""
    known: list[StateMetrics] | None = None
    for manifest, path, name, metric in readers(tree):
        if not of_custom_resources(metric):
            continue
        known = state_metrics.of(tree) if known is None else known
        if unfed(tree, metric, known):
            yield hit(
                tree,
                manifest,
                f"the alert {name} reads {metric}, and no kube-state-metrics of the tree is set up to give it",
                *path,
            )
        elif known and all(gives(one, metric) and one.may_not_list for one in known):
            first = known[0]
            yield hit(
                tree,
                first.manifest,
                f"kube-state-metrics of {first.manifest.id} may not list what it is to give {metric} of, which {name} reads",
                *first.at,
                "customResourceState",
                do="name the API groups in rbac.extraRules, with list and watch",
            )


@rule(
    "monitoring.only-custom",
    "monitoring",
    Severity.BREAKS_CLAIM,
    why="an expression without data never fires",
    do="take the argument away: the custom resources are given beside the ordinary metrics",
)
def only_custom(tree: Tree) -> Iterator[Outcome]:
    """A kube-state-metrics that is told to give nothing but custom resources, where alerts read the rest."""
    known = state_metrics.of(tree)
    if not known or any(one.only is None for one in known) or any(state_metrics.hidden_ones(tree)):
        return
    read = list(dict.fromkeys(name for _, _, name, metric in readers(tree) if _ordinary(metric, known)))
    read += [f"the default rules of {one.manifest.id}" for one in known if _has_default_rules(tree, one.manifest)]
    if not read:
        return
    for one in known:
        more = f" and {len(read) - 3} more" if len(read) > 3 else ""
        yield Violation(
            one.manifest.id,
            (tree.locate(one.manifest, *(one.only or ())),),
            f"kube-state-metrics of {one.manifest.id} gives custom resources only, and {', '.join(read[:3])}{more} read kube_… metrics",
        )


def _ordinary(metric: str, known: list[StateMetrics]) -> bool:
    return (
        metric.startswith("kube_") and ":" not in metric and not any(gives(one, metric) is not False for one in known)
    )


def _has_default_rules(tree: Tree, manifest: Manifest) -> bool:
    """Whether a stack brings its own alerts, and somebody to send them to."""
    release = next((r for r in tree.releases if r.manifest is manifest and r.chart == "kube-prometheus-stack"), None)
    return (
        release is not None
        and release.value("defaultRules.create") is not False
        and release.value("alertmanager.enabled") is not False
    )


@rule(
    "monitoring.no-exporter",
    "monitoring",
    Severity.BREAKS_CLAIM,
    why="an expression without data never fires",
    do="install the exporter, or take the alert away",
)
def no_exporter(tree: Tree) -> Iterator[Outcome]:
    """Alerts on metrics of an exporter of which the tree has no trace."""
    if any(k.gap for k in tree.kustomizations.values()):
        return
    text = ""
    for manifest, path, name, metric in readers(tree):
        if off := _switched_off(tree, metric):
            yield hit(tree, manifest, f"the alert {name} reads {metric}, and {off}", *path)
            continue
        fact = next(
            (f for f in map(mapping, table("metrics")["metric"]) if metric.startswith(tuple(f["starts"]))), None
        )
        if fact is None:
            continue
        text = text or _traces(tree)
        if not any(word in text for word in fact["words"]):
            yield hit(
                tree,
                manifest,
                f"the alert {name} reads {metric}, and the tree has no trace of {fact['exporter']}",
                *path,
            )


_PARTS = (
    ("node_", "nodeExporter.enabled", "node-exporter"),
    ("kube_", "kubeStateMetrics.enabled", "kube-state-metrics"),
)
_OTHER_SOURCES = (
    "node_exporter",
    "additionalscrapeconfigs",
    "'kind': 'scrapeconfig'",
    "alloy",
    "telegraf",
    "k8s-monitoring",
)


def _switched_off(tree: Tree, metric: str) -> str:
    """That the exporter of a metric is switched off in every stack, where nothing else of the tree may give it; else empty."""
    part = next((p for p in _PARTS if metric.startswith(p[0]) and ":" not in metric), None)
    every = [r for r in tree.releases if r.chart == "kube-prometheus-stack"]
    if part is None or not every or any(r.unread or r.value(part[1]) is not False for r in every):
        return ""
    ids = {r.manifest.id for r in every}
    others = [m for m in tree.objects if m.id not in ids and m.kind not in _RULES and not _board(m)]
    text = " ".join([*(str(m.body) for m in others), *(str(sorted(r.values)) for r in every)]).lower()
    unknown = any(state_metrics.hidden_ones(tree))
    if (
        unknown
        or part[2] in text.replace(f"'prometheus-{part[2]}'", "")
        or any(word in text for word in _OTHER_SOURCES)
    ):
        return ""
    return f"{part[2]} is switched off in {every[0].manifest.id}"


def _traces(tree: Tree) -> str:
    """All that is said of what runs and of what is scraped, without what only reads metrics."""
    objects = [str(m.body) for m in tree.objects if m.kind not in _RULES and not _board(m)]
    return " ".join(objects + [str(r.values) for r in tree.releases]).lower()


def _board(manifest: Manifest) -> bool:
    return any("dashboard" in str(k) for k in mapping(manifest.meta.get("labels")))
