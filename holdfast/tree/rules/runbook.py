"""The runbook: what it covers, and whether its commands can do what they say."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.tree.findings import Evidence, Inconclusive, Outcome, OutOfScope, Severity, Violation, rule
from holdfast.tree.near import closest, near
from holdfast.tree.repository import Location
from holdfast.tree.runbook import SCENARIOS, Command, commands, sections
from holdfast.tree.tree import HELM, KUSTOMIZE, SOURCE, Tree
from holdfast.tree.typable import PROGRAMS, verbs

CLAIM = "emergency-procedures"
_OF_FLUX = ("reconcile", "suspend", "resume")
_KINDS = {
    **dict.fromkeys(("kustomization", "kustomizations", "ks"), (KUSTOMIZE, "Kustomization")),
    **dict.fromkeys(("helmrelease", "helmreleases", "hr"), (HELM, "HelmRelease")),
}
_SOURCES = {
    "git": "GitRepository", "helm": "HelmRepository", "oci": "OCIRepository", "bucket": "Bucket", "chart": "HelmChart",
}  # fmt: skip
_WITH_VALUE = ("-n", "--namespace", "--timeout", "--request-timeout")
_FLUX_NAMESPACE = "flux-system"


def _text(tree: Tree) -> str | Outcome:
    """The runbook's text, or why there is none."""
    name = tree.settings.runbook
    if not name:
        return OutOfScope("no runbook is named in .holdfast.toml")
    if name not in tree.repository.known:
        at = (Location(".holdfast.toml", 1),)
        return Violation(name, at, f"the runbook {name} isn't in the tree", do="put it there, or fix its name")
    return tree.repository.text(name)


@rule(
    "flux.runbook",
    CLAIM,
    Severity.BREAKS_CLAIM,
    why="in the night nobody knows what to do about it",
    do="add a section on it",
    opt_in=True,
)
def runbook(tree: Tree) -> Iterator[Outcome]:
    """The runbook exists and covers every failure scenario, each in a section with commands."""
    text, name = _text(tree), tree.settings.runbook
    if not isinstance(text, str):
        yield text
        return
    found = sections(text)
    for scenario, words in SCENARIOS.items():
        if not any(w in text.lower() for w in words):
            yield Violation(name, (Location(name, 1),), f"the runbook {name} says nothing about: {scenario}")
        elif scenario not in found:
            yield Inconclusive(f"{name} has no section on: {scenario}")
        elif not (found[scenario].commands or found[scenario].afterwards):
            yield Inconclusive(f"{name} gives no command for: {scenario}")
        else:
            count = len(found[scenario].commands) + len(found[scenario].afterwards)
            yield Evidence(f"{name}:{found[scenario].line} has {count} commands for: {scenario}")


@rule(
    "flux.runbook-command",
    CLAIM,
    Severity.BREAKS_CLAIM,
    why="it fails when it is needed, and whoever types it then has to find out why",
    do="write it as it works, and try it",
    opt_in=True,
)
def command(tree: Tree) -> Iterator[Outcome]:
    """The commands of the runbook can be read by a shell, are verbs of kubectl and flux, and name objects of Flux's that the tree has."""
    text, name = _text(tree), tree.settings.runbook
    if not isinstance(text, str):
        if isinstance(text, OutOfScope):
            yield text
        return
    wrong = 0
    for one in commands(text):
        said = _against(tree, one)
        if isinstance(said, str) and said:
            wrong += 1
            yield Violation(name, (Location(name, one.line),), f"{one.text}: {said}")
        elif said:
            yield said
    if not wrong:
        yield Evidence(f"the commands of {name} can be read")


def _against(tree: Tree, one: Command) -> str | Inconclusive:
    """Why a command can't work, or a doubt; empty where nothing speaks against it."""
    if one.unreadable:
        return one.not_run
    if not one.words or one.words[0] not in PROGRAMS:
        return ""
    program, known = one.words[0], verbs(one.words[0])
    if one.verb and not one.verb.startswith("-") and one.verb not in known:
        if meant := near(one.verb, known):
            return f"{program} has no verb {one.verb}: {meant} is meant"
        return Inconclusive(f"{one.text}: {program} has no verb {one.verb} of its own")
    return _missing(tree, one) if program == "flux" and one.verb in _OF_FLUX and not one.not_run else ""


def _missing(tree: Tree, one: Command) -> str | Inconclusive:
    """What a command of Flux's names that the tree hasn't got."""
    plain, namespace = _plain(one.words[1:])
    kind = _KINDS.get(plain[1] if len(plain) > 1 else "")
    names = plain[2:]
    if len(plain) > 2 and plain[1] == "source" and plain[2] in _SOURCES:
        kind, names = (SOURCE, _SOURCES[plain[2]]), plain[3:]
    if kind is None or not names:
        return ""
    there = {(m.namespace, m.name) for m in tree.of(kind[1]) if m.group == kind[0]}
    for name in names:
        if (namespace, name) in there:
            continue
        if homes := sorted({n for n, other in there if other == name}):
            return f"{kind[1]} {name} is in {' and '.join(homes)}, not in {namespace}"
        meant = closest(name, (n for _, n in there))
        if meant:
            return f"there is no {kind[1]} {name}: {meant} is meant"
        if tree.not_read:
            return Inconclusive(f"{one.text}: {kind[1]} {namespace}/{name} isn't in what was read")
        return f"nothing in the tree makes {kind[1]} {namespace}/{name}"
    return ""


def _plain(words: tuple[str, ...]) -> tuple[list[str], str]:
    """The words that are no options, and the namespace."""
    plain, namespace, before = [], _FLUX_NAMESPACE, ""
    for word in words:
        if before in ("-n", "--namespace"):
            namespace = word
        elif word.startswith(("-n=", "--namespace=")):
            namespace = word.partition("=")[2]
        elif not word.startswith("-") and before not in _WITH_VALUE:
            plain.append(word)
        before = word
    return plain, namespace
