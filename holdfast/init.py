"""`holdfast init`: what a repository of one's own needs for `holdfast check` and `holdfast verify`, each file with a word on each part."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from holdfast.errors import UsageError
from holdfast.options import EntryName
from holdfast.paths import ROOT
from holdfast.provision import tools
from holdfast.tree.needed import NeededHost, NeededSecret, lacking
from holdfast.tree.tree import Tree

_TEMPLATES = ROOT / "examples" / "init"
# What is written: the template's name in the folder above -> where it goes in the user's repository.
_FILES = {
    "holdfast.toml": ".holdfast.toml",
    "claims.toml": ".holdfast/claims.toml",
    "test_own.py": ".holdfast/suites/test_own.py",
}
_WORKFLOWS = {
    "github": (".github/workflows/holdfast.yaml", "github.yaml"),
    "gitlab": (".holdfast/gitlab-ci.yaml", "gitlab.yaml"),
}


def init(
    tree: Annotated[Path, typer.Argument(help="The GitOps tree: a repository with a Flux entry.")] = Path(),
    entry: EntryName = "",
    ci: Annotated[str, typer.Option("--ci", help="Which CI gets a workflow: github, gitlab, or none.")] = "github",
) -> None:
    """Writes settings, two example claims, an example suite and a CI workflow into a repository; overwrites nothing."""
    if ci not in (*_WORKFLOWS, "none"):
        raise UsageError(f"there is no workflow for '{ci}'", f"choose one of: {', '.join(_WORKFLOWS)}, none")
    read = tools.read(tree, entry=entry)
    wanted = dict(_FILES) | ({_WORKFLOWS[ci][1]: _WORKFLOWS[ci][0]} if ci != "none" else {})
    if there := [name for name in wanted.values() if (tree / name).exists()]:
        raise UsageError(f"{', '.join(there)} is there already", "edit it, or move it away and run again")
    environment = Environment(  # noqa: S701  TOML, Python and YAML, not HTML
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["toml"] = lambda text: json.dumps(
        str(text), ensure_ascii=False
    )  # a basic string is written the same way
    for template, name in wanted.items():
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(environment.get_template(f"{template}.j2").render(_facts(read)))
        print(f"  wrote {target}")
    print(
        "next: holdfast check, then read .holdfast.toml; with a container engine: holdfast verify --suites .holdfast/suites"
    )


def _is_name(text: str) -> bool:
    """Whether it can be an object's name: a variable, or a piece of a chart's template, can't."""
    return re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", text) is not None


def _facts(tree: Tree) -> dict[str, object]:
    """What the templates are filled with."""
    needs = lacking(tree)
    apps = [m for m in tree.objects if m.kind == "Service" and m.spec.get("selector")]
    return {
        "entry": tree.sync.folder,
        "secrets": [n for n in needs if isinstance(n, NeededSecret) and _is_name(n.namespace) and _is_name(n.name)],
        "hosts": [n.host for n in needs if isinstance(n, NeededHost)],
        "services": [(m.namespace, m.name) for m in apps][:1],
    }
