"""The Git server that Flux pulls the tree from: sshd and git in a container on the lane's network, keys made for the run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from docker import DockerClient
from docker.errors import NotFound

from holdfast.drivers.owned import TOKEN_LABEL
from holdfast.errors import UsageError
from holdfast.tree import checkout
from holdfast.tree.git import git

os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"  # its helper image can't be had offline; the lane cleans up itself
from testcontainers.core.container import DockerContainer

# Only the user git, only by the key made for the run, only git's own commands.
_SSHD = """HostKey /etc/holdfast/host_key
AuthorizedKeysFile /etc/holdfast/authorized_keys
AllowUsers git
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
PermitTTY no
X11Forwarding no
AllowTcpForwarding no
MaxStartups 100
UseDNS no
"""
# Any image with a shell, git and sshd will do (Debian's or Alpine's): the user is made here. A password of '*' can't be entered,
# but unlike '!' it doesn't lock the account for keys.
_START = """set -eu
shell=$(command -v git-shell || echo /usr/bin/git-shell)
id git >/dev/null 2>&1 || useradd --create-home --shell "$shell" git 2>/dev/null || adduser -D -s "$shell" git
sed -i 's/^git:[^:]*:/git:*:/' /etc/shadow
git config --system safe.directory '*'
mkdir -p /run/sshd
exec "$(command -v sshd || echo /usr/sbin/sshd)" -D -e -f /etc/holdfast/sshd_config
"""


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
        name: the container's name.
        url: the GitRepository's own URL, ``ssh://git@HOST/PATH``.
        branch: the branch that Flux follows.
        hosts: the names that the server answers to.
    """

    def __init__(self, folder: Path, name: str, url: str, branch: str, hosts: tuple[str, ...]) -> None:
        self.folder, self.name, self.url, self.branch = folder, name, url, branch
        self.hosts = hosts

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

    def start(self, image: str, network: str, token: str) -> str:
        """Starts the server; returns the container's id."""
        host, self.key = Key.make(), Key.make()
        etc = self.folder / "etc"
        etc.mkdir(exist_ok=True)
        (etc / "host_key").write_text(host.private)
        (etc / "host_key").chmod(0o600)
        (etc / "authorized_keys").write_text(self.key.public + "\n")
        (etc / "sshd_config").write_text(_SSHD)
        (etc / "start").write_text(_START)
        self.known_hosts = "".join(f"{name} {host.public}\n" for name in self.hosts)
        container = (
            DockerContainer(image)
            .with_name(self.name)
            .with_volume_mapping(str(etc), "/etc/holdfast", "ro")
            .with_volume_mapping(str(self.bare), urlsplit(self.url).path, "rw")
            .with_kwargs(entrypoint=["/bin/sh", "/etc/holdfast/start"], network=network, labels={TOKEN_LABEL: token})
        )
        container.start()
        return str(container.get_wrapped_container().id)

    def address(self, client: DockerClient, network: str) -> str:
        """The server's address on the lane's network."""
        try:
            attrs: dict[str, Any] = client.containers.get(self.name).attrs
        except NotFound:
            raise UsageError("the lane's Git server is gone", "run: holdfast down, then run again") from None
        return str(attrs["NetworkSettings"]["Networks"][network]["IPAddress"])

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
