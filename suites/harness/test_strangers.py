"""What the repositories of strangers taught: each the smallest tree that was read wrongly."""

import shutil

import pytest
import yaml

from holdfast.errors import UsageError
from holdfast.paths import ROOT
from holdfast.tree import check as checking
from holdfast.tree.findings import Severity
from holdfast.tree.plaintext import hint, in_text
from holdfast.tree.roles import role
from holdfast.tree.rules import apply, network
from suites.harness import pairs
from suites.harness.test_check_properties import FLUX, KUSTOMIZE, kustomization, written


def changed(name, tmp_path, file, old, new):
    """An invalid tree of a pair with one thing otherwise."""
    tree = shutil.copytree(pairs.invalid(name), tmp_path / "tree")
    text = (tree / file).read_text()
    assert old in text
    (tree / file).write_text(text.replace(old, new))
    return checking.check(checking.load(tree, KUSTOMIZE), strict=True).findings


def severities(findings, rule):
    return [f.severity.name for f in findings if f.rule == rule]


OF_RELEASE, OF_CHART = "    meta.helm.sh/release-name: reloader\n", "    helm.sh/chart: reloader-1.4.2\n"
ADOPTED = (
    f"{OF_RELEASE}    meta.helm.sh/release-namespace: web\n",
    f"{OF_CHART}    app.kubernetes.io/managed-by: Helm\n",
)


def with_marks(tmp_path, notes, labels):
    """What is found of an object with these annotations and labels beside a release that takes nothing over."""
    tree = shutil.copytree(pairs.invalid("helm-owned-by-its-annotations"), tmp_path / "tree")
    release = tree / "cluster/app.yaml"
    release.write_text(release.read_text().replace("  install:\n", "  install:\n    disableTakeOwnership: true\n"))
    rendered = tree / "cluster/rendered.yaml"
    rendered.write_text(rendered.read_text().replace(OF_RELEASE, notes).replace(OF_CHART, labels))
    return checking.check(checking.load(tree, KUSTOMIZE), strict=True)


@pytest.mark.parametrize(("marks", "severity"), [((OF_RELEASE, OF_CHART), "BREAKS_APPLY"), (ADOPTED, "BREAKS_CLAIM")])
def test_helm_takes_over_what_says_that_it_is_the_releases(tmp_path, marks, severity):
    """Also where the release must not take over what is anybody's: then it has two owners, and is installed all the same."""
    assert severities(with_marks(tmp_path, *marks).findings, "apply.helm-owned") == [severity]


def test_an_annotation_alone_does_not_say_that_a_chart_has_the_object(tmp_path):
    """Somebody wrote it by hand, for an object that the chart had once, or never: the chart isn't read."""
    result = with_marks(tmp_path, ADOPTED[0], "    app.kubernetes.io/managed-by: Helm\n")
    assert severities(result.findings, "apply.helm-owned") == []
    assert result.claims["git-single-source"].verdict == "unproven"
    assert "whose chart wasn't rendered" in result.claims["git-single-source"].reason


CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: NAME\n  namespace: default\n"

STATES = {
    "kube-state-metrics": {
        "customResourceState": {
            "enabled": True,
            "config": {
                "spec": {"resources": [{"metricNamePrefix": "gotk", "metrics": [{"name": "reconcile_condition"}]}]}
            },
        }
    }
}


@pytest.mark.parametrize("name", ["reconcile_condition", "suspended"])
def test_a_metric_that_is_gone_may_be_made_anew_of_the_objects(tmp_path, name):
    values = yaml.safe_dump(STATES).replace("reconcile_condition", name)
    more = "  values:\n" + "".join(f"    {line}\n" for line in values.splitlines())
    found = changed("gone-metric", tmp_path, "monitoring/stack.yaml", "  values:\n", more)
    assert severities(found, "monitoring.gone-metric") == ([] if name == "reconcile_condition" else ["BREAKS_CLAIM"])


OWN = """
---
apiVersion: v1
kind: Namespace
metadata: {name: tools}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {name: charts, namespace: tools}
spec: {interval: 1h, url: https://more.example.org}
"""
UNKNOWN = """
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {{name: {0}, namespace: tools}}
spec:
  interval: 10m
  chart: {{spec: {{chart: {0}, version: 1.0.0, sourceRef: {{kind: HelmRepository, name: charts}}}}}}
"""


@pytest.mark.parametrize(
    ("chart", "file", "loops"),
    [
        ("tickets", "certs/cm.yaml", True),
        ("tickets", "cluster/app.yaml", True),
        ("cert-definitions", "cluster/app.yaml", False),
        ("cert-definitions", "certs/cm.yaml", True),  # it waits for the same
        ("base", "cluster/app.yaml", False),  # a name that says nothing
    ],
)
def test_a_chart_that_is_not_known_excuses_what_it_could_bring(tmp_path, chart, file, loops):
    """A circle through a kind whose release is known: some other chart brings it only if it may, and can be there before."""
    tree = shutil.copytree(pairs.invalid("loop-kind"), tmp_path / "tree")
    (tree / file).write_text((tree / file).read_text() + OWN + UNKNOWN.format(chart))
    found = checking.check(checking.load(tree, KUSTOMIZE), strict=True).findings
    assert bool(severities(found, "boot.loop")) is loops


@pytest.mark.parametrize(
    ("file", "text", "loops"),
    [
        ("Taskfile.yaml", "tasks: {up: {cmds: [helm upgrade -i cert-manager charts/cert-manager]}}", False),
        (".taskfiles/up/tasks.yaml", "tasks: {certs: {cmds: ['{{.CERT_MANAGER}}']}}", False),
        ("talos/machine.yaml", "extraManifests: [https://git.example.org/cert-manager/crds.yaml]", False),
        ("Taskfile.yaml", "version: 3", True),
        ("Taskfile.yaml", "version: 3\n# cert-manager comes later", True),
        ("docs/up.md", "helm install cert-manager", True),
    ],
)
def test_whoever_begins_a_cluster_by_other_tools_may_have_installed_a_kind_that_these_speak_of(
    tmp_path, file, text, loops
):
    tree = shutil.copytree(pairs.invalid("loop-kind"), tmp_path / "tree")
    certs = tree / "certs/cm.yaml"
    certs.write_text(certs.read_text() + OWN + UNKNOWN.format("tickets"))
    (tree / file).parent.mkdir(parents=True, exist_ok=True)
    (tree / file).write_text(f"{text}\n")
    found = checking.check(checking.load(tree, KUSTOMIZE), strict=True).findings
    assert bool(severities(found, "boot.loop")) is loops


@pytest.mark.parametrize(
    ("file", "kind"), [("gotk-components.yaml", "Deployment"), ("gotk-sync.yaml", "Kustomization")]
)
@pytest.mark.parametrize("written", [False, True])
def test_a_patch_of_what_bootstrap_is_still_to_write_finds_its_target_then(tmp_path, file, kind, written):
    patch = {
        "target": {"kind": kind, "name": "flux-system" if kind == "Kustomization" else "source-controller"},
        "patch": "[]",
    }
    listed = {"resources": [file, "sync.yaml"], "patches": [patch]}
    object_ = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: default}\n"
    flux = (pairs.valid("image") / "cluster/flux.yaml").read_text()
    files = {
        "cluster/kustomization.yaml": yaml.safe_dump(listed),
        "cluster/sync.yaml": flux.replace("name: flux-system", "name: other"),
    }
    files[f"cluster/{file}"] = object_ if written else "# will be written by flux bootstrap\n"
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = checking.check(checking.load(tmp_path, KUSTOMIZE, entry="cluster"), strict=True).findings
    assert bool(severities(found, "apply.patch-on-nothing")) is written


@pytest.mark.parametrize(("said", "is_one"), [("token123", False), ("my-token", False), ("hunter2-hunter3", True)])
def test_a_header_of_documentation_holds_no_token(said, is_one):
    assert (
        bool(list(in_text("docs/api.md", f"curl -H 'Authorization: Bearer {said}' https://api.example.org"))) is is_one
    )


# -- kinds of trouble, by trees of our own --------------------------------------------------------------------------------


def config(name, namespace="default", **more):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, **more}


def judged(tmp_path, files):
    return checking.check(checking.load(written(tmp_path / "tree", files), KUSTOMIZE), strict=True)


def rules_of(result):
    return [f.rule for f in result.findings if not f.unreferenced]


def test_what_the_source_does_not_pack_is_no_part_of_a_folder(tmp_path):
    """A folder with a kustomization of its own, which the ignore rules leave out of the artifact."""
    layer = kustomization("apps")
    files = {
        ".sourceignore": "/parts/apps/old\n",
        "cluster/apps.yaml": yaml.safe_dump(layer),
        "parts/apps/o.yaml": yaml.safe_dump(config("one")),
        "parts/apps/old/kustomization.yaml": "kind: Kustomization\nresources: [gone.yaml]\n",
    }
    result = judged(tmp_path, files)
    assert "apply.build" not in rules_of(result)
    assert ("ConfigMap", "default", "one") in result.tree.by_key


@pytest.mark.parametrize("kind", ["kubernetes_namespace", "kubernetes_namespace_v1", "kubernetes_secret"])
def test_terraform_makes_namespaces_before_flux(tmp_path, kind):
    files = {
        "cluster/apps.yaml": yaml.safe_dump(kustomization("apps")),
        "parts/apps/o.yaml": yaml.safe_dump(config("one", "staging")),
        "terraform/main.tf": f'resource "{kind}" "staging" {{\n  metadata {{\n    name = "staging"\n  }}\n}}\n',
    }
    found = rules_of(judged(tmp_path, files))
    assert ("apply.missing-namespace" in found) is (kind == "kubernetes_secret")


def test_a_resource_of_terraform_without_a_name_takes_none_from_the_next(tmp_path):
    unnamed = 'resource "kubernetes_namespace" "a" {\n  metadata {\n    generate_name = "a-"\n  }\n}\n'
    files = {
        "cluster/apps.yaml": yaml.safe_dump(kustomization("apps")),
        "parts/apps/o.yaml": yaml.safe_dump(config("one", "staging")),
        "terraform/main.tf": unnamed
        + 'resource "kubernetes_secret" "b" {\n  metadata {\n    name = "staging"\n  }\n}\n',
    }
    assert "apply.missing-namespace" in rules_of(judged(tmp_path, files))


@pytest.mark.parametrize("entry", ["a.json=https://files.example.org/a.json", "a.json=a.json"])
def test_a_file_of_a_generator_that_would_be_fetched_leaves_the_rest_to_be_read(tmp_path, entry):
    generated = {"name": "board", "namespace": "default", "files": [entry, "b.json"]}
    listed = {"resources": ["o.yaml"], "configMapGenerator": [generated]}
    files = {
        "cluster/apps.yaml": yaml.safe_dump(kustomization("apps")),
        "parts/apps/kustomization.yaml": yaml.safe_dump({"kind": "Kustomization", **listed}),
        "parts/apps/o.yaml": yaml.safe_dump(config("one")),
        "parts/apps/a.json": "{}",
        "parts/apps/b.json": "{}",
    }
    result = judged(tmp_path, files)
    assert ("ConfigMap", "default", "one") in result.tree.by_key
    whole = entry == "a.json=a.json"
    assert (result.not_read == []) is whole
    assert (result.claims["git-single-source"].verdict == "held") is whole


def test_a_kustomization_whose_name_is_to_be_filled_in_is_a_template(tmp_path):
    template = kustomization("branch")
    template["metadata"]["name"] = "branch-${slug}"
    files = {
        "cluster/apps.yaml": yaml.safe_dump(kustomization("apps")),
        "parts/apps/o.yaml": yaml.safe_dump(config("one")),
        "branches/branch.yaml": yaml.safe_dump(template),
    }
    result = judged(tmp_path, files)
    assert not [f for f in result.findings if f.rule == "flux.unreachable" and "branch-" in f.what]


CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "fast"},
    "provisioner": "disk.example.org",
}


@pytest.mark.parametrize("beside", [0, 1, 4])
def test_one_storage_class_beside_much_else_makes_no_kustomization_storage(tmp_path, beside):
    files = {
        "cluster/mixed.yaml": yaml.safe_dump(kustomization("mixed")),
        "parts/mixed/o.yaml": yaml.safe_dump_all([CLASS, *(config(f"c{n}") for n in range(beside))]),
    }
    tree = checking.load(written(tmp_path / "tree", files), KUSTOMIZE)
    assert (role(tree, tree.kustomizations["flux-system/mixed"]) == "storage") is (beside < 2)


def test_a_resource_set_makes_objects_that_are_not_read(tmp_path):
    sets = {
        "apiVersion": "fluxcd.controlplane.io/v1",
        "kind": "ResourceSet",
        "metadata": {"name": "apps", "namespace": "flux-system"},
        "spec": {"inputs": [{"tenant": "a"}], "resources": [config("<< inputs.tenant >>")]},
    }
    files = {"cluster/apps.yaml": yaml.safe_dump(kustomization("apps")), "parts/apps/o.yaml": yaml.safe_dump(sets)}
    result = judged(tmp_path, files)
    assert any("ResourceSet/flux-system/apps makes objects" in line for line in result.not_read)
    assert result.too_little()
    assert {v.verdict for v in result.claims.values()} <= {"unproven", "broke", "not exercised"}
    plain = judged(tmp_path / "plain", {**files, "parts/apps/o.yaml": yaml.safe_dump(config("one"))})
    assert not plain.too_little()
    assert "held" in {v.verdict for v in plain.claims.values()}


