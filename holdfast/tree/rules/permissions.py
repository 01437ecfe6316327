"""What a workload's script asks of the API, against what its ServiceAccount may do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.tree.asked import Asked, by_script, by_words
from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Evidence, Outcome, Severity, Violation, rule
from holdfast.tree.manifest import Body, Manifest, get, mapping, sequence
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import Tree

_KUBECTL = re.compile(r"(?:^|/)kubectl(?:[:@]|$)")
_SHELL = re.compile(r"(?:^|/)(?:ba|a|da|z|k)?sh$")
_EVERYTHING: Body = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}


@dataclass(frozen=True)
class _Right:
    """One rule of a role, and where it holds: a namespace, or ``*``."""

    rule: Body
    namespace: str


@rule(
    "security.script-rights",
    "security",
    Severity.BREAKS_CLAIM,
    why="the API server answers 403, and what the script is there for isn't done",
    do="add the verb to the role that is bound to its ServiceAccount",
)
def script_rights(tree: Tree) -> Iterator[Outcome]:
    """kubectl and curl in a workload's script ask only for what its account may do; where that isn't certain, nothing is said."""
    if any(k.gap for k in tree.kustomizations.values()):
        return  # a binding may lie in what wasn't read
    for manifest in tree.workloads():
        found = list(_asks(tree, manifest))
        rights = _rights(tree, manifest) if found else None
        if rights is None:
            continue
        allowed, roles = rights
        lacking = [(one, at) for one, at in found if not _may(one, manifest.namespace, allowed)]
        for one, (holder, path) in lacking:
            places = [tree.locate(r, "rules") for r in roles[:1]] + [tree.locate(holder, *path)]
            yield Violation(manifest.id, tuple(places), _words(manifest, one), hits=(manifest.id,))
        if not lacking:
            yield Evidence(f"{manifest.id}: its account may do all {len(found)} things that its script asks")


def _words(manifest: Manifest, one: Asked) -> str:
    what = f"{one.resource}.{one.group}" if one.group else one.resource
    where = "everywhere" if one.namespace == "*" else f"in {one.namespace or manifest.namespace}"
    return f"{manifest.id} asks for {one.verbs[0]} of {what} {where}, and its account {_account(manifest)} may not"


def _account(manifest: Manifest) -> str:
    return str(manifest.pod.get("serviceAccountName") or manifest.pod.get("serviceAccount") or "default")


Place = tuple[Manifest, tuple[PathKey, ...]]


def _asks(tree: Tree, manifest: Manifest) -> Iterator[tuple[Asked, Place]]:
    """What the containers of a workload ask, with where it is written."""
    for path, container in manifest.containers(every=True):
        command = [str(w) for w in sequence(container.get("command"))]
        arguments = [str(w) for w in sequence(container.get("args"))]
        names = {str(mapping(e).get("name")) for e in sequence(container.get("env"))}
        if {"KUBECONFIG", "KUBERNETES_MASTER"} & names or any(
            "kubeconfig" in w.lower() for w in [*command, *arguments]
        ):
            continue  # it is somebody else there
        words = [*command, *arguments]
        at: Place = (manifest, (*path, "command" if command else "args"))
        if not command and _KUBECTL.search(str(container.get("image") or "").partition("@")[0]):
            yield from ((a, at) for a in by_words(["kubectl", *arguments]))
        elif command and command[0].rpartition("/")[2] == "kubectl":
            yield from ((a, at) for a in by_words(words))
        elif words and _SHELL.search(words[0]):
            scripts = [w for w in words[1:] if "kubectl" in w or "https://kubernetes" in w]
            yield from ((a, at) for script in scripts for a in by_script(script))
        for held, key in _mounted(tree, manifest, " ".join(words)):
            script = str(mapping(held.body.get("data")).get(key))
            if "KUBECONFIG" not in script and "--kubeconfig" not in script:
                yield from ((a, (held, ("data", key))) for a in by_script(script))


def _mounted(tree: Tree, manifest: Manifest, words: str) -> Iterator[tuple[Manifest, str]]:
    """The scripts in mounted ConfigMaps that a command names."""
    for volume in sequence(manifest.pod.get("volumes")):
        held = tree.by_key.get(("ConfigMap", manifest.namespace, str(get(volume, "configMap", "name"))))
        for key in mapping(held.body.get("data")) if held is not None else ():
            if held is not None and re.search(rf"/{re.escape(str(key))}(?![\w.-])", words):
                yield held, str(key)


def _rights(tree: Tree, manifest: Manifest) -> tuple[list[_Right], list[Manifest]] | None:
    """What a workload's account may do, and by which roles; None where something that isn't in the tree may add to it."""
    name, namespace = _account(manifest), manifest.namespace
    if name != "default" and ("ServiceAccount", namespace, name) not in tree.by_key:
        return None
    rights: list[_Right] = []
    roles: list[Manifest] = []
    for binding in tree.of("RoleBinding", "ClusterRoleBinding"):
        if UNKNOWN in str(binding.body.get("subjects")):
            return None
        if not any(_is(mapping(s), binding, name, namespace) for s in sequence(binding.body.get("subjects"))):
            continue
        where = "*" if binding.kind == "ClusterRoleBinding" else binding.namespace
        kind, role_name = str(get(binding.body, "roleRef", "kind")), str(get(binding.body, "roleRef", "name"))
        if role_name == "cluster-admin":
            rights.append(_Right(_EVERYTHING, where))
            continue
        held = tree.by_key.get((kind, binding.namespace if kind == "Role" else "", role_name))
        if held is None or held.body.get("aggregationRule") or UNKNOWN in str(held.body.get("rules")):
            return None
        roles.append(held)
        rights += [_Right(mapping(r), where) for r in sequence(held.body.get("rules"))]
    # An account without any right in the tree may have some from elsewhere.
    return (rights, roles) if rights else None


def _is(subject: Body, binding: Manifest, name: str, namespace: str) -> bool:
    if subject.get("kind") == "ServiceAccount":
        return subject.get("name") == name and (subject.get("namespace") or binding.namespace) == namespace
    everyone = ("system:authenticated", "system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    return subject.get("kind") == "Group" and subject.get("name") in everyone


def _may(one: Asked, own: str, rights: list[_Right]) -> bool:
    """Whether some rule gives what is asked; what a variable stands for is given the benefit of the doubt."""
    where = one.namespace or own
    return any(_gives(r.rule, one) and (r.namespace in ("*", where) or _open(where)) for r in rights)


def _gives(given: Body, one: Asked) -> bool:
    resources = {str(r) for r in sequence(given.get("resources"))}
    resource, _, part = one.resource.partition("/")
    return (
        bool({"*", one.group} & {str(g) for g in sequence(given.get("apiGroups"))})
        and bool({"*", one.resource, *([f"*/{part}"] if part else [])} & resources or _open(resource))
        and bool({"*", *one.verbs} & {str(v) for v in sequence(given.get("verbs"))})
        and _names(given, one)
    )


def _names(given: Body, one: Asked) -> bool:
    names = {str(n) for n in sequence(given.get("resourceNames"))}
    return not names or one.name in names or (bool(one.name) and _open(one.name))


def _open(text: str) -> bool:
    return "$" in text or "{" in text or UNKNOWN in text
