"""Secrets in plain text, rights beyond need, containers that own their node."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator

from holdfast.tree.findings import Evidence, Inconclusive, Outcome, Severity, Violation, hit, rule
from holdfast.tree.manifest import Manifest, get, mapping, sequence
from holdfast.tree.repository import MAX_BYTES, Location
from holdfast.tree.roles import FLUX, role
from holdfast.tree.rules.core import unknown_charts
from holdfast.tree.tree import Tree, in_chart

FAMILY = "security"
# Formats that their issuers document; each is recognised by a prefix that stands for nothing else.
_TOKENS = {
    "a private key": r"-----BEGIN (?:RSA |EC |DSA |OPENSSH |ENCRYPTED |PGP )?PRIVATE KEY(?: BLOCK)?-----",
    "an age secret key": r"\bAGE-SECRET-KEY-1[A-Z0-9]{58}\b",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9_]{60,})\b",
    "a GitLab token": r"\bgl(?:pat|dt|rt|ptt|ft|soat|agent)-[A-Za-z0-9_-]{20,}\b",
    "an AWS access key id": r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b",
    "a Slack token": r"\bxox[abposr]-[A-Za-z0-9-]{20,}",
    "a Slack webhook": r"https://hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{16,}",
    "a Discord webhook": r"https://(?:ptb\.|negative control\.)?discord(?:app)?\.com/api/webhooks/\d{15,}/[A-Za-z0-9_-]{50,}",
    "a Telegram bot token": r"\b\d{8,10}:AA[A-Za-z0-9_-]{33}\b",
    "a Tailscale key": r"\btskey-(?:auth|api|client|webhook)-[A-Za-z0-9]{6,}-[A-Za-z0-9]{20,}\b",
    "a Google API key": r"\bAIza[A-Za-z0-9_-]{35}\b",
    "a Stripe key": r"\b[sr]k_live_[A-Za-z0-9]{20,}\b",
    "a Cloudflare API token": r"(?i:\bcloudflare)[\w .:=\"'-]{0,30}\b[A-Za-z0-9_-]{40}\b",
    "an npm token": r"\bnpm_[A-Za-z0-9]{36}\b",
    "a SendGrid key": r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}\b",
    "a JSON web token": r"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}\b",
    "a password in an address": r"\b[a-z][a-z0-9+.-]{2,}://[^\s/:@\"'${}<>]{1,64}:(?P<value>[^\s/@\"'${}<>]{6,})@[\w.-]+",
}
_TOKEN = re.compile(
    "|".join(f"(?P<k{i}>{p.replace('?P<value>', '?P<v' + str(i) + '>')})" for i, p in enumerate(_TOKENS.values()))
)
_NAMES = list(_TOKENS)
_HINT = re.compile(
    r"PRIVATE KEY|AGE-SECRET|gh[pousr]_|github_pat|gl(?:pat|dt|rt|ptt|ft|soat|agent)-|AKIA|ASIA|xox|hooks\.slack|discord|:AA|tskey-|AIza|_live_|loudflare|npm_|SG\.|eyJ|://[^\s/]*:[^\s/]*@"
)
_FIELD = re.compile(
    r"(?i)^\s*-?\s*[\"']?(?:[\w.-]*[_.-]?)?(password|passwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|client[_-]?secret)[\"']?\s*[:=]\s*[\"']?([^\s\"'#]{8,})[\"']?\s*(?:#.*)?$"
)
_FIELD_HINT = re.compile(r"(?i)passw|secret|token|(?:api|access|private)[_-]?key")
_NO_SECRET = re.compile(
    r"(?i)^(?:changeme|change-me|example|placeholder|password|secret|todo|replace|none|null|true|false|xxx+|\*+|\.+|<.*>|\$.*|\{\{.*|ENC\[.*|/.*|https?:.*|[a-z]+(?:-[a-z]+)*)$"
)
_TEXT = (
    ".yaml",
    ".yml",
    ".json",
    ".toml",
    ".env",
    ".sh",
    ".md",
    ".txt",
    ".conf",
    ".cfg",
    ".ini",
    ".properties",
    ".tf",
    ".tfvars",
    ".py",
    ".js",
    ".ts",
    ".go",
    ".xml",
    ".pem",
    ".key",
    ".crt",
    "",
)


@rule(
    "security.secret",
    "secrets-not-in-git",
    Severity.BREAKS_CLAIM,
    why="whoever reads the repository, today or in its history, has it",
    do="take it out, make a new one at its issuer, and keep that encrypted (SOPS) or outside of Git",
)
def secret(tree: Tree) -> Iterator[Outcome]:
    """Secret objects and known tokens in plain text, in any file; the value is never shown."""
    count = 0
    for name in tree.repository.files:
        raw = tree.repository.raw(name)
        text = (
            tree.repository.text(name)
            if not raw.startswith((b"\xff\xfe", b"\xfe\xff"))
            else raw.decode("utf-16", errors="replace")
        )
        if "\0" in text[:4096]:
            continue  # a picture, an archive
        if len(raw) > MAX_BYTES:
            yield Inconclusive(f"{name} is larger than {MAX_BYTES >> 20} MiB: the rest of it wasn't read for secrets")
        count += 1
        if _HINT.search(text):
            yield from _tokens(name, text)
        manifest = name.endswith((".yaml", ".yml")) and not in_chart(tree.repository, name)
        if manifest and re.search(r"^\s*[\"']?kind[\"']?:\s*[\"']?Secret\b", text, re.MULTILINE):
            yield from _secrets(tree, name)
        if name.endswith(_TEXT) or "." not in name:
            yield from _fields(name, text, documents=manifest)
    yield from (
        Inconclusive(f"{name}: its name is no text, so it wasn't read for secrets") for name in tree.repository.odd
    )
    yield Evidence(f"{count} files read for secrets, keys and tokens")


def _tokens(name: str, text: str) -> Iterator[Violation]:
    for number, line in enumerate(text.splitlines(), 1):
        for found in _TOKEN.finditer(line):
            index = next(int(k[1:]) for k, v in found.groupdict().items() if v and k.startswith("k"))
            value = found.groupdict().get(f"v{index}") or found[0]
            if (
                _NO_SECRET.match(value)
                or (index > 1 and "PRIVATE KEY" not in value and _flat(value))
                or "EXAMPLE" in value
            ):
                continue
            if _NAMES[index] == "a private key" and not _key_follows(text, number):
                continue
            yield Violation(name, (Location(name, number),), f"{_NAMES[index]} in plain text")


def _key_follows(text: str, number: int) -> bool:
    """Whether a key's body follows its first line (a sentence about keys has none)."""
    below = text.splitlines()[number : number + 3]
    return any(re.search(r"[A-Za-z0-9+/=]{40,}", line) for line in below) or "\\n" in text.splitlines()[number - 1]


