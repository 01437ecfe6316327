"""`holdfast check` and the static suite of `holdfast verify` judge one tree alike: one reader, one judgement."""

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.lane.subject import Subject
from holdfast.paths import ROOT
from holdfast.provision import tools
from holdfast.run import Run
from holdfast.tree import check as checking
from suites.harness import pairs

SYNC = (pairs.valid("image") / "cluster" / "flux.yaml").read_text()
RELEASE = """apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {{name: {name}, namespace: {name}}}
spec: {{interval: 10m, chart: {{spec: {{chart: ./charts/{name}, sourceRef: {{kind: GitRepository, name: flux-system, namespace: flux-system}}}}}}}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: {name}}}
"""
ADMIN = """apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: all}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: agent, namespace: agent}]
"""
LAYER = """apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: more, namespace: flux-system}
spec: {interval: 1m, path: ./more, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}
"""


def by_verify(folder):
    """The verdicts of `holdfast verify`'s static suite, as reason and verdict by claim."""
    run = object.__new__(Run)  # neither a folder nor a journal is needed to read a tree
    run.lane = SimpleNamespace(tree=Subject(folder).tree)
    return {c: (v.verdict, v.reason) for c, v in run.checked.claims.items()}


def by_check(folder):
    """Those of `holdfast check`."""
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", "check", str(folder), "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {c: (v["verdict"], v["reason"]) for c, v in json.loads(done.stdout)["claims"].items()}


def chart(folder, name, template):
    root = folder / "charts" / name
    (root / "templates").mkdir(parents=True)
    (root / "Chart.yaml").write_text(f"apiVersion: v2\nname: {name}\nversion: 1.0.0\n")
    (root / "templates" / "all.yaml").write_text(template)


@pytest.mark.parametrize("name", ["gitops", *sorted(pairs.load())[::9]])
def test_both_say_the_same_of_our_trees(name):
    folder = ROOT / "fixtures" / "gitops" if name == "gitops" else pairs.invalid(name)
    assert by_verify(folder) == by_check(folder)


@given(st.data())
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_say_the_same_of_any_tree_with_charts(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("tree")
    (folder / "cluster").mkdir()
    (folder / "cluster" / "flux.yaml").write_text(SYNC)
    where = data.draw(st.sampled_from(["cluster", "more"]))
    if where == "more":
        (folder / "more").mkdir()
        (folder / "cluster" / "more.yaml").write_text(LAYER)
    (folder / where / "release.yaml").write_text(RELEASE.format(name="agent"))
    chart(
        folder,
        "agent",
        data.draw(
            st.sampled_from(
                [ADMIN, "", "{{ fail `no` }}", "kind: [", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"]
            )
        ),
    )
    assert by_verify(folder) == by_check(folder)


@pytest.mark.parametrize("where", ["cluster", "more"])
def test_a_chart_of_the_tree_that_grants_everything_breaks_the_claim(tmp_path, where):
    (tmp_path / "cluster").mkdir()
    (tmp_path / "more").mkdir()
    (tmp_path / "cluster" / "flux.yaml").write_text(SYNC)
    (tmp_path / "cluster" / "more.yaml").write_text(LAYER)
    (tmp_path / where / "release.yaml").write_text(RELEASE.format(name="agent"))
    if where == "cluster":
        (tmp_path / "more" / "c.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n")
    chart(tmp_path, "agent", ADMIN)
    assert by_verify(tmp_path)["rbac-least"][0] == "broke"
    assert by_check(tmp_path)["rbac-least"][0] == "broke"
    blind = checking.check(checking.load(tmp_path, tools.kustomize()))  # no helm: nobody knows what the chart grants
    assert blind.claims["rbac-least"].verdict == "unproven"
    assert "wasn't rendered" in blind.claims["rbac-least"].reason


def test_a_tree_is_what_was_read_and_nothing_else():
    """Nobody writes into it; what is worked out of it is worked out once."""
    tree = tools.read(ROOT / "fixtures" / "gitops")
    for name in ("root", "kustomizations", "not_read", "charts"):
        with pytest.raises(FrozenInstanceError):
            setattr(tree, name, None)
    assert tree.graph is tree.graph
    assert tree.boot is tree.boot
    assert tree.releases is tree.releases
    assert isinstance(tree.objects, tuple)
