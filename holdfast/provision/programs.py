"""The programs of a lane of processes: out of the images of their projects where a registry answers, else built."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from holdfast.errors import UsageError
from holdfast.provision import builds, published
from holdfast.provision.recipes import Recipes

KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
_ONE = "kube"  # the build that answers to all of these names


def program(recipes: Recipes, name: str) -> Path:
    """One program: built before, published, or built now. Raises UsageError where it can't be had."""
    build = _ONE if name in KUBERNETES else name
    built = builds.program(recipes, build) if recipes.can_build(build) else None
    if built and built.exists():
        return built
    if taken := published.program(recipes, name):
        return taken
    if not built:
        raise UsageError(
            f"{name} {recipes.version(name)} can't be built here: there is no module with pinned sums for it",
            f"use a machine that reaches an image registry, which has {published.image_of(recipes, name)}, or another version",
        )
    return builds.binary(recipes, build)


def all_of(recipes: Recipes, names: Iterable[str]) -> dict[str, Path]:
    """Several programs by name, two at a time; Kubernetes' own are one build."""
    wanted = list(names)
    first = [n for n in wanted if n not in KUBERNETES[1:]]
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(first, pool.map(lambda name: program(recipes, name), first), strict=True))
        rest = [n for n in wanted if n not in found]
        return found | dict(zip(rest, pool.map(lambda name: program(recipes, name), rest), strict=True))


def tool(recipes: Recipes, name: str) -> Path:
    """A program that is called on this machine: the user's own on PATH, else as `program` has it."""
    found = shutil.which(name)
    return Path(found) if found else program(recipes, name)
