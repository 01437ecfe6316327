"""Rights beyond need, containers that own their node, images without a version."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.tree.components import is_component
from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Evidence, Inconclusive, NotApplicable, Outcome, Severity, hit, rule
from holdfast.tree.manifest import Manifest, get, mapping, sequence
from holdfast.tree.releases import Release
from holdfast.tree.roles import FLUX, role
from holdfast.tree.tree import Tree

FAMILY = "security"


@rule(
    "security.cluster-admin",
    "rbac-least",
    Severity.BREAKS_CLAIM,
    why="whoever runs code in that pod owns the cluster",
    do="give it the verbs that it needs, or state it: [declared] cluster_admin",
)
def cluster_admin(tree: Tree) -> Iterator[Outcome]:
    """cluster-admin and wildcards beyond the stated accounts; people who log in are no parts of the cluster."""
    declared = {str(s) for s in tree.settings.declared.cluster_admin}
    wild = {
        m.name for m in tree.of("ClusterRole") if any(_everything(mapping(r)) for r in sequence(m.body.get("rules")))
    }
    for binding in tree.of("ClusterRoleBinding"):
        name = str(get(binding.body, "roleRef", "name"))
        if name not in {"cluster-admin", *wild}:
            continue
        for index, subject in enumerate(map(mapping, sequence(binding.body.get("subjects")))):
            who = (
                f"{subject.get('namespace')}/{subject.get('name')}"
                if subject.get("kind") == "ServiceAccount"
                else str(subject.get("name"))
            )
            flux = _is_flux(tree, binding) and who.split("/")[-1] in ("kustomize-controller", "helm-controller")
            if who in declared or flux:
                yield Evidence(
                    f"{who} has {name}, stated" if who in declared else f"{who} has {name}: Flux applies everything"
                )
            elif _is_person(subject):
                yield (
                    Inconclusive(f"{binding.id} gives {name} to {who}, and who that is isn't known")
                    if UNKNOWN in who
                    else Evidence(f"{who}, who logs in, has {name}: that isn't judged")
                )
            else:
                yield hit(tree, binding, f"{who} has {name}", "subjects", index)
    for release in tree.releases:
        yield from _of_a_chart(tree, release, declared)
    yield Evidence("no other account of the cluster has all rights")


def _of_a_chart(tree: Tree, release: Release, declared: set[str]) -> Iterator[Outcome]:
    """Whom a chart gives all rights: by what it renders, or by what is known of it; where neither is there, that isn't known."""
    name, own = release.manifest.id, [m for m in tree.charts.objects if m.owner == release.manifest.id]
    if name in tree.charts.rendered:
        wild = {
            m.name
            for m in own
            if m.kind == "ClusterRole" and any(_everything(mapping(r)) for r in sequence(m.body.get("rules")))
        }
        bound = [
            f"{s.get('namespace') or release.target_namespace}/{s.get('name')}"
            for m in own
            if m.kind == "ClusterRoleBinding" and str(get(m.body, "roleRef", "name")) in {"cluster-admin", *wild}
            for s in map(mapping, sequence(m.body.get("subjects")))
            if not _is_person(s)
        ]
    elif "cluster_admin" in release.facts and name not in tree.charts.unrendered:
        bound = [f"{release.target_namespace}/{account}" for account in release.facts["cluster_admin"]]
    else:
        unread = tree.charts.unrendered.get(name) or f"the chart {release.chart or 'that it names'} isn't known here"
        yield Inconclusive(f"{name}: {unread}, so whom it gives rights wasn't judged ({tree.locate(release.manifest)})")
        return
    for who in bound:
        what = f"{who} has cluster-admin: the chart {release.chart} gives it"
        if who in declared:
            yield Evidence(f"{who} has cluster-admin, stated")
        elif {"all", "rbac-least"} & {*tree.settings.claimed}:
            yield hit(tree, release.manifest, what, "spec")
        else:  # every cluster with that chart has it so: nothing that its owner has done wrong
            yield Inconclusive(
                f"{what} ({tree.locate(release.manifest)}); where it may, state it: [declared] cluster_admin"
            )


