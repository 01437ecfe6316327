"""Makes ``holdfast/checking/examples.json``, what `holdfast check --explain` shows of each rule: from its pair, and from the pairs that a rehearsal proves.

``python -m suites.harness.examples`` writes it anew; a test holds that it is what the pairs say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from holdfast.checking.explain import KUBELET
from holdfast.drivers.profile import load
from holdfast.paths import ROOT
from holdfast.provision.recipes import Recipes
from suites.bootstrap.test_kubelet import PROVES
from suites.harness import pairs
from suites.oracle.test_rehearsal import ASKED, AT_NIGHT, PROFILE, SAYS

FILE = ROOT / "holdfast" / "checking" / "examples.json"
_BEFORE, _AFTER = 7, 4


def made() -> dict[str, Any]:
    """Of each rule the first of its pairs: what it is about, the lines that are found, and what is otherwise in the valid tree."""
    found: dict[str, Any] = {}
    profile = load("kwok", PROFILE)
    on = f"Kubernetes {Recipes(profile.kubernetes).kubernetes}, Flux {profile.more['flux']}"
    for name, pair in pairs.load().items():
        one = found.setdefault(pair.rule, {**_example(pair), "rehearsed": []})
        if name in SAYS or name in AT_NIGHT or name in ASKED:
            one["rehearsed"].append(name)
            one["on"] = on
        elif name in PROVES:
            one["rehearsed"].append(name)
            one.setdefault("on", f"{KUBELET} of Kubernetes {Recipes().kubernetes}")
    return dict(sorted(found.items()))


def _example(pair: pairs.Pair) -> dict[str, Any]:
    about = (pairs.PAIRS / f"{pair.name}.toml").read_text().partition("\n")[0].removeprefix("# ")
    path = pairs.invalid(pair.name) / pair.file
    lines = path.read_text().splitlines() if path.is_file() and not path.is_symlink() else []
    first = _start(lines, pair.line)
    change = pair.table["invalid"][0]
    return {
        "about": about,
        "file": pair.file,
        "line": pair.line,
        "first": first,
        "lines": _document(lines[first - 1 : pair.line + _AFTER], pair.line - first),
        "valid": change["replace"].strip("\n").splitlines() if "replace" in change else [],
        "changed": change["file"],
    }


def _document(lines: list[str], at: int) -> list[str]:
    """The lines as far as the document goes that holds the line *at*."""
    end = next((n for n, line in enumerate(lines) if n > at and line.startswith("---")), len(lines))
    return lines[:end]


def _start(lines: list[str], line: int) -> int:
    """Where an excerpt begins: some lines before, and not before the document."""
    first = max(1, line - _BEFORE)
    for number in range(line - 1, first - 1, -1):
        if number <= len(lines) and lines[number - 1].startswith("---"):
            return number + 1
    return first


def main() -> None:
    """Writes the file."""
    Path(FILE).write_text(json.dumps(made(), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
