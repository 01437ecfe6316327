"""Changes of objects, and which field of each the API server refuses to change: what `holdfast check --against` says, and what a real one does."""

from __future__ import annotations

import copy
from typing import Any

SPACE = "changes"
LABELS = {"app": "a"}
POD: dict[str, Any] = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


def _object(api: str, kind: str, *, spaced: bool = True, **fields: Any) -> dict[str, Any]:
    meta = {"name": "it", **({"namespace": SPACE} if spaced else {})}
    return {"apiVersion": api, "kind": kind, "metadata": meta, **fields}


def _workload(kind: str, **spec: Any) -> dict[str, Any]:
    return _object("apps/v1", kind, spec={"selector": {"matchLabels": LABELS}, "template": POD, **spec})


def _claim_template(size: str) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    return {"metadata": {"name": "data"}, "spec": spec}


DEPLOYMENT, DAEMON_SET = _workload("Deployment"), _workload("DaemonSet")
STATEFUL_SET = _workload("StatefulSet", serviceName="it", volumeClaimTemplates=[_claim_template("1Gi")])
JOB = _object("batch/v1", "Job", spec={"template": {"spec": {**POD["spec"], "restartPolicy": "Never"}}})
SERVICE = _object("v1", "Service", spec={"selector": LABELS, "ports": [{"port": 80}]})
CLAIM = _object(
    "v1",
    "PersistentVolumeClaim",
    spec={"accessModes": ["ReadWriteOnce"], "storageClassName": "a", "resources": {"requests": {"storage": "2Gi"}}},
)
_ON_A = {
    "required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["a"]}]}]}
}
_ON_B = {
    "required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["b"]}]}]}
}
VOLUME = _object(
    "v1",
    "PersistentVolume",
    spaced=False,
    spec={
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
        "storageClassName": "of-volumes",  # not the claims': one that is bound to it would keep both from going
        "nfs": {"server": "10.0.0.1", "path": "/a"},
    },
)
DRIVEN = _object(
    "v1",
    "PersistentVolume",
    spaced=False,
    spec={
        **{k: v for k, v in VOLUME["spec"].items() if k != "nfs"},
        "csi": {"driver": "example.org", "volumeHandle": "a"},
    },
)
CLASS = _object("storage.k8s.io/v1", "StorageClass", spaced=False, provisioner="p", parameters={"a": "b"})
PRIORITY = _object("scheduling.k8s.io/v1", "PriorityClass", spaced=False, value=10)
BINDING = _object(
    "rbac.authorization.k8s.io/v1",
    "RoleBinding",
    roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
    subjects=[{"kind": "ServiceAccount", "name": "a", "namespace": SPACE}],
)
INGRESS_CLASS = _object("networking.k8s.io/v1", "IngressClass", spaced=False, spec={"controller": "example.org/a"})
RUNTIME_CLASS = _object("node.k8s.io/v1", "RuntimeClass", spaced=False, handler="runc")
CONFIG = _object("v1", "ConfigMap", data={"a": "b"}, immutable=True)
SECRET = _object("v1", "Secret", stringData={"a": "b"}, type="Opaque")
DRIVER = _object("storage.k8s.io/v1", "CSIDriver", spaced=False, spec={"attachRequired": True})
_SCHEMA = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}


def _version(name: str, *, storage: bool) -> dict[str, Any]:
    return {"name": name, "served": True, "storage": storage, "schema": _SCHEMA}


DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.org"},
    "spec": {
        "group": "example.org",
        "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
        "scope": "Namespaced",
        "versions": [_version("v1", storage=True)],
    },
}


