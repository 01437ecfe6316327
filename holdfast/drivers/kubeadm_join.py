"""A node of kubeadm's that leaves its cluster, and one that joins it: as kubeadm's own guide has it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any

import yaml

from holdfast.drivers.driver import DriverError
from holdfast.drivers.nodeshell import run_or_raise

_KUBECTL = "kubectl --kubeconfig /etc/kubernetes/admin.conf"
_FOLDER = (
    "/var/lib/holdfast/join"  # for its owner only: the file in it holds the token, which no list of processes must show
)
_CREDENTIALS = "/etc/kubernetes/kubelet.conf"
# The checks are about a machine's own kernel, which a node that is a container hasn't got for itself.
_ANYHOW = "--ignore-preflight-errors=all"
_PATIENCE_S = 120


def leave(server: Any, shell: Any, node: str) -> None:
    """Takes a node out of its cluster: what it ran ends, what it knew of the cluster goes, and so does its name there.

    Images and what lies in folders of the host stay on it. Raises DriverError with the words of whatever failed.
    """
    run_or_raise(shell, f"kubeadm reset --force --cleanup-tmp-dir {_ANYHOW}")
    run_or_raise(server, f"{_KUBECTL} delete node {shlex.quote(node)} --ignore-not-found --timeout={_PATIENCE_S}s")


def join(server: Any, shell: Any, registration: str, write: Callable[[str, dict[str, str]], None]) -> None:
    """Has a node join with a token made for it alone.

    Args:
        registration: the kubeadm configuration that it joined by the first time (YAML).
        write: puts text files into a folder of the node: a command with the token in it would be seen by whoever lists processes.

    Raises DriverError with kubeadm's own words.
    """
    said = run_or_raise(server, "kubeadm token create --ttl 10m --print-join-command")
    token, digest = _word(said, "--token"), _word(said, "--discovery-token-ca-cert-hash")
    try:
        run_or_raise(shell, f"mkdir -p {_FOLDER} && chmod 700 {_FOLDER}")
        write(_FOLDER, {"join.yaml": join_config(registration, token, digest)})
        run_or_raise(shell, f"kubeadm join --config {_FOLDER}/join.yaml {_ANYHOW} --v=1")
    finally:
        shell.run(f"rm -rf {_FOLDER}")
        server.run(f"kubeadm token delete {shlex.quote(token.partition('.')[0])}")  # by its id, which opens nothing


def is_member(server: Any, shell: Any, node: str) -> bool:
    """Whether the cluster knows the node and the node the cluster. Raises DriverError where the cluster doesn't say."""
    known = run_or_raise(server, f"{_KUBECTL} get node {shlex.quote(node)} --ignore-not-found -o name")
    return bool(known.strip()) and shell.run(f"test -s {_CREDENTIALS}").rc == 0


def join_config(registration: str, token: str, digest: str) -> str:
    """A node's own configuration of joining, with this token, and the digest of the authority that it must meet."""
    documents = [d for d in yaml.safe_load_all(registration) if d and d.get("kind") == "JoinConfiguration"]
    if not documents:
        raise DriverError("the node has no JoinConfiguration: it isn't one that joined")
    wanted = documents[0]
    endpoint = wanted["discovery"]["bootstrapToken"]["apiServerEndpoint"]
    wanted["discovery"] = {
        "bootstrapToken": {"apiServerEndpoint": endpoint, "token": token, "caCertHashes": [digest]},
        "tlsBootstrapToken": token,
    }
    return yaml.safe_dump(wanted, sort_keys=False)


def _word(said: str, option: str) -> str:
    found = re.search(rf"{option}\s+(\S+)", said)
    if not found:
        raise DriverError(f"kubeadm's own command of joining has no {option}")
    return found[1]
