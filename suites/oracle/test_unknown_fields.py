"""What becomes of a field that a kind doesn't have: said by `holdfast check`, held against kustomize-controller and the API server.

The controller reads what is built in into its Go type first, and so loses what that doesn't have; what it doesn't read so is refused.
"""

import copy

import yaml

from holdfast.tree import check as checking
from holdfast.tree.findings import Severity
from suites.harness.test_check_properties import KUSTOMIZE, kustomization, written
from suites.oracle.test_rehearsal import NIGHTLY, rehearsed
from suites.oracle.test_validation import OBJECTS, SELECTOR, good

MORE = {
    "ServiceAccount": good("v1", "ServiceAccount", imagePullSecrets=[{"name": "a"}]),
    "ResourceQuota": good("v1", "ResourceQuota", spec={"hard": {"pods": "99"}}),
    "LimitRange": good("v1", "LimitRange", spec={"limits": [{"type": "Container", "max": {"cpu": "1"}}]}),
    "NetworkPolicy": good(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        spec={"podSelector": SELECTOR, "ingress": [{"from": [{"podSelector": SELECTOR}]}]},
    ),
    "ClusterStorage": good(
        "storage.k8s.io/v1",
        "StorageClass",
        provisioner="example.org/disks",
        allowedTopologies=[{"matchLabelExpressions": [{"key": "a", "values": ["b"]}]}],
    ),
    "ClusterPriority": good("scheduling.k8s.io/v1", "PriorityClass", value=5),
    "ClusterIngressClass": good("networking.k8s.io/v1", "IngressClass", spec={"controller": "example.org/x"}),
    "ClusterVolume": good(
        "v1",
        "PersistentVolume",
        spec={
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/data"},
            "claimRef": {"name": "a", "namespace": "default"},
        },
    ),
    "ClusterWebhook": good(
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
        webhooks=[
            {
                "name": "a.example.org",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Ignore",
                "clientConfig": {"service": {"name": "a", "namespace": "default", "path": "/a"}},
                "rules": [
                    {"apiGroups": ["example.org"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["a"]}
                ],
            }
        ],
    ),
    "ClusterRuntime": good("node.k8s.io/v1", "RuntimeClass", handler="x", scheduling={"nodeSelector": {"a": "b"}}),
    "Lease": good("coordination.k8s.io/v1", "Lease", spec={"leaseDurationSeconds": 5}),
    "EndpointSlice": good(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        addressType="IPv4",
        endpoints=[{"addresses": ["192.0.2.1"], "conditions": {"ready": True}}],
        ports=[{"port": 80}],
    ),
}
# What is free to have any key.
_FREE = {
    "labels",
    "annotations",
    "data",
    "stringData",
    "matchLabels",
    "requests",
    "limits",
    "hard",
    "max",
    "capacity",
    "nodeSelector",
    "emptyDir",
}
NONE = "holdfastNone"


def places(body, way=()):
    """The mappings of an object that have named fields, the outermost first: a way each."""
    if isinstance(body, dict):
        yield way
        for key, value in body.items():
            if key not in _FREE:
                yield from places(value, (*way, key))
    elif isinstance(body, list):
        for number, value in enumerate(body):
            yield from places(value, (*way, number))


def with_none(body, way):
    """An object with a field at a place that it doesn't have."""
    changed = copy.deepcopy(body)
    at = changed
    for step in way:
        at = at[step]
    at[NONE] = "x"
    return changed


def cases():
    """Each object with a field that is none: at its top, in its metadata, at the outermost of its own and at the innermost place."""
    for name, body in {**OBJECTS, **MORE}.items():
        ways = list(places(body))
        own = [w for w in ways if w and w[0] != "metadata"]
        for way in dict.fromkeys([(), ("metadata",), *own[:1], *sorted(own, key=len)[-1:]]):
            yield f"{name}-{'-'.join(map(str, way)) or 'top'}".lower(), with_none(body, way)


BY_DAY = {"role", "clusterrole", "configmap", "lease", "networkpolicy"}


def test_what_is_dropped_and_what_is_refused(tmp_path):
    """Each in a Kustomization of its own: refused is what the rule says breaks the apply, and nothing else."""
    chosen = [(name, body) for name, body in cases() if NIGHTLY or name.partition("-")[0] in BY_DAY]
    files = {"cluster/all.yaml": yaml.safe_dump_all(kustomization(f"k{n}") for n in range(len(chosen)))}
    for number, (_, body) in enumerate(chosen):
        body["metadata"]["name"] = f"o{number}"
        files[f"parts/k{number}/o.yaml"] = yaml.safe_dump(body)
    tree = written(tmp_path / "one", files)
    findings = checking.check(checking.load(tree, KUSTOMIZE), strict=True).findings
    assert {name for n, (name, _) in enumerate(chosen) if not _of(findings, n)} == set()
    said = {n for n in range(len(chosen)) if Severity.BREAKS_APPLY in _of(findings, n)}
    out = rehearsed(tree, tmp_path)
    refused = {n for n in range(len(chosen)) if _of([p.finding for p in out.proofs], n)}
    assert {chosen[n][0] for n in said} == {chosen[n][0] for n in refused}
    assert said


def _of(findings, number):
    """How bad what was found in one Kustomization is."""
    return [f.severity for f in findings if any(str(where).startswith(f"parts/k{number}/") for where in f.locations)]
