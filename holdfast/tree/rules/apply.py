"""What the API server or Flux refuses: builds that fail, objects that exist twice, things that nothing makes, loops in the order of the start."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast.tree.boot import Blocked
from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Hit, Said, Severity, hit, rule
from holdfast.tree.graph import GIVEN_CLASSES, Sort, State, config_of
from holdfast.tree.manifest import Manifest, get, mapping, matches, sequence
from holdfast.tree.references import read
from holdfast.tree.releases import releases
from holdfast.tree.repository import Place
from holdfast.tree.roles import boot_of, graph_of
from holdfast.tree.tree import KUSTOMIZE, Layer, Tree

FAMILY = "apply"
_OF_ONE_POD = frozenset({"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index", "batch.kubernetes.io/job-name", "job-name"})  # Kubernetes sets them
_LACKING = {
    "dependsOn": ("apply.missing-dependency", "apply what it depends on, or take the dependency out"),
    "kind": ("apply.missing-kind", "apply the CRD first: in this Kustomization, or in one that this one depends on"),
    "namespace": ("apply.missing-namespace", "add the Namespace to the tree, or mend its name"),
    "source": ("apply.missing-source", "apply the source, or mend the reference (kind, name, namespace)"),
    "storage": ("apply.missing-class", "name a class that exists, or add it to the tree"),
    "healthCheck": ("apply.missing-health-check", "mend the name in the health check, or take it out"),
    "suspend": ("apply.suspended-dependency", "resume it, or take it out of what must be ready"),
}


@rule("apply.build", FAMILY, Severity.BREAKS_APPLY, why="nothing of a Kustomization that can't be built is applied, and no later commit of it is either",
      do="mend it, then run: kustomize build FOLDER")
def build(tree: Tree) -> Iterator[Said]:
    """Builds that fail, in kustomize's own words."""
    for layer in tree.all_layers():
        if layer.error and "already defined" not in layer.error:  # a key that stands twice: apply.duplicate-key says it better
            place = layer.built.place if layer.built and layer.built.place else _path_place(tree, layer)
            held = () if layer.latent else tuple(f"Kustomization/{i}" for i in _held_back(tree, layer.id))
            name = layer.folder if layer.latent and not layer.manifest.file else f"Kustomization/{layer.id}"
            yield Hit(name, (place,), f"{layer.folder} can't be built: {layer.error}", hits=(name, *held), latent=layer.latent)


def _path_place(tree: Tree, layer: Layer) -> Place:
    return tree.place(layer.manifest, "spec", "path") if layer.manifest.file else Place(layer.folder, 1)


def _held_back(tree: Tree, layer: str) -> list[str]:
    """The Kustomizations that wait for one, directly or not."""
    found: list[str] = []
    for other in tree.layers.values():
        if layer in other.depends_on:
            found += [other.id, *_held_back(tree, other.id)] if other.id not in found and other.id != layer else []
    return list(dict.fromkeys(found))


@rule("apply.chart", FAMILY, Severity.BREAKS_APPLY, why="the release is never installed or upgraded", do="mend the chart or the values, then run: helm template")
def chart(tree: Tree) -> Iterator[Said]:
    """Charts that can be read and not rendered, in helm's own words."""
    for manifest, words in tree.chart_errors:
        yield hit(tree, manifest, f"the chart of {manifest.id} can't be rendered: {words}", "spec", "chart")


@rule("apply.yaml", FAMILY, Severity.BREAKS_APPLY, why="a file that no parser reads is applied by nobody", do="mend the YAML")
def broken_yaml(tree: Tree) -> Iterator[Said]:
    """Files that no build reads and that can't be parsed (what a build reads is apply.build's)."""
    reported = {layer.built.place.file for layer in tree.all_layers() if layer.error and layer.built and layer.built.place}
    for name in tree.unreachable:
        tree.sources.bodies(name)
    read_by_builds = {f for layer in tree.all_layers() if layer.built for f in (*(layer.built.closure.files - layer.built.closure.opaque), *layer.built.closure.kustomizations)}
    for name, trouble in sorted(tree.sources.troubles.items()):
        if name not in reported and (name in read_by_builds or name in tree.unreachable):
            latent = not any(layer.built and name in layer.built.closure.files for layer in tree.layers.values())
            yield Hit(name, (trouble.place,), f"the YAML is broken: {trouble.what}", latent=latent,
                      severity=Severity.HYGIENE if latent else None)


