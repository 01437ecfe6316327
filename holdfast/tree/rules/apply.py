"""What the API server or Flux refuses: builds that fail, charts, broken files, objects that exist twice, patches on nothing."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator

from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Outcome, Severity, Violation, hit, rule
from holdfast.tree.fluxapi import told
from holdfast.tree.manifest import Body, Manifest, get, mapping, sequence
from holdfast.tree.references import read
from holdfast.tree.repository import Location
from holdfast.tree.rules.ownership import renamed
from holdfast.tree.tree import Kustomization, Tree

FAMILY = "apply"


@rule(
    "apply.build",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="nothing of a Kustomization that can't be built is applied, and no later commit of it is either",
    do="fix it, then run: kustomize build FOLDER",
)
def build(tree: Tree) -> Iterator[Outcome]:
    """Builds that fail, in kustomize's own words."""
    for kustomization in tree.all_kustomizations():
        if kustomization.error and not any(
            words in kustomization.error for words in ("already defined", "no name of a variable")
        ):  # apply.duplicate-key and apply.variable-name say it better
            location = (
                kustomization.built.location
                if kustomization.built and kustomization.built.location
                else _path_place(tree, kustomization)
            )
            held = (
                ()
                if kustomization.unreferenced
                else tuple(f"Kustomization/{i}" for i in _held_back(tree, kustomization.id))
            )
            name = (
                kustomization.folder
                if kustomization.unreferenced and not kustomization.manifest.file
                else f"Kustomization/{kustomization.id}"
            )
            yield Violation(
                name,
                (location,),
                f"{kustomization.folder} can't be built: {kustomization.error}",
                hits=(name, *held),
                unreferenced=kustomization.unreferenced,
            )


def _path_place(tree: Tree, kustomization: Kustomization) -> Location:
    return (
        tree.locate(kustomization.manifest, "spec", "path")
        if kustomization.manifest.file
        else Location(kustomization.folder, 1)
    )


def _held_back(tree: Tree, kustomization: str) -> list[str]:
    """The Kustomizations that wait for one, directly or not."""
    found: list[str] = []
    for other in tree.kustomizations.values():
        if kustomization in other.depends_on:
            found += (
                [other.id, *_held_back(tree, other.id)] if other.id not in found and other.id != kustomization else []
            )
    return list(dict.fromkeys(found))


@rule(
    "apply.chart",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="the release is never installed or upgraded",
    do="fix the chart or the values, then run: helm template",
)
def chart(tree: Tree) -> Iterator[Outcome]:
    """Charts that can be read and not rendered, in helm's own words."""
    for manifest, words in tree.charts.errors:
        yield hit(tree, manifest, f"the chart of {manifest.id} can't be rendered: {words}", "spec", "chart")


@rule(
    "apply.yaml",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="a file that no parser reads is applied by nobody",
    do="fix the YAML",
)
def broken_yaml(tree: Tree) -> Iterator[Outcome]:
    """Files that no build reads and that can't be parsed (what a build reads is apply.build's)."""
    reported = {
        kustomization.built.location.file
        for kustomization in tree.all_kustomizations()
        if kustomization.error and kustomization.built and kustomization.built.location
    }
    for name in tree.unreachable:
        tree.sources.bodies(name)
    read_by_builds = {
        f
        for kustomization in tree.all_kustomizations()
        if kustomization.built
        for f in (
            *(kustomization.built.closure.files - kustomization.built.closure.opaque),
            *kustomization.built.closure.kustomizations,
        )
    }
    for name, trouble in sorted(tree.sources.troubles.items()):
        if name not in reported and (name in read_by_builds or name in tree.unreachable):
            unreferenced = not any(
                kustomization.built and name in kustomization.built.closure.files
                for kustomization in tree.kustomizations.values()
            )
            yield Violation(
                name,
                (trouble.location,),
                f"the YAML is broken: {trouble.what}",
                unreferenced=unreferenced,
                severity=Severity.HYGIENE if unreferenced else None,
            )


