"""Puts a GitOps tree onto a cluster as ``flux bootstrap`` leaves it, with the lane's adaptations around it, never in it."""

from __future__ import annotations

import base64
import datetime
import secrets as randomness
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ResourceNotFoundError

from holdfast.errors import UsageError
from holdfast.gitserver import GitServer
from holdfast.kube import KubeClient, Object
from holdfast.policies import (
    KINDS_STAY,
    admission_policy,
    chart_policies,
    elsewhere_policies,
    is_kind_of_flux,
    kinds_stay_policy,
    no_calls_policies,
    redirection_policy,
)
from holdfast.tree.assumed import own_sources, unread
from holdfast.tree.manifest import Manifest, mapping
from holdfast.tree.settings import Settings
from holdfast.tree.settings_file import Secret
from holdfast.tree.tree import Sync, Tree
from holdfast.waiting import CannotLook

SYSTEM = "holdfast-system"
_HELM_REPOSITORIES = "helmrepositories.source.toolkit.fluxcd.io"
KEY_SECRET = "holdfast-git"  # noqa: S105  the name of a Secret
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


def is_changed(repository: Object, done: Object) -> bool:
    """Whether a policy of the lane has changed a chart repository: what the API server fills in itself (its provider, say) is no change."""
    return done["spec"].get("suspend") is True or done["spec"]["url"] != repository["spec"]["url"]


