"""The programs that a tree is read by: kustomize and helm, the user's own or ones that are built. The only place that looks for them."""

from __future__ import annotations

import shutil
from pathlib import Path

from holdfast.errors import UsageError
from holdfast.paths import ROOT, cache_dir
from holdfast.provision import builds
from holdfast.provision.recipes import Recipes
from holdfast.tree.build import Tool
from holdfast.tree.check import load
from holdfast.tree.tree import Tree


def kustomize() -> Tool:
    """The kustomize that is there: the one on PATH, one that was built, kubectl's, or else one that is built now."""
    if found := shutil.which("kustomize") or builds.built("kustomize"):
        return Tool.of((found, "build"))
    if kubectl := shutil.which("kubectl"):
        return Tool.of((kubectl, "kustomize"))
    if made := _made("kustomize"):
        return Tool.of((made, "build"))
    raise UsageError(
        "there is no kustomize: neither on PATH, nor by kubectl, nor Go to build it",
        "install kustomize 5 or kubectl, then run again",
    )


def helm() -> str:
    """The helm that is there, or one that is built now; empty where there is none. Only a tree with a chart to render asks for it."""
    return shutil.which("helm") or builds.built("helm") or _made("helm")


def _made(name: str) -> str:
    """A tool, built now; empty where that can't be done."""
    if not shutil.which("go") or not (ROOT / "clusters").is_dir():
        return ""
    return str(builds.binary(Recipes(), name))


def read(root: Path, *, entry: str = "", kubernetes: str = "", charts: Path | None = None) -> Tree:
    """Reads a tree, as every command does: the only way in which one is judged. Raises UsageError where it can't be read at all."""
    return load(
        root, kustomize(), helm, entry=entry, kubernetes=kubernetes, cache=cache_dir() / "rendered", charts=charts
    )
