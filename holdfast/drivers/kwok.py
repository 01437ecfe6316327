"""The kwok driver: a real control plane of processes on loopback, with simulated nodes. Needs neither root nor a container engine."""

from __future__ import annotations

import gzip
import json
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from holdfast.drivers import distribution, gitssh, profile
from holdfast.drivers.controlplane import ControlPlane
from holdfast.drivers.driver import DriverError, GitSite, Node, Stray
from holdfast.drivers.failing import Failing
from holdfast.drivers.processes import Processes
from holdfast.drivers.profile import Note, Profile
from holdfast.errors import UsageError
from holdfast.kube import KubeClient, Object, condition
from holdfast.paths import ROOT
from holdfast.progress import step
from holdfast.provision import programs, tools
from holdfast.provision.recipes import Recipes
from holdfast.waiting import CannotLook

_SIMULATED = {
    "kubelet": "nodes and pods are simulated by kwok: no container runs",
    "containerd": "no container runs",
    "coredns": "no DNS answers",
    "flannel": "there is no pod network",
    "ingress-nginx": "no request is answered: its pods are simulated",
    "longhorn": "no volume holds data: its pods are simulated",
    "monitoring": "nothing is measured: its pods are simulated",
    "tailscale": "no router runs: its pods are simulated",
    "apps": "no app answers: its pods are simulated",
}
_POLL_S = 0.1
_UP_WITHIN_S = 60.0
_FLUX_NAMESPACE = "flux-system"
_STAND_INS = ROOT / "clusters" / "standins" / "flux"
_PROGRAMS = (*programs.KUBERNETES, "etcd", "kwok", "source-controller", "kustomize-controller")
# Seconds between two looks at a dependency that isn't ready: Flux's default of 30 makes a start slow, and changes no order.
_DEPENDENCY_S = 1
# So that Kustomizations that wait for their objects leave room for those that they wait for.
_CONCURRENT = 32
_GIT = "git-server"
_FAILING = "failing.yaml"
_RELEASES = "releases.json"  # what the stand-in is told
_GIVEN = "releases-given.json"  # what it was told before one of them fails
_FOLDERS = (
    "etcd",
    "pki",
    "bin",
    "log",
    "tmp",
    "artifacts",
    _GIT,
    "helm",
    "server",
    ".kube",
    ".cache",
    ".config",
)


def profiles() -> list[str]:
    """The profiles that there are; last the one of the Kubernetes that holdfast takes where none is named."""
    usual = Recipes().kubernetes.rpartition(".")[0]
    return sorted(profile.names("kwok"), key=lambda name: (name == usual, name))


def open(name: str, folder: Path, owner: str) -> Kwok:  # noqa: A001, ARG001  the words of the protocol; no name of it leaves the folder
    """The driver of a profile."""
    return Kwok(profile.load("kwok", name), folder)


