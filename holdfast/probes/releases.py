"""Helm releases, as helm keeps them in the cluster, and what their hooks do."""

from __future__ import annotations

import base64
import gzip
import json

import yaml

from holdfast.cluster import Cluster
from holdfast.kube import Object
from holdfast.waiting import HOLDS, CannotLook, Sighting, probe


def hook(cluster: Cluster, release: str, namespace: str, event: str) -> Object | None:
    """The Job that a release runs at an event, such as ``pre-delete``, as its newest revision has it; None where there is none."""
    kept = cluster.objects.list("Secret", namespace, labels=f"owner=helm,name={release}")
    if not kept:
        raise CannotLook(f"helm keeps no release {namespace}/{release}")
    newest = max(kept, key=lambda s: int(s["metadata"]["labels"]["version"]))
    said = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(newest["data"]["release"]))))
    found = [h for h in said.get("hooks") or [] if event in h.get("events", []) and h.get("kind") == "Job"]
    return yaml.safe_load(found[0]["manifest"]) if found else None


@probe
def job_failed(cluster: Cluster, name: str, namespace: str, word: str) -> Sighting:
    """A Job has failed, and the log of its pod says why, with a word in it."""
    found = cluster.objects.get("Job", name, namespace)
    status = (found or {}).get("status") or {}
    if not status.get("failed"):
        return f"Job {namespace}/{name} {'succeeded' if status.get('succeeded') else 'has not ended' if found else 'is not there'}"
    pods = cluster.objects.list("Pod", namespace, labels=f"job-name={name}")
    said = " ".join(cluster.objects.log(p["metadata"]["name"], namespace, tail=5) for p in pods).strip()
    return HOLDS if word in said else f"Job {namespace}/{name} failed, and says '{said[-120:]}'"