class Bootstrap:
    """The steps from an empty cluster to one that Flux syncs.

    Args:
        objects: the cluster's API.
        tree: the tree, with the settings of what the lane changes.
        folder: where made-up certificates go.
        sync: what Flux syncs by, where the tree itself doesn't say it.
        tolerant: whether what the API server refuses is passed over.
    """

    def __init__(
        self, objects: KubeClient, tree: Tree, folder: Path, sync: Sync | None = None, *, tolerant: bool = False
    ) -> None:
        self.objects, self.tree, self.settings, self.folder = objects, tree, tree.settings, folder
        self.sync, self.tolerant = sync or tree.sync, tolerant
        self._assumes = False
        self._own_kinds = False

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
        rendered = [o for o in rendered if not (self._own_kinds and is_kind_of_flux(o))]
        early = [o for o in rendered if o["kind"] in ("Namespace", "CustomResourceDefinition")]
        late = [o for o in rendered if o["kind"] in _LATE_KINDS]
        for wish in early:
            self._by_hand(wish)
        definitions = [o for o in early if o["kind"] == "CustomResourceDefinition"]
        self._established(definitions)
        brought = any(o["metadata"]["name"] == _HELM_REPOSITORIES for o in definitions)
        if self._assumes and (brought or self.objects.serves([_HELM_REPOSITORIES])):
            self._until_assumed()
        for wish in (o for o in rendered if o not in early and o not in late):
            self._by_hand(wish)
        source = self.sync.source
        if git.address != self.sync.url:
            self.redirect(git)
        elif name := (source.spec.get("secretRef") or {}).get("name"):
            self.objects.apply(secret(source.namespace, name, _key_of(git)))
        else:
            raise UsageError(
                f"the tree's GitRepository has no secretRef ({self.tree.locate(source)}); SSH needs one",
                "add spec.secretRef, as flux bootstrap does",
            )
        own = [source.body, self.sync.root.body]
        for wish in [*(o for o in late if o not in own), *own]:
            self._by_hand(wish)

    def _by_hand(self, wish: Object) -> None:
        """What is applied before Flux runs. Where that is to be seen through, what is refused is passed over: Flux applies it again, and says why."""
        try:
            self.objects.apply(wish)
        except (ApiException, ResourceNotFoundError):
            if not self.tolerant:
                raise

    def redirect(self, git: GitServer) -> None:
        """Has every source of this repository look at the lane's Git server, where that isn't where the tree says."""
        if git.address != self.sync.url:
            self._redirect(git.address, _key_of(git))

    def _redirect(self, address: str, key: dict[str, str]) -> None:
        """The lane's Git server in the place of the tree's own URL, on the way into the cluster: the commit stays as it is."""
        for source in own_sources(self.tree, self.sync.source):
            if not self.objects.get("Namespace", source.namespace):
                self.objects.apply(namespace(source.namespace))
            name = self._key_secret(source)
            self.objects.apply(secret(source.namespace, name, key))
            for wish in redirection_policy(source.namespace, source.name, address, self.sync.branch, name):
                self.objects.apply(wish)
        self._until_changed(self.sync.source.body, lambda done: done["spec"]["url"] == address)

    def _key_secret(self, source: Manifest) -> str:
        """The Secret for the lane's key: the one that the source names, unless the tree makes that itself."""
        name = str(mapping(source.spec.get("secretRef")).get("name") or KEY_SECRET)
        return KEY_SECRET if ("Secret", source.namespace, name) in self.tree.by_key else name

    def assume_elsewhere(self, address: str, mark: str, lost: Iterable[str] = ()) -> None:
        """Takes for there what the lane can't fetch or read; *address*: of its own Git server, *mark*: what the lane's own annotations hold.

        *lost*: Kustomizations (``namespace/name``) whose source nothing makes: there is nothing to take for there.
        """
        sources = [f"{s.namespace}/{s.name}" for s in own_sources(self.tree, self.sync.source)]
        for wish in [
            *elsewhere_policies(sources, set(unread(self.tree)) - set(lost), address, mark, lost),
            *no_calls_policies(),
        ]:
            self.objects.apply(wish)
        self._assumes = self._own_kinds = True

    def keep_kinds(self, within_s: float = 5) -> bool:
        """Keeps Flux's kinds as the lane has them, whoever writes them; False where this API server can't: it is asked.

        From 1.37 on it has its own kinds as typed objects, which no expression can give back as a value.
        """
        for wish in kinds_stay_policy():
            self.objects.apply(wish)
        before = self.objects.get("CustomResourceDefinition", _HELM_REPOSITORIES)
        assert before, "the lane made Flux's kinds"
        other = {"spec": {"names": {"categories": ["holdfast-probe"]}}}
        limit = time.monotonic() + within_s
        while time.monotonic() < limit:
            try:
                after = self.objects.patch("CustomResourceDefinition", _HELM_REPOSITORIES, None, other, dry_run="All")
                if after["spec"] == before["spec"]:
                    return True
            except (ApiException, CannotLook):  # it is denied
                pass
            time.sleep(0.1)
        for kind in ("MutatingAdmissionPolicyBinding", "MutatingAdmissionPolicy"):
            self.objects.delete(kind, KINDS_STAY)
        return False

    def assume_charts(self, mark: str, address: str) -> None:
        """Has chart repositories be the lane's own at an *address*, and takes for there what can't be; *mark*: of the lane's own annotations."""
        built_from = {
            f"{ref.get('namespace') or k.manifest.namespace}/{ref.get('name')}"
            for k in self.tree.kustomizations.values()
            if (ref := mapping(k.spec.get("sourceRef"))).get("kind") == "OCIRepository"
        }
        for wish in chart_policies(mark, address, built_from):
            self.objects.apply(wish)
        self._assumes = True

    def _until_assumed(self) -> None:
        probe = {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "HelmRepository",
            "metadata": {"name": "holdfast-probe", "namespace": "default"},
            "spec": {"url": "https://charts.example.org", "interval": "1h"},
        }
        self._until_changed(probe, lambda done: is_changed(probe, done))

    def _until_changed(self, wish: Object, changed: Callable[[Object], bool], within_s: float = 30) -> None:
        """A policy counts some time after it was made: an object is tried, and not kept, until it does.

        A kind that was defined just now may be refused for a moment (503), though it is established.
        """
        limit, seen = time.monotonic() + within_s, ""
        while True:
            try:
                if changed(self.objects.dry_run(wish)):
                    return
            except (CannotLook, ResourceNotFoundError) as why:
                seen = f" ({why})"
            if time.monotonic() > limit:
                raise UsageError(f"an admission policy of the lane does nothing after {within_s:g}s{seen}", "run again")
            time.sleep(0.1)

    def _established(self, definitions: list[Object], within_s: float = 60) -> None:
        names, limit, seen = [wish["metadata"]["name"] for wish in definitions], time.monotonic() + within_s, ""
        while True:
            with suppress(CannotLook):
                missing = [name for name in names if not self.objects.serves([name])]
                if not missing:
                    return
                seen = f"not yet: {', '.join(missing)}"
            if time.monotonic() > limit:
                raise UsageError(
                    f"Flux's kinds aren't served after {within_s:g}s ({seen or 'the API server did not answer'})",
                    "run: holdfast down, then run again",
                )
            time.sleep(0.2)

    def request_reconciliation(self) -> None:
        """Asks the source for a look now, as ``flux reconcile`` does."""
        self.objects.request_reconciliation("GitRepository", self.sync.source.name, self.sync.source.namespace)


def _key_of(git: GitServer) -> dict[str, str]:
    """What Flux logs in to the lane's Git server by."""
    return {"identity": git.key.private, "identity.pub": git.key.public, "known_hosts": git.known_hosts}
