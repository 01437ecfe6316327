"""A machine that is asked something: by SSH, in a container, or the one that holdfast runs on."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

import testinfra

from holdfast.drivers.nodelook import SSH
from holdfast.errors import UsageError
from holdfast.waiting import CannotLook

_WORDS = 200
_PATH = "PATH=$PATH:/usr/sbin:/sbin:/usr/local/bin; export PATH; "  # also what only root's path has
_LOCAL = "local"
_CONTAINER = "docker:"


@dataclass(frozen=True)
class Answer:
    """What a command came to."""

    code: int
    out: str
    err: str


class Machine:
    """A machine, and the commands that are run on it.

    Args:
        name: as the user named it.
        host: a pytest-testinfra host.
        before: shell that comes before every command; tests lay another root and other programs under it by that.
    """

    def __init__(self, name: str, host: Any, before: str = _PATH) -> None:
        self.name, self._host, self._before = name, host, before

    def run(self, command: str) -> Answer:
        """Runs a shell command. Raises CannotLook where the machine isn't reached."""
        try:
            done = self._host.run(f"{self._before}{command}")
        except (RuntimeError, OSError, ValueError) as why:
            raise CannotLook(f"{self.name} isn't reached: {_last(why)}") from None
        return Answer(int(done.rc), str(done.stdout).strip(), str(done.stderr).strip())

    def says(self, command: str) -> str:
        """What a command prints; empty where it fails."""
        answer = self.run(command)
        return answer.out if answer.code == 0 else ""

    def text(self, path: str) -> str:
        """A file's text; empty where there is none."""
        return self.says(f'cat "$R"{shlex.quote(path)} 2>/dev/null')

    def has(self, program: str) -> bool:
        """Whether a program is there."""
        return self.run(f"command -v {shlex.quote(program)}").code == 0

    def runs(self, process: str) -> bool:
        """Whether a process of this name runs: one that has ended, and that nobody has asked for, doesn't."""
        said = self.says("ps -eo stat=,comm=")
        if not said:
            raise CannotLook("ps says nothing: what runs there isn't known")
        states = [line.split(None, 1) for line in said.splitlines()]
        return any(parts[-1] == process and not parts[0].startswith("Z") for parts in states)


def _last(why: Exception) -> str:
    """The last words of an error of testinfra's, which holds all that a command said."""
    said = next((str(a.stderr) for a in why.args if hasattr(a, "stderr")), str(why))
    return (said.strip().splitlines() or ["no words"])[-1][-_WORDS:]


def reached(target: str, *, sudo: bool = False) -> Machine:
    """The machine of a target: ``root@k3s2`` (by SSH), ``docker:NAME``, or ``local``. Raises UsageError where it isn't reached, or not as root."""
    address = (
        "local://"
        if target == _LOCAL
        else f"docker://{target.removeprefix(_CONTAINER)}"
        if target.startswith(_CONTAINER)
        else f"ssh://{target}"
    )
    more = {"ssh_extra_args": SSH} if address.startswith("ssh:") else {}
    machine = Machine(target, testinfra.get_host(address, sudo=sudo, **more))
    try:
        who = machine.run("id -u")
    except CannotLook as why:
        raise UsageError(str(why), f"see that this works without a question: {_by_hand(target)}") from None
    if who.code:
        raise UsageError(
            f"{target} can't be asked: {who.err.splitlines()[-1] if who.err else 'its shell said nothing'}",
            f"see that this works without a question: {_by_hand(target)}",
        )
    if who.out != "0":
        raise UsageError(
            f"on {target} holdfast isn't root, and half of it can't be seen so",
            "name another user (root@HOST), or add --sudo where that asks for no password",
        )
    return machine


def _by_hand(target: str) -> str:
    if target == _LOCAL:
        return "sh -c id"
    if target.startswith(_CONTAINER):
        return f"docker exec {target.removeprefix(_CONTAINER)} id"
    return f"ssh {target} id"