@rule("apply.duplicate-key", FAMILY, Severity.BREAKS_APPLY, why="kustomize refuses a key that stands twice; other parsers silently take the last one",
      do="keep one of them")
def duplicate_keys(tree: Tree) -> Iterator[Said]:
    """A mapping key that stands twice in a file that a build reads."""
    for layer in tree.all_layers():
        if "already defined" not in layer.error or layer.built is None:
            continue  # kustomize reads every one of these files, and refuses such a key
        files = sorted({*(layer.built.closure.files - layer.built.closure.opaque), *layer.built.closure.kustomizations})
        for name in (f for f in files if f.endswith((".yaml", ".yml"))):
            for source in tree.sources.documents(name):
                for place, key, first in _twice(name, source.node):
                    held = () if layer.latent else tuple(f"Kustomization/{i}" for i in [layer.id, *_held_back(tree, layer.id)])
                    yield Hit(f"{source.kind}/{source.name}", (place,), f"the key '{key}' stands twice (first in line {first})", hits=held, latent=layer.latent)


def _twice(file: str, node: object) -> Iterator[tuple[Place, str, int]]:
    stack, done = [node], set()
    while stack:
        here = stack.pop()
        if id(here) in done:
            continue
        done.add(id(here))
        value = getattr(here, "value", None)
        if not isinstance(value, list):
            continue
        if getattr(here, "id", "") == "sequence":
            stack += value
            continue
        seen: dict[str, int] = {}
        for key, below in value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen and name != "<<":
                yield Place(file, line), name, seen[name]
            seen[name] = line
            stack.append(below)


@rule("apply.duplicate-object", "git-single-source", Severity.BREAKS_CLAIM, why="two owners overwrite each other at every interval, and pruning one deletes it",
      do="keep it in one Kustomization")
def duplicates(tree: Tree) -> Iterator[Said]:
    """The same object in two Kustomizations (twice in one, kustomize itself refuses)."""
    seen: dict[tuple[str, ...], Manifest] = {}
    for manifest in tree.objects:
        key = (manifest.group, *manifest.key)
        first = seen.setdefault(key, manifest)
        if first.owner != manifest.owner and not _on_purpose(first, manifest):
            places = (tree.place(manifest, "metadata", "name"), tree.place(first, "metadata", "name"))
            yield Hit(manifest.id, places, f"{manifest.id} is applied by {_owner(first)} and by {_owner(manifest)}")
    names: dict[tuple[str, str], Manifest] = {}
    for release in releases(tree):
        own = release.manifest
        name = release.name
        space = str(own.spec.get("storageNamespace") or own.namespace)
        other = names.setdefault((name, space), own)
        if other is not own and other.key != own.key:
            stand = sorted((tree.place(own, "metadata", "name"), tree.place(other, "metadata", "name")), reverse=True)
            yield Hit(own.id, tuple(stand), f"{own.id} and {other.id} are both the Helm release {space}/{name}")


def _on_purpose(one: Manifest, other: Manifest) -> bool:
    """Whether two owners were told to live with each other (Flux' ssa annotations), or both only make sure that a namespace is there."""
    told = any(mapping(m.meta.get("annotations")).get("kustomize.toolkit.fluxcd.io/ssa") in ("IfNotPresent", "Ignore", "Merge") for m in (one, other))
    return told or (one.kind == "Namespace" and one.body == other.body)


def _owner(manifest: Manifest) -> str:
    return manifest.owner if manifest.by == "HelmChart" else f"Kustomization/{manifest.owner}"


@rule("boot.loop", FAMILY, Severity.BREAKS_APPLY, why="running clusters don't show it: a cluster that is built from nothing never gets past it",
      do="cut one link of the chain")
