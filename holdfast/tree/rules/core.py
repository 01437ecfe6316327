"""Core services: always there, without storage; apps need core only; a storage failure freezes nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast.tree.boot import Link, Reach, down, reaches
from holdfast.tree.findings import Evidence, Inconclusive, NotApplicable, Outcome, Severity, Violation, hit, rule
from holdfast.tree.given import GIVEN_CLASSES
from holdfast.tree.manifest import Body, Manifest, get, keys_in, mapping, sequence, texts
from holdfast.tree.needs import Phase, State
from holdfast.tree.releases import Release
from holdfast.tree.roles import (
    APPS,
    CORE,
    FLUX,
    LONGTERM,
    MONITORING,
    OTHER,
    STORAGE,
    is_core,
    is_declared,
    kustomizations,
    mixed,
    role,
    role_of,
    stateless,
    states_of,
    storage_states,
)
from holdfast.tree.rules.local_traffic import entrance_doubts
from holdfast.tree.tree import KUSTOMIZE, Kustomization, Tree


def chain(steps: tuple[Link, ...]) -> str:
    """A chain of reasons in words, each with its place."""
    return " → ".join(str(s) for s in steps)


def reaching(
    kustomization: Kustomization, reach: Reach, words: str, hits: tuple[str, ...] = ()
) -> Violation | Inconclusive:
    """What follows from a need that mustn't be, told in *words*; a doubt where something else may meet it."""
    told = f"{words}: {chain(reach.steps)}"
    if not reach.sure:
        return Inconclusive(f"{told}; one of several would do there")
    places = tuple(dict.fromkeys(s.need.location for s in reach.steps))
    return Violation(f"Kustomization/{kustomization.id}", places, told, hits=hits)


def unknown_charts(tree: Tree, *roles: str) -> Iterator[Inconclusive]:
    """What can't be judged in these parts of the tree, or in all of it without *roles*: charts that weren't rendered and have no declared facts."""
    for release in tree.releases:
        kustomization, name = tree.kustomization_of(release.manifest), release.manifest.id
        if roles and (kustomization is None or role(tree, kustomization) not in roles):
            continue
        if release.unread:
            yield Inconclusive(f"{name}: its values in {', '.join(release.unread)} aren't in the tree")
        if name in tree.charts.rendered:
            continue
        if name in tree.charts.unrendered:  # facts of a chart by its name say nothing of one that the tree holds itself
            yield Inconclusive(f"{name}: {tree.charts.unrendered[name]}, so what it creates wasn't judged")
        elif release.known and release.version.strip() in ("", "*", "x"):
            yield Inconclusive(f"{name}: it names no version, so which chart {release.chart} runs isn't known")
        elif not release.known:
            chart = release.chart or "that it names"
            yield Inconclusive(f"{name}: the chart {chart} isn't known here, so what it creates wasn't judged")


@rule(
    "core.single",
    "core-always-available",
    Severity.BREAKS_CLAIM,
    why="one pod that is lost or moved takes all that it serves with it",
    do="run it on every node (DaemonSet), or at least twice and spread",
    opt_in=True,
)
def single(tree: Tree) -> Iterator[Outcome]:
    """Ingress controllers with one replica only."""
    found = False
    yield from unknown_charts(tree, CORE)
    for release in tree.releases:
        for fact in release.parts("workload"):
            if not any(release.parts("ingress_class")):
                continue
            found = True
            if not _nodes(tree):
                yield Inconclusive(
                    "how many nodes there are isn't said, and on one node each part runs once: [declared] nodes"
                )
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
            elif kind != "DaemonSet" and _nodes(tree) != 1 and not _spread(release, fact):
                yield Inconclusive(
                    f"{release.manifest.id} runs {fact['what']} {count} times, and its values don't say that they lie on different nodes"
                )
            else:
                yield Evidence(
                    f"{release.manifest.id} runs {fact['what']} as a {kind}"
                    + ("" if kind == "DaemonSet" else f", {count} times")
                )
    for kustomization in kustomizations(tree, CORE):
        for manifest in kustomization.objects:
            if (
                manifest.kind == "Deployment"
                and role_of(tree, manifest) == CORE
                and manifest.spec.get("replicas", 1) in (0, 1)
                and _serves_from_outside(tree, manifest)
                and _nodes(tree) != 1
            ):
                found = True
                yield hit(tree, manifest, f"{manifest.id} answers from outside and runs once", "spec", "replicas")
    yield from entrance_doubts(tree)
    if not found:
        yield NotApplicable(
            "the tree has no ingress controller that is known here", "let a core Kustomization bring one"
        )


