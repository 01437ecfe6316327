"""What is looked at of a cluster with a real Longhorn, k3s and Tailscale, by objects as these write them."""

import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from holdfast.drivers import attached, disruption
from holdfast.drivers.driver import Node
from holdfast.errors import NotExercised, UsageError
from holdfast.probes.backups import (
    backup_target_available,
    etcd_snapshots_leave_the_node,
    etcd_snapshotted,
    volumes_backed_up,
    volumes_snapshotted,
)
from holdfast.probes.longhorn import disks_mounted, parts_ready, replicas_apart
from holdfast.probes.nodes import listens_only_on, serves_its_own
from holdfast.probes.tailscale import routes_advertised
from holdfast.tree import settings
from holdfast.waiting import HOLDS, CannotLook

NODES = ("k3s1", "k3s2")


class Objects:
    """A reader of these objects, by kind."""

    def __init__(self, **kinds):
        self.kinds = kinds

    def list(self, kind, *_, **__):
        return self.kinds.get(kind, [])


def seen(probe, **kinds):
    """What a probe says of a cluster with these objects; empty where it holds."""
    cluster = SimpleNamespace(
        objects=Objects(**kinds),
        nodes=lambda: [Node(n, "server") for n in NODES],
        settings=SimpleNamespace(storage=SimpleNamespace(namespace="longhorn-system")),
    )
    said = probe(cluster)
    return "" if said is HOLDS else said


def ago(hours):
    return (datetime.now(UTC) - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod(name, node, *, ready=True, phase="Running"):
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {
        "metadata": {"name": name},
        "spec": {"nodeName": node},
        "status": {"phase": phase, "conditions": conditions},
    }


def leaving(one):
    return {**one, "metadata": {**one["metadata"], "deletionTimestamp": "now"}}


def longhorn(but="", **more):
    """Longhorn's pods on two nodes: 14 of them."""
    once = (
        "longhorn-driver-deployer",
        "longhorn-ui",
        "csi-attacher",
        "csi-provisioner",
        "csi-resizer",
        "csi-snapshotter",
    )
    each = ("longhorn-manager", "longhorn-csi-plugin", "engine-image-ei-51cc7b9c", "instance-manager")
    found = [pod(f"{name}-1", "k3s1") for name in once] + [
        pod(f"{name}-{node}", node) for name in each for node in NODES
    ]
    return [p for p in found if p["metadata"]["name"] != but] + [
        pod(name, "k3s2", **more) for name in ((but,) if more else ())
    ]


@pytest.mark.parametrize(
    ("pods", "stated", "words"),
    [
        (longhorn(), 14, ""),
        (longhorn(), 19, "there are 14 pods, and 19 are stated: 1 longhorn-driver-deployer, 1 longhorn-ui"),
        ([*longhorn(), pod("backup-job-1", "k3s1", phase="Succeeded")], 14, ""),
        (
            [*longhorn(), pod("share-manager-x", "k3s1"), pod("backup-daily-28", "k3s1")],
            14,
            "",
        ),  # of one volume, of one job
        ([*longhorn(), leaving(pod("csi-resizer-2", "k3s1"))], 14, ""),
        (longhorn("csi-resizer-1"), 13, "csi-resizer has no pod"),
        (longhorn("longhorn-manager-k3s2"), 13, "longhorn-manager has no ready pod on k3s2"),
        (longhorn("longhorn-ui-1", ready=False), 14, "longhorn-ui has no ready pod"),
        ([], 14, "has no pod"),
    ],
)
def test_what_longhorn_consists_of(pods, stated, words):
    said = seen(parts_ready(stated), Pod=pods)
    assert words in said
    assert bool(said) is bool(words)


def test_a_node_that_is_none_of_longhorns_needs_none_of_its_parts():
    on_one = [p for p in longhorn() if p["spec"]["nodeName"] == "k3s1"]
    assert "no ready pod on k3s2" in seen(parts_ready(len(on_one)), Pod=on_one)
    assert seen(parts_ready(len(on_one)), Pod=on_one, Node=[{"metadata": {"name": "k3s1"}}]) == ""


def volume(name, state="attached"):
    return {"metadata": {"name": name}, "status": {"state": state}}


def replica(of, node, state="running", **spec):
    return {
        "metadata": {"name": f"{of}-{node}"},
        "spec": {"volumeName": of, "nodeID": node, **spec},
        "status": {"currentState": state},
    }


@pytest.mark.parametrize(
    ("replicas", "words"),
    [
        ([replica("a", "k3s1"), replica("a", "k3s2")], ""),
        ([replica("a", "k3s1"), replica("a", "k3s1")], "two replicas on one node"),
        ([replica("a", "k3s1"), replica("a", "k3s2", "stopped")], "has 1 running replicas"),
        ([replica("a", "k3s1"), replica("a", "k3s2", failedAt=ago(1))], "has 1 running replicas"),
        ([], "has 0 running replicas"),
    ],
)
def test_replicas_lie_on_different_nodes(replicas, words):
    said = seen(replicas_apart(2, 3), Volume=[volume("a"), volume("b", "detached")], Replica=replicas)
    assert words in said
    assert bool(said) is bool(words)


def target(url, available=True, message=""):
    return {
        "metadata": {"name": "default"},
        "spec": {"backupTargetURL": url},
        "status": {"available": available, "conditions": [{"message": message}]},
    }


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ([target("s3://bucket@region/")], ""),
        ([target("nfs://nas/backups")], "no target of s3: nfs://nas/backups"),
        ([target("")], "no target of s3: there is none at all"),
        ([], "there is none at all"),
        ([target("s3://bucket@region/", available=False, message="access denied")], "not available: access denied"),
        ([{"metadata": {"name": "default"}, "spec": {"backupTargetURL": "s3://b@r/"}}], "it gives no reason"),
    ],
)
def test_a_target_of_backups_is_there_and_available(targets, words):
    said = seen(backup_target_available("s3"), BackupTarget=targets)
    assert words in said
    assert bool(said) is bool(words)


