"""Who needs whom in a tree, each need with its reason and its place: what must exist, be applied or be ready before what.

A node is a state of an object (`State`); an edge says that one state can't come true without the other. Where one of several
things is enough, a state of the sort ``ANY`` stands between.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property, partial

from holdfast.tree import stores
from holdfast.tree.admission import guards
from holdfast.tree.bringers import givers_of, more_may_come, that_install
from holdfast.tree.distribution import k3s
from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.fluxapi import told
from holdfast.tree.given import (
    CLASSES_OF_DISTRIBUTIONS,
    GIVEN_CLASSES,
    GIVEN_GROUPS,
    GIVEN_NAMESPACES,
    MAYBE_GIVEN_GROUPS,
    OF_K3S_GROUPS,
)
from holdfast.tree.manifest import Manifest, get, keys_in, mapping, sequence
from holdfast.tree.needs import DependencyGraph, LazyLocation, Need, Phase, State
from holdfast.tree.pod_config import config_of
from holdfast.tree.releases import Release, known_charts, without_releases
from holdfast.tree.repository import Location
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import KUSTOMIZE, Kustomization, Tree
from holdfast.tree.unread import telling, unread

# What kstatus calls ready as soon as it is there; a CronJob whatever becomes of its pods.
_HEALTHY_AT_ONCE = frozenset(
    {
        "Namespace",
        "ConfigMap",
        "Secret",
        "ServiceAccount",
        "Role",
        "ClusterRole",
        "RoleBinding",
        "ClusterRoleBinding",
        "CronJob",
    }
)
_DEFINITIONS = frozenset({"Namespace", "CustomResourceDefinition", "ClusterRole"})
_CALLED = frozenset({"crd", "crds"})  # how what holds definitions is called


# Without a network no pod of Flux starts: whoever has one by a release has installed it before, and Flux took it over.
_NETWORKS = frozenset({"cilium", "tigera-operator", "calico", "flannel", "kube-ovn", "canal", "antrea"})


class Graph:
    """The needs of everything that a tree applies."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.edges = DependencyGraph()
        self.external: dict[str, str] = {}  # what must come from outside the tree, and who needs it
        self.releases = {r.manifest.id: r for r in tree.releases}
        self._unknown = more_may_come(tree)
        self._open = [k for k in tree.kustomizations.values() if k.gap]  # not all that these apply is known
        self._crds = givers_of(tree)
        self._by_hand = _with_the_entry(tree)
        self._copies: dict[str, list[Manifest]] = {}
        for manifest in tree.objects:
            self._copies.setdefault(manifest.id, []).append(manifest)
        for kustomization in tree.kustomizations.values():
            self._layer(kustomization)
        for manifest in tree.objects:
            self._object(manifest)
        self._webhooks()
        self._controllers()

    # -- building ------------------------------------------------------------------------------------------------------

    def need(
        self,
        state: State,
        other: State,
        why: str,
        location: LazyLocation,
        how: str,
        *,
        boot: bool = False,
        run: bool = False,
    ) -> None:
        """*state* can't come true without *other*; the first reason for it stays."""
        self.edges.add_edge(state, other, Need(why, location, how, boot, run))

    def exists(self, manifest: Manifest) -> State:
        """The state in which an object is there: once one of those that apply it has."""
        state = State(manifest.id, Phase.EXISTS)
        if not self.edges.requires.get(state):
            location = partial(self.tree.locate, manifest)
            first, *others = dict.fromkeys(_applied_by(m) for m in self._copies.get(manifest.id, [manifest]))
            if manifest.id in self._by_hand or self.tree.before_flux.applies(manifest):
                self.edges.add(state)
            elif others:
                options = [(one, one.id) for one in (first, *others)]
                self._one_of(
                    state, options, f"any that applies {manifest.id}", "it is applied", location, "owns", boot=True
                )
            else:
                self.need(state, first, f"{first.id} applies it", location, "owns", boot=True)
        return state

    def _layer(self, kustomization: Kustomization) -> None:
        me = f"Kustomization/{kustomization.id}"
        ready, applied, defined = (State(me, s) for s in (Phase.READY, Phase.APPLIED, Phase.DEFINED))
        location = self._at(kustomization)
        if kustomization is not self.tree.root and kustomization.way:
            self.need(defined, State(me, Phase.EXISTS), "it must be there itself", location, "owns")
        self.need(ready, applied, "it is ready once all of it is applied", location, "wait")
        self.need(applied, defined, "its definitions come first", location, "owns")
        for index, other in enumerate(kustomization.depends_on):
            at = self._at(kustomization, "spec", "dependsOn", index)
            if mapping(sequence(kustomization.spec.get("dependsOn"))[index]).get("readyExpr"):
                self.external.setdefault(f"the readyExpr of {me} for Kustomization/{other}", me)
            elif other in self.tree.kustomizations:
                self.need(
                    defined,
                    State(f"Kustomization/{other}", Phase.READY),
                    f"{me} depends on Kustomization/{other}",
                    at,
                    "dependsOn",
                )
            else:
                self._lacks(
                    defined,
                    f"Kustomization/{other}",
                    f"{me} depends on Kustomization/{other}, which nothing applies",
                    at,
                    "dependsOn",
                )
        self._source(kustomization, defined)
        if kustomization.error:
            self.need(
                defined,
                State(f"the build of {kustomization.folder}", Phase.MISSING),
                f"it can't be built: {kustomization.error}",
                kustomization.built.location if kustomization.built and kustomization.built.location else location,
                "build",
            )
        self._variables(kustomization, defined)
        self._health(kustomization, ready)
        for manifest in kustomization.objects:
            self._apply(
                kustomization, manifest, State(me, Phase.DEFINED if manifest.kind in _DEFINITIONS else Phase.APPLIED)
            )

    def _at(self, kustomization: Kustomization, *path: PathKey) -> LazyLocation:
        if not kustomization.manifest.file:
            return Location(kustomization.folder, 1)
        return partial(self.tree.locate, kustomization.manifest, *path)

    def _variables(self, kustomization: Kustomization, state: State) -> None:
        """What it takes variables from must be there before anything of it is built; what it makes of that itself is made by hand at first."""
        me, space = f"Kustomization/{kustomization.id}", kustomization.id.partition("/")[0]
        entries = map(mapping, sequence(get(kustomization.spec, "postBuild", "substituteFrom")))
        for index, entry in enumerate(entries):
            if entry.get("optional"):
                continue
            key = (str(entry.get("kind")), space, str(entry.get("name")))
            found, at = self.tree.by_key.get(key), self._at(kustomization, "spec", "postBuild", "substituteFrom", index)
            if found is None:
                lack = self.tree.names.lacks(*key, by_hand=True, early=True)
                how = "it can't reach" if lack and lack.elsewhere else "nothing makes"
                name = "/".join(key)
                self._lacks(state, name, f"{me} takes variables from {name}, which {how}", at, "variables", input_=True)
            elif found.owner == kustomization.id:
                self.external.setdefault(found.id, f"{me} (postBuild.substituteFrom), before it applies that itself")
            else:
                self.need(state, self.exists(found), f"{me} takes variables from {found.id}", at, "variables")

    def _source(self, kustomization: Kustomization, state: State) -> None:
        ref = mapping(kustomization.spec.get("sourceRef"))
        key = (
            str(ref.get("kind")),
            str(ref.get("namespace") or kustomization.id.partition("/")[0]),
            str(ref.get("name")),
        )
        source = self.tree.by_key.get(key)
        if ref == mapping(self.tree.root.spec.get("sourceRef")) and key[1] == self.tree.root.id.partition("/")[0]:
            return  # whoever makes the root makes its source, whatever applies it again later
        if source is not None and source.owner != kustomization.id and kustomization is not self.tree.root:
            self.need(
                state,
                self.exists(source),
                f"it builds from {source.id}",
                self._at(kustomization, "spec", "sourceRef"),
                "source",
            )
        elif source is None and kustomization is not self.tree.root and kustomization.manifest.file and ref:
            self._lacks(
                state,
                "/".join(key),
                f"Kustomization/{kustomization.id} builds from {'/'.join(key)}, which nothing applies",
                self._at(kustomization, "spec", "sourceRef", "name"),
                "source",
            )

    def _health(self, kustomization: Kustomization, ready: State) -> None:
        """What must be healthy for a Kustomization to be ready: all of it with ``wait``, else what its health checks name."""
        if kustomization.waits:
            at = self._at(kustomization, "spec", "wait")
            for manifest in kustomization.objects:
                if manifest.kind not in _HEALTHY_AT_ONCE and not (
                    manifest.is_(KUSTOMIZE, "Kustomization") and manifest.owner == _own(manifest)
                ):
                    self.need(
                        ready,
                        State(manifest.id, Phase.READY),
                        f"Kustomization/{kustomization.id} has 'wait: true' and applies {manifest.id}",
                        at,
                        "wait",
                    )
            return
        for index, check in enumerate(map(mapping, sequence(kustomization.spec.get("healthChecks")))):
            key = (
                str(check.get("kind")),
                str(check.get("namespace") or kustomization.id.partition("/")[0]),
                str(check.get("name")),
            )
            found = (
                self.tree.by_key.get(key)
                or self.tree.by_key.get((key[0], "", key[2]))
                or next((m for m in self.tree.of(key[0]) if m.name == key[2] and "namespace" not in m.meta), None)
            )
            if found is not None and _adds_to_anothers(found):
                self.external.setdefault(found.id, f"Kustomization/{kustomization.id}; {found.file} only adds to it")
                continue
            at = self._at(kustomization, "spec", "healthChecks", index)
            name = f"{key[0]}/{key[1]}/{key[2]}"
            if found is not None and found.id == f"Kustomization/{kustomization.id}":
                continue  # it is ready before it looks at itself
            if found is not None:
                self.need(
                    ready,
                    State(found.id, Phase.READY),
                    f"a health check of Kustomization/{kustomization.id} names {found.id}",
                    at,
                    "healthCheck",
                )
            elif moved := next((m for m in kustomization.objects if _is_moved(m, check, key)), None):
                why = f"a health check of Kustomization/{kustomization.id} names {name}, and it applies {moved.id}"
                self.need(ready, State(name, Phase.MISSING), why, at, "healthCheck")
            elif not (key[0] == "CustomResourceDefinition" and self.releases):
                self._lacks(
                    ready,
                    name,
                    f"a health check of Kustomization/{kustomization.id} names {name}, which nothing applies",
                    at,
                    "healthCheck",
                )

    def _apply(self, kustomization: Kustomization, manifest: Manifest, state: State) -> None:
        """What must be there for the API server to take an object: its kind and its namespace. The whole set waits for the last one."""
        if manifest.kind != "CustomResourceDefinition":
            self._kind(kustomization, manifest, state)
        if manifest.namespace and manifest.namespace not in GIVEN_NAMESPACES:
            self._namespace(
                kustomization,
                manifest,
                state,
                manifest.namespace,
                f"{manifest.id} lies in the namespace {manifest.namespace}",
                partial(self.tree.locate, manifest, "metadata", "namespace"),
            )

    def _kind(self, kustomization: Kustomization, manifest: Manifest, state: State) -> None:
        group, kind = manifest.group, manifest.kind
        if group in GIVEN_GROUPS or group.endswith(".toolkit.fluxcd.io") or group == "fluxcd.controlplane.io":
            return
        givers = self._crds.get((group, kind), []) + self._crds.get((group, ""), [])
        if any(isinstance(g, Manifest) and g.owner == kustomization.id for g in givers):
            return  # definitions are applied first
        location = partial(self.tree.locate, manifest, "apiVersion")
        self._needs_kind(state, manifest, (group, kind), f"{manifest.id} is of the kind {kind} ({group})", location)

    def _kinds_of_a_chart(self, release: Release, applied: State) -> None:
        """Custom resources that a known chart makes as its values stand: helm's install fails without their kinds."""
        for fact in () if release.unread else release.parts("custom_resource"):
            group, kind = str(fact["group"]), str(fact["kind"])
            if group in release.groups or release.value(fact.get("unless", "")):
                continue
            if not self._crds.get((group, kind)) and not self._crds.get((group, "")):
                self.external.setdefault(f"the kind {kind} ({group})", release.manifest.id)
                continue
            if all(release.value(path) is True for path in fact["when"]):
                manifest, path = release.manifest, ("spec", "values", *str(fact["when"][-1]).split("."))
                why = f"{manifest.id} makes a {kind} ({group}) by {fact['when'][-1]}"
                self._needs_kind(applied, manifest, (group, kind), why, partial(self.tree.locate, manifest, *path))

    def _needs_kind(
        self, state: State, manifest: Manifest, of: tuple[str, str], why: str, location: LazyLocation
    ) -> None:
        """*state* can't come true before the definition of a (group, kind) is there."""
        group, kind = of
        in_tree = of in self._crds or (group, "") in self._crds
        if group in MAYBE_GIVEN_GROUPS and (not in_tree or (group in OF_K3S_GROUPS and self._is_k3s)):
            self.external.setdefault(f"the kind {kind} ({group})", f"{manifest.id}; k3s, or a chart, may bring it")
            return
        givers = self._crds.get((group, kind), []) + self._crds.get((group, ""), [])
        if self.tree.before_flux.brings(group, givers):
            self.external.setdefault(
                f"the kind {kind} ({group})", f"{manifest.id}; what bootstraps the cluster brings it"
            )
            return
        if not givers:
            name = f"the kind {kind} ({group})"
            if self._unknown:
                self.external.setdefault(name, f"{manifest.id}; a chart that isn't known here may install it")
            else:
                self._lacks(state, name, f"{why}, and nothing in the tree installs that kind", location, "kind")
            return
        options = [(self._given(g), _by(g)) for g in givers]
        guesses: list[tuple[State, str]] = []
        if not any(isinstance(g, Manifest) for g in givers):
            guesses = self._others_that_may_bring(group, [g for g in givers if isinstance(g, Release)])
        self._one_of(state, options, f"the kind {kind} ({group})", why, location, "kind", boot=True, guesses=guesses)

    def _others_that_may_bring(self, group: str, givers: list[Release]) -> list[tuple[State, str]]:
        """Beside those that are known to bring a kind: charts that aren't known and parts that aren't read, where their names speak of it."""
        hidden = (State("what isn't known here", Phase.EXISTS), "what begins the cluster")
        own_words = telling(group, *(g.chart for g in givers))
        named = own_words | telling(*(g.manifest.name for g in givers))
        by_tools = bool(self._unknown or self._open) and self.tree.before_flux.may_install(named)
        if by_tools or any(g.chart in _NETWORKS for g in givers):
            self.edges.add(hidden[0])
            return [hidden]  # whoever begins a cluster by scripts may have installed it before
        words = own_words | _CALLED
        found = [
            (State(r.manifest.id, Phase.APPLIED), r.manifest.id)
            for r in self.tree.unknown_releases
            if not (own := telling(r.chart, r.manifest.name)) or words & own
        ]
        # One that is called by what it has the definitions of has those, and no others.
        asked = [(unread(self.tree, k), own_words if telling(k.manifest.name) - _CALLED else words) for k in self._open]
        # Each of these comes by what applies it, so none can be there before that.
        found += [
            (State(f"Kustomization/{k.id}", Phase.DEFINED), f"Kustomization/{k.id}, which isn't read,")
            for k, (u, w) in zip(self._open, asked, strict=True)
            if u.may_bring(w)
        ]
        return found + [(self.exists(m), m.id) for m in that_install(self.tree)]

    def _lacks(
        self, state: State, name: str, why: str, location: LazyLocation, how: str, *, input_: bool = False
    ) -> None:
        """Nothing in the tree gives *name*: a defect, unless what isn't read could plausibly give it, or the name itself isn't known."""
        kind, _, rest = name.partition("/")
        namespace, _, own = rest.rpartition("/")
        lack = self.tree.names.lacks(kind, namespace, own, by_hand=input_, early=input_) if rest else None
        if lack is not None:
            way = "elsewhere" if lack.elsewhere and how in ("variables", "values") else how
            self.need(state, State(name, Phase.MISSING), f"{why}{lack.hint}", location, way)
        elif UNKNOWN in name or self._open or rest:
            self.external.setdefault(name.replace(UNKNOWN, "$"), state.id)
        else:
            self.need(state, State(name, Phase.MISSING), why, location, how)

    def _given(self, giver: Manifest | Release) -> State:
        """A kind is there once a release's objects are applied: its pods, and what they wait for, come later."""
        return self.exists(giver) if isinstance(giver, Manifest) else State(giver.manifest.id, Phase.APPLIED)

    def _one_of(
        self,
        state: State,
        others: list[tuple[State, str]],
        name: str,
        why: str,
        location: LazyLocation,
        how: str,
        *,
        boot: bool = False,
        guesses: Sequence[tuple[State, str]] = (),
    ) -> None:
        if len(others) == 1 and not guesses:
            self.need(state, others[0][0], f"{why}, which {others[0][1]} gives", location, how, boot=boot)
            return
        middle = State(name, Phase.ANY)
        self.need(state, middle, why, location, how, boot=boot)
        for other, by in others:
            self.need(middle, other, f"{by} gives it", location, how, boot=boot)
        for other, by in guesses:
            self.edges.add_edge(middle, other, Need(f"{by} may give it", location, how, boot, guess=True))

    def _namespace(
        self,
        kustomization: Kustomization,
        manifest: Manifest,
        state: State,
        name: str,
        why: str,
        location: LazyLocation,
    ) -> None:
        makers = [m for m in self.tree.of("Namespace") if m.name == name]
        if any(m.owner == kustomization.id for m in makers):
            return
        if self.tree.before_flux.makes_namespace(name):
            self.external.setdefault(f"Namespace/{name}", f"{manifest.id}; what bootstraps the cluster makes it")
            return
        options = [(self.exists(m), _by(m)) for m in makers]
        options += [
            (State(r.manifest.id, Phase.APPLIED), r.manifest.id)
            for r in self.releases.values()
            if r.target_namespace == name
            and get(r.manifest.spec, "install", "createNamespace") is True
            and r.manifest.namespace != name  # such a release can't be there before
        ]
        if options:
            self._one_of(state, options, f"the namespace {name}", why, location, "namespace", boot=True)
        elif any(s.namespace == name for s in self.tree.settings.secrets) and not makers:
            self.external.setdefault(f"Namespace/{name}", manifest.id)
        elif maker := self._chart_of_that_name(name) or self._operator_of(name):
            self.external.setdefault(f"Namespace/{name}", f"{manifest.id}; {maker} may make it, by its name")
        else:
            self._lacks(state, f"Namespace/{name}", f"{why}, which nothing in the tree makes", location, "namespace")

    def _chart_of_that_name(self, name: str) -> str:
        """What installs a chart that a namespace is called after, such as ``cilium-secrets``: many make some beside their own."""
        above = {name[:i] for i, sign in enumerate(name) if sign == "-"}
        for release in self.tree.unread_releases:
            keys = {str(k).lower() for k in keys_in(release.values)} if not release.known else set()
            if release.chart in above or (keys & telling(name) and name.endswith("-system")):
                return release.manifest.id  # or one that its values name a part of
        return "what bootstraps the cluster" if self.tree.before_flux.installs(above) else ""

    def _operator_of(self, name: str) -> str:
        """A custom resource whose operator isn't in the tree, and may make a namespace or live in it; empty where none says so by its name."""
        if name not in self._operators:
            words = set(name.split("-"))
            self._operators[name] = next((m.id for m in self._of_operators_elsewhere if _may_make(m, name, words)), "")
        return self._operators[name]

    @cached_property
    def _operators(self) -> dict[str, str]:
        return {}

    @cached_property
    def _of_operators_elsewhere(self) -> list[Manifest]:
        """The custom resources of kinds that nothing in the tree gives."""
        return [
            m
            for m in self.tree.objects
            if m.group not in GIVEN_GROUPS
            and not m.group.endswith((".k8s.io", ".fluxcd.io", "fluxcd.controlplane.io"))
            and not self._crds.get((m.group, m.kind))
            and not self._crds.get((m.group, ""))
        ]

    # -- objects -------------------------------------------------------------------------------------------------------

    def _object(self, manifest: Manifest) -> None:
        exists, ready = self.exists(manifest), State(manifest.id, Phase.READY)
        flux = manifest.group.endswith(".toolkit.fluxcd.io")
        if manifest.suspended and flux:
            states = (
                [ready, State(manifest.id, Phase.DEFINED)]
                if manifest.kind == "Kustomization"
                else [State(manifest.id, Phase.APPLIED)]
            )
            for state in states if manifest.kind in ("Kustomization", "HelmRelease") else ():
                self.need(
                    state,
                    State(f"{manifest.id}, suspended", Phase.MISSING),
                    f"{manifest.id} is suspended",
                    partial(self.tree.locate, manifest, "spec", "suspend"),
                    "suspend",
                    boot=True,
                )
        if manifest.is_(KUSTOMIZE, "Kustomization"):
            return
        self.need(ready, exists, "it must be there", partial(self.tree.locate, manifest), "owns")
        if manifest.id in self.releases:
            applied = State(manifest.id, Phase.APPLIED)
            self.need(
                ready,
                applied,
                "it is ready once it is installed",
                partial(self.tree.locate, manifest),
                "owns",
                boot=True,
            )
            self.need(applied, exists, "it must be there", partial(self.tree.locate, manifest), "owns")
            self._release(self.releases[manifest.id], applied)
        elif manifest.by == "HelmChart" and (manifest.pod_path or manifest.kind == "PersistentVolumeClaim"):
            self.need(
                State(manifest.owner, Phase.READY),
                ready,
                f"{manifest.owner} waits for {manifest.id}",
                partial(self.tree.locate, manifest),
                "wait",
            )
        if manifest.kind == "PersistentVolumeClaim":
            self._claim(manifest, ready)
        elif manifest.pod_path:
            self._pods(manifest, ready)
        elif manifest.kind == "Ingress":
            self._ingress(manifest)
        for other, words, path in stores.needs(self.tree, manifest):
            self.need(ready, other, words, partial(self.tree.locate, manifest, *path), "store")

    def _release(self, release: Release, ready: State) -> None:
        manifest = release.manifest
        path: tuple[PathKey, ...] = (
            ("spec", "chartRef") if manifest.spec.get("chartRef") else ("spec", "chart", "spec", "sourceRef")
        )
        ref = mapping(get(manifest.body, *path))
        if ref:
            key = (str(ref.get("kind")), str(ref.get("namespace") or manifest.namespace), str(ref.get("name")))
            source = self.tree.by_key.get(key)
            at = partial(self.tree.locate, manifest, *path)
            if source is not None:
                self.need(ready, self.exists(source), f"{manifest.id} takes its chart from {source.id}", at, "source")
            else:
                self._lacks(
                    ready,
                    "/".join(key),
                    f"{manifest.id} takes its chart from {'/'.join(key)}, which nothing applies",
                    at,
                    "source",
                )
        for index, other in enumerate(sequence(manifest.spec.get("dependsOn"))):
            other_id = (
                f"HelmRelease/{mapping(other).get('namespace') or manifest.namespace}/{mapping(other).get('name')}"
            )
            known = other_id in self.releases
            at = partial(self.tree.locate, manifest, "spec", "dependsOn", index)
            if known:
                self.need(ready, State(other_id, Phase.READY), f"{manifest.id} depends on {other_id}", at, "dependsOn")
            else:
                self._lacks(
                    ready, other_id, f"{manifest.id} depends on {other_id}, which nothing applies", at, "dependsOn"
                )
        self._values(release, ready)
        self._kinds_of_a_chart(release, ready)
        target = release.target_namespace
        kustomization = self.tree.kustomization_of(manifest)
        if (
            target not in GIVEN_NAMESPACES
            and target != manifest.namespace
            and get(manifest.spec, "install", "createNamespace") is not True
            and kustomization
            and self._waits_for_target(release)
        ):
            self._namespace(
                kustomization,
                manifest,
                ready,
                target,
                f"{manifest.id} installs into {target}",
                partial(self.tree.locate, manifest, "spec", "targetNamespace"),
            )
        for volume in release.volumes():
            self._class(
                ready,
                volume.storage_class,
                f"{manifest.id} asks for a volume ({volume.what})",
                partial(self.tree.locate, manifest, *volume.path),
            )

    def _waits_for_target(self, release: Release) -> bool:
        """Whether a release needs its namespace to be there: not where its own chart makes it, or puts nothing into it.

        Helm keeps the release itself in the namespace of the HelmRelease, and installs a chart's Namespaces before all else.
        """
        manifest, target = release.manifest, release.target_namespace
        rendered = [m for m in self.tree.objects if m.by == "HelmChart" and m.owner == manifest.id]
        if not rendered or manifest.spec.get("storageNamespace") == target:
            return True
        own = any((m.kind, m.name) == ("Namespace", target) for m in rendered)
        return not own and any(m.namespace == target for m in rendered)

    def _values(self, release: Release, ready: State) -> None:
        """The ConfigMaps and Secrets of values that aren't in the tree."""
        manifest = release.manifest
        refs = [mapping(r) for r in sequence(manifest.spec.get("valuesFrom"))]
        for name in release.unread:
            kind, _, own = name.partition(" (")[0].partition(f"/{manifest.namespace}/")
            index = next((i for i, r in enumerate(refs) if (r.get("kind"), r.get("name")) == (kind, own)), 0)
            lack = self.tree.names.lacks(kind, manifest.namespace, own, by_hand=True, early=True)
            self._lacks(
                ready,
                name,
                f"{manifest.id} takes values from {name}, which "
                + ("it can't reach" if lack and lack.elsewhere else "nothing makes"),
                partial(self.tree.locate, manifest, "spec", "valuesFrom", index),
                "values",
                input_=True,
            )

    def _claim(self, manifest: Manifest, ready: State) -> None:
        if manifest.spec.get("volumeName"):
            return
        name = manifest.spec.get("storageClassName")
        self._class(
            ready,
            str(name) if name is not None else "",
            f"{manifest.id} asks for a volume",
            partial(self.tree.locate, manifest, "spec", "storageClassName"),
            none=name == "",
            claim=manifest,
        )
        late = self.storage_class(str(name)) if name else None
        if name in GIVEN_CLASSES or (late is not None and late.body.get("volumeBindingMode") == "WaitForFirstConsumer"):
            users = [
                m for m in self.tree.workloads_in(manifest.namespace) if manifest.name in {c for _, c in m.claims()}
            ]
            at = partial(self.tree.locate, manifest, "spec", "storageClassName")
            if users:
                self._one_of(
                    ready,
                    [(self.exists(u), u.id) for u in users],
                    f"a pod that mounts {manifest.id}",
                    f"the class {name} binds {manifest.id} only once a pod mounts it",
                    at,
                    "consumer",
                    boot=True,
                )
            elif without_releases(self.tree, manifest.namespace) and not self._is_named_elsewhere(manifest):
                self._lacks(
                    ready,
                    f"a pod that mounts {manifest.id}",
                    f"the class {name} binds {manifest.id} only once a pod mounts it, and none does",
                    at,
                    "consumer",
                )

    def _is_named_elsewhere(self, claim: Manifest) -> bool:
        """Whether any other object has the claim's name somewhere: what an operator makes of that may mount it."""
        word = json.dumps(claim.name)
        return any(word in json.dumps(m.body, default=str) for m in self.tree.objects if m.id != claim.id)

    @cached_property
    def _default_class(self) -> Manifest | None:
        """The tree's own class for claims that name none; None where it has none, or several."""
        found = [
            m
            for m in self.tree.of("StorageClass")
            if mapping(m.meta.get("annotations")).get("storageclass.kubernetes.io/is-default-class") in ("true", True)
        ]
        return found[0] if len(found) == 1 else None

    def storage_class(self, name: str) -> Manifest | None:
        """A StorageClass of the tree."""
        return self.tree.by_key.get(("StorageClass", "", name))

    def _volumes(self, name: str, claim: Manifest | None) -> list[Manifest]:
        """The volumes of a class that are the tree's own and may be a claim's: the one that names it, else those that name none.

        Claims by a template, or of a chart, have names that aren't known here: any of the class may be theirs.
        """
        own, free = [], []
        for one in self.tree.of("PersistentVolume"):
            kept = mapping(one.spec.get("claimRef"))
            if str(one.spec.get("storageClassName") or "") != name:
                continue
            if not kept or claim is None:
                free.append(one)
            elif (kept.get("namespace"), kept.get("name")) == (claim.namespace, claim.name):
                own.append(one)
        return own or free

    def _class(
        self,
        ready: State,
        name: str,
        why: str,
        location: LazyLocation,
        *,
        none: bool = False,
        claim: Manifest | None = None,
    ) -> None:
        """A volume needs its class, and the class whoever provisions for it."""
        if none or name in GIVEN_CLASSES or self._provider(ready, name, why, location):
            return
        own = self.storage_class(name)
        volumes = self._volumes(name, claim)
        if own is not None:
            self.need(ready, self.exists(own), f"{why} of the class {name}", location, "storage")
        elif volumes:
            if len(volumes) == 1:  # of several any may be the one
                self.need(ready, self.exists(volumes[0]), f"{why}, which {volumes[0].id} is", location, "storage")
        elif name.startswith("longhorn") and (manager := self._longhorn_manager):
            self.need(
                ready,
                State(manager.id, Phase.READY),
                f"{why} of the class {name}, which {manager.id} makes",
                location,
                "storage",
            )
        elif name in CLASSES_OF_DISTRIBUTIONS and not self._is_k3s:
            self.external.setdefault(f"StorageClass/{name}", f"{ready.id}; some clusters have one from the start")
        elif name:
            self._lacks(
                ready,
                f"StorageClass/{name}",
                f"{why} of the class {name}, which nothing in the tree makes",
                location,
                "storage",
            )

    @cached_property
    def _longhorn_manager(self) -> Manifest | None:
        """Longhorn's own manager, where it is applied without its chart: it makes its class of a ConfigMap."""
        return next((m for m in self.tree.of("DaemonSet") if m.name == "longhorn-manager"), None)

    @cached_property
    def _is_k3s(self) -> bool:
        return bool(k3s(self.tree))

    def _provider(self, ready: State, name: str, why: str, location: LazyLocation, *, none: bool = False) -> bool:
        """Whether a release of the tree provisions for a class; then *ready* needs it."""
        own = self.storage_class(name) if name else self._default_class
        provisioner = str(own.body.get("provisioner") or "") if own is not None else ""
        for release in self.releases.values() if not none else ():
            if _provisions(release, name, provisioner):
                self.need(
                    ready,
                    State(release.manifest.id, Phase.READY),
                    f"{why} of the class {name or (own.name if own else 'that is the default')}, which {release.manifest.id} provisions",
                    location,
                    "storage",
                )
                return True
        return False

    def _pods(self, manifest: Manifest, ready: State) -> None:
        for path, name in manifest.claims():
            claim = self.tree.by_key.get(("PersistentVolumeClaim", manifest.namespace, name))
            at = partial(self.tree.locate, manifest, *path)
            if claim is not None:
                self.need(
                    ready,
                    State(claim.id, Phase.READY),
                    f"the pods of {manifest.id} mount {claim.id}",
                    at,
                    "claim",
                    boot=True,
                )
                self._provider(
                    ready,
                    str(claim.spec.get("storageClassName") or ""),
                    f"the pods of {manifest.id} mount {claim.id}, a volume",
                    at,
                    none=claim.spec.get("storageClassName") == "" or bool(claim.spec.get("volumeName")),
                )
        for index, template in enumerate(sequence(manifest.spec.get("volumeClaimTemplates"))):
            self._class(
                ready,
                str(get(template, "spec", "storageClassName") or ""),
                f"{manifest.id} has a volume for each pod",
                partial(self.tree.locate, manifest, "spec", "volumeClaimTemplates", index),
            )
        account = manifest.pod.get("serviceAccountName")
        if isinstance(account, str) and account != "default":
            found = self.tree.by_key.get(("ServiceAccount", manifest.namespace, account))
            if found is not None:
                self.need(
                    ready,
                    self.exists(found),
                    f"its pods run as {found.id}",
                    partial(self.tree.locate, manifest, *manifest.pod_path, "serviceAccountName"),
                    "account",
                )
        for kind, name, path in config_of(manifest):
            found = self.tree.by_key.get((kind, manifest.namespace, name))
            if found is not None:
                self.need(
                    ready,
                    self.exists(found),
                    f"the pods of {manifest.id} read {found.id}",
                    partial(self.tree.locate, manifest, *path),
                    "config",
                )
            else:
                self.external.setdefault(f"{kind}/{manifest.namespace}/{name}", manifest.id)

    def _ingress(self, manifest: Manifest) -> None:
        name = str(manifest.spec.get("ingressClassName") or "")
        for release in self.releases.values():
            for fact in release.parts("ingress_class"):
                if name in ("", str(release.value(fact["name"], fact["default"]))):
                    self.need(
                        State(manifest.id, Phase.READY),
                        State(release.manifest.id, Phase.READY),
                        f"{manifest.id} is served by {release.manifest.id}",
                        partial(self.tree.locate, manifest, "spec", "ingressClassName"),
                        "serves",
                        run=True,
                    )

    def _controllers(self) -> None:
        """While a controller of Flux is away, nothing that it does is done."""
        found = {
            m.name: m
            for m in self.tree.of("Deployment")
            if m.name in ("source-controller", "kustomize-controller", "helm-controller")
        }
        for kustomization in self.tree.kustomizations.values():
            for name in ("kustomize-controller", "source-controller"):
                if name in found:
                    self.need(
                        State(f"Kustomization/{kustomization.id}", Phase.APPLIED),
                        State(found[name].id, Phase.READY),
                        f"{found[name].id} applies it"
                        if name == "kustomize-controller"
                        else f"{found[name].id} fetches what it is built from",
                        self._at(kustomization),
                        "controller",
                        run=True,
                    )
        for release in self.releases.values():
            if "helm-controller" in found:
                self.need(
                    State(release.manifest.id, Phase.APPLIED),
                    State(found["helm-controller"].id, Phase.READY),
                    f"{found['helm-controller'].id} installs it",
                    partial(self.tree.locate, release.manifest),
                    "controller",
                    run=True,
                )

    def _webhooks(self) -> None:
        """While what must admit objects is away, nothing of them is applied."""
        for guard in guards(self.tree):
            for kustomization in self.tree.kustomizations.values():
                hit = next((m for m in kustomization.objects if guard.takes(m) and m is not guard.own), None)
                if hit is not None:
                    self.need(
                        State(f"Kustomization/{kustomization.id}", Phase.APPLIED),
                        guard.state,
                        f"{guard.what} must answer before {hit.id} is applied",
                        guard.location,
                        "webhook",
                        run=True,
                    )

    # -- asking --------------------------------------------------------------------------------------------------------

    def needs(self, state: State, other: State) -> Need:
        """Why *state* needs *other*."""
        return self.edges.requires[state][other]


