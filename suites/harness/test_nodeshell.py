"""The shell on a node that stays: what it says is what a shell of its own would have said, and its end is never taken for an answer."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from testinfra.host import Host

from holdfast.drivers.nodeshell import Lost, NodeShellBackend

SHELL = ["/bin/sh"]


@pytest.fixture
def host(tmp_path):
    found = Host(NodeShellBackend("k3s1", lambda: SHELL, folder=str(tmp_path)))
    yield found
    found.backend.close()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    found = Host(NodeShellBackend("k3s1", lambda: SHELL, folder=str(tmp_path_factory.mktemp("run"))))
    yield found
    found.backend.close()


_SIMPLE = ["echo one", "printf two", "echo three >&2", "cat", "false", "true", "absent-command", "exit 4", "echo ü"]
_ODD = [
    "printf 'a\\0b'",
    "(exit 9)",
    "echo 'it'\"'\"'s'",
    "echo 'two\nlines'",
    "head -c 200000 /dev/zero",
    "cd /",
    "set -e",
]
PARTS = st.sampled_from([*_SIMPLE, *_ODD])


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(PARTS, min_size=1, max_size=4), by=st.sampled_from(["; ", "\n", " && ", " || "]))
def test_a_command_says_what_it_says_in_a_shell_of_its_own(kept, parts, by):
    command = by.join(parts)
    alone = subprocess.run(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    done = kept.run(command)
    assert (done.rc, done.stdout_bytes) == (alone.returncode, alone.stdout)
    assert done.stderr_bytes == alone.stderr


def test_many_commands_take_one_shell(tmp_path):
    begun = []
    host = Host(NodeShellBackend("k3s1", lambda: begun.append(1) or SHELL, folder=str(tmp_path)))
    assert [host.check_output("echo %s", n) for n in "abc"] == list("abc")
    assert begun == [1]
    host.backend.close()
    assert host.check_output("echo again") == "again"
    assert begun == [1, 1]
    host.backend.close()
    assert not list(tmp_path.iterdir()), "what it kept is gone with it"


def test_commands_of_several_threads_do_not_mix(host):
    said = {}

    def ask(name):
        said[name] = [host.check_output("echo %s; echo %s", name, name) for _ in range(20)]

    threads = [threading.Thread(target=ask, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {name: [f"{name}\n{name}"] * 20 for name in "abcd"}


def test_a_command_that_is_lost_with_its_shell_is_not_sent_twice(host, tmp_path):
    host.run("true")
    done = host.run("echo x >> %s; kill -9 %s; sleep 0.2", str(tmp_path / "done"), str(shell_of(host)))
    assert (done.rc, done.stdout) == (137, "")
    assert "ended" in done.stderr
    assert host.check_output("cat %s", str(tmp_path / "done")) == "x"


def test_a_shell_that_ended_meanwhile_is_begun_again(host):
    host.run("true")
    os.kill(shell_of(host), signal.SIGKILL)
    limit = time.monotonic() + 60
    while host.backend._session.alive:
        assert time.monotonic() < limit
        time.sleep(0.01)
    assert host.check_output("echo here") == "here"


def test_a_command_that_takes_too_long_is_given_up(tmp_path):
    """It is ended on the node, so that it does nothing beside what comes next."""
    host = Host(NodeShellBackend("k3s1", lambda: SHELL, folder=str(tmp_path), limit_s=2))
    done = host.run("echo $$ > %s; sleep 60", str(tmp_path / "pid"))
    assert done.rc == 124
    assert not _runs(int((tmp_path / "pid").read_text()))
    assert host.check_output("echo here") == "here"
    host.backend.close()


def test_a_shell_that_does_not_end_a_command_is_given_up_itself(tmp_path, monkeypatch):
    monkeypatch.setattr("holdfast.drivers.nodeshell._ENDS_WITHIN_S", 0.2)
    host = Host(NodeShellBackend("k3s1", lambda: SHELL, folder=str(tmp_path), limit_s=2))
    host.run("true")
    os.kill(shell_of(host), signal.SIGSTOP)
    done = host.run("echo late")
    assert (done.rc, done.stdout, done.stderr) == (124, "", "given up after 2s")
    assert host.check_output("echo here") == "here"
    host.backend.close()


def test_what_interrupts_a_command_takes_its_answer_with_it(host):
    """Ctrl-C in the middle of a command: what heals next must not be given the answer of what was interrupted."""

    def interrupted(*_):
        raise KeyboardInterrupt

    host.run("true")
    before = signal.signal(signal.SIGALRM, interrupted)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            host.run("sleep 1; echo of the first; exit 7")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    done = host.run("echo of the second")
    assert (done.rc, done.stdout) == (0, "of the second\n")


def test_what_a_command_left_running_writes_into_no_other_answer(host):
    host.run("(sleep 0.3; echo late; sleep 0.3; echo later) &")
    assert [host.check_output("sleep 0.2; echo %s", n) for n in "abcd"] == list("abcd")


def shell_of(host):
    return host.backend._session._process.pid


def test_why_a_shell_cannot_begin_is_said(tmp_path):
    def off():
        raise Lost("k3s2 is off")

    for begin, why in (
        (off, "k3s2 is off"),
        (lambda: ["/bin/sh", "-c", "echo there is no such container >&2; exit 1"], "there is no such container"),
        (lambda: ["/bin/sh", "-c", "echo something else; cat >/dev/null"], "doesn't begin"),
    ):
        done = Host(NodeShellBackend("k3s2", begin, folder=str(tmp_path))).run("true")
        assert done.rc == 137, why
        assert why in done.stderr


def test_a_disk_that_takes_nothing_is_no_answer(tmp_path):
    host = Host(NodeShellBackend("k3s1", lambda: SHELL, folder=str(tmp_path)))
    host.run("true")
    for kept in tmp_path.iterdir():
        for file in kept.iterdir():
            file.unlink()
        kept.rmdir()
    done = host.run("echo here")
    assert (done.rc, done.stdout) == (137, "")
    assert "can't keep" in done.stderr
    host.backend.close()


def test_it_ends_with_whoever_began_it(tmp_path):
    script = f"""
import os
from testinfra.host import Host
from holdfast.drivers.nodeshell import NodeShellBackend
host = Host(NodeShellBackend("k3s1", lambda: ["/bin/sh"], folder={str(tmp_path)!r}))
host.run("true")
print(host.backend._session._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    shell, limit = int(done.stdout), time.monotonic() + 60
    while _runs(shell):
        assert time.monotonic() < limit, "the shell outlived it"
        time.sleep(0.02)
    assert not list(tmp_path.iterdir())


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False
