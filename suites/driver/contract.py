"""What every driver promises, and what each capability does, as checks that run against any driver: the toy in seconds, kind in a lab.

A promise of a capability runs where the driver has it. What a driver does with the whole cluster (`up`, `down`, `serve_git`) a lane shows by
coming up and going away; the toy shows it here.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from holdfast.drivers.driver import (
    Agents,
    CommandLine,
    Driver,
    DriverError,
    EtcdSnapshot,
    GitOutage,
    ImageLoader,
    Node,
    NodeMembership,
    NodeNetwork,
    NodePower,
    NodeShell,
    PodRuntime,
    Writable,
    lacks,
)
from holdfast.drivers.profile import Note
from holdfast.errors import UsageError
from holdfast.kube import condition
from holdfast.terminal import Terminal

FOLDER = "/var/lib/holdfast/contract"
KUBELET = 10250


@dataclass(frozen=True)
class Subject:
    """A running cluster: its driver, and a reader of its API."""

    driver: Any
    client: Any

    @property
    def worker(self) -> str:
        return next(n.name for n in self.driver.nodes() if n.role == "worker")

    @property
    def server(self) -> str:
        return next(n.name for n in self.driver.nodes() if n.role == "server")


@dataclass(frozen=True)
class Promise:
    """One promise, and the capabilities that it is about."""

    check: Callable[[Subject], None]
    needs: tuple[type, ...]

    def __str__(self) -> str:
        return self.check.__name__

    def lacking(self, driver: Driver) -> str:
        return lacks(driver, *self.needs)


PROMISES: list[Promise] = []


def promise(*needs: type):
    def add(check):
        PROMISES.append(Promise(check, needs))
        return check

    return add


@promise()
def says_what_it_is(on: Subject) -> None:
    assert on.driver.name
    assert on.driver.kubernetes.count(".") == 2
    assert on.driver.evidence_level in ("model", "lab", "live")
    assert on.driver.timers.node_lost_s > on.driver.timers.node_monitor_grace_s > 0
    assert all(isinstance(note, Note) and note.text and note.touches for note in on.driver.notes())
    assert all(subject and words for subject, words in on.driver.stand_ins({}).items())


@promise()
def its_nodes_are_those_of_the_api_the_server_first(on: Subject) -> None:
    nodes = on.driver.nodes()
    assert nodes[0].role == "server"
    assert {n.role for n in nodes} <= {"server", "worker"}
    assert sorted(n.name for n in nodes) == sorted(n["metadata"]["name"] for n in on.client.list("Node"))


@promise()
def it_is_there_and_nothing_of_it_is_a_stray(on: Subject) -> None:
    assert on.driver.exists()
    assert on.driver.strays() == []
    assert on.driver.kubeconfig.is_file()
    on.driver.ensure_host()
    on.driver.preflight()  # its own ports aren't in its way


@promise()
def an_address_is_one_that_can_be_connected_to_or_none(on: Subject) -> None:
    assert on.driver.address(on.server, 1) is None
    for port in (80, 30080, 6443):
        found = on.driver.address(on.server, port)
        assert found is None or (isinstance(found[0], str) and 0 < found[1] < 65536)


@promise(Writable)
def it_may_be_changed(on: Subject) -> None:
    on.driver.before_change()


def _is_ready(on: Subject, node: str) -> bool:
    return bool(condition(on.client.get("Node", node) or {}, "Ready").get("status") == "True")


@promise(NodePower)
def power_is_cut_and_given_back_and_twice_is_once(on: Subject) -> None:
    node = on.worker
    assert on.driver.is_on(node)
    try:
        for _ in range(2):
            on.driver.power_off(node)
            assert not on.driver.is_on(node)
        assert on.driver.is_on(on.server)
        assert node in [n.name for n in on.driver.nodes()]  # it is still one of the nodes
        lost = on.driver.timers.node_lost_s + 20
        assert _until(lambda: not _is_ready(on, node), lost), (
            f"the API calls {node} Ready {lost:g}s after its power was cut"
        )
    finally:
        for _ in range(2):
            on.driver.power_on(node)
    assert on.driver.is_on(node)
    assert _until(lambda: _is_ready(on, node), 60), f"{node} isn't Ready again"


@promise(NodePower)
def a_node_that_is_not_there_is_said(on: Subject) -> None:
    for act in (on.driver.power_off, on.driver.power_on, on.driver.is_on):
        with pytest.raises((UsageError, DriverError), match="absent"):
            act("absent")


@promise(NodeMembership)
def a_node_leaves_and_joins_and_twice_is_once(on: Subject) -> None:
    known = sorted(n["metadata"]["name"] for n in on.client.list("Node"))
    try:
        on.driver.remove_node(on.worker)
        assert on.client.get("Node", on.worker) is None
        assert on.client.get("Node", on.server)
        assert on.worker in [n.name for n in on.driver.nodes()]  # it is still one of the lane's
    finally:
        for _ in range(2):
            on.driver.join_node(on.worker)
    assert _until(lambda: _is_ready(on, on.worker), 120), f"{on.worker} joined and isn't Ready after 120s"
    assert sorted(n["metadata"]["name"] for n in on.client.list("Node")) == known


def _reaches(on: Subject, address: str) -> bool:
    """Whether the server reaches the worker's kubelet: another way than the one by which the network is cut."""
    command = f"timeout 2 bash -c 'exec 3<>/dev/tcp/{address}/{KUBELET}'"
    return bool(on.driver.shell(on.server).run(command).rc == 0)