def loops(tree: Tree) -> Iterator[Said]:
    """Kustomizations that wait for each other in a circle, by whatever means."""
    for blocked in [*boot_of(tree).blocked, *boot_of(tree).never_ready]:
        if blocked.loop:
            yield _chained(tree, blocked)


def _chained(tree: Tree, blocked: Blocked) -> Hit:
    names = tuple(f"Kustomization/{i}" for i in blocked.layers)
    chain = " → ".join(str(step) for step in blocked.chain)
    stand = tuple(dict.fromkeys(step.need.place for step in blocked.chain))
    verb = "can never be applied" if blocked in boot_of(tree).blocked else "can never become ready"
    return Hit(names[0], stand, f"{', '.join(names)} {verb} on an empty cluster: {chain}, and so round in a circle", hits=names)


_WHY = dict.fromkeys(("kind", "namespace"), "the whole set of a Kustomization is tried before anything of it is applied: one thing that is missing holds back all") | {"dependsOn": "what depends on it never begins"}


def _causes(tree: Tree, how: str) -> Iterator[Said]:
    graph = graph_of(tree)
    for lacking in sorted(s for s in graph.net if s.sort is Sort.LACKING):
        needers = sorted(s for s in graph.net.above[lacking] if graph.needs(s, lacking).how == how)
        if not needers:
            continue
        needs = [graph.needs(s, lacking) for s in needers]
        held = [h for h in _lost(tree, lacking) if h not in {s.id for s in needers}]
        also = f"; it holds back {', '.join(held)}" if held else ""
        yield Hit(needers[0].id, tuple(dict.fromkeys(n.place for n in needs)), f"{needs[0].why}{also}",
                  why=_WHY.get(how, "it never becomes ready, and what waits for it never begins") if held else "it never becomes ready", hits=tuple(dict.fromkeys([*(s.id for s in needers), *held])))


def _lost(tree: Tree, lacking: State) -> list[str]:
    """The Kustomizations that this alone keeps from being applied or ready."""
    found = []
    for blocked in [*boot_of(tree).blocked, *boot_of(tree).never_ready]:
        if blocked.chain and blocked.chain[-1].other == lacking:
            found += [f"Kustomization/{i}" for i in blocked.layers]
    return found


def waited_for(tree: Tree) -> set[str]:
    """The suspended Kustomizations that another waits for: apply.suspended-dependency says them."""
    return {said.object for said in _causes(tree, "suspend") if isinstance(said, Hit) and len(said.hits) > 1}


def _missing_rule(how: str, name: str, do: str) -> None:
    @rule(name, FAMILY, Severity.BREAKS_APPLY, why="", do=do)
    def judge(tree: Tree) -> Iterator[Said]:
        for said in _causes(tree, how):
            # A suspended Kustomization is a defect of the order only where another waits for it.
            if how != "suspend" or (isinstance(said, Hit) and len(said.hits) > 1):
                yield said


for _how, (_name, _do) in _LACKING.items():
    _missing_rule(_how, _name, _do)


@rule("apply.patch-on-nothing", FAMILY, Severity.BREAKS_CLAIM, why="kustomize says nothing about a patch whose target matches nothing: what it should change stays",
      do="mend the target's kind or name")
def patch_on_nothing(tree: Tree) -> Iterator[Said]:
    """Patches with a target that matches no object of the build."""
    for layer in tree.all_layers():
        if layer.error or layer.built is None:
            continue
        for file in layer.built.closure.kustomizations:
            body = read(tree.sources, file)
            for index, patch in enumerate([*sequence(body.get("patches")), *sequence(body.get("patchesJson6902"))]):
                target = mapping(mapping(patch).get("target"))
                if target and body.get("kind") != "Component" and not _for_any(patch) and not any(_targeted(target, m) for m in layer.objects):
                    yield Hit(file, (tree.sources.place(file, path=("patches", index)),), f"a patch of {file} targets {_target_text(target)}, and there is none",
                              latent=layer.latent)
        for index, patch in enumerate(sequence(layer.spec.get("patches"))):
            target = mapping(mapping(patch).get("target"))
            # One that a parent puts into all of its children need not meet something in each of them.
            shared = [la for la in tree.all_layers() if patch in sequence(la.spec.get("patches"))]
            if target and not _for_any(patch) and not any(_targeted(target, m) for la in shared for m in la.objects):
                yield Hit(layer.manifest.id, (tree.place(layer.manifest, "spec", "patches", index),),
                          f"a patch of {layer.manifest.id} targets {_target_text(target)}, and there is none", latent=layer.latent)


