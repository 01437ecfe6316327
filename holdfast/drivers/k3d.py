"""The k3d driver: a real k3s, whose nodes are containers of the local engine.

Written by k3d's configuration schema (v1alpha5), its command line and its source, and by k3s' documentation: no image of k3s could be had
where this was written. Every run says so, until a user's run says otherwise.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from docker.errors import APIError, ImageNotFound

from holdfast.drivers import leash, netcut, profile
from holdfast.drivers.containers import Containers
from holdfast.drivers.driver import DriverError
from holdfast.drivers.flavour import K3S
from holdfast.drivers.nodeshell import run_or_raise
from holdfast.drivers.owned import TOKEN_LABEL
from holdfast.drivers.profile import NodeSpec, Note
from holdfast.errors import UsageError
from holdfast.kube import KubeClient, condition
from holdfast.progress import step
from holdfast.provision import engine, mirror
from holdfast.provision.recipes import Recipes
from holdfast.waiting import CannotLook

ONLY_BY_NAME = True  # it isn't among what is run where no lane is named
OLDEST = (5, 7)  # the first k3d that puts files of its configuration into nodes
LONGEST_NAME = 32  # of a cluster: k3d refuses a longer one
_UNTRIED = Note(
    "the k3d driver was written by k3d's and k3s' documentation, and never run by us on a real k3s: what it says of a cluster, check once yourself",
    ("*",),
)
_FALLS_WHOLE = Note(
    "where the control plane of k3d's server is lost, its pods are too: in a container, k3s and what it runs end together",
    ("control-plane",),
)
_ROLES = {"server": "server", "agent": "worker"}
_DATA = "/var/lib/rancher/k3s/server/db/etcd"
_CONFIG = "/etc/rancher/k3s/config.yaml"
_FOLDER = "/etc/holdfast"  # on a node; it stays when the node is off
_LOST, _RESTORE = f"{_FOLDER}/etcd-lost", f"{_FOLDER}/etcd-restore"
# k3d's entrypoint runs what is called so before each start of k3s. Nothing is started while etcd is lost and nothing says from where it comes back.
_HOOK = "/bin/k3d-entrypoint-holdfast.sh"
_BEFORE_START = f"""#!/bin/sh
[ ! -e {_LOST} ] || [ -e {_RESTORE} ] || exit 1
[ -e {_RESTORE} ] || exit 0
rm -rf {_DATA}
/bin/k3s server --cluster-reset --cluster-reset-restore-path="$(cat {_RESTORE})" || exit 1
rm -f {_RESTORE} {_LOST}
"""
_READY_S = 240.0


def profiles() -> list[str]:
    """The profiles that there are."""
    return profile.names("k3d")


def open(name: str, folder: Path, owner: str) -> K3d:  # noqa: A001  the word of the protocol
    """The driver of a profile."""
    return K3d(f"holdfast-k3d-{name}-{owner}", profile.load("k3d", name), folder)


class K3d(Containers):
    """A cluster of k3d's."""

    name = "k3d"
    flavour = K3S

    @property
    def _prefixes(self) -> tuple[str, ...]:
        return (*super()._prefixes, f"k3d-{self.cluster}")

    def notes(self) -> list[Note]:
        return [*super().notes(), _UNTRIED, _FALLS_WHOLE]

    def ensure_host(self) -> None:
        engine.ensure()
        found = version_of(_program())
        if found < OLDEST:
            raise UsageError(
                f"k3d is {'.'.join(map(str, found))}, and this lane needs {'.'.join(map(str, OLDEST))}",
                "install a newer k3d",
            )

    def needs_images(self) -> bool:
        """Nothing of ours runs in a real k3s but what is pulled: without a registry there is no such lane at all."""
        return False

    def upstream(self, part: str) -> str:
        return str(Recipes(self.kubernetes).table["upstream"][part])

    def stand_ins(self, images: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG002  all of it is real
        return {}

    # -- up and down -------------------------------------------------------------------------------------------------------

    def _is_mine(self, container: Any) -> bool:
        """Also its tools container, which a killed k3d leaves: it can't be given a label, and is on the lane's network."""
        if super()._is_mine(container):
            return True
        own = {n.id for n in self.owned.networks(self.docker)}
        joined = {str(n.get("NetworkID")) for n in container.attrs["NetworkSettings"]["Networks"].values()}
        return container.name == f"k3d-{self.cluster}-tools" and bool(own & joined)

    def _make_volume(self) -> None:
        """The volume that k3d would make without a label, and take for its own where it is there."""
        name = f"k3d-{self.cluster}-images"
        if [v for v in self.docker.volumes.list(filters={"name": name}) if v.name == name]:
            raise UsageError(
                f"the volume {name} has this lane's name, and holdfast didn't make it",
                f"see what is in it; if nobody needs it: docker volume rm {name}",
            )
        self.docker.volumes.create(name, labels=self.owned.labels)

    def create(self) -> None:
        if len(self.cluster) > LONGEST_NAME:
            raise UsageError(
                f"k3d takes no name of {len(self.cluster)} letters ({self.cluster})", "give the profile a shorter name"
            )
        if set("$:") & set(str(self.folder)):
            raise UsageError(
                f"k3d can't be given a file of {self.folder}: it takes $ and : for its own", "set XDG_CACHE_HOME"
            )
        image = self._image()
        self._make_volume()
        hook = self.folder / "k3d-before-start.sh"
        hook.write_text(_BEFORE_START)
        hook.chmod(0o755)
        config = self.folder / "k3d.yaml"
        config.write_text(yaml.safe_dump(self._config(image, hook), sort_keys=False))
        self._k3d("cluster", "create", "--config", str(config))
        self._write_kubeconfig()
        self._until_ready()

    def _image(self) -> str:
        name = mirror.named(str(self.profile.more["k3s"]))
        try:
            self.docker.images.get(name)
        except ImageNotFound:
            try:
                with step(f"pulling {name}"):
                    self.docker.images.pull(name)
            except APIError as why:  # the engine answers, and no registry does
                raise UsageError(
                    f"the image {name} can't be had: {why}",
                    "this lane needs an image registry; without one: holdfast verify --lane kind/fast",
                ) from None
        return name

    def _config(self, image: str, hook: Path) -> dict[str, Any]:
        """k3d's configuration. It replaces variables in it, so nothing in it may have a dollar sign."""
        filters = {node.name: self._filter(node) for node in self.profile.nodes}
        every = list(filters.values())
        server = self.server
        published = self.published
        return {
            "apiVersion": "k3d.io/v1alpha5",
            "kind": "Simple",
            "metadata": {"name": self.cluster},
            "servers": sum(n.role == "server" for n in self.profile.nodes),
            "agents": sum(n.role == "worker" for n in self.profile.nodes),
            "kubeAPI": {"hostIP": published.loopback[server]},
            "image": image,
            "network": self.cluster,
            "volumes": [{"volume": f"{hook}:{_HOOK}", "nodeFilters": [filters[server]]}],
            "ports": [
                {"port": f"{published.loopback[node]}:{port}:{port}", "nodeFilters": [f"{one}:direct"]}
                for node, one in filters.items()
                for port in published.node_ports
            ],
            # Its entrypoint waits until the node of this name is there, which k3s calls as we say.
            "env": [{"envVar": f"HOSTNAME={node}", "nodeFilters": [one]} for node, one in filters.items()],
            "files": [
                {
                    "source": yaml.safe_dump(self._of_k3s(node), sort_keys=False),
                    "destination": _CONFIG,
                    "nodeFilters": [filters[node.name]],
                }
                for node in self.profile.nodes
            ],
            **({"registries": {"config": _mirrored()}} if mirror.mirror() else {}),
            "options": {
                "k3d": {
                    "wait": True,
                    "timeout": f"{_READY_S:g}s",
                    "disableLoadbalancer": True,
                    "disableRollback": True,
                },
                "kubeconfig": {"updateDefaultKubeconfig": False, "switchCurrentContext": False},
                "runtime": {"labels": [{"label": f"{TOKEN_LABEL}={self.owned.token}", "nodeFilters": every}]},
            },
        }

    def _of_k3s(self, node: NodeSpec) -> dict[str, Any]:
        """k3s' own configuration of a node: etcd as the document's server has it, and nothing beside what the tree brings."""
        if node.role == "worker":
            return {"node-name": node.name}
        return {
            "node-name": node.name,
            "cluster-init": True,
            "cluster-cidr": self.published.pod_cidr,
            "service-cidr": self.published.service_cidr,
            "disable": ["traefik", "servicelb"],
        }

    def _filter(self, node: NodeSpec) -> str:
        """How k3d's configuration calls one node."""
        same = [n.name for n in self.profile.nodes if n.role == node.role]
        return f"{'server' if node.role == 'server' else 'agent'}:{same.index(node.name)}"

    def _write_kubeconfig(self) -> None:
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(self._k3d("kubeconfig", "get", self.cluster))

    def _until_ready(self) -> None:
        """k3d returns when its nodes have registered; ready they are a little later."""
        client, limit, last = KubeClient(self.kubeconfig), time.monotonic() + _READY_S, ""
        while time.monotonic() < limit:
            try:
                nodes = client.list("Node")
                ready = [n["metadata"]["name"] for n in nodes if condition(n, "Ready").get("status") == "True"]
                if sorted(ready) == sorted(n.name for n in self.profile.nodes):
                    return
                last = f"ready: {', '.join(ready) or 'none'} of {len(nodes)}"
            except CannotLook as why:
                last = str(why)
            time.sleep(1)
        raise UsageError(
            f"the nodes aren't ready within {_READY_S:g}s ({last})",
            "see: docker logs, of its containers; then: holdfast down",
        )

    def _k3d(self, *words: str) -> str:
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        log = self.folder / "k3d.log"
        with log.open("ab") as out:
            done = subprocess.run(
                leash.on(_program(), *words),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=out,
                check=False,
                text=True,
            )
        if done.returncode:
            raise UsageError(
                f"k3d {' '.join(words[:2])} failed: {_last_error(log)}", f"read {log}, then: holdfast down"
            )
        return done.stdout

    # -- nodes -------------------------------------------------------------------------------------------------------------

    def role_of(self, container: Any) -> str:
        return _ROLES.get(container.labels.get("k3d.role", ""), "")

    def resolve(self, client: KubeClient, hosts: tuple[str, ...], address: str) -> None:
        """By a server block of CoreDNS' own, where k3s lets one be added; k3d keeps entries of its own in the same ConfigMap."""
        data = {_BLOCK: server_block(hosts, address)}
        if client.get("ConfigMap", _CUSTOM, _NAMESPACE):
            client.patch("ConfigMap", _CUSTOM, _NAMESPACE, {"data": data})
        else:
            meta = {"name": _CUSTOM, "namespace": _NAMESPACE}
            client.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})
        for pod in client.list("Pod", _NAMESPACE, labels="k8s-app=kube-dns"):  # its own reload takes up to 90 s
            client.delete("Pod", pod["metadata"]["name"], _NAMESPACE, grace_s=1)

    def cut_network(self, node: str, for_s: float) -> None:
        """The image has no systemd."""
        self.restore_network(node)
        self._run(node, netcut.cut(netcut.by_a_shell(for_s)))

    def restore_network(self, node: str) -> None:
        self._run(node, netcut.end_by_a_shell())

    # -- etcd --------------------------------------------------------------------------------------------------------------

    def save_etcd(self, file: str) -> None:
        folder = f"{file}.saving"
        words = shlex.join(["k3s", "etcd-snapshot", "save", "--name", "holdfast", "--etcd-snapshot-dir", folder])
        quoted = shlex.quote(folder)
        run_or_raise(
            self.shell(self.server),
            f"rm -rf {quoted}; mkdir -p {quoted}; {words} && mv {quoted}/holdfast-* {shlex.quote(file)}; rc=$?; rm -rf {quoted}; exit $rc",
        )

    def lose_etcd(self) -> None:
        """k3s is one process: the server goes with it. Nothing is asked of the API: this may be done twice."""
        server = self.server
        self.write_files(server, _FOLDER, {Path(_LOST).name: "by holdfast\n"})
        if self.is_on(server):
            run_or_raise(self.shell(server), f"rm -rf {_DATA}")
        self.power_off(server)

    def restore_etcd(self, file: str) -> None:
        server = self.server
        if Path(_LOST).name not in self.read_files(server, _FOLDER):
            return
        self.write_files(server, _FOLDER, {Path(_RESTORE).name: file})
        with contextlib.suppress(APIError):  # one that was begun before is begun anew
            self.container(server).kill("SIGKILL")
        self.power_on(server)
        limit = time.monotonic() + _READY_S
        while Path(_LOST).name in self.read_files(server, _FOLDER):
            if time.monotonic() > limit or not self.is_on(server):
                raise DriverError(f"k3s didn't come back from {file}: see what the container of {server} has logged")
            time.sleep(1)


