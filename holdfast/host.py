"""`holdfast host`: whether a machine is fit to join the cluster, looked at on the machine itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

import holdfast
from holdfast.errors import UsageError
from holdfast.hosts import access, network, storage, system  # noqa: F401  each registers its requirements
from holdfast.hosts.machine import Machine, reached
from holdfast.hosts.requirement import REQUIREMENTS, Seen, Wanted, judged
from holdfast.progress import console
from holdfast.verdicts import EXIT_BROKE, EXIT_HELD, EXIT_UNPROVEN

_COLOURS = {"held": "green", "broke": "bold red", "unproven": "yellow", "not exercised": "dim"}


def host(  # noqa: PLR0917  a command line
    target: Annotated[str, typer.Argument(help="The machine: root@k3s2 (by SSH), docker:NAME, or local.")],
    server: Annotated[
        str,
        typer.Option(
            "--server",
            metavar="TARGET",
            help="A server of the cluster that it is to join: name, clock, version and way are compared with it.",
        ),
    ] = "",
    disk: Annotated[
        list[str] | None,
        typer.Option(
            "--disk", metavar="PATH", help="Where a disk of the storage system is to be mounted (again for more)."
        ),
    ] = None,
    tailscale: Annotated[
        bool, typer.Option("--tailscale", help="It is to be in the tailnet, and take its routes.")
    ] = False,
    sudo: Annotated[bool, typer.Option("--sudo", help="Become root by sudo, which must ask for no password.")] = False,
    format_: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
) -> None:
    """Looks at a machine before it joins the cluster: what k3s, etcd and Longhorn need of it, and what lies open.

    Nothing is changed there but for one small file, written and removed to see how long a safe write takes. SSH asks for no password, and takes
    no unknown host key.

    Exit: 0 all of it is as it must be · 10 something isn't · 11 nothing is wrong, and something couldn't be seen · 64 it isn't reached.
    """
    if format_ not in ("text", "json"):
        raise UsageError(f"there is no format {format_}", "text or json")
    machine = reached(target, sudo=sudo)
    wanted = Wanted(reached(server, sudo=sudo) if server else None, tuple(disk or []), tailscale)
    seen = looked(machine, wanted)
    if format_ == "json":
        looked_at = datetime.now(UTC).isoformat(timespec="seconds")
        found = [_plain(name, one) for name, one in seen.items()]
        said = {"host": target, "looked": looked_at, "holdfast": holdfast.__version__, "requirements": found}
        print(json.dumps(said, indent=1))
    else:
        _show(target, seen)
    raise typer.Exit(code(seen))


def looked(machine: Machine, wanted: Wanted) -> dict[str, Seen]:
    """What each requirement comes to on a machine, by its name."""
    return {name: judged(one, machine, wanted) for name, one in REQUIREMENTS.items()}


def code(seen: dict[str, Seen]) -> int:
    """The exit code."""
    found = {one.good for one in seen.values() if one.asked}
    return EXIT_BROKE if False in found else EXIT_UNPROVEN if None in found else EXIT_HELD


def verdict(one: Seen) -> str:
    """What a look came to, in the words of verdicts."""
    return {True: "held", False: "broke", None: "unproven"}[one.good] if one.asked else "not exercised"


def _plain(name: str, one: Seen) -> dict[str, str]:
    fix = REQUIREMENTS[name].fix if one.good is False else ""
    return {"requirement": name, "verdict": verdict(one), "seen": one.words, "fix": fix}


def _show(target: str, seen: dict[str, Seen]) -> None:
    table = Table(title=f"{target}, before it joins", title_justify="left", show_lines=False)
    for heading in ("verdict", "requirement", "what was seen, and what to do"):
        table.add_column(heading, overflow="fold")
    order = [*list(_COLOURS)[1:], "held"]
    for name, one in sorted(seen.items(), key=lambda item: order.index(verdict(item[1]))):
        word = verdict(one)
        fix = f"\n→ {REQUIREMENTS[name].fix}" if one.good is False else ""
        table.add_row(f"[{_COLOURS[word]}]{word}[/]", name, escape(f"{one.words}{fix}"))
    console.print(table)
    words = [verdict(one) for one in seen.values()]
    console.print(", ".join(f"{words.count(word)} {word}" for word in _COLOURS if word in words), markup=False)
