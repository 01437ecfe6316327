"""Where Flux enters a tree: the Kustomization that syncs the cluster, in the tree or made for a folder that something else syncs.

What says so is ranked: a FluxInstance (or the values of its chart), gotk-sync, a Kustomization that applies its own file, and only then the
folders that nothing else applies. What lies in an archive, a copy or test data is no candidate.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import PurePosixPath

from holdfast.errors import UsageError
from holdfast.tree.components import is_component
from holdfast.tree.flux_documents import is_kustomization, is_whole
from holdfast.tree.instances import InstanceSync, kustomization_of_sync, syncs
from holdfast.tree.manifest import Body, Manifest, get, objects_in
from holdfast.tree.origin import Origin, name_of
from holdfast.tree.references import is_kustomize, kustomization_of
from holdfast.tree.repository import Location, is_set_aside, is_sync_of_bootstrap
from holdfast.tree.sources import Sources
from holdfast.tree.tree import KUSTOMIZE, Kustomization, clean
from holdfast.tree.ways import Ways

_TEMPLATE = (".j2", ".jinja", ".jinja2", ".tmpl", ".tpl", ".tftpl", ".gotmpl")
_BOOTSTRAP = re.compile(
    r"flux bootstrap(?:[^\n]|\\\n)*?--path[= ]+[\"']?([\w./-]+)"
    r"|flux_bootstrap_git\"[^}]{0,2000}?^\s*path\s*=\s*\"([\w./-]+)\""
    r"|instance\.sync\.path\"?\s*,?\s*\n?\s*value\s*=\s*\"([\w./-]+)\"",
    re.MULTILINE,
)
_VARIABLE = re.compile(r"\$\{[^}]*\}|\$\w+|\{\{.*?\}\}")
_NAMED = 6  # candidates in a message
_UNSYNCED = "its Kustomizations are applied by no other one (what syncs it isn't in the tree)"

_OF_BOOTSTRAP = ("gotk-components.yaml", "gotk-sync.yaml", "kustomization.yaml", "kustomization.yml")


class Rank(IntEnum):
    """What says that a folder is an entry; less is better."""

    INSTANCE = 0
    VALUES = 1
    GOTK = 2
    ITSELF = 3
    TOP = 4


@dataclass(frozen=True)
class Candidate:
    """A folder that may be an entry: what says so, in which file, and how many Kustomizations it leads to where that was counted."""

    folder: str
    rank: Rank
    file: str
    kustomization: Kustomization
    why: str


@dataclass(frozen=True)
class Entry:
    """Where a tree was entered: *how* in words, and the entries of the repository's *other* clusters."""

    root: Kustomization
    how: str
    origin: Origin
    other: tuple[str, ...] = ()


def entry_of(sources: Sources, flux: list[tuple[str, Body]], wanted: str) -> Entry:
    """Where the cluster is entered, and how that was found. Raises UsageError where nothing says it, or several do and none was *wanted*."""
    return _Search(sources, flux).entry(clean(wanted) if wanted else "")


def entries_of(sources: Sources, flux: list[tuple[str, Body]]) -> list[str]:
    """The folders of all entries of a repository, a cluster each. Raises UsageError where it has none."""
    return [c.folder for c in _Search(sources, flux).all()]


