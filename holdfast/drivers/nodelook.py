"""Looks at a node of a cluster that matters, by its owner's SSH: two commands that only read, beside the machine's id, and no other."""

from __future__ import annotations

import subprocess
from typing import Literal

from holdfast.waiting import CannotLook

What = Literal["sockets", "mounts"]
_COMMANDS: dict[What, str] = {
    "sockets": "ss -Hltn",
    "mounts": "findmnt -rno TARGET,SOURCE,FSTYPE",
}
# Nobody is asked for a password, no unknown key is taken, and who doesn't answer any more isn't waited for.
SSH = "-o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3"
# Whatever the owner's own configuration says for a person is off.
_BARE = "-T -a -x -o ClearAllForwardings=yes -o RemoteCommand=none -o ControlMaster=no -o PermitLocalCommand=no"
_WHO = "cat /etc/machine-id"
_WITHIN_S = 30.0


def look(target: str, what: What, machine: str, within_s: float = _WITHIN_S) -> str:
    """What a machine says: ``sockets``, a TCP socket that listens a line, its local address in the fourth column; ``mounts``, one a line: where,
    what, its file system. Raises CannotLook where it isn't reached, is another one, or doesn't say it.

    Args:
        target: as for ``ssh``, such as ``root@k3s2``.
        machine: the id of the machine that is meant, as the cluster knows it.
    """
    command = [
        "ssh",
        *SSH.split(),
        *_BARE.split(),
        "--",
        target,
        f"{_WHO} && PATH=$PATH:/usr/sbin:/sbin {_COMMANDS[what]}",
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=within_s, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as why:
        raise CannotLook(f"{target} isn't reached by SSH: {why}") from None
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["no words"])[-1][-200:]
        raise CannotLook(f"{target} isn't reached by SSH, or doesn't say its {what}: {words}")
    who, _, said = done.stdout.partition("\n")
    if who.strip() != machine:
        raise CannotLook(f"{target} isn't the machine that the cluster means: its machine-id is another one")
    return said
