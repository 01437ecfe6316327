"""Stand-in for ingress-nginx: Debian's nginx, its configuration rendered from Ingress objects, endpoints followed without a reload."""

import argparse
import base64
import contextlib
import hashlib
import http.server
import json
import os
import signal
import subprocess
import threading
import time
import urllib.request

import kubernetes

CONF = "/tmp/nginx.conf"
HEAD = """load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
worker_processes 2;
daemon off;
pid /tmp/nginx.pid;
error_log /dev/stderr error;
worker_shutdown_timeout 30s;
events { worker_connections 4096; }
http {
  access_log off;
  server_tokens off;
  keepalive_timeout %(keep_alive)ss;
  keepalive_requests %(keep_alive_requests)s;
  client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi; uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
  lua_package_path "/app/?.lua;/usr/share/lua/5.1/?.lua;;";
  lua_shared_dict backends 2m;
  init_by_lua_block { backends = require "backends" }
  proxy_connect_timeout %(proxy_connect_timeout)ss;
  proxy_read_timeout %(proxy_read_timeout)ss;
  proxy_next_upstream error timeout;
  proxy_next_upstream_tries 3;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $remote_addr;
  proxy_set_header X-Forwarded-Proto $scheme;
  add_header X-Holdfast-Nonce "%(nonce)s" always;
  upstream balancer { server 0.0.0.1; balancer_by_lua_block { backends.balance() } }
  server {
    listen 127.0.0.1:10246; client_body_buffer_size 2m; client_max_body_size 2m;
    location = /backends { content_by_lua_block { backends.replace() } }
  }
  server {
    listen 80 default_server; listen 443 ssl default_server; ssl_certificate /tmp/default.pem; ssl_certificate_key /tmp/default.pem;
    return 404;
  }
"""
SERVER = """  server {
    listen 80; %(tls)s
    server_name %(host)s;
%(locations)s  }
"""
LOCATION = """    location %(path)s { set $backend "%(key)s"; access_by_lua_block { backends.require_peer() } proxy_pass http://balancer; }
"""


class Controller:
    def __init__(self, ingress_class, config):
        kubernetes.config.load_incluster_config()
        self.core, self.net = kubernetes.client.CoreV1Api(), kubernetes.client.NetworkingV1Api()
        self.discovery = kubernetes.client.DiscoveryV1Api()
        self.ingress_class, self.config_name = ingress_class, config
        self.changed, self.ready = threading.Event(), False
        self.written = self.told = None  # what this process wrote: /tmp may hold another one's

    def watch(self, name, call):
        """Marks a change at every event; lists again whenever the watch ends. Without the API server, the last state stays."""
        while True:
            try:
                for _ in kubernetes.watch.Watch().stream(call, timeout_seconds=60):
                    self.changed.set()
            except Exception as error:
                print(f"watch of {name} ended: {str(error)[:120]}", flush=True)
                time.sleep(1)

    def ingresses(self):
        for item in self.net.list_ingress_for_all_namespaces().items:
            named = item.spec.ingress_class_name or (item.metadata.annotations or {}).get("kubernetes.io/ingress.class")
            if named in (None, self.ingress_class):
                yield item

    def endpoints(self, namespace, service, port):
        """[address, port] of the ready endpoints of a Service's port, from its EndpointSlices."""
        wanted = (
            {p.port: p.name for p in self.services[namespace, service].spec.ports}
            if (namespace, service) in self.services
            else {}
        )
        name = port.name or wanted.get(port.number)
        found = []
        for piece in self.slices.get((namespace, service), []):
            number = next((p.port for p in piece.ports or [] if (p.name or None) == (name or None)), None)
            ready = [end for end in piece.endpoints or [] if number and end.conditions.ready is not False]
            found += [[end.addresses[0], number] for end in ready]
        return sorted(found)

    def read(self):
        self.services = {
            (s.metadata.namespace, s.metadata.name): s for s in self.core.list_service_for_all_namespaces().items
        }
        self.slices = {}
        for piece in self.discovery.list_endpoint_slice_for_all_namespaces().items:
            service = (piece.metadata.labels or {}).get("kubernetes.io/service-name")
            self.slices.setdefault((piece.metadata.namespace, service), []).append(piece)

    def config_map(self, namespace, name):
        try:
            return self.core.read_namespaced_config_map(name, namespace).data or {}
        except kubernetes.client.ApiException as error:
            if error.status == 404:
                return {}
            raise

    def certificate(self, namespace, name):
        """The path of a file with a TLS Secret's certificate and key, or None."""
        try:
            data = self.core.read_namespaced_secret(name, namespace).data or {}
        except kubernetes.client.ApiException as error:
            if error.status == 404:
                return None
            raise
        text = base64.b64decode(data["tls.crt"]) + b"\n" + base64.b64decode(data["tls.key"])
        path = f"/tmp/{namespace}-{name}-{hashlib.sha256(text).hexdigest()[:12]}.pem"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(text)
        return path

    def render(self):
        """(nginx's configuration, endpoints by backend)."""
        self.read()
        settings = self.config_map(*self.config_name.split("/"))
        values = {
            "keep_alive": settings.get("keep-alive", "75"),
            "keep_alive_requests": settings.get("keep-alive-requests", "1000"),
            "proxy_connect_timeout": settings.get("proxy-connect-timeout", "5"),
            "proxy_read_timeout": settings.get("proxy-read-timeout", "60"),
            "nonce": self.config_map("holdfast-system", "nonce").get("nonce", ""),
        }
        hosts, tls, backends = {}, {}, {}
        for item in self.ingresses():
            namespace = item.metadata.namespace
            for entry in item.spec.tls or []:
                path = self.certificate(namespace, entry.secret_name) if entry.secret_name else None
                for host in entry.hosts or []:
                    tls[host] = path or "/tmp/default.pem"
            for rule in item.spec.rules or []:
                for path in rule.http.paths if rule.http else []:
                    service = path.backend.service
                    key = f"{namespace}/{service.name}:{service.port.number or service.port.name}"
                    backends[key] = self.endpoints(namespace, service.name, service.port)
                    prefix = f"= {path.path}" if path.path_type == "Exact" else path.path or "/"
                    hosts.setdefault(rule.host or "_", []).append(LOCATION % {"path": prefix, "key": key})
        text = HEAD % values
        for host, locations in sorted(hosts.items()):
            line = (
                f"listen 443 ssl; ssl_certificate {tls[host]}; ssl_certificate_key {tls[host]};" if host in tls else ""
            )
            text += SERVER % {"host": host, "tls": line, "locations": "".join(sorted(set(locations)))}
        return text + "}\n", backends

    def sync(self, nginx):
        text, backends = self.render()
        if text != self.written:
            with open(CONF, "w") as file:
                file.write(text)
            nginx.start_or_reload()
        lists = json.dumps(backends, sort_keys=True)
        if lists != self.told or text != self.written:
            tell(lists)
        self.written, self.told, self.ready = text, lists, True


