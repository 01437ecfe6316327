"""A server between holdfast and a real API server: it writes down every request, passes it on, and may lie about the answer."""

import ssl
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import urllib3

from holdfast.drivers.pki import Pki

HEADERS = ("Authorization", "Accept", "Content-Type", "User-Agent")


@dataclass
class Answer:
    """What is sent back: as the API server gave it, or otherwise; *cut*: the connection ends after so many bytes of it."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    after_s: float = 0.0


Lie = Callable[[str, Answer], Answer]


def truth(path: str, answer: Answer) -> Answer:
    """Nothing is changed."""
    return answer


@dataclass
class Between:
    """The server. *asked*: method and path of each request since the last `again`; *lie* says what becomes of an answer."""

    url: str
    authority: str
    lie: Lie = truth
    asked: list[tuple[str, str]] = field(default_factory=list)
    to: str = ""

    def again(self, lie: Lie = truth) -> None:
        self.asked.clear()
        self.lie = lie

    @property
    def writes(self) -> list[tuple[str, str]]:
        """What was asked and isn't a read."""
        return [one for one in self.asked if one[0] not in ("GET", "HEAD", "OPTIONS")]


@contextmanager
def between(folder, server, authority):
    """A server on loopback before the API server at a URL, whose own authority signs for it."""
    pki = Pki(folder)
    certificate, key = pki.issue("between", "between")
    pool = urllib3.PoolManager(ca_certs=str(authority), retries=False)
    made = Between("", (folder / "ca.crt").read_text(), to=server)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self):
            made.asked.append((self.command, self.path))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            sent = {k: self.headers[k] for k in HEADERS if self.headers.get(k)}
            got = pool.request(self.command, f"{made.to}{self.path}", headers=sent, body=body or None, timeout=10)
            kept = {k: v for k, v in got.headers.items() if k.lower() in ("content-type", "warning")}
            answer = made.lie(self.path, Answer(got.status, got.data, kept))
            time.sleep(answer.after_s)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: answer.cut])
            self.close_connection = answer.cut is not None

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = answer

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    made.url = f"https://127.0.0.1:{http.server_address[1]}"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        http.shutdown()
        http.server_close()
