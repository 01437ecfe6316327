"""The register: every claim, word for word; unknown ids are said."""

import re

import pytest

from holdfast import claims
from holdfast.drivers.catalogue import parse
from holdfast.errors import UsageError
from holdfast.paths import ROOT
from holdfast.reporting import expected as expecting
from holdfast.verdicts import NOT_ALL, ClaimVerdict, Verdict

pytest_plugins = ["pytester"]
DOCUMENT = (ROOT / "fixtures/gitops/docs/architecture-overview.md").read_text()
REGISTER = claims.load()


@pytest.mark.parametrize("one", REGISTER.values(), ids=lambda c: c.id)
def test_every_quote_stands_in_the_document_word_for_word(one):
    assert one.quotes
    for quote in one.quotes:
        assert quote in DOCUMENT
        # A quote ends where the document's line, table cell or sentence ends: nothing hard is left off.
        after = DOCUMENT[DOCUMENT.index(quote) + len(quote) :]
        assert re.match(r"[\s│*\".,<]|$", after), f"the quote '{quote}' stops in the middle: …{after[:30]!r}"


def test_every_budget_has_its_reason():
    for one in REGISTER.values():
        for name, entry in one.budgets.items():
            assert entry["value"] and len(entry["why"]) > 10, (one.id, name)


def test_a_stand_in_for_the_subject_lowers_the_level():
    assert REGISTER["git-over-ssh"].level({"source-controller"}, "lab") == "model"
    assert REGISTER["git-over-ssh"].level((), "lab") == "lab"
    assert REGISTER["git-over-ssh"].level((), "live") == "live"
    assert REGISTER["flux-down-workloads-continue"].level({"source-controller"}, "lab") == "lab"


def test_a_trees_own_claims_go_over_ours(tmp_path):
    own = tmp_path / "claims.toml"
    own.write_text(
        '[[claim]]\nid="ingress-tls"\nsection="Mine"\nquotes=["TLS ends at the door"]\nsubjects=[]\nbudgets.x={value="1s", why="because I say so"}\n'
        '[[claim]]\nid="mine"\nsection="Mine"\nquotes=["q"]\nsubjects=["web"]\n'
    )
    found = claims.load(own)
    assert found["ingress-tls"].section == "Mine"
    assert found["mine"].level({"web"}, "lab") == "model"
    assert found["git-over-ssh"] == REGISTER["git-over-ssh"]
    own.write_text("[[claim]]\nid='x'\n")
    with pytest.raises(UsageError, match="can't be read"):
        claims.load(own)


def test_an_unknown_id_fails_at_collection_with_a_hint(pytester):
    pytester.makepyfile(
        "from holdfast.marks import claim\n@claim('flux-down-workload-continue')\ndef test_x():\n    pass\n"
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*unknown claim 'flux-down-workload-continue'; did you mean 'flux-down-workloads-continue'?*"]
    )


def test_a_cluster_test_outside_of_verify_says_how_to_run_it(pytester):
    pytester.makepyfile("from holdfast.marks import claim\n@claim('ingress-tls')\ndef test_x(cluster):\n    pass\n")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["*a test of a claim runs on a lane: pytest --lane kind/fast*"])
    assert result.ret == 1


# -- what is expected ----------------------------------------------------------------------------------------------------


def test_the_expected_verdicts_name_claims_levels_and_lanes():
    for one in expecting.load(ROOT / "suites/expected.toml"):
        assert one.claim in REGISTER
        assert one.smoke in (True, False, expecting.PARTLY)
        assert one.level in ("static", "model", "lab", "live")
        assert parse(one.lane) if one.lane else one.level == "static"
        if one.verdict is Verdict.NOT_EXERCISED:
            assert one.reason, one.claim


WANTED = expecting.Expected("c", "lab", Verdict.BROKE, "the default does", "kind/fast", smoke=True)


def finding(verdict, level="lab", *, claim="c"):
    return ClaimVerdict(claim, level, "kind/fast", verdict, "so", ("t",))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([finding(Verdict.BROKE)], []),
        ([finding(Verdict.HELD)], ["expected broke at lab, got held"]),
        ([finding(Verdict.BROKE, "model")], ["got broke at model"]),
        ([], ["no test for it ran"]),
        ([finding(Verdict.BROKE), finding(Verdict.HELD, claim="d")], ["nothing is expected of it"]),
        ([finding(Verdict.BROKE), finding(Verdict.UNPROVEN, claim="d")], ["nothing is expected of it"]),
        ([finding(Verdict.BROKE), finding(Verdict.NOT_EXERCISED, claim="d")], ["nothing is expected of it"]),
        ([finding(Verdict.NOT_EXERCISED)], ["expected broke at lab, got not exercised"]),
    ],
)
def test_differences_are_found_in_both_directions(found, words):
    said = expecting.differences(found, [WANTED], "kind/fast", smoke=False)
    assert len(said) == len(words)
    for line, part in zip(said, words, strict=True):
        assert part in line


def test_another_lanes_expectations_and_those_outside_the_smoke_dont_count():
    everywhere = expecting.Expected("c", "static", Verdict.HELD, "the tree shows it")
    for lane in ("kind/fast", "kind/default", "kwok/1.36"):
        assert expecting.differences([finding(Verdict.HELD, "static")], [everywhere], lane, smoke=False) == []
        assert len(expecting.differences([], [everywhere], lane, smoke=False)) == 1
    other = expecting.Expected("c", "lab", Verdict.HELD, "x", "kind/default")
    slow = expecting.Expected("d", "lab", Verdict.HELD, "x", "kind/fast", smoke=False)
    assert expecting.differences([finding(Verdict.BROKE)], [WANTED, other, slow], "kind/fast", smoke=True) == []


def test_a_wrong_file_is_said(tmp_path):
    (tmp_path / "e.toml").write_text("[[expected]]\nclaim='c'\nverdict='green'\n")
    with pytest.raises(UsageError, match="can't be read"):
        expecting.load(tmp_path / "e.toml")


@pytest.mark.parametrize(
    ("verdict", "selected", "fine"),
    [
        (Verdict.UNPROVEN, Verdict.HELD, True),
        (Verdict.UNPROVEN, Verdict.UNPROVEN, False),
        (Verdict.UNPROVEN, Verdict.NOT_EXERCISED, False),
        (Verdict.UNPROVEN, None, False),
        (Verdict.HELD, None, False),
        (Verdict.BROKE, Verdict.BROKE, False),
    ],
)
def test_a_claim_that_the_smoke_shows_in_part_is_held_by_what_ran(verdict, selected, fine):
    part = expecting.Expected("c", "lab", Verdict.HELD, "x", "kind/fast", smoke="partly")
    found = ClaimVerdict("c", "lab", "kind/fast", verdict, NOT_ALL, ("t",), selected=selected)
    assert (expecting.differences([found], [part], "kind/fast", smoke=True) == []) is fine
    assert (expecting.differences([found], [part], "kind/fast", smoke=False) == []) is (verdict is Verdict.HELD)
