"""Which commands of a runbook may be typed: kubectl's and flux's own verbs with options that are known, and nothing that leads elsewhere.

A tree is untrusted, and what it has typed runs as the user. So everything is refused that isn't known: an option that isn't listed, a value that is
joined to a short option, an option before the verb. What a verb could read, fetch, write or run beyond the throw-away cluster isn't listed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

PROGRAMS = ("kubectl", "flux")
LOOKS = {
    "kubectl": {
        *("get", "describe", "logs", "top", "events", "explain", "api-resources", "api-versions", "version", "cluster-info"),
        *("wait", "auth"),
    },
    "flux": {"get", "logs", "events", "stats", "tree", "trace", "check", "version", "export"},
}  # fmt: skip
CHANGES = {
    "kubectl": {
        *("scale", "delete", "patch", "annotate", "label", "apply", "create", "replace", "cordon", "uncordon", "drain"),
        *("taint", "rollout", "set", "autoscale"),
    },
    "flux": {"reconcile", "suspend", "resume", "delete"},
}
OTHERS = {
    "kubectl": {
        *("exec", "cp", "edit", "port-forward", "proxy", "attach", "debug", "config", "certificate", "plugin", "kustomize"),
        *("completion", "options", "kuberc", "help", "diff", "run", "expose", "alpha"),
    },
    "flux": {
        *("bootstrap", "install", "uninstall", "build", "pull", "push", "tag", "list", "envsubst", "migrate", "plugin"),
        *("completion", "help", "create", "diff", "debug"),
    },
}  # fmt: skip
# Verbs that are refined by a second word, of which only these are known.
_SECOND = {
    "auth": {"can-i", "whoami"},
    "rollout": {"status", "history", "restart", "undo", "pause", "resume"},
    "cluster-info": {""},
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_VALUED = _words(
    """
    namespace output selector field-selector timeout request-timeout for replicas current-replicas patch type grace-period tail since
    since-time container filename cascade subresource sort-by pod-selector revision to-revision from-literal from min max cpu-percent
    dry-run field-manager status-selector kind interval skip-wait-for-delete-timeout label-columns chunk-size limit resource-version image
    labels annotations
    """
)
# Nothing that goes on until somebody ends it, and nothing that looks for files by itself.
_FLAGS = _words(
    """
    all all-namespaces force now wait ignore-daemonsets delete-emptydir-data ignore-not-found overwrite with-source server-side
    force-conflicts no-headers show-labels previous prefix timestamps show-managed-fields reset disable-eviction list client short
    """
)
_SHORT_VALUED = {
    "-n": "namespace",
    "-o": "output",
    "-l": "selector",
    "-f": "filename",
    "-p": "patch",
    "-c": "container",
}
_SHORT_FLAGS = frozenset({"-A"})
_FILTERS = _words("grep egrep fgrep head tail sort uniq wc less more cat column cut awk jq yq tac nl")
_PLACEHOLDER = re.compile(r"^[A-Z][A-Z0-9_]{2,}$|\{\{|…|\.\.\.")
_RAW = re.compile(r"/[\w./?=&-]*")


def verbs(program: str) -> frozenset[str]:
    """Every verb that a program has of its own."""
    return frozenset(LOOKS[program] | CHANGES[program] | OTHERS[program])


def verb_of(words: Sequence[str]) -> str:
    """The first word after the program that is neither a namespace's option nor its value; an option that stands before it is its verb, too."""
    rest = list(words[1:])
    while rest and (rest[0] in ("-n", "--namespace") or rest[0].startswith("--namespace=")):
        rest = rest[1:] if "=" in rest[0] else rest[2:]
    return rest[0] if rest else ""


def changes(words: Sequence[str]) -> bool:
    """Whether a command may change the cluster."""
    program, verb = (words[0] if words else ""), verb_of(words)
    looks = verb == "rollout" and {"status", "history"} & {*words}
    return not looks and verb in CHANGES.get(program, ())


def filters_only(words: Sequence[str]) -> bool:
    """Whether what follows a command only shows less of what it says: filters behind pipes, and output that is thrown away."""
    rest = list(words)
    while rest:
        if rest[0] == "|" and len(rest) > 1 and rest[1] in _FILTERS:
            end = next((i for i, w in enumerate(rest[1:], 1) if set(w) <= set("|&;()<>")), len(rest))
            rest = rest[end:]
        elif rest[:3] in (["2", ">", "/dev/null"], ["2", ">&", "1"]):
            rest = rest[3:]
        elif rest[:2] in ([">", "/dev/null"], ["&>", "/dev/null"]):
            rest = rest[2:]
        else:
            return False
    return True


def why_not(words: Sequence[str]) -> str:
    """Why a command can't be typed as it is; empty where it can."""
    program = words[0] if words else ""
    if program not in PROGRAMS:
        return f"it isn't kubectl or flux: {program}"
    verb = verb_of(words)
    if verb not in LOOKS[program] | CHANGES[program]:
        return f"{program} {verb} is nothing that is run here"
    at = list(words).index(verb)
    rest = [*words[1:at], *words[at + 1 :]]
    second = next((w for w in words[at + 1 :] if not w.startswith("-")), "")
    if verb in _SECOND and second not in _SECOND[verb]:
        return f"{program} {verb} {second} is nothing that is run here"
    return _options(rest, verb)


def _options(rest: list[str], verb: str) -> str:
    while rest:
        word, rest = rest[0], rest[1:]
        name, given, value = word.partition("=")
        if verb == "logs" and word == "-f":
            return "it goes on until somebody ends it"
        if word == "-" or not word.startswith("-"):
            why = _value("", word)
        elif word in _SHORT_FLAGS or (name.startswith("--") and name[2:] in _FLAGS and value in ("", "true", "false")):
            why = ""
        elif name == "--raw" and verb == "get":
            value, rest = (value, rest) if given else (rest[0] if rest else "", rest[1:])
            why = "" if _RAW.fullmatch(value) else f"it asks for what isn't a path of the API: {value}"
        elif word in _SHORT_VALUED or (name.startswith("--") and name[2:] in _VALUED):
            value, rest = (value, rest) if given else (rest[0] if rest else "", rest[1:])
            if not given and value.startswith("-") and value != "-":  # some take no value where none is joined to them
                return f"it has an option that isn't known here: {value}"
            why = _value(_SHORT_VALUED.get(word, name[2:]), value)
        else:
            why = f"it has an option that isn't known here: {name}"
        if why:
            return why
    return ""


def _value(option: str, value: str) -> str:
    """What speaks against a word, or against the value of an option."""
    if _PLACEHOLDER.search(value):
        return f"it has a value that only its reader knows: {value}"
    if option in ("patch", "from-literal", "for", "output"):
        return "it reads a file" if option == "output" and re.search(r"file(?:=|$)", value) else ""
    if "://" in value or (option == "filename" and re.search(r"^[\w.-]+\.\w+/|[?@]", value)):
        return f"it has an address: {value}"
    if value.startswith(("/", "~")) or ".." in PurePosixPath(value).parts:
        return f"it names a file outside of the tree: {value}"
    return ""
