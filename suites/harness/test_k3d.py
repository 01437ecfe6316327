"""The k3d driver, against a recorded k3d: its configuration, its command line, its containers. No real k3s was run."""

import os
import subprocess
import time
from types import SimpleNamespace

import pytest
import yaml
from docker.errors import ImageNotFound

from holdfast.drivers import catalogue, k3d, netcut
from holdfast.drivers.driver import EtcdSnapshot, NodeMembership, NodeNetwork, NodePower, NodeShell, lacks
from holdfast.errors import UsageError
from holdfast.provision import mirror
from suites.driver.contract import PROMISES, Subject
from suites.harness import k3d_recorded as recorded
from suites.harness.test_owned import Engine

SHOWN = "its_nodes_are_those_of_the_api says_what_it_is it_may_be_changed power_is_cut a_node_that_is_not_there what_runs agents_have"


class Images:
    def __init__(self, *there, pulled=()):
        self.there, self.pulled = set(there), set(pulled)

    def get(self, name):
        if name not in self.there:
            raise ImageNotFound(name)

    def pull(self, name):
        if name not in self.pulled:
            raise ImageNotFound("no registry answers")
        self.there.add(name)


def powered(engine):
    """Gives each container its power."""
    for one in engine.there.values():
        one.kill = lambda signal, one=one: setattr(one, "status", "exited")
        one.start = lambda one=one: setattr(one, "status", "running")


@pytest.fixture
def lane(tmp_path, monkeypatch):
    made = k3d.open("default", tmp_path, "abc123")
    engine = made.__dict__["docker"] = Engine()
    engine.images = Images(pulled={"rancher/k3s:v1.36.3-k3s1"})
    monkeypatch.setattr("holdfast.drivers.containers._QUIET_S", 0.3)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(made, "preflight", lambda: None)
    monkeypatch.setattr(made, "_until_ready", lambda: None)
    recorded.program(tmp_path)
    real = made._k3d

    def with_containers(*words):
        said = real(*words)
        if words[:2] == ("cluster", "create"):
            recorded.containers(engine, recorded.read(words[-1]))
            powered(engine)
        return said

    monkeypatch.setattr(made, "_k3d", with_containers)
    return made


def test_k3d_takes_its_configuration(lane, tmp_path):
    lane.up()
    config = recorded.read(tmp_path / "k3d.yaml")
    assert recorded.refusals(config) == []
    assert recorded.refusals({**config, "serverz": 1})
    assert "$" not in (tmp_path / "k3d.yaml").read_text()  # it would take it for a variable
    ports = {(p["port"], *p["nodeFilters"]) for p in config["ports"]}
    assert ("127.0.0.2:30443:30443", "agent:0:direct") in ports
    of_server, of_agent = (yaml.safe_load(f["source"]) for f in config["files"])
    assert of_server["cluster-init"]
    assert (of_server["node-name"], of_agent) == ("k3s1", {"node-name": "k3s2"})
    assert of_server["disable"] == ["traefik", "servicelb"]


def test_it_is_told_in_its_own_words_and_the_users_kubeconfig_is_left_alone(lane, tmp_path):
    lane.up()
    calls = recorded.told(tmp_path)
    assert [c["words"][:2] for c in calls] == [["cluster", "create"], ["kubeconfig", "get"]]
    assert {c["kubeconfig"] for c in calls} == {str(lane.kubeconfig)}
    assert lane.kubeconfig.read_text() == recorded.KUBECONFIG
    assert lane.kubeconfig.stat().st_mode & 0o077 == 0
    options = recorded.read(tmp_path / "k3d.yaml")["options"]["kubeconfig"]
    assert not any(options.values())


def test_its_containers_are_the_lanes_and_go_with_it_and_a_strangers_stay(lane):
    other = lane.docker.add(
        "other", f"k3d-{lane.cluster}-server-7", labels={"k3d.cluster": lane.cluster, "k3d.role": "server"}
    )
    with pytest.raises(UsageError, match="holdfast didn't make it"):
        lane.up()
    other.name = "k3d-another-server-0"
    lane.up()
    assert [(n.name, n.role) for n in lane.nodes()] == [("k3s1", "server"), ("k3s2", "worker")]
    lane.docker.add("tools", f"k3d-{lane.cluster}-tools", network=lane.cluster).attrs["HostConfig"]["NetworkMode"] = (
        "bridge"
    )
    assert lane.strays() == []
    lane.down()
    assert set(lane.docker.there) == {"other"}
    assert not lane.docker.nets
    assert not lane.docker.kept


