"""What is changed in the lane, and never in the tree, so that a start goes on past an obstacle: one admission policy a Kustomization."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field

from holdfast.kube import Object
from holdfast.policies import in_namespace, policy, suspension

NEVER_THERE = {"apiVersion": "v1", "kind": "ConfigMap", "name": "holdfast-never-there", "namespace": "default"}
_GIVES_UP_AFTER = "8s"
HEALTH = ("wait", "healthChecks", "timeout")  # the fields that `unhealthy` changes
CHANGED = (
    *HEALTH,
    "healthCheckExprs",
    "dependsOn",
    "patches",
    "decryption",
    "suspend",
)  # those that any of them changes


@dataclass
class Detour:
    """What is otherwise about one of Flux's objects in the lane.

    Attributes:
        without: ids of dependencies (``namespace/name``) that it doesn't wait for.
        excluded: objects that it doesn't apply, as (API group, kind, name).
        kept: objects that it doesn't apply since the lane has its own, which take their place; as *excluded*.
        checks_nothing: it doesn't wait for its objects' health.
        assumed: nothing of it is applied, and it counts as ready.
        mark: what the lane's own annotations hold.
        plain: its files aren't decrypted, since the lane's commit has other values in their place.
        unhealthy: it waits for the health of something that never is there.
    """

    kind: str
    namespace: str
    name: str
    mark: str
    without: set[str] = field(default_factory=set)
    excluded: set[tuple[str, str, str]] = field(default_factory=set)
    kept: set[tuple[str, str, str]] = field(default_factory=set)
    checks_nothing: bool = False
    assumed: bool = False
    plain: bool = False
    unhealthy: bool = False

    @property
    def id(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"

    @property
    def changes(self) -> bool:
        """Whether anything is otherwise."""
        return bool(_patches(self))

    @property
    def policy(self) -> str:
        """The name of its policy, and of that one's binding."""
        digest = hashlib.sha256(self.id.encode()).hexdigest()[:10]  # two of them may read the same with dashes between
        return f"holdfast-detour-{digest}-{self.name}"[:250]


def _patches(detour: Detour) -> list[str]:
    """The steps of the JSON patch, each as an expression that gives a list of them."""
    steps = []
    if detour.without:
        named = ", ".join(json.dumps(name) for name in sorted(detour.without))
        space = "(has(d.namespace) ? d.namespace : object.metadata.namespace)"
        kept = f'object.spec.dependsOn.filter(d, !(({space} + "/" + d.name) in [{named}]))'
        steps.append(
            f'has(object.spec.dependsOn) ? [JSONPatch{{op: "add", path: "/spec/dependsOn", value: {kept}}}] : []'
        )
    if left_out := detour.excluded | detour.kept:
        gone = ", ".join(_deletion(*what) for what in sorted(left_out))
        own = "(has(object.spec.patches) ? object.spec.patches.filter(p, !p.patch.contains('holdfast: lane')) : [])"
        steps.append(f'[JSONPatch{{op: "add", path: "/spec/patches", value: {own} + [{gone}]}}]')
    if detour.checks_nothing:
        steps.append('[JSONPatch{op: "add", path: "/spec/wait", value: false}]')
        steps += [
            f'has(object.spec.{field}) ? [JSONPatch{{op: "remove", path: "/spec/{field}"}}] : []'
            for field in ("healthChecks", "healthCheckExprs")
        ]
    if detour.plain:
        steps.append('has(object.spec.decryption) ? [JSONPatch{op: "remove", path: "/spec/decryption"}] : []')
    if detour.unhealthy:
        never = ", ".join(f'"{k}": "{v}"' for k, v in NEVER_THERE.items())
        steps.append('[JSONPatch{op: "add", path: "/spec/wait", value: false}]')
        steps.append(f'[JSONPatch{{op: "add", path: "/spec/healthChecks", value: [{{{never}}}]}}]')
        steps.append(f'[JSONPatch{{op: "add", path: "/spec/timeout", value: "{_GIVES_UP_AFTER}"}}]')
    if detour.assumed:
        steps.append(suspension(detour.mark))
    return steps


def _deletion(group: str, kind: str, name: str) -> str:
    """An entry of a Kustomization's patches that takes one object out."""
    text = f"# holdfast: lane\n$patch: delete\napiVersion: v1\nkind: {kind}\nmetadata:\n  name: {json.dumps(name)}\n"
    # In Git the name may still be a variable: patches come before substitution.
    pattern = f"({re.escape(name)}|.*[$][{{].*)"
    target = {"kind": kind, "name": pattern, **({"group": group} if group else {})}
    return f'{{"patch": dyn({json.dumps(text)}), "target": dyn({json.dumps(target)})}}'  # CEL's maps hold one type else


_PLURALS = {"Kustomization": "kustomizations", "HelmRelease": "helmreleases", "GitRepository": "gitrepositories"}


def policies(detour: Detour) -> list[Object]:
    """The policy of a detour, and its binding; none where nothing is otherwise."""
    steps = _patches(detour)
    if not steps:
        return []
    expression = " + ".join(f"({step})" for step in steps)
    resources = [_PLURALS[detour.kind]]
    return policy(
        detour.policy, ["*"], resources, in_namespace(detour.namespace), expression, resourceNames=[detour.name]
    )
