"""What a change of a tree does to a cluster that runs what was there before: what is refused, what is pruned with its data, what changes hands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Finding, Severity
from holdfast.tree.fluxapi import told
from holdfast.tree.given import GIVEN_CLASSES
from holdfast.tree.immutable import GONE, PRICE, Refusal, refusals
from holdfast.tree.manifest import Manifest, get
from holdfast.tree.quantity import quantity
from holdfast.tree.repository import Location
from holdfast.tree.restarts import Restart, restarts
from holdfast.tree.rules.ownership import left_alone
from holdfast.tree.transitions import definition, frozen
from holdfast.tree.tree import Tree

CLAIM = "immutable-detected"
# Whose values may be printed: what else is in a body may come from a Secret.
_PUBLIC = {
    "selector", "serviceName", "podManagementPolicy", "accessModes", "storageClassName", "volumeMode",
    "volumeName", "resources", "clusterIP", "provisioner", "reclaimPolicy", "volumeBindingMode",
    "attachRequired", "value", "preemptionPolicy", "roleRef", "controller", "handler",
    "scope", "names", "versions", "volumeClaimTemplates", "completionMode", "type",
}  # fmt: skip
_FORCE, _PRUNE = "kustomize.toolkit.fluxcd.io/force", "kustomize.toolkit.fluxcd.io/prune"
RULE_IDS = (
    "change.immutable", "change.pruned", "change.moved", "change.left-behind", "change.outage", "change.reinstall", "change.not-deployed",
)  # fmt: skip
Key = tuple[str, str, str, str]
# What goes with an object that is pruned, by (API group, kind).
TAKES_WITH_IT = {
    ("", "PersistentVolumeClaim"): "its volume's data, unless the volume is kept (reclaim policy Retain)",
    ("", "PersistentVolume"): "the cluster's way to its data",
    ("", "Namespace"): "everything in it, volumes included",
    ("apiextensions.k8s.io", "CustomResourceDefinition"): "every object of that kind",
    ("helm.toolkit.fluxcd.io", "HelmRelease"): "all that its chart installed",
    ("kustomize.toolkit.fluxcd.io", "Kustomization"): "all that it applied",
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
            *(
                self._away(one)
                for one in restarts(self.before, self.after)
                if one.away and one.served and self._applies(one.manifest)
            ),
        ]
        return sorted(found, key=lambda f: -f.severity)

    def _applies(self, manifest: Manifest) -> bool:
        return not (left_alone(manifest) or self._is_suspended(manifest.owner))

    def _away(self, one: Restart) -> Finding:
        """Its pods are made anew, and nobody answers for it meanwhile."""
        manifest = one.manifest
        return Finding(
            "change.outage",
            "updates-anytime",
            Severity.UPGRADE_HAZARD,
            manifest.id,
            (self.after.locate(manifest, *there(manifest, one.path)),),
            f"{manifest.id} is replaced by this change: {one.away}",
            "whoever asks it meanwhile gets no answer",
            "let a new pod come first (a surge, one more replica), or deploy this when nobody needs it",
            hits=(manifest.id,),
        )

    def counts(self) -> tuple[int, int, int]:
        """How many objects are made, changed and gone."""
        old, new = _applied(self.before), _applied(self.after)
        changed = sum(old[key].body != new[key].body for key in old.keys() & new.keys())
        return len(new.keys() - old.keys()), changed, len(old.keys() - new.keys())

    def _changed(self, before: Manifest, after: Manifest) -> Iterator[Finding]:
        if not (left_alone(before) or left_alone(after) or self._is_suspended(after.owner)):
            for one in refusals(after.group, after.kind, before.body, after.body):
                yield self._refused(after, one)
            for one in frozen(definition(self.after, after), before.body, after.body):
                yield self._refused(after, one)
            if grows := self._grows_in_vain(before, after):
                yield self._refused(after, grows)
        if before.owner != after.owner:
            yield from self._moved(before, after)

    def _grows_in_vain(self, before: Manifest, after: Manifest) -> Refusal | None:
        """A claim that is to become larger, and whose class doesn't let any."""
        path = ("spec", "resources", "requests", "storage")
        said = get(before.body, *path), get(after.body, *path)
        old, new = map(quantity, said)
        if after.kind != "PersistentVolumeClaim" or old is None or new is None or new <= old:
            return None
        name = str(after.spec.get("storageClassName") or "")
        known = next((m for m in self.after.of("StorageClass") if m.name == name), None)
        if (known and known.body.get("allowVolumeExpansion") is True) or (known is None and name not in GIVEN_CLASSES):
            return None
        return Refusal(path, *said, sure=known is not None)

    def _refused(self, after: Manifest, one: Refusal) -> Finding:
        said, unsure = sentence(after, one)
        forced = self._forced(after)
        price = PRICE.get(after.kind, GONE)
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
            "the API server refuses it, and nothing else of its Kustomization is applied",
            f"give it a new name, or have Flux delete it and make it anew for this commit ({_FORCE}: enabled): {price}",
            hits=(after.id,),
        )

    def _place(self, after: Manifest, one: Refusal) -> Location:
        return self.after.locate(after, *there(after, one.path))

    def _forced(self, after: Manifest) -> str:
        """What lets Flux delete it and make it anew; empty where nothing does."""
        if told(after, "force", "enabled"):
            return "its annotation"
        owner = self.after.kustomizations.get(after.owner)
        return f"spec.force of Kustomization/{owner.id}" if owner and owner.spec.get("force") is True else ""

    def _moved(self, before: Manifest, after: Manifest) -> Iterator[Finding]:
        """From one Kustomization to another: the first may delete it before the second has it."""
        if not self._is_deleted(before):
            return
        takes = TAKES_WITH_IT.get((before.group, before.kind))
        gone = "" if before.owner in self.after.kustomizations else ", and the first is gone itself"
        yield Finding(
            "change.moved",
            CLAIM,
            Severity.UPGRADE_HAZARD,
            after.id,
            (self.after.locate(after),),
            f"{after.id} goes from Kustomization/{before.owner} to Kustomization/{after.owner}{gone}",
            "where the first lets go of it before the second has applied it, it is deleted and made anew"
            + (f": with {takes}" if takes else ""),
            f"set {_PRUNE}: disabled on it in a commit before this one",
            hits=(after.id,),
        )

    def _gone(self, before: Manifest) -> Iterator[Finding]:
        takes = TAKES_WITH_IT.get((before.group, before.kind))
        if not takes or not self._is_deleted(before):
            return
        if before.kind == "HelmRelease" and before.owner not in self.after.kustomizations:
            return  # its Kustomization goes "with all that it applied"
        yield Finding(
            "change.pruned",
            CLAIM,
            Severity.UPGRADE_HAZARD,
            before.id,
            (self.last_place(before),),
            f"{before.id} isn't in the tree any more: Kustomization/{before.owner} deletes it, with {takes}",
            "what was deleted comes back empty, or not at all",
            f"where that isn't meant, set {_PRUNE}: disabled on it in a commit before this one",
            hits=(before.id,),
        )

    def is_kept(self, name: str) -> bool:
        """Whether the tree's owner said of an object that it stays, whatever becomes of its Kustomization."""
        return any(m.id == name and (left_alone(m) or told(m, "prune", "disabled")) for m in self.before.objects)

    def _is_suspended(self, owner: str) -> bool:
        known = self.after.kustomizations.get(owner)
        return bool(known and known.spec.get("suspend") is True)

    def _is_deleted(self, before: Manifest) -> bool:
        """Whether Flux deletes what its Kustomization doesn't apply any more (kustomize-controller: prune, finalize).

        Where anything above it isn't read now, the build may well hold it: then nothing is said.
        """
        if left_alone(before) or told(before, "prune", "disabled"):
            return False
        was, now = self.before.kustomizations.get(before.owner), self.after.kustomizations.get(before.owner)
        if was is None or (now and (now.gap or now.spec.get("suspend") is True)):
            return False
        if now:
            return now.spec.get("prune") is True
        # It is gone itself: only its own deletion takes anything with it.
        policy = str(was.spec.get("deletionPolicy") or "MirrorPrune")
        takes = policy in ("Delete", "WaitForTermination") or (
            policy == "MirrorPrune" and was.spec.get("prune") is True
        )
        return (
            takes and was.spec.get("suspend") is not True and bool(was.manifest.file) and self._is_deleted(was.manifest)
        )

    def last_place(self, before: Manifest) -> Location:
        """Where an object of before stood, in a file that is still there, or where what applied it is."""
        at = self.before.locate(before)
        if at.file in self.after.repository.known:
            return at
        owner = self.after.kustomizations.get(before.owner)
        return (
            self.after.locate(owner.manifest) if owner and owner.manifest.file else Location(self.after.root.folder, 1)
        )