@rule(
    "apply.duplicate-key",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="kustomize refuses a key that stands twice; other parsers silently take the last one",
    do="keep one of them",
)
def duplicate_keys(tree: Tree) -> Iterator[Outcome]:
    """A mapping key that stands twice in a file that a build reads."""
    for kustomization in tree.all_kustomizations():
        if "already defined" not in kustomization.error or kustomization.built is None:
            continue  # kustomize reads every one of these files, and refuses such a key
        files = sorted(
            {
                *(kustomization.built.closure.files - kustomization.built.closure.opaque),
                *kustomization.built.closure.kustomizations,
            }
        )
        for name in (f for f in files if f.endswith((".yaml", ".yml"))):
            for source in tree.sources.documents(name):
                for location, key, first in _twice(name, source.node):
                    held = (
                        ()
                        if kustomization.unreferenced
                        else tuple(
                            f"Kustomization/{i}" for i in [kustomization.id, *_held_back(tree, kustomization.id)]
                        )
                    )
                    yield Violation(
                        f"{source.kind}/{source.name}",
                        (location,),
                        f"the key '{key}' stands twice (first in line {first})",
                        hits=held,
                        unreferenced=kustomization.unreferenced,
                    )


def _twice(file: str, node: object) -> Iterator[tuple[Location, str, int]]:
    stack, done = [node], set()
    while stack:
        here = stack.pop()
        if id(here) in done:
            continue
        done.add(id(here))
        value = getattr(here, "value", None)
        if not isinstance(value, list):
            continue
        if getattr(here, "id", "") == "sequence":
            stack += value
            continue
        seen: dict[str, int] = {}
        for key, below in value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen and name != "<<":
                yield Location(file, line), name, seen[name]
            seen[name] = line
            stack.append(below)


@rule(
    "apply.duplicate-object",
    "git-single-source",
    Severity.BREAKS_CLAIM,
    why="two owners overwrite each other at every interval, and pruning one may delete it",
    do="keep it in one Kustomization",
)
def duplicates(tree: Tree) -> Iterator[Outcome]:
    """The same object in several Kustomizations (twice in one, kustomize itself refuses)."""
    for owned in _by_object(tree).values():
        first, *others = owned
        if others:
            owners = [_owner(m) for m in owned]
            told = " and by ".join(owners) if len(owners) <= _TOLD else f"{owners[0]} and by {len(owners) - 1} others"
            yield Violation(
                first.id,
                tuple(tree.locate(m, "metadata", "name") for m in (others[0], first, *others[1:])),
                f"{first.id} is applied by {told}",
                hits=(first.id, *owners),
                cause=" ".join(sorted(owners)),
            )
    yield from _release_names(tree)


_TOLD = 2  # owners that are named in the sentence; where there are more, all are among the hits


def _by_object(tree: Tree) -> dict[tuple[str, ...], list[Manifest]]:
    """What each owner applies under one name, the first owner first: several where they don't know of each other."""
    found: dict[tuple[str, ...], list[Manifest]] = {}
    other_names = {id(m) for k in tree.kustomizations.values() for m, _ in renamed(tree, k)}
    for manifest in (m for m in tree.objects if id(m) not in other_names):  # apply.renamed-namespace says them
        key = (manifest.group, *manifest.key)
        if any(UNKNOWN in part for part in key) or _is_made_up(tree, manifest):
            continue  # two names that nobody knows aren't one name
        known = found.setdefault(key, [])
        if all(manifest.owner != m.owner for m in known):
            known.append(manifest)
    return {key: _unaware(owned) for key, owned in found.items()}


def _unaware(owned: list[Manifest]) -> list[Manifest]:
    """Those of several owners' that meet at least one other which they don't know of; the first alone where none does."""
    met = [m for m in owned if any(o is not m and not _on_purpose(o, m) and not _on_purpose(m, o) for o in owned)]
    return met or owned[:1]


