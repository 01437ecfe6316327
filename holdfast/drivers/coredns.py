"""kubeadm's CoreDNS, made as k3s has it, and pointed at the lane's Git server."""

from __future__ import annotations

import time

from holdfast.errors import UsageError
from holdfast.kube import KubeClient, Object

_NAMESPACE, _LABEL = "kube-system", "k8s-app=kube-dns"


def corefile(text: str, address: str, hosts: tuple[str, ...]) -> str:
    """CoreDNS's configuration with *hosts* at *address* (put in once, and replaced afterwards)."""
    lines = [line for line in text.splitlines() if "# holdfast" not in line]
    entries = [f"       {address} {host} # holdfast" for host in hosts]
    block = ["    hosts { # holdfast", *entries, "       fallthrough # holdfast", "    } # holdfast"]
    at = next(i for i, line in enumerate(lines) if line.strip().startswith("kubernetes "))
    return "\n".join([*lines[:at], *block, *lines[at:]]) + "\n"


def configure(client: KubeClient, address: str, hosts: tuple[str, ...], workers: list[str]) -> None:
    """One replica, on the server, where k3s's started before any worker joined; *hosts* resolve to *address*."""
    config = client.get("ConfigMap", "coredns", _NAMESPACE)
    assert config, "kubeadm makes CoreDNS's ConfigMap"
    text = corefile(config["data"]["Corefile"], address, hosts)
    client.patch("ConfigMap", "coredns", _NAMESPACE, {"data": {"Corefile": text}})
    client.scale("Deployment", "coredns", _NAMESPACE, 1)
    try:
        for worker in workers:
            client.patch("Node", worker, None, {"spec": {"unschedulable": True}})
        old = {p["metadata"]["name"] for p in _pods(client)}
        for pod in old:  # its own reload takes up to 45 s
            client.delete("Pod", pod, _NAMESPACE, grace_s=1)
        _scheduled(client, old)
    finally:
        for worker in workers:
            client.patch("Node", worker, None, {"spec": {"unschedulable": None}})


def _pods(client: KubeClient) -> list[Object]:
    return client.list("Pod", _NAMESPACE, labels=_LABEL)


def _scheduled(client: KubeClient, old: set[str], within_s: float = 60) -> None:
    limit = time.monotonic() + within_s
    while not any(p["spec"].get("nodeName") and p["metadata"]["name"] not in old for p in _pods(client)):
        if time.monotonic() > limit:
            raise UsageError(f"CoreDNS isn't scheduled after {within_s:g}s", "run: holdfast down, then run again")
        time.sleep(0.2)
