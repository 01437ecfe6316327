"""Faults of applications: apps of holdfast's own that misbehave."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.cluster import Cluster
from holdfast.drivers.driver import PodRuntime
from holdfast.faults.fault import fault
from holdfast.kube import Object
from holdfast.probes.workloads import misbehaves

NAMESPACE = "holdfast-misbehaving"
# name -> (what its container runs, its memory limit)
APPS = {
    "crash-loop": ("sleep 1; exit 1", "32Mi"),
    "memory-eater": ("python3 -c 'x = []\nwhile True: x.append(bytearray(1 << 20))'", "128Mi"),
    "log-flood": ("while :; do head -c 60000 /dev/zero | tr '\\0' 'x' | fold -w 120; sleep 0.02; done", "32Mi"),
}


def _app(name: str, image: str) -> Object:
    command, memory = APPS[name]
    labels = {"app": name}
    container = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", command],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "300m", "memory": memory}},
    }
    pod = {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1, "containers": [container]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


@fault(PodRuntime)
def apps_misbehave(cluster: Cluster, image: str) -> Iterator[None]:
    """Three apps, two pods each: one crashes again and again, one eats memory until it is killed, one floods its log.

    Args:
        image: one that the nodes have, with a shell and Python.
    """
    cluster.inject.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    for name in APPS:
        cluster.inject.create(_app(name, image))
    for name, how in (("crash-loop", "Error"), ("memory-eater", "OOMKilled"), ("log-flood", "")):
        cluster.eventually(misbehaves(name, NAMESPACE, how), within="90s")
    yield
    cluster.heal()