def _until(what: Callable[[], bool], limit_s: float) -> bool:
    limit = time.monotonic() + limit_s
    while not what():
        if time.monotonic() > limit:
            return False
        time.sleep(0.2)
    return True


@promise(NodeNetwork, NodeShell)
def the_network_is_cut_and_given_back_and_comes_back_by_itself(on: Subject) -> None:
    node = on.client.get("Node", on.worker)
    address = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
    assert _until(lambda: _reaches(on, address), 60)  # it may just have been given its power back
    on.driver.restore_network(on.worker)  # nothing to do is no error
    on.driver.cut_network(on.worker, 60)
    try:
        assert not _reaches(on, address)
    finally:
        on.driver.restore_network(on.worker)
    assert _until(lambda: _reaches(on, address), 5)
    on.driver.cut_network(on.worker, 1)
    assert _until(lambda: _reaches(on, address), 15), "a cut ends by itself"


@promise(NodeShell)
def commands_run_on_the_node_that_is_named(on: Subject) -> None:
    for node in (on.server, on.worker):
        assert on.driver.shell(node).check_output("echo here").strip() == "here"
        assert on.driver.shell(node).run("exit 3").rc == 3


@promise(NodeShell)
def files_are_read_as_they_were_written(on: Subject) -> None:
    written = {"one": "first\n", "two": "second, ünïcode"}
    on.driver.write_files(on.worker, FOLDER, written)
    assert on.driver.read_files(on.worker, FOLDER) == {k: v.encode() for k, v in written.items()}
    assert on.driver.read_files(on.worker, f"{FOLDER}/absent") == {}
    assert on.driver.read_files(on.server, FOLDER) == {}, "the other node's files are its own"


@promise(NodeShell, NodePower)
def files_are_read_while_the_node_is_off(on: Subject) -> None:
    on.driver.write_files(on.worker, FOLDER, {"kept": "what was written"})
    try:
        on.driver.power_off(on.worker)
        assert on.driver.read_files(on.worker, FOLDER)["kept"] == b"what was written"
    finally:
        on.driver.power_on(on.worker)


@promise(NodeShell)
def the_flavour_fits_the_nodes(on: Subject) -> None:
    flavour = on.driver.flavour

    def ports(node: str) -> set[str]:
        lines = on.driver.shell(node).check_output(flavour.listening).splitlines()
        return {line.split()[3].rpartition(":")[2] for line in lines}

    def lacking(node: Node) -> set[str]:
        return {str(p) for p in flavour.own_ports[node.role]} - ports(node.name)

    for node in on.driver.nodes():  # each of them may just have been given its power back
        assert _until(functools.partial(lambda of: not lacking(of), node), 60), f"{node}: {lacking(node)}"
        assert on.driver.shell(node.name).run(flavour.journal).rc == 0
    containers = on.driver.shell(on.server).check_output(flavour.containers).splitlines()
    assert any(line.split()[-1] == "RUNNING" for line in containers if line.split())


@promise(EtcdSnapshot)
def what_etcd_holds_is_saved_into_a_file(on: Subject) -> None:
    """That it comes back from there is a suite of its own: it takes minutes."""
    on.driver.save_etcd(f"{FOLDER}-etcd")
    on.driver.restore_etcd(f"{FOLDER}-etcd")  # nothing was lost: nothing is done
    assert on.client.list("Node")


@promise(GitOutage)
def git_goes_away_and_comes_back_and_twice_is_once(on: Subject) -> None:
    driver = on.driver
    assert driver.git_delay_s() == 0
    try:
        for _ in range(2):
            driver.stop_git()
        assert driver.git_delay_s() is None
        for _ in range(2):
            driver.restore_git()
        assert driver.git_delay_s() == 0
        driver.delay_git(5)
        assert driver.git_delay_s() == 5
    finally:
        driver.restore_git()
    assert driver.git_delay_s() == 0


@promise(CommandLine)
def what_is_typed_reaches_it(on: Subject) -> None:
    """And what isn't there is an error."""
    terminal = Terminal(on.driver.command, on.driver.kubeconfig, Path("/"))
    assert terminal.type(["kubectl", "get", "nodes", "-o", "name"]).last == f"node/{on.worker}"
    assert terminal.type(["kubectl", "get", "node", "absent"]).code == 1
    assert terminal.type(["flux", "version", "--client"]).code == 0


@promise(ImageLoader)
def no_images_are_no_work(on: Subject) -> None:
    assert on.driver.needs_images() in (True, False)
    on.driver.load_images({})


@promise(PodRuntime)
def what_runs_containers_has_a_name(on: Subject) -> None:
    assert on.driver.runtime()


@promise(Agents)
def agents_have_an_image(on: Subject) -> None:
    assert on.driver.agent_image()
