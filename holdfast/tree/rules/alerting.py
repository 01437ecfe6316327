"""Whether the alerts on Flux can fire: a dead alert isn't monitoring."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast.tree import state_metrics
from holdfast.tree.findings import Evidence, Inconclusive, NotApplicable, Outcome, Severity, rule
from holdfast.tree.manifest import Manifest, mapping
from holdfast.tree.rules.cardinality import exported, takes_flux
from holdfast.tree.rules.exporting import of_custom_resources
from holdfast.tree.rules.expressions import GONE, alerts, metrics_of
from holdfast.tree.rules.monitoring import monitors, taken
from holdfast.tree.state_metrics import StateMetrics, gives
from holdfast.tree.tree import Tree

_OF_FLUX = re.compile(r"gotk_|controller_runtime_|(?<![a-z])flux", re.IGNORECASE)


@rule(
    "monitoring.gitops-health",
    "gitops-health-monitored",
    Severity.BREAKS_CLAIM,
    why="a Kustomization can fail for weeks without anybody being told",
    do='add a PrometheusRule on gotk_resource_info{ready="False"} and on the source',
    opt_in=True,
)
def gitops_health(tree: Tree) -> Iterator[Outcome]:
    """Alerts on Flux' health, taken by a Prometheus, on metrics that something makes."""
    about = [a for a in alerts(tree) if _OF_FLUX.search(a[3])]
    if not about:
        yield NotApplicable(
            "no PrometheusRule of the tree is about Flux", "add alerts on gotk_resource_info and controller_runtime_*"
        )
        return
    known = state_metrics.of(tree)
    dead = [(name, why) for manifest, _, name, text in about if (why := _doubt(tree, manifest, text, known))]
    for name, why in dead:
        yield Inconclusive(f"the alert {name} isn't known to work: {why}")
    if len(dead) < len(about):
        yield Evidence(f"{len(about) - len(dead)} alerts on Flux")


def _doubt(tree: Tree, manifest: Manifest, text: str, known: list[StateMetrics]) -> str:
    """Why an alert isn't known to fire when it should; empty where nothing speaks against it."""
    if (
        manifest.kind == "PrometheusRule"
        and taken(tree, manifest.kind, mapping(manifest.meta.get("labels"))) is not True
    ):
        return f"no Prometheus of the tree is known to take {manifest.id}"
    names, fault = metrics_of(text)
    if fault:
        return "its expression can't be parsed"
    return next((why for metric in sorted(names) if (why := _doubt_of(tree, metric, known))), "")


def _doubt_of(tree: Tree, metric: str, known: list[StateMetrics]) -> str:
    """Why a metric that an alert on Flux reads isn't known to be there."""
    if metric in GONE:
        return f"{metric} isn't exported any more"
    if of_custom_resources(metric):
        made = any(gives(one, metric) and not one.may_not_list for one in known)
        return "" if made else f"no kube-state-metrics of the tree is known to give {metric}"
    if metric not in exported()[1] and metric != "up":
        return f"what gives {metric} isn't known here"
    scraped = any(takes_flux(m) and taken(tree, m.kind, mapping(m.meta.get("labels"))) for m in monitors(tree))
    return "" if scraped else f"nothing in the tree is known to scrape Flux, which gives {metric}"
