"""Where Flux enters a tree: the Kustomization that syncs the cluster, in the tree or made for a folder that something else syncs."""

from __future__ import annotations

import posixpath
import re
from collections import Counter

from holdfast.errors import UsageError
from holdfast.tree.manifest import Body, Manifest, get, mapping
from holdfast.tree.repository import Repository
from holdfast.tree.sources import Sources
from holdfast.tree.tree import KUSTOMIZE, Kustomization, clean


def flux_documents(sources: Sources) -> list[tuple[str, Body]]:
    """The Flux objects of every file, applied or not, with their files. Files that can't be parsed are passed over here."""
    found = []
    for name in sources.repository.files:
        if (
            name.endswith((".yaml", ".yml"))
            and "toolkit.fluxcd.io/" in (text := sources.repository.text(name))
            and re.search(
                r"^kind: [\"']?(?:Kustomization|GitRepository|OCIRepository|FluxInstance)\b", text, re.MULTILINE
            )
        ):
            found += [
                (name, body)
                for _, body in sources.bodies(name)
                if ".fluxcd." in str(body.get("apiVersion"))
                or str(body.get("apiVersion", "")).startswith("fluxcd.controlplane.io/")
            ]
    return found


def is_kustomization(body: Body) -> bool:
    """Whether an object is a Flux Kustomization."""
    return body.get("kind") == "Kustomization" and str(body.get("apiVersion", "")).startswith(f"{KUSTOMIZE}/")


def path_of(body: Body) -> str:
    """The folder that a Flux Kustomization builds."""
    return clean(str(mapping(body.get("spec")).get("path") or "."))


def entry_of(repository: Repository, flux: list[tuple[str, Body]], wanted: str) -> tuple[Kustomization, str]:
    """The Kustomization that syncs the cluster, and how it was found. Raises UsageError where there is none, or several and none was *wanted*."""
    kustomizations = [(f, b) for f, b in flux if is_kustomization(b)]
    own = [e for e in kustomizations if get(e[1], "spec", "sourceRef", "name") == "flux-system"] or [
        e for e in kustomizations if get(e[1], "spec", "sourceRef", "name") == get(e[1], "metadata", "name")
    ]
    found: dict[str, list[tuple[str, Body]]] = {}
    for file, body in own or kustomizations:  # a path within some other repository can look as if it held its own file
        folder = path_of(body)
        external = (
            str(get(body, "spec", "sourceRef", "kind")) != "GitRepository"
            and get(body, "spec", "sourceRef", "name") != "flux-system"
        )
        if (folder == "." or file.startswith(f"{folder}/")) and not external:
            found.setdefault(folder, []).append((file, body))
    for file, body in flux:
        if body.get("kind") == "FluxInstance" and (path := get(body, "spec", "sync", "path")):
            found.setdefault(clean(str(path)), []).append((file, _of_instance(body)))
    if wanted:
        return _named(repository, found, flux, clean(wanted))
    # The outermost wins where one entry lies within another: the cluster is synced by the one that nothing else applies.
    tops = {f: e for f, e in found.items() if not any(o != f and (o == "." or f.startswith(f"{o}/")) for o in found)}
    if len(tops) == 1:
        folder, entries = next(iter(tops.items()))
        return kustomization_in(*_outermost(entries)), f"{folder}, synced by {_outermost(entries)[0]}"
    if len(tops) > 1:
        raise UsageError(
            f"the tree has {len(tops)} Flux entries: {', '.join(f'{f} ({e[0][0]})' for f, e in sorted(tops.items()))}",
            "name one: --entry FOLDER, or [flux] entry in .holdfast.toml",
        )
    return _without_sync(kustomizations, flux)


def _outermost(entries: list[tuple[str, Body]]) -> tuple[str, Body]:
    return next((e for e in entries if get(e[1], "metadata", "name") == "flux-system"), entries[0])