@pytest.mark.parametrize(
    "line",
    [
        'MYSQL_ROOT_PASSWORD: "EJ[1:Zm9vYmFyYmF6cXV1eA==:c29tZXRoaW5n:ZW5jcnlwdGVkIGhlcmU=]"',
        "UBUNTU_SIGNING_KEY = 790BC7277767219C42C86F933B4FE6ACC0B21F32",
        "console-password=Passw0rd:",
        'GPG_KEY: "790bc7277767219c42c86f933b4fe6acc0b21f32"',
        'readonly X_FIELD_GPG_PASSPHRASE="gpg_passphrase"',
    ],
)
def test_what_only_looks_like_a_secret(line):
    assert not list(in_text("settings.yaml", line))


@pytest.mark.parametrize(
    "line",
    [
        'MYSQL_ROOT_PASSWORD: "hG7kQ2wLp9Xz"',
        'MYSQL_ROOT_PASSWORD: "hG7kQ2wLp9Xz:"',
        'JWT_SIGNING_KEY: "790bc7277767219c42c86f933b4fe6acc0b21f32"',
    ],
)
def test_a_password_beside_them_is_one(line):
    assert list(in_text("settings.yaml", line))


def source_of(name):
    return {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": name, "namespace": "flux-system"},
        "spec": {"interval": "1h", "url": f"https://git.example.org/others/{name}.git", "ref": {"branch": "main"}},
    }


MONITOR = {
    "apiVersion": "monitoring.coreos.com/v1",
    "kind": "PodMonitor",
    "metadata": {"name": "one", "namespace": "flux-system"},
    "spec": {"selector": {}, "podMetricsEndpoints": []},
}
STACK = """
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {name: charts, namespace: flux-system}
spec: {interval: 1h, url: https://charts.example.org}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: stack, namespace: flux-system}
spec:
  interval: 1h
  chart: {spec: {chart: kube-prometheus-stack, version: 75.x, sourceRef: {kind: HelmRepository, name: charts}}}
"""


@pytest.mark.parametrize(
    ("unread", "loops"), [("secrets-of-others-crds", True), ("prometheus-crds", False), ("crds", False)]
)
def test_what_is_called_by_the_definitions_that_it_has_brings_no_others(tmp_path, unread, loops):
    """A monitor beside the release that brings its kind never comes; an unread part excuses that only where it may bring it."""
    other = kustomization(unread)
    other["spec"]["sourceRef"]["name"] = unread
    files = {
        "cluster/flux.yaml": FLUX.replace("git.example.org/home.git", "git.example.org/me/home.git"),
        "cluster/all.yaml": yaml.safe_dump_all([kustomization("monitoring"), other, source_of(unread)]),
        "parts/monitoring/o.yaml": STACK + "---\n" + yaml.safe_dump(MONITOR),
    }
    assert ("boot.loop" in rules_of(judged(tmp_path, files))) is loops


FRONT = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {
        "name": "front",
        "namespace": "ingress-nginx",
        "annotations": {"kubernetes.io/ingress.class": "gce", "ingress.gcp.kubernetes.io/pre-shared-cert": "all"},
    },
    "spec": {"defaultBackend": {"service": {"name": "ingress-nginx-controller", "port": {"number": 80}}}},
}


OTHER = {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}


@pytest.mark.parametrize(("spec", "front"), [(FRONT["spec"], True), (None, False), (OTHER, False)])
def test_a_load_balancer_in_front_may_end_tls(tmp_path, spec, front):
    tree = shutil.copytree(ROOT / "fixtures" / "gitops", tmp_path / "tree")
    web = tree / "apps/stateless/web.yaml"
    web.write_text(web.read_text().replace("  tls:\n    - hosts: [web.home.example]\n      secretName: web-tls\n", ""))
    if spec:
        core = tree / "infrastructure/core/ingress-nginx.yaml"
        core.write_text(f"{core.read_text()}---\n{yaml.safe_dump({**FRONT, 'spec': spec})}")
    result = checking.check(checking.load(tree, KUSTOMIZE), strict=True)
    assert ("network.tls" in rules_of(result)) is not front
    assert result.claims["ingress-tls"].verdict == ("unproven" if front else "broke")


@pytest.mark.parametrize("through", [True, False])
def test_what_is_applied_by_a_suspended_kustomization_alone_sleeps_with_it(tmp_path, through):
    outer, inner = kustomization("outer"), kustomization("inner", ["outer"])
    outer["spec"]["suspend"] = True
    files = {"parts/inner/o.yaml": yaml.safe_dump(config("one"))}
    if through:
        files |= {"cluster/all.yaml": yaml.safe_dump(outer), "parts/outer/inner.yaml": yaml.safe_dump(inner)}
    else:
        files |= {
            "cluster/all.yaml": yaml.safe_dump_all([outer, inner]),
            "parts/outer/o.yaml": yaml.safe_dump(config("two")),
        }
    assert ("apply.suspended-dependency" in rules_of(judged(tmp_path, files))) is not through


def test_a_place_to_be_filled_in_is_no_password():
    assert not list(in_text("a.yaml", 'uri: "postgres://app:_DBPASS_@db-rw/app"'))
    assert list(in_text("a.yaml", 'uri: "postgres://app:hG7kQ2wLp9@db-rw/app"'))


ROUTE = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "site", "namespace": "site"},
    "spec": {"rules": [{"backendRefs": [{"name": "site", "port": 80}]}]},
}
ROUTE_KIND = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "httproutes.gateway.networking.k8s.io"},
    "spec": {
        "group": "gateway.networking.k8s.io",
        "scope": "Namespaced",
        "names": {"kind": "HTTPRoute", "plural": "httproutes"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}


@pytest.mark.parametrize(("chart", "found"), [("an-operator-of-ours", False), ("reloader", True)])
def test_an_operator_that_is_not_known_may_fill_a_namespace_at_run_time(tmp_path, chart, found):
    files = {
        "cluster/all.yaml": yaml.safe_dump_all([kustomization("kinds"), kustomization("site", ["kinds"])]),
        "parts/kinds/o.yaml": yaml.safe_dump(ROUTE_KIND) + "---" + STACK.replace("kube-prometheus-stack", chart),
        "parts/site/o.yaml": yaml.safe_dump_all(
            [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "site"}}, ROUTE]
        ),
    }
    assert ("apply.missing-route-end" in rules_of(judged(tmp_path, files))) is found


@pytest.mark.parametrize(
    ("cidr", "verdict"),
    [("10.42.0.0/16 10.43.0.0/16", "held"), ("10.0.0.0/8", "not exercised"), ("0.0.0.0/0", "not exercised")],
)
def test_a_range_that_holds_all_others_says_nothing_of_the_pods(tmp_path, cidr, verdict):
    files = {
        "cluster/all.yaml": yaml.safe_dump(kustomization("apps")),
        "parts/apps/o.yaml": yaml.safe_dump_all([config("one", data={"allowed": cidr}), K3S]),
    }
    assert judged(tmp_path, files).claims["network-ranges"].verdict == verdict


@pytest.mark.parametrize("unread", [True, False])
def test_a_chart_that_lacks_a_value_which_is_not_read_is_no_defect(tmp_path, unread):
    program = tmp_path / "helm"
    program.write_text("#!/bin/sh\necho 'Error: token missing' >&2\nexit 1\n")
    program.chmod(0o755)
    release = STACK.replace("kube-prometheus-stack, version: 75.x", "./charts/own").replace(
        "HelmRepository, name: charts", "GitRepository, name: flux-system"
    )
    if unread:
        release += "  valuesFrom: [{kind: Secret, name: elsewhere, valuesKey: token, targetPath: token}]\n"
    files = {
        "cluster/all.yaml": yaml.safe_dump(kustomization("apps")),
        "parts/apps/o.yaml": release,
        "charts/own/Chart.yaml": "apiVersion: v2\nname: own\nversion: 0.1.0\n",
        "charts/own/templates/o.yaml": "",
    }
    tree = checking.load(written(tmp_path / "tree", files), KUSTOMIZE, lambda: str(program))
    result = checking.check(tree, strict=True)
    assert ("apply.chart" in rules_of(result)) is not unread
    assert any("rendered without" in line for line in result.not_read) is unread


@pytest.mark.parametrize(("kind", "found"), [("CronJob", False), ("Job", True)])
def test_nobody_waits_for_the_pods_of_a_cron_job(tmp_path, kind, found):
    """kstatus calls it ready whatever becomes of them."""
    first, second = kustomization("first"), kustomization("second", ["first"])
    first["spec"]["wait"] = True
    container = {"name": "c", "image": "i", "envFrom": [{"configMapRef": {"name": "later"}}]}
    job = {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}
    spec = {"schedule": "0 3 * * *", "jobTemplate": {"spec": job}} if kind == "CronJob" else job
    meta = {"name": "dump", "namespace": "default"}
    files = {
        "cluster/all.yaml": yaml.safe_dump_all([first, second]),
        "parts/first/o.yaml": yaml.safe_dump({"apiVersion": "batch/v1", "kind": kind, "metadata": meta, "spec": spec}),
        "parts/second/o.yaml": yaml.safe_dump(config("later")),
    }
    assert ("boot.loop" in rules_of(judged(tmp_path, files))) is found


def test_the_second_patch_of_what_the_first_renamed_meets_it(tmp_path):
    target = {"kind": "ConfigMap", "name": "one"}
    patches = [
        {"target": target, "patch": "- {op: replace, path: /metadata/name, value: two}"},
        {"target": target, "patch": "- {op: replace, path: /data, value: {a: b}}"},
        {"target": {"kind": "ConfigMap", "name": "never"}, "patch": "- {op: replace, path: /data, value: {a: b}}"},
    ]
    files = {
        "cluster/all.yaml": yaml.safe_dump(kustomization("apps")),
        "parts/apps/o.yaml": yaml.safe_dump(config("one")),
        "parts/apps/kustomization.yaml": yaml.safe_dump({"resources": ["o.yaml"], "patches": patches}),
    }
    found = [f for f in judged(tmp_path, files).findings if f.rule == "apply.patch-on-nothing"]
    assert ["name never" in f.what for f in found] == [True]


@pytest.mark.parametrize("placed", [True, False])
def test_what_names_no_namespace_lies_in_none(tmp_path, placed):
    """It is never applied: that is the finding, and neither what it lacks in an invented place nor that others could find it there."""
    container = {"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "keys"}}]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "one"} | ({"namespace": "default"} if placed else {}),
        "spec": {"containers": [container]},
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": "apps"}}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps"}}
    files = {
        "cluster/all.yaml": yaml.safe_dump(kustomization("apps")),
        "parts/apps/o.yaml": yaml.safe_dump_all([space, secret, pod]),
    }
    found = rules_of(judged(tmp_path, files))
    assert ("apply.missing-config" in found, "apply.no-namespace" in found) == (placed, not placed)


@pytest.mark.parametrize(
    ("templates", "needs"),
    [
        ([config("one", "site")], True),
        ([config("one", "site"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "site"}}], False),
        ([config("one", "default")], False),
    ],
    ids=["puts something there", "makes it", "puts nothing there"],
)
def test_a_charts_target_must_be_there_only_for_what_it_puts_into_it(tmp_path, templates, needs):
    program = tmp_path / "helm"
    program.write_text(f"#!/bin/sh\necho '{yaml.safe_dump_all(templates)}'\n")
    program.chmod(0o755)
    release = STACK.replace("kube-prometheus-stack, version: 75.x", "./charts/own").replace(
        "HelmRepository, name: charts", "GitRepository, name: flux-system"
    )
    files = {
        "cluster/all.yaml": yaml.safe_dump(kustomization("apps")),
        "parts/apps/o.yaml": release + "  targetNamespace: site\n",
        "charts/own/Chart.yaml": "apiVersion: v2\nname: own\nversion: 0.1.0\n",
        "charts/own/templates/o.yaml": "",
    }
    result = checking.check(
        checking.load(written(tmp_path / "tree", files), KUSTOMIZE, lambda: str(program)), strict=True
    )
    assert ("apply.missing-namespace" in rules_of(result)) is needs


@pytest.mark.parametrize(
    "line",
    [
        "url: postgresql://POSTGRES_USER:POSTGRES_PASSWORD@db.example.org/app",
        "    - password:robot_account_k8s_secret",
    ],
)
def test_names_are_no_secrets(line):
    assert not list(in_text("a.yaml", line))
    assert list(in_text("a.yaml", "url: postgresql://app:hG7kQ2wLp9@db.example.org/app"))


def test_what_is_only_called_like_a_giver_is_no_link_where_one_is_known(tmp_path):
    """Cert-manager comes after what needs its kinds: a circle. That a chart of other definitions does is none."""
    issuer = {"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": {"name": "ours"}, "spec": {}}
    parts = [
        kustomization("manager", ["issuers"]),
        kustomization("issuers"),
        kustomization("gateway", ["issuers"]),
    ]
    files = {
        "cluster/all.yaml": yaml.safe_dump_all(parts),
        "parts/manager/o.yaml": STACK.replace("kube-prometheus-stack, version: 75.x", "cert-manager, version: 1.20.0")
        + "  values: {crds: {enabled: true}}\n",
        "parts/issuers/o.yaml": yaml.safe_dump(issuer),
        "parts/gateway/o.yaml": STACK.replace("kube-prometheus-stack", "of-others-crds")
        .replace("stack", "gateway")
        .replace("name: charts", "name: others"),
    }
    found = [f for f in judged(tmp_path, files).findings if f.rule == "boot.loop"]
    assert len(found) == 1
    assert "HelmRelease/flux-system/gateway" not in found[0].what


