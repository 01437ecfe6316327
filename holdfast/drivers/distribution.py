"""What a distribution of Kubernetes brings to a new cluster: labels and taints of its nodes, objects, and what its API server enforces."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.drivers.profile import NodeSpec
from holdfast.drivers.simulated import LOCAL_PATH
from holdfast.errors import UsageError
from holdfast.kube import Object
from holdfast.tree.assumed import definition

_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
_DNS = 10  # the last part of the address that every distribution gives its DNS


@dataclass(frozen=True)
class Distribution:
    """One distribution.

    Attributes:
        name: as a user names it.
        version_suffix: what its kubelets add to Kubernetes' version.
        labels: of every node; *server_labels*: of servers, besides.
        tainted: whether its servers take no pods that don't tolerate it.
        dns_replicas: how many CoreDNS it runs.
        local_path: whether it brings the class `local-path` as the default one, and its provisioner.
        kinds: (API group, kind, versions, namespaced) of the custom resources that it brings.
        missing: what it brings and a lane hasn't got, in words.
        pod_security: the level that its API server enforces where a namespace names none; empty for none.
        source: where this is written.
    """

    name: str
    source: str
    version_suffix: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    server_labels: Mapping[str, str] = field(default_factory=dict)
    tainted: bool = False
    dns_replicas: int = 2
    local_path: bool = False
    kinds: tuple[tuple[str, str, tuple[str, ...], bool], ...] = ()
    pod_security: str = ""
    missing: str = ""

    def node(self, spec: NodeSpec, kubernetes: str) -> Object:
        """A node as it joins."""
        server = spec.role == "server"
        labels = {
            "kubernetes.io/hostname": spec.name,
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/os": "linux",
            **self.labels,
            **(self.server_labels if server else {}),
        }
        capacity = {"cpu": "8", "memory": "16Gi", "pods": "110", "ephemeral-storage": "200Gi"}
        unsaid = ("kernelVersion", "machineID", "systemUUID", "bootID", "containerRuntimeVersion", "kubeProxyVersion")
        info = dict.fromkeys(unsaid, "") | {
            "architecture": "amd64",
            "operatingSystem": "linux",
            "kubeletVersion": f"v{kubernetes}{self.version_suffix}",
            "osImage": self.name,
        }
        taints = [{"key": _CONTROL_PLANE, "effect": "NoSchedule"}] if server and self.tainted else []
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": spec.name, "labels": labels},
            "spec": {"taints": taints} if taints else {},
            "status": {"capacity": capacity, "allocatable": capacity, "nodeInfo": info},
        }

    def objects(self, service_cidr: str) -> list[Object]:
        """What lies in a new cluster before anybody applies anything."""
        address = str(ipaddress.ip_network(service_cidr)[_DNS])
        found = [definition(group, kind, versions, namespaced=spaced) for group, kind, versions, spaced in self.kinds]
        found += [
            _workload("coredns", _DNS_LABELS, self.dns_replicas, "coredns/coredns"),
            _dns(address),
        ]
        if self.local_path:
            found += [
                _STORAGE_CLASS,
                _workload("local-path-provisioner", _PROVISIONER, 1, "rancher/local-path-provisioner"),
            ]
        return found

    def note(self) -> str:
        """What a reader must know of a cluster of it in a lane."""
        lacking = f", without {self.missing}" if self.missing else ""
        return f"the cluster is as {self.name} leaves it{lacking}"

    def admission(self) -> Object | None:
        """The API server's admission configuration; None where it has none."""
        if not self.pod_security:
            return None
        defaults = {"enforce": self.pod_security, "audit": "restricted", "warn": "restricted"}
        versions = {f"{what}-version": "latest" for what in defaults}
        settings = {
            "apiVersion": "pod-security.admission.config.k8s.io/v1",
            "kind": "PodSecurityConfiguration",
            "defaults": {**defaults, **versions},
            "exemptions": {"usernames": [], "runtimeClasses": [], "namespaces": ["kube-system"]},
        }
        return {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AdmissionConfiguration",
            "plugins": [{"name": "PodSecurity", "configuration": settings}],
        }


_DNS_LABELS, _PROVISIONER = {"k8s-app": "kube-dns"}, {"app": "local-path-provisioner"}


def _workload(name: str, labels: dict[str, str], replicas: int, image: str) -> Object:
    """A Deployment with the selector that the real one has: who takes it over can't change that."""
    container = {"name": name, "image": image, "resources": {"requests": {"cpu": "100m", "memory": "70Mi"}}}
    pod: dict[str, Any] = {
        "priorityClassName": "system-cluster-critical",
        "tolerations": [{"key": _CONTROL_PLANE, "operator": "Exists", "effect": "NoSchedule"}],
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": "kube-system", "name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _dns(address: str) -> Object:
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        {"name": "metrics", "port": 9153, "protocol": "TCP"},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "kube-system", "name": "kube-dns", "labels": _DNS_LABELS},
        "spec": {"clusterIP": address, "selector": _DNS_LABELS, "ports": ports},
    }


_STORAGE_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "local-path", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": LOCAL_PATH,
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "WaitForFirstConsumer",
}
_KNOWN = (
    Distribution(
        name="k3s",
        source="docs.k3s.io: packaged components, resource profiling",
        version_suffix="+k3s1",
        labels={"node.kubernetes.io/instance-type": "k3s"},
        server_labels={_CONTROL_PLANE: "true"},
        dns_replicas=1,
        local_path=True,
        missing="Traefik, metrics-server and ServiceLB",
        kinds=(
            ("helm.cattle.io", "HelmChart", ("v1",), True),
            ("helm.cattle.io", "HelmChartConfig", ("v1",), True),
            ("k3s.cattle.io", "Addon", ("v1",), True),
            ("k3s.cattle.io", "ETCDSnapshotFile", ("v1",), False),
        ),
    ),
    Distribution(
        name="vanilla",
        source="kubernetes.io: kubeadm init (mark-control-plane, addon coredns)",
        server_labels={_CONTROL_PLANE: "", "node.kubernetes.io/exclude-from-external-load-balancers": ""},
        tainted=True,
    ),
    Distribution(
        name="talos",
        source="talos.dev: Pod Security, allowSchedulingOnControlPlanes",
        server_labels={_CONTROL_PLANE: "", "node.kubernetes.io/exclude-from-external-load-balancers": ""},
        tainted=True,
        pod_security="baseline",
    ),
)
DISTRIBUTIONS = {one.name: one for one in _KNOWN}


def named(name: str) -> Distribution:
    """A distribution by name; raises UsageError for an unknown one."""
    if name not in DISTRIBUTIONS:
        raise UsageError(f"unknown distribution '{name}'", f"choose one of: {', '.join(DISTRIBUTIONS)}")
    return DISTRIBUTIONS[name]
