"""What the control plane holds is lost, and comes back from a backup."""

from holdfast.bootstrap import SYSTEM
from holdfast.claims import get
from holdfast.commits import mark
from holdfast.drivers.driver import EtcdSnapshot, NodeShell
from holdfast.faults.control_plane import etcd_lost
from holdfast.marks import claim, needs
from holdfast.probes.containers import containers_on, containers_run
from holdfast.probes.flux import marked, tree_applied
from holdfast.probes.workloads import absent, exists

RESTORE, BACKUP = get("etcd-restore"), get("control-plane-backup")
SAVED = "/var/lib/holdfast/etcd-snapshot"


def note(name):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": SYSTEM},
        "data": {"made": "by hand, so nothing but etcd has it"},
    }


@needs(EtcdSnapshot, NodeShell)
@claim(RESTORE, BACKUP)
def test_etcd_is_lost_and_comes_back_from_a_snapshot(cluster, faults, git):
    """What was there before the snapshot is there again, what came after it isn't; Flux brings the cluster to what Git says now.

    Meanwhile the worker's containers go on: the very same, before and after. A controller that can't renew its lease ends by itself, though,
    so Flux's own are left out of what must be the same at the end.
    """
    cluster.eventually(tree_applied(), within="5m")
    cluster.negative_control(exists("ConfigMap", "never-made", SYSTEM))
    cluster.negative_control(marked("never pushed"))
    worker = cluster.node("worker").name
    with cluster.inject.for_a_while():
        cluster.inject.create(note("before-the-snapshot"))
        cluster.negative_control(absent("ConfigMap", "before-the-snapshot", SYSTEM))
        cluster.capable(EtcdSnapshot).save_etcd(SAVED)
        cluster.inject.create(note("after-the-snapshot"))
        git.push(mark(cluster.sync, "after-the-snapshot"), "a commit that the snapshot doesn't know")
        cluster.eventually(marked("after-the-snapshot"), within="3m")
        running = containers_on(cluster, worker)
        cluster.negative_control(containers_run(worker, {"none": "a container that never ran"}))
        with faults(etcd_lost(SAVED), recovery="5m"):
            cluster.always(containers_run(worker, running), during="20s", claims=RESTORE)
        cluster.eventually(exists("ConfigMap", "before-the-snapshot", SYSTEM), within="10s")
        cluster.eventually(absent("ConfigMap", "after-the-snapshot", SYSTEM), within="10s")
        cluster.eventually(marked("after-the-snapshot"), within=RESTORE.budget("converged"))
        kept = {one: pod for one, pod in running.items() if not pod.startswith("flux-system/")}
        cluster.eventually(containers_run(worker, kept), within="10s", claims=RESTORE)
