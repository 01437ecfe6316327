"""Kubernetes on nodes that kubeadm set up, taken to another version in place: as kubeadm's own guide has it, the server first."""

from __future__ import annotations

import shlex
from typing import Any

from holdfast.drivers.nodeshell import run_or_raise

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
    run_or_raise(shell, f"ln -sf kube {folder}/kubeadm")
    # The checks are about a machine's own kernel and about images that could be fetched: here neither is as in production.
    words = ["--ignore-preflight-errors=all", "--v=1"]
    what = ["apply", f"v{version}", "--yes", "--force"] if role == "server" else ["node"]
    run_or_raise(shell, shlex.join([f"{folder}/kubeadm", "upgrade", *what, *words]))
    run_or_raise(shell, f"cp {folder}/kube {_KUBE}.new && mv -f {_KUBE}.new {_KUBE} && systemctl restart kubelet")
