"""Fields that the API server lets nobody change, and what a way around that costs.

Source: the validation of each kind in k8s.io/kubernetes (pkg/apis/*/validation), held against a real API server in suites/oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from holdfast.tree.manifest import Body, get, mapping, sequence
from holdfast.tree.quantity import quantity

Path = tuple[str, ...]
_ABSENT = object()


@dataclass(frozen=True)
class Refusal:
    """A change that is refused: the field, what it was and what it is to be; *sure* where nothing that isn't in Git could make it none."""

    path: Path
    before: Any
    after: Any
    sure: bool = True

    @property
    def field(self) -> str:
        return ".".join(self.path)

    def first(self) -> tuple[str, Any, Any]:
        """(field, what it was, what it is to be) of the first difference within."""
        path, before, after = self.path, self.before, self.after
        while True:
            if isinstance(before, dict) and isinstance(after, dict):
                keys: list[Any] = [k for k in {**before, **after} if before.get(k) != after.get(k)]
                inner = (before.get(keys[0]), after.get(keys[0])) if keys else None
            elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
                keys = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
                inner = (before[keys[0]], after[keys[0]]) if keys else None
            else:
                inner, keys = None, []
            if inner is None:
                return ".".join(path), before, after
            path, (before, after) = (*path, str(keys[0])), inner


# What the API server takes where nothing is said.
_DEFAULTS: dict[Path, Any] = {
    ("spec", "podManagementPolicy"): "OrderedReady",
    ("spec", "volumeMode"): "Filesystem",
    ("spec", "completionMode"): "NonIndexed",
    ("spec", "attachRequired"): True,
    ("reclaimPolicy",): "Delete",
    ("volumeBindingMode",): "Immediate",
    ("preemptionPolicy",): "PreemptLowerPriority",
    ("type",): "Opaque",
    ("value",): 0,
}
# Where nothing said means: whatever the cluster gives.
_GIVEN = {("spec", "storageClassName"), ("spec", "volumeName"), ("spec", "clusterIP"), ("spec", "selector")}
_FIELDS: dict[tuple[str, str], tuple[Path, ...]] = {
    ("apps", "Deployment"): (("spec", "selector"),),
    ("apps", "DaemonSet"): (("spec", "selector"),),
    ("apps", "ReplicaSet"): (("spec", "selector"),),
    ("apps", "StatefulSet"): (
        ("spec", "selector"),
        ("spec", "serviceName"),
        ("spec", "podManagementPolicy"),
        ("spec", "volumeClaimTemplates"),
    ),
    ("batch", "Job"): (
        ("spec", "template"),
        ("spec", "completionMode"),
        ("spec", "podFailurePolicy"),
        ("spec", "successPolicy"),
        ("spec", "backoffLimitPerIndex"),
        ("spec", "managedBy"),
    ),
    ("", "PersistentVolumeClaim"): (
        ("spec", "accessModes"),
        ("spec", "storageClassName"),
        ("spec", "volumeMode"),
        ("spec", "volumeName"),
        ("spec", "selector"),
    ),
    ("", "PersistentVolume"): (("spec", "volumeMode"),),
    ("storage.k8s.io", "StorageClass"): (
        ("provisioner",),
        ("parameters",),
        ("reclaimPolicy",),
        ("volumeBindingMode",),
    ),
    ("storage.k8s.io", "CSIDriver"): (("spec", "attachRequired"),),
    ("scheduling.k8s.io", "PriorityClass"): (("value",), ("preemptionPolicy",)),
    ("rbac.authorization.k8s.io", "RoleBinding"): (("roleRef",),),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): (("roleRef",),),
    ("networking.k8s.io", "IngressClass"): (("spec", "controller"),),
    ("node.k8s.io", "RuntimeClass"): (("handler",),),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): (
        ("spec", "scope"),
        ("spec", "names", "kind"),
        ("spec", "names", "plural"),
    ),
    ("", "Secret"): (("type",),),
}


def fields(group: str, kind: str) -> tuple[Path, ...]:
    """The fields of a kind that are never changed."""
    return _FIELDS.get((group, kind), ())


