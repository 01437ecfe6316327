"""The sections of ``.holdfast.toml``: the settings reference and the editor schema are made from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from holdfast.durations import go_seconds

Text = Annotated[str, Meta(min_length=1)]
Workload = Annotated[str, Meta(pattern=r"^[A-Z][A-Za-z]*/[a-z0-9.-]+$", description="a workload, written `Kind/name`")]
Pointer = Annotated[str, Meta(pattern=r"^/.", description="a JSON pointer, such as `/spec/replicas`")]
_SHORTEST_FAULT_S, _LONGEST_FAULT_S = 60.0, 1800.0
Role = Literal["core", "storage", "monitoring", "longterm", "apps"]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: a key that it doesn't know is an error."""


class Flux(Table, frozen=True):
    """Where Flux enters the tree."""

    entry: Annotated[str, Meta(description="the folder of the Flux entry, where the tree has several")] = ""


class Git(Table, frozen=True):
    """Git hosts."""

    aliases: Annotated[tuple[Text, ...], Meta(description="hosts that the lane's own Git server stands in for")] = ()


class Secret(Table, frozen=True):
    """A Secret that isn't in Git; exactly one of `keys`, `tls` and `file` says what is in it."""

    namespace: Text
    name: Text
    keys: Annotated[tuple[Text, ...], Meta(description="keys that get random text")] = ()
    tls: Annotated[tuple[Text, ...], Meta(description="hosts of a certificate that is made up")] = ()
    file: Annotated[
        str,
        Meta(
            description="a file of yours, such as an age key for SOPS; outside of the tree only from settings beside it"
        ),
    ] = ""
    key: Annotated[str, Meta(description="the key that gets the file's text; the file's name without it")] = ""

    def __post_init__(self) -> None:
        given = [name for name in ("keys", "tls", "file") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of keys, tls and file, and has {' and '.join(given) or 'none'}")
        if self.key and not self.file:
            raise ValueError("has a key without a file")


class Suspend(Table, frozen=True):
    """An object of Flux's to suspend in the lane."""

    kind: Text
    name: Text
    reason: Text
    namespace: str = ""


class Adaptation(Table, frozen=True):
    """An object that is changed in the lane."""

    kind: Text
    name: Text
    reason: Text
    set: Annotated[dict[Pointer, Any], Meta(min_length=1, description="JSON pointers and the values to set there")]
    namespace: str = ""

    @property
    def suspends(self) -> bool:
        """Whether it suspends an object of Flux's."""
        return self.set.get("/spec/suspend") is True


class App(Table, frozen=True):
    """An app that is sampled."""

    name: Text
    namespace: Text
    workload: Workload
    service: Text
    port: Annotated[int, Meta(ge=1, le=65535)]
    host: Annotated[str, Meta(description="the host that its Ingress answers for")] = ""
    tls_secret: Annotated[str, Meta(description="the Secret with the certificate of its Ingress")] = ""


class Ingress(Table, frozen=True):
    """The ingress controller, the release that makes it, and the ports of each node that it answers on."""

    namespace: Text = "ingress-nginx"
    workload: Workload = "DaemonSet/ingress-nginx-controller"
    release: Text = "ingress-nginx"
    http_port: Annotated[int, Meta(ge=1, le=65535)] = 30080
    https_port: Annotated[int, Meta(ge=1, le=65535)] = 30443


class Storage(Table, frozen=True):
    """The storage system: its namespace, the release and the Kustomization that make it, and its StorageClass."""

    namespace: Text = "longhorn-system"
    release: Text = "longhorn"
    kustomization: Text = "storage"
    storage_class: Text = "longhorn"
    driver: Text = "driver.longhorn.io"


class Monitoring(Table, frozen=True):
    """The monitoring: its namespace, and the Services of its parts."""

    namespace: Text = "monitoring"
    core: Text = "monitoring-core-prometheus"
    longterm: Text = "monitoring-longterm-prometheus"
    alertmanager: Text = "monitoring-longterm-alertmanager"
    grafana: Text = "monitoring-core-grafana"
    grafana_secret: Text = "grafana-admin"  # noqa: S105  the name of a Secret
    longterm_release: Text = "monitoring-longterm"


class Declared(Table, frozen=True):
    """What you declare: exceptions, and facts that the tree doesn't hold."""

    node_ports: Annotated[tuple[int, ...], Meta(description="node ports that may be open")] = ()
    exposed: Annotated[
        tuple[int | Text, ...],
        Meta(description="what may be open to the outside: objects (`Kind/namespace/name`), or ports"),
    ] = ()
    cluster_admin: Annotated[
        tuple[Text, ...], Meta(description="accounts (`namespace/name`) that may do everything")
    ] = ()
    privileged: Annotated[tuple[Text, ...], Meta(description="workloads that may be privileged, by name")] = ()
    nodes: Annotated[int, Meta(ge=0, description="how many nodes the cluster has; 0: not declared")] = 0
    storage_nodes: Annotated[
        int, Meta(ge=0, description="how many of them have disks for the storage system; 0: not declared")
    ] = 0
    disks: Annotated[tuple[Text, ...], Meta(description="the disks of the storage system")] = ()
    ranges: Annotated[
        tuple[Text, ...], Meta(description="address ranges of pods and services; those of the document without it")
    ] = ()
    routes: Annotated[
        tuple[Text, ...], Meta(description="ranges that the subnet router advertises; those of the document without it")
    ] = ()
    poll: Annotated[str, Meta(description="how often Git is looked at")] = "30s"
    core_retention: Annotated[str, Meta(description="how long the core tier keeps samples")] = "2h"
    longterm_retention: Annotated[str, Meta(description="how long the long-term tier keeps samples")] = "30d"

    def __post_init__(self) -> None:
        if go_seconds(self.poll) is None:
            raise ValueError(f"poll is {self.poll!r}; write a duration, such as 30s or 1m")


class Disruption(Table, frozen=True):
    """Faults on a cluster of your own, where `--allow-disruption` names it."""

    limit: Annotated[str, Meta(description="how long a fault may last: after that the cluster undoes it by itself")] = (
        "5m"
    )
    image: Annotated[
        Text,
        Meta(description="what undoes it in the cluster runs this: an image with Python, which your nodes can fetch"),
    ] = "docker.io/library/python:3.13-alpine"

    def __post_init__(self) -> None:
        length = go_seconds(self.limit)
        if length is None or not _SHORTEST_FAULT_S <= length <= _LONGEST_FAULT_S:
            raise ValueError(f"limit is {self.limit!r}; write a duration from 1m to 30m")


class NodeCommands(Table, frozen=True):
    """How a node of your own cluster is looked at, and your commands that cut its power and give it back; read from settings beside the tree alone,
    since holdfast runs them.
    """

    ssh: Annotated[
        str,
        Meta(
            pattern=r"^$|^\w[\w.@-]*$",
            description="where the node itself is looked at, such as `root@k3s2`: the sockets that it listens on, and what is mounted",
        ),
    ] = ""

    power_off: Annotated[
        str,
        Meta(
            pattern=r"^$|\{limit_s\}",
            description="cuts its power so that it comes back by itself after `{limit_s}` seconds, such as "
            "`ssh root@k3s2 rtcwake -m off -s {limit_s}`",
        ),
    ] = ""
    power_on: Annotated[str, Meta(description="gives it back; without it the node's own timer is waited for")] = ""


class Checked(Table, frozen=True):
    """What `holdfast check` holds the tree to."""

    claims: Annotated[
        Literal["all"] | tuple[Text, ...], Meta(description="ids of the claims that this tree makes, or `all`")
    ] = ()


class Allow(Table, frozen=True):
    """A finding of `holdfast check` that you allow."""

    rule: Text
    because: Annotated[str, Meta(pattern=r"\S", description="why")]
    object: Annotated[str, Meta(description="`Kind/namespace/name`; every object without it")] = ""


class SettingsFile(Table, frozen=True):
    """Every section of the file."""

    flux: Flux = Flux()
    git: Git = Git()
    secret: tuple[Secret, ...] = ()
    suspend: tuple[Suspend, ...] = ()
    patch: tuple[Adaptation, ...] = ()
    images: Annotated[
        dict[str, Text], Meta(description="what an offline lane runs in place of an image: its recipe")
    ] = {}
    app: tuple[App, ...] = ()
    ingress: Ingress = Ingress()
    storage: Storage = Storage()
    monitoring: Monitoring = Monitoring()
    declared: Declared = Declared()
    check: Checked = Checked()
    disruption: Disruption = Disruption()
    nodes: Annotated[
        dict[str, NodeCommands], Meta(description="nodes that may be looked at, or whose power may be cut, by name")
    ] = {}
    roles: Annotated[
        dict[Role, tuple[Text, ...]],
        Meta(description="which Kustomizations are what, where their contents don't show it"),
    ] = {}
    allow: tuple[Allow, ...] = ()
    claims: Annotated[str, Meta(description="a claims file of your own, in the form of `suites/claims.toml`")] = ""
    runbook: Annotated[str, Meta(description="the runbook for emergencies, a file of the tree")] = ""


# How each is written, for who wrote it otherwise.
FORMS = {
    "flux": '[flux] entry = "clusters/home"',
    "git": '[git] aliases = ["github.com"]',
    "secret": '[[secret]] namespace = "apps", name = "web", and one of: keys = ["password"], tls = ["web.example.org"], file = "age.key"',
    "suspend": '[[suspend]] kind = "Kustomization", namespace = "flux-system", name = "vpn", reason = "…"',
    "patch": '[[patch]] kind = "Deployment", namespace = "apps", name = "web", reason = "…", set = {"/spec/replicas" = 1}',
    "images": '[images] "nginx:1.29" = "web"',
    "app": '[[app]] name = "web", namespace = "apps", workload = "Deployment/web", service = "web", port = 80',
    "ingress": '[ingress] namespace = "ingress-nginx", workload = "DaemonSet/NAME", release = "NAME"',
    "storage": '[storage] namespace = "longhorn-system", release = "longhorn"',
    "monitoring": '[monitoring] namespace = "monitoring", core = "SERVICE"',
    "declared": '[declared] nodes = 3, node_ports = [30080, 30443], exposed = ["Deployment/dns/blocky", 443]',
    "disruption": '[disruption] limit = "5m", image = "docker.io/library/python:3.13-alpine"',
    "nodes": '[nodes.k3s2] ssh = "root@k3s2", power_off = "ssh root@k3s2 rtcwake -m off -s {limit_s}"',
    "check": '[check] claims = ["rbac-least"] or "all"',
    "roles": '[roles] core = ["KUSTOMIZATION"]',
    "allow": '[[allow]] rule = "longhorn.backup", because = "…"',
    "claims": 'claims = "holdfast/claims.toml"',
    "runbook": 'runbook = "docs/runbook.md"',
}