def _flat(value: str) -> bool:
    """Whether a text has too little in it to be a key."""
    if value.startswith("http"):
        return False
    counts = [value.count(c) / len(value) for c in set(value)]
    return -sum(p * math.log2(p) for p in counts) < 2.6


def _secrets(tree: Tree, name: str) -> Iterator[Violation]:
    for line, body in tree.sources.bodies(name):
        if body.get("kind") != "Secret" or body.get("apiVersion") != "v1" or "sops" in body:
            continue
        keys = []
        for part in ("data", "stringData"):
            for key, value in mapping(body.get(part)).items():
                if _is_secret(str(value), encoded=part == "data") and not str(value).startswith("ENC["):
                    keys.append((part, str(key)))
        if keys:
            label = f"Secret/{get(body, 'metadata', 'namespace') or 'default'}/{get(body, 'metadata', 'name')}"
            location = tree.sources.locate(name, "Secret", str(get(body, "metadata", "name")), keys[0])
            yield Violation(
                label,
                (location if location.line >= line else Location(name, line),),
                f"{label} holds {', '.join(k for _, k in keys)} in plain text",
            )


def _is_secret(value: str, *, encoded: bool) -> bool:
    if encoded:
        try:
            value = base64.b64decode(value, validate=True).decode()
        except ValueError:
            return bool(value.strip()) and not value.startswith("${")
    return (
        bool(value.strip())
        and not value.strip().startswith(("${", "ENC[", "<"))
        and value.strip().lower() not in ("changeme", "placeholder", "example", "todo")
    )


def _fields(name: str, text: str, *, documents: bool) -> Iterator[Violation]:
    """``password: …`` with a value that looks like one: long enough, and not a word, a path, a reference or a placeholder."""
    if name.endswith(".md") or not _FIELD_HINT.search(text):
        return
    lines = text.splitlines()
    left_out: set[int] = set()
    begin = 0
    for number in (
        [i for i, line in enumerate(lines) if line.startswith("---")] + [len(lines)] if documents else [len(lines)]
    ):
        part = "\n".join(lines[begin:number])
        # What SOPS has encrypted, and Secrets, which are looked at as such.
        if re.search(r"^sops:|^\s*\"sops\":", part, re.MULTILINE) or (
            documents and re.search(r"^kind:\s*[\"']?Secret\b", part, re.MULTILINE)
        ):
            left_out |= set(range(begin, number))
        begin = number
    for number, line in enumerate(lines, 1):
        if number - 1 in left_out:
            continue
        found = _FIELD.match(line) if _FIELD_HINT.search(line) else None
        named = (
            found and found[1].lower() == "secret" and re.fullmatch(r"[a-z0-9][-a-z0-9.]*", found[2])
        )  # an object's name
        if (
            found
            and not named
            and not _NO_SECRET.match(found[2])
            and not re.search(r"(?i)name|ref|file|path|existing|key:$", line.split(found[1])[0])
            and _mixed(found[2])
        ):
            yield Violation(name, (Location(name, number),), f"a value of '{found[1]}' in plain text")


def _mixed(value: str) -> bool:
    """Whether a text is made like a key: letters and digits or signs, without the look of code, a name or a version."""
    if re.search(r"[(){}\[\]<>$,;]|\.\w+\.|::", value) or value.count("/") > 2:
        return False
    classes = sum(bool(re.search(p, value)) for p in (r"[a-z]", r"[A-Z]", r"\d", r"[^A-Za-z0-9]"))
    return len(value) >= 8 and classes >= 3 and not _flat(value)


