"""The ingress, from outside: who answers, with which certificate."""

from __future__ import annotations

import hashlib
import socket
import ssl

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from holdfast.cluster import Cluster
from holdfast.kube import condition
from holdfast.probes.workloads import pods, selector
from holdfast.waiting import HOLDS, Sighting, probe


def _served(address: str, port: int, host: str) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is compared with the Ingress's own instead
    with (
        socket.create_connection((address, port), timeout=3) as raw,
        context.wrap_socket(raw, server_hostname=host) as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True) or b""


@probe
def serves_certificate(cluster: Cluster, node: str, host: str, pem: str) -> Sighting:
    """Through a node's HTTPS port, *host* is served with exactly this certificate."""
    wanted = x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    try:
        served = _served(*cluster.address(node, cluster.settings.ingress.https_port), host)
    except (OSError, ssl.SSLError) as error:
        return f"no TLS through {node}: {type(error).__name__}"
    if served == wanted:
        return HOLDS
    return f"through {node} another certificate is served (sha256 {hashlib.sha256(served).hexdigest()[:12]})"


def _get(cluster: Cluster, node: str, host: str) -> tuple[int, str]:
    """(status, nonce) of a plain HTTP request through a node."""
    with socket.create_connection(cluster.address(node, cluster.settings.ingress.http_port), timeout=3) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        connection.settimeout(3)
        data = b""
        while block := connection.recv(65536):
            data += block
    head = data.partition(b"\r\n\r\n")[0].decode("latin-1").splitlines()
    nonce = next((line.partition(":")[2].strip() for line in head if line.lower().startswith("x-holdfast-nonce:")), "")
    return (int(head[0].split()[1]), nonce) if head and len(head[0].split()) > 1 else (0, "")


@probe
def answers(cluster: Cluster, node: str, host: str) -> Sighting:
    """*host* answers 200 through a node's HTTP port, with the nonce of this run."""
    try:
        status, nonce = _get(cluster, node, host)
    except OSError as error:
        return f"through {node}: {type(error).__name__}"
    if "ingress-nginx" in cluster.stand_ins and nonce != cluster.nonce:
        return f"through {node} something else answers (its nonce is {nonce!r})"
    return HOLDS if status == 200 else f"through {node}: HTTP {status}"


@probe
def refuses(cluster: Cluster, host: str) -> Sighting:
    """Nothing answers for *host* from outside through any node."""
    for node in cluster.nodes():
        try:
            status, _ = _get(cluster, node.name, host)
        except OSError:
            continue
        if status:
            return f"through {node.name}: HTTP {status}"
    return HOLDS


@probe
def controller_pods(cluster: Cluster, at_least: int) -> Sighting:
    """At least so many ready pods of the ingress controller run."""
    component = cluster.settings.ingress
    found = pods(cluster, component.namespace, selector(cluster, component.workload, component.namespace))
    ready = [p for p in found if condition(p, "Ready").get("status") == "True"]
    return HOLDS if len(ready) >= at_least else f"{len(ready)} of {at_least} ingress pods are ready"
