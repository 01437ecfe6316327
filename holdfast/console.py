"""What the `holdfast` command starts with: `holdfast check` without the rest, since a hook waits for it at every commit."""

from __future__ import annotations

import sys

from holdfast.errors import UsageError


def main() -> None:
    """The entry point of the command."""
    if sys.argv[1:2] == ["check"] and "--help" not in sys.argv:
        _check()
    from holdfast.cli import main as everything  # noqa: PLC0415  half a second of imports that only a lane needs

    everything()


def _check() -> None:
    import typer  # noqa: PLC0415
    from typer.exceptions import Abort, TyperException  # noqa: PLC0415

    from holdfast.checking.command import check  # noqa: PLC0415

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(check)
    try:
        sys.exit(app(args=sys.argv[2:], prog_name="holdfast check", standalone_mode=False) or 0)
    except TyperException as error:
        message = f"{error.format_message()}\n  next: holdfast check --help"
    except UsageError as error:
        message = str(error)
    except (Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except RecursionError:
        message = "something in the tree is nested too deeply to be read\n  next: look for a file that isn't what it should be"
    except OSError as error:
        message = f"{type(error).__name__}: {error}\n  next: holdfast check --help"
    print(f"holdfast: {message}", file=sys.stderr)
    sys.exit(64)


if __name__ == "__main__":
    main()