@rule(
    "security.cluster-admin",
    "rbac-least",
    Severity.BREAKS_CLAIM,
    why="whoever runs code in that pod owns the cluster",
    do="give it the verbs that it needs, or state it: [declared] cluster_admin",
)
def cluster_admin(tree: Tree) -> Iterator[Outcome]:
    """cluster-admin and wildcards beyond the stated accounts; pods that use the default account."""
    declared = {str(s) for s in tree.settings.declared.cluster_admin}
    wild = {
        m.name for m in tree.of("ClusterRole") if any(_everything(mapping(r)) for r in sequence(m.body.get("rules")))
    }
    for binding in tree.of("ClusterRoleBinding"):
        name = str(get(binding.body, "roleRef", "name"))
        if name not in {"cluster-admin", *wild}:
            continue
        for index, subject in enumerate(map(mapping, sequence(binding.body.get("subjects")))):
            who = (
                f"{subject.get('namespace')}/{subject.get('name')}"
                if subject.get("kind") == "ServiceAccount"
                else str(subject.get("name"))
            )
            flux = _is_flux(tree, binding) and who.split("/")[-1] in ("kustomize-controller", "helm-controller")
            if who in declared or flux:
                yield Evidence(
                    f"{who} has {name}, stated" if who in declared else f"{who} has {name}: Flux applies everything"
                )
            else:
                yield hit(tree, binding, f"{who} has {name}", "subjects", index)
    yield from unknown_charts(tree)
    yield Evidence("no other account has all rights")


def _everything(one: dict[str, object]) -> bool:
    """Whether a rule of a role gives every verb on everything."""
    return all("*" in map(str, sequence(one.get(part))) for part in ("verbs", "resources", "apiGroups"))


def _is_flux(tree: Tree, manifest: Manifest) -> bool:
    kustomization = tree.kustomization_of(manifest)
    return kustomization is not None and role(tree, kustomization) == FLUX


@rule(
    "security.default-account",
    "rbac-least",
    Severity.BREAKS_CLAIM,
    why="rights given to one pod are then everybody's",
    do="give it a ServiceAccount of its own, or automountServiceAccountToken: false",
    opt_in=True,
)
def default_account(tree: Tree) -> Iterator[Outcome]:
    """Pods that run as the default account with its token."""
    for manifest in tree.workloads():
        account = manifest.pod.get("serviceAccountName") or manifest.pod.get("serviceAccount") or "default"
        own = tree.by_key.get(("ServiceAccount", manifest.namespace, "default"))
        off = manifest.pod.get("automountServiceAccountToken") is False or (
            own is not None and own.body.get("automountServiceAccountToken") is False
        )
        if account == "default" and not off:
            yield hit(
                tree, manifest, f"{manifest.id} runs as the default ServiceAccount, with its token", *manifest.pod_path
            )
    yield Evidence(f"{len(tree.workloads())} workloads looked at")


@rule(
    "security.privileged",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="whoever gets into it owns the node",
    do="drop privileged and the host's paths, or state it: [declared] privileged",
)
def privileged(tree: Tree) -> Iterator[Outcome]:
    """Privileged containers, the host's root, its container socket, its PID space."""
    declared = {str(s) for s in tree.settings.declared.privileged}
    for manifest in tree.workloads():
        if manifest.id in declared:
            continue
        for path, container in manifest.containers(every=True):
            if get(container, "securityContext", "privileged") is True:
                yield hit(
                    tree,
                    manifest,
                    f"the container {container.get('name')} of {manifest.id} is privileged",
                    *path,
                    "securityContext",
                    "privileged",
                )
        if manifest.pod.get("hostPID") is True:
            yield hit(tree, manifest, f"{manifest.id} sees every process of its node", *manifest.pod_path, "hostPID")
        for index, volume in enumerate(sequence(manifest.pod.get("volumes"))):
            where = str(get(volume, "hostPath", "path") or "")
            if where.rstrip("/") in (
                "",
                "/etc",
                "/root",
                "/var/run/docker.sock",
                "/run/containerd/containerd.sock",
                "/var/run",
            ) and get(volume, "hostPath"):
                yield hit(
                    tree, manifest, f"{manifest.id} mounts {where} of its node", *manifest.pod_path, "volumes", index
                )


@rule(
    "security.image",
    FAMILY,
    Severity.UPGRADE_HAZARD,
    why="what runs after the next restart isn't what was tested",
    do="name a version or a digest",
)
def image(tree: Tree) -> Iterator[Outcome]:
    """Images without a version."""
    for manifest in tree.workloads():
        for path, container in manifest.containers(every=True):
            name = str(container.get("image") or "")
            last = name.rpartition("/")[2]
            if name and "@" not in name and (":" not in last or last.endswith(":latest")) and "$" not in name:
                yield hit(
                    tree,
                    manifest,
                    f"the container {container.get('name')} of {manifest.id} runs {name}, whatever that is on that day",
                    *path,
                    "image",
                )
