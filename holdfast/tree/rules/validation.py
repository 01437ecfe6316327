"""What the API server's own validation refuses: names, ranges, what must go together."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast.tree.findings import Inconclusive, Outcome, Severity, hit, rule
from holdfast.tree.laid_over import others_of
from holdfast.tree.tree import Tree
from holdfast.tree.validation import node_port_outside, refusals

_LACKS = re.compile(r"\bneeds? an? ")
_RANGE = "service-node-port-range"


@rule(
    "schema.value",
    "schema",
    Severity.BREAKS_APPLY,
    why="server-side apply refuses it, and with it the whole set of its Kustomization",
    do="write a value that Kubernetes takes",
)
def value(tree: Tree) -> Iterator[Outcome]:
    """Names, ranges, and what must go together, in what a build gives and what a chart that can be read gives."""
    usual_range = not any(_RANGE in tree.repository.text(f) for f in tree.repository.files if _may_say_so(f))
    for manifest in [*tree.objects, *tree.unreferenced_objects]:
        for path, words in refusals(manifest):
            if {*manifest.body} <= _BARE:
                yield Inconclusive(f"{manifest.id}: {words}, which it may have where it is already, by somebody else")
                continue
            if _LACKS.search(words) and (others := others_of(tree, manifest)):
                yield Inconclusive(f"{manifest.id}: {words}, and {others} makes the rest of it")
                continue
            yield hit(tree, manifest, f"{manifest.id}: {words}", *path)
        if manifest.kind == "Service" and not manifest.group and usual_range:
            for path, words in node_port_outside(
                manifest
            ):  # an API server may be told otherwise, where no file of the tree says so
                what = f"{manifest.id}: {words}, which an API server takes only where it is told so"
                yield hit(tree, manifest, what, *path, severity=Severity.UPGRADE_HAZARD)


# Labels and annotations alone: they are put onto what is there, and a server-side apply that doesn't have to make it needs no more.
_BARE = frozenset({"apiVersion", "kind", "metadata"})


def _may_say_so(file: str) -> bool:
    return file.endswith((".yaml", ".yml", ".j2", ".toml", ".sh", ".service", ".tf", ".md", ".cfg", ".conf"))
