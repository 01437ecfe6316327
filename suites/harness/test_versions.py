"""Two sides of an upgrade: only what broke there, isn't shown there, or is worse beyond its spread counts; runs never merge into a better verdict."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.drivers import kubeadm_upgrade
from holdfast.drivers.driver import DriverError
from holdfast.errors import UsageError
from holdfast.reporting import versions
from holdfast.reporting.versions import Figure
from holdfast.upgrade import _lane, _lane_to_upgrade, _refuse_downgrade, _whole_version
from holdfast.verdicts import ClaimVerdict, Verdict

VERDICTS = st.sampled_from(list(Verdict))
SECONDS = st.lists(st.floats(0.1, 100).map(lambda s: round(s, 1)), min_size=1, max_size=5)


def one(verdict, claim="flux-reconciles", figure=None):
    figures = ({"what": "it", "figure": f"{figure}s"},) if figure is not None else ()
    return ClaimVerdict(claim, "lab", "kwok/1.36", verdict, f"it {verdict.value}", ("a test",), figures)


def code(current, candidate, worse_by=None):
    runs = [[one(v)] for v in current], [[one(v)] for v in candidate]
    return versions.exit_code(versions.compared(*runs), versions.figures(*runs), worse_by)


@pytest.mark.parametrize(
    ("current", "candidate", "wanted"),
    [
        ([Verdict.HELD], [Verdict.HELD], 0),
        ([Verdict.HELD], [Verdict.BROKE], 10),
        ([Verdict.UNPROVEN], [Verdict.BROKE], 10),
        ([Verdict.BROKE], [Verdict.HELD], 0),
        ([Verdict.HELD], [Verdict.UNPROVEN], 11),
        ([Verdict.HELD], [Verdict.NOT_EXERCISED], 11),
        ([Verdict.UNPROVEN], [Verdict.HELD], 11),  # there is nothing to compare with
        ([Verdict.BROKE], [Verdict.BROKE], 11),  # nothing was shown to hold at all
        ([Verdict.HELD, Verdict.HELD, Verdict.HELD], [Verdict.HELD, Verdict.BROKE, Verdict.HELD], 10),
    ],
)
def test_the_exit_code_says_what_is_worse(current, candidate, wanted):
    assert code(current, candidate) == wanted


@given(st.lists(VERDICTS, min_size=1, max_size=4), st.lists(VERDICTS, min_size=1, max_size=4), VERDICTS)
def test_one_more_run_of_the_candidate_never_makes_it_better(current, candidate, more):
    order = {0: 0, 13: 1, 11: 2, 10: 3}
    assert order[code(current, [*candidate, more])] >= order[code(current, candidate)] or code(current, candidate) == 11


@given(st.lists(VERDICTS, min_size=1, max_size=4))
def test_the_same_on_both_sides_breaks_nothing(verdicts):
    assert code(verdicts, verdicts) in (0, 11)


@given(SECONDS, SECONDS)
def test_a_figure_is_worse_only_beyond_its_spread_and_never_both(current, candidate):
    figure = Figure("a", "it", tuple(current), tuple(candidate))
    assert not (figure.is_worse and figure.is_better)
    assert not Figure("a", "it", tuple(current), tuple(current)).is_worse
    if figure.is_worse:
        assert min(candidate) > max(current)
        assert min(len(current), len(candidate)) >= versions.ENOUGH_RUNS
        assert Figure("a", "it", tuple(candidate), tuple(current)).is_better


def test_a_limit_counts_only_where_the_figure_is_worse_for_sure():
    slow = [[one(Verdict.HELD, figure=s)] for s in (9.0, 9.5, 10.0)]
    fast = [[one(Verdict.HELD, figure=s)] for s in (5.0, 5.5, 6.0)]
    rows = versions.compared(fast, slow)
    assert versions.exit_code(rows, versions.figures(fast, slow), 0.2) == 13
    assert versions.exit_code(rows, versions.figures(fast, slow), 0.9) == 0
    assert versions.exit_code(rows, versions.figures(fast, slow), None) == 0
    assert versions.exit_code(rows, versions.figures(fast[:2], slow[:2]), 0.2) == 0  # too few to know the spread
    assert versions.exit_code(rows, versions.figures(slow, fast), 0.2) == 0


def test_what_changed_stands_first():
    both = [[one(Verdict.HELD, "a"), one(Verdict.HELD, "b"), one(Verdict.HELD, "c")]]
    other = [[one(Verdict.HELD, "a"), one(Verdict.UNPROVEN, "b"), one(Verdict.BROKE, "c")]]
    assert [row.claim for row in versions.compared(both, other)] == ["c", "b", "a"]


def test_a_version_is_a_lane_and_none_that_there_is_not():
    assert _lane("1.36") == _lane("v1.36.3") == "kwok/1.36"
    assert _lane("kwok/vanilla") == "kwok/vanilla"
    with pytest.raises(UsageError, match=r"1\.2"):
        _lane("1.2")
    with pytest.raises(UsageError):
        _lane("kwok/none")


def test_a_control_plane_does_not_go_back(capsys):
    with pytest.raises(UsageError, match="older"):
        _refuse_downgrade("kwok/1.37", "kwok/1.36")
    _refuse_downgrade("kwok/1.36", "kwok/1.37")
    assert "one minor at a time" not in capsys.readouterr().out
    _refuse_downgrade("kwok/1.34", "kwok/1.37")
    assert "one minor at a time" in capsys.readouterr().out


def test_why_a_figure_is_not_judged_is_said():
    once = Figure("c", "it", (1.0,), (1.0,))
    three = Figure("c", "other", (1.0, 1.1, 1.2), (1.0, 1.1, 1.2))
    assert "in 3 runs (--runs 3)" in next(versions._told([once]))
    assert "not every run measured" in next(versions._told([once, three]))
    assert not list(versions._told([three]))


# -- in place --------------------------------------------------------------------------------------------------------------


def test_a_version_in_place_is_a_lane_of_containers_and_a_whole_version():
    assert _lane_to_upgrade("1.36") == "kind/fast"
    assert _lane_to_upgrade("kind/default") == "kind/default"
    assert _whole_version("1.37") == _whole_version("v1.37.2") == "1.37.2"
    with pytest.raises(UsageError, match=r"no lane of containers has Kubernetes 1\.30"):
        _lane_to_upgrade("1.30")
    with pytest.raises(UsageError, match=r"no recipe for Kubernetes 1\.99"):
        _whole_version("1.99")


class Shell:
    """A node that takes down what is typed on it, and fails where a word is in it."""

    def __init__(self, fails=""):
        self.typed, self.fails = [], fails

    def run(self, command):
        self.typed.append(command)
        bad = bool(self.fails) and self.fails in command
        return SimpleNamespace(
            rc=int(bad), stdout="", stderr="one\n\n[upgrade/apply] FATAL: it isn't ready\n" if bad else ""
        )


@pytest.mark.parametrize(("role", "verb"), [("server", "upgrade apply v1.37.2"), ("worker", "upgrade node")])
def test_the_control_plane_comes_before_the_kubelet_of_a_node(role, verb):
    shell = Shell()
    kubeadm_upgrade.upgrade(shell, role, "1.37.2")
    at = next(i for i, c in enumerate(shell.typed) if verb in c)
    assert "/1.37.2/kubeadm" in shell.typed[at]
    assert [c for c in shell.typed[at + 1 :] if "restart kubelet" in c]
    assert not [c for c in shell.typed[:at] if "kubelet" in c]


def test_an_upgrade_that_fails_says_so_in_its_own_words_and_leaves_the_kubelet():
    shell = Shell("upgrade apply")
    with pytest.raises(DriverError, match=r"FATAL: it isn't ready"):
        kubeadm_upgrade.upgrade(shell, "server", "1.37.2")
    assert not [c for c in shell.typed if "kubelet" in c]