@pytest.mark.parametrize(
    ("file", "text", "severity"),
    [
        ("group_vars/all.yaml", 'k3s_release_version: "v1.19"', Severity.UPGRADE_HAZARD),
        ("group_vars/all.yaml", "k3s_version: v1.22.3+k3s1", Severity.BREAKS_APPLY),
        (".github/workflows/ci.yaml", "kubernetes-version: 1.19", Severity.BREAKS_APPLY),
        ("notes.md", "k3s_version: v1.19", Severity.BREAKS_APPLY),
    ],
)
def test_what_an_older_cluster_serves_is_a_hazard(tmp_path, file, text, severity):
    role = {"apiVersion": "rbac.authorization.k8s.io/v1beta1", "kind": "ClusterRole", "metadata": {"name": "reader"}}
    files = {"cluster/all.yaml": yaml.safe_dump(kustomization("apps")), "parts/apps/o.yaml": yaml.safe_dump(role)}
    (found,) = [f for f in judged(tmp_path, {**files, file: text}).findings if f.rule == "schema.version"]
    assert found.severity is severity
    root = written(tmp_path / "asked", {**files, file: text})
    asked = checking.check(checking.load(root, KUSTOMIZE, kubernetes="1.36"), strict=True)
    assert [f.severity for f in asked.findings if f.rule == "schema.version"] == [Severity.BREAKS_APPLY]


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ("{redis: {password: password}}", "unproven"),
        ("{redis: {passwordKey: password}}", "held"),
        ("{redis: {password: '{{ .Values.other }}'}}", "held"),
    ],
)
def test_a_word_that_anybody_tries_first_may_be_the_password(tmp_path, values, verdict):
    files = {
        "cluster/all.yaml": yaml.safe_dump(kustomization("apps")),
        "parts/apps/o.yaml": STACK + f"  values: {values}\n",
    }
    assert judged(tmp_path, files).claims["secrets-not-in-git"].verdict == verdict


@pytest.mark.parametrize(("value", "verdict"), [("changeme", "unproven"), ("", "held")])
def test_so_may_one_in_the_environment_of_a_container(tmp_path, value, verdict):
    container = {"name": "c", "image": "i", "env": [{"name": "POSTGRES_PASSWORD", "value": value}]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {"containers": [container]},
    }
    files = {"cluster/all.yaml": yaml.safe_dump(kustomization("apps")), "parts/apps/o.yaml": yaml.safe_dump(pod)}
    assert judged(tmp_path, files).claims["secrets-not-in-git"].verdict == verdict


@pytest.mark.parametrize("coding", ["utf-16", "utf-8-sig", "utf-16-le"])
def test_a_file_in_the_coding_of_another_system_is_read_as_gos_parser_does(tmp_path, coding):
    """UTF-16 is known by its first two bytes; without them it is no text, and kustomize refuses it."""
    tree = written(
        tmp_path, {"cluster/c.yaml": "kind: ConfigMap\napiVersion: v1\nmetadata: {name: é, namespace: default}\n"}
    )
    (tree / "cluster/c.yaml").write_bytes((tree / "cluster/c.yaml").read_text().encode(coding))
    result = checking.check(checking.load(tree, KUSTOMIZE), strict=True)
    refused = coding == "utf-16-le"
    assert severities(result.findings, "apply.build") == ["BREAKS_APPLY"] * refused
    assert any(m.name == "é" for m in result.tree.objects) is not refused


def test_circles_with_a_dependence_in_common_are_one_defect(tmp_path):
    """A parent that waits for a grandchild: the child before the grandchild waits, too, and it is the same link that must go."""
    parent = kustomization("parent", ["last"])
    files = {
        "cluster/parent.yaml": yaml.safe_dump(parent),
        "parts/parent/all.yaml": yaml.safe_dump_all([kustomization("first"), kustomization("last", ["first"])]),
        "parts/first/c.yaml": CONFIG.replace("NAME", "first"),
        "parts/last/c.yaml": CONFIG.replace("NAME", "last"),
    }
    result = checking.check(checking.load(written(tmp_path, files), KUSTOMIZE), strict=True)
    (found,) = [f for f in result.findings if f.rule == "boot.loop"]
    assert set(found.hits) == {f"Kustomization/flux-system/{name}" for name in ("parent", "first", "last")}


def test_an_object_of_three_owners_is_one_finding_and_objects_of_the_same_owners_are_told_together(tmp_path):
    owners = ("one", "two", "three")
    files = {"cluster/all.yaml": yaml.safe_dump_all(kustomization(name) for name in owners)}
    files |= {f"parts/{name}/c.yaml": "---\n".join(CONFIG.replace("NAME", c) for c in "ab") for name in owners}
    result = checking.check(checking.load(written(tmp_path, files), KUSTOMIZE), strict=True)
    (found,) = [f for f in result.findings if f.rule == "apply.duplicate-object"]
    assert len(found.each) == 2
    assert {h for h in found.hits if h.startswith("Kustomization")} == {
        f"Kustomization/flux-system/{n}" for n in owners
    }
    assert next(what for _, what in found.each) == (
        "ConfigMap/default/a is applied by Kustomization/flux-system/one and by 2 others"
    )


HOOK = """
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: variables}
webhooks:
  - name: variables.example.org
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Ignore
    clientConfig: {url: https://hooks.example.org/}
    rules: [{apiGroups: [kustomize.toolkit.fluxcd.io], apiVersions: ["*"], operations: [CREATE], resources: [KIND]}]
"""


@pytest.mark.parametrize(("kind", "found"), [("kustomizations", []), ("others", ["BREAKS_CLAIM"])])
def test_a_variable_may_come_by_what_changes_kustomizations_on_the_way(tmp_path, kind, found):
    tree = shutil.copytree(pairs.invalid("missing-variable"), tmp_path / "tree")
    (tree / "cluster/hook.yaml").write_text(HOOK.replace("KIND", kind))
    result = checking.check(checking.load(tree, KUSTOMIZE), strict=True)
    assert severities(result.findings, "apply.missing-variable") == found


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("longhorn", ["BREAKS_CLAIM"]),
        ("openebs-hostpath", []),
        ("local-path", []),
        ("nfs-client", []),
        ("ceph-block", ["BREAKS_CLAIM"]),
    ],
)
def test_a_folder_has_the_room_of_its_disk(tmp_path, name, found):
    spec = f"{{storageClassName: {name}, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 50Gi}}}}}}"
    claim = f"{{volumeClaimTemplate: {{spec: {spec}}}}}"
    said = changed("more-kept-than-room", tmp_path, "monitoring/stack.yaml", "{emptyDir: {sizeLimit: 50Gi}}", claim)
    assert severities(said, "monitoring.retention") == found


SECRET_LINE = 'admin_password: "hG7kQ2wLp9Xz"'


@pytest.mark.parametrize(
    ("file", "text", "severity"),
    [
        ("a/settings.yaml", SECRET_LINE, "BREAKS_CLAIM"),
        ("local-clusters/one/settings.yaml", SECRET_LINE, "HYGIENE"),
        ("local_cluster/settings.yaml", SECRET_LINE, "HYGIENE"),
        ("k3d/settings.yaml", SECRET_LINE, "HYGIENE"),
        ("a-kind-of/settings.yaml", SECRET_LINE, "BREAKS_CLAIM"),
        ("a/settings.yaml", f"# Sent in clear text\n# on the wire: not a real secret.\n{SECRET_LINE}", "HYGIENE"),
        ("a/settings.yaml", f"{SECRET_LINE}  # is overridden by the vault", None),  # in doubt
        ("a/settings.yaml", f"# a dummy\nother: 1\n{SECRET_LINE}", "BREAKS_CLAIM"),
        ("a/settings.yaml", f"# this is secret\n{SECRET_LINE}", "BREAKS_CLAIM"),
        ("a/settings.yaml", "admin_password: 4f1c2a30-9d1e-4c55-8f0e-9f3a51c0e7d1:prod:/apps/one/ADMIN", None),
    ],
)
def test_what_its_owner_or_its_place_says_of_a_secret(tmp_path, file, text, severity):
    result = checking.check(checking.load(written(tmp_path, {file: f"{text}\n"}), KUSTOMIZE), strict=True)
    assert severities(result.findings, "security.secret") == ([severity] if severity else [])


def test_a_variable_of_a_generated_file_is_shown_in_that_file(tmp_path):
    tree = shutil.copytree(pairs.invalid("lost-dollar-dashboard"), tmp_path / "tree")
    file = tree / "apps/kustomization.yaml"
    file.write_text(
        file.read_text().replace("      - web.json\n", "      - web.json\n  - name: another\n    files: [a.json]\n")
    )
    (tree / "apps/a.json").write_text((tree / "apps/web.json").read_text().replace("__inputs", "inputs"))
    found = [
        f for f in checking.check(checking.load(tree, KUSTOMIZE), strict=True).findings if f.rule == "apply.lost-dollar"
    ]
    assert str(found[-1].locations[0]) == "apps/web.json:4"


def test_what_runs_in_kube_system_is_no_app(tmp_path):
    pod = {"containers": [{"name": "c", "image": "x:1"}]}
    labels = {"app": "a"}
    body = {"apiVersion": "apps/v1", "kind": "DaemonSet", "spec": {"selector": {"matchLabels": labels}}}
    body["spec"]["template"] = {"metadata": {"labels": labels}, "spec": pod}
    roles = []
    for space in ("kube-system", "default"):
        meta = {"metadata": {"name": "a", "namespace": space}}
        files = {
            "cluster/all.yaml": yaml.safe_dump(kustomization("one")),
            "parts/one/d.yaml": yaml.safe_dump(body | meta),
        }
        tree = checking.load(written(tmp_path / space, files), KUSTOMIZE)
        roles.append(role(tree, tree.kustomizations["flux-system/one"]))
    assert roles == ["other", "apps"]


def test_what_is_not_read_can_not_be_there_before_what_applies_it(tmp_path):
    """A root that lacks a kind applies nothing, so neither the repository beside it that might bring that kind."""
    tree = shutil.copytree(pairs.invalid("loop-kind"), tmp_path / "tree")
    certs = tree / "certs/cm.yaml"
    certs.write_text(f"{certs.read_text()}---\n{yaml.safe_dump_all([source_of('elsewhere'), of_another('more')])}")
    found = checking.check(checking.load(tree, KUSTOMIZE), strict=True).findings
    assert severities(found, "boot.loop") == ["BREAKS_APPLY"]
    beside = tree / "cluster/more.yaml"
    beside.write_text(yaml.safe_dump_all([source_of("elsewhere"), of_another("more")]))
    certs.write_text((pairs.invalid("loop-kind") / "certs/cm.yaml").read_text())
    found = checking.check(checking.load(tree, KUSTOMIZE), strict=True).findings
    assert severities(found, "boot.loop") == []


def of_another(name):
    made = kustomization(name)
    made["spec"] |= {"path": "./cert-manager", "sourceRef": {"kind": "GitRepository", "name": "elsewhere"}}
    return made


def test_a_cluster_has_its_network_before_flux(tmp_path):
    release = STACK.replace("kube-prometheus-stack, version: 75.x", "cilium, version: 1.18.0").replace(
        "stack", "cilium"
    )
    policy = "apiVersion: cilium.io/v2\nkind: CiliumLoadBalancerIPPool\nmetadata: {name: pool}\nspec: {blocks: []}\n"
    files = {"cluster/all.yaml": yaml.safe_dump(kustomization("one")), "parts/one/a.yaml": f"{release}---\n{policy}"}
    found = checking.check(checking.load(written(tmp_path, files), KUSTOMIZE), strict=True).findings
    assert severities(found, "boot.loop") == []


ROUTER = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: router, namespace: default}
spec:
  selector: {matchLabels: {app: a}}
  template:
    metadata: {labels: {app: a}}
    spec: {containers: [{name: c, image: "x:1", env: [{name: TS_ROUTES, value: "RANGES"}]}]}
