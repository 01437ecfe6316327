"""The kind driver: kubeadm clusters whose nodes are containers of the local engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from holdfast.drivers import coredns, kubeadm_etcd, kubeadm_join, kubeadm_upgrade, leash, profile
from holdfast.drivers.containers import Containers
from holdfast.drivers.flavour import KUBEADM
from holdfast.drivers.profile import NodeSpec, Note
from holdfast.errors import UsageError
from holdfast.kube import KubeClient
from holdfast.provision import builds, images, registry
from holdfast.provision.images import archive
from holdfast.provision.recipes import Recipes
from holdfast.waiting import CannotLook

_NOT_K3S = Note("k3s can't run here: the cluster is kubeadm's, by kind, with etcd", ("*",))
_NOT_FLANNEL = {"flannel": "the pod network is not Flannel (static routes offline, else kind's own)"}
_CNI_FILE, _IPAM_FOLDER = "/etc/cni/net.d/10-holdfast.conflist", "/run/cni-ipam"
_ROLES = {"control-plane": "server", "worker": "worker"}


def profiles() -> list[str]:
    """The profiles that there are."""
    return profile.names("kind")


def open(name: str, folder: Path, owner: str) -> Kind:  # noqa: A001  the word of the protocol
    """The driver of a profile."""
    return Kind(f"holdfast-kind-{name}-{owner}", profile.load("kind", name), folder)


class Kind(Containers):
    """A cluster of kind's."""

    name = "kind"
    flavour = KUBEADM
    _own_image = True

    def notes(self) -> list[Note]:
        return [*super().notes(), _NOT_K3S]

    def stand_ins(self, images: Mapping[str, str]) -> dict[str, str]:
        return {**super().stand_ins(images), **_NOT_FLANNEL}

    def create(self) -> None:
        image = registry.node_image(self.docker, self.kubernetes)
        self._own_image = registry.is_own(self.docker, image, registry.NODE_LABEL)
        config = self.folder / "kind.yaml"
        config.write_text(yaml.safe_dump(self._config(image), sort_keys=False))
        words = ["--name", self.cluster, "--config", str(config), "--kubeconfig", str(self.kubeconfig)]
        self._kind("create", "cluster", *words)
        registry.trust_mirror(self.docker, self.cluster, [n.name for n in self.nodes()], self.write_files)
        self._wire_pod_network()

    def _server(self) -> Any:
        """A shell on the server, with etcd's own tools beside it."""
        server = self.server
        shell = self.shell(server)
        if shell.run(f"[ -x {kubeadm_etcd.TOOLS}/etcdutl ]").rc:
            for name in ("etcdctl", "etcdutl"):
                self.copy_program(server, builds.tool(name), f"{kubeadm_etcd.TOOLS}/{name}")
        return shell

    def save_etcd(self, file: str) -> None:
        kubeadm_etcd.save(self._server(), file)

    def lose_etcd(self) -> None:
        kubeadm_etcd.lose(self._server())

    def restore_etcd(self, file: str) -> None:
        kubeadm_etcd.restore(self._server(), file)

    def bring_version(self, version: str) -> None:
        recipes = Recipes(version)
        if not self._own_image:
            raise UsageError(
                "the nodes run kind's own image, which has one version's programs", "use a machine without a registry"
            )
        named = {full: images.image(self.docker, recipes, part) for full, part in images.system_names(recipes).items()}
        self.load_images(named)
        for node in self.nodes():
            self.shell(node.name).check_output(f"mkdir -p {kubeadm_upgrade.PROGRAMS}/{version}")
            self.copy_program(node.name, builds.binary(recipes, "kube"), kubeadm_upgrade.program(version))

    def upgrade_node(self, node: str, version: str) -> None:
        role = next(n.role for n in self.nodes() if n.name == node)
        kubeadm_upgrade.upgrade(self.shell(node), role, version)

    def remove_node(self, node: str) -> None:
        kubeadm_join.leave(self.shell(self.server), self.shell(node), node)
        if (
            self._own_image
        ):  # its range of pods goes back, and it may be given another one: nothing may start with this one
            self.shell(node).check_output(f"rm -rf {_CNI_FILE} {_IPAM_FOLDER} /etc/holdfast/peers")

    def join_node(self, node: str) -> None:
        server, shell = self.shell(self.server), self.shell(node)
        if not kubeadm_join.is_member(server, shell, node):
            kubeadm_join.leave(server, shell, node)  # what a join that was cut short has left
            registration = self.read_files(node, "/kind")["kubeadm.conf"].decode()
            kubeadm_join.join(server, shell, registration, lambda folder, files: self.write_files(node, folder, files))
        self._wire_pod_network()  # also where it has joined: who had it join may have been killed before this

    def role_of(self, container: Any) -> str:
        return _ROLES.get(container.labels.get("io.x-k8s.kind.role", ""), "")

    def resolve(self, client: KubeClient, hosts: tuple[str, ...], address: str) -> None:
        coredns.configure(client, address, hosts, [n.name for n in self.nodes() if n.role == "worker"])

    def _kind(self, *arguments: str) -> None:
        environment = {
            **os.environ,
            "KIND_EXPERIMENTAL_PROVIDER": "docker",
            "KIND_EXPERIMENTAL_DOCKER_NETWORK": self.cluster,
            "KUBECONFIG": str(self.kubeconfig),
        }
        log = self.folder / "kind.log"
        with log.open("ab") as out:
            command = leash.on(str(builds.tool("kind")), *arguments, "--retain", "--verbosity=1")
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False
            )
        if done.returncode:
            raise UsageError(f"kind couldn't create the cluster: {_last_error(log)}", f"read {log}, then run again")

    def _config(self, image: str) -> dict[str, Any]:
        return {
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "networking": {
                "disableDefaultCNI": self._own_image,
                "podSubnet": self.published.pod_cidr,
                "serviceSubnet": self.published.service_cidr,
                "apiServerAddress": self.published.loopback[self.profile.nodes[0].name],
            },
            "featureGates": {"KubeletInUserNamespace": True, **self.profile.more.get("feature_gates", {})},
            "runtimeConfig": dict(one.split("=", 1) for one in self.profile.more.get("runtime_config", [])),
            "containerdConfigPatches": [
                '[plugins."io.containerd.cri.v1.images".registry]\n  config_path = "/etc/containerd/certs.d"'
            ],
            "kubeadmConfigPatches": [yaml.safe_dump(p) for p in self._cluster_patches()],
            "nodes": [self._node_config(node, image) for node in self.profile.nodes],
        }

    def _cluster_patches(self) -> list[dict[str, Any]]:
        timers = self.profile.timers
        kubelet: dict[str, Any] = {"failCgroupV1": False}
        server: dict[str, Any] = {"kind": "ClusterConfiguration"}
        if not timers.defaults:
            server["controllerManager"] = {
                "extraArgs": arguments(
                    self.kubernetes,
                    {
                        "node-monitor-grace-period": f"{timers.node_monitor_grace_s}s",
                        "node-monitor-period": f"{timers.node_monitor_period_s}s",
                    },
                )
            }
            server["apiServer"] = {
                "extraArgs": arguments(
                    self.kubernetes,
                    {
                        "default-not-ready-toleration-seconds": timers.toleration_s,
                        "default-unreachable-toleration-seconds": timers.toleration_s,
                    },
                )
            }
            kubelet |= {
                "nodeLeaseDurationSeconds": timers.node_lease_s,
                "nodeStatusUpdateFrequency": f"{timers.node_status_update_s}s",
                "nodeStatusReportFrequency": f"{timers.node_status_update_s * 2}s",
            }
        if self._own_image:
            kubelet["resolvConf"] = "/etc/resolv.pods.conf"
        return [server, {"kind": "KubeletConfiguration", **kubelet}]

    def _node_config(self, node: NodeSpec, image: str) -> dict[str, Any]:
        kind = "InitConfiguration" if node.role == "server" else "JoinConfiguration"
        loopback = self.published.loopback[node.name]
        ports = [
            {"containerPort": port, "hostPort": port, "listenAddress": loopback} for port in self.published.node_ports
        ]
        # As k3s: the server takes workloads too.
        patch = {"kind": kind, "nodeRegistration": {"name": node.name, "taints": []}}
        return {
            "role": "control-plane" if node.role == "server" else "worker",
            "image": image,
            "extraPortMappings": ports,
            "kubeadmConfigPatches": [yaml.safe_dump(patch)],
        }

    def _wire_pod_network(self) -> None:
        """Writes each node's own pod range into its CNI configuration, and the other nodes' into its routes' list."""
        if not self._own_image:
            return  # kind's own network does it
        ranges = self._pod_ranges()
        containers = {node.name: self.container(node.name) for node in self.nodes()}
        for name, container in containers.items():
            peers = "".join(f"{containers[other].name} {cidr}\n" for other, cidr in ranges.items() if other != name)
            container.put_archive(
                "/",
                archive(
                    {
                        "etc/holdfast/network": f"PODS={self.published.pod_cidr}\nSERVICES={self.published.service_cidr}\n",
                        "etc/holdfast/peers": peers,
                        _CNI_FILE.lstrip("/"): _cni(ranges[name]),
                    }
                ),
            )

    def _pod_ranges(self, within_s: float = 60) -> dict[str, str]:
        objects, limit, last = KubeClient(self.kubeconfig), time.monotonic() + within_s, ""
        while time.monotonic() < limit:
            try:
                ranges = {n["metadata"]["name"]: n["spec"].get("podCIDR", "") for n in objects.list("Node")}
                if len(ranges) == len(self.profile.nodes) and all(ranges.values()):
                    return ranges
                last = f"pod ranges so far: {ranges}"
            except CannotLook as why:
                last = str(why)
            time.sleep(0.5)
        raise UsageError(
            f"the nodes got no pod ranges within {within_s:g}s ({last})",
            f"read {self.folder / 'kind.log'}, then run again",
        )


def _last_error(log: Path) -> str:
    """kind's own last error, without the stack of Go that may follow it."""
    lines = log.read_text(errors="replace").splitlines()
    words = [line for line in lines if re.match(r"\s*(?:ERROR|Error|error)\b", line) or ": error" in line.lower()]
    return (
        words[-1].strip()[:300]
        if words
        else next((line.strip()[:300] for line in reversed(lines) if line.strip()), "no word in its log")
    )


_LISTED_SINCE = 36  # the minor from which kind writes kubeadm's v1beta4, which lists what v1beta3 maps


def arguments(kubernetes: str, values: dict[str, Any]) -> list[dict[str, str]] | dict[str, str]:
    """The arguments of a component, in the form of the kubeadm configuration that kind writes for a version."""
    if int(kubernetes.split(".")[1]) < _LISTED_SINCE:
        return {name: str(value) for name, value in values.items()}
    return [{"name": name, "value": str(value)} for name, value in values.items()]


def _cni(pod_range: str) -> str:
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": pod_range}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": _IPAM_FOLDER,
    }
    plugins = [
        {"type": "ptp", "ipMasq": False, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return json.dumps({"cniVersion": "1.0.0", "name": "holdfast", "plugins": plugins}, indent=1)
