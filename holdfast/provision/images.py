"""Builds the offline images: everything that a lane needs on a machine that reaches no image registry."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from docker import DockerClient
from docker.errors import APIError, BuildError, ImageNotFound

from holdfast.errors import UsageError
from holdfast.paths import cache_dir
from holdfast.progress import step
from holdfast.provision import builds, engine
from holdfast.provision.recipes import NODE_BINARIES, Recipe, Recipes

_NEEDED_BYTES = 10 * 10**9


def _exists(client: DockerClient, tag: str) -> bool:
    try:
        client.images.get(tag)
    except ImageNotFound:
        return False
    return True


def _docker_build(client: DockerClient, context: Path, tag: str, arguments: dict[str, str]) -> None:
    try:
        client.images.build(path=str(context), tag=tag, rm=True, forcerm=True, buildargs=arguments, network_mode="none")
    except (BuildError, APIError) as error:
        full = "no space left" in str(error).lower()
        raise UsageError(
            f"building the image {tag} failed: {error}",
            "free some space (10 GB are needed), then run again" if full else "fix the recipe, then run again",
        ) from None


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)
    target.chmod(0o755)


def _install_python(lock: Path, target: Path) -> None:
    command = [
        "python3",
        "-I",  # not from the folder that the user stands in, which may be a tree
        "-m",
        "pip",
        "install",
        "-q",
        "--require-hashes",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version",
        "3.11",
        "--implementation",
        "cp",
        "--platform",
        "manylinux2014_x86_64",
        "--platform",
        "manylinux_2_28_x86_64",
        "--target",
        str(target),
        "-r",
        str(lock),
    ]
    builds.run(
        command, what="installing the Python packages of the stand-ins", log=cache_dir() / "log" / "build-python.log"
    )


@contextlib.contextmanager
def _context(recipes: Recipes, recipe: Recipe) -> Iterator[Path]:
    """The build context of one image: its recipe folder and what the recipe names besides."""
    with tempfile.TemporaryDirectory(dir=cache_dir()) as name:
        context = Path(name)
        shutil.copytree(
            recipes.root / recipe.recipe,
            context,
            dirs_exist_ok=True,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        for binary in recipe.binaries:
            _link(builds.binary(recipes, binary), context / binary)
        if recipe.rootfs:
            _link(builds.rootfs(recipes, recipe.rootfs), context / "rootfs.tar")
        if recipe.python:
            _install_python(recipes.root / recipe.python, context / "python")
        if recipe.charts:
            for chart in recipes.root.glob("standins/*/chart"):
                shutil.copytree(chart, context / "charts" / chart.parent.name)
        yield context


def image(client: DockerClient, recipes: Recipes, name: str) -> str:
    """Builds one image where its content hash isn't there yet; returns its tag."""
    tag, recipe = recipes.tag(name), recipes.images[name]
    if _exists(client, tag):
        return tag
    arguments = {"FROM": image(client, recipes, recipe.source), "NAME": name} if recipe.source else {}
    with step(f"building the image {name}"), _context(recipes, recipe) as context:
        _docker_build(client, context, tag, arguments)
    return tag


