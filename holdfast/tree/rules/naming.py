"""Names beyond those of pods and Services: of Flux's own objects, of claims, issuers, stores, gateways and images."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from holdfast.tree.findings import Inconclusive, Outcome, Severity, Violation, hit, rule
from holdfast.tree.manifest import Body, Manifest, get, mapping, sequence
from holdfast.tree.names import Reference
from holdfast.tree.repository import Location
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import HELM, KUSTOMIZE, NOTIFICATION, Tree

FAMILY = "apply"
_IMAGE = "image.toolkit.fluxcd.io"
_ROUTES = ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute")
_MARKER = re.compile(r'\{\s*"\$imagepolicy"\s*:\s*"([^":]+):([^":]+)')


def _judge(
    tree: Tree, of: Callable[[Manifest], Iterator[Reference]], verb: str, *kinds: str, mild: tuple[str, ...] = ()
) -> Iterator[Outcome]:
    """What leads nowhere; for the kinds *mild* it breaks a claim at most."""
    for manifest in tree.of(*kinds) if kinds else tree.objects:
        for ref in of(manifest):
            lack = tree.names.lacks(ref.kind, ref.namespace, ref.name, by_hand=ref.by_hand)
            if lack is not None and ref.kind == "Service" and not lack.hint and _made_at_run_time(tree, ref.namespace):
                yield Inconclusive(
                    f"{manifest.id} {verb} Service/{ref.namespace}/{ref.name}, which an operator that isn't known may make"
                )
            elif lack is not None:
                what = "/".join(p for p in (ref.kind, ref.namespace, ref.name) if p)
                said = f"{manifest.id} {verb} {what}, which nothing in the tree makes{lack.hint}"
                also = tree.names.other_place(ref.kind, ref.namespace, ref.name)
                severity = Severity.BREAKS_CLAIM if manifest.kind in mild else None
                yield hit(tree, manifest, said, *ref.path, also=also, severity=severity)


def _made_at_run_time(tree: Tree, namespace: str) -> bool:
    """Whether nothing of the tree runs in a namespace, and a chart of which nothing is known may bring who fills it."""
    own = tree.workloads_in(namespace) or any(m.namespace == namespace for m in tree.of("Service"))
    return bool(tree.unknown_releases) and not own and not any(r.target_namespace == namespace for r in tree.releases)


def _named(
    manifest: Manifest, kind: str, *path: PathKey, space: str | None = None, by_hand: bool = False
) -> Iterator[Reference]:
    """The reference at *path*, where there is one with a name."""
    ref = get(manifest.body, *path)
    name = mapping(ref).get("name") if isinstance(ref, dict) else ref
    if isinstance(name, str) and name:
        own = str(mapping(ref).get("namespace") or manifest.namespace) if isinstance(ref, dict) else manifest.namespace
        yield Reference(
            (*path, "name") if isinstance(ref, dict) else path, kind, own if space is None else space, name, by_hand
        )


@rule(
    "apply.missing-provider",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="no message of it ever reaches anybody",
    do="fix providerRef, or add the Provider in the namespace of the Alert",
)
def missing_provider(tree: Tree) -> Iterator[Outcome]:
    """Alerts to a Provider that isn't beside them."""

    def refs(manifest: Manifest) -> Iterator[Reference]:
        if manifest.group == NOTIFICATION:
            yield from _named(manifest, "Provider", "spec", "providerRef", space=manifest.namespace)

    yield from _judge(tree, refs, "sends to", "Alert")


@rule(
    "apply.missing-event-source",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="nothing ever happens to what isn't there, so it never says or does anything",
    do="fix the kind, the name or the namespace",
)
def missing_event_source(tree: Tree) -> Iterator[Outcome]:
    """Alerts and Receivers for objects of Flux that nothing applies."""

    def refs(manifest: Manifest) -> Iterator[Reference]:
        part = "eventSources" if manifest.kind == "Alert" else "resources"
        for index, ref in enumerate(map(mapping, sequence(manifest.spec.get(part)))):
            if manifest.group == NOTIFICATION and "*" not in str(ref.get("name")):
                yield from _named(manifest, str(ref.get("kind")), "spec", part, index)

    yield from _judge(tree, refs, "is for", "Alert", "Receiver")


