"""The storage system: its pods, its volumes, and whether what is mounted can be written."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.cluster import Cluster
from holdfast.drivers.driver import NodeLook
from holdfast.kube import Object, condition, name_of
from holdfast.probes.workloads import lacks, said_of
from holdfast.waiting import HOLDS, Sighting, probe

DATA_PLANE = "longhorn.io/component=instance-manager"  # Longhorn's own label for the pods that serve blocks
KINDS = ("Deployment", "DaemonSet", "StatefulSet")
# A flushed write beside the app's own files, taken away again; the words of what went wrong, or nothing.
_FILE = ".holdfast-look"
_WRITE = "f='{path}/{file}'; timeout 5 sh -c \"echo look > '$f' && sync '$f' && rm '$f'\" 2>&1 || echo failed"

_LONGHORN = "longhorn.io/v1beta2"


def workloads(cluster: Cluster, namespace: str = "") -> list[Object]:
    """The workloads of the storage system's namespace (or of another one)."""
    return [
        item for kind in KINDS for item in cluster.objects.list(kind, namespace or cluster.settings.storage.namespace)
    ]


def pods(cluster: Cluster, *, data_plane: bool) -> list[str]:
    """The names of the storage system's pods that exist: those that serve blocks, or all the others."""
    namespace = cluster.settings.storage.namespace
    serving = {p["metadata"]["name"] for p in cluster.objects.list("Pod", namespace, labels=DATA_PLANE)}
    if data_plane:
        return sorted(serving)
    return sorted(
        p["metadata"]["name"] for p in cluster.objects.list("Pod", namespace) if p["metadata"]["name"] not in serving
    )


@probe
def no_control_plane_pod(cluster: Cluster) -> Sighting:
    """No pod of the storage system but those that serve blocks exists, seen at the pods and not at what was scaled."""
    left = pods(cluster, data_plane=False)
    return f"still there: {', '.join(left)}" if left else HOLDS


@probe
def no_data_plane_pod(cluster: Cluster) -> Sighting:
    """No pod that serves blocks exists."""
    left = pods(cluster, data_plane=True)
    return f"still there: {', '.join(left)}" if left else HOLDS


@probe
def storage_ready(cluster: Cluster, namespace: str = "", names: frozenset[str] = frozenset()) -> Sighting:
    """The storage system's workloads are there (those of *names*, written Kind/namespace/name, too) and ready, and so is a pod that serves
    blocks on every node.
    """
    items = workloads(cluster, namespace)
    if gone := sorted(names - {name_of(item) for item in items}):
        return f"{gone[0]} is not there"
    if why := next((why for item in items if (why := lacks(item))), ""):
        return why
    if not any(item["kind"] == "DaemonSet" for item in items):
        return f"no DaemonSet in {namespace or cluster.settings.storage.namespace}"
    serving = cluster.objects.list("Pod", cluster.settings.storage.namespace, labels=DATA_PLANE)
    lacking = len(cluster.nodes()) - sum(condition(p, "Ready").get("status") == "True" for p in serving)
    return f"{lacking} nodes have no pod that serves blocks" if lacking > 0 else HOLDS


@dataclass(frozen=True)
class Mount:
    """A volume of the storage system that is mounted into a pod: where, and for whom."""

    node: str
    path: str
    volume: str
    pod_uid: str


def mounts(cluster: Cluster) -> list[Mount]:
    """What kubelet has mounted into pods, read on the nodes themselves."""
    driver = cluster.settings.storage.driver
    own = {
        v["metadata"]["name"]
        for v in cluster.objects.list("PersistentVolume")
        if (v["spec"].get("csi") or {}).get("driver") == driver
    }
    found = []
    for node in cluster.nodes():
        for line in cluster.host(node.name).check_output("cat /proc/mounts").splitlines():
            path = line.split()[1]
            parts = path.split("/")
            if "kubernetes.io~csi" in parts and parts[-1] == "mount" and parts[-2] in own:
                found.append(Mount(node.name, path, parts[-2], parts[-5]))
    return found


def written(cluster: Cluster, file: str = _FILE) -> list[tuple[Mount, str]]:
    """Each mounted volume with what a flushed write of a file in it met: empty where it went well."""
    by_node: dict[str, list[Mount]] = {}
    for mount in mounts(cluster):
        by_node.setdefault(mount.node, []).append(mount)
    found = []
    for node, on in by_node.items():
        script = "; ".join(f"echo '## '; {_WRITE.format(path=m.path, file=file)}" for m in on)
        said = cluster.host(node).run(script).stdout.split("## \n")[1:]
        found += [(mount, words.strip().replace("\n", " ")[-120:]) for mount, words in zip(on, said, strict=True)]
    return found


@probe
def volumes_fail(cluster: Cluster) -> Sighting:
    """A flushed write to each mounted volume fails: an I/O error on the node, apart from whoever uses the volume."""
    found = written(cluster)
    good = [mount.volume for mount, why in found if not why]
    if not found:
        return "no volume of the storage system is mounted"
    return f"{len(good)} of {len(found)} mounted volumes can be written: {good[0]}" if good else HOLDS


