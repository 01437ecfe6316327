"""Kubernetes on nodes that kubeadm set up, taken to another version in place: as kubeadm's own guide has it, the server first."""

from __future__ import annotations

import shlex
from typing import Any

from holdfast.drivers.driver import DriverError

PROGRAMS = "/opt/holdfast/kubernetes"  # on the node: a folder a version, with the program that answers to each name
_KUBE = "/usr/bin/kube"  # what kubelet, kubeadm and kubectl of our node image are


def program(version: str) -> str:
    """Where a version's program lies on a node."""
    return f"{PROGRAMS}/{version}/kube"


def upgrade(shell: Any, role: str, version: str) -> None:
    """Takes a node to a version whose program and images are there: the control plane on the server, and on each node its kubelet.

    Raises DriverError with kubeadm's own words.
    """
    folder = f"{PROGRAMS}/{version}"
    _run(shell, f"ln -sf kube {folder}/kubeadm")
    # The checks are about a machine's own kernel and about images that could be fetched: here neither is as in production.
    words = ["--ignore-preflight-errors=all", "--v=1"]
    what = ["apply", f"v{version}", "--yes", "--force"] if role == "server" else ["node"]
    _run(shell, shlex.join([f"{folder}/kubeadm", "upgrade", *what, *words]))
    _run(shell, f"cp {folder}/kube {_KUBE}.new && mv -f {_KUBE}.new {_KUBE} && systemctl restart kubelet")


def _run(shell: Any, command: str) -> None:
    done = shell.run(command)
    if done.rc:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()][-4:]
        raise DriverError(f"{command.split(maxsplit=1)[0]}: {' / '.join(said)[-500:]}")