@rule(
    "apply.missing-secret",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="Flux can't fetch, decrypt or send without it",
    do="fix the name, or add the Secret",
)
def missing_secret(tree: Tree) -> Iterator[Outcome]:
    """Secrets of Flux's own objects whose name is almost there, or is in another namespace."""

    def refs(manifest: Manifest) -> Iterator[Reference]:
        if not manifest.group.endswith(".toolkit.fluxcd.io"):
            return
        for path in (("secretRef",), ("certSecretRef",), ("proxySecretRef",), ("verify", "secretRef")):
            yield from _named(manifest, "Secret", "spec", *path, space=manifest.namespace, by_hand=True)
        for path in (("decryption", "secretRef"), ("kubeConfig", "secretRef")):
            yield from _named(manifest, "Secret", "spec", *path, space=manifest.namespace, by_hand=True)

    yield from _judge(tree, refs, "needs", mild=("Provider", "Receiver"))


@rule(
    "apply.missing-flux-account",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="Flux acts as that account, and may do nothing without it",
    do="fix serviceAccountName, or add the ServiceAccount in the object's namespace",
)
def missing_flux_account(tree: Tree) -> Iterator[Outcome]:
    """Kustomizations and HelmReleases that are applied as an account that nothing makes."""

    def refs(manifest: Manifest) -> Iterator[Reference]:
        remote = manifest.spec.get("kubeConfig")
        if manifest.group in (KUSTOMIZE, HELM) and not remote:
            yield from _named(manifest, "ServiceAccount", "spec", "serviceAccountName")

    yield from _judge(tree, refs, "is applied as", "Kustomization", "HelmRelease")


@rule(
    "apply.missing-claim",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="the pod waits for the volume and never starts",
    do="add the PersistentVolumeClaim, or fix claimName",
)
def missing_claim(tree: Tree) -> Iterator[Outcome]:
    """Pods that mount a claim that nothing makes."""

    def refs(manifest: Manifest) -> Iterator[Reference]:
        for path, name in manifest.claims():
            own = {f"{mapping(t).get('metadata', {}).get('name')}-" for t in _templates(tree, manifest.namespace)}
            if not name.startswith(tuple(own)):
                where = (*path, "persistentVolumeClaim", "claimName")
                yield Reference(where, "PersistentVolumeClaim", manifest.namespace, name)

    yield from _judge(tree, refs, "mounts")


def _templates(tree: Tree, namespace: str) -> list[Body]:
    """The claim templates of a namespace's StatefulSets: their claims have the pod's name in theirs."""
    return [
        mapping(t)
        for m in tree.of("StatefulSet")
        if m.namespace == namespace
        for t in sequence(m.spec.get("volumeClaimTemplates"))
    ]


@rule(
    "apply.missing-issuer",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="the certificate is never issued",
    do="fix the issuer's name or kind, or add it",
)
def missing_issuer(tree: Tree) -> Iterator[Outcome]:
    """Certificates and Ingresses of an issuer that nothing makes."""

    def refs(manifest: Manifest) -> Iterator[Reference]:
        if manifest.kind == "Certificate":
            kind = str(get(manifest.spec, "issuerRef", "kind") or "Issuer")
            if get(manifest.spec, "issuerRef", "group") in (None, "cert-manager.io") and kind in (
                "Issuer",
                "ClusterIssuer",
            ):
                space = "" if kind == "ClusterIssuer" else manifest.namespace
                yield from _named(manifest, kind, "spec", "issuerRef", space=space)
            return
        for mark, kind in (("cluster-issuer", "ClusterIssuer"), ("issuer", "Issuer")):
            path = ("metadata", "annotations", f"cert-manager.io/{mark}")
            foreign = get(manifest.body, "metadata", "annotations", "cert-manager.io/issuer-group")
            if not foreign:
                yield from _named(manifest, kind, *path, space="" if kind == "ClusterIssuer" else None)

    yield from _judge(tree, refs, "takes its certificate from", "Certificate", "Ingress", "Gateway")


@rule(
    "apply.missing-store",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="the Secret is never made, and what needs it doesn't start",
    do="fix the store's name or kind, or add it",
)
def missing_store(tree: Tree) -> Iterator[Outcome]:
    """ExternalSecrets of a store that nothing makes."""

    def refs(manifest: Manifest) -> Iterator[Reference]:
        base = ("externalSecretSpec",) if manifest.kind == "ClusterExternalSecret" else ()
        kind = str(get(manifest.spec, *base, "secretStoreRef", "kind") or "SecretStore")
        if kind == "ClusterSecretStore" or not base:
            space = "" if kind == "ClusterSecretStore" else manifest.namespace
            yield from _named(manifest, kind, "spec", *base, "secretStoreRef", space=space)

    yield from _judge(tree, refs, "reads from", "ExternalSecret", "ClusterExternalSecret")