class Kwok:
    """A control plane, and nodes that are none.

    Args:
        profile: nodes, versions and timers.
        folder: everything of it: certificates, etcd's data, logs, the kubeconfig.
    """

    name = "kwok"
    evidence_level = "lab"  # of what is real here; what is simulated is a stand-in, and lowers a claim about it

    def __init__(self, profile: Profile, folder: Path) -> None:
        self.profile, self.folder = profile, folder
        self.kubernetes, self.timers = profile.kubernetes, profile.timers
        self.processes = Processes(folder)
        self.ports: dict[str, int] = {}
        self.control_plane = ControlPlane(profile, folder, self.processes, self.kubeconfig)
        self.mark = secrets.token_hex(8)
        # Of a lane that isn't up yet: whose pods fail, the minor of Flux, and what brought the cluster.
        self.failing: tuple[Failing, ...] = ()
        self.flux = str(profile.more["flux"])
        self.distribution = distribution.named(profile.more.get("distribution", "k3s"))

    def ensure_host(self) -> None:
        """Gets what isn't there yet, two programs at a time."""
        programs.all_of(self._recipes, _PROGRAMS)
        tools.helm()

    @property
    def _recipes(self) -> Recipes:
        return Recipes(self.kubernetes, self.flux)

    def preflight(self) -> None:
        """Its ports are taken from those that are free: nothing can be in its way."""

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def notes(self) -> list[Note]:
        return [
            *self.profile.notes,
            Note("nodes, pods, network and volumes are simulated (kwok)", ("*",)),
            Note(self.distribution.note()),
        ]

    def stand_ins(self, images: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG002  the same for every tree
        return dict(_SIMULATED)

    def address(self, node: str, port: int) -> tuple[str, int] | None:  # noqa: ARG002  nothing listens on a simulated node
        return None

    def strays(self) -> list[Stray]:
        return []

    def exists(self) -> bool:
        return self.processes.any()

    # -- up and down -----------------------------------------------------------------------------------------------------

    def up(self) -> None:
        self.down()
        self.processes.begin()
        with step(f"starting the control plane of Kubernetes {self.kubernetes}"):
            self._programs = {name: str(at) for name, at in programs.all_of(self._recipes, _PROGRAMS).items()}
            self.ports = self.processes.ports.take(*_PORTS)
            self.control_plane.start(self._programs, self.distribution.admission(), self._until_ready)
            self._start_nodes()
            for node in self.profile.nodes:
                self._client.apply(self.distribution.node(node, self.kubernetes))
            for brought in self.distribution.objects(self.profile.more["service_cidr"]):
                self._client.apply(brought)
            self._install_flux()
            self._start_flux()
            self._until(self._nodes_lacking)

    def _start_nodes(self) -> None:
        """A process for each node: it has power while that runs."""
        config = ROOT / "clusters" / "standins" / "kwok" / "stages.yaml"
        words = [
            f"--kubeconfig={self.kubeconfig}",
            f"--config={config}",
            *([f"--config={self._failing_stages()}"] if self.failing else []),
            f"--node-lease-duration-seconds={self.timers.node_lease_s}",
            f"--cidr={self.profile.more['pod_cidr']}",
            "--node-ip=127.0.0.1",
        ]
        for node in self.nodes():
            self.processes.start(
                _node(node.name), [self._programs["kwok"], f"--manage-single-node={node.name}", *words]
            )

    def _failing_stages(self) -> Path:
        told = self.failing
        stages = [stage for n, one in enumerate(told) for stage in one.stages(f"told-{n}", told[n + 1 :])]
        file = self.folder / _FAILING
        file.write_text(yaml.dump_all(stages))
        return file

    def _install_flux(self) -> None:
        """Flux's kinds, as the profile's version has them."""
        client = self._client
        client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _FLUX_NAMESPACE}})
        definitions = kinds(self.flux)
        for definition in definitions:
            client.apply(definition)
        names = [definition["metadata"]["name"] for definition in definitions]
        self._until(lambda: "" if client.serves(names) else "Flux's kinds aren't all served")

    def _start_flux(self) -> None:
        for name, port in (("source", "metrics-source"), ("kustomize", "metrics-kustomize")):
            words = [
                f"--metrics-addr=127.0.0.1:{self.ports[port]}",
                "--health-addr=127.0.0.1:0",
                f"--events-addr={self._events}",
                "--watch-all-namespaces=true",
                "--enable-leader-election=false",
                "--log-encoding=json",
                f"--concurrent={_CONCURRENT}",
            ]
            if name == "source":
                at = f"127.0.0.1:{self.ports['artifacts']}"
                storage = self.folder / "artifacts"
                storage.mkdir(exist_ok=True)
                words += [f"--storage-path={storage}", f"--storage-addr={at}", f"--storage-adv-addr={at}"]
            else:
                words += [f"--requeue-dependency={_DEPENDENCY_S}s", "--no-remote-bases=true"]
                # A change in the lane ends a wait for health, instead of being looked at when its time is up.
                words.append("--feature-gates=CancelHealthCheckOnNewRevision=true")
            self._run_controller(f"{name}-controller", [self._programs[f"{name}-controller"], *words])
        helm = [sys.executable, "-P", str(_STAND_INS / "helm-controller.py")]
        environment = {
            "PYTHONPATH": str(_STAND_INS),
            "HEALTH_PORT": str(self.ports["health-helm"]),
            "METRICS_PORT": "0",
        }
        environment |= {"RELEASES": str(self.folder / _RELEASES), "NOTIFICATIONS": self._events}
        environment |= {"HELM": tools.helm() or "helm"}
        self._run_controller("helm-controller", helm, environment)
        events = {
            "EVENTS_PORT": str(self.ports["events"]),
            "HEALTH_PORT": "0",
            "METRICS_PORT": "0",
            "RECEIVER_PORT": "0",
        }
        notification = [sys.executable, "-P", str(_STAND_INS / "notification-controller.py")]
        self._run_controller("notification-controller", notification, {"PYTHONPATH": str(_STAND_INS), **events})
        world = [sys.executable, "-P", "-m", "holdfast.drivers.simulated", str(self.kubeconfig), self.mark]
        # A checkout that isn't installed is found by its folder: -P leaves out the current one only.
        self.processes.start("simulated", world, {"PYTHONPATH": str(ROOT)})

    @property
    def _events(self) -> str:
        """Where Flux's events go."""
        return f"http://127.0.0.1:{self.ports['events']}/"

    def _run_controller(self, name: str, command: list[str], environment: Mapping[str, str] | None = None) -> None:
        where = {"KUBECONFIG": str(self.kubeconfig), "RUNTIME_NAMESPACE": _FLUX_NAMESPACE}
        where["TMPDIR"] = str(self._temporary())
        self.processes.start(name, command, {**where, **(environment or {})})

    def _temporary(self) -> Path:
        folder = self.folder / "tmp"
        folder.mkdir(exist_ok=True)
        return folder

    def check(self) -> None:
        """Raises DriverError where a process of the lane ended."""
        for name, started in self.processes.started.items():
            if not started.runs():
                raise DriverError(f"{name} ended by itself: {self.processes.last_words(name)}")

    def _until(self, look: Callable[[], str]) -> None:
        """Waits until *look* sees nothing that is lacking; its words are what is said where that takes too long."""
        limit = time.monotonic() + _UP_WITHIN_S
        while True:
            try:
                lacking = look()
            except CannotLook as why:
                lacking = str(why)
            if not lacking:
                return
            self.check()
            if time.monotonic() > limit:
                raise UsageError(f"not within {_UP_WITHIN_S:g}s: {lacking}", f"read the logs in {self.folder / 'log'}")
            time.sleep(_POLL_S)

    def _until_ready(self) -> None:
        self._until(lambda: "" if self._client.is_ready() else "the API server says that it isn't ready")

    def _nodes_lacking(self) -> str:
        found = {node.name: self._client.get("Node", node.name) or {} for node in self.profile.nodes}
        waiting = [name for name, node in found.items() if condition(node, "Ready").get("status") != "True"]
        return f"not Ready: {', '.join(waiting)}" if waiting else ""

    @property
    def _client(self) -> KubeClient:
        return KubeClient(self.kubeconfig)

    def down(self) -> None:
        if not self.processes.readable:
            raise UsageError(
                f"{self.processes.file} can't be read, so it isn't known which processes are the lane's",
                f"end those that run in {self.folder} (ps), then: rm {self.processes.file}",
            )
        self.processes.end()
        for name in _FOLDERS:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in ("kubeconfig", _RELEASES, _GIVEN, _FAILING):
            (self.folder / name).unlink(missing_ok=True)

    # -- Git and charts ----------------------------------------------------------------------------------------------------

    def serve_git(self, site: GitSite) -> str:
        """On loopback, by SSH, under the site's own path."""
        folder = self.folder / _GIT
        folder.mkdir(exist_ok=True)
        port = self.processes.ports.take("git")["git"]
        path = urlsplit(site.url).path
        settings = {"port": port, "path": path, "repository": str(site.repository), "user_key": site.user_key}
        _private(folder / "host_key", site.host_key)
        _private(folder / "settings.json", json.dumps(settings))
        server = [sys.executable, "-P", "-m", "holdfast.drivers.gitssh", str(folder / "settings.json")]
        self.processes.stop(_GIT)
        self.processes.start(_GIT, server, {"PYTHONPATH": str(ROOT)})
        self._until(lambda: "" if _listens(port) else "the Git server doesn't answer")
        return f"ssh://git@127.0.0.1:{port}{path}"

    def stop_git(self) -> None:
        self.processes.stop(_GIT)

    def delay_git(self, delay_s: float) -> None:
        gitssh.set_delay(self.folder / _GIT, delay_s)

    def restore_git(self) -> None:
        gitssh.set_delay(self.folder / _GIT, 0)
        if not self.processes.runs(_GIT):
            self.processes.again(_GIT)
            self._until(lambda: "" if self.git_delay_s() is not None else "the Git server doesn't answer")

    def git_delay_s(self) -> float | None:
        port = json.loads((self.folder / _GIT / "settings.json").read_text())["port"]
        return gitssh.delay_s(self.folder / _GIT) if _listens(port) else None

    def give_releases(self, releases: Mapping[str, Mapping[str, Any]]) -> None:
        part = self.folder / "releases.part"
        part.write_text(json.dumps(releases))
        part.replace(self.folder / _RELEASES)

    def fail_release(self, name: str) -> None:
        given = json.loads((self.folder / _RELEASES).read_text())
        if name not in given:
            raise UsageError(f"the lane assumes no release {name}", f"it has: {', '.join(sorted(given)) or 'none'}")
        kept = self.folder / _GIVEN
        if not kept.exists():
            _private(kept, json.dumps(given))
        self.give_releases(given | {name: {**given[name], "down": True}})

    def restore_releases(self) -> None:
        kept = self.folder / _GIVEN
        if kept.exists():
            self.give_releases(json.loads(kept.read_text()))
            kept.unlink()

    # -- what it can do --------------------------------------------------------------------------------------------------

    def before_change(self) -> None:
        """A throw-away cluster that this lane made may always be changed."""

    def nodes(self) -> list[Node]:
        return [Node(spec.name, spec.role) for spec in self.profile.nodes]

    def _known(self, node: str) -> None:
        if node not in [spec.name for spec in self.profile.nodes]:
            raise UsageError(f"the lane has no node {node}", f"it has: {', '.join(n.name for n in self.profile.nodes)}")

    def power_off(self, node: str) -> None:
        """The control plane goes with the server; Flux's controllers, which are beside the nodes here, stay."""
        self._known(node)
        self.processes.stop(_node(node), at_once=True)
        if self._is_server(node):
            self.control_plane.power_off()

    def power_on(self, node: str) -> None:
        self._known(node)
        if self._is_server(node):
            self.control_plane.power_on(self._until_ready)
        if not self.processes.runs(_node(node)):
            self.processes.again(_node(node))

    def _is_server(self, node: str) -> bool:
        return any(spec.name == node and spec.role == "server" for spec in self.profile.nodes)

    def command(self, program: str) -> Path:
        return programs.program(self._recipes, program)

    def save_etcd(self, file: str) -> None:
        snapshots = {
            name: programs.tool(self._recipes, name) for name in ("etcdctl", "etcdutl")
        }  # before anything is destroyed
        self.control_plane.save(str(snapshots["etcdctl"]), self._on_the_server(file))

    def lose_etcd(self) -> None:
        self.control_plane.lose()

    def restore_etcd(self, file: str) -> None:
        self.control_plane.restore(
            str(programs.tool(self._recipes, "etcdutl")), self._on_the_server(file), self._until_ready
        )

    def _on_the_server(self, file: str) -> Path:
        """Where a file of the server is kept, which has no disk of its own."""
        return self.folder / "server" / file.lstrip("/")

    def is_on(self, node: str) -> bool:
        self._known(node)
        return self.processes.runs(_node(node)) and (not self._is_server(node) or self.control_plane.is_on())


_PORTS = ("artifacts", "metrics-source", "metrics-kustomize", "health-helm", "events")
_KINDS = ROOT / "clusters" / "kinds"


def _node(name: str) -> str:
    return f"node-{name}"


def kinds(flux: str) -> list[Object]:
    """The definitions of a Flux minor's kinds."""
    text = gzip.decompress((_KINDS / f"flux-{flux}.yaml.gz").read_bytes())
    return [o for o in yaml.load_all(text, Loader=yaml.CSafeLoader) if o]


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0
