"""Git, run so that nothing of a repository decides what else is run.

A repository's own configuration is untrusted input, and it has many ways to name a program: ``core.fsmonitor``, ``filter.*``, ``diff.*``, hooks,
``core.sshCommand``, aliases, includes. So none of it is read: a checkout is looked at through a Git folder of ours, which holds a configuration
of ours and borrows the objects, the index and HEAD of the checkout's. Objects that are made lie in ours, too: the checkout is never written.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path

from holdfast.errors import UsageError

_OURS = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_ALLOW_PROTOCOL": "file",  # the lane's own pushes
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
}
_OPTIONS = (
    "-c",
    "safe.directory=*",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "commit.gpgSign=false",
)


def run(*arguments: str, folder: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    """Runs git in *folder*, one that holdfast made, with no settings but its own and those of *env*. Raises UsageError without git."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        return subprocess.run(
            ["git", *_OPTIONS, *arguments], cwd=folder, env={**inherited, **_OURS, **(env or {})}, stdin=subprocess.DEVNULL,
            capture_output=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise UsageError("there is no git", "install git, then run again") from None


def git(*arguments: str, folder: Path, env: dict[str, str] | None = None, check: bool = True) -> str:
    """As `run`: the output without the line's end; empty where git failed and that isn't to be *check*-ed, else UsageError."""
    done = run(*arguments, folder=folder, env=env)
    if check and done.returncode:
        words = done.stderr.decode(errors="replace").strip()[-300:]
        raise UsageError(f"git {arguments[0]} in {folder} failed: {words}", "correct the checkout, then run again")
    return done.stdout.decode(errors="replace").rstrip("\n") if done.returncode == 0 else ""


def top_of(folder: Path) -> Path | None:
    """The checkout that *folder* lies in: the nearest folder with a ``.git``; None where there is none."""
    return next((path for path in (folder, *folder.parents) if (path / ".git").exists()), None)