"""


@pytest.mark.parametrize(
    ("ranges", "file", "text", "verdict"),
    [
        ("10.42.0.0/16,10.43.0.0/16", "a.yaml", "", "held"),
        ("10.42.0.0/16", "a.yaml", "", "unproven"),  # half of the sentence
        ("10.42.0.0/16,10.43.0.0/16", "talos/machine.yaml.j2", "podSubnets: [10.244.0.0/16]", "unproven"),
        ("10.42.0.0/16,10.43.0.0/16", "k3s/config.yaml", "cluster-cidr: 10.244.0.0/16", "unproven"),
        ("10.42.0.0/16,10.43.0.0/16", "k3s/config.yaml", "cluster-cidr: 10.42.0.0/16", "held"),
        ("10.42.0.0/16,10.43.0.0/16", "talos/machine.yaml", "    podSubnets:\n      - 10.244.0.0/16", "unproven"),
        ("10.42.0.0/16,10.43.0.0/16", "README.md", "cluster-cidr: 10.244.0.0/16", "held"),
    ],
)
def test_the_ranges_hold_where_all_of_them_are_named_and_nothing_says_others(tmp_path, ranges, file, text, verdict):
    files = {
        "cluster/router.yaml": ROUTER.replace("RANGES", ranges),
        "cluster/k3s.yaml": yaml.safe_dump(K3S),
        file: f"{text}\n",
        ".holdfast.toml": '[check]\nclaims = "all"\n',
    }
    result = checking.check(checking.load(written(tmp_path, files), KUSTOMIZE))
    assert result.claims["network-ranges"].verdict == verdict, result.claims["network-ranges"].reason


def test_another_network_is_not_the_one_that_is_claimed(tmp_path):
    release = STACK.replace("kube-prometheus-stack, version: 75.x", "cilium, version: 1.18.0").replace(
        "stack", "cilium"
    )
    files = {
        "cluster/router.yaml": ROUTER.replace("RANGES", "10.42.0.0/16,10.43.0.0/16"),
        "cluster/cilium.yaml": release,
        ".holdfast.toml": '[check]\nclaims = "all"\n',
    }
    result = checking.check(checking.load(written(tmp_path, files), KUSTOMIZE))
    assert result.claims["network-ranges"].verdict == "unproven"


def test_a_bootstrap_that_was_begun_and_left_is_no_second_cluster(tmp_path):
    flux = (pairs.valid("image") / "cluster/flux.yaml").read_text()
    files = {
        f"{name}/flux-system/gotk-sync.yaml": flux.replace("./cluster", f"./{name}")
        for name in ("left/one", "used/one")
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "used/one/c.yaml").write_text(CONFIG)
    assert checking.load(tmp_path, KUSTOMIZE).root.folder == "used/one"


def test_what_a_dead_end_holds_back_is_told_in_a_few_words(tmp_path):
    files = {
        "cluster/all.yaml": yaml.safe_dump_all(
            [kustomization("first"), *(kustomization(f"k{n}", ["first"]) for n in range(9))]
        )
    }
    files["parts/first/c.yaml"] = CONFIG.replace("default", "nowhere")
    files |= {f"parts/k{n}/c.yaml": CONFIG.replace("NAME", f"c{n}") for n in range(9)}
    every = checking.check(checking.load(written(tmp_path, files), KUSTOMIZE), strict=True).findings
    (found,) = [f for f in every if f.rule == "apply.missing-namespace"]
    assert "it holds back Kustomization/flux-system/k0 and 8 others" in found.what
    assert len(found.hits) == 10


@pytest.mark.parametrize(("space", "found"), [("cilium-secrets", []), ("ciliums", ["BREAKS_APPLY"])])
def test_a_chart_may_make_a_namespace_that_is_called_after_it(tmp_path, space, found):
    release = STACK.replace("kube-prometheus-stack, version: 75.x", "cilium, version: 1.18.0").replace(
        "stack", "cilium"
    )
    files = {"cluster/cilium.yaml": release, "cluster/c.yaml": CONFIG.replace("default", space)}
    said = checking.check(checking.load(written(tmp_path, files), KUSTOMIZE), strict=True).findings
    assert severities(said, "apply.missing-namespace") == found


INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: a, namespace: default}
spec:
  tls: [{hosts: ["ENC[AES256_GCM,data:abc=,iv:x,tag:y,type:str]"], secretName: a}]
  rules: [{host: "ENC[AES256_GCM,data:abc=,iv:x,tag:y,type:str]"}]
SOPS
"""


@pytest.mark.parametrize(("sops", "found"), [("sops: {mac: x, version: 3.9.0}", []), ("", ["BREAKS_APPLY"])])
def test_what_sops_has_encrypted_of_any_object_is_not_known(tmp_path, sops, found):
    layer = kustomization("one")
    layer["spec"]["decryption"] = {"provider": "sops", "secretRef": {"name": "keys"}}
    files = {"cluster/all.yaml": yaml.safe_dump(layer), "parts/one/i.yaml": INGRESS.replace("SOPS", sops)}
    said = checking.check(checking.load(written(tmp_path, files), KUSTOMIZE), strict=True).findings
    assert severities(said, "schema.value") == found


@pytest.mark.parametrize(("group", "found"), [("cilium.io", []), ("example.org", ["BREAKS_APPLY"])])
def test_the_kinds_of_the_pods_network_are_there_before_flux(tmp_path, group, found):
    policy = (
        f"apiVersion: {group}/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: a, namespace: default}}\nspec: {{}}\n"
    )
    files = {"cluster/all.yaml": yaml.safe_dump(kustomization("one")), "parts/one/p.yaml": policy}
    said = checking.check(checking.load(written(tmp_path, files), KUSTOMIZE), strict=True).findings
    assert severities(said, "apply.missing-kind") == found


def test_one_that_waits_in_a_circle_is_not_told_twice(tmp_path):
    """A release whose source comes by what waits for the release: its own Kustomization never becomes ready, by the same circle."""
    release = STACK.partition("---\n")[2].replace("stack", "wide").replace("75.x", "1.x")
    files = {
        "cluster/all.yaml": yaml.safe_dump_all([kustomization("wide", wait=True), kustomization("charts", ["wide"])]),
        "parts/wide/r.yaml": release,
        "parts/charts/s.yaml": STACK.partition("---\n")[0],
    }
    said = checking.check(checking.load(written(tmp_path, files), KUSTOMIZE), strict=True).findings
    assert severities(said, "boot.loop") == ["BREAKS_APPLY"]


FILLER = """
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: words, namespace: flux-system}
spec: {target: {name: NAME}, dataFrom: [{extract: {key: words}}]}
"""
VARIABLES = """
apiVersion: v1
kind: Secret
metadata: {name: words, namespace: flux-system}
stringData: {TOWN: Barnley}
"""


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ("", ["BREAKS_CLAIM"]),
        (FILLER.replace("NAME", "words"), []),
        (FILLER.replace("NAME", "others"), ["BREAKS_CLAIM"]),
        ("annotation", []),
    ],
)
def test_variables_that_something_else_fills_too_are_not_all_known(tmp_path, more, found):
    source = VARIABLES
    if more == "annotation":
        source, more = (
            source.replace(
                "name: words,", "name: words, annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent},"
            ),
            "",
        )
    layer = kustomization("one")
    layer["spec"]["postBuild"] = {"substituteFrom": [{"kind": "Secret", "name": "words"}]}
    files = {
        "cluster/all.yaml": yaml.safe_dump(layer),
        "cluster/words.yaml": source,
        "parts/one/c.yaml": CONFIG + "data: {street: '${STREET}'}\n",
    }
    files |= {"cluster/more.yaml": more} if more else {}
    said = checking.check(checking.load(written(tmp_path, files), KUSTOMIZE), strict=True).findings
    assert severities(said, "apply.missing-variable") == found


def test_a_program_that_declares_an_argument_holds_no_password():
    declared = "      parser.add_argument('--password', required=True,"
    assert not list(in_text("scripts.yaml", f"data:\n  x.py: |\n{declared}\n"))
    assert list(in_text("scripts.yaml", "args: ['--password', 'hG7kQ2wLp9Xz']"))


def test_the_api_server_has_a_service_that_nobody_writes(tmp_path):
    monitor = {
        **MONITOR,
        "kind": "ServiceMonitor",
        "metadata": {"name": "api", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"component": "apiserver", "provider": "kubernetes"}},
            "endpoints": [{"port": "https"}],
        },
    }
    files = {"cluster/m.yaml": yaml.safe_dump(monitor)}
    said = checking.check(checking.load(written(tmp_path, files), KUSTOMIZE), strict=True).findings
    assert severities(said, "monitoring.target") == []
    monitor["spec"]["selector"]["matchLabels"]["component"] = "another"
    (tmp_path / "cluster/m.yaml").write_text(yaml.safe_dump(monitor))
    said = checking.check(checking.load(tmp_path, KUSTOMIZE), strict=True).findings
    assert severities(said, "monitoring.target") == ["BREAKS_CLAIM"]


@pytest.mark.parametrize(("space", "verdict"), [("databases", "held"), ("ingress", "broke")])
def test_of_a_layer_that_is_called_infrastructure_only_what_is_core_must_have_no_volume(tmp_path, space, verdict):
    """An IngressClass makes the layer core; a database beside it isn't."""
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    body = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "store", "namespace": space},
        "spec": {
            "serviceName": "store",
            "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}},
            "volumeClaimTemplates": [claim],
        },
    }
    entrance = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: web}\nspec: {controller: example.org/web}\n"
    layer = kustomization("infrastructure")
    layer["spec"]["path"] = "./infrastructure"
    files = {
        "cluster/all.yaml": yaml.safe_dump(layer),
        "infrastructure/all.yaml": f"{entrance}---\n{yaml.safe_dump(body)}---\n{yaml.safe_dump(namespace(space))}",
        ".holdfast.toml": '[check]\nclaims = "all"\n',
    }
    result = checking.check(checking.load(written(tmp_path, files), KUSTOMIZE))
    assert result.claims["core-no-storage"].verdict == verdict, result.claims["core-no-storage"].reason


def namespace(name):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def verdict_of(folder, files, claim):
    """What check says of a claim, of a tree that promises everything."""
    files = {"cluster/all.yaml": CONFIG, ".holdfast.toml": '[check]\nclaims = "all"\n', **files}
    return checking.check(checking.load(written(folder, files), KUSTOMIZE)).claims[claim].verdict


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("admin_password = lighthouse", "unproven"),
        ('"password": "lighthouse",', "unproven"),
        ("# admin_password = lighthouse", "held"),
        ("password = ${PASSWORD}", "held"),
        ("passwordFile: /run/word", "held"),
        ("require_password: true", "held"),
    ],
)
def test_a_plain_word_under_a_passwords_key_may_be_the_password(tmp_path, line, verdict):
    settings = f"{CONFIG}data:\n  app.conf: |\n    name = lighthouse\n    {line}\n"
    assert verdict_of(tmp_path, {"cluster/all.yaml": settings}, "secrets-not-in-git") == verdict


TOLD = """
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Provider
metadata: {name: forge, namespace: flux-system}
spec: {type: github, address: https://git.example.org/home, secretRef: {name: token}}
---
apiVersion: v1
kind: Secret
metadata: {name: token, namespace: flux-system}
---
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Alert
metadata: {name: forge, namespace: flux-system}
spec:
  providerRef: {name: forge}
  eventSources: [{kind: Kustomization, name: '*'}]
"""


@pytest.mark.parametrize(
    ("more", "verdict"),
    [
        ("", "held"),
        ("  eventSeverity: info\n", "held"),
        ("  eventSeverity: error\n", "broke"),
        ("  suspend: true\n", "broke"),
    ],
)
def test_an_alert_that_tells_nothing_or_errors_only_reports_no_status(tmp_path, more, verdict):
    layer = yaml.safe_dump(kustomization("one"))
    files = {"cluster/all.yaml": f"{layer}---{TOLD}{more}", "parts/one/c.yaml": CONFIG.replace("NAME", "one")}
    assert verdict_of(tmp_path, files, "status-reported") == verdict


