"""What is said of a cluster that nobody disturbs. The last file of its folder: the work of the others is the daily work that it asks about."""

import time

from holdfast.claims import claim
from holdfast.durations import seconds
from holdfast.plugin import budget
from holdfast.probes.flux import tree_applied
from holdfast.probes.monitoring import has_series, no_alert_fired, scraped_without_gap
from holdfast.waiting import always


@claim("gitops-health-monitored")
def test_no_alert_fires_while_no_fault_is_in(cluster, arc):
    """Ten minutes without a fault - commits, drift put back, volumes made and filled -: no alert fires, but on what the lane itself suspends.

    They begin where the cluster became steady, or where the last fault was over: what Prometheus has kept of them counts, the rest is waited for.
    """
    cluster.steady(tree_applied(), within="5m")
    begin, quiet_s, up = cluster.calm_since, seconds(budget("gitops-health-monitored", "quiet")), 'up{namespace="flux-system"}'
    own = tuple(c.name for c in cluster.adaptations.changes if c.set.get("/spec/suspend") is True)
    cluster.canary(has_series("absent"))
    cluster.canary(no_alert_fired(begin), within="2m")   # what the lane suspends is alerted on: the probe sees that
    cluster.canary(scraped_without_gap(up, begin, time.time() + 1000))
    cluster.eventually(has_series("ALERTS"), within="30s")
    wait = always(cluster, no_alert_fired(begin, own), max(0.0, begin + quiet_s - time.time()), every_s=15)
    took = f"{time.time() - begin:.0f}s"
    cluster.steady(scraped_without_gap(up, begin, time.time()), within="0s")   # and all the time there was something to alert on
    arc.promise("no alert fires without a fault", "no_alert_fired", wait.held, f"none fired in {took}" if wait.held else wait.last, figure=took,
                budget=f"{quiet_s:g}s")
