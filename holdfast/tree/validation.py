"""What the API server's own validation refuses in an object whose fields and types are all right: names, ranges, what must go together.

Only what every version since Kubernetes 1.30 refuses, and only what stands in the object itself. Values that aren't known are left alone.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.manifest import Body, Manifest, mapping, sequence
from holdfast.tree.sources import PathKey

Path = tuple[PathKey, ...]
Refusal = tuple[Path, str]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DATA_KEY = re.compile(r"(?=.{1,253}$)[-._a-zA-Z0-9]+")
_ENV = re.compile(r"[ -<>-~]+")  # any printable character but "="
_ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_NO_PATH = re.compile(r"//|/\.\.?(?=/|$)|%2[fF]")
_HOST = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUANTITY = re.compile(r"([+-]?[0-9.]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?")
_POWERS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_NODE_PORTS = range(30000, 32768)
_PORTS = range(1, 65536)
_NAMED_FREELY = frozenset({"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"})
# Lists of a pod that are merged by keys (beside containers, ports, mounts and volumes, of which more is said).
_TOLD_APART = {
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_MODES = frozenset({"ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"})
_BUILT_IN = re.compile(r"(|apps|batch|autoscaling|policy|.*\.k8s\.io)")


def refusals(manifest: Manifest) -> Iterator[Refusal]:
    """Each thing that the API server refuses: the field, and what is wrong with it."""
    if not _BUILT_IN.fullmatch(manifest.group) or manifest.kind == "CustomResourceDefinition":
        return
    found = [*_metadata(manifest), *_of_kind(manifest)]
    if manifest.pod_path:
        found += [((*manifest.pod_path, *path), words) for path, words in _pod(manifest)]
    yield from found


def _known(value: Any) -> bool:
    """Not so: a variable that isn't in the tree, or in what nothing applies, still one."""
    return not (isinstance(value, str) and (UNKNOWN in value or "${" in value))


def _of_kind(manifest: Manifest) -> Iterator[Refusal]:
    judge = _BY_KIND.get(manifest.kind)
    if judge:
        yield from judge(manifest)


# -- what every object has ---------------------------------------------------------------------------------------------------------


def _metadata(manifest: Manifest) -> Iterator[Refusal]:
    name = manifest.name
    if name and _known(name):
        if manifest.kind in _NAMED_FREELY:
            good = not set(name) & {"/", "%"} and name not in (".", "..")
        else:
            good = bool((_LABEL if manifest.kind in ("Namespace", "Service") else _SUBDOMAIN).fullmatch(name))
        if not good:
            yield (
                ("metadata", "name"),
                f"the name {name!r} isn't one that Kubernetes takes: small letters, digits and '-'",
            )
    yield from _labels(manifest.meta.get("labels"), ("metadata", "labels"))
    for key in mapping(manifest.meta.get("annotations")):
        if _known(key) and not _KEY.fullmatch(str(key).lower()):  # an annotation's may be written in capitals
            yield ("metadata", "annotations", str(key)), f"{key!r} can't be the key of an annotation"


def _labels(labels: Any, path: Path) -> Iterator[Refusal]:
    for key, value in mapping(labels).items():
        if not _known(key) or not _known(value) or not isinstance(value, str):
            continue
        if not _KEY.fullmatch(str(key)):
            yield (*path, str(key)), f"{key!r} can't be the key of a label"
        elif not _VALUE.fullmatch(value):
            yield (
                (*path, str(key)),
                f"{value!r} can't be the value of a label: at most 63 letters, digits, '-', '_', '.'",
            )


# -- pods --------------------------------------------------------------------------------------------------------------------------


def _pod(manifest: Manifest) -> Iterator[Refusal]:
    pod = manifest.pod
    containers = [
        (field, number, mapping(one))
        for field in ("initContainers", "containers")
        for number, one in enumerate(sequence(pod.get(field)))
    ]
    if not sequence(pod.get("containers")):
        yield ("containers",), "a pod needs a container"
    names = Counter(str(one.get("name")) for _, _, one in containers)
    volumes = _volume_names(manifest)
    for field, number, one in containers:
        for path, words in _container(one, volumes, is_pod=bool(pod.get("hostNetwork"))):
            yield (field, number, *path), words
        if names[str(one.get("name"))] > 1:
            yield (field, number, "name"), f"two containers are called {one.get('name')}"
    seen: set[str] = set()
    for number, volume in enumerate(map(mapping, sequence(pod.get("volumes")))):
        name = str(volume.get("name"))
        if name in seen:
            yield ("volumes", number, "name"), f"two volumes are called {name}"
        seen.add(name)
        sources = [key for key in volume if key != "name" and volume[key] is not None]
        if len(sources) > 1:
            yield ("volumes", number), f"the volume {name} has {len(sources)} sources: {', '.join(sorted(sources))}"
    for field, keys in _TOLD_APART.items():
        yield from _twice(pod, field, keys)
    yield from _restart_policy(manifest)


