"""What the API server's own validation refuses in an object whose fields and types are all right: names, ranges, what must go together.

Only what every version since Kubernetes 1.30 refuses, and only what stands in the object itself. Values that aren't known are left alone.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from holdfast.tree.forms import DATA_KEY, HOST, KEY, LABEL, PORT_NAME, PORTS, SUBDOMAIN, VALUE, Path, Refusal, known
from holdfast.tree.manifest import Body, Manifest, mapping, sequence
from holdfast.tree.pod_validation import refusals_of_pod

_ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_NO_PATH = re.compile(r"//|/\.\.?(?=/|$)|%2[fF]")
_NODE_PORTS = range(30000, 32768)
_NAMED_FREELY = frozenset({"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"})
_MODES = frozenset({"ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"})
_BUILT_IN = re.compile(r"(|apps|batch|autoscaling|policy|.*\.k8s\.io)")


def refusals(manifest: Manifest) -> Iterator[Refusal]:
    """Each thing that the API server refuses: the field, and what is wrong with it."""
    if not _BUILT_IN.fullmatch(manifest.group) or manifest.kind == "CustomResourceDefinition":
        return
    found = [*_metadata(manifest), *_of_kind(manifest)]
    if manifest.pod_path:
        found += [((*manifest.pod_path, *path), words) for path, words in refusals_of_pod(manifest)]
    yield from found


def _of_kind(manifest: Manifest) -> Iterator[Refusal]:
    judge = _BY_KIND.get(manifest.kind)
    if judge:
        yield from judge(manifest)


# -- what every object has ---------------------------------------------------------------------------------------------------------


def _metadata(manifest: Manifest) -> Iterator[Refusal]:
    name = manifest.name
    if manifest.unreferenced and name.count("$") > 1:
        return  # a scaffold: whoever copies it puts the name in
    if name and known(name):
        if manifest.kind in _NAMED_FREELY:
            good = not set(name) & {"/", "%"} and name not in (".", "..")
        else:
            good = bool((LABEL if manifest.kind in ("Namespace", "Service") else SUBDOMAIN).fullmatch(name))
        if not good:
            yield (
                ("metadata", "name"),
                f"the name {name!r} isn't one that Kubernetes takes: small letters, digits and '-'",
            )
    yield from _labels(manifest.meta.get("labels"), ("metadata", "labels"))
    for key in mapping(manifest.meta.get("annotations")):
        if known(key) and not KEY.fullmatch(str(key).lower()):  # an annotation's may be written in capitals
            yield ("metadata", "annotations", str(key)), f"{key!r} can't be the key of an annotation"


def _labels(labels: Any, path: Path) -> Iterator[Refusal]:
    for key, value in mapping(labels).items():
        if not known(key) or not known(value) or not isinstance(value, str):
            continue
        if not KEY.fullmatch(str(key)):
            yield (*path, str(key)), f"{key!r} can't be the key of a label"
        elif not VALUE.fullmatch(value):
            yield (
                (*path, str(key)),
                f"{value!r} can't be the value of a label: at most 63 letters, digits, '-', '_', '.'",
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
        if isinstance(value, int) and value not in PORTS:
            yield (*at, "port"), f"{value} is no port"
        if isinstance(node, int) and node and node not in range(1, 65536):
            yield (*at, "nodePort"), f"{node} is no port"
        if len(ports) > 1 and not name:
            yield at, "each port of a Service with several needs a name"
        elif isinstance(name, str) and known(name) and name and not LABEL.fullmatch(name):
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
        if pair in pairs and known(value):
            yield (*at, "port"), f"two ports are {value}/{pair[1]}"
        pairs.add(pair)
        target = port.get("targetPort")
        if isinstance(target, str) and known(target) and not PORT_NAME.fullmatch(target):
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
            if known(mode) and mode not in _MODES:
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
            if known(key) and (not DATA_KEY.fullmatch(str(key)) or str(key) in (".", "..")):
                yield (field, str(key)), f"{key!r} can't be a key: letters, digits, '-', '_' and '.'"
            elif (manifest.kind, field) in (("Secret", "data"), ("ConfigMap", "binaryData")) and not _is_base64(value):
                yield (
                    (field, str(key)),
                    f"the value of {key} isn't base64: in a Secret plain text belongs into stringData",
                )


def _is_base64(value: Any) -> bool:
    if not isinstance(value, str) or not known(value) or value.startswith("ENC["):
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
        if isinstance(host, str) and host and known(host) and (not HOST.fullmatch(host) or _ADDRESS.fullmatch(host)):
            yield ("spec", "rules", number, "host"), f"{host!r} is no host name"
        for place, path in enumerate(map(mapping, sequence(mapping(rule.get("http")).get("paths")))):
            at: Path = ("spec", "rules", number, "http", "paths", place)
            sort, text = path.get("pathType"), path.get("path")
            if sort in ("Exact", "Prefix") and not (isinstance(text, str) and text.startswith("/")) and known(text):
                yield at, f"with the pathType {sort} a path begins with '/'"
            elif isinstance(text, str) and text and known(text) and not text.startswith("/"):
                yield (*at, "path"), f"the path {text!r} doesn't begin with '/'"
            elif (
                sort in ("Exact", "Prefix") and isinstance(text, str) and known(text) and (bad := _NO_PATH.search(text))
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
    if not isinstance(schedule, str) or not known(schedule):
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
