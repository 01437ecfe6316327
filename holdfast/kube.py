"""The Kubernetes API as a test sees it: objects as plain dicts, by the official dynamic client."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kubernetes
import urllib3
import yaml
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import NotFoundError, ResourceNotFoundError

from holdfast.errors import NotExercised, UsageError
from holdfast.waiting import CannotLook

Object = dict[str, Any]
MANAGER = "holdfast"
REQUESTED_AT = "reconcile.fluxcd.io/requestedAt"  # Flux looks at once at what has a new value there
_NO_OBJECT = "failed to create typed patch object"
# The kinds that suites name, where a name alone is ambiguous or a version matters.
VERSIONS = {
    "Kustomization": "kustomize.toolkit.fluxcd.io/v1",
    "GitRepository": "source.toolkit.fluxcd.io/v1",
    **dict.fromkeys(("HelmRepository", "OCIRepository", "Bucket", "HelmChart"), "source.toolkit.fluxcd.io/v1"),
    "HelmRelease": "helm.toolkit.fluxcd.io/v2",
    "Provider": "notification.toolkit.fluxcd.io/v1beta3",
    "Alert": "notification.toolkit.fluxcd.io/v1beta3",
    "Deployment": "apps/v1",
    "DaemonSet": "apps/v1",
    "StatefulSet": "apps/v1",
    "ReplicaSet": "apps/v1",
    "Ingress": "networking.k8s.io/v1",
    "EndpointSlice": "discovery.k8s.io/v1",
    "Lease": "coordination.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "ClusterRole": "rbac.authorization.k8s.io/v1",
    "Role": "rbac.authorization.k8s.io/v1",
    "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "CustomResourceDefinition": "apiextensions.k8s.io/v1",
    "StorageClass": "storage.k8s.io/v1",
    "MutatingAdmissionPolicy": "admissionregistration.k8s.io/v1",
    "MutatingAdmissionPolicyBinding": "admissionregistration.k8s.io/v1",
    "VolumeAttachment": "storage.k8s.io/v1",
    "Volume": "longhorn.io/v1beta2",
    "Setting": "longhorn.io/v1beta2",
    **dict.fromkeys(("Job", "CronJob"), "batch/v1"),
    **dict.fromkeys(("Prometheus", "Alertmanager"), "monitoring.coreos.com/v1"),
    "SubjectAccessReview": "authorization.k8s.io/v1",
    "SelfSubjectRulesReview": "authorization.k8s.io/v1",
}


# Kinds of the lane's own making that an older API server serves as beta only.
_BETA = dict.fromkeys(
    ("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"), "admissionregistration.k8s.io/v1beta1"
)


class KubeReader:
    """Reads objects, and changes nothing. Where the API server doesn't answer, every call raises `CannotLook` within *timeout_s*.

    Args:
        kubeconfig: the cluster's own; no other one is ever read.
        timeout_s: for each call.
    """

    def __init__(self, kubeconfig: Path, timeout_s: float = 5) -> None:
        self._kubeconfig, self._timeout_s = kubeconfig, timeout_s
        self._client: DynamicClient | None = None

    def _dynamic(self) -> DynamicClient:
        if self._client is None:
            settings = self._settings()
            settings.retries = False  # a wait of ours tries again itself, and says what it saw
            self._client = DynamicClient(
                self._api_client(settings), cache_file=str(self._kubeconfig.with_suffix(".discovery"))
            )
        return self._client

    def _api_client(self, settings: Any) -> Any:
        return kubernetes.client.ApiClient(settings)

    @property
    def server(self) -> str:
        """The API server's URL."""
        return str(self._settings().host)

    def _settings(self) -> Any:
        """The client's settings. Raises UsageError where the kubeconfig is gone, or isn't one any more."""
        settings = kubernetes.client.Configuration()
        try:
            kubernetes.config.load_kube_config(config_file=str(self._kubeconfig), client_configuration=settings)
        except (ConfigException, OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
            words = str(error).partition("\n")[0][:160]
            raise UsageError(
                f"the lane's kubeconfig {self._kubeconfig} can't be used: {words}",
                "run: holdfast down, then bring the lane up again",
            ) from None
        return settings

    @contextmanager
    def _looking(self) -> Iterator[None]:
        try:
            yield
        except ApiException as error:
            # 0: the connection broke (the client's own way to say it). 401, 403: an API server that has just started doesn't know
            # its own roles yet; one that says so for good makes a wait fail with these words.
            if error.status == 500 and _NO_OBJECT in message_of(error):
                raise  # the server calls its own what is the object's fault
            if error.status in (None, 0, 401, 403, 429, 500, 502, 503, 504):
                said = f"answered {error.status}" if error.status else "broke the connection"
                words = message_of(error) if error.status == 500 else ""  # all that there is to go by
                raise CannotLook(f"the API server {said}{words and f': {words}'}") from None
            raise
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise CannotLook(f"the API server doesn't answer ({type(error).__name__})") from None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """As `_looking`; and an answer that isn't of Kubernetes - a page to log in to a network, half a document - is none."""
        try:
            with self._looking():
                yield
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise CannotLook(f"what the API server answered isn't of Kubernetes ({type(error).__name__})") from None

    def _api(self, kind: str, version: str = "") -> Any:
        resources = self._dynamic().resources
        try:
            return resources.get(api_version=version or VERSIONS.get(kind, "v1"), kind=kind)
        except ResourceNotFoundError:
            if kind not in _BETA:
                raise
        return resources.get(api_version=_BETA[kind], kind=kind)

    def plural(self, kind: str) -> str:
        """The resource's name of a kind, as the API server says it; empty where it serves none."""
        with self._reading():
            found = self._dynamic().resources.search(kind=kind)
        return next((str(r.name) for r in found if "/" not in r.name and not r.kind.endswith("List")), "")

    def path(self, kind: str, name: str | None, namespace: str | None = None, version: str = "") -> str:
        """The path of an object, or of the collection that one of its kind is made in, below the server's URL. Raises CannotLook."""
        with self._reading():
            return str(self._api(kind, version).path(name=name, namespace=namespace))

    def get(self, kind: str, name: str, namespace: str | None = None, *, version: str = "") -> Object | None:
        """One object, or None where there is none (or its kind isn't known to the cluster)."""
        with self._reading():
            try:
                api = self._api(kind, version)
                found = _plain(
                    api.get(name=name, namespace=namespace, serialize=False, _request_timeout=self._timeout_s)
                )
            except (NotFoundError, ResourceNotFoundError):
                return None
            return _of_kind(found, kind)

    def list(self, kind: str, namespace: str | None = None, *, labels: str = "", version: str = "") -> list[Object]:
        """The objects of a kind, in one namespace or in all, by label selector."""
        with self._reading():
            try:
                api = self._api(kind, version)
                found = _plain(
                    api.get(
                        namespace=namespace,
                        label_selector=labels or None,
                        serialize=False,
                        _request_timeout=self._timeout_s,
                    )
                )
            except (NotFoundError, ResourceNotFoundError):
                return []
            _of_kind(found, "")
            # The items of a list don't say what they are: the list does.
            said = {"apiVersion": found["apiVersion"], "kind": found["kind"].removesuffix("List")}
            return [{**said, **item, "metadata": dict(item["metadata"])} for item in found["items"] or []]

    def serves(self, definitions: Iterable[str]) -> bool:
        """Whether the kinds of some CustomResourceDefinitions, by name, are all served."""
        found = self.list("CustomResourceDefinition")
        there = {d["metadata"]["name"] for d in found if condition(d, "Established").get("status") == "True"}
        return there.issuperset(definitions)

    def is_ready(self) -> bool:
        """Whether the API server says that it is ready: its own roles are there, too. Raises CannotLook."""
        with self._reading():
            client = self._dynamic().client
            answer = client.call_api(*client.param_serialize("GET", "/readyz"), _request_timeout=self._timeout_s)
            answer.read()
        return bool(answer.status == 200)

    def review(self, wanted: Object) -> Object:
        """What the API server answers to a review (may this account do that?): it is a question, and nothing is kept of it."""
        assert wanted["kind"].endswith("Review")
        with self._looking():
            api = self._api(wanted["kind"], wanted["apiVersion"])
            return _plain(api.create(body=wanted, namespace=None, serialize=False, _request_timeout=self._timeout_s))

    def proxy_get(self, service: str, namespace: str, port: str | int, path: str, **query: str) -> tuple[int, bytes]:
        """(status, body) of a GET of a Service, through the API server's own proxy: a way in from outside that needs no port of a node."""
        with self._reading():
            client = self._dynamic().client
            path = f"/api/v1/namespaces/{namespace}/services/{service}:{port}/proxy/{path.lstrip('/')}"
            asked = client.param_serialize(
                "GET",
                path,
                query_params=list(query.items()),
                auth_settings=["BearerToken"],
                header_params={"Accept": "application/json"},
            )
            answer = client.call_api(*asked, _request_timeout=self._timeout_s)
            body = bytes(answer.read() or b"")
        if answer.status >= 500:
            raise CannotLook(f"{service} answered {answer.status}: {body.decode(errors='replace')[:120]}")
        return int(answer.status), body

    def log(self, pod: str, namespace: str, *, tail: int = 200) -> str:
        """The last lines of a pod's log."""
        with self._reading():
            core = kubernetes.client.CoreV1Api(self._dynamic().client)
            return str(core.read_namespaced_pod_log(pod, namespace, tail_lines=tail, _request_timeout=self._timeout_s))


class _GetOnly(kubernetes.client.ApiClient):  # type: ignore[misc]
    """A client that sends nothing but GET."""

    def call_api(self, method: str, *rest: Any, **words: Any) -> Any:
        if method.upper() != "GET":
            raise NotExercised(f"the cluster is only read, and this would be a {method.upper()}")
        return super().call_api(method, *rest, **words)


class GetOnlyReader(KubeReader):
    """Reads by GET alone, and no Secret, whatever is asked of it: also a review, which keeps nothing, is none. Raises NotExercised for all else."""

    def _api_client(self, settings: Any) -> Any:
        return _GetOnly(settings)

    def _api(self, kind: str, version: str = "") -> Any:
        if kind == "Secret":
            raise NotExercised("no Secret of a cluster that isn't holdfast's is read")
        return super()._api(kind, version)


class KubeClient(KubeReader):
    """Reads and writes objects. Tests and faults write through `Cluster.inject` only."""

    def apply(self, wanted: Object, **options: str) -> Object:
        """Server-side apply of one object, conflicts won."""
        meta = wanted["metadata"]
        with self._looking():
            api = self._api(wanted["kind"], wanted["apiVersion"])
            return _plain(
                api.patch(
                    name=meta["name"],
                    namespace=meta.get("namespace"),
                    body=json.dumps({**wanted, "apiVersion": api.group_version}),
                    content_type="application/apply-patch+yaml",
                    field_manager=MANAGER,
                    force_conflicts=True,
                    serialize=False,
                    _request_timeout=self._timeout_s,
                    **options,
                )
            )

    def create(self, wanted: Object) -> Object:
        """Makes an object that must not be there yet; returns what came of it. Raises ApiException (409) where it is."""
        with self._looking():
            api = self._api(wanted["kind"], wanted["apiVersion"])
            return _plain(
                api.create(
                    body=wanted,
                    namespace=wanted["metadata"].get("namespace"),
                    field_manager=MANAGER,
                    serialize=False,
                    _request_timeout=self._timeout_s,
                )
            )

    def dry_run(self, wanted: Object) -> Object:
        """What would come of applying an object: nothing is kept of it."""
        return self.apply(wanted, dry_run="All")

    def patch(self, kind: str, name: str, namespace: str | None, body: Object, **options: str) -> Object:
        """A merge patch of one object; returns what came of it."""
        return self._merge(self._api(kind), name, namespace, body, options)

    def patch_status(self, kind: str, name: str, namespace: str | None, status: Object) -> Object:
        """A merge patch of an object's status; returns what came of it."""
        return self._merge(self._api(kind).status, name, namespace, {"status": status}, {})

    def _merge(self, api: Any, name: str, namespace: str | None, body: Object, options: dict[str, str]) -> Object:
        with self._looking():
            return _plain(
                api.patch(
                    name=name,
                    namespace=namespace,
                    body=body,
                    content_type="application/merge-patch+json",
                    field_manager=MANAGER,
                    serialize=False,
                    _request_timeout=self._timeout_s,
                    **options,
                )
            )

    def request_reconciliation(self, kind: str, name: str, namespace: str | None, token: str = "") -> None:
        """Asks Flux for a look at an object now, as ``flux reconcile`` does; *token* tells this request from others, the time without one."""
        token = token or datetime.datetime.now(datetime.UTC).isoformat()
        self.patch(kind, name, namespace, {"metadata": {"annotations": {REQUESTED_AT: token}}})

    def scale(self, kind: str, name: str, namespace: str, replicas: int) -> None:
        """Sets the number of replicas of a Deployment or StatefulSet."""
        self.patch(kind, name, namespace, {"spec": {"replicas": replicas}})

    def evict(self, pod: str, namespace: str) -> None:
        """Has a pod leave its node, as far as budgets of disruptions let it. Raises CannotLook where one doesn't yet."""
        meta = {"name": pod, "namespace": namespace}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta}
        with self._looking():
            try:
                self._api("Pod").eviction.create(
                    name=pod, namespace=namespace, body=body, serialize=False, _request_timeout=self._timeout_s
                )
            except NotFoundError:
                return

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        grace_s: int | None = None,
        version: str = "",
        uid: str = "",
    ) -> bool:
        """Deletes one object, what it owns too, in the background; False where there was none. *uid*: only the one that has it."""
        with self._looking():
            try:
                body: Object = {"propagationPolicy": "Background"}
                body |= {} if grace_s is None else {"gracePeriodSeconds": grace_s}
                body |= {"preconditions": {"uid": uid}} if uid else {}
                self._api(kind, version).delete(
                    name=name, namespace=namespace, body=body, _request_timeout=self._timeout_s
                )
            except (NotFoundError, ResourceNotFoundError):
                return False
            return True