def _twice(holder: Body, field: str, keys: tuple[str, ...]) -> Iterator[Refusal]:
    """Entries of a list that server-side apply tells apart by some keys, and that have the same."""
    seen: set[tuple[str, ...]] = set()
    for number, one in enumerate(map(mapping, sequence(holder.get(field)))):
        told = tuple(str(one.get(key)) for key in keys)
        if told in seen and all(map(_known, told)):
            yield (
                (field, number),
                f"two entries of {field} are {'/'.join(told)}, by which server-side apply tells them apart",
            )
        seen.add(told)


def _volume_names(manifest: Manifest) -> set[str]:
    own = {str(mapping(v).get("name")) for v in sequence(manifest.pod.get("volumes"))}
    templates = sequence(manifest.spec.get("volumeClaimTemplates")) if manifest.kind == "StatefulSet" else []
    return own | {str(mapping(mapping(t).get("metadata")).get("name")) for t in templates}


def _restart_policy(manifest: Manifest) -> Iterator[Refusal]:
    policy = manifest.pod.get("restartPolicy")
    if manifest.kind in ("Job", "CronJob"):
        if policy not in ("Never", "OnFailure") and _known(policy):
            yield ("restartPolicy",), "a Job's pods need the restartPolicy Never or OnFailure"
    elif manifest.kind != "Pod" and policy not in (None, "Always") and _known(policy):
        yield ("restartPolicy",), f"the pods of a {manifest.kind} can't have the restartPolicy {policy}"
    elif policy not in (None, "Always", "OnFailure", "Never") and _known(policy):
        yield ("restartPolicy",), f"{policy} is no restartPolicy"


def _container(one: Body, volumes: set[str], *, is_pod: bool) -> Iterator[Refusal]:
    name = one.get("name")
    if isinstance(name, str) and _known(name) and not _LABEL.fullmatch(name):
        yield ("name",), f"the name {name!r} of a container isn't one that Kubernetes takes"
    if one.get("image") == "":
        yield ("image",), "the container has no image"
    paths: set[str] = set()
    for number, mount in enumerate(map(mapping, sequence(one.get("volumeMounts")))):
        volume, at = str(mount.get("name")), str(mount.get("mountPath"))
        if _known(volume) and all(map(_known, volumes)) and volume not in volumes:
            yield ("volumeMounts", number, "name"), f"it mounts {volume}, and the pod has no such volume"
        if at in paths:
            yield ("volumeMounts", number, "mountPath"), f"two volumes are mounted at {at}"
        paths.add(at)
    yield from _ports(one, is_pod=is_pod)
    yield from _environment(one)
    yield from _resources(mapping(one.get("resources")))
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in one and isinstance(one[probe], dict):
            handlers = [h for h in _HANDLERS if one[probe].get(h) is not None]
            if len(handlers) != 1:
                words = "has no handler" if not handlers else f"has several handlers: {', '.join(handlers)}"
                yield (probe,), f"the {probe} {words}"


def _ports(one: Body, *, is_pod: bool) -> Iterator[Refusal]:
    names: set[str] = set()
    pairs: set[tuple[Any, Any]] = set()
    for number, port in enumerate(map(mapping, sequence(one.get("ports")))):
        name, value, host = port.get("name"), port.get("containerPort"), port.get("hostPort")
        pair = (value, port.get("protocol") or "TCP")
        if isinstance(value, int) and value not in _PORTS:
            yield ("ports", number, "containerPort"), f"{value} is no port"
        elif isinstance(value, int) and pair in pairs:
            yield (
                ("ports", number, "containerPort"),
                f"two ports are {value}/{pair[1]}, by which server-side apply tells them apart",
            )
        pairs.add(pair)
        if is_pod and isinstance(host, int) and isinstance(value, int) and host != value:
            yield (
                ("ports", number, "hostPort"),
                f"on the host's network the hostPort {host} must be the containerPort {value}",
            )
        if isinstance(name, str) and _known(name):
            if not _PORT_NAME.fullmatch(name):
                yield (
                    ("ports", number, "name"),
                    f"{name!r} can't be a port's name: at most 15 small letters, digits and '-', with a letter",
                )
            elif name in names:
                yield ("ports", number, "name"), f"two ports are called {name}"
            names.add(name)


