"""Programs out of the images that their projects publish, where an image registry answers: neither an engine nor a compiler is needed."""

from __future__ import annotations

import hashlib
import platform
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import requests
from oras.container import Container
from oras.provider import Registry
from requests.adapters import HTTPAdapter

from holdfast.errors import UsageError
from holdfast.paths import cache_dir
from holdfast.progress import console, step
from holdfast.provision.mirror import mirror, named
from holdfast.provision.recipes import Recipes

_LOOK_S = 3.0  # a registry that can't be reached mustn't be waited for
_TIMEOUT_S = (5.0, 60.0)  # to connect; between two bytes
_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_CHUNK = 1 << 20
_LINKS = 5
_MALFORMED = (ValueError, LookupError, AttributeError, TypeError)  # what a registry sends isn't what it should be


class NotThere(Exception):
    """An image, or a program in it, that can't be had: in words."""


class _Patient(HTTPAdapter):
    """Requests that don't wait for ever."""

    def send(self, request: Any, *arguments: Any, **words: Any) -> Any:
        words["timeout"] = words.get("timeout") or _TIMEOUT_S
        return super().send(request, *arguments, **words)


def place(recipes: Recipes, name: str) -> Path:
    """Where a program lies once it was taken out of its image."""
    # What a mirror gives is never taken for what the project itself publishes.
    whole = f"{named(image_of(recipes, name))} {platform.machine()}"
    return cache_dir() / "bin" / f"{name}-published-{hashlib.sha256(whole.encode()).hexdigest()[:12]}"


def image_of(recipes: Recipes, name: str) -> str:
    """The image that a program is published in; empty where there is none."""
    text = str(recipes.table["published"].get(name, ""))
    return text.format_map(_Versions(recipes)) if text else ""


class _Versions(dict[str, str]):
    def __init__(self, recipes: Recipes) -> None:
        self.recipes = recipes

    def __missing__(self, name: str) -> str:
        return self.recipes.kubernetes if name == "kubernetes" else self.recipes.version(name)


def program(recipes: Recipes, name: str) -> Path | None:
    """A program out of its image, or the one that was taken out before; None where no registry has it."""
    image = image_of(recipes, name)
    if not image:
        return None
    target = place(recipes, name)
    if target.exists():
        return target
    if why := silence(_host(named(image))):
        if mirror():
            raise UsageError(
                f"{mirror()} (HOLDFAST_REGISTRY) doesn't answer: {why}",
                "start that registry, or unset the variable; a certificate authority of your own is named by REQUESTS_CA_BUNDLE",
            )
        return None
    try:
        with step(f"taking {name} out of {image}"):
            _take(named(image), name, target)
    except (NotThere, requests.RequestException, OSError, tarfile.TarError, *_MALFORMED) as error:
        console.print(f"  {name} isn't to be had from {image}: {error}", style="yellow", markup=False)
        return None
    return target


def _host(image: str) -> str:
    return image.partition("/")[0]


_SILENCE: dict[str, str] = {}
_ASKING = threading.Lock()


def silence(host: str) -> str:
    """Why a registry doesn't answer, said once; empty where it does, whatever it says."""
    with _ASKING:
        if host not in _SILENCE:
            _SILENCE[host] = why = _asked(host)
            if why and not mirror():
                said = f"  {host} doesn't answer ({why[:160]}), so what isn't there yet is built"
                console.print(said, style="dim", markup=False)
        return _SILENCE[host]


def _asked(host: str) -> str:
    said = [f"no word within {_LOOK_S:g}s"]

    def ask() -> None:
        try:
            requests.get(f"{_scheme(host)}://{host}/v2/", timeout=_LOOK_S)
            said[0] = ""
        except requests.RequestException as error:
            said[0] = str(error)

    asking = threading.Thread(target=ask, daemon=True)  # a resolver may take far longer than any timeout of a request
    asking.start()
    asking.join(_LOOK_S + 1)
    return said[0]


def _scheme(host: str) -> str:
    """A mirror on loopback speaks plainly."""
    return "http" if host == mirror() and host.partition(":")[0] in ("127.0.0.1", "localhost") else "https"


