"""Generated trees, many to a repository: what the static graph foretells of each is held against Flux's own controllers in one start.

A grove is a small tree of a few Kustomizations whose names, namespaces and kinds are its own, so that a hundred of them grow side by side without
touching each other. It comes from a seed alone: the same number is the same grove.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Body = dict[str, Any]
SPACE = "flux-system"
FLUX = "kustomize.toolkit.fluxcd.io/v1"
# How long Flux waits for the health of what it applied, and how soon it tries again: never is known within seconds.
TIMEOUT_S, AGAIN_S = 12, 4


@dataclass
class Plot:
    """One Kustomization of a grove: what its own body says, and what it applies."""

    name: str
    spec: Body
    objects: list[Body] = field(default_factory=list)
    above: str = ""  # the Kustomization that applies it; the entry where it is empty


@dataclass
class Grove:
    """A few Kustomizations that have to do with each other and with nothing else."""

    seed: int
    plots: list[Plot]

    @property
    def names(self) -> list[str]:
        """Of its Kustomizations, with their namespace: the target of whoever applies them, where it has one."""
        spaces = {plot.name: plot.spec.get("targetNamespace", SPACE) for plot in self.plots}
        return [f"{spaces.get(plot.above, SPACE)}/{plot.name}" for plot in self.plots]

    def text(self) -> str:
        """All of it, for whoever has to find out why it went otherwise."""
        parts = [f"# grove {self.seed}"]
        for plot in self.plots:
            where = plot.above or "the entry"
            parts.append(f"# {plot.name}, applied by {where}\n{yaml.safe_dump(plot.spec, sort_keys=False)}")
            parts += [yaml.safe_dump(one, sort_keys=False) for one in plot.objects]
        return "---\n".join(parts)


def grove(seed: int) -> Grove:
    """The grove of a seed."""
    rng = random.Random(seed)
    names = [f"g{seed}-{'abcde'[i]}" for i in range(rng.randint(2, 5))]
    plots = [Plot(name, _spec(name)) for name in names]
    for i, plot in enumerate(plots):
        _depends(rng, plots, i)
        _fill(rng, seed, plots, i)
        if rng.random() < 0.45:
            plot.spec["wait"] = True
        if rng.random() < 0.04:
            plot.spec["suspend"] = True
        if i and rng.random() < 0.2:
            plot.above = plots[rng.randrange(i)].name
    for plot in plots:  # a target namespace renames what it applies of namespaces: that is a rule of its own
        if any(one["kind"] == "Namespace" for one in plot.objects):
            plot.spec.pop("targetNamespace", None)
    return Grove(seed, plots)


def _spec(name: str) -> Body:
    return {
        "interval": "10m",
        "retryInterval": f"{AGAIN_S}s",
        "timeout": f"{TIMEOUT_S}s",
        "path": f"./parts/{name}",
        "prune": True,
        "sourceRef": {"kind": "GitRepository", "name": "flux-system"},
    }


def _depends(rng: random.Random, plots: list[Plot], i: int) -> None:
    wanted = {rng.choice(plots[:i]).name for _ in range(2) if i and rng.random() < 0.45}
    if rng.random() < 0.05:
        wanted.add(rng.choice(plots).name)  # perhaps a loop, perhaps itself
    if rng.random() < 0.03:
        wanted.add(f"{plots[0].name}-gone")
    if wanted:
        plots[i].spec["dependsOn"] = [{"name": name} for name in sorted(wanted)]


def _fill(rng: random.Random, seed: int, plots: list[Plot], i: int) -> None:
    plot = plots[i]
    plot.objects.append(_config(f"{plot.name}-own", "default"))
    for make in rng.sample(_SORTS, rng.randint(0, 3)):
        make(rng, seed, plots, i)


def _other(rng: random.Random, plots: list[Plot], i: int) -> Plot:
    """Mostly an earlier one, sometimes any, sometimes itself."""
    return rng.choice(plots[: i + 1]) if rng.random() < 0.8 else rng.choice(plots)


def _config(name: str, namespace: str | None, **data: Any) -> Body:
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data or {"a": "b"}}


def _add(plot: Plot, body: Body) -> None:
    """An object, unless it is there already."""
    key = (body["kind"], body["metadata"].get("namespace"), body["metadata"]["name"])
    if key not in [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in plot.objects]:
        plot.objects.append(body)


def _namespace(rng: random.Random, seed: int, plots: list[Plot], i: int) -> None:
    """A namespace of one, an object in it of another; now and then nobody makes it."""
    giver = _other(rng, plots, i)
    name = f"{giver.name}-space"
    if rng.random() < 0.85:
        _add(giver, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    _add(plots[i], _config("inside", name))


def _target_namespace(rng: random.Random, seed: int, plots: list[Plot], i: int) -> None:
    giver = _other(rng, plots, i)
    name = f"{giver.name}-target"
    if rng.random() < 0.85:
        # In a layer of its own: what sets a target namespace renames the Namespaces that it applies.
        _add(giver, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    plots[i].spec["targetNamespace"] = name


def _kind(rng: random.Random, seed: int, plots: list[Plot], i: int) -> None:
    """A kind of one, an object of it of another."""
    giver = _other(rng, plots, i)
    group, plural = f"{giver.name}.example.org", "things"
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    if rng.random() < 0.85:
        _add(
            giver,
            {
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": f"{plural}.{group}"},
                "spec": {
                    "group": group,
                    "scope": "Namespaced",
                    "names": {"kind": "Thing", "plural": plural, "singular": "thing", "listKind": "ThingList"},
                    "versions": [version],
                },
            },
        )
    meta = {"name": "thing", "namespace": "default"}
    _add(plots[i], {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": meta, "spec": {"a": 1}})


def _deployment(rng: random.Random, seed: int, plots: list[Plot], i: int) -> None:
    name = f"{plots[i].name}-app"
    labels = {"app": name}
    wrong = rng.random() < 0.05
    container: Body = {"name": "app", "image": "registry.example/app:1", "resources": {"requests": {"cpu": "10m"}}}
    if rng.random() < 0.1:
        container["resources"]["requests"]["cpu"] = "2000"  # no node has so much
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "another"} if wrong else labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    meta = {"name": name, "namespace": "default"}
    _add(plots[i], {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec})


def _health(rng: random.Random, seed: int, plots: list[Plot], i: int) -> None:
    """A health check of an object of another one, which may not be there."""
    giver = _other(rng, plots, i)
    check = {"apiVersion": "v1", "kind": "ConfigMap", "name": f"{giver.name}-own", "namespace": "default"}
    if rng.random() < 0.15:
        check["name"] += "-gone"
    if rng.random() < 0.3:
        check = {"apiVersion": FLUX, "kind": "Kustomization", "name": giver.name, "namespace": SPACE}
    plots[i].spec.setdefault("healthChecks", []).append(check)


def _variables(rng: random.Random, seed: int, plots: list[Plot], i: int) -> None:
    """Values out of a ConfigMap of another one; some are optional, some have a default."""
    giver = _other(rng, plots, i)
    name, variable = f"{giver.name}-values", f"v_{giver.name.replace('-', '_')}"
    if rng.random() < 0.85:
        _add(giver, _config(name, SPACE, **{variable: "value"}))
    wanted: Body = {"kind": "ConfigMap", "name": name}
    if rng.random() < 0.3:
        wanted["optional"] = True
    plots[i].spec.setdefault("postBuild", {}).setdefault("substituteFrom", []).append(wanted)
    plots[i].objects.append(
        _config(f"{plots[i].name}-takes", "default", v="${" + variable + rng.choice(("", ":=x")) + "}")
    )


def _job(rng: random.Random, seed: int, plots: list[Plot], i: int) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "job", "image": "registry.example/job:1"}]}
    meta = {"name": f"{plots[i].name}-job", "namespace": "default"}
    spec = {"template": {"spec": pod}}
    _add(plots[i], {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec})


def _volume(rng: random.Random, seed: int, plots: list[Plot], i: int) -> None:
    """A claim, and perhaps the pod that mounts it: of a class that binds at once, one that waits for the pod, or none that there is."""
    plot = plots[i]
    storage_class = rng.choice(("local-path", f"{plot.name}-class", "gone"))
    if storage_class.endswith("-class"):
        giver = _other(rng, plots, i)
        body = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": storage_class}}
        mode = rng.choice(("Immediate", "WaitForFirstConsumer"))
        _add(giver, {**body, "provisioner": "rancher.io/local-path", "volumeBindingMode": mode})
    name = f"{plot.name}-data"
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    meta = {"name": name, "namespace": "default"}
    _add(
        plot,
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": meta,
            "spec": {**claim, "storageClassName": storage_class},
        },
    )
    if rng.random() < 0.6:
        taker = plot if rng.random() < 0.7 else _other(rng, plots, i)
        labels = {"app": name}
        pod = {
            "containers": [
                {"name": "db", "image": "registry.example/db:1", "volumeMounts": [{"name": "d", "mountPath": "/d"}]}
            ],
            "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": name}}],
        }
        spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
        _add(taker, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {"replicas": 1, **spec}})


def _refused(rng: random.Random, seed: int, plots: list[Plot], i: int) -> None:
    """Something that the API server doesn't take; not often, since nothing else can be learnt of its layer then."""
    if rng.random() < 0.25:
        body = rng.choice(
            (
                {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": "http"}]}},
                {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": 1}},
                {"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "spec": {"maxUnavailable": 1}},
                {"apiVersion": "v1", "kind": "ConfigMap"},
            )
        )
        space = {} if body == {"apiVersion": "v1", "kind": "ConfigMap"} else {"namespace": "default"}
        _add(plots[i], {**body, "metadata": {"name": f"{plots[i].name}-bad", **space}})


def _twice(rng: random.Random, seed: int, plots: list[Plot], i: int) -> None:
    """The same object of two: they pull at it, and both say that they are ready."""
    _add(plots[i], _config(f"g{seed}-shared", "default", owner=plots[i].name))


_SORTS: list[Callable[[random.Random, int, list[Plot], int], None]] = [
    _namespace,
    _target_namespace,
    _kind,
    _deployment,
    _health,
    _variables,
    _job,
    _volume,
    _refused,
    _twice,
]


def plant(groves: list[Grove], folder: Path, sync: str) -> None:
    """Writes a repository: the entry ``cluster/`` with *sync*, what Flux starts by, and every grove."""
    files: dict[str, str] = {"cluster/flux.yaml": sync}
    for one in groves:
        for plot in one.plots:
            body = {
                "apiVersion": FLUX,
                "kind": "Kustomization",
                "metadata": {"name": plot.name, "namespace": SPACE},
                "spec": plot.spec,
            }
            place = f"parts/{plot.above}" if plot.above else "cluster"
            files[f"{place}/{plot.name}.yaml"] = yaml.safe_dump(body, sort_keys=False)
            files[f"parts/{plot.name}/objects.yaml"] = yaml.safe_dump_all(plot.objects, sort_keys=False)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
