"""What was stuck goes on by itself once its cause is gone."""

from holdfast.bootstrap import namespace
from holdfast.claims import get
from holdfast.commits import add, take_back
from holdfast.durations import seconds
from holdfast.marks import claim
from holdfast.probes.flux import tree_applied
from holdfast.probes.workloads import absent, exists

RECOVERY = get("auto-recovery")


@claim(RECOVERY)
def test_what_was_stuck_goes_on_once_its_cause_is_gone(cluster, git):
    """A commit asks for a namespace that there isn't, and all of its Kustomization is held back; the namespace comes, and nothing else is done."""
    cluster.steady(tree_applied(), within="5m")
    spec = cluster.sync.root.spec
    again_s = seconds(str(spec.get("retryInterval") or spec["interval"]))
    meta = {"name": "holdfast-later", "namespace": "holdfast-later"}
    late = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"made": "for a test"}}
    with cluster.inject.for_a_while():
        git.push(add(cluster.sync, "holdfast-later", late), "an object whose namespace comes later")
        try:
            cluster.negative_control(tree_applied(), within="2m")
            cluster.negative_control(exists("ConfigMap", "holdfast-later", "holdfast-later"))
            cluster.inject.create(namespace("holdfast-later"))
            limit_s = again_s + seconds(RECOVERY.budget("applied"))
            cluster.eventually(exists("ConfigMap", "holdfast-later", "holdfast-later"), within=limit_s)
            cluster.eventually(tree_applied(), within=limit_s)
            cluster.negative_control(absent("ConfigMap", "holdfast-later", "holdfast-later"))
        finally:
            git.push(take_back(cluster.sync, "holdfast-later"), "without it")
        cluster.eventually(absent("ConfigMap", "holdfast-later", "holdfast-later"), within="2m")