def _of_instance(body: Body) -> Body:
    sync = mapping(get(body, "spec", "sync"))
    name = str(sync.get("name") or get(body, "metadata", "namespace") or "flux-system")
    namespace = str(get(body, "metadata", "namespace") or "flux-system")
    return {
        "apiVersion": f"{KUSTOMIZE}/v1",
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "path": sync.get("path"),
            "prune": True,
            "interval": sync.get("interval", "1m"),
            "sourceRef": {"kind": sync.get("kind", "GitRepository"), "name": name},
        },
    }


def _named(
    repository: Repository, found: dict[str, list[tuple[str, Body]]], flux: list[tuple[str, Body]], wanted: str
) -> tuple[Kustomization, str]:
    if wanted in found:
        return kustomization_in(*_outermost(found[wanted])), f"{wanted}, as named"
    if wanted not in repository.folders:
        raise UsageError(
            f"there is no folder {wanted} in the tree", f"entries that were found: {', '.join(sorted(found)) or 'none'}"
        )
    return made(wanted, flux), f"{wanted}, as named (no Kustomization in the tree syncs it)"


def _without_sync(kustomizations: list[tuple[str, Body]], flux: list[tuple[str, Body]]) -> tuple[Kustomization, str]:
    """No Kustomization holds its own file: the entry is the one folder whose Kustomizations no other one applies."""
    folders = {posixpath.dirname(f) or "." for f, _ in kustomizations}
    applied = {path_of(b) for _, b in kustomizations}
    tops = sorted(f for f in folders if not any(f == a or f.startswith(f"{a}/") for a in applied if a != "."))
    tops = [f for f in tops if not any(f.startswith(f"{t}/") for t in tops)]
    if len(tops) == 1:
        return made(
            tops[0], flux
        ), f"{tops[0]}: its Kustomizations are applied by no other one (what syncs it isn't in the tree)"
    if len(tops) > 1:
        raise UsageError(
            f"the tree has no Kustomization that syncs it, and {len(tops)} folders that could be its entry: {', '.join(tops)}",
            "name one: --entry FOLDER, or [flux] entry in .holdfast.toml",
        )
    raise UsageError(
        "the tree has no Flux entry: no Flux Kustomization was found in it",
        "name the folder that is applied: --entry FOLDER",
    )


def made(folder: str, flux: list[tuple[str, Body]] | None = None) -> Kustomization:
    """A Kustomization for an entry that the tree itself doesn't sync; its source is the one that most name and that the tree doesn't define."""
    defined = {(b.get("kind"), get(b, "metadata", "name")) for _, b in flux or () if not is_kustomization(b)}
    refs = [mapping(get(b, "spec", "sourceRef")) for _, b in flux or () if is_kustomization(b)]
    named = Counter(
        (str(r.get("kind") or "GitRepository"), str(r.get("name")))
        for r in refs
        if (r.get("kind"), r.get("name")) not in defined
    )
    kind, name = named.most_common(1)[0][0] if named else ("GitRepository", "flux-system")
    body = {
        "apiVersion": f"{KUSTOMIZE}/v1",
        "kind": "Kustomization",
        "metadata": {"name": "flux-system", "namespace": "flux-system"},
        "spec": {"path": f"./{folder}", "prune": True, "interval": "10m", "sourceRef": {"kind": kind, "name": name}},
    }
    return Kustomization(Manifest(body, owner=""), folder)


def kustomization_in(file: str, body: Body) -> Kustomization:
    """The layer of a Flux Kustomization that stands in *file*."""
    return Kustomization(Manifest(body, file), path_of(body))


def source_rules(flux: list[tuple[str, Body]], root: Kustomization) -> str | None:
    """The ignore rules of the source that the entry reads."""
    name = get(root.spec, "sourceRef", "name")
    for _, body in sorted(
        flux, key=lambda e: not e[0].startswith(f"{root.folder}/")
    ):  # another cluster of the repository may have one of that name
        if body.get("kind") in ("GitRepository", "OCIRepository") and get(body, "metadata", "name") == name:
            rules = get(body, "spec", "ignore")
            return rules if isinstance(rules, str) else None
    return None
