"""The `holdfast` command: thin; a verb is loaded when it is asked for, since a hook waits for `holdfast check` at every commit."""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module

import typer
from typer.exceptions import Abort, TyperException

from holdfast import interrupt
from holdfast.errors import EXIT_INTERRUPTED, EXIT_USAGE, UsageError

VERBS = {  # where each is; its function has the verb's name
    "check": "holdfast.checking.command",
    "rehearse": "holdfast.rehearse",
    "init": "holdfast.init",
    "verify": "holdfast.verify",
    "upgrade": "holdfast.upgrade",
    "up": "holdfast.up",
    "down": "holdfast.down",
    "doctor": "holdfast.doctor",
    "heal": "holdfast.heal",
    "build": "holdfast.build",
    "report": "holdfast.report",
    "ledger": "holdfast.ledger",
    "signoff": "holdfast.signoff",
    "host": "holdfast.host",
}
_HELP = (
    "Takes a Flux GitOps tree, runs it on a throw-away cluster, breaks things on purpose, and says which sentences of the "
    "architecture document are true. Start with: holdfast check PATH, then: holdfast rehearse PATH, then: holdfast verify"
)
_OPTIONS = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}


def main() -> None:
    """The entry point: whatever can't be done is one message with the next step and exit 64, never a traceback."""
    interrupt.arm()
    try:
        code = _main(sys.argv[1:])
    except (BrokenPipeError, KeyboardInterrupt):
        code = EXIT_INTERRUPTED
    except OSError:  # not even the message could be written
        code = EXIT_USAGE
    try:
        sys.stdout.flush()
    except OSError as error:  # closed, or on a full disk: Python would end with a traceback of its own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or (EXIT_INTERRUPTED if error.errno == errno.EPIPE else EXIT_USAGE)
    sys.exit(code)


def _main(arguments: list[str]) -> int:
    verb = arguments[0] if arguments and arguments[0] in VERBS else ""
    try:
        app, words = (_alone(verb), arguments[1:]) if verb else (_all(), arguments)
        code = int(app(args=words, prog_name=f"holdfast {verb}".strip(), standalone_mode=False) or 0)
    except BrokenPipeError:
        raise
    except (Abort, KeyboardInterrupt):
        code = EXIT_INTERRUPTED
    except Exception as error:
        if (what := said(error, verb)) is None:
            raise
        print(f"holdfast: {what}", file=sys.stderr)
        return EXIT_USAGE
    if code == EXIT_INTERRUPTED and verb != "check":  # typer may take the interrupt for itself
        print("stopped; what is left is healed or removed by the next start", file=sys.stderr)
    return code


def _alone(verb: str) -> typer.Typer:
    app = typer.Typer(**_OPTIONS)  # type: ignore[arg-type]
    app.command()(getattr(import_module(VERBS[verb]), verb))
    return app


def _all() -> typer.Typer:
    """Every verb, for the list of them and for a verb that isn't there."""
    app = typer.Typer(no_args_is_help=True, help=_HELP, **_OPTIONS)  # type: ignore[arg-type]
    for verb, module in VERBS.items():
        app.command()(getattr(import_module(module), verb))
    return app


_WAYS_OUT = {
    errno.ENOSPC: "free some space, then run the same command again",
    errno.EROFS: "make that folder writable, or name others: XDG_CACHE_HOME, HOLDFAST_REPORTS",
    errno.EACCES: "run as the user who owns it, or name other folders: XDG_CACHE_HOME, HOLDFAST_REPORTS",
}
_OF_A_LANE = (
    "docker",
    "kubernetes",
    "testcontainers",
    "allure_commons",
    "pytest",
    "testinfra",
    "cryptography",
    "asyncssh",
    "oras",
    "requests",
)
# Errors of clients and of a lane, by name: none of them is loaded before it is met.
_KNOWN = ("DockerException", "ApiException", "ConfigException", "CannotLook", "DriverError", "Broke", "Unproven")


def said(error: Exception, verb: str) -> str | None:  # noqa: PLR0911  one return an error reads best
    """What is wrong and what to do, for an error that a user may meet; None for a defect of holdfast's own."""
    helped = f"holdfast {verb} --help".replace("  ", " ")
    if isinstance(error, TyperException):
        return f"{error.format_message()}\n  next: {helped}"
    if isinstance(error, UsageError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _OF_A_LANE:
        return f"holdfast {verb} needs the packages of a lane ({error.name} is missing)\n  next: pip install 'holdfast[lab]'"
    if isinstance(error, RecursionError):
        return "something in the tree is nested too deeply to be read\n  next: look for a file that isn't what it should be"
    undone = "holdfast down, then run again" if verb in ("verify", "up") else helped
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {str(error)[:300]}\n  next: {_WAYS_OUT.get(error.errno or 0, undone)}"
    if any(base.__name__ in _KNOWN for base in type(error).__mro__):
        return (
            f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}\n  next: holdfast down, then run again"
        )
    return None


if __name__ == "__main__":
    main()
