"""What the small programs here share: an HTTP server that asks nobody for its own name, and an answer with its length."""

import http.server
import signal
import socketserver
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def send(self, status, data, content_type):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


def run(port, handler):
    """Serves for ever, or until it is asked to end: the first process of a container ignores SIGTERM unless it asks for it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Server(("", port), handler).serve_forever()


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def server_bind(self):
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]
