"""What the repositories of strangers taught: each the smallest tree that was read wrongly."""

import shutil

import pytest
import yaml

from holdfast.tree import check as checking
from holdfast.tree.plaintext import in_text
from suites.harness import pairs
from suites.harness.test_check_properties import KUSTOMIZE


def changed(name, tmp_path, file, old, new):
    """An invalid tree of a pair with one thing otherwise."""
    tree = shutil.copytree(pairs.invalid(name), tmp_path / "tree")
    text = (tree / file).read_text()
    assert old in text
    (tree / file).write_text(text.replace(old, new))
    return checking.check(checking.load(tree, KUSTOMIZE), strict=True).findings


def severities(findings, rule):
    return [f.severity.name for f in findings if f.rule == rule]


ANNOTATED = "    meta.helm.sh/release-name: reloader\n"
ADOPTED = f"{ANNOTATED}    meta.helm.sh/release-namespace: web\n  labels:\n    app.kubernetes.io/managed-by: Helm\n"


@pytest.mark.parametrize(("notes", "severity"), [(ANNOTATED, "BREAKS_APPLY"), (ADOPTED, "BREAKS_CLAIM")])
def test_helm_takes_over_what_says_that_it_is_the_releases(tmp_path, notes, severity):
    """Also where the release must not take over what is anybody's: then it has two owners, and is installed all the same."""
    tree = shutil.copytree(pairs.invalid("helm-owned-by-its-annotations"), tmp_path / "tree")
    release = tree / "cluster/app.yaml"
    release.write_text(release.read_text().replace("  install:\n", "  install:\n    disableTakeOwnership: true\n"))
    rendered = tree / "cluster/rendered.yaml"
    rendered.write_text(rendered.read_text().replace(ANNOTATED, notes))
    assert severities(checking.check(checking.load(tree, KUSTOMIZE), strict=True).findings, "apply.helm-owned") == [
        severity
    ]


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
    ("file", "loops"),
    [
        ("Taskfile.yaml", False),
        (".taskfiles/up/tasks.yaml", False),
        ("talos/machine.yaml", False),
        ("docs/up.md", True),
    ],
)
def test_whoever_begins_a_cluster_by_other_tools_may_have_installed_a_kind(tmp_path, file, loops):
    tree = shutil.copytree(pairs.invalid("loop-kind"), tmp_path / "tree")
    certs = tree / "certs/cm.yaml"
    certs.write_text(certs.read_text() + OWN + UNKNOWN.format("tickets"))
    (tree / file).parent.mkdir(parents=True, exist_ok=True)
    (tree / file).write_text("version: 3\n")
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
