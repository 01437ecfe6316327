"""The cluster is gone, and a new one is made of nothing but Git. The last of its folder: what comes after it has the new cluster."""

from holdfast.claims import get
from holdfast.marks import claim
from holdfast.probes.contents import contents, contents_are, not_in_git
from holdfast.probes.flux import tree_applied
from holdfast.waiting import eventually

REBUILD = get("rebuild-from-git")


@claim(REBUILD)
def test_a_new_cluster_made_from_git_alone_is_the_same(run, cluster, experiment):
    """Destroyed, and made anew: every object that Flux applied is there again with the same fields, and every workload is ready.

    What Git doesn't hold is said: Secrets that were made by hand, and what was in volumes.
    """
    cluster.steady(tree_applied(), within="5m")
    before = contents(cluster)
    cluster.negative_control(contents_are({**before, "ConfigMap/default/never-made": "0"}))
    cluster.negative_control(contents_are(dict.fromkeys(before, "another one")))
    new = run.rebuild()
    wait = eventually(new, contents_are(before), REBUILD.budget("same"))
    lacking = "; ".join(not_in_git(new)) or "nothing"
    experiment.assertion(
        "the new cluster's inventory is the old one's",
        "contents_are",
        wait.held,
        f"{len(before)} objects are the same; not in Git: {lacking}" if wait.held else wait.last,
        figure=f"{len(before)} objects, steady after {run.steady_after_s:.0f}s",
        budget=REBUILD.budget("same"),
        claims=REBUILD,
    )