def _program() -> str:
    found = shutil.which("k3d")
    if not found:
        raise UsageError("there is no program k3d on the PATH", "install k3d, or take another lane: --lane kind/fast")
    return found


def version_of(program: str) -> tuple[int, ...]:
    """The version of a k3d, major and minor. Raises UsageError where it says none; what was built from its sources counts as new."""
    done = subprocess.run(
        [program, "version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )
    if found := re.search(r"k3d version v(\d+)\.(\d+)", done.stdout):
        return int(found[1]), int(found[2])
    if re.search(r"k3d version v\d+-dev", done.stdout):
        return OLDEST
    raise UsageError(
        f"{program} doesn't say its version: {(done.stdout + done.stderr).strip()[:200]}", "install k3d anew"
    )


def _mirrored() -> str:
    """k3s' registry settings: every image by the mirror that the user names."""
    return yaml.safe_dump({"mirrors": {"*": {"endpoint": [f"http://{mirror.mirror()}"]}}})


def _last_error(log: Path) -> str:
    """k3d's own last error, without its colours."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in log.read_text(errors="replace").splitlines()]
    # The fatal line says only that it failed.
    for form in (r"ERRO\[|time=\S+ level=error|Error:", r"FATA\[|time=\S+ level=fatal", ""):
        if words := [line for line in lines if line.strip() and re.match(form, line)]:
            return words[-1].strip()[:300]
    return "no word in its log"


_NAMESPACE, _CUSTOM, _BLOCK = "kube-system", "coredns-custom", "holdfast.server"


def server_block(hosts: tuple[str, ...], address: str) -> str:
    """What CoreDNS answers for the lane's own names."""
    names = " ".join(f"{host}:53" for host in hosts)
    return "\n".join([f"{names} {{", "  hosts {", *(f"    {address} {host}" for host in hosts), "  }", "}"]) + "\n"
