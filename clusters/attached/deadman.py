"""The dead man's switch of a fault on a cluster that matters: it runs in that cluster, and undoes the fault when its time is over or when it is
told to, whatever has become of holdfast.

It is handed to a pod as it stands, and needs nothing but Python. What is to be undone lies in the Secret ``switch`` as requests to the API, the
oldest first; each is tried without effect (``dryRun``) when it is first seen, so that a fault goes in only once its undoing is known to be
allowed. Time is the API server's own (its answers' ``Date``), so a pod that is replaced goes on where the last one was, on whichever node; and where
that clock steps back, the pod's own counts: whichever says first that the time is over.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import email.utils
import http.client
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PREFIX = "deadman.holdfast.dev/"
MERGE = "application/merge-patch+json"
TRIES = 20  # the rights that a step needs are given just before it: the API server takes a moment to know them
PASSING = ("403 ", "429 ", "5")  # such an answer may be another one a moment later
EVERY_S = 0.5
KEPT_S = 600  # how long what was undone stays to be read, where nobody takes the switch away


class Gone(Exception):
    """The switch isn't there any more."""


class Over(Exception):
    """The fault is undone, and its owner says so: there is nothing to undo any more."""


class Refused(Exception):
    """The API server said no; the message is its own."""


class Server:
    """The API, by the account of the pod."""

    def __init__(self, url: str, account: Path) -> None:
        self.url, self.account = url, account
        self.trusted = ssl.create_default_context(cafile=str(account / "ca.crt"))
        self.now = datetime.datetime.now(datetime.UTC)  # as the server said it last

    def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        """Sends a request. Raises Refused, and OSError where nobody answers."""
        headers = {"Authorization": f"Bearer {(self.account / 'token').read_text().strip()}", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)  # noqa: S310  the cluster's own API, by its CA
        try:
            with urllib.request.urlopen(request, timeout=5, context=self.trusted) as answer:  # noqa: S310
                self._heard(answer)
                return json.load(answer)
        except urllib.error.HTTPError as error:
            self._heard(error)
            raise Refused(f"{error.code} {_words(error)}") from None
        except (http.client.HTTPException, ValueError) as error:
            raise OSError(f"{type(error).__name__}: {error}") from None

    def _heard(self, answer: Any) -> None:
        if said := answer.headers.get("Date"):
            self.now = email.utils.parsedate_to_datetime(said)


def _words(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["message"])[:300]
    except (ValueError, KeyError, TypeError, OSError):
        return error.reason


def do(server: Server, step: dict[str, Any], *, dry: bool) -> None:
    """One request; what the step says is as good as done is done. Raises Refused, and OSError."""
    query = "?fieldManager=holdfast" if step["method"] != "DELETE" else "?"
    try:
        server.ask(step["method"], step["path"] + query + ("&dryRun=All" if dry else ""), step["body"], step["type"])
    except Refused as said:
        if int(str(said).partition(" ")[0]) not in step["done_by"]:
            raise