def with_value(item: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """An object with another value at a dotted path; None takes the field away."""
    made = copy.deepcopy(item)
    *above, last = path.split(".")
    there = made
    for part in above:
        there = there[int(part)] if isinstance(there, list) else there.setdefault(part, {})
    if value is None:
        there.pop(last, None)
    else:
        there[last] = value
    return made


_OTHER = {"matchLabels": {"app": "a", "more": "b"}}
_OTHER_POD: dict[str, Any] = {"metadata": {"labels": {"app": "a", "more": "b"}}, "spec": POD["spec"]}
# (what it is, before, after, the field that is refused; empty where the change is taken)
CASES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("replicas", DEPLOYMENT, with_value(DEPLOYMENT, "spec.replicas", 3), ""),
    ("selector of a Deployment", DEPLOYMENT, with_value(with_value(DEPLOYMENT, "spec.selector", _OTHER), "spec.template", _OTHER_POD), "spec.selector"),
    ("labels of a Deployment's pods", DEPLOYMENT, with_value(DEPLOYMENT, "spec.template", _OTHER_POD), ""),
    ("selector of a DaemonSet", DAEMON_SET, with_value(with_value(DAEMON_SET, "spec.selector", _OTHER), "spec.template", _OTHER_POD), "spec.selector"),
    ("size of a StatefulSet's claims", STATEFUL_SET, with_value(STATEFUL_SET, "spec.volumeClaimTemplates", [_claim_template("2Gi")]), "spec.volumeClaimTemplates"),
    ("the same size, written otherwise", STATEFUL_SET, with_value(STATEFUL_SET, "spec.volumeClaimTemplates", [_claim_template("1024Mi")]), ""),
    ("service of a StatefulSet", STATEFUL_SET, with_value(STATEFUL_SET, "spec.serviceName", "other"), "spec.serviceName"),
    ("pod management of a StatefulSet", STATEFUL_SET, with_value(STATEFUL_SET, "spec.podManagementPolicy", "Parallel"), "spec.podManagementPolicy"),
    ("the default, said", STATEFUL_SET, with_value(STATEFUL_SET, "spec.podManagementPolicy", "OrderedReady"), ""),
    ("patience of a StatefulSet", STATEFUL_SET, with_value(STATEFUL_SET, "spec.minReadySeconds", 5), ""),
    ("image of a Job", JOB, with_value(JOB, "spec.template.spec.containers", [{"name": "c", "image": "j"}]), "spec.template"),
    ("time to live of a Job", JOB, with_value(JOB, "spec.ttlSecondsAfterFinished", 60), ""),
    ("a Service that gets no address any more", SERVICE, with_value(SERVICE, "spec.clusterIP", "None"), "spec.clusterIP"),
    ("ports of a Service", SERVICE, with_value(SERVICE, "spec.ports", [{"port": 81}]), ""),
    ("a headless Service that says nothing", with_value(SERVICE, "spec.clusterIP", "None"), SERVICE, ""),
    ("access modes of a claim", CLAIM, with_value(CLAIM, "spec.accessModes", ["ReadWriteMany"]), "spec.accessModes"),
    ("class of a claim, taken away", CLAIM, with_value(CLAIM, "spec.storageClassName", None), "spec.storageClassName"),
    ("what is empty, said", STATEFUL_SET, with_value(STATEFUL_SET, "spec.volumeClaimTemplates", [{"metadata": {"name": "data", "labels": {}}, "spec": {**_claim_template("1Gi")["spec"], "selector": None}}]), ""),
    ("class of a claim", CLAIM, with_value(CLAIM, "spec.storageClassName", "b"), "spec.storageClassName"),
    ("a smaller claim", CLAIM, with_value(CLAIM, "spec.resources.requests.storage", "1Gi"), "spec.resources.requests.storage"),
    ("server of a volume", VOLUME, with_value(VOLUME, "spec.nfs.server", "10.0.0.2"), "spec.nfs"),
    ("another source of a volume", VOLUME, with_value(with_value(VOLUME, "spec.nfs", None), "spec.hostPath", {"path": "/a"}), "spec.hostPath"),
    ("size and policy of a volume", VOLUME, with_value(with_value(VOLUME, "spec.capacity.storage", "2Gi"), "spec.persistentVolumeReclaimPolicy", "Retain"), ""),
    ("what is false of a source, said", VOLUME, with_value(VOLUME, "spec.nfs.readOnly", False), ""),
    ("mode of a volume", VOLUME, with_value(VOLUME, "spec.volumeMode", "Block"), "spec.volumeMode"),
    ("nodes of a volume, said", VOLUME, with_value(VOLUME, "spec.nodeAffinity", _ON_A), ""),
    ("nodes of a volume", with_value(VOLUME, "spec.nodeAffinity", _ON_A), with_value(VOLUME, "spec.nodeAffinity", _ON_B), "spec.nodeAffinity"),
    ("handle of a volume", DRIVEN, with_value(DRIVEN, "spec.csi.volumeHandle", "b"), "spec.csi"),
    ("the Secret to grow a volume with", DRIVEN, with_value(DRIVEN, "spec.csi.controllerExpandSecretRef", {"name": "a", "namespace": SPACE}), ""),
    ("parameters of a class", CLASS, with_value(CLASS, "parameters", {"a": "c"}), "parameters"),
    ("provisioner of a class", CLASS, with_value(CLASS, "provisioner", "q"), "provisioner"),
    ("reclaim policy of a class", CLASS, with_value(CLASS, "reclaimPolicy", "Retain"), "reclaimPolicy"),
    ("the default of a class, said", CLASS, with_value(CLASS, "reclaimPolicy", "Delete"), ""),
    ("binding mode of a class", CLASS, with_value(CLASS, "volumeBindingMode", "WaitForFirstConsumer"), "volumeBindingMode"),
    ("expansion of a class", CLASS, with_value(CLASS, "allowVolumeExpansion", True), ""),
    ("value of a priority", PRIORITY, with_value(PRIORITY, "value", 20), "value"),
    ("preemption of a priority", PRIORITY, with_value(PRIORITY, "preemptionPolicy", "Never"), "preemptionPolicy"),
    ("role of a binding", BINDING, with_value(BINDING, "roleRef.name", "edit"), "roleRef"),
    ("accounts of a binding", BINDING, with_value(BINDING, "subjects", []), ""),
    ("controller of an ingress class", INGRESS_CLASS, with_value(INGRESS_CLASS, "spec.controller", "example.org/b"), "spec.controller"),
    ("handler of a runtime class", RUNTIME_CLASS, with_value(RUNTIME_CLASS, "handler", "other"), "handler"),
    ("data of what never changes", CONFIG, with_value(CONFIG, "data", {"a": "c"}), "data"),
    ("data of what may change", with_value(CONFIG, "immutable", None), with_value(with_value(CONFIG, "data", {"a": "c"}), "immutable", None), ""),
    ("what never changes, and then may", CONFIG, with_value(CONFIG, "immutable", None), "immutable"),
    ("type of a Secret", SECRET, with_value(SECRET, "type", "example.org/other"), "type"),
    ("attachment of a driver", DRIVER, with_value(DRIVER, "spec.attachRequired", False), "spec.attachRequired"),
    ("scope of a kind", DEFINITION, with_value(DEFINITION, "spec.scope", "Cluster"), "spec.scope"),
    ("the version that is stored", DEFINITION, with_value(DEFINITION, "spec.versions", [_version("v2", storage=True)]), "spec.versions"),
    ("one more version", DEFINITION, with_value(DEFINITION, "spec.versions", [_version("v1", storage=False), _version("v2", storage=True)]), ""),
]  # fmt: skip