def _for_any(patch: object) -> bool:
    """Whether a patch needs no target in the end: it takes it away, or is for whatever there is of a kind (no name)."""
    named = mapping(mapping(patch).get("target")).get("name")
    return not named or "$patch: delete" in str(mapping(patch).get("patch"))


def _target_text(target: dict[str, object]) -> str:
    return " ".join(f"{k} {v}" for k, v in target.items())


def _targeted(target: dict[str, object], manifest: Manifest) -> bool:
    """Whether a patch's target takes an object; kustomize's patterns are anchored, and names are those before prefixes."""
    for key, value, whole in (("kind", manifest.kind, True), ("name", manifest.name, False), ("namespace", manifest.namespace, True),
                              ("group", manifest.group, True)):
        wanted = target.get(key)
        if not isinstance(wanted, str) or not wanted:
            continue
        try:
            pattern = re.compile(f"^(?:{wanted})$" if whole else wanted)
        except re.error:
            return True
        if key == "namespace":
            continue  # it may have been set only after the patch
        if not pattern.search(value) and not (key == "name" and wanted in value):
            return False
    labels = target.get("labelSelector")
    if isinstance(labels, str) and labels and "=" in labels and "!" not in labels and "," not in labels:
        key, _, value = labels.partition("=")
        have = mapping(manifest.meta.get("labels"))
        return str(have.get(key.strip())) == value.lstrip("=").strip()
    return True


def _without_releases(tree: Tree, namespace: str) -> bool:
    """Whether all of a namespace is in the tree: no chart installs into it, nothing unread does, and it isn't one that Kubernetes or k3s fills."""
    if namespace in ("kube-system", "kube-public") or any(la.not_read or la.error for la in tree.layers.values()):
        return False
    if namespace == "flux-system" and ("Deployment", "flux-system", "kustomize-controller") not in tree.by_key:
        return False
    return not any(r.target_namespace == namespace and r.manifest.id not in tree.rendered for r in releases(tree))


def whole_namespace(tree: Tree, namespace: str) -> bool:
    """Whether every pod and Service of a namespace is in the tree."""
    return _without_releases(tree, namespace) and not _custom_pods(tree, namespace)


@rule("apply.missing-config", FAMILY, Severity.BREAKS_APPLY, why="the pods wait in ContainerCreating until it exists", do="add it, or mend the name")
def missing_config(tree: Tree) -> Iterator[Said]:
    """ConfigMaps (and Secrets with a name almost like one that is there) that pods can't start without and nothing makes."""
    for manifest in tree.workloads():
        for kind, name, path in config_of(manifest):
            if (kind, manifest.namespace, name) in tree.by_key or name == "kube-root-ca.crt":
                continue
            near = [m.name for m in tree.of(kind) if m.namespace == manifest.namespace and _alike(m.name, name)]
            elsewhere = [m.namespace for m in tree.of(kind) if m.name == name]
            whole = _without_releases(tree, manifest.namespace) and not _custom_pods(tree, manifest.namespace)
            if near or (kind == "ConfigMap" and whole):
                more = f"; did you mean {near[0]}?" if near else f"; there is one in the namespace {elsewhere[0]}" if elsewhere else ""
                yield hit(tree, manifest, f"the pods of {manifest.id} need {kind}/{manifest.namespace}/{name}, which nothing in the tree makes{more}", *path)


def _alike(one: str, other: str) -> bool:
    """Whether two names differ by a slip of the finger, or by a hash at the end."""
    if one.startswith(f"{other}-") and re.fullmatch(r"[a-z0-9]{10}", one[len(other) + 1:]):
        return True
    return (len(one) > 4 and sorted(one) == sorted(other) and one != other) or (abs(len(one) - len(other)) == 1 and len(one) > 4 and (
        any(one[:i] + one[i + 1:] == other for i in range(len(one))) or any(other[:i] + other[i + 1:] == one for i in range(len(other)))))


