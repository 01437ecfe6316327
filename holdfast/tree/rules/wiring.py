"""Names that must meet: configuration, accounts, priorities, selectors, ports, backends, classes, rights."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Outcome, Severity, hit, rule
from holdfast.tree.graph import config_of
from holdfast.tree.manifest import Manifest, get, mapping, matches, sequence
from holdfast.tree.releases import without_releases
from holdfast.tree.tree import KUSTOMIZE, Tree

FAMILY = "apply"
_OF_ONE_POD = frozenset(
    {"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index", "batch.kubernetes.io/job-name", "job-name"}
)  # Kubernetes sets them


@rule(
    "apply.missing-config",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="the pods wait in ContainerCreating until it exists",
    do="add it, or fix the name",
)
def missing_config(tree: Tree) -> Iterator[Outcome]:
    """ConfigMaps (and Secrets with a name almost like one that is there) that pods can't start without and nothing makes."""
    for manifest in tree.workloads():
        for kind, name, path in config_of(manifest):
            if (kind, manifest.namespace, name) in tree.by_key or name == "kube-root-ca.crt":
                continue
            near = [m.name for m in tree.of(kind) if m.namespace == manifest.namespace and _alike(m.name, name)]
            elsewhere = [m.namespace for m in tree.of(kind) if m.name == name]
            whole = without_releases(tree, manifest.namespace) and manifest.namespace not in tree.custom_namespaces
            if near or (kind == "ConfigMap" and whole):
                more = (
                    f"; did you mean {near[0]}?"
                    if near
                    else f"; there is one in the namespace {elsewhere[0]}"
                    if elsewhere
                    else ""
                )
                yield hit(
                    tree,
                    manifest,
                    f"the pods of {manifest.id} need {kind}/{manifest.namespace}/{name}, which nothing in the tree makes{more}",
                    *path,
                )


def _alike(one: str, other: str) -> bool:
    """Whether two names differ by a slip of the finger, or by a hash at the end."""
    if one.startswith(f"{other}-") and re.fullmatch(r"[a-z0-9]{10}", one[len(other) + 1 :]):
        return True
    return (len(one) > 4 and sorted(one) == sorted(other) and one != other) or (
        abs(len(one) - len(other)) == 1
        and len(one) > 4
        and (
            any(one[:i] + one[i + 1 :] == other for i in range(len(one)))
            or any(other[:i] + other[i + 1 :] == one for i in range(len(other)))
        )
    )


@rule(
    "apply.missing-account",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="no pod of it is ever created",
    do="add the ServiceAccount, or fix the name",
)
def missing_account(tree: Tree) -> Iterator[Outcome]:
    """Pods that run as an account that nothing makes."""
    for manifest in tree.workloads():
        name = manifest.pod.get("serviceAccountName")
        if (
            isinstance(name, str)
            and name != "default"
            and ("ServiceAccount", manifest.namespace, name) not in tree.by_key
            and without_releases(tree, manifest.namespace)
            and manifest.namespace not in tree.custom_namespaces
        ):
            yield hit(
                tree,
                manifest,
                f"{manifest.id} runs as the ServiceAccount {name}, which nothing in the tree makes",
                *manifest.pod_path,
                "serviceAccountName",
            )


@rule(
    "apply.missing-priority",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="no pod of it is ever created",
    do="add the PriorityClass, or fix the name",
)
def missing_priority(tree: Tree) -> Iterator[Outcome]:
    """Pods of a priority that nothing makes; a chart may bring one, so only where none is installed."""
    if tree.releases or any(la.not_read or la.error for la in tree.kustomizations.values()):
        return
    for manifest in tree.workloads():
        name = manifest.pod.get("priorityClassName")
        if (
            isinstance(name, str)
            and name
            and not name.startswith("system-")
            and ("PriorityClass", "", name) not in tree.by_key
        ):
            yield hit(
                tree,
                manifest,
                f"{manifest.id} has the priority {name}, which nothing in the tree makes",
                *manifest.pod_path,
                "priorityClassName",
            )


