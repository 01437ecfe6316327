"""The Flux objects in a tree's files, applied or not, as they are written: no build is run, and no patch is put to them."""

from __future__ import annotations

import re

from holdfast.tree.manifest import Body, get, mapping, objects_in
from holdfast.tree.sources import Sources
from holdfast.tree.tree import KUSTOMIZE, Kustomization

_FLUX = re.compile(
    r"^[ \t-]*kind: *[\"']?(?:Kustomization|GitRepository|OCIRepository|Bucket|FluxInstance|ArtifactGenerator|List)\b",
    re.MULTILINE,
)
_GROUPS = ("toolkit.fluxcd.io/", "extensions.fluxcd.io/", "fluxcd.controlplane.io/")


def flux_documents(sources: Sources) -> list[tuple[str, Body]]:
    """The Flux objects of every file, applied or not, with their files. Files that can't be parsed are passed over here."""
    found = []
    for name in sources.repository.files:
        if not name.endswith((".yaml", ".yml")):
            continue
        text = sources.repository.text(name)
        if any(group in text for group in _GROUPS) and _FLUX.search(text):
            found += [(name, body) for _, one in sources.bodies(name) for body in objects_in(one) if _is_flux(body)]
    return found


def _is_flux(body: Body) -> bool:
    api = str(body.get("apiVersion", ""))
    return ".fluxcd." in api or api.startswith("fluxcd.controlplane.io/")


def is_kustomization(body: Body) -> bool:
    """Whether an object is a Flux Kustomization."""
    return body.get("kind") == "Kustomization" and str(body.get("apiVersion", "")).startswith(f"{KUSTOMIZE}/")


def is_whole(body: Body) -> bool:
    """Whether a Flux Kustomization has what the API asks of each: what lacks it is a part that is laid over one."""
    return bool(get(body, "spec", "sourceRef")) and bool(get(body, "spec", "interval"))


def sources_of(flux: list[tuple[str, Body]], root: Kustomization) -> list[tuple[str, Body]]:
    """The source that the entry reads, with its files: as many as define one of its kind, namespace and name."""
    ref = mapping(root.spec.get("sourceRef"))
    own = (ref.get("kind") or "GitRepository", ref.get("name"))
    space = str(ref.get("namespace") or root.manifest.namespace)
    return [
        (file, body)
        for file, body in flux
        if (body.get("kind"), get(body, "metadata", "name")) == own
        and str(get(body, "metadata", "namespace") or space) == space
    ]


def source_rules(flux: list[tuple[str, Body]], root: Kustomization) -> str | None:
    """The ignore rules of the source that the entry reads."""
    if not root.manifest.file and get(root.spec, "sourceRef", "name") != "flux-system":
        return None  # what syncs it isn't in the tree: the source is one that its own parts have
    # Another cluster of the repository may have one of that name.
    own = sorted(sources_of(flux, root), key=lambda e: (not e[0].startswith(f"{root.folder}/"), e[0]))
    rules = get(own[0][1], "spec", "ignore") if own else None
    return rules if isinstance(rules, str) else None