def refusals(group: str, kind: str, before: Body, after: Body) -> Iterator[Refusal]:
    """The changes from one object to its next form that the API server refuses. Both as they are written in Git."""
    for path in _FIELDS.get((group, kind), ()):
        old, new = _value(before, path), _value(after, path)
        if old == new or (old is _ABSENT and new is _ABSENT):
            continue
        given = path in _GIVEN and old is _ABSENT
        # A Job that is deleted once it is done may be gone.
        gone = kind == "Job" and get(before, "spec", "ttlSecondsAfterFinished") is not None
        yield Refusal(path, _shown(old), _shown(new), sure=not given and not gone)
    more = _MORE.get((group, kind))
    if more:
        yield from more(before, after)


def _value(body: Body, path: Path) -> Any:
    found = _without_nothing(get(body, *path))
    if found is None:
        return _DEFAULTS.get(path, _ABSENT)
    return _plain(path, found)


def _without_nothing(value: Any) -> Any:
    """A value without what is empty in it, which the API server takes for not said."""
    if isinstance(value, dict):
        kept = {k: v for k, v in ((k, _without_nothing(v)) for k, v in value.items()) if v is not None}
        return kept or None
    if isinstance(value, list):
        return [_without_nothing(v) for v in value] or None
    return None if value == "" else value


def _plain(path: Path, found: Any) -> Any:
    """A value as the API server compares it: quantities by their amount, what is empty as if it weren't there."""
    if path == ("spec", "volumeClaimTemplates"):
        return [_template(mapping(one)) for one in sequence(found)]
    if path == ("roleRef",):
        return {"apiGroup": "rbac.authorization.k8s.io", **mapping(found)}
    return found


def _template(one: Body) -> Body:
    spec = dict(mapping(one.get("spec")))
    requests = mapping(get(spec, "resources", "requests"))
    spec["resources"] = {name: str(quantity(value) or value) for name, value in requests.items()}
    meta = {k: v for k, v in mapping(one.get("metadata")).items() if k in ("name", "labels", "annotations")}
    return {"metadata": meta, "spec": {"volumeMode": "Filesystem", **spec}}


def _shown(value: Any) -> Any:
    return None if value is _ABSENT else value


def _frozen(before: Body, after: Body) -> Iterator[Refusal]:
    """A ConfigMap or a Secret that says that it never changes."""
    if before.get("immutable") is not True:
        return
    for field in ("data", "binaryData", "stringData"):
        old, new = mapping(before.get(field)), mapping(after.get(field))
        if old != new:
            yield Refusal((field,), old, new, sure="ENC[" not in f"{old}{new}")  # encrypted anew, it may be the same
    if after.get("immutable") is not True:
        yield Refusal(("immutable",), True, after.get("immutable"))


def _completions_unsaid(said: Any, old: Any, parallel: list[Any]) -> int | None:
    """What the API server makes of it where nothing is said any more: one pod, unless it knows how many may run at once."""
    taken_away = parallel[0] is not None and parallel[1] is None
    if said is not None:
        return 1 if taken_away else None
    return 1 if old == 1 or taken_away else None


def _job(before: Body, after: Body) -> Iterator[Refusal]:
    """How many pods of a Job must end well: of an indexed one that may change, and then what runs at once does with it."""
    path = ("spec", "completions")
    said = [get(one, *path) for one in (before, after)]
    parallel = [get(one, "spec", "parallelism") for one in (before, after)]
    old = said[0] if said[0] is not None else 1 if parallel[0] is None else None
    new = said[1] if said[1] is not None else _completions_unsaid(said[0], old, parallel)
    indexed = all(get(one, "spec", "completionMode") == "Indexed" for one in (before, after))
    if old == new or (indexed and new is not None and new == parallel[1]):
        return
    gone = get(before, "spec", "ttlSecondsAfterFinished") is not None
    yield Refusal(path, old, new, sure=not gone)


def _claim(before: Body, after: Body) -> Iterator[Refusal]:
    """A claim never becomes smaller."""
    path = ("spec", "resources", "requests", "storage")
    old, new = get(before, *path), get(after, *path)
    amounts = quantity(old), quantity(new)
    if amounts[0] is not None and amounts[1] is not None and amounts[1] < amounts[0]:
        yield Refusal(path, old, new)


# What a volume's spec says beside where its data is.
_NOT_THE_SOURCE = {
    "capacity", "accessModes", "claimRef", "persistentVolumeReclaimPolicy", "storageClassName", "mountOptions", "volumeMode",
    "nodeAffinity", "volumeAttributesClassName",
}  # fmt: skip


