"""A dead man's switch in the cluster: a pod that undoes a fault when its time is over, though nobody hears of holdfast any more.

What runs in the pod is ``clusters/attached/deadman.py``; here is what is made for it, and how the steps that undo a fault become requests to the API.
All of it hangs on one namespace, and goes with it.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes.client.exceptions import ApiException

from holdfast.drivers.driver import DriverError
from holdfast.kube import KubeClient, Object, message_of, without_server_fields
from holdfast.paths import ROOT
from holdfast.waiting import HOLDS, CannotLook, Probe, Sighting, eventually, patiently

NAMESPACE = "holdfast-deadman"
SWITCH = "switch"
PREFIX = "deadman.holdfast.dev/"
SCRIPT = ROOT / "clusters" / "attached" / "deadman.py"
_ARMED_WITHIN_S = 120.0  # an image may have to be fetched
_SEEN_WITHIN_S = 20.0
_ASKED_WITHIN_S = 60.0
_GONE_WITHIN_S = 60.0
_MERGE = "application/merge-patch+json"
_JSON = "application/json"
_VERBS = {"PATCH": "patch", "POST": "create", "DELETE": "delete"}

Request = dict[str, Any]


def request(client: KubeClient, step: Mapping[str, Any]) -> Request:
    """What undoes a step of the undo file, as one request: its method, path, body, and the answers that mean that it is done already.

    Raises DriverError for a step that the cluster couldn't undo by itself.
    """
    action = step["action"]
    if action == "apply":
        wanted = without_server_fields(step["object"])
        meta = wanted["metadata"]
        path = client.path(wanted["kind"], None, meta.get("namespace"), wanted["apiVersion"])
        return {"method": "POST", "path": path, "body": wanted, "type": _JSON, "done_by": [409]}
    if action not in ("scale", "suspend", "patch", "delete"):
        raise DriverError(f"a cluster can't undo '{action}' by itself")
    path = client.path(step["kind"], step["name"], step["namespace"])
    if action == "delete":
        return {"method": "DELETE", "path": path, "body": None, "type": _JSON, "done_by": [404]}
    own = {"scale": "replicas", "suspend": "suspend"}.get(action, "")
    body = {"spec": {own: step[own]}} if own else step["body"]
    return {"method": "PATCH", "path": path, "body": body, "type": _MERGE, "done_by": [404]}


def rule(wanted: Request) -> Object:
    """The right to send one request, and nothing else. (To make an object can't be allowed by its name.)"""
    parts = wanted["path"].strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    if rest[0] == "namespaces" and len(rest) > 2:  # namespaces/NAME is about the namespace itself
        rest = rest[2:]
    made: Object = {"apiGroups": [group], "resources": [rest[0]], "verbs": [_VERBS[wanted["method"]]]}
    return made if len(rest) == 1 else {**made, "resourceNames": [rest[1]]}


def space_of(wanted: Request) -> str:
    """The namespace that a request is about; empty for what has none."""
    parts = wanted["path"].strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    return str(rest[1]) if rest[0] == "namespaces" and len(rest) > 2 else ""


def objects(image: str, limit_s: float, away_from: Iterable[str]) -> list[Object]:
    """What is made in the namespace, the pod last."""
    meta = {"name": SWITCH, "namespace": NAMESPACE}
    own_secret = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [SWITCH], "verbs": ["get", "patch"]}
    subject = {"kind": "ServiceAccount", "name": SWITCH, "namespace": NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": SWITCH}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"deadman.py": SCRIPT.read_text()}},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": [own_secret]},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": role,
            "subjects": [subject],
        },
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": _job(image, limit_s, sorted(away_from))},
    ]


