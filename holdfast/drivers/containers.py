"""What every lane has whose nodes are containers of the local engine: their power, their shell, their network, the Git server beside them.

A driver of such a lane says how its cluster is created, and which container is which node.
"""

from __future__ import annotations

import contextlib
import io
import socket
import tarfile
import time
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.errors import APIError, DockerException, NotFound
from testinfra.host import Host

from holdfast.drivers import netcut
from holdfast.drivers.driver import DriverError, Node, Stray
from holdfast.drivers.flavour import NodeFlavour
from holdfast.drivers.gitbeside import GitBeside
from holdfast.drivers.nodeshell import Lost, NodeShellBackend
from holdfast.drivers.owned import Owned, removed
from holdfast.drivers.profile import Note, Profile
from holdfast.errors import UsageError
from holdfast.progress import console, step
from holdfast.provision import engine, loop_devices, programs, registry
from holdfast.provision.images import archive, send
from holdfast.provision.recipes import Recipes

_QUIET_S = 2.0  # how long nothing of a lane that was never finished must turn up
_POWER_S = 30.0
_NO_FOLDER, _PACKED = 90, (0, 1)  # tar says 1 where a file grew meanwhile: it has what was there when it began
# What stands in for something else where no image registry answers, with the words for the report.
OFFLINE_STAND_INS = {
    "helm-controller": "helm-controller is a stand-in of holdfast's own; charts come with the lane, so chart repositories are the lane's own, "
    "and OCIRepositories are suspended",
    "notification-controller": "notification-controller is a stand-in that stores events and sends none",
    "ingress-nginx": "ingress-nginx is a stand-in: Debian's nginx with its configuration rendered from Ingress objects",
    "longhorn": "Longhorn is a stand-in: real CSI volumes that can really fail, one copy of the blocks on one node, nothing is replicated",
    "monitoring": "kube-prometheus-stack is a stand-in: the real prometheus-operator and Prometheus, Debian's Alertmanager and node exporter; "
    "kube-state-metrics and Grafana are small programs of holdfast's, custom resources have no schemas, the chart's own rules aren't there",
}
_NOTES = (
    Note(
        "behind a dead node's published port the engine refuses at once, where a real dead host would swallow packets",
        ("nodes",),
    ),
    Note(
        "a killed node keeps the host's page cache: writes that were never synced survive it, unlike in a power cut",
        ("storage",),
    ),
)


@dataclass(frozen=True)
class Published:
    """What a profile of such a lane says besides: address ranges, and where node ports are published on this machine.

    Attributes:
        pod_cidr, service_cidr: address ranges.
        node_ports: the node ports that are published, on each node's own loopback address.
        loopback: that address, by node.
    """

    pod_cidr: str
    service_cidr: str
    node_ports: tuple[int, ...]
    loopback: Mapping[str, str]

    @staticmethod
    def of(profile: Profile) -> Published:
        """As the profile says."""
        loopback = {n.name: str(n.more["loopback"]) for n in profile.nodes}
        return Published(
            profile.more["pod_cidr"], profile.more["service_cidr"], tuple(profile.more["node_ports"]), loopback
        )


