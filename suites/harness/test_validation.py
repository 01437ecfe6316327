"""What the API server's validation refuses, of what it once taught us by disagreeing (suites/oracle/test_validation.py asks it about all of it)."""

import pytest

from holdfast.tree.manifest import Manifest
from holdfast.tree.validation import refusals


def said(kind, api="v1", name="one", meta=None, **body):
    return [
        words
        for _, words in refusals(
            Manifest({"apiVersion": api, "kind": kind, "metadata": {"name": name, **(meta or {})}, **body})
        )
    ]


def of_a_container(**fields):
    return said("Pod", spec={"containers": [{"name": "web", "image": "web:1", **fields}]})


def of_a_path(path, sort="Prefix"):
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rules = [{"host": "a.example.org", "http": {"paths": [{"path": path, "pathType": sort, "backend": backend}]}}]
    return said("Ingress", "networking.k8s.io/v1", spec={"rules": rules})


def of_a_schedule(schedule):
    pod = {"containers": [{"name": "a", "image": "b"}], "restartPolicy": "Never"}
    return said(
        "CronJob", "batch/v1", spec={"schedule": schedule, "jobTemplate": {"spec": {"template": {"spec": pod}}}}
    )


def of_subjects(kind):
    return said(kind, "rbac.authorization.k8s.io/v1", subjects=[{"kind": "ServiceAccount", "name": "a"}])


SAME_PORT = [{"name": "a", "containerPort": 1}, {"name": "b", "containerPort": 1}]
OTHER_PORT = [{"name": "a", "containerPort": 1}, {"name": "b", "containerPort": 1, "protocol": "UDP"}]
TWICE = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
UNKNOWN_NAMES = [{"name": "${A}", "value": "1"}, {"name": "${A}", "value": "2"}]


@pytest.mark.parametrize(
    ("refused", "taken"),
    [
        (of_subjects("ClusterRoleBinding"), of_subjects("RoleBinding")),
        (said("ConfigMap", meta={"labels": {"A.b/c": "d"}}), said("ConfigMap", meta={"annotations": {"A.b/c": "d"}})),
        (said("Service", name="one.two", spec={"ports": [{"port": 1}]}), said("ConfigMap", name="one.two")),
        (of_a_container(ports=SAME_PORT), of_a_container(ports=OTHER_PORT)),
        (of_a_container(env=TWICE), of_a_container(env=UNKNOWN_NAMES)),
        (of_a_path("/a//b"), of_a_path("/a//b", "ImplementationSpecific")),
        (of_a_path("/a/../b"), of_a_path("/a/..b")),
        (of_a_path("/a/."), of_a_path("/a/.well-known")),
        (of_a_schedule("60 * * * *"), of_a_schedule("*/90 * * * *")),
        (of_a_schedule("* * * * 7"), of_a_schedule("* * * JAN SUN")),
        (of_a_schedule("0-60 * * * *"), of_a_schedule("59 23 31 12 6")),
    ],
)  # fmt: skip
def test_the_one_is_refused_and_the_other_is_taken(refused, taken):
    assert len(refused) == 1, refused
    assert taken == []