def _take(image: str, name: str, target: Path) -> None:
    """Takes a program out of an image, and puts it in its place once it is whole. Raises NotThere."""
    host = _host(image)
    registry = Registry(hostname=host, insecure=_scheme(host) == "http", auth_backend="token")
    for scheme in ("http://", "https://"):
        registry.session.mount(scheme, _Patient())
    container = Container(image)  # as anybody: whoever runs this may have credentials that are out of date
    manifest = _manifest(registry, container)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        found = _search(_layers(registry, container, manifest, Path(folder)), name, Path(folder) / name)
        if not found:
            raise NotThere(f"no layer has a program {name}")
        found.chmod(0o755)
        found.replace(target)


def _manifest(registry: Registry, container: Container) -> dict[str, Any]:
    """The manifest of this machine's architecture."""
    manifest = _document(registry, container, "")
    if "manifests" not in manifest:
        return manifest
    wanted = ("linux", _ARCHITECTURE.get(platform.machine(), platform.machine()))
    for one in manifest["manifests"]:
        of = one.get("platform") or {}
        if (of.get("os"), of.get("architecture")) == wanted:
            return _document(registry, container, str(one["digest"]))
    raise NotThere(f"it has nothing for {'/'.join(wanted)}")


def _document(registry: Registry, container: Container, digest: str) -> dict[str, Any]:
    """A manifest or an index, by digest or by the image's tag."""
    address = f"{registry.prefix}://{container.manifest_url(digest or None)}"
    answer = _get(registry, address, {"Accept": ", ".join(_INDEXES + _MANIFESTS)})
    if answer.status_code != 200:
        raise NotThere(f"the registry says {answer.status_code}")
    _must_be(digest, hashlib.sha256(answer.content).hexdigest())
    document: dict[str, Any] = answer.json()
    return document


def _get(registry: Registry, address: str, headers: dict[str, str], *, stream: bool = False) -> Any:
    """One request: oras itself tries again for two minutes, also what was refused."""
    try:
        return registry.do_request.__wrapped__(registry, address, "GET", headers=headers, stream=stream)
    except ValueError as why:
        raise NotThere(f"the registry refuses: {why}") from None


def _must_be(digest: str, sha256: str) -> None:
    if digest and digest != f"sha256:{sha256}":
        raise NotThere(f"the registry sends something other than {digest}")


def _layers(registry: Registry, container: Container, manifest: dict[str, Any], folder: Path) -> Iterator[Path]:
    """The layers, the last first, each as a file that is gone with the next one."""
    for layer in reversed(manifest.get("layers") or []):
        digest, file, seen = str(layer["digest"]), folder / "layer", hashlib.sha256()
        address = f"{registry.prefix}://{container.get_blob_url(digest)}"
        with _get(registry, address, {}, stream=True) as answer, file.open("wb") as out:
            if answer.status_code != 200:
                raise NotThere(f"the registry says {answer.status_code} to {digest}")
            for chunk in answer.iter_content(_CHUNK):
                seen.update(chunk)
                out.write(chunk)
        _must_be(digest, seen.hexdigest())
        yield file


def _search(layers: Iterator[Path], name: str, target: Path) -> Path | None:
    """A program by its name, in a folder for programs or at the root; a link to it is followed."""
    for layer in layers:
        with tarfile.open(layer) as tar:
            members = {str(PurePosixPath("/") / m.name): m for m in tar.getmembers()}
            for path, member in members.items():
                if not _is_program(path, name):
                    continue
                at: tarfile.TarInfo | None = member
                for _ in range(_LINKS):
                    if at is None or not at.issym():
                        break
                    at = members.get(str(_joined(PurePosixPath("/") / at.name, at.linkname)))
                content = tar.extractfile(at) if at and (at.isfile() or at.islnk()) else None
                if content:
                    with target.open("wb") as out:
                        while chunk := content.read(_CHUNK):
                            out.write(chunk)
                    return target
    return None


def _is_program(path: str, name: str) -> bool:
    at = PurePosixPath(path)
    return at.name == name and (at.parent.name in ("bin", "sbin") or str(at.parent) == "/")


def _joined(at: PurePosixPath, link: str) -> PurePosixPath:
    """Where a link leads, as a path from the root."""
    parts: list[str] = []
    for part in (at.parent / link).parts[1:]:
        if part == ".." and parts:
            parts.pop()
        elif part not in ("..", "."):
            parts.append(part)
    return PurePosixPath("/", *parts)