def _spread(release: Release, fact: Body) -> bool:
    """Whether the values keep the pods of a workload of a chart apart."""
    above = str(fact.get("replicas", "")).rpartition(".")[0]
    own = mapping(release.value(above)) if above else release.values
    return bool(own.get("topologySpreadConstraints")) or bool(get(own, "affinity", "podAntiAffinity"))


def _nodes(tree: Tree) -> int:
    return int(tree.settings.declared.nodes or 0)


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
def core_storage(tree: Tree) -> Iterator[Outcome]:
    """A path of any kind from core to storage; volumes in core itself."""
    core = kustomizations(tree, CORE)
    if not core:
        yield NotApplicable(
            "no Kustomization of the tree is recognised as core", "name it: [roles] core = […] in .holdfast.toml"
        )
        return
    yield from unknown_charts(tree, CORE)
    targets = storage_states(tree)
    unknown = {
        State(r.manifest.id, Phase.READY)
        for r in tree.releases
        if not r.known and r.manifest.id not in tree.charts.rendered
    }
    if CORE not in tree.settings.roles and not _has_ingress(tree):
        yield Inconclusive("no ingress controller is known in the tree: what is looked at is a part of core only")
    yield from _beside_core(tree, targets)
    yield from _through_a_server(tree, core)
    for kustomization in core:
        reach = reaches(tree.graph, _starts(tree, kustomization), targets - set(states_of(kustomization)))
        if reach:
            yield reaching(kustomization, reach, f"core (Kustomization/{kustomization.id}) reaches storage")
        elif through := reaches(tree.graph, _starts(tree, kustomization), unknown - set(states_of(kustomization))):
            what = f"core (Kustomization/{kustomization.id}) needs {through.steps[-1].other.id}, whose chart isn't known here"
            yield Inconclusive(f"{what}: {chain(through.steps)}")
        hits = [*_own_volumes(tree, kustomization)]
        yield from hits
        if not reach and not hits:
            yield Evidence(
                f"nothing that Kustomization/{kustomization.id} needs leads to storage ({len(kustomization.objects)} objects)"
            )


_FROM_A_SERVER = {
    "Certificate": ("issuerRef", "Issuer", "ClusterIssuer"),
    "ExternalSecret": ("secretStoreRef", "SecretStore", "ClusterSecretStore"),
}


def _through_a_server(tree: Tree, core: list[Kustomization]) -> Iterator[Inconclusive]:
    """What core has from a server in the cluster that keeps data: certificates by an issuer, Secrets by a store."""
    asking = (m for k in core for m in k.objects if m.kind in _FROM_A_SERVER)
    for manifest in asking:
        field, *kinds = _FROM_A_SERVER[manifest.kind]
        name = get(manifest.spec, field, "name")
        for giver in (m for m in tree.of(*kinds) if m.name == name):
            space = _serves_in(giver)
            if space and (holder := _keeps_data_in(tree, space)):
                yield Inconclusive(
                    f"{manifest.id} of core comes by {giver.id} from the namespace {space}, where {holder} keeps data"
                )


_SERVER = re.compile(r"://[a-z0-9-]+\.(?P<space>[a-z0-9-]+)(?:\.svc(?:\.[a-z.]+)?)?(?::\d+)?(?:/|$)")


def _serves_in(manifest: Manifest) -> str:
    """The namespace of the Service that an issuer or a store asks; empty where it asks nobody in the cluster."""
    found = (_SERVER.search(text) for path, text in texts(manifest.spec) if path[-1:] in (("server",), ("url",)))
    return next((one["space"] for one in found if one), "")


def _keeps_data_in(tree: Tree, space: str) -> str:
    """Who keeps data on a volume in a namespace; empty where nobody is known to."""
    releases = (r.manifest.id for r in tree.releases if r.target_namespace == space and any(r.volumes()))
    workloads = (m.id for m in tree.workloads_in(space) if not stateless(m))
    return next(releases, "") or next(workloads, "")


