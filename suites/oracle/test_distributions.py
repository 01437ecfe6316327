"""What distributions differ in, on real control planes: where a pod may go, and what a namespace without labels takes."""

import time

import pytest

from holdfast.drivers import distribution, kwok
from holdfast.kube import KubeClient, condition
from holdfast.rehearsal import folders

SPACE = "distribution-test"
WITHIN_S = 30


@pytest.fixture
def cluster_of():
    """Starts an empty control plane of a distribution, in a folder that is gone afterwards."""
    held, running = [], []

    def start(name):
        context = folders.held()
        folder = context.__enter__()
        held.append(context)
        driver = kwok.open(kwok.profiles()[-1], folder, "")
        driver.distribution = distribution.named(name)
        running.append(driver)
        driver.ensure_host()
        driver.up()
        client = KubeClient(driver.kubeconfig)
        client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
        return client

    yield start
    for driver in running:
        driver.down()
    for context in held:
        context.__exit__(None, None, None)


def deployment(name, **pod):
    labels = {"app": name}
    spec = {"containers": [{"name": "it", "image": "it", **pod.pop("container", {})}], **pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": SPACE, "name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }


def waited_for(look):
    limit = time.monotonic() + WITHIN_S
    while not (seen := look()):
        assert time.monotonic() < limit, "not within the time"
        time.sleep(0.2)
    return seen


def why_not(client, name):
    """Why a Deployment has no available pod: what its ReplicaSet was refused, or what the scheduler says; empty once it has one."""
    for item in client.list("Deployment"):
        if item["metadata"]["name"] == name and condition(item, "Available").get("status") == "True":
            return "available"
    for item in client.list("ReplicaSet"):
        if item["metadata"]["name"].startswith(f"{name}-") and (refused := condition(item, "ReplicaFailure")):
            return refused["message"]
    for item in client.list("Pod"):
        scheduled = condition(item, "PodScheduled")
        if item["metadata"]["name"].startswith(f"{name}-") and scheduled.get("status") == "False":
            return scheduled["message"]
    return ""


@pytest.mark.parametrize(
    ("name", "on_the_server", "privileged", "claim"),
    [
        ("k3s", "available", "available", "available"),
        ("vanilla", "untolerated taint", "available", "unbound immediate PersistentVolumeClaims"),
        ("talos", "untolerated taint", "violates PodSecurity", "unbound immediate PersistentVolumeClaims"),
    ],
)
def test_a_distribution_takes_what_it_takes(cluster_of, name, on_the_server, privileged, claim):
    client = cluster_of(name)
    client.apply(deployment("server", nodeSelector={"kubernetes.io/hostname": "k3s1"}))
    client.apply(deployment("root", container={"securityContext": {"privileged": True}}))
    client.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"namespace": SPACE, "name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
    )
    client.apply(deployment("disk", volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]))
    for what, wanted in (("server", on_the_server), ("root", privileged), ("disk", claim)):
        said = waited_for(lambda what=what: why_not(client, what))
        assert wanted in said, f"{what}: {said}"
    dns = waited_for(
        lambda: [
            d
            for d in client.list("Deployment")
            if d["metadata"]["name"] == "coredns" and condition(d, "Available").get("status") == "True"
        ]
    )
    assert len(dns) == 1
