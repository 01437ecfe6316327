"""No verdict of `holdfast check` gets better because less was read: taking a file away, or leaving a layer unread, never makes a claim held."""

import shutil
from dataclasses import replace

import pytest

from holdfast.paths import ROOT
from holdfast.provision import tools
from holdfast.tree import check as checking
from suites.harness import pairs

# Each an invalid tree with a claim that broke: what is read of it must not turn into a green one.
BROKEN = (
    "backup-under-an-old-key",
    "values-in-a-config-map",
    "alert-without-metric",
    "storage-freezes-monitoring",
    "no-memory-limit",
)


@pytest.fixture(scope="module")
def kustomize():
    return tools.kustomize()


def verdicts(folder, kustomize, cache):
    """What is said of each claim that has rules."""
    return checking.check(checking.load(folder, kustomize, cache=cache), strict=True).claims


def lies(before, after, file=""):
    """The claims that weren't held and are; what stood in the *file* that is gone may have been what was wrong."""
    return sorted(
        c
        for c, now in after.items()
        if now.verdict == "held"
        and c in before
        and before[c].verdict in ("broke", "unproven")
        and not (file and file in before[c].reason)
    )


def trees():
    yield "gitops", ROOT / "fixtures" / "gitops"
    yield from ((name, pairs.invalid(name)) for name in BROKEN)


@pytest.mark.parametrize(("name", "source"), list(trees()), ids=lambda v: v if isinstance(v, str) else "")
def test_a_file_less_proves_nothing_more(name, source, kustomize, tmp_path):
    cache = tmp_path / "built"  # what isn't changed isn't built again
    before, told = verdicts(source, kustomize, cache), {}
    for file in sorted(p.relative_to(source) for p in source.rglob("*") if p.is_file() and ".git" not in p.parts):
        if file.name == ".holdfast.toml":
            continue  # what is promised stands there, not what is so
        tree = tmp_path / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        shutil.copytree(source, tree)
        (tree / file).unlink()
        try:
            after = verdicts(tree, kustomize, cache)
        except checking.UsageError:  # without this file it has no entry
            continue
        if found := lies(before, after, str(file)):
            told[str(file)] = found
    assert told == {}


@pytest.mark.parametrize(("name", "source"), list(trees()), ids=lambda v: v if isinstance(v, str) else "")
def test_a_layer_less_proves_nothing_more(name, source, kustomize):
    tree = checking.load(source, kustomize)
    before = checking.check(tree, strict=True).claims
    told = {}
    for one in tree.kustomizations:
        if tree.kustomizations[one] is tree.root:
            continue
        kept = {
            i: replace(k, objects=[], built=None, not_read="a test leaves it out") if i == one else k
            for i, k in tree.kustomizations.items()
        }
        after = checking.check(replace(tree, kustomizations=kept), strict=True).claims
        if found := lies(before, after):
            told[one] = found
    assert told == {}
