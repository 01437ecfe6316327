"""Since when Kubernetes no longer serves a version of an API: data made of the Go types of Kubernetes' own modules."""

from __future__ import annotations

import functools
import gzip
import json
import re
import sys
from importlib import resources
from pathlib import Path

from holdfast.tree.manifest import Manifest

_FILE = "lifecycle.json.gz"
_GROUP = re.compile(r'^(?:const )?\s*GroupName\s*=\s*"([^"]*)"', re.MULTILINE)
_REMOVED = re.compile(r"^func \(in \*(\w+)\) APILifecycleRemoved\(\)[^{]*\{\s*return 1, (\d+)", re.MULTILINE)


def removed_in(manifest: Manifest) -> int | None:
    """The first minor of Kubernetes 1 that doesn't serve an object's version; None where nothing of that is known."""
    return _data().get(f"{manifest.group}/{manifest.api.rpartition('/')[2]}/{manifest.kind}")


@functools.cache
def _data() -> dict[str, int]:
    packed = (resources.files("holdfast.tree") / "schemas" / _FILE).read_bytes()
    return dict(json.loads(gzip.decompress(packed)))


def compact(modules: list[Path]) -> dict[str, int]:
    """``group/version/Kind`` with the minor that removes it, of folders of Go modules; a later folder's word is taken."""
    found = {}
    for module in modules:
        for file in sorted(module.rglob("zz_generated.prerelease-lifecycle.go")):
            group = _GROUP.search((file.parent / "register.go").read_text())
            for kind, minor in _REMOVED.findall(file.read_text()):
                if group and not kind.endswith("List"):
                    found[f"{group[1]}/{file.parent.name}/{kind}"] = int(minor)
    return found


def main() -> None:
    """``python -m holdfast.tree.lifecycle FOLDER MODULE…``: makes the package data; an older module still has what a newer one dropped."""
    folder, *modules = map(Path, sys.argv[1:])
    text = json.dumps(compact(modules), separators=(",", ":"), sort_keys=True).encode()
    (folder / _FILE).write_bytes(gzip.compress(text, mtime=0))


if __name__ == "__main__":
    main()
