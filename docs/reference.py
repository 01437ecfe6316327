"""Makes the reference pages from the code, so that they can't say anything else than it does."""

from __future__ import annotations

import inspect
import re
import typing
from importlib import import_module
from pathlib import Path

import msgspec
import typer
from mkdocs.structure.files import File, Files

from holdfast import fixtures
from holdfast.__main__ import VERBS
from holdfast.drivers import driver
from holdfast.faults.fault import FACTORIES
from holdfast.sampling import targets
from holdfast.sampling.seen import Seen
from holdfast.tree.settings_file import FORMS, SettingsFile

ROOT = Path(__file__).resolve().parent.parent


def on_files(files: Files, config: object) -> Files:
    """mkdocs calls this with the files that are in the folder."""
    for name, make in (("settings.md", settings), ("api.md", api), ("commands.md", commands)):
        files.append(File.generated(config, name, content=make()))  # type: ignore[arg-type]
    return files


# -- settings --------------------------------------------------------------------------------------------------------------


def settings() -> str:
    """Every section of `.holdfast.toml`, with its keys, their types and defaults."""
    lines = [
        "# Settings",
        "",
        (
            "`.holdfast.toml` in the tree, or `NAME.holdfast.toml` beside it. Every key may be left out; an unknown key, or one of a wrong form, is "
            "an error with its line and the right form. This page is made from the code that reads the file."
        ),
        "",
    ]
    hints = typing.get_type_hints(SettingsFile, include_extras=True)
    for field in msgspec.structs.fields(SettingsFile):
        table = _table(hints[field.name])
        about = inspect.getdoc(table) if table else _meta(hints[field.name])
        lines += [f"## `{field.name}`", "", _sentence(str(about)), "", "```toml", FORMS[field.name], "```", ""]
        if table:
            lines += _keys(table)
    return "\n".join(lines) + "\n"


def _table(hint: object) -> type | None:
    """The table that a section is, or is a list of."""
    for part in (hint, *typing.get_args(hint)):
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            return part
    return None


def _meta(hint: object) -> str:
    found = [m.description for m in getattr(hint, "__metadata__", ()) if getattr(m, "description", None)]
    return str(found[0]) if found else ""


def _keys(table: type) -> list[str]:
    hints = typing.get_type_hints(table, include_extras=True)
    lines = ["| key | form | without it | |", "| --- | --- | --- | --- |"]
    for field in msgspec.structs.fields(table):
        default = "it is required" if field.required else f"`{_plain(field.default)}`"
        lines.append(f"| `{field.encode_name}` | {_form(hints[field.name])} | {default} | {_meta(hints[field.name])} |")
    return [*lines, ""]


def _plain(value: object) -> str:
    return "[]" if value == () else "{}" if value == {} else repr(value) if not isinstance(value, str) else f'"{value}"'


def _form(hint: object) -> str:
    text = str(hint)
    words = (
        ("tuple[", "list of texts"),
        ("dict[", "table"),
        ("bool", "true or false"),
        ("int", "number"),
        ("str", "text"),
    )
    return next((word for part, word in words if part in text), "text")


# -- fixtures, probes, faults ------------------------------------------------------------------------------------------------


def api() -> str:
    """What a suite uses: each with its signature and the first paragraph of its docstring."""
    lines = ["# Fixtures, probes, faults", "", "Made from the docstrings of the code.", "", "## Fixtures", ""]
    for name in ("cluster", "faults", "sampler", "git", "tree", "experiment", "run"):
        function = getattr(fixtures, name)
        lines.append(f"- **`{name}`**: {_first(getattr(function, '__wrapped__', None) or function)}")
    lines += ["", "## `cluster`", ""]
    from holdfast.cluster import Cluster  # noqa: PLC0415
    from holdfast.inject import Inject  # noqa: PLC0415

    lines += _methods(Cluster, "cluster")
    lines += [
        "",
        "## `cluster.inject`",
        "",
        _sentence(inspect.getdoc(Inject) or ""),
        "",
        *_methods(Inject, "cluster.inject"),
    ]
    lines += ["", "## What a watch saw", "", *_methods(Seen, "seen")]
    lines += ["", "## Targets of a watch", ""]
    lines += [_entry(name, f) for name, f in vars(targets).items() if _own(f, targets) and name[0] != "_"]
    lines += ["", "## Faults", ""]
    for path in sorted((ROOT / "holdfast" / "faults").glob("*.py")):
        import_module(f"holdfast.faults.{path.stem}")
    for name, factory in sorted(FACTORIES.items()):
        lines.append(
            f"- **`{name.rpartition('.')[2]}{_signature(factory)}`** (`{name.rpartition('.')[0]}`): {_first(factory)}"
        )
    lines += ["", "## Probes", ""]
    for path in sorted((ROOT / "holdfast" / "probes").glob("*.py")):
        module = import_module(f"holdfast.probes.{path.stem}")
        found = [_entry(n, f) for n, f in vars(module).items() if _own(f, module) and _is_probe(f)]
        lines += [f"### `holdfast.probes.{path.stem}`", "", *found, ""] if found else []
    lines += ["## Capabilities of drivers", ""]
    for name, found in vars(driver).items():
        if getattr(found, "_is_runtime_protocol", False):
            lines.append(f"- **`{name}`**: {_first(found)}")
    return "\n".join(lines) + "\n"


def _own(value: object, module: object) -> bool:
    return inspect.isfunction(value) and value.__module__ == module.__name__  # type: ignore[attr-defined]


def _is_probe(function: object) -> bool:
    return "-> 'Sighting'" in str(inspect.signature(function)) or "Sighting" in str(inspect.signature(function))  # type: ignore[arg-type]


def _methods(of: type, name: str) -> list[str]:
    found = [(n, m) for n, m in vars(of).items() if not n.startswith("_") and inspect.isfunction(m)]
    return [_entry(f"{name}.{n}", m) for n, m in found]


def _entry(name: str, function: object) -> str:
    return f"- **`{name}{_signature(function)}`**: {_first(function)}"


def _signature(function: object) -> str:
    given = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    words = []
    for p in given:
        if p.name in ("self", "cluster"):
            continue
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        words.append(star + p.name + ("" if p.default is p.empty else f"={p.default!r}"))
    return f"({', '.join(words)})"


def _first(of: object) -> str:
    return _sentence((inspect.getdoc(of) or "").partition("\n\n")[0])


def _sentence(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"``(.+?)``", r"`\1`", text.partition("\n\n")[0])).strip()


# -- command line ------------------------------------------------------------------------------------------------------------


def commands() -> str:
    """`--help` of every verb."""
    lines = ["# Command line", "", "As `--help` says.", ""]
    for verb, module in VERBS.items():
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command()(getattr(import_module(module), verb))
        command = typer.main.get_command(app)
        with command.make_context(f"holdfast {verb}", [], resilient_parsing=True) as context:
            text = command.get_help(context)
        lines += [f"## holdfast {verb}", "", "```text", text.strip(), "```", ""]
    return "\n".join(lines) + "\n"
