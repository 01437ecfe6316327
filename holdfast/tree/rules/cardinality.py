"""What relabelling keeps and drops, worked out on the metric names that the controllers of Flux export (``exporters/flux.toml``)."""

from __future__ import annotations

import functools
import json
import re
import tomllib
from collections.abc import Iterator
from importlib import resources

from holdfast.tree.findings import Evidence, Inconclusive, Outcome, Severity, hit, rule
from holdfast.tree.manifest import Body, Manifest, mapping, matches, sequence
from holdfast.tree.releases import Release
from holdfast.tree.rules.expressions import alerts, metrics_of
from holdfast.tree.rules.monitoring import monitor_namespaces, monitors, of_core_tier
from holdfast.tree.tree import Tree

_LABELS = ("cluster", "controller", "component")


@functools.cache
def exported() -> tuple[tuple[str, ...], frozenset[str]]:
    """(the controllers of Flux, the names of the metrics that they export)."""
    table = tomllib.loads((resources.files("holdfast.tree") / "exporters" / "flux.toml").read_text())
    return tuple(table["services"]), frozenset(table["metrics"])


def takes_flux(monitor: Manifest) -> bool:
    """Whether a monitor takes a controller of Flux, by the labels that Flux gives its pods and Services."""
    spaces = monitor_namespaces(monitor)
    if spaces is not None and "flux-system" not in spaces:
        return False
    return any(
        matches(
            monitor.spec.get("selector"),
            {
                "app": name,
                "app.kubernetes.io/component": name,
                "app.kubernetes.io/part-of": "flux",
                "control-plane": "controller",
            },
        )
        for name in exported()[0]
    )


def rules_of(monitor: Manifest) -> list[tuple[tuple[str | int, ...], Body]]:
    """The metric relabellings of a monitor, each with where it stands."""
    field = "endpoints" if monitor.kind == "ServiceMonitor" else "podMetricsEndpoints"
    return [
        (("spec", field, e, "metricRelabelings", r), mapping(one))
        for e, endpoint in enumerate(sequence(monitor.spec.get(field)))
        for r, one in enumerate(sequence(mapping(endpoint).get("metricRelabelings")))
    ]


def drops(one: Body, name: str) -> bool | None:
    """Whether a relabelling drops every series of a metric; None where its name alone doesn't tell."""
    action, labels = str(one.get("action", "replace")).lower(), [str(s) for s in sequence(one.get("sourceLabels"))]
    if action not in ("keep", "drop"):
        return None if str(one.get("targetLabel")) == "__name__" else False
    if "__name__" not in labels:
        return False if action == "drop" else None
    try:
        wanted = re.compile(str(one.get("regex", "(.*)")))
    except re.error:
        return None
    values = [
        str(one.get("separator", ";")).join(name if label == "__name__" else other for label in labels)
        for other in ("", "0.5", "holdfast")
    ]
    met = {bool(wanted.fullmatch(value)) for value in values}
    if len(met) > 1:  # by the other labels' values: some series go and some stay
        return False
    return met == {action == "drop"}


def read_by(tree: Tree) -> Iterator[tuple[str, str]]:
    """(who reads it, the metric) of every rule and dashboard of the tree."""
    for _, _, name, expression in alerts(tree):
        yield from ((f"the alert {name}", metric) for metric in sorted(metrics_of(expression)[0]))
    for manifest in tree.of("ConfigMap"):
        if "grafana_dashboard" not in mapping(manifest.meta.get("labels")):
            continue
        for board in mapping(manifest.body.get("data")).values():
            for expression in _expressions(str(board)):
                yield from ((f"a dashboard of {manifest.id}", metric) for metric in sorted(metrics_of(expression)[0]))


def _expressions(board: str) -> Iterator[str]:
    try:
        panels = sequence(mapping(json.loads(board)).get("panels"))
    except ValueError:
        return
    for panel in panels:
        for target in sequence(mapping(panel).get("targets")):
            if mapping(target).get("expr"):
                yield str(mapping(target)["expr"])


@rule(
    "monitoring.dropped",
    "monitoring-cardinality",
    Severity.BREAKS_CLAIM,
    why="an expression without data never fires, and its panel is empty",
    do="keep the metric in metricRelabelings",
)
def dropped(tree: Tree) -> Iterator[Outcome]:
    """Metrics of Flux's controllers that a rule or a dashboard reads, and that every monitor of the controllers drops."""
    of_flux = [m for m in monitors(tree) if takes_flux(m)]
    if not of_flux or any(not rules_of(m) for m in of_flux):
        return
    for who, metric in sorted(set(read_by(tree))):
        if metric not in exported()[1]:
            continue
        by = [next(((m, at) for at, one in rules_of(m) if drops(one, metric)), None) for m in of_flux]
        if all(by) and by[0]:
            yield hit(tree, by[0][0], f"{who} reads {metric}, and the relabelling of {by[0][0].id} drops it", *by[0][1])


@rule(
    "monitoring.cardinality",
    "monitoring-cardinality",
    Severity.BREAKS_CLAIM,
    why="series grow with every pod, and none says which controller it is of",
    do="drop what nobody reads by metricRelabelings, and set the labels cluster, controller, component",
    opt_in=True,
)
@of_core_tier
def cardinality(tree: Tree, core: list[Release]) -> Iterator[Outcome]:
    """Relabelling that drops, and the promised labels."""
    own = [(m, one) for m in monitors(tree) for _, one in rules_of(m)]
    more = [
        mapping(r)
        for m in monitors(tree)
        for e in sequence(m.spec.get("endpoints") or m.spec.get("podMetricsEndpoints"))
        for r in sequence(mapping(e).get("relabelings"))
    ]
    of_charts = [one for release in tree.releases for one in _relabelings(release.values)]
    every = [one for _, one in own] + more + of_charts
    if not any(r.get("action") in ("drop", "keep", "labeldrop", "labelkeep") for r in every):
        yield hit(tree, core[0].manifest, "no relabelling of the tree drops anything", "spec", "values")
    labels = {str(r.get("targetLabel")) for r in every} | {
        str(k) for r in core for k in mapping(r.value("prometheus.prometheusSpec.externalLabels"))
    }
    lacking = [name for name in _LABELS if name not in labels]
    if lacking:
        yield hit(tree, core[0].manifest, f"nothing sets the label {', '.join(lacking)}", "spec", "values")
        return
    unknown = sorted({m.id for m, _ in own if not takes_flux(m)} | ({"the charts' values"} if of_charts else set()))
    if unknown:
        yield Inconclusive(
            f"what {', '.join(unknown)} keeps isn't known: there is no list of the metrics of what it takes"
        )
        return
    names = exported()[1]
    gone = {
        name
        for name in names
        for m in monitors(tree)
        if takes_flux(m) and any(drops(one, name) for _, one in rules_of(m))
    }
    yield (
        Evidence(
            f"{len(names) - len(gone)} of {len(names)} metrics of Flux's controllers are kept, and the labels {', '.join(_LABELS)} are set"
        )
        if gone
        else Inconclusive("no relabelling of a monitor drops a metric that Flux's controllers are known to export")
    )


def _relabelings(value: object) -> Iterator[Body]:
    if isinstance(value, dict):
        for key, below in value.items():
            if key in ("metricRelabelings", "relabelings", "metric_relabel_configs", "relabel_configs"):
                yield from (mapping(r) for r in sequence(below))
            else:
                yield from _relabelings(below)
    elif isinstance(value, list):
        for below in value:
            yield from _relabelings(below)
