"""What the rules of a definition say of a change: the same cases are held against a real API server in suites/oracle/test_immutable.py."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from holdfast.tree import check as checking
from holdfast.tree.changes import Change
from holdfast.tree.findings import Severity
from holdfast.tree.transitions import frozen
from suites.harness.immutables import FROZEN, FROZEN_KIND, frozen_one
from suites.harness.test_check_properties import KUSTOMIZE, kustomization, written

SCHEMA = FROZEN_KIND["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


@pytest.mark.parametrize(("before", "after", "field"), [case[1:] for case in FROZEN], ids=[case[0] for case in FROZEN])
def test_a_change_is_refused_where_the_definition_says_that_it_stays(before, after, field):
    found = list(frozen(SCHEMA, frozen_one(before), frozen_one(after)))
    assert [one.field for one in found] == ([field] if field else [])


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_nothing_is_refused_of_what_stays(value):
    assert not list(frozen(SCHEMA, {"spec": value}, {"spec": value}))


def test_it_is_a_finding_of_a_change_at_its_line(tmp_path):
    def tree(name, spec):
        files = {
            "cluster/all.yaml": yaml.safe_dump_all([kustomization("kinds"), kustomization("apps", ["kinds"])]),
            "parts/kinds/o.yaml": yaml.safe_dump(FROZEN_KIND),
            "parts/apps/o.yaml": yaml.safe_dump(frozen_one(spec)),
        }
        return checking.load(written(tmp_path / name, files), KUSTOMIZE)

    before, after = tree("a", {"region": "north"}), tree("b", {"region": "south"})
    (found,) = Change(before, after).findings()
    assert (found.rule, found.severity) == ("change.immutable", Severity.BREAKS_APPLY)
    assert found.locations[0].file == "parts/apps/o.yaml"
    assert "south" not in found.what  # what a custom resource holds may be secret
    assert Change(before, before).findings() == []
