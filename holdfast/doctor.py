"""`holdfast doctor`: what this machine has that a lane needs, and whether the lane can run here. No cluster or program is made or started."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator

from rich.table import Table

import holdfast
from holdfast.drivers import catalogue
from holdfast.drivers.driver import PodRuntime, lacks
from holdfast.errors import UsageError
from holdfast.lane.lane import Lane
from holdfast.lane.reference import REFERENCE
from holdfast.lane.subject import Subject
from holdfast.options import LaneName
from holdfast.paths import cache_dir
from holdfast.progress import console
from holdfast.provision import engine, registry

# Of each program the words that make it say its version; git is needed, the others are built or fetched where they are missing (k3d isn't).
_PROGRAMS = {
    "git": ["--version"],
    "kind": ["version"],
    "k3d": ["version"],
    "kubectl": ["version", "--client"],
    "flux": ["--version"],
    "go": ["version"],
    "helm": ["version", "--short"],
}
_NONE = "none"


def doctor(lane: LaneName = catalogue.KEPT) -> None:
    """Says what this machine has that a lane needs, and whether the lane can run here: what to read first, and to send with a report.

    No cluster, container or program is made, started or installed. Exit: 0 it can run · 64 it can't, with the reason and the next step.
    """
    catalogue.parse(lane)
    if catalogue.is_named_by_user(lane):
        raise UsageError(
            f"{lane} is a cluster of your own, and no machine", f"look at it: holdfast verify --lane {lane}"
        )
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts():
        table.add_row(name, value)
    console.print(table)
    on = Lane(lane, Subject(REFERENCE))
    for note in on.driver.notes():
        console.print(f"  - {note.text}", markup=False)
    if lacks(on.driver, PodRuntime):  # processes: no engine is asked
        words = "nothing speaks against it, and whether its programs can be fetched or built is seen when they are"
        console.print(f"{on.name}: {words}: holdfast verify --lane {on.name}", markup=False)
        return
    if not engine.answers():
        raise UsageError(
            f"{on.name} can't run: no container engine answers",
            "start it; or let holdfast start or install it (HOLDFAST_INSTALL_ENGINE=1): holdfast up --lane " + on.name,
        )
    on.driver.ensure_host()  # with an engine that answers it only looks
    on.driver.preflight()
    for stray in on.driver.strays():
        console.print(f"  {stray.name} is called like this lane's, and not made by it", style="yellow", markup=False)
    console.print(f"{on.name} can run here: holdfast verify --lane {on.name}", markup=False)


def facts() -> Iterator[tuple[str, str]]:
    """What is known of this machine: (name, value). No name of its user or host is among it, so that it can be sent to anybody."""
    yield "holdfast", f"{holdfast.__version__}, Python {platform.python_version()}"
    yield "system", f"{_distribution()}, {platform.system()} {platform.release()}, {platform.machine()}"
    memory, disk = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), shutil.disk_usage(cache_dir())
    yield (
        "machine",
        f"{os.cpu_count()} cores, {memory / 2**30:.0f} GiB memory, {disk.free / 1e9:.0f} GB of disk free",
    )
    yield "rights", "root" if os.geteuid() == 0 else "a user's"
    yield "a Kubernetes of its own", engine.kubernetes_runs_here() or _NONE
    yield from _engine()
    for name, words in _PROGRAMS.items():
        yield name, _version(name, words)


def _engine() -> Iterator[tuple[str, str]]:
    if not engine.answers():
        yield "container engine", "none answers"
        return
    client = engine.client()
    known = client.info()
    yield (
        "container engine",
        f"{client.version()['Version']}, cgroup v{known.get('CgroupVersion', '?')}, {known.get('Driver', '?')}",
    )
    try:
        answer = "none answers: the lanes run the offline images" if registry.offline() else "answers"
    except UsageError as why:
        answer = str(why)
    yield "image registry", answer


def _version(name: str, words: list[str]) -> str:
    found = shutil.which(name)
    if not found:
        return _NONE
    try:
        done = subprocess.run([found, *words], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as why:
        return f"is there, and says nothing: {type(why).__name__}"
    out, err = (part.decode(errors="replace") for part in (done.stdout, done.stderr))
    first = re.search(r"v?\d+\.\d+(?:\.\d+)?\S*", out)
    return first[0] if first else next(iter((out + err).strip().splitlines()), "?")


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "?")
    except OSError:
        return "?"
