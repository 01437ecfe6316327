"""Defects as people make them, each put into a sound home: a slip of the finger, a name of yesterday, a step forgotten."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from suites.oracle.homelab import FLUX, Home, dump, meta

Body = dict[str, Any]
DEFECTS: dict[str, Callable[[Home], str]] = {}


def defect(made: Callable[[Home], str]) -> Callable[[Home], str]:
    """Enters a defect under its function's name; it changes a home, and returns the file that a finding must name."""
    DEFECTS[made.__name__.replace("_", "-")] = made
    return made


def slip(name: str) -> str:
    """A name as it comes out of quick fingers: two letters in the middle change places, or one is lost."""
    at = len(name) // 2
    turned = name[:at] + name[at + 1] + name[at] + name[at + 2 :]
    return turned if turned != name else name[:at] + name[at + 1 :]


# Each a text of one file that becomes another: (sort of app, file, what stands there, what is written instead). %name% and %space% are the app's
# name and namespace, %slip% and %slip-space% these by quick fingers.
_REPLACED: dict[str, tuple[str, str, str, str]] = {
    "service-takes-no-pod": (
        "plain",
        "service.yaml",
        "selector:\n    app.kubernetes.io/name: %name%",
        "selector:\n    app.kubernetes.io/name: %slip%",
    ),
    "service-port-of-no-container": ("plain", "service.yaml", "targetPort: http", "targetPort: htpp"),
    "ingress-of-no-service": (
        "plain",
        "ingress.yaml",
        "service:\n            name: %name%",
        "service:\n            name: %slip%",
    ),
    "ingress-of-no-port": (
        "plain",
        "ingress.yaml",
        "port:\n              name: http",
        "port:\n              name: web",
    ),
    "ingress-of-no-class": ("plain", "ingress.yaml", "ingressClassName: nginx", "ingressClassName: ngnix"),
    "account-that-is-not-there": (
        "plain",
        "deployment.yaml",
        "serviceAccountName: %name%",
        "serviceAccountName: %slip%",
    ),
    "settings-that-are-not-there": ("plain", "deployment.yaml", "-settings", "-setings"),
    "claim-that-is-not-there": ("plain", "deployment.yaml", "-data\n", "-dat\n"),
    "class-that-is-not-there": ("plain", "claim.yaml", "storageClassName: barn", "storageClassName: bran"),
    "certificate-of-another-name": ("plain", "ingress.yaml", "-tls\n", "-tsl\n"),
    "issuer-that-is-not-there": ("plain", "certificate.yaml", "name: letters", "name: leters"),
    "store-that-is-not-there": ("release", "externalsecret.yaml", "name: safe", "name: saef"),
    "chart-source-that-is-not-there": (
        "release",
        "helmrelease.yaml",
        "chartRef:\n    kind: OCIRepository\n    name: %name%",
        "chartRef:\n    kind: OCIRepository\n    name: %slip%",
    ),
    "probe-of-no-port": (
        "plain",
        "deployment.yaml",
        "path: /\n            port: http",
        "path: /\n            port: htp",
    ),
    "selector-of-other-pods": (
        "plain",
        "deployment.yaml",
        "matchLabels:\n      app.kubernetes.io/name: %name%",
        "matchLabels:\n      app.kubernetes.io/name: %slip%",
    ),
    "number-in-words": ("plain", "deployment.yaml", "replicas: 1", "replicas: one"),
    "version-of-yesterday": ("plain", "ingress.yaml", "networking.k8s.io/v1\n", "networking.k8s.io/v1beta1\n"),
    "namespace-that-is-not-there": ("plain", "service.yaml", "namespace: %space%", "namespace: %slip-space%"),
    "port-out-of-range": ("plain", "service.yaml", "port: 80\n", "port: 80\n    nodePort: 8080\n"),
    "claim-without-a-mode": ("plain", "claim.yaml", "  accessModes:\n  - ReadWriteOnce\n", ""),
    "file-that-is-not-there": ("plain", "kustomization.yaml", "- account.yaml", "- acount.yaml"),
    "broken-yaml": ("plain", "service.yaml", "spec:\n  selector:", "spec:\n selector:\n  - x:\n y: ["),
    "key-twice": ("plain", "deployment.yaml", "  replicas: 1\n", "  replicas: 1\n  replicas: 2\n"),
    "generator-without-its-file": ("plain", "kustomization.yaml", "- settings.env", "- setting.env"),
    "variable-by-a-slip": ("plain", "ingress.yaml", "${DOMAIN}", "${DOMIAN}"),
    "release-of-yesterday": (
        "release",
        "helmrelease.yaml",
        "helm.toolkit.fluxcd.io/v2\n",
        "helm.toolkit.fluxcd.io/v2beta1\n",
    ),
    "release-that-waits-for-none": (
        "release",
        "helmrelease.yaml",
        "spec:\n",
        "spec:\n  dependsOn:\n  - name: nowhere\n",
    ),
    "values-that-are-not-there": (
        "release",
        "helmrelease.yaml",
        "spec:\n",
        "spec:\n  valuesFrom:\n  - kind: ConfigMap\n    name: nowhere\n",
    ),
    "registry-that-was-closed": ("plain", "deployment.yaml", "image: ghcr.io/example/", "image: k8s.gcr.io/"),
}