RELEASE = """
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {name: charts, namespace: flux-system}
spec: {interval: 1h, url: https://charts.example.org}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: app, namespace: default}
spec:
  interval: 1h
  driftDetection: {mode: enabled}
  chart: {spec: {chart: app, version: 1.0.0, sourceRef: {kind: HelmRepository, name: charts, namespace: flux-system}}}
  values: {persistence: {data: {existingClaim: data}}}
"""
CLAIM = """---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: default}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""


@pytest.mark.parametrize(("more", "verdict"), [("", "unproven"), (CLAIM, "held")])
def test_git_does_not_rule_alone_where_a_release_takes_a_volume_that_nothing_makes(tmp_path, more, verdict):
    assert verdict_of(tmp_path, {"cluster/all.yaml": RELEASE + more}, "git-single-source") == verdict


def test_git_does_not_rule_alone_where_nothing_in_the_tree_syncs_it(tmp_path):
    layer = yaml.safe_dump(kustomization("one"))
    files = {"cluster/flux.yaml": layer, "parts/one/c.yaml": CONFIG.replace("NAME", "one")}
    assert verdict_of(tmp_path, files, "git-single-source") == "unproven"


PLAIN = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: default}\nstringData:\nCOMMENT  password: Xk93jd02LLsQ9z\n"


@pytest.mark.parametrize(
    "folder", ["parts/one", "clusters/local-cluster", "apps/vagrant", "parts/kind", "examples/one"]
)
def test_what_is_applied_is_no_example_whatever_its_folder_is_called(tmp_path, folder):
    layer = kustomization("one")
    layer["spec"]["path"] = f"./{folder}"
    files = {"cluster/all.yaml": yaml.safe_dump(layer), f"{folder}/s.yaml": PLAIN.replace("COMMENT", "")}
    assert verdict_of(tmp_path, files, "secrets-not-in-git") == "broke"


@pytest.mark.parametrize("folder", ["clusters/local-cluster", "apps/vagrant"])
def test_what_nothing_applies_may_be_an_example(tmp_path, folder):
    files = {f"{folder}/s.yaml": PLAIN.replace("COMMENT", "")}
    assert verdict_of(tmp_path, files, "secrets-not-in-git") == "held"


VALUES = RELEASE.replace(
    "  values: {persistence: {data: {existingClaim: data}}}\n", "  values:\nCOMMENT    adminPassword: Xk93jd02LLsQ9z\n"
)


@pytest.mark.parametrize(
    ("comment", "verdict"),
    [
        ("", "broke"),
        ("    # dummy\n", "held"),
        ("    # isn't a real secret\n", "held"),
        ("    # the chart's own default is overridden\n", "unproven"),
        ("    # There is no secret store in this cluster yet\n", "broke"),
        ("    # not used in staging\n", "unproven"),
        ("    # dummy\n    # one\n    # two\n    # three\n", "broke"),
    ],
)
def test_a_comment_acquits_only_by_what_it_says_of_the_value(tmp_path, comment, verdict):
    files = {"cluster/all.yaml": VALUES.replace("COMMENT", comment)}
    assert verdict_of(tmp_path, files, "secrets-not-in-git") == verdict


def test_a_cluster_whose_kustomizations_lie_beside_fluxs_own_is_no_abandoned_one(tmp_path):
    files = {}
    for cluster in ("prod", "staging"):
        layer = yaml.safe_dump(kustomization("one"))
        folder = f"clusters/{cluster}/flux-system" if cluster == "prod" else f"clusters/{cluster}"
        own = "resources: [gotk-components.yaml, gotk-sync.yaml" + (", all.yaml]\n" if cluster == "prod" else "]\n")
        sync = FLUX.replace("./cluster", f"./clusters/{cluster}")
        files |= {
            f"{folder}/all.yaml": layer,
            f"clusters/{cluster}/flux-system/gotk-sync.yaml": sync,
            f"clusters/{cluster}/flux-system/gotk-components.yaml": CONFIG,
            f"clusters/{cluster}/flux-system/kustomization.yaml": own,
        }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "parts" / "one").mkdir(parents=True)
    (tmp_path / "parts" / "one" / "c.yaml").write_text(CONFIG)
    with pytest.raises(UsageError, match="holds 2 clusters"):
        checking.load(tmp_path, KUSTOMIZE)


@pytest.mark.parametrize(
    ("source", "more", "verdict"),
    [
        ("{kind: Kustomization, name: '*'}", "", "held"),
        ("{kind: Kustomization, name: '*', matchLabels: {team: x}}", "", "broke"),
        ("{kind: Kustomization, name: '*'}", "  exclusionList: ['.*']\n", "unproven"),
        ("{kind: HelmRelease, name: '*'}", "ERRORS", "broke"),
    ],
)
def test_a_status_of_some_events_is_none_of_every_commit(tmp_path, source, more, verdict):
    layer = yaml.safe_dump(kustomization("one"))
    told = TOLD.replace("{kind: Kustomization, name: '*'}", source)
    if more == "ERRORS":
        alert = TOLD[TOLD.rindex("---") :].replace("name: forge, namespace", "name: errors, namespace")
        told += alert.replace("  eventSources", "  eventSeverity: error\n  eventSources")
        more = ""
    files = {
        "cluster/all.yaml": f"{layer}---{told.rstrip()}\n{more}",
        "parts/one/c.yaml": CONFIG.replace("NAME", "one"),
    }
    assert verdict_of(tmp_path, files, "status-reported") == verdict


@pytest.mark.parametrize("unaware", [0, 1, 2])
def test_two_of_three_owners_that_do_not_know_of_each_other_are_found_in_any_order(tmp_path, unaware):
    """One applies it only where it isn't there: the other two write over each other."""
    files, layers = {}, []
    for number in range(3):
        layers.append(kustomization(f"part{number}"))
        note = "  annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}\n" if number == unaware else ""
        files[f"parts/part{number}/c.yaml"] = (
            CONFIG.replace("metadata:\n", f"metadata:\n{note}") + f"data: {{n: '{number}'}}\n"
        )
    files["cluster/all.yaml"] = yaml.safe_dump_all(layers)
    found = checking.check(checking.load(written(tmp_path, files), KUSTOMIZE), strict=True).findings
    assert len(severities(found, "apply.duplicate-object")) == 1


def test_an_address_that_is_still_to_be_filled_in_stops_no_rule(tmp_path):
    instance = (
        "apiVersion: fluxcd.controlplane.io/v1\nkind: FluxInstance\nmetadata: {name: flux, namespace: flux-system}\n"
        "spec:\n  sync: {kind: GitRepository, url: 'https://[git-host]/org/repo.git', ref: main, path: clusters/x}\n"
    )
    files = {"cluster/all.yaml": CONFIG, "docs/example/instance.yaml": instance}
    checking.check(checking.load(written(tmp_path, files), KUSTOMIZE), strict=True)


@pytest.mark.parametrize(
    "line",
    [
        'pod_cidr = "10.42.0.0/16"',
        'pod_cidr                              = "10.42.0.0/16"',  # as terraform fmt aligns it
        "podSubnets:\n    - 10.42.0.0/16",
        "--cluster-cidr=10.42.0.0/16",
    ],
)
def test_what_a_cluster_is_told_is_read_however_it_is_aligned(line):
    assert network._TOLD.search(line)[1] == "10.42.0.0/16"


@pytest.mark.parametrize("name", ["podinfo$", "^podinof$", "podinof", "podinfo"])
def test_a_name_of_a_patch_is_a_pattern_and_no_variable(name):
    assert not apply._for_any({"target": {"kind": "Deployment", "name": name}})
    assert apply._for_any({"target": {"kind": "Deployment", "name": "${APP}"}})


def test_a_file_of_blank_lines_is_read_in_no_time_that_grows_with_its_cube(tmp_path):
    settings = '[check]\nclaims = "all"\n'
    files = {"cluster/all.yaml": CONFIG, "main.tf": "podcidr" + "\n" * 20_000, ".holdfast.toml": settings}
    checking.check(checking.load(written(tmp_path, files), KUSTOMIZE), strict=True)  # it ends


def test_a_release_of_a_namespaces_first_word_does_not_make_it(tmp_path):
    release = RELEASE.replace("{name: app, namespace: default}", "{name: my, namespace: default}")
    lost = CONFIG.replace("namespace: default", "namespace: my-typo")
    files = {"cluster/all.yaml": f"{release}---\n{lost}"}
    found = checking.check(checking.load(written(tmp_path, files), KUSTOMIZE), strict=True).findings
    assert any("my-typo" in f.what for f in found)


# -- what is there before Flux, or beside it -----------------------------------------------------------------------------------

LOOP = """\
#!/usr/bin/env bash
apply() {
    local -r apps_dir="${ROOT_DIR}/cluster/apps"
    for app in "${apps_dir}"/*/; do
        namespace=$(basename "${app}")
        kubectl create namespace "${namespace}" --dry-run=client --output=yaml | kubectl apply --filename -
    done
}
"""
AZURE = "az k8s-configuration flux create -g group -c name -n config --namespace garden `\n  --url https://git.example.org/x\n"
BICEP = "resource fluxConfig 'Microsoft.KubernetesConfiguration/fluxConfigurations@2023-05-01' = {\n  properties: {\n    namespace: 'garden'\n  }\n}\n"


@pytest.mark.parametrize(
    ("file", "text", "there"),
    [
        ("scripts/bootstrap-apps.sh", LOOP, True),
        ("scripts/bootstrap-apps.sh", LOOP.replace("cluster/apps", "cluster/else"), False),
        ("scripts/bootstrap-apps.sh", LOOP.replace('create namespace "${namespace}"', "get namespace x"), False),
        ("scripts/notes.sh", LOOP, False),  # nothing says that it begins a cluster
        ("docs/azure.md", AZURE, True),
        ("infra/setup.ps1", AZURE.replace("-n config ", "-n config `\n "), True),
        ("infra/main.bicep", BICEP, True),
        ("infra/main.bicep", BICEP.replace("fluxConfigurations", "extensions"), False),
    ],
)
def test_what_makes_a_namespace_before_flux_runs(tmp_path, file, text, there):
    files = {"cluster/apps/garden/one.yaml": yaml.safe_dump(config("one", "garden")), file: text}
    assert ("apply.missing-namespace" not in rules_of(judged(tmp_path, files))) is there


def custom(kind, group, name, space=""):
    meta = {"name": name, **({"namespace": space} if space else {})}
    return {"apiVersion": f"{group}/v1", "kind": kind, "metadata": meta, "spec": {}}


@pytest.mark.parametrize(
    ("more", "there"),
    [
        (custom("Organization", "security.giantswarm.io", "garden"), True),  # whose operator makes org-garden
        (custom("Organization", "security.giantswarm.io", "shed"), False),
        (custom("Organization", "security.giantswarm.io", "garden", "default"), False),
        (custom("Beds", "garden.example.org", "one", "org-garden"), True),  # the operator lives where its objects do
        (custom("Beds", "tools.example.org", "one", "org-garden"), False),
        (
            custom("ClusterIssuer", "cert-manager.io", "garden"),
            False,
        ),  # of a chart that is known: it makes no namespace
    ],
)
def test_a_namespace_may_be_an_operators_that_is_not_in_the_tree(tmp_path, more, there):
    items = [config("one", "org-garden"), more, charts_of_nobody("default")]
    found = rules_of(judged(tmp_path, {"cluster/all.yaml": yaml.safe_dump_all(items)}))
    assert ("apply.missing-namespace" not in found) is there


def charts_of_nobody(space):
    """A release of a chart that isn't known, which may bring kinds."""
    return yaml.safe_load(UNKNOWN.format("everything").replace("namespace: tools", f"namespace: {space}"))


K3S = {
    "apiVersion": "helm.cattle.io/v1",
    "kind": "HelmChartConfig",
    "metadata": {"name": "traefik", "namespace": "kube-system"},
    "spec": {},
}


@pytest.mark.parametrize(
    ("name", "more", "there"),
    [
        ("standard", (), True),
        ("gp3", (), True),
        ("standard", (K3S,), False),
        ("fast", (), False),
        ("local-path", (K3S,), True),
    ],
)
def test_a_class_may_come_with_the_cluster(tmp_path, name, more, there):
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": name, "resources": {"requests": {"storage": "1Gi"}}}
    meta = {"name": "data", "namespace": "default"}
    items = [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}, *more]
    layer = kustomization("apps", wait=True)
    files = {"cluster/apps.yaml": yaml.safe_dump(layer), "parts/apps/all.yaml": yaml.safe_dump_all(items)}
    assert ("apply.missing-class" not in rules_of(judged(tmp_path, files))) is there


@pytest.mark.parametrize(("repository", "there"), [("elsewhere", True), ("charts", False)])
def test_a_part_of_a_larger_tree_may_wait_for_what_lies_in_the_rest_of_it(tmp_path, repository, there):
    """What syncs it isn't in the tree, and neither is the source of its charts: what it depends on may be there, too."""
    release = charts_of_nobody("default")
    release["spec"]["chart"]["spec"]["sourceRef"] |= {"name": repository, "namespace": "flux-system"}
    own = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmRepository", "metadata": {"name": "charts", "namespace": "flux-system"},
           "spec": {"interval": "1h", "url": "https://charts.example.org"}}  # fmt: skip
    files = {
        "cluster/flux.yaml": yaml.safe_dump_all([own]),
        "cluster/apps.yaml": yaml.safe_dump(kustomization("apps", ("secrets",))),
        "parts/apps/all.yaml": yaml.safe_dump(release),
    }
    assert ("apply.missing-dependency" not in rules_of(judged(tmp_path, files))) is there


# -- what isn't read says nothing against what it may hold ---------------------------------------------------------------------


@pytest.mark.parametrize("listed", [True, False])
def test_what_an_unread_kustomization_lists_is_not_called_applied_by_nothing(tmp_path, listed):
    base = "https://git.example.org/somebody/base//deploy?ref=v1"
    resources = [base, *(["more.yaml"] if listed else [])]
    files = {
        "cluster/apps.yaml": yaml.safe_dump(kustomization("apps")),
        "parts/apps/kustomization.yaml": yaml.safe_dump(
            {"resources": resources, "patches": [{"path": "p.yaml", "target": {"kind": "Deployment"}}]}
        ),
        "parts/apps/p.yaml": "[{op: add, path: /spec/replicas, value: 2}]",
        "parts/apps/more.yaml": yaml.safe_dump(kustomization("inner")),
        "parts/inner/kustomization.yaml": yaml.safe_dump({"resources": ["one.yaml"]}),
        "parts/inner/one.yaml": yaml.safe_dump(config("one")),
    }
    result = judged(tmp_path, files)
    found = [f for f in result.findings if f.rule == "flux.unreachable" and f.severity is Severity.BREAKS_CLAIM]
    assert bool(found) is not listed


