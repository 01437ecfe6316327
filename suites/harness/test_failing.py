"""Workloads that are told to fail: which pods kwok's stages take, and what is refused."""

import json
import re
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from holdfast.drivers.failing import Failing, How
from holdfast.errors import UsageError
from holdfast.rehearsal.sick import unhealthy

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,8}[a-z0-9])?", fullmatch=True)
HASH = st.text("bcdfghjklmnpqrstvwxz2456789", min_size=6, max_size=10)


def owners(stage):
    """The kind and the form of what must own a pod, and the form of its namespace."""
    keys = [e["key"] for e in stage["spec"]["selector"]["matchExpressions"] if e["operator"] == "Exists"]
    question = next(k for k in keys if "ownerReferences" in k)
    space, kind, name = re.fullmatch(
        r'.*\.namespace \| test\((".*?")\)\) and .*\.kind == "(\w+)" and \(\.name \| test\((".*")\)\)\)\) \| .*',
        question,
    ).groups()
    return kind, json.loads(name), json.loads(space)


@given(name=NAMES, other=NAMES, ending=HASH, namespace=NAMES)
def test_a_deployments_pods_are_those_of_its_own_replica_sets(name, other, ending, namespace):
    for stage in Failing.parse(f"Deployment/{namespace}/{name}").stages("told"):
        kind, form, space = owners(stage)
        assert kind == "ReplicaSet"
        assert re.search(form, f"{name}-{ending}")
        assert bool(re.search(form, f"{other}-{ending}")) is (name == other)
        assert not re.search(form, f"{name}-{other}-cache-{ending}")
        assert re.search(space, namespace)
        assert not re.search(space, f"{namespace}-x")


@pytest.mark.parametrize(
    ("told", "owner", "takes", "leaves"),
    [
        ("StatefulSet/web/db", "db", ("web", "db"), ("web", "db-0")),
        ("DaemonSet/*/agent-?", "agent-1", ("any", "agent-1"), ("any", "agent-12")),
        ("Job/web/once", "once", ("web", "once"), ("other", "once")),
        ("CronJob/web/nightly", "nightly-29114400", ("web", "nightly"), ("web", "nightly2")),
        ("Deployment/*/*", "a-b-7d9f8c6b5f", ("x", "y"), None),
        ("Deployment/a.b/c", "c-7d9f8c6b5f", ("a.b", "c"), ("axb", "c")),
    ],
)
def test_patterns_take_what_they_say(told, owner, takes, leaves):
    one = Failing.parse(told)
    _, form, _ = owners(one.stages("told")[0])
    assert re.search(form, owner)
    assert one.takes(*takes)
    assert leaves is None or not one.takes(*leaves)


@pytest.mark.parametrize("how", How)
@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_each_way_is_a_status_that_is_not_ready_and_stays(kind, how):
    fails, stays = Failing.parse(f"{kind}/web/shop={how}").stages("told")
    assert fails["spec"]["weight"] > 0, "kwok's own stages have none, and are passed over"
    assert stays["spec"]["weight"] > 0
    text = fails["spec"]["next"]["statusTemplate"]
    assert not re.search(r"\{\{[^{}]*\{", text), "no brace of ours is left beside kwok's"
    plain = re.sub(r"\{\{ *(range|end|\$now :=)[^}]*\}\}", "", text)
    status = yaml.safe_load(re.sub(r"\{\{[^}]*\}\}", "x", plain))
    assert {c["status"] for c in status["conditions"] if c["type"] != "Initialized"} == {"False"}
    assert status["containerStatuses"][0]["ready"] is False
    ended = kind == "Job" and how is How.CRASH
    assert status["phase"] == ("Failed" if ended else "Pending" if how is How.IMAGE else "Running")


@pytest.mark.parametrize(
    "told", ["", "shop", "web/shop", "Deployment/shop", "Pod/web/shop", "Deployment//shop", "Deployment/web/shop=slow"]
)
def test_what_names_no_workload_is_refused_with_the_form(told):
    with pytest.raises(UsageError) as caught:
        Failing.parse(told)
    assert "write " in caught.value.next_step


def test_what_a_container_says_is_said():
    pod = {
        "kind": "Pod",
        "metadata": {"name": "shop-1", "namespace": "web"},
        "status": {
            "conditions": [{"type": "Ready", "status": "False"}],
            "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}],
        },
    }
    shop = {
        "kind": "Deployment",
        "metadata": {"name": "shop", "namespace": "web", "uid": "1"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "shop"}}},
        "status": {},
    }
    client = SimpleNamespace(list=lambda *_, **__: [pod])
    assert unhealthy(shop, client) == "0 of 1 pods are ready: Pod/web/shop-1: ImagePullBackOff: no such image"
    pod["status"]["containerStatuses"] = [{"state": {"running": {}}}]
    assert unhealthy(shop, client) == "0 of 1 pods are ready: Pod/web/shop-1: it isn't ready"


def test_of_two_that_take_the_same_pod_the_last_one_counts():
    broad, narrow = Failing.parse("Deployment/web/*=image"), Failing.parse("Deployment/web/shop=unready")
    first, last = broad.stages("told-0", [narrow]), narrow.stages("told-1")
    for stage in first:
        left = [e["key"] for e in stage["spec"]["selector"]["matchExpressions"] if e["operator"] == "DoesNotExist"]
        assert owners(last[0])[1] in " ".join(left).replace("\\\\", "\\")
