"""Where images come from: an image registry where one answers, else the offline images of this checkout."""

from __future__ import annotations

import functools
from typing import Any

from docker import DockerClient
from docker.errors import APIError, DockerException

from holdfast.errors import UsageError
from holdfast.progress import step
from holdfast.provision import engine, images
from holdfast.provision.mirror import VARIABLE, mirror, path
from holdfast.provision.recipes import Recipes

_ALIAS = "holdfast-registry"
NODE_LABEL, STAND_IN_LABEL = "holdfast.node", "holdfast.stand-in"


def _stock_name(kubernetes: str) -> str:
    return f"{mirror()}/kindest/node:v{kubernetes}".lstrip("/")


@functools.cache
def _answers(name: str) -> bool:
    client = engine.client(timeout_s=20)
    try:
        client.images.get_registry_data(name)
    except DockerException:
        return False
    return True


def offline(kubernetes: str = "") -> bool:
    """Whether no image registry answers, so that a lane runs the offline images.

    The engine is asked for the stock node image, so that its own settings (mirrors, proxies) decide.
    """
    name = _stock_name(kubernetes or Recipes().kubernetes)
    answered = _answers(name)
    if mirror() and not answered:
        raise UsageError(f"{VARIABLE}={mirror()} doesn't give {name}", f"start that registry, or unset {VARIABLE}")
    return not answered


def node_image(client: DockerClient, kubernetes: str) -> str:
    """The node image for a Kubernetes version: pulled where a registry answers, else built."""
    if offline(kubernetes):
        return images.build(Recipes(kubernetes))
    name = _stock_name(kubernetes)
    with step(f"pulling {name}"):
        client.images.pull(name)
    return name


def is_own(client: DockerClient, image: str, label: str) -> bool:
    """Whether an image in the engine is one of ours: it says so by a label, whatever its name is."""
    return label in (client.images.get(image).labels or {})


@functools.cache
def mirrored_stand_in(image: str) -> bool:
    """Whether the mirror gives a stand-in of ours under an upstream name (an upstream image never carries our label)."""
    if not mirror():
        return False
    client, name = engine.client(), f"{mirror()}/{path(image)}"
    try:
        client.images.pull(name)
    except DockerException:
        return False
    return is_own(client, name, STAND_IN_LABEL)


def upstream(part: str, kubernetes: str) -> str:
    """What runs a part of the lane's own (git-server, sampler): the offline image, or the upstream one that images.toml names."""
    recipes = Recipes(kubernetes)
    return recipes.tag(part) if offline(kubernetes) else str(recipes.table["upstream"][part])


def trust_mirror(client: DockerClient, network: str, nodes: list[Any], write: Any) -> None:
    """Lets the nodes pull from the mirror: a registry on loopback is a container here, so it joins the lane's network.

    Args:
        nodes: node names.
        write: called with (node, folder, files) to put files on a node.
    """
    if not mirror():
        return
    host, _, port = mirror().partition(":")
    address = f"http://{mirror()}"
    if host in ("127.0.0.1", "localhost"):
        published = [
            c
            for c in client.containers.list()
            if any(p.get("HostPort") == port for ports in c.ports.values() if ports for p in ports)
        ]
        if not published:
            raise UsageError(
                f"no container publishes {mirror()}; the nodes can't reach a registry that runs on loopback outside of one",
                "run the registry in a container, or name one by an address that the nodes reach",
            )
        inner = next(
            inner for inner, ports in published[0].ports.items() for p in ports or [] if p.get("HostPort") == port
        )
        try:
            client.networks.get(network).connect(published[0], aliases=[_ALIAS])
        except APIError as error:
            if "already exists" not in str(error):
                raise
        address = f"http://{_ALIAS}:{inner.partition('/')[0]}"
    settings = f'[host."{address}"]\n  capabilities = ["pull", "resolve"]\n'
    for node in nodes:
        write(node, "/etc/containerd/certs.d/_default", {"hosts.toml": settings})
