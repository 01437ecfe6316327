"""The Git server that Flux pulls the tree from: its repository, its keys, and what a test pushes; a driver hosts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfast.drivers.driver import GitHosting, GitSite
from holdfast.errors import UsageError
from holdfast.tree import checkout
from holdfast.tree.git import git


@dataclass(frozen=True)
class Key:
    """An SSH key pair: *private* in OpenSSH's format, *public* as one line without a comment."""

    private: str
    public: str

    @staticmethod
    def make() -> Key:
        """Makes an Ed25519 key."""
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.OpenSSH, s.NoEncryption()).decode()
        public = key.public_key().public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH).decode()
        return Key(private, public)


class GitServer:
    """Serves one repository under the path and the host names that the tree's GitRepository has.

    Args:
        folder: where the repository, the clone for pushes and the server's host key lie.
        url: the GitRepository's own URL, ``ssh://git@HOST/PATH``.
        branch: the branch that Flux follows.
        hosts: the names that the server answers to.
    """

    def __init__(self, folder: Path, url: str, branch: str, hosts: tuple[str, ...]) -> None:
        self.folder, self.url, self.branch, self.hosts = folder, url, branch, hosts

    @property
    def bare(self) -> Path:
        """The repository that Flux pulls."""
        return self.folder / "repository.git"

    @property
    def clone(self) -> Path:
        """The working clone that tests commit in."""
        return self.folder / "clone"

    def prepare(self, tree: checkout.Checkout) -> None:
        """Puts the tree's commit into the repository, whatever an earlier run pushed there."""
        if urlsplit(self.url).scheme != "ssh":
            raise UsageError(
                f"the tree's GitRepository is at {self.url}; the lane's Git server speaks SSH",
                "use ssh://git@HOST/PATH.git",
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        tree.bare(self.bare, self.branch)
        if self.clone.exists():
            git("fetch", "-q", "origin", folder=self.clone)
            git("reset", "-q", "--hard", f"origin/{self.branch}", folder=self.clone)
        else:
            checkout.clone(self.bare, self.clone, self.branch)

    def start(self, hosting: GitHosting) -> None:
        """Has it served, with new keys."""
        host, self.key = Key.make(), Key.make()
        site = GitSite(self.folder, self.bare, self.url, self.hosts, host.private, self.key.public)
        self.address = hosting.serve_git(site)
        there = urlsplit(self.address)
        names = self.hosts if self.address == self.url else (f"[{there.hostname}]:{there.port}",)
        self.known_hosts = "".join(f"{name} {host.public}\n" for name in names)

    # -- what a test does with it ----------------------------------------------------------------------------------------

    def push(self, edit: Callable[[Path], None], message: str) -> Push:
        """Edits the clone by *edit* (which gets its folder), commits and pushes; returns what was pushed."""
        edit(self.clone)
        commit = checkout.commit(self.clone, message)
        git("push", "-q", "origin", f"HEAD:refs/heads/{self.branch}", folder=self.clone)
        return Push(commit, f"{self.branch}@sha1:{commit}", message)

    def head(self) -> Push:
        """What stands on the branch now."""
        commit = git("rev-parse", f"refs/heads/{self.branch}", folder=self.bare)
        return Push(commit, f"{self.branch}@sha1:{commit}", "")


@dataclass(frozen=True)
class Push:
    """A pushed commit: *revision* is how Flux writes it."""

    commit: str
    revision: str
    message: str

    def __str__(self) -> str:
        return self.commit[:8]