def _has_ingress(tree: Tree) -> bool:
    """Whether the tree brings who answers from outside: an ingress controller, a gateway, or a release that is known as one."""
    return (
        bool(tree.of("IngressClass", "GatewayClass"))
        or any(
            any(r.parts("ingress_class")) or _ENTRANCE.search(r.chart)
            for r in tree.releases
            if role_of(tree, r.manifest) == CORE
        )
        or any(_serves_from_outside(tree, m) and role_of(tree, m) == CORE for m in tree.workloads())
    )


_ENTRANCE = re.compile(r"ingress|traefik|gateway|haproxy|contour|envoy")
_NETWORKING = re.compile(
    r"(?:^|[-/])(?:coredns|multus|cilium|calico|flannel|cloudflared?|cloudflare-tunnel|external-dns|k8s-gateway|metallb|kube-vip|envoy-gateway"
    r"|traefik|ingress-nginx|haproxy-ingress|tailscale|newt|pangolin)(?:$|[-/])"
)


def _beside_core(tree: Tree, targets: set[State]) -> Iterator[Inconclusive]:
    """What is networking or ingress by its name and lies in no Kustomization of core: whether it needs storage, as far as that can be told."""
    core = {k.id for k in kustomizations(tree, CORE)}
    releases = {r.manifest.id: r for r in tree.releases}
    for manifest in (*tree.of("HelmRelease"), *tree.workloads()):
        release = releases.get(manifest.id)
        names = f"{manifest.name}/{release.chart if release else ''}"
        whole = manifest.owner in core and not mixed(tree, tree.kustomizations[manifest.owner])
        if not _NETWORKING.search(names):
            continue
        if release is not None and not release.known and manifest.id not in tree.charts.rendered:
            yield Inconclusive(
                f"{manifest.id} is networking by its name, and its chart {release.chart or 'that it names'} isn't known here"
            )
        if whole:
            continue
        starts = [
            State(manifest.id, Phase.READY),
            State(manifest.id, Phase.EXISTS),
            State(f"Kustomization/{manifest.owner}", Phase.APPLIED),
        ]
        if reach := reaches(tree.graph, starts, targets):
            yield Inconclusive(f"{manifest.id}, networking by its name, reaches storage: {chain(reach.steps)}")


def _must_stay(tree: Tree, kustomization: Kustomization) -> bool:
    """Whether a Kustomization has to get its changes while storage is away: core; monitoring only where the tree says so."""
    own = role(tree, kustomization)
    told = tree.settings.claimed
    return own == CORE or (own == MONITORING and ("storage-does-not-cascade" in told or "all" in told))


def _beside_storage(tree: Tree, kustomization: Kustomization) -> bool:
    """Whether all that runs of a Kustomization lies where storage does: a part of it, such as the cluster of an operator."""
    spaces = {r.target_namespace for r in tree.releases if r.role == STORAGE}
    own = {m.namespace for m in kustomization.objects if m.pod_path}
    own |= {r.target_namespace for r in tree.releases if r.manifest.owner == kustomization.id}
    return bool(own) and own <= spaces - {"default", "kube-system"}


def _starts(tree: Tree, kustomization: Kustomization) -> list[State]:
    """The states of what is core in a Kustomization; of its own only where nothing else is in it."""
    if not mixed(tree, kustomization):
        return states_of(kustomization)
    return [
        State(m.id, s)
        for m in kustomization.objects
        if role_of(tree, m) == CORE and not m.is_(KUSTOMIZE, "Kustomization")
        for s in (Phase.READY, Phase.EXISTS)
    ]


def _has_volumes(tree: Tree, kustomization: Kustomization) -> bool:
    """Whether something in it keeps its data on a volume, and so waits for storage with reason."""
    return any(
        m.kind == "PersistentVolumeClaim" or (m.pod_path and not stateless(m)) for m in kustomization.objects
    ) or any(r.manifest.owner == kustomization.id and any(r.volumes()) for r in tree.releases)