@pytest.mark.parametrize(
    ("space", "kind", "inner", "there"),
    [
        ("web", "Application", "", True),
        ("other", "Application", "", False),  # what isn't read gives what it could plausibly give, and no more
        ("argocd", "Application", "web", True),  # one that applies others, of this repository
        ("argocd", "Application", "other", False),
        ("", "ApplicationSet", "", True),
        (None, "", "", False),
    ],
)
def test_a_service_may_be_what_argo_brings(tmp_path, space, kind, inner, there):
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
    rules = [{"host": "web.example.org", "http": {"paths": [path]}}]
    entrance = custom("Ingress", "networking.k8s.io", "web", "web") | {"spec": {"rules": rules}}

    def application(target, kind="Application"):
        made = custom(kind, "argoproj.io", "rest", "argocd")
        source = {"repoURL": "https://git.example.org/x", "path": "argo/apps"}
        return {**made, "spec": {"source": source, "destination": {"namespace": target}}}

    items = [namespace("web"), namespace("argocd"), entrance, *([application(space, kind)] if kind else [])]
    files = {"cluster/all.yaml": yaml.safe_dump_all(items)}
    if inner:
        files["argo/apps/one.yaml"] = yaml.safe_dump(application(inner))
    assert ("apply.ingress-backend" not in rules_of(judged(tmp_path, files))) is there


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo longhorn_target_well 1 | curl --data-binary @- http://push:9091/metrics/job/backup", []),
        ("true", ["BREAKS_CLAIM"]),
        ("# longhorn_target_well, told by Pushover", ["BREAKS_CLAIM"]),
    ],
)
def test_a_metric_that_a_script_pushes_is_not_the_exporters(tmp_path, script, found):
    rule = {"alert": "Target", "expr": "longhorn_target_well == 0", "for": "5m", "labels": {"severity": "warning"}}
    meta = {"name": "target", "namespace": "longhorn-system"}
    rules = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": meta,
        "spec": {"groups": [{"name": "t", "rules": [rule]}]},
    }
    release = charts_of_nobody("longhorn-system")
    release["spec"]["chart"]["spec"]["chart"] = "longhorn"
    items = [
        namespace("longhorn-system"),
        release,
        rules,
        {**config("script", "longhorn-system"), "data": {"push.sh": script}},
    ]
    result = judged(
        tmp_path, {"cluster/all.yaml": yaml.safe_dump_all(items), ".holdfast.toml": '[check]\nclaims = "all"\n'}
    )
    assert severities(result.findings, "monitoring.gone-metric") == found


# -- a second reading by strangers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "missing"), [("destination", False), ("metadata", False), ("else", True)])
def test_a_secret_that_is_mirrored_is_there_where_it_is_needed(tmp_path, where, missing):
    """As Vault's operator puts a mirror's annotations on the Secret that it makes."""
    notes = {"annotations": {"reflector.v1.k8s.emberstack.com/reflection-auto-enabled": "true"}}
    made = custom("VaultStaticSecret", "secrets.hashicorp.com", "db", "vault")
    made["spec"] = {"destination": {"create": True, "name": "db", **(notes if where == "destination" else {})}}
    if where == "metadata":
        made["metadata"] |= notes
    pod = {"containers": [{"name": "c", "image": "x:1", "envFrom": [{"secretRef": {"name": "db"}}]}]}
    labels = {"app": "web"}
    web = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "web"},
           "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}}  # fmt: skip
    items = [namespace("vault"), namespace("web"), made, web, charts_of_nobody("default")]
    found = rules_of(judged(tmp_path, {"cluster/all.yaml": yaml.safe_dump_all(items)}))
    assert ("apply.missing-config" in found) is missing


@pytest.mark.parametrize(
    ("values", "there"), [({"infrastructure": {"garden": {}}}, True), ({"infrastructure": {"shed": {}}}, False)]
)
def test_a_chart_may_make_a_namespace_that_its_values_name(tmp_path, values, there):
    release = charts_of_nobody("default")
    release["spec"]["values"] = values
    items = [release, config("one", "garden-infrastructure-system")]
    assert (
        "apply.missing-namespace" not in rules_of(judged(tmp_path, {"cluster/all.yaml": yaml.safe_dump_all(items)}))
    ) is there


@pytest.mark.parametrize("other", [True, False])
def test_a_part_of_an_object_that_another_applies_lacks_nothing(tmp_path, other):
    """Server-side apply lays it over the rest of it."""
    labels = {"app": "web"}
    pod = {"containers": [{"name": "c", "image": "x:1"}]}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    meta = {"name": "web", "namespace": "default"}
    whole = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}
    part = {**whole, "spec": {"replicas": 2}}
    files = {
        "cluster/all.yaml": yaml.safe_dump_all([kustomization("part"), kustomization("whole")]),
        "parts/part/p.yaml": yaml.safe_dump(part),
        "parts/whole/w.yaml": yaml.safe_dump(whole if other else config("two")),
    }
    result = judged(tmp_path, files)
    lacking = [f for f in result.findings if f.rule == "schema.field" and "required" in f.what]
    assert bool(lacking) is not other


def test_what_k3s_brings_is_there_before_a_release_of_the_tree_gives_it_too(tmp_path):
    release = charts_of_nobody("default")
    release["spec"]["chart"]["spec"]["chart"] = "traefik"
    route = custom("IngressRoute", "traefik.io", "one", "default")
    route["spec"] = {"routes": []}
    for more, loops in (((), True), ((K3S,), False)):
        folder = tmp_path / str(loops)
        result = judged(folder, {"cluster/all.yaml": yaml.safe_dump_all([release, route, *more])})
        assert ("boot.loop" in rules_of(result)) is loops


def test_a_class_may_be_called_as_the_release_is(tmp_path):
    release = charts_of_nobody("default")
    release["metadata"]["name"] = "edge"
    release["spec"]["chart"]["spec"]["chart"] = "traefik"
    found = []
    for name in ("traefik", "edge", "edge-traefik", "nginx"):
        path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
        spec = {"ingressClassName": name, "rules": [{"host": "web.example.org", "http": {"paths": [path]}}]}
        entrance = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": spec,
        }
        result = judged(tmp_path / name, {"cluster/all.yaml": yaml.safe_dump_all([release, entrance])})
        found += [name] if "apply.ingress-class" in rules_of(result) else []
    assert found == ["nginx"]


def test_what_bootstrap_has_built_beside_the_entry_counts_though_the_entry_does_not_list_it(tmp_path):
    """flux bootstrap builds flux-system with its patches; a kustomization of the entry's own that leaves the folder out changes nothing of that."""
    documents = list(yaml.safe_load_all(FLUX))
    patch = {**documents[1], "spec": {"decryption": {"provider": "sops"}}}
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: default}\nstringData: {a: 'ENC[AES256_GCM,data:x,type:str]'}\nsops: {mac: x}\n"
    for patched in (True, False):
        patches = [{"path": "p.yaml"}] if patched else []
        files = {
            "cluster/flux.yaml": "",
            "cluster/flux-system/gotk-sync.yaml": FLUX,
            "cluster/flux-system/p.yaml": yaml.safe_dump(patch),
            "cluster/flux-system/kustomization.yaml": yaml.safe_dump(
                {"resources": ["gotk-sync.yaml"], "patches": patches}
            ),
            "cluster/kustomization.yaml": yaml.safe_dump({"resources": ["secret.yaml"]}),
            "cluster/secret.yaml": secret,
        }
        result = judged(tmp_path / str(patched), files)
        assert ("apply.not-decrypted" in rules_of(result)) is not patched


@pytest.mark.parametrize(
    "text",
    ["k8s-configuration flux create " * 20_000, "\n" * 40_000, "create namespace $x\nfor a in /*/" + "\n" * 40_000],
)
@pytest.mark.parametrize("file", ["scripts/bootstrap.sh", "docs/x.md"])
def test_a_script_of_whatever_length_is_read_in_time(tmp_path, file, text):
    judged(tmp_path, {"cluster/all.yaml": CONFIG, file: text})  # it ends


def test_a_namespace_that_is_missing_costs_no_more_for_each_of_its_objects(tmp_path):
    items = [config(f"c{n}", "nowhere") for n in range(400)] + [
        custom("Beds", f"g{n}.example.org", f"b{n}") for n in range(1500)
    ]
    found = judged(tmp_path, {"cluster/all.yaml": yaml.safe_dump_all([*items, charts_of_nobody("default")])})
    assert "apply.missing-namespace" in rules_of(found)  # it ends


REMOTE_BASE = "https://git.example.org/somebody/base//deploy?ref=v1"
OF_BASE = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "theirs"}, "spec": {"replicas": 2}}
OF_OURS = config("ours", "default", data={"a": "patched"})


@pytest.mark.parametrize(
    ("more", "files"),
    [
        ({"patchesStrategicMerge": ["p.yaml"]}, {"p.yaml": OF_BASE}),
        ({"patches": [{"path": "p.yaml"}]}, {"p.yaml": OF_BASE}),
        ({"patches": [{"patch": yaml.safe_dump(OF_BASE)}]}, {}),
        ({"configMapGenerator": [{"name": "theirs", "behavior": "merge", "literals": ["a=b"]}]}, {}),
        ({"patches": [{"path": "p.yaml", "target": {"kind": "Deployment"}}]}, {"p.yaml": OF_BASE}),
    ],
)
@pytest.mark.parametrize("where", ["parts/apps", "parts/apps/inner"])
def test_what_patches_a_remote_base_keeps_nothing_else_from_being_read(tmp_path, more, files, where):
    """The base isn't fetched, and all that lies beside it is read, with the patches of its own."""
    kustomize = {"resources": [REMOTE_BASE, "ours.yaml"], **more}
    kustomize["patches"] = [*kustomize.get("patches", []), {"path": "mine.yaml"}]
    tree = {
        "cluster/apps.yaml": yaml.safe_dump(kustomization("apps")),
        f"{where}/kustomization.yaml": yaml.safe_dump(kustomize),
        f"{where}/ours.yaml": yaml.safe_dump(config("ours")),
        f"{where}/mine.yaml": yaml.safe_dump(OF_OURS),
        **{f"{where}/{name}": yaml.safe_dump(body) for name, body in files.items()},
    }
    if where != "parts/apps":
        tree["parts/apps/kustomization.yaml"] = yaml.safe_dump({"resources": ["inner"]})
    result = judged(tmp_path, tree)
    (ours,) = [m for m in result.tree.objects if m.name == "ours"]
    assert ours.body["data"] == {"a": "patched"}
    assert result.tree.kustomizations["flux-system/apps"].left_out
    assert "apply.build" not in rules_of(result)


# -- a third reading by strangers ----------------------------------------------------------------------------------------------


def test_ranges_that_are_advertised_do_not_say_which_network_it_is(tmp_path):
    """Flannel is k3s' own: where nothing shows that it is k3s, nobody has seen it."""
    files = {
        "cluster/router.yaml": ROUTER.replace("RANGES", "10.42.0.0/16,10.43.0.0/16"),
        ".holdfast.toml": '[check]\nclaims = "all"\n',
    }
    found = checking.check(checking.load(written(tmp_path, files), KUSTOMIZE)).claims["network-ranges"]
    assert found.verdict == "unproven"
    assert "Flannel" in found.reason


OLD_FLUX = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "kustomize-controller", "namespace": "flux-system"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
                "containers": [{"name": "manager", "image": "ghcr.io/fluxcd/kustomize-controller:v0.13.0"}]}}}}  # fmt: skip


@pytest.mark.parametrize(
    ("tag", "severity"), [("v0.13.0", "UPGRADE_HAZARD"), ("v0.15.0", "BREAKS_APPLY"), ("v1.6.0", "BREAKS_APPLY")]
)
def test_a_flux_of_before_server_side_apply_refuses_no_whole_set(tmp_path, tag, severity):
    flux = yaml.safe_load(yaml.safe_dump(OLD_FLUX).replace("v0.13.0", tag))
    nowhere = config("one")
    del nowhere["metadata"]["namespace"]
    found = judged(tmp_path, {"cluster/all.yaml": yaml.safe_dump_all([flux, namespace("flux-system"), nowhere])})
    assert severities(found.findings, "apply.no-namespace") == [severity]


@pytest.mark.parametrize(
    ("told", "there"), [("2. `clusterctl init --infrastructure proxmox`\n", True), ("2. make a cluster\n", False)]
)
def test_kinds_of_cluster_api_come_by_its_own_command(tmp_path, told, there):
    items = [
        custom("Cluster", "cluster.x-k8s.io", "one", "default"),
        custom("ProxmoxCluster", "infrastructure.cluster.x-k8s.io", "one", "default"),
    ]
    found = rules_of(judged(tmp_path, {"cluster/all.yaml": yaml.safe_dump_all(items), "README.md": told}))
    assert ("apply.missing-kind" not in found) is there


@pytest.mark.parametrize("applied", [True, False])
def test_a_second_root_that_a_script_applies_gives_what_it_applies(tmp_path, applied):
    second = kustomization("system")
    second["spec"]["path"] = "./infrastructure/system"
    release = charts_of_nobody("default")
    release["spec"]["chart"]["spec"]["sourceRef"] |= {"name": "charts", "namespace": "flux-system"}
    repository = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmRepository", "metadata": {"name": "charts", "namespace": "flux-system"},
                  "spec": {"interval": "1h", "url": "https://charts.example.org"}}  # fmt: skip
    files = {
        "cluster/apps.yaml": yaml.safe_dump(kustomization("apps", ("system",))),
        "parts/apps/all.yaml": yaml.safe_dump(release),
        "infrastructure/setup/System.yaml": yaml.safe_dump(second),
        "infrastructure/system/kustomization.yaml": "resources: [charts.yaml]\n",
        "infrastructure/system/charts.yaml": yaml.safe_dump(repository),
        "infrastructure/setup/install-flux.sh": 'kubectl apply -f "$REPO_ROOT"/infrastructure/setup/System.yaml\n'
        if applied
        else "true\n",
    }
    found = rules_of(judged(tmp_path, files))
    assert ("apply.missing-dependency" not in found) is applied
    assert ("apply.missing-source" not in found) is applied


def test_longhorn_without_its_chart_makes_its_class(tmp_path):
    labels = {"app": "longhorn-manager"}
    pod = {"containers": [{"name": "c", "image": "x:1"}]}
    manager = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "longhorn-manager", "namespace": "default"},
               "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}}  # fmt: skip
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "longhorn",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "default"},
        "spec": spec,
    }
    for number, items in enumerate(([claim, manager], [claim])):
        files = {
            "cluster/apps.yaml": yaml.safe_dump(kustomization("apps", wait=True)),
            "parts/apps/all.yaml": yaml.safe_dump_all(items),
        }
        found = rules_of(judged(tmp_path / str(number), files))
        assert ("apply.missing-class" in found) is (len(items) == 1)


