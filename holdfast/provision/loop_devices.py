"""Loop devices of volumes: they are the machine's kernel's, and outlive a container where something holds them."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

_BACKING = (
    "/run/engines/pvc-"  # where the storage stand-in's instance managers show a volume; no other program uses that path
)
_LOOP_CLR_FD = 0x4C01  # loop(4)


def left_over(block: Path = Path("/sys/block")) -> list[str]:
    """The names of loop devices whose backing file was a volume of the storage stand-in."""
    found = []
    for path in sorted(block.glob("loop*/loop/backing_file")):
        with suppress(OSError):
            if path.read_text().startswith(_BACKING):
                found.append(path.parts[-3])
    return found


def release() -> list[str]:
    """Detaches what a removed cluster left, once no container holds it any more; returns what couldn't be.

    The kernel detaches them itself when the last mount goes; this is for a mount that went too late.
    """
    for name in left_over():
        with suppress(OSError):
            device = os.open(f"/dev/{name}", os.O_RDONLY)
            try:
                fcntl.ioctl(device, _LOOP_CLR_FD)
            finally:
                os.close(device)
    return left_over()
