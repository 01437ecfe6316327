"""Charts in the tree, rendered by helm as helm-controller would."""

import json
import subprocess

import pytest
import yaml

from holdfast.paths import ROOT
from holdfast.provision import builds, tools
from holdfast.provision.recipes import Recipes
from holdfast.tree import check as checking
from suites.harness.test_check_properties import written

RELEASE = {
    "apiVersion": "helm.toolkit.fluxcd.io/v2",
    "kind": "HelmRelease",
    "metadata": {"name": "app", "namespace": "n"},
    "spec": {
        "interval": "1h",
        "chart": {
            "spec": {
                "chart": "./charts/app",
                "sourceRef": {"kind": "GitRepository", "name": "flux-system", "namespace": "flux-system"},
            }
        },
    },
}
SPACES = "".join(f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {n}\n---\n" for n in "nt")
TEMPLATE = (
    "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{ .Release.Name }}\nspec:\n  FIELD: 1\n  selector: {matchLabels: {app: a}}\n  template:\n"
    '    metadata: {labels: {app: a}}\n    spec:\n      automountServiceAccountToken: false\n      containers:\n        - name: c\n          image: x:{{ required "a tag must be set" .Values.tag }}\n'
)


@pytest.fixture(scope="session")
def program():
    return tools.helm() or str(builds.binary(Recipes(), "helm"))


def look(tmp_path, program, spec, **files):
    release = json.loads(json.dumps(RELEASE))
    release["spec"] |= spec
    root = written(
        tmp_path,
        {
            "cluster/r.yaml": SPACES + yaml.dump(release),
            "charts/app/Chart.yaml": "apiVersion: v2\nname: app\nversion: 1.0.0\n",
            "charts/app/templates/d.yaml": TEMPLATE.replace("FIELD", "replicas"),
            **files,
        },
    )
    return checking.check(checking.load(root, tools.kustomize(), helm=lambda: program), strict=True)


def test_a_charts_objects_are_judged(tmp_path, program):
    result = look(tmp_path, program, {"values": {"tag": "latest"}})
    assert [(f.rule, f.object, f.locations[0].file) for f in result.findings] == [
        ("security.image", "Deployment/n/app", "charts/app/templates/d.yaml")
    ]


def test_an_unknown_field_of_a_template_is_found(tmp_path, program):
    result = look(
        tmp_path,
        program,
        {"values": {"tag": "1"}},
        **{"charts/app/templates/d.yaml": TEMPLATE.replace("FIELD", "replica")},
    )
    assert [f.rule for f in result.findings] == ["schema.field"]


def test_the_release_is_named_as_helm_controller_names_it(tmp_path, program):
    result = look(tmp_path, program, {"values": {"tag": "1"}, "targetNamespace": "t"})
    assert result.findings == []
    assert [m.id for m in result.tree.charts.objects] == ["Deployment/t/t-app"]


def test_a_chart_that_can_not_be_rendered_says_why(tmp_path, program):
    result = look(tmp_path, program, {})
    assert [f.rule for f in result.findings] == ["apply.chart"]
    assert "a tag must be set" in result.findings[0].what


def test_values_files_of_the_chart_come_first(tmp_path, program):
    spec = json.loads(json.dumps(RELEASE["spec"]["chart"]))
    spec["spec"]["valuesFiles"] = ["./charts/app/home.yaml"]
    assert look(tmp_path, program, {"chart": spec}, **{"charts/app/home.yaml": "tag: '7'\n"}).findings == []


def test_dependencies_that_are_not_there_are_not_fetched(tmp_path, program):
    chart = "apiVersion: v2\nname: app\nversion: 1.0.0\ndependencies:\n  - name: redis\n    version: 1.0.0\n    repository: https://example.org\n"
    result = look(tmp_path, program, {"values": {"tag": "1"}}, **{"charts/app/Chart.yaml": chart})
    assert result.findings == []
    assert any("redis" in line for line in result.not_read)


def test_what_a_chart_brings_of_flux_is_said_to_be_unread(tmp_path, program):
    inner = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata:\n  name: inner\n  namespace: flux-system\nspec:\n  path: ./x\n"
    result = look(tmp_path, program, {"values": {"tag": "1"}}, **{"charts/app/templates/k.yaml": inner})
    assert any("inner" in line for line in result.not_read)
    assert result.claims["secrets-not-in-git"].verdict == "unproven"


def test_the_storage_stand_in_refuses_a_value_that_it_does_not_know_by_its_name(program):
    chart = ROOT / "clusters" / "standins" / "longhorn" / "chart"
    good = subprocess.run([program, "template", "longhorn", str(chart)], capture_output=True, text=True, check=False)
    bad = subprocess.run(
        [program, "template", "longhorn", str(chart), "--set", "longhornManager.log.format=json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert good.returncode == 0
    assert bad.returncode != 0
    assert "'log'" in bad.stderr