# Values that a field may take, by object: what the API server makes of each change of one or two of them is what is foretold.
FIELDS: list[tuple[dict[str, Any], dict[str, list[Any]]]] = [
    (
        DEPLOYMENT,
        {
            "spec.replicas": [None, 0, 2],
            "spec.minReadySeconds": [None, 0, 5],
            "spec.paused": [None, True],
            "spec.revisionHistoryLimit": [None, 3],
            "spec.strategy": [None, {"type": "Recreate"}, {"type": "RollingUpdate"}],
            "spec.template.metadata.annotations": [None, {"a": "b"}],
            "spec.template.spec.containers.0.image": ["i", "j"],
            "spec.selector+labels": [LABELS, {"app": "a", "more": "b"}],
        },
    ),
    (
        DAEMON_SET,
        {
            "spec.minReadySeconds": [None, 5],
            "spec.updateStrategy": [None, {"type": "OnDelete"}],
            "spec.revisionHistoryLimit": [None, 3],
            "spec.template.spec.containers.0.image": ["i", "j"],
            "spec.selector+labels": [LABELS, {"app": "a", "more": "b"}],
        },
    ),
    (
        STATEFUL_SET,
        {
            "spec.replicas": [None, 0, 2],
            "spec.serviceName": ["it", "other", None],
            "spec.podManagementPolicy": [None, "OrderedReady", "Parallel"],
            "spec.updateStrategy": [None, {"type": "OnDelete"}],
            "spec.minReadySeconds": [None, 5],
            "spec.revisionHistoryLimit": [None, 3],
            "spec.persistentVolumeClaimRetentionPolicy": [None, {"whenDeleted": "Delete", "whenScaled": "Retain"}],
            "spec.ordinals": [None, {"start": 1}],
            "spec.volumeClaimTemplates": [
                [_claim_template("1Gi")],
                [_claim_template("2Gi")],
                [_claim_template("1024Mi")],
                None,
            ],
            "spec.template.spec.containers.0.image": ["i", "j"],
        },
    ),
    (
        JOB,
        {
            "spec.parallelism": [None, 1, 2],
            "spec.completions": [None, 1, 3],
            "spec.completionMode": [None, "NonIndexed", "Indexed"],
            "spec.backoffLimit": [None, 3],
            "spec.activeDeadlineSeconds": [None, 100],
            "spec.ttlSecondsAfterFinished": [None, 60],
            "spec.podReplacementPolicy": [None, "Failed"],
            "spec.template.metadata.annotations": [None, {"a": "b"}],
            "spec.template.spec.containers.0.image": ["i", "j"],
        },
    ),
    (
        SERVICE,
        {
            "spec.clusterIP": [None, "None"],
            "spec.type": [None, "ClusterIP", "NodePort", "LoadBalancer"],
            "spec.sessionAffinity": [None, "ClientIP"],
            "spec.ports": [[{"port": 80}], [{"port": 81}]],
            "spec.selector": [LABELS, {"app": "b"}],
            "spec.ipFamilyPolicy": [None, "SingleStack"],
            "spec.externalTrafficPolicy": [None],
        },
    ),
    (
        CLAIM,
        {
            "spec.accessModes": [["ReadWriteOnce"], ["ReadWriteMany"]],
            "spec.storageClassName": ["a", "b", None],
            "spec.volumeMode": [None, "Filesystem", "Block"],
            "spec.resources.requests.storage": ["2Gi", "2048Mi", "1Gi"],
            "metadata.annotations": [None, {"a": "b"}],
        },
    ),
    (
        VOLUME,
        {
            "spec.nfs.server": ["10.0.0.1", "10.0.0.2"],
            "spec.nfs.readOnly": [None, False, True],
            "spec.capacity.storage": ["1Gi", "2Gi"],
            "spec.accessModes": [["ReadWriteOnce"], ["ReadWriteMany"]],
            "spec.persistentVolumeReclaimPolicy": [None, "Retain", "Recycle"],
            "spec.storageClassName": ["a", "b", None],
            "spec.mountOptions": [None, ["noatime"]],
            "spec.volumeMode": [None, "Filesystem", "Block"],
            "spec.nodeAffinity": [None, _ON_A, _ON_B],
        },
    ),
    (
        CLASS,
        {
            "provisioner": ["p", "q"],
            "parameters": [{"a": "b"}, {"a": "c"}, None],
            "reclaimPolicy": [None, "Delete", "Retain"],
            "volumeBindingMode": [None, "Immediate", "WaitForFirstConsumer"],
            "allowVolumeExpansion": [None, True],
            "mountOptions": [None, ["noatime"]],
        },
    ),
    (
        PRIORITY,
        {
            "value": [10, 20],
            "globalDefault": [None],
            "preemptionPolicy": [None, "PreemptLowerPriority", "Never"],
            "description": [None, "a"],
        },
    ),
    (
        BINDING,
        {
            "roleRef.name": ["view", "edit"],
            "roleRef.kind": ["ClusterRole", "Role"],
            "subjects": [[], [{"kind": "ServiceAccount", "name": "b", "namespace": SPACE}]],
        },
    ),
    (
        INGRESS_CLASS,
        {"spec.controller": ["example.org/a", "example.org/b"], "metadata.annotations": [None, {"a": "b"}]},
    ),
    (RUNTIME_CLASS, {"handler": ["runc", "other"], "metadata.labels": [None, {"a": "b"}]}),
    (
        CONFIG,
        {"data": [{"a": "b"}, {"a": "c"}], "immutable": [True, None, False], "metadata.labels": [None, {"a": "b"}]},
    ),
    (
        SECRET,
        {
            "type": ["Opaque", "example.org/other", None],
            "stringData": [{"a": "b"}, {"a": "c"}],
            "immutable": [None, True],
        },
    ),
    (
        DRIVER,
        {
            "spec.attachRequired": [True, False],
            "spec.podInfoOnMount": [None, True],
            "spec.fsGroupPolicy": [None, "File"],
        },
    ),
]


