"""Whole repositories as people keep them at home: several layouts, each sound, of a size that is asked for.

Every name is made up. What is sound here is known to be so by the rehearsal (`test_homelab.py`), and a rule that finds something in it is wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Body = dict[str, Any]
FLUX = "kustomize.toolkit.fluxcd.io/v1"
SOURCE = "source.toolkit.fluxcd.io/v1"
HELM = "helm.toolkit.fluxcd.io/v2"
DIGEST = "sha256:" + "5f" * 32
_WORDS = [
    "almond",
    "birch",
    "cedar",
    "daisy",
    "elder",
    "fern",
    "ginger",
    "hazel",
    "iris",
    "juniper",
    "kale",
    "laurel",
    "maple",
    "nettle",
    "olive",
    "poppy",
    "quince",
    "rowan",
    "sage",
    "thyme",
]


class _Plain(yaml.SafeDumper):
    """Writes no anchors: people repeat themselves."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def dump(*bodies: Body) -> str:
    """YAML documents as people write them."""
    return "".join(f"---\n{yaml.dump(b, Dumper=_Plain, sort_keys=False)}" for b in bodies)


def listed(*names: str, **more: Any) -> Body:
    """A kustomization.yaml."""
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **more, "resources": list(names)}


def meta(name: str, namespace: str = "", **more: Any) -> Body:
    return {"name": name, **({"namespace": namespace} if namespace else {}), **more}


@dataclass
class App:
    """One app: where its files lie, and how it is made."""

    name: str
    namespace: str
    folder: str
    sort: str
    files: dict[str, str] = field(default_factory=dict)


@dataclass
class Home:
    """A repository: its files by path, its entry, and its apps."""

    layout: str
    entry: str
    files: dict[str, str] = field(default_factory=dict)
    apps: list[App] = field(default_factory=list)

    def write(self, folder: Path) -> Path:
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder

    def of(self, sort: str) -> App:
        """The first app of a sort."""
        return next(app for app in self.apps if app.sort == sort)

    def change(self, path: str, old: str, new: str) -> int:
        """Replaces a text that stands in a file; returns the line that it stood on."""
        text = self.files[path]
        assert old in text, (path, old, text)
        self.files[path] = text.replace(old, new, 1)
        return text[: text.index(old)].count("\n") + 1


def _plain(app: App, rng: random.Random) -> None:
    """A Deployment with its Service, Ingress, account, settings and a volume."""
    name, space = app.name, app.namespace
    labels = {"app.kubernetes.io/name": name}
    container = {
        "name": name,
        "image": f"ghcr.io/example/{name}:1.{rng.randrange(9)}.0@{DIGEST}",
        "ports": [{"name": "http", "containerPort": 8080}],
        "envFrom": [{"configMapRef": {"name": f"{name}-settings"}}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    pod = {
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000},
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": f"{name}-data"}}],
    }
    deployment = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    rule = {
        "host": f"{name}.${{DOMAIN}}",
        "http": {
            "paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": name, "port": {"name": "http"}}}}
            ]
        },
    }
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "barn",
        "resources": {"requests": {"storage": "2Gi"}},
    }
    app.files |= {
        "deployment.yaml": dump(
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(name, space), "spec": deployment}
        ),
        "service.yaml": dump(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": meta(name, space, labels=labels),
                "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
            }
        ),
        "ingress.yaml": dump(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "Ingress",
                "metadata": meta(name, space),
                "spec": {
                    "ingressClassName": "nginx",
                    "rules": [rule],
                    "tls": [{"hosts": [rule["host"]], "secretName": f"{name}-tls"}],
                },
            }
        ),
        "certificate.yaml": dump(
            {
                "apiVersion": "cert-manager.io/v1",
                "kind": "Certificate",
                "metadata": meta(name, space),
                "spec": {
                    "secretName": f"{name}-tls",
                    "dnsNames": [rule["host"]],
                    "issuerRef": {"kind": "ClusterIssuer", "name": "letters"},
                },
            }
        ),
        "account.yaml": dump({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(name, space)}),
        "claim.yaml": dump(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": meta(f"{name}-data", space),
                "spec": claim,
            }
        ),
        "settings.env": f"TZ=Europe/Vienna\nNAME={name}\n",
    }
    resources = [n for n in app.files if n.endswith(".yaml")]
    app.files["kustomization.yaml"] = dump(
        listed(
            *resources, configMapGenerator=[{"name": f"{name}-settings", "namespace": space, "envs": ["settings.env"]}]
        )
    )


