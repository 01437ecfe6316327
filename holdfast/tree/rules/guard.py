"""The tree's own guard: what looks at a change before it is deployed - a step of CI, or a hook - and whether that would see what can't be changed."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.tree import immutable
from holdfast.tree.findings import Evidence, Inconclusive, Outcome, Severity, Violation, rule
from holdfast.tree.manifest import Manifest, get
from holdfast.tree.repository import Location
from holdfast.tree.tree import Tree

CLAIM = "immutable-detected"
_FILES = re.compile(
    r"(?:^|/)(?:\.(?:github|gitea|forgejo)/workflows/[^/]+\.ya?ml|\.gitlab-ci\.ya?ml|\.gitlab/.+\.ya?ml|\.woodpecker(?:/[^/]+)?\.ya?ml"
    r"|\.drone\.ya?ml|\.circleci/config\.ya?ml|\.pre-commit-config\.ya?ml|\.?lefthook\.(?:ya?ml|toml)|\.(?:githooks|husky)/[^/]+"
    r"|Jenkinsfile|azure-pipelines\.ya?ml|\.holdfast/gitlab-ci\.ya?ml)$"
)
# Ours compares two commits, and knows which fields can't be changed; the others ask an API server, or show what differs.
_OURS = re.compile(r"\bholdfast\s+(?:check|rehearse)\b[^\n#]*--against\b|\bholdfast-check\b")
_OTHERS = re.compile(
    r"\bflux\s+diff\b|\bkubectl\s+diff\b|--dry-run[= ]server\b|\bflux-local\s+(?:diff|build)\b|\bkubedog\b"
)
_IGNORED = re.compile(r"\|\|\s*(?:true|:|exit 0)|continue-on-error:\s*true|allow_failure:\s*true")
_SEEDED = "holdfast-seeded"


@dataclass(frozen=True)
class Guard:
    """Where a change is looked at, by what, and whether what it finds stops anything."""

    words: str
    location: Location
    ours: bool
    stops: bool


def guards(tree: Tree) -> list[Guard]:
    """Every guard that the repository's hooks and pipelines show."""
    return [one for file in tree.repository.files if _FILES.search(file) for one in _in(tree, file)]


def _in(tree: Tree, file: str) -> Iterator[Guard]:
    text = tree.repository.text(file)
    lines = [line.partition("#")[0] if line.lstrip().startswith("#") else line for line in text.splitlines()]
    for number, line in enumerate(lines, 1):
        ours = _OURS.search(line)
        if ours and "holdfast-check" in ours[0] and "--against" not in "\n".join(lines[number - 1 : number + 5]):
            continue  # the hook looks at the tree as it is, not at a change
        if found := ours or _OTHERS.search(line):
            near = "\n".join(lines[max(0, number - 4) : number + 3])
            yield Guard(found[0].strip(), Location(file, number), bool(ours), not _IGNORED.search(near))


@rule(
    "change.guard",
    CLAIM,
    Severity.BREAKS_CLAIM,
    why="a change of a field that can't be changed is first met in the cluster, where it holds back its whole Kustomization",
    do="look at each change before it is merged: holdfast check --against in CI, or kubectl diff against the cluster",
    opt_in=True,
)
def guard(tree: Tree) -> Iterator[Outcome]:
    """Repositories in which nothing looks at a change; of what does, whether it refuses a seeded change of each kind that the tree has."""
    found = guards(tree)
    if not found:
        root = tree.root
        place = tree.locate(root.manifest) if root.manifest.file else Location(root.folder, 1)
        yield Violation(
            f"Kustomization/{root.id}", (place,), "no hook and no pipeline of the repository looks at a change"
        )
        return
    stopping = [one for one in found if one.stops]
    if not stopping:
        yield Violation(
            f"Kustomization/{tree.root.id}", (found[0].location,), f"what '{found[0].words}' finds stops nothing"
        )
        return
    ours = next((one for one in stopping if one.ours), None)
    if ours is None:
        first = stopping[0]
        yield Inconclusive(
            f"'{first.words}' ({first.location}) looks at changes; whether it refuses what can't be changed isn't seen here"
        )
        return
    refused, missed = seeded(tree)
    for kind in missed:
        yield Inconclusive(f"'{ours.words}' ({ours.location}) isn't known to refuse a change of {kind}")
    if refused:
        yield Evidence(
            f"'{ours.words}' ({ours.location}) refuses a seeded change of each kind of the tree: {', '.join(refused)}"
        )
    elif not missed:
        yield Inconclusive("nothing of the tree has a field that can't be changed, so that nothing could be seeded")


def seeded(tree: Tree) -> tuple[list[str], list[str]]:
    """The kinds of the tree with fields that can't be changed: (those of which a seeded change is refused, those of which it isn't)."""
    seen: dict[str, bool] = {}
    for manifest in tree.objects:
        path = _field(manifest)
        if path and manifest.kind not in seen:
            changed = copy.deepcopy(manifest.body)
            above = get(changed, *path[:-1]) if len(path) > 1 else changed
            above[path[-1]] = _other(above[path[-1]])
            found = immutable.refusals(manifest.group, manifest.kind, manifest.body, changed)
            seen[manifest.kind] = any(one.path == path for one in found)
    return sorted(k for k, refused in seen.items() if refused), sorted(k for k, refused in seen.items() if not refused)


def _field(manifest: Manifest) -> tuple[str, ...]:
    """The first field of an object that can't be changed and that it has; empty where there is none."""
    return next((p for p in immutable.fields(manifest.group, manifest.kind) if get(manifest.body, *p) is not None), ())


def _other(value: object) -> object:
    """Another value of the same sort."""
    if isinstance(value, dict):
        return {**value, _SEEDED: _SEEDED}
    if isinstance(value, list):
        return [*value, _SEEDED]
    return value + 1 if isinstance(value, int) and not isinstance(value, bool) else f"{value}-{_SEEDED}"
