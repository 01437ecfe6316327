"""The Git server of a lane of containers: sshd and git in a container on the lane's network."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from holdfast.drivers import gitssh
from holdfast.drivers.driver import CHARTS_PORT, GitSite

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
ForceCommand /bin/sh /etc/holdfast/answer
MaxStartups 100
UseDNS no
"""
# Any image with a shell, git and sshd will do (Debian's or Alpine's): the user is made here. A password of '*' can't be entered,
# but unlike '!' it doesn't lock the account for keys.
_START = """set -eu
id git >/dev/null 2>&1 || useradd --create-home --shell /bin/sh git 2>/dev/null || adduser -D -s /bin/sh git
sed -i 's/^git:[^:]*:/git:*:/' /etc/shadow
git config --system safe.directory '*'
mkdir -p /run/sshd
# Chart repositories of a lane whose charts come with it: an index, and nothing to fetch.
if command -v python3 >/dev/null; then
  python3 -m http.server --directory /etc/holdfast/charts {charts_port} >/dev/null 2>&1 &
fi
exec "$(command -v sshd || echo /usr/sbin/sshd)" -D -e -f /etc/holdfast/sshd_config
"""


# The only thing that is ever run for who enters: a command of git's, after as long as a fault says.
_ANSWER = """sleep "$(cat /etc/holdfast/delay_s 2>/dev/null || echo 0)"
exec "$(command -v git-shell || echo /usr/bin/git-shell)" -c "$SSH_ORIGINAL_COMMAND"
"""


_INDEX = "apiVersion: v1\nentries: {}\ngenerated: 2000-01-01T00:00:00Z\n"


def start(site: GitSite, name: str, image: str, network: str, labels: dict[str, str]) -> str:
    """Starts the server as a container of a *name* on a *network*; returns the container's id."""
    etc = site.folder / "etc"
    etc.mkdir(exist_ok=True)
    (etc / "host_key").write_text(site.host_key)
    (etc / "host_key").chmod(0o600)
    (etc / "authorized_keys").write_text(site.user_key + "\n")
    (etc / "sshd_config").write_text(_SSHD)
    (etc / "start").write_text(_START.replace("{charts_port}", str(CHARTS_PORT)))
    (etc / "charts").mkdir(exist_ok=True)
    (etc / "charts" / "index.yaml").write_text(_INDEX)
    (etc / "answer").write_text(_ANSWER)
    gitssh.set_delay(etc, 0)
    (etc / "answer").chmod(0o644)  # read by the user git, whatever the umask is
    container = (
        DockerContainer(image)
        .with_name(name)
        .with_volume_mapping(str(etc), "/etc/holdfast", "ro")
        .with_volume_mapping(str(site.repository), urlsplit(site.url).path, "rw")
        .with_kwargs(entrypoint=["/bin/sh", "/etc/holdfast/start"], network=network, labels=labels)
    )
    container.start()
    return str(container.get_wrapped_container().id)
