"""Stand-in for Grafana: its HTTP API as far as health, data sources, their proxy and the list of dashboards go. It draws nothing."""

import base64
import json
import os
import urllib.error
import urllib.parse
import urllib.request

import kubernetes
import web

JSON = "application/json"
PROXY = "/api/datasources/proxy/uid/"
SOURCES = [
    {
        "id": 1,
        "uid": "prometheus",
        "name": "Prometheus",
        "type": "prometheus",
        "access": "proxy",
        "isDefault": True,
        "url": os.environ["PROMETHEUS_URL"],
    }
]


def dashboards():
    """The dashboards of every ConfigMap with the label grafana_dashboard, as Grafana's sidecar collects them."""
    found = []
    for item in (
        kubernetes.client.CoreV1Api().list_config_map_for_all_namespaces(label_selector="grafana_dashboard").items
    ):
        for name, text in (item.data or {}).items():
            try:
                board = json.loads(text)
            except ValueError:
                continue
            found.append(
                {
                    "uid": board.get("uid") or name,
                    "title": board.get("title", name),
                    "type": "dash-db",
                    "dashboard": board,
                }
            )
    return found


class Api(web.Handler):
    """Health without credentials, the rest with the administrator's."""

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/api/health":
            return self.answer(200, {"database": "ok", "version": "stand-in"})
        wanted = f"{os.environ['ADMIN_USER']}:{os.environ['ADMIN_PASSWORD']}"
        if self.headers.get("Authorization", "") != "Basic " + base64.b64encode(wanted.encode()).decode():
            return self.answer(401, {"message": "Unauthorized"})
        if url.path == "/api/datasources":
            return self.answer(200, SOURCES)
        if url.path == "/api/search":
            return self.answer(200, [{k: v for k, v in board.items() if k != "dashboard"} for board in dashboards()])
        if url.path.startswith("/api/dashboards/uid/"):
            found = [b for b in dashboards() if b["uid"] == url.path.rsplit("/", 1)[-1]]
            return (
                self.answer(200, {"dashboard": found[0]["dashboard"]})
                if found
                else self.answer(404, {"message": "Dashboard not found"})
            )
        if url.path.startswith(PROXY):
            uid, _, path = url.path.removeprefix(PROXY).partition("/")
            source = next((s for s in SOURCES if s["uid"] == uid), None)
            if not source:
                return self.answer(404, {"message": "Data source not found"})
            return self.forward(f"{source['url'].rstrip('/')}/{path}?{url.query}")
        return self.answer(404, {"message": "Not found"})

    def forward(self, url):
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                self.send(response.status, response.read(), JSON)
        except urllib.error.HTTPError as error:
            self.send(error.code, error.read(), JSON)
        except OSError as error:
            self.answer(502, {"message": f"the data source doesn't answer: {error}"})

    def answer(self, status, body):
        self.send(status, json.dumps(body).encode(), JSON)


if __name__ == "__main__":
    kubernetes.config.load_incluster_config()
    web.run(3000, Api)