@rule("apply.missing-account", FAMILY, Severity.BREAKS_APPLY, why="no pod of it is ever created", do="add the ServiceAccount, or mend the name")
def missing_account(tree: Tree) -> Iterator[Said]:
    """Pods that run as an account that nothing makes."""
    for manifest in tree.workloads():
        name = manifest.pod.get("serviceAccountName")
        if isinstance(name, str) and name != "default" and ("ServiceAccount", manifest.namespace, name) not in tree.by_key \
                and _without_releases(tree, manifest.namespace) and not _custom_pods(tree, manifest.namespace):
            yield hit(tree, manifest, f"{manifest.id} runs as the ServiceAccount {name}, which nothing in the tree makes", *manifest.pod_path,
                      "serviceAccountName")


@rule("apply.missing-priority", FAMILY, Severity.BREAKS_APPLY, why="no pod of it is ever created", do="add the PriorityClass, or mend the name")
def missing_priority(tree: Tree) -> Iterator[Said]:
    """Pods of a priority that nothing makes; a chart may bring one, so only where none is installed."""
    if releases(tree) or any(la.not_read or la.error for la in tree.layers.values()):
        return
    for manifest in tree.workloads():
        name = manifest.pod.get("priorityClassName")
        if isinstance(name, str) and name and not name.startswith("system-") and ("PriorityClass", "", name) not in tree.by_key:
            yield hit(tree, manifest, f"{manifest.id} has the priority {name}, which nothing in the tree makes", *manifest.pod_path, "priorityClassName")


@rule("apply.selector", FAMILY, Severity.BREAKS_APPLY, why="the API server refuses it, and with it all of its Kustomization",
      do="let spec.selector.matchLabels be labels of the pod template")
def selector(tree: Tree) -> Iterator[Said]:
    """Selectors that don't take the workload's own pods."""
    for manifest in [*tree.objects, *tree.latent_objects]:
        if manifest.kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet") and manifest.group == "apps":
            wanted = mapping(manifest.spec.get("selector"))
            if wanted and not matches(wanted, manifest.pod_labels):
                yield hit(tree, manifest, f"the selector of {manifest.id} doesn't take the labels of its own pods", "spec", "selector")


@rule("apply.service-without-pods", FAMILY, Severity.BREAKS_CLAIM, why="whoever calls it is refused", do="let the selector be labels of the pods that it is for")
def service_without_pods(tree: Tree) -> Iterator[Said]:
    """Services whose selector takes no pod of the tree, where nothing else can make pods."""
    for service in tree.of("Service"):
        wanted = mapping(service.spec.get("selector"))
        if not wanted or not _without_releases(tree, service.namespace) or _custom_pods(tree, service.namespace):
            continue
        wanted = {k: v for k, v in wanted.items() if k not in _OF_ONE_POD}
        pods = [m for m in tree.workloads_in(service.namespace) if matches({"matchLabels": wanted}, m.pod_labels)]
        if not pods:
            yield hit(tree, service, f"{service.id} selects {_labels(wanted)}, and no pod in {service.namespace} has that", "spec", "selector")
            continue
        for index, port in enumerate(sequence(service.spec.get("ports"))):
            wanted_port = mapping(port).get("targetPort")
            if isinstance(wanted_port, str) and not any(wanted_port == mapping(p).get("name") for m in pods for _, c in m.containers(every=True)
                                                        for p in sequence(c.get("ports"))):
                yield hit(tree, service, f"{service.id} sends to the port '{wanted_port}', and no container of {pods[0].id} has one of that name",
                          "spec", "ports", index)


def _custom_pods(tree: Tree, namespace: str) -> bool:
    """Whether an operator may make pods in a namespace: there is a custom resource in it."""
    return namespace in tree.custom_namespaces


def _labels(labels: dict[str, object]) -> str:
    return ",".join(f"{k}={v}" for k, v in labels.items())


