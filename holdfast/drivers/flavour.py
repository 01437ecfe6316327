"""What differs between the nodes of one distribution and of another: where things are, and by which command they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class NodeFlavour:
    """A kind of node.

    Attributes:
        own_ports: TCP ports that a node listens on by itself, at other addresses than loopback, by role.
        listening: prints one listening TCP socket a line, its local address in the fourth column.
        containers: prints one container a line: its id first, ``RUNNING`` last where it runs.
        journal: prints the last lines of what the node's services logged.
    """

    own_ports: Mapping[str, frozenset[int]]
    listening: str
    containers: str
    journal: str


# kubeadm's: the API server, etcd's peers and clients, kubelet, kube-proxy's health. (The scheduler's and the controller manager's
# own ports are on loopback only.)
KUBEADM = NodeFlavour(
    own_ports={"server": frozenset({6443, 2379, 2380, 10250, 10256}), "worker": frozenset({10250, 10256})},
    listening="ss -Hltn",
    containers="ctr -n k8s.io tasks ls",
    journal="journalctl --no-pager -n 300",
)

# k3s': all of it is one process, so what a kubeadm node has in programs of their own listens here, too; the image has BusyBox alone.
K3S = NodeFlavour(
    own_ports={"server": frozenset({6443, 2379, 2380, 10250, 10256}), "worker": frozenset({10250, 10256})},
    listening="netstat -ltn | tail -n +3",
    containers="ctr -n k8s.io tasks ls",
    journal="tail -n 300 /var/lib/rancher/k3s/agent/containerd/containerd.log",
)
