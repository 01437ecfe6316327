"""Monitoring while something is broken: the core tier without the long-term one, and whether alerts tell the truth."""

import datetime
import time

from holdfast.bootstrap import SYSTEM
from holdfast.claims import get
from holdfast.drivers.driver import PodRuntime
from holdfast.faults.flux import TROUBLE, flux_in_trouble
from holdfast.faults.monitoring import longterm_tier_gone
from holdfast.kube import condition
from holdfast.marks import claim, needs
from holdfast.probes.flux import tree_applied
from holdfast.probes.monitoring import (
    alert_clear,
    alert_fires,
    alert_rule,
    alertmanager_has,
    scrape_interval_s,
    scraped_without_gap,
)
from holdfast.sampling.targets import ingress, prometheus, volumes

HEALTH, INDEPENDENT = get("gitops-health-monitored"), get("monitoring-core-independent")


@needs(PodRuntime)
@claim(INDEPENDENT)
def test_the_core_tier_goes_on_without_the_longterm_tier(cluster, faults, sampler):
    """Prometheus LT, Grafana LT and Alertmanager gone: the core tier answers every request and misses no scrape."""
    cluster.eventually(tree_applied(), within="5m")
    others = f'up{{namespace!="{SYSTEM}"}}'
    cluster.negative_control(scraped_without_gap(others, time.time() - 60, time.time() + 1000))
    with sampler.watch(ingress(), prometheus(), volumes()) as seen, faults(longterm_tier_gone(), recovery="4m"):
        seen.observe_for(2 * scrape_interval_s(cluster) + 5)
    seen.outage_at_most(
        "0s", "prometheus", failed_share=0, claims=INDEPENDENT, what="core Prometheus without the long-term tier"
    )
    seen.no_acknowledged_write_lost(claims=INDEPENDENT)
    cluster.eventually(scraped_without_gap(others, seen.begin, seen.end), within="0s", claims=INDEPENDENT)


@needs(PodRuntime)
@claim(HEALTH)
def test_alerts_on_flux_tell_the_truth(cluster, faults, sampler):
    """Suspended, failing, unreachable: the tree's own alert fires for each in time, reaches Alertmanager, and clears after."""
    cluster.eventually(tree_applied(), within="5m")
    kustomization = "apps"
    told = [("FluxSuspended", kustomization), ("FluxObjectNotReady", TROUBLE), ("FluxSourceUnreachable", TROUBLE)]
    scrape_s = scrape_interval_s(cluster)
    rules = {name: alert_rule(cluster, name) for name, _ in told}
    for name, about in told:
        cluster.negative_control(alert_fires(name, {"name": about}))
    cluster.negative_control(alertmanager_has("absent", {}))
    cluster.negative_control(alert_clear("FluxSuspended", {}), within="2m")  # of what the lane itself suspends

    def clear():
        for name, about in told:
            limit_s = 2 * rules[name].every_s + scrape_s - faults.since_undone_s()
            cluster.eventually(alert_clear(name, {"name": about}), within=max(0.0, round(limit_s, 1)), claims=HEALTH)

    with sampler.watch(ingress(), volumes()) as seen, faults(flux_in_trouble(kustomization), after_heal=clear):
        began = {
            "FluxSuspended": time.time(),
            "FluxObjectNotReady": _since(cluster, "Kustomization"),
            "FluxSourceUnreachable": _since(cluster, "GitRepository"),
        }
        for name, about in told:  # each one's time runs from the moment when its object was as bad as the alert says
            limit_s = began[name] + rules[name].for_s + 2 * rules[name].every_s + scrape_s - time.time()
            cluster.eventually(alert_fires(name, {"name": about}), within=max(0.0, round(limit_s, 1)), claims=HEALTH)
        for name, about in told:
            cluster.eventually(alertmanager_has(name, {"name": about}), within="60s", claims=HEALTH)
    seen.no_acknowledged_write_lost(claims=HEALTH)


def _since(cluster, kind):
    """When the fault's object became not ready, as wall time in seconds."""
    found = condition(cluster.objects.get(kind, TROUBLE, cluster.sync.root.namespace), "Ready")
    return datetime.datetime.fromisoformat(found["lastTransitionTime"]).timestamp()
