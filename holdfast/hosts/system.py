"""The system: its release, kernel, cgroups, memory, cores, swap, limits, restarts by itself, and whether something of Kubernetes runs already."""

from __future__ import annotations

import re

from holdfast.hosts.machine import Machine
from holdfast.hosts.requirement import Seen, Wanted, bad, good, requirement, unseen

_SYSTEMS = {
    "debian": 11,
    "ubuntu": 20,
    "raspbian": 11,
    "rocky": 8,
    "almalinux": 8,
    "fedora": 38,
    "opensuse-leap": 15,
    "sles": 15,
}
_KERNEL = (5, 8)  # cgroup v2 as kubelet needs it
_MEMORY_KIB = 2 * 1024 * 1024 * 0.9  # k3s asks 2 GiB of a server; a part of that is the kernel's own
_CORES = 2
_WATCHES = {"fs.inotify.max_user_instances": 256, "fs.inotify.max_user_watches": 65536}
_BUILT_IN = 'modinfo {0} >/dev/null 2>&1 || test -d "$R"/sys/module/{0} || grep -qw {0} "$R"/proc/filesystems'
_MODULES = ("br_netfilter", "overlay", "vxlan", "iscsi_tcp")


@requirement("system", fix="install a release that k3s is tested on, such as Debian 12 or 13")
def system(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001  the words of a look
    """A release that k3s supports."""
    said = dict(re.findall(r'(?m)^(ID|VERSION_ID|PRETTY_NAME)="?([^"\n]*)"?$', machine.text("/etc/os-release")))
    name, version = said.get("ID", ""), said.get("VERSION_ID", "")
    words = said.get("PRETTY_NAME") or "no /etc/os-release"
    if not name:
        return unseen(words)
    least = _SYSTEMS.get(name)
    if least is None:
        return unseen(f"{words}: whether k3s is tested on it isn't known here")
    return good(words) if int(float(version or 0)) >= least else bad(f"{words} is older than {name} {least}")


@requirement("kernel", fix="install the release's current kernel, and start into it")
def kernel(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """A kernel that isn't too old."""
    runs = machine.says("uname -r")
    number = re.match(r"(\d+)\.(\d+)", runs)
    if number is None:
        return unseen("uname says nothing")
    if (int(number[1]), int(number[2])) < _KERNEL:
        return bad(f"Linux {runs} is older than {_KERNEL[0]}.{_KERNEL[1]}")
    return good(f"Linux {runs}")


@requirement(
    "cgroups",
    fix="start with cgroup v2: systemd.unified_cgroup_hierarchy=1 on the kernel's command line (on a Raspberry Pi also cgroup_memory=1)",
)
def cgroups(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """cgroup v2, with memory and cpu."""
    found = machine.text("/sys/fs/cgroup/cgroup.controllers").split()
    if not found:
        return bad("no cgroup v2 at /sys/fs/cgroup")
    lacking = [c for c in ("memory", "cpu", "pids") if c not in found]
    return bad(f"cgroup v2 without {', '.join(lacking)}") if lacking else good("cgroup v2")


@requirement("memory", fix="give it 2 GiB at least, and 4 where Longhorn runs there")
def memory(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """2 GiB."""
    found = re.search(r"(?m)^MemTotal:\s+(\d+) kB", machine.text("/proc/meminfo"))
    if found is None:
        return unseen("/proc/meminfo says nothing of it")
    words = f"{int(found[1]) / 1048576:.1f} GiB"
    return good(words) if int(found[1]) >= _MEMORY_KIB else bad(f"{words}, and k3s asks 2 GiB")


@requirement("cores", fix="give it two cores at least")
def cores(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """Two."""
    count = int(machine.says("nproc") or 0)
    return good(f"{count} cores") if count >= _CORES else bad(f"{count} core, and {_CORES} are asked")


@requirement("swap", fix="swapoff -a, and take its line out of /etc/fstab")
def swap(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """None in use, and none that comes back with the next start."""
    told = machine.text("/proc/swaps").splitlines()
    if not told:
        return unseen("/proc/swaps can't be read")
    used = told[1:]
    if used:
        return bad(f"swap is in use: {used[0].split()[0]}")
    listed = [
        line.split()[0]
        for line in _lines(machine.text("/etc/fstab"))
        if len(line.split()) > 2 and line.split()[2] == "swap"
    ]
    return bad(f"/etc/fstab brings it back: {listed[0]}") if listed else good("no swap")


@requirement(
    "limits", fix="raise them in /etc/sysctl.d: fs.inotify.max_user_instances=512, fs.inotify.max_user_watches=262144"
)
def limits(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """Enough file watches for a node's pods."""
    for name, least in _WATCHES.items():
        value = int(machine.text(f"/proc/sys/{name.replace('.', '/')}") or 0)
        if value < least:
            return bad(f"{name} is {value}, and {least} is little enough")
    return good("enough file watches")


@requirement("modules", fix="apt install the kernel's modules package, and list them in /etc/modules-load.d/k3s.conf")
def modules(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """The kernel's modules for the pods' network, for images and for Longhorn: loaded, built in, or there to be loaded."""
    loaded = {line.split()[0] for line in machine.text("/proc/modules").splitlines() if line}
    lacking = [m for m in _MODULES if m not in loaded and machine.run(_BUILT_IN.format(m)).code]
    if lacking and machine.run('test -d "$R"/lib/modules/"$(uname -r)"').code:
        return unseen(f"the kernel's modules aren't there to be looked at: {', '.join(lacking)}")
    return bad(f"the kernel has no {', '.join(lacking)}") if lacking else good(", ".join(_MODULES))


@requirement(
    "restarts",
    fix='set Unattended-Upgrade::Automatic-Reboot "false", and restart nodes one after the other (kured does)',
)
def restarts(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """It doesn't start anew by itself after an update."""
    said = machine.says('grep -rhsi automatic-reboot "$R"/etc/apt/apt.conf.d; true')
    on = [line for line in _lines(said, "//") if re.search(r'(?i)Automatic-Reboot\s+"(?:true|1|yes)"', line)]
    return bad("unattended upgrades restart it by themselves") if on else good("nothing restarts it by itself")


@requirement("kubelet", fix="take the old one away first: k3s-uninstall.sh or k3s-agent-uninstall.sh, kubeadm reset")
def kubelet(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """Nothing of Kubernetes runs there yet, and nothing of an earlier one is left."""
    for name in ("kubelet", "k3s", "k3s-server", "k3s-agent", "rke2", "microk8s"):
        if machine.runs(name):
            return bad(f"{name} runs there already")
    for path in ("/var/lib/rancher/k3s/server/db", "/var/lib/kubelet/pki", "/etc/kubernetes/kubelet.conf"):
        if machine.run(f'test -e "$R"{path}').code == 0:
            return bad(f"{path} is left of an earlier one")
    return good("nothing of Kubernetes is there")


def _lines(text: str, comment: str = "#") -> list[str]:
    """The lines of a file that count."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith(comment)]