def tell(lists, attempts=50):
    """Gives nginx the endpoints; raises where it doesn't take them, so that the pod isn't called ready."""
    request = urllib.request.Request("http://127.0.0.1:10246/backends", lists.encode(), method="POST")
    for attempt in range(attempts):
        try:
            return urllib.request.urlopen(request, timeout=2).close()
        except OSError:
            if attempt == attempts - 1:
                raise
            time.sleep(0.1)


class Nginx:
    process = None

    def start_or_reload(self):
        if self.process is None:
            self.process = subprocess.Popen(["nginx", "-c", CONF])
        elif subprocess.run(["nginx", "-t", "-q", "-c", CONF], check=False).returncode == 0:
            subprocess.run(["nginx", "-s", "reload", "-c", CONF], check=False)

    def quit(self, *_):
        """Ends nginx as ingress-nginx does when it is asked to end: requests under way are answered first."""
        if (
            self.process is not None
        ):  # not through `nginx -s`, which reads the configuration, nor through Popen, whose lock may be taken
            with contextlib.suppress(OSError):
                os.kill(self.process.pid, signal.SIGQUIT)
                os.waitpid(self.process.pid, 0)
        os._exit(0)


def health(controller):
    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if controller.ready else 500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    threading.Thread(target=http.server.ThreadingHTTPServer(("", 10254), Health).serve_forever, daemon=True).start()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ingress-class", default="nginx")
    parser.add_argument("--configmap", default="ingress-nginx/ingress-nginx-controller")
    options, _ = parser.parse_known_args()
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=ingress default certificate",
            "-keyout",
            "/tmp/default.key",
            "-out",
            "/tmp/default.crt",
        ],
        check=True,
        capture_output=True,
    )
    with open("/tmp/default.pem", "w") as out:
        out.write(open("/tmp/default.crt").read() + open("/tmp/default.key").read())
    controller, nginx = Controller(options.ingress_class, options.configmap), Nginx()
    signal.signal(signal.SIGTERM, nginx.quit)
    health(controller)
    calls = {
        "ingresses": controller.net.list_ingress_for_all_namespaces,
        "services": controller.core.list_service_for_all_namespaces,
        "endpoints": controller.discovery.list_endpoint_slice_for_all_namespaces,
        "configmaps": controller.core.list_config_map_for_all_namespaces,
        "secrets": controller.core.list_secret_for_all_namespaces,
    }
    for name, call in calls.items():
        threading.Thread(target=controller.watch, args=(name, call), daemon=True).start()
    while True:
        try:
            controller.changed.clear()
            controller.sync(nginx)
        except Exception as error:
            print(f"sync failed: {str(error)[:200]}", flush=True)
            time.sleep(1)
            controller.changed.set()
        controller.changed.wait(30)
        time.sleep(0.1)
        if nginx.process is not None and nginx.process.poll() is not None:
            raise SystemExit(f"nginx ended: {nginx.process.returncode}")


if __name__ == "__main__":
    main()
