"""What a change has replaced, and who is away meanwhile. Which workloads it is is held against the real controllers in suites/oracle/test_change.py."""

import copy

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from holdfast.tree import check as checking
from holdfast.tree.changes import Change
from holdfast.tree.restarts import _share, restarts
from suites.harness.immutables import DAEMON_SET, DEPLOYMENT, SERVICE, SPACE, STATEFUL_SET, with_value
from suites.harness.test_check_properties import KUSTOMIZE, kustomization, written

IMAGE = "spec.template.spec.containers.0.image"
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}}
LOCAL = with_value(with_value(SERVICE, "spec.type", "NodePort"), "spec.externalTrafficPolicy", "Local")
SURGE = with_value(DAEMON_SET, "spec.updateStrategy", {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})


def tree(folder, *objects, layers=("apps",)):
    files = {"cluster/all.yaml": yaml.safe_dump_all([kustomization(n, layers[:i][-1:]) for i, n in enumerate(layers)])}
    for number, name in enumerate(layers):
        files[f"parts/{name}/o.yaml"] = yaml.safe_dump_all(
            [NAMESPACE, *objects] if number == 0 else [copy.deepcopy(objects[0])]
        )
    return checking.load(written(folder, files), KUSTOMIZE)


def outages(tmp_path, before, service=SERVICE):
    after = with_value(before, IMAGE, "j")
    change = Change(tree(tmp_path / "a", before, service), tree(tmp_path / "b", after, service))
    return [f for f in change.findings() if f.rule == "change.outage"]


@pytest.mark.parametrize(
    ("workload", "service", "why"),
    [
        (DEPLOYMENT, SERVICE, ""),
        (with_value(DEPLOYMENT, "spec.strategy", {"type": "Recreate"}), SERVICE, "Recreate"),
        (with_value(DEPLOYMENT, "spec.strategy", {"rollingUpdate": {"maxUnavailable": 1}}), SERVICE, "all of its 1 pods"),
        (with_value(DEPLOYMENT, "spec.strategy", {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}), SERVICE, "all of its 1 pods"),
        (with_value(with_value(DEPLOYMENT, "spec.replicas", 3), "spec.strategy", {"rollingUpdate": {"maxUnavailable": 1}}), SERVICE, ""),
        (with_value(with_value(DEPLOYMENT, "spec.replicas", 2), "spec.strategy", {"rollingUpdate": {"maxUnavailable": "100%"}}), SERVICE, "all of its 2 pods"),
        (STATEFUL_SET, SERVICE, "one pod"),
        (with_value(STATEFUL_SET, "spec.replicas", None), SERVICE, "one pod"),
        (with_value(with_value(DEPLOYMENT, "spec.strategy", {"type": "Recreate"}), "metadata.annotations", {"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}), SERVICE, ""),
        (with_value(STATEFUL_SET, "spec.replicas", 2), SERVICE, ""),
        (with_value(STATEFUL_SET, "spec.updateStrategy", {"type": "OnDelete"}), SERVICE, ""),
        (DAEMON_SET, SERVICE, ""),
        (DAEMON_SET, LOCAL, "each node's own pod"),
        (SURGE, LOCAL, ""),
        (with_value(DAEMON_SET, "spec.template.spec.hostNetwork", True), SERVICE, "own ports"),
        (with_value(DAEMON_SET, "spec.template.spec.containers.0.ports", [{"containerPort": 80, "hostPort": 80}]), SERVICE, "own ports"),
    ],
)  # fmt: skip
def test_who_is_away_while_it_is_replaced(tmp_path, workload, service, why):
    found = outages(tmp_path, workload, service)
    assert bool(found) is bool(why)
    if why:
        assert why in found[0].what
        assert found[0].locations[0].file == "parts/apps/o.yaml"


def test_what_no_service_leads_to_is_missed_by_nobody(tmp_path):
    other = with_value(SERVICE, "spec.selector", {"app": "other"})
    assert outages(tmp_path, STATEFUL_SET, other) == []


def test_only_what_pods_are_made_of_has_them_made_anew(tmp_path):
    before = tree(tmp_path / "a", DEPLOYMENT)
    more = tree(tmp_path / "b", with_value(DEPLOYMENT, "spec.replicas", 3))
    empty = tree(tmp_path / "c", with_value(DEPLOYMENT, "spec.template.spec.volumes", []))
    image = tree(tmp_path / "d", with_value(DEPLOYMENT, IMAGE, "j"))
    assert restarts(before, more) == restarts(before, empty) == restarts(before, before) == []
    assert [r.manifest.id for r in restarts(before, image)] == [f"Deployment/{SPACE}/it"]


def test_the_order_is_that_of_a_start(tmp_path):
    def two(folder, image):
        files = {
            "cluster/all.yaml": yaml.safe_dump_all([kustomization("a-last", ["z-first"]), kustomization("z-first")])
        }
        for layer in ("a-last", "z-first"):
            one = with_value(with_value(DEPLOYMENT, IMAGE, image), "metadata.name", layer)
            files[f"parts/{layer}/o.yaml"] = yaml.safe_dump_all([one])
        files["cluster/space.yaml"] = yaml.safe_dump(NAMESPACE)
        return checking.load(written(folder, files), KUSTOMIZE)

    found = restarts(two(tmp_path / "a", "i"), two(tmp_path / "b", "j"))
    assert [r.manifest.name for r in found] == ["z-first", "a-last"]


@given(st.integers(0, 100), st.integers(0, 50))
def test_shares_are_rounded_as_kubernetes_does(share, of):
    down, up = _share(f"{share}%", of, up=False), _share(f"{share}%", of, up=True)
    assert down <= share * of / 100 <= up
    assert up - down <= 1
    assert _share(of, 7, up=True) == of
    assert _share("${unknown}", of, up=True) is None
