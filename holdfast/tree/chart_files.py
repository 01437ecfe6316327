"""A chart's files in a folder of their own, with the values files that its release names merged as source-controller does."""

from __future__ import annotations

import posixpath
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from holdfast.tree.manifest import Body, get, mapping, sequence
from holdfast.tree.releases import Release, merged
from holdfast.tree.sources import load_text
from holdfast.tree.tree import Tree


class NoChart(Exception):
    """Why source-controller makes no chart of a release's: a values file that isn't there, a file that can't be unpacked."""


def put(tree: Tree, release: Release, chart: str, target: Path) -> None:
    """Puts a chart into the folder *target*, which isn't there yet. Raises NoChart.

    Args:
        chart: a folder of the tree, or the absolute path of a folder or of a packed chart. Links are left out: helm would follow them.
    """
    inside = not Path(chart).is_absolute()
    try:
        _files(tree, chart, target, inside=inside)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise NoChart(f"the chart can't be unpacked: {error}") from None
    _merge_values(tree, release, target, inside=inside)


def _files(tree: Tree, chart: str, target: Path, *, inside: bool) -> None:
    if inside:
        _copy(tree.repository.root, ((f, posixpath.relpath(f, chart)) for f in tree.repository.below(chart)), target)
    elif Path(chart).is_dir():
        root = Path(chart)
        found = (p for p in root.rglob("*") if p.is_file() and not p.is_symlink())
        _copy(root, ((str(p.relative_to(root)), str(p.relative_to(root))) for p in found), target)
    else:
        _unpack(Path(chart), target)


def _merge_values(tree: Tree, release: Release, target: Path, *, inside: bool) -> None:
    wanted = _named(tree, release)
    if not wanted:
        return
    values: Body = {}
    for name in wanted:
        # In a repository a path is the repository's; of a packed chart it is the chart's own.
        file = tree.repository.root / name if inside else target / name
        there = (
            name in tree.repository.known
            if inside
            else file.resolve().is_relative_to(target.resolve()) and file.is_file()
        )
        if not there:
            if _may_lack(tree, release):
                continue
            raise NoChart(f"no values file found at path '{name}'")
        try:
            values = merged(values, mapping(load_text(file.read_text(errors="replace"))))
        except (yaml.YAMLError, ValueError) as error:
            raise NoChart(f"unmarshaling values from '{name}' failed: {str(error).splitlines()[0]}") from None
    (target / "values.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def _spec(tree: Tree, release: Release) -> Body:
    """What says which chart a release takes: its own template, or the HelmChart that it names."""
    own = release.manifest
    reference = mapping(own.spec.get("chartRef"))
    if reference.get("kind") == "HelmChart":
        key = ("HelmChart", str(reference.get("namespace") or own.namespace), str(reference.get("name")))
        return tree.by_key[key].spec if key in tree.by_key else {}
    return mapping(get(own.spec, "chart", "spec"))


def _named(tree: Tree, release: Release) -> list[str]:
    return [posixpath.normpath(str(v).lstrip("/")) for v in sequence(_spec(tree, release).get("valuesFiles"))]


def _may_lack(tree: Tree, release: Release) -> bool:
    return _spec(tree, release).get("ignoreMissingValuesFiles") is True


def _copy(root: Path, files: Iterator[tuple[str, str]], target: Path) -> None:
    for file, name in files:
        there = target / name
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / file, there, follow_symlinks=False)


def _unpack(packed: Path, target: Path) -> None:
    """The regular files of a packed chart, without the folder that all of them lie in."""
    with tarfile.open(packed) as tar:
        for member in tar:
            name = posixpath.normpath(member.name).partition("/")[2]
            if not member.isfile() or not name or name.startswith("../") or f"/{name}/".find("/../") >= 0:
                continue
            content = tar.extractfile(member)
            assert content, "a regular file has a content"
            there = target / name
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(content.read())
