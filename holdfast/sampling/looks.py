"""One look at a target: HTTP, HTTPS with SNI, DNS, each on a new or on a reused connection; or a record written to a volume.

Standard library only: it runs in pods too. A look gives ``ok`` or one word for what went wrong: refused, reset, closed, timeout,
unreachable, tls, dns, dns-timeout, http-503, nonce (something else answered), eio and other errors of a file system, error. A written
record's ``ok`` is followed by its number and its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from holdfast.sampling.records import Record, Writer

OK = "ok"


class Failed(Exception):
    """A look that didn't get what it should; its text is the one word."""


@dataclass
class Target:
    """What is looked at, as the specification's JSON says.

    Attributes:
        name: unique in a watch.
        kind: ``http``, ``https``, ``dns`` or ``volume`` (*path* is the file that records are written to).
        mode: ``new`` or ``reused`` connections.
        host: an address, or a name to resolve by *resolver* at every new connection.
        ask: the Host header and SNI (http), or the name to resolve (dns).
        nonce: what the header X-Holdfast-Nonce must say; empty where the endpoint can't say it.
        expect: the HTTP status that is right.
        ca: the certificates that a TLS server is checked against, as PEM.
        negative control: broken on purpose: it must never be ok.
    """

    name: str
    kind: str
    host: str
    port: int
    mode: str = "new"
    ask: str = ""
    path: str = "/"
    nonce: str = ""
    expect: int = 200
    ca: str = ""
    check_name: bool = True
    resolver: str = ""
    timeout_s: float = 2.0
    rate_hz: float = 5.0
    negative_control: bool = False
    _context: Any = field(default=None, repr=False, compare=False)

    def tls(self) -> ssl.SSLContext | None:
        """The TLS context, made once."""
        if self.kind != "https":
            return None
        if self._context is None:
            context = ssl.create_default_context(cadata=self.ca)
            context.check_hostname = self.check_name
            self._context = context
        return self._context  # type: ignore[no-any-return]


def word(error: BaseException) -> str:
    """The one word for an exception: of the first class in the table that it belongs to."""
    if isinstance(error, Failed):
        return str(error)
    return next((name for kind, name in _WORDS if isinstance(error, kind)), "error")


# The order matters: most of these are OSErrors too.
_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (TimeoutError, "timeout"),
    (ConnectionRefusedError, "refused"),
    (ConnectionResetError, "reset"),
    (BrokenPipeError, "reset"),
    (ssl.SSLError, "tls"),
    (asyncio.IncompleteReadError, "closed"),
    (OSError, "unreachable"),
)


@dataclass
class Connection:
    """An open connection; *closed* once the other side ended it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def closed(self) -> bool:
        return self.reader.at_eof() or self.writer.is_closing()

    def drop(self) -> None:
        """Ends it at once."""
        with contextlib.suppress(Exception):
            self.writer.transport.abort()


async def connect(target: Target) -> Connection:
    """Opens a connection, resolving the host by the target's resolver where it names one."""
    host = await resolve(target.resolver, target.host) if target.resolver else target.host
    context = target.tls()
    reader, writer = await asyncio.open_connection(
        host, target.port, ssl=context, server_hostname=(target.ask or host) if context else None
    )
    return Connection(reader, writer)


async def request(connection: Connection, target: Target) -> None:
    """One GET on an open connection; raises where the answer isn't the target's own, with the status that is expected."""
    lines = [
        f"GET {target.path} HTTP/1.1",
        f"Host: {target.ask or target.host}",
        "User-Agent: holdfast-sampler",
        f"Connection: {'keep-alive' if target.mode == 'reused' else 'close'}",
        "",
        "",
    ]
    connection.writer.write("\r\n".join(lines).encode())
    status = await connection.reader.readline()
    parts = status.split()
    if len(parts) < 2:
        raise ConnectionResetError("no answer before the end")
    headers: dict[str, str] = {}
    while (line := await connection.reader.readline()) not in (b"\r\n", b"\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    await _body(connection.reader, headers)
    if target.nonce and headers.get("x-holdfast-nonce") != target.nonce:
        raise Failed("nonce")
    if parts[1] != str(target.expect).encode():
        raise Failed(f"http-{parts[1].decode('latin-1')}")


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> None:
    if "content-length" in headers:
        await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readline()).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readline()


# -- DNS: one A query over UDP ---------------------------------------------------------------------------------------------


class _Answers(asyncio.DatagramProtocol):
    """Waits for the answers to queries, by their id."""

    def __init__(self) -> None:
        self.waiting: dict[int, asyncio.Future[bytes]] = {}

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ARG002  asyncio's signature
        future = self.waiting.pop(struct.unpack("!H", data[:2])[0], None) if len(data) > 12 else None
        if future and not future.done():
            future.set_result(data)

    def error_received(self, error: Exception) -> None:
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(error)


async def open_dns(resolver: str) -> tuple[asyncio.DatagramTransport, _Answers]:
    """A UDP socket to a resolver."""
    return await asyncio.get_running_loop().create_datagram_endpoint(
        _Answers, remote_addr=(resolver, 53), family=socket.AF_INET
    )


