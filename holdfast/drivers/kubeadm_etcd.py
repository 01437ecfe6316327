"""etcd on a node that kubeadm set up: saved, lost, and restored from what was saved."""

from __future__ import annotations

import re
import shlex
import time
from typing import Any

from holdfast.drivers.driver import DriverError
from holdfast.drivers.etcd import SAME, restore_words
from holdfast.drivers.nodeshell import run_or_raise

TOOLS = "/usr/local/lib/holdfast"  # on the node: etcdctl and etcdutl
_MANIFESTS, _ASIDE = "/etc/kubernetes/manifests", "/etc/kubernetes/holdfast-aside"
_DATA, _KEYS = "/var/lib/etcd", "/etc/kubernetes/pki/etcd"
_PARTS = ("etcd", "kube-apiserver")
_ENDS_WITHIN_S = 90.0
_SURELY_GONE = 5  # looks, a second apart


def save(shell: Any, file: str) -> None:
    """Saves what etcd holds into a file of the node."""
    client = f"--cacert={_KEYS}/ca.crt --cert={_KEYS}/server.crt --key={_KEYS}/server.key"
    run_or_raise(
        shell, f"{TOOLS}/etcdctl --endpoints=https://127.0.0.1:2379 {client} snapshot save {shlex.quote(file)}"
    )


def lose(shell: Any) -> None:
    """Stops the API server and etcd, and destroys what etcd holds. Nothing is asked of the API: this may be done twice."""
    moves = "; ".join(f"[ ! -e {_MANIFESTS}/{p}.yaml ] || mv {_MANIFESTS}/{p}.yaml {_ASIDE}/" for p in _PARTS)
    run_or_raise(shell, f"mkdir -p {_ASIDE}; {moves}")
    limit = time.monotonic() + _ENDS_WITHIN_S
    gone = 0  # kubelet may start one again until it has seen that its manifest is gone
    while gone < _SURELY_GONE:
        gone = (
            0
            if shell.run("pkill -KILL -x etcd; pkill -KILL -x kube-apiserver; pgrep -x 'etcd|kube-apiserver'").rc == 0
            else gone + 1
        )
        if time.monotonic() > limit:
            raise DriverError(f"etcd and the API server still run after {_ENDS_WITHIN_S:g}s")
        time.sleep(1)
    run_or_raise(shell, f"rm -rf {_DATA}/member")


def restore(shell: Any, file: str) -> None:
    """Puts back what a file holds, and lets etcd and the API server start. Where both were never stopped, nothing is done."""
    if run_or_raise(shell, f"[ -e {_ASIDE}/etcd.yaml ] && echo stopped || true").strip() != "stopped":
        return
    lose(shell)  # also where a run died between the two moves
    manifest = run_or_raise(shell, f"cat {_ASIDE}/etcd.yaml")
    given = dict(re.findall(rf"--({'|'.join(SAME)})=(\S+)", manifest))
    run_or_raise(shell, f"rm -rf {_DATA}")
    run_or_raise(shell, shlex.join([f"{TOOLS}/etcdutl", *restore_words(file, _DATA, given)]))
    run_or_raise(shell, "; ".join(f"mv {_ASIDE}/{p}.yaml {_MANIFESTS}/" for p in _PARTS))
