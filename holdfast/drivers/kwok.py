"""The kwok driver: a real control plane of processes on loopback, with simulated nodes. Needs neither root nor a container engine."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from holdfast.drivers import profile
from holdfast.drivers.driver import DriverError, GitSite, Node, Stray
from holdfast.drivers.pki import Pki
from holdfast.drivers.processes import Processes
from holdfast.drivers.profile import NodeSpec, Note, Profile
from holdfast.errors import UsageError
from holdfast.kube import KubeClient, condition
from holdfast.paths import ROOT
from holdfast.progress import step
from holdfast.provision import builds
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
_MANAGED = "kwok.x-k8s.io/node"  # nodes with this annotation have power
_POLL_S = 0.1
_UP_WITHIN_S = 60.0
_FLUX_NAMESPACE = "flux-system"
_STAND_INS = ROOT / "clusters" / "standins" / "flux"
_BINARIES = ("kube", "etcd", "kwok", "source-controller", "kustomize-controller")
# Seconds between two looks at a dependency that isn't ready: Flux's default of 30 makes a start slow, and changes no order.
_DEPENDENCY_S = 1
# So that Kustomizations that wait for their objects leave room for those that they wait for.
_CONCURRENT = 32


_FOLDERS = ("etcd", "pki", "bin", "log", "tmp", "artifacts", "git-server", "helm", ".kube", ".cache", ".config")


def profiles() -> list[str]:
    """The profiles that there are."""
    return profile.names("kwok")


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
        self.feature_gates: dict[str, bool] = {}
        self.mark = secrets.token_hex(8)

    def ensure_host(self) -> None:
        """Builds what isn't built yet, side by side."""
        recipes = Recipes(self.kubernetes)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda name: builds.binary(recipes, name), _BINARIES))

    def preflight(self) -> None:
        """Its ports are taken from those that are free: nothing can be in its way."""

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def notes(self) -> list[Note]:
        return [*self.profile.notes, Note("nodes, pods, network and volumes are simulated (kwok)", ("*",))]

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
            self._start()
            self._start_kwok()
            for node in self.profile.nodes:
                self._client.apply(_node(node, self.profile, self.kubernetes))
            self._install_flux()
            self._start_flux()
            self._until(self._nodes_ready, "its nodes are ready")

    def _start(self) -> None:
        recipes = Recipes(self.kubernetes)
        self._programs = {name: str(builds.binary(recipes, name)) for name in _BINARIES}
        self._names = _names(self.folder / "bin", self._programs["kube"])
        self.ports = _free("etcd", "peers", "api", "artifacts", "metrics-source", "metrics-kustomize", "health-helm")
        self._urls = {name: f"https://127.0.0.1:{port}" for name, port in self.ports.items()}
        pki = Pki(self.folder / "pki")
        server, key = pki.issue("server", "kube-apiserver", hosts=("kubernetes", "kubernetes.default.svc"))
        accounts = str(pki.service_accounts())
        for name, group in (("admin", "system:masters"), ("kube-controller-manager", ""), ("kube-scheduler", "")):
            certificate, private = pki.issue(name, "holdfast" if group else f"system:{name}", group=group)
            config = self.kubeconfig if group else pki.folder / f"{name}.kubeconfig"
            pki.kubeconfig(config, self._urls["api"], certificate, private)
        own, ca = (str(server), str(key)), str(pki.folder / "ca.crt")
        self._start_etcd(own, ca)
        self._run_api_server(own, ca, accounts)
        self._until_ready()
        self._start_managers(ca, accounts)

    def _start_etcd(self, own: tuple[str, str], ca: str) -> None:
        url = self._urls
        words = [
            "--name=holdfast",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={url['etcd']}",
            f"--advertise-client-urls={url['etcd']}",
            f"--listen-peer-urls={url['peers']}",
            f"--initial-advertise-peer-urls={url['peers']}",
            f"--initial-cluster=holdfast={url['peers']}",
            "--unsafe-no-fsync=true",  # nothing of it must outlive this machine's power
            *_etcd_tls("", *own, ca),
            *_etcd_tls("peer-", *own, ca),
        ]
        self.processes.start("etcd", [self._programs["etcd"], *words])

    def _run_api_server(self, own: tuple[str, str], ca: str, accounts: str) -> None:
        words = self._api_server(self._urls, own, ca, accounts)
        if self.feature_gates:
            self.feature_gates = self._known_gates(self.feature_gates)
            words += [f"--feature-gates={n}={str(on).lower()}" for n, on in sorted(self.feature_gates.items())]
        self.processes.start("kube-apiserver", [self._names["kube-apiserver"], *words])

    def _known_gates(self, wanted: Mapping[str, bool]) -> dict[str, bool]:
        """Those of some feature gates that this API server knows: it doesn't start with another one."""
        help_text = subprocess.run(
            [self._names["kube-apiserver"], "--help"], capture_output=True, text=True, check=False, timeout=30
        ).stdout
        return {name: on for name, on in wanted.items() if f"{name}=true|false" in help_text}

    def _start_managers(self, ca: str, accounts: str) -> None:
        """The controller manager and the scheduler; kwok starts once the API answers."""
        for name in ("kube-controller-manager", "kube-scheduler"):
            config = self.folder / "pki" / f"{name}.kubeconfig"
            words = [f"--{way}kubeconfig={config}" for way in ("", "authentication-", "authorization-")]
            words += ["--secure-port=0", "--leader-elect=false"]
            if name == "kube-controller-manager":
                words += [
                    f"--root-ca-file={ca}",
                    f"--service-account-private-key-file={accounts}",
                    f"--cluster-signing-cert-file={ca}",
                    f"--cluster-signing-key-file={self.folder / 'pki' / 'ca.key'}",
                    "--use-service-account-credentials=true",
                    "--allocate-node-cidrs=true",
                    f"--cluster-cidr={self.profile.more['pod_cidr']}",
                    f"--node-monitor-grace-period={self.timers.node_monitor_grace_s}s",
                    f"--node-monitor-period={self.timers.node_monitor_period_s}s",
                ]
            self.processes.start(name, [self._names[name], *words])

    def _start_kwok(self) -> None:
        config = ROOT / "clusters" / "standins" / "kwok" / "stages.yaml"
        words = [
            f"--kubeconfig={self.kubeconfig}",
            f"--config={config}",
            f"--manage-nodes-with-annotation-selector={_MANAGED}=fake",
            f"--node-lease-duration-seconds={self.timers.node_lease_s}",
            f"--cidr={self.profile.more['pod_cidr']}",
            "--node-ip=127.0.0.1",
        ]
        self.processes.start("kwok", [self._programs["kwok"], *words])

    def _install_flux(self) -> None:
        """Flux's kinds, as the profile's version has them; a tree that brings its own puts them over these."""
        client = self._client
        client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _FLUX_NAMESPACE}})
        text = (ROOT / self.profile.more["flux_kinds"]).read_text()
        kinds = [o for o in yaml.load_all(text, Loader=yaml.CSafeLoader) if o]
        for kind in kinds:
            client.apply(kind)
        names = [kind["metadata"]["name"] for kind in kinds]
        self._until(lambda: _established(client, names), "Flux's kinds are served")

    def _start_flux(self) -> None:
        for name, port in (("source", "metrics-source"), ("kustomize", "metrics-kustomize")):
            words = [
                f"--metrics-addr=127.0.0.1:{self.ports[port]}",
                "--health-addr=127.0.0.1:0",
                "--events-addr=",
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
        environment |= {"RELEASES": str(self.folder / "releases.json"), "NOTIFICATIONS": ""}
        environment |= {"HELM": str(builds.tool("helm"))}
        self._run_controller("helm-controller", helm, environment)
        world = [sys.executable, "-P", "-m", "holdfast.drivers.simulated", str(self.kubeconfig), self.mark]
        # A checkout that isn't installed is found by its folder: -P leaves out the current one only.
        self.processes.start("simulated", world, {"PYTHONPATH": str(ROOT)})

    def _run_controller(self, name: str, command: list[str], environment: Mapping[str, str] | None = None) -> None:
        where = {"KUBECONFIG": str(self.kubeconfig), "RUNTIME_NAMESPACE": _FLUX_NAMESPACE}
        where["TMPDIR"] = str(self._temporary())
        self.processes.start(name, command, {**where, **(environment or {})})

    def _temporary(self) -> Path:
        folder = self.folder / "tmp"
        folder.mkdir(exist_ok=True)
        return folder

    def _api_server(self, url: Mapping[str, str], own: tuple[str, str], ca: str, accounts: str) -> list[str]:
        return [
            f"--etcd-servers={url['etcd']}",
            f"--etcd-cafile={ca}",
            f"--etcd-certfile={own[0]}",
            f"--etcd-keyfile={own[1]}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--secure-port={self.ports['api']}",
            f"--tls-cert-file={own[0]}",
            f"--tls-private-key-file={own[1]}",
            f"--client-ca-file={ca}",
            f"--service-account-key-file={accounts}",
            f"--service-account-signing-key-file={accounts}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={self.profile.more['service_cidr']}",
            "--authorization-mode=Node,RBAC",
            # A tree's webhooks would be called from here, wherever they are.
            "--disable-admission-plugins=MutatingAdmissionWebhook,ValidatingAdmissionWebhook",
            "--allow-privileged=true",
            f"--default-not-ready-toleration-seconds={self.timers.toleration_s}",
            f"--default-unreachable-toleration-seconds={self.timers.toleration_s}",
        ]

    def check(self) -> None:
        """Raises DriverError where a process of the lane ended."""
        for name, started in self.processes.started.items():
            if not started.runs():
                raise DriverError(f"{name} ended by itself: {self.processes.last_words(name)}")

    def _until(self, ready: Callable[[], bool], what: str) -> None:
        limit = time.monotonic() + _UP_WITHIN_S
        while not ready():
            self.check()
            if time.monotonic() > limit:
                raise UsageError(f"not within {_UP_WITHIN_S:g}s: {what}", f"read the logs in {self.folder / 'log'}")
            time.sleep(_POLL_S)

    def _until_ready(self) -> None:
        def ready() -> bool:
            try:
                return self._client.is_ready()
            except CannotLook:
                return False

        self._until(ready, "the API server answers")

    def _nodes_ready(self) -> bool:
        try:
            found = [self._client.get("Node", node.name) for node in self.profile.nodes]
        except CannotLook:
            return False
        return all(node and condition(node, "Ready").get("status") == "True" for node in found)

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
        for name in ("kubeconfig", "releases.json"):
            (self.folder / name).unlink(missing_ok=True)

    # -- Git and charts ----------------------------------------------------------------------------------------------------

    def serve_git(self, site: GitSite) -> str:
        """On loopback, by SSH, under the site's own path."""
        folder = self.folder / "git-server"
        folder.mkdir(exist_ok=True)
        port = _free("git")["git"]
        path = urlsplit(site.url).path
        settings = {"port": port, "path": path, "repository": str(site.repository), "user_key": site.user_key}
        _private(folder / "host_key", site.host_key)
        _private(folder / "settings.json", json.dumps(settings))
        server = [sys.executable, "-P", "-m", "holdfast.drivers.gitssh", str(folder / "settings.json")]
        self.processes.stop("git-server")
        self.processes.start("git-server", server, {"PYTHONPATH": str(ROOT)})
        self._until(lambda: _listens(port), "the Git server answers")
        return f"ssh://git@127.0.0.1:{port}{path}"

    def give_releases(self, releases: Mapping[str, Mapping[str, Any]]) -> None:
        part = self.folder / "releases.part"
        part.write_text(json.dumps(releases))
        part.replace(self.folder / "releases.json")

    # -- what it can do --------------------------------------------------------------------------------------------------

    def before_change(self) -> None:
        """A throw-away cluster that this lane made may always be changed."""

    def nodes(self) -> list[Node]:
        return [Node(spec.name, spec.role) for spec in self.profile.nodes]

    def _known(self, node: str) -> None:
        if node not in [spec.name for spec in self.profile.nodes]:
            raise UsageError(f"the lane has no node {node}", f"it has: {', '.join(n.name for n in self.profile.nodes)}")

    def power_off(self, node: str) -> None:
        self._known(node)
        self._client.patch("Node", node, None, {"metadata": {"annotations": {_MANAGED: None}}})

    def power_on(self, node: str) -> None:
        self._known(node)
        self._client.patch("Node", node, None, {"metadata": {"annotations": {_MANAGED: "fake"}}})

    def is_on(self, node: str) -> bool:
        self._known(node)
        found = self._client.get("Node", node) or {}
        return bool((found.get("metadata", {}).get("annotations") or {}).get(_MANAGED) == "fake")


def _established(client: KubeClient, names: Sequence[str]) -> bool:
    served = {
        o["metadata"]["name"]
        for o in client.list("CustomResourceDefinition")
        if condition(o, "Established").get("status") == "True"
    }
    return served.issuperset(names)


def _names(folder: Path, kube: str) -> dict[str, str]:
    """The multi-call program under each name that it answers to."""
    folder.mkdir(exist_ok=True)
    names = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    for name in names:
        (folder / name).symlink_to(kube)
    return {name: str(folder / name) for name in names}


def _etcd_tls(prefix: str, certificate: str, key: str, ca: str) -> list[str]:
    return [
        f"--{prefix}cert-file={certificate}",
        f"--{prefix}key-file={key}",
        f"--{prefix}trusted-ca-file={ca}",
        f"--{prefix}client-cert-auth=true",
    ]


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def _free(*names: str) -> dict[str, int]:
    """A free port on loopback for each name."""
    sockets = [socket.socket() for _ in names]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return {name: int(one.getsockname()[1]) for name, one in zip(names, sockets, strict=True)}
    finally:
        for one in sockets:
            one.close()


def _node(spec: NodeSpec, of: Profile, kubernetes: str) -> dict[str, Any]:
    """A node as k3s makes it: its labels, no taint on the server."""
    labels = {
        "kubernetes.io/hostname": spec.name,
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": "k3s",
    }
    if spec.role == "server":
        labels["node-role.kubernetes.io/control-plane"] = "true"
    capacity = {"cpu": "8", "memory": "16Gi", "pods": "110", "ephemeral-storage": "200Gi"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": spec.name, "labels": labels, "annotations": {_MANAGED: "fake"}},
        "spec": {},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "nodeInfo": {
                "architecture": "amd64",
                "operatingSystem": "linux",
                "kubeletVersion": f"v{kubernetes}+k3s1",
                "osImage": of.name,
                "kernelVersion": "",
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
                "containerRuntimeVersion": "",
                "kubeProxyVersion": "",
            },
        },
    }
