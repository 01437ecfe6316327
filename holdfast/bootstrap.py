"""Puts a GitOps tree onto a cluster as ``flux bootstrap`` leaves it, with the lane's adaptations around it, never in it."""

from __future__ import annotations

import base64
import datetime
import json
import secrets as randomness
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ResourceNotFoundError

from holdfast.errors import UsageError
from holdfast.gitserver import GitServer
from holdfast.kube import KubeClient, Object
from holdfast.tree.assumed import ASSUMED, own_sources, unread
from holdfast.tree.manifest import Manifest, mapping
from holdfast.tree.settings import Settings
from holdfast.tree.settings_file import Adaptation, Secret
from holdfast.tree.tree import Sync, Tree
from holdfast.waiting import CannotLook

SYSTEM = "holdfast-system"
_HELM_REPOSITORIES = "helmrepositories.source.toolkit.fluxcd.io"
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
    return policy(name, ["*"], [plural], in_namespace(change.namespace), f"[{patches}]", resourceNames=[change.name])


def in_namespace(name: str) -> list[dict[str, str]]:
    """The condition that an object lies in a namespace; none where it lies in none."""
    return [{"name": "the-one", "expression": f"object.metadata.namespace == {json.dumps(name)}"}] if name else []


def suspension(mark: str) -> str:
    """The steps of a JSON patch that suspend one of Flux's objects and mark it as assumed, as an expression that gives a list of them."""
    key = ASSUMED.replace("/", "~1")
    return (
        '[JSONPatch{op: "add", path: "/spec/suspend", value: true}] + (has(object.metadata.annotations) '
        f'? [JSONPatch{{op: "add", path: "/metadata/annotations/{key}", value: "{mark}"}}] '
        f': [JSONPatch{{op: "add", path: "/metadata/annotations", value: {{"{ASSUMED}": "{mark}"}}}}])'
    )


SERVED = "holdfast.dev/served"  # the versions that a lane added to a kind of Flux's
_SOURCES = ("gitrepositories", "helmrepositories", "ocirepositories", "buckets", "helmcharts", "externalartifacts")


def _strings(values: Iterable[str]) -> str:
    return f"[{', '.join(json.dumps(v) for v in values)}]"


def elsewhere_policies(
    sources: Iterable[str], unread: Iterable[str], address: str, mark: str, lost: Iterable[str] = ()
) -> list[Object]:
    """Policies that suspend what a lane can't fetch or read, and mark it as assumed: every source but *sources* and what pulls from the lane's
    own *address*, the Kustomizations that build from another one but those that are *lost*, and those that are *unread*. Objects by
    ``namespace/name``. What the tree itself suspends stays as it is.
    """
    own, there = _strings(sources), json.dumps(address)
    ref = "object.spec.sourceRef"
    space = f"(has({ref}.namespace) ? {ref}.namespace : object.metadata.namespace)"
    named = 'object.metadata.namespace + "/" + object.metadata.name'
    of_ours = f'{ref}.kind == "GitRepository" && ({space} + "/" + {ref}.name) in {own}'
    kinds = {
        "sources": (
            "source.toolkit.fluxcd.io",
            _SOURCES,
            f'object.kind != "GitRepository" || !(({named}) in {own} || object.spec.url == {there})',
        ),
        "kustomizations": (
            "kustomize.toolkit.fluxcd.io",
            ("kustomizations",),
            f"!({of_ours} || ({named}) in {_strings(lost)}) || ({named}) in {_strings(unread)} || has(object.spec.kubeConfig)",
        ),
    }
    return [
        wish
        for name, (group, resources, which) in kinds.items()
        for wish in _suspending(name, group, resources, mark, [{"name": "elsewhere", "expression": which}])
    ]


def chart_policies(mark: str, address: str, manifests: Iterable[str] = ()) -> list[Object]:
    """Policies for a lane that the charts come with: chart repositories are the lane's own, at an *address*; what can't be is suspended and marked.

    A suspended repository would be one that the tree's own alerts tell of. *manifests*: OCIRepositories (``namespace/name``) that Kustomizations
    build from: they hold no charts.
    """
    static = {
        "name": "fetched",
        "expression": 'object.kind == "HelmRepository" && (!has(object.spec.type) || object.spec.type != "oci")',
    }
    dropped = ("secretRef", "certSecretRef", "passCredentials", "provider", "insecure")  # another server's
    gone = " + ".join(
        f'(has(object.spec.{field}) ? [JSONPatch{{op: "remove", path: "/spec/{field}"}}] : [])' for field in dropped
    )
    there = f'[JSONPatch{{op: "add", path: "/spec/url", value: {json.dumps(address)}}}]'
    named = 'object.metadata.namespace + "/" + object.metadata.name'
    others = {
        "name": "of-charts",
        "expression": f'object.kind != "OCIRepository" || !(({named}) in {_strings(sorted(manifests))})',
    }
    group = "source.toolkit.fluxcd.io"
    return [
        *policy("holdfast-chart-repositories", [group], ["helmrepositories"], [static], f"{there} + {gone}"),
        *_suspending("charts", group, ("ocirepositories", "helmcharts"), mark, [others]),
    ]