@rule("apply.ingress-backend", FAMILY, Severity.BREAKS_CLAIM, why="the ingress controller answers 503 for it", do="name a Service and a port that exist")
def ingress_backend(tree: Tree) -> Iterator[Said]:
    """Ingresses that lead to no Service, or to no port of it."""
    for ingress in tree.of("Ingress"):
        for path, backend in _backends(ingress):
            name = str(get(backend, "service", "name") or "")
            service = tree.by_key.get(("Service", ingress.namespace, name))
            if service is None:
                if name and _without_releases(tree, ingress.namespace) and not _custom_pods(tree, ingress.namespace):
                    yield hit(tree, ingress, f"{ingress.id} leads to Service/{ingress.namespace}/{name}, which nothing in the tree makes", *path)
                continue
            if service.spec.get("type") == "ExternalName":
                continue
            port = mapping(get(backend, "service", "port"))
            ports = [mapping(p) for p in sequence(service.spec.get("ports"))]
            if port and not any(port.get("name") in (p.get("name"), None) and port.get("number") in (p.get("port"), None) for p in ports):
                yield hit(tree, ingress, f"{ingress.id} leads to the port {port.get('name') or port.get('number')} of {service.id}, which has none such", *path)


def _backends(ingress: Manifest) -> Iterator[tuple[tuple[str | int, ...], object]]:
    if ingress.spec.get("defaultBackend"):
        yield ("spec", "defaultBackend"), ingress.spec["defaultBackend"]
    for at, one in enumerate(sequence(ingress.spec.get("rules"))):
        for index, path in enumerate(sequence(get(one, "http", "paths"))):
            yield ("spec", "rules", at, "http", "paths", index, "backend"), mapping(path).get("backend")


@rule("apply.ingress-class", FAMILY, Severity.BREAKS_CLAIM, why="no controller serves an Ingress of a class that isn't there", do="name a class that is installed")
def ingress_class(tree: Tree) -> Iterator[Said]:
    """Ingresses of a class that no release and no object of the tree installs."""
    classes = {m.name for m in tree.of("IngressClass")}
    for release in releases(tree):
        classes |= {str(release.value(f["name"], f["default"])) for f in release.parts("ingress_class")}
        if not release.known:
            return
    for ingress in tree.of("Ingress") if classes else []:
        name = ingress.spec.get("ingressClassName")
        if isinstance(name, str) and name not in {*classes, "traefik"} and UNKNOWN not in name:  # traefik is k3s' own
            yield hit(tree, ingress, f"{ingress.id} is of the class {name}; installed: {', '.join(sorted(classes))}", "spec", "ingressClassName")


@rule("apply.binding", FAMILY, Severity.BREAKS_CLAIM, why="whoever it is for has no rights at all", do="mend the name, or add what it names")
def binding(tree: Tree) -> Iterator[Said]:
    """RoleBindings to a role or an account that nothing makes."""
    for manifest in tree.of("RoleBinding", "ClusterRoleBinding"):
        ref = mapping(manifest.body.get("roleRef"))
        kind, name = str(ref.get("kind")), str(ref.get("name"))
        known = ("Role", manifest.namespace, name) if kind == "Role" else ("ClusterRole", "", name)
        given = kind == "ClusterRole" and (name in ("cluster-admin", "admin", "edit", "view") or name.startswith("system:") or bool(releases(tree)))
        if known not in tree.by_key and not given and _without_releases(tree, manifest.namespace):
            yield hit(tree, manifest, f"{manifest.id} gives the {kind} {name}, which nothing in the tree makes", "roleRef", "name")
        for index, subject in enumerate(map(mapping, sequence(manifest.body.get("subjects")))):
            space = str(subject.get("namespace") or manifest.namespace)
            if subject.get("kind") == "ServiceAccount" and subject.get("name") != "default" and space != "kube-system" and \
                    ("ServiceAccount", space, str(subject.get("name"))) not in tree.by_key and _without_releases(tree, space):
                yield hit(tree, manifest, f"{manifest.id} is for the ServiceAccount {space}/{subject.get('name')}, which nothing in the tree makes",
                          "subjects", index)