def _replace(name: str) -> Callable[[Home], str]:
    def change(home: Home) -> str:
        sort, file, old, new = _REPLACED[name]
        app = home.of(sort)
        for sign, word in (
            ("%name%", app.name),
            ("%slip%", slip(app.name)),
            ("%space%", app.namespace),
            ("%slip-space%", slip(app.namespace)),
        ):
            old, new = old.replace(sign, word), new.replace(sign, word)
        home.change(f"{app.folder}/{file}", old, new)
        return f"{app.folder}/{file}"

    return change


DEFECTS |= {name: _replace(name) for name in _REPLACED}


def _flux(home: Home, name: str) -> str:
    """The file with the Kustomization of an app."""
    return next(
        p
        for p, text in sorted(home.files.items())
        if f"\nmetadata:\n  name: {name}\n" in text and f"apiVersion: {FLUX}" in text and home.entry.split("/")[0] in p
    )


def _layer(home: Home, sort: str, change: Callable[[str], str]) -> str:
    """Changes the Kustomization of the first app of a sort."""
    return _layer_of(home, home.of(sort).name, change)


def _layer_of(home: Home, name: str, change: Callable[[str], str]) -> str:
    """Changes the Kustomization of a name."""
    path = _flux(home, name)
    parts = home.files[path].split("---\n")
    at = next(i for i, part in enumerate(parts) if f"metadata:\n  name: {name}\n" in part)
    changed = change(parts[at])
    assert changed != parts[at]
    parts[at] = changed
    home.files[path] = "---\n".join(parts)
    return path


def _more(home: Home, sort: str, file: str, *bodies: Body) -> str:
    """Another file of an app, listed in its kustomization.yaml."""
    folder = home.of(sort).folder
    home.files[f"{folder}/{file}"] = dump(*bodies)
    home.change(f"{folder}/kustomization.yaml", "resources:\n", f"resources:\n- {file}\n")
    return f"{folder}/{file}"


# -- one name that another object has otherwise ------------------------------------------------------------------------------------


@defect
def repository_that_is_not_there(home: Home) -> str:
    path = f"{next(a for a in home.apps if a.name == 'cert-manager').folder}/helmrelease.yaml"
    home.change(path, "name: jetstack", "name: jetsatck")
    return path


@defect
def autoscaler_of_nothing(home: Home) -> str:
    app = home.of("plain")
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": slip(app.name)}
    spec = {
        "scaleTargetRef": target,
        "minReplicas": 1,
        "maxReplicas": 3,
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
            }
        ],
    }
    return _more(
        home,
        "plain",
        "hpa.yaml",
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": meta(app.name, app.namespace),
            "spec": spec,
        },
    )


@defect
def budget_of_nothing(home: Home) -> str:
    app = home.of("plain")
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": slip(app.name)}}}
    return _more(
        home,
        "plain",
        "pdb.yaml",
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": meta(app.name, app.namespace),
            "spec": spec,
        },
    )


# -- what the API server refuses ---------------------------------------------------------------------------------------------------


# -- what kustomize can't build ----------------------------------------------------------------------------------------------------


# -- Flux's own -------------------------------------------------------------------------------------------------------------------


@defect
def dependency_that_is_not_there(home: Home) -> str:
    return _layer(home, "plain", lambda t: t.replace("- name: storage", "- name: storge"))


@defect
def dependency_on_itself(home: Home) -> str:
    name = home.of("plain").name
    return _layer(home, "plain", lambda t: t.replace("- name: storage", f"- name: {name}"))


@defect
def dependencies_in_a_ring(home: Home) -> str:
    name = home.of("plain").name
    path = _flux(home, "storage")
    text = home.files[path]
    at = text.index("metadata:\n  name: storage\n")
    home.files[path] = text[:at] + text[at:].replace("spec:\n", f"spec:\n  dependsOn:\n  - name: {name}\n", 1)
    return path


