"""The user's Git checkout as a lane takes it: which commit, what isn't committed, and a bare repository that Flux can pull."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import UsageError

# A commit that holdfast makes itself is the same for the same content.
_MADE = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "holdfast"), ("EMAIL", "holdfast@localhost"), ("DATE", "2000-01-01T00:00:00Z"))
}


def git(*arguments: str, folder: Path, env: dict[str, str] | None = None, check: bool = True) -> str:
    """Runs git in *folder* without the user's or the machine's settings getting in; returns its output without the line's end."""
    # A tree's own .git/config is untrusted: what it may name as a remote is neither fetched nor run. The lane's own pushes are to files.
    environment = {
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_ALLOW_PROTOCOL": "file",
        "GIT_NO_LAZY_FETCH": "1",
        **(env or {}),
    }
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", "-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        raise UsageError(
            f"git {arguments[0]} in {folder} failed: {done.stderr.strip()[-300:]}", "fix the checkout, then run again"
        )
    return done.stdout.rstrip("\n") if done.returncode == 0 else ""


@dataclass(frozen=True)
class Checkout:
    """A GitOps tree on disk.

    Attributes:
        path: the folder that was named.
        commit: what Flux is given: the user's own commit, or one made of what lies in the folder.
        own: whether *commit* is the user's, byte for byte.
        said: what is not as the user's repository has it, in words; empty where all is.
    """

    path: Path
    commit: str
    own: bool
    said: tuple[str, ...]

    def bare(self, target: Path, branch: str) -> None:
        """Makes *target* a bare repository that holds the commit on *branch*."""
        git("init", "-q", "--bare", f"--initial-branch={branch}", str(target), folder=self.path)
        top = Path(git("rev-parse", "--show-toplevel", folder=self.path))
        git("push", "-q", "--force", str(target), f"{self.commit}:refs/heads/{branch}", folder=top)


def read(path: Path) -> Checkout:
    """Looks at the checkout at *path*; uncommitted changes are taken as they are, and said.

    Raises UsageError where there is no such folder, or it is no Git checkout.
    """
    if not path.is_dir():
        raise UsageError(f"there is no folder {path}", "name the GitOps tree: TREE=path (make) or --tree path")
    top_text = git("rev-parse", "--show-toplevel", folder=path, check=False)
    if not top_text:
        raise UsageError(
            f"{path} is no Git checkout, and Flux pulls commits",
            f"run: git init {path} && git -C {path} add . && git -C {path} commit",
        )
    top, folder = Path(top_text).resolve(), path.resolve()
    inside = folder.relative_to(top).as_posix()
    head = git("rev-parse", "--verify", "-q", "HEAD", folder=path, check=False)
    changed = git("status", "--porcelain", "--untracked-files=all", "--", ".", folder=path)
    if head and inside == "." and not changed:
        return Checkout(folder, head, own=True, said=())
    said = []
    if changed:
        said.append(f"uncommitted changes are taken as they are ({len(changed.splitlines())} files)")
    if inside != ".":
        said.append(f"the tree is the folder {inside} of a larger repository, so its commit is made from it")
    return Checkout(folder, _commit_of(path, inside, head if inside == "." else ""), own=False, said=tuple(said))


def _commit_of(path: Path, inside: str, parent: str) -> str:
    """A commit of what lies in the folder now; the user's index and branches stay as they are."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**_MADE, "GIT_INDEX_FILE": str(Path(folder) / "index")}
        git("add", "--all", "--", ".", folder=path, env=env)
        tree = git("write-tree", *([] if inside == "." else [f"--prefix={inside}/"]), folder=path, env=env)
        return git(
            "commit-tree",
            tree,
            *(["-p", parent] if parent else []),
            "-m",
            "the tree as it lies in the folder",
            folder=path,
            env=env,
        )


def clone(bare: Path, target: Path, branch: str) -> None:
    """A working clone of *bare*, for the commits that a test pushes."""
    git("clone", "-q", "--branch", branch, str(bare), str(target), folder=bare.parent)


def commit(folder: Path, message: str) -> str:
    """Commits everything in a clone, with a date of now; returns the commit."""
    names = {k: v for k, v in _MADE.items() if "DATE" not in k}
    git("add", "--all", folder=folder)
    git("commit", "-q", "--allow-empty", "-m", message, folder=folder, env=names)
    return git("rev-parse", "HEAD", folder=folder)
