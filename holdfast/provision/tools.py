"""The programs that a tree is read by: kustomize and helm, the user's own or ones that are built. The only place that looks for them."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from pathlib import Path

from holdfast.errors import UsageError
from holdfast.paths import ROOT, cache_dir
from holdfast.progress import console
from holdfast.provision import builds, fetched
from holdfast.provision.recipes import Recipes
from holdfast.tree.check import load
from holdfast.tree.kustomize import Tool
from holdfast.tree.repository import Repository
from holdfast.tree.tree import Tree

_SERVICE = "kustomize-service"
_AGAIN_AFTER_S = 24 * 3600


def kustomize() -> Tool:
    """The kustomize that is there.

    First the service of ours (built where Go is there: many times faster, and the packages that kustomize-controller uses), then the
    one on PATH, one that was built before, or kubectl's. Raises UsageError where there is none.
    """
    if service := _service():
        return Tool((service,), f"v{Recipes().version(_SERVICE)}", stays=True)
    if each := each_build():
        return each
    raise UsageError(
        "there is no kustomize: neither on PATH, nor by kubectl, nor Go and its modules to build it",
        "install kustomize 5 or kubectl, then run again",
    )


def each_build() -> Tool | None:
    """The kustomize that is called for each build; None where there is none."""
    if found := shutil.which("kustomize") or builds.built("kustomize"):
        return Tool.of((found, "build"))
    if kubectl := shutil.which("kubectl"):
        return Tool.of((kubectl, "kustomize"))
    return None


def _service() -> str:
    """The kustomize that stays, built now where it wasn't yet; empty where that can't be done. A failure isn't repeated for a day."""
    if not (ROOT / "clusters").is_dir():
        return ""
    recipes = Recipes()
    if (made := builds.program(recipes, _SERVICE)).exists():
        return str(made) if _starts(made) else ""
    failed = made.with_suffix(".failed")
    if not shutil.which("go") or (failed.exists() and time.time() - failed.stat().st_mtime < _AGAIN_AFTER_S):
        return ""
    try:
        return str(builds.binary(recipes, _SERVICE))
    except (UsageError, OSError) as error:
        if made.exists():  # another run has just made it
            return str(made)
        console.print(f"  kustomize is called for each build, which is slower ({error})", style="yellow", markup=False)
        with contextlib.suppress(OSError):
            failed.parent.mkdir(exist_ok=True)
            failed.touch()
        return ""


def _starts(program: Path) -> bool:
    """Whether a program runs here: asked nothing, the service ends at once."""
    try:
        return (
            subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30).returncode
            == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


def helm() -> str:
    """The helm that is there, or one that is built now; empty where there is none. Only a tree with a chart to render asks for it."""
    return shutil.which("helm") or builds.built("helm") or _made("helm")


def _made(name: str) -> str:
    """A tool, built now; empty where that can't be done."""
    if not shutil.which("go") or not (ROOT / "clusters").is_dir():
        return ""
    return str(builds.binary(Recipes(), name))


def read(
    root: Path,
    *,
    entry: str = "",
    kubernetes: str = "",
    flux: str = "",
    charts: Path | None = None,
    fetch: bool = False,
    found: Repository | None = None,
) -> Tree:
    """Reads a tree, as every command does: the only way in which one is judged. *fetch*: its releases' charts, too.

    *found*: its files, where they were listed already (of another commit, say).

    Raises UsageError where it can't be read at all.
    """
    return load(
        root,
        kustomize(),
        helm,
        entry=entry,
        kubernetes=kubernetes,
        flux=flux,
        cache=cache_dir() / "rendered",
        charts=charts,
        fetch=(lambda tree: fetched.fetch(tree, helm, charts)) if fetch else None,
        found=found,
    )
