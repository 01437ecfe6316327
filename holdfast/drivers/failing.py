"""Workloads whose pods fail on a lane that simulates pods: which, how, and the stages that make kwok do it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from holdfast.errors import UsageError


class How(StrEnum):
    """How a pod fails."""

    IMAGE = "image"  # its image can't be pulled
    CRASH = "crash"  # its containers end again and again; of a Job: end badly
    UNREADY = "unready"  # they run, and never say that they are ready


# What owns the pods of a workload, and what that name ends with.
_OWNERS = {
    "Deployment": ("ReplicaSet", "-[bcdfghjklmnpqrstvwxz2456789]+"),
    "StatefulSet": ("StatefulSet", ""),
    "DaemonSet": ("DaemonSet", ""),
    "Job": ("Job", ""),
    "CronJob": ("Job", "-[0-9]+"),
}
_JOBS = ("Job", "CronJob")
_BEFORE_OTHERS = 1000  # of several stages that fit, kwok takes one by weight, and those without any never
_FOR_EVER_MS = 24 * 3600 * 1000
_STATUS = """\
{{{{ $now := Now }}}}
phase: {phase}
startTime: {{{{ $now | Quote }}}}
conditions:
- {{type: Initialized, status: "True", lastTransitionTime: {{{{ $now | Quote }}}}}}
- {{type: ContainersReady, status: "False", reason: ContainersNotReady, lastTransitionTime: {{{{ $now | Quote }}}}}}
- {{type: Ready, status: "False", reason: ContainersNotReady, lastTransitionTime: {{{{ $now | Quote }}}}}}
containerStatuses:
{{{{ range .spec.containers }}}}
- name: {{{{ .name | Quote }}}}
  image: {{{{ .image | Quote }}}}
  imageID: ""
  ready: false
  started: {started}
  restartCount: {restarts}
  state: {state}
{{{{ end }}}}
hostIP: {{{{ NodeIPWith .spec.nodeName | Quote }}}}
podIP: {pod_ip}
"""
_POD_IP = (
    '{{ PodIPWith .spec.nodeName (or .spec.hostNetwork false) (or .metadata.uid "") (or .metadata.name "") '
    '(or .metadata.namespace "") | Quote }}'
)
_ENDED = "{terminated: {exitCode: 1, reason: Error, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}"
_BACK_OFF = '{waiting: {reason: CrashLoopBackOff, message: "its container ended with exit code 1, again and again"}}'
_NO_IMAGE = '{waiting: {reason: ImagePullBackOff, message: {{ printf "Back-off pulling image %q" .image | Quote }}}}'
_RUNS = "{running: {startedAt: {{ $now | Quote }}}}"


@dataclass(frozen=True)
class Failing:
    """Workloads whose pods fail: *namespace* and *name* may hold ``*`` and ``?``."""

    kind: str
    namespace: str
    name: str
    how: How

    @staticmethod
    def parse(text: str) -> Failing:
        """Of ``KIND/NAMESPACE/NAME`` or ``KIND/NAMESPACE/NAME=HOW``. Raises UsageError for anything else."""
        what, _, how = text.partition("=")
        parts = what.split("/")
        ways = ", ".join(How)
        if len(parts) != 3 or not all(parts) or parts[0] not in _OWNERS:
            raise UsageError(
                f"'{text}' names no workload that could fail",
                f"write KIND/NAMESPACE/NAME, such as Deployment/monitoring/*; KIND is one of {', '.join(_OWNERS)}",
            )
        if how not in ("", *How):
            raise UsageError(f"'{how}' is no way to fail", f"write {what}=HOW, where HOW is one of: {ways}")
        return Failing(parts[0], parts[1], parts[2], How(how) if how else How.CRASH)

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}={self.how}"

    def takes(self, namespace: str, name: str) -> bool:
        """Whether a workload of its kind is one of them."""
        return bool(re.fullmatch(_form(self.namespace), namespace) and re.fullmatch(_form(self.name), name))

    def stages(self, prefix: str, later: Sequence[Failing] = ()) -> list[dict[str, Any]]:
        """The Stages of kwok by which their pods fail, and stay so; their names begin with *prefix*. What one of *later* takes is left to it."""
        selected: list[dict[str, Any]] = [
            {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"},
            {"key": self._pods, "operator": "Exists"},
            *({"key": other._pods, "operator": "DoesNotExist"} for other in later),
        ]
        begun = ".status.containerStatuses[]? | .name"
        fails = [
            *selected,
            {"key": ".status.phase", "operator": "In", "values": ["Pending"]},
            {"key": begun, "operator": "DoesNotExist"},
        ]
        return [
            _stage(f"{prefix}-fails", fails, 500, {"statusTemplate": self._status()}),
            _stage(
                f"{prefix}-stays",
                [*selected, {"key": begun, "operator": "Exists"}],
                _FOR_EVER_MS,
                {"statusTemplate": "{}"},
            ),
        ]

    @property
    def _pods(self) -> str:
        """The question for one of their pods: by its namespace, and by what owns it."""
        owner, ending = _OWNERS[self.kind]
        name, space = (json.dumps(f"^{form}$") for form in (_form(self.name) + ending, _form(self.namespace)))
        owned = f'any(.metadata.ownerReferences[]?; .kind == "{owner}" and (.name | test({name})))'
        return f". | select((.metadata.namespace | test({space})) and {owned}) | .metadata.name"

    def _status(self) -> str:
        if self.how is How.IMAGE:
            return _STATUS.format(pod_ip=_POD_IP, phase="Pending", started="false", restarts=0, state=_NO_IMAGE)
        if self.how is How.UNREADY:
            return _STATUS.format(pod_ip=_POD_IP, phase="Running", started="true", restarts=0, state=_RUNS)
        if self.kind in _JOBS:
            return _STATUS.format(pod_ip=_POD_IP, phase="Failed", started="false", restarts=0, state=_ENDED)
        return _STATUS.format(pod_ip=_POD_IP, phase="Running", started="false", restarts=5, state=_BACK_OFF)


def _form(pattern: str) -> str:
    """A regular expression, as Go reads them too."""
    return "".join({"*": "[^/]*", "?": "[^/]"}.get(sign, re.escape(sign)) for sign in pattern)


def _stage(name: str, selected: list[dict[str, Any]], delay_ms: int, following: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {"matchExpressions": selected},
            "weight": _BEFORE_OTHERS,
            "delay": {"durationMilliseconds": delay_ms},
            "next": following,
        },
    }
