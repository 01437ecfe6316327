"""Exercises the path of machines that reach an image registry: against one on loopback that holds our images under upstream names."""

import contextlib
import os
import subprocess
import sys
import time

from docker.errors import DockerException, NotFound

from holdfast.lane.lane import Lane
from holdfast.lane.subject import Subject
from holdfast.paths import ROOT
from holdfast.progress import step
from holdfast.provision import builds, engine, images, mirror
from holdfast.provision.recipes import Recipes

NAME, PORT = "holdfast-registry-exercise", 5055
CLAIMS = ("ingress-nodeports", "git-over-ssh")


def holdings(lane, recipes):
    """What the registry holds: name in it -> tag in the engine."""
    held = {f"kindest/node:v{recipes.kubernetes}": recipes.node_tag()}
    held |= {mirror.path(full): tag for full, tag in lane.fidelity.image_names().items()}
    return held | {mirror.path(name): recipes.tag(part) for part, name in recipes.table["upstream"].items()}


def serve(client, recipes):
    """The registry: in memory, in a container, on loopback."""
    remove(client)
    binary = builds.binary(recipes, "registry")
    client.containers.run(
        recipes.tag("debian"),
        ["/registry", "registry", "serve", "--address", "0.0.0.0:5000"],
        name=NAME,
        detach=True,
        volumes={str(binary): {"bind": "/registry", "mode": "ro"}},
        ports={"5000/tcp": ("127.0.0.1", PORT)},
        labels={"holdfast": NAME},
    )


def remove(client):
    with contextlib.suppress(NotFound):
        client.containers.get(NAME).remove(force=True, v=True)


def push(client, held):
    """Pushes each image; the names that were made for it are taken away again."""
    for name, tag in held.items():
        there = f"127.0.0.1:{PORT}/{name}"
        client.images.get(tag).tag(there)
        for attempt in range(20):
            said = [line for line in client.images.push(there, stream=True, decode=True) if "error" in line]
            if not said:
                break
            if attempt == 19:
                raise SystemExit(f"pushing {name} failed: {said[0]['error']}")
            time.sleep(0.5)  # the registry has just been started
        client.images.remove(there)


def main():
    os.environ.pop("HOLDFAST_REGISTRY", None)
    engine.ensure()
    recipes = Recipes()
    client = engine.client(timeout_s=600)
    images.build(recipes)
    lane = Lane("kind/fast", Subject(ROOT / "fixtures" / "gitops"))
    try:
        with step("filling a registry on loopback with our images under upstream names"):
            serve(client, recipes)
            push(client, holdings(lane, recipes))
        chosen = [word for claim in CLAIMS for word in ("--claim", claim)]
        done = subprocess.run(
            [sys.executable, "-m", "holdfast", "verify", "--lane", "kind/fast", *chosen],
            check=False,
            env={**os.environ, "HOLDFAST_REGISTRY": f"127.0.0.1:{PORT}"},
        )
        return done.returncode
    finally:
        with contextlib.suppress(DockerException):
            remove(client)
            for image in client.images.list():
                for tag in image.tags:
                    if tag.startswith(f"127.0.0.1:{PORT}/"):
                        client.images.remove(tag, force=True)


if __name__ == "__main__":
    sys.exit(main())
