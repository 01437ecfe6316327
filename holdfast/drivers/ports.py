"""Ports on loopback that stay a lane's own, also before somebody listens on them and while that is restarted."""

from __future__ import annotations

import socket


class Ports:
    """Free ports, held by sockets that are bound and never listen.

    A port that was only found to be free may be taken by any connection that leaves this machine's loopback meanwhile, or by the lane beside.
    Whoever listens on one must ask for SO_REUSEADDR, as Go's and Python's servers do.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def take(self, *names: str) -> dict[str, int]:
        """A free port for each name."""
        return {name: self._take() for name in names}

    def _take(self) -> int:
        held = socket.socket()
        self._held.append(held)
        held.bind(("127.0.0.1", 0))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # only now: two that allow it could get the same one
        return int(held.getsockname()[1])

    def release(self) -> None:
        """Lets go of all of them."""
        while self._held:
            self._held.pop().close()
