"""Who needs whom in a tree, each need with its reason and its place: what must exist, be applied or be ready before what.

A node is a state of an object (`State`); an edge says that one state can't come true without the other. Where one of several
things is enough, a state of the sort ``ANY`` stands between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.manifest import Body, Manifest, get, mapping, matches, sequence
from holdfast.tree.needs import Need, Net, Sort, Spot, State
from holdfast.tree.releases import Release, releases
from holdfast.tree.repository import Place
from holdfast.tree.sources import Step
from holdfast.tree.tree import KUSTOMIZE, Layer, Tree

_HEALTHY_AT_ONCE = frozenset(
    {"Namespace", "ConfigMap", "Secret", "ServiceAccount", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}
)
_DEFINITIONS = frozenset({"Namespace", "CustomResourceDefinition", "ClusterRole"})
GIVEN_NAMESPACES = frozenset({"default", "kube-system", "kube-public", "kube-node-lease", "flux-system"})
GIVEN_CLASSES = frozenset({"local-path"})  # k3s'
GIVEN_GROUPS = frozenset(
    {
        "",
        "apps",
        "batch",
        "autoscaling",
        "policy",
        "networking.k8s.io",
        "rbac.authorization.k8s.io",
        "storage.k8s.io",
        "scheduling.k8s.io",
        "node.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "certificates.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "resource.k8s.io",
        "helm.cattle.io",
        "k3s.cattle.io",
    }
)  # the last two are k3s'


# With k3s' own Traefik; by many a storage chart.
_MAYBE_GIVEN_GROUPS = frozenset(
    {"traefik.io", "traefik.containo.us", "gateway.networking.k8s.io", "snapshot.storage.k8s.io"}
)


class Graph:
    """The needs of everything that a tree applies."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.net = Net()
        self.assumed: dict[str, str] = {}  # what must come from outside the tree, and who needs it
        self.releases = {r.manifest.id: r for r in releases(tree)}
        self._unknown = [r for r in self.releases.values() if not r.known and r.manifest.id not in tree.rendered]
        self._open = [la for la in tree.layers.values() if la.not_read or la.error]  # what these apply isn't known
        self._crds = _definitions(tree, self.releases.values())
        for layer in tree.layers.values():
            self._layer(layer)
        for manifest in tree.objects:
            self._object(manifest)
        self._webhooks()
        self._controllers()

    # -- building ------------------------------------------------------------------------------------------------------

    def need(
        self, state: State, other: State, why: str, place: Spot, how: str, *, boot: bool = False, run: bool = False
    ) -> None:
        """*state* can't come true without *other*; the first reason for it stays."""
        self.net.join(state, other, Need(why, place, how, boot, run))

    def exists(self, manifest: Manifest) -> State:
        """The state in which an object is there."""
        state = State(manifest.id, Sort.EXISTS)
        owner = manifest.owner if manifest.by == "HelmChart" else f"Kustomization/{manifest.owner}"
        if not self.net.below.get(state):
            stage = Sort.DEFINED if manifest.kind in _DEFINITIONS and manifest.by != "HelmChart" else Sort.APPLIED
            self.need(
                state, State(owner, stage), f"{owner} applies it", partial(self.tree.place, manifest), "owns", boot=True
            )
        return state

    def _layer(self, layer: Layer) -> None:
        me = f"Kustomization/{layer.id}"
        ready, applied, defined = (State(me, s) for s in (Sort.READY, Sort.APPLIED, Sort.DEFINED))
        place = self._at(layer)
        if layer is not self.tree.root and layer.way:
            self.need(defined, State(me, Sort.EXISTS), "it must be there itself", place, "owns")
        self.need(ready, applied, "it is ready once all of it is applied", place, "wait")
        self.need(applied, defined, "its definitions come first", place, "owns")
        for index, other in enumerate(layer.depends_on):
            at = self._at(layer, "spec", "dependsOn", index)
            if mapping(sequence(layer.spec.get("dependsOn"))[index]).get("readyExpr"):
                self.assumed.setdefault(f"the readyExpr of {me} for Kustomization/{other}", me)
            elif other in self.tree.layers:
                self.need(
                    defined,
                    State(f"Kustomization/{other}", Sort.READY),
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
        self._source(layer, defined)
        if layer.error:
            self.need(
                defined,
                State(f"the build of {layer.folder}", Sort.LACKING),
                f"it can't be built: {layer.error}",
                layer.built.place if layer.built and layer.built.place else place,
                "build",
            )
        for ref in layer.manifest.unknown:
            self.assumed.setdefault(ref, f"{me} (postBuild.substituteFrom)")
        self._health(layer, ready)
        for manifest in layer.objects:
            self._apply(layer, manifest, State(me, Sort.DEFINED if manifest.kind in _DEFINITIONS else Sort.APPLIED))

    def _at(self, layer: Layer, *path: Step) -> Spot:
        if not layer.manifest.file:
            return Place(layer.folder, 1)
        return partial(self.tree.place, layer.manifest, *path)

    def _source(self, layer: Layer, state: State) -> None:
        ref = mapping(layer.spec.get("sourceRef"))
        key = (str(ref.get("kind")), str(ref.get("namespace") or layer.id.partition("/")[0]), str(ref.get("name")))
        source = self.tree.by_key.get(key)
        if source is not None and source.owner != layer.id and layer is not self.tree.root:
            self.need(
                state,
                self.exists(source),
                f"it builds from {source.id}",
                self._at(layer, "spec", "sourceRef"),
                "source",
            )

    def _health(self, layer: Layer, ready: State) -> None:
        """What must be healthy for a Kustomization to be ready: all of it with ``wait``, else what its health checks name."""
        if layer.waits:
            at = self._at(layer, "spec", "wait")
            for manifest in layer.objects:
                if manifest.kind not in _HEALTHY_AT_ONCE and not (
                    manifest.is_(KUSTOMIZE, "Kustomization") and manifest.owner == _own(manifest)
                ):
                    self.need(
                        ready,
                        State(manifest.id, Sort.READY),
                        f"Kustomization/{layer.id} has 'wait: true' and applies {manifest.id}",
                        at,
                        "wait",
                    )
            return
        for index, check in enumerate(map(mapping, sequence(layer.spec.get("healthChecks")))):
            key = (
                str(check.get("kind")),
                str(check.get("namespace") or layer.id.partition("/")[0]),
                str(check.get("name")),
            )
            found = (
                self.tree.by_key.get(key)
                or self.tree.by_key.get((key[0], "", key[2]))
                or next((m for m in self.tree.of(key[0]) if m.name == key[2] and "namespace" not in m.meta), None)
            )
            at = self._at(layer, "spec", "healthChecks", index)
            name = f"{key[0]}/{key[1]}/{key[2]}"
            if found is not None:
                self.need(
                    ready,
                    State(found.id, Sort.READY),
                    f"a health check of Kustomization/{layer.id} names {found.id}",
                    at,
                    "healthCheck",
                )
            elif key[1] in ("kube-system", "kube-public") or key[1] in self.tree.custom_namespaces:
                self.assumed.setdefault(name, f"a health check of Kustomization/{layer.id}")
            elif not self._may_come_from_a_release(key[1]) and not (
                key[0] == "CustomResourceDefinition" and self.releases
            ):
                self._lacks(
                    ready,
                    name,
                    f"a health check of Kustomization/{layer.id} names {name}, which nothing applies",
                    at,
                    "healthCheck",
                )

    def _may_come_from_a_release(self, namespace: str) -> bool:
        return any(r.target_namespace == namespace for r in self.releases.values())

    def _apply(self, layer: Layer, manifest: Manifest, state: State) -> None:
        """What must be there for the API server to take an object: its kind and its namespace. The whole set waits for the last one."""
        if manifest.kind != "CustomResourceDefinition":
            self._kind(layer, manifest, state)
        if manifest.namespace and manifest.namespace not in GIVEN_NAMESPACES:
            self._namespace(
                layer,
                manifest,
                state,
                manifest.namespace,
                f"{manifest.id} lies in the namespace {manifest.namespace}",
                partial(self.tree.place, manifest, "metadata", "namespace"),
            )

    def _kind(self, layer: Layer, manifest: Manifest, state: State) -> None:
        group, kind = manifest.group, manifest.kind
        if group in _MAYBE_GIVEN_GROUPS and (group, kind) not in self._crds and (group, "") not in self._crds:
            self.assumed.setdefault(f"the kind {kind} ({group})", f"{manifest.id}; k3s, or a chart, may bring it")
            return
        if group in GIVEN_GROUPS or group.endswith(".toolkit.fluxcd.io") or group == "fluxcd.controlplane.io":
            return
        place = partial(self.tree.place, manifest, "apiVersion")
        why = f"{manifest.id} is of the kind {kind} ({group})"
        givers = self._crds.get((group, kind), []) + self._crds.get((group, ""), [])
        if not givers:
            name = f"the kind {kind} ({group})"
            if self._unknown:
                self.assumed.setdefault(name, f"{manifest.id}; a chart that isn't known here may install it")
            else:
                self._lacks(state, name, f"{why}, and nothing in the tree installs that kind", place, "kind")
            return
        if any(isinstance(g, Manifest) and g.owner == layer.id for g in givers):
            return  # definitions are applied first
        options = [(self._given(g), _by(g)) for g in givers]
        if (self._unknown or self._open) and not any(isinstance(g, Manifest) for g in givers):
            options.append(
                (State("what isn't known here", Sort.EXISTS), "a chart or a part of the tree that isn't known here")
            )
            self.net.add(options[-1][0])
        self._one_of(state, options, f"the kind {kind} ({group})", why, place, "kind", boot=True)

    def _lacks(self, state: State, name: str, why: str, place: Spot, how: str) -> None:
        """Nothing in the tree gives *name*: a defect, unless not all of the tree is known, or the name itself isn't."""
        if UNKNOWN in name or (self._open and how != "storage"):
            self.assumed.setdefault(name.replace(UNKNOWN, "$"), state.id)
        else:
            self.need(state, State(name, Sort.LACKING), why, place, how)

    def _given(self, giver: Manifest | Release) -> State:
        return self.exists(giver) if isinstance(giver, Manifest) else State(giver.manifest.id, Sort.READY)

    def _one_of(
        self,
        state: State,
        others: list[tuple[State, str]],
        name: str,
        why: str,
        place: Spot,
        how: str,
        *,
        boot: bool = False,
    ) -> None:
        if len(others) == 1:
            self.need(state, others[0][0], f"{why}, which {others[0][1]} gives", place, how, boot=boot)
            return
        middle = State(name, Sort.ANY)
        self.need(state, middle, why, place, how, boot=boot)
        for other, by in others:
            self.need(middle, other, f"{by} gives it", place, how, boot=boot)

    def _namespace(self, layer: Layer, manifest: Manifest, state: State, name: str, why: str, place: Spot) -> None:
        makers = [m for m in self.tree.of("Namespace") if m.name == name]
        if any(m.owner == layer.id for m in makers):
            return
        options = [(self.exists(m), _by(m)) for m in makers]
        options += [
            (State(r.manifest.id, Sort.READY), r.manifest.id)
            for r in self.releases.values()
            if r.target_namespace == name
            and get(r.manifest.spec, "install", "createNamespace") is True
            and r.manifest is not manifest
        ]
        if options:
            self._one_of(state, options, f"the namespace {name}", why, place, "namespace", boot=True)
        elif any(s.namespace == name for s in self.tree.adaptations.secrets) and not makers:
            self.assumed.setdefault(f"Namespace/{name}", manifest.id)
        else:
            self._lacks(state, f"Namespace/{name}", f"{why}, which nothing in the tree makes", place, "namespace")

    # -- objects -------------------------------------------------------------------------------------------------------

    def _object(self, manifest: Manifest) -> None:
        exists, ready = self.exists(manifest), State(manifest.id, Sort.READY)
        flux = manifest.group.endswith(".toolkit.fluxcd.io")
        if manifest.suspended and flux:
            states = (
                [ready, State(manifest.id, Sort.DEFINED)]
                if manifest.kind == "Kustomization"
                else [State(manifest.id, Sort.APPLIED)]
            )
            for state in states if manifest.kind in ("Kustomization", "HelmRelease") else ():
                self.need(
                    state,
                    State(f"{manifest.id}, suspended", Sort.LACKING),
                    f"{manifest.id} is suspended",
                    partial(self.tree.place, manifest, "spec", "suspend"),
                    "suspend",
                    boot=True,
                )
        if manifest.is_(KUSTOMIZE, "Kustomization"):
            return
        self.need(ready, exists, "it must be there", partial(self.tree.place, manifest), "owns")
        if manifest.id in self.releases:
            applied = State(manifest.id, Sort.APPLIED)
            self.need(
                ready,
                applied,
                "it is ready once it is installed",
                partial(self.tree.place, manifest),
                "owns",
                boot=True,
            )
            self.need(applied, exists, "it must be there", partial(self.tree.place, manifest), "owns")
            self._release(self.releases[manifest.id], applied)
        elif manifest.by == "HelmChart" and (manifest.pod_path or manifest.kind == "PersistentVolumeClaim"):
            self.need(
                State(manifest.owner, Sort.READY),
                ready,
                f"{manifest.owner} waits for {manifest.id}",
                partial(self.tree.place, manifest),
                "wait",
            )
        if manifest.kind == "PersistentVolumeClaim":
            self._claim(manifest, ready)
        elif manifest.pod_path:
            self._pods(manifest, ready)
        elif manifest.kind == "Ingress":
            self._ingress(manifest)

    def _release(self, release: Release, ready: State) -> None:
        manifest = release.manifest
        path: tuple[Step, ...] = (
            ("spec", "chartRef") if manifest.spec.get("chartRef") else ("spec", "chart", "spec", "sourceRef")
        )
        ref = mapping(get(manifest.body, *path))
        if ref:
            key = (str(ref.get("kind")), str(ref.get("namespace") or manifest.namespace), str(ref.get("name")))
            source = self.tree.by_key.get(key)
            at = partial(self.tree.place, manifest, *path)
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
            at = partial(self.tree.place, manifest, "spec", "dependsOn", index)
            if known:
                self.need(ready, State(other_id, Sort.READY), f"{manifest.id} depends on {other_id}", at, "dependsOn")
            else:
                self._lacks(
                    ready, other_id, f"{manifest.id} depends on {other_id}, which nothing applies", at, "dependsOn"
                )
        for ref_id in release.unread:
            self.assumed.setdefault(ref_id, f"{manifest.id} (valuesFrom)")
        target = release.target_namespace
        layer = self.tree.layer_of(manifest)
        if (
            target not in GIVEN_NAMESPACES
            and target != manifest.namespace
            and get(manifest.spec, "install", "createNamespace") is not True
            and layer
        ):
            self._namespace(
                layer,
                manifest,
                ready,
                target,
                f"{manifest.id} installs into {target}",
                partial(self.tree.place, manifest, "spec", "targetNamespace"),
            )
        for volume in release.volumes():
            self._class(
                ready,
                volume.storage_class,
                f"{manifest.id} asks for a volume ({volume.what})",
                partial(self.tree.place, manifest, *volume.path),
            )

    def _claim(self, manifest: Manifest, ready: State) -> None:
        if manifest.spec.get("volumeName"):
            return
        name = manifest.spec.get("storageClassName")
        self._class(
            ready,
            str(name) if name is not None else "",
            f"{manifest.id} asks for a volume",
            partial(self.tree.place, manifest, "spec", "storageClassName"),
            none=name == "",
        )
        late = self.storage_class(str(name)) if name else None
        if name in GIVEN_CLASSES or (late is not None and late.body.get("volumeBindingMode") == "WaitForFirstConsumer"):
            users = [
                m for m in self.tree.workloads_in(manifest.namespace) if manifest.name in {c for _, c in m.claims()}
            ]
            at = partial(self.tree.place, manifest, "spec", "storageClassName")
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

    def storage_class(self, name: str) -> Manifest | None:
        """A StorageClass of the tree."""
        return self.tree.by_key.get(("StorageClass", "", name))

    def _class(self, ready: State, name: str, why: str, place: Spot, *, none: bool = False) -> None:
        """A volume needs its class, and the class whoever provisions for it."""
        if none or name in GIVEN_CLASSES or self._provider(ready, name, why, place):
            return
        own = self.storage_class(name)
        volume = next(
            (m for m in self.tree.of("PersistentVolume") if str(m.spec.get("storageClassName") or "") == name), None
        )
        if own is not None:
            self.need(ready, self.exists(own), f"{why} of the class {name}", place, "storage")
        elif volume is not None:
            self.need(ready, self.exists(volume), f"{why}, which {volume.id} is", place, "storage")
        elif name:
            if any(r.role == "storage" for r in self.releases.values()) or self._unknown or self._open:
                self.assumed.setdefault(f"StorageClass/{name}", why)
            else:
                self._lacks(
                    ready,
                    f"StorageClass/{name}",
                    f"{why} of the class {name}, which nothing in the tree makes",
                    place,
                    "storage",
                )

    def _provider(self, ready: State, name: str, why: str, place: Spot, *, none: bool = False) -> bool:
        """Whether a release of the tree provisions for a class; then *ready* needs it."""
        own = self.storage_class(name)
        provisioner = str(own.body.get("provisioner") or "") if own is not None else ""
        for release in self.releases.values() if not none else ():
            for fact in release.parts("storage_class"):
                default = release.value(fact.get("default_class", ""), fact.get("default_class_default", False))
                if fact["name"] == name or (not name and default) or fact["provisioner"] == provisioner:
                    self.need(
                        ready,
                        State(release.manifest.id, Sort.READY),
                        f"{why} of the class {name or 'that is the default'}, which {release.manifest.id} provisions",
                        place,
                        "storage",
                    )
                    return True
        return False

    def _pods(self, manifest: Manifest, ready: State) -> None:
        for path, name in manifest.claims():
            claim = self.tree.by_key.get(("PersistentVolumeClaim", manifest.namespace, name))
            at = partial(self.tree.place, manifest, *path)
            if claim is not None:
                self.need(
                    ready,
                    State(claim.id, Sort.READY),
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
                partial(self.tree.place, manifest, "spec", "volumeClaimTemplates", index),
            )
        account = manifest.pod.get("serviceAccountName")
        if isinstance(account, str) and account != "default":
            found = self.tree.by_key.get(("ServiceAccount", manifest.namespace, account))
            if found is not None:
                self.need(
                    ready,
                    self.exists(found),
                    f"its pods run as {found.id}",
                    partial(self.tree.place, manifest, *manifest.pod_path, "serviceAccountName"),
                    "account",
                )
        for kind, name, path in config_of(manifest):
            found = self.tree.by_key.get((kind, manifest.namespace, name))
            if found is not None:
                self.need(
                    ready,
                    self.exists(found),
                    f"the pods of {manifest.id} read {found.id}",
                    partial(self.tree.place, manifest, *path),
                    "config",
                )
            else:
                self.assumed.setdefault(f"{kind}/{manifest.namespace}/{name}", manifest.id)

    def _ingress(self, manifest: Manifest) -> None:
        name = str(manifest.spec.get("ingressClassName") or "")
        for release in self.releases.values():
            for fact in release.parts("ingress_class"):
                if name in ("", str(release.value(fact["name"], fact["default"]))):
                    self.need(
                        State(manifest.id, Sort.READY),
                        State(release.manifest.id, Sort.READY),
                        f"{manifest.id} is served by {release.manifest.id}",
                        partial(self.tree.place, manifest, "spec", "ingressClassName"),
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
        for layer in self.tree.layers.values():
            for name in ("kustomize-controller", "source-controller"):
                if name in found:
                    self.need(
                        State(f"Kustomization/{layer.id}", Sort.APPLIED),
                        State(found[name].id, Sort.READY),
                        f"{found[name].id} applies it"
                        if name == "kustomize-controller"
                        else f"{found[name].id} fetches what it is built from",
                        self._at(layer),
                        "controller",
                        run=True,
                    )
        for release in self.releases.values():
            if "helm-controller" in found:
                self.need(
                    State(release.manifest.id, Sort.APPLIED),
                    State(found["helm-controller"].id, Sort.READY),
                    f"{found['helm-controller'].id} installs it",
                    partial(self.tree.place, release.manifest),
                    "controller",
                    run=True,
                )

    def _webhooks(self) -> None:
        """A webhook that fails closed stands before every object of its kinds: while its pods are away, nothing of them is applied."""
        for release in self.releases.values():
            for fact in release.webhooks():
                self._guard(
                    partial(_stated, fact),
                    State(release.manifest.id, Sort.READY),
                    f"the admission webhook of {release.manifest.id}",
                    partial(self.tree.place, release.manifest),
                )
        for config in self.tree.of("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
            for index, hook in enumerate(sequence(config.body.get("webhooks"))):
                backend = self._backend(mapping(hook))
                if mapping(hook).get("failurePolicy") != "Ignore" and backend is not None:
                    self._guard(
                        partial(self._guards, mapping(hook)),
                        State(backend.id, Sort.READY),
                        f"the webhook of {config.id} ({backend.id})",
                        partial(self.tree.place, config, "webhooks", index),
                        own=backend,
                    )

        for api in self.tree.of("APIService"):
            served = mapping(api.spec.get("service"))
            backend = self._backend({"clientConfig": {"service": served}}) if served else None
            if backend is not None:
                self._guard(
                    partial(_of_group, str(api.spec.get("group"))),
                    State(backend.id, Sort.READY),
                    f"{api.id} ({backend.id})",
                    partial(self.tree.place, api, "spec", "service"),
                    own=backend,
                )

    def _backend(self, hook: Body) -> Manifest | None:
        service = mapping(get(hook, "clientConfig", "service"))
        found = self.tree.by_key.get(("Service", str(service.get("namespace")), str(service.get("name"))))
        selector = {"matchLabels": mapping(found.spec.get("selector"))} if found is not None else {}
        return (
            next((m for m in self.tree.workloads_in(found.namespace) if matches(selector, m.pod_labels)), None)
            if found is not None
            else None
        )

    def _guards(self, hook: Body, manifest: Manifest) -> bool:
        """Whether a webhook stands before an object: by its rules, and by the labels of the object and of its namespace."""
        if not _takes(hook, manifest):
            return False
        space = next((m for m in self.tree.of("Namespace") if m.name == manifest.namespace), None)
        labels = {
            "kubernetes.io/metadata.name": manifest.namespace,
            **(mapping(space.meta.get("labels")) if space is not None else {}),
        }
        of_space = not manifest.namespace or matches(hook.get("namespaceSelector"), labels)
        return of_space and matches(hook.get("objectSelector"), mapping(manifest.meta.get("labels")))

    def _guard(
        self, takes: Callable[[Manifest], bool], backend: State, what: str, place: Spot, own: Manifest | None = None
    ) -> None:
        for layer in self.tree.layers.values():
            hit = next((m for m in layer.objects if takes(m) and m is not own), None)
            if hit is not None:
                self.need(
                    State(f"Kustomization/{layer.id}", Sort.APPLIED),
                    backend,
                    f"{what} must answer before {hit.id} is applied",
                    place,
                    "webhook",
                    run=True,
                )

    # -- asking --------------------------------------------------------------------------------------------------------

    def needs(self, state: State, other: State) -> Need:
        """Why *state* needs *other*."""
        return self.net.below[state][other]


def _own(manifest: Manifest) -> str:
    return f"{manifest.namespace}/{manifest.name}"


def _by(giver: Manifest | Release) -> str:
    if isinstance(giver, Manifest):
        return giver.owner if giver.by == "HelmChart" else f"Kustomization/{giver.owner}"
    return giver.manifest.id


def _definitions(tree: Tree, known: Any) -> dict[tuple[str, str], list[Manifest | Release]]:
    """Who installs which kind: definitions in the tree, and releases (a group with the kind left open)."""
    found: dict[tuple[str, str], list[Manifest | Release]] = {}
    for crd in tree.of("CustomResourceDefinition"):
        found.setdefault((str(crd.spec.get("group")), str(get(crd.spec, "names", "kind"))), []).append(crd)
    for release in known:
        for group in release.groups:
            found.setdefault((group, ""), []).append(release)
    return found


def config_of(manifest: Manifest) -> Iterator[tuple[str, str, tuple[Step, ...]]]:
    """The ConfigMaps and Secrets that pods can't start without: kind, name, and where they are named."""
    for path, container in manifest.containers(every=True):
        for index, source in enumerate(sequence(container.get("envFrom"))):
            for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                ref = mapping(mapping(source).get(key))
                if ref.get("name") and not ref.get("optional"):
                    yield kind, str(ref["name"]), (*path, "envFrom", index)
        for index, variable in enumerate(sequence(container.get("env"))):
            for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                ref = mapping(get(variable, "valueFrom", key))
                if ref.get("name") and not ref.get("optional"):
                    yield kind, str(ref["name"]), (*path, "env", index)
    for index, volume in enumerate(sequence(manifest.pod.get("volumes"))):
        entries = [mapping(volume), *(mapping(s) for s in sequence(get(volume, "projected", "sources")))]
        for entry in entries:
            for key, kind, name in (
                ("configMap", "ConfigMap", "name"),
                ("secret", "Secret", "secretName" if entry is entries[0] else "name"),
            ):
                ref = mapping(entry.get(key))
                if ref.get(name) and not ref.get("optional"):
                    yield kind, str(ref[name]), (*manifest.pod_path, "volumes", index)


def _of_group(group: str, manifest: Manifest) -> bool:
    return manifest.group == group


def _stated(fact: Body, manifest: Manifest) -> bool:
    """Whether the webhook that a chart's facts declare takes an object."""
    return f"{manifest.group}/{manifest.kind}" in fact.get("kinds", []) or manifest.group in fact.get("groups", [])


def _plural(kind: str) -> str:
    """The resource's name of a kind, as nearly all kinds have it."""
    name = kind.lower()
    if name == "endpoints" or name.endswith("ies"):
        return name
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("s", "x", "ch")) else f"{name}s"


def _takes(hook: Body, manifest: Manifest) -> bool:
    """Whether a webhook's rules take an object that is created or changed."""
    plural = _plural(manifest.kind)
    for rule in map(mapping, sequence(hook.get("rules"))):
        operations = sequence(rule.get("operations"))
        if (
            ({manifest.group, "*"} & set(map(str, sequence(rule.get("apiGroups")))))
            and ({plural, "*", "*/*"} & set(map(str, sequence(rule.get("resources")))))
            and ({"CREATE", "UPDATE", "*"} & set(map(str, operations)))
        ):
            return True
    return False
