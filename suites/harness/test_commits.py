"""Commits that a test pushes: what they change in the tree, and that they leave the rest alone."""

import shutil

import pytest

from holdfast.commits import add_copy, remove, set_values
from holdfast.paths import ROOT
from holdfast.tree import repository
from holdfast.tree.sources import Sources

STATELESS = ROOT / "fixtures" / "gitops" / "apps" / "stateless"


@pytest.fixture
def tree(tmp_path):
    shutil.copytree(STATELESS, tmp_path / "tree")
    return tmp_path / "tree"


def objects(folder):
    sources = Sources(repository.read(folder))
    bodies = [body for f in sources.repository.files if f.endswith(".yaml") for _, body in sources.bodies(f)]
    return {(b["kind"], b.get("metadata", {}).get("name")): b for b in bodies}


def test_a_copy_has_pods_of_its_own_and_leaves_all_else_as_it_was(tree):
    before = objects(tree)
    add_copy("Deployment", "web", "web-added")(tree)
    after = objects(tree)
    added = after.pop(("Deployment", "web-added"))
    assert after == before
    labels = added["spec"]["template"]["metadata"]["labels"]
    assert added["spec"]["selector"]["matchLabels"].items() <= labels.items()
    selectors = [
        before["Service", "web"]["spec"]["selector"],
        before["Deployment", "web"]["spec"]["selector"]["matchLabels"],
    ]
    assert not [wanted for wanted in selectors if wanted.items() <= labels.items()], "nobody else may count its pods"
    assert added["spec"]["template"]["spec"] == before["Deployment", "web"]["spec"]["template"]["spec"]


def test_what_was_added_is_taken_away_again(tree):
    before = objects(tree)
    add_copy("Deployment", "web", "web-added")(tree)
    assert objects(tree) != before
    remove("Deployment", "web-added")(tree)
    assert objects(tree) == before


def test_one_field_of_one_object_is_set(tree):
    before = objects(tree)
    set_values("Deployment", "web", ("metadata", "annotations", "asked"), "now")(tree)
    after = objects(tree)
    assert after["Deployment", "web"]["metadata"].pop("annotations") == {"asked": "now"}
    assert after == before
