"""What a lane has made on the engine, by id: nothing else is ever touched, whatever it is called."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from docker import DockerClient
from docker.errors import NotFound

from holdfast.errors import UsageError

TOKEN_LABEL = "holdfast.token"  # noqa: S105  the name of a label


@dataclass
class Owned:
    """The containers that were recorded, and a secret *token* that the lane's networks and its own containers carry as a label.

    The token is on disk before anything is made, and nobody else knows it: what a killed run had no time to record is found by it.
    """

    token: str = ""
    containers: list[str] = field(default_factory=list)

    def networks(self, client: DockerClient) -> list[Any]:
        """The networks with the token."""
        return client.networks.list(filters={"label": f"{TOKEN_LABEL}={self.token}"}) if self.token else []

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
