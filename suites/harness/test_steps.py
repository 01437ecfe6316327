"""The order of an upgrade: what the target refuses first, one minor at a time, the servers before the agents, each with its place."""

import shutil

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UsageError
from holdfast.paths import ROOT
from holdfast.tree import check as checking
from holdfast.tree.steps import Target, steps
from suites.harness.test_check_command import check as holdfast
from suites.harness.test_check_properties import KUSTOMIZE, kustomization, written
from suites.harness.test_rehearsal_outcome import release

REFERENCE = ROOT / "fixtures" / "gitops"


@pytest.fixture(scope="module")
def reference():
    return checking.load(REFERENCE, KUSTOMIZE)


def plan(name, operator, version="v1.35.4+k3s1"):
    where = {"matchExpressions": [{"key": "node-role.kubernetes.io/control-plane", "operator": operator}]}
    return {
        "apiVersion": "upgrade.cattle.io/v1",
        "kind": "Plan",
        "metadata": {"name": name, "namespace": "system-upgrade"},
        "spec": {"version": version, "nodeSelector": where, "upgrade": {"image": "rancher/k3s-upgrade"}},
    }


def test_nothing_is_asked_for_nothing_is_to_be_done(reference):
    assert not Target()
    assert steps(reference, Target(), []) == []


def test_kubernetes_goes_one_minor_at_a_time_the_servers_first_at_their_plans(tmp_path):
    files = {
        "cluster/all.yaml": yaml.safe_dump(kustomization("apps")),
        "parts/apps/o.yaml": yaml.safe_dump_all([plan("workers", "DoesNotExist"), plan("first", "Exists")]),
    }
    tree = checking.load(written(tmp_path, files), KUSTOMIZE)
    found = steps(tree, Target("1.37"), [])
    assert [(s.what, s.at and s.at.line) for s in found] == [
        ("save etcd, off the node: Kubernetes doesn't go back", None),
        ("Kubernetes 1.36: the servers, one after the other", 27),
        ("Kubernetes 1.36: the agents, one after the other", 13),
        ("Kubernetes 1.37: the servers, one after the other", 27),
        ("Kubernetes 1.37: the agents, one after the other", 13),
    ]


def test_where_the_tree_says_no_version_that_is_said(reference):
    said = [s.what for s in steps(reference, Target("1.37"), [])]
    assert said[1:] == [
        f"Kubernetes 1.37: the {who}, one after the other, one minor at a time from what runs now"
        for who in ("servers", "agents")
    ]


def test_longhorn_leaves_no_minor_out_and_its_place_is_named(reference):
    found = steps(reference, Target(charts={"longhorn": "1.11.2"}), [])
    versions = [s.what.split(",")[0].rpartition(" to ")[2] for s in found if "one minor at a time" in s.what]
    assert versions == ["1.10.x", "1.11.2"]
    assert {s.at.file for s in found} == {"infrastructure/storage/longhorn.yaml"}


def test_a_patch_of_longhorn_is_a_step_of_its_own(reference):
    found = [s.what for s in steps(reference, Target(charts={"longhorn": "1.9.9"}), [])]
    assert len(found) == 1
    assert found[0].endswith("to 1.9.9")


def test_every_release_of_a_chart_is_meant(tmp_path):
    files = {
        "cluster/all.yaml": yaml.safe_dump(kustomization("apps")),
        "parts/apps/o.yaml": yaml.safe_dump_all([release(n, "redis") for n in ("one", "two")]),
    }
    found = steps(checking.load(written(tmp_path, files), KUSTOMIZE), Target(charts={"redis": "2.0.0"}), [])
    assert [s.what.split()[0] for s in found if " to 2.0.0" in s.what] == [
        "HelmRelease/apps/one",
        "HelmRelease/apps/two",
    ]


def test_neither_flux_nor_kubernetes_goes_back(tmp_path, reference):
    with pytest.raises(UsageError, match=r"2\.7 is older"):
        steps(reference, Target(flux="2.7"), [])
    files = {
        "cluster/all.yaml": yaml.safe_dump(kustomization("apps")),
        "parts/apps/o.yaml": yaml.safe_dump_all([plan("first", "Exists", "v1.36.1+k3s1")]),
    }
    with pytest.raises(UsageError, match=r"1\.35 is older"):
        steps(checking.load(written(tmp_path, files), KUSTOMIZE), Target("1.35"), [])


def test_definitions_come_first_where_helm_would_leave_them(reference, tmp_path):
    tier = [s.what for s in steps(reference, Target(charts={"monitoring-core": "76.0.0"}), [])]
    assert tier == ["HelmRelease/monitoring/monitoring-core from 75.x to 76.0.0"]  # it says CreateReplace
    older = tmp_path / "tree"
    shutil.copytree(REFERENCE, older)
    core = older / "monitoring/core/prometheus.yaml"
    core.write_text(core.read_text().replace("    crds: CreateReplace\n", ""))
    first, second = steps(checking.load(older, KUSTOMIZE), Target(charts={"monitoring-core": "76.0.0"}), [])
    assert "CreateReplace" in first.what
    assert "to 76.0.0" in second.what


def test_flux_comes_before_kubernetes_and_what_it_refuses_before_it(tmp_path):
    tree = shutil.copytree(REFERENCE, tmp_path / "tree")
    storage = tree / "infrastructure/storage/longhorn.yaml"
    storage.write_text(storage.read_text().replace("helm.toolkit.fluxcd.io/v2\n", "helm.toolkit.fluxcd.io/v2beta2\n"))
    read = checking.load(tree, KUSTOMIZE, flux="2.10")
    said = [s.what for s in steps(read, Target("1.37", "2.10"), checking.check(read).findings)]
    assert said[0].startswith("before all else: ")
    assert "v2beta2" in said[0]
    order = [
        next(i for i, s in enumerate(said) if word in s) for word in ("Flux from 2.9 to 2.10", "save etcd", "servers")
    ]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("charts", "why"),
    [
        ({"longhorm": "1.11"}, "did you mean longhorn"),
        ({"longhorn": "1.8.0"}, "is older"),
        ({"nothing-like-it": "1"}, "no release"),
    ],
)
def test_what_cannot_be_gone_to_is_said(reference, charts, why):
    with pytest.raises(UsageError, match=why):
        steps(reference, Target(charts=charts), [])


@given(st.integers(9, 30))
def test_each_minor_between_is_one_step(minor):
    tree = checking.load(REFERENCE, KUSTOMIZE)
    found = [s for s in steps(tree, Target(charts={"longhorn": f"1.{minor}.0"}), []) if "one minor at a time" in s.what]
    assert len(found) == minor - 9


def test_the_command_lists_them_and_refuses_what_is_no_version():
    _, out, _ = holdfast(REFERENCE, "--chart", "longhorn=1.11.0", "--kubernetes", "1.37")
    assert "the order of this upgrade:" in out
    assert "  1. HelmRelease/longhorn-system/longhorn to 1.10.x" in out
    assert "one minor at a time  (infrastructure/storage/longhorn.yaml:" in out
    code, _, said = holdfast(REFERENCE, "--chart", "longhorn")
    assert code == 64
    assert "write it as longhorn=1.11.0" in said
