"""Apps that misbehave."""

from holdfast.claims import get
from holdfast.drivers.driver import PodRuntime
from holdfast.faults.apps import apps_misbehave
from holdfast.marks import claim, needs
from holdfast.probes.flux import tree_applied
from holdfast.probes.workloads import lives, undisturbed
from holdfast.sampling import agents
from holdfast.sampling.targets import api, dns, ingress, ingress_itself, pods, prometheus, service, volumes

ISOLATED, CORE = get("app-isolation"), get("core-always-available")


@needs(PodRuntime)
@claim(ISOLATED, CORE)
def test_apps_that_misbehave_do_not_affect_infrastructure(cluster, faults, sampler):
    """One app crash-loops, one eats memory, one floods its log: infrastructure and the other app lose no request, no pod restarts."""
    cluster.eventually(tree_applied(), within="5m")
    image = cluster.objects.get("DaemonSet", agents.NAME, agents.NAMESPACE)["spec"]["template"]["spec"]["containers"][
        0
    ]["image"]
    before = lives(cluster)
    cluster.negative_control(undisturbed({**before, "apps/absent": ("none", 0)}, ()))
    targets = (ingress(), ingress_itself(), service(), dns(), pods(), api(), prometheus(), volumes())
    with sampler.watch(*targets) as seen, faults(apps_misbehave(image)):
        seen.observe_for(45)
        cluster.eventually(undisturbed(before, ()), within="0s", claims=ISOLATED)
    limit = ISOLATED.budget("outage")
    seen.outage_at_most(
        limit,
        "ingress-itself",
        "dns",
        "pods",
        failed_share=0,
        claims=(ISOLATED, CORE),
        what="core components beside apps that misbehave",
    )
    seen.outage_at_most(
        limit,
        "api",
        "prometheus",
        "ingress",
        "service",
        failed_share=0,
        claims=ISOLATED,
        what="the API, core Prometheus and the other app",
    )
    seen.outage_at_most(limit, "volume", failed_share=0, claims=ISOLATED, what="the writers' volumes")
    seen.no_acknowledged_write_lost(claims=ISOLATED)
