"""Secrets that SOPS has encrypted, and a Kustomization that doesn't decrypt."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.tree.findings import Inconclusive, Outcome, Severity, hit, rule
from holdfast.tree.manifest import get, mapping, sequence, texts
from holdfast.tree.sops import is_encrypted
from holdfast.tree.tree import Kustomization, Tree

FAMILY = "apply"
_OWN_KEY = "--sops-age-secret"


@rule(
    "apply.not-decrypted",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="kustomize-controller refuses a Secret that is still encrypted, and with it all that its Kustomization would apply",
    do="give the Kustomization decryption (provider: sops, and the Secret with the key)",
)
def not_decrypted(tree: Tree) -> Iterator[Outcome]:
    """Encrypted Secrets of Kustomizations without decryption. Where the values stand under stringData, and in other kinds, Flux applies what
    is encrypted as it stands: the API server's own reading of a Secret drops the mark before Flux looks for it.
    """
    for kustomization in tree.kustomizations.values():
        if kustomization.spec.get("decryption"):
            continue
        found = [m for m in kustomization.objects if is_encrypted(m)]
        passed = [m for m in found if mapping(m.body.get("stringData"))]
        refused = [m for m in found if m not in passed]
        for some, end in ((refused, ""), (passed, ": whoever reads it gets what is encrypted")):
            if not some:
                continue
            more = f" (and {len(some) - 1} more)" if len(some) > 1 else ""
            what = f"Kustomization/{kustomization.id} doesn't decrypt, and {some[0].id}{more} of it is encrypted by SOPS{end}"
            if _may_be_patched(tree, kustomization):
                yield Inconclusive(f"{what}; what makes the Kustomization, or the controller's own key, may decrypt it")
                continue
            hits = (f"Kustomization/{kustomization.id}", *(m.id for m in some))
            also = (tree.locate(kustomization.manifest),) if kustomization.manifest.file else ()
            yield hit(
                tree,
                some[0],
                what,
                also=also,
                hits=hits,
                why="what it is for can't log in, or can't be read" if end else "",
                severity=Severity.BREAKS_CLAIM if end else None,
            )


def _may_be_patched(tree: Tree, kustomization: Kustomization) -> bool:
    """Whether the Kustomization is one that bootstrap or the Flux Operator makes, with patches that aren't applied here."""
    instances = [m for m in (*tree.objects, *tree.bootstrap) if m.kind in ("FluxInstance", "HelmRelease", "Deployment")]
    if any(_OWN_KEY in text for m in instances for _, text in texts(m.spec)):
        return True  # the controller has a key of its own, and what it does with it is its version's
    if kustomization is not tree.root:
        return False
    by_values = any(
        sequence(r.value("instance.kustomize.patches")) or r.unread for r in tree.releases if r.chart == "flux-instance"
    )
    return (
        not kustomization.manifest.file
        or by_values
        or any(sequence(get(m.spec, "kustomize", "patches")) for m in instances)
    )
