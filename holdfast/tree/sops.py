"""SOPS: which Secrets it has encrypted, as Flux tells it."""

from __future__ import annotations

from holdfast.tree.manifest import Manifest, mapping

_DECRYPT = "kustomize.toolkit.fluxcd.io/decrypt"


def is_encrypted(manifest: Manifest) -> bool:
    """Whether an object is a Secret that SOPS has encrypted, and that Flux is to decrypt."""
    return (
        manifest.kind == "Secret"
        and manifest.body.get("apiVersion") == "v1"
        and "sops" in manifest.body
        and str(mapping(manifest.meta.get("annotations")).get(_DECRYPT)).lower() != "disabled"
    )
