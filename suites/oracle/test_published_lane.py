"""A lane of processes whose programs come out of a registry: a real one on loopback, filled by the client that image builders use."""

import socket
import subprocess
import tarfile
import time
import urllib.request

import pytest

from holdfast.drivers import kwok
from holdfast.kube import KubeClient
from holdfast.provision import builds, programs, published
from holdfast.provision.recipes import Recipes
from suites.harness import apart

NAMES = (*programs.KUBERNETES, "etcd", "kwok", "source-controller", "kustomize-controller")
_WITHIN_S = 20


@pytest.fixture
def registry(tmp_path):
    """A registry with each program in an image under its upstream name, as its project publishes it."""
    recipes = Recipes()
    crane = str(builds.binary(recipes, "registry"))
    made = {name: builds.binary(recipes, "kube" if name in programs.KUBERNETES else name) for name in NAMES}
    port = _free_port()
    address = f"127.0.0.1:{port}"
    (tmp_path / "disk").mkdir()
    served = subprocess.Popen(
        [crane, "registry", "serve", "--address", address, "--disk", str(tmp_path / "disk")], stderr=subprocess.DEVNULL
    )
    try:
        _until_it_answers(f"http://{address}/v2/")
        for name, program in made.items():
            layer = tmp_path / f"{name}.tar"
            with tarfile.open(layer, "w") as tar:
                tar.add(program, f"usr/local/bin/{name}")
            image = f"{address}/{published.image_of(recipes, name).partition('/')[2]}"
            command = [crane, "append", "--insecure", "-f", str(layer), "-t", image]
            subprocess.run(command, check=True, capture_output=True)
            layer.unlink()
        yield address
    finally:
        served.terminate()
        served.wait(10)


def _free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def _until_it_answers(address):
    limit = time.monotonic() + _WITHIN_S
    while True:
        try:
            urllib.request.urlopen(address, timeout=2).close()
        except OSError:
            assert time.monotonic() < limit, "the registry doesn't answer"
            time.sleep(0.1)
        else:
            return


def test_a_control_plane_starts_without_a_compiler(registry, tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("nothing is to be built where a registry has it")

    cache = apart.cache(tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("HOLDFAST_REGISTRY", registry)
    published._SILENCE.clear()
    monkeypatch.setattr(builds, "binary", never)
    monkeypatch.setattr("holdfast.provision.tools.helm", lambda: "")
    driver = kwok.open(kwok.profiles()[-1], tmp_path / "lane", "")
    driver.folder.mkdir()
    try:
        began = time.monotonic()
        driver.ensure_host()
        print(f"{len(NAMES)} programs in {time.monotonic() - began:.1f}s")
        driver.up()
        assert len(KubeClient(driver.kubeconfig).list("Node")) == 2
        assert {p.name for p in (cache / "holdfast" / "bin").iterdir() if "-published-" in p.name} == {
            published.place(Recipes(), name).name for name in NAMES
        }
    finally:
        driver.down()
        published._SILENCE.clear()
