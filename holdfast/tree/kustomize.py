"""kustomize, as a program a build or as one that stays: what a folder's kustomization renders to."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import re
import subprocess
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Timer
from typing import Protocol

import yaml

from holdfast.errors import UsageError
from holdfast.tree.manifest import Body
from holdfast.tree.sources import Loader

_TIMEOUT_S = 120
_LATE = f"kustomize didn't end within {_TIMEOUT_S}s"


class BuildError(Exception):
    """kustomize's own words on why a folder can't be built."""


class NoAnswerError(Exception):
    """kustomize said nothing: whether the folder can be built isn't known."""


@dataclass(frozen=True)
class Folder:
    """What is built: a folder in a copy that holds the build's files and nothing else.

    Attributes:
        anywhere: a kustomization loads files from outside its own folder.
        own_schema: a kustomization brings a schema of its own kinds.
    """

    root: Path
    path: Path
    anywhere: bool = False
    own_schema: bool = False


class Kustomize(Protocol):
    """Builds folders, several side by side."""

    def build(self, folder: Folder) -> list[Body]:
        """The rendered objects, each with kustomize's mark of where it came from. Raises BuildError, or NoAnswerError."""

    def close(self) -> None:
        """Ends what was started."""


@dataclass(frozen=True)
class Tool:
    """The kustomize that is used.

    Attributes:
        command: what is called.
        version: what it says of itself.
        stays: it takes one request a line, and many of them (clusters/images/flux-build/service).
    """

    command: tuple[str, ...]
    version: str
    stays: bool = False

    @property
    def identity(self) -> str:
        """What its output depends on: the version, and of a program of ours the build, too."""
        return f"{self.version} {Path(self.command[0]).name}" if self.stays else self.version

    @classmethod
    def of(cls, command: tuple[str, ...]) -> Tool:
        """Asks the command for its version."""
        ask = [*command[:-1], "version"] if command[-1] == "build" else [command[0], "version", "--client"]
        done = subprocess.run(ask, capture_output=True, text=True, check=False, timeout=30)
        found = re.search(r"(?:Kustomize Version: |^)(v\d[\w.+-]*)", done.stdout, re.MULTILINE)
        return cls(command, found[1] if found else "unknown")

    def start(self, workers: int, *, many: bool) -> Kustomize:
        """Ready to build. *many*: so many files that it pays to parse the output in processes of their own."""
        return Staying(self.command) if self.stays else EachBuild(self.command, workers if many else 0)


class EachBuild:
    """A process for each build."""

    def __init__(self, command: tuple[str, ...], parsers: int) -> None:
        self.command = command
        self._parsers: ProcessPoolExecutor | None = None
        if parsers:  # PyYAML holds the interpreter's lock; started before there are threads
            self._parsers = ProcessPoolExecutor(parsers, mp_context=multiprocessing.get_context("fork"))
            list(self._parsers.map(_parsed, [""] * parsers))

    def build(self, folder: Folder) -> list[Body]:
        """See Kustomize."""
        # The Flux build loads files from anywhere in the artifact; where nothing needs that, kustomize's own restriction is a second wall.
        wide = ["--load-restrictor=LoadRestrictionsNone"] if folder.anywhere else []
        try:
            done = subprocess.run(
                [*self.command, str(folder.path), *wide],
                capture_output=True,
                check=False,
                timeout=_TIMEOUT_S,
                stdin=subprocess.DEVNULL,
                cwd=folder.root,
                env=_environment(str(folder.root.parent)),
            )
        except subprocess.TimeoutExpired as error:
            raise NoAnswerError(_LATE) from error
        if done.returncode:
            raise BuildError(done.stderr.decode(errors="replace"))
        text = done.stdout.decode(errors="replace")
        parsed = self._parsers.submit(_parsed, text).result() if self._parsers else _parsed(text)
        bodies: list[Body] = json.loads(parsed)
        return bodies

    def close(self) -> None:
        """See Kustomize."""
        if self._parsers:
            self._parsers.shutdown(wait=False, cancel_futures=True)


class Staying:
    """Processes that stay, as many as builds run side by side: kustomize itself does one at a time."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self.command = command
        self._home = tempfile.TemporaryDirectory(prefix="holdfast-kustomize-")
        self._idle: SimpleQueue[_Process] = SimpleQueue()

    def build(self, folder: Folder) -> list[Body]:
        """See Kustomize."""
        try:
            process = self._idle.get_nowait()
        except Empty:
            process = _Process(self.command, self._home.name)
        asked = {"root": str(folder.root), "folder": str(folder.path), "own_schema": folder.own_schema}
        answer = process.answer(json.dumps(asked))
        self._idle.put(process)
        if answer.error:
            raise BuildError(answer.error)
        return answer.objects

    def close(self) -> None:
        """See Kustomize."""
        while True:
            try:
                self._idle.get_nowait().end()
            except Empty:
                break
        self._home.cleanup()


@dataclass(frozen=True)
class _Answer:
    """What a build came to."""

    objects: list[Body]
    error: str


class _Process:
    """One kustomize that takes requests."""

    def __init__(self, command: tuple[str, ...], home: str) -> None:
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=home,
                env=_environment(home),
            )
        except OSError as error:
            raise UsageError(
                f"kustomize can't be started: {error}", f"remove {command[0]}: the next run builds it anew"
            ) from None

    def answer(self, request: str) -> _Answer:
        """The answer to one request. Raises NoAnswerError, and is of no use any more, where none comes."""
        assert self._process.stdin
        assert self._process.stdout
        late = Timer(_TIMEOUT_S, self._process.kill)
        late.start()
        try:
            self._process.stdin.write(f"{request}\n".encode())
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            on_time = late.is_alive()
            late.cancel()
        if not line.endswith(b"\n"):
            code = self.end()
            raise NoAnswerError(f"kustomize ended with {code} while it built this" if on_time else _LATE)
        said = json.loads(line)
        return _Answer(said["objects"] or [], said["error"])

    def end(self) -> int:
        """Ends the process; returns its exit code."""
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._process.stdout.close()
        return code


def _environment(home: str) -> dict[str, str]:
    """Nothing of the user's: no program to call, no settings, no way out."""
    return {"PATH": "", "HOME": home, "HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}


def _parsed(text: str) -> str:
    """kustomize's output as JSON, which one process gives another faster than objects."""
    bodies = [body for body in yaml.load_all(text, Loader=Loader) if isinstance(body, dict)]
    return json.dumps(bodies, separators=(",", ":"), default=str, skipkeys=True)
