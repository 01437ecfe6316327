"""Why what is in the way may be the lane's own doing, or that of something that isn't read: then it is a doubt, and no finding."""

from __future__ import annotations

import json
import re

from holdfast.rehearsal.blockers import Blocker, Lack
from holdfast.rehearsal.foretold import Foretold
from holdfast.rehearsal.removal import kind_of
from holdfast.rehearsal.sick import BY_EXPRESSION
from holdfast.tree.bringers import more_may_come
from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.given import GIVEN_GROUPS
from holdfast.tree.manifest import Manifest
from holdfast.tree.tree import Tree

_FETCHES = re.compile(r"remote (?:resource|base|file|load)|is a remote|no-remote-bases|remote resources", re.IGNORECASE)
_IN_PROGRESS = re.compile(r"Running health checks|Reconciliation in progress|Detecting drift")
_OWN_POLICY = "policy 'holdfast-"  # as the API server names what denied a request


class Doubts:
    """What speaks against a blocker's being a fault of the tree.

    Args:
        foretold: what the tree alone says of its objects.
        theirs: the version of Flux that the tree installs; empty where it doesn't say.
    """

    def __init__(self, tree: Tree, foretold: Foretold, theirs: str) -> None:
        self.tree, self.foretold, self.theirs = tree, foretold, theirs
        self.by_id: dict[str, Manifest] = {}
        for manifest in [*tree.objects, *tree.bootstrap]:
            self.by_id.setdefault(manifest.id, manifest)

    def about(self, blocker: Blocker, flux: str) -> str:
        """Why it may be none, in words; empty where it is one. *flux*: the version that the lane runs."""
        if UNKNOWN in blocker.said:
            return f"{blocker.holder}: a placeholder is in the way, which the lane put there: {blocker.said[:300]}"
        if _OWN_POLICY in blocker.said:
            subject = blocker.object or blocker.holder
            return f"{subject}: a policy of the lane is in the way, nothing of the tree: {blocker.said[:300]}"
        if blocker.lack is Lack.BUILD and _FETCHES.search(blocker.said):
            return f"{blocker.holder}: a part of it would have to be fetched, so it wasn't built: {blocker.said[:300]}"
        return self._unseen(blocker) or self._doubt(blocker, flux)

    def _unseen(self, blocker: Blocker) -> str:
        """Why Flux's words say nothing of the tree: the lane's own server, a part that is fetched, a wait that wasn't over."""
        holder = self.tree.kustomizations.get(blocker.holder.partition("/")[2])
        if blocker.holder.startswith("GitRepository/") and "@127.0.0.1:" in blocker.said:
            return f"{blocker.holder}: the lane's own Git server wasn't read, which is no fault of the tree: {blocker.said[:300]}"
        if blocker.lack is Lack.OTHER and _IN_PROGRESS.match(blocker.said):
            return (
                f"{blocker.holder} waits for the health of its objects, and none of them says why: {blocker.said[:300]}"
            )
        if blocker.lack is Lack.BUILD and holder is not None and holder.built is not None:
            parts = [r.target for r in holder.built.left_out]
            if any(part in blocker.said for part in parts):
                return (
                    f"{blocker.holder}: a part of it would have to be fetched, so it wasn't built: {blocker.said[:300]}"
                )
        return ""

    def _doubt(self, blocker: Blocker, flux: str) -> str:
        """Why it may be the lane's own doing, or that of a chart that isn't read; empty where it can't be."""
        subject = self.object_of(blocker)
        if (
            blocker.lack is Lack.HEALTH
            and blocker.said.startswith("there is no ")
            and blocker.what not in self.by_id
            and self.tree.unread_releases
            and not self.foretold.of(blocker.holder, about=blocker.what)
        ):
            return f"{blocker.holder} waits for {blocker.what}: a chart that isn't read may make it"
        if blocker.said == BY_EXPRESSION:
            return f"{blocker.holder} waits for {blocker.what}: {BY_EXPRESSION}"
        theirs = self.theirs
        if blocker.lack is Lack.REFUSED and subject and of_flux(subject) and theirs and theirs != flux:
            return f"Flux {flux} refuses {blocker.object}, and the tree's own is {theirs}: {blocker.said[:300]}"
        if subject and (UNKNOWN in (body := json.dumps(subject.body, default=str)) or "ENC[" in body):
            return f"{blocker.object} holds placeholders, which the lane put there: {blocker.said[:300]}"
        if blocker.lack is Lack.HEALTH:
            return self.of_the_lane(blocker.what, blocker.said)
        return ""

    def installed_before(self, blocker: Blocker) -> str:
        """The release that brings a kind, where the repository installs its chart before Flux runs, too (a helmfile, say); else empty."""
        group = kind_of(blocker)[0]
        givers = [r for r in self.tree.releases if group in r.groups and r.chart]
        return next((r.manifest.id for r in givers if self.tree.before_flux.brings(group, [r])), "")

    def of_the_lane(self, what: str, said: str) -> str:
        """Why something may run elsewhere and not here; empty where it can't."""
        of_a_volume = "persistentvolumeclaim" in said.lower()
        if "nodes are available" in said and not of_a_volume and not self.foretold.of(what, "apply.unschedulable"):
            return f"{what} fits none of the lane's two nodes, which are made up: {said[:300]}"
        if self.tree.unknown_releases and (of_a_volume or what.startswith("PersistentVolumeClaim/")):
            return f"{what} waits for a volume, whose class a chart that isn't read may bring: {said[:300]}"
        return ""

    def may_be_given(self, blocker: Blocker) -> bool:
        """Whether a chart that is neither read nor known, or a release that the lane takes for there, may bring a kind that nothing else brings."""
        givers = [r for r in self.tree.releases if kind_of(blocker)[0] in r.groups]
        if givers:  # it is known who brings it, and that is too late
            owners = [self.tree.kustomizations.get(r.manifest.owner) for r in givers]
            return any(k is not None and bool(k.gap) for k in owners)
        return not of_kubernetes_or_flux(blocker) and more_may_come(self.tree)

    def object_of(self, blocker: Blocker) -> Manifest | None:
        """The tree's object that a blocker is about. Flux names a namespace also where the kind has none."""
        if (found := self.by_id.get(blocker.object)) is not None:
            return found
        kind, _, rest = blocker.object.partition("/")
        name = rest.rpartition("/")[2]
        alike = [m for m in self.by_id.values() if m.kind == kind and m.name == name]
        holder = blocker.holder.partition("/")[2]
        own = [m for m in alike if m.owner == holder]
        return own[0] if len(own) == 1 else alike[0] if len(alike) == 1 else None


def of_kubernetes_or_flux(blocker: Blocker) -> bool:
    """Whether a kind that isn't served is of a group that is: then it is its version that is gone."""
    group = kind_of(blocker)[0]
    return group in GIVEN_GROUPS or group.endswith(".toolkit.fluxcd.io")


def of_flux(manifest: Manifest) -> bool:
    """Whether an object is of one of Flux's kinds."""
    return manifest.group.endswith(".toolkit.fluxcd.io")
