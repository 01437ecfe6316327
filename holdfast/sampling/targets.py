"""What a watch looks at, and from where: factories that a test names, each giving targets by vantage point."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import yaml

from holdfast.cluster import Cluster
from holdfast.drivers.driver import Agents
from holdfast.probes.workloads import workload_ready
from holdfast.sampling import agents, writers
from holdfast.sampling.looks import Target
from holdfast.sampling.process import PEER_PORT
from holdfast.waiting import Unproven, eventually

OUTSIDE, VOLUME = "outside", "volume"
_CLOSED_PORT = 1  # nothing listens there: what looks at it must be red


@dataclass(frozen=True)
class AssignedTarget:
    """A target at a vantage point: ``outside`` or the name of a node."""

    vantage: str
    target: Target


@dataclass(frozen=True)
class Wanted:
    """Targets of one kind: *kind* names them in promises, *place* works them out on a cluster."""

    kind: str
    assign: Callable[[Cluster], list[AssignedTarget]]


def _both(vantage: str, name: str, target: Target, broken: Target) -> list[AssignedTarget]:
    """A target on new and on reused connections, and its negative control."""
    assigned = [
        AssignedTarget(vantage, replace(target, name=f"{name} ({mode})", mode=mode)) for mode in ("new", "reused")
    ]
    return [
        *assigned,
        AssignedTarget(
            vantage, replace(broken, name=f"negative control of {name}", negative_control=True, rate_hz=2, timeout_s=1)
        ),
    ]


def ingress(*, tls: bool = False) -> Wanted:
    """The app's host through each node's published ingress port, by HTTP or by HTTPS with SNI."""

    def assign(cluster: Cluster) -> list[AssignedTarget]:
        app, kind = cluster.app, "https" if tls else "http"
        if not app.host:
            raise Unproven(f"the app {app.name} names no host in .holdfast.toml: nothing answers from outside")
        port = cluster.settings.ingress.https_port if tls else cluster.settings.ingress.http_port
        certificate = (cluster.folder / f"{app.namespace}-{app.tls_secret}.crt").read_text() if tls else ""
        nonce = cluster.nonce if "ingress-nginx" in cluster.stand_ins else ""
        assigned = []
        for node in cluster.nodes():
            target = Target("", kind, *cluster.address(node.name, port), ask=app.host, nonce=nonce, ca=certificate)
            broken = replace(target, nonce="of-another-run") if nonce else replace(target, port=_CLOSED_PORT)
            assigned += _both(OUTSIDE, f"{kind}://{app.host} via {node.name}", target, broken)
        return assigned

    return Wanted("ingress-tls" if tls else "ingress", assign)


def ingress_itself() -> Wanted:
    """The ingress controller apart from any app: it answers 404 for a host that nobody has, whatever state the apps are in."""

    def assign(cluster: Cluster) -> list[AssignedTarget]:
        port = cluster.settings.ingress.http_port
        nonce = cluster.nonce if "ingress-nginx" in cluster.stand_ins else ""
        assigned = []
        for node in cluster.nodes():
            where = cluster.address(node.name, port)
            target = Target("", "http", *where, ask="absent.holdfast.example", nonce=nonce, expect=404)
            assigned += _both(OUTSIDE, f"ingress itself via {node.name}", target, replace(target, expect=418))
        return assigned

    return Wanted("ingress-itself", assign)


def api() -> Wanted:
    """The API server's ``/readyz``, from outside."""

    def assign(cluster: Cluster) -> list[AssignedTarget]:
        config = yaml.safe_load(cluster.driver.kubeconfig.read_text())["clusters"][0]["cluster"]
        url = urlsplit(config["server"])
        ca = base64.b64decode(config["certificate-authority-data"]).decode()
        target = Target("", "https", url.hostname or "", url.port or 443, path="/readyz", ca=ca, check_name=False)
        return _both(OUTSIDE, "API /readyz", target, replace(target, port=_CLOSED_PORT))

    return Wanted("api", assign)


def _dns_address(cluster: Cluster) -> str:
    found = cluster.objects.get("Service", "kube-dns", "kube-system")
    if not found:
        raise Unproven("the cluster has no Service kube-system/kube-dns")
    return str(found["spec"]["clusterIP"])


def service() -> Wanted:
    """The app's Service by its name, from a pod on every node."""

    def assign(cluster: Cluster) -> list[AssignedTarget]:
        app, resolver = cluster.app, _dns_address(cluster)
        host = f"{app.service}.{app.namespace}.svc.cluster.local"
        target = Target("", "http", host, app.port, ask=host, resolver=resolver)
        broken = replace(target, host=f"absent.{app.namespace}.svc.cluster.local")
        return [
            p
            for node in cluster.nodes()
            for p in _both(node.name, f"service {app.service}.{app.namespace}", target, broken)
        ]

    return Wanted("service", assign)


def prometheus() -> Wanted:
    """The core tier's Prometheus by its Service, from a pod on every node."""

    def assign(cluster: Cluster) -> list[AssignedTarget]:
        monitoring, resolver = cluster.settings.monitoring, _dns_address(cluster)
        host = f"{monitoring.core}.{monitoring.namespace}.svc.cluster.local"
        target = Target("", "http", host, 9090, ask=host, path="/-/ready", resolver=resolver)
        broken = replace(target, path="/absent")
        return [p for node in cluster.nodes() for p in _both(node.name, "core Prometheus", target, broken)]

    return Wanted("prometheus", assign)


def dns() -> Wanted:
    """The cluster's DNS: the address of the app's Service, from a pod on every node."""

    def assign(cluster: Cluster) -> list[AssignedTarget]:
        app, resolver = cluster.app, _dns_address(cluster)
        target = Target("", "dns", resolver, 53, ask=f"{app.service}.{app.namespace}.svc.cluster.local")
        broken = replace(target, ask="absent.holdfast-system.svc.cluster.local")
        return [p for node in cluster.nodes() for p in _both(node.name, "cluster DNS", target, broken)]

    return Wanted("dns", assign)


def pods() -> Wanted:
    """Pod to pod: each node's sampler looks at every other's, by address."""

    def assign(cluster: Cluster) -> list[AssignedTarget]:
        addresses = agents.pods(cluster.objects)
        assigned = []
        for node in addresses:
            for other, address in addresses.items():
                if other != node:
                    target = Target("", "http", address, PEER_PORT, nonce=cluster.nonce)
                    assigned += _both(node, f"pod on {other}", target, replace(target, nonce="of-another-run"))
        return assigned

    return Wanted("pods", assign)


def volumes() -> Wanted:
    """The writers: each appends records to a volume of the tree's storage class, flushed to the disk before they count."""

    def assign(cluster: Cluster) -> list[AssignedTarget]:
        cluster.capable(Agents)
        writers.install(cluster.client, cluster.settings.storage.storage_class)
        for workload in (f"StatefulSet/{writers.STATEFUL}", f"Deployment/{writers.DEPLOYMENT}"):
            wait = eventually(cluster, workload_ready(workload, agents.NAMESPACE), "2m")
            if wait.held is not True:
                raise Unproven(f"the writers can't run: {wait.last}")
        assigned = []
        for name in writers.names():
            target = Target(f"volume of {name}", "volume", "", 0, path=writers.FILE, timeout_s=5, rate_hz=2)
            assigned += [
                AssignedTarget(name, target),
                AssignedTarget(
                    name,
                    replace(
                        target,
                        name="negative control of a volume",
                        path="/absent/records",
                        negative_control=True,
                        rate_hz=2,
                    ),
                ),
            ]
        return assigned

    return Wanted(VOLUME, assign)