@defect
def folder_that_is_not_there(home: Home) -> str:
    return _layer(home, "plain", lambda t: re.sub(r"path: (\S+)", r"path: \1x", t))


@defect
def source_that_is_not_there(home: Home) -> str:
    return _layer(
        home, "plain", lambda t: t.replace("name: flux-system\n    namespace", "name: flux-sytem\n    namespace")
    )


@defect
def variables_that_are_not_there(home: Home) -> str:
    return _layer(home, "plain", lambda t: t.replace("name: home-settings", "name: home-setings"))


@defect
def duration_that_is_none(home: Home) -> str:
    return _layer(home, "plain", lambda t: t.replace("interval: 30m", "interval: 30"))


@defect
def field_of_no_kustomization(home: Home) -> str:
    return _layer(home, "plain", lambda t: t.replace("dependsOn:", "dependOn:"))


@defect
def health_of_nothing(home: Home) -> str:
    name, space = home.of("release").name, home.of("release").namespace
    check = f"  wait: false\n  healthChecks:\n  - apiVersion: helm.toolkit.fluxcd.io/v2\n    kind: HelmRelease\n    name: {slip(name)}\n    namespace: {space}\n"
    return _layer(home, "release", lambda t: t.replace("  wait: true\n", check))


@defect
def number_among_variables(home: Home) -> str:
    return _layer(
        home, "plain", lambda t: t.replace("  postBuild:\n", "  postBuild:\n    substitute:\n      PORT: 8080\n")
    )


@defect
def chart_without_a_version(home: Home) -> str:
    path = f"{next(a for a in home.apps if a.name == 'cert-manager').folder}/helmrelease.yaml"
    home.change(path, "      version: v1.18.2\n", "")
    return path


@defect
def kind_before_its_definition(home: Home) -> str:
    return _layer_of(
        home, "stores", lambda t: t.replace("  dependsOn:\n  - name: cert-manager\n  - name: external-secrets\n", "")
    )


# -- two of one, too little, too much ----------------------------------------------------------------------------------------------


@defect
def object_of_two(home: Home) -> str:
    plain = [a for a in home.apps if a.sort == "plain"]
    other = home.files[f"{plain[0].folder}/account.yaml"]
    home.files[f"{plain[1].folder}/more.yaml"] = other
    home.change(f"{plain[1].folder}/kustomization.yaml", "resources:\n", "resources:\n- more.yaml\n")
    return f"{plain[1].folder}/more.yaml"


@defect
def host_and_path_twice(home: Home) -> str:
    plain = [a for a in home.apps if a.sort == "plain"]
    path = f"{plain[1].folder}/ingress.yaml"
    home.files[path] = home.files[path].replace(f"{plain[1].name}.${{DOMAIN}}", f"{plain[0].name}.${{DOMAIN}}")
    return path


@defect
def budget_that_allows_nothing(home: Home) -> str:
    app = home.of("plain")
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": app.name}}}
    return _more(
        home,
        "plain",
        "pdb.yaml",
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": meta(app.name, app.namespace),
            "spec": spec,
        },
    )


@defect
def names_that_nobody_answers(home: Home) -> str:
    app = home.of("plain")
    spec = {"podSelector": {}, "policyTypes": ["Egress"]}
    return _more(
        home,
        "plain",
        "policy.yaml",
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": meta("deny", app.namespace),
            "spec": spec,
        },
    )


@defect
def job_under_one_name(home: Home) -> str:
    app = home.of("plain")
    pod = {
        "restartPolicy": "Never",
        "containers": [
            {
                "name": "job",
                "image": "ghcr.io/example/tidy:1.2.0",
                "resources": {"requests": {"cpu": "1m"}, "limits": {"memory": "8Mi"}},
            }
        ],
    }
    return _more(
        home,
        "plain",
        "job.yaml",
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": meta("tidy", app.namespace),
            "spec": {"template": {"spec": pod}},
        },
    )


@defect
def password_for_all_to_see(home: Home) -> str:
    app = home.of("plain")
    word = "Ooqu" + "ei4ohShah" + "7thee2Ahx"
    return _more(
        home,
        "plain",
        "secret.yaml",
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": meta("word", app.namespace),
            "stringData": {"password": word},
        },
    )


@defect
def everything_allowed(home: Home) -> str:
    app = home.of("plain")
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    who = {"kind": "ServiceAccount", "name": app.name, "namespace": app.namespace}
    return _more(
        home,
        "plain",
        "binding.yaml",
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": meta(app.name),
            "roleRef": role,
            "subjects": [who],
        },
    )
