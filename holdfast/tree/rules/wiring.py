"""Names that must meet: configuration, accounts, priorities, selectors, ports, backends, classes, rights."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.tree.components import is_component
from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Inconclusive, Outcome, Severity, hit, rule
from holdfast.tree.laid_over import others_of
from holdfast.tree.manifest import Manifest, get, mapping, matches, sequence
from holdfast.tree.near import near
from holdfast.tree.pod_config import config_of
from holdfast.tree.releases import whole_namespace
from holdfast.tree.tree import Tree

FAMILY = "apply"
_OF_ONE_POD = frozenset(
    {"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index", "batch.kubernetes.io/job-name", "job-name"}
)  # Kubernetes sets them


@rule(
    "apply.missing-config",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="the pods don't start until it exists",
    do="add it, or fix the name",
)
def missing_config(tree: Tree) -> Iterator[Outcome]:
    """ConfigMaps that pods can't start without and nothing makes, and Secrets whose name is almost there: others may be made by hand."""
    for manifest in tree.workloads():
        if not manifest.is_placed:
            continue  # it is never applied, as apply.no-namespace says
        for kind, name, path in config_of(manifest):
            lack = tree.names.lacks(kind, manifest.namespace, name, by_hand=kind == "Secret")
            if lack is not None:
                yield hit(
                    tree,
                    manifest,
                    f"the pods of {manifest.id} need {kind}/{manifest.namespace}/{name}, which nothing in the tree makes{lack.hint}",
                    *path,
                    also=tree.names.other_place(kind, manifest.namespace, name),
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
        lack = tree.names.lacks("ServiceAccount", manifest.namespace, name) if isinstance(name, str) else None
        if lack is not None:
            yield hit(
                tree,
                manifest,
                f"{manifest.id} runs as the ServiceAccount {name}, which nothing in the tree makes{lack.hint}",
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
    """Pods of a priority that nothing makes; a chart may bring one."""
    for manifest in tree.workloads():
        name = manifest.pod.get("priorityClassName")
        given = not isinstance(name, str) or name.startswith("system-")
        lack = None if given else tree.names.lacks("PriorityClass", "", str(name))
        if lack is not None:
            yield hit(
                tree,
                manifest,
                f"{manifest.id} has the priority {name}, which nothing in the tree makes{lack.hint}",
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
            if wanted and not manifest.pod_labels and (others := others_of(tree, manifest)):
                yield Inconclusive(f"{manifest.id} has no pods of its own to select, and {others} makes the rest of it")
            elif wanted and not matches(wanted, manifest.pod_labels):
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
        if not wanted or service.spec.get("type") == "ExternalName":  # a name for another name: nothing is selected
            continue
        if "namespace" not in service.meta:  # it is refused, and in no namespace at all
            continue
        wanted = {k: v for k, v in wanted.items() if k not in _OF_ONE_POD}
        near_by = tree.workloads_in(service.namespace)
        pods = [m for m in near_by if matches({"matchLabels": wanted}, m.pod_labels)]
        key, meant = ("", "") if pods else tree.names.meant(wanted, ((m.pod_labels, m.id) for m in near_by))
        if key:
            said = f"{service.id} selects {_labels(wanted)}, and no pod in {service.namespace} has that{meant}"
            yield hit(tree, service, said, "spec", "selector", key)
            continue
        if not whole_namespace(tree, service.namespace):
            continue
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
                lack = tree.names.lacks("Service", ingress.namespace, name)
                if lack is not None:
                    yield hit(
                        tree,
                        ingress,
                        f"{ingress.id} leads to Service/{ingress.namespace}/{name}, which nothing in the tree makes{lack.hint}",
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
        classes |= release.ingress_classes()
    open_ = not all(r.known for r in tree.releases) or bool(tree.names.unread)
    for ingress in tree.of("Ingress") if classes else []:
        name = ingress.spec.get("ingressClassName")
        if not isinstance(name, str) or name in {*classes, "traefik"} or UNKNOWN in name:  # traefik is k3s' own
            continue
        meant = near(name, {*classes, "traefik"})
        if meant or not open_:
            yield hit(
                tree,
                ingress,
                f"{ingress.id} is of the class {name}; "
                + (f"did you mean {meant}?" if meant else f"installed: {', '.join(sorted(classes))}"),
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
            name in ("cluster-admin", "admin", "edit", "view") or name.startswith("system:")
        )
        lack = None if given else tree.names.lacks(*known)
        if lack is not None:
            yield hit(
                tree,
                manifest,
                f"{manifest.id} gives the {kind} {name}, which nothing in the tree makes{lack.hint}",
                "roleRef",
                "name",
            )
        if is_component(manifest):
            continue  # Flux binds the accounts of all its controllers, whichever are installed
        for index, subject in enumerate(map(mapping, sequence(manifest.body.get("subjects")))):
            space, account = str(subject.get("namespace") or manifest.namespace), str(subject.get("name"))
            of_account = subject.get("kind") == "ServiceAccount"
            lack = tree.names.lacks("ServiceAccount", space, account) if of_account else None
            if lack is not None:
                yield hit(
                    tree,
                    manifest,
                    f"{manifest.id} is for the ServiceAccount {space}/{account}, which nothing in the tree makes{lack.hint}",
                    "subjects",
                    index,
                )
