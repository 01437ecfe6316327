"""On failure: what the cluster looked like, kept outside of it before it is healed. Secrets are never read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from holdfast.cluster import Cluster

_KINDS = (
    "Node",
    "Pod",
    "Deployment",
    "DaemonSet",
    "StatefulSet",
    "PersistentVolumeClaim",
    "PersistentVolume",
    "VolumeAttachment",
    "Service",
    "EndpointSlice",
    "Ingress",
    "Kustomization",
    "HelmRelease",
    "GitRepository",
    "Event",
)


def capture(cluster: Cluster, folder: Path) -> list[str]:
    """Writes what can be read into *folder*; returns what couldn't, in words. Never raises."""
    folder.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []

    def keep(name: str, read: Callable[[], str]) -> None:
        try:
            (folder / name).write_text(read())
        except Exception as error:
            failed.append(f"{name}: {str(error)[:100]}")

    for kind in _KINDS:
        keep(f"{kind.lower()}s.json", lambda kind=kind: json.dumps(cluster.objects.list(kind), indent=1, default=str))  # type: ignore[misc]
        if failed:
            break  # the API is away: each further look would cost its whole time limit
    if not failed:
        settings = cluster.settings
        telling = {
            "flux-system",
            *(part.namespace for part in (settings.ingress, settings.storage, settings.monitoring)),
        }
        for pod in json.loads((folder / "pods.json").read_text()):  # just written
            namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
            if namespace in telling:
                keep(f"log-{namespace}-{name}.txt", lambda p=name, n=namespace: cluster.objects.log(p, n))  # type: ignore[misc]
    keep("nodes.txt", lambda: "\n".join(n.name for n in cluster.nodes()))
    for node in cluster.nodes() if (folder / "nodes.txt").exists() else []:
        keep(f"journal-{node.name}.txt", lambda n=node.name: cluster.host(n).run(cluster.flavour.journal).stdout)  # type: ignore[misc]
    return failed


def folder_name(text: str) -> str:
    """A file name for a test and a fault."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:80]
