import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.durations import seconds
from holdfast.waiting import HOLDS, CannotLook, Probe, ProbeError, always, eventually, first_seen, patiently, probe
from suites.harness.conftest import FakeTime


def scripted(*sightings):
    left = list(sightings)

    def look(_):
        one = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(one, Exception):
            raise one
        return one

    return Probe("scripted", "scripted()", look)


def test_eventually_holds_at_the_first_look_that_holds(time_):
    wait = eventually(None, scripted("not yet", "not yet", HOLDS), "10s", every_s=1, clock=time_.clock)
    assert (wait.held, wait.looks, wait.took_s) == (True, 3, 2.0)


def test_eventually_carries_the_last_sighting(time_):
    wait = eventually(None, scripted("three of four"), "5s", every_s=1, clock=time_.clock)
    assert wait.held is False
    assert "scripted() must hold within 5s" in wait.sentence("eventually", "5s")
    assert "three of four" in wait.sentence("eventually", "5s")


def test_eventually_without_data_proves_nothing(time_):
    assert eventually(None, scripted(CannotLook("no answer")), "3s", every_s=1, clock=time_.clock).held is None


def test_always_ends_at_the_first_look_that_does_not_hold(time_):
    wait = always(None, scripted(HOLDS, HOLDS, "gone"), "60s", every_s=1, clock=time_.clock)
    assert (wait.held, wait.looks, wait.last) == (False, 3, "gone")


def test_always_with_mostly_no_data_proves_nothing(time_):
    wait = always(
        None,
        scripted(HOLDS, CannotLook("x"), CannotLook("x"), CannotLook("x"), HOLDS),
        "4s",
        every_s=1,
        clock=time_.clock,
    )
    assert wait.held is None


@pytest.mark.parametrize("value", [None, True, False, "", "  ", 0, []])
def test_what_is_no_sighting_is_an_error(value):
    with pytest.raises(ProbeError, match="returned"):
        Probe("p", "p()", lambda _: value)(None)


def test_holds_is_no_boolean():
    with pytest.raises(TypeError, match="compare with 'is HOLDS'"):
        bool(HOLDS)


def test_a_probe_reads_as_it_is_written():
    @probe
    def node_ready(cluster, node, *, quick=False):
        return HOLDS

    assert str(node_ready("k3s2", quick=True)) == "node_ready('k3s2', quick=True)"
    assert node_ready("k3s2").kind == "node_ready"


@given(st.integers(0, 5000), st.sampled_from(["ms", "s", "m", "h"]))
def test_durations(number, unit):
    assert seconds(f"{number}{unit}") == pytest.approx(number * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit])


@pytest.mark.parametrize("text", ["", "5", "5 s", "s5", "1m30", "abc"])
def test_a_wrong_duration_is_said(text):
    with pytest.raises(ValueError, match="no duration"):
        seconds(text)


@given(st.lists(st.sampled_from(["red", "blind", "holds"]), min_size=1, max_size=12))
def test_always_is_held_only_where_every_look_with_data_held(script):
    looks = {"red": "red", "blind": CannotLook("blind"), "holds": HOLDS}
    wait = always(
        None,
        scripted(*(looks[s] for s in script)),
        f"{len(script) - 1}s" if len(script) > 1 else "0s",
        every_s=1,
        clock=FakeTime().clock,
    )
    if wait.held is True:
        assert "red" not in script
        assert "holds" in script


def test_patience_ends_with_the_last_words(time_):
    def never():
        raise CannotLook("connection refused")

    with pytest.raises(CannotLook, match="the API server, for 5s: connection refused"):
        patiently(never, "the API server", 5, clock=time_.clock)


def test_patience_only_waits_for_what_can_not_be_looked_at(time_):
    with pytest.raises(ValueError, match="a defect"):
        patiently(lambda: (_ for _ in ()).throw(ValueError("a defect")), "x", clock=time_.clock)


def _steps(time_, **plans):
    """Probes that hold from a second on; until then they fail, or (True) get no data."""

    def probe_of(name, from_s, blind):
        def look(_):
            if time_.at >= from_s:
                return HOLDS
            if blind:
                raise CannotLook("the API is away")
            return "not yet"

        return Probe(name, name, look)

    return {name: probe_of(name, *plan) for name, plan in plans.items()}


@pytest.mark.parametrize(
    ("plans", "held"),
    [
        ({"a": (1, False), "b": (2, False)}, True),
        ({"a": (1, False), "b": (1, False)}, True),  # between two looks there is no order
        ({"a": (3, False), "b": (1, False)}, False),  # seen the wrong way round
        ({"a": (1, False), "b": (99, False)}, False),  # it never came
        ({"a": (1, False), "b": (99, True)}, None),  # nobody could look
        ({"a": (2, True), "b": (1, False)}, True),  # a look without data says nothing against the order
    ],
)
def test_an_order_is_broken_only_by_what_was_seen(time_, plans, held):
    found = first_seen(None, _steps(time_, **plans), 10, every_s=0.5, clock=time_.clock)
    assert found.in_order(["a", "b"], 10) is held
    assert all(one.after <= one.at for one in found.seen.values())


def test_what_comes_after_the_limit_is_not_in_time(time_):
    found = first_seen(None, _steps(time_, a=(9.9, False)), 10, every_s=3, clock=time_.clock)
    assert found.in_order(["a"], 10) is True
    assert found.in_order(["a"], 9.95) is None  # between its last bad look and its first good one
    assert found.in_order(["a"], 8) is False