def _release(app: App, rng: random.Random) -> None:
    """A release of a chart out of an OCI repository beside it, with values and a Secret from outside."""
    name, space = app.name, app.namespace
    values = {
        "controllers": {
            name: {
                "containers": {
                    "app": {
                        "image": {"repository": f"ghcr.io/example/{name}", "tag": f"2.{rng.randrange(9)}.1@{DIGEST}"},
                        "envFrom": [{"secretRef": {"name": f"{name}-secret"}}],
                        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
                    }
                }
            }
        },
        "service": {"app": {"controller": name, "ports": {"http": {"port": 8080}}}},
    }
    app.files |= {
        "ocirepository.yaml": dump(
            {
                "apiVersion": SOURCE,
                "kind": "OCIRepository",
                "metadata": meta(name, space),
                "spec": {"interval": "1h", "url": "oci://ghcr.io/example/charts/app", "ref": {"tag": "3.1.0"}},
            }
        ),
        "helmrelease.yaml": dump(
            {
                "apiVersion": HELM,
                "kind": "HelmRelease",
                "metadata": meta(name, space),
                "spec": {
                    "interval": "30m",
                    "chartRef": {"kind": "OCIRepository", "name": name},
                    "driftDetection": {"mode": "enabled"},
                    "install": {"remediation": {"retries": 3}},
                    "upgrade": {"cleanupOnFail": True, "remediation": {"retries": 3, "strategy": "rollback"}},
                    "values": values,
                },
            }
        ),
        "externalsecret.yaml": dump(
            {
                "apiVersion": "external-secrets.io/v1",
                "kind": "ExternalSecret",
                "metadata": meta(name, space),
                "spec": {
                    "refreshInterval": "1h",
                    "secretStoreRef": {"kind": "ClusterSecretStore", "name": "safe"},
                    "target": {"name": f"{name}-secret"},
                    "dataFrom": [{"extract": {"key": name}}],
                },
            }
        ),
    }
    app.files["kustomization.yaml"] = dump(listed(*[n for n in app.files if n.endswith(".yaml")]))


def _chart(
    name: str, space: str, chart: str, version: str, repository: str, values: Body, *, crds: bool = False
) -> dict[str, str]:
    """A release of a chart out of a HelmRepository."""
    upgrade: Body = {"remediation": {"retries": 3}, **({"crds": "CreateReplace"} if crds else {})}
    install: Body = {"remediation": {"retries": 3}, **({"crds": "CreateReplace"} if crds else {})}
    ref = {"kind": "HelmRepository", "name": repository, "namespace": "flux-system"}
    release = {
        "interval": "30m",
        "chart": {"spec": {"chart": chart, "version": version, "sourceRef": ref}},
        "driftDetection": {"mode": "enabled"},
        "install": install,
        "upgrade": upgrade,
        "values": values,
    }
    text = dump({"apiVersion": HELM, "kind": "HelmRelease", "metadata": meta(name, space), "spec": release})
    return {"helmrelease.yaml": text, "kustomization.yaml": dump(listed("helmrelease.yaml"))}


_REPOSITORIES = {
    "jetstack": "https://charts.jetstack.io",
    "ingress-nginx": "https://kubernetes.github.io/ingress-nginx",
    "external-secrets": "https://charts.external-secrets.io",
}
_REQUESTS = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}


