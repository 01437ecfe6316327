"""What is known of removed versions agrees with the schemas of every Kubernetes that there are schemas for."""

import pytest

from holdfast.tree import lifecycle, schema
from holdfast.tree.manifest import Manifest


def of(name):
    group, number, kind = name.split("/")
    return Manifest({"apiVersion": f"{group}/{number}".lstrip("/"), "kind": kind}, "a.yaml")


@pytest.mark.parametrize("version", schema.versions())
def test_no_version_serves_what_is_removed_before_it(version):
    served = schema.load(version).kinds
    removed = {name: lifecycle.removed_in(of(name)) for name in served}
    assert {n: m for n, m in removed.items() if m and m <= int(version.split(".")[1])} == {}


def test_what_one_version_served_and_the_next_does_not_is_known_where_it_was_announced():
    older, newer = (schema.load(v).kinds for v in schema.versions()[-2:])
    gone = {n for n in older if n not in newer and "alpha" not in n and not n.endswith("List")}
    minor = int(schema.versions()[-1].split(".")[1])
    assert {n: lifecycle.removed_in(of(n)) for n in gone} == dict.fromkeys(gone, minor)


@pytest.mark.parametrize(
    ("name", "minor"),
    [
        ("extensions/v1beta1/Ingress", 22),
        ("extensions/v1beta1/Deployment", 16),
        ("batch/v1beta1/CronJob", 25),
        ("apiextensions.k8s.io/v1beta1/CustomResourceDefinition", 22),
        ("apps/v1/Deployment", None),
        ("example.org/v1beta1/Ingress", None),
    ],
)
def test_what_is_known(name, minor):
    assert lifecycle.removed_in(of(name)) == minor
