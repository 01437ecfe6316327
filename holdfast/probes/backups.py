"""Copies that are kept: of volumes by Longhorn, of etcd by k3s; how old the newest is, and where it lies."""

from __future__ import annotations

import time
from datetime import datetime

from holdfast.cluster import Cluster
from holdfast.durations import seconds
from holdfast.kube import Object
from holdfast.waiting import HOLDS, Sighting, probe

_LONGHORN = "longhorn.io/v1beta2"
_K3S = "k3s.cattle.io/v1"


def _time_of(text: object) -> float:
    """A time as the API writes it, in seconds since 1970; 0 where it is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return 0.0


def _too_old(what: str, newest: float, within: str) -> str:
    age_s = time.time() - newest
    return "" if age_s <= seconds(within) else f"the newest {what} is {age_s / 3600:.1f}h old"


@probe
def backup_target_available(cluster: Cluster, scheme: str) -> Sighting:
    """Longhorn has a target for backups, of this scheme (such as ``s3``), and says that it is available."""
    found = cluster.objects.list("BackupTarget", version=_LONGHORN)
    urls = [str(t["spec"].get("backupTargetURL") or "") for t in found]
    meant = [t for t, url in zip(found, urls, strict=True) if url.partition("://")[0] == scheme]
    if not meant:
        return f"no target of {scheme}: {', '.join(filter(None, urls)) or 'there is none at all'}"
    if any((t.get("status") or {}).get("available") is True for t in meant):
        return HOLDS
    said = [
        str(c.get("message"))
        for t in meant
        for c in (t.get("status") or {}).get("conditions") or []
        if c.get("message")
    ]
    return f"Longhorn calls the target of {scheme} not available: {'; '.join(said) or 'it gives no reason'}"


@probe
def volumes_backed_up(cluster: Cluster, within: str) -> Sighting:
    """Every volume that is in use has a completed backup that is no older than this."""
    done: dict[str, float] = {}
    for backup in cluster.objects.list("Backup", version=_LONGHORN):
        status = backup.get("status") or {}
        if status.get("state") == "Completed":
            volume = str(status.get("volumeName"))
            made = _time_of(status.get("snapshotCreatedAt") or status.get("backupCreatedAt"))
            done[volume] = max(done.get(volume, 0.0), made)
    return _each_volume(cluster, done, "backup", within)


@probe
def volumes_snapshotted(cluster: Cluster, within: str) -> Sighting:
    """Every volume that is in use has a snapshot that is ready to be used and no older than this."""
    done: dict[str, float] = {}
    for snapshot in cluster.objects.list("Snapshot", version=_LONGHORN):
        status, volume = snapshot.get("status") or {}, str(snapshot["spec"].get("volume"))
        if status.get("readyToUse") is True:
            done[volume] = max(done.get(volume, 0.0), _time_of(status.get("creationTime")))
    return _each_volume(cluster, done, "snapshot", within)


def _each_volume(cluster: Cluster, done: dict[str, float], what: str, within: str) -> Sighting:
    volumes = [
        v
        for v in cluster.objects.list("Volume", version=_LONGHORN)
        if (v.get("status") or {}).get("state") == "attached"
    ]
    if not volumes:
        return "no volume of Longhorn's is attached"
    for name in sorted(v["metadata"]["name"] for v in volumes):
        if name not in done:
            return f"the volume {name} has no {what}"
        if old := _too_old(f"{what} of the volume {name}", done[name], within):
            return old
    return HOLDS


def _snapshots_of_etcd(cluster: Cluster) -> list[Object]:
    found = cluster.objects.list("ETCDSnapshotFile", version=_K3S)
    return [s for s in found if (s.get("status") or {}).get("readyToUse") is True]


@probe
def etcd_snapshotted(cluster: Cluster, within: str) -> Sighting:
    """k3s has a snapshot of etcd that is whole and no older than this."""
    made = [_time_of((s.get("status") or {}).get("creationTime")) for s in _snapshots_of_etcd(cluster)]
    if not made:
        return "k3s lists no snapshot of etcd that is ready to be used"
    return _too_old("snapshot of etcd", max(made), within) or HOLDS


@probe
def etcd_snapshots_leave_the_node(cluster: Cluster, within: str) -> Sighting:
    """One of them that is no older than this lies elsewhere than on the node that it is a copy of."""
    if not _snapshots_of_etcd(cluster):
        return "k3s lists no snapshot of etcd that is ready to be used"
    away = [s for s in _snapshots_of_etcd(cluster) if not str(s["spec"].get("location") or "file:").startswith("file:")]
    made = [_time_of((s.get("status") or {}).get("creationTime")) for s in away]
    if not made:
        return "each snapshot of etcd lies on the node that it is a copy of, and is lost with it"
    return _too_old("snapshot of etcd away from its node", max(made), within) or HOLDS