def _base(home: Home) -> dict[str, App]:
    """What every home has before its apps: certificates, the ingress, secrets from outside, a storage class."""
    made = {
        name: App(name, space, "", "base")
        for name, space in (
            ("cert-manager", "cert-manager"),
            ("ingress-nginx", "network"),
            ("external-secrets", "security"),
            ("storage", "storage"),
            ("stores", "security"),
        )
    }
    made["cert-manager"].files = _chart(
        "cert-manager",
        "cert-manager",
        "cert-manager",
        "v1.18.2",
        "jetstack",
        {"crds": {"enabled": True}, "resources": _REQUESTS},
        crds=True,
    )
    made["ingress-nginx"].files = _chart(
        "ingress-nginx",
        "network",
        "ingress-nginx",
        "4.13.0",
        "ingress-nginx",
        {
            "controller": {
                "kind": "DaemonSet",
                "ingressClassResource": {"name": "nginx", "default": True},
                "service": {"type": "LoadBalancer"},
                "resources": _REQUESTS,
            }
        },
    )
    made["external-secrets"].files = _chart(
        "external-secrets",
        "security",
        "external-secrets",
        "0.18.2",
        "external-secrets",
        {"installCRDs": True, "resources": _REQUESTS},
    )
    made["storage"].files = {
        "class.yaml": dump(
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": meta("barn"),
                "provisioner": "rancher.io/local-path",
                "volumeBindingMode": "WaitForFirstConsumer",
                "reclaimPolicy": "Retain",
            }
        ),
        "kustomization.yaml": dump(listed("class.yaml")),
    }
    issuer = {
        "acme": {
            "server": "https://acme-v02.api.letsencrypt.org/directory",
            "email": "me@${DOMAIN}",
            "privateKeySecretRef": {"name": "letters"},
            "solvers": [{"http01": {"ingress": {"ingressClassName": "nginx"}}}],
        }
    }
    store = {"provider": {"fake": {"data": [{"key": "a", "value": "b"}]}}}
    made["stores"].files = {
        "issuer.yaml": dump(
            {"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": meta("letters"), "spec": issuer}
        ),
        "store.yaml": dump(
            {
                "apiVersion": "external-secrets.io/v1",
                "kind": "ClusterSecretStore",
                "metadata": meta("safe"),
                "spec": store,
            }
        ),
        "kustomization.yaml": dump(listed("issuer.yaml", "store.yaml")),
    }
    home.apps += made.values()
    return made


_NEEDS = {
    "stores": ("cert-manager", "external-secrets"),
    "plain": ("stores", "storage", "ingress-nginx"),
    "release": ("stores",),
}


def flux_kustomization(
    name: str,
    path: str,
    needs: tuple[str, ...] = (),
    *,
    source: str = "flux-system",
    variables: bool = True,
    **more: Any,
) -> Body:
    """A Kustomization of Flux's, as these homes write them."""
    spec: Body = {
        "interval": "30m",
        "retryInterval": "1m",
        "timeout": "5m",
        "path": f"./{path}",
        "prune": True,
        "wait": True,
        "sourceRef": {"kind": "GitRepository", "name": source, "namespace": "flux-system"},
    }
    if needs:
        spec["dependsOn"] = [{"name": need} for need in needs]
    if variables:
        spec["postBuild"] = {
            "substituteFrom": [
                {"kind": "ConfigMap", "name": "home-settings"},
                {"kind": "Secret", "name": "home-secrets", "optional": True},
            ]
        }
    return {"apiVersion": FLUX, "kind": "Kustomization", "metadata": meta(name, "flux-system"), "spec": spec | more}


def _needs_of(app: App) -> tuple[str, ...]:
    return _NEEDS.get(app.name if app.sort == "base" else app.sort, ())