async def ask(transport: asyncio.DatagramTransport, answers: _Answers, name: str) -> str:
    """Asks for the address of *name* (taken as fully qualified); raises Failed where there is none."""
    number = struct.unpack("!H", os.urandom(2))[0]
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.rstrip(".").split("."))
    future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    answers.waiting[number] = future
    transport.sendto(struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1")
    try:
        data = await future
    finally:
        answers.waiting.pop(number, None)
    code, count = data[3] & 15, struct.unpack("!H", data[6:8])[0]
    if code or not count:
        raise Failed("dns")
    return socket.inet_ntoa(data[-4:])


async def resolve(resolver: str, name: str) -> str:
    """The address of *name* by a query on a socket of its own; an address is given back as it is."""
    with contextlib.suppress(OSError):
        return socket.inet_ntoa(socket.inet_aton(name))
    transport, answers = await open_dns(resolver)
    try:
        return await asyncio.wait_for(ask(transport, answers, name), 1.5)
    except TimeoutError:
        raise Failed("dns-timeout") from None
    finally:
        transport.close()


# -- looks -----------------------------------------------------------------------------------------------------------------


class Writes:
    """Writes records to a volume, one at a time, in a thread of its own: a file system that stalls must not hold up the other looks."""

    def __init__(self, path: str) -> None:
        self._writer, self._pool = Writer(path), ThreadPoolExecutor(1)
        self._running: asyncio.Future[Record] | None = None

    async def look(self) -> str:
        """Writes one record; a record that is still on its way is waited for first."""
        while self._running and not self._running.done():
            await asyncio.wait({self._running})
        self._running = asyncio.get_running_loop().run_in_executor(self._pool, self._writer.append)
        try:
            number, at = await asyncio.shield(self._running)
        except OSError as error:
            raise Failed(errno.errorcode.get(error.errno or 0, "error").lower()) from None
        return f"{OK} {number} {at}"


class Looker:
    """Takes looks at one target.

    On a reused connection: one connection is used again and again. A look that finds it gone is a failed look, and a new one is opened;
    from then on it is counted anew. While a look is still waiting for its answer, the next one takes a spare connection, so that a
    slow answer delays no other look.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self._kept: Any = None
        self._busy = False
        self._spares: list[Any] = []
        self._writes = Writes(target.path) if target.kind == "volume" else None

    async def prime(self) -> None:
        """Opens the connection that is reused, and a few spare ones; what can't be opened now is opened by the looks."""
        if self.target.mode != "reused":
            return
        with contextlib.suppress(Exception):
            self._kept = await asyncio.wait_for(self._open(), self.target.timeout_s)
            self._spares = [await asyncio.wait_for(self._open(), self.target.timeout_s) for _ in range(3)]

    async def _open(self) -> Any:
        return await (open_dns(self.target.host) if self.target.kind == "dns" else connect(self.target))

    async def look(self) -> str:
        """One look: ``ok`` or the word for what went wrong, at the latest after the target's own timeout."""
        looks = self._writes.look if self._writes else self._plain()
        try:
            return await asyncio.wait_for(looks(), self.target.timeout_s)
        except Exception as error:
            return word(error)

    def _plain(self) -> Callable[[], Awaitable[str]]:
        return self._new if self.target.mode != "reused" else self._spare if self._busy else self._reused

    async def _new(self) -> str:
        connection = await self._open()
        try:
            await self._use(connection)
        finally:
            _drop(connection)
        return OK

    async def _reused(self) -> str:
        self._busy = True
        try:
            if _gone(self._kept):
                self._kept = None
                self._kept = await self._open()
                raise Failed("closed")
            if self._kept is None:  # a look said so already: counted anew
                self._kept = await self._open()
            await self._use(self._kept)
        except Failed as failed:
            if str(failed) != "closed":
                self._lose()
            raise
        except BaseException:
            self._lose()
            raise
        finally:
            self._busy = False
        return OK

    def _lose(self) -> None:
        if self._kept is not None:
            _drop(self._kept)
        self._kept = None

    async def _spare(self) -> str:
        self._spares = [spare for spare in self._spares if not _gone(spare)]
        connection = self._spares.pop() if self._spares else await self._open()
        try:
            await self._use(connection)
        except BaseException:
            _drop(connection)
            raise
        self._spares.append(connection)
        return OK

    async def _use(self, connection: Any) -> None:
        if isinstance(connection, Connection):
            await request(connection, self.target)
        else:
            await ask(connection[0], connection[1], self.target.ask)

    def close(self) -> None:
        """Drops what is open."""
        self._lose()
        for connection in self._spares:
            _drop(connection)


def _gone(connection: Any) -> bool:
    return isinstance(connection, Connection) and connection.closed


def _drop(connection: Any) -> None:
    if isinstance(connection, Connection):
        connection.drop()
    else:
        connection[0].close()
