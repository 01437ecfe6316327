"""What Flux applied, and nothing else, is compared between two clusters."""

from types import SimpleNamespace

from holdfast.probes.contents import applied, contents, contents_are, not_in_git
from holdfast.waiting import HOLDS

FIELDS = {
    "f:metadata": {"f:labels": {"f:app": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:name": {}}},
        "f:finalizers": {'v:"a"': {}},
    },
}


def service(**more):
    fields = [
        {"manager": "kustomize-controller", "operation": "Apply", "fieldsV1": FIELDS},
        {"manager": "kube-controller-manager", "subresource": "status", "fieldsV1": {"f:status": {}}},
    ]
    spec = {
        "replicas": 2,
        "clusterIP": "10.0.0.1",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 31000}, {"port": 81, "protocol": "TCP"}],
        "finalizers": ["a", "b"],
    }
    meta = {"name": "web", "namespace": "apps", "labels": {"app": "web", "other": "x"}, "managedFields": fields}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec | more}


def test_only_what_was_applied_counts():
    assert applied(service()) == {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"finalizers": ["a"], "ports": [{"name": "http", "port": 80}], "replicas": 2},
    }
    assert applied(service(clusterIP="10.0.0.9")) == applied(service())
    assert applied(service(replicas=3)) != applied(service())


def cluster(*objects, entries=("apps_web__Service",)):
    listed = [{"id": one, "v": "v1"} for one in entries]
    flux = {"kind": "Kustomization", "metadata": {"name": "a"}, "status": {"inventory": {"entries": listed}}}
    everything = [flux, *objects]
    reader = SimpleNamespace(list=lambda kind, version="": [o for o in everything if o["kind"] == kind])
    source = SimpleNamespace(kind="GitRepository", namespace="flux-system", name="flux-system")
    return SimpleNamespace(objects=reader, sync=SimpleNamespace(source=source))


def test_the_same_is_the_same_and_each_difference_is_named():
    old = contents(cluster(service()))
    assert set(old) == {"Service/apps/web"}
    assert contents_are(old)(cluster(service(clusterIP="10.0.0.9"))) is HOLDS
    assert "Service/apps/web has other fields" in contents_are(old)(cluster(service(replicas=3)))
    assert "Service/apps/web isn't there" in contents_are(old)(cluster())
    more = cluster(service(), entries=("apps_web__Service", "apps_more__ConfigMap"))
    assert "ConfigMap/apps/more" in contents_are(old)(more)


def test_what_git_does_not_hold_is_listed():
    key = {"kind": "Secret", "metadata": {"name": "key", "namespace": "flux-system"}, "type": "Opaque"}
    release = {"kind": "Secret", "metadata": {"name": "r", "namespace": "a"}, "type": "helm.sh/release.v1"}
    made = {"kind": "Secret", "metadata": {"name": "m", "namespace": "a", "ownerReferences": [{}]}, "type": "Opaque"}
    claim = {"kind": "PersistentVolumeClaim", "metadata": {"name": "d", "namespace": "a"}, "status": {"phase": "Bound"}}
    found = not_in_git(cluster(service(), key, release, made, claim))
    assert found == ["Secret/flux-system/key", "the data of PersistentVolumeClaim/a/d"]
