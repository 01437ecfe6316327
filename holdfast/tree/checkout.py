"""The user's Git checkout as a lane takes it: which commit, what isn't committed, and a bare repository that Flux can pull."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import UsageError
from holdfast.tree.git import Checkout as GitCheckout
from holdfast.tree.git import git, top_of

# A commit that holdfast makes itself is the same for the same content.
_MADE = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "holdfast"), ("EMAIL", "holdfast@localhost"), ("DATE", "2000-01-01T00:00:00Z"))
}


@dataclass(frozen=True)
class Checkout:
    """A GitOps tree on disk.

    Attributes:
        path: the folder that was named.
        commit: what Flux is given: the user's own commit, or one made of what lies in the folder.
        own: whether *commit* is the user's, byte for byte.
        source: how Git is asked about it.
        said: what is not as the user's repository has it, in words; empty where all is.
    """

    path: Path
    commit: str
    own: bool
    said: tuple[str, ...]
    source: GitCheckout

    def bare(self, target: Path, branch: str) -> None:
        """Makes *target* a bare repository that holds the commit on *branch*, without what came before it: CI's checkouts and partial clones
        don't have that, and Flux doesn't ask for it.
        """
        git("init", "-q", "--bare", f"--initial-branch={branch}", str(target), folder=target.parent)
        git("config", "receive.shallowUpdate", "true", folder=target)
        self.source.git("update-ref", "refs/holdfast/lane", self.commit)
        there = f"file://{self.source.folder}"
        git("fetch", "-q", "--depth=1", "--force", there, f"refs/holdfast/lane:refs/heads/{branch}", folder=target)

    def put(self, clone: Path) -> None:
        """Has a work tree hold just what the commit holds, byte for byte; nothing is committed there."""
        self.source.git("update-ref", "refs/holdfast/lane", self.commit)
        there = f"file://{self.source.folder}"
        git("fetch", "-q", "--depth=1", "--force", there, "refs/holdfast/lane", folder=clone)
        git("read-tree", "--reset", "-u", "FETCH_HEAD", folder=clone)


def read(path: Path) -> Checkout:
    """Looks at the checkout at *path*; uncommitted changes are taken as they are, and said.

    Raises UsageError where there is no such folder, or it is no Git checkout.
    """
    if not path.is_dir():
        raise UsageError(f"there is no folder {path}", "name the GitOps tree: TREE=path (make) or --tree path")
    folder = path.resolve()
    top = top_of(folder)
    if top is None and (folder / "HEAD").is_file() and (folder / "objects").is_dir():
        raise UsageError(
            f"{path} is a bare repository, without files to read", f"make a checkout of it: git clone {path} FOLDER"
        )
    if top is None:
        raise UsageError(
            f"{path} is no Git checkout, and Flux pulls commits",
            f"run: git init {path} && git -C {path} add . && git -C {path} commit",
        )
    source = GitCheckout(top)
    if source.run("rev-parse", "--git-dir").returncode:
        words = source.run("rev-parse", "--git-dir").stderr.decode(errors="replace").strip()
        raise UsageError(f"{top} is a broken checkout: {words[-200:]}", f"see: git -C {top} fsck")
    inside = folder.relative_to(top).as_posix()
    head = source.git("rev-parse", "--verify", "-q", "HEAD^{commit}", check=False)
    changed = source.git(
        "status", "--porcelain", "--untracked-files=all", "--ignore-submodules=all", "--", ".", folder=folder
    )
    if head and inside == "." and not changed:
        return Checkout(folder, head, own=True, said=(), source=source)
    said = []
    if not head:
        said.append("HEAD names no commit, so one is made of what lies in the folder")
    elif changed:
        said.append(f"uncommitted changes are taken as they are ({len(changed.splitlines())} files)")
    if inside != ".":
        said.append(f"the tree is the folder {inside} of a larger repository, so its commit is made from it")
    commit = _commit_of(source, folder, inside, head if inside == "." else "")
    return Checkout(folder, commit, own=False, said=tuple(said), source=source)


def _commit_of(source: GitCheckout, folder: Path, inside: str, parent: str) -> str:
    """A commit of what lies in the folder now; the user's index and branches stay as they are."""
    source.git("add", "--all", "--", ".", folder=folder, env=_MADE)
    tree = source.git("write-tree", *([] if inside == "." else [f"--prefix={inside}/"]))
    parents = ["-p", parent] if parent else []
    return source.git("commit-tree", tree, *parents, "-m", "the tree as it lies in the folder", env=_MADE)


def clone(bare: Path, target: Path, branch: str) -> None:
    """A working clone of *bare*, for the commits that a test pushes."""
    git("clone", "-q", "--branch", branch, str(bare), str(target), folder=bare.parent)


def commit(folder: Path, message: str) -> str:
    """Commits everything in a clone, with a date of now; returns the commit."""
    names = {k: v for k, v in _MADE.items() if "DATE" not in k}
    git("add", "--all", folder=folder)
    git("commit", "-q", "--allow-empty", "-m", message, folder=folder, env=names)
    return git("rev-parse", "HEAD", folder=folder)
