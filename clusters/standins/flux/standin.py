"""What the stand-ins for Flux's controllers share: when an object is due, its status, its conditions, the HTTP servers.

Stand-ins, not Flux: small programs that read and write the fields of Flux's own APIs, for lanes that reach no image registry.
"""

import datetime
import http.server
import json
import math
import os
import re
import signal
import sys
import threading
import time
import traceback
import urllib.request

import kubernetes
import kubernetes.watch
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ApiException, NotFoundError, ResourceNotFoundError

WATCH_S = 15  # a connection that died without a word is found out within that time
REQUESTED_AT = "reconcile.fluxcd.io/requestedAt"
# Beside a cluster that name could be another cluster's.
_EVENTS = "" if os.environ.get("KUBECONFIG") else "http://notification-controller.flux-system.svc.cluster.local./"
NOTIFICATIONS = os.environ.get("NOTIFICATIONS", _EVENTS)


def now():
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(duration, default=60.0):
    """Go's duration text ("1m30s") in seconds."""
    parts = re.findall(r"([0-9.]+)(ms|h|m|s)", str(duration or ""))
    return sum(float(n) * {"h": 3600, "m": 60, "s": 1, "ms": 0.001}[u] for n, u in parts) if parts else default


def connect():
    """To the cluster that it runs in; as a process beside one, to the one that KUBECONFIG names."""
    if os.environ.get("KUBECONFIG"):
        kubernetes.config.load_kube_config(os.environ["KUBECONFIG"])
    else:
        kubernetes.config.load_incluster_config()
    return DynamicClient(kubernetes.client.ApiClient())


def say(message, **fields):
    print(json.dumps({"ts": now(), "msg": message, **fields}), flush=True)


def key_of(item):
    return (item["metadata"]["namespace"], item["metadata"]["name"])


class Failed(Exception):
    """A reconciliation that failed: the condition's reason, and words for its message."""

    def __init__(self, reason, message):
        super().__init__(message)
        self.reason = reason