def _environment(one: Body) -> Iterator[Refusal]:
    for number, entry in enumerate(map(mapping, sequence(one.get("env")))):
        name = entry.get("name")
        if isinstance(name, str) and _known(name) and not _ENV.fullmatch(name):
            yield ("env", number, "name"), f"{name!r} can't be a variable's name"
        if entry.get("value") and entry.get("valueFrom"):
            yield ("env", number), f"the variable {name} has a value, and a valueFrom as well"
    yield from _twice(one, "env", ("name",))


def quantity(value: Any) -> Decimal | None:
    """A quantity such as ``100m`` or ``1Gi`` as a number; None where it can't be read."""
    found = (
        _QUANTITY.fullmatch(str(value))
        if isinstance(value, int | float | str) and not isinstance(value, bool)
        else None
    )
    if not found:
        return None
    suffix = found[2] or ""
    try:
        number = Decimal(found[1])
        if suffix[:1] in ("e", "E") and len(suffix) > 1:
            return number.scaleb(int(suffix[1:]))
        if suffix.endswith("i"):
            return number * Decimal(1024 ** ("KMGTPE".index(suffix[0]) + 1))
        return number.scaleb(_POWERS[suffix])
    except (InvalidOperation, OverflowError, ValueError):
        return None


def _resources(resources: Body) -> Iterator[Refusal]:
    limits = mapping(resources.get("limits"))
    for name, wanted in mapping(resources.get("requests")).items():
        request, limit = quantity(wanted), quantity(limits.get(name))
        if request is not None and request < 0:
            yield ("resources", "requests", str(name)), f"the request of {name} is less than nothing: {wanted}"
        elif request is not None and limit is not None and request > limit:
            yield (
                ("resources", "requests", str(name)),
                f"the request of {name} is {wanted}, which is more than its limit of {limits[name]}",
            )


# -- by kind -----------------------------------------------------------------------------------------------------------------------


def _service(manifest: Manifest) -> Iterator[Refusal]:
    spec = manifest.spec
    if spec.get("type") == "ExternalName":
        if not spec.get("externalName"):
            yield ("spec", "externalName"), "an ExternalName needs its name"
        return
    ports = [mapping(p) for p in sequence(spec.get("ports"))]
    if not ports and spec.get("clusterIP") != "None":
        yield ("spec", "ports"), "a Service needs a port"
    names: Counter[str] = Counter(str(p.get("name") or "") for p in ports)
    pairs: set[tuple[Any, Any]] = set()
    for number, port in enumerate(ports):
        at: Path = ("spec", "ports", number)
        name, value, node = port.get("name"), port.get("port"), port.get("nodePort")
        if isinstance(value, int) and value not in _PORTS:
            yield (*at, "port"), f"{value} is no port"
        if isinstance(node, int) and node and node not in range(1, 65536):
            yield (*at, "nodePort"), f"{node} is no port"
        if len(ports) > 1 and not name:
            yield at, "each port of a Service with several needs a name"
        elif isinstance(name, str) and _known(name) and name and not _LABEL.fullmatch(name):
            yield (*at, "name"), f"{name!r} can't be a port's name: small letters, digits and '-'"
        elif (
            isinstance(name, str)
            and name
            and names[name] > 1
            and number
            and name in [p.get("name") for p in ports[:number]]
        ):
            yield (*at, "name"), f"two ports are called {name}"
        pair = (value, port.get("protocol") or "TCP")
        if pair in pairs and _known(value):
            yield (*at, "port"), f"two ports are {value}/{pair[1]}"
        pairs.add(pair)
        target = port.get("targetPort")
        if isinstance(target, str) and _known(target) and not _PORT_NAME.fullmatch(target):
            yield (*at, "targetPort"), f"{target!r} is no port's name, and a number stands without quotes"