class _Search:
    """Looks for the entries of a repository, rank by rank."""

    def __init__(self, sources: Sources, flux: list[tuple[str, Body]]) -> None:
        self.sources, self.repository, self.flux = sources, sources.repository, flux
        every = list(syncs(sources, flux))
        self.syncs = [s for s in every if not _VARIABLE.search(s.path)]
        self.templates = [s for s in every if s not in self.syncs]
        self.origin = Origin(self.repository, flux, [(s.source, str(s.body.get("url")), s.path) for s in self.syncs])

    @cached_property
    def kustomizations(self) -> list[tuple[str, Body]]:
        """The Flux Kustomizations that build from this repository, without those that lie aside."""
        return [
            (f, b)
            for f, b in self.flux
            if is_kustomization(b)
            and not is_set_aside(f)
            and self.origin.is_own(*name_of(b), str(get(b, "spec", "sourceRef", "namespace") or ""))
        ]

    @cached_property
    def reach(self) -> Ways:
        return Ways(self.sources, [(f, self.origin.folder_of(b)) for f, b in self.kustomizations])

    def entry(self, wanted: str) -> Entry:
        if wanted:
            return self._wanted(self._found(), wanted)
        found = self.all()
        filled = [c for c in found if not self._holds_flux_alone(c)]
        if len(filled) == 1:  # a bootstrap that was begun and left is no second cluster
            return self._made(filled[0], found)
        if len(found) > 1:
            raise UsageError(
                f"the repository holds {len(found)} clusters: {_listed(found)}",
                "name one: --entry FOLDER, or [flux] entry in .holdfast.toml; 'holdfast check --all-entries' reads each",
            )
        return self._made(found[0], found)

    def _holds_flux_alone(self, one: Candidate) -> bool:
        """Whether nothing but what ``flux bootstrap`` writes lies in it."""
        own = posixpath.dirname(one.file)
        files = self.reach.closure(one.folder).files
        return one.rank is Rank.GOTK and all(f in {f"{own}/{name}" for name in _OF_BOOTSTRAP} for f in files)

    def all(self) -> list[Candidate]:
        """Every entry of the best sort that there is. Raises UsageError where there is none."""
        found = self._found()
        if not found:
            raise self._nothing()
        return found

    def _found(self) -> list[Candidate]:
        declared = self._declared()
        if declared:
            return [*declared, *self._by_hand_beside(declared)]
        tops = self._tops()
        return self._shown(tops) or tops or self._elsewhere()

    def _shown(self, tops: list[Candidate]) -> list[Candidate]:
        """The clusters by which a library shows how it is used, where they apply all that else would be taken for an entry."""
        shown = [
            (f, b)
            for f, b in self.flux
            if is_kustomization(b) and is_whole(b) and not {"example", "examples"}.isdisjoint(f.split("/"))
        ]
        if not tops or not {c.folder for c in tops} <= {self.origin.folder_of(b) for _, b in shown}:
            return []
        found = []
        for file, body in shown:
            folder = self.origin.folder_of(body)
            if is_sync_of_bootstrap(file) and _within(file, folder):
                found.append(Candidate(folder, Rank.GOTK, file, self._in(file, body), f"synced by {file}, an example"))
        return sorted(found, key=lambda c: c.folder)

    def _by_hand_beside(self, declared: list[Candidate]) -> Iterator[Candidate]:
        """Clusters that are applied by hand beside those that say themselves what is synced: as large, with a source of this repository."""
        known = {f for c in declared for f in self.reach.from_root(c.folder)}
        most = max(len(self.reach.from_root(c.folder)) for c in declared)
        for top in self.reach.tops:
            leads_to = self.reach.from_root(top)
            apart = not leads_to & known and not any(_one_within(top, c.folder) for c in declared)
            if apart and len(leads_to) >= max(most, 2) and self._has_source(top) and not is_set_aside(f"{top}/x"):
                yield self._top(top, f"{_leads_to(len(leads_to))}, with a source of its own")

    def _has_source(self, folder: str) -> bool:
        """Whether a folder's build holds the source of this repository."""
        files = self.reach.closure(folder).files
        return any(
            f in files and b.get("kind") == "GitRepository" and self.origin.is_remote(str(get(b, "spec", "url")))
            for f, b in self.flux
        )

    def _made(self, one: Candidate, found: list[Candidate]) -> Entry:
        prefix = self.origin.prefix(*name_of(one.kustomization.manifest.body))
        self.origin.entered(one.folder)
        begins = f"; its paths begin at {prefix}/, the root of the artifact" if prefix != "." else ""
        other = tuple(c.folder for c in found if c.folder != one.folder)
        return Entry(one.kustomization, f"{one.folder}, {one.why}{begins}", self.origin, other)

    def _wanted(self, found: list[Candidate], wanted: str) -> Entry:
        if one := next((c for c in found if c.folder == wanted), None):
            return self._made(one, found)
        if wanted not in self.repository.folders:
            names = ", ".join(c.folder for c in found)
            raise UsageError(f"there is no folder {wanted} in the tree", f"entries that were found: {names or 'none'}")
        for file, body in self.kustomizations:
            if self.origin.folder_of(body) == wanted:
                one = Candidate(wanted, Rank.TOP, file, self._in(file, body), f"as named, synced by {file}")
                return self._made(one, found)
        why = "as named (no Kustomization in the tree syncs it)"
        return self._made(Candidate(wanted, Rank.TOP, "", self._made_for(wanted), why), found)

    def _declared(self) -> list[Candidate]:
        """What the tree itself says is synced: the best rank, and of the others what is another cluster's."""
        found: list[Candidate] = []
        for one in sorted(
            [*self._instances(), *self._gotk(), *self._themselves()], key=lambda c: (c.rank, _depth(c.folder), c.file)
        ):
            inside = [c for c in found if self._applies_all_of(one, c)]
            if inside:  # a smaller one, which the larger one leads to, isn't where it begins
                found = [*(c for c in found if c not in inside), one]
            elif not any(_one_within(one.folder, c.folder) for c in found):
                found.append(one)
        found = [c for c in found if not any(self._left_out_of(c, other) for other in found if other is not c)]
        # Only beside one that is known: what a variable alone names is what nothing applies anyway.
        for one in self._varied() if found else ():
            if not any(_one_within(one.folder, c.folder) for c in found):
                found.append(one)
        return sorted(found, key=lambda c: c.folder)

    def _applies_all_of(self, one: Candidate, other: Candidate) -> bool:
        """Whether a Kustomization that applies its own file builds a folder above another's, and with it all that the other one builds."""
        above = one.folder != other.folder and _within(f"{other.folder}/", one.folder)
        if not above or one.rank not in (Rank.GOTK, Rank.ITSELF):
            return False
        return self.reach.closure(other.folder).files <= self.reach.closure(one.folder).files

    def _left_out_of(self, one: Candidate, other: Candidate) -> bool:
        """Whether a Kustomization that applies itself lies in a folder of another cluster's, whose list leaves it out: it is no cluster."""
        if one.rank is not Rank.ITSELF or other.rank is Rank.ITSELF:
            return False
        above = [posixpath.dirname(one.folder)]
        while above[-1]:
            above.append(posixpath.dirname(above[-1]))
        lists = {kustomization_of(self.sources, folder) for folder in above if folder}
        return bool((lists - {""}) & self.reach.kustomizations_of(other.folder))

    def _varied(self) -> Iterator[Candidate]:
        """What a synced path with a variable in it may stand for: a cluster each, which nothing else in the tree names."""
        paths = {s.path: s.file for s in self._own_templates()}
        named = [(f, b) for f, b in self.kustomizations if get(b, "metadata", "name") == "flux-system"]
        paths |= {str(get(b, "spec", "path") or ""): f for f, b in named}
        for path, file in paths.items():
            parts = _VARIABLE.split(clean(path))
            if len(parts) == 1:
                continue
            form = re.compile(".+".join(map(re.escape, parts)) if any(parts) else ".+")
            tops = self.reach.tops if any(parts) else [c.folder for c in self._tops()]
            for folder in tops:
                if form.fullmatch(folder):
                    why = f"one that the path {path} in {file} may stand for"
                    yield Candidate(folder, Rank.TOP, file, self._made_for(folder), why)

    def _own_syncs(self) -> list[InstanceSync]:
        """The FluxInstances' syncs of this repository. One of another's address is passed over where one has this one's; an artifact may be
        made of any.
        """
        own = [s for s in self.syncs if self.origin.is_remote(str(s.body.get("url")))]
        artifacts = [s for s in self.syncs if s.source[0] != "GitRepository" and clean(s.path).count("/") > 0]
        return [s for s in self.syncs if not own or s in own or s in artifacts]

    def _own_templates(self) -> list[InstanceSync]:
        """The syncs with a variable in their path that may be of this repository: its address may be a variable, too."""
        urls = [(s, str(s.body.get("url"))) for s in self.templates]
        known = any(self.origin.is_remote(str(s.body.get("url"))) for s in [*self.syncs, *self.templates])
        return [s for s, url in urls if not known or _VARIABLE.search(url) or self.origin.is_remote(url)]

    def _instances(self) -> Iterator[Candidate]:
        """What FluxInstances name."""
        for sync in self._own_syncs():
            body = kustomization_of_sync(sync)
            folder = self.origin.folder_of(body)
            # Without a kustomization the root of the repository is hardly what is pushed as an artifact: the instance's own folder may be.
            if sync.source[0] != "GitRepository" and folder == "." and not kustomization_of(self.sources, "."):
                folder = self._around(sync.file) or folder
            if folder in self.repository.folders:
                manifest = Manifest(body, sync.file, at=Location(sync.file, sync.line))
                rank = Rank.VALUES if sync.values else Rank.INSTANCE
                why = "said by " + (
                    "the values of the flux-instance chart in " if sync.values else "the FluxInstance in "
                )
                yield Candidate(folder, rank, sync.file, Kustomization(manifest, folder), why + sync.file)

    def _around(self, file: str) -> str:
        """The folder around a file that somebody builds: its parent, where that is what the file's own folder is a part of."""
        parents = [str(p) for p in PurePosixPath(file).parents if str(p) != "."]
        built = [p for p in parents[:2] if kustomization_of(self.sources, p)]
        return (built or parents[1:2] or parents or [""])[-1]

    def _gotk(self) -> Iterator[Candidate]:
        """What flux bootstrap writes: a Kustomization flux-system inside of the folder that it builds."""
        for file, body in self.kustomizations:
            named = get(body, "metadata", "name") == "flux-system" or is_sync_of_bootstrap(file)
            folder = self.origin.folder_of(body)
            if named and is_whole(body) and folder in self.repository.folders and _within(file, folder):
                yield from self._as_patched(
                    Candidate(folder, Rank.GOTK, file, self._in(file, body), f"synced by {file}")
                )

    def _as_patched(self, one: Candidate) -> list[Candidate]:
        """A sync that several clusters share, with the path that each cluster's folder gives it by a patch; itself where none does."""
        body = one.kustomization.manifest.body
        found = []
        for file, part in self.flux:
            if not is_kustomization(part) or is_whole(part) or is_set_aside(file):
                continue
            if not isinstance(get(part, "spec", "path"), str):
                continue
            folder = clean(part["spec"]["path"])
            same = get(part, "metadata", "name") == get(body, "metadata", "name") and folder != one.folder
            if not (same and folder in self.repository.folders and _within(file, folder)):
                continue
            if {one.file, file} <= self.reach.closure(folder).files:
                made = {**body, "spec": {**body["spec"], **part["spec"]}}
                why = f"synced by {one.file}, which {file} patches"
                found.append(Candidate(folder, one.rank, one.file, self._in(one.file, made), why))
        return found or [one]

    def _themselves(self) -> Iterator[Candidate]:
        """Kustomizations whose build contains their own file, and that no other one leads to."""
        for file, body in self.kustomizations:
            folder = self.origin.folder_of(body)
            if not is_whole(body) or not _within(file, folder) or folder not in self.repository.folders:
                continue
            if not get(body, "spec", "path") and self._is_laid_under(file, body):
                continue
            closure = self.reach.closure(folder)
            if file in closure.files and not self.reach.is_led_to(file, folder):
                yield Candidate(folder, Rank.ITSELF, file, self._in(file, body), f"synced by {file}")

    def _is_laid_under(self, file: str, body: Body) -> bool:
        """Whether another file holds a part of a Kustomization, with its path: then it is a base, which an overlay completes."""
        name = get(body, "metadata", "name")
        parts = (b for f, b in self.flux if f != file and is_kustomization(b) and not is_whole(b))
        return any(get(b, "metadata", "name") == name and get(b, "spec", "path") for b in parts)

    def _in(self, file: str, body: Body) -> Kustomization:
        return Kustomization(Manifest(body, file), self.origin.folder_of(body))

    def _tops(self) -> list[Candidate]:
        """The folders that nothing else applies: those that lead to much, and those of the same shape beside them."""
        sizes = {root: len(self.reach.from_root(root)) for root in self.reach.tops}
        if hinted := [f for f in self._hinted() if f in sizes]:
            sizes = {f: n for f, n in sizes.items() if f in hinted or any(_parallel(f, h) for h in hinted)}
        most = max(sizes.values(), default=0)
        best = [f for f, n in sizes.items() if n == most]
        chosen = {f: n for f, n in sizes.items() if 4 * n >= most or any(_parallel(f, b) for b in best)}
        # A part of a cluster's folder that a patch of its own applies is no cluster beside it.
        inner = {f for f in chosen for g in chosen if f != g and _within(f"{f}/", g) and chosen[g] > chosen[f]}
        chosen = {f: n for f, n in chosen.items() if f not in inner}
        return [
            self._top(f, _UNSYNCED if len(chosen) == 1 else _leads_to(n))
            for f, n in sorted(chosen.items(), key=lambda e: (-e[1], e[0]))
        ]

    def _top(self, folder: str, why: str) -> Candidate:
        """A folder that nothing else applies: by the Kustomization that is applied by hand for it, where the tree has one."""
        for file, body in self.kustomizations:
            if file in self.reach.by_hand and self.origin.folder_of(body) == folder:
                return self._by_hand(file, body)
        if began := self._begun_by(folder):
            return self._by_hand(*began)
        return Candidate(folder, Rank.TOP, "", self._made_for(folder), why)

    def _by_hand(self, file: str, body: Body) -> Candidate:
        why = f"synced by {file}, which is applied by hand"
        return Candidate(self.origin.folder_of(body), Rank.TOP, file, self._in(file, body), why)

    def _begun_by(self, folder: str) -> tuple[str, Body] | None:
        """The one Kustomization in a folder with which a cluster is begun: it holds that, its source and Flux itself, and nothing else."""
        files = self.reach.closure(folder).files
        every = [(f, b) for f in sorted(files) for _, one in self.sources.bodies(f) for b in objects_in(one)]
        own = [(f, b) for f, b in self.kustomizations if f in files and is_whole(b)]
        if len({Manifest(b).id for _, b in own}) != 1:
            return None
        first = own[0][1]
        there = name_of(first) in {(b.get("kind"), get(b, "metadata", "name")) for _, b in every}
        if not there or self.origin.folder_of(first) not in self.repository.folders:
            return None
        rest = [Manifest(b, f) for f, b in every if Manifest(b).id != Manifest(first).id]
        by_bootstrap = any(is_sync_of_bootstrap(f) for f, _ in own)
        begins = by_bootstrap or any(map(is_component, rest))
        return own[0] if begins and all(is_component(m) or _is_of_sync(m.body) for m in rest) else None

    def _hinted(self) -> list[str]:
        """The folders that a script, a text or Terraform hands to flux bootstrap."""
        found = []
        for name in self.repository.files:
            if name.endswith((".sh", ".md", ".tf", ".yaml", ".yml", ".just", "file")) and not is_set_aside(name):
                text = self.repository.text(name)
                if "flux" in text and "path" in text:
                    found += [clean(next(filter(None, m.groups()))) for m in _BOOTSTRAP.finditer(text)]
        return list(dict.fromkeys(found))

    def _elsewhere(self) -> list[Candidate]:
        """What is left where nothing better is: a sync whose folder doesn't exist, which the build then says."""
        for sync in self.syncs:
            manifest = Manifest(kustomization_of_sync(sync), sync.file, at=Location(sync.file, sync.line))
            one = Kustomization(manifest, self.origin.folder_of(manifest.body))
            return [Candidate(one.folder, Rank.INSTANCE, sync.file, one, f"said by {sync.file}")]
        for file, body in self.kustomizations:
            if get(body, "metadata", "name") == "flux-system":
                return [
                    Candidate(self.origin.folder_of(body), Rank.GOTK, file, self._in(file, body), f"said by {file}")
                ]
        return []

    def _nothing(self) -> UsageError:
        aside = sorted({posixpath.dirname(f) for f, b in self.flux if is_kustomization(b) and is_set_aside(f)})
        if aside:
            more = f" and {len(aside) - 1} more" if len(aside) > 1 else ""
            return UsageError(
                f"the tree has no Flux entry: its Flux Kustomizations lie aside, in {aside[0]}{more}",
                "name the folder that is applied: --entry FOLDER",
            )
        for name in self.repository.files:
            if name.endswith(_TEMPLATE) and "toolkit.fluxcd.io/" in self.repository.text(name):
                return UsageError(
                    f"the tree has no Flux entry: its Flux objects are templates, such as {name}",
                    "render them first, then check what they became",
                )
        if own := next((f for f, _ in self.kustomizations), ""):
            return UsageError(
                f"the tree has no Flux entry: its Flux Kustomizations are applied by nothing in it, such as that in {own}",
                "name the folder that is applied: --entry FOLDER",
            )
        if foreign := sorted({"/".join(name_of(b)) for _, b in self.flux if is_kustomization(b)}):
            return UsageError(
                f"the tree has no Flux entry: its Flux Kustomizations build from other repositories ({', '.join(foreign[:_NAMED])})",
                "name the folder that is applied: --entry FOLDER",
            )
        return UsageError(
            "the tree has no Flux entry: no Flux Kustomization was found in it",
            "name the folder that is applied: --entry FOLDER",
        )

    def _made_for(self, folder: str) -> Kustomization:
        return made(folder, [b for _, b in self.kustomizations])


