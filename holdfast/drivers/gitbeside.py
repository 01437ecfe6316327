"""The Git server beside the nodes of a lane of containers: a container of its own on their network, which the cluster finds by name."""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.errors import APIError, NotFound

from holdfast.drivers import gitcontainer, gitssh
from holdfast.drivers.driver import DriverError, GitSite
from holdfast.drivers.owned import Owned
from holdfast.errors import UsageError
from holdfast.kube import KubeClient
from holdfast.progress import step
from holdfast.provision import mirror
from holdfast.waiting import CannotLook, patiently


class GitBeside(ABC):
    """A lane with such a server.

    Attributes:
        cluster: the lane's name, and that of its network.
        folder: where it is written down what is known of the server, also for another process.
        owned: what the lane has made.
    """

    cluster: str
    folder: Path
    owned: Owned

    @property
    @abstractmethod
    def docker(self) -> DockerClient:
        """The engine's client."""

    @property
    @abstractmethod
    def kubeconfig(self) -> Path:
        """How the cluster is reached."""

    @abstractmethod
    def needs_images(self) -> bool:
        """Whether no image registry answers."""

    @abstractmethod
    def upstream(self, part: str) -> str:
        """The image that runs a part of the lane's own."""

    @abstractmethod
    def resolve(self, client: KubeClient, hosts: tuple[str, ...], address: str) -> None:
        """Makes the cluster's DNS find *hosts* at *address*. Raises CannotLook while the API doesn't answer."""

    def serve_git(self, site: GitSite) -> str:
        image = self.upstream("git-server")
        image = image if self.needs_images() else mirror.named(image)
        with step("starting the Git server"):
            identity = gitcontainer.start(site, f"{self.cluster}-git", image, self.cluster, self.owned.labels)
            self.owned.record(identity)
        known = {"container": identity, "hosts": site.hosts, "etc": str(site.folder / "etc")}
        self._resolve_git(known)
        return site.url

    @property
    def _served(self) -> Path:
        """What is known of the Git server, also by another process."""
        return self.folder / "git-server.json"

    def _git(self) -> tuple[Any, dict[str, Any]]:
        """The Git server's container, as the engine sees it now, and what was written down of it."""
        try:
            known = json.loads(self._served.read_text())
            return self.docker.containers.get(known["container"]), known
        except (OSError, ValueError, NotFound) as why:
            raise DriverError(f"the lane's Git server isn't known: {why}") from None

    def _resolve_git(self, known: dict[str, Any]) -> None:
        """Has the cluster find the Git server; it may have another address after a start than before."""
        attrs = self.docker.containers.get(known["container"]).attrs
        address = str(attrs["NetworkSettings"]["Networks"][self.cluster]["IPAddress"])
        if address != known.get("address"):
            client, hosts = KubeClient(self.kubeconfig), tuple(known["hosts"])
            try:
                patiently(lambda: self.resolve(client, hosts, address), "the API server")
            except CannotLook as why:
                raise UsageError(str(why), "run: holdfast down, then run again") from None
            self._served.write_text(json.dumps({**known, "address": address}))

    def stop_git(self) -> None:
        container, _ = self._git()
        with contextlib.suppress(APIError):  # it may be off already
            container.kill("SIGKILL")

    def delay_git(self, delay_s: float) -> None:
        gitssh.set_delay(Path(self._git()[1]["etc"]), delay_s)

    def restore_git(self) -> None:
        container, known = self._git()
        gitssh.set_delay(Path(known["etc"]), 0)
        if container.status != "running":
            container.start()
        self._resolve_git(known)  # also where it runs: who started it may have been killed before this

    def git_delay_s(self) -> float | None:
        container, known = self._git()
        return gitssh.delay_s(Path(known["etc"])) if container.status == "running" else None
