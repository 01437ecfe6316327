"""What a change of a tree does to its releases: which are installed anew, whose chart isn't taken at all, what helm is refused or deletes.

Source: helm-controller (internal/action: ReleaseTargetChanged), source-controller (a chart of a repository is packed again once its version
changes, unless reconcileStrategy is Revision), Helm's upgrade (resource-policy). The refusals and deletions are held against a real helm in
suites/oracle.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.tree.changes import CLAIM, TAKES_WITH_IT, Key, key_of, sentence, there
from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Finding, Severity
from holdfast.tree.immutable import GONE, PRICE, Refusal, refusals
from holdfast.tree.manifest import Manifest, get, mapping
from holdfast.tree.releases import Release
from holdfast.tree.repository import Location
from holdfast.tree.transitions import definition, frozen
from holdfast.tree.tree import Tree

_KEEP = "helm.sh/resource-policy"
_TEMPLATES = "/templates/"
_SAYS_NOTHING = re.compile(r"(?:^|/)(?:README[^/]*|LICENSE[^/]*|CHANGELOG[^/]*|NOTES\.txt|\.helmignore|OWNERS)$")


@dataclass(frozen=True)
class ReleaseChanges:
    """The releases of a tree before and after."""

    before: Tree
    after: Tree

    def findings(self) -> list[Finding]:
        """What of the change is refused, deletes data or is never deployed; the worst first."""
        old = {r.manifest.key: r for r in self.before.releases}
        pairs = [(old[r.manifest.key], r) for r in self.after.releases if r.manifest.key in old]
        awake = [(was, now) for was, now in pairs if now.manifest.spec.get("suspend") is not True]
        return sorted((f for was, now in awake for f in self._of(was, now)), key=lambda f: -f.severity)

    def _of(self, was: Release, now: Release) -> Iterator[Finding]:
        if target := self._target_changed(was, now):
            yield self._reinstalled(now, *target)
            return
        name = now.manifest.id
        if not all(name in tree.charts.rendered for tree in (self.before, self.after)):
            return
        old, new = _rendered(self.before, name), _rendered(self.after, name)
        kept = self._kept_files(was, now)
        if not kept:
            yield from self._changed(now, old, new)
        elif {k: m.body for k, m in old.items()} != {k: m.body for k, m in new.items()}:
            if was.values != now.values:  # the release is upgraded by these, and they may be what makes the difference
                yield from self._changed(now, old, new)
            yield self._not_deployed(now, kept)

    # -- installed anew ------------------------------------------------------------------------------------------------

    def _target_changed(self, was: Release, now: Release) -> tuple[str, str, str, tuple[str, ...]] | None:
        """(what, before, after, the field) of what helm-controller takes for another release; None where it is the same."""
        stores = [str(r.manifest.spec.get("storageNamespace") or r.manifest.namespace) for r in (was, now)]
        places: list[tuple[str, str, str, tuple[str, ...]]] = [
            ("storage namespace", stores[0], stores[1], ("storageNamespace",)),
            ("namespace", was.target_namespace, now.target_namespace, ("targetNamespace",)),
            ("name", was.name, now.name, ("releaseName",)),
            ("chart", self._chart(self.before, was), self._chart(self.after, now), ("chart", "spec", "chart")),
        ]
        for what, old, new, path in places:
            if old and new and old != new and UNKNOWN not in old + new:
                return what, old, new, path
        return None

    def _chart(self, tree: Tree, release: Release) -> str:
        """The name that a chart gives itself; empty where only its folder in another repository is known."""
        folder = tree.charts.folders.get(release.manifest.id, "")
        body = next((b for _, b in tree.sources.bodies(f"{folder}/Chart.yaml")), {}) if folder else {}
        if body.get("name"):
            return str(body["name"])
        kind = get(release.manifest.spec, "chart", "spec", "sourceRef", "kind")
        return release.chart if kind == "HelmRepository" else ""

    def _reinstalled(self, now: Release, what: str, old: str, new: str, path: tuple[str, ...]) -> Finding:
        name = now.manifest.id
        return Finding(
            "change.reinstall",
            CLAIM,
            Severity.UPGRADE_HAZARD,
            name,
            (self.after.locate(now.manifest, *there(now.manifest, ("spec", *path))),),
            f"the {what} of {name} becomes {new}, and was {old}: Flux uninstalls the release and installs it anew",
            "all that its chart installed is gone meanwhile; what isn't kept on purpose comes back empty, and the claims of StatefulSets stay behind",
            f"keep the {what}, or move its data first; on what must stay, set {_KEEP}: keep in a commit before this one",
            hits=(name,),
        )

    # -- a chart of this repository -------------------------------------------------------------------------------------

    def _kept_files(self, was: Release, now: Release) -> list[str]:
        """The changed files of a chart that source-controller doesn't pack anew: its version, and what the release says of it, stay."""
        folder, before = (t.charts.folders[r.manifest.id] for t, r in ((self.after, now), (self.before, was)))
        file = f"{folder}/Chart.yaml"
        said = [mapping(get(r.manifest.spec, "chart", "spec")) for r in (was, now)]
        if (
            folder != before
            or any(file not in t.repository.known for t in (self.before, self.after))
            or said[0] != said[1]
            or said[1].get("reconcileStrategy") == "Revision"
            or _version(self.before, file) != _version(self.after, file)
        ):
            return []
        names = {*self.before.repository.below(folder), *self.after.repository.below(folder)}
        changed = (n for n in names if _bytes(self.before, n) != _bytes(self.after, n))
        return sorted(n for n in changed if not _SAYS_NOTHING.search(n))

    def _not_deployed(self, now: Release, changed: list[str]) -> Finding:
        name, file = now.manifest.id, f"{self.after.charts.folders[now.manifest.id]}/Chart.yaml"
        told = ", ".join(changed[:_TOLD]) + (f" and {len(changed) - _TOLD} more" if len(changed) > _TOLD else "")
        return Finding(
            "change.not-deployed",
            CLAIM,
            Severity.UPGRADE_HAZARD,
            name,
            (
                self.after.sources.locate(file, path=("version",)),
                *(Location(f, 1) for f in changed if f in self.after.repository.known),
            ),
            f"{name} keeps the chart of before: {told} changed, and {file} still says version {_version(self.after, file)}",
            "of a chart in a repository Flux makes a new package only once its version changes",
            "raise the version in Chart.yaml, or set reconcileStrategy: Revision",
            hits=(name,),
        )

    # -- what helm does with its objects ---------------------------------------------------------------------------------

    def _changed(self, release: Release, old: dict[Key, Manifest], new: dict[Key, Manifest]) -> Iterator[Finding]:
        for key in sorted(old.keys() & new.keys()):
            before, after = old[key], new[key]
            if _is_in_crds(after):
                continue  # helm installs these once
            for one in refusals(after.group, after.kind, before.body, after.body):
                yield self._refused(release, after, one)
            for one in frozen(definition(self.after, after), before.body, after.body):
                yield self._refused(release, after, one)
        for key in sorted(old.keys() - new.keys()):
            if (takes := TAKES_WITH_IT.get(key[:2])) and not (_is_in_crds(old[key]) or _is_kept(old[key])):
                yield self._gone(release, old[key], takes)

    def _refused(self, release: Release, after: Manifest, one: Refusal) -> Finding:
        said, unsure = sentence(after, one)
        return Finding(
            "change.immutable",
            CLAIM,
            Severity.UPGRADE_HAZARD if unsure else Severity.BREAKS_APPLY,
            after.id,
            (self.after.locate(after, *there(after, one.path)), self.after.locate(release.manifest)),
            f"{said}, and {release.manifest.id} does",
            "the API server refuses it, so helm's upgrade fails and the release isn't ready; upgrade.force replaces and deletes nothing",
            f"give it a new name in the chart, or delete it by hand before: {PRICE.get(after.kind, GONE)}",
            hits=(after.id, release.manifest.id),
        )

    def _gone(self, release: Release, before: Manifest, takes: str) -> Finding:
        name = release.manifest.id
        elsewhere = next((m for m in self.after.objects if key_of(m) == key_of(before)), None)
        if elsewhere is not None:
            owner = elsewhere.owner if elsewhere.by == before.by else f"Kustomization/{elsewhere.owner}"
            return Finding(
                "change.moved",
                CLAIM,
                Severity.UPGRADE_HAZARD,
                before.id,
                (self.after.locate(elsewhere),),
                f"{before.id} goes from {name} to {owner}",
                f"where helm lets go of it after the other has applied it, it is deleted: with {takes}",
                f"set {_KEEP}: keep on it in a commit before this one",
                hits=(before.id,),
            )
        return Finding(
            "change.pruned",
            CLAIM,
            Severity.UPGRADE_HAZARD,
            before.id,
            (self.after.locate(release.manifest),),
            f"{name} doesn't make {before.id} any more: helm deletes it, with {takes}",
            "what was deleted comes back empty, or not at all",
            f"where that isn't meant, set {_KEEP}: keep on it in a commit before this one",
            hits=(before.id,),
        )


_TOLD = 3  # changed files that a sentence names


def _rendered(tree: Tree, release: str) -> dict[Key, Manifest]:
    return {key_of(m): m for m in tree.charts.objects if m.owner == release and m.name}


def _version(tree: Tree, file: str) -> str:
    body = next((b for _, b in tree.sources.bodies(file)), {})
    return str(body.get("version"))


def _bytes(tree: Tree, file: str) -> bytes | None:
    return tree.repository.raw(file) if file in tree.repository.known else None


def _is_in_crds(manifest: Manifest) -> bool:
    """Whether helm installs it once and never touches it again. Of a chart that isn't in the tree nobody can tell: then it is taken for one."""
    return manifest.kind == "CustomResourceDefinition" and _TEMPLATES not in manifest.file


def _is_kept(manifest: Manifest) -> bool:
    return mapping(manifest.meta.get("annotations")).get(_KEEP) == "keep"
