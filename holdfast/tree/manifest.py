"""One rendered object, and what is asked of it again and again: its pods, its containers, its volumes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from holdfast.tree.repository import Location

Body = dict[str, Any]
Key = tuple[str, str, str]  # kind, namespace, name

WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod"})
_OF_THE_CLUSTER: dict[str, str] = {
    "": "Namespace Node PersistentVolume ComponentStatus",
    "rbac.authorization.k8s.io": "ClusterRole ClusterRoleBinding",
    "apiextensions.k8s.io": "CustomResourceDefinition",
    "apiregistration.k8s.io": "APIService",
    "admissionregistration.k8s.io": (
        "ValidatingWebhookConfiguration MutatingWebhookConfiguration ValidatingAdmissionPolicy "
        "ValidatingAdmissionPolicyBinding MutatingAdmissionPolicy MutatingAdmissionPolicyBinding"
    ),
    "storage.k8s.io": "StorageClass CSIDriver CSINode VolumeAttachment VolumeAttributesClass",
    "networking.k8s.io": "IngressClass ServiceCIDR IPAddress",
    "scheduling.k8s.io": "PriorityClass",
    "node.k8s.io": "RuntimeClass",
    "flowcontrol.apiserver.k8s.io": "FlowSchema PriorityLevelConfiguration",
    "certificates.k8s.io": "CertificateSigningRequest ClusterTrustBundle",
    "resource.k8s.io": "DeviceClass ResourceSlice DeviceTaintRule ResourcePoolStatusRequest",
    "authentication.k8s.io": "TokenReview SelfSubjectReview",
    "authorization.k8s.io": "SubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview",
    "storagemigration.k8s.io": "StorageVersionMigration",
    "internal.apiserver.k8s.io": "StorageVersion",
    "policy": "PodSecurityPolicy",
    "k3s.cattle.io": "ETCDSnapshotFile",
    "gateway.networking.k8s.io": "GatewayClass",
    "snapshot.storage.k8s.io": "VolumeSnapshotClass VolumeSnapshotContent",
    "groupsnapshot.storage.k8s.io": "VolumeGroupSnapshotClass VolumeGroupSnapshotContent",
    "cert-manager.io": "ClusterIssuer",
    "trust.cert-manager.io": "Bundle",
    "external-secrets.io": "ClusterSecretStore ClusterExternalSecret ClusterPushSecret",
    "generators.external-secrets.io": "ClusterGenerator",
    "kyverno.io": "ClusterPolicy ClusterCleanupPolicy GlobalContextEntry",
    "nvidia.com": "ClusterPolicy NVIDIADriver",
    "cilium.io": (
        "CiliumLoadBalancerIPPool CiliumL2AnnouncementPolicy CiliumClusterwideNetworkPolicy "
        "CiliumClusterwideEnvoyConfig CiliumEgressGatewayPolicy CiliumCIDRGroup "
        "CiliumBGPClusterConfig CiliumBGPPeerConfig CiliumBGPAdvertisement CiliumBGPPeeringPolicy "
        "CiliumBGPNodeConfigOverride CiliumNode CiliumIdentity"
    ),
    "postgresql.cnpg.io": "ClusterImageCatalog",
    "tailscale.com": "ProxyClass ProxyGroup Connector DNSConfig Recorder",
    "nfd.k8s-sigs.io": "NodeFeatureRule",
    "kueue.x-k8s.io": "ResourceFlavor ClusterQueue",
    "keda.sh": "ClusterTriggerAuthentication",
}  # the kinds without a namespace, by their API group; what the tree has a definition of, that says
_CLUSTER_KINDS = frozenset((group, kind) for group, kinds in _OF_THE_CLUSTER.items() for kind in kinds.split())


@dataclass(eq=False)
class Manifest:
    """An object as Flux would apply it.

    Attributes:
        body: with every transformation and substitution done.
        file: where its base stands; *by* is what generated it there, where it was generated.
        patches: files and kustomizations that may have touched it, in the order of the build.
        owner: the Kustomization that applies it, as namespace/name, or the id of the HelmRelease whose chart renders it.
        at: where it stands, if that isn't in *file* by its kind and name.
        unreferenced: it lies in the repository and is not applied today.
        namespaced: what its kind's definition in the tree says; None without one.
        unset: the variables in it that had no value when Flux would put them in: where each stands, its text, the name.
    """

    body: Body
    file: str = ""
    by: str = ""
    patches: tuple[str, ...] = ()
    owner: str = ""
    unreferenced: bool = False
    unknown: tuple[str, ...] = field(default=())
    at: Location | None = None
    namespaced: bool | None = None
    unset: tuple[tuple[tuple[str | int, ...], str, str], ...] = ()

    @cached_property
    def kind(self) -> str:
        return str(self.body.get("kind") or "")

    @cached_property
    def api(self) -> str:
        return str(self.body.get("apiVersion") or "")

    @cached_property
    def group(self) -> str:
        return self.api.rpartition("/")[0]

    @cached_property
    def name(self) -> str:
        return str(self.meta.get("name") or "")

    @cached_property
    def namespace(self) -> str:
        """Where it lies; empty for what belongs to the whole cluster: its group says that too, a kind's name alone doesn't."""
        namespaced = (self.group, self.kind) not in _CLUSTER_KINDS if self.namespaced is None else self.namespaced
        return str(self.meta.get("namespace") or "default") if namespaced else ""

    @property
    def is_placed(self) -> bool:
        """Whether it says itself where it lies, or need not: Flux applies no other; a chart's own lie where their release does."""
        return not self.namespace or bool(self.meta.get("namespace")) or self.by == "HelmChart"

    @property
    def meta(self) -> Body:
        return mapping(self.body.get("metadata"))

    @property
    def spec(self) -> Body:
        return mapping(self.body.get("spec"))

    @cached_property
    def key(self) -> Key:
        return self.kind, self.namespace, self.name

    @cached_property
    def id(self) -> str:
        """KIND/NAMESPACE/NAME, or KIND/NAME for what belongs to the whole cluster."""
        return "/".join(part for part in self.key if part)

    def replace(self, body: Body) -> None:
        """Another body, as substitution makes one."""
        for name in ("kind", "api", "group", "name", "namespace", "key", "id", "pod_path", "pod", "pod_labels"):
            self.__dict__.pop(name, None)
        self.body = body

    def scope(self, namespaced: bool) -> None:
        """What the definition of its kind says of a namespace."""
        self.namespaced = namespaced
        for name in ("namespace", "key", "id"):
            self.__dict__.pop(name, None)

    def is_(self, group: str, kind: str) -> bool:
        """Whether it is of this API group and kind."""
        return self.kind == kind and self.group == group

    @property
    def suspended(self) -> bool:
        return self.spec.get("suspend") is True

    @cached_property
    def pod_path(self) -> tuple[str, ...]:
        """Where the pod's spec lies in the body; empty where it has no pods."""
        if self.kind == "Pod":
            return ("spec",)
        if self.kind == "CronJob":
            return ("spec", "jobTemplate", "spec", "template", "spec")
        return ("spec", "template", "spec") if self.kind in WORKLOADS else ()

    @cached_property
    def pod(self) -> Body:
        """The pod's spec, or nothing."""
        return mapping(get(self.body, *self.pod_path)) if self.pod_path else {}

    @cached_property
    def pod_labels(self) -> Body:
        above = self.pod_path[:-1]
        return mapping(get(self.body, *above, "metadata", "labels")) if above else mapping(self.meta.get("labels"))

    def containers(self, *, every: bool = False) -> Iterator[tuple[tuple[str | int, ...], Body]]:
        """Its containers with where they lie; init and ephemeral ones too where *every*."""
        for part in ("containers", "initContainers", "ephemeralContainers") if every else ("containers",):
            for index, one in enumerate(sequence(self.pod.get(part))):
                if isinstance(one, dict):
                    yield (*self.pod_path, part, index), one

    def claims(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """The names of the PersistentVolumeClaims that its pods mount, with where they are named."""
        for index, volume in enumerate(sequence(self.pod.get("volumes"))):
            name = get(volume, "persistentVolumeClaim", "claimName")
            if isinstance(name, str):
                yield (*self.pod_path, "volumes", index), name

    def __repr__(self) -> str:
        return f"<{self.id} of {self.owner}>"


def mapping(value: Any) -> Body:
    """*value* where it is a mapping, else an empty one: a tree can hold anything anywhere."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """*value* where it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def objects_in(body: Body) -> list[Body]:
    """An object, or those of a List."""
    if body.get("kind") == "List":
        return [b for b in sequence(body.get("items")) if isinstance(b, dict)]
    return [body]


def walk(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Everything below *value*, itself first, each with its path."""
    yield path, value
    if isinstance(value, dict):
        for key, below in value.items():
            yield from walk(below, (*path, str(key)))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from walk(below, (*path, index))


def keys_in(value: Any) -> Iterator[Any]:
    """Every key of a value, at whatever depth."""
    for key, below in value.items() if isinstance(value, dict) else ():
        yield key
        yield from keys_in(below)
    for below in value if isinstance(value, list) else ():
        yield from keys_in(below)


def texts(value: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every text below *value*, with its path."""
    return ((path, one) for path, one in walk(value) if isinstance(one, str))


def get(value: Any, *path: str | int) -> Any:
    """What lies below *value* at *path*; None where there is nothing."""
    for key in path:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return None
    return value


def matches(selector: Any, labels: Body) -> bool:
    """Whether a label selector (``matchLabels``, ``matchExpressions``) takes *labels*; an empty one takes all."""
    selector = mapping(selector)
    for key, value in mapping(selector.get("matchLabels")).items():
        if labels.get(key) != value:
            return False
    return all(_expression(e, labels) for e in sequence(selector.get("matchExpressions")) if isinstance(e, dict))


def _expression(expression: Body, labels: Body) -> bool:
    key, values = str(expression.get("key")), sequence(expression.get("values"))
    return {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }.get(str(expression.get("operator")), True)
