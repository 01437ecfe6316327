"""The contract of drivers, held on the toy; that each promise can be broken; what faults and tests say when a capability is missing."""

import types
from pathlib import Path
from types import SimpleNamespace

import pytest

from holdfast.drivers import driver as seam
from holdfast.drivers.catalogue import DRIVERS, lanes, parse
from holdfast.drivers.containers import Containers
from holdfast.drivers.driver import capable
from holdfast.drivers.flavour import KUBEADM, NodeFlavour
from holdfast.drivers.kind import Kind, arguments
from holdfast.errors import NotExercised, UsageError
from holdfast.faults.fault import Faults
from suites.driver.contract import PROMISES, Subject
from suites.harness import toy
from suites.harness.test_faults import FAULTS

CAPABILITIES = [
    seam.Agents, seam.CommandLine, seam.EtcdSnapshot, seam.GitHosting, seam.GitOutage, seam.ImageLoader, seam.NodeMembership, seam.NodeNetwork, seam.NodePower, seam.NodeShell,
    seam.NodeUpgrade, seam.PodRuntime,
    seam.Writable,
]  # fmt: skip


@pytest.fixture
def subject(tmp_path):
    path, _ = toy.fresh(tmp_path)
    world = toy.World(path)
    driver = toy.Driver(world)
    driver.up()
    return Subject(driver, toy.KubeClient(world))


@pytest.mark.parametrize("promise", PROMISES, ids=str)
def test_the_toy_keeps(promise, subject):
    assert not promise.lacking(subject.driver)
    promise.check(subject)


BROKEN = {
    "says_what_it_is": ("notes", lambda *_: ["a note that is a text"]),
    "its_nodes_are_those_of_the_api_the_server_first": ("nodes", lambda *_: [seam.Node("k3s2", "worker")]),
    "it_is_there_and_nothing_of_it_is_a_stray": ("strays", lambda *_: [seam.Stray("k3s1", "rm")]),
    "an_address_is_one_that_can_be_connected_to_or_none": ("address", lambda *_: ("127.0.0.1", 0)),
    "it_may_be_changed": ("before_change", None),
    "power_is_cut_and_given_back_and_twice_is_once": ("power_off", lambda *_: None),
    "a_node_leaves_and_joins_and_twice_is_once": ("remove_node", lambda *_: None),
    "a_node_that_is_not_there_is_said": ("power_on", lambda *_: None),
    "the_network_is_cut_and_given_back_and_comes_back_by_itself": ("cut_network", lambda *_: None),
    "commands_run_on_the_node_that_is_named": ("shell", lambda *_: SimpleNamespace(check_output=lambda c: "")),
    "files_are_read_as_they_were_written": ("read_files", lambda *_: {"one": b"first\n"}),
    "files_are_read_while_the_node_is_off": ("read_files", lambda *_: {"kept": b""}),
    "the_flavour_fits_the_nodes": ("flavour", NodeFlavour(KUBEADM.own_ports, "ss -Hltn", "echo none", "exit 1")),
    "no_images_are_no_work": ("needs_images", lambda *_: "yes"),
    "git_goes_away_and_comes_back_and_twice_is_once": ("restore_git", lambda *_: None),
    "what_etcd_holds_is_saved_into_a_file": ("save_etcd", None),
    "what_is_typed_reaches_it": ("command", lambda *_: Path("/bin/true")),
    "what_runs_containers_has_a_name": ("runtime", lambda *_: ""),
    "agents_have_an_image": ("agent_image", lambda *_: ""),
}  # fmt: skip


@pytest.mark.parametrize("promise", PROMISES, ids=str)
def test_a_driver_that_breaks_a_promise_is_found(promise, subject):
    name, broken = BROKEN[str(promise)]
    if broken is None:

        def broken(*_):
            raise seam.DriverError("not this one")

    value = types.MethodType(broken, subject.driver) if callable(broken) else broken
    setattr(subject.driver, name, value)
    with pytest.raises((AssertionError, seam.DriverError, pytest.fail.Exception)):
        promise.check(subject)


def test_every_capability_but_two_is_in_the_contract():
    """`serve_git` is shown by every lane that comes up: Flux pulls from it. An upgrade takes minutes, and has no way back: a command of its own."""
    in_it = {need for promise in PROMISES for need in promise.needs}
    assert in_it == set(CAPABILITIES) - {seam.GitHosting, seam.NodeUpgrade}


def without(driver, capability):
    """The driver, but for one capability."""
    lacking = {name for name in dir(capability) if not name.startswith("_")}

    class Less:
        def __getattr__(self, name):
            if name in lacking:
                raise AttributeError(name)
            return getattr(driver, name)

    return Less()


@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda c: c.__name__)
@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_fault_names_what_it_needs(name, capability, tmp_path):
    """Without a capability that it names it never begins; it manages without every other."""
    path, first = toy.fresh(tmp_path)
    cluster = toy.cluster(toy.World(path), tmp_path / "undo.jsonl")
    cluster.driver = without(cluster.driver, capability)
    wanted = FAULTS[name]
    if capability not in wanted.needs:
        next(wanted.run(cluster))
        return
    with pytest.raises(NotExercised, match=capability.__name__), Faults(cluster, print, print)(wanted):
        raise AssertionError("it began all the same")
    assert toy.World(path).read() == first


def test_a_missing_capability_is_said_with_the_drivers_name(subject):
    with pytest.raises(NotExercised, match="the driver toy can't do that: it lacks NodePower"):
        capable(without(subject.driver, seam.NodePower), seam.NodePower)
    assert capable(subject.driver, seam.NodePower) is subject.driver


def test_a_lane_is_a_driver_and_one_of_its_own_profiles():
    assert parse("kind/fast") == ("kind", "fast")
    assert parse("kind/swift") == ("kind", "fast")
    assert parse("kind") == ("kind", "fast")
    assert parse("kwok")[0] == "kwok"
    assert set(lanes()) >= {"kind/fast", "kind/default", "kwok/1.36"}
    for wrong in ("kind/fats", "knid/fast", "knid", "fast", ""):
        with pytest.raises(UsageError, match="unknown lane"):
            parse(wrong)


def test_a_driver_opens_what_it_says_that_it_has(tmp_path):
    for name, driver in DRIVERS.items():
        for profile in driver.profiles():
            made = driver.open(profile, tmp_path, "abc123")
            assert (made.name, made.exists.__self__) == (name, made)


def test_kind_has_every_capability():
    """By its shape: nothing is asked of an engine."""
    for capability in CAPABILITIES:
        for name in (n for n in dir(capability) if not n.startswith("_")):
            assert hasattr(Kind, name), f"{capability.__name__}.{name}"
    assert issubclass(Kind, Containers)


@pytest.mark.parametrize(
    ("kubernetes", "form"),
    [("1.35.4", {"a": "1"}), ("1.36.3", [{"name": "a", "value": "1"}]), ("1.37.2", [{"name": "a", "value": "1"}])],
)
def test_arguments_have_the_form_that_kind_writes_for_a_version(kubernetes, form):
    assert arguments(kubernetes, {"a": 1}) == form
