"""Git away, or the key refused: what is there stays, and what was pushed meanwhile arrives by itself."""

import pytest

from holdfast.claims import get
from holdfast.commits import mark
from holdfast.durations import seconds
from holdfast.faults.git import git_host_down, git_key_refused
from holdfast.marks import claim
from holdfast.probes.flux import marked, tree_applied
from holdfast.probes.workloads import workload_ready

RECOVERY = get("auto-recovery")


@pytest.mark.parametrize("fault", [git_host_down, git_key_refused], ids=lambda f: f.__name__)
@claim(RECOVERY)
def test_a_commit_made_meanwhile_arrives_by_itself(cluster, faults, git, fault):
    """The source can't be fetched while a commit is pushed; once it can, nobody does anything, and the commit is applied."""
    cluster.eventually(tree_applied(), within="5m")
    app, name = cluster.app, fault.__name__.replace("_", "-")
    runs = workload_ready(app.workload, app.namespace)
    cluster.negative_control(workload_ready("Deployment/absent", app.namespace))
    cluster.negative_control(marked(name))
    poll_s = seconds(str(cluster.sync.source.spec["interval"]))
    with faults(fault()):
        git.push(mark(cluster.sync, name), "a commit that nobody can fetch yet")
        cluster.always(runs, during="5s", claims=RECOVERY)
        cluster.negative_control(marked(name))
    cluster.eventually(marked(name), within=poll_s + seconds(RECOVERY.budget("applied")), claims=RECOVERY)
