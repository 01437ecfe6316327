"""Ownership is by id: a lane touches what it recorded or what carries its token, whatever else has its name."""

import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from holdfast.drivers.kind import Kind, _last_error
from holdfast.drivers.owned import Owned
from holdfast.drivers.profile import load
from holdfast.errors import UsageError
from holdfast.lane.lane import Lane
from holdfast.lane.state import LaneState, owner_id
from holdfast.lane.subject import Subject
from holdfast.paths import ROOT

TREE = ROOT / "fixtures" / "gitops"


class Engine:
    """Containers and networks by id, as the engine's client gives them."""

    def __init__(self):
        self.there, self.nets, self.kept = {}, {}, {}
        self.containers = SimpleNamespace(list=self._list, get=self._get)
        self.networks = SimpleNamespace(list=self._networks, create=self._create)
        self.volumes = SimpleNamespace(list=self._volumes, create=self._keep)

    def add(self, identity, name, *, labels=None, network="bridge"):
        attrs = {
            "NetworkSettings": {"Networks": {network: {"NetworkID": self._id_of(network)}}},
            "HostConfig": {"NetworkMode": network},
        }
        one = SimpleNamespace(id=identity, name=name, labels=labels or {}, attrs=attrs, status="running")
        one.remove = lambda **_: self.there.pop(identity)
        self.there[identity] = one
        return one

    def _id_of(self, network):
        return next((n.id for n in self.nets.values() if n.name == network), network)

    def _list(self, filters=None, **_):
        form = (filters or {}).get("name", "").replace("^/", "^")
        return [c for c in self.there.values() if re.search(form, c.name)]

    def _get(self, identity):
        from docker.errors import NotFound

        if identity not in self.there:
            raise NotFound("absent")
        return self.there[identity]

    def _networks(self, names=None, filters=None):
        found = list(self.nets.values())
        if names:
            found = [n for n in found if n.name in names]
        if filters:
            key, _, value = filters["label"].partition("=")
            found = [n for n in found if n.labels.get(key) == value]
        return found

    def _volumes(self, filters=None):
        key, _, value = filters.get("label", "=").partition("=")
        return [
            v
            for v in self.kept.values()
            if filters.get("name", "") in v.name and (not key or v.labels.get(key) == value)
        ]

    def _keep(self, name, labels=None):
        one = SimpleNamespace(name=name, labels=labels or {})
        one.remove = lambda: self.kept.pop(name)
        return self.kept.setdefault(name, one)

    def _create(self, name, labels=None, **_):
        identity = f"net-{len(self.nets)}"
        one = SimpleNamespace(
            id=identity, name=name, labels=labels or {}, attrs={"Containers": {}}, reload=lambda: None
        )
        one.remove = lambda: self.nets.pop(identity)
        self.nets[identity] = one
        return one


@pytest.fixture
def kind(tmp_path, monkeypatch):
    made = Kind("holdfast-kind-fast-abc123", load("kind", "fast"), tmp_path)
    made.__dict__["docker"] = Engine()
    monkeypatch.setattr("holdfast.drivers.containers._QUIET_S", 0.3)
    made.owned.begin()
    return made


def test_down_leaves_what_only_has_the_name(kind):
    engine = kind.docker
    engine.add("foreign", f"{kind.cluster}-worker", labels={"io.x-k8s.kind.cluster": kind.cluster})
    foreign = engine._create(kind.cluster)
    engine.add("mine", f"{kind.cluster}-control-plane")
    kind.owned.record("mine")
    kind.down()
    assert set(engine.there) == {"foreign"}
    assert foreign.id in engine.nets
    assert [s.name for s in kind.strays()] == [f"{kind.cluster}-worker"]
    assert not kind.exists()


def test_what_a_killed_run_had_no_time_to_record_is_found_by_its_token(kind):
    engine = kind.docker
    kind.docker._create(kind.cluster, labels=kind.owned.labels)
    engine.add("node", f"{kind.cluster}-control-plane", network=kind.cluster)
    engine.add("git", f"{kind.cluster}-git", labels=kind.owned.labels)
    assert kind.exists()
    kind.down()
    assert not engine.there
    assert not engine.nets


def test_down_looks_until_nothing_comes_any_more(kind):
    engine = kind.docker
    kind.docker._create(kind.cluster, labels=kind.owned.labels)
    first = engine.add("one", f"{kind.cluster}-control-plane", network=kind.cluster)
    gone = first.remove

    def late(**options):
        gone(**options)
        engine.add("two", f"{kind.cluster}-worker", network=kind.cluster)  # the engine was still at it

    first.remove = late
    kind.down()
    assert not engine.there


@pytest.mark.parametrize("what", ["container", "network"])
def test_up_says_that_something_else_has_its_name_and_what_to_do(kind, what):
    if what == "container":
        kind.docker.add("foreign", f"{kind.cluster}-worker")
    else:
        kind.docker._create(kind.cluster)
    with pytest.raises(UsageError, match="holdfast didn't make it") as caught:
        kind.owned.refuse_foreign(kind.docker, kind.cluster)
    assert "docker" in caught.value.next_step