def _provisions(release: Release, name: str, provisioner: str) -> bool:
    """Whether a release provisions for a class: one that it brings (by its name, its provisioner, or as the default), or one of its driver's."""
    if provisioner and any(re.search(one, provisioner) for one in release.facts.get("provisions", [])):
        return True
    for fact in release.parts("storage_class"):
        default = release.value(fact.get("default_class", ""), fact.get("default_class_default", False))
        if fact["name"] == name or (not name and default) or fact["provisioner"] == provisioner:
            return True
    return False


def _own(manifest: Manifest) -> str:
    return f"{manifest.namespace}/{manifest.name}"


def _by(giver: Manifest | Release) -> str:
    if isinstance(giver, Manifest):
        return giver.owner if giver.by == "HelmChart" else f"Kustomization/{giver.owner}"
    return giver.manifest.id


def _with_the_entry(tree: Tree) -> set[str]:
    """What is applied by hand together with the entry's own Kustomization: all that lies beside it, where it waits for some of that."""
    beside = {m.id for m in tree.bootstrap}
    return beside if any(f"Kustomization/{one}" in beside for one in tree.root.depends_on) else set()


def _may_make(manifest: Manifest, namespace: str, words: set[str]) -> bool:
    """Whether a custom resource of the whole cluster gives a namespace its name, or one lives in a namespace that is called as its group is."""
    if not manifest.meta.get("namespace"):  # what a known chart's kinds make is known, and is no namespace
        known = any(manifest.group in facts.get("groups", ()) for facts in known_charts().values())
        return not known and (manifest.name == namespace or namespace.endswith(f"-{manifest.name}"))
    return manifest.namespace == namespace and bool(words & set(manifest.group.split(".")[:-1]))


def _applied_by(manifest: Manifest) -> State:
    """The state in which what applies an object has applied it."""
    if manifest.by == "HelmChart":
        return State(manifest.owner, Phase.APPLIED)
    stage = Phase.DEFINED if manifest.kind in _DEFINITIONS else Phase.APPLIED
    return State(f"Kustomization/{manifest.owner}", stage)


def _adds_to_anothers(manifest: Manifest) -> bool:
    """Whether an object is laid over one that somebody else makes: a Secret or ConfigMap without data, which Flux is told to merge."""
    return (
        told(manifest, "ssa", "Merge")
        and manifest.kind in ("Secret", "ConfigMap")
        and not any(manifest.body.get(part) for part in ("data", "stringData", "binaryData"))
    )


def _is_moved(manifest: Manifest, check: Mapping[str, object], key: tuple[str, str, str]) -> bool:
    """Whether a Kustomization applies what its health check names, and surely in another namespace."""
    group = str(check.get("apiVersion") or "").rpartition("/")[0]
    same = (manifest.group, manifest.kind, manifest.name) == (group, key[0], key[2])
    return same and UNKNOWN not in f"{manifest.namespace}{key[1]}" and manifest.namespace != key[1]
