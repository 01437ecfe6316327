"""The sampler's process: takes looks at a fixed rate and writes each one down. Standard library only: it runs in pods too.

Outside it follows one specification until it is told to end; inside it follows a file on its node, so that it needs no API server.
A record is a text file: a first line ``# SPECIFICATION`` (JSON), then ``TARGET-INDEX START DURATION-MS WORD`` for each look, with the
wall time of its start in seconds. ``- TIME LATE-MS stall`` says that the sampler itself was late.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.server
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from holdfast.sampling.looks import Looker, Target

CONTROL = "control"
PEER_PORT = 9400
_LATE_S = 0.25
_WRITTEN_WITHIN_S = 20.0


def run_number(nonce: str) -> int:
    """The nonce of a run as a number that a metric can carry; 0 where there is none."""
    return int(nonce[:8], 16) if nonce else 0


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers every GET with 200 and the nonce."""

    protocol_version = "HTTP/1.1"
    nonce = ""

    def do_GET(self) -> None:
        body = b"ok"
        if self.path == "/metrics":  # a value that this run alone knows
            body = f"# TYPE holdfast_run gauge\nholdfast_run {run_number(self.nonce)}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Holdfast-Nonce", self.nonce)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's signature
        pass


class Server(http.server.ThreadingHTTPServer):
    """Takes many connections, and names itself without asking DNS."""

    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.socket.getsockname()[:2]


def _control() -> tuple[subprocess.Popen[bytes], int]:
    """A server on loopback in a process of its own: what it misses is the machine's or the sampler's fault, not a target's."""
    child = subprocess.Popen([sys.executable, "-P", "-m", __spec__.name, "--control"], stdout=subprocess.PIPE)
    assert child.stdout
    return child, int(child.stdout.readline())


class Record:
    """A file of lines that a thread of its own writes.

    A write can stand still for seconds where the disk's journal does, and all looks would stand still with it, each of them a timeout that no
    target is to blame for. So a line is handed over at once, and written, and flushed, as soon as the disk takes it.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file, self._lines = file, queue.SimpleQueue[str | None]()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            self._file.write(line)
            self._file.flush()

    def line(self, text: str) -> None:
        """Hands a line over."""
        self._lines.put(f"{text}\n")

    def close(self) -> None:
        """Waits until all is written."""
        self._lines.put(None)
        self._thread.join(_WRITTEN_WITHIN_S)
        self._file.close()


class Watch:
    """Looks at the targets of one specification until it is stopped."""

    def __init__(self, specification: dict[str, Any], out: Record, control_port: int) -> None:
        self.out = out
        targets = [Target(**t) for t in specification["targets"]]
        targets.append(Target(CONTROL, "http", "127.0.0.1", control_port))
        self.lookers = [Looker(t) for t in targets]
        names = [*specification["targets"], {"name": CONTROL}]
        self.out.line("# " + json.dumps({**specification, "targets": names, "pid": os.getpid()}))

    async def run(self, stop: asyncio.Event) -> None:
        """Ends within one period after *stop* is set; looks that are under way are waited for."""
        await asyncio.gather(*(looker.prime() for looker in self.lookers))
        start = time.monotonic() + 0.05
        await asyncio.gather(*(self._at_rate(i, looker, start, stop) for i, looker in enumerate(self.lookers)))
        for looker in self.lookers:
            looker.close()

    async def _at_rate(self, index: int, looker: Looker, start: float, stop: asyncio.Event) -> None:
        period, pending = 1 / looker.target.rate_hz, set()
        due = start + period * index / max(1, len(self.lookers))  # spread over the period
        while not stop.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            late = time.monotonic() - due
            if late > _LATE_S:
                self._write("-", time.time(), late, "stall")
                due = time.monotonic()  # the missed looks are missing, and said to be
            task = asyncio.create_task(self._one(index, looker))
            pending.add(task)
            task.add_done_callback(pending.discard)
            due += period
        if pending:
            await asyncio.wait(pending, timeout=looker.target.timeout_s + 1)

    async def _one(self, index: int, looker: Looker) -> None:
        began, mono = time.time(), time.monotonic()
        result = await looker.look()
        self._write(str(index), began, time.monotonic() - mono, result)

    def _write(self, index: str, began: float, took: float, result: str) -> None:
        # One write a look: what was seen is soon in the kernel's hands, whatever becomes of this process.
        self.out.line(f"{index} {began:.6f} {took * 1000:.1f} {result}")


async def follow_one(specification: dict[str, Any], record: Path, control_port: int) -> None:
    """Looks until SIGTERM, SIGINT, or the end of the process that started this one."""
    stop, parent = asyncio.Event(), os.getppid()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async def orphaned() -> None:
        while not stop.is_set():
            await asyncio.sleep(0.2)
            if os.getppid() != parent:
                stop.set()

    out = Record(record.open("w"))
    try:
        await asyncio.gather(Watch(specification, out, control_port).run(stop), orphaned())
    finally:
        out.close()


async def follow_file(path: Path, out: Path, control_port: int) -> None:
    """Follows the file *path*: a new watch begins whenever its content changes; without targets there is none."""
    said, running, stop, record = "", None, asyncio.Event(), None
    while True:
        text = ""
        with contextlib.suppress(OSError):
            text = path.read_text()  # noqa: ASYNC240  some bytes of a local file
        if text != said:
            with contextlib.suppress(ValueError):
                specification = json.loads(text or '{"targets": []}')
                stop.set()
                if running and record:
                    await running
                    record.close()
                said, stop, running = text, asyncio.Event(), None
                Answer.nonce = specification.get("nonce", "")
                if specification["targets"]:
                    folder = out / specification["watch"]
                    folder.mkdir(parents=True, exist_ok=True)
                    record = Record((folder / f"{time.time():.3f}.txt").open("w"))
                    running = asyncio.create_task(Watch(specification, record, control_port).run(stop))
        await asyncio.sleep(0.1)


def first_in_line() -> None:
    """Outside it must look on while the machine is busy, and takes little itself; only root may ask for that.

    The kernel groups processes by session (autogroup), and a nice value counts within a group only: so it gets a session of its own, and
    that is given the weight. Without it, all of the host's own looks had the weight of one process beside every container's.
    """
    with contextlib.suppress(OSError):
        os.setsid()
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("-10")
    with contextlib.suppress(OSError):
        os.nice(-10)


def main() -> None:
    """Parses the command line and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--control", action="store_true", help="serve the control target")
    parser.add_argument(
        "--follow", type=Path, help="a file with the specification, followed for ever; also answers other samplers"
    )
    parser.add_argument("--spec", type=Path, help="a specification, looked at until the process is ended")
    parser.add_argument("--out", type=Path, help="the record (with --spec), or a folder for records (with --follow)")
    options = parser.parse_args()
    if options.control:
        server = Server(("127.0.0.1", 0), Answer)
        print(server.server_port, flush=True)
        parent = os.getppid()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        while os.getppid() == parent:
            time.sleep(0.5)
        return
    if options.spec:
        first_in_line()
    child, port = _control()
    try:
        if options.follow:
            threading.Thread(target=Server(("", PEER_PORT), Answer).serve_forever, daemon=True).start()
            asyncio.run(follow_file(options.follow, options.out, port))
        else:
            asyncio.run(follow_one(json.loads(options.spec.read_text()), options.out, port))
    finally:
        child.kill()


if __name__ == "__main__":
    main()