@probe
def volumes_work(cluster: Cluster, file: str = _FILE) -> Sighting:
    """A flushed write to each mounted volume goes well."""
    found = written(cluster, file)
    bad = [f"{mount.volume} on {mount.node}: {why}" for mount, why in found if why]
    return bad[0] if bad else HOLDS if found else "no volume of the storage system is mounted"


@probe
def claim_says(cluster: Cluster, name: str, namespace: str, word: str) -> Sighting:
    """A claim isn't bound, and an event about it says why, with a word in it."""
    found = cluster.objects.get("PersistentVolumeClaim", name, namespace)
    said = said_of(cluster, "PersistentVolumeClaim", name, namespace)
    if not found or (found.get("status") or {}).get("phase") == "Bound":
        return f"{namespace}/{name} is {'bound' if found else 'not there'}"
    return (
        HOLDS
        if any(word in one for one in said)
        else f"the events about {namespace}/{name} say: {'; '.join(said)[-160:] or 'nothing'}"
    )


@probe
def is_on_volume(cluster: Cluster, pod: str, namespace: str, file: str, text: str) -> Sighting:
    """A file of the volume that a pod has mounted holds this text, read on the pod's node."""
    found = cluster.objects.get("Pod", pod, namespace)
    mount = next((m for m in mounts(cluster) if found and m.pod_uid == found["metadata"]["uid"]), None)
    if not mount:
        return f"{namespace}/{pod} has no volume mounted"
    read = cluster.host(mount.node).run(f"cat '{mount.path}/{file}'")
    return (
        HOLDS
        if read.stdout.strip() == text
        else f"{file} on the volume of {pod} says '{(read.stdout or read.stderr).strip()[:80]}'"
    )


@probe
def storage_never_ready(cluster: Cluster) -> Sighting:
    """The storage system's workloads are there, and no container of them has ever started."""
    namespace = cluster.settings.storage.namespace
    found = [
        s
        for p in cluster.objects.list("Pod", namespace)
        for s in (p.get("status") or {}).get("containerStatuses") or []
    ]
    started = [s["name"] for s in found if s.get("started") or s.get("lastState")]
    if not found:
        return f"there is no container in {namespace} yet"
    return f"{started[0]} in {namespace} has started" if started else HOLDS


def _volume_of(cluster: Cluster, claim: str, namespace: str) -> str:
    """The name that a provisioner gives the volume of a claim; empty while there is no claim."""
    found = cluster.objects.get("PersistentVolumeClaim", claim, namespace)
    return f"pvc-{found['metadata']['uid']}" if found else ""


@probe
def provisioned(cluster: Cluster, claim: str, namespace: str) -> Sighting:
    """A volume was made for a claim."""
    volume = _volume_of(cluster, claim, namespace)
    return HOLDS if volume and cluster.objects.get("PersistentVolume", volume) else f"{claim} has no volume"


@probe
def attached(cluster: Cluster, claim: str, namespace: str) -> Sighting:
    """The volume of a claim is attached to a node."""
    volume = _volume_of(cluster, claim, namespace)
    for item in cluster.objects.list("VolumeAttachment"):
        of_claim = item["spec"]["source"].get("persistentVolumeName") == volume
        if of_claim and (item.get("status") or {}).get("attached"):
            return HOLDS
    return f"the volume of {claim} is attached to no node"


@probe
def nothing_attached(cluster: Cluster, node: str) -> Sighting:
    """No volume is attached to a node, and none is on its way there or off it."""
    held = [
        str(a["spec"]["source"].get("persistentVolumeName"))
        for a in cluster.objects.list("VolumeAttachment")
        if a["spec"].get("nodeName") == node
    ]
    return f"still attached to {node}: {', '.join(sorted(held)[:5])}" if held else HOLDS


@probe
def claim_bound(cluster: Cluster, name: str, namespace: str) -> Sighting:
    """A claim has its volume."""
    found = cluster.objects.get("PersistentVolumeClaim", name, namespace)
    phase = (found.get("status") or {}).get("phase") if found else "not there"
    return HOLDS if phase == "Bound" else f"the claim {namespace}/{name} is {phase}"


def blocks_on(cluster: Cluster, claim: str, namespace: str) -> str:
    """The node that keeps the blocks of a claim's volume, as the stand-in says; empty where nobody says so."""
    found = cluster.objects.get("PersistentVolumeClaim", claim, namespace)
    volume = (
        cluster.objects.get("Volume", found["spec"].get("volumeName", ""), cluster.settings.storage.namespace)
        if found
        else None
    )
    return str((volume["metadata"].get("annotations") or {}).get("stand-in.holdfast/blocks-on", "")) if volume else ""