def message_of(error: ApiException) -> str:
    """The API server's own words; empty where it sent none."""
    try:
        return str(json.loads(error.body)["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return ""


def _of_kind(found: Object, kind: str) -> Object:
    """An answer that is an object of a kind (or any list). Raises ValueError for another, such as an error that comes as a success."""
    if not isinstance(found["metadata"], dict) or (
        found["kind"] != kind if kind else not found["kind"].endswith("List")
    ):
        raise ValueError(found["kind"])
    return found


def _plain(answer: Any) -> Object:
    """An answer as plain dicts: the client's own objects take ten times as long to make as to read."""
    found: Object = json.loads(answer.data)
    return found


_GIVEN_BY_THE_SERVER = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")


def without_server_fields(item: Object) -> Object:
    """An object as it can be applied again: without what the API server gives."""
    meta = {k: v for k, v in item["metadata"].items() if k not in _GIVEN_BY_THE_SERVER}
    return {**{k: v for k, v in item.items() if k != "status"}, "metadata": meta}


def name_of(item: Object) -> str:
    """``Kind/namespace/name`` of an object, without the namespace where it has none."""
    meta = item["metadata"]
    return "/".join(filter(None, [item["kind"], meta.get("namespace"), meta["name"]]))


def condition(item: Object, kind: str) -> Object:
    """One of an object's conditions, empty where it isn't there."""
    return next((c for c in (item.get("status") or {}).get("conditions") or [] if c["type"] == kind), {})