def _release_names(tree: Tree) -> Iterator[Outcome]:
    """Two releases under one name of Helm's."""
    names: dict[tuple[str, str], Manifest] = {}
    for release in tree.releases:
        own = release.manifest
        name = release.name
        space = str(own.spec.get("storageNamespace") or own.namespace)
        if UNKNOWN in name + space:
            continue
        other = names.setdefault((name, space), own)
        if other is not own and other.key != own.key:
            stand = sorted((tree.locate(own, "metadata", "name"), tree.locate(other, "metadata", "name")), reverse=True)
            yield Violation(own.id, tuple(stand), f"{own.id} and {other.id} are both the Helm release {space}/{name}")


def _is_made_up(tree: Tree, manifest: Manifest) -> bool:
    """Whether its owner is the entry's own Kustomization, which the tree doesn't have: what is applied by hand at the start is no second owner."""
    owner = tree.kustomizations.get(manifest.owner)
    return owner is not None and not owner.manifest.file


def _on_purpose(one: Manifest, other: Manifest) -> bool:
    """Whether two owners were told to live with each other (Flux' ssa annotations), or both only make sure that a namespace is there."""
    apart = any(told(m, "ssa", value) for m in (one, other) for value in ("IfNotPresent", "Ignore", "Merge"))
    return apart or (one.kind == "Namespace" and one.body == other.body)


def _owner(manifest: Manifest) -> str:
    return manifest.owner if manifest.by == "HelmChart" else f"Kustomization/{manifest.owner}"


@rule(
    "apply.patch-on-nothing",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="kustomize says nothing about a patch whose target matches nothing: what it should change stays",
    do="fix the target's kind or name",
)
def patch_on_nothing(tree: Tree) -> Iterator[Outcome]:
    """Patches with a target that matches no object of the build."""
    for kustomization in tree.all_kustomizations():
        if kustomization.gap or kustomization.built is None:
            continue  # what it targets may lie in what isn't read
        bodies = {f: read(tree.sources, f) for f in kustomization.built.closure.kustomizations}
        renamed = [t for file, body in bodies.items() for t in _renamed(tree, file, body)]
        for file, body in bodies.items():
            for index, patch in enumerate([*sequence(body.get("patches")), *sequence(body.get("patchesJson6902"))]):
                target = mapping(mapping(patch).get("target"))
                if (
                    target
                    and body.get("kind") != "Component"
                    and not _of_bootstrap(tree, kustomization, target)
                    and not _for_any(patch)
                    and not get(patch, "options", "allowNameChange")  # the name that it was found by is gone
                    and target not in renamed
                    and not _taken_away(tree, file, body, index, target)
                    and not _is_own_namespace(target, bodies.values())
                    and not any(_targeted(target, m) for m in kustomization.objects)
                ):
                    yield Violation(
                        file,
                        (tree.sources.locate(file, path=("patches", index)),),
                        f"a patch of {file} targets {_target_text(target)}, and there is none",
                        unreferenced=kustomization.unreferenced,
                    )
        for index, patch in enumerate(sequence(kustomization.spec.get("patches"))):
            target = mapping(mapping(patch).get("target"))
            if not target or _for_any(patch) or any(_targeted(target, m) for m in kustomization.objects):
                continue
            # One that a parent puts into all of its children need not meet something in each of them.
            shared = [k for k in tree.all_kustomizations() if patch in sequence(k.spec.get("patches"))]
            if not any(k.gap or any(_targeted(target, m) for m in k.objects) for k in shared):
                yield Violation(
                    kustomization.manifest.id,
                    (tree.locate(kustomization.manifest, "spec", "patches", index),),
                    f"a patch of {kustomization.manifest.id} targets {_target_text(target)}, and there is none",
                    unreferenced=kustomization.unreferenced,
                )


