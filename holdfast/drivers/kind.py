"""The kind driver: nodes are containers of the local engine. It touches only containers, networks and files of its own name."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import testinfra
import yaml
from docker import DockerClient
from docker.errors import APIError, NotFound

from holdfast.drivers.driver import DriverError, Node
from holdfast.drivers.owned import TOKEN_LABEL, Owned, removed
from holdfast.drivers.profile import NodeSpec, Profile
from holdfast.errors import UsageError
from holdfast.kube import KubeClient
from holdfast.progress import step
from holdfast.provision import builds, engine, registry
from holdfast.provision.images import archive, send
from holdfast.waiting import CannotLook

_QUIET_S = 2.0  # how long nothing of a lane that was never finished must turn up


class Kind:
    """A cluster of kind's, by a profile.

    Args:
        cluster: its name, with the prefix ``holdfast-`` and unique on this engine.
        profile: nodes, versions and timers.
        folder: where the kubeconfig lies.
    """

    name = "kind"

    def __init__(self, cluster: str, profile: Profile, folder: Path) -> None:
        assert cluster.startswith("holdfast-"), "a throw-away cluster carries holdfast's prefix"
        self.cluster, self.profile, self.folder = cluster, profile, folder
        self._own_image = True
        self.owned = Owned()

    @cached_property
    def docker(self) -> DockerClient:
        """The engine's client."""
        return engine.client()

    @property
    def network(self) -> str:
        """The cluster's own Docker network."""
        return self.cluster

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    # -- up and down ---------------------------------------------------------------------------------------------------

    def up(self) -> None:
        self.check_ports()
        self.owned.refuse_foreign(self.docker, self.cluster)
        self._make_network()
        image = registry.node_image(self.docker, self.profile.kubernetes)
        self._own_image = registry.is_own(self.docker, image, registry.NODE_LABEL)
        config = self.folder / "kind.yaml"
        config.write_text(yaml.safe_dump(self._config(image), sort_keys=False))
        with step(f"starting {len(self.profile.nodes)} nodes of Kubernetes {self.profile.kubernetes}"):
            self._kind(
                "create",
                "cluster",
                "--name",
                self.cluster,
                "--config",
                str(config),
                "--kubeconfig",
                str(self.kubeconfig),
            )
            registry.trust_mirror(self.docker, self.network, [n.name for n in self.nodes()], self.write_files)
            self._wire_pod_network()

    def down(self) -> None:
        quiet_since = time.monotonic()
        while time.monotonic() < quiet_since + _QUIET_S:  # a kind that was killed may still have the engine make a node
            found = {c.id for c in self._containers()} | {i for i in self.owned.containers if self._is_there(i)}
            for identity in found:
                removed(self.docker, identity)
                quiet_since = time.monotonic()
            if self.owned.containers and not found:
                break  # all that was made was recorded: nothing can come late
            time.sleep(0.2)
        for network in self.owned.networks(self.docker):  # the last: what comes late is known by it
            network.reload()
            for left in network.attrs.get("Containers") or {}:  # a stranger that was connected to it stays, without it
                with contextlib.suppress(APIError):
                    network.disconnect(left, force=True)
            with contextlib.suppress(APIError):
                network.remove()
        self.kubeconfig.unlink(missing_ok=True)

    def _is_there(self, identity: str) -> bool:
        try:
            self.docker.containers.get(identity)
        except NotFound:
            return False
        return True

    def named_like_ours(self) -> list[str]:
        """The names of containers that are called as this lane's are, whoever made them."""
        found = self.docker.containers.list(all=True, filters={"name": f"^/{self.cluster}-"}, ignore_removed=True)
        return sorted(str(c.name) for c in found)

    def before_change(self) -> None:
        """A throw-away cluster that this lane made may always be changed."""

    def exists(self) -> bool:
        """Whether any container of this cluster is there."""
        return bool(self._containers())

    def _containers(self) -> list[Any]:
        """The containers of this lane: the nodes, and the Git server."""
        found = self.docker.containers.list(all=True, filters={"name": f"^/{self.cluster}-"}, ignore_removed=True)
        return [c for c in found if self.owned.mine(self.docker, c)]

    def check_ports(self) -> None:
        """Raises UsageError where a port that the lane publishes is in use by something that isn't its own."""
        if self.exists():
            return
        for node in self.profile.nodes:
            for port in self.profile.node_ports:
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    try:
                        probe.bind((node.loopback, port))
                    except OSError:
                        raise UsageError(
                            f"port {port} on {node.loopback} is in use, and the lane publishes {node.name} there",
                            f"see who holds it: ss -ltnp 'sport = :{port}'; a lane left over is removed by: holdfast down",
                        ) from None

    def _make_network(self) -> None:
        if not self.owned.networks(self.docker):
            self.docker.networks.create(self.network, driver="bridge", labels={TOKEN_LABEL: self.owned.token})

    def _kind(self, *arguments: str) -> None:
        environment = {
            **os.environ,
            "KIND_EXPERIMENTAL_PROVIDER": "docker",
            "KIND_EXPERIMENTAL_DOCKER_NETWORK": self.network,
            "KUBECONFIG": str(self.kubeconfig),
        }
        log = self.folder / "kind.log"
        with log.open("ab") as out:
            # Neither kind nor its children may go on making nodes for a run that was killed.
            leash = [sys.executable, "-m", "holdfast.drivers.leash"]
            command = [*leash, str(builds.tool("kind")), *arguments, "--retain", "--verbosity=1"]
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
                "podSubnet": self.profile.pod_cidr,
                "serviceSubnet": self.profile.service_cidr,
                "apiServerAddress": self.profile.nodes[0].loopback,
            },
            "featureGates": {"KubeletInUserNamespace": True},
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
                "extraArgs": _arguments(
                    {
                        "node-monitor-grace-period": f"{timers.node_monitor_grace_s}s",
                        "node-monitor-period": f"{timers.node_monitor_period_s}s",
                    }
                )
            }
            server["apiServer"] = {
                "extraArgs": _arguments(
                    {
                        "default-not-ready-toleration-seconds": timers.toleration_s,
                        "default-unreachable-toleration-seconds": timers.toleration_s,
                    }
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
        ports = [
            {"containerPort": port, "hostPort": port, "listenAddress": node.loopback}
            for port in self.profile.node_ports
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
        containers = {node.name: self.docker.containers.get(node.handle) for node in self.nodes()}
        for name, container in containers.items():
            peers = "".join(f"{containers[other].name} {cidr}\n" for other, cidr in ranges.items() if other != name)
            container.put_archive(
                "/",
                archive(
                    {
                        "etc/holdfast/network": f"PODS={self.profile.pod_cidr}\nSERVICES={self.profile.service_cidr}\n",
                        "etc/holdfast/peers": peers,
                        "etc/cni/net.d/10-holdfast.conflist": _cni(ranges[name]),
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

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def nodes(self) -> list[Node]:
        by_role: dict[str, list[Any]] = {"control-plane": [], "worker": []}
        for container in sorted(self._containers(), key=lambda c: c.name):
            by_role.setdefault(container.labels.get("io.x-k8s.kind.role", ""), []).append(container)
        found = []
        for spec in self.profile.nodes:
            of_role = by_role["control-plane" if spec.role == "server" else "worker"]
            if of_role:
                found.append(Node(spec.name, spec.role, spec.loopback, of_role.pop(0).id))
        return found

    def _container(self, node: str) -> Any:
        for known in self.nodes():
            if known.name == node:
                return self.docker.containers.get(known.handle)
        raise UsageError(f"the cluster {self.cluster} has no node {node}", "run: holdfast down, then run again")

    def power_off(self, node: str) -> None:
        with contextlib.suppress(APIError):  # it may be off already
            self._container(node).kill("SIGKILL")
        self._until(node, on=False)

    def power_on(self, node: str) -> None:
        container = self._container(node)
        if container.status == "paused":
            container.unpause()
        container.start()
        self._until(node, on=True)

    def is_on(self, node: str) -> bool:
        return bool(self._container(node).status == "running")

    def _until(self, node: str, *, on: bool) -> None:
        limit = time.monotonic() + 30
        while self.is_on(node) is not on:
            if time.monotonic() > limit:
                raise DriverError(f"the engine says that {node} is still {'off' if on else 'on'} after 30s")
            time.sleep(0.05)

    def pause(self, node: str) -> None:
        self._container(node).pause()

    def unpause(self, node: str) -> None:
        container = self._container(node)
        if container.status == "paused":
            container.unpause()

    def cut_network(self, node: str, for_s: float) -> None:
        self._run(
            node,
            f"""
            set -e
            iptables -N holdfast-cut 2>/dev/null || iptables -F holdfast-cut
            iptables -A holdfast-cut -i lo -j RETURN; iptables -A holdfast-cut -o lo -j RETURN; iptables -A holdfast-cut -j DROP
            for chain in INPUT OUTPUT FORWARD; do iptables -C $chain -j holdfast-cut 2>/dev/null || iptables -I $chain -j holdfast-cut; done
            systemd-run --quiet --unit=holdfast-cut-end --timer-property=AccuracySec=100ms --on-active={for_s:g} /bin/sh -c '{_RESTORE}'""",
        )

    def restore_network(self, node: str) -> None:
        self._run(node, f"systemctl stop holdfast-cut-end.timer 2>/dev/null; {_RESTORE}; true")

    def _run(self, node: str, script: str) -> str:
        done = self._container(node).exec_run(["sh", "-c", script])
        if done.exit_code:
            raise DriverError(f"a command on {node} failed: {done.output.decode(errors='replace').strip()[-200:]}")
        return str(done.output.decode(errors="replace"))

    def shell(self, node: str) -> Any:
        return testinfra.get_host(f"docker://{self._container(node).id}")

    def read_files(self, node: str, folder: str) -> dict[str, bytes]:
        try:
            stream, _ = self._container(node).get_archive(folder)
        except NotFound:
            return {}
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
            return {Path(m.name).name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}  # type: ignore[union-attr]

    def write_files(self, node: str, folder: str, files: dict[str, str]) -> None:
        container = self._container(node)
        parts = Path(folder).parts[1:]
        container.put_archive("/", archive({"/".join((*parts, name)): text for name, text in files.items()}))

    def load_images(self, images: dict[str, str]) -> None:
        """Gives images that are on the nodes the names of *images*; what a node hasn't got is sent to it."""
        for node in self.nodes():
            container: Any = self.docker.containers.get(node.handle)
            have = set(container.exec_run(["ctr", "-n", "k8s.io", "images", "ls", "-q"]).output.decode().split())
            for full, tag in images.items():
                source = _full_name(tag)
                if source not in have:
                    send([tag], container.id)
                if full not in have and full != source:
                    done = container.exec_run(["ctr", "-n", "k8s.io", "images", "tag", "--force", source, full])
                    if done.exit_code:
                        raise UsageError(
                            f"{node.name} doesn't take the image {tag}: {done.output.decode().strip()[-200:]}",
                            "run: holdfast down",
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


_RESTORE = (
    "for c in INPUT OUTPUT FORWARD; do while iptables -D $c -j holdfast-cut 2>/dev/null; do :; done; done; "
    "iptables -F holdfast-cut 2>/dev/null; iptables -X holdfast-cut 2>/dev/null"
)


def _full_name(tag: str) -> str:
    return tag if "." in tag.partition("/")[0] or tag.startswith("localhost") else f"docker.io/{tag}"


def _arguments(values: dict[str, Any]) -> list[dict[str, str]]:
    return [{"name": name, "value": str(value)} for name, value in values.items()]


def _cni(pod_range: str) -> str:
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": pod_range}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "/run/cni-ipam",
    }
    plugins = [
        {"type": "ptp", "ipMasq": False, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return json.dumps({"cniVersion": "1.0.0", "name": "holdfast", "plugins": plugins}, indent=1)
