"""Each change of ``fixtures/changes`` that breaks something is found, at its object and by its rule alone, and its sound sibling isn't."""

import pytest
import yaml

from holdfast.tree import check as checking
from holdfast.tree.changes import Change
from holdfast.tree.findings import Severity
from suites.harness import change_pairs
from suites.harness.change_pairs import SPACE
from suites.harness.test_check_properties import KUSTOMIZE, kustomization, written

PAIRS = change_pairs.load()
NAMESPACE = yaml.safe_dump({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """A tree of a pair's objects before, after the breaking change, and after the sound one."""
    made = {}

    def of(pair, which):
        if (pair.name, which) not in made:
            layer = kustomization("apps")
            layer["spec"] |= {"prune": True}
            files = {
                "cluster/all.yaml": yaml.safe_dump(layer),
                "cluster/space.yaml": NAMESPACE,
                "parts/apps/o.yaml": getattr(pair, which),
            }
            folder = written(tmp_path_factory.mktemp(f"{pair.name}-{which}"), files)
            made[pair.name, which] = checking.load(folder, KUSTOMIZE)
        return made[pair.name, which]

    return of


def test_there_are_enough_of_them_and_of_every_kind_that_has_such_fields():
    assert len(PAIRS) >= 30
    assert {p.rule for p in PAIRS.values()} == {"change.immutable", "change.pruned"}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_what_breaks_is_found_once_and_what_is_sound_is_not(pair, trees):
    before = trees(pair, "before")
    (found,) = Change(before, trees(pair, "breaking")).findings()
    assert (found.rule, found.object) == (pair.rule, pair.object)
    assert found.locations[0].file == "parts/apps/o.yaml"
    assert (found.severity is Severity.BREAKS_APPLY) is (pair.rule == "change.immutable")
    assert Change(before, trees(pair, "valid")).findings() == []


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_swapped_commits_swap_what_comes_and_what_goes(pair, trees):
    before, after = trees(pair, "before"), trees(pair, "breaking")
    made, changed, gone = Change(before, after).counts()
    assert Change(after, before).counts() == (gone, changed, made)
    assert Change(before, before).findings() == []
