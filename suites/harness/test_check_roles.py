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


WAITS = """---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: {name}
  namespace: flux-system
spec:
  interval: 1m
  path: ./{name}
  prune: true
  sourceRef: {{kind: GitRepository, name: flux-system}}
  dependsOn: [{{name: {needs}}}]{allowed}
"""
WEB = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {0}, namespace: default}}\nspec: {{selector: {{matchLabels: {{a: {0}}}}}, template: {{metadata: {{labels: {{a: {0}}}}}, spec: {{containers: [{{name: a, image: a.example/a:1}}]}}}}}}\n"


@pytest.mark.parametrize("allowed", [False, True])
def test_what_waits_for_storage_by_one_chain_is_one_finding_with_each_place(kustomize, tmp_path, allowed):
    tree = shutil.copytree(pairs.invalid("storage-freezes-monitoring"), tmp_path / "tree")
    layers = {"database": "storage", "shop": "database", "blog": "database", "wiki": "database"}
    said = "  # holdfast: allow storage.cascade because it may wait"
    for name, needs in layers.items():
        (tree / name).mkdir()
        (tree / name / "web.yaml").write_text(WEB.format(name))
        layer = WAITS.format(name=name, needs=needs, allowed=said if allowed and name == "wiki" else "")
        (tree / "cluster" / f"{name}.yaml").write_text(layer)
    # What has volumes may wait, so that the database itself isn't told: those behind it share the way from it on.
    claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, namespace: default}\nspec: {accessModes: [ReadWriteOnce], storageClassName: longhorn, resources: {requests: {storage: 1Gi}}}\n"
    text = WEB.format("database").replace(
        "spec: {containers", "spec: {volumes: [{name: d, persistentVolumeClaim: {claimName: data}}], containers"
    )
    (tree / "database" / "web.yaml").write_text(f"{text}---\n{claim}")
    found = result(tree, kustomize)
    [one] = [f for f in found.findings if f.rule == "storage.cascade" and "Kustomization/flux-system/blog" in f.hits]
    waiting = ["blog", "shop"] if allowed else ["blog", "shop", "wiki"]
    assert sorted(place.file for place, _ in one.each) == [f"cluster/{name}.yaml" for name in waiting]
    assert {f"Deployment/default/{name}" for name in waiting} <= set(one.hits)
    assert [why for f, why in found.allowed if f.rule == "storage.cascade"] == ["it may wait"] * allowed
