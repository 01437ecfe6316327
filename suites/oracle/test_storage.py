"""The stand-in's block store against a byte array: what was flushed survives the death of its process, whatever else was written."""

import os
import socket
import struct
import time

import docker
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from holdfast.provision import engine, images
from holdfast.provision.recipes import Recipes

BLOCK, BLOCKS = 4096, 8
READ, WRITE, FLUSH = 0, 1, 3


class Client:
    """As much of the NBD protocol as a model needs: the server's documentation calls it newstyle."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        assert self._take(16) == b"NBDMAGICIHAVEOPT"
        self._take(2)
        self.socket.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, 0))
        self.size, _ = struct.unpack(">QH", self._take(10))

    def _take(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionResetError
            data += more
        return data

    def ask(self, kind, offset=0, length=0, data=b""):
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, 1, offset, length or len(data)) + data)
        magic, error, _ = struct.unpack(">IIQ", self._take(16))
        assert magic == 0x67446698
        assert error == 0
        return self._take(length) if kind == READ else b""


class Server:
    """The replica's process, in a container: the same program with the same words as the instance manager starts it."""

    def __init__(self, folder):
        (folder / "volume.img").write_bytes(b"")
        os.truncate(folder / "volume.img", BLOCK * BLOCKS)
        self.container = engine.client().containers.create(
            images.image(engine.client(), Recipes(), "longhorn"),
            entrypoint="nbdkit",
            ports={"10809/tcp": ("127.0.0.1", None)},
            command=["--foreground", "--port", "10809", "file", "/data/volume.img"],
            volumes={str(folder): {"bind": "/data", "mode": "rw"}},
        )

    def start(self):
        self.container.start()
        limit = time.monotonic() + 20
        while True:
            try:
                self.container.reload()
                return Client(int(self.container.ports["10809/tcp"][0]["HostPort"]))
            except (OSError, KeyError, TypeError, IndexError, AssertionError):
                assert time.monotonic() < limit, self.container.logs()
                time.sleep(0.05)

    def crash(self):
        self.container.kill("SIGKILL")
        self.container.wait()

    def remove(self):
        self.container.remove(force=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    try:
        engine.client().close()
    except docker.errors.DockerException:
        pytest.fail("no container engine answers: run make smoke first")
    return tmp_path_factory.mktemp("store")


def test_a_flushed_block_survives_kill_9(folder):
    class Store(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            self.server = Server(folder)
            self.client = self.server.start()
            self.possible = [{b"\0" * BLOCK} for _ in range(BLOCKS)]  # what each block may hold after a crash
            self.last = [b"\0" * BLOCK] * BLOCKS

        @rule(at=st.integers(0, BLOCKS - 1), byte=st.binary(min_size=1, max_size=1))
        def write(self, at, byte):
            self.client.ask(WRITE, at * BLOCK, data=byte * BLOCK)
            self.last[at] = byte * BLOCK
            self.possible[at].add(byte * BLOCK)

        @rule()
        def flush(self):
            self.client.ask(FLUSH)
            self.possible = [{block} for block in self.last]

        @rule()
        def crash(self):
            self.server.crash()
            self.client = self.server.start()
            for at in range(BLOCKS):
                found = self.client.ask(READ, at * BLOCK, BLOCK)
                assert found in self.possible[at], f"block {at} holds what was never written, or lost what was flushed"
                self.last[at], self.possible[at] = found, {found}

        @invariant()
        def reads_what_was_written_last(self):
            assert [self.client.ask(READ, at * BLOCK, BLOCK) for at in range(BLOCKS)] == self.last

        def teardown(self):
            self.server.remove()

    Store.TestCase.settings = settings(
        max_examples=6, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )
    Store.TestCase().runTest()