def backup(of, hours, state="Completed"):
    return {
        "metadata": {"name": f"{of}-{hours}"},
        "spec": {},
        "status": {"state": state, "volumeName": of, "snapshotCreatedAt": ago(hours)},
    }


def snapshot(of, hours, ready=True):
    return {
        "metadata": {"name": f"{of}-{hours}"},
        "spec": {"volume": of},
        "status": {"readyToUse": ready, "creationTime": ago(hours)},
    }


@pytest.mark.parametrize(
    ("probe", "kind", "made", "no"),
    [(volumes_backed_up, "Backup", backup, "Error"), (volumes_snapshotted, "Snapshot", snapshot, False)],
)
def test_the_newest_copy_of_each_volume_in_use_counts(probe, kind, made, no):
    volumes = [volume("a"), volume("b"), volume("unused", "detached")]
    good = [made("a", 40), made("a", 2), made("b", 25)]
    assert seen(probe("26h"), Volume=volumes, **{kind: good}) == ""
    assert "of the volume b is 25.0h old" in seen(probe("24h"), Volume=volumes, **{kind: good})
    assert "the volume b has no" in seen(probe("26h"), Volume=volumes, **{kind: good[:2]})
    assert "the volume b has no" in seen(probe("26h"), Volume=volumes, **{kind: [*good[:2], made("b", 1, no)]})
    assert "is 40.0h old" in seen(probe("26h"), Volume=[volume("a")], **{kind: good[:1]})
    assert "no volume of Longhorn's is attached" in seen(probe("26h"), **{kind: good})
    broken = made("a", 1)
    broken["status"] |= {"snapshotCreatedAt": "then", "creationTime": None, "backupCreatedAt": None}
    assert "h old" in seen(
        probe("26h"), Volume=[volume("a")], **{kind: [broken]}
    )  # a time that is none is no young one


