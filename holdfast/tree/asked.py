"""What a script asks of the Kubernetes API: kubectl and curl, as far as their words are literal; the rest is nobody's to guess."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

# Names that kubectl takes, by resource; the group is the API's.
_RESOURCES: dict[str, tuple[str, str]] = {}
for _group, _names in {
    "": "pods pod po|services service svc|configmaps configmap cm|secrets secret|namespaces namespace ns|nodes node no"
    "|persistentvolumeclaims persistentvolumeclaim pvc|persistentvolumes persistentvolume pv|serviceaccounts serviceaccount sa"
    "|endpoints ep|events event ev",
    "apps": "deployments deployment deploy|statefulsets statefulset sts|daemonsets daemonset ds|replicasets replicaset rs",
    "batch": "jobs job|cronjobs cronjob cj",
    "networking.k8s.io": "ingresses ingress ing|networkpolicies networkpolicy netpol",
    "helm.toolkit.fluxcd.io": "helmreleases helmrelease hr",
    "kustomize.toolkit.fluxcd.io": "kustomizations kustomization ks",
}.items():
    for _row in _names.split("|"):
        for _name in _row.split():
            _RESOURCES[_name] = (_group, _row.split()[0])
_CHANGES = frozenset({"patch", "annotate", "label", "rollout restart", "set image", "set env"})
_CLUSTER_WIDE = frozenset({"namespaces", "nodes", "persistentvolumes"})
_WITH_VALUE = frozenset(
    {
        *("-n", "--namespace", "-o", "--output", "-l", "--selector", "--field-selector", "-p", "--patch", "--type", "--replicas", "-c"),
        *("--container", "--timeout", "--for", "--grace-period", "--sort-by", "--request-timeout", "--tail", "--since", "--subresource"),
    }
)  # fmt: skip
_ELSEWHERE = re.compile(
    r"^--(?:kubeconfig|context|server|token|as|as-group|cluster|user|client-key)(?:=|$)|^-s$|^-f$|^--filename|^-k$|^--kustomize|^--raw"
)
_CURL = re.compile(
    r"https://kubernetes(?:\.default(?:\.svc(?:\.cluster\.local)?)?)?(?::443)?(?P<path>/apis?/[^\s\"'?]*)"
)
_METHODS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_SEPARATORS = re.compile(r"\s*(?:&&|;|\||\bthen\b|\bdo\b|\$\(|`)\s*")


@dataclass(frozen=True)
class Asked:
    """One thing that is asked: *verbs* of which any one is enough; *namespace* is empty for the pod's own, ``*`` for all; no *name*: all of them."""

    verbs: tuple[str, ...]
    group: str
    resource: str
    namespace: str = ""
    name: str = ""


def by_script(script: str) -> Iterator[Asked]:
    """What the lines of a shell script ask; a line that may fail (``|| true``) asks for nothing."""
    for line in script.replace("\\\n", " ").splitlines():
        if (
            line.lstrip().startswith(("#", "echo ", "printf "))
            or re.search(r"\|\|(?!\s*(?:exit|return|\{))", line)
            or "set +e" in script
        ):
            continue
        yield from _by_curl(line)
        for part in _SEPARATORS.split(line):
            if re.match(r"(?:\S*/)?kubectl\s", part):
                part = part if part.count('"') % 2 == 0 else part.replace('"', "")  # noqa: PLW2901  "$(kubectl …)"
                try:
                    words = shlex.split(part.replace(")", " "), comments=True)
                except ValueError:
                    continue
                yield from by_words(words)


