"""Processes of a lane: known by what was written down, ended by that alone; and the keys of its control plane."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from cryptography import x509

from holdfast.drivers.driver import DriverError
from holdfast.drivers.pki import Pki
from holdfast.drivers.processes import Processes, ticks
from holdfast.gitserver import Key
from holdfast.paths import ROOT

SLEEP = [sys.executable, "-I", "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-I",
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
]


@pytest.fixture
def processes(tmp_path):
    made = Processes(tmp_path)
    made.begin()
    yield made
    if made.readable:
        made.end()


def test_what_was_started_is_there_and_goes(processes):
    one = processes.start("one", SLEEP)
    assert one.runs()
    assert processes.any()
    processes.end()
    assert not one.runs()
    assert not processes.file.exists()
    processes.end()  # twice is once


def test_a_later_run_finds_what_an_earlier_one_wrote_down(processes, tmp_path):
    one = processes.start("one", SLEEP)
    again = Processes(tmp_path)
    assert again.runs("one")
    again.end()
    assert not one.runs()


def test_one_that_was_not_written_down_in_time_is_found_by_its_token(processes, tmp_path):
    one = processes.start("one", SLEEP)
    record = json.loads(processes.file.read_text())
    processes.file.write_text(json.dumps({**record, "started": {}}))
    again = Processes(tmp_path)
    assert again.any()
    again.end()
    assert not one.runs()


def test_a_child_of_theirs_goes_with_them(processes):
    script = f"import subprocess, time; subprocess.Popen({SLEEP!r}, start_new_session=True); time.sleep(60)"
    processes.start("parent", [sys.executable, "-I", "-c", script])
    limit = time.monotonic() + 10
    while len(processes._there()) < 2 and time.monotonic() < limit:
        time.sleep(0.05)
    assert len(processes._there()) == 2
    processes.end()
    assert not processes.any()


def test_an_id_that_was_given_to_another_process_is_left_alone(processes, tmp_path):
    """The kernel gives ids again: the time of the start is part of who it is."""
    stranger = subprocess.Popen(SLEEP)
    try:
        record = json.loads(processes.file.read_text())
        record["started"] = {"one": [stranger.pid, ticks(stranger.pid) - 1]}
        processes.file.write_text(json.dumps(record))
        again = Processes(tmp_path)
        assert not again.any()
        again.end()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_one_that_does_not_listen_is_killed(processes):
    one = processes.start("one", STUBBORN)
    time.sleep(0.3)
    began = time.monotonic()
    processes.end()
    assert not one.runs()
    assert time.monotonic() - began < 8


def test_a_record_that_cannot_be_read_ends_nothing(processes, tmp_path):
    one = processes.start("one", SLEEP)
    processes.file.write_text("{")
    again = Processes(tmp_path)
    assert not again.readable
    assert one.runs()


def test_a_program_that_is_not_there_is_said(processes):
    with pytest.raises(DriverError, match="one can't be started"):
        processes.start("one", ["/absent/program"])


def test_the_last_words_of_one_that_ended(processes):
    one = processes.start("one", [sys.executable, "-I", "-c", "print('no room on the disk')"])
    limit = time.monotonic() + 10
    while one.runs() and time.monotonic() < limit:
        time.sleep(0.05)
    assert processes.last_words("one") == "no room on the disk"


@pytest.mark.parametrize(
    "reason",
    [
        '{"level":"error","msg":"listen tcp 127.0.0.1:1: bind: address already in use"}',
        "E1126 23:36:01.1 1 server.go:1] bind: address already in use",
        "OSError: [Errno 98] Address already in use",
        "panic: bind: address already in use",
    ],
)
def test_the_reason_of_an_end_is_said_and_not_how_it_ended_after_that(processes, reason):
    lines = ["it begins", reason, *(f"stopping part {n}, without an error" for n in range(9))]
    processes.log("one").parent.mkdir(parents=True, exist_ok=True)
    processes.log("one").write_text("\n".join(lines))
    assert processes.last_words("one") == reason


def test_a_port_stays_the_lanes_own_while_nobody_listens_on_it(processes):
    taken = processes.ports.take("api", "git")
    assert len(set(taken.values())) == 2

    def bound(port, *, reuse):
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
            one.bind(("127.0.0.1", port))
            one.listen()

    for port in taken.values():
        with pytest.raises(OSError, match="in use"):  # a stranger, or a connection that looks for a port to leave by
            bound(port, reuse=0)
        for _ in range(2):  # who was told of it, and once more after a restart
            bound(port, reuse=1)
    processes.ports.release()
    bound(taken["api"], reuse=0)


def test_a_killed_starter_leaves_what_the_next_one_ends(tmp_path):
    """kill -9 between the start of a process and its record, for real."""
    script = f"""
        import os, signal
        from pathlib import Path
        from holdfast.drivers import processes
        made = processes.Processes(Path({str(tmp_path)!r}))
        made.begin()
        made._write = lambda: os.kill(os.getpid(), signal.SIGKILL)
        made.start("one", {SLEEP!r})
    """
    done = subprocess.run([sys.executable, "-P", "-c", textwrap.dedent(script)], check=False)
    assert done.returncode == -signal.SIGKILL
    left = Processes(tmp_path)
    assert left.any()
    left.end()
    assert not left.any()


def test_its_own_files_are_for_its_owner_only(tmp_path):
    pki = Pki(tmp_path / "pki")
    certificate, key = pki.issue("server", "kube-apiserver", hosts=("kubernetes",))
    config = pki.kubeconfig(tmp_path / "kubeconfig", "https://127.0.0.1:1", certificate, key)
    for path in (*pki.folder.iterdir(), pki.service_accounts(), config):
        assert path.stat().st_mode & 0o077 == 0, path
    assert pki.folder.stat().st_mode & 0o077 == 0


def test_a_certificate_is_of_its_authority_and_its_hosts(tmp_path):
    pki = Pki(tmp_path / "pki")
    file, _ = pki.issue("server", "kube-apiserver", group="system:masters", hosts=("kubernetes",))
    made = x509.load_pem_x509_certificate(file.read_bytes())
    made.verify_directly_issued_by(x509.load_pem_x509_certificate((pki.folder / "ca.crt").read_bytes()))
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "kubernetes" in names.get_values_for_type(x509.DNSName)
    assert made.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)[0].value == "system:masters"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def listens(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


SLOWLY = """
import sys, time
for number in iter(int, 1):
    said = sys.stdin.buffer.read1(1 << 16)
    if not said:
        break
    sys.stdout.buffer.write(said)
    sys.stdout.buffer.flush()
    time.sleep(0.03)
