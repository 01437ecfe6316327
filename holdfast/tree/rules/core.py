"""Core services: always there, without storage; apps need core only; a storage failure freezes nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.tree.boot import Step, down, reaches
from holdfast.tree.findings import Absent, Doubt, Hit, Said, Severity, Shown, hit, rule
from holdfast.tree.manifest import Manifest, get, mapping, sequence
from holdfast.tree.releases import releases
from holdfast.tree.roles import (
    APPS,
    CORE,
    LONGTERM,
    MONITORING,
    STORAGE,
    graph_of,
    layers,
    role,
    stateless,
    states_of,
    storage_states,
)
from holdfast.tree.tree import Layer, Tree


def chain(steps: tuple[Step, ...]) -> str:
    """A chain of reasons in words, each with its place."""
    return " → ".join(str(s) for s in steps)


def unknown_charts(tree: Tree, *roles: str) -> Iterator[Doubt]:
    """What can't be judged in these parts of the tree: charts without declared facts."""
    for release in releases(tree):
        layer = tree.layer_of(release.manifest)
        if release.unread and layer and role(tree, layer) in roles:
            yield Doubt(f"{release.manifest.id}: its values in {', '.join(release.unread)} aren't in the tree")
        if not release.known and release.manifest.id not in tree.rendered and layer and role(tree, layer) in roles:
            yield Doubt(
                f"{release.manifest.id}: the chart {release.chart or 'that it names'} isn't known here, so what it creates wasn't judged"
            )


@rule(
    "core.single",
    "core-always-available",
    Severity.BREAKS_CLAIM,
    why="one pod that is lost or moved takes all that it serves with it",
    do="run it on every node (DaemonSet), or at least twice and spread",
    promise=True,
)
def single(tree: Tree) -> Iterator[Said]:
    """Ingress controllers with one replica only."""
    found = False
    for release in releases(tree):
        for fact in release.parts("workload"):
            if not any(release.parts("ingress_class")):
                continue
            found = True
            kind = release.value(fact.get("kind", ""), fact["kind_default"])
            count = release.value(fact.get("replicas", ""), fact.get("replicas_default", 1))
            if (
                kind == "Deployment"
                and count in (0, 1)
                and release.value(fact.get("autoscaling", "")) is not True
                and _nodes(tree) != 1
            ):
                path = ("spec", "values", *fact.get("replicas", "").split("."))
                yield hit(
                    tree, release.manifest, f"{release.manifest.id} runs {fact['what']} once, as a Deployment", *path
                )
            else:
                yield Shown(
                    f"{release.manifest.id} runs {fact['what']} as a {kind}"
                    + ("" if kind == "DaemonSet" else f", {count} times")
                )
    for layer in layers(tree, CORE):
        for manifest in layer.objects:
            if (
                manifest.kind == "Deployment"
                and manifest.spec.get("replicas", 1) in (0, 1)
                and _serves_from_outside(tree, manifest)
                and _nodes(tree) != 1
            ):
                found = True
                yield hit(tree, manifest, f"{manifest.id} answers from outside and runs once", "spec", "replicas")
    if not found:
        yield Absent("the tree has no ingress controller that is known here", "let a core Kustomization bring one")


def _nodes(tree: Tree) -> int:
    return int(tree.adaptations.stated.get("nodes", 0) or 0)


def _serves_from_outside(tree: Tree, manifest: Manifest) -> bool:
    return any(
        s.spec.get("type") in ("NodePort", "LoadBalancer")
        and s.namespace == manifest.namespace
        and mapping(s.spec.get("selector"))
        and all(manifest.pod_labels.get(k) == v for k, v in mapping(s.spec.get("selector")).items())
        for s in tree.of("Service")
    )


@rule(
    "core.storage",
    "core-no-storage",
    Severity.BREAKS_CLAIM,
    why="core then starts only after storage, and stops with it",
    do="cut the chain, or give core an emptyDir",
)
def core_storage(tree: Tree) -> Iterator[Said]:
    """A path of any kind from core to storage; volumes in core itself."""
    core = layers(tree, CORE)
    if not core:
        yield Absent(
            "no Kustomization of the tree is recognised as core", "name it: [roles] core = […] in .holdfast.toml"
        )
        return
    yield from unknown_charts(tree, CORE)
    targets = storage_states(tree)
    for layer in core:
        steps = reaches(graph_of(tree), states_of(layer), targets - set(states_of(layer)))
        if steps:
            yield Hit(
                f"Kustomization/{layer.id}",
                tuple(dict.fromkeys(s.need.place for s in steps)),
                f"core (Kustomization/{layer.id}) reaches storage: {chain(steps)}",
            )
        hits = [*_own_volumes(tree, layer)]
        yield from hits
        if not steps and not hits:
            yield Shown(f"nothing that Kustomization/{layer.id} needs leads to storage ({len(layer.objects)} objects)")


def _own_volumes(tree: Tree, layer: Layer) -> Iterator[Hit]:
    for manifest in layer.objects:
        if manifest.kind == "PersistentVolumeClaim" or manifest.spec.get("volumeClaimTemplates"):
            yield hit(tree, manifest, f"core has a volume: {manifest.id}", "spec")
        for index, volume in enumerate(sequence(manifest.pod.get("volumes"))):
            path = str(get(volume, "hostPath", "path") or "")
            if path.startswith(("/var/lib/", "/data", "/mnt", "/srv", "/opt")) and manifest.kind != "DaemonSet":
                yield hit(
                    tree,
                    manifest,
                    f"{manifest.id} of core keeps data on its node ({path})",
                    *manifest.pod_path,
                    "volumes",
                    index,
                )
    for release in releases(tree):
        if release.manifest.owner == layer.id:
            for volume in release.volumes():
                yield hit(
                    tree,
                    release.manifest,
                    f"{release.manifest.id} of core asks for a volume ({volume.what})",
                    *volume.path,
                )


