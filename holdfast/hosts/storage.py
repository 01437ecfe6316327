"""Disks: room, how fast a write is safe, the storage system's own disks, and what Longhorn needs of the system."""

from __future__ import annotations

import re
import shlex

from holdfast.hosts.machine import Machine
from holdfast.hosts.requirement import Seen, Wanted, bad, good, not_asked, requirement, unseen

_FREE_GIB = 20
_NO_DISK = re.compile(r"\b(?:loop|ram|nbd|zram)\d")
_WRITES, _LATE_MS = 100, 10.0  # etcd asks for a 99th percentile below 10 ms: https://etcd.io/docs/v3.5/faq/
_SYNC = (
    'd="$R"/var/lib; f=$d/.holdfast-sync; for i in $(seq {count}); do dd if=/dev/zero of=$f bs=2300 count=1 oflag=dsync conv=notrunc 2>&1 '
    "| tail -n 1; done; rm -f $f"
)


@requirement("room", fix="make room below /var/lib: images, logs and etcd lie there")
def room(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """20 GiB below /var/lib."""
    last = machine.says('df -Pk "$R"/var/lib').splitlines()
    if len(last) < 2:
        return unseen("df says nothing")
    free = int(last[-1].split()[3]) / 1048576
    return (
        good(f"{free:.0f} GiB free")
        if free >= _FREE_GIB
        else bad(f"{free:.1f} GiB free below /var/lib, and {_FREE_GIB} are little enough")
    )


@requirement("writes", fix="put /var/lib/rancher on an SSD of its own; an SD card or a USB stick is too slow for etcd")
def writes(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """How long a synced write of etcd's size takes: nearly all of them below 10 ms. One file of 2 KiB is written, and taken away."""
    took = sorted(
        1000 * float(t.replace(",", "."))
        for t in re.findall(r"copied, ([\d.,e-]+) s", machine.says(_SYNC.format(count=_WRITES)))
    )
    if len(took) < _WRITES:
        return unseen(f"{len(took)} of {_WRITES} synced writes could be timed")
    worst = took[int(len(took) * 0.99) - 1]
    words = f"99 of 100 synced writes take {worst:.1f} ms at most ({_WRITES} were made)"
    return good(words) if worst < _LATE_MS else bad(f"{words}; etcd asks for less than {_LATE_MS:g} ms")


@requirement("disks", fix="mkfs.ext4 it, mount it where Longhorn is told, and list it by UUID in /etc/fstab")
def disks(machine: Machine, wanted: Wanted) -> Seen:
    """Each disk of the storage system is mounted, has a file system that Longhorn takes, and comes back by its UUID."""
    if not wanted.disks:
        return not_asked("--disk /mnt/sdf1")
    mounts = {
        line.split()[1]: line.split() for line in machine.text("/proc/mounts").splitlines() if len(line.split()) > 2
    }
    listed = {
        line.split()[1]: line.split()[0]
        for line in machine.text("/etc/fstab").splitlines()
        if len(line.split()) > 1 and not line.startswith("#")
    }
    for path in wanted.disks:
        if path not in mounts:
            return bad(f"nothing is mounted at {path}")
        if why := _lacks(path, mounts[path], listed.get(path, "")):
            return bad(why)
    return good(f"{', '.join(wanted.disks)} mounted, by UUID")


def _lacks(path: str, mount: list[str], source: str) -> str:
    """What is wrong with a mounted disk: its file system, how it is mounted, and how it comes back. Empty where nothing is."""
    if mount[2] not in ("ext4", "xfs"):
        return f"{path} is {mount[2]}; Longhorn takes ext4 and xfs"
    if "ro" in mount[3].split(","):
        return f"{path} is mounted read-only"
    if not source:
        return f"{path} isn't in /etc/fstab: it is gone after the next start"
    if not source.startswith(("UUID=", "LABEL=", "PARTUUID=", "/dev/disk/by-")):
        return f"/etc/fstab names {source} for {path}: another disk may be called so after the next start"
    return ""


@requirement("errors", fix="look at dmesg and smartctl -a, and replace the disk before it holds a replica")
def errors(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """No error of a disk since the last start, and none that a disk says of itself."""
    said = machine.run("dmesg --level=err,crit,alert,emerg")
    if said.code:
        return unseen(f"the kernel's messages can't be read: {said.err[-100:]}")
    lines = [line for line in said.out.splitlines() if not _NO_DISK.search(line)]
    if found := [line for line in lines if _ERROR.search(line)]:
        return bad(f"the kernel says: {found[-1][-120:]}")
    if not machine.has("smartctl"):
        return unseen(
            "no error in the kernel's messages; what the disks say of themselves isn't seen without smartmontools"
        )
    return _health(machine)


_ERROR = re.compile(r"I/O error|critical medium error|EXT4-fs error|XFS .*corruption")


def _health(machine: Machine) -> Seen:
    """What the disks say of themselves: each must say that it is well."""
    names = machine.says("lsblk -dno NAME,TYPE | awk '$2==\"disk\"{print $1}'").split()
    said = {name: machine.run(f"smartctl -H /dev/{shlex.quote(name)}").out for name in names}
    failing = [name for name, words in said.items() if re.search(r"FAILED|FAILING_NOW", words)]
    silent = [name for name, words in said.items() if not re.search(r"PASSED|SMART Health Status: OK", words)]
    if failing:
        return bad(f"{failing[0]} says of itself that it fails")
    if silent or not said:
        return unseen(f"{silent[0]} doesn't say how it is: smartctl -H" if silent else "lsblk names no disk")
    return good("no error of a disk")


@requirement("iscsi", fix="apt install open-iscsi, and systemctl enable --now iscsid")
def iscsi(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """iscsid, by which Longhorn attaches volumes."""
    if not machine.has("iscsiadm"):
        return bad("open-iscsi isn't installed")
    return good("iscsid runs") if machine.runs("iscsid") else bad("iscsid doesn't run")


@requirement("nfs", fix="apt install nfs-common (or nfs-utils)")
def nfs(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """A client of NFS, for shared volumes and backups."""
    return (
        good("mount.nfs")
        if machine.has("mount.nfs")
        else bad("no mount.nfs: neither shared volumes nor backups to NFS")
    )


@requirement("multipath", fix='blacklist { devnode "^sd[a-z0-9]+" } in /etc/multipath.conf, or disable multipathd')
def multipath(machine: Machine, wanted: Wanted) -> Seen:  # noqa: ARG001
    """multipathd doesn't take Longhorn's devices for its own."""
    if not machine.runs("multipathd"):
        return good("multipathd doesn't run")
    said = re.sub(r"(?m)#.*$", "", machine.text("/etc/multipath.conf"))
    inside = re.search(r"blacklist\s*\{(.*?)\n\}", said, re.DOTALL) or re.search(
        r"blacklist\s*\{(.*)\}", said, re.DOTALL
    )
    return (
        good("multipathd leaves sd* alone")
        if inside and re.search(r"sd\[a-z|\^sd", inside[1])
        else bad("multipathd runs, and its settings don't leave sd* alone")
    )