def of_etcd(hours, location="file:///var/lib/rancher/k3s/server/db/snapshots/x", ready=True):
    return {
        "metadata": {"name": f"s-{hours}"},
        "spec": {"location": location},
        "status": {"readyToUse": ready, "creationTime": ago(hours)},
    }


@pytest.mark.parametrize(
    ("snapshots", "young", "away"),
    [
        ([{"hours": 2}, {"hours": 30}], "", "lies on the node"),
        ([{"hours": 2}, {"hours": 3, "location": "s3://bucket/x"}], "", ""),
        ([{"hours": 2}, {"hours": 30, "location": "s3://bucket/x"}], "", "away from its node is 30.0h old"),
        ([{"hours": 30}], "is 30.0h old", "lies on the node"),
        ([{"hours": 2, "ready": False}], "lists no snapshot", "lists no snapshot"),
        ([], "lists no snapshot", "lists no snapshot"),
    ],
)
def test_snapshots_of_etcd_are_young_and_leave_their_node(snapshots, young, away):
    snapshots = [
        of_etcd(**one) for one in snapshots
    ]  # here: a time that was worked out at collection is minutes old by now
    for probe, words in ((etcd_snapshotted, young), (etcd_snapshots_leave_the_node, away)):
        said = seen(probe("26h"), ETCDSnapshotFile=snapshots)
        assert words in said
        assert bool(said) is bool(words)


ROUTES = frozenset({"10.42.0.0/16", "192.168.86.0/24"})


def router(env, *, ready=1, image="ghcr.io/tailscale/tailscale:v1.90"):
    container = {"image": image, "env": [{"name": "NAME"}, *({"name": k, "value": v} for k, v in env.items())]}
    return {
        "kind": "Deployment",
        "metadata": {"name": "router", "namespace": "tailscale", "generation": 1},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}},
        "status": {"observedGeneration": 1, "readyReplicas": ready},
    }


def connector(*routes, ready="True"):
    return {
        "metadata": {"name": "home"},
        "spec": {"subnetRouter": {"advertiseRoutes": list(routes)}},
        "status": {"conditions": [{"type": "ConnectorReady", "status": ready}]},
    }


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ({"Deployment": [router({"TS_ROUTES": "10.42.0.0/16,192.168.86.0/24"})]}, ""),
        ({"Deployment": [router({"TS_EXTRA_ARGS": "--advertise-routes=10.42.0.0/16,192.168.86.0/24 --ssh"})]}, ""),
        ({"Connector": [connector(*ROUTES)]}, ""),
        ({"Deployment": [router({"TS_ROUTES": "10.42.0.0/16"})], "Connector": [connector("192.168.86.0/24")]}, ""),
        ({"Deployment": [router({"TS_ROUTES": "10.42.0.0/16"})]}, "advertises no 192.168.86.0/24"),
        ({"Deployment": [router({"TS_ROUTES": ",".join(ROUTES)}, ready=0)]}, "has 0 of 1 pods ready"),
        ({"Connector": [connector(*ROUTES, ready="False")]}, "doesn't call it ready"),
    ],
)
def test_a_router_is_ready_and_told_each_range(kinds, words):
    said = seen(routes_advertised(ROUTES), **kinds)
    assert words in said
    assert bool(said) is bool(words)


@pytest.mark.parametrize("items", [[], [router({})], [router({"TS_ROUTES": ",".join(ROUTES)}, image="web:1")]])
def test_routes_that_stand_elsewhere_are_not_seen_and_not_missing(items):
    with pytest.raises(CannotLook, match="may stand in a ConfigMap"):
        seen(routes_advertised(ROUTES), Deployment=items)