def _own_volumes(tree: Tree, kustomization: Kustomization) -> Iterator[Violation]:
    several = mixed(tree, kustomization)
    for manifest in kustomization.objects:
        if (several and role_of(tree, manifest) != CORE) or not is_core(tree, kustomization, manifest):
            continue
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
    for release in tree.releases:
        if (
            release.manifest.owner == kustomization.id
            and not (several and role_of(tree, release.manifest) != CORE)
            and is_core(tree, kustomization, release.manifest)
        ):
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
def apps_storage(tree: Tree) -> Iterator[Outcome]:
    """Kustomizations of apps that reach storage although not every app in them has a volume."""
    targets, apps = storage_states(tree), kustomizations(tree, APPS)
    if not apps:
        yield NotApplicable("no Kustomization of the tree holds apps", "name it: [roles] apps = […] in .holdfast.toml")
        return
    yield from unknown_charts(tree, APPS)
    for kustomization in apps:
        users = list(_with_volumes(tree, kustomization))
        free = [m for m in kustomization.objects if m.pod_path and stateless(m) and m.kind not in ("Job", "CronJob")]
        # All of it is applied before any of it is waited for: what holds it back is what it depends on, not a neighbour's volume.
        starts = [State(f"Kustomization/{kustomization.id}", Phase.APPLIED)]
        reach = reaches(tree.graph, starts, targets)
        if reach and free and not _beside_storage(tree, kustomization):
            names = tuple(m.id for m in free)
            volume = "has no volume" if len(names) == 1 else "have no volume"
            words = f"Kustomization/{kustomization.id} reaches storage, and {', '.join(names)} in it {volume}"
            yield reaching(kustomization, reach, words, names)
        elif free and (holders := _holding_storage(tree, kustomization)):
            yield Inconclusive(
                f"Kustomization/{kustomization.id} depends on {', '.join(holders)}, which storage is a part of"
            )
        elif _CORE_NAME.search(kustomization.manifest.name) and not is_declared(tree, kustomization):
            yield Inconclusive(
                f"Kustomization/{kustomization.id} is called as core is, and whether what is in it are applications isn't known"
            )
        elif users and free:
            yield Evidence(
                f"{', '.join(m.id for m in free)} of Kustomization/{kustomization.id} need core only, beside "
                f"{', '.join(users)} with volumes of their own"
            )
        elif users:
            yield Evidence(f"exceptions, with volumes of their own: {', '.join(users)}")
        else:
            yield Evidence(f"Kustomization/{kustomization.id} needs core only")
    for kustomization in apps:
        on = [k.id for k in apps if k.id in kustomization.depends_on]
        if on:
            yield Inconclusive(
                f"Kustomization/{kustomization.id} waits for Kustomization/{on[0]}, which holds apps, too"
            )
    if all(_is_data_alone(tree, k) for k in apps):
        yield Inconclusive("each app of the tree has a volume of its own, so none is there that needs core only")
    for kustomization in kustomizations(tree, APPS, OTHER):
        for manifest in kustomization.objects:
            if _has_an_operator_make_volumes(manifest):
                yield Inconclusive(
                    f"{manifest.id} has an operator make volumes: what of the apps needs them wasn't judged"
                )
    for kustomization, first, beside in _apps_elsewhere(tree, STORAGE, OTHER, FLUX):
        yield Inconclusive(
            f"{first} lies in Kustomization/{kustomization.id}, beside {beside}: whether it needs storage wasn't judged"
        )


def _is_data_alone(tree: Tree, kustomization: Kustomization) -> bool:
    """Whether whatever runs in a Kustomization keeps data on a volume."""
    return any(_with_volumes(tree, kustomization)) and not any(
        m.pod_path and stateless(m) and m.kind not in ("Job", "CronJob") for m in kustomization.objects
    )


_OF_VOLUMES = frozenset(
    {
        "storage",
        "storageClass",
        "storageClassName",
        "volumeClaimTemplate",
        "volumeClaimTemplates",
        "dataVolumeClaimSpec",
        "walStorage",
    }
)


def _has_an_operator_make_volumes(manifest: Manifest) -> bool:
    """Whether a custom resource asks for storage, as those of databases do."""
    foreign = "." in manifest.group and not manifest.group.endswith((".k8s.io", ".fluxcd.io", "fluxcd.controlplane.io"))
    return foreign and not _OF_VOLUMES.isdisjoint(map(str, keys_in(manifest.spec)))


_CORE_NAME = re.compile(r"(?:^|-)(?:core|infra|infrastructure|system|platform|base|controllers?)(?:$|-)")