_HAS_DEFAULTS = frozenset({"iscsi", "rbd", "azureDisk", "scaleIO"})


def _volume(before: Body, after: Body) -> Iterator[Refusal]:
    """Where a volume's data is, and on which nodes, once that was said."""
    old, new = (_source(get(one, "spec")) for one in (before, after))
    later = "controllerExpandSecretRef"  # the one part of a source that may come later
    if mapping(new.get("csi")).get(later) and not mapping(old.get("csi")).get(later):
        new["csi"] = {k: v for k, v in mapping(new["csi"]).items() if k != later}
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            was_there = mapping(old.get(name))
            # The API server fills in what a source leaves out (a pool, an interface) before it compares.
            only_more = bool(was_there) and all(mapping(new.get(name)).get(k) == v for k, v in was_there.items())
            sure = not (only_more and name in _HAS_DEFAULTS)
            yield Refusal(("spec", name), old.get(name), new.get(name), sure=sure)
            return  # one source in place of another is one change
    was, now = (get(one, "spec", "nodeAffinity") for one in (before, after))
    if was and was != now:  # labels that Kubernetes itself has given another name may be written anew
        yield Refusal(("spec", "nodeAffinity"), was, now, sure="beta.kubernetes.io" not in str(was))


def _source(spec: Any) -> Body:
    """A volume's source as the API server compares it: what is false or empty is as if it weren't there."""
    found = {k: v for k, v in mapping(spec).items() if k not in _NOT_THE_SOURCE}
    return {k: {n: v for n, v in mapping(_without_nothing(v)).items() if v is not False} for k, v in found.items()}


def _service(before: Body, after: Body) -> Iterator[Refusal]:
    """The address of a Service: one that it was given stays, also where the next form has none."""
    old, new = get(before, "spec", "clusterIP"), get(after, "spec", "clusterIP")
    kinds = [get(one, "spec", "type") or "ClusterIP" for one in (before, after)]
    if "ExternalName" in kinds or not new or old == new:
        return
    yield Refusal(("spec", "clusterIP"), old, new, sure=old is not None or new == "None")


def _definition(before: Body, after: Body) -> Iterator[Refusal]:
    """A version that objects are stored in can't go."""
    stored = [v.get("name") for v in map(mapping, sequence(get(before, "spec", "versions"))) if v.get("storage")]
    left = {v.get("name") for v in map(mapping, sequence(get(after, "spec", "versions")))}
    if stored and left and stored[0] not in left:
        yield Refusal(("spec", "versions"), stored[0], None)


_MORE: dict[tuple[str, str], Callable[[Body, Body], Iterator[Refusal]]] = {
    ("", "ConfigMap"): _frozen,
    ("", "Secret"): _frozen,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "PersistentVolume"): _volume,
    ("batch", "Job"): _job,
    ("", "Service"): _service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
}
GONE = "it is gone meanwhile"
# What it costs to delete an object and make it anew, by kind.
PRICE = {
    "Deployment": "all its pods stop before new ones start",
    "DaemonSet": "its pods stop on every node at once",
    "ReplicaSet": "all its pods stop before new ones start",
    "StatefulSet": "all its pods stop; its claims stay, unless its retention policy deletes them",
    "Job": "it runs once more",
    "PersistentVolumeClaim": "its data is lost, unless its volume is kept (reclaim policy Retain) and bound by hand",
    "PersistentVolume": "a bound one goes only once its claim is gone, and its data stays where its policy is Retain",
    "StorageClass": "none for what is bound already",
    "CSIDriver": "no volume is attached meanwhile",
    "PriorityClass": "none for pods that run; new ones are refused meanwhile",
    "RoleBinding": "its accounts have no rights meanwhile",
    "ClusterRoleBinding": "its accounts have no rights meanwhile",
    "IngressClass": "its Ingresses aren't served meanwhile",
    "RuntimeClass": "new pods of it are refused meanwhile",
    "CustomResourceDefinition": "every object of that kind is deleted with it",
    "Secret": "pods that start meanwhile wait for it",
    "ConfigMap": "pods that start meanwhile wait for it",
    "Service": "it gets another address, and nobody reaches it meanwhile",
}
