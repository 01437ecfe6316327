"""A Git server that speaks SSH, as a process of the user's own: one repository, to be read only, by one key.

``python -m holdfast.drivers.gitssh SETTINGS.json``; the host's key lies beside the settings.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import asyncssh

# git reads no settings but the repository's own, which holdfast made.
_ENVIRONMENT = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "HOME": os.devnull}


_CHUNK = 1 << 16
_DELAY = "delay_s"


def delay_s(folder: Path) -> float:
    """How long whoever asks is to wait, in seconds, as a file beside the settings says; 0 where there is none."""
    try:
        return float((folder / _DELAY).read_text())
    except (OSError, ValueError):
        return 0.0


def set_delay(folder: Path, seconds: float) -> None:
    """Has whoever asks from now on wait."""
    part = folder / f"{_DELAY}.part"
    part.write_text(f"{seconds:g}")
    part.chmod(0o644)
    part.replace(folder / _DELAY)


async def _serve(process: asyncssh.SSHServerProcess[bytes], path: str, repository: str, folder: Path) -> None:
    """Runs upload-pack for the one path that there is; says what else was asked for."""
    words = shlex.split(process.command or "")
    if len(words) != 2 or words[0] != "git-upload-pack" or words[1].strip("/") != path.strip("/"):
        process.stderr.write(f"there is no repository for {process.command!r} here\n".encode())
        process.exit(128)
        return
    await asyncio.sleep(delay_s(folder))
    environment = {"PATH": os.environ.get("PATH", ""), **_ENVIRONMENT}
    git = await asyncio.create_subprocess_exec(
        "git",
        "upload-pack",
        repository,
        env=environment | {k: v for k, v in os.environ.items() if k.startswith("HOLDFAST_")},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert git.stdin
    assert git.stdout
    assert git.stderr
    # By hand: what asyncssh redirects itself is cut off where the other side reads more slowly than git writes.
    asked = asyncio.create_task(_to_git(process.stdin, git.stdin))
    try:
        await asyncio.gather(_from_git(git.stdout, process.stdout), _from_git(git.stderr, process.stderr))
        process.exit(await git.wait())
    except (BrokenPipeError, ConnectionError):  # whoever asked went away
        git.kill()
        await git.wait()
    finally:
        asked.cancel()


async def _from_git(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    while said := await source.read(_CHUNK):
        sink.write(said)
        await sink.drain()


async def _to_git(source: asyncssh.SSHReader[bytes], sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionError, asyncssh.Error):
        while said := await source.read(_CHUNK):
            sink.write(said)
            await sink.drain()
    sink.close()


async def main(settings: dict[str, Any], folder: Path) -> None:
    """Serves until it is ended."""

    class Server(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:  # noqa: ARG002  whoever it is needs the key
            return True

    await asyncssh.create_server(
        Server,
        "127.0.0.1",
        settings["port"],
        server_host_keys=[str(folder / "host_key")],
        authorized_client_keys=asyncssh.import_authorized_keys(settings["user_key"]),
        password_auth=False,
        kbdint_auth=False,
        process_factory=lambda process: _serve(process, settings["path"], settings["repository"], folder),
        encoding=None,
        allow_scp=False,
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    _file = Path(sys.argv[1])
    asyncio.run(main(json.loads(_file.read_text()), _file.parent))