@rule(
    "apply.selector",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="the API server refuses it, and with it all of its Kustomization",
    do="let spec.selector.matchLabels be labels of the pod template",
)
def selector(tree: Tree) -> Iterator[Outcome]:
    """Selectors that don't take the workload's own pods."""
    for manifest in [*tree.objects, *tree.unreferenced_objects]:
        if manifest.kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet") and manifest.group == "apps":
            wanted = mapping(manifest.spec.get("selector"))
            if wanted and not matches(wanted, manifest.pod_labels):
                yield hit(
                    tree,
                    manifest,
                    f"the selector of {manifest.id} doesn't take the labels of its own pods",
                    "spec",
                    "selector",
                )


@rule(
    "apply.service-without-pods",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="whoever calls it is refused",
    do="let the selector be labels of the pods that it is for",
)
def service_without_pods(tree: Tree) -> Iterator[Outcome]:
    """Services whose selector takes no pod of the tree, where nothing else can make pods."""
    for service in tree.of("Service"):
        wanted = mapping(service.spec.get("selector"))
        if not wanted or not without_releases(tree, service.namespace) or service.namespace in tree.custom_namespaces:
            continue
        wanted = {k: v for k, v in wanted.items() if k not in _OF_ONE_POD}
        pods = [m for m in tree.workloads_in(service.namespace) if matches({"matchLabels": wanted}, m.pod_labels)]
        if not pods:
            yield hit(
                tree,
                service,
                f"{service.id} selects {_labels(wanted)}, and no pod in {service.namespace} has that",
                "spec",
                "selector",
            )
            continue
        for index, port in enumerate(sequence(service.spec.get("ports"))):
            wanted_port = mapping(port).get("targetPort")
            if isinstance(wanted_port, str) and not any(
                wanted_port == mapping(p).get("name")
                for m in pods
                for _, c in m.containers(every=True)
                for p in sequence(c.get("ports"))
            ):
                yield hit(
                    tree,
                    service,
                    f"{service.id} sends to the port '{wanted_port}', and no container of {pods[0].id} has one of that name",
                    "spec",
                    "ports",
                    index,
                )


def _labels(labels: dict[str, object]) -> str:
    return ",".join(f"{k}={v}" for k, v in labels.items())


@rule(
    "apply.ingress-backend",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="the ingress controller answers 503 for it",
    do="name a Service and a port that exist",
)
def ingress_backend(tree: Tree) -> Iterator[Outcome]:
    """Ingresses that lead to no Service, or to no port of it."""
    for ingress in tree.of("Ingress"):
        for path, backend in _backends(ingress):
            name = str(get(backend, "service", "name") or "")
            service = tree.by_key.get(("Service", ingress.namespace, name))
            if service is None:
                if (
                    name
                    and without_releases(tree, ingress.namespace)
                    and ingress.namespace not in tree.custom_namespaces
                ):
                    yield hit(
                        tree,
                        ingress,
                        f"{ingress.id} leads to Service/{ingress.namespace}/{name}, which nothing in the tree makes",
                        *path,
                    )
                continue
            if service.spec.get("type") == "ExternalName":
                continue
            port = mapping(get(backend, "service", "port"))
            ports = [mapping(p) for p in sequence(service.spec.get("ports"))]
            if port and not any(
                port.get("name") in (p.get("name"), None) and port.get("number") in (p.get("port"), None) for p in ports
            ):
                yield hit(
                    tree,
                    ingress,
                    f"{ingress.id} leads to the port {port.get('name') or port.get('number')} of {service.id}, which has none such",
                    *path,
                )


def _backends(ingress: Manifest) -> Iterator[tuple[tuple[str | int, ...], object]]:
    if ingress.spec.get("defaultBackend"):
        yield ("spec", "defaultBackend"), ingress.spec["defaultBackend"]
    for at, one in enumerate(sequence(ingress.spec.get("rules"))):
        for index, path in enumerate(sequence(get(one, "http", "paths"))):
            yield ("spec", "rules", at, "http", "paths", index, "backend"), mapping(path).get("backend")