def _apps_elsewhere(tree: Tree, *roles: str) -> Iterator[tuple[Kustomization, str, str]]:
    """Kustomizations that count as something else and hold applications: the first of these, and beside what it lies, in words."""
    for kustomization in kustomizations(tree, *roles):
        if is_declared(tree, kustomization):
            continue
        here = [r for r in tree.releases if r.manifest.owner == kustomization.id]
        spaces = {r.target_namespace for r in here if r.role} | {"kube-system", "flux-system"}
        found = [
            r.manifest.id
            for r in here
            if not r.role and not r.minor and r.target_namespace not in spaces and not _is_a_part(r)
        ]
        found += [
            m.id for m in kustomization.objects if m.pod_path and m.namespace not in spaces and m.kind != "DaemonSet"
        ]
        if found:
            what = role(tree, kustomization)
            beside = "what Flux itself needs" if what == FLUX else "storage" if what == STORAGE else "other things"
            yield kustomization, found[0], beside


def _is_a_part(release: Release) -> bool:
    """Whether a release brings definitions or an operator, and no application."""
    return bool(release.groups) or release.chart.endswith(("-crds", "-operator"))


def _holding_storage(tree: Tree, kustomization: Kustomization) -> list[str]:
    """What a Kustomization depends on, directly or not, that applies storage beside other things."""
    owners = {r.manifest.owner for r in tree.releases if r.role == STORAGE} | {m.owner for m in tree.of("CSIDriver")}
    seen: set[str] = set()
    waiting = list(kustomization.depends_on)
    while waiting:
        name = waiting.pop()
        if name not in seen and name in tree.kustomizations:
            seen.add(name)
            waiting += tree.kustomizations[name].depends_on
    return [f"Kustomization/{name}" for name in sorted(seen & owners)]


def _with_volumes(tree: Tree, kustomization: Kustomization) -> Iterator[str]:
    """What of a Kustomization keeps its data on a volume: its own pods, those that its charts render, and releases whose values ask for one."""
    yield from (m.id for m in kustomization.objects if m.pod_path and not stateless(m))
    releases = [r for r in tree.releases if r.manifest.owner == kustomization.id]
    own = {r.manifest.id for r in releases}
    rendered = [m for m in tree.charts.objects if m.owner in own]
    yield from (m.id for m in rendered if m.pod_path and not stateless(m))
    yield from (r.manifest.id for r in releases if r.manifest.id not in tree.charts.rendered and any(r.volumes()))


def _frozen(found: dict[str, tuple[tuple[Link, ...], tuple[str, ...]]], sick: str) -> Iterator[Violation]:
    """Each with its cause: the nearest to storage that is frozen itself, or the chain by which it waits, which others may wait by, too."""
    for name, (steps, hits) in found.items():
        passed = [name, *(s.other.id for s in steps)]
        first = [one for one in passed if one in found][-1]
        onward = found[first][0][1:]
        places = tuple(dict.fromkeys(s.need.location for s in steps))
        words = f"with {sick} unhealthy, {name} is frozen: {chain(steps)}"
        yield Violation(name, places, words, hits=hits, cause=chain(onward) or first)


@rule(
    "storage.cascade",
    "storage-does-not-cascade",
    Severity.BREAKS_CLAIM,
    why="while storage is sick no change of these is applied: a Kustomization waits for the readiness "
    "of those it depends on, at the same revision",
    do="let only what has volumes depend on storage",
)
def cascade(tree: Tree) -> Iterator[Outcome]:
    """What freezes or stops when storage is down, beyond what has volumes."""
    seeds = [r.manifest for r in tree.releases if r.role == STORAGE] or [
        m
        for kustomization in kustomizations(tree, STORAGE)
        for m in kustomization.objects
        if m.pod_path or m.kind == "HelmRelease"
    ]
    if not seeds:
        yield NotApplicable("nothing in the tree provides storage")
        return
    yield from unknown_charts(tree)
    result, sick = down(tree.graph, seeds), ", ".join(m.id for m in seeds)
    frozen: dict[str, tuple[tuple[Link, ...], tuple[str, ...]]] = {}
    for name, steps in result.frozen.items():
        kustomization = tree.kustomizations.get(name.partition("/")[2])
        if kustomization is None or role(tree, kustomization) in (STORAGE, LONGTERM):
            continue
        if _beside_storage(tree, kustomization):
            continue
        free = [m.id for m in kustomization.objects if m.pod_path and stateless(m) and m.kind not in ("Job", "CronJob")]
        if free or (_must_stay(tree, kustomization) and not _has_volumes(tree, kustomization)):
            frozen[name] = (tuple(steps), (name, *free))
    yield from _frozen(frozen, sick)
    for name, steps in result.stopped.items():
        manifest = next((m for m in tree.objects if m.id == name), None)
        if manifest is not None and stateless(manifest):
            yield Violation(
                name,
                tuple(dict.fromkeys(s.need.location for s in steps)),
                f"{name} has no volume and stops with storage: {chain(steps)}",
            )
    parts = [
        m for k in kustomizations(tree, APPS) for m in k.objects if m.pod_path and m.kind not in ("Job", "CronJob")
    ]
    if parts and all(m.id in result.stopped for m in parts):
        yield Inconclusive(
            "each app of the tree has a volume and stops with storage, so none is there that could go on"
        )
    yield Evidence(
        f"with {sick} unhealthy: frozen {', '.join(result.frozen) or 'nothing'}; stopped {', '.join(result.stopped) or 'nothing'}"
    )


