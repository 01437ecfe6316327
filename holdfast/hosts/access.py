"""Who gets in, and what of the cluster's own lies open: SSH, the version of k3s, the token."""

from __future__ import annotations

import re

from holdfast.hosts.machine import Machine
from holdfast.hosts.requirement import Seen, Wanted, bad, good, not_asked, requirement, unseen

_VERSION = re.compile(r"v\d+\.\d+\.\d+(?:-[\w.]+)?\+k3s\d+")


@requirement(
    "ssh",
    fix="PasswordAuthentication no and KbdInteractiveAuthentication no in /etc/ssh/sshd_config.d/, then systemctl reload ssh",
)
def ssh(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """Keys only."""
    if not machine.has("sshd"):
        return unseen("no sshd: whether another server lets somebody in isn't known")
    said = dict(line.split(None, 1) for line in machine.says("sshd -T").splitlines() if " " in line)
    if not said:
        return unseen("sshd doesn't say its settings")
    for key in ("passwordauthentication", "kbdinteractiveauthentication"):
        if said.get(key) == "yes":
            return bad(f"a password is enough: {key}")
    return (
        bad("root gets in with a password")
        if said.get("permitrootlogin") == "yes" and said.get("passwordauthentication") != "no"
        else good("keys only")
    )


@requirement("version", fix="install the server's own version: INSTALL_K3S_VERSION=…")
def version(machine: Machine, wanted: Wanted) -> Seen:
    """k3s of the server's version, where it is there already."""
    own = _VERSION.search(machine.says("k3s --version"))
    if wanted.server is None:
        return not_asked("--server root@k3s1")
    theirs = _VERSION.search(wanted.server.says("k3s --version"))
    if theirs is None:
        return unseen(f"{wanted.server.name} doesn't say which k3s it runs")
    if own is None and machine.has("k3s"):
        return unseen("k3s is there, and doesn't say its version")
    if own is None:
        return good(f"k3s isn't there yet; {wanted.server.name} runs {theirs[0]}")
    return good(own[0]) if own[0] == theirs[0] else bad(f"{own[0]}, and {wanted.server.name} runs {theirs[0]}")


@requirement("token", fix="give it as token-file in /etc/rancher/k3s/config.yaml, a file that only root reads")
def token(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """The cluster's token is in no process list, and in no file that everybody reads."""
    if not machine.says("ps -eo args"):
        return unseen("ps says nothing: what processes show isn't known")
    shown = machine.run("ps -eo args | grep -E '[k]3s.* (--token|-t)[= ]|[K]3S_TOKEN='")
    if shown.code == 0:
        return bad("the token stands in the process list")
    open_files = machine.says(
        'find "$R"/etc/rancher "$R"/etc/systemd/system "$R"/var/lib/rancher/k3s/server -maxdepth 3 -type f -perm /004 -print0 2>/dev/null '
        "| xargs -0 -r grep -lsE 'K3S_TOKEN=|^ *.?token.?:|K10[0-9a-f]{64}' 2>/dev/null"
    )
    return (
        bad(f"everybody on it can read the token in {open_files.splitlines()[0]}")
        if open_files
        else good("the token isn't shown")
    )