def sentence(after: Manifest, one: Refusal) -> tuple[str, bool]:
    """What is refused, in words, with the values that may be printed; and whether something that isn't in Git may make it no refusal."""
    field, old, new = one.first()
    was, now = json.dumps(old, default=str), json.dumps(new, default=str)
    public = bool(_PUBLIC & {*one.path}) or field.endswith(".image")
    values = f" (from {was[:80]} to {now[:80]})" if public else ""
    unsure = not one.sure or UNKNOWN in json.dumps([one.before, one.after], default=str)
    return f"{after.id}: {field} can't be changed{values}", unsure


def there(manifest: Manifest, path: tuple[str, ...]) -> tuple[str, ...]:
    """The part of a path that an object has."""
    while path and get(manifest.body, *path) is None:
        path = path[:-1]
    return path


def _applied(tree: Tree) -> dict[Key, Manifest]:
    """What the Kustomizations of a tree apply, each object once. What charts make of theirs is helm's, which has rules of its own."""
    found: dict[Key, Manifest] = {}
    for manifest in (m for kustomization in tree.kustomizations.values() for m in kustomization.objects):
        if manifest.name and UNKNOWN not in f"{manifest.namespace}/{manifest.name}":
            found.setdefault(key_of(manifest), manifest)
    return found


def key_of(manifest: Manifest) -> Key:
    """What an object is on the cluster."""
    return manifest.group, manifest.kind, manifest.namespace, manifest.name