def _job(image: str, limit_s: float, away_from: list[str]) -> Object:
    container = {
        "name": SWITCH,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "/deadman/deadman.py"],
        "env": [
            {"name": "DEADMAN_NAMESPACE", "value": NAMESPACE},
            {"name": "DEADMAN_LIMIT_S", "value": f"{limit_s:g}"},
        ],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "96Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": SWITCH, "mountPath": "/deadman", "readOnly": True}],
    }
    elsewhere = [{"key": "metadata.name", "operator": "NotIn", "values": [name]} for name in away_from]
    terms = {"nodeSelectorTerms": [{"matchFields": elsewhere}]}
    gone = [f"node.kubernetes.io/{word}" for word in ("not-ready", "unreachable")]
    pod: Object = {
        "serviceAccountName": SWITCH,
        "restartPolicy": "OnFailure",
        "priorityClassName": "system-cluster-critical",  # what a fault leaves room for, it leaves for this
        "tolerations": [  # any node will do; and one that is lost is left for another
            {"operator": "Exists", "effect": "NoSchedule"},
            *({"key": k, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 20} for k in gone),
        ],
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": SWITCH, "configMap": {"name": SWITCH}}],
    }
    if away_from:
        pod["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    return {"backoffLimit": 100, "template": {"metadata": {"labels": {"app": SWITCH}}, "spec": pod}}


def _undone(notes: Mapping[str, str]) -> str:
    """Why the fault is undone, or being undone, by what a switch says; empty where it isn't."""
    return notes.get("healed") or notes.get("undoing") or notes.get("heal") or ""


@dataclass
class Deadman:
    """The switch of one fault.

    Args:
        client: the cluster's API, with the right to write.
        image: what the pod runs: one with Python.
        limit_s: how long the fault may last.
    """

    client: KubeClient
    image: str
    limit_s: float
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._requests: list[Request] = []
        self._uid = ""
        self._began = 0.0

    def exists(self) -> bool:
        """Whether a switch is there, of this holdfast or another. Raises CannotLook."""
        return self.client.get("Namespace", NAMESPACE) is not None

    def arm(self, what: str, away_from: Iterable[str] = ()) -> None:
        """Makes it, and returns once its pod says that it watches. Raises DriverError where there is one already, or where it doesn't come."""
        self._requests = []
        labels = {"pod-security.kubernetes.io/enforce": "restricted", "app.kubernetes.io/managed-by": "holdfast"}
        meta = {"name": NAMESPACE, "labels": labels, "annotations": {PREFIX + "what": what}}
        try:  # made, and never taken over: two holdfasts don't break the same cluster at once
            made = self.client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
        except ApiException as error:
            raise DriverError(f"the switch can't be made: {message_of(error) or error.reason}") from None
        self._uid = str(made["metadata"]["uid"])
        try:
            self._rights()
            self._steps()
            for one in objects(self.image, self.limit_s, away_from):
                self.client.apply(one)
            self._until(lambda: self._says("armed"), _ARMED_WITHIN_S, "the switch's pod doesn't watch")
            self._began = self.clock()
        except BaseException:
            self.disarm()
            raise

    def protect(self, step: Mapping[str, Any]) -> None:
        """Returns once the switch knows how to undo a step, and has tried without effect that it may. Raises DriverError where it doesn't."""
        self._ours()
        if self.clock() - self._began > self.limit_s / 2:
            raise DriverError(f"more than half of the {self.limit_s:g}s of this fault are over: nothing more is broken")
        self._requests.append(request(self.client, step))
        self._rights()
        self._steps()
        number = len(self._requests)

        def seen() -> Sighting:
            notes = self._notes()
            if "refused" in notes:
                raise DriverError(f"the switch could not undo it: {notes['refused']}")
            if why := _undone(notes):
                raise DriverError(f"the switch has undone the fault: {why}")
            known = int(notes.get("seen", "0"))
            return HOLDS if known >= number else f"it has tried {known} of {number} steps"

        self._until(seen, _SEEN_WITHIN_S, "the switch doesn't say that it can undo this")

    def healed(self) -> str:
        """Why it has undone the fault; empty where it hasn't. Raises CannotLook."""
        if not self._is_ours():
            return "the switch is gone, which happens once it has undone everything, or when somebody removes it"
        return _undone(self._notes())

    def has_healed(self) -> bool:
        """Whether it says that it has undone everything; a switch that is gone says nothing. Raises CannotLook."""
        return self._is_ours() and "healed" in self._notes()

    def heal(self, why: str) -> bool:
        """Has whatever switch is there undo everything now; whether it says that it has. Raises DriverError where it doesn't."""
        found = self.client.get("Namespace", NAMESPACE)
        if found is None:
            return False
        self._uid = str(found["metadata"]["uid"])
        notes = self._notes()
        if "armed" in notes and "over" not in notes and "healed" not in notes:
            self._note(heal=why)
            self._until(lambda: self._says("healed"), _ASKED_WITHIN_S, "the switch undoes nothing")
        return "healed" in self._notes()

    def request_healing(self, why: str) -> None:
        """Tells it to undo everything now."""
        self._ours()
        self._note(heal=why)

    def disarm(self) -> None:
        """Tells it that there is nothing to undo any more, and takes it away with all that was made for it."""

        def remove() -> None:
            if self._is_ours():
                if self.client.get("Secret", SWITCH, NAMESPACE):
                    self._note(over="yes")
                self.client.delete("Namespace", NAMESPACE, uid=self._uid)

        patiently(remove, "taking the switch away", _GONE_WITHIN_S)
        self._until(
            lambda: "it is still there" if self._is_ours() else HOLDS,
            _GONE_WITHIN_S,
            f"the namespace {NAMESPACE} doesn't go",
        )

    # -- what lies in the cluster ------------------------------------------------------------------------------------------

    def _is_ours(self) -> bool:
        found = self.client.get("Namespace", NAMESPACE)
        return found is not None and found["metadata"]["uid"] == self._uid

    def _ours(self) -> None:
        """Raises DriverError where the switch that is there is another one's, or none: nothing of it is written then."""
        if not self._is_ours():
            raise DriverError("the switch is gone, or another holdfast's")

    def _owner(self) -> list[Object]:
        """Makes what has no namespace go with the switch's."""
        return [{"apiVersion": "v1", "kind": "Namespace", "name": NAMESPACE, "uid": self._uid}]

    def _rights(self) -> None:
        """The pod's rights: what undoes the steps so far, each in its own namespace, and the removal of the switch's own."""
        own = {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": [NAMESPACE], "verbs": ["delete"]}
        by_space: dict[str, list[Object]] = {"": [own]}
        for wanted in self._requests:
            by_space.setdefault(space_of(wanted), []).append(rule(wanted))
        for space, rules in by_space.items():
            self._allow(space, rules)

    def _allow(self, space: str, rules: list[Object]) -> None:
        of, version = "" if space else "Cluster", "rbac.authorization.k8s.io/v1"
        meta = {"name": NAMESPACE, "ownerReferences": self._owner(), **({"namespace": space} if space else {})}
        self.client.apply({"apiVersion": version, "kind": f"{of}Role", "metadata": meta, "rules": rules})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": f"{of}Role", "name": NAMESPACE}
        subject = {"kind": "ServiceAccount", "name": SWITCH, "namespace": NAMESPACE}
        bound = {"apiVersion": version, "kind": f"{of}RoleBinding", "metadata": meta}
        self.client.apply({**bound, "roleRef": role, "subjects": [subject]})

    def _steps(self) -> None:
        data = {"steps": base64.b64encode(json.dumps(self._requests).encode()).decode()}
        meta = {"name": SWITCH, "namespace": NAMESPACE}
        self.client.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque", "data": data})

    def _note(self, **notes: str) -> None:
        body = {"metadata": {"annotations": {PREFIX + k: v for k, v in notes.items()}}}
        self.client.patch("Secret", SWITCH, NAMESPACE, body)

    def _notes(self) -> dict[str, str]:
        found = self.client.get("Secret", SWITCH, NAMESPACE) or {"metadata": {}}
        return {k.removeprefix(PREFIX): v for k, v in (found["metadata"].get("annotations") or {}).items()}

    def _says(self, word: str) -> Sighting:
        notes = self._notes()
        return HOLDS if word in notes else f"it says: {', '.join(notes) or 'nothing'}"

    def _until(self, look: Callable[[], Sighting], within_s: float, otherwise: str) -> None:
        wait = eventually(self, Probe("switch", otherwise, lambda _: look()), within_s, every_s=0.25)
        if wait.held is not True:
            raise DriverError(f"{otherwise} within {within_s:g}s; last seen: {wait.last}{self._said()}")

    def _said(self) -> str:
        """What keeps its pod from running, where that is to be seen."""
        try:
            pods = self.client.list("Pod", NAMESPACE)
        except CannotLook:
            return ""
        states = [s for p in pods for s in (p.get("status") or {}).get("containerStatuses") or []]
        waiting = [s["state"]["waiting"] for s in states if (s.get("state") or {}).get("waiting")]
        return f": {waiting[0].get('reason')}, {waiting[0].get('message', '')}"[:200] if waiting else ""
