"""Variables that Flux puts in: names that no source has, and scripts and dashboards whose own ``${…}`` are taken for them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import NamedTuple

from holdfast.tree.admission import changed_on_the_way
from holdfast.tree.findings import Inconclusive, Outcome, Severity, Violation, rule
from holdfast.tree.made import EVERYWHERE, MAKERS, made_by
from holdfast.tree.manifest import Manifest, mapping, sequence
from holdfast.tree.near import closest, near
from holdfast.tree.repository import Location
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import Kustomization, Tree
from holdfast.tree.variables import values_of

FAMILY = "apply"
_SCRIPT = re.compile(r"\A\s*#!")
_DASHBOARD = re.compile(r'"(?:panels|templating|__inputs)"\s*:')


class _Use(NamedTuple):
    """One use of a variable without a value."""

    manifest: Manifest
    path: tuple[PathKey, ...]
    text: str
    name: str


@rule(
    "apply.missing-variable",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="Flux puts an empty text in its place, and says nothing",
    do="give it a value in the Kustomization's variables, a default (${NAME:=value}), or fix its name",
)
def missing_variable(tree: Tree) -> Iterator[Outcome]:
    """Variables that no source of their Kustomization has: all of them are in the tree, or one has almost that name."""
    if adder := changed_on_the_way(tree):
        yield Inconclusive(f"{adder} may put variables into the Kustomizations as they are applied")
        return
    for kustomization in tree.kustomizations.values():
        given = values_of(tree.kustomizations, kustomization) or {}
        whole = _all_in_tree(tree, kustomization)
        by_name: dict[str, list[_Use]] = {}
        for use in _uses(kustomization):
            if not _own(use) and use.name not in given:
                by_name.setdefault(use.name, []).append(use)
        for name, uses in by_name.items():
            meant = _meant(tree, name, given)
            if not whole and not meant:
                continue
            meant = meant or closest(name, given)
            places = tuple(dict.fromkeys(_place(tree, u) for u in uses))
            hits = tuple(dict.fromkeys(u.manifest.id for u in uses))
            more = f"; did you mean {meant}?" if meant else ""
            said = f"${{{name}}} in {hits[0]} has no value: no source of variables of Kustomization/{kustomization.id} has it{more}"
            yield Violation(hits[0], places, said, hits=hits)


@rule(
    "apply.lost-dollar",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="Flux takes them for variables of its own and puts an empty text in their place, so it does something else than is written",
    do="write $${NAME}, or switch it off for the object: the annotation kustomize.toolkit.fluxcd.io/substitute: disabled",
)
def lost_dollar(tree: Tree) -> Iterator[Outcome]:
    """Scripts, dashboards and patterns with variables of their own, in a Kustomization that puts variables in."""
    changed = changed_on_the_way(tree)
    for kustomization in tree.kustomizations.values():
        whole = _all_in_tree(tree, kustomization)
        by_object: dict[str, list[_Use]] = {}
        for use in _uses(kustomization):
            if _own(use) and ((whole and not changed) or _surely_own(use)):
                by_object.setdefault(use.manifest.id, []).append(use)
        for name, uses in by_object.items():
            lost = list(dict.fromkeys(f"${{{u.name}}}" for u in uses))
            some = ", ".join(lost[:4]) + (f" and {len(lost) - 4} more" if len(lost) > 4 else "")
            said = f"{name} loses {some}: Kustomization/{kustomization.id} puts variables in, and has none of that name"
            yield Violation(name, tuple(dict.fromkeys(_place(tree, u) for u in uses)), said)


def _uses(kustomization: Kustomization) -> Iterator[_Use]:
    for manifest in kustomization.objects:
        if manifest.kind != "CustomResourceDefinition":  # only its descriptions could hold one
            for path, text, name in manifest.unset:
                yield _Use(manifest, path, text, name)


def _all_in_tree(tree: Tree, kustomization: Kustomization) -> bool:
    """Whether every source of variables of a Kustomization is in the tree."""
    if kustomization.manifest.unknown or kustomization.error:
        return False
    space = kustomization.id.partition("/")[0]
    refs = [mapping(r) for r in sequence(mapping(kustomization.spec.get("postBuild")).get("substituteFrom"))]
    sources = [tree.by_key.get((str(r.get("kind")), space, str(r.get("name")))) for r in refs]
    return all(s is not None and not _is_filled_by_others(tree, s) for s in sources)


def _is_filled_by_others(tree: Tree, source: Manifest) -> bool:
    """Whether something on the cluster writes an object, too, which then holds more than Git says."""
    told = mapping(source.meta.get("annotations")).get("kustomize.toolkit.fluxcd.io/ssa")
    if told in ("IfNotPresent", "Ignore", "Merge"):
        return True
    keys = {(source.kind, space, source.name) for space in (source.namespace, EVERYWHERE)}
    return any(keys.intersection(made_by(m)) for m in tree.objects if m.kind in MAKERS)


def _own(use: _Use) -> bool:
    """Whether a text has variables of its own: a script, a dashboard, a pattern with groups."""
    return _surely_own(use) or bool(_SCRIPT.search(use.text)) or "command" in use.path or "args" in use.path


def _surely_own(use: _Use) -> bool:
    """Whether the very variable is the text's own: set in it, given by the pod's environment, a dashboard's, or a group of a pattern."""
    name = re.escape(use.name)
    if use.name[:1].isdigit():
        return True
    if _DASHBOARD.search(use.text):
        return re.search(rf'"name"\s*:\s*"{name}"', use.text) is not None
    if "\n" in use.text and re.search(
        rf"(?:^|[\s;&(])(?:export\s+|local\s+)?{name}=|\b(?:for|read(?:\s+-\w+)*)\s+{name}\b", use.text
    ):
        return True
    env = [mapping(e).get("name") for _, c in use.manifest.containers(every=True) for e in sequence(c.get("env"))]
    return use.name in env and "env" not in use.path


def _meant(tree: Tree, name: str, given: dict[str, str]) -> str:
    """The variable with a value of which *name* is a slip; none where others use that name too."""
    files = {m.file for m in tree.objects for _, _, n in m.unset if n == name}
    return near(name, given) if len(files) == 1 else ""


def _place(tree: Tree, use: _Use) -> Location:
    """The line in which a variable stands: in the object's file, or in the file that a generator reads."""
    start = tree.locate(use.manifest, *use.path)
    kustomization = tree.kustomization_of(use.manifest)
    closure = kustomization.built.closure if kustomization and kustomization.built else None
    files = [start.file]
    if use.manifest.by and closure is not None:
        files = [*_generated_from(tree, use), *sorted(closure.opaque), start.file]
    sign = re.compile(r"(?<!\$)\$\{#?" + re.escape(use.name) + r"\b")
    for file in files:
        lines = tree.repository.text(file).splitlines() if file in tree.repository.known else []
        first = start.line if file == start.file else 1
        for number, line in enumerate(lines[first - 1 :], first):
            if sign.search(line) and not line.lstrip().startswith("#"):
                return Location(file, number)
    return start


def _generated_from(tree: Tree, use: _Use) -> Iterator[str]:
    """The file that a generator reads under the key of a use: it is tried before those of other keys."""
    for name in (use.manifest.file, *use.manifest.patches):
        body = next((b for _, b in tree.sources.bodies(name)), {})
        for one in map(mapping, sequence(body.get("configMapGenerator")) + sequence(body.get("secretGenerator"))):
            for entry in map(str, sequence(one.get("files"))):
                key, _, path = entry.rpartition("=")
                if (key or posixpath.basename(path)) == use.path[-1] and str(one.get("name")) in use.manifest.name:
                    yield posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
