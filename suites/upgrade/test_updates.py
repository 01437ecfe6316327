"""Updates by commit while the cluster is used: what they cost whoever uses it."""

import time

from holdfast.claims import get
from holdfast.commits import roll_release, roll_workload
from holdfast.drivers.driver import Agents, NodeShell, PodRuntime
from holdfast.marks import claim, needs
from holdfast.probes.flux import at_revision, tree_applied
from holdfast.probes.monitoring import has_series, scraped_without_gap
from holdfast.probes.workloads import pods_replaced, uids_of, workload_ready, workloads_ready
from holdfast.sampling.targets import dns, ingress, service, volumes
from holdfast.waiting import Unproven

UPDATES, MONITORING = get("updates-anytime"), get("monitoring-updates-zero-downtime")
ANOTHER = "system-node-critical"
MANAGER = "DaemonSet/longhorn-manager"  # what Longhorn calls it


@needs(Agents, NodeShell, PodRuntime)
@claim(UPDATES)
def test_an_update_of_each_layer_is_applied_while_it_is_used(cluster, sampler, git):
    """An app, the ingress, storage: each layer's pods are replaced by a commit, one layer after the other; each outage is within the budget."""
    settings, app = cluster.settings, cluster.app
    layers = {
        "an app": (roll_workload(app.workload, "1"), app.workload, app.namespace),
        "the ingress": (
            _rolled(cluster, settings.ingress.release, settings.ingress.namespace),
            settings.ingress.workload,
            settings.ingress.namespace,
        ),
        "storage": (
            _rolled(cluster, settings.storage.release, settings.storage.namespace),
            MANAGER,
            settings.storage.namespace,
        ),
    }
    limit = UPDATES.budget("outage")
    for layer, (edit, workload, namespace) in layers.items():
        cluster.steady(tree_applied(), within="5m")
        cluster.steady(workloads_ready(), within="3m")
        old = uids_of(cluster, workload, namespace)
        cluster.negative_control(pods_replaced(workload, namespace, old))
        with sampler.watch(ingress(), ingress(tls=True), service(), dns(), volumes()) as seen:
            push = git.push(edit, f"an update of {layer}")
            cluster.negative_control(at_revision(push))
            cluster.eventually(at_revision(push), within=UPDATES.budget("applied"))
            cluster.eventually(pods_replaced(workload, namespace, old), within=UPDATES.budget("applied"))
        for kind in ("ingress", "ingress-tls", "service", "dns", "volume"):
            seen.outage_at_most(limit, kind, what=f"{kind}, while {layer} is updated")
        seen.no_acknowledged_write_lost(what=f"the writers' volumes, while {layer} is updated")


@needs(PodRuntime)
@claim(MONITORING)
def test_the_core_prometheus_is_updated_without_a_gap(cluster, git):
    """A commit replaces its pod: no target goes without a scrape for longer than two intervals, by its own samples."""
    component = cluster.settings.monitoring
    workload = f"StatefulSet/prometheus-{component.core}"
    cluster.steady(tree_applied(), within="5m")
    cluster.steady(workload_ready(workload, component.namespace), within="2m")
    cluster.steady(has_series("up == 1"), within="60s")
    old = uids_of(cluster, workload, component.namespace)
    cluster.negative_control(pods_replaced(workload, component.namespace, old))
    cluster.negative_control(has_series("up == 1", at_least=10_000))
    cluster.negative_control(scraped_without_gap("up", time.time() - 60, time.time() + 1000))
    began = time.time()
    service = cluster.objects.get("Service", component.core, component.namespace) or {"metadata": {}}
    release = (service["metadata"].get("annotations") or {}).get("meta.helm.sh/release-name", component.core)
    git.push(_rolled(cluster, release, component.namespace), "an update of monitoring")
    cluster.eventually(pods_replaced(workload, component.namespace, old), within=MONITORING.budget("applied"))
    cluster.eventually(has_series("up == 1"), within=MONITORING.budget("applied"))
    cluster.eventually(scraped_without_gap("up", began, time.time()), within="0s")


def _rolled(cluster, release, namespace):
    """A commit that replaces the pods of a release. Unproven where nobody knows how its chart does that."""
    found = cluster.objects.get("HelmRelease", release, namespace) or {}
    chart = (((found.get("spec") or {}).get("chart") or {}).get("spec") or {}).get("chart", "")
    edit = roll_release(release, chart, ANOTHER)
    if edit is None:
        raise Unproven(f"how the chart {chart or 'of ' + release} replaces its pods by a value isn't known")
    return edit
