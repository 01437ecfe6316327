"""Longhorn down, in three degrees; and brought back by Flux."""

import secrets
import time

import pytest

from holdfast.bootstrap import SYSTEM
from holdfast.claims import get
from holdfast.commits import add_copy, remove
from holdfast.drivers.driver import NodeShell
from holdfast.durations import seconds
from holdfast.faults.longhorn import (
    longhorn_control_plane_down,
    longhorn_data_plane_down,
    longhorn_gone,
    longhorn_workloads_deleted,
)
from holdfast.kube import name_of
from holdfast.marks import claim, needs
from holdfast.probes.blast import hit, predicted
from holdfast.probes.flux import tree_applied
from holdfast.probes.longhorn import storage_ready, volumes_work, workloads
from holdfast.probes.monitoring import scraped_without_gap
from holdfast.probes.releases import hook, job_failed
from holdfast.probes.workloads import absent, workload_ready, workloads_ready
from holdfast.sampling.targets import api, dns, ingress, ingress_itself, pods, prometheus, service, volumes
from holdfast.waiting import Unproven

CONTINUE, CASCADE, CORE = (
    get("longhorn-down-core-continues"),
    get("storage-does-not-cascade"),
    get("core-always-available"),
)
EPHEMERAL, REDEPLOY, BY_FLUX = get("monitoring-ephemeral"), get("longhorn-redeploy"), get("longhorn-by-flux")
NO_FILE = "absent/file"


@needs(NodeShell)
@claim(CONTINUE, CASCADE, CORE, EPHEMERAL)
@pytest.mark.parametrize(
    "degree",
    [
        pytest.param(longhorn_control_plane_down, id="control-plane"),
        pytest.param(longhorn_data_plane_down, id="data-plane", marks=pytest.mark.smoke),
        pytest.param(longhorn_gone, id="everything"),
    ],
)
def test_all_but_apps_with_volumes_continue_while_longhorn_is_down(
    cluster, faults, sampler, git, run, experiment, degree
):
    """Core and stateless apps lose no request, a commit still brings one more app up, and no acknowledged record is lost."""
    app, component = cluster.app, cluster.settings.storage
    _steady(cluster)
    kind, _, name = app.workload.partition("/")
    added = f"{name}-added"
    cluster.eventually(absent(kind, added, app.namespace), within="2m")  # what a degree before it may have left
    cluster.negative_control(workload_ready(f"{kind}/{added}", app.namespace))
    cluster.negative_control(absent(kind, name, app.namespace))
    foreseen, except_ = predicted(run.checked.tree, component.namespace), frozenset([SYSTEM, component.namespace])
    cluster.eventually(workloads_ready(), within="2m")
    broken = hit(cluster, except_, NO_FILE)
    experiment.negative_control(
        "blast",
        bool(broken),
        f"with volumes that can't be written it names {', '.join(sorted(broken))}" if broken else "it named nothing",
    )
    cluster.negative_control(scraped_without_gap("up", time.time() - 60, time.time() + 1000))
    targets = (ingress(), ingress(tls=True), ingress_itself(), service(), dns(), pods(), api(), prometheus(), volumes())
    with sampler.watch(*targets) as seen, faults(degree(), recovery="4m"):
        git.push(add_copy(kind, name, added), "one more stateless app while storage is down")
        try:
            cluster.eventually(
                workload_ready(f"{kind}/{added}", app.namespace), within=CASCADE.budget("applied"), claims=CASCADE
            )
            seen.observe_for(10)
            experiment.blast(component.namespace, foreseen, hit(cluster, except_), CONTINUE)
        finally:
            git.push(remove(kind, added), "without it again")
    limit, when = CONTINUE.budget("outage"), f"storage down ({experiment.history[-1].text})"
    seen.outage_at_most(
        limit,
        "ingress",
        "ingress-tls",
        "service",
        failed_share=0,
        claims=(CONTINUE, CASCADE),
        what=f"the stateless app, {when}",
    )
    seen.outage_at_most(limit, "api", failed_share=0, claims=CONTINUE, what=f"the API, {when}")
    seen.outage_at_most(
        limit,
        "ingress-itself",
        "dns",
        "pods",
        failed_share=0,
        claims=(CONTINUE, CORE),
        what=f"core components, {when}",
    )
    seen.outage_at_most(
        limit, "prometheus", failed_share=0, claims=(CONTINUE, EPHEMERAL), what=f"core Prometheus, {when}"
    )
    seen.no_acknowledged_write_lost(claims=CONTINUE, what=f"the writers' volumes, {when}")
    cluster.eventually(absent(kind, added, app.namespace), within="3m", claims=CASCADE)
    elsewhere = f'up{{namespace!~"{component.namespace}|{SYSTEM}"}}'
    cluster.eventually(scraped_without_gap(elsewhere, seen.begin, seen.end), within="0s", claims=(CONTINUE, EPHEMERAL))