def _everything(one: dict[str, object]) -> bool:
    """Whether a rule of a role gives every verb on everything."""
    return all("*" in map(str, sequence(one.get(part))) for part in ("verbs", "resources", "apiGroups"))


def _is_person(subject: dict[str, object]) -> bool:
    """Whether a subject is somebody who logs in: a user or a group of an identity provider, not the cluster's own."""
    return subject.get("kind") in ("User", "Group") and not str(subject.get("name")).startswith("system:")


def _is_flux(tree: Tree, manifest: Manifest) -> bool:
    kustomization = tree.kustomization_of(manifest)
    return kustomization is not None and role(tree, kustomization) == FLUX


@rule(
    "security.default-account",
    "rbac-least",
    Severity.BREAKS_CLAIM,
    why="rights given to one pod are then everybody's",
    do="give it a ServiceAccount of its own, or automountServiceAccountToken: false",
    opt_in=True,
)
def default_account(tree: Tree) -> Iterator[Outcome]:
    """Pods that run as the default account with its token."""
    for manifest in tree.workloads():
        account = manifest.pod.get("serviceAccountName") or manifest.pod.get("serviceAccount") or "default"
        own = tree.by_key.get(("ServiceAccount", manifest.namespace, "default"))
        off = manifest.pod.get("automountServiceAccountToken") is False or (
            own is not None and own.body.get("automountServiceAccountToken") is False
        )
        if account == "default" and not off:
            yield hit(
                tree, manifest, f"{manifest.id} runs as the default ServiceAccount, with its token", *manifest.pod_path
            )
    parts = [m for m in tree.workloads() if not is_component(m) and m.namespace != "flux-system"]
    bindings = [m for m in tree.of("ClusterRoleBinding") if not is_component(m)]
    if not parts and not tree.releases and not bindings:
        yield NotApplicable("the tree has no component but Flux's own, whose rights could be judged")
    yield Evidence(f"{len(tree.workloads())} workloads looked at")


@rule(
    "security.privileged",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="whoever gets into it owns the node",
    do="drop privileged and the host's paths, or state it: [declared] privileged",
)
def privileged(tree: Tree) -> Iterator[Outcome]:
    """Privileged containers, the host's root, its container socket, its PID space."""
    declared = {str(s) for s in tree.settings.declared.privileged}
    for manifest in tree.workloads():
        if manifest.id in declared:
            continue
        for path, container in manifest.containers(every=True):
            if get(container, "securityContext", "privileged") is True:
                yield hit(
                    tree,
                    manifest,
                    f"the container {container.get('name')} of {manifest.id} is privileged",
                    *path,
                    "securityContext",
                    "privileged",
                )
        if manifest.pod.get("hostPID") is True:
            yield hit(tree, manifest, f"{manifest.id} sees every process of its node", *manifest.pod_path, "hostPID")
        for index, volume in enumerate(sequence(manifest.pod.get("volumes"))):
            where = str(get(volume, "hostPath", "path") or "")
            if where.rstrip("/") in (
                "",
                "/etc",
                "/root",
                "/var/run/docker.sock",
                "/run/containerd/containerd.sock",
                "/var/run",
            ) and get(volume, "hostPath"):
                yield hit(
                    tree, manifest, f"{manifest.id} mounts {where} of its node", *manifest.pod_path, "volumes", index
                )


@rule(
    "security.image",
    FAMILY,
    Severity.UPGRADE_HAZARD,
    why="what runs after the next restart isn't what was tested",
    do="name a version or a digest",
)
def image(tree: Tree) -> Iterator[Outcome]:
    """Images without a version."""
    for manifest in tree.workloads():
        for path, container in manifest.containers(every=True):
            name = str(container.get("image") or "")
            last = name.rpartition("/")[2]
            if name and "@" not in name and (":" not in last or last.endswith(":latest")) and "$" not in name:
                yield hit(
                    tree,
                    manifest,
                    f"the container {container.get('name')} of {manifest.id} runs {name}, whatever that is on that day",
                    *path,
                    "image",
                )
