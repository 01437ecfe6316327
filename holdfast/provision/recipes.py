"""The recipes of the offline images, read from ``clusters/images/images.toml``, and the content hash of each part."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from holdfast.errors import UsageError
from holdfast.paths import ROOT

CLUSTERS = ROOT / "clusters"

# Nothing at run time reads these; without them an image is half as large.
LEFT_OUT = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/javascript",
    "var/cache/apt",
    "var/cache/debconf",
    "var/lib/apt/lists",
)
NODE_BINARIES = ("kube", "containerd", "ctr", "containerd-shim-runc-v2", "ptp", "host-local", "loopback", "portmap")


def hash_of(*parts: object) -> str:
    """A short hash over strings and the files below folders (names, modes' executable bit, links and contents)."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for path in sorted([part, *part.rglob("*")]):
                if "__pycache__" in path.parts or path.suffix == ".pyc":
                    continue
                digest.update(str(path.relative_to(part)).encode())
                if path.is_symlink():
                    digest.update(str(path.readlink()).encode())
                elif path.is_file():
                    digest.update(path.read_bytes() + bytes([path.stat().st_mode & 0o100 > 0]))
        else:
            digest.update(f"{part}\0".encode())
    return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Recipe:
    """One image: its folder and what goes into its build context besides."""

    name: str
    recipe: str
    source: str = ""
    binaries: tuple[str, ...] = ()
    rootfs: str = ""
    python: str = ""
    charts: bool = False
    system: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipes:
    """Everything that ``images.toml`` says, with content hashes.

    Args:
        kubernetes_wanted: the Kubernetes version of the node image; None takes the first of the file.
        flux_wanted: the minor of Flux, such as ``2.9``; None takes the first of the file.
        root: the folder that recipes are relative to.
    """

    kubernetes_wanted: str | None = None
    flux_wanted: str | None = None
    root: Path = CLUSTERS
    _cache: dict[str, str] = field(default_factory=dict, compare=False)

    @cached_property
    def table(self) -> dict[str, Any]:
        return tomllib.loads((self.root / "images" / "images.toml").read_text())

    @cached_property
    def kubernetes(self) -> str:
        known: list[str] = self.table["versions"]["kubernetes"]
        wanted = self.kubernetes_wanted or known[0]
        if wanted not in known:
            raise UsageError(
                f"no recipe for Kubernetes {wanted}; images.toml has {', '.join(known)}",
                "add it to [versions] kubernetes in clusters/images/images.toml",
            )
        return wanted

    @cached_property
    def flux(self) -> str:
        known = list(self.table["flux"])
        wanted = self.flux_wanted or known[0]
        if wanted not in known:
            raise UsageError(f"no recipe for Flux {wanted}; images.toml has {', '.join(known)}", "choose one of these")
        return str(wanted)

    @cached_property
    def images(self) -> dict[str, Recipe]:
        """Recipes by name, in the order of the file (a recipe stands after the one it starts from)."""
        made = {}
        for name, entry in self.table["image"].items():
            values: dict[str, Any] = {
                ("source" if key == "from" else key): tuple(v) if isinstance(v, list) else v for key, v in entry.items()
            }
            made[name] = Recipe(name=name, **values)
        return made

    def version(self, binary: str) -> str:
        """The version of a program, empty for those of our own."""
        if binary in self.table["flux"][self.flux]:
            return str(self.table["flux"][self.flux][binary])
        if binary not in self.table["binary"]:
            return self.kubernetes
        key = self.table["binary"][binary].get("version", "")
        if key == "kubernetes":
            return self.kubernetes
        return str(self.table["versions"].get(key, ""))

    def can_build(self, binary: str) -> bool:
        """Whether there is a module with pinned sums for the version that is wanted."""
        first = next(iter(self.table["flux"].values()))
        return binary not in first or self.version(binary) == first[binary]

    def toolchain(self, binary: str) -> str:
        """The Go toolchain that *binary* asks for, such as ``go1.27.3``; empty where the machine's own will do."""
        if self.table["binary"][binary].get("version", "") != "kubernetes":
            return ""
        minor = self.kubernetes.rpartition(".")[0]
        return str(self.table.get("toolchain", {}).get(minor, ""))

    def hash_binary(self, name: str) -> str:
        entry = self.table["binary"][name]
        return hash_of(name, sorted(entry.items()), self.version(name), self.root / "images" / entry["module"])

    def hash_rootfs(self, name: str) -> str:
        return hash_of("rootfs-2", *LEFT_OUT, *sorted(self.table["rootfs"][name]))

    def hash_image(self, name: str) -> str:
        """The content hash of an image: its recipe and all that goes into it, down to the bottom."""
        if name not in self._cache:
            recipe = self.images[name]
            parts: list[object] = [name, self.root / recipe.recipe, *(self.hash_binary(b) for b in recipe.binaries)]
            if recipe.rootfs:
                parts.append(self.hash_rootfs(recipe.rootfs))
            if recipe.source:
                parts.append(self.hash_image(recipe.source))
            if recipe.python:
                parts.append(self.root / recipe.python)
            if recipe.charts:
                parts += sorted(self.root.glob("standins/*/chart"))
            self._cache[name] = hash_of(*parts)
        return self._cache[name]

    def hash_node(self) -> str:
        """The content hash of the node image with every image in it."""
        return hash_of(
            "node-1",
            self.root / "images" / "node",
            self.hash_rootfs("node"),
            *(self.hash_binary(b) for b in NODE_BINARIES),
            *(self.hash_image(i) for i in self.in_node()),
        )

    def in_node(self) -> list[str]:
        """The images that a node brings along: all but the one that runs beside the cluster, and the base of the others."""
        return [name for name in self.images if name not in ("git-server", "debian")]

    def tag(self, name: str) -> str:
        """The name of an image in the engine."""
        return f"holdfast/{name}:{self.hash_image(name)}"

    def node_tag(self) -> str:
        return f"holdfast/node:v{self.kubernetes}-{self.hash_node()}"
