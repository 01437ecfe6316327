"""`holdfast check`: every defect of fixtures/broken is found by its rule at its line, and its sound twin stays silent."""

import json
import tomllib

import pytest

from holdfast.checking import documents, text
from holdfast.checking.command import tool
from holdfast.places import CHECKOUT
from holdfast.tree import check as checking
from holdfast.tree.findings import RULES, Severity

BROKEN = CHECKOUT / "fixtures" / "broken"
CASES = tomllib.loads((BROKEN / "cases.toml").read_text())


@pytest.fixture(scope="session")
def kustomize():
    return tool()


def looked_at(path, kustomize, **options):
    return checking.check(checking.load(path, kustomize, **options), strict=True)


def told(result):
    return [f"{f.rule} {f.places[0]} {f.what}" for f in result.findings]


@pytest.mark.parametrize("name", CASES)
def test_the_defect_is_found_by_its_rule_at_its_line(name, kustomize):
    case = CASES[name]
    result = looked_at(BROKEN / name / "defect", kustomize)
    found = {(f.rule, f.places[0].file, f.places[0].line) for f in result.findings}
    assert (case["rule"], case["file"], case["line"]) in found, told(result)
    assert {f.rule for f in result.findings if not f.latent} <= {case["rule"]}, told(result)  # one defect, one finding (what it leaves unread may be latent)


@pytest.mark.parametrize("name", CASES)
def test_the_sound_twin_stays_silent(name, kustomize):
    assert told(looked_at(BROKEN / name / "twin", kustomize)) == []


def test_every_case_lies_there_and_every_folder_is_a_case():
    assert {p.name for p in BROKEN.iterdir() if p.is_dir()} == set(CASES)
    assert len(CASES) >= 40


def test_the_reference_tree_has_no_finding_but_its_stated_exceptions(kustomize):
    result = looked_at(CHECKOUT / "fixtures" / "gitops", kustomize)
    assert told(result) == []
    assert all(reason for _, reason in result.allowed)


def test_an_allowed_finding_still_breaks_its_claim(kustomize):
    result = looked_at(CHECKOUT / "fixtures" / "gitops", kustomize)
    assert {f.claim for f, _ in result.allowed if f.severity >= Severity.BREAKS_CLAIM} <= {c for c, v in result.claims.items() if v.verdict == "broke"}


def test_every_rule_is_about_a_claim_of_the_register_or_a_family():
    from holdfast import claims

    assert {r.claim for r in RULES.values()} - checking.FAMILIES <= set(claims.load())


def test_the_json_is_what_its_schema_says(kustomize):
    result = looked_at(BROKEN / "loop-kind" / "defect", kustomize)
    said = json.loads(json.dumps(documents.as_json(result)))
    assert set(documents.SCHEMA["required"]) <= set(said)
    assert said == json.loads(json.dumps(documents.as_json(looked_at(BROKEN / "loop-kind" / "defect", kustomize))))
    for finding in said["findings"]:
        assert set(documents.SCHEMA["$defs"]["finding"]["required"]) <= set(finding)
        assert finding["files"][0]["line"] >= 1
    assert "<failure" in documents.as_junit(result, Severity.BREAKS_CLAIM)
    assert any("boot.loop" in line for line in text.lines(result, colour=False))