def _sync(home: Home, path: str) -> str:
    source = {
        "interval": "1m",
        "url": "ssh://git@github.com/example/home.git",
        "ref": {"branch": "main"},
        "secretRef": {"name": "flux-system"},
    }
    root = {
        "interval": "10m",
        "retryInterval": "1m",
        "path": f"./{path}",
        "prune": True,
        "sourceRef": {"kind": "GitRepository", "name": "flux-system"},
    }
    return dump(
        {"apiVersion": SOURCE, "kind": "GitRepository", "metadata": meta("flux-system", "flux-system"), "spec": source},
        {"apiVersion": FLUX, "kind": "Kustomization", "metadata": meta("flux-system", "flux-system"), "spec": root},
    )


def _settings(home: Home, folder: str) -> list[str]:
    """The variables of a home, and where its charts come from; returns the files."""
    home.files[f"{folder}/settings.yaml"] = dump(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": meta("home-settings", "flux-system"),
            "data": {"DOMAIN": "home.example.org", "ZONE": "Europe/Vienna"},
        }
    )
    home.files[f"{folder}/repositories.yaml"] = dump(
        *(
            {
                "apiVersion": SOURCE,
                "kind": "HelmRepository",
                "metadata": meta(n, "flux-system"),
                "spec": {"interval": "2h", "url": url},
            }
            for n, url in _REPOSITORIES.items()
        )
    )
    return ["settings.yaml", "repositories.yaml"]


def _place(home: Home, app: App, folder: str) -> None:
    app.folder = folder
    home.files |= {f"{folder}/{name}": text for name, text in app.files.items()}


def _namespaces(home: Home, apps: list[App]) -> str:
    names = sorted({app.namespace for app in apps})
    keep = {"kustomize.toolkit.fluxcd.io/prune": "disabled"}
    return dump(*({"apiVersion": "v1", "kind": "Namespace", "metadata": meta(n, annotations=keep)} for n in names))


def gotk(home: Home, apps: list[App]) -> None:
    """As `flux bootstrap` leaves it: clusters/home/flux-system, a file a layer beside it."""
    home.entry = "clusters/home"
    sync = "clusters/home/flux-system"
    home.files[f"{sync}/gotk-sync.yaml"] = _sync(home, "clusters/home")
    home.files[f"{sync}/kustomization.yaml"] = dump(listed("gotk-sync.yaml"))
    more = _settings(home, "clusters/home/settings")
    home.files["clusters/home/settings/namespaces.yaml"] = _namespaces(home, apps)
    home.files["clusters/home/settings/kustomization.yaml"] = dump(listed(*more, "namespaces.yaml"))
    for app in apps:
        _place(home, app, f"{'infrastructure' if app.sort == 'base' else 'apps'}/{app.name}")
        home.files[f"clusters/home/{app.name}.yaml"] = dump(flux_kustomization(app.name, app.folder, _needs_of(app)))


def template(home: Home, apps: list[App]) -> None:
    """An entry that applies kubernetes/apps; in it a folder a namespace, in that a folder an app with its ks.yaml beside app/."""
    home.entry = "kubernetes/flux/cluster"
    home.files["kubernetes/flux/cluster/sync.yaml"] = _sync(home, "kubernetes/flux/cluster")
    home.files["kubernetes/flux/cluster/apps.yaml"] = dump(
        flux_kustomization("cluster-apps", "kubernetes/apps", ("cluster-settings",), wait=False)
    )
    home.files["kubernetes/flux/cluster/settings.yaml"] = dump(
        flux_kustomization("cluster-settings", "kubernetes/flux/settings", variables=False)
    )
    more = _settings(home, "kubernetes/flux/settings")
    home.files["kubernetes/flux/settings/kustomization.yaml"] = dump(listed(*more))
    spaces: dict[str, list[App]] = {}
    for app in apps:
        spaces.setdefault(app.namespace, []).append(app)
    for space, inside in spaces.items():
        here = f"kubernetes/apps/{space}"
        home.files[f"{here}/namespace.yaml"] = _namespaces(home, inside)
        home.files[f"{here}/kustomization.yaml"] = dump(
            listed("namespace.yaml", *(f"{a.name}/ks.yaml" for a in inside))
        )
        for app in inside:
            _place(home, app, f"{here}/{app.name}/app")
            home.files[f"{here}/{app.name}/ks.yaml"] = dump(flux_kustomization(app.name, app.folder, _needs_of(app)))
    home.files["kubernetes/apps/kustomization.yaml"] = dump(listed(*(f"{s}" for s in spaces)))