def test_a_volume_of_its_name_that_is_somebody_elses_is_left(lane):
    lane.docker.volumes.create(f"k3d-{lane.cluster}-images")
    with pytest.raises(UsageError, match="the volume"):
        lane.up()
    lane.down()
    assert lane.docker.kept


def _promised():
    return [p for p in PROMISES if str(p).startswith(tuple(SHOWN.split()))]


@pytest.mark.parametrize("promise", _promised(), ids=str)
def test_it_keeps_what_needs_no_shell(promise, lane):
    """The rest needs a shell on a node: a real engine, and a real k3s."""
    lane.up()

    def node(name):
        ready = "True" if lane.is_on(name) else "Unknown"
        return {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}

    client = SimpleNamespace(get=lambda kind, name: node(name), list=lambda kind: [node("k3s1"), node("k3s2")])
    assert not promise.lacking(lane)
    promise.check(Subject(lane, client))


def test_all_that_is_promised_without_a_shell_is_held():
    assert len(_promised()) == len(SHOWN.split())


def test_what_it_can_do_it_has_and_what_it_can_not_it_says(lane):
    assert not lacks(lane, NodePower, NodeShell, NodeNetwork, EtcdSnapshot)
    assert lacks(lane, NodeMembership)
    assert any("never run by us on a real k3s" in note.text for note in lane.notes())


def test_it_is_run_by_its_name_alone():
    assert "k3d/default" in catalogue.lanes()
    assert not [lane for lane in catalogue.usual() if lane.startswith("k3d")]


@pytest.mark.parametrize(
    ("version", "words"),
    [("v5.8.3", ""), ("v5-dev", ""), ("v5.6.0", "k3d is 5.6"), ("v4.4.8", "k3d is 4.4"), ("?", "doesn't say")],
)
def test_an_old_k3d_is_said(lane, version, words, tmp_path, monkeypatch):
    monkeypatch.setattr("holdfast.provision.engine.ensure", lambda: None)
    recorded.program(tmp_path, version=version)
    if words:
        with pytest.raises(UsageError, match=words):
            lane.ensure_host()
    else:
        lane.ensure_host()


def test_without_k3d_or_its_image_the_next_step_is_said(lane, tmp_path, monkeypatch):
    lane.docker.images = Images()
    with pytest.raises(UsageError, match="rancher/k3s") as caught:
        lane.up()
    assert "kind/fast" in caught.value.next_step
    monkeypatch.setattr("holdfast.provision.engine.ensure", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="no program k3d"):
        lane.ensure_host()


def test_k3ds_own_words_are_shown_and_not_its_colours(lane, tmp_path):
    recorded.program(
        tmp_path,
        fails="\x1b[36mINFO\x1b[0m[0000] x\n\x1b[31mERRO\x1b[0m[0001] Failed: why\n\x1b[31mFATA\x1b[0m[0001] FAILED\n",
    )
    with pytest.raises(UsageError, match=r"cluster create failed: ERRO\[0001\] Failed: why"):
        lane.up()


def test_a_mirror_is_the_nodes_too(lane, tmp_path, monkeypatch):
    monkeypatch.setenv(mirror.VARIABLE, "registry.example.org:5000")
    lane.docker.images = Images("registry.example.org:5000/rancher/k3s:v1.36.3-k3s1")
    lane.up()
    config = recorded.read(tmp_path / "k3d.yaml")
    assert recorded.refusals(config) == []
    assert yaml.safe_load(config["registries"]["config"])["mirrors"]["*"]["endpoint"] == [
        "http://registry.example.org:5000"
    ]


