"""Longhorn, as far as the tree shows it: replicas, backup, who deploys it, who scrapes it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Check, Evidence, Inconclusive, NotApplicable, Outcome, Severity, Violation, hit, rule
from holdfast.tree.manifest import Manifest, get, mapping
from holdfast.tree.releases import Release
from holdfast.tree.roles import CORE, role
from holdfast.tree.rules.monitoring import scraped, taken
from holdfast.tree.semver import at_least
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
        if release.manifest.suspended:
            yield Inconclusive(f"{release.manifest.id} is suspended: nothing applies what it says")
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
    """A backup target and its Secret, where the chart's version looks for them."""
    newer = at_least(release.version, "1.8") if UNKNOWN not in release.version else None
    sections = {
        True: ("defaultBackupStore",),
        False: ("defaultSettings",),
        None: ("defaultBackupStore", "defaultSettings"),
    }
    for section in sections[newer]:
        if release.value(f"{section}.backupTarget"):
            if newer is None:
                yield Inconclusive(
                    f"{release.manifest.id}: of its version {release.version or '?'} it isn't known where it looks for {section}"
                )
            yield from _target(tree, release, section)
            return
    if any(_is_set(m) for m in tree.of("BackupTarget") if m.group == "longhorn.io"):
        yield from _targets(tree)
        return
    if not release.unread and not any(True for _ in _moved(release)):
        yield hit(tree, release.manifest, "Longhorn has no backup target", "spec", "values", "defaultSettings")


def _target(tree: Tree, release: Release, section: str) -> Iterator[Outcome]:
    """What is to be said of a target that the values set."""
    target = str(release.value(f"{section}.backupTarget"))
    secret = release.value(f"{section}.backupTargetCredentialSecret")
    if UNKNOWN in target:
        yield Inconclusive(f"{section}.backupTarget is a variable whose value isn't in the tree")
    elif not secret and target.startswith(("s3:", "azblob:")):
        yield hit(tree, release.manifest, "the backup target has no Secret", "spec", "values", section, "backupTarget")
    elif not target.startswith("s3:"):
        yield Inconclusive(
            f"{section}.backupTarget is {target.partition(':')[0]}, and the claim is about an S3-compatible one"
        )
    elif not _has_secret(tree, release.target_namespace, str(secret)):
        yield Inconclusive(f"the Secret {release.target_namespace}/{secret} of the backup target isn't in the tree")
    else:
        yield Evidence(f"{section}.backupTarget is set, with its Secret")


def _targets(tree: Tree) -> Iterator[Outcome]:
    for manifest in tree.of("BackupTarget"):
        target, secret = str(manifest.spec.get("backupTargetURL") or ""), manifest.spec.get("credentialSecret")
        if target.startswith("s3:") and secret and _has_secret(tree, manifest.namespace, str(secret)):
            yield Evidence(f"{manifest.id} is in the tree, with its Secret")
            return
    yield Inconclusive("no BackupTarget of the tree is known to be an S3-compatible one with a Secret of the tree")


def _is_set(manifest: Manifest) -> bool:
    return bool(manifest.spec.get("backupTargetURL"))


def _has_secret(tree: Tree, namespace: str, name: str) -> bool:
    """Whether the tree makes a Secret, or its settings declare it."""
    if any(s.namespace == namespace and s.name == name for s in tree.settings.secrets):
        return True
    for manifest in tree.of("Secret", "SealedSecret", "ExternalSecret"):
        made = (
            get(manifest.spec, "target", "name") or get(manifest.spec, "template", "metadata", "name") or manifest.name
        )
        if manifest.namespace == namespace and made == name:
            return True
    return False


def _moved(release: Release) -> Iterator[tuple[str, str, str]]:
    """Values that are set where the chart's version doesn't look: (the key, the one that counts, the version of the change)."""
    for fact in release.facts.get("moved", []):
        newer = at_least(release.version, fact["since"]) if UNKNOWN not in release.version else None
        dead, alive = (fact["before"], fact["after"]) if newer else (fact["after"], fact["before"])
        if newer is not None and release.value(dead) and release.value(alive) is None:
            yield dead, alive, fact["since"]


@rule(
    "longhorn.moved",
    "longhorn-backup",
    Severity.BREAKS_CLAIM,
    why="the chart drops a value that it doesn't know without a word, so Longhorn has no backup target and no backup is ever made",
    do="move it below defaultBackupStore",
)
def moved(tree: Tree) -> Iterator[Outcome]:
    """Settings of the backup store where the chart's version doesn't look."""
    for release in tree.releases:
        told = [*_moved(release)]
        if release.chart != "longhorn" or not any(dead.endswith(".backupTarget") for dead, _, _ in told):
            continue
        if any(_is_set(m) for m in tree.of("BackupTarget") if m.group == "longhorn.io"):  # which counts
            continue
        keys = [dead.split(".") for dead, _, _ in told]
        alive, since = told[0][1].rpartition(".")[0], told[0][2]
        yield Violation(
            release.manifest.id,
            tuple(tree.locate(release.manifest, "spec", "values", *path) for path in [keys[0][:-1], *keys]),
            f"{', '.join(dead for dead, _, _ in told)} of {release.manifest.id}: the chart looks below {alive} "
            f"(the settings moved with {since}; this is {release.version or 'any version'})",
            do=f"move it below {alive}",
        )


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
    own = release.value("metrics.serviceMonitor.enabled") is True
    found = scraped(tree, release.target_namespace, {"app": "longhorn-manager"})
    labels = mapping(release.value("metrics.serviceMonitor.additionalLabels")) if own else {}
    by_own = taken(tree, "ServiceMonitor", labels) if own else False
    by_other = taken(tree, found.kind, mapping(found.meta.get("labels"))) if found is not None else False
    if by_own:
        yield Evidence("metrics.serviceMonitor.enabled is set: the chart brings a ServiceMonitor for port 9500")
    elif found is not None and by_other:
        yield Evidence(f"{found.id} takes app=longhorn-manager")
    elif release.unread:
        return
    elif by_own is None or by_other is None:
        yield Inconclusive("no Prometheus of the tree is known to take Longhorn's monitor")
    elif own or found is not None:
        at = ("spec", "values", "metrics", "serviceMonitor")
        yield hit(
            tree,
            release.manifest,
            "no Prometheus of the tree takes Longhorn's monitor: it lacks the release's label",
            *at,
        )
    else:
        yield hit(tree, release.manifest, "nothing in the tree scrapes Longhorn (port 9500)", "spec", "values")