@rule("apply.late-volume", FAMILY, Severity.BREAKS_APPLY, why="the claim stays Pending until a pod mounts it, so its Kustomization never becomes ready",
      do="apply the claim and its pod in one Kustomization, or let it not wait")
def late_volume(tree: Tree) -> Iterator[Said]:
    """Claims of a class that binds late, in a Kustomization that waits for them, with no pod that mounts them."""
    for claim in tree.of("PersistentVolumeClaim"):
        layer, name = tree.layer_of(claim), claim.spec.get("storageClassName")
        own = tree.by_key.get(("StorageClass", "", str(name)))
        late = name in GIVEN_CLASSES or (own is not None and own.body.get("volumeBindingMode") == "WaitForFirstConsumer")
        if layer and layer.waits and late and _without_releases(tree, claim.namespace) and not _custom_pods(tree, claim.namespace) and \
                not any(claim.name in {c for _, c in m.claims()} for m in tree.workloads_in(claim.namespace)):
            yield hit(tree, claim, f"{claim.id} binds only once a pod mounts it, none does, and Kustomization/{layer.id} waits for it",
                      "spec", "storageClassName")


@rule("apply.timeout", FAMILY, Severity.UPGRADE_HAZARD, why="the Kustomization reports failure, and holds back its dependants, while the release is still within its time",
      do="give the Kustomization at least the timeout of its slowest release")
def timeout(tree: Tree) -> Iterator[Said]:
    """Kustomizations that wait for a release for less time than the release itself may take."""
    for release in releases(tree):
        layer = tree.layer_of(release.manifest)
        limit = go_seconds(layer.spec.get("timeout") or layer.spec.get("interval")) if layer and layer.waits else None
        own = go_seconds(release.manifest.spec.get("timeout") or "5m")
        if layer and limit is not None and own is not None and limit < own and layer.manifest.file:
            yield Hit(layer.manifest.id, (tree.place(layer.manifest, "spec", "timeout"), tree.place(release.manifest, "spec", "timeout")),
                      f"Kustomization/{layer.id} waits {limit:g}s, and {release.manifest.id} may take {own:g}s", hits=(layer.manifest.id, release.manifest.id))


def go_seconds(text: object) -> float | None:
    """Go's duration as seconds; None where it is none."""
    parts = re.findall(r"([0-9.]+)(h|ms|m|s)", str(text))
    if not parts or "".join(n + u for n, u in parts) != str(text):
        return None
    try:
        return sum(float(n) * {"h": 3600, "m": 60, "s": 1, "ms": 0.001}[u] for n, u in parts)
    except ValueError:
        return None


@rule("apply.wrong-namespace", FAMILY, Severity.BREAKS_APPLY, why="Flux looks for it in its own namespace only, and finds nothing",
      do="put both in one namespace, or name it with its namespace where that is allowed")
def wrong_namespace(tree: Tree) -> Iterator[Said]:
    """substituteFrom and valuesFrom that name something which exists in another namespace only."""
    for manifest in tree.objects:
        named = [(("spec", "postBuild", "substituteFrom", i), mapping(r)) for i, r in enumerate(sequence(get(manifest.spec, "postBuild", "substituteFrom")))] \
            if manifest.is_(KUSTOMIZE, "Kustomization") else \
            [(("spec", "valuesFrom", i), mapping(r)) for i, r in enumerate(sequence(manifest.spec.get("valuesFrom")))] if manifest.kind == "HelmRelease" else []
        for path, ref in named:
            kind, name = str(ref.get("kind")), str(ref.get("name"))
            elsewhere = [m for m in tree.of(kind) if m.name == name]
            # A Secret may well be put there by hand; that the tree has one of its name elsewhere says little.
            if kind == "ConfigMap" and len(elsewhere) == 1 and (kind, manifest.namespace, name) not in tree.by_key and not ref.get("optional"):
                yield hit(tree, manifest, f"{manifest.id} reads {kind}/{manifest.namespace}/{name}, but the tree has it in {elsewhere[0].namespace}", *path)