def instance(home: Home, apps: list[App]) -> None:
    """A FluxInstance says where it begins; apps lie in groups."""
    home.entry = "cluster"
    spec = {
        "distribution": {"version": "2.9.x", "registry": "ghcr.io/fluxcd"},
        "components": ["source-controller", "kustomize-controller", "helm-controller", "notification-controller"],
        "sync": {
            "kind": "GitRepository",
            "url": "https://github.com/example/home.git",
            "ref": "refs/heads/main",
            "path": "cluster",
        },
    }
    home.files["bootstrap/flux.yaml"] = dump(
        {
            "apiVersion": "fluxcd.controlplane.io/v1",
            "kind": "FluxInstance",
            "metadata": meta("flux", "flux-system"),
            "spec": spec,
        }
    )
    more = _settings(home, "cluster/settings")
    home.files["cluster/settings/namespaces.yaml"] = _namespaces(home, apps)
    home.files["cluster/settings/kustomization.yaml"] = dump(listed(*more, "namespaces.yaml"))
    for app in apps:
        _place(home, app, f"manifests/{'base' if app.sort == 'base' else app.namespace}/{app.name}")
    home.files["cluster/layers.yaml"] = dump(*(flux_kustomization(a.name, a.folder, _needs_of(a)) for a in apps))


def two_clusters(home: Home, apps: list[App]) -> None:
    """One repository, two clusters: bases of which each has an overlay."""
    home.entry = "clusters/house"
    for cluster in ("house", "shed"):
        sync = f"clusters/{cluster}/flux-system"
        home.files[f"{sync}/gotk-sync.yaml"] = _sync(home, f"clusters/{cluster}")
        home.files[f"{sync}/kustomization.yaml"] = dump(listed("gotk-sync.yaml"))
        more = _settings(home, f"clusters/{cluster}/settings")
        home.files[f"clusters/{cluster}/settings/namespaces.yaml"] = _namespaces(home, apps)
        home.files[f"clusters/{cluster}/settings/kustomization.yaml"] = dump(listed(*more, "namespaces.yaml"))
    for app in apps:
        _place(home, app, f"apps/base/{app.name}")
        for cluster in ("house", "shed"):
            over = f"apps/{cluster}/{app.name}"
            labels = [{"pairs": {"example.org/cluster": cluster}, "includeSelectors": False}]
            home.files[f"{over}/kustomization.yaml"] = dump(listed(f"../../base/{app.name}", labels=labels))
            home.files[f"clusters/{cluster}/{app.name}.yaml"] = dump(flux_kustomization(app.name, over, _needs_of(app)))


LAYOUTS: dict[str, Callable[[Home, list[App]], None]] = {
    "gotk": gotk,
    "template": template,
    "instance": instance,
    "two-clusters": two_clusters,
}


def home(layout: str, count: int, seed: int = 0) -> Home:
    """A sound repository of a layout with *count* apps beside what every home has."""
    rng = random.Random(f"{layout}{seed}")
    made = Home(layout, "")
    _base(made)
    for number in range(count):
        name = (
            f"{_WORDS[number % len(_WORDS)]}{'' if number < len(_WORDS) else '-' + 'abcdefgh'[number // len(_WORDS)]}"
        )
        sort = ("plain", "release")[number % 2]
        app = App(name, rng.choice(("garden", "kitchen", "media")), "", sort)
        (_plain if sort == "plain" else _release)(app, rng)
        made.apps.append(app)
    LAYOUTS[layout](made, made.apps)
    return made