class Containers(GitBeside):
    """A cluster whose nodes are containers.

    Args:
        cluster: its name, with the prefix ``holdfast-`` and unique on this engine.
        profile: nodes, versions and timers.
        folder: where the kubeconfig is, and the record of what was made.
    """

    name: str
    evidence_level = "lab"
    flavour: NodeFlavour

    def __init__(self, cluster: str, profile: Profile, folder: Path) -> None:
        assert cluster.startswith("holdfast-"), "a throw-away cluster carries holdfast's prefix"
        self.cluster, self.profile, self.folder = cluster, profile, folder
        self.published = Published.of(profile)
        self.owned = Owned(folder / "owned.json")
        self.kubernetes, self.timers = profile.kubernetes, profile.timers
        self._shells: dict[str, Host] = {}

    # -- what a driver of containers says itself -------------------------------------------------------------------------

    @abstractmethod
    def create(self) -> None:
        """Starts the nodes; returns when the API answers and every node is Ready."""

    @abstractmethod
    def role_of(self, container: Any) -> str:
        """``server``, ``worker``, or empty for a container that is no node."""

    # -- the machine -----------------------------------------------------------------------------------------------------

    @cached_property
    def docker(self) -> DockerClient:
        """The engine's client."""
        return engine.client()

    def ensure_host(self) -> None:
        engine.ensure()

    def preflight(self) -> None:
        """Raises UsageError where a port that the lane publishes is in use by something that isn't its own."""
        if self.exists():
            return
        for node, loopback in self.published.loopback.items():
            for port in self.published.node_ports:
                with socket.socket() as attempt:
                    attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    try:
                        attempt.bind((loopback, port))
                    except OSError:
                        raise UsageError(
                            f"port {port} on {loopback} is in use, and the lane publishes {node} there",
                            f"see who holds it: ss -ltnp 'sport = :{port}'; a lane left over is removed by: holdfast down",
                        ) from None

    def needs_images(self) -> bool:
        """Whether no image registry answers, so that the nodes are given the offline images."""
        return registry.offline(self.kubernetes)

    def notes(self) -> list[Note]:
        return [*self.profile.notes, *_NOTES]

    def stand_ins(self, images: Mapping[str, str]) -> dict[str, str]:
        """All offline; behind a mirror, where its helm-controller is ours."""
        helm = images.get("helm-controller", "")
        return dict(OFFLINE_STAND_INS) if self.needs_images() or (helm and registry.mirrored_stand_in(helm)) else {}

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def address(self, node: str, port: int) -> tuple[str, int] | None:
        if port not in self.published.node_ports:
            return None
        return self.published.loopback[node], port

    # -- up and down -----------------------------------------------------------------------------------------------------

    def up(self) -> None:
        self.preflight()
        for prefix in self._prefixes:
            self.owned.refuse_foreign(self.docker, prefix)
        self.owned.begin()
        self.docker.networks.create(self.cluster, driver="bridge", labels=self.owned.labels)
        with step(f"starting {len(self.profile.nodes)} nodes of Kubernetes {self.kubernetes}"):
            self.create()
        self.owned.record(*(str(c.id) for c in self._by_node().values()))

    def down(self) -> None:
        if not self.owned.readable and (left := self.strays()):
            raise UsageError(
                f"{self.owned.file} can't be read, so it isn't known what the lane made",
                f"if {', '.join(s.name for s in left)} is nobody else's, remove it: {'; '.join(s.removal for s in left)}; "
                f"then: rm {self.owned.file}",
            )
        for node in list(self._shells):
            self._end_shell(node)
        quiet_since = time.monotonic()
        while (
            time.monotonic() < quiet_since + _QUIET_S
        ):  # a driver that was killed may still have the engine make a node
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
        for volume in self.owned.volumes(self.docker):
            try:
                volume.remove()
            except NotFound:
                continue
            except APIError as why:  # what is known of it stays, so that the next 'down' can end it
                raise UsageError(
                    f"the volume {volume.name} of the lane can't be removed: {why.explanation or why}",
                    f"see who uses it: docker ps -a --filter volume={volume.name}; then: holdfast down",
                ) from None
        if held := loop_devices.release():
            console.print(
                f"  loop devices are still held, and will be freed by the kernel or the next start: {', '.join(held)}",
                style="yellow",
            )
        self.kubeconfig.unlink(missing_ok=True)
        self._served.unlink(missing_ok=True)
        self.owned.end()

    def _is_there(self, identity: str) -> bool:
        try:
            self.docker.containers.get(identity)
        except NotFound:
            return False
        return True

    @property
    def _prefixes(self) -> tuple[str, ...]:
        """How the names of the lane's containers begin."""
        return (self.cluster,)

    def _named(self) -> list[Any]:
        form = f"^/(?:{'|'.join(self._prefixes)})-"
        return self.docker.containers.list(all=True, filters={"name": form}, ignore_removed=True)

    def _containers(self) -> list[Any]:
        """The containers of this lane: the nodes, and the Git server."""
        return [c for c in self._named() if self._is_mine(c)]

    def _is_mine(self, container: Any) -> bool:
        return self.owned.mine(self.docker, container)

    def exists(self) -> bool:
        return bool(self._containers())

    def strays(self) -> list[Stray]:
        names = sorted(str(c.name) for c in self._named() if not self._is_mine(c))
        return [Stray(name, f"docker rm -f -v {name}") for name in names]

    def before_change(self) -> None:
        """A throw-away cluster that this lane made may always be changed."""

    # -- nodes -----------------------------------------------------------------------------------------------------------

    def _by_node(self) -> dict[str, Any]:
        """Each node's container: a profile's nodes of a role are the role's containers, in the order of their names."""
        by_role: dict[str, list[Any]] = {}
        for container in sorted(self._containers(), key=lambda c: str(c.name)):
            by_role.setdefault(self.role_of(container), []).append(container)
        return {spec.name: by_role[spec.role].pop(0) for spec in self.profile.nodes if by_role.get(spec.role)}

    def nodes(self) -> list[Node]:
        there = self._by_node()
        return [Node(spec.name, spec.role) for spec in self.profile.nodes if spec.name in there]

    @property
    def server(self) -> str:
        """The name of the node with the control plane."""
        return next(spec.name for spec in self.profile.nodes if spec.role == "server")

    def container(self, node: str) -> Any:
        """A node's container, as the engine sees it now."""
        known = self._by_node().get(node)
        if known is None:
            raise UsageError(f"the cluster {self.cluster} has no node {node}", "run: holdfast down, then run again")
        return known

    def power_off(self, node: str) -> None:
        with contextlib.suppress(APIError):  # it may be off already
            self.container(node).kill("SIGKILL")
        self._end_shell(node)
        self._until(node, on=False)

    def power_on(self, node: str) -> None:
        self.container(node).start()
        self._until(node, on=True)

    def is_on(self, node: str) -> bool:
        return bool(self.container(node).status == "running")

    def _until(self, node: str, *, on: bool) -> None:
        limit = time.monotonic() + _POWER_S
        while self.is_on(node) is not on:
            if time.monotonic() > limit:
                raise DriverError(f"the engine says that {node} is still {'off' if on else 'on'} after {_POWER_S:g}s")
            time.sleep(0.05)

    def cut_network(self, node: str, for_s: float) -> None:
        self._run(node, netcut.cut(netcut.by_systemd(for_s)))

    def restore_network(self, node: str) -> None:
        self._run(node, netcut.end_by_systemd())

    def _run(self, node: str, script: str) -> str:
        done = self.shell(node).run(script)
        said, failed = (part.decode(errors="replace") for part in (done.stdout_bytes, done.stderr_bytes))
        if done.rc:
            raise DriverError(f"a command on {node} failed: {(said + failed).strip()[-200:]}")
        return str(said)

    def shell(self, node: str) -> Host:
        if node not in self._shells:
            self.container(node)  # an unknown node is said now, and not by what is done there
            self._shells[node] = Host(NodeShellBackend(node, lambda: self._shell_command(node)))
        return self._shells[node]

    def _shell_command(self, node: str) -> list[str]:
        try:
            container = self.container(node)
        except DockerException as why:
            raise Lost(f"the engine doesn't tell of {node}: {why}") from None
        if container.status != "running":
            raise Lost(f"{node} is off")
        return ["docker", "exec", "-i", container.id, "/bin/sh"]

    def _end_shell(self, node: str) -> None:
        if shell := self._shells.pop(node, None):
            shell.backend.close()

    def read_files(self, node: str, folder: str) -> dict[str, bytes]:
        done = self.shell(node).run(f"[ -d %s ] || exit {_NO_FOLDER}; tar -C %s -cf - .", folder, folder)
        if done.rc == _NO_FOLDER:
            return {}
        if done.rc in _PACKED:
            return _unpacked(done.stdout_bytes)
        try:  # the node is off, or has no shell now: the engine reads what is there
            stream, _ = self.container(node).get_archive(folder)
        except NotFound:
            return {}
        return _unpacked(b"".join(stream))

    def write_files(self, node: str, folder: str, files: dict[str, str]) -> None:
        parts = Path(folder).parts[1:]
        self.container(node).put_archive("/", archive({"/".join((*parts, name)): text for name, text in files.items()}))

    def copy_program(self, node: str, program: Path, target: str) -> None:
        """Puts an executable file of this machine onto a node."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            entry = tar.gettarinfo(program, target.lstrip("/"))
            entry.mode, entry.uid, entry.gid = 0o755, 0, 0
            with program.open("rb") as content:
                tar.addfile(entry, content)
        self.container(node).put_archive("/", packed.getvalue())

    # -- images, and what runs beside the nodes ----------------------------------------------------------------------------

    def load_images(self, images: dict[str, str]) -> None:
        """Gives images that are on the nodes the names of *images*; what a node hasn't got is sent to it."""
        for node, container in self._by_node().items():
            have = set(container.exec_run(["ctr", "-n", "k8s.io", "images", "ls", "-q"]).output.decode().split())
            for full, tag in images.items():
                source = _full_name(tag)
                if source not in have:
                    send([tag], container.id)
                    have.add(source)
                if full not in have and full != source:
                    done = container.exec_run(["ctr", "-n", "k8s.io", "images", "tag", "--force", source, full])
                    if done.exit_code:
                        raise UsageError(
                            f"{node} doesn't take the image {tag}: {done.output.decode().strip()[-200:]}",
                            "run: holdfast down",
                        )

    def command(self, program: str) -> Path:
        return programs.program(Recipes(self.kubernetes), program)

    def runtime(self) -> str:
        return "containerd"

    def upstream(self, part: str) -> str:
        """The image that runs a part of the lane's own."""
        return registry.upstream(part, self.kubernetes)

    def agent_image(self) -> str:
        return self.upstream("sampler")


def _full_name(tag: str) -> str:
    return tag if "." in tag.partition("/")[0] or tag.startswith("localhost") else f"docker.io/{tag}"


def _unpacked(packed: bytes) -> dict[str, bytes]:
    """The files of a tar archive, by their last name."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        return {Path(m.name).name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}  # type: ignore[union-attr]
