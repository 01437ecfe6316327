"""Longhorn, as far as the tree shows it: replicas, backup, who deploys it, who scrapes it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from holdfast.tree.findings import Check, Evidence, Inconclusive, NotApplicable, Outcome, Severity, hit, rule
from holdfast.tree.manifest import mapping
from holdfast.tree.releases import Release
from holdfast.tree.roles import CORE, role
from holdfast.tree.rules.monitoring import scraped
from holdfast.tree.tree import Tree


def longhorn(tree: Tree) -> Release | None:
    """Longhorn's release."""
    return next((r for r in tree.releases if r.chart == "longhorn"), None)


def of_longhorn(judge: Callable[[Tree, Release], Iterator[Outcome]]) -> Check:
    """A rule about Longhorn's release: without one there is nothing to judge, and values that aren't in the tree leave doubt."""

    @functools.wraps(judge)
    def whole(tree: Tree) -> Iterator[Outcome]:
        release = longhorn(tree)
        if release is None:
            yield NotApplicable("the tree has no HelmRelease of Longhorn")
            return
        if release.unread:
            yield Inconclusive(f"{release.manifest.id}: its values in {', '.join(release.unread)} aren't in the tree")
        yield from judge(tree, release)

    return whole


@rule(
    "longhorn.replicas",
    "longhorn-replicated",
    Severity.BREAKS_CLAIM,
    why="a volume with one replica is gone with its node, and one with more replicas than nodes is degraded for ever",
    do="set persistence.defaultClassReplicaCount and defaultSettings.defaultReplicaCount to 2 or 3, and no more than there are nodes with disks",
    opt_in=True,
)
@of_longhorn
def replicas(tree: Tree, release: Release) -> Iterator[Outcome]:
    """Two or three replicas, a default class, disks."""
    nodes = int(tree.settings.declared.storage_nodes or 0)
    for path, default in (("persistence.defaultClassReplicaCount", 3), ("defaultSettings.defaultReplicaCount", 3)):
        count = release.value(path, default)
        if str(count) not in ("2", "3"):
            yield hit(
                tree, release.manifest, f"{path} is {count}: 2 or 3 are promised", "spec", "values", *path.split(".")
            )
        elif nodes and int(count) > nodes:
            yield hit(
                tree,
                release.manifest,
                f"{path} is {count}, and {nodes} nodes have disks",
                "spec",
                "values",
                *path.split("."),
            )
        else:
            yield Evidence(f"{path} is {count}")
    if release.value("persistence.defaultClass", True) is False:
        yield hit(
            tree,
            release.manifest,
            "Longhorn's class isn't the default one",
            "spec",
            "values",
            "persistence",
            "defaultClass",
        )
    for manifest in tree.of("StorageClass"):
        count = mapping(manifest.body.get("parameters")).get("numberOfReplicas")
        if (
            manifest.body.get("provisioner") == "driver.longhorn.io"
            and count is not None
            and str(count) not in ("2", "3")
        ):
            yield hit(
                tree, manifest, f"{manifest.id} makes volumes with {count} replica(s)", "parameters", "numberOfReplicas"
            )
    if not tree.settings.declared.disks and not any(
        m.group == "longhorn.io" and m.kind == "Node" for m in tree.objects
    ):
        yield Inconclusive("the tree doesn't say which disks Longhorn uses (sdf1, sdg1, sdh1 in the document)")


@rule(
    "longhorn.backup",
    "longhorn-backup",
    Severity.BREAKS_CLAIM,
    why="what is lost with both nodes is lost",
    do="set the target (s3://…) and the Secret with its keys",
    opt_in=True,
)
@of_longhorn
def backup(tree: Tree, release: Release) -> Iterator[Outcome]:
    """A backup target and its Secret."""
    for section in ("defaultBackupStore", "defaultSettings"):
        target, secret = (
            release.value(f"{section}.backupTarget"),
            release.value(f"{section}.backupTargetCredentialSecret"),
        )
        if target:
            if not secret and str(target).startswith(("s3:", "azblob:")):
                yield hit(
                    tree, release.manifest, "the backup target has no Secret", "spec", "values", section, "backupTarget"
                )
            else:
                yield Evidence(f"{section}.backupTarget is set, with its Secret")
            return
    if any(m.kind == "BackupTarget" and m.group == "longhorn.io" for m in tree.objects):
        yield Evidence("a BackupTarget is in the tree")
        return
    if not release.unread:
        yield hit(tree, release.manifest, "Longhorn has no backup target", "spec", "values", "defaultSettings")


@rule(
    "longhorn.flux",
    "longhorn-by-flux",
    Severity.BREAKS_CLAIM,
    why="nothing keeps it behind core, so the order of a rebuild is chance",
    do="let its Kustomization depend on core's",
    opt_in=True,
)
@of_longhorn
def by_flux(tree: Tree, release: Release) -> Iterator[Outcome]:
    """A HelmRelease whose Kustomization depends on core."""
    kustomization = tree.kustomization_of(release.manifest)
    if kustomization is None:
        yield Inconclusive(f"{release.manifest.id} is rendered by a chart that isn't read further")
        return
    above, seen = list(kustomization.depends_on), set()
    while above:
        one = above.pop()
        if one in tree.kustomizations and one not in seen:
            seen.add(one)
            above += tree.kustomizations[one].depends_on
    if any(role(tree, tree.kustomizations[i]) == CORE for i in seen):
        yield Evidence(f"{release.manifest.id} is in Kustomization/{kustomization.id}, which depends on core")
    else:
        yield hit(
            tree,
            kustomization.manifest,
            f"Kustomization/{kustomization.id} installs Longhorn and depends on nothing of core",
            "spec",
            "dependsOn",
        )


@rule(
    "longhorn.metrics",
    "longhorn-metrics",
    Severity.BREAKS_CLAIM,
    why="nobody sees a degraded volume",
    do="set metrics.serviceMonitor.enabled: true, or add a ServiceMonitor for app=longhorn-manager, port manager",
    opt_in=True,
)
@of_longhorn
def metrics(tree: Tree, release: Release) -> Iterator[Outcome]:
    """Longhorn scraped on 9500."""
    if release.value("metrics.serviceMonitor.enabled") is True:
        yield Evidence("metrics.serviceMonitor.enabled is set: the chart brings a ServiceMonitor for port 9500")
    elif found := scraped(tree, release.target_namespace, {"app": "longhorn-manager"}):
        yield Evidence(f"{found.id} takes app=longhorn-manager")
    elif not release.unread:
        yield hit(tree, release.manifest, "nothing in the tree scrapes Longhorn (port 9500)", "spec", "values")
