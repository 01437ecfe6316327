"""What nobody does in a cluster without nodes: volumes are bound, and what is fetched from elsewhere is taken for there.

``python -m holdfast.drivers.simulated KUBECONFIG MARK``; it ends with the lane.
"""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.kube import KubeClient, Object, condition
from holdfast.tree.assumed import ASSUMED

_SELECTED = "volume.kubernetes.io/selected-node"
LOCAL_PATH = "rancher.io/local-path"
_EVERY_S = 0.5
_SOURCES = ("GitRepository", "HelmRepository", "OCIRepository", "Bucket", "HelmChart")


def binding(claim: Object, classes: dict[str, Object]) -> Object | None:
    """The volume that a claim gets now; None where its class has no provisioner, or its pod no node yet, or nobody could give that."""
    spec, meta = claim["spec"], claim["metadata"]
    storage_class = classes.get(spec.get("storageClassName") or "")
    if storage_class is None or (claim.get("status") or {}).get("phase") != "Pending":
        return None
    provisioner = storage_class["provisioner"]
    node = (meta.get("annotations") or {}).get(_SELECTED)
    if provisioner == "kubernetes.io/no-provisioner":
        return None
    if storage_class.get("volumeBindingMode") == "WaitForFirstConsumer" and not node:
        return None
    if provisioner == LOCAL_PATH and "ReadWriteMany" in spec.get("accessModes", []):
        return None  # it says so itself: only ReadWriteOnce
    name = f"pvc-{meta['uid']}"
    volume: Object = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {ASSUMED: "true"}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "volumeMode": spec.get("volumeMode", "Filesystem"),
            "storageClassName": spec["storageClassName"],
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
            "hostPath": {"path": f"/var/lib/simulated/{name}"},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
        },
    }
    if provisioner == LOCAL_PATH and node:
        expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        volume["spec"]["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
    return volume


def ready(item: Object, message: str, mark: str, revision: str = "") -> Object | None:
    """The status of something that is taken for there; None where it has it, or where it wasn't the lane that suspended it.

    *mark*: the lane's own, which a tree can't know. *revision*: what a Kustomization must say that it has applied, since others of its source ask.
    """
    meta = item["metadata"]
    if (meta.get("annotations") or {}).get(ASSUMED) != mark:
        return None
    now = condition(item, "Ready")
    same = (item.get("status") or {}).get("lastAppliedRevision", "") == revision
    if now.get("status") == "True" and now.get("observedGeneration") == meta["generation"] and same:
        return None
    since = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    said = {
        "type": "Ready",
        "status": "True",
        "reason": "Assumed",
        "message": message,
        "lastTransitionTime": since,
        "observedGeneration": meta["generation"],
    }
    applied = {"lastAppliedRevision": revision, "lastAttemptedRevision": revision} if revision else {}
    return {"observedGeneration": meta["generation"], "conditions": [said], **applied}


def volumes(client: KubeClient) -> None:
    """Binds every claim that would be bound, and removes the volumes that were let go of."""
    claims = [c for c in client.list("PersistentVolumeClaim") if (c.get("status") or {}).get("phase") == "Pending"]
    classes = {c["metadata"]["name"]: c for c in client.list("StorageClass")} if claims else {}
    for claim in claims:
        if volume := binding(claim, classes):
            client.apply(volume)
    for volume in client.list("PersistentVolume"):
        if (
            ASSUMED in (volume["metadata"].get("annotations") or {})
            and (volume.get("status") or {}).get("phase") == "Released"
            and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
        ):
            client.delete("PersistentVolume", volume["metadata"]["name"])


def elsewhere(client: KubeClient, mark: str) -> None:
    """Takes for there what would be fetched, and what of Flux's the lane doesn't let do its work."""
    revisions: dict[tuple[Any, ...], str] = {}
    for kind in _SOURCES:
        for item in client.list(kind):
            meta = item["metadata"]
            revisions[kind, meta["namespace"], meta["name"]] = _revision(item)
            _take(client, item, "assumed: a rehearsal fetches nothing", mark=mark)
    for item in client.list("Kustomization"):
        ref = item["spec"].get("sourceRef") or {}
        source = (ref.get("kind"), ref.get("namespace") or item["metadata"]["namespace"], ref.get("name"))
        _take(
            client,
            item,
            "assumed: what it applies isn't read here",
            mark=mark,
            revision=revisions.get(source, ""),
        )
    for item in client.list("HelmRelease"):
        _take(client, item, "assumed: the lane takes it for ready", mark=mark)


def _revision(source: Object) -> str:
    return str(((source.get("status") or {}).get("artifact") or {}).get("revision") or "")


def _take(client: KubeClient, item: Object, message: str, *, mark: str, revision: str = "") -> None:
    if status := ready(item, message, mark, revision):
        meta = item["metadata"]
        client.patch_status(item["kind"], meta["name"], meta.get("namespace"), status)


def main(kubeconfig: Path, mark: str) -> None:
    """Looks until it is ended; an API server that is away is waited for."""
    client = KubeClient(kubeconfig)
    while True:
        _tolerantly(lambda: volumes(client))
        _tolerantly(lambda: elsewhere(client, mark))
        time.sleep(_EVERY_S)


def _tolerantly(step: Callable[[], None]) -> None:
    try:
        step()
    except Exception as error:  # whatever a tree holds: the others must go on being bound
        print(f"{type(error).__name__}: {str(error)[:300]}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