def test_namespaces_that_a_person_made_are_one_finding_and_a_slip_in_a_name_is_its_own(tmp_path):
    """One habit, one finding, with every place of it; a name that is nearly another's has another cause."""
    space = "apiVersion: v1\nkind: Namespace\nmetadata: {name: monitoring}\n"
    files = {
        f"cluster/{name}.yaml": CONFIG.replace("NAME", f"c{name}").replace("default", name)
        for name in ("media", "photos", "wiki", "monitorng")
    } | {"cluster/ns.yaml": space}
    every = checking.check(checking.load(written(tmp_path, files), KUSTOMIZE), strict=True).findings
    slip, habit = sorted((f for f in every if f.rule == "apply.missing-namespace"), key=lambda f: len(f.each))
    assert "did you mean monitoring" in slip.what
    assert [str(where).partition(":")[0] for where, _ in habit.each] == [
        f"cluster/{name}.yaml" for name in ("media", "photos", "wiki")
    ]
    assert "and 2 more places" in habit.what.replace("so in", "and")
    assert "the whole set" in habit.why


def test_kinds_that_one_operator_lacks_for_are_one_finding(tmp_path):
    objects = [
        {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": "one", "namespace": "default"}, "spec": {}}
        for group, kind in (("shop.example.org", "Till"), ("shop.example.org", "Shelf"), ("mill.example.org", "Wheel"))
    ]
    every = judged(tmp_path, {"cluster/all.yaml": yaml.safe_dump_all(objects)}).findings
    found = [f for f in every if f.rule == "apply.missing-kind"]
    assert sorted(len(f.each) for f in found) == [0, 2]


@pytest.mark.parametrize("elsewhere", ["beside", "itself", "twice", "a cluster", "another namespace"])
def test_what_gives_the_entry_its_source_is_applied_by_hand_with_it(elsewhere, tmp_path):
    """A second root is followed where the entry's own source comes by it alone: one that has another is another cluster's, of two nobody knows."""
    source, sync = yaml.safe_load_all(FLUX)
    second = kustomization("sources") | {"spec": kustomization("sources")["spec"] | {"path": "./sources"}}
    files = {
        "cluster/flux.yaml": yaml.safe_dump_all([sync, source] if elsewhere == "itself" else [sync]),
        "sources/flux.yaml": yaml.safe_dump(second),
        "sources/kustomization.yaml": yaml.safe_dump({"resources": ["git.yaml", "settings.yaml"]}),
        "sources/git.yaml": yaml.safe_dump(source),
        "sources/settings.yaml": CONFIG,
    }
    if elsewhere == "a cluster":  # it holds what runs, and so may be one that calls its source the same
        files["sources/settings.yaml"] = yaml.safe_dump(
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "default"}}
        )
    if elsewhere == "another namespace":
        files["sources/git.yaml"] = yaml.safe_dump(source | {"metadata": {"name": "flux-system", "namespace": "other"}})
    if elsewhere == "twice":
        third = kustomization("more") | {"spec": second["spec"]}
        files["other/flux.yaml"] = yaml.safe_dump(third)
    tree = checking.load(written(tmp_path / "tree", files), KUSTOMIZE)
    assert ("flux-system/sources" in tree.kustomizations) is (elsewhere == "beside")
    assert ("sources/flux.yaml is applied by hand, too" in tree.entry) is (elsewhere == "beside")
    if elsewhere == "beside":
        assert tree.sync.source.file == "sources/git.yaml"
        assert second["metadata"]["name"] in {m.name for m in tree.bootstrap}
        assert "apply.missing-source" not in rules_of(judged(tmp_path / "again", files))


def test_a_folder_that_only_begins_a_cluster_is_not_what_is_synced(tmp_path):
    """It holds the Kustomization, its source and Flux, twice over, so that it couldn't be built: the entry is what the Kustomization says."""
    source, sync = yaml.safe_load_all(FLUX)
    sync["metadata"]["name"], sync["spec"]["path"] = "cluster", "./clusters/home"
    controllers = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "source-controller", "namespace": "flux-system", "labels": {"app.kubernetes.io/part-of": "flux"}}}  # fmt: skip
    files = {
        "cluster/flux.yaml": "# the entry lies in bootstrap/\n",
        "bootstrap/sync.yaml": yaml.safe_dump_all([source, sync]),
        "bootstrap/all.yaml": yaml.safe_dump_all([controllers, source, sync]),
        "clusters/home/settings.yaml": CONFIG,
    }
    tree = checking.load(written(tmp_path / "one", files), KUSTOMIZE)
    assert tree.root.folder == "clusters/home"
    assert "apply.build" not in rules_of(judged(tmp_path / "two", files))
    files["bootstrap/more.yaml"] = CONFIG.replace(
        "NAME", "more"
    )  # it holds something of the cluster: it is what is applied
    assert checking.load(written(tmp_path / "three", files), KUSTOMIZE).root.folder == "bootstrap"


@pytest.mark.parametrize("listed", [True, False])
def test_what_a_clusters_list_leaves_out_is_no_cluster_of_its_own(listed, tmp_path):
    left = kustomization("left") | {"spec": kustomization("left")["spec"] | {"path": "./parts/apps/left"}}
    files = {
        "cluster/apps.yaml": yaml.safe_dump(kustomization("apps")),
        "parts/apps/settings.yaml": CONFIG,
        "parts/apps/left/ks.yaml": yaml.safe_dump(left),
    }
    if listed:
        files["parts/apps/kustomization.yaml"] = yaml.safe_dump({"resources": ["settings.yaml"]})
    else:  # nothing of the cluster's says what of the folder is its own
        files["parts/left/ks.yaml"] = yaml.safe_dump(left | {"spec": left["spec"] | {"path": "./parts/left"}})
        del files["parts/apps/left/ks.yaml"]
    tree = written(tmp_path / "tree", files)
    if listed:
        assert checking.load(tree, KUSTOMIZE).root.folder == "cluster"
    else:
        with pytest.raises(UsageError, match="2 clusters"):
            checking.load(tree, KUSTOMIZE)


def test_a_volume_that_is_kept_for_a_claim_is_no_other_ones(tmp_path):
    def volume(name, claim):
        spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "static"}
        kept = {"claimRef": {"namespace": "default", "name": claim}} if claim else {}
        return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec | kept | {"hostPath": {"path": "/a"}}}  # fmt: skip

    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "mine", "namespace": "default"},
             "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "static", "resources": {"requests": {"storage": "1Gi"}}}}  # fmt: skip
    first, second = kustomization("first", wait=True), kustomization("second", ["first"])
    for number, (keeps, circle) in enumerate((("other", False), ("mine", True))):
        files = {
            "cluster/all.yaml": yaml.safe_dump_all([first, second]),
            "parts/first/all.yaml": yaml.safe_dump_all([claim, volume("beside", "mine")] if not circle else [claim]),
            "parts/second/all.yaml": yaml.safe_dump(volume("later", keeps)),
        }
        assert ("boot.loop" in rules_of(judged(tmp_path / str(number), files))) is circle


def test_what_is_laid_over_anothers_object_makes_none(tmp_path):
    """A health check of a Secret that an operator makes, to which a later Kustomization adds an annotation."""
    check = {"apiVersion": "v1", "kind": "Secret", "name": "made", "namespace": "default"}
    first, second = kustomization("first"), kustomization("second", ["first"])
    first["spec"]["healthChecks"] = [check]
    meta = {"name": "made", "namespace": "default", "annotations": {"kustomize.toolkit.fluxcd.io/ssa": "Merge"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta}
    for number, more in enumerate(({}, {"stringData": {"a": "b"}})):
        files = {
            "cluster/all.yaml": yaml.safe_dump_all([first, second]),
            "parts/first/c.yaml": CONFIG,
            "parts/second/s.yaml": yaml.safe_dump(secret | more),
        }
        assert ("boot.loop" in rules_of(judged(tmp_path / str(number), files))) is bool(more)


@pytest.mark.parametrize(
    ("name", "space", "refused"),
    [("coredns", "kube-system", False), ("web", "kube-system", True), ("coredns", "web", True)],
)
def test_a_part_of_what_a_distribution_has_needs_not_be_whole(name, space, refused, tmp_path):
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": space},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"k8s-app": "kube-dns"}}}}  # fmt: skip
    files = {
        "cluster/all.yaml": yaml.safe_dump_all(
            [body, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}}]
        )
    }
    found = {"apply.selector", "schema.field", "schema.value"} & set(rules_of(judged(tmp_path, files)))
    assert bool(found) is refused


def test_a_part_in_another_version_of_the_api_is_laid_over_the_whole(tmp_path):
    part = {"apiVersion": "kustomize.toolkit.fluxcd.io/v1beta2", "kind": "Kustomization",
            "metadata": {"name": "flux-system", "namespace": "flux-system"}, "spec": {"decryption": {"provider": "sops"}}}  # fmt: skip
    alone = part | {"metadata": {"name": "alone", "namespace": "flux-system"}}
    for number, (body, refused) in enumerate(((part, False), (alone, True))):
        files = {"cluster/part.yaml": yaml.safe_dump(body)}
        said = judged(tmp_path / str(number), files).findings
        assert any("is required" in f.what for f in said if f.rule == "schema.field") is refused


@pytest.mark.parametrize("named", [True, False])
def test_a_claim_that_names_its_volume_needs_no_storage_to_be_bound(named, tmp_path):
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "default"},
             "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "nfs", "resources": {"requests": {"storage": "1Gi"}}}}  # fmt: skip
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "data"},
              "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], "storageClassName": "nfs",
                       "nfs": {"server": "192.0.2.1", "path": "/a"}}}  # fmt: skip
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "nfs"}, "provisioner": "kubernetes.io/no-provisioner"}  # fmt: skip
    if named:
        claim["spec"]["volumeName"] = "data"
    files = {
        "cluster/all.yaml": yaml.safe_dump_all([kustomization("base", wait=True), kustomization("core", ["base"])]),
        "parts/base/all.yaml": yaml.safe_dump_all([kind, volume, claim]),
        "parts/core/class.yaml": yaml.safe_dump(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "IngressClass",
                "metadata": {"name": "web"},
                "spec": {"controller": "example.org/web"},
            }
        ),
    }
    assert ("core.storage" not in rules_of(judged(tmp_path, files))) is named


def test_a_mark_in_another_clusters_folder_is_about_that_cluster(tmp_path):
    policy = {"apiVersion": "image.toolkit.fluxcd.io/v1", "kind": "ImagePolicy", "metadata": {"name": "web", "namespace": "flux-system"},
              "spec": {"imageRepositoryRef": {"name": "web"}, "policy": {"semver": {"range": "1.x"}}}}  # fmt: skip
    repository = {"apiVersion": "image.toolkit.fluxcd.io/v1", "kind": "ImageRepository", "metadata": {"name": "web", "namespace": "flux-system"},
                  "spec": {"image": "registry.example.org/web", "interval": "5m"}}  # fmt: skip
    mark = 'images: [] # {"$imagepolicy": "staging:web"}\n'
    files = {"cluster/p.yaml": yaml.safe_dump_all([policy, repository]), "staging/kustomization.yaml": mark}
    assert "apply.missing-image-source" not in rules_of(judged(tmp_path / "a", files))
    here = {"cluster/c.yaml": CONFIG + '# {"$imagepolicy": "staging:web"}\n', "cluster/p.yaml": files["cluster/p.yaml"]}
    assert "apply.missing-image-source" in rules_of(judged(tmp_path / "b", here))


def test_kustomizes_own_files_among_what_is_applied_are_no_objects(tmp_path):
    own = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "metadata": {"name": "settings"},
        "resources": [],
    }
    files = {
        f"cluster/{n}-kustomization-of.yaml": yaml.safe_dump(own | {"metadata": {"name": f"s{n}"}}) for n in (1, 2)
    }
    tree = checking.load(written(tmp_path / "tree", files | {"cluster/c.yaml": CONFIG}), KUSTOMIZE)
    assert not [m for m in tree.objects if m.api.startswith("kustomize.config.k8s.io")]


