"""Kinds that come too late: custom resources in a Kustomization that doesn't wait for whoever installs their definition."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.tree.bringers import givers_of
from holdfast.tree.findings import Outcome, Severity, Violation, rule
from holdfast.tree.given import GIVEN_GROUPS, MAYBE_GIVEN_GROUPS
from holdfast.tree.manifest import Manifest, mapping, sequence
from holdfast.tree.releases import Release
from holdfast.tree.tree import Kustomization, Tree

FAMILY = "apply"
_FLUX = (".toolkit.fluxcd.io", "fluxcd.controlplane.io", ".extensions.fluxcd.io")


@rule(
    "order.late",
    FAMILY,
    Severity.UPGRADE_HAZARD,
    why="on a new cluster the whole set of the Kustomization fails ('no matches for kind') until the other happens to be there",
    do="let it depend on the Kustomization that brings the kind",
)
def late(tree: Tree) -> Iterator[Outcome]:
    """Custom resources whose definition comes from outside of what their Kustomization depends on."""
    known = _Known(tree)
    found: dict[str, list[tuple[Kustomization, Manifest]]] = {}
    for kustomization in tree.kustomizations.values():
        first: dict[str, Manifest] = {}
        for manifest in kustomization.objects:
            giver = _late(tree, kustomization, manifest, known)
            if giver:
                first.setdefault(giver, manifest)
        for giver, manifest in first.items():
            found.setdefault(giver, []).append((kustomization, manifest))
    for giver, late_ones in found.items():
        kustomization, manifest = late_ones[0]
        more = f", as {len(late_ones) - 1} more do" if len(late_ones) > 1 else ""
        yield Violation(
            f"Kustomization/{kustomization.id}",
            tuple(tree.locate(m, "apiVersion") for _, m in late_ones),
            f"Kustomization/{kustomization.id} applies {manifest.id}, whose kind {giver} brings, and doesn't depend on it{more}",
            hits=tuple(f"Kustomization/{k.id}" for k, _ in late_ones),
        )


def _late(tree: Tree, kustomization: Kustomization, manifest: Manifest, known: _Known) -> str:
    """Who brings the kind of an object too late, as the Kustomization that applies it; empty where that is in order or isn't known."""
    group = manifest.group
    if group in GIVEN_GROUPS or group in MAYBE_GIVEN_GROUPS or group.endswith(_FLUX):
        return ""
    givers = [*known.givers.get((group, manifest.kind), []), *known.givers.get((group, ""), [])]
    owners = [_owner(tree, g) for g in givers]
    waits = known.waits(kustomization) if givers else set()
    if any(_may_bring(tree.kustomizations.get(w), group) for w in waits):
        return ""
    for owner, giver in zip(owners, givers, strict=True):
        if (
            owner is None
            or _is_early(tree, kustomization, owner, giver, waits)
            or tree.before_flux.brings(group, [giver])
        ):
            return ""
    # A release beside what needs its kinds, or below it, never gets there by itself: boot.loop.
    other = next((o for o in owners if o and kustomization.id not in (o.id, *o.way)), None)
    return f"Kustomization/{other.id}" if other else ""


def _may_bring(other: Kustomization | None, group: str) -> bool:
    """Whether a dependency isn't known well enough to say that it doesn't bring a kind, or waits for the definition by a health check."""
    if other is None or other.gap:
        return True
    checks = map(mapping, sequence(other.spec.get("healthChecks")))
    return any(c.get("kind") == "CustomResourceDefinition" and str(c.get("name")).endswith(f".{group}") for c in checks)


class _Known:
    """What is asked for every object, worked out once a tree."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.givers = givers_of(tree)
        self._waits: dict[str, set[str]] = {}

    def waits(self, kustomization: Kustomization) -> set[str]:
        """All that a Kustomization depends on."""
        if kustomization.id not in self._waits:
            self._waits[kustomization.id] = _waited_for(self.tree, kustomization)
        return self._waits[kustomization.id]


def _owner(tree: Tree, giver: Manifest | Release) -> Kustomization | None:
    return tree.kustomization_of(giver if isinstance(giver, Manifest) else giver.manifest)


def _is_early(
    tree: Tree, kustomization: Kustomization, owner: Kustomization, giver: Manifest | Release, waits: set[str]
) -> bool:
    """Whether a giver's Kustomization is depended on, or applied the one that needs it and held the definition itself."""
    if owner.id in waits or (owner.id == kustomization.id and isinstance(giver, Manifest)):
        return True  # definitions are applied first
    above = {i for k in [kustomization.id, *waits] if k in tree.kustomizations for i in tree.kustomizations[k].way}
    return isinstance(giver, Manifest) and owner.id in above


def _waited_for(tree: Tree, kustomization: Kustomization) -> set[str]:
    """All that a Kustomization depends on, directly or not; also what those depend on that apply it."""
    found: set[str] = set()
    waiting = [*kustomization.depends_on, *(d for w in kustomization.way for d in _depends_on(tree, w))]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += _depends_on(tree, one)
            waiting += [d for w in _way(tree, one) for d in _depends_on(tree, w)]
    return found


def _depends_on(tree: Tree, name: str) -> list[str]:
    other = tree.kustomizations.get(name)
    return other.depends_on if other else []


def _way(tree: Tree, name: str) -> tuple[str, ...]:
    other = tree.kustomizations.get(name)
    return other.way if other else ()