@needs(NodeShell)
@claim(REDEPLOY, BY_FLUX, CORE)
def test_longhorn_is_brought_back_by_flux(cluster, faults, sampler, experiment):
    """Its workloads and all its pods deleted: Flux brings them back, volumes work again, no acknowledged record is lost, core sees nothing."""
    _steady(cluster)
    names = frozenset(name_of(item) for item in workloads(cluster))
    targets = (ingress(), ingress_itself(), service(), dns(), pods(), volumes())
    with sampler.watch(*targets) as seen, faults(longhorn_workloads_deleted(), recovery="5m"):

        def left_s(claim):
            """Of a budget that began when the workloads were deleted."""
            since_s = time.time() - experiment.history[-1].injected
            return max(0.0, round(seconds(claim.budget("back")) - since_s, 1))

        cluster.eventually(storage_ready(names=names), within=left_s(BY_FLUX), claims=BY_FLUX)
        cluster.eventually(volumes_work(), within=left_s(REDEPLOY), claims=REDEPLOY)
    seen.outage_at_most(
        REDEPLOY.budget("outage"),
        "ingress-itself",
        "dns",
        "pods",
        failed_share=0,
        claims=(REDEPLOY, CORE),
        what="core components while storage is redeployed",
    )
    seen.outage_at_most(
        REDEPLOY.budget("outage"),
        "ingress",
        "service",
        failed_share=0,
        claims=REDEPLOY,
        what="the stateless app meanwhile",
    )
    seen.outage_at_most(REDEPLOY.budget("back"), "volume", claims=REDEPLOY, what="the writers' volumes")
    seen.no_acknowledged_write_lost(claims=(REDEPLOY, BY_FLUX))
    _uninstall_is_refused(cluster)


def _uninstall_is_refused(cluster):
    """What helm runs before it deletes the release, run without deleting it: it must refuse, or every volume would go."""
    component, name = cluster.settings.storage, f"holdfast-uninstall-{secrets.token_hex(3)}"
    job = hook(cluster, component.release, component.namespace, "pre-delete")
    setting = cluster.objects.get("Setting", "deleting-confirmation-flag", component.namespace)
    if not job or not setting or setting["value"] != "false":
        raise Unproven(
            "the release has no pre-delete hook, or its deleting-confirmation-flag isn't false: running it would destroy data"
        )
    job["metadata"] = {"name": name, "namespace": component.namespace}
    cluster.negative_control(job_failed(name, component.namespace, "deleting-confirmation-flag"))
    with cluster.inject.for_a_while():
        cluster.inject.create(job)
        cluster.eventually(
            job_failed(name, component.namespace, "deleting-confirmation-flag"), within="60s", claims=REDEPLOY
        )


def _steady(cluster):
    cluster.eventually(tree_applied(), within="5m")
    cluster.eventually(storage_ready(), within="2m")
    cluster.eventually(volumes_work(), within="60s")
    cluster.negative_control(storage_ready("absent"))
    cluster.negative_control(volumes_work(NO_FILE))
