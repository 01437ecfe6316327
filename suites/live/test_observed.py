"""What only a cluster that holdfast didn't make can show: its own network, storage and nodes. It is looked at, and nothing else."""

import re

from holdfast.claims import get
from holdfast.drivers.driver import EtcdSnapshot, Live, NodeLook, NodeShell, Writable
from holdfast.drivers.flavour import K3S
from holdfast.errors import NotExercised
from holdfast.marks import claim, in_part, needs
from holdfast.probes.backups import (
    backup_target_available,
    etcd_snapshots_leave_the_node,
    etcd_snapshotted,
    volumes_backed_up,
    volumes_snapshotted,
)
from holdfast.probes.flux import tree_applied
from holdfast.probes.longhorn import disks_mounted, parts_ready, replicas_apart
from holdfast.probes.nodes import addresses_lie_in, exposes_only, listens_only_on, nodes_annotated
from holdfast.probes.tailscale import routes_advertised
from holdfast.tree.rules.network import PODS, SERVICES
from holdfast.waiting import eventually

NOWHERE = "192.0.2.0/24"  # of documentation: no cluster has it
FLANNEL = "flannel.alpha.coreos.com/backend-type"


@needs(Live)
@claim("network-ranges")
def test_addresses_lie_in_the_ranges_and_flannel_is_the_network(cluster):
    """Nodes, pods and Services have addresses of the ranges that the tree declares (or k3s' own), and each node says that Flannel is there."""
    cluster.steady(tree_applied(), within="1m")
    pods, services = [*cluster.settings.declared.ranges, PODS, SERVICES][:2]
    cluster.negative_control(addresses_lie_in(NOWHERE, services))
    cluster.negative_control(addresses_lie_in(pods, NOWHERE))
    cluster.negative_control(nodes_annotated("holdfast.dev/absent"))
    cluster.eventually(addresses_lie_in(pods, services), within="0s")
    cluster.eventually(nodes_annotated(FLANNEL), within="0s")


@in_part(
    "what listens by TCP and what the API says is open go; whether somebody outside reaches it isn't tried", NodeShell
)
@needs(Live, NodeLook)
@claim("no-exposed-ports")
def test_nodes_listen_on_what_is_stated(cluster, experiment):
    """By SSH, each node's TCP sockets; by the API, what Services and pods open. Whether somebody outside reaches them isn't tried: more than is stated leaves doubt."""
    cluster.steady(tree_applied(), within="1m")
    stated = (*cluster.settings.declared.node_ports, *cluster.settings.declared.exposed)
    declared = frozenset(port for port in stated if isinstance(port, int))
    nothing = dict.fromkeys(K3S.own_ports, frozenset())
    for node in cluster.nodes():
        cluster.negative_control(listens_only_on(node.name, frozenset(), nothing))
        what = f"by TCP, {node.name} listens on its own ports and on the stated ones"
        _seen_or_in_doubt(cluster, experiment, listens_only_on(node.name, declared, K3S.own_ports), what)
    _seen_or_in_doubt(cluster, experiment, exposes_only(declared), "no Service and no pod opens more")


@in_part("the disks go", NodeShell)
@needs(Live, NodeLook)
@claim("longhorn-replicated")
def test_longhorns_disks_are_mounts_of_their_own(cluster):
    """By SSH, what is mounted on each node where Longhorn has a disk; the stated disks are among them."""
    _needs_longhorn(cluster)
    stated = _stated("longhorn-replicated", r"(/mnt/\S+)")
    cluster.steady(tree_applied(), within="1m")
    cluster.negative_control(disks_mounted("/mnt/absent"))
    cluster.negative_control(disks_mounted(*stated, filesystems=()))
    cluster.eventually(disks_mounted(*stated), within="0s")


@in_part("the replicas go", NodeShell)  # the disks that the sentence names are the nodes' own
@needs(Live)
@claim("longhorn-replicated")
def test_every_volume_in_use_has_its_replicas_on_different_nodes(cluster):
    """Two or three running replicas a volume, no two of them on one node."""
    _needs_longhorn(cluster)
    cluster.steady(tree_applied(), within="1m")
    cluster.negative_control(replicas_apart(99, 99))
    cluster.eventually(replicas_apart(2, 3), within="0s")


def _needs_longhorn(cluster):
    if not cluster.objects.get("CSIDriver", cluster.settings.storage.driver):
        raise NotExercised(f"the cluster has no {cluster.settings.storage.driver}: Longhorn isn't there")


