"""What `holdfast check` doesn't say of layers that hold several things, and of what only a chart knows."""

import shutil

import pytest

from holdfast.provision import tools
from holdfast.tree import check as checking
from suites.harness import pairs


@pytest.fixture(scope="module")
def kustomize():
    return tools.kustomize()


def result(folder, kustomize):
    return checking.check(checking.load(folder, kustomize), strict=True)


def test_a_stack_that_has_volumes_may_wait_for_storage(kustomize, tmp_path):
    tree = shutil.copytree(pairs.invalid("storage-freezes-monitoring"), tmp_path / "tree")
    stack = tree / "monitoring/stack.yaml"
    assert "storage.cascade" in {f.rule for f in result(tree, kustomize).findings}
    claim = "storageSpec: {volumeClaimTemplate: {spec: {storageClassName: longhorn, resources: {requests: {storage: 9Gi}}}}}"
    stack.write_text(stack.read_text().replace("        retention: 2h\n", f"        retention: 2h\n        {claim}\n"))
    assert "storage.cascade" not in {f.rule for f in result(tree, kustomize).findings}


def test_requests_that_only_the_chart_knows_leave_doubt(kustomize, tmp_path):
    tree = shutil.copytree(pairs.valid("one-replica-of-a-volume"), tmp_path / "tree")
    nginx = tree / "core/nginx.yaml"
    nginx.write_text(nginx.read_text().replace("      resources:\n        requests:\n          cpu: 100m\n", ""))
    (tree / "apps").mkdir()
    (tree / "apps/web.yaml").write_text((pairs.valid("no-memory-limit") / "apps/web.yaml").read_text())
    layers = (tree / "cluster/app.yaml", pairs.valid("no-memory-limit") / "cluster/app.yaml")
    layers[0].write_text("---\n".join(p.read_text() for p in layers))
    (tree / ".holdfast.toml").write_text('[check]\nclaims = ["app-isolation"]\n')
    found = result(tree, kustomize)
    assert "apps.limits" not in {f.rule for f in found.findings}
    assert found.claims["app-isolation"].verdict == "unproven"
    assert "the chart's own aren't known" in found.claims["app-isolation"].reason