@rule(
    "apply.ingress-class",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="no controller serves an Ingress of a class that isn't there",
    do="name a class that is installed",
)
def ingress_class(tree: Tree) -> Iterator[Outcome]:
    """Ingresses of a class that no release and no object of the tree installs."""
    classes = {m.name for m in tree.of("IngressClass")}
    for release in tree.releases:
        classes |= {str(release.value(f["name"], f["default"])) for f in release.parts("ingress_class")}
        if not release.known:
            return
    for ingress in tree.of("Ingress") if classes else []:
        name = ingress.spec.get("ingressClassName")
        if isinstance(name, str) and name not in {*classes, "traefik"} and UNKNOWN not in name:  # traefik is k3s' own
            yield hit(
                tree,
                ingress,
                f"{ingress.id} is of the class {name}; installed: {', '.join(sorted(classes))}",
                "spec",
                "ingressClassName",
            )


@rule(
    "apply.binding",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="whoever it is for has no rights at all",
    do="fix the name, or add what it names",
)
def binding(tree: Tree) -> Iterator[Outcome]:
    """RoleBindings to a role or an account that nothing makes."""
    for manifest in tree.of("RoleBinding", "ClusterRoleBinding"):
        ref = mapping(manifest.body.get("roleRef"))
        kind, name = str(ref.get("kind")), str(ref.get("name"))
        known = ("Role", manifest.namespace, name) if kind == "Role" else ("ClusterRole", "", name)
        given = kind == "ClusterRole" and (
            name in ("cluster-admin", "admin", "edit", "view") or name.startswith("system:") or bool(tree.releases)
        )
        if known not in tree.by_key and not given and without_releases(tree, manifest.namespace):
            yield hit(
                tree,
                manifest,
                f"{manifest.id} gives the {kind} {name}, which nothing in the tree makes",
                "roleRef",
                "name",
            )
        for index, subject in enumerate(map(mapping, sequence(manifest.body.get("subjects")))):
            space = str(subject.get("namespace") or manifest.namespace)
            if (
                subject.get("kind") == "ServiceAccount"
                and subject.get("name") != "default"
                and space != "kube-system"
                and ("ServiceAccount", space, str(subject.get("name"))) not in tree.by_key
                and without_releases(tree, space)
            ):
                yield hit(
                    tree,
                    manifest,
                    f"{manifest.id} is for the ServiceAccount {space}/{subject.get('name')}, which nothing in the tree makes",
                    "subjects",
                    index,
                )


@rule(
    "apply.wrong-namespace",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="Flux looks for it in its own namespace only, and finds nothing",
    do="put both in one namespace, or name it with its namespace where that is allowed",
)
def wrong_namespace(tree: Tree) -> Iterator[Outcome]:
    """substituteFrom and valuesFrom that name something which exists in another namespace only."""
    for manifest in tree.objects:
        named = (
            [
                (("spec", "postBuild", "substituteFrom", i), mapping(r))
                for i, r in enumerate(sequence(get(manifest.spec, "postBuild", "substituteFrom")))
            ]
            if manifest.is_(KUSTOMIZE, "Kustomization")
            else [
                (("spec", "valuesFrom", i), mapping(r)) for i, r in enumerate(sequence(manifest.spec.get("valuesFrom")))
            ]
            if manifest.kind == "HelmRelease"
            else []
        )
        for path, ref in named:
            kind, name = str(ref.get("kind")), str(ref.get("name"))
            elsewhere = [m for m in tree.of(kind) if m.name == name]
            # A Secret may well be put there by hand; that the tree has one of its name elsewhere says little.
            if (
                kind == "ConfigMap"
                and len(elsewhere) == 1
                and (kind, manifest.namespace, name) not in tree.by_key
                and not ref.get("optional")
            ):
                yield hit(
                    tree,
                    manifest,
                    f"{manifest.id} reads {kind}/{manifest.namespace}/{name}, but the tree has it in {elsewhere[0].namespace}",
                    *path,
                )
