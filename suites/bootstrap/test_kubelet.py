"""What a kubelet doesn't start: the fact behind `holdfast check`'s rule on pods that need what nothing makes. Simulated pods can't show it."""

import secrets

import pytest

from holdfast.bootstrap import SYSTEM
from holdfast.drivers.driver import PodRuntime
from holdfast.marks import needs
from holdfast.probes.workloads import pod_ready, pod_waits
from holdfast.sampling import agents

# The pairs of fixtures/ whose invalid trees come to this; `holdfast check --rules` says so.
PROVES = (
    "missing-config",
    "missing-secret-by-a-slip",
    "near-certificate",
    "near-made-secret",
    "unread-layer",
    "unread-resource",
)


def pods(image, name):
    """A pod a way to need something, by the kind of that and the way."""
    ways = {
        ("configmap", "key"): {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": name, "key": "a"}}}]},
        ("configmap", "all"): {"envFrom": [{"configMapRef": {"name": name}}]},
        ("configmap", "volume"): {"volumes": [{"name": "data", "configMap": {"name": name}}]},
        ("secret", "key"): {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": name, "key": "a"}}}]},
        ("secret", "all"): {"envFrom": [{"secretRef": {"name": name}}]},
        ("secret", "volume"): {"volumes": [{"name": "data", "secret": {"secretName": name}}]},
    }
    for (kind, way), needed in ways.items():
        volumes = needed.pop("volumes", [])
        mounts = [{"name": "data", "mountPath": "/data"}] if volumes else []
        container = {
            "name": "main",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sleep", "3600"],
            "volumeMounts": mounts,
            **needed,
        }
        spec = {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": volumes,
        }
        meta = {"name": f"needs-{kind}-{way}-{name}", "namespace": SYSTEM}
        yield kind, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


@pytest.mark.smoke
@needs(PodRuntime)
def test_a_pod_that_needs_what_is_not_there_is_never_started(cluster):
    """A key, all keys, a volume, of a ConfigMap or a Secret that isn't there; the same pods start where it is."""
    sampler = cluster.objects.get("DaemonSet", agents.NAME, agents.NAMESPACE)
    image = sampler["spec"]["template"]["spec"]["containers"][0]["image"]
    absent, there = (f"{word}-{secrets.token_hex(3)}" for word in ("absent", "there"))
    cluster.negative_control(pod_ready("absent", SYSTEM))
    cluster.negative_control(pod_waits("absent", SYSTEM, "not found"))
    with cluster.inject.for_a_while():
        for kind in ("ConfigMap", "Secret"):
            data = {"data": {"a": "Yg=="}}
            cluster.inject.create(
                {"apiVersion": "v1", "kind": kind, "metadata": {"name": there, "namespace": SYSTEM}, **data}
            )
        for name in (absent, there):
            for _, pod in pods(image, name):
                cluster.inject.create(pod)
        for _, pod in pods(image, there):
            cluster.eventually(pod_ready(pod["metadata"]["name"], SYSTEM), within="60s")
        for kind, pod in pods(image, absent):
            words = f'{kind} "{absent}" not found'
            cluster.eventually(pod_waits(pod["metadata"]["name"], SYSTEM, words), within="60s")
