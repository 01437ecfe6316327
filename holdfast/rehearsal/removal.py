"""Takes what is in the way out of it, in the lane only."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ResourceNotFoundError, ResourceNotUniqueError

from holdfast.bootstrap import namespace, secret
from holdfast.kube import Object
from holdfast.policies import SERVED
from holdfast.rehearsal.blockers import IMMUTABLE, Blocker, Lack
from holdfast.rehearsal.looks import State
from holdfast.rehearsal.stage import Stage
from holdfast.tree import assumed
from holdfast.tree.manifest import Manifest
from holdfast.waiting import CannotLook

REFUSALS = (ApiException, CannotLook, ResourceNotFoundError, ResourceNotUniqueError, ValueError)
_KIND = re.compile(r"(\w+) \((?:([\w.-]+)/)?(\w+)\)")


DELETED = "the lane deleted"  # how it is said of what is made anew


class Removal:
    """What is done about obstacles on one stage.

    Args:
        anew: whether what refuses to be changed is deleted, so that it is made anew, as its owner would have to; else it is left out.
    """

    def __init__(self, stage: Stage, *, anew: bool = False) -> None:
        self.anew = anew
        self.stage, self.client, self.tree = stage, stage.client, stage.tree
        self._known_givers: dict[tuple[Lack, str], frozenset[str]] = {}

    # -- what may come by itself ----------------------------------------------------------------------------------------------

    def may_come(self, blocker: Blocker, states: Mapping[str, State]) -> bool:
        """Whether something that isn't settled yet can still give what is lacking."""
        return any(not states[g].settled if g in states else True for g in self.givers(blocker))

    def givers(self, blocker: Blocker) -> frozenset[str]:
        """The ids of what gives what is lacking, as the tree has it."""
        key = blocker.lack, blocker.what
        if key not in self._known_givers:
            self._known_givers[key] = frozenset(self._givers(blocker))
        return self._known_givers[key]

    def _givers(self, blocker: Blocker) -> set[str]:
        tree = self.tree
        if blocker.lack is Lack.KIND:
            group, kind, _ = kind_of(blocker)
            crds = [
                m
                for m in tree.of("CustomResourceDefinition")
                if m.spec.get("group") == group and m.spec.get("names", {}).get("kind") == kind
            ]
            releases = [r.manifest.id for r in tree.releases if group in r.groups]
            return {self._owner(m) for m in crds} | set(releases)
        if blocker.lack is Lack.NAMESPACE:
            name = blocker.what.partition("/")[2]
            made = {self._owner(m) for m in tree.of("Namespace") if m.name == name}
            return made | {
                r.manifest.id
                for r in tree.releases
                if r.target_namespace == name and (r.manifest.spec.get("install") or {}).get("createNamespace")
            }
        if blocker.lack in (Lack.CONFIG, Lack.SOURCE, Lack.DEPENDENCY):
            return {self._owner(m) for m in tree.objects if m.id == blocker.what}
        return set()

    @staticmethod
    def _owner(manifest: Manifest) -> str:
        return manifest.owner if manifest.owner.startswith("HelmRelease/") else f"Kustomization/{manifest.owner}"

    # -- taking it away -------------------------------------------------------------------------------------------------------

    def request(self, state: State, token: str) -> bool:
        """Asks for a try now; False where that couldn't be done."""
        try:
            self.client.request_reconciliation(state.kind, state.name, state.namespace, token)
        except REFUSALS:
            return False
        return True

    def give_up_on(self, blocker: Blocker, states: Mapping[str, State]) -> str:
        """The coarsest way: its holder is taken for ready. Returns in words what was done, empty where even that can't be."""
        try:
            return self._give_up_on(blocker, states)
        except REFUSALS:
            return ""

    def remove(self, blocker: Blocker, states: Mapping[str, State]) -> str:
        """Takes one thing out of the way; returns in words what was done, empty where nothing can be."""
        try:
            return self._remove(blocker, states)
        except REFUSALS:  # then the coarser way
            return self.give_up_on(blocker, states)

    def _remove(self, blocker: Blocker, states: Mapping[str, State]) -> str:  # noqa: PLR0911  one return a sort
        lack, what = blocker.lack, blocker.what
        if lack is Lack.KIND:
            group, kind, version = kind_of(blocker)
            if not group or "." not in group:
                return self._exclude(blocker, states)
            self._define(group, kind, version)
            return f"the lane serves {what}, and takes whatever it is given"
        if lack is Lack.NAMESPACE:
            self.client.apply(namespace(what.partition("/")[2]))
            return f"the lane made {what}"
        if lack is Lack.CONFIG:
            self._make_config(blocker)
            return f"the lane made {what} with placeholders"
        if lack is Lack.DEPENDENCY:
            return self._detour(blocker, states, without=what.partition("/")[2])
        if lack is Lack.LOOP and what.startswith("Kustomization/"):
            return self._cut(blocker, states)
        if lack is Lack.REFUSED:
            unchanged = self.anew and IMMUTABLE.search(blocker.said)
            return (self._delete(blocker) if unchanged else "") or self._exclude(blocker, states)
        if lack is Lack.HEALTH and blocker.holder.startswith("Kustomization/"):
            return self._detour(blocker, states, checks_nothing=True)
        return self._give_up_on(blocker, states)

    def _define(self, group: str, kind: str, version: str) -> None:
        wish = assumed.definition_of(self.tree, group, kind, version)
        there = next(
            (
                d
                for d in self.client.list("CustomResourceDefinition")
                if (d["spec"]["group"], d["spec"]["names"]["kind"]) == (group, kind)
            ),
            None,
        )
        if there:  # the kind is there, and not in this version
            added = [{**v, "storage": False} for v in wish["spec"]["versions"] if v["name"] == version]
            versions = [*(v for v in there["spec"]["versions"] if v["name"] != version), *added]
            mark = {SERVED: ",".join(v["name"] for v in versions)}
            meta = {"name": there["metadata"]["name"], "annotations": mark}
            wish = {**wish, "metadata": meta, "spec": {**there["spec"], "versions": versions}}
        self.client.apply(wish)

    def _make_config(self, blocker: Blocker) -> None:
        kind, space, name = blocker.what.split("/", 2)
        if not self.client.get("Namespace", space):
            self.client.apply(namespace(space))
        texts = self.stage.variables_of(blocker.holder.partition("/")[2])
        body: Object = {"apiVersion": "v1", "kind": kind, "metadata": {"namespace": space, "name": name}, "data": texts}
        self.client.apply(secret(space, name, texts) if kind == "Secret" else body)

    def _delete(self, blocker: Blocker) -> str:
        """What is there goes, so that what Git says is made in its place."""
        found = self._refused(blocker)
        if found is None or not self.client.delete(found.kind, found.name, found.namespace or None, version=found.api):
            return ""
        return f"{DELETED} {blocker.object}, so that it is made anew"

    def _refused(self, blocker: Blocker) -> Manifest | None:
        kind, _, name = blocker.object.partition("/")
        holder = self.tree.kustomizations.get(blocker.holder.partition("/")[2])
        own = name.rpartition("/")[2]
        objects = holder.objects if holder else []
        exact = (m for m in objects if m.id == blocker.object)
        return next(exact, None) or next((m for m in objects if m.kind == kind and m.name == own), None)

    def _exclude(self, blocker: Blocker, states: Mapping[str, State]) -> str:
        found = self._refused(blocker)
        if found is None:
            return self._give_up_on(blocker, states)
        return self._detour(blocker, states, excluded=(found.group, found.kind, found.name))

    def _cut(self, blocker: Blocker, states: Mapping[str, State]) -> str:
        """One link of a circle: a dependency, or the health that a Kustomization waits for."""
        holder = self.tree.kustomizations.get(blocker.holder.partition("/")[2])
        other = blocker.what.partition("/")[2]
        if holder is not None and other in holder.depends_on:
            return self._detour(blocker, states, without=other)
        return self._detour(blocker, states, checks_nothing=True)

    def _give_up_on(self, blocker: Blocker, states: Mapping[str, State]) -> str:
        """It is taken for ready, so that what waits for it goes on."""
        if not blocker.holder.startswith(("Kustomization/", "HelmRelease/")):
            return ""
        return self._detour(blocker, states, assumed=True)

    def _detour(
        self,
        blocker: Blocker,
        states: Mapping[str, State],
        *,
        without: str = "",
        excluded: tuple[str, str, str] | None = None,
        checks_nothing: bool = False,
        assumed: bool = False,
    ) -> str:
        state = states.get(blocker.holder)
        if state is None:
            return ""
        detour = self.stage.detour(f"{state.namespace}/{state.name}", state.kind)
        said = ""
        if without:
            detour.without.add(without)
            said = f"the lane doesn't let it wait for {without}"
        if excluded:
            detour.excluded.add(excluded)
            said = f"the lane leaves {blocker.object} out"
        if checks_nothing:
            detour.checks_nothing = True
            said = "the lane doesn't let it wait for its objects' health"
        if assumed:
            detour.assumed = True
            said = "the lane takes it for ready"
        self.stage.apply_detour(detour)
        return said


def kind_of(blocker: Blocker) -> tuple[str, str, str]:
    """(API group, kind, version) of what a missing kind is called by."""
    found = _KIND.fullmatch(blocker.what)
    if not found:
        return "", "", ""
    return found[2] or "", found[1], found[3]
