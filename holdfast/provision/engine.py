"""The container engine: found, or installed where the user said so, and started."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import docker
from docker.errors import DockerException

from holdfast.errors import UsageError
from holdfast.paths import cache_dir
from holdfast.progress import step
from holdfast.provision.packages import apt_install

CAP_SYS_RESOURCE = 24
_SOCKET = Path("/var/run/docker.sock")


def client(timeout_s: int = 120) -> docker.DockerClient:
    """Returns a client of the local engine; raises UsageError where none answers."""
    try:
        engine = docker.from_env(timeout=timeout_s)
        engine.ping()
    except DockerException as error:
        raise UsageError(
            f"the container engine doesn't answer ({_first_line(error)})", "start it, or run: make verify"
        ) from None
    return engine


def answers() -> bool:
    """Whether a container engine answers."""
    try:
        client(timeout_s=10).close()
    except UsageError:
        return False
    return True


def bounding_set_lacks(capability: int, status: str | None = None) -> bool:
    """Whether the machine can't grant *capability* (a bit of CapBnd in /proc/self/status, capabilities(7))."""
    status = Path("/proc/self/status").read_text() if status is None else status
    bits = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd:"))
    return not bits >> capability & 1


def kubernetes_runs_here(proc: Path = Path("/proc")) -> str:
    """The name of a kubelet or k3s process on this machine that isn't inside a container of ours, or an empty string.

    A machine that serves a cluster is nobody's test bench: nothing is installed on it.
    """
    own_namespace = Path("/proc/self/ns/pid").readlink()
    for entry in proc.glob("[0-9]*"):
        try:
            name = (entry / "comm").read_text().strip()
            if name in ("kubelet", "k3s", "k3s-server", "k3s-agent") and (entry / "ns/pid").readlink() == own_namespace:
                return name
        except OSError:
            continue
    return ""


def _first_line(error: object) -> str:
    return str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__


def _may_install() -> bool:
    if os.environ.get("HOLDFAST_INSTALL_ENGINE") == "1":
        return True
    if not sys.stdin.isatty():
        return False
    answer = input("No container engine answers. Install Debian's docker.io on this machine? [y/N] ")
    return answer.strip().lower() in ("y", "yes")


def _install() -> None:
    serving = kubernetes_runs_here()
    if serving:
        raise UsageError(
            f"this machine runs {serving}; holdfast installs nothing on a machine that serves a cluster",
            "run holdfast on another machine",
        )
    if os.geteuid() != 0:
        raise UsageError(
            "no container engine answers, and only root can install one",
            "run as root, or start an engine that you may use (DOCKER_HOST is honoured)",
        )
    if not shutil.which("apt-get"):
        raise UsageError(
            "no container engine answers, and holdfast can install one on Debian only", "install Docker, then run again"
        )
    if not _may_install():
        raise UsageError(
            "no container engine answers", "set HOLDFAST_INSTALL_ENGINE=1 to have Debian's docker.io installed"
        )
    apt_install("docker.io", "iptables")


_CONTAINERS = Path("/sys/fs/cgroup/cpu/docker")


def _weigh() -> None:
    """Gives all containers together four times the weight of one process of the host.

    Without an init system that groups them (and with cgroup v1), each thread of the host weighs as much as all containers: when both are busy
    the cluster gets little of the machine, and what stands still for that looks like an outage. (With ten times the weight, the sampler on
    the host had gaps instead.)
    """
    with suppress(OSError):
        if not _CONTAINERS.parent.joinpath("cpu.shares").exists():
            return
        _CONTAINERS.mkdir(exist_ok=True)
        (_CONTAINERS / "cpu.shares").write_text("4096")


def _start() -> None:
    """Starts dockerd in a session of its own, so that it outlives this command."""
    folder = cache_dir() / "engine"
    folder.mkdir(exist_ok=True)
    command = ["dockerd", "--log-level=warn"]
    if bounding_set_lacks(CAP_SYS_RESOURCE):
        wrapper = folder / "capless-runc"
        wrapper.write_text((Path(__file__).parent / "capless_runc.py").read_text())
        wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        command += ["--add-runtime", f"capless-runc={wrapper}", "--default-runtime", "capless-runc"]
    log = folder / "dockerd.log"
    with step("starting the container engine"), log.open("ab") as out:
        pid_file = Path("/var/run/docker.pid")  # of a daemon that died with its machine or session
        if pid_file.exists() and not Path(f"/proc/{pid_file.read_text().strip()}").exists():
            pid_file.unlink()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        limit = time.monotonic() + 60
        while not answers():
            if process.poll() is not None or time.monotonic() > limit:
                words = log.read_text(errors="replace").strip().splitlines()
                raise UsageError(
                    f"dockerd doesn't start: {words[-1] if words else 'no word in its log'}", f"read {log}"
                )
            time.sleep(0.2)
    _weigh()
    # What forwards published ports runs in the daemon's session, and so in its scheduling group: it is in the way of every look from the host.
    with suppress(OSError):
        Path(f"/proc/{process.pid}/autogroup").write_text("-10")


def ensure() -> None:
    """Makes sure that a container engine answers: uses the one that runs, else starts it, else installs it if told to."""
    if answers():
        return
    if os.environ.get("DOCKER_HOST"):
        raise UsageError(
            f"the engine at DOCKER_HOST={os.environ['DOCKER_HOST']} doesn't answer", "start it, or unset DOCKER_HOST"
        )
    if not shutil.which("dockerd"):
        _install()
    if os.geteuid() != 0:
        raise UsageError("the container engine isn't running, and only root can start it", "start it, or run as root")
    if not answers():  # Debian's package starts it where there is an init system
        _start()