@rule(
    "apps.storage",
    "apps-need-core-only",
    Severity.BREAKS_CLAIM,
    why="an app without data of its own can't be deployed or changed while storage is away",
    do="move it to a Kustomization that doesn't wait for storage",
)
def apps_storage(tree: Tree) -> Iterator[Said]:
    """Kustomizations of apps that reach storage although not every app in them has a volume."""
    targets, apps = storage_states(tree), layers(tree, APPS)
    if not apps:
        yield Absent("no Kustomization of the tree holds apps", "name it: [roles] apps = […] in .holdfast.toml")
        return
    yield from unknown_charts(tree, APPS)
    for layer in apps:
        users = [m for m in layer.objects if m.pod_path and not stateless(m)]
        free = [m for m in layer.objects if m.pod_path and stateless(m) and m.kind not in ("Job", "CronJob")]
        starts = [s for s in states_of(layer) if s.id == f"Kustomization/{layer.id}"]
        steps = reaches(graph_of(tree), starts, targets)
        if steps and free:
            yield Hit(
                f"Kustomization/{layer.id}",
                tuple(dict.fromkeys(s.need.place for s in steps)),
                f"Kustomization/{layer.id} reaches storage, and {', '.join(m.id for m in free)} in it has no volume: {chain(steps)}",
                hits=tuple(m.id for m in free),
            )
        elif users:
            yield Shown(f"stated exceptions, with volumes of their own: {', '.join(m.id for m in users)}")
        else:
            yield Shown(f"Kustomization/{layer.id} needs core only")


@rule(
    "storage.cascade",
    "storage-does-not-cascade",
    Severity.BREAKS_CLAIM,
    why="while storage is sick no change of these is applied: a Kustomization waits for the readiness "
    "of those it depends on, at the same revision",
    do="let only what has volumes depend on storage",
)
def cascade(tree: Tree) -> Iterator[Said]:
    """What freezes or stops when storage is down, beyond what has volumes."""
    seeds = [r.manifest for r in releases(tree) if r.role == STORAGE] or [
        m for layer in layers(tree, STORAGE) for m in layer.objects if m.pod_path or m.kind == "HelmRelease"
    ]
    if not seeds:
        yield Absent("nothing in the tree provides storage")
        return
    result = down(graph_of(tree), seeds)
    for name, steps in result.frozen.items():
        layer = tree.layers.get(name.partition("/")[2])
        if layer is None or role(tree, layer) in (STORAGE, LONGTERM):
            continue
        free = [m.id for m in layer.objects if m.pod_path and stateless(m)]
        if free or role(tree, layer) in (CORE, MONITORING):
            yield Hit(
                name,
                tuple(dict.fromkeys(s.need.place for s in steps)),
                f"with {', '.join(m.id for m in seeds)} unhealthy, {name} is frozen: {chain(steps)}",
                hits=(name, *free),
            )
    for name, steps in result.stopped.items():
        manifest = next((m for m in tree.objects if m.id == name), None)
        if manifest is not None and stateless(manifest):
            yield Hit(
                name,
                tuple(dict.fromkeys(s.need.place for s in steps)),
                f"{name} has no volume and stops with storage: {chain(steps)}",
            )
    yield Shown(
        f"with {', '.join(m.id for m in seeds)} unhealthy: frozen {', '.join(result.frozen) or 'nothing'}; stopped {', '.join(result.stopped) or 'nothing'}"
    )


@rule(
    "apps.limits",
    "app-isolation",
    Severity.BREAKS_CLAIM,
    why="an app that eats memory takes the pods beside it with it",
    do="set a memory limit, or a LimitRange in its namespace",
    promise=True,
)
def limits(tree: Tree) -> Iterator[Said]:
    """Apps without a memory limit; infrastructure without requests."""
    ranged = {m.namespace for m in tree.of("LimitRange")}
    seen = 0
    for layer in layers(tree, APPS):
        for manifest in layer.objects:
            for path, container in manifest.containers():
                seen += 1
                if not get(container, "resources", "limits", "memory") and manifest.namespace not in ranged:
                    yield hit(
                        tree,
                        manifest,
                        f"the container {container.get('name')} of {manifest.id} has no memory limit",
                        *path,
                        "resources",
                    )
    for release in releases(tree):
        for fact in release.parts("workload"):
            owner = tree.layers.get(release.manifest.owner)
            if (
                fact.get("resources")
                and owner
                and role(tree, owner) in (CORE, MONITORING)
                and not get(mapping(release.value(fact["resources"])), "requests")
            ):
                yield hit(
                    tree,
                    release.manifest,
                    f"{fact['what']} of {release.manifest.id} requests nothing, so it is the first to go when a node is full",
                    "spec",
                    "values",
                    *fact["resources"].split("."),
                    do="set requests in the release's values",
                )
    yield Shown(f"{seen} containers of apps looked at") if seen else Absent("the tree has no apps")
