"""Where node images come from: an image registry where one answers, else the offline images of this checkout."""

from __future__ import annotations

import functools
import os

from docker import DockerClient
from docker.errors import DockerException

from holdfast.errors import UsageError
from holdfast.host import engine, images
from holdfast.host.recipes import Recipes
from holdfast.progress import step

_MIRROR = "HOLDFAST_REGISTRY"


def mirror() -> str:
    """A registry that holds the upstream images, such as ``127.0.0.1:5000`` (``HOLDFAST_REGISTRY``); empty where none is named."""
    return os.environ.get(_MIRROR, "")


def _stock_name(kubernetes: str) -> str:
    return f"{mirror()}/kindest/node:v{kubernetes}".lstrip("/")


@functools.cache
def _answers(name: str) -> bool:
    client = engine.client(timeout_s=20)
    try:
        client.images.get(name)
    except DockerException:
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
        raise UsageError(f"{_MIRROR}={mirror()} doesn't give {name}", f"start that registry, or unset {_MIRROR}")
    return not answered


def node_image(client: DockerClient, kubernetes: str) -> str:
    """The node image for a Kubernetes version: pulled where a registry answers, else built."""
    if offline(kubernetes):
        return images.build(Recipes(kubernetes))
    name = _stock_name(kubernetes)
    with step(f"pulling {name}"):
        client.images.pull(name)
    return name
