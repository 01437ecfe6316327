"""Stand-in for Flux's notification-controller: keeps the events that it is sent, and gives them back as JSON lines."""

import collections
import http.server
import json
import os

import standin

EVENTS = collections.deque(maxlen=5000)


class Events(http.server.BaseHTTPRequestHandler):
    """POST stores an event; GET /events gives all of them."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            EVENTS.append({"received": standin.now(), **json.loads(body)})
            self.answer(202, b"")
        except ValueError:
            self.answer(400, b"not JSON\n")

    def do_GET(self):
        self.answer(200, "".join(json.dumps(e) + "\n" for e in EVENTS).encode())

    def answer(self, code, body):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def accept(controller, item):
    controller.ready(item, True, "Succeeded", "stand-in: stored, nothing is sent")
    return 3600


if __name__ == "__main__":
    standin.serve(int(os.environ.get("EVENTS_PORT", "9090")), Events)
    standin.serve(int(os.environ.get("RECEIVER_PORT", "9292")), standin.Health)
    standin.start(
        standin.Controller("notification-controller", "notification.toolkit.fluxcd.io/v1", "Receiver", accept)
    )
