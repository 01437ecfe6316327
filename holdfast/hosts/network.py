"""Name, clock, ports, firewall, MTU, and the tailnet."""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import time

from holdfast.hosts.machine import Machine
from holdfast.hosts.requirement import Seen, Wanted, bad, good, not_asked, requirement, unseen

_PORTS = {
    "10250": "kubelet",
    "8472": "Flannel",
    "6443": "the API server",
    "2379": "etcd",
    "2380": "etcd",
    "10256": "kube-proxy",
}
_APART_S = 2.0
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@requirement(
    "name",
    fix="hostnamectl set-hostname NAME (small letters, digits, -), and a line for it in /etc/hosts or in the DNS",
)
def name(machine: Machine, wanted: Wanted) -> Seen:
    """A name that Kubernetes takes, that is found, and that no other node has."""
    own = machine.says("uname -n")
    if not all(_LABEL.fullmatch(part) for part in own.split(".")):
        return bad(f"'{own}' is no name that Kubernetes takes")
    if machine.run(f"getent hosts {shlex.quote(own)}").code:
        return bad(f"{own} isn't found by its own name")
    if wanted.server is not None and wanted.server.says("uname -n") == own:
        return bad(f"{wanted.server.name} is called {own}, too")
    return good(own)


@requirement("clock", fix="apt install chrony (or enable systemd-timesyncd), and look at timedatectl")
def clock(machine: Machine, wanted: Wanted) -> Seen:
    """It follows a time server, and agrees with the server of the cluster (without one: with this machine)."""
    began = time.time()
    there = float(machine.says("date +%s.%N") or 0)
    here = (began + time.time()) / 2
    if wanted.server is not None:
        asked = time.time()
        here = there + (float(wanted.server.says("date +%s.%N") or 0) - (asked + time.time()) / 2) - (there - here)
    apart = abs(there - here)
    if apart > _APART_S:
        return bad(f"its clock is {apart:.0f}s off that of {wanted.server.name if wanted.server else 'this machine'}")
    if machine.says("timedatectl show -p NTPSynchronized --value") == "yes":
        return good(f"follows a time server, {apart:.1f}s apart")
    if any(machine.runs(one) for one in ("chronyd", "ntpd", "ntpsec")):
        return unseen(f"a time server is asked, and whether it answered isn't known; {apart:.1f}s apart")
    return bad("no time server is followed")


@requirement("ports", fix="stop what listens there, or move it to another port")
def ports(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """Nothing listens where k3s will."""
    answer = machine.run("ss -Hltnup")
    if answer.code:
        return unseen(f"ss: {answer.err[-100:] or 'nothing said'}")
    for line in answer.out.splitlines():
        parts = line.split()
        at = parts[4].rpartition(":")[2] if len(parts) > 4 else ""
        if at in _PORTS:
            who = re.search(r'\(\("([^"]+)"', line)
            return bad(f"{who[1] if who else 'something'} listens on {at}, which is for {_PORTS[at]}")
    return good(f"free: {', '.join(_PORTS)}")


@requirement(
    "firewall",
    fix="ufw disable, or let the nodes' and the pods' networks in: 10.42.0.0/16, 10.43.0.0/16, 6443, 8472/udp, 10250",
)
def firewall(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """None that keeps nodes and pods apart."""
    if machine.has("ufw") and "Status: active" in (said := machine.says("ufw status")):
        lets = [line for line in said.splitlines() if "10.42.0.0/16" in line and "ALLOW" in line]
        return good("ufw lets the pods' network in") if lets else bad("ufw is active, and doesn't let 10.42.0.0/16 in")
    if machine.runs("firewalld"):
        return bad("firewalld runs")
    rules = machine.run("nft list ruleset")
    if rules.code:
        return unseen("nft isn't there, or says nothing: what the kernel filters isn't known")
    if re.search(r"policy drop|\b(?:drop|reject)\b", rules.out):
        return unseen("nftables drops some packets, by rules that aren't read here")
    return good("none is active")


@requirement("mtu", fix="give both the same MTU: a tunnel or a switch on the way takes less than the interface says")
def mtu(machine: Machine, wanted: Wanted) -> Seen:
    """Packets of the interface's own size reach the server whole."""
    route = machine.says("ip -o route get 1.1.1.1")
    device = re.search(r"dev (\S+)", route)
    size = machine.text(f"/sys/class/net/{device[1]}/mtu") if device else ""
    if not size:
        return unseen("no way out is known")
    if wanted.server is None:
        return not_asked(f"{device[1] if device else ''} has {size}; the way to a server: --server root@k3s1")
    address = wanted.server.says("hostname -I").split()
    if not address:
        return unseen(f"{wanted.server.name} names no address")
    to = ipaddress.ip_address(address[0])  # a word of another machine: it is no shell's
    answer = machine.run(f"ping -c 2 -W 2 -M do -s {int(size) - 28} {to}")
    return (
        good(f"{size} all the way to {address[0]}")
        if answer.code == 0
        else bad(f"packets of {size} don't reach {address[0]} whole")
    )


@requirement("tailscale", fix="tailscale up --accept-routes")
def tailscale(machine: Machine, wanted: Wanted) -> Seen:
    """In the tailnet, with the routes of its routers."""
    if not wanted.tailscale:
        return not_asked("--tailscale")
    if not machine.has("tailscale"):
        return bad("tailscale isn't installed")
    state = (json.loads(machine.says("tailscale status --json") or "{}") or {}).get("BackendState")
    if state is None:
        return unseen("tailscale doesn't say its state")
    if state != "Running":
        return bad(f"tailscale is {state or 'not running'}")
    takes = (json.loads(machine.says("tailscale debug prefs") or "{}") or {}).get("RouteAll")
    return (
        good("in the tailnet, with its routes") if takes else bad("it doesn't take the routes of the tailnet's routers")
    )