@probe
def replicas_apart(cluster: Cluster, at_least: int, at_most: int) -> Sighting:
    """Every volume of Longhorn's that is in use has so many healthy replicas, each on a node of its own."""
    homes: dict[str, list[str]] = {}
    for replica in cluster.objects.list("Replica", version=_LONGHORN):
        state = (replica.get("status") or {}).get("currentState")
        if state == "running" and not replica["spec"].get("failedAt"):
            homes.setdefault(str(replica["spec"].get("volumeName")), []).append(str(replica["spec"].get("nodeID")))
    volumes = [
        v
        for v in cluster.objects.list("Volume", version=_LONGHORN)
        if (v.get("status") or {}).get("state") == "attached"
    ]
    if not volumes:
        return "no volume of Longhorn's is attached"
    for volume in volumes:
        name = volume["metadata"]["name"]
        on = homes.get(name, [])
        if not at_least <= len(on) <= at_most:
            return f"the volume {name} has {len(on)} running replicas, and {at_least} to {at_most} are promised"
        if len(set(on)) < len(on):
            return f"the volume {name} has two replicas on one node: {', '.join(sorted(on))}"
    return HOLDS


@probe
def disks_mounted(cluster: Cluster, *stated: str, filesystems: tuple[str, ...] = ("ext4", "xfs")) -> Sighting:
    """Each disk that Longhorn uses on a node is mounted there by itself, from a device of its own; the stated paths are among them."""
    paths: set[str] = set()
    nodes = cluster.objects.list("Node", version=_LONGHORN)
    for node in nodes:
        name = node["metadata"]["name"]
        mounts = _mounts(cluster.capable(NodeLook).look(name, "mounts"))
        of_the_system = mounts.get("/", ("", ""))[0]
        for disk in (node["spec"].get("disks") or {}).values():
            path = str(disk.get("path")).rstrip("/") or "/"
            paths.add(path)
            source, filesystem = mounts.get(path, ("", ""))
            if not source or "[" in source or source == of_the_system:
                return f"Longhorn's disk {path} of {name} is no disk of its own: it fills the one that it lies on"
            if filesystem not in filesystems:
                return f"Longhorn's disk {path} of {name} is {filesystem}, and not {' or '.join(filesystems) or 'anything'}"
    missing = sorted(set(stated) - paths)
    if missing or not paths:
        return f"no node has the disk {', '.join(missing) or 'that Longhorn needs'}"
    return HOLDS


def _mounts(text: str) -> dict[str, tuple[str, str]]:
    """What is mounted: the device and its file system, by where. ``findmnt`` writes a blank as ``\\x20``."""
    rows = (line.split() for line in text.splitlines())
    return {row[0].replace("\\x20", " "): (row[1], row[2]) for row in rows if len(row) == 3}


# What Longhorn consists of, by the beginning of its pods' names; those of the second sort run on each node.
_PARTS = (
    "longhorn-driver-deployer",
    "longhorn-ui",
    "csi-attacher",
    "csi-provisioner",
    "csi-resizer",
    "csi-snapshotter",
)
_PARTS_OF_A_NODE = ("longhorn-manager", "longhorn-csi-plugin", "engine-image", "instance-manager")


def parts(cluster: Cluster) -> dict[str, list[Object]]:
    """The pods of the storage system by the part that they are of, without those that are on their way out or serve a single volume or job."""
    found: dict[str, list[Object]] = {part: [] for part in (*_PARTS, *_PARTS_OF_A_NODE)}
    for pod in cluster.objects.list("Pod", cluster.settings.storage.namespace):
        ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        name = next((p for p in found if pod["metadata"]["name"].startswith(f"{p}-")), "")
        if name and not ended and not pod["metadata"].get("deletionTimestamp"):
            found[name].append(pod)
    return found


def _storage_nodes(cluster: Cluster) -> set[str]:
    """The nodes that Longhorn counts as its own; all of them where it names none."""
    own = {n["metadata"]["name"] for n in cluster.objects.list("Node", version=_LONGHORN)}
    return own or {n.name for n in cluster.nodes()}


@probe
def parts_ready(cluster: Cluster, in_all: int) -> Sighting:
    """Every part of Longhorn has a ready pod, those of each node one on each that Longhorn has, and there are so many pods of these parts."""
    found = parts(cluster)
    nodes = _storage_nodes(cluster)
    for part, pods_of_it in found.items():
        ready = [p for p in pods_of_it if condition(p, "Ready").get("status") == "True"]
        if not ready:
            return f"{part} has {'no ready pod' if pods_of_it else 'no pod'}"
        lacking = nodes - {str(p["spec"].get("nodeName")) for p in ready} if part in _PARTS_OF_A_NODE else set()
        if lacking:
            return f"{part} has no ready pod on {', '.join(sorted(lacking))}"
    count = sum(map(len, found.values()))
    if count != in_all:
        told = ", ".join(f"{len(pods_of_it)} {part}" for part, pods_of_it in found.items())
        return f"there are {count} pods, and {in_all} are stated: {told}"
    return HOLDS