def _seen_or_in_doubt(cluster, experiment, probe, what):
    """The document promises no schedule, and another tool may take the copies: what isn't seen leaves doubt, and breaks nothing."""
    wait = eventually(cluster, probe, "0s")
    experiment.assertion(what, probe.kind, True if wait.held else None, what if wait.held else wait.last)


def _stated(claim_id, pattern):
    """What the document's own sentence states, such as a number."""
    return [found for quote in get(claim_id).quotes for found in re.findall(pattern, quote)]


@needs(Live)
@claim("longhorn-components")
def test_longhorn_consists_of_what_is_stated(cluster):
    """Each part has ready pods, on each node where it must, and in all there are as many as the document says."""
    _needs_longhorn(cluster)
    stated = int(_stated("longhorn-components", r"(\d+) pods")[0])
    cluster.steady(tree_applied(), within="1m")
    cluster.negative_control(parts_ready(9999))
    cluster.eventually(parts_ready(stated), within="1m")  # a pod may just be replaced


@in_part("the target and the age of the newest backups go; none is restored, since nothing is written", Writable)
@needs(Live)
@claim("longhorn-backup")
def test_each_volume_in_use_has_a_backup_that_is_not_old(cluster, experiment):
    """Longhorn calls its target of S3 available, and each volume in use has a completed backup."""
    _needs_longhorn(cluster)
    age = get("longhorn-backup").budget("age")
    cluster.steady(tree_applied(), within="1m")
    cluster.negative_control(backup_target_available("absent"))
    cluster.negative_control(volumes_backed_up("0s"))
    cluster.eventually(backup_target_available("s3"), within="0s")
    _seen_or_in_doubt(cluster, experiment, volumes_backed_up(age), f"each volume in use has a backup of the last {age}")


@in_part("the age of the newest snapshots goes; none is restored, since nothing is written", Writable)
@needs(Live)
@claim("longhorn-snapshots")
def test_each_volume_in_use_has_a_snapshot_that_is_not_old(cluster, experiment):
    """A snapshot that is ready to be used, of each volume in use."""
    _needs_longhorn(cluster)
    age = get("longhorn-snapshots").budget("age")
    cluster.steady(tree_applied(), within="1m")
    cluster.negative_control(volumes_snapshotted("0s"))
    _seen_or_in_doubt(
        cluster, experiment, volumes_snapshotted(age), f"each volume in use has a snapshot of the last {age}"
    )


@in_part("the age and the place of k3s' snapshots go; none is restored", EtcdSnapshot)
@needs(Live)
@claim("control-plane-backup")
def test_etcd_has_a_snapshot_that_is_not_old_and_not_on_its_node_alone(cluster, experiment):
    """As k3s lists them itself (ETCDSnapshotFile), for a server with embedded etcd."""
    labels = [n["metadata"].get("labels") or {} for n in cluster.objects.list("Node")]
    if not any("node-role.kubernetes.io/etcd" in label for label in labels):
        raise NotExercised("no node says that it holds etcd: what the server keeps its state in isn't seen by the API")
    if not cluster.objects.plural("ETCDSnapshotFile"):
        raise NotExercised("the API server lists no snapshots of etcd (ETCDSnapshotFile): k3s does since 1.28")
    age = get("control-plane-backup").budget("age")
    cluster.steady(tree_applied(), within="1m")
    cluster.negative_control(etcd_snapshotted("0s"))
    cluster.negative_control(etcd_snapshots_leave_the_node("0s"))
    _seen_or_in_doubt(cluster, experiment, etcd_snapshotted(age), f"etcd has a snapshot of the last {age}")
    away = etcd_snapshots_leave_the_node(age)
    _seen_or_in_doubt(cluster, experiment, away, f"one of the last {age} lies elsewhere than on its node")


@in_part(
    "what the cluster's own router is told goes; what the tailnet approved, and whether it is reached, is seen from outside",
    NodeShell,
)
@needs(Live)
@claim("tailscale-router")
def test_the_router_is_ready_and_told_to_advertise_what_is_stated(cluster):
    """Each range that the document names."""
    routes = frozenset(_stated("tailscale-router", r"\d+\.\d+\.\d+\.\d+/\d+"))
    cluster.steady(tree_applied(), within="1m")
    cluster.negative_control(routes_advertised(routes | {NOWHERE}))
    cluster.eventually(routes_advertised(routes), within="0s")
