"""The nodes of a cluster, as far as a tree shows them."""

from __future__ import annotations

from holdfast.tree.tree import Tree


def known(tree: Tree) -> int:
    """How many nodes are known: as many as are declared, else at least those that objects of the tree stand for; 0 where nothing says."""
    if tree.settings.declared.nodes:
        return int(tree.settings.declared.nodes)
    return len({m.name for m in tree.of("Node") if m.group in ("", "longhorn.io")})
