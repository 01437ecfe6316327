#!/usr/bin/env python3
"""runc for machines whose bounding set lacks CAP_SYS_RESOURCE: takes what can't be granted out of the request.

There ``runc`` fails with "unable to apply caps" for every privileged container and exec. This file is run by dockerd in
runc's place, with runc's own arguments, edits the bundle's ``config.json`` (``create``, ``run``) or the ``--process`` file
(``exec``), and becomes runc. It is used only where the capability is really missing. Standard library only.
"""

import json
import os
import sys
from typing import Any

CAPABILITY = "CAP_SYS_RESOURCE"


def without_capability(process: dict[str, Any]) -> dict[str, Any]:
    """Takes the capability out of every list of *process*, and lifts a negative OOM score, which needs it."""
    for names in (process.get("capabilities") or {}).values():
        if CAPABILITY in names:
            names.remove(CAPABILITY)
    if (process.get("oomScoreAdj") or 0) < 0:
        process["oomScoreAdj"] = 0
    process.pop("rlimits", None)
    return process


def edited_file(args: list[str]) -> tuple[str, str] | None:
    """Returns (path, key) of the JSON file that this call of runc reads, key being where the process lies, or None."""

    def option(*names: str) -> str | None:
        for i, arg in enumerate(args):
            for name in names:
                if arg == name:
                    return args[i + 1]
                if arg.startswith(name + "="):
                    return arg.partition("=")[2]
        return None

    if "exec" in args:
        path = option("--process", "-p")
        return (path, "") if path else None
    if "create" in args or "run" in args:
        return os.path.join(option("--bundle", "-b") or ".", "config.json"), "process"
    return None


def main(args: list[str]) -> None:
    """Edits what runc is about to read, then becomes runc."""
    target = edited_file(args)
    if target:
        path, key = target
        with open(path) as file:
            document = json.load(file)
        if key:
            document[key] = without_capability(document[key])
        else:
            document = without_capability(document)
        with open(path, "w") as file:
            json.dump(document, file)
    os.execvp("runc", ["runc", *args])


if __name__ == "__main__":
    main(sys.argv[1:])