class Checkout:
    """A checkout, looked at through a Git folder of ours. Use it as a context, or let the process's end clean it.

    Args:
        top: the folder with ``.git``.
    """

    def __init__(self, top: Path) -> None:
        self.top = top
        self._folder = tempfile.TemporaryDirectory(prefix="holdfast-git-")
        self.folder = Path(self._folder.name)
        self._borrow()

    def __enter__(self) -> Checkout:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    @cached_property
    def _theirs(self) -> tuple[Path, Path]:
        """(the checkout's Git folder, the one that it shares with other work trees)."""
        own = self.top / ".git"
        if own.is_file():
            found = re.match(r"gitdir:\s*(.+)", own.read_text(errors="replace").strip())
            own = (self.top / found[1]).resolve() if found else own
        shared = own / "commondir"
        return own, ((own / shared.read_text().strip()).resolve() if shared.is_file() else own)

    def _borrow(self) -> None:
        own, shared = self._theirs
        for name in ("objects/info", "refs/heads", "info"):
            (self.folder / name).mkdir(parents=True)
        objects = shared / "objects"
        borrowed = [str(objects)] if objects.is_dir() else []
        (self.folder / "objects/info/alternates").write_text("".join(f"{line}\n" for line in borrowed))
        (self.folder / "HEAD").write_text(self._head(own, shared))
        (self.folder / "config").write_text(self._config(shared))
        for source, name in ((own, "index"), (shared, "shallow"), (shared, "info/exclude")):
            if (source / name).is_file():
                shutil.copyfile(source / name, self.folder / name)
        for part in own.glob("sharedindex.*"):
            shutil.copyfile(part, self.folder / part.name)

    @staticmethod
    def _head(own: Path, shared: Path) -> str:
        """HEAD as a commit; as a branch without one where there is none."""
        try:
            text = (own / "HEAD").read_text(errors="replace").strip()
        except OSError:
            text = ""
        return f"{Checkout._followed(text, shared) or 'ref: refs/heads/holdfast-nothing'}\n"

    @staticmethod
    def _followed(text: str, shared: Path) -> str:
        """The commit that a reference's text comes to; empty where it comes to none."""
        for _ in range(5):  # a name may stand for another name
            if not text.startswith("ref:"):
                break
            name = text.removeprefix("ref:").strip()
            if ".." in name or name.startswith("/"):
                return ""
            if (shared / name).is_file():
                text = (shared / name).read_text(errors="replace").strip()
                continue
            packed = (shared / "packed-refs").read_text(errors="replace") if (shared / "packed-refs").is_file() else ""
            text = next((line.partition(" ")[0] for line in packed.splitlines() if line.endswith(f" {name}")), "")
        return text if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text) else ""

    def commit(self, revision: str) -> str:
        """The commit that a *revision* of the checkout's names (``main``, ``origin/main``, a tag, a hash, ``HEAD~1``); empty where it names none."""
        base, suffix = re.fullmatch(r"(.*?)((?:[~^]|@\{).*)?", revision, re.DOTALL).groups(default="")  # type: ignore[union-attr]
        if base == "FETCH_HEAD":  # what a shallow checkout of CI has after a fetch
            text = self._own_file(base)
            base = text.partition("\t")[0].strip() if re.match(r"[0-9a-f]{40}", text) else base
        for place in ("{}", "refs/{}", "refs/tags/{}", "refs/heads/{}", "refs/remotes/{}", "refs/remotes/{}/HEAD"):
            if "/" in place.format(base) and (found := self._followed(f"ref: {place.format(base)}", self._theirs[1])):
                base = found
                break
        return self.git("rev-parse", "--verify", "-q", "--end-of-options", f"{base}{suffix}^{{commit}}", check=False)

    def _own_file(self, name: str) -> str:
        path = self._theirs[0] / name
        return path.read_text(errors="replace") if path.is_file() else ""

    def put(self, commit: str, inside: str, target: Path) -> list[str]:
        """Puts the files of a commit, below the folder *inside*, into the folder *target*; returns their names. No attribute of theirs counts."""
        (self.folder / "info" / "attributes").write_text("* -text -ident !eol !working-tree-encoding !filter\n")
        env = {"GIT_INDEX_FILE": str(self.folder / "index-of-another"), "GIT_WORK_TREE": str(target)}
        self.git("read-tree", commit if inside == "." else f"{commit}:{inside}", folder=target, env=env)
        self.git("checkout-index", "-a", "-f", folder=target, env=env)
        listed = self.run("ls-files", "-z", folder=target, env=env).stdout.split(b"\0")
        return sorted(name.decode("utf-8", errors="replace") for name in listed if name)

    @property
    def remotes(self) -> tuple[str, ...]:
        """The addresses that the checkout fetches from and pushes to. Its configuration is read as text, and nothing in it is obeyed."""
        found, within = [], False
        for line in self._text(self._theirs[1]).splitlines():
            if line.lstrip().startswith("["):
                within = re.match(r"\s*\[remote\b", line) is not None
            elif within and (said := re.match(r"\s*(?:push)?url\s*=\s*(.+?)\s*$", line, re.IGNORECASE)):
                found.append(said[1].strip('"'))
        return tuple(dict.fromkeys(found))

    @property
    def branch(self) -> str:
        """The branch that is checked out; empty where none is."""
        path = self._theirs[0] / "HEAD"
        text = path.read_text(errors="replace").strip() if path.is_file() else ""
        return text.removeprefix("ref: refs/heads/") if text.startswith("ref: refs/heads/") else ""

    @staticmethod
    def _text(shared: Path) -> str:
        path = shared / "config"
        return path.read_text(errors="replace") if path.is_file() else ""

    @staticmethod
    def _config(shared: Path) -> str:
        """A configuration of ours; of theirs only which hash names objects."""
        text = Checkout._text(shared)
        wide = re.search(r"^\s*objectformat\s*=\s*sha256\s*$", text, re.IGNORECASE | re.MULTILINE)
        return "[core]\nrepositoryformatversion = " + ("1\n[extensions]\nobjectformat = sha256\n" if wide else "0\n")

    def run(
        self, *arguments: str, folder: Path | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs git on the checkout, in *folder* of it."""
        ours = {"GIT_DIR": str(self.folder), "GIT_WORK_TREE": str(self.top)}
        return run(*arguments, folder=folder or self.top, env={**ours, **(env or {})})

    def git(
        self, *arguments: str, folder: Path | None = None, env: dict[str, str] | None = None, check: bool = True
    ) -> str:
        """As `run`: the output, as the function `git` gives it."""
        ours = {"GIT_DIR": str(self.folder), "GIT_WORK_TREE": str(self.top)}
        return git(*arguments, folder=folder or self.top, env={**ours, **(env or {})}, check=check)