def made(base: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
    """An object with a value at each of some fields; ``+labels`` are those of a selector and of its pods."""
    item = base
    for path, value in chosen.items():
        if path.endswith("+labels"):
            item = with_value(
                with_value(item, "spec.selector.matchLabels", value), "spec.template.metadata.labels", value
            )
        else:
            item = with_value(item, path, value)
    return item


# -- what a definition itself doesn't let anybody change ---------------------------------------------------------------------

_STAYS = [{"rule": "self == oldSelf", "message": "it stays"}]
_TEXT = {"type": "string"}
FROZEN_KIND: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "gardens.example.org"},
    "spec": {
        "group": "example.org",
        "names": {"kind": "Garden", "plural": "gardens", "singular": "garden", "listKind": "GardenList"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "x-kubernetes-validations": [
                                    {"rule": "!has(oldSelf.owner) || self.owner == oldSelf.owner"},
                                    {"rule": "self.size >= oldSelf.size"},
                                ],
                                "properties": {
                                    "region": {**_TEXT, "x-kubernetes-validations": _STAYS},
                                    "zone": {**_TEXT, "default": "a", "x-kubernetes-validations": _STAYS},
                                    "owner": _TEXT,
                                    "colour": _TEXT,
                                    "size": {"type": "integer", "default": 1},
                                    "beds": {
                                        "type": "object",
                                        "maxProperties": 8,
                                        "additionalProperties": {
                                            "type": "object",
                                            "properties": {
                                                "soil": {**_TEXT, "maxLength": 16, "x-kubernetes-validations": _STAYS}
                                            },
                                        },
                                    },
                                },
                            }
                        },
                    }
                },
            }
        ],
    },
}


