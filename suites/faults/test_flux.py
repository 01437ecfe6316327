"""Flux down, and Flux killed."""

import pytest

from holdfast.claims import get
from holdfast.commits import mark
from holdfast.drivers.driver import PodRuntime
from holdfast.durations import seconds
from holdfast.faults.flux import controller_killed, flux_down
from holdfast.marks import claim, needs
from holdfast.probes.flux import (
    CONTROLLERS,
    NAMESPACE,
    controller_replaced,
    controllers_ready,
    inventory,
    inventory_is,
    marked,
    not_marked,
    tree_applied,
    uids,
)
from holdfast.probes.monitoring import has_series, scrape_interval_s
from holdfast.probes.workloads import lives, undisturbed
from holdfast.sampling.targets import api, dns, ingress, ingress_itself, pods, service, volumes
from holdfast.waiting import eventually

CONTINUE, NO_LOSS, CORE = get("flux-down-workloads-continue"), get("flux-restart-no-loss"), get("core-always-available")
FOUR, DUAL = get("flux-four-controllers"), get("flux-dual-collection")
BUT = ("flux-system",)


@pytest.mark.smoke
@needs(PodRuntime)
@claim(CONTINUE, NO_LOSS, CORE)
def test_running_workloads_continue_while_flux_is_down(cluster, faults, sampler, git, experiment):
    """Every request is answered while no Flux controller runs; a pushed commit stays away until they are back, and nothing is lost."""
    cluster.eventually(tree_applied(), within="5m")
    git.push(mark(cluster.sync, "before"), "a commit before the fault")
    cluster.eventually(marked("before"), within="3m")
    cluster.eventually(tree_applied(), within="3m")
    owned, before = inventory(cluster), lives(cluster, *BUT)
    cluster.negative_control(not_marked("before"))
    cluster.negative_control(marked("during"))
    cluster.negative_control(undisturbed({**before, "apps/absent": ("none", 0)}, BUT))
    cluster.negative_control(inventory_is(owned | {"flux-system:apps_absent__ConfigMap"}))
    with sampler.watch(
        ingress(), ingress(tls=True), ingress_itself(), service(), dns(), pods(), api(), volumes()
    ) as seen:

        def arrives():
            limit_s = seconds(NO_LOSS.budget("applied"))
            wait = eventually(cluster, marked("during"), max(0, limit_s - faults.since_undone_s()))
            took_s = faults.since_undone_s()
            held = wait.held and took_s <= limit_s
            said = (
                f"the pending commit was applied {took_s:.1f}s after Flux was scaled up again"
                if wait.held
                else wait.sentence("eventually", limit_s)
            )
            experiment.assertion(
                "the pending commit is applied",
                "marked",
                held,
                said,
                figure=f"{took_s:.1f}s",
                budget=f"{limit_s:g}s",
                claims=NO_LOSS,
            )

        with faults(flux_down(), after_heal=arrives):
            git.push(mark(cluster.sync, "during"), "a commit that must not arrive while Flux is down")
            cluster.always(not_marked("during"), during="45s", claims=CONTINUE)
            cluster.eventually(undisturbed(before, BUT), within="0s", claims=CONTINUE)
        cluster.eventually(inventory_is(owned), within="60s", claims=NO_LOSS)
    outage = CONTINUE.budget("outage")
    seen.outage_at_most(
        outage, "ingress", "ingress-tls", "service", failed_share=0, claims=CONTINUE, what="the app, outside and inside"
    )
    seen.outage_at_most(outage, "dns", "pods", failed_share=0, claims=CONTINUE, what="DNS and pod to pod")
    seen.outage_at_most(outage, "volume", failed_share=0, claims=CONTINUE, what="writers with a volume each")
    seen.no_acknowledged_write_lost(claims=NO_LOSS, what="the writers' volumes")
    seen.outage_at_most(
        CORE.budget("outage"),
        "ingress-itself",
        "dns",
        "pods",
        claims=CORE,
        what="core components while Flux is down",
    )


@needs(PodRuntime)
@claim(FOUR, DUAL)
def test_each_controller_returns_when_it_is_killed(cluster, faults):
    """All four are there; killed one by one, each comes back and is scraped again, and nothing is pruned."""
    cluster.eventually(tree_applied(), within="5m")
    cluster.eventually(controllers_ready(), within="60s")
    owned = inventory(cluster)
    cluster.negative_control(inventory_is(owned | {"flux-system:apps_absent__ConfigMap"}))
    cluster.negative_control(has_series('up{pod="absent"} == 1'))
    limit_s = 2 * scrape_interval_s(cluster)
    for name in CONTROLLERS:
        old = uids(cluster, name)
        cluster.negative_control(controller_replaced(name, old))
        with faults(controller_killed(name)):
            cluster.eventually(controller_replaced(name, old), within=FOUR.budget("back"), claims=FOUR)
            pod = next(
                p["metadata"]["name"]
                for p in cluster.objects.list("Pod", NAMESPACE, labels=f"app={name}")
                if p["metadata"]["uid"] not in old
            )
            cluster.eventually(
                has_series(f'up{{namespace="{NAMESPACE}", pod="{pod}"}} == 1'), within=limit_s, claims=DUAL
            )
        cluster.eventually(inventory_is(owned), within="60s", claims=FOUR)