def system_names(recipes: Recipes) -> dict[str, str]:
    """kubeadm's names of the system images: recipe name of each, by full name, from kubeadm itself."""
    kube = builds.binary(recipes, "kube")
    with tempfile.TemporaryDirectory() as folder:
        kubeadm = Path(folder) / "kubeadm"
        kubeadm.symlink_to(kube)
        words = subprocess.run(
            [str(kubeadm), "config", "images", "list", f"--kubernetes-version=v{recipes.kubernetes}"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
    by_part = {part: name for name, recipe in recipes.images.items() for part in recipe.system}
    return {full: by_part[full.rpartition("/")[2].partition(":")[0]] for full in words}


def _node_base(client: DockerClient, recipes: Recipes, pause: str) -> str:
    tag = recipes.node_tag().replace("holdfast/node", "holdfast/node-base")
    if _exists(client, tag):
        return tag
    with step("building the node image"), tempfile.TemporaryDirectory(dir=cache_dir()) as name:
        context = Path(name) / "context"
        shutil.copytree(recipes.root / "images" / "node", context, symlinks=True)
        for binary in NODE_BINARIES:
            _link(builds.binary(recipes, binary), context / binary)
        _link(builds.rootfs(recipes, "node"), context / "rootfs.tar")
        programs = context / "files" / "usr" / "bin"
        programs.mkdir(parents=True, exist_ok=True)
        for program in ("kubelet", "kubeadm", "kubectl"):
            (programs / program).symlink_to("kube")
        settings = context / "files" / "etc/containerd/config.toml"
        settings.write_text(settings.read_text().replace("@PAUSE@", pause))
        (context / "files" / "kind" / "version").write_text(f"v{recipes.kubernetes}")
        _docker_build(client, context, tag, {})
    return tag


def _preload(client: DockerClient, base: str, images: dict[str, str], tag: str) -> None:
    """Puts *images* (full name -> tag in the engine) into the containerd of *base*, already unpacked, and commits that as *tag*.

    containerd's overlay snapshots can't lie on an overlay file system, so its folder is a volume meanwhile, and becomes a layer after.
    """
    with (
        step(f"putting {len(images)} images into the node image"),
        tempfile.TemporaryDirectory(dir=cache_dir()) as name,
    ):
        folder = Path(name)
        for full, local in images.items():
            client.images.get(local).tag(full)
        store = folder / "store"
        store.mkdir()
        container = client.containers.run(
            base,
            entrypoint=["/usr/local/bin/containerd"],
            detach=True,
            privileged=True,
            network_mode="none",
            volumes={str(store): {"bind": "/var/lib/containerd", "mode": "rw"}},
        )
        try:
            _wait_for_containerd(container)
            send(list(images), str(container.id), "--local", "--discard-unpacked-layers")
            container.stop(timeout=20)
        finally:
            container.remove(force=True, v=True)
        context = folder / "context"
        context.mkdir()
        subprocess.run(["tar", "-C", str(store), "--xattrs", "-cf", str(context / "store.tar"), "."], check=True)
        (context / "Dockerfile").write_text(f"FROM {base}\nADD store.tar /var/lib/containerd/\n")
        _docker_build(client, context, tag, {})


def send(tags: list[str], container: str, *options: str) -> None:
    """Sends images of the engine into the containerd of a running node container."""
    saved = subprocess.Popen(["docker", "save", *tags], stdout=subprocess.PIPE)
    done = subprocess.run(
        ["docker", "exec", "-i", container, "ctr", "-n", "k8s.io", "images", "import", *options, "-"],
        stdin=saved.stdout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert saved.stdout
    saved.stdout.close()  # or a reader that ended early leaves the writer waiting for ever
    if saved.wait() or done.returncode:
        raise UsageError(f"importing images into a node failed: {done.stderr.strip()[-400:]}", "run again")


def _wait_for_containerd(container: object) -> None:
    for _ in range(100):
        if container.exec_run(["ctr", "version"]).exit_code == 0:  # type: ignore[attr-defined]
            return
        threading.Event().wait(0.2)
    raise UsageError("containerd doesn't start in the node image", "run: docker logs, on a container of the node image")


def _check_space() -> None:
    free = shutil.disk_usage(cache_dir()).free
    if free < _NEEDED_BYTES:
        raise UsageError(
            f"building the offline images needs 10 GB of disk, and {free / 1e9:.1f} GB are free",
            "free some space, then run again",
        )


def ready(recipes: Recipes) -> bool:
    """Whether the offline images of this checkout are built."""
    client = engine.client()
    return _exists(client, recipes.node_tag()) and _exists(client, recipes.tag("git-server"))


def build(recipes: Recipes | None = None) -> str:
    """Builds every offline image that isn't there yet, and returns the tag of the node image.

    Interrupted at any point, the next call goes on where this one stopped: each part lands under its content hash only when it is whole.
    """
    recipes = recipes or Recipes()
    client = engine.client(timeout_s=1800)
    if ready(recipes):
        return recipes.node_tag()
    _check_space()
    (cache_dir() / "log").mkdir(exist_ok=True)
    # Debian's packages come over the network while Go keeps the processors busy.
    with ThreadPoolExecutor(1) as pool:
        debian = [pool.submit(builds.rootfs, recipes, name) for name in recipes.table["rootfs"]]
        for name, entry in recipes.table["binary"].items():
            if not entry.get("tool"):
                builds.binary(recipes, name)
        for made in debian:
            made.result()
    tags = {name: image(client, recipes, name) for name in recipes.images}
    system = {full: tags[name] for full, name in system_names(recipes).items()}
    base = _node_base(client, recipes, next(full for full in system if "/pause:" in full))
    inside = {tags[name]: tags[name] for name in recipes.in_node() if not recipes.images[name].system}
    _preload(client, base, {**system, **inside}, recipes.node_tag())
    return recipes.node_tag()


def archive(files: dict[str, str]) -> bytes:
    """A tar archive of text files, for Docker's copy API."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, text in files.items():
            data = text.encode()
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()