class Controller:
    """Reconciles the objects of one kind: at a change, at a request, when the interval is over, after a failure.

    *suspended*: whether it works on suspended ones, too.
    """

    def __init__(self, name, api_version, kind, reconcile, *, suspended=False):
        self.client = connect()
        self.name, self.kind, self.reconcile_one, self.of_suspended = name, kind, reconcile, suspended
        self.api = self.client.resources.get(api_version=api_version, kind=kind)
        self.items, self.due, self.busy, self.seen = {}, {}, set(), {}
        self.news = threading.Event()

    def run(self):
        threading.Thread(target=self._follow, daemon=True).start()
        while True:
            self.news.wait(self._rest())
            self.news.clear()
            for key, item in list(self.items.items()):
                try:
                    self._look(key, item)
                except Exception as error:  # the others must go on
                    say("an object can't be read", name=key[1], error=f"{type(error).__name__}: {str(error)[:200]}")

    def _follow(self):
        """Keeps what there is up to date. A watch that ends is begun by a new list: a restored etcd has older versions than were seen."""
        while True:
            try:
                listed = self.api.get(_request_timeout=WATCH_S).to_dict()
                self.items = {key_of(item): item for item in listed["items"]}
                self.news.set()
                since = listed["metadata"]["resourceVersion"]
                words = {"resource_version": since, "timeout_seconds": WATCH_S, "_request_timeout": WATCH_S + 5}
                for event in kubernetes.watch.Watch().stream(self.api.get, serialize=False, **words):
                    item = event["raw_object"]
                    if event["type"] == "DELETED":
                        self.items.pop(key_of(item), None)
                    else:
                        self.items[key_of(item)] = item
                    self.news.set()
            except Exception as error:
                say("watch failed", kind=self.kind, error=f"{type(error).__name__}: {str(error)[:200]}")
                time.sleep(1)

    def _rest(self):
        """Seconds until something is due again."""
        soonest = min((self.due.get(key, math.inf) for key in list(self.items) if key in self.seen), default=math.inf)
        return min(max(soonest - time.monotonic(), 0.05), 60)

    def _look(self, key, item):
        """Begins what is to be done with an object now."""
        meta = item["metadata"]
        leaving = meta.get("deletionTimestamp")
        if (item.get("spec") or {}).get("suspend") and not self.of_suspended and not leaving:
            self.seen.pop(key, None)  # resumed, it is looked at at once
            return
        if key in self.busy:
            return
        mark = (meta["uid"], meta["generation"], (meta.get("annotations") or {}).get(REQUESTED_AT), leaving)
        if self.seen.get(key) != mark or time.monotonic() >= self.due.get(key, 0):
            self.seen[key] = mark
            self.busy.add(key)
            self.due[key] = math.inf
            threading.Thread(target=self._one, args=(key, item), daemon=True).start()

    def _one(self, key, item):
        spec, began = item.get("spec") or {}, time.monotonic()
        try:
            wait = self.reconcile_one(self, item)
            METRICS.reconciled(self.name, self.kind, key, "success", time.monotonic() - began)
            self.due[key] = time.monotonic() + (wait if wait is not None else seconds(spec.get("interval")))
        except Failed as failure:
            METRICS.reconciled(self.name, self.kind, key, "error", time.monotonic() - began)
            retry = seconds(spec.get("retryInterval"), min(seconds(spec.get("interval")), 10))
            self.due[key] = time.monotonic() + retry
            self.ready(item, False, failure.reason, str(failure))
        except Exception as error:
            say(
                "reconcile failed",
                kind=self.kind,
                name=key[1],
                error=f"{type(error).__name__}: {str(error)[:400]}",
                where=traceback.format_tb(error.__traceback__)[-1].strip()[:200],
            )
            self.due[key] = time.monotonic() + 5
            if os.environ.get("KUBECONFIG"):  # beside a cluster nobody reads the log: the object itself must say it
                self.ready(item, False, "ReconcileError", f"{type(error).__name__}: {str(error)[:400]}")
        finally:
            self.busy.discard(key)
            self.news.set()

    def patch_status(self, item, status):
        meta = item["metadata"]
        requested = (meta.get("annotations") or {}).get(REQUESTED_AT)
        if requested:
            status["lastHandledReconcileAt"] = requested
        try:
            self.api.status.patch(
                name=meta["name"],
                namespace=meta["namespace"],
                body={"status": status},
                content_type="application/merge-patch+json",
            )
        except NotFoundError:
            pass

    def ready(self, item, ok, reason, message, extra=None):
        """Writes the Ready condition (and *extra* status), and sends an event where it changed."""
        before = {c["type"]: c for c in (item.get("status") or {}).get("conditions") or []}.get("Ready", {})
        state = {True: "True", False: "False", None: "Unknown"}[ok]
        since = before.get("lastTransitionTime") if before.get("status") == state else None
        condition = {
            "type": "Ready",
            "status": state,
            "reason": reason,
            "message": message[:1000],
            "lastTransitionTime": since or now(),
            "observedGeneration": item["metadata"]["generation"],
        }
        status = {"conditions": [condition], **(extra or {})}
        if ok is not None:
            status["observedGeneration"] = item["metadata"]["generation"]
        self.patch_status(item, status)
        if (before.get("status"), before.get("message")) != (state, message[:1000]) and ok is not None:
            say(message, kind=self.kind, name=item["metadata"]["name"], ready=state)
            self._event(item, ok, reason, message)

    def _event(self, item, ok, reason, message):
        if not NOTIFICATIONS:
            return
        meta = item["metadata"]
        body = {
            "involvedObject": {
                "kind": item["kind"],
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
                "apiVersion": item["apiVersion"],
            },
            "severity": "info" if ok else "error",
            "timestamp": now(),
            "message": message[:1000],
            "reason": reason,
            "reportingController": self.name,
        }
        try:
            request = urllib.request.Request(
                NOTIFICATIONS, json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            urllib.request.urlopen(request, timeout=2).close()
        except OSError:
            pass


class Metrics:
    """The counters of Flux's controllers that rules and dashboards read, under the names that controller-runtime gives them."""

    def __init__(self):
        self.totals, self.sums, self.lock, self.started = {}, {}, threading.Lock(), time.time()

    def reconciled(self, controller, kind, key, result, seconds):
        with self.lock:
            total = (controller.removesuffix("-controller"), result)
            self.totals[total] = self.totals.get(total, 0) + 1
            count, summed = self.sums.get((kind, *key), (0, 0.0))
            self.sums[(kind, *key)] = (count + 1, summed + seconds)

    def text(self):
        with self.lock:
            lines = [
                f'controller_runtime_reconcile_total{{controller="{c}",result="{r}"}} {n}'
                for (c, r), n in self.totals.items()
            ]
            for (kind, namespace, name), (count, summed) in self.sums.items():
                labels = f'{{kind="{kind}",name="{name}",namespace="{namespace}"}}'
                lines += [
                    f"gotk_reconcile_duration_seconds_count{labels} {count}",
                    f"gotk_reconcile_duration_seconds_sum{labels} {summed:.3f}",
                ]
        return "\n".join(
            [*lines, f"process_start_time_seconds {self.started:.2f}", "controller_runtime_webhook_panics_total 0", ""]
        )


METRICS = Metrics()


BUSY = threading.Lock()  # held by a step that must not be cut off


def end_when_asked():
    """The first process of a container ignores SIGTERM unless it asks for it, and would be waited for until its grace period (10s) is over."""

    def end(*_):
        BUSY.acquire(timeout=8)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)


def serve(port, handler):
    """An HTTP server in a thread of its own."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1" if os.environ.get("KUBECONFIG") else "", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Health(http.server.BaseHTTPRequestHandler):
    """The probes' and the metrics' ports of Flux's controllers: 9440 and 8080."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = METRICS.text().encode() if self.path == "/metrics" else b"ok\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def start(*controllers):
    """Serves health and metrics, then runs *controllers* for ever."""
    end_when_asked()
    serve(int(os.environ.get("HEALTH_PORT", "9440")), Health)
    serve(int(os.environ.get("METRICS_PORT", "8080")), Health)
    say("stand-in started", args=sys.argv[1:])
    threads = [threading.Thread(target=c.run) for c in controllers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os._exit(1)  # they run for ever, or whoever watches over this process must know


__all__ = [
    "ApiException",
    "Controller",
    "Failed",
    "Health",
    "NotFoundError",
    "ResourceNotFoundError",
    "connect",
    "now",
    "say",
    "seconds",
    "serve",
    "start",
]
