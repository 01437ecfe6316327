"""What an ExternalSecret needs: its store, and whoever answers where the store says that its secrets are."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast.tree.manifest import Manifest, get, texts
from holdfast.tree.needs import Phase, State
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import Tree

_IN_CLUSTER = re.compile(
    r"^https?://(?P<service>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)(?:\.svc[a-z0-9.-]*)?(?::\d+)?(?:/|$)"
)
Need = tuple[State, str, tuple[PathKey, ...]]


def needs(tree: Tree, manifest: Manifest) -> Iterator[Need]:
    """What an object of External Secrets needs to be ready: the state, in words, and the field that says so."""
    if manifest.kind == "ExternalSecret":
        kind = str(get(manifest.spec, "secretStoreRef", "kind") or "SecretStore")
        space = "" if kind == "ClusterSecretStore" else manifest.namespace
        store = tree.by_key.get((kind, space, str(get(manifest.spec, "secretStoreRef", "name"))))
        if store is not None:
            yield State(store.id, Phase.READY), f"{manifest.id} reads from {store.id}", ("spec", "secretStoreRef")
    elif manifest.kind in ("SecretStore", "ClusterSecretStore"):
        for path, text in texts(manifest.spec.get("provider")):
            if found := _IN_CLUSTER.match(text):
                for who in _answering(tree, found["service"], found["namespace"]):
                    yield (
                        State(who, Phase.READY),
                        f"{manifest.id} asks {found['service']}.{found['namespace']}, which {who} is",
                        ("spec", "provider", *path),
                    )


def _answering(tree: Tree, service: str, namespace: str) -> Iterator[str]:
    """The releases and workloads that are behind a Service, by the namespace and what they are called."""
    for release in tree.releases:
        if release.target_namespace == namespace and (
            service == release.name or service.startswith(f"{release.name}-")
        ):
            yield release.manifest.id
    own = tree.by_key.get(("Service", namespace, service))
    selector = own.spec.get("selector") if own is not None else None
    if isinstance(selector, dict) and selector:
        yield from (
            m.id for m in tree.workloads_in(namespace) if all(m.pod_labels.get(k) == v for k, v in selector.items())
        )