def frozen_one(spec: dict[str, Any]) -> dict[str, Any]:
    """A Garden with a spec; its owner is always said, since a rule asks for it."""
    meta = {"name": "it", "namespace": SPACE}
    return {"apiVersion": "example.org/v1", "kind": "Garden", "metadata": meta, "spec": {"owner": "me", **spec}}


# (what it is, spec before, spec after, the field that is refused)
FROZEN: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("a value that stays", {"region": "north"}, {"region": "south"}, "spec.region"),
    ("a value that is said now", {}, {"region": "south"}, ""),
    ("a value that isn't said any more", {"region": "north"}, {}, ""),
    ("the default, said", {}, {"zone": "a"}, ""),
    ("another value than the default", {}, {"zone": "b"}, "spec.zone"),
    ("a field of a rule above it", {}, {"owner": "you"}, "spec.owner"),
    ("what no rule is about", {"colour": "red"}, {"colour": "blue"}, ""),
    ("a rule that says something else", {"size": 1}, {"size": 2}, ""),
    (
        "a value in a map",
        {"beds": {"one": {"soil": "clay"}}},
        {"beds": {"one": {"soil": "sand"}}},
        "spec.beds.one.soil",
    ),
    ("another key of a map", {"beds": {"one": {"soil": "clay"}}}, {"beds": {"two": {"soil": "sand"}}}, ""),
]