def by_words(words: list[str]) -> Iterator[Asked]:
    """What a command asks whose first word is kubectl."""
    if any(_ELSEWHERE.match(w) for w in words):
        return
    namespace, plain, skip = "", [], False
    everywhere = chosen = False
    for index, word in enumerate(words[1:], 1):
        if skip:
            skip = False
        elif word == "--":
            break
        elif word in ("-n", "--namespace") and index + 1 < len(words):
            namespace, skip = words[index + 1], True
        elif found := re.match(r"(?:-n=?|--namespace=)(\S+)$", word):
            namespace = found[1]
        elif word in ("-A", "--all-namespaces"):
            everywhere = True
        elif word.startswith("-"):
            chosen = chosen or word.partition("=")[0] in ("-l", "--selector", "--all", "--field-selector")
            skip = word in _WITH_VALUE
        else:
            plain.append(re.split(r"[<>]|2>", word)[0])
    for one in _of_verb([p for p in plain if p], chosen=chosen):
        yield replace(one, namespace="*" if everywhere or one.resource in _CLUSTER_WIDE else namespace)


def _of_verb(plain: list[str], *, chosen: bool) -> Iterator[Asked]:
    verb, rest = (plain[0], plain[1:]) if plain else ("", [])
    if verb in ("rollout", "set") and rest:
        verb, rest = f"{verb} {rest[0]}", rest[1:]
    if verb in ("exec", "logs"):
        kind = "pods/exec" if verb == "exec" else "pods/log"
        if rest and "/" not in rest[0]:
            yield Asked(("get",), "", "pods", name=rest[0])
            yield Asked(("create", "get") if verb == "exec" else ("get",), "", kind, name=rest[0])
        return
    if verb in ("cordon", "uncordon") and rest:
        yield Asked(("patch", "update"), "", "nodes", name=rest[0])
        return
    for group, resource, name in _objects(rest):
        named = name and not chosen
        if verb == "get":
            yield Asked(("get" if named else "list",), group, resource, name=name if named else "")
        elif verb == "describe" and named:
            yield Asked(("get",), group, resource, name=name)
        elif verb == "delete":
            yield Asked(("delete",), group, resource, name=name if named else "")
            if not named:
                yield Asked(("list",), group, resource)
        elif verb in _CHANGES and named:
            yield Asked(("get",), group, resource, name=name)  # kubectl reads what it changes
            yield Asked(("patch",), group, resource, name=name)
        elif verb == "scale" and named:
            yield Asked(("get",), group, resource, name=name)
            yield Asked(("patch", "update"), group, f"{resource}/scale", name=name)
        elif verb == "rollout status" and named:
            yield from (Asked((one,), group, resource, name=name) for one in ("get", "list", "watch"))


def _objects(words: list[str]) -> Iterator[tuple[str, str, str]]:
    """Group, resource and name of what a command is about: ``pods``, ``pod NAME``, ``pod/NAME``, ``pods,services``."""
    if not words:
        return
    if "/" in words[0]:
        kind, _, name = words[0].partition("/")
        known = _known(kind)
        if known:
            yield (*known, name)
        return
    for kind in words[0].split(","):
        if known := _known(kind):
            yield (*known, words[1] if len(words) > 1 else "")


def _known(kind: str) -> tuple[str, str] | None:
    first, _, group = kind.lower().partition(".")
    found = _RESOURCES.get(first)
    return found if found and (not group or found[0] == group) else None


def _by_curl(line: str) -> Iterator[Asked]:
    for found in _CURL.finditer(line):
        path = found["path"].strip("/").split("/")
        group, rest = ("", path[2:]) if path[0] == "api" else (path[1] if len(path) > 1 else "", path[3:])
        namespace = "*"
        if len(rest) > 2 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        if not rest or "$" in rest[0] or "{" in rest[0]:
            continue
        method = re.search(r"(?:-X|--request)[ =]?[\"']?([A-Z]+)", line)
        verb = _METHODS.get(method[1] if method else "POST" if re.search(r"\s(?:-d|--data\S*)\s", line) else "GET", "")
        name = rest[1] if len(rest) > 1 else ""
        resource = f"{rest[0]}/{rest[2]}" if len(rest) > 2 else rest[0]
        if verb:
            yield Asked(("list",) if verb == "get" and not name else (verb,), group, resource, namespace, name)
