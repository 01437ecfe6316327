"""What Flux's own words say is in the way."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from holdfast.rehearsal.looks import State, plain


class Lack(StrEnum):
    """The sorts of what can be in the way; the value is the rule that says it."""

    DEPENDENCY = "apply.missing-dependency"
    KIND = "apply.missing-kind"
    VERSION = "schema.version"
    NAMESPACE = "apply.missing-namespace"
    SOURCE = "apply.missing-source"
    CONFIG = "apply.missing-config"
    BUILD = "apply.build"
    REFUSED = "apply.refused"
    HEALTH = "apply.never-ready"
    LOOP = "boot.loop"
    RELEASE = "apply.release"
    OTHER = "apply.stuck"


@dataclass(frozen=True)
class Blocker:
    """One thing that is in the way of one of Flux's objects.

    Attributes:
        holder: the id of the object that it keeps from being ready.
        what: what is lacking or refused: an id, or ``Kind (group/version)``.
        object: the id of the object that is refused or needs it, where the words name one.
        said: the words of Flux or of the API server about it.
    """

    lack: Lack
    holder: str
    what: str
    object: str = ""
    said: str = ""


# What the API server says of a field that it doesn't let anybody change.
IMMUTABLE = re.compile(
    r"immutable|may not (?:be )?change|are forbidden|can ?not (?:be )?changed?|can't be changed|can not be less than"
    r"|missing from spec\.versions|failed rule: [^\n]*\boldSelf\b"
)
_DEPENDENCY = re.compile(r"dependency '([^']+)' (not found|is not ready|revision is not up to date)")
_OBJECT = re.compile(
    r"(?P<object>[A-Z]\w*(?:/[\w.:-]+){1,2}) "
    r"(?:dry-run failed|apply failed|not found: |namespace not specified|immutable field detected|failed to migrate)"
)
_DONE = re.compile(r"^[A-Z]\w*(?:/[\w.:-]+){1,2} (?:created|configured|unchanged|skipped|deleted)$", re.MULTILINE)
_KIND = re.compile(r'no matches for kind "(\w+)" in version "([^"]+)"')
_VERSION = re.compile(r"(?:[\w.-]+/)?\w+")
_SPACE = re.compile(r'namespaces? "([^"]+)" not found')
_SUBSTITUTE = re.compile(r"""substitute from '(Secret|ConfigMap)/([^']+)' error""")
_SOURCE = re.compile(r"Source '([^']+)' not found")
_NO_SOURCE = re.compile(
    r'(?:repositor(?:ies|y)|buckets?|charts?|artifacts?)\.source[\w.]*fluxcd\.io "([^"]+)" not found', re.IGNORECASE
)
_VALUES = re.compile(r"(Secret|ConfigMap) '([^']+)' of valuesFrom not found")
_UNHEALTHY = re.compile(r"([A-Z]\w*(?:/[\w.:-]+){1,2}) status: '(\w+)'")


def waits_for(state: State) -> str:
    """The id of the dependency that it waits for and that is there; empty where it waits for none."""
    found = _DEPENDENCY.search(state.said)
    if not found or found[2] == "not found":
        return ""
    return f"{state.kind}/{found[1]}"


def blockers(state: State) -> list[Blocker]:
    """What keeps an object that failed from being ready; empty where it only waits for another one that is there."""
    said = _DONE.sub("", plain(state.said)).strip()
    if (found := _DEPENDENCY.search(said)) and found[2] != "not found":
        return []
    if (one := _of_reference(state, said)) is not None:
        return [one]
    if parts := _parts(said):
        return [_refused(state.id, name, words) for name, words in parts]
    sick = [name for name, _ in _UNHEALTHY.findall(said)] if _is_of_health(state, said) else []
    if sick:
        return [Blocker(Lack.HEALTH, state.id, name, name, said) for name in sick]
    return [Blocker(_otherwise(state, said), state.id, state.id, state.id, said)]


def _of_reference(state: State, said: str) -> Blocker | None:
    """Where it names something that isn't there."""
    holder = state.id
    if found := _DEPENDENCY.search(said):
        return Blocker(Lack.DEPENDENCY, holder, f"{state.kind}/{found[1]}", holder, found[0])
    if found := _SOURCE.search(said) or _NO_SOURCE.search(said):
        return Blocker(Lack.SOURCE, holder, found[1], holder, said)
    if found := _SUBSTITUTE.search(said) or _VALUES.search(said):
        name = found[2] if "/" in found[2] else f"{state.namespace}/{found[2]}"
        return Blocker(Lack.CONFIG, holder, f"{found[1]}/{name}", holder, said)
    return None


def _is_of_health(state: State, said: str) -> bool:
    return "health check failed" in said or state.reason == "HealthCheckFailed"


def _otherwise(state: State, said: str) -> Lack:
    """The sort of what names no object of its own."""
    if state.reason in ("BuildFailed", "ArtifactFailed") or "kustomize build failed" in said:
        return Lack.BUILD
    if _is_of_health(state, said):
        return Lack.HEALTH
    return Lack.RELEASE if state.kind == "HelmRelease" else Lack.OTHER


def _parts(said: str) -> list[tuple[str, str]]:
    """The objects that a try of an apply failed on, each with the words about it."""
    found = list(_OBJECT.finditer(said))
    ends = [*(match.start() for match in found[1:]), len(said)][: len(found)]
    return [(match["object"], said[match.start() : end].strip(" ;,\n")) for match, end in zip(found, ends, strict=True)]


def _refused(holder: str, name: str, words: str) -> Blocker:
    if (kind := _KIND.search(words)) and _VERSION.fullmatch(kind[2]):
        return Blocker(Lack.KIND, holder, f"{kind[1]} ({kind[2]})", name, words)
    if space := _SPACE.search(words):
        return Blocker(Lack.NAMESPACE, holder, f"Namespace/{space[1]}", name, words)
    return Blocker(Lack.REFUSED, holder, name, name, words)