@rule(
    "apps.limits",
    "app-isolation",
    Severity.BREAKS_CLAIM,
    why="an app that eats memory takes the pods beside it with it",
    do="set a memory limit, or a LimitRange in its namespace",
    opt_in=True,
)
def limits(tree: Tree) -> Iterator[Outcome]:
    """Apps without a memory limit; what charts leave open."""
    ranged = {m.namespace for m in tree.of("LimitRange") if _limits_memory(m)}
    seen = 0
    for kustomization in kustomizations(tree, APPS):
        for manifest in kustomization.objects:
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
            if where := _on_its_nodes_disk(tree, manifest):
                yield Inconclusive(
                    f"{manifest.id} writes to {where}, without a limit: a full disk takes what else is on the node with it"
                )
    for release in tree.unread_releases:
        yield from _of_a_chart(tree, release)
    for kustomization, first, _ in _apps_elsewhere(tree, FLUX):
        yield Inconclusive(
            f"{first} lies in Kustomization/{kustomization.id}, with Flux itself: what the API server refuses of it holds Flux back, too"
        )
    yield Evidence(f"{seen} containers of apps looked at") if seen else NotApplicable("the tree has no apps")


def _on_its_nodes_disk(tree: Tree, manifest: Manifest) -> str:
    """What of a workload's volumes lies on the disk of its node, which nothing keeps from being filled; empty where none does."""
    for volume in sequence(manifest.pod.get("volumes")):
        if path := get(volume, "hostPath", "path"):
            return f"its node's {path}"
    for _, name in manifest.claims():
        claim = tree.by_key.get(("PersistentVolumeClaim", manifest.namespace, name))
        if claim is not None and claim.spec.get("storageClassName") in GIVEN_CLASSES:
            return f"its node's disk ({claim.id})"
    templates = (get(t, "spec", "storageClassName") for t in sequence(manifest.spec.get("volumeClaimTemplates")))
    return "its node's disk (a volume for each pod)" if not GIVEN_CLASSES.isdisjoint(filter(None, templates)) else ""


def _limits_memory(manifest: Manifest) -> bool:
    """Whether a LimitRange gives a container without a memory limit one."""
    return any(
        get(one, "type") == "Container" and (get(one, "default", "memory") or get(one, "max", "memory"))
        for one in sequence(manifest.spec.get("limits"))
    )


def _of_a_chart(tree: Tree, release: Release) -> Iterator[Inconclusive]:
    """What a chart that wasn't rendered leaves open: the limits of apps, and requests that the values don't set and the chart may."""
    owner, name = tree.kustomization_of(release.manifest), release.manifest.id
    if owner is not None and role(tree, owner) == APPS:
        yield Inconclusive(f"{name}: its chart wasn't rendered, so the limits of its containers weren't judged")
    for fact in release.parts("workload"):
        if not fact.get("resources") or owner is None or role(tree, owner) not in (CORE, MONITORING):
            continue
        if not get(mapping(release.value(fact["resources"])), "requests"):
            yield Inconclusive(
                f"{name}: its values set no requests for {fact['what']}, and the chart's own aren't known"
            )
