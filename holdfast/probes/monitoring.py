"""Monitoring: what Prometheus has scraped and says, through its own HTTP API."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from holdfast.cluster import Cluster
from holdfast.durations import go_seconds
from holdfast.waiting import HOLDS, CannotLook, Sighting, probe

_PORT = "http-web"


@dataclass(frozen=True)
class Sample:
    """A series with its newest value, or with several (wall time in seconds, value)."""

    labels: dict[str, str]
    values: tuple[tuple[float, float], ...]

    @property
    def value(self) -> float:
        return self.values[-1][1]


def _ask(cluster: Cluster, path: str, **query: str) -> Any:
    """The answer of the core tier's Prometheus."""
    component = cluster.settings.monitoring
    return _json(cluster.objects.proxy_get(component.core, component.namespace, _PORT, path, **query), component.core)


def _json(answer: tuple[int, bytes], who: str) -> Any:
    status, body = answer
    if status != 200:
        raise CannotLook(f"{who} answered {status}: {body.decode(errors='replace')[:120]}")
    return json.loads(body)


def _samples(found: Any) -> list[Sample]:
    return [
        Sample(r["metric"], tuple((float(t), float(v)) for t, v in (r.get("values") or [r["value"]])))
        for r in found["data"]["result"]
    ]


def query(cluster: Cluster, expression: str) -> list[Sample]:
    """What a PromQL expression gives now. A range selector gives the raw samples, each at the time it was scraped."""
    return _samples(_ask(cluster, "api/v1/query", query=expression))


def through_grafana(cluster: Cluster, expression: str) -> list[Sample]:
    """As `query`, asked of Grafana's data source on a node, as a dashboard would. (The API server's proxy passes no credentials on.)"""
    component, path = cluster.settings.monitoring, "/api/datasources/proxy/uid/prometheus/api/v1/query"
    secret = cluster.objects.get("Secret", component.grafana_secret, component.namespace)
    service = cluster.objects.get("Service", component.grafana, component.namespace)
    if not secret or not service:
        raise CannotLook(
            f"there is no Secret {component.namespace}/{component.grafana_secret}, or no Service {component.grafana}"
        )
    words = b":".join(base64.b64decode(secret["data"][key]) for key in ("admin-user", "admin-password"))
    request = (
        f"GET {path}?query={quote(expression)} HTTP/1.0\\r\\nHost: {component.grafana}\\r\\n"
        f"Authorization: Basic {base64.b64encode(words).decode()}\\r\\n\\r\\n"
    )
    address = f"TCP:{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}"
    answer = (
        cluster.host(cluster.nodes()[0].name)
        .run(f"printf '{request.replace('%', '%%')}' | timeout 10 socat -t 10 - {address}")
        .stdout
    )
    head, _, body = answer.partition("\r\n\r\n")
    return _samples(_json((int((head.split() or ["", "0"])[1]), body.encode()), component.grafana))


@probe
def has_series(cluster: Cluster, expression: str, at_least: int = 1) -> Sighting:
    """An expression gives at least so many series."""
    found = query(cluster, expression)
    return HOLDS if len(found) >= at_least else f"{expression} gives {len(found)} series, not {at_least}"


@probe
def has_no_series(cluster: Cluster, expression: str) -> Sighting:
    """An expression gives nothing."""
    found = query(cluster, expression)
    return HOLDS if not found else f"{expression} gives {len(found)} series, such as {found[0].labels}"


@probe
def is_read_in_grafana(cluster: Cluster, expression: str, value: float) -> Sighting:
    """An expression, asked of Grafana's data source, gives this value in every series."""
    found = through_grafana(cluster, expression)
    if not found:
        return f"{expression} gives nothing through Grafana"
    other = [s.value for s in found if s.value != value]
    return f"{expression} gives {other[0]:g} through Grafana, not {value:g}" if other else HOLDS


def scrape_interval_s(cluster: Cluster) -> float:
    """The interval that Prometheus scrapes at, read from its own configuration."""
    text: str = _ask(cluster, "api/v1/status/config")["data"]["yaml"]
    line = next(one for one in text.splitlines() if one.strip().startswith("scrape_interval:"))
    found = go_seconds(line.split(":", 1)[1].strip())
    assert found, "Prometheus always says its interval"
    return found


def longest_gap_s(cluster: Cluster, expression: str, begin: float, end: float) -> tuple[float, str]:
    """The longest time between two good scrapes (samples of 1) of each ``up`` series of a selector between two wall times, and which it was.

    Of the series that were there before and are there now: a target that is gone for good, or came meanwhile, is another matter. Where
    there is none, Prometheus has lost what it knew, and the whole time is the gap.
    """
    there = [series.labels for series in query(cluster, expression)]
    worst, name, seen = 0.0, "", False
    for series in query(cluster, f"{expression}[{int(time.time() - begin) + 60}s]"):
        times = [t for t, value in series.values if value == 1]
        if series.labels not in there or not times or times[0] > begin:
            continue
        marks = [max(t for t in times if t <= begin), *(t for t in times if begin < t <= end), end]
        gap, seen = max(b - a for a, b in zip(marks, marks[1:], strict=False)), True
        if gap > worst:
            worst, name = gap, str({k: v for k, v in series.labels.items() if k in ("job", "instance", "pod")})
    return (worst, name) if seen else (end - begin, f"no series of {expression} from before")


