"""What a lane has made on the engine, by id: nothing else is ever touched, whatever it is called."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.errors import NotFound

from holdfast.errors import UsageError

TOKEN_LABEL = "holdfast.token"  # noqa: S105  the name of a label


class Owned:
    """The containers that were recorded, and a secret token that the lane's networks and its own containers carry as a label.

    The token is on disk before anything is made, and nobody else knows it: what a killed run had no time to record is found by it.

    Args:
        file: where it stands.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.token, self.containers, self.readable = "", list[str](), True
        try:
            found = json.loads(file.read_text())
            self.token, self.containers = str(found["token"]), [str(i) for i in found["containers"]]
        except FileNotFoundError:
            pass
        except (ValueError, TypeError, KeyError):
            self.readable = False

    def begin(self) -> None:
        """A new token, on disk from now on; what was recorded before is forgotten."""
        self.token, self.containers, self.readable = secrets.token_hex(16), [], True
        self._write()

    def record(self, *containers: str) -> None:
        """Adds containers by id."""
        self.containers += [i for i in containers if i not in self.containers]
        self._write()

    def end(self) -> None:
        """Nothing is there any more."""
        self.token, self.containers, self.readable = "", [], True
        self.file.unlink(missing_ok=True)

    def _write(self) -> None:
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps({"token": self.token, "containers": self.containers}))
        part.chmod(0o600)
        part.replace(self.file)

    @property
    def labels(self) -> dict[str, str]:
        """What everything carries that is made for the lane."""
        return {TOKEN_LABEL: self.token}

    def networks(self, client: DockerClient) -> list[Any]:
        """The networks with the token."""
        return client.networks.list(filters={"label": f"{TOKEN_LABEL}={self.token}"}) if self.token else []

    def volumes(self, client: DockerClient) -> list[Any]:
        """The volumes with the token."""
        return client.volumes.list(filters={"label": f"{TOKEN_LABEL}={self.token}"}) if self.token else []

    def mine(self, client: DockerClient, container: Any) -> bool:
        """Whether a container was recorded, carries the token, or was made on a network with the token."""
        if container.id in self.containers or (self.token and container.labels.get(TOKEN_LABEL) == self.token):
            return True
        own = {n.id for n in self.networks(client)}
        joined = {str(n.get("NetworkID")) for n in container.attrs["NetworkSettings"]["Networks"].values()}
        started_on = str(container.attrs.get("HostConfig", {}).get("NetworkMode", ""))
        names = {n.name for n in self.networks(client)}
        return bool(own & joined) and started_on in names | own

    def refuse_foreign(self, client: DockerClient, prefix: str) -> None:
        """Raises UsageError where a container or network has a name of the lane's and isn't the lane's."""
        found = client.containers.list(all=True, filters={"name": f"^/{prefix}-"}, ignore_removed=True)
        if foreign := [c.name for c in found if not self.mine(client, c)]:
            raise UsageError(
                f"the container {foreign[0]} has a name of this lane's, and holdfast didn't make it",
                f"see whose it is (docker inspect {foreign[0]}); if nobody needs it: docker rm -f {foreign[0]}",
            )
        own = {n.id for n in self.networks(client)}
        if [n for n in client.networks.list(names=[prefix]) if n.name == prefix and n.id not in own]:
            raise UsageError(
                f"the network {prefix} has this lane's name, and holdfast didn't make it",
                f"see whose it is (docker network inspect {prefix}); if nobody needs it: docker network rm {prefix}",
            )


def removed(client: DockerClient, identity: str) -> None:
    """Removes one container with its volumes; one that is gone is gone."""
    try:
        client.containers.get(identity).remove(force=True, v=True)
    except NotFound:
        return
