"""What monitoring sees while nothing is broken."""

import json
import secrets

import pytest

from holdfast.bootstrap import SYSTEM
from holdfast.claims import get
from holdfast.drivers.driver import Agents, NodeShell, PodRuntime
from holdfast.marks import claim, needs
from holdfast.probes.flux import CONTROLLERS, tree_applied
from holdfast.probes.monitoring import has_no_series, has_series, is_read_in_grafana, query
from holdfast.sampling import agents
from holdfast.sampling.process import run_number
from holdfast.sampling.vantage import rest
from holdfast.tree.rules.expressions import metrics_of

FLUX = 'namespace="flux-system"'
BY_POD, BY_SERVICE = (
    'job=~".+/.+"',
    'job!~".+/.+"',
)  # a PodMonitor's job is NAMESPACE/NAME, a ServiceMonitor's the Service


@pytest.mark.smoke
@needs(PodRuntime)
@claim("flux-dual-collection")
def test_every_flux_controller_is_scraped_in_both_ways(cluster):
    """All four by their pods, those with a Service by that too, each pod once in each way, and their own metrics are there."""
    cluster.steady(tree_applied(), within="5m")
    cluster.negative_control(has_series(f'up{{{FLUX}, pod=~"absent-.*"}} == 1'))
    cluster.negative_control(has_no_series("up"))
    for name in CONTROLLERS:
        cluster.eventually(has_series(f'up{{{FLUX}, {BY_POD}, pod=~"{name}-.+"}} == 1'), within="90s")
        cluster.eventually(
            has_series(f'{{__name__=~"(controller_runtime|process)_.+", {FLUX}, pod=~"{name}-.+"}}'), within="60s"
        )
    cluster.eventually(has_series(f"up{{{FLUX}, {BY_SERVICE}}} == 1", at_least=2), within="60s")
    cluster.eventually(has_series(f"gotk_reconcile_duration_seconds_count{{{FLUX}}}"), within="60s")
    cluster.eventually(has_no_series(f"count by (pod, job) (up{{{FLUX}}}) > 1"), within="0s")


@pytest.mark.smoke
@needs(PodRuntime)
@claim("longhorn-metrics")
def test_longhorn_is_scraped(cluster):
    """A manager on every node is up, and says how its volumes are."""
    component = cluster.settings.storage
    cluster.steady(tree_applied(), within="5m")
    cluster.negative_control(has_series('up{namespace="absent"} == 1'))
    cluster.eventually(
        has_series(f'up{{namespace="{component.namespace}"}} == 1', at_least=len(cluster.nodes())), within="90s"
    )
    cluster.eventually(has_series("longhorn_volume_robustness"), within="60s")


@pytest.mark.smoke
@needs(PodRuntime)
@claim("monitoring-exporters")
def test_nodes_and_objects_are_exported(cluster):
    """Node exporter is up on every node, and kube-state-metrics gives the state of every node."""
    nodes = len(cluster.nodes())
    cluster.steady(tree_applied(), within="5m")
    cluster.negative_control(has_series("node_boot_time_seconds", at_least=nodes + 1))
    cluster.eventually(has_series('up{job="node-exporter"} == 1', at_least=nodes), within="90s")
    cluster.eventually(has_series("node_boot_time_seconds", at_least=nodes), within="60s")
    cluster.eventually(
        has_series('kube_node_status_condition{condition="Ready", status="true"} == 1', at_least=nodes), within="60s"
    )


@pytest.mark.smoke
@needs(PodRuntime)
@claim("monitoring-cardinality")
def test_what_is_read_is_kept_and_what_nobody_reads_is_dropped(cluster, run, experiment):
    """The labels are set, something is dropped, and nothing is that a rule or a dashboard of the tree reads."""
    cluster.steady(tree_applied(), within="5m")
    cluster.negative_control(has_series('up{cluster="absent"}'))
    cluster.negative_control(has_no_series("up"))
    for label in ("cluster", "controller", "component"):
        cluster.eventually(has_series(f'controller_runtime_reconcile_total{{{FLUX}, {label}!=""}}'), within="60s")
    fewer = f"scrape_samples_post_metric_relabeling{{{FLUX}}} < scrape_samples_scraped{{{FLUX}}}"
    cluster.eventually(has_series(fewer), within="60s")
    cluster.eventually(has_no_series(f"go_goroutines{{{FLUX}}}"), within="0s")
    for name in sorted(_read_by(run.checked.tree)):
        cluster.eventually(has_series(name), within="30s")
    query(cluster, f"max by (pod) (scrape_samples_post_metric_relabeling{{{FLUX}}})")


def _read_by(tree):
    """The metrics that the tree's rules and dashboards read."""
    texts = [r["expr"] for m in tree.of("PrometheusRule") for g in m.spec["groups"] for r in g["rules"]]
    for board in (
        text
        for m in tree.of("ConfigMap")
        if "grafana_dashboard" in (m.meta.get("labels") or {})
        for text in m.body["data"].values()
    ):
        texts += [target["expr"] for panel in json.loads(board)["panels"] for target in panel.get("targets", [])]
    return {name for text in texts for name in metrics_of(text)[0]}


@needs(Agents, NodeShell, PodRuntime)
@claim("flow-metrics")
def test_a_known_value_is_read_through_grafana(cluster):
    """A number that this run alone knows goes from a pod's metrics through Prometheus to Grafana's data source."""
    cluster.steady(tree_applied(), within="5m")
    cluster.steady(has_series(f'up{{namespace="{SYSTEM}"}} == 1', at_least=len(cluster.nodes())), within="6m")
    names, number = [node.name for node in cluster.nodes()], secrets.token_hex(8)
    value = run_number(number)
    cluster.negative_control(is_read_in_grafana("up", -1))
    rest(cluster.capable(NodeShell), names, agents.FOLDER, number)
    try:
        cluster.eventually(
            is_read_in_grafana(f'holdfast_run{{pod=~".+"}} == {value}', value),
            within=get("flow-metrics").budget("flow"),
        )
    finally:
        rest(cluster.capable(NodeShell), names, agents.FOLDER, cluster.nonce)
