"""What the control plane holds is lost, and comes back from a backup."""

from holdfast.bootstrap import SYSTEM
from holdfast.claims import get
from holdfast.commits import mark
from holdfast.drivers.driver import EtcdSnapshot, NodeShell, lacks
from holdfast.faults.control_plane import etcd_lost
from holdfast.marks import claim, needs
from holdfast.probes.containers import containers_on, containers_run
from holdfast.probes.flux import marked, tree_applied
from holdfast.probes.workloads import absent, exists, pods_of_node, pods_stay

RESTORE, BACKUP = get("etcd-restore"), get("control-plane-backup")
SAVED = "/var/lib/holdfast/etcd-snapshot"


def note(name):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": SYSTEM},
        "data": {"made": "by hand, so nothing but etcd has it"},
    }


@needs(EtcdSnapshot)
@claim(RESTORE, BACKUP)
def test_etcd_is_lost_and_comes_back_from_a_snapshot(cluster, faults, git):
    """What was there before the snapshot is there again, what came after it isn't; Flux brings the cluster to what Git says now.

    The snapshot is taken while a commit is on its way into the cluster. The worker's pods are the same afterwards, and where containers
    really run, they went on meanwhile: the very same. A controller that can't renew its lease ends by itself, though, so Flux's own
    containers are left out of what must be the same at the end.
    """
    cluster.eventually(tree_applied(), within="5m")
    cluster.negative_control(exists("ConfigMap", "never-made", SYSTEM))
    cluster.negative_control(marked("never pushed"))
    worker = cluster.node("worker").name
    runs = not lacks(cluster.driver, NodeShell)
    with cluster.inject.for_a_while():
        cluster.inject.create(note("before-the-snapshot"))
        cluster.negative_control(absent("ConfigMap", "before-the-snapshot", SYSTEM))
        git.push(mark(cluster.sync, "while-it-is-saved"), "a commit that is on its way while the snapshot is taken")
        cluster.capable(EtcdSnapshot).save_etcd(SAVED)
        cluster.inject.create(note("after-the-snapshot"))
        git.push(mark(cluster.sync, "after-the-snapshot"), "a commit that the snapshot doesn't know")
        cluster.eventually(marked("after-the-snapshot"), within="3m")
        pods, running = pods_of_node(cluster, worker), containers_on(cluster, worker) if runs else {}
        cluster.negative_control(pods_stay(worker, {"none": "a pod that never was"}))
        if runs:
            cluster.negative_control(containers_run(worker, {"none": "a container that never ran"}))
        with faults(etcd_lost(SAVED), recovery="5m"):
            if runs:
                cluster.always(containers_run(worker, running), during="20s", claims=RESTORE)
        cluster.eventually(exists("ConfigMap", "before-the-snapshot", SYSTEM), within="10s")
        cluster.eventually(absent("ConfigMap", "after-the-snapshot", SYSTEM), within="10s")
        cluster.eventually(marked("after-the-snapshot"), within=RESTORE.budget("converged"))
        cluster.eventually(pods_stay(worker, pods), within="10s", claims=RESTORE)
        if runs:
            kept = {one: pod for one, pod in running.items() if not pod.startswith("flux-system/")}
            cluster.eventually(containers_run(worker, kept), within="10s", claims=RESTORE)