@pytest.mark.parametrize(
    ("file", "text", "verdict"),
    [
        ("docker/vps/docker-compose.yml", "services:\n  db:\n    environment:\n      POSTGRES_PASSWORD: apples\n", "unproven"),
        ("docker/vps/compose.yaml", "services:\n  db:\n    environment:\n      DSN: postgres://apples:apples@db/apples\n", "unproven"),
        ("docker/vps/compose.yaml", "services:\n  db:\n    environment:\n      POSTGRES_PASSWORD: ${PASSWORD}\n", "held"),
        ("docker/vps/compose.yaml", "services:\n  login:\n    command: [--client-secret=apples-of-ours]\n", "unproven"),
        ("docker/vps/compose.yaml", "services:\n  login:\n    command: [--client-secret=${SECRET}, --token-file=/run/t]\n", "held"),
        ("other/release.yaml", "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: g}\nspec: {values: {adminPassword: apples}}\n", "unproven"),
        ("pages/a.html", "<a data-click-hmac='9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'>\n", "held"),
        ("apps/old.yaml", "# apiVersion: v1\n# kind: Secret\n# metadata:\n#   name: a\n# data:\n#   admin-password: YXBwbGVzLWFuZC1wZWFycw==\n", "unproven"),
        ("apps/old.yaml", "# apiVersion: v1\n# kind: Secret\n# metadata:\n#   name: a\n# data:\n#   admin-user: YWRtaW4=\n", "held"),
        ("apps/old.yaml", "# kind: Secret\n# made: 2026-13-45\n# - no: {list\n", "held"),
        ("apps/old.yaml", "# kind: Secret\n# made: 2026-13-45\n", "held"),
        ("apps/old.yaml", "url: https://files.example.org/a?X-Amz-Credential=AKIDEXAMPLE0000/20251203/eu/s3/aws4_request&X-Amz-Expires=3600\n", "held"),
    ],
)  # fmt: skip
def test_what_may_be_a_password_keeps_the_claim_from_being_held(file, text, verdict, tmp_path):
    result = judged(tmp_path, {"cluster/c.yaml": CONFIG, file: text})
    assert result.claims["secrets-not-in-git"].verdict == verdict, result.claims["secrets-not-in-git"].reason
    assert "apples" not in result.claims["secrets-not-in-git"].reason


def test_a_folder_that_nothing_applies_leaves_open_whether_git_says_it_all(tmp_path):
    files = {"cluster/c.yaml": CONFIG}
    assert judged(tmp_path / "a", files).claims["git-single-source"].verdict == "held"
    files |= {"more/kustomization.yaml": "resources: [c.yaml]\n", "more/c.yaml": CONFIG.replace("NAME", "more")}
    said = judged(tmp_path / "b", files).claims["git-single-source"]
    assert said.verdict == "unproven"
    assert "more is built by nothing" in said.reason


def test_what_a_guide_says_to_apply_is_applied_by_hand(tmp_path):
    files = {
        "cluster/c.yaml": CONFIG,
        "parts/shop/sync.yaml": yaml.safe_dump(kustomization("shop")),
        "parts/shop/kustomization.yaml": "resources: [c.yaml]\n",
        "parts/shop/c.yaml": CONFIG.replace("NAME", "shop"),
    }
    assert "Kustomization/flux-system/shop is applied by nothing" in str(judged(tmp_path / "a", files).findings)
    files["README.md"] = "Then:\n\n    kubectl apply -f <path/to/folder>/sync.yaml\n"
    assert "Kustomization/flux-system/shop is applied by nothing" not in str(judged(tmp_path / "b", files).findings)


@pytest.mark.parametrize("server", ["http://vault.vault.svc:8200", "https://vault.example.org"])
def test_a_certificate_of_core_by_an_issuer_that_keeps_data_here_leaves_storage_open(server, tmp_path):
    """The issuer is asked again each time a certificate ends; one outside of the cluster has no storage of it."""
    issuer = {"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": {"name": "own"}, "spec": {"vault": {"server": server}}}  # fmt: skip
    certificate = {"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": "web", "namespace": "default"},
                   "spec": {"secretName": "web", "dnsNames": ["a.example.org"], "issuerRef": {"kind": "ClusterIssuer", "name": "own"}}}  # fmt: skip
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}  # fmt: skip
    labels = {"app": "vault"}
    vault = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "vault", "namespace": "vault"},
             "spec": {"serviceName": "vault", "selector": {"matchLabels": labels}, "volumeClaimTemplates": [claim],
                      "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}}}  # fmt: skip
    files = {
        "cluster/all.yaml": yaml.safe_dump_all([kustomization("core"), kustomization("vault")]),
        "parts/core/all.yaml": yaml.safe_dump_all(
            [
                issuer,
                certificate,
                {
                    "apiVersion": "networking.k8s.io/v1",
                    "kind": "IngressClass",
                    "metadata": {"name": "web"},
                    "spec": {"controller": "example.org/web"},
                },
            ]
        ),
        "parts/vault/all.yaml": yaml.safe_dump_all(
            [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vault"}}, vault]
        ),
    }
    reason = judged(tmp_path, files).claims["core-no-storage"].reason
    assert ("StatefulSet/vault/vault keeps data" in reason) is (".svc" in server)


@pytest.mark.parametrize(("kind", "verdict"), [("local-path", "unproven"), ("longhorn", "held")])
def test_an_app_that_fills_its_nodes_disk_is_not_kept_apart(kind, verdict, tmp_path):
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "default"},
             "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": kind, "resources": {"requests": {"storage": "1Gi"}}}}  # fmt: skip
    labels = {"app": "shop"}
    container = {"name": "c", "image": "x:1", "resources": {"limits": {"memory": "64Mi"}}, "volumeMounts": [{"name": "d", "mountPath": "/d"}]}  # fmt: skip
    pod = {"containers": [container], "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}
    shop = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop", "namespace": "default"},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}}  # fmt: skip
    classes = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "longhorn"}, "provisioner": "driver.longhorn.io"}  # fmt: skip
    files = {
        "cluster/all.yaml": yaml.safe_dump_all([kustomization("apps"), classes]),
        "parts/apps/all.yaml": yaml.safe_dump_all([claim, shop]),
    }
    said = judged(tmp_path, files).claims["app-isolation"]
    assert said.verdict == verdict, said.reason


def test_a_sync_that_flux_bootstrap_wrote_elsewhere_begins_the_cluster(tmp_path):
    source, sync = yaml.safe_load_all(FLUX)
    sync["spec"]["path"] = "./clusters/home"
    files = {
        "cluster/flux.yaml": "# it lies in flux/\n",
        "flux/bootstrap/gotk-sync.yaml": yaml.safe_dump_all([source, sync]),
        "clusters/home/settings.yaml": CONFIG,
    }
    tree = checking.load(written(tmp_path / "tree", files), KUSTOMIZE)
    assert tree.root.folder == "clusters/home"
    assert ("GitRepository", "flux-system", "flux-system") in {m.key for m in tree.bootstrap}


@pytest.mark.parametrize("laid", [True, False])
def test_a_base_whose_path_an_overlay_gives_is_no_entry(laid, tmp_path):
    """Without a path it would build the whole repository, and with that its own file."""
    base = kustomization("shop")
    del base["spec"]["path"]
    files = {"apps/base/shop.yaml": yaml.safe_dump(base), "apps/base/kustomization.yaml": "resources: [shop.yaml]\n"}
    part = {
        "apiVersion": base["apiVersion"],
        "kind": "Kustomization",
        "metadata": base["metadata"],
        "spec": {"path": "./parts/shop"},
    }
    if laid:
        files["apps/dev/path.yaml"] = yaml.safe_dump(part)
        files["apps/dev/kustomization.yaml"] = "resources: [../base]\npatches: [{path: path.yaml}]\n"
        files["cluster/dev.yaml"] = yaml.safe_dump(
            kustomization("dev") | {"spec": kustomization("dev")["spec"] | {"path": "./apps/dev"}}
        )
    files["parts/shop/c.yaml"] = CONFIG
    tree = checking.load(written(tmp_path / "tree", files), KUSTOMIZE)
    assert tree.root.folder == ("cluster" if laid else ".")


@pytest.mark.parametrize("patched", [True, False])
def test_a_kind_of_flux_whose_definition_a_patch_changes_takes_more(patched, tmp_path):
    alert = {"apiVersion": "notification.toolkit.fluxcd.io/v1beta3", "kind": "Alert", "metadata": {"name": "all", "namespace": "flux-system"},
             "spec": {"providerRef": {"name": "chat"}, "eventSources": [{"kind": "Terraform", "name": "*"}]}}  # fmt: skip
    target = {"kind": "CustomResourceDefinition", "name": "alerts.notification.toolkit.fluxcd.io"}
    files = {"cluster/alert.yaml": yaml.safe_dump(alert)}
    if patched:
        files["operator/values.yaml"] = yaml.safe_dump(
            {"instance": {"kustomize": {"patches": [{"patch": "[]", "target": target}]}}}
        )
    assert ("schema.field" not in rules_of(judged(tmp_path, files))) is patched


def test_a_line_of_a_base_that_many_use_is_one_finding(tmp_path):
    bad = {"apiVersion": "notification.toolkit.fluxcd.io/v1beta3", "kind": "Alert", "metadata": {"name": "all"},
           "spec": {"providerRef": {"name": "chat"}, "eventSources": [{"kind": "Nothing", "name": "*"}]}}  # fmt: skip
    files = {"base/alert.yaml": yaml.safe_dump(bad), "base/kustomization.yaml": "resources: [alert.yaml]\n"}
    files["cluster/all.yaml"] = yaml.safe_dump_all([kustomization("a"), kustomization("b")])
    for name in ("a", "b"):
        files[f"parts/{name}/kustomization.yaml"] = f"namespace: {name}\nresources: [../../base, ns.yaml]\n"
        files[f"parts/{name}/ns.yaml"] = f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n"
    (found,) = [f for f in judged(tmp_path, files).findings if f.rule == "schema.field"]
    assert len(found.each) == 2


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        ("Password: changeme\n\n    curl -u admin:changeme https://metrics.example.org", "unproven"),
        ("Password: changeme", "held"),
        ("Initial Root Token: s.Xk29slQp0aBcDeFgHiJkLmNo", "unproven"),
        ("Unseal Key 1: q2V4c9Zr1+oXw3yTf8LkPmNbHsJdGaEu0iQvRxCzWt5A", "unproven"),
        ("Password: <yours>", "held"),
        ("Initial Root Token: shown once", "held"),
    ],
)
def test_a_guide_that_tells_what_opens_something_leaves_doubt(told, verdict, tmp_path):
    result = judged(tmp_path, {"cluster/c.yaml": CONFIG, "README.md": f"# Log in\n\n- {told}\n"})
    assert result.claims["secrets-not-in-git"].verdict == verdict, result.claims["secrets-not-in-git"].reason


def test_a_volume_that_is_kept_for_a_claim_of_a_template_is_there_for_it(tmp_path):
    """What a StatefulSet's claims are called isn't worked out here: a volume of the class may be kept for one of them."""
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "a"},
              "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "manual",
                       "claimRef": {"namespace": "default", "name": "data-db-0"}, "hostPath": {"path": "/a"}}}  # fmt: skip
    claim = {"metadata": {"name": "data"}, "spec": {"storageClassName": "manual", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}  # fmt: skip
    labels = {"app": "db"}
    pods = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}
    db = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "default"},
          "spec": {"serviceName": "db", "selector": {"matchLabels": labels}, "template": pods, "volumeClaimTemplates": [claim]}}  # fmt: skip
    files = {"cluster/all.yaml": yaml.safe_dump_all([volume, db])}
    assert "apply.missing-class" not in rules_of(judged(tmp_path / "a", files))
    assert "apply.missing-class" in rules_of(judged(tmp_path / "b", {"cluster/all.yaml": yaml.safe_dump(db)}))


def test_of_kustomizes_own_kinds_flux_leaves_out_its_list_alone(tmp_path):
    component = {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "metadata": {"name": "a", "namespace": "default"},
    }
    assert "apply.missing-kind" in rules_of(
        judged(tmp_path, {"cluster/a.yaml": yaml.safe_dump(component), "cluster/c.yaml": CONFIG})
    )


def test_an_object_of_another_group_is_nobodys_other_part(tmp_path):
    core = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"a": "b"}},
    }
    knative = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {},
    }
    assert "schema.value" in rules_of(judged(tmp_path, {"cluster/all.yaml": yaml.safe_dump_all([core, knative])}))


@pytest.mark.parametrize(
    ("key", "said"), [("X-Amz-Credential", ""), ("X-Amz-Security-Token", "secret"), ("x-goog-api-key", "secret")]
)
def test_of_a_signed_address_only_what_says_nothing_is_none(key, said):
    assert hint(key) == said


@pytest.mark.parametrize("volumes", [1, 2])
def test_of_several_volumes_of_a_class_any_may_be_a_charts(volumes, tmp_path):
    def volume(name):
        spec = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "manual",
            "hostPath": {"path": "/a"},
        }
        return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}

    claim = {"metadata": {"name": "data"}, "spec": {"storageClassName": "manual", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}  # fmt: skip
    labels = {"app": "db"}
    pods = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}
    db = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "default"},
          "spec": {"serviceName": "db", "selector": {"matchLabels": labels}, "template": pods, "volumeClaimTemplates": [claim]}}  # fmt: skip
    files = {
        "cluster/all.yaml": yaml.safe_dump_all([kustomization("first", wait=True), kustomization("second", ["first"])]),
        "parts/first/all.yaml": yaml.safe_dump_all([db, volume("beside")] if volumes == 2 else [db]),
        "parts/second/all.yaml": yaml.safe_dump(volume("later")),
    }
    assert ("boot.loop" in rules_of(judged(tmp_path, files))) is (volumes == 1)


@pytest.mark.parametrize(("value", "found"), [("merge", False), ("Merge", False), ("Override", True)])
def test_two_owners_that_were_told_to_live_with_each_other_are_none_in_any_case(value, found, tmp_path):
    config = yaml.safe_load(CONFIG)
    config["metadata"]["annotations"] = {"kustomize.toolkit.fluxcd.io/ssa": value}
    files = {
        "cluster/all.yaml": yaml.safe_dump_all([kustomization("a"), kustomization("b")]),
        "parts/a/c.yaml": CONFIG,
        "parts/b/c.yaml": yaml.safe_dump(config),
    }
    assert ("apply.duplicate-object" in rules_of(judged(tmp_path, files))) is found
