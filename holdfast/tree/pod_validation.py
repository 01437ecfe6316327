"""What the API server's own validation refuses in pods, and in the templates of pods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from holdfast.tree.forms import ENV, LABEL, PORT_NAME, PORTS, Refusal, known
from holdfast.tree.manifest import Body, Manifest, mapping, sequence
from holdfast.tree.quantity import quantity

# Lists of a pod that are merged by keys (beside containers, ports, mounts and volumes, of which more is said).
_TOLD_APART = {
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")


def refusals_of_pod(manifest: Manifest) -> Iterator[Refusal]:
    """What is refused in the pods of a workload: the field, from the pod on, and what is wrong with it."""
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
        if told in seen and all(map(known, told)):
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
        if policy not in ("Never", "OnFailure") and known(policy):
            yield ("restartPolicy",), "a Job's pods need the restartPolicy Never or OnFailure"
    elif manifest.kind != "Pod" and policy not in (None, "Always") and known(policy):
        yield ("restartPolicy",), f"the pods of a {manifest.kind} can't have the restartPolicy {policy}"
    elif policy not in (None, "Always", "OnFailure", "Never") and known(policy):
        yield ("restartPolicy",), f"{policy} is no restartPolicy"


def _container(one: Body, volumes: set[str], *, is_pod: bool) -> Iterator[Refusal]:
    name = one.get("name")
    if isinstance(name, str) and known(name) and not LABEL.fullmatch(name):
        yield ("name",), f"the name {name!r} of a container isn't one that Kubernetes takes"
    if one.get("image") == "":
        yield ("image",), "the container has no image"
    paths: set[str] = set()
    for number, mount in enumerate(map(mapping, sequence(one.get("volumeMounts")))):
        volume, at = str(mount.get("name")), str(mount.get("mountPath"))
        if known(volume) and all(map(known, volumes)) and volume not in volumes:
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
        if isinstance(value, int) and value not in PORTS:
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
        if isinstance(name, str) and known(name):
            if not PORT_NAME.fullmatch(name):
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
        if isinstance(name, str) and known(name) and not ENV.fullmatch(name):
            yield ("env", number, "name"), f"{name!r} can't be a variable's name"
        if entry.get("value") and entry.get("valueFrom"):
            yield ("env", number), f"the variable {name} has a value, and a valueFrom as well"
    yield from _twice(one, "env", ("name",))


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
