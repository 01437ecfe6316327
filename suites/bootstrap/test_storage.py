"""Volumes: how one comes about, whether it keeps its data, and what it says where it can't."""

import secrets

import pytest

from holdfast.bootstrap import SYSTEM
from holdfast.claims import get
from holdfast.drivers.driver import NodeShell
from holdfast.errors import NotExercised
from holdfast.marks import claim, needs
from holdfast.probes.flux import tree_applied
from holdfast.probes.longhorn import (
    attached,
    blocks_on,
    claim_bound,
    claim_says,
    is_on_volume,
    provisioned,
    storage_ready,
)
from holdfast.probes.workloads import pod_ready, pod_waits
from holdfast.sampling import agents

FLOW, CSI = get("flow-storage"), get("longhorn-csi")


@pytest.fixture
def volume(cluster):
    """Makes claims and pods of volumes, and takes all of them away; their names are this test's alone."""
    token, claims, objects, component = secrets.token_hex(3), [], cluster.objects, cluster.settings.storage
    image = objects.get("DaemonSet", agents.NAME, agents.NAMESPACE)["spec"]["template"]["spec"]["containers"][0][
        "image"
    ]

    class Volume:
        def name(self, word):
            return f"{word}-{token}"

        def ask(self, word, size="64Mi"):
            name = self.name(word)
            claims.append(name)
            cluster.inject.create(
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": {"name": name, "namespace": SYSTEM},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "storageClassName": component.storage_class,
                        "resources": {"requests": {"storage": size}},
                    },
                }
            )
            return name

        def mount(self, word, node, claim_name, command="true"):
            name = self.name(word)
            container = {
                "name": "main",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", f"{command}; touch /tmp/done; exec sleep 3600"],
                "readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/done"]}, "periodSeconds": 1},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
            cluster.inject.create(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": name, "namespace": SYSTEM},
                    "spec": {
                        "nodeSelector": {"kubernetes.io/hostname": node},
                        "terminationGracePeriodSeconds": 1,
                        "automountServiceAccountToken": False,
                        "containers": [container],
                        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim_name}}],
                    },
                }
            )
            return name

        def leave(self, name):
            cluster.inject.delete_pod(name, SYSTEM, grace_s=0)

    yield Volume()
    for name in claims:
        claimed = objects.get("PersistentVolumeClaim", name, SYSTEM)
        if claimed and claimed["spec"].get("volumeName"):  # a class may keep what its claim has left
            keep = {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}
            cluster.inject.patch_own("PersistentVolume", claimed["spec"]["volumeName"], None, keep)
    cluster.heal()


@pytest.mark.smoke
@needs(NodeShell)
@claim(FLOW, CSI)
def test_a_claim_becomes_a_volume_that_keeps_its_data(cluster, volume):
    """Claim → volume → bound → attached → mounted, in this order; what was written is read back after a restart and on the other node."""
    cluster.steady(tree_applied(), within="5m")
    cluster.steady(storage_ready(), within="60s")
    first, second = (node.name for node in cluster.nodes()[:2])
    cluster.negative_control(pod_ready("absent", SYSTEM))
    cluster.negative_control(is_on_volume("absent", SYSTEM, "data", "what nobody wrote"))
    asked = volume.ask("volume")
    pod = volume.mount("one", first, asked, "echo what was written > /data/data && sync /data/data")
    steps = {
        "provisioned": provisioned(asked, SYSTEM),
        "bound": claim_bound(asked, SYSTEM),
        "attached": attached(asked, SYSTEM),
        "mounted": pod_ready(pod, SYSTEM),
    }
    cluster.in_order("a claim is provisioned, bound, attached and mounted", steps, FLOW.budget("flow"))
    cluster.eventually(is_on_volume(pod, SYSTEM, "data", "what was written"), within="10s")
    for word, node, within in (("again", first, "60s"), ("elsewhere", second, "90s")):
        volume.leave(pod)
        pod = volume.mount(word, node, asked)
        cluster.eventually(pod_ready(pod, SYSTEM), within=within)
        cluster.eventually(is_on_volume(pod, SYSTEM, "data", "what was written"), within="10s")


@needs(NodeShell)
@claim(CSI)
def test_what_cannot_be_is_said(cluster, volume):
    """A claim larger than any disk, two nodes for one volume, a volume that is full: each ends in words, and nothing hangs."""
    cluster.steady(storage_ready(), within="2m")
    first, second = (node.name for node in cluster.nodes()[:2])
    cluster.negative_control(claim_says("absent", SYSTEM, "storage"))
    cluster.negative_control(pod_waits("absent", SYSTEM, "Multi-Attach"))
    cluster.negative_control(pod_ready("absent", SYSTEM))
    cluster.negative_control(is_on_volume("absent", SYSTEM, "data", "what nobody wrote"))
    cluster.eventually(claim_says(volume.ask("too-large", "900Ti"), SYSTEM, "storage"), within="30s")
    asked = volume.ask("volume")
    fill = "(dd if=/dev/zero of=/data/fill bs=1M && exit 1); rm /data/fill && echo kept > /data/data && sync /data/data"
    one = volume.mount("one", first, asked, fill)
    cluster.eventually(
        pod_ready(one, SYSTEM), within="90s"
    )  # it met 'No space left', took the file away, and writes again
    cluster.eventually(is_on_volume(one, SYSTEM, "data", "kept"), within="10s")
    two = volume.mount("two", second, asked)
    cluster.eventually(pod_waits(two, SYSTEM, "Multi-Attach"), within="60s")
    volume.leave(one)
    cluster.eventually(pod_ready(two, SYSTEM), within="3m")
    cluster.eventually(is_on_volume(two, SYSTEM, "data", "kept"), within="10s")


@needs(NodeShell)
@claim(CSI)
def test_a_full_disk_loses_nothing_that_was_acknowledged(cluster, volume):
    """The disk behind a volume is full before the volume is: the writer is told, what was acknowledged stays, and with room it goes on."""
    if "longhorn" not in cluster.stand_ins:
        raise NotExercised("a real Longhorn's disk isn't filled by a test")
    cluster.steady(storage_ready(), within="2m")
    cluster.negative_control(pod_ready("absent", SYSTEM))
    cluster.negative_control(is_on_volume("absent", SYSTEM, "data", "what nobody wrote"))
    cluster.negative_control(claim_bound("absent", SYSTEM))
    asked = volume.ask("small-disk")
    cluster.eventually(claim_bound(asked, SYSTEM), within="60s")
    name, home = (
        cluster.objects.get("PersistentVolumeClaim", asked, SYSTEM)["spec"]["volumeName"],
        blocks_on(cluster, asked, SYSTEM),
    )
    host, disk = cluster.host(home), f"/var/lib/longhorn/replicas/{name}"
    cluster.inject.mount_memory(home, disk, "24m")  # this volume's disk, a third of its size
    fill = "dd if=/dev/zero of=/data/fill bs=1M count=48 conv=fsync && exit 1"
    full = volume.mount("full", home, asked, f"echo kept > /data/data && sync /data/data; {fill}")
    cluster.eventually(pod_ready(full, SYSTEM), within="90s")  # it was told so: the write failed
    volume.leave(full)
    host.check_output(f"mount -o remount,size=200m {disk}")
    again = volume.mount("again", home, asked, "echo more > /data/more && sync /data/more")
    cluster.eventually(pod_ready(again, SYSTEM), within="90s")
    for file, text in (("data", "kept"), ("more", "more")):
        cluster.eventually(is_on_volume(again, SYSTEM, file, text), within="10s")