def _listed(found: list[Candidate]) -> str:
    said = [f"{c.folder} ({c.why})" for c in found[:_NAMED]]
    return "; ".join(said) + (f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else "")


def _leads_to(files: int) -> str:
    return f"leads to {files} file{'' if files == 1 else 's'} with Kustomizations, and nothing applies it"


def _is_of_sync(body: Body) -> bool:
    """Whether an object is what Flux syncs a cluster by, beside its Kustomization: the source, its key, their namespace."""
    return body.get("kind") in ("GitRepository", "Namespace", "Secret") or is_kustomize(body)


def _depth(folder: str) -> int:
    return 0 if folder == "." else 1 + folder.count("/")


def _within(file: str, folder: str) -> bool:
    return folder == "." or file.startswith(f"{folder}/")


def _one_within(one: str, other: str) -> bool:
    return one == other or _within(f"{one}/", other) or _within(f"{other}/", one)


def _parallel(one: str, other: str) -> bool:
    """Whether two paths differ in one step only, as those of two clusters do."""
    a, b = one.split("/"), other.split("/")
    return len(a) == len(b) > 1 and sum(x != y for x, y in zip(a, b, strict=True)) == 1


def made(folder: str, own: list[Body] | None = None) -> Kustomization:
    """A Kustomization for an entry that the tree itself doesn't sync; its source is the one that most of its *own* Kustomizations name."""
    named = Counter(name_of(b) for b in own or () if "$" not in name_of(b)[0])
    kind, name = named.most_common(1)[0][0] if named else ("GitRepository", "flux-system")
    body = {
        "apiVersion": f"{KUSTOMIZE}/v1",
        "kind": "Kustomization",
        "metadata": {"name": "flux-system", "namespace": "flux-system"},
        "spec": {"path": f"./{folder}", "prune": True, "interval": "10m", "sourceRef": {"kind": kind, "name": name}},
    }
    return Kustomization(Manifest(body, owner=""), folder)