def _renamed(tree: Tree, file: str, body: Body) -> Iterator[dict[str, object]]:
    """The targets of patches that give another name: a later patch still finds them by the old one."""
    for patch in map(mapping, [*sequence(body.get("patches")), *sequence(body.get("patchesJson6902"))]):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(file), str(patch.get("path") or "")))
        text = str(patch.get("patch") or "") or (tree.repository.text(path) if path in tree.repository.known else "")
        if "/metadata/name" in text:
            yield mapping(patch.get("target"))


def _patches(body: Body) -> list[Body]:
    return [mapping(p) for p in (*sequence(body.get("patches")), *sequence(body.get("patchesJson6902")))]


def _taken_away(tree: Tree, file: str, body: Body, index: int, target: dict[str, object]) -> bool:
    """Whether a patch before this one takes its target away: what is switched off on purpose, with the patches that it had."""
    for patch in _patches(body)[:index]:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(file), str(patch.get("path") or "")))
        text = str(patch.get("patch") or "") or (tree.repository.text(path) if path in tree.repository.known else "")
        if "$patch: delete" not in text:
            continue
        other = mapping(patch.get("target"))
        same = all(not other.get(k) or other.get(k) == target.get(k) for k in ("kind", "name")) and bool(other)
        if same or re.search(rf"(?m)^\s*name:\s*[\"']?{re.escape(str(target.get('name')))}[\"']?\s*$", text):
            return True
    return False


def _is_own_namespace(target: dict[str, object], bodies: Iterable[Body]) -> bool:
    """Whether a patch is for the Namespace that the build calls otherwise in the end: its ``namespace`` renames one, too."""
    return target.get("kind") == "Namespace" and any(body.get("namespace") for body in bodies)


def _of_bootstrap(tree: Tree, kustomization: Kustomization, target: dict[str, object]) -> bool:
    """Whether a patch is for Flux's own parts, and the file that flux bootstrap writes them to is still empty."""
    files = kustomization.built.closure.files if kustomization.built else ()
    empty = {f.rpartition("/")[2] for f in files if "gotk-" in f and not tree.sources.bodies(f)}
    if target.get("kind") in ("Kustomization", "GitRepository"):
        return "gotk-sync.yaml" in empty
    ours = target.get("namespace") == "flux-system" or "controller" in str(target.get("name"))
    return "gotk-components.yaml" in empty and ours


def _for_any(patch: object) -> bool:
    """Whether a patch needs no target that is seen here: it takes it away, is for whatever there is of a kind, or names it by a variable."""
    named = mapping(mapping(patch).get("target")).get("name")
    return not named or "${" in str(named) or "$patch: delete" in str(mapping(patch).get("patch"))


def _target_text(target: dict[str, object]) -> str:
    return " ".join(f"{k} {v}" for k, v in target.items())


def _targeted(target: dict[str, object], manifest: Manifest) -> bool:
    """Whether a patch's target takes an object; kustomize's patterns are anchored, and names are those before prefixes."""
    for key, value, whole in (
        ("kind", manifest.kind, True),
        ("name", manifest.name, False),
        ("namespace", manifest.namespace, True),
        ("group", manifest.group, True),
    ):
        wanted = target.get(key)
        if not isinstance(wanted, str) or not wanted:
            continue
        try:
            pattern = re.compile(f"^(?:{wanted})$" if whole else wanted)
        except re.error:
            return True
        if key == "namespace":
            continue  # it may have been set only after the patch
        if not pattern.search(value) and not (key == "name" and wanted in value):
            return False
    labels = target.get("labelSelector")
    if isinstance(labels, str) and labels and "=" in labels and "!" not in labels and "," not in labels:
        key, _, value = labels.partition("=")
        have = mapping(manifest.meta.get("labels"))
        return str(have.get(key.strip())) == value.lstrip("=").strip()
    return True