def test_routes_may_be_told_by_arguments():
    told = router({})
    told["spec"]["template"]["spec"]["containers"][0]["args"] = [
        "tailscale",
        "up",
        "--advertise-routes=10.42.0.0/16,192.168.86.0/24",
    ]
    assert seen(routes_advertised(ROUTES), Deployment=[told]) == ""


# -- a node that joined --------------------------------------------------------------------------------------------------------


def of_set(node, hours, **more):
    meta = {"name": f"p-{node}-{hours}", "ownerReferences": [{"uid": "set"}], "creationTimestamp": ago(99), **more}
    began = [{"state": {"running": {"startedAt": ago(hours)}}}]
    status = {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": began}
    return {"metadata": meta, "spec": {"nodeName": node}, "status": status}


@pytest.mark.parametrize(
    ("pods", "words"),
    [
        ([of_set("k3s1", 9), of_set("k3s2", 0)], ""),
        ([of_set("k3s1", 9)], "has no ready pod on k3s2"),
        ([of_set("k3s1", 9), of_set("k3s2", 9)], "has no ready pod on k3s2"),  # of the node that it was before
        ([of_set("k3s1", 9), of_set("k3s2", 0, deletionTimestamp="now")], "has no ready pod on k3s2"),
        ([], ""),  # on no other node either
    ],
)
def test_what_belongs_on_each_node_runs_on_the_one_that_joined(pods, words):
    node = {
        "metadata": {"name": "k3s2", "creationTimestamp": ago(1)},
        "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    objects = Objects(
        Pod=pods, DaemonSet=[{"metadata": {"uid": "set", "name": "d", "namespace": "n"}, "spec": {"selector": {}}}]
    )
    objects.get = lambda kind, name, *_: node if (kind, name) == ("Node", "k3s2") else None
    cluster = SimpleNamespace(objects=objects, nodes=lambda: [Node(n, "worker") for n in NODES])
    said = serves_its_own("k3s2")(cluster)
    assert ("" if said is HOLDS else said) == "" if not words else words in said
    assert "absent" in serves_its_own("k3s9")(cluster)


def _looked(tmp_path, monkeypatch, said, code=0, **ways):
    """An attached driver whose owner's ssh says this, and what it was asked."""
    program = tmp_path / "ssh"
    said = f"{MACHINE}\n{said}"
    program.write_text(
        f"#!/bin/sh\necho \"$@\" >> {tmp_path}/asked\ncat <<'E'\n{said}\nE\n[ {code} = 0 ] || echo 'Permission denied (publickey).' >&2\nexit {code}\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    driver = attached.open("home", tmp_path / "lane", "")
    driver.ways = ways or {n: f"root@{n}" for n in NODES}
    driver.__dict__["_nodes"] = [
        {"metadata": {"name": n}, "status": {"nodeInfo": {"machineID": MACHINE if n == "k3s1" else "another"}}}
        for n in NODES
    ]
    return driver


MACHINE = "4bd2c5a0e1f3"


SOCKETS = """\
LISTEN 0 4096 127.0.0.1:6444 0.0.0.0:*
LISTEN 0 4096 0.0.0.0:10250 0.0.0.0:*
LISTEN 0 128 [::]:22 [::]:*"""


def test_a_node_is_asked_by_ssh_for_its_sockets_and_nothing_else_is_run(tmp_path, monkeypatch):
    driver = _looked(tmp_path, monkeypatch, SOCKETS)
    cluster = SimpleNamespace(driver=driver, node=lambda name: Node(name, "worker"), capable=lambda what: driver)
    own = {"worker": frozenset({10250})}
    assert listens_only_on("k3s1", frozenset({22}), own)(cluster) is HOLDS
    assert listens_only_on("k3s1", frozenset(), own)(cluster) == "k3s1 also listens on 22"
    asked = (tmp_path / "asked").read_text()
    assert "BatchMode=yes" in asked
    assert "StrictHostKeyChecking=yes" in asked
    assert set(re.findall(r"-- (\S+) (.*)", asked)) == {
        ("root@k3s1", "cat /etc/machine-id && PATH=$PATH:/usr/sbin:/sbin ss -Hltn")
    }


def test_a_node_that_is_not_reached_is_said_and_one_without_a_way_too(tmp_path, monkeypatch):
    driver = _looked(tmp_path, monkeypatch, "", code=255, k3s1="root@k3s1")
    with pytest.raises(CannotLook, match="Permission denied"):
        driver.look("k3s1", "sockets")
    with pytest.raises(NotExercised, match=r"\[nodes.k3s2\] ssh"):
        driver.look("k3s2", "sockets")


def test_another_machine_than_the_cluster_means_is_not_taken_for_it(tmp_path, monkeypatch):
    """An alias, or a line that was copied: what it says would be another node's."""
    driver = _looked(tmp_path, monkeypatch, SOCKETS, k3s2="root@k3s1")
    with pytest.raises(CannotLook, match="isn't the machine that the cluster means"):
        driver.look("k3s2", "sockets")


@pytest.mark.parametrize(
    ("mounts", "disks", "words"),
    [
        ("/ /dev/sda1 ext4\n/mnt/longhorn/sdf1 /dev/sdf1 ext4", ["/mnt/longhorn/sdf1/"], ""),
        ("/ /dev/sda1 ext4", ["/mnt/longhorn/sdf1/"], "is no disk of its own"),
        ("/ /dev/sda1 ext4\n/mnt/longhorn/sdf1 /dev/sda1[/data] ext4", ["/mnt/longhorn/sdf1"], "is no disk of its own"),
        ("/ /dev/sda1 ext4\n/mnt/longhorn/sdf1 tmpfs tmpfs", ["/mnt/longhorn/sdf1"], "is tmpfs, and not ext4 or xfs"),
        ("/ /dev/sda1 ext4", [], "no node has the disk"),
        (
            "/ /dev/sda1 ext4\n/mnt/longhorn/sdf1 /dev/sdf1 ext4\n/mnt/a\\x20b /dev/sdg1 xfs",
            ["/mnt/longhorn/sdf1", "/mnt/a b"],
            "",
        ),
        ("/ /dev/sda1 ext4\n/mnt/other /dev/sdf1 ext4", ["/mnt/other"], "no node has the disk /mnt/longhorn/sdf1"),
    ],
)
def test_longhorns_disks_are_where_they_are_stated_and_mounted(mounts, disks, words, tmp_path, monkeypatch):
    driver = _looked(tmp_path, monkeypatch, mounts)
    node = {"metadata": {"name": "k3s1"}, "spec": {"disks": {f"d{n}": {"path": p} for n, p in enumerate(disks)}}}
    cluster = SimpleNamespace(driver=driver, objects=Objects(Node=[node]), capable=lambda what: driver)
    said = disks_mounted("/mnt/longhorn/sdf1")(cluster)
    assert (said is HOLDS) is (not words)
    assert words in ("" if said is HOLDS else said)


def test_the_ways_to_the_nodes_are_the_owners_and_come_from_beside_the_tree(tmp_path):
    tree, beside = tmp_path / "home", tmp_path / "home.holdfast.toml"
    tree.mkdir()
    beside.write_text('[nodes.k3s1]\nssh = "root@k3s1"\n')
    found = settings.load(tree)
    assert found.nodes["k3s1"].ssh == "root@k3s1"
    assert not isinstance(disruption.allowed(attached.open("home", tmp_path, ""), "home", found), disruption.Powered)
    beside.write_text('[nodes.k3s1]\nssh = "-oProxyCommand=reboot"\n')
    with pytest.raises(UsageError, match="nodes"):
        settings.load(tree)
    beside.unlink()
    (tree / ".holdfast.toml").write_text('[nodes.k3s1]\nssh = "root@k3s1"\n')
    with pytest.raises(UsageError, match="a tree's own settings can't say it"):
        settings.load(tree)