def node_port_outside(manifest: Manifest) -> Iterator[Refusal]:
    """Node ports that aren't in the range that a cluster has unless its API server is told otherwise."""
    for number, port in enumerate(map(mapping, sequence(manifest.spec.get("ports")))):
        node = port.get("nodePort")
        if isinstance(node, int) and node in range(1, 65536) and node not in _NODE_PORTS:
            yield (
                ("spec", "ports", number, "nodePort"),
                f"the node port {node} isn't in the usual range of 30000 to 32767",
            )


def _claim_spec(spec: Body) -> Iterator[Refusal]:
    modes = spec.get("accessModes")
    if not sequence(modes):
        yield ("spec",), "a volume claim needs accessModes"
    else:
        for number, mode in enumerate(sequence(modes)):
            if _known(mode) and mode not in _MODES:
                yield ("spec", "accessModes", number), f"{mode} is no access mode"
    if "storage" not in mapping(mapping(spec.get("resources")).get("requests")):
        yield ("spec",), "a volume claim needs a request of storage"


def _claim(manifest: Manifest) -> Iterator[Refusal]:
    yield from _claim_spec(manifest.spec)


def _stateful(manifest: Manifest) -> Iterator[Refusal]:
    for number, template in enumerate(map(mapping, sequence(manifest.spec.get("volumeClaimTemplates")))):
        for path, words in _claim_spec(mapping(template.get("spec"))):
            yield ("spec", "volumeClaimTemplates", number, *path), words


def _deployment(manifest: Manifest) -> Iterator[Refusal]:
    strategy = mapping(manifest.spec.get("strategy"))
    if strategy.get("type") == "Recreate" and strategy.get("rollingUpdate"):
        yield ("spec", "strategy", "rollingUpdate"), "the strategy Recreate takes no rollingUpdate"
    rolling = mapping(strategy.get("rollingUpdate"))
    none = (0, "0", "0%")
    if rolling and rolling.get("maxUnavailable") in none and rolling.get("maxSurge") in none:
        yield ("spec", "strategy", "rollingUpdate"), "maxUnavailable and maxSurge can't both be 0"


def _data(manifest: Manifest) -> Iterator[Refusal]:
    both = ("data", "binaryData") if manifest.kind == "ConfigMap" else ("data", "stringData")
    for field in both:
        for key, value in mapping(manifest.body.get(field)).items():
            if _known(key) and (not _DATA_KEY.fullmatch(str(key)) or str(key) in (".", "..")):
                yield (field, str(key)), f"{key!r} can't be a key: letters, digits, '-', '_' and '.'"
            elif (manifest.kind, field) in (("Secret", "data"), ("ConfigMap", "binaryData")) and not _is_base64(value):
                yield (
                    (field, str(key)),
                    f"the value of {key} isn't base64: in a Secret plain text belongs into stringData",
                )


def _is_base64(value: Any) -> bool:
    if not isinstance(value, str) or not _known(value) or value.startswith("ENC["):
        return True  # another rule's matter
    try:
        base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _ingress(manifest: Manifest) -> Iterator[Refusal]:
    spec = manifest.spec
    if not sequence(spec.get("rules")) and not spec.get("defaultBackend"):
        yield ("spec",), "an Ingress needs rules, or a defaultBackend"
    for number, rule in enumerate(map(mapping, sequence(spec.get("rules")))):
        host = rule.get("host")
        if isinstance(host, str) and host and _known(host) and (not _HOST.fullmatch(host) or _ADDRESS.fullmatch(host)):
            yield ("spec", "rules", number, "host"), f"{host!r} is no host name"
        for place, path in enumerate(map(mapping, sequence(mapping(rule.get("http")).get("paths")))):
            at: Path = ("spec", "rules", number, "http", "paths", place)
            sort, text = path.get("pathType"), path.get("path")
            if sort in ("Exact", "Prefix") and not (isinstance(text, str) and text.startswith("/")) and _known(text):
                yield at, f"with the pathType {sort} a path begins with '/'"
            elif isinstance(text, str) and text and _known(text) and not text.startswith("/"):
                yield (*at, "path"), f"the path {text!r} doesn't begin with '/'"
            elif (
                sort in ("Exact", "Prefix")
                and isinstance(text, str)
                and _known(text)
                and (bad := _NO_PATH.search(text))
            ):
                yield (*at, "path"), f"with the pathType {sort} a path can't hold {bad[0]!r}"
            backend = mapping(path.get("backend"))
            if bool(backend.get("service")) == bool(backend.get("resource")):
                yield (*at, "backend"), "a backend is a service or a resource"
            elif (port := mapping(mapping(backend.get("service")).get("port"))) is not None and bool(
                port.get("name")
            ) == bool(port.get("number")):
                yield (*at, "backend"), "a backend's port is a name or a number"