@pytest.mark.parametrize(
    ("marks", "code", "holds"),
    [
        ((), 0, "was there"),  # as every day
        (("etcd-lost",), 1, "was there"),  # nobody has said from where it comes back: k3s must not begin an empty one
        (("etcd-lost", "etcd-restore"), 0, "what was saved"),
        (("etcd-restore",), 0, "what was saved"),  # it ended between the two
    ],
)
def test_before_each_start_etcd_comes_back_where_it_was_lost(marks, code, holds, tmp_path):
    data, folder, program = tmp_path / "db" / "etcd", tmp_path / "marks", tmp_path / "k3s"
    data.mkdir(parents=True)
    (data / "it").write_text("was there")
    folder.mkdir()
    saved = tmp_path / "saved"
    saved.write_text("what was saved")
    for mark in marks:
        (folder / mark).write_text(str(saved) if mark == "etcd-restore" else "x")
    program.write_text(
        f'#!/bin/sh\n[ "$1 $2" = "server --cluster-reset" ] || exit 3\n[ ! -e {data} ] || exit 4\nmkdir -p {data}; cp "${{3#*path=}}" {data}/it\n'
    )
    program.chmod(0o755)
    script = (
        k3d._BEFORE_START.replace(k3d._FOLDER, str(folder))
        .replace(k3d._DATA, str(data))
        .replace("/bin/k3s", str(program))
    )
    assert subprocess.run(["sh", "-c", script], check=False).returncode == code
    assert (data / "it").read_text() == holds
    assert sorted(p.name for p in folder.iterdir()) == (sorted(marks) if code else [])


def test_what_ends_a_cut_is_known_from_another_process_with_its_number(tmp_path):
    """After a restart of the node a number may be another's."""
    first = netcut.end_by_a_shell(str(tmp_path / "cut")).split(";")[0]
    for words, ends in (("sleep 30", False), ("sleep 30 # holdfast-cut", True)):
        other = subprocess.Popen(["sh", "-c", f"{words}\ntrue"])
        try:
            (tmp_path / "cut").write_text(str(other.pid))
            subprocess.run(["sh", "-c", first], check=False)
            time.sleep(0.2)
            assert (other.poll() is not None) is ends
        finally:
            other.kill()
            other.wait()


def test_a_cut_whose_timer_fails_is_none(tmp_path):
    """What gives it back is begun before anything is cut."""
    for name in ("iptables", "systemd-run"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho {name} $1 >> {tmp_path}/said\n[ {name} = iptables ]\n")
        program.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", netcut.cut(netcut.by_systemd(5))], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False
    )
    assert done.returncode
    assert "iptables -I" not in (tmp_path / "said").read_text()


def test_a_snapshot_is_one_file_under_the_name_that_was_asked_for(lane, tmp_path, monkeypatch):
    (tmp_path / "k3s").write_text(
        '#!/bin/sh\n[ "$1 $2 $3" = "etcd-snapshot save --name" ] && echo saved > "$6/$4-k3s1-1764300000"\n'
    )
    (tmp_path / "k3s").chmod(0o755)

    def run(script):
        done = subprocess.run(["sh", "-c", script], capture_output=True, check=False)
        return SimpleNamespace(rc=done.returncode, stdout=done.stdout.decode(), stderr=done.stderr.decode())

    monkeypatch.setattr(lane, "shell", lambda node: SimpleNamespace(run=run))
    for _ in range(2):
        lane.save_etcd(str(tmp_path / "snap"))
    assert (tmp_path / "snap").read_text() == "saved\n"
    assert not (tmp_path / "snap.saving").exists()


def test_the_lanes_names_are_answered_by_a_block_of_their_own():
    block = k3d.server_block(("git.example.org", "charts.example.org"), "192.0.2.7")
    assert block.splitlines()[0] == "git.example.org:53 charts.example.org:53 {"
    assert "    192.0.2.7 charts.example.org" in block


def test_no_profile_makes_a_name_that_k3d_refuses(tmp_path):
    for name in k3d.profiles():
        assert len(k3d.open(name, tmp_path, "abc123").cluster) <= k3d.LONGEST_NAME


def test_a_folder_that_k3d_would_read_otherwise_is_said(lane, tmp_path):
    lane.folder = tmp_path / "a:b"
    lane.folder.mkdir()
    with pytest.raises(UsageError, match="for its own"):
        lane.up()


def test_a_volume_that_is_in_use_keeps_what_is_known_of_it(lane):
    """Else the next start would take it for a stranger's, and nothing could end it."""
    from docker.errors import APIError

    lane.up()
    (volume,) = lane.docker.kept.values()
    gone = volume.remove

    def in_use():
        raise APIError("volume is in use")

    volume.remove = in_use
    with pytest.raises(UsageError, match="can't be removed"):
        lane.down()
    assert lane.owned.token
    volume.remove = gone
    lane.down()
    assert not lane.docker.kept
