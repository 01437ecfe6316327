"""`holdfast check`: in every pair of fixtures/pairs the defect is found by its rule at its line, and the valid tree stays silent."""

import json
import shutil

import pytest

from holdfast.checking import documents, text
from holdfast.paths import ROOT
from holdfast.provision import tools
from holdfast.tree import check as checking
from holdfast.tree.findings import RULES, Severity
from holdfast.tree.rules import cardinality
from suites.harness import pairs

PAIRS = pairs.load()


@pytest.fixture(scope="session")
def kustomize():
    return tools.kustomize()


def looked_at(path, kustomize, **options):
    return checking.check(checking.load(path, kustomize, **options), strict=True)


def told(result):
    return [f"{f.rule} {f.locations[0]} {f.what}" for f in result.findings]


@pytest.mark.parametrize("name", PAIRS)
def test_the_defect_is_found_by_its_rule_at_its_line(name, kustomize):
    pair = PAIRS[name]
    result = looked_at(pairs.invalid(name), kustomize)
    found = {(f.rule, f.locations[0].file, f.locations[0].line) for f in result.findings}
    assert (pair.rule, pair.file, pair.line) in found, told(result)
    assert {f.rule for f in result.findings if not f.unreferenced} <= {pair.rule}, told(
        result
    )  # one defect, one finding (what it leaves unread may be unreferenced)


WITH_HELM = {"apply.chart"}  # its pair needs helm: suites/oracle/test_charts.py


def test_every_rule_has_a_pair():
    """A rule that nobody has seen find anything, and stay silent, is no rule."""
    assert set(RULES) - {pair.rule for pair in PAIRS.values()} == WITH_HELM


@pytest.mark.parametrize("name", PAIRS)
def test_the_valid_tree_stays_silent(name, kustomize):
    assert told(looked_at(pairs.valid(name), kustomize)) == []


def test_the_reference_tree_has_no_finding_but_its_stated_exceptions(kustomize):
    result = looked_at(ROOT / "fixtures" / "gitops", kustomize)
    assert told(result) == []
    assert all(reason for _, reason in result.allowed)


def test_an_allowed_finding_still_breaks_its_claim(kustomize):
    result = looked_at(ROOT / "fixtures" / "gitops", kustomize)
    assert {f.claim for f, _ in result.allowed if f.severity >= Severity.BREAKS_CLAIM} <= {
        c for c, v in result.claims.items() if v.verdict == "broke"
    }


def test_every_rule_is_about_a_claim_of_the_register_or_a_family():
    from holdfast import claims

    assert {r.claim for r in RULES.values()} - checking.FAMILIES <= set(claims.load())


def test_the_json_is_what_its_schema_says(kustomize):
    result = looked_at(pairs.invalid("loop-kind"), kustomize)
    said = json.loads(json.dumps(documents.as_json(result)))
    assert set(documents.SCHEMA["required"]) <= set(said)
    assert said == json.loads(json.dumps(documents.as_json(looked_at(pairs.invalid("loop-kind"), kustomize))))
    for finding in said["findings"]:
        assert set(documents.SCHEMA["$defs"]["finding"]["required"]) <= set(finding)
        assert finding["files"][0]["line"] >= 1
    assert "<failure" in documents.as_junit([result], Severity.BREAKS_CLAIM)
    assert any("boot.loop" in line for line in text.lines(result, colour=False))


@pytest.mark.parametrize(
    ("relabelling", "gone"),
    [
        ({"action": "keep", "sourceLabels": ["__name__"], "regex": "gotk_.*"}, False),
        ({"action": "keep", "sourceLabels": ["__name__"], "regex": "go_.*"}, True),
        ({"action": "drop", "sourceLabels": ["__name__"], "regex": "gotk_.*"}, True),
        ({"action": "drop", "sourceLabels": ["__name__"], "regex": "gotk"}, False),
        ({"action": "drop", "sourceLabels": ["__name__", "le"], "regex": "gotk_.*;.*"}, True),
        (
            {"action": "drop", "sourceLabels": ["__name__", "le"], "regex": "gotk_.*;0.5"},
            False,
        ),  # some of its series stay
        ({"action": "keep", "sourceLabels": ["namespace"], "regex": "apps"}, None),
        ({"action": "drop", "sourceLabels": ["namespace"]}, False),
        ({"targetLabel": "cluster", "replacement": "home"}, False),
        ({"targetLabel": "__name__", "replacement": "x"}, None),
        ({"action": "drop", "sourceLabels": ["__name__"], "regex": "("}, None),
    ],
)
def test_what_a_relabelling_drops_is_worked_out_by_name(relabelling, gone):
    assert cardinality.drops(relabelling, "gotk_reconcile_duration_seconds_sum") is gone


def test_what_charts_relabel_leaves_doubt(kustomize, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "fixtures" / "gitops", tree)
    stack = tree / "monitoring/core/prometheus.yaml"
    stack.write_text(
        stack.read_text().replace(
            "    alertmanager:\n",
            "    kubelet:\n      serviceMonitor:\n        metricRelabelings:\n"
            "          - {action: drop, sourceLabels: [__name__], regex: x}\n    alertmanager:\n",
        )
    )
    assert looked_at(ROOT / "fixtures" / "gitops", kustomize).claims["monitoring-cardinality"].verdict == "held"
    found = looked_at(tree, kustomize).claims["monitoring-cardinality"]
    assert found.verdict == "unproven"
    assert "charts' values" in found.reason


def test_the_small_example_is_in_order(kustomize):
    result = looked_at(ROOT / "examples" / "small", kustomize)
    assert told(result) == []
    assert {c for c, v in result.claims.items() if v.verdict == "held"} >= {"rbac-least", "secrets-not-in-git"}