@probe
def scraped_without_gap(cluster: Cluster, expression: str, begin: float, end: float) -> Sighting:
    """Every target of an ``up`` selector is scraped well at least every two intervals, from *begin* to *end* (wall times in seconds)."""
    limit = 2 * scrape_interval_s(cluster)
    gap, where = longest_gap_s(cluster, expression, begin, end)
    return HOLDS if gap <= limit else f"{where} has no sample for {gap:.0f}s, and {limit:g}s are two intervals"


def alerts(cluster: Cluster) -> list[dict[str, Any]]:
    """The alerts that are pending or firing now, each with its labels, state and ``activeAt``."""
    return list(_ask(cluster, "api/v1/alerts")["data"]["alerts"])


def _is(alert: dict[str, Any], name: str, labels: dict[str, str]) -> bool:
    return bool(
        alert["labels"].get("alertname") == name and all(alert["labels"].get(k) == v for k, v in labels.items())
    )


@probe
def alert_fires(cluster: Cluster, name: str, labels: dict[str, str]) -> Sighting:
    """An alert of this name and these labels is firing."""
    found = [a["state"] for a in alerts(cluster) if _is(a, name, labels)]
    return HOLDS if "firing" in found else f"{name} {labels} is {found[0] if found else 'not there'}"


@probe
def alert_clear(cluster: Cluster, name: str, labels: dict[str, str]) -> Sighting:
    """No alert of this name and these labels is pending or firing."""
    found = [a["state"] for a in alerts(cluster) if _is(a, name, labels)]
    return f"{name} {labels} is {found[0]}" if found else HOLDS


@probe
def alertmanager_has(cluster: Cluster, name: str, labels: dict[str, str]) -> Sighting:
    """Alertmanager was told of an alert."""
    component = cluster.settings.monitoring
    found = _json(
        cluster.objects.proxy_get(component.alertmanager, component.namespace, _PORT, "api/v2/alerts"),
        component.alertmanager,
    )
    return (
        HOLDS
        if any(_is(a, name, labels) for a in found)
        else f"Alertmanager has {len(found)} alerts, none of them {name} {labels}"
    )


@dataclass(frozen=True)
class AlertRule:
    """How long an alert's expression must hold before it fires, and how often it is evaluated, in seconds."""

    for_s: float
    every_s: float


def alert_rule(cluster: Cluster, name: str) -> AlertRule:
    """An alerting rule as Prometheus has loaded it; CannotLook where it has none of that name."""
    for group in _ask(cluster, "api/v1/rules")["data"]["groups"]:
        for rule in group["rules"]:
            if rule["name"] == name:
                return AlertRule(float(rule["duration"]), float(group["interval"]))
    raise CannotLook(f"Prometheus has loaded no rule {name}")


def fired(cluster: Cluster, begin: float) -> list[dict[str, str]]:
    """The labels of every alert that fired at any time since *begin* (wall time in seconds)."""
    return [s.labels for s in query(cluster, f'ALERTS{{alertstate="firing"}}[{max(1, int(time.time() - begin))}s]')]


@probe
def no_alert_fired(cluster: Cluster, begin: float, except_: tuple[str, ...] = ()) -> Sighting:
    """No alert fired since *begin*, but those about objects with one of these names."""
    found = [a for a in fired(cluster, begin) if a.get("name") not in except_]
    return (
        f"{found[0]['alertname']} fired: { {k: v for k, v in found[0].items() if k in ('name', 'controller', 'volume')} }"
        if found
        else HOLDS
    )


def endpoints(cluster: Cluster, service: str, namespace: str) -> int:
    """How many ready pods stand behind a Service."""
    slices = cluster.objects.list("EndpointSlice", namespace, labels=f"kubernetes.io/service-name={service}")
    return len([e for s in slices for e in s.get("endpoints") or [] if (e.get("conditions") or {}).get("ready")])


@probe
def has_endpoint(cluster: Cluster, service: str, namespace: str) -> Sighting:
    """A ready pod stands behind a Service."""
    return HOLDS if endpoints(cluster, service, namespace) else f"no pod stands behind {service}"


@probe
def no_endpoint(cluster: Cluster, service: str, namespace: str) -> Sighting:
    """No ready pod stands behind a Service."""
    ready = endpoints(cluster, service, namespace)
    return f"{ready} pods stand behind {service}" if ready else HOLDS
