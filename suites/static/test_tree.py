"""What the tree alone proves or breaks: the rules of `holdfast check`, claim by claim, before anything slow is built."""

import pytest

from holdfast.tree import check


@pytest.mark.smoke
@pytest.mark.parametrize("id_", [pytest.param(one, marks=pytest.mark.claim(one), id=one) for one in check.claims()])
def test_the_tree_shows(tree, id_):
    """Every rule of the claim finds nothing against it, in everything that the entry leads to."""
    tree(id_)
