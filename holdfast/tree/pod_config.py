"""The ConfigMaps and Secrets that pods read."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.tree.manifest import Manifest, get, mapping, sequence
from holdfast.tree.sources import PathKey


def config_of(manifest: Manifest) -> Iterator[tuple[str, str, tuple[PathKey, ...]]]:
    """The ConfigMaps and Secrets that pods can't start without: kind, name, and where they are named."""
    for path, container in manifest.containers(every=True):
        for index, source in enumerate(sequence(container.get("envFrom"))):
            for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                ref = mapping(mapping(source).get(key))
                if ref.get("name") and not ref.get("optional"):
                    yield kind, str(ref["name"]), (*path, "envFrom", index)
        for index, variable in enumerate(sequence(container.get("env"))):
            for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                ref = mapping(get(variable, "valueFrom", key))
                if ref.get("name") and not ref.get("optional"):
                    yield kind, str(ref["name"]), (*path, "env", index)
    for index, volume in enumerate(sequence(manifest.pod.get("volumes"))):
        entries = [mapping(volume), *(mapping(s) for s in sequence(get(volume, "projected", "sources")))]
        for entry in entries:
            for key, kind, name in (
                ("configMap", "ConfigMap", "name"),
                ("secret", "Secret", "secretName" if entry is entries[0] else "name"),
            ):
                ref = mapping(entry.get(key))
                if ref.get(name) and not ref.get("optional"):
                    yield kind, str(ref[name]), (*manifest.pod_path, "volumes", index)
