"""The pairs of ``fixtures/pairs``: a valid tree and an invalid one that differs from it in one defect, made from a shared base and a patch.

A pair is one file. ``[files]`` gives paths their text; a list joins YAML documents, and ``@NAME`` takes one of ``parts/``. Each ``[[invalid]]``
changes a file in the invalid tree only, each ``[[both]]`` in both: ``replace`` … ``with`` …, ``write`` (a new file), ``link`` or ``remove``. What both
begin with is ``base/``, or the reference tree where the pair says ``base = "gitops"``.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.paths import ROOT

PAIRS = ROOT / "fixtures" / "pairs"


@dataclass(frozen=True)
class Pair:
    """One pair: the *rule* that must find the defect, and where (``FILE:LINE`` of the invalid tree)."""

    name: str
    rule: str
    file: str
    line: int
    table: dict[str, Any]


@functools.cache
def load() -> dict[str, Pair]:
    """Every pair, by its name."""
    found = {}
    for path in sorted(PAIRS.glob("*.toml")):
        table = tomllib.loads(path.read_text())
        file, _, line = table["at"].rpartition(":")
        found[path.stem] = Pair(path.stem, table["rule"], file, int(line), table)
    return found


def _text(value: str | list[str]) -> str:
    if isinstance(value, str):
        return value
    return "---\n".join((PAIRS / "parts" / f"{v[1:]}.yaml").read_text() if v.startswith("@") else v for v in value)


def write(pair: Pair, folder: Path, *, valid: bool) -> Path:
    """Writes one tree of a pair into *folder*, which it makes."""
    reference = pair.table.get("base") == "gitops"
    shutil.copytree(ROOT / "fixtures" / "gitops" if reference else PAIRS / "base", folder)
    for name, value in pair.table.get("files", {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(_text(value))
    for change in [*pair.table.get("both", []), *([] if valid else pair.table["invalid"])]:
        _change(pair, folder / change["file"], change)
    return folder


def _change(pair: Pair, path: Path, change: dict[str, Any]) -> None:
    if "replace" in change:
        before = path.read_text()
        assert before.count(change["replace"]) == 1, (
            f"{pair.name}: what is replaced in {change['file']} must stand there once"
        )
        path.write_text(before.replace(change["replace"], change["with"]))
        return
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if "link" in change:
        path.symlink_to(change["link"])
    elif "write" in change:
        path.write_text(_text(change["write"]))
    else:
        assert change["remove"] is True


_made: list[tempfile.TemporaryDirectory[str]] = []  # removed when the process ends


@functools.cache
def tree(name: str, *, valid: bool) -> Path:
    """The folder of one tree of a pair, written once a process; nobody changes it."""
    if not _made:
        _made.append(tempfile.TemporaryDirectory(prefix="holdfast-pairs-"))
    return write(load()[name], Path(_made[0].name) / name / ("valid" if valid else "invalid"), valid=valid)


def valid(name: str) -> Path:
    """The valid tree of a pair."""
    return tree(name, valid=True)


def invalid(name: str) -> Path:
    """The invalid tree of a pair."""
    return tree(name, valid=False)