"""


@pytest.fixture
def git_by_ssh(tmp_path, processes):
    """A repository with one commit, served; gives its URL, the user's key file, and how git is told of both."""
    host, user, port = Key.make(), Key.make(), free_port()
    bare, work = tmp_path / "repository.git", tmp_path / "work"
    run = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "init.defaultBranch=main"]
    subprocess.run([*run, "init", "-q", str(work)], check=True)
    (work / "file").write_text("content")
    (work / "large").write_bytes(random.Random(1).randbytes(8 << 20))
    subprocess.run([*run, "-C", str(work), "add", "."], check=True)
    subprocess.run([*run, "-C", str(work), "commit", "-q", "-m", "one"], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True)
    settings = {"port": port, "path": "/tree.git", "repository": str(bare), "user_key": user.public}
    (tmp_path / "host_key").write_text(host.private)
    (tmp_path / "host_key").chmod(0o600)
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    server = [sys.executable, "-P", "-m", "holdfast.drivers.gitssh", str(tmp_path / "settings.json")]
    processes.start("git", server, {"PYTHONPATH": str(ROOT)})
    limit = time.monotonic() + 60
    while not listens(port) and time.monotonic() < limit:
        time.sleep(0.05)
    slow = tmp_path / "slow.py"
    slow.write_text(SLOWLY)
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{port} {host.public}\n")

    def clone(key, path="/tree.git", to="clone", slowly=False):
        file = tmp_path / f"{to}.key"
        file.write_text(key.private)
        file.chmod(0o600)
        ssh = f"ssh -F none -i {file} -o IdentitiesOnly=yes -o BatchMode=yes -o UserKnownHostsFile={tmp_path / 'known_hosts'}"
        if slowly:
            ssh = f"sh -c '{ssh} \"$@\" | {sys.executable} -I {slow}' -"
        return subprocess.run(
            ["git", "clone", "-q", f"ssh://git@127.0.0.1:{port}{path}", str(tmp_path / to)],
            env={**os.environ, "GIT_SSH_COMMAND": ssh},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return clone, user, Key


@pytest.mark.skipif(not __import__("shutil").which("ssh"), reason="there is no ssh to try it with")
def test_git_is_served_by_ssh_to_the_one_key(git_by_ssh, tmp_path):
    clone, user, make = git_by_ssh
    done = clone(user)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "clone" / "file").read_text() == "content"
    wrong = clone(make.make(), to="wrong")
    assert wrong.returncode != 0
    assert "Permission denied" in wrong.stderr
    other = clone(user, path="/etc", to="other")
    assert other.returncode != 0
    assert "there is no repository" in other.stderr


@pytest.mark.skipif(not __import__("shutil").which("ssh"), reason="there is no ssh to try it with")
def test_whoever_reads_slowly_gets_all_of_a_large_repository(git_by_ssh, tmp_path):
    clone, user, _ = git_by_ssh
    done = clone(user, slowly=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "clone" / "large").stat().st_size == 8 << 20


def test_a_process_whose_first_thread_has_ended_is_still_there(tmp_path):
    """The kernel calls it a zombie, and its sockets are open: what was stopped so seemed to answer."""
    script = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "print('up', flush=True)\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    child = subprocess.Popen([sys.executable, "-I", "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "up\n"
        limit = time.monotonic() + 10
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < limit
            time.sleep(0.01)
        assert ticks(child.pid) is not None
        child.kill()
        while ticks(child.pid) is not None:
            assert time.monotonic() < limit
            time.sleep(0.01)
    finally:
        child.kill()
        child.wait(10)