@rule(
    "apply.missing-scale-target",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="it scales nothing",
    do="fix scaleTargetRef",
)
def missing_scale_target(tree: Tree) -> Iterator[Outcome]:
    """Autoscalers of a workload that nothing makes."""

    def refs(manifest: Manifest) -> Iterator[Reference]:
        field = "targetRef" if manifest.kind == "VerticalPodAutoscaler" else "scaleTargetRef"
        kind = str(get(manifest.spec, field, "kind") or "Deployment")
        if kind in ("Deployment", "StatefulSet", "ReplicaSet", "DaemonSet"):
            yield from _named(manifest, kind, "spec", field, space=manifest.namespace)

    yield from _judge(tree, refs, "scales", "HorizontalPodAutoscaler", "ScaledObject", "VerticalPodAutoscaler")


@rule(
    "apply.missing-route-end",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="what asks for it gets an error, or no answer at all",
    do="fix the name or the namespace",
)
def missing_route_end(tree: Tree) -> Iterator[Outcome]:
    """Routes of the Gateway API and of Traefik from a Gateway, to a Service or by a Middleware that nothing makes."""
    yield from _judge(tree, _of_route, "leads by or to", *_ROUTES)
    yield from _judge(tree, _of_traefik, "leads by or to", "IngressRoute", "IngressRouteTCP", "IngressRouteUDP")


def _of_route(manifest: Manifest) -> Iterator[Reference]:
    for index, parent in enumerate(map(mapping, sequence(manifest.spec.get("parentRefs")))):
        if parent.get("kind") in (None, "Gateway"):
            yield from _named(manifest, "Gateway", "spec", "parentRefs", index)
    for at, one in enumerate(sequence(manifest.spec.get("rules"))):
        for index, backend in enumerate(map(mapping, sequence(mapping(one).get("backendRefs")))):
            if backend.get("kind") in (None, "Service") and backend.get("group") in (None, ""):
                yield from _named(manifest, "Service", "spec", "rules", at, "backendRefs", index)


def _of_traefik(manifest: Manifest) -> Iterator[Reference]:
    for at, one in enumerate(sequence(manifest.spec.get("routes"))):
        for part, kind in (("services", "Service"), ("middlewares", "Middleware")):
            for index, ref in enumerate(map(mapping, sequence(mapping(one).get(part)))):
                if ref.get("kind") in (None, kind) and "@" not in str(ref.get("name")):
                    yield from _named(manifest, kind, "spec", "routes", at, part, index)


@rule(
    "apply.policy-on-nothing",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="the pods that it is for are as open as before",
    do="let its selector be labels of the pods that it is for",
)
def policy_on_nothing(tree: Tree) -> Iterator[Outcome]:
    """NetworkPolicies whose selector is a slip of the labels of pods beside them."""
    for policy in tree.of("NetworkPolicy"):
        selector = mapping(policy.spec.get("podSelector"))
        wanted = {} if selector.get("matchExpressions") else mapping(selector.get("matchLabels"))
        pods = [(m.pod_labels, m.id) for m in tree.workloads_in(policy.namespace)]
        if wanted and not any(all(labels.get(k) == v for k, v in wanted.items()) for labels, _ in pods):
            key, meant = tree.names.meant(wanted, pods)
            if key:
                yield hit(tree, policy, f"{policy.id} takes no pod{meant}", "spec", "podSelector", "matchLabels", key)


@rule(
    "apply.missing-image-source",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="no image is ever updated by it, and nothing says so",
    do="fix the name or the namespace",
)
def missing_image_source(tree: Tree) -> Iterator[Outcome]:
    """Image policies, automations and marks in files that name what nothing makes."""

    def refs(manifest: Manifest) -> Iterator[Reference]:
        if manifest.group != _IMAGE:
            return
        if manifest.kind == "ImagePolicy":
            yield from _named(manifest, "ImageRepository", "spec", "imageRepositoryRef")
        else:
            yield from _named(
                manifest, str(get(manifest.spec, "sourceRef", "kind") or "GitRepository"), "spec", "sourceRef"
            )

    yield from _judge(tree, refs, "looks at", "ImagePolicy", "ImageUpdateAutomation")
    if not tree.of("ImagePolicy"):
        return
    built = [k.built.closure for k in tree.kustomizations.values() if k.built]
    # What another cluster's folder marks is about that cluster's policies.
    for file in sorted({f for closure in built for f in (*closure.files, *closure.kustomizations)}):
        text = tree.repository.text(file) if file.endswith((".yaml", ".yml")) else ""
        for number, line in enumerate(text.splitlines() if "$imagepolicy" in text else [], 1):
            if (marked := _MARKER.search(line)) and (
                lack := tree.names.lacks("ImagePolicy", marked[1], marked[2], by_hand=True)
            ):
                said = f"a mark names ImagePolicy/{marked[1]}/{marked[2]}, which nothing in the tree makes{lack.hint}"
                yield Violation(file, (Location(file, number),), said)