class Switch:
    """The Secret with the steps, and what is noted on it.

    Args:
        server: the API.
        namespace: where the Secret lies; it is removed with all that is in it in the end.
        limit_s: how long the fault may last, from when the switch was armed.
    """

    def __init__(self, server: Server, namespace: str, limit_s: float) -> None:
        self.server, self.namespace, self.limit_s = server, namespace, limit_s
        self.path = f"/api/v1/namespaces/{namespace}/secrets/switch"
        self.steps: list[dict[str, Any]] = []
        self.notes: dict[str, str] = {}
        self.began = time.monotonic()

    def read(self) -> None:
        """What it says now. Raises Gone, Refused and OSError."""
        try:
            found = self.server.ask("GET", self.path)
        except Refused as said:
            if str(said).startswith("404 "):
                raise Gone from None
            raise
        self.notes = {k.removeprefix(PREFIX): v for k, v in (found["metadata"].get("annotations") or {}).items()}
        self.steps = json.loads(base64.b64decode(found["data"]["steps"]))
        if "over" in self.notes:
            raise Over
        if found["metadata"].get("deletionTimestamp"):
            raise Gone

    def note(self, **notes: str) -> None:
        """Writes on it."""
        self.notes |= notes
        self.server.ask(
            "PATCH", self.path, {"metadata": {"annotations": {PREFIX + k: v for k, v in notes.items()}}}, MERGE
        )

    def look(self) -> None:
        """Tries what is new without effect, and notes how far it came, or which step would be refused."""
        if "armed" not in self.notes:
            self.note(armed=self.server.now.isoformat())
        seen = int(self.notes.get("seen", "0"))
        for number, step in enumerate(self.steps[seen:], seen + 1):
            if why := self._refuses(step):
                self.note(refused=f"{step['method']} {step['path']}: {why}")
                return
            self.note(seen=str(number))

    def _refuses(self, step: dict[str, Any]) -> str:
        why = ""
        for _ in range(TRIES):
            try:
                do(self.server, step, dry=True)
                return ""
            except OSError as said:
                why = str(said)
            except Refused as said:
                why = str(said)
                if not why.startswith(PASSING):
                    break
            time.sleep(EVERY_S)
        return why

    def due(self) -> str:
        """Why it is time to undo; empty while it isn't."""
        if "heal" in self.notes:
            return self.notes["heal"]
        over = f"its {self.limit_s:g}s were over"
        if time.monotonic() - self.began >= self.limit_s:
            return over
        armed = datetime.datetime.fromisoformat(self.notes["armed"])
        return over if (self.server.now - armed).total_seconds() >= self.limit_s else ""

    def undo(self, why: str) -> None:
        """Does every step, the newest first, until each is done; then notes it. That it has begun is noted first: the fault is none any more."""
        with contextlib.suppress(Refused, OSError):
            self.note(undoing=why)
        left = self.once(self.steps[::-1])
        while left:
            time.sleep(EVERY_S)
            left = self.once(left)
        while True:
            try:
                self.note(healed=why, healed_at=self.server.now.isoformat())
                return
            except (Refused, OSError) as said:
                if str(said).startswith(("404 ", "403 ")):
                    raise Over from None  # taken away meanwhile, with all that was to be undone done
                time.sleep(EVERY_S)

    def once(self, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Does each of the steps once; returns those that weren't done."""
        left = []
        for step in steps:
            try:
                do(self.server, step, dry=False)
            except (Refused, OSError) as said:
                print(f"not undone: {step['method']} {step['path']}: {said}", flush=True)
                left.append(step)
        return left


def watch(switch: Switch) -> None:
    """Waits, and undoes when it is time; ends when the switch is taken away, or takes it away itself once nobody asks for it any more."""
    while "healed" not in switch.notes:
        try:
            switch.read()
        except Gone:
            switch.once(
                switch.steps[::-1]
            )  # removed by somebody who didn't say that the fault is over: what still can be undone is
            return
        except (Refused, OSError) as said:
            print(f"can't look: {said}", flush=True)
            if time.monotonic() - switch.began >= switch.limit_s and switch.steps:
                switch.undo(switch.due())
            time.sleep(EVERY_S)
            continue
        try:
            switch.look()
            if "healed" not in switch.notes and (why := switch.due()):
                switch.undo(why)
        except (Refused, OSError) as said:  # an API that is away for a while: the time goes on, and so does the asking
            print(f"can't look: {said}", flush=True)
        time.sleep(EVERY_S)
    until = time.monotonic() + KEPT_S
    while time.monotonic() < until:
        time.sleep(5 * EVERY_S)
        try:
            switch.read()
        except Gone:
            return
        except (Refused, OSError):
            continue
    switch.server.ask("DELETE", f"/api/v1/namespaces/{switch.namespace}")


def main() -> int:
    account = Path(os.environ.get("DEADMAN_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount"))
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    url = os.environ.get("DEADMAN_SERVER") or f"https://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        watch(Switch(Server(url, account), os.environ["DEADMAN_NAMESPACE"], float(os.environ["DEADMAN_LIMIT_S"])))
    except Over:
        print("over", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