def _budget(manifest: Manifest) -> Iterator[Refusal]:
    if "minAvailable" in manifest.spec and "maxUnavailable" in manifest.spec:
        yield ("spec", "maxUnavailable"), "a budget has minAvailable or maxUnavailable, not both"


def _autoscaler(manifest: Manifest) -> Iterator[Refusal]:
    least, most = manifest.spec.get("minReplicas", 1), manifest.spec.get("maxReplicas")
    if isinstance(most, int) and most < 1:
        yield ("spec", "maxReplicas"), "maxReplicas is at least 1"
    elif isinstance(most, int) and isinstance(least, int) and least > most:
        yield ("spec", "minReplicas"), f"minReplicas is {least}, which is more than the maxReplicas of {most}"


_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 6))
_NUMBERS = re.compile(r"(?<![/\w])\d+")  # what stands after a "/" is a step
_CRON = re.compile(
    r"(TZ=\S+ |CRON_TZ=\S+ )?(@(yearly|annually|monthly|weekly|daily|midnight|hourly|every .+)|\S+( +\S+){4})"
)


def _cron(manifest: Manifest) -> Iterator[Refusal]:
    schedule = manifest.spec.get("schedule")
    if not isinstance(schedule, str) or not _known(schedule):
        return
    if not _CRON.fullmatch(schedule.strip()):
        yield ("spec", "schedule"), f"{schedule!r} is no schedule: it has five fields"
    elif "TZ=" in schedule:
        yield ("spec", "schedule"), "the time zone of a schedule belongs into timeZone"
    elif not schedule.startswith("@"):
        for field, (name, lowest, highest) in zip(schedule.split(), _FIELDS, strict=False):
            wrong = [n for n in map(int, _NUMBERS.findall(field)) if not lowest <= n <= highest]
            if wrong:
                yield ("spec", "schedule"), f"{wrong[0]} is no {name} of a schedule: {lowest} to {highest}"


def _role(manifest: Manifest) -> Iterator[Refusal]:
    for number, rule in enumerate(map(mapping, sequence(manifest.body.get("rules")))):
        if not sequence(rule.get("verbs")):
            yield ("rules", number), "a rule needs verbs"
        elif not sequence(rule.get("nonResourceURLs")) and not sequence(rule.get("resources")):
            yield ("rules", number), "a rule needs resources"
        elif not sequence(rule.get("nonResourceURLs")) and not sequence(rule.get("apiGroups")):
            yield ("rules", number), "a rule about resources needs apiGroups ('' is the core)"
        elif sequence(rule.get("nonResourceURLs")) and manifest.kind == "Role":
            yield ("rules", number, "nonResourceURLs"), "a Role is of a namespace, and can't allow a URL"
        elif sequence(rule.get("nonResourceURLs")) and (
            sequence(rule.get("resources")) or sequence(rule.get("apiGroups"))
        ):
            yield ("rules", number, "nonResourceURLs"), "a rule is about URLs or about resources, not both"


def _binding(manifest: Manifest) -> Iterator[Refusal]:
    """Of a ClusterRoleBinding: the one of a namespace takes an account without, which then is nobody."""
    for number, subject in enumerate(map(mapping, sequence(manifest.body.get("subjects")))):
        if subject.get("kind") == "ServiceAccount" and not subject.get("namespace"):
            yield ("subjects", number), "a ServiceAccount is named with its namespace here"


_BY_KIND: dict[str, Callable[[Manifest], Iterator[Refusal]]] = {
    "Service": _service,
    "PersistentVolumeClaim": _claim,
    "StatefulSet": _stateful,
    "Deployment": _deployment,
    "ConfigMap": _data,
    "Secret": _data,
    "Ingress": _ingress,
    "PodDisruptionBudget": _budget,
    "HorizontalPodAutoscaler": _autoscaler,
    "CronJob": _cron,
    "Role": _role,
    "ClusterRole": _role,
    "ClusterRoleBinding": _binding,
}
