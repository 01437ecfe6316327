"""What Flux does with the tree while nothing is broken."""

import statistics
import time

import pytest

from holdfast.bootstrap import SYSTEM, secret
from holdfast.commits import mark
from holdfast.durations import seconds
from holdfast.gitserver import Key, Push
from holdfast.marks import claim
from holdfast.plugin import budget
from holdfast.probes.flux import (
    MARKER,
    NAMESPACE,
    at_revision,
    commit_status_written,
    marked,
    source_fails,
    source_ready,
    tree_applied,
)
from holdfast.probes.workloads import exists, has_replicas

pytestmark = pytest.mark.smoke
NOWHERE = Push("0" * 40, f"main@sha1:{'0' * 40}", "never pushed")


@claim("status-reported")
def test_status_is_reported_in_the_cluster_and_to_git(cluster, git):
    """Each Kustomization and release says Ready at the pushed revision; and the commit's status is written to the Git host."""
    cluster.steady(tree_applied(), within="5m")
    cluster.negative_control(at_revision(NOWHERE))
    push = git.push(mark(cluster.sync, "status"), "a commit whose status is looked for")
    cluster.eventually(at_revision(push), within="3m")
    cluster.eventually(commit_status_written(), within="0s")


@claim("git-single-source")
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
    limit = budget("git-single-source", "revert")
    cluster.eventually(there, within=limit)
    cluster.eventually(scaled, within=limit)


@claim("flux-reconciles")
def test_pushes_are_applied_in_time(cluster, git, experiment):
    """Ten pushes at moments that don't follow the poll: each one's time from push to applied; median and worst."""
    cluster.steady(tree_applied(), within="5m")
    cluster.negative_control(marked("never pushed"))
    limit_s, pushed, applied = seconds(budget("flux-reconciles", "applied")), {}, {}
    begin = time.monotonic()
    while len(applied) < 10 and time.monotonic() < begin + 80 + limit_s:
        if len(pushed) < 10 and time.monotonic() >= begin + 7.3 * len(pushed):
            number = len(pushed)
            pushed[number] = time.monotonic()
            git.push(mark(cluster.sync, f"push-{number}", **{f"n{i}": "pushed" for i in pushed}), f"push {number}")
        found = cluster.objects.get("ConfigMap", MARKER, NAMESPACE) or {}
        for number in pushed:
            if f"n{number}" in (found.get("data") or {}):
                applied.setdefault(number, time.monotonic())
        time.sleep(0.2)
    took = [applied[n] - pushed[n] for n in applied]
    figure = (
        f"median {statistics.median(took):.1f}s, worst {max(took):.1f}s of {len(took)} pushes"
        if took
        else "none applied"
    )
    experiment.assertion(
        "10 pushes are applied",
        "marked",
        len(took) == 10 and max(took) <= limit_s,
        figure,
        figure=figure,
        budget=f"{limit_s:g}s each",
    )


@claim("flow-gitops")
def test_a_push_flows_through_every_step(cluster, git, experiment):
    """push → poll and fetch → build and apply → status: each step's time, in this order."""
    cluster.steady(tree_applied(), within="5m")
    cluster.negative_control(marked("never pushed"))
    limit_s = seconds(budget("flow-gitops", "flow"))
    push, began, at = git.push(mark(cluster.sync, "flow"), "a commit that is followed"), time.monotonic(), {}
    root, source = cluster.sync.root, cluster.sync.source

    def steps():
        status = cluster.objects.get("GitRepository", source.name, source.namespace).get("status") or {}
        yield "fetched", (status.get("artifact") or {}).get("revision") == push.revision
        found = cluster.objects.get("ConfigMap", MARKER, NAMESPACE) or {}
        yield "applied", (found.get("data") or {}).get("marker") == "flow"
        status = cluster.objects.get("Kustomization", root.name, root.namespace).get("status") or {}
        yield "reported", status.get("lastAppliedRevision") == push.revision

    while len(at) < 3 and time.monotonic() - began < limit_s:
        for name, done in steps():
            if done:
                at.setdefault(name, time.monotonic() - began)
    experiment.write("flow", push=push.commit, steps={name: round(s, 2) for name, s in at.items()})
    figure = ", ".join(f"{name} +{s:.1f}s" for name, s in at.items()) or "nothing happened"
    held = list(at) == ["fetched", "applied", "reported"]
    experiment.assertion(
        "a push is fetched, applied and reported, in this order",
        "marked",
        held,
        figure,
        figure=figure,
        budget=f"{limit_s:g}s",
    )


@claim("git-over-ssh")
def test_flux_pulls_by_ssh_and_a_wrong_key_is_said(cluster, experiment):
    """The source is an SSH one with a key made for the run; the same source with another key fails, and says why."""
    cluster.steady(tree_applied(), within="5m")
    sync, objects = cluster.sync, cluster.objects
    good = objects.get("Secret", sync.source.spec["secretRef"]["name"], sync.source.namespace)
    assert sync.url.startswith("ssh://")
    known_hosts = __import__("base64").b64decode(good["data"]["known_hosts"]).decode()
    wrong = secret(SYSTEM, "wrong-key", {"identity": Key.make().private, "known_hosts": known_hosts})
    source = {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": "wrong-key", "namespace": SYSTEM},
        "spec": {
            "interval": "1m",
            "url": sync.url,
            "ref": {"branch": sync.branch},
            "secretRef": {"name": "wrong-key"},
        },
    }
    with cluster.inject.for_a_while():
        cluster.inject.create(wrong)
        cluster.inject.create(source)
        cluster.negative_control(source_fails(sync.source.name, sync.source.namespace, "denied"))
        cluster.negative_control(source_ready("wrong-key", SYSTEM))
        cluster.eventually(source_ready(sync.source.name, sync.source.namespace), within="30s")
        cluster.eventually(source_fails("wrong-key", SYSTEM, "denied"), within="60s")