def _suspending(
    name: str, group: str, resources: Iterable[str], mark: str, conditions: list[dict[str, str]]
) -> list[Object]:
    """A policy that suspends and marks what meets some conditions, but what the tree itself suspends."""
    # An object that is marked already is suspended by the lane: the mark must come back with each write.
    by_the_tree = {
        "name": "not-by-the-tree",
        "expression": "!has(object.spec.suspend) || !object.spec.suspend || (has(object.metadata.annotations) "
        f'&& "{ASSUMED}" in object.metadata.annotations && object.metadata.annotations["{ASSUMED}"] == "{mark}")',
    }
    return policy(f"holdfast-elsewhere-{name}", [group], list(resources), [*conditions, by_the_tree], suspension(mark))


KEY_SECRET = "holdfast-git"  # noqa: S105  the name of a Secret


def redirection_policy(space: str, name: str, address: str, branch: str, key: str) -> list[Object]:
    """A policy that has a GitRepository pull from the lane's own server with the Secret *key*, and its binding."""
    there = {"/spec/url": address, "/spec/secretRef": {"name": key}, "/spec/ref": {"branch": branch}}
    steps = ", ".join(f'JSONPatch{{op: "add", path: "{at}", value: {json.dumps(v)}}}' for at, v in there.items())
    dropped = ("proxySecretRef", "verify", "provider", "recurseSubmodules")  # another server's, or it would fetch
    gone = " + ".join(
        f'(has(object.spec.{field}) ? [JSONPatch{{op: "remove", path: "/spec/{field}"}}] : [])' for field in dropped
    )
    return policy(
        f"holdfast-git-{space}-{name}",
        ["*"],
        ["gitrepositories"],
        in_namespace(space),
        f"[{steps}] + {gone}",
        resourceNames=[name],
    )


_KINDS_STAY = "holdfast-flux-kinds"
_FLUX_GROUP = ".toolkit.fluxcd.io"


def is_kind_of_flux(wish: Object) -> bool:
    """Whether an object defines one of Flux's own kinds."""
    group = str(mapping(wish.get("spec")).get("group") or "")
    return wish.get("kind") == "CustomResourceDefinition" and group.endswith(_FLUX_GROUP)


def kinds_stay_policy() -> list[Object]:
    """A policy that keeps Flux's kinds as they are, whatever a tree brings: the controllers of the lane are of its own version."""

    def mark(item: str) -> str:
        notes = f"{item}.metadata.annotations"
        return f'(has({notes}) && "{SERVED}" in {notes} ? {notes}["{SERVED}"] : "")'

    conditions = [
        {"name": "of-flux", "expression": 'object.spec.group.endsWith(".toolkit.fluxcd.io")'},
        # The lane itself may add a version: it says so by changing the mark.
        {"name": "not-by-the-lane", "expression": f"{mark('object')} == {mark('oldObject')}"},
    ]
    return policy(
        _KINDS_STAY,
        ["apiextensions.k8s.io"],
        ["customresourcedefinitions"],
        conditions,
        '[JSONPatch{op: "add", path: "/spec", value: oldObject.spec}]',
        operations=["UPDATE"],
    )


def no_calls_policies() -> list[Object]:
    """Policies that keep the API server from calling what a tree names: conversions of a kind by a webhook, and API services."""
    none = '[JSONPatch{op: "add", path: "/spec/conversion", value: {"strategy": "None"}}]'
    gone = " + ".join(
        f'(has(object.spec.{field}) ? [JSONPatch{{op: "remove", path: "/spec/{field}"}}] : [])'
        for field in ("service", "caBundle", "insecureSkipTLSVerify")
    )
    asks = {
        "name": "calls",
        "expression": 'has(object.spec.conversion) && object.spec.conversion.strategy == "Webhook"',
    }
    serves = {"name": "calls", "expression": "has(object.spec.service)"}
    return [
        *policy("holdfast-no-conversion", ["apiextensions.k8s.io"], ["customresourcedefinitions"], [asks], none),
        *policy("holdfast-no-api-service", ["apiregistration.k8s.io"], ["apiservices"], [serves], gone),
    ]


def policy(
    name: str, groups: list[str], resources: list[str], conditions: list[dict[str, str]], expression: str, **more: Any
) -> list[Object]:
    """A MutatingAdmissionPolicy that applies a JSON patch at every write, and its binding."""
    rule = {"apiGroups": groups, "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": resources}
    policy = {
        "matchConstraints": {"resourceRules": [{**rule, **more}]},
        "matchConditions": conditions,
        "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
    }
    api = "admissionregistration.k8s.io/v1"
    binding = {"kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name}, "spec": {"policyName": name}}
    return [
        {"apiVersion": api, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": policy},
        {"apiVersion": api, **binding},
    ]


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
            self.objects.delete(kind, _KINDS_STAY)
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
