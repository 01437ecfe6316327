"""What the tree alone says of an object that is in the way: it knows which names are slips, whatever a chart that isn't read may make."""

from __future__ import annotations

from functools import cached_property

from holdfast.tree.check import check
from holdfast.tree.findings import Finding, Severity
from holdfast.tree.tree import Tree

_FAMILY = "apply"


class Foretold:
    """The findings of `holdfast check` that something can't be applied, or never becomes ready; looked for once, when they are asked for."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    @cached_property
    def _by_object(self) -> dict[str, list[Finding]]:
        found: dict[str, list[Finding]] = {}
        for finding in check(self.tree, only=[_FAMILY]).findings:
            if finding.severity is Severity.BREAKS_APPLY and not finding.unreferenced:
                for name in dict.fromkeys([finding.object, *finding.hits]):
                    found.setdefault(name, []).append(finding)
        return found

    def of(self, identity: str, rule: str = "", about: str = "") -> Finding | None:
        """The first finding on an object, of a *rule* where one is named; *about*: an id (``Kind/namespace/name``) that it must speak of."""
        fitting = (f for f in self._by_object.get(identity, []) if not rule or f.rule == rule)
        return next((f for f in fitting if about in f.what), None)

    def without_source(self) -> list[str]:
        """The Kustomizations whose source nothing makes, as ``namespace/name``."""
        return sorted(k for k in self.tree.kustomizations if self.of(f"Kustomization/{k}", "apply.missing-source"))
