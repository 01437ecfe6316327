"""What Flux does with the tree while nothing is broken."""

import statistics

import pytest

from holdfast.bootstrap import SYSTEM, secret
from holdfast.claims import get
from holdfast.commits import mark
from holdfast.durations import seconds
from holdfast.gitserver import Key, Push
from holdfast.marks import claim
from holdfast.probes.flux import (
    REFUSED,
    at_revision,
    commit_status_written,
    fetched,
    lists,
    marked,
    reported,
    source_fails,
    source_ready,
    tree_applied,
)
from holdfast.probes.workloads import exists, has_replicas
from holdfast.waiting import first_seen

pytestmark = pytest.mark.smoke
RECONCILES, FLOW, SOURCE = get("flux-reconciles"), get("flow-gitops"), get("git-single-source")
PUSHES = 10
NOWHERE = Push("0" * 40, f"main@sha1:{'0' * 40}", "never pushed")


@claim("status-reported")
def test_status_is_reported_in_the_cluster_and_to_git(cluster, git):
    """Each Kustomization and release says Ready at the pushed revision; and the commit's status is written to the Git host."""
    cluster.steady(tree_applied(), within="5m")
    cluster.negative_control(at_revision(NOWHERE))
    push = git.push(mark(cluster.sync, "status"), "a commit whose status is looked for")
    cluster.eventually(at_revision(push), within="3m")
    cluster.eventually(commit_status_written(), within="0s")


@claim(SOURCE)
def test_drift_made_by_hand_is_reverted(cluster):
    """A scaled workload and a deleted object come back as Git has them, within one interval."""
    app = cluster.app
    kind, _, name = app.workload.partition("/")
    cluster.steady(tree_applied(), within="5m")
    wanted = cluster.objects.get(kind, name, app.namespace)["spec"]["replicas"]
    cluster.inject.scale(kind, name, app.namespace, wanted + 1)
    cluster.inject.delete("Service", app.service, app.namespace)
    scaled, there = has_replicas(app.workload, app.namespace, wanted), exists("Service", app.service, app.namespace)
    cluster.negative_control(scaled)
    cluster.negative_control(there)
    limit = SOURCE.budget("revert")
    cluster.eventually(there, within=limit)
    cluster.eventually(scaled, within=limit)


@claim(RECONCILES)
def test_pushes_are_applied_in_time(cluster, git, experiment):
    """Ten pushes at moments that don't follow the poll: each one's time from push to applied; median and worst."""
    cluster.steady(tree_applied(), within="5m")
    cluster.negative_control(marked("never pushed"))
    cluster.negative_control(lists("never-pushed"))
    limit_s, pushed = seconds(RECONCILES.budget("applied")), {}

    def push_and_look(at_s):
        """One push every 7.3 s; from then on it is looked for."""
        number = len(pushed)
        if number < PUSHES and at_s >= 7.3 * number:
            pushed[f"n{number}"] = at_s
            git.push(mark(cluster.sync, f"push-{number}", **dict.fromkeys(pushed, "pushed")), f"push {number}")
        return {key: lists(key) for key in pushed}

    found = first_seen(cluster, push_and_look, 80 + limit_s, count=PUSHES)
    took = [found.seen[key].at - pushed[key] for key in found.seen]
    in_time = len(took) == PUSHES and max(took) <= limit_s
    figure = (
        f"median {statistics.median(took):.1f}s, worst {max(took):.1f}s of {len(took)} pushes"
        if took
        else "none applied"
    )
    experiment.assertion(
        f"{PUSHES} pushes are applied",
        "lists",
        None if found.blind and not in_time else in_time,
        figure,
        figure=figure,
        budget=f"{limit_s:g}s each",
    )


@claim(FLOW)
def test_a_push_flows_through_every_step(cluster, git):
    """push → poll and fetch → build and apply → status: each step's time, in this order."""
    cluster.steady(tree_applied(), within="5m")
    cluster.negative_control(marked("never pushed"))
    cluster.negative_control(reported(NOWHERE))
    push = git.push(mark(cluster.sync, "flow"), "a commit that is followed")
    steps = {"fetched": fetched(push), "applied": marked("flow"), "reported": reported(push)}
    cluster.in_order("a push is fetched, applied and reported", steps, FLOW.budget("flow"))


@claim("git-over-ssh")
def test_flux_pulls_by_ssh_and_a_wrong_key_is_said(cluster, experiment):
    """The source is an SSH one with a key made for the run; the same source with another key fails, and says why."""
    cluster.steady(tree_applied(), within="5m")
    sync, objects = cluster.sync, cluster.objects
    there = objects.get("GitRepository", sync.source.name, sync.source.namespace)["spec"]
    good = objects.get("Secret", there["secretRef"]["name"], sync.source.namespace)
    assert there["url"].startswith("ssh://")
    known_hosts = __import__("base64").b64decode(good["data"]["known_hosts"]).decode()
    wrong = secret(SYSTEM, "wrong-key", {"identity": Key.make().private, "known_hosts": known_hosts})
    source = {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": "wrong-key", "namespace": SYSTEM},
        "spec": {
            "interval": "1m",
            "url": there["url"],
            "ref": {"branch": sync.branch},
            "secretRef": {"name": "wrong-key"},
        },
    }
    with cluster.inject.for_a_while():
        cluster.inject.create(wrong)
        cluster.inject.create(source)
        cluster.negative_control(source_fails(sync.source.name, sync.source.namespace, *REFUSED))
        cluster.negative_control(source_ready("wrong-key", SYSTEM))
        cluster.eventually(source_ready(sync.source.name, sync.source.namespace), within="30s")
        cluster.eventually(source_fails("wrong-key", SYSTEM, *REFUSED), within="60s")
