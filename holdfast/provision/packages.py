"""Debian packages, by the machine's own apt settings."""

from __future__ import annotations

import os
import subprocess

from holdfast.errors import UsageError
from holdfast.progress import step


def apt_install(*packages: str) -> None:
    """Installs Debian packages by the machine's own apt settings; raises UsageError with apt's last words."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with step(f"installing {' '.join(packages)}"):
        for command in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
        ):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                words = (done.stderr or done.stdout).strip().splitlines()
                raise UsageError(
                    f"{' '.join(command[:2])} failed: {words[-1] if words else done.returncode}",
                    "fix apt, then run again",
                )
