"""Puts a GitOps tree onto a cluster as ``flux bootstrap`` leaves it, with the lane's adaptations around it, never in it."""

from __future__ import annotations

import base64
import datetime
import json
import secrets as randomness
import time
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from holdfast.errors import UsageError
from holdfast.gitserver import GitServer
from holdfast.kube import KubeClient, Object, condition
from holdfast.tree.manifest import mapping
from holdfast.tree.settings import Adaptation, Secret, Settings
from holdfast.tree.tree import Tree
from holdfast.waiting import CannotLook

SYSTEM = "holdfast-system"
_LATE_KINDS = ("GitRepository", "Kustomization")


def certificate(hosts: tuple[str, ...]) -> tuple[str, str]:
    """A self-signed certificate for *hosts*, valid for 30 days: (certificate, key) in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hosts[0])])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(h) for h in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def secret(namespace: str, name: str, data: dict[str, str], kind: str = "Opaque") -> Object:
    """A Secret from plain texts."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": namespace, "name": name},
        "type": kind,
        "data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()},
    }


def namespace(name: str) -> Object:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def made_up(wanted: Secret, settings: Settings, tree: Path, folder: Path) -> Object:
    """The Secret that an adaptation asks for: random texts, a certificate, or a file of the user's (an age key for SOPS).

    Certificates also land in *folder*, so that probes can tell them from any other.
    """
    if wanted.tls:
        public, private = certificate(wanted.tls)
        (folder / f"{wanted.namespace}-{wanted.name}.crt").write_text(public)
        return secret(wanted.namespace, wanted.name, {"tls.crt": public, "tls.key": private}, "kubernetes.io/tls")
    if wanted.file:
        path = settings.file(tree, wanted.file, f"the file of the Secret {wanted.namespace}/{wanted.name}")
        return secret(wanted.namespace, wanted.name, {wanted.key or path.name: path.read_text()})
    return secret(wanted.namespace, wanted.name, {key: randomness.token_urlsafe(24) for key in wanted.keys})


def admission_policy(change: Adaptation, plural: str) -> list[Object]:
    """A policy that changes one object at every write, so that Flux sees no drift and the tree stays as it is."""
    name = f"holdfast-{change.kind.lower()}-{change.namespace}-{change.name}"
    patches = ", ".join(
        f'JSONPatch{{op: "add", path: {json.dumps(pointer)}, value: {json.dumps(value)}}}'
        for pointer, value in change.set.items()
    )
    policy = {
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": ["*"],
                    "apiVersions": ["*"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": [plural],
                    "resourceNames": [change.name],
                }
            ]
        },
        "matchConditions": [
            {"name": "the-one", "expression": f"object.metadata.namespace == {json.dumps(change.namespace)}"}
        ]
        if change.namespace
        else [],
        "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": f"[{patches}]"}}],
    }
    api = "admissionregistration.k8s.io/v1"
    return [
        {"apiVersion": api, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": policy},
        {
            "apiVersion": api,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name},
        },
    ]


class Bootstrap:
    """The steps from an empty cluster to one that Flux syncs.

    Args:
        objects: the cluster's API.
        tree: the tree, with the settings of what the lane changes.
        folder: where made-up certificates go.
    """

    def __init__(self, objects: KubeClient, tree: Tree, folder: Path) -> None:
        self.objects, self.tree, self.sync, self.settings, self.folder = objects, tree, tree.sync, tree.settings, folder

    def adapt(self, nonce: str) -> None:
        """Namespaces, Secrets and policies that the adaptations ask for, and the nonce that probed endpoints answer with."""
        self.objects.apply(namespace(SYSTEM))
        self.objects.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "nonce", "namespace": SYSTEM},
                "data": {"nonce": nonce},
            }
        )
        for wanted in self.settings.secrets:
            if not self.objects.get("Namespace", wanted.namespace):
                self.objects.apply(namespace(wanted.namespace))
            if not self.objects.get("Secret", wanted.name, wanted.namespace):
                self.objects.apply(made_up(wanted, self.settings, self.tree.repository.root, self.folder))
        for change in self.settings.adaptations:
            for wish in admission_policy(change, self._plural(change.kind)):
                self.objects.apply(wish)

    def _plural(self, kind: str) -> str:
        """The resource's name of a kind: as its CRD in the tree says, or as the API server says."""
        for manifest in [*self.tree.bootstrap, *self.tree.of("CustomResourceDefinition")]:
            names = mapping(manifest.spec.get("names"))
            if manifest.kind == "CustomResourceDefinition" and names.get("kind") == kind:
                return str(names["plural"])
        if plural := self.objects.plural(kind):
            return plural
        raise UsageError(
            f"{self.settings.path}: the kind {kind} is changed in the lane, and neither the cluster nor a CRD of the tree knows it",
            "correct the kind, or take the change out",
        )

    def install_flux(self, git: GitServer) -> None:
        """Applies the tree's own Flux components, the key, and the sync, as ``flux bootstrap`` does."""
        rendered = [m.body for m in self.tree.bootstrap]
        early = [o for o in rendered if o["kind"] in ("Namespace", "CustomResourceDefinition")]
        late = [o for o in rendered if o["kind"] in _LATE_KINDS]
        for wish in [*early, *(o for o in rendered if o not in early and o not in late)]:
            self.objects.apply(wish)
        source = self.sync.source
        key = {"identity": git.key.private, "identity.pub": git.key.public, "known_hosts": git.known_hosts}
        name = (source.spec.get("secretRef") or {}).get("name")
        if not name:
            raise UsageError(
                f"the tree's GitRepository has no secretRef ({self.tree.locate(source)}); SSH needs one",
                "add spec.secretRef, as flux bootstrap does",
            )
        self.objects.apply(secret(source.namespace, name, key))
        self._established([o for o in early if o["kind"] == "CustomResourceDefinition"])
        for wish in late or [self.sync.source.body, self.sync.root.body]:
            self.objects.apply(wish)

    def _established(self, definitions: list[Object], within_s: float = 60) -> None:
        limit = time.monotonic() + within_s
        for wish in definitions:
            while True:
                try:
                    found = self.objects.get("CustomResourceDefinition", wish["metadata"]["name"])
                    if found and condition(found, "Established").get("status") == "True":
                        break
                except CannotLook:
                    pass
                if time.monotonic() > limit:
                    raise UsageError(
                        f"the kind {wish['metadata']['name']} isn't served after {within_s:g}s",
                        "run: holdfast down, then run again",
                    )
                time.sleep(0.2)

    def request_reconciliation(self) -> None:
        """Asks the source for a look now, as ``flux reconcile`` does."""
        now = datetime.datetime.now(datetime.UTC).isoformat()
        annotation: dict[str, Any] = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": now}}}
        self.objects.patch("GitRepository", self.sync.source.name, self.sync.source.namespace, annotation)