def test_a_name_carries_driver_profile_and_owner(tmp_path, monkeypatch):
    names = set()
    for user in ("a", "b"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / user))
        names |= {Lane(name, Subject(TREE)).driver.cluster for name in ("kind/fast", "kind/default")}
        assert owner_id() == owner_id()
    assert len(names) == 4
    assert all(name.startswith(("holdfast-kind-fast-", "holdfast-kind-default-")) for name in names)


def test_a_state_that_can_not_be_read_is_said_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lane = Lane("kind/fast", Subject(TREE))
    lane.state_file.write_text('{"stage": "rea')
    engine = lane.driver.__dict__["docker"] = Engine()
    engine.add("node", f"{lane.driver.cluster}-worker")
    lane.driver.owned.begin()
    lane.driver.owned.record("node")
    with pytest.raises(UsageError, match="can't be read") as caught:
        lane.heal()
    assert "holdfast down --lane kind/fast" in caught.value.next_step
    assert engine.there
    assert lane.down()  # what was made is recorded apart
    assert not engine.there


def test_a_record_of_what_was_made_that_can_not_be_read_is_said_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = Lane("kind/fast", Subject(TREE))
    LaneState(run="a dead run").write(first.state_file)
    first.driver.owned.file.write_text('{"token": ')
    lane = Lane("kind/fast", Subject(TREE))
    engine = lane.driver.__dict__["docker"] = Engine()
    engine.add("node", f"{lane.driver.cluster}-worker")
    for command in (lane.down, lane.clean_dead):
        with pytest.raises(UsageError, match="can't be read") as caught:
            command()
        assert f"docker rm -f -v {lane.driver.cluster}-worker" in caught.value.next_step
        assert engine.there


def test_what_was_made_is_known_to_the_next_process(tmp_path):
    made = Owned(tmp_path / "owned.json")
    made.begin()
    made.record("one")
    made.record("two", "one")
    known = Owned(made.file)
    assert (known.token, known.containers) == (made.token, ["one", "two"])
    assert known.token
    assert made.file.stat().st_mode & 0o077 == 0
    known.end()
    assert not Owned(made.file).token


def test_heal_gives_git_back_the_commit_of_the_tree(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lane, asked = Lane("kind/fast", Subject(TREE)), []
    bare, clone = lane.folder / "git" / "repository.git", tmp_path / "clone"

    def git(*arguments, folder):
        named = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
        return subprocess.run(named, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()

    bare.parent.mkdir(parents=True)
    git("init", "-q", "--bare", "-b", "main", str(bare), folder=tmp_path)
    git("clone", "-q", str(bare), str(clone), folder=tmp_path)
    commits = []
    for text in ("the tree", "what a test pushed"):
        (clone / "x").write_text(text)
        git("add", ".", folder=clone)
        git("commit", "-qm", text, folder=clone)
        git("push", "-q", "origin", "HEAD:main", folder=clone)
        commits.append(git("rev-parse", "HEAD", folder=clone))
    state = LaneState(stage="ready", branch="main", commit=commits[0], source=["flux-system", "flux-system"])
    client = SimpleNamespace(request_reconciliation=lambda *one: asked.append(one))
    assert lane._reset_git(state, client) == 1
    assert git("rev-parse", "main", folder=bare) == commits[0]
    assert asked == [("GitRepository", "flux-system", "flux-system")]  # Flux is asked to look now
    assert lane._reset_git(state, client) == 0


def test_the_children_of_a_killed_run_die_with_it(tmp_path):
    pid = tmp_path / "pid"
    script = f"echo $$ > {pid}; sleep 60 & sleep 60"
    run = f"import subprocess, sys; subprocess.run([sys.executable, '-m', 'holdfast.drivers.leash', 'sh', '-c', {script!r}])"
    parent = subprocess.Popen([sys.executable, "-c", run], cwd=ROOT)
    limit = time.monotonic() + 10
    while (not pid.exists() or not pid.read_text().strip()) and time.monotonic() < limit:
        time.sleep(0.02)
    group = int(pid.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while time.monotonic() < limit:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    pytest.fail("the group of the command is still there")


def test_a_leashed_command_ends_with_its_own_code():
    for code in (0, 7):
        done = subprocess.run(
            [sys.executable, "-m", "holdfast.drivers.leash", "sh", "-c", f"exit {code}"], cwd=ROOT, check=False
        )
        assert done.returncode == code


def test_kinds_own_last_error_is_shown_and_no_stack(tmp_path):
    log = tmp_path / "kind.log"
    log.write_text(
        "Creating cluster\nERROR: failed to create cluster: node image is not there\n\nStack Trace:\nsigs.k8s.io/kind/pkg/errors.WithStack\n\t/x/errors.go:59\nruntime.goexit\n"
    )
    assert _last_error(log) == "ERROR: failed to create cluster: node image is not there"
    log.write_text("")
    assert "no word" in _last_error(log)
