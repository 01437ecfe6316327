"""What is said of a cluster that nobody disturbs. The last file of its folder: the work of the others is the daily work that it asks about."""

import time

from holdfast.bootstrap import SYSTEM
from holdfast.claims import get
from holdfast.drivers.driver import PodRuntime
from holdfast.durations import seconds
from holdfast.marks import claim, needs
from holdfast.probes.flux import tree_applied
from holdfast.probes.monitoring import alert_rule, has_series, no_alert_fired, scrape_interval_s, scraped_without_gap
from holdfast.waiting import always


@needs(PodRuntime)
@claim("gitops-health-monitored")
def test_no_alert_fires_while_no_fault_is_in(cluster, experiment):
    """Ten minutes without a fault - commits, drift put back, volumes made and filled -: no alert fires, but on what the lane itself suspends.

    They begin soon after the cluster became steady, or the last fault was over: what Prometheus has kept of them counts, the rest is waited for.
    """
    cluster.steady(tree_applied(), within="5m")
    cleared_s = (
        scrape_interval_s(cluster) + 2 * alert_rule(cluster, "FluxSuspended").every_s
    )  # what fired before may take so long to clear
    begin, quiet_s, up = (
        cluster.calm_since + cleared_s,
        seconds(get("gitops-health-monitored").budget("quiet")),
        f'up{{namespace!="{SYSTEM}"}}',
    )
    own = tuple(c.name for c in cluster.settings.adaptations if c.suspends)
    cluster.negative_control(has_series("absent"))
    cluster.negative_control(
        no_alert_fired(begin), within="2m"
    )  # what the lane suspends is alerted on: the probe sees that
    cluster.negative_control(scraped_without_gap(up, begin, time.time() + 1000))
    cluster.eventually(has_series("ALERTS"), within="30s")
    wait = always(cluster, no_alert_fired(begin, own), max(0.0, begin + quiet_s - time.time()), every_s=15)
    took = f"{time.time() - begin:.0f}s"
    if wait.held:  # and all the time there was something to alert on
        cluster.steady(scraped_without_gap(up, begin, time.time()), within="0s")
    experiment.assertion(
        "no alert fires without a fault",
        "no_alert_fired",
        wait.held,
        f"none fired in {took}" if wait.held else wait.last,
        figure=took,
        budget=f"{quiet_s:g}s",
    )
