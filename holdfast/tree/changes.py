"""What a change of a tree does to a cluster that runs what was there before: what is refused, what is pruned with its data, what changes hands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Finding, Severity
from holdfast.tree.immutable import PRICE, Refusal, refusals
from holdfast.tree.manifest import Manifest, get, mapping
from holdfast.tree.repository import Location
from holdfast.tree.tree import Tree

CLAIM = "immutable-detected"
_PRIVATE = ("data", "binaryData", "stringData")  # whose values are never printed
_FORCE, _PRUNE = "kustomize.toolkit.fluxcd.io/force", "kustomize.toolkit.fluxcd.io/prune"
Key = tuple[str, str, str, str]
# What goes with an object that is pruned, by (API group, kind).
_TAKES_WITH_IT = {
    ("", "PersistentVolumeClaim"): "its volume's data, unless the volume is kept (reclaim policy Retain)",
    ("", "PersistentVolume"): "the cluster's way to its data",
    ("", "Namespace"): "everything in it, volumes included",
    ("apiextensions.k8s.io", "CustomResourceDefinition"): "every object of that kind",
    ("helm.toolkit.fluxcd.io", "HelmRelease"): "all that its chart installed",
}


@dataclass(frozen=True)
class Change:
    """A tree before and after."""

    before: Tree
    after: Tree

    def findings(self) -> list[Finding]:
        """What of the change is refused, deletes data, or changes hands; the worst first."""
        old, new = _applied(self.before), _applied(self.after)
        found = [
            *(f for key in sorted(old.keys() & new.keys()) for f in self._changed(old[key], new[key])),
            *(f for key in sorted(old.keys() - new.keys()) for f in self._gone(old[key])),
        ]
        return sorted(found, key=lambda f: -f.severity)

    def counts(self) -> tuple[int, int, int]:
        """How many objects are made, changed and gone."""
        old, new = _applied(self.before), _applied(self.after)
        changed = sum(old[key].body != new[key].body for key in old.keys() & new.keys())
        return len(new.keys() - old.keys()), changed, len(old.keys() - new.keys())

    def _changed(self, before: Manifest, after: Manifest) -> Iterator[Finding]:
        for one in refusals(after.group, after.kind, before.body, after.body):
            yield self._refused(after, one)
        if _owned_by_kustomizations(before, after) and before.owner != after.owner:
            yield from self._moved(before, after)

    def _refused(self, after: Manifest, one: Refusal) -> Finding:
        field, old, new = (one.field, None, None) if one.path[0] in _PRIVATE else one.first()
        was, now = json.dumps(old, default=str), json.dumps(new, default=str)
        values = "" if one.path[0] in _PRIVATE else f" (from {was[:80]} to {now[:80]})"
        unsure = not one.sure or UNKNOWN in json.dumps([one.before, one.after], default=str)
        forced = self._forced(after)
        price = PRICE.get(after.kind, "it is gone meanwhile")
        said = f"{after.id}: {field} can't be changed{values}"
        if forced:
            said += f"; {forced} has it deleted and made anew: {price}"
        elif unsure:
            said += ", unless the cluster has that value already, or the object is gone"
        return Finding(
            "change.immutable",
            CLAIM,
            Severity.UPGRADE_HAZARD if forced or unsure else Severity.BREAKS_APPLY,
            after.id,
            (self._place(after, one),),
            said,
            "the API server refuses it, and nothing else of its Kustomization is applied"
            if after.owner in self.after.kustomizations
            else "the API server refuses it, and the upgrade of its release fails",
            f"give it a new name, or have Flux delete it and make it anew for this commit ({_FORCE}: enabled): {price}",
            hits=(after.id,),
        )

    def _place(self, after: Manifest, one: Refusal) -> Location:
        path = one.path
        while path and get(after.body, *path) is None:
            path = path[:-1]
        return self.after.locate(after, *path)

    def _forced(self, after: Manifest) -> str:
        """What lets Flux delete it and make it anew; empty where nothing does."""
        if str(mapping(after.meta.get("annotations")).get(_FORCE)).lower() == "enabled":
            return "its annotation"
        owner = self.after.kustomizations.get(after.owner)
        return f"spec.force of Kustomization/{owner.id}" if owner and owner.spec.get("force") is True else ""

    def _moved(self, before: Manifest, after: Manifest) -> Iterator[Finding]:
        """From one Kustomization to another: the first may prune it before the second has it."""
        if not self._pruned(before) or (stays := self.after.kustomizations.get(before.owner)) is None:
            return
        takes = _TAKES_WITH_IT.get((before.group, before.kind))
        yield Finding(
            "change.moved",
            CLAIM,
            Severity.UPGRADE_HAZARD,
            after.id,
            (self.after.locate(after),),
            f"{after.id} goes from Kustomization/{stays.id} to Kustomization/{after.owner}",
            "where the first is applied before the second, it is deleted and made anew"
            + (f": with {takes}" if takes else ""),
            f"set {_PRUNE}: disabled on it in a commit before this one, or have the first depend on the second for this commit",
            hits=(after.id,),
        )

    def _gone(self, before: Manifest) -> Iterator[Finding]:
        takes = _TAKES_WITH_IT.get((before.group, before.kind))
        if not takes or not self._pruned(before) or self._unread(before):
            return
        yield Finding(
            "change.pruned",
            CLAIM,
            Severity.UPGRADE_HAZARD,
            before.id,
            (self._last_place(before),),
            f"{before.id} isn't in the tree any more, and Kustomization/{before.owner} prunes: it is deleted, with {takes}",
            "what was deleted comes back empty, or not at all",
            f"where that isn't meant, set {_PRUNE}: disabled on it in a commit before this one",
            hits=(before.id,),
        )

    def _pruned(self, before: Manifest) -> bool:
        """Whether what isn't in Git any more is deleted."""
        owner = self.before.kustomizations.get(before.owner)
        kept = str(mapping(before.meta.get("annotations")).get(_PRUNE)).lower() == "disabled"
        return bool(owner and owner.spec.get("prune") is True and not kept)

    def _unread(self, before: Manifest) -> bool:
        """Whether the tree of now may still have it, in what isn't read."""
        owner = self.after.kustomizations.get(before.owner)
        return bool(owner and (owner.error or owner.not_read))

    def _last_place(self, before: Manifest) -> Location:
        """Where it stood, in a file that is still there, or where what applied it is."""
        at = self.before.locate(before)
        if at.file in self.after.repository.known:
            return at
        owner = self.after.kustomizations.get(before.owner)
        return (
            self.after.locate(owner.manifest) if owner and owner.manifest.file else Location(self.after.root.folder, 1)
        )


def _applied(tree: Tree) -> dict[Key, Manifest]:
    """What a tree applies, each object once; what charts that are read render is among it."""
    found: dict[Key, Manifest] = {}
    for manifest in tree.objects:
        if manifest.name and UNKNOWN not in f"{manifest.namespace}/{manifest.name}":
            found.setdefault((manifest.group, manifest.kind, manifest.namespace, manifest.name), manifest)
    return found


def _owned_by_kustomizations(*manifests: Manifest) -> bool:
    return all(m.owner and "/" in m.owner and not m.owner.startswith("HelmRelease/") for m in manifests)
