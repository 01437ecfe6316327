"""What goes with its data: volumes that pruning deletes, and a storage system that may be uninstalled at any time."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast.tree.findings import Outcome, Severity, Violation, hit, rule
from holdfast.tree.fluxapi import told
from holdfast.tree.given import GIVEN_CLASSES
from holdfast.tree.manifest import Manifest, get, mapping
from holdfast.tree.sources import PathKey, load_text
from holdfast.tree.tree import Tree

FAMILY = "resilience"
_KEEPS = "persistence.reclaimPolicy"  # of Longhorn's chart, for its class
_MARK = "storageclass.kubernetes.io/is-default-class"
_FLAG = "deletingConfirmationFlag"
_SETTING = "deleting-confirmation-flag"
_IN_TEXT = re.compile(rf"^\s*{_SETTING}\s*:\s*[\"']?true\b", re.MULTILINE | re.IGNORECASE)


@rule(
    "resilience.pruned-volume",
    FAMILY,
    Severity.UPGRADE_HAZARD,
    why="a file that is renamed, moved or taken out takes the claim with it, and its class deletes the data with the claim",
    do="annotate them kustomize.toolkit.fluxcd.io/prune: disabled, or let the class keep the volume (reclaimPolicy: Retain)",
)
def pruned(tree: Tree) -> Iterator[Outcome]:
    """Claims, and the namespaces around them, that pruning deletes with their data: one finding for all of a tree."""
    claims = [m for m in tree.of("PersistentVolumeClaim") if _is_pruned(tree, m) and _goes_with_its_data(tree, m)]
    homes = {m.namespace for m in claims}
    around = [m for m in tree.of("Namespace") if m.name in homes and _is_pruned(tree, m)]
    if claims:
        more = f" and {len(claims) - 1} more claims" if len(claims) > 1 else ""
        yield Violation(
            claims[0].id,
            tuple(tree.locate(m) for m in [*claims, *around]),
            f"pruning deletes {claims[0].id}{more} with {'their' if more else 'its'} data",
            hits=tuple(m.id for m in [*claims, *around]),
        )


def _is_pruned(tree: Tree, manifest: Manifest) -> bool:
    kustomization = tree.kustomization_of(manifest)
    if manifest.by == "HelmChart" or kustomization is None or kustomization.spec.get("prune") is not True:
        return False
    return not (told(manifest, "prune", "disabled") or told(manifest, "ssa", "Ignore"))


def _goes_with_its_data(tree: Tree, claim: Manifest) -> bool:
    """Whether the volume is deleted with its claim, and nothing in the tree fills it again."""
    if claim.spec.get("dataSourceRef") or claim.spec.get("dataSource") or _is_backed_up(tree, claim):
        return False
    name = str(claim.spec.get("volumeName") or "")
    if name:
        volume = tree.by_key.get(("PersistentVolume", "", name))
        return volume is not None and volume.spec.get("persistentVolumeReclaimPolicy") == "Delete"
    said = claim.spec.get("storageClassName")
    return said != "" and _deletes(tree, str(said or ""))


def _is_backed_up(tree: Tree, claim: Manifest) -> bool:
    sources = (m for m in tree.of("ReplicationSource") if m.namespace == claim.namespace)
    return any(m.spec.get("sourcePVC") == claim.name for m in sources)


def _deletes(tree: Tree, name: str) -> bool:
    """Whether a class deletes a volume with its claim; one that isn't known here is taken to keep it."""
    for own in tree.of("StorageClass"):
        default = str(mapping(own.meta.get("annotations")).get(_MARK)).lower() == "true"
        if own.name == name or (not name and default):
            return own.body.get("reclaimPolicy") in (None, "Delete")
    for release in tree.releases:
        if release.chart == "longhorn" and not release.unread and name in ("longhorn", ""):
            default = release.value("persistence.defaultClass", True) is not False
            return (name == "longhorn" or default) and release.value(_KEEPS, "Delete") == "Delete"
    return name in GIVEN_CLASSES


@rule(
    "longhorn.uninstall-confirmed",
    FAMILY,
    Severity.UPGRADE_HAZARD,
    why="it is the lock before an uninstall: left open, one prune, rename or 'helm uninstall' deletes every volume",
    do="take it out, or set it to false; open it only for the uninstall itself",
)
def confirmed(tree: Tree) -> Iterator[Outcome]:
    """Longhorn's confirmation of an uninstall, left on: in the chart's values, as a Setting, or among its default settings."""
    for release in tree.releases:
        if release.chart == "longhorn" and _is_true(release.value(f"defaultSettings.{_FLAG}")):
            manifest, path = _where(tree, release.manifest)
            yield hit(tree, manifest, f"{release.manifest.id} leaves Longhorn's uninstall confirmed ({_FLAG})", *path)
    for setting in tree.of("Setting"):
        if setting.group == "longhorn.io" and setting.name == _SETTING and _is_true(setting.body.get("value")):
            yield hit(tree, setting, f"{setting.id} leaves Longhorn's uninstall confirmed", "value")
    for config in tree.of("ConfigMap"):
        if config.by == "HelmChart":
            continue
        for key, text in mapping(config.body.get("data")).items():
            if "default-setting" in str(key) and isinstance(text, str) and _IN_TEXT.search(text):
                yield hit(tree, config, f"{config.id} leaves Longhorn's uninstall confirmed ({_SETTING})", "data", key)


def _where(tree: Tree, release: Manifest) -> tuple[Manifest, tuple[PathKey, ...]]:
    """Where the value stands: in the release, or in the ConfigMap that its values come from."""
    inline: tuple[PathKey, ...] = ("spec", "values", "defaultSettings", _FLAG)
    if get(release.body, *inline) is not None:
        return release, inline
    for config in tree.of("ConfigMap"):
        for key, text in mapping(config.body.get("data")).items():
            if config.namespace == release.namespace and isinstance(text, str) and _FLAG in text:
                body = load_text(text) if str(key).endswith((".yaml", ".yml")) else None
                if _is_true(get(body, "defaultSettings", _FLAG)):
                    return config, ("data", key)
    return release, ("spec", "valuesFrom")


def _is_true(value: object) -> bool:
    return str(value).lower() == "true"
