"""Machines before they join: a right one, and as many that are wrong in one thing each. The looks' own shell runs, on a root and programs of the test's."""

import json
import shutil
from dataclasses import replace

import pytest
import testinfra
from typer.testing import CliRunner

from holdfast import host as verb
from holdfast.errors import UsageError
from holdfast.hosts import machine as machines
from holdfast.hosts.machine import Machine, reached
from holdfast.hosts.requirement import REQUIREMENTS, Seen, Wanted, judged
from holdfast.verdicts import EXIT_BROKE, EXIT_HELD, EXIT_UNPROVEN
from holdfast.waiting import CannotLook

USED = [
    "sh",
    "cat",
    "grep",
    "seq",
    "dd",
    "tail",
    "rm",
    "awk",
    "find",
    "xargs",
    "test",
    "sort",
    "head",
    "basename",
    "tr",
]
FILES = {
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n',
    "etc/fstab": "UUID=1-2 / ext4 defaults 0 1\nUUID=3-4 /mnt/sdf1 ext4 defaults 0 2\n# /swapfile none swap sw 0 0\n",
    "etc/apt/apt.conf.d/50unattended-upgrades": '// Unattended-Upgrade::Automatic-Reboot "true";\n',
    "proc/meminfo": "MemTotal:        4028440 kB\n",
    "proc/swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
    "proc/modules": "br_netfilter 32768 0 - Live\noverlay 151552 0 - Live\nvxlan 1 0 - Live\niscsi_tcp 1 0 - Live\n",
    "proc/filesystems": "nodev\tproc\n\text4\n",
    "proc/mounts": "/dev/sda1 / ext4 rw 0 0\n/dev/sdf1 /mnt/sdf1 ext4 rw 0 0\n",
    "proc/sys/fs/inotify/max_user_instances": "512\n",
    "proc/sys/fs/inotify/max_user_watches": "262144\n",
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory hugetlb pids\n",
    "sys/class/net/eth0/mtu": "1500\n",
    "lib/modules/6.12.0/modules.dep": "",
    "var/lib/x": "",
}
PROGRAMS = {
    "id": "echo 0",
    "uname": 'case "$1" in -r) echo 6.12.0;; -n) echo k3s2;; esac',
    "nproc": "echo 4",
    "date": '/bin/date "$@"',
    "modinfo": "exit 1",
    "df": 'printf "Filesystem 1024-blocks Used Available Capacity Mounted\\n/dev/sda1 100 1 90000000 1%% /\\n"',
    "ps": """case "$2" in stat*) printf 'Ss iscsid\\nS chronyd\\n';; *) echo "/usr/sbin/sshd -D";; esac""",
    "getent": "echo 192.168.86.12 k3s2",
    "hostname": "echo 192.168.86.11",
    "timedatectl": "echo yes",
    "ss": 'echo "tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:((\\"sshd\\",pid=1,fd=3))"',
    "ip": 'echo "1.1.1.1 via 192.168.86.1 dev eth0 src 192.168.86.12"',
    "ping": "exit 0",
    "nft": "echo",
    "iscsiadm": "exit 0",
    "mount.nfs": "exit 0",
    "dmesg": "exit 0",
    "dd": 'echo "2300 bytes (2.3 kB) copied, 0.000513 s, 4.5 MB/s" >&2',
    "smartctl": 'echo "SMART overall-health self-assessment test result: PASSED"',
    "lsblk": 'printf "sda disk\\nsdf disk\\n"',
    "sshd": 'printf "passwordauthentication no\\nkbdinteractiveauthentication no\\npermitrootlogin without-password\\n"',
    "k3s": 'echo "k3s version v1.36.3+k3s1 (abc)"',
    "tailscale": """case "$1" in status) echo '{"BackendState": "Running"}';; *) echo '{"RouteAll": true}';; esac""",
}


@pytest.fixture
def made(tmp_path):
    """Makes a machine: a right one, but for what is said."""

    def make(name="k3s2", programs=None, files=None, *, without=()):
        root, bin_ = tmp_path / name / "root", tmp_path / name / "bin"
        bin_.mkdir(parents=True)
        # Never a link to a program of the machine that the test runs on: what is written there would be written to that.
        own = {program: f'exec {shutil.which(program)} "$@"' for program in USED}
        for program, text in {**own, **PROGRAMS, **(programs or {})}.items():
            if program not in without:
                (bin_ / program).write_text(f"#!/bin/sh\n{text}\n")
                (bin_ / program).chmod(0o755)
        for path, text in {**FILES, **(files or {})}.items():
            if path not in without:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
                (root / path).chmod(0o644)
        return Machine(name, testinfra.get_host("local://"), f"R={root}; PATH={bin_}; export R PATH; ")

    return make


@pytest.fixture
def wanted(made):
    """What is asked of it: all there is."""
    return Wanted(
        made("k3s1", {"uname": 'case "$1" in -r) echo 6.12.0;; -n) echo k3s1;; esac'}), ("/mnt/sdf1",), tailscale=True
    )


def test_a_right_machine_has_it_all(made, wanted):
    seen = verb.looked(made(), wanted)
    assert {name: one.words for name, one in seen.items() if one.good is not True} == {}
    assert len(seen) == len(REQUIREMENTS) >= 25
    assert verb.code(seen) == EXIT_HELD


def running(*processes, state="S"):
    """A `ps` that knows these processes."""
    lines = "".join(f"{state} {one}\\n" for one in processes)
    return f"""case "$2" in stat*) printf '{lines}';; *) echo init;; esac"""


# requirement, what is otherwise, what is said
WRONG = [
    ("system", {"files": {"etc/os-release": 'PRETTY_NAME="Debian 9"\nID=debian\nVERSION_ID="9"\n'}}, "older than debian 11"),
    ("kernel", {"programs": {"uname": 'case "$1" in -r) echo 4.19.0-27;; -n) echo k3s2;; esac'}}, "older than 5.8"),
    ("cgroups", {"without": ("sys/fs/cgroup/cgroup.controllers",)}, "no cgroup v2"),
    ("cgroups", {"files": {"sys/fs/cgroup/cgroup.controllers": "cpu io pids\n"}}, "without memory"),
    ("memory", {"files": {"proc/meminfo": "MemTotal:  948304 kB\n"}}, "0.9 GiB"),
    ("cores", {"programs": {"nproc": "echo 1"}}, "1 core"),
    ("swap", {"files": {"proc/swaps": "Filename Type\n/swapfile file 1 0 -2\n"}}, "/swapfile"),
    ("swap", {"files": {"etc/fstab": "UUID=3-4 /mnt/sdf1 ext4 x 0 2\n/swapfile none swap sw 0 0\n"}}, "brings it back"),
    ("limits", {"files": {"proc/sys/fs/inotify/max_user_instances": "128\n"}}, "max_user_instances is 128"),
    ("modules", {"files": {"proc/modules": "overlay 1 0 - Live\nbr_netfilter 1 0 - Live\nvxlan 1 0 - Live\n"}}, "no iscsi_tcp"),
    ("restarts", {"files": {"etc/apt/apt.conf.d/99own": 'Unattended-Upgrade::Automatic-Reboot "true";\n'}}, "by themselves"),
    ("kubelet", {"programs": {"ps": running("iscsid", "chronyd", "kubelet")}}, "kubelet runs"),
    ("kubelet", {"files": {"var/lib/rancher/k3s/server/db/state.db": ""}}, "left of an earlier one"),
    ("room", {"programs": {"df": 'printf "F\\n/dev/sda1 100 1 5000000 1%% /\\n"'}}, "4.8 GiB free"),
    ("writes", {"programs": {"dd": 'echo "2300 bytes copied, 0.045 s, 51 kB/s" >&2'}}, "45.0 ms at most"),
    ("disks", {"files": {"proc/mounts": "/dev/sda1 / ext4 rw 0 0\n"}}, "nothing is mounted at /mnt/sdf1"),
    ("disks", {"files": {"proc/mounts": "/dev/sdf1 /mnt/sdf1 btrfs rw 0 0\n"}}, "is btrfs"),
    ("disks", {"files": {"proc/mounts": "/dev/sdf1 /mnt/sdf1 ext4 ro,relatime 0 0\n"}}, "read-only"),
    ("disks", {"files": {"etc/fstab": "UUID=1-2 / ext4 defaults 0 1\n"}}, "isn't in /etc/fstab"),
    ("disks", {"files": {"etc/fstab": "/dev/sdf1 /mnt/sdf1 ext4 defaults 0 2\n"}}, "another disk may be called so"),
    ("errors", {"programs": {"dmesg": 'echo "[1.0] blk_update_request: I/O error, dev sdf, sector 8"'}}, "I/O error, dev sdf"),
    ("errors", {"programs": {"smartctl": 'case "$2" in */sdf) echo "result: FAILED!";; esac'}}, "sdf says of itself"),
    ("iscsi", {"without": ("iscsiadm",)}, "isn't installed"),
    ("iscsi", {"programs": {"ps": running("chronyd")}}, "iscsid doesn't run"),
    ("iscsi", {"programs": {"ps": running("iscsid", state="Zs") + "; printf 'S chronyd\\n'"}}, "iscsid doesn't run"),
    ("nfs", {"without": ("mount.nfs",)}, "no mount.nfs"),
    ("multipath", {"programs": {"ps": running("iscsid", "chronyd", "multipathd")}}, "don't leave sd* alone"),
    ("name", {"programs": {"uname": 'case "$1" in -r) echo 6.12.0;; -n) echo K3S_2;; esac'}}, "no name that Kubernetes takes"),
    ("name", {"programs": {"getent": "exit 2"}}, "isn't found"),
    ("name", {"programs": {"uname": 'case "$1" in -r) echo 6.12.0;; -n) echo k3s1;; esac'}}, "is called k3s1, too"),
    ("clock", {"programs": {"date": "/bin/date -d '+1 hour' \"$@\""}}, "s off that of k3s1"),
    ("clock", {"programs": {"timedatectl": "echo no", "ps": running("iscsid")}}, "no time server"),
    ("ports", {"programs": {"ss": 'echo "tcp LISTEN 0 128 *:10250 *:* users:((\\"kubelet\\",pid=1,fd=3))"'}}, "kubelet listens on 10250"),
    ("firewall", {"programs": {"ufw": 'printf "Status: active\\nAnywhere DENY 10.42.0.0/16\\n"'}}, "doesn't let 10.42.0.0/16 in"),
    ("restarts", {"files": {"etc/apt/apt.conf.d/more/own": "", "etc/apt/apt.conf.d/99own": 'Unattended-Upgrade::Automatic-Reboot "1";\n'}}, "by themselves"),
    ("token", {"files": {"etc/rancher/k3s/config.yaml": '"token": K10abc\n'}}, "everybody on it can read"),
    ("token", {"programs": {"ps": running("iscsid", "chronyd") + '; case "$2" in args) echo "k3s agent -t K10abc::x";; esac'}}, "process list"),
    ("firewall", {"programs": {"ufw": 'echo "Status: active"'}}, "doesn't let 10.42.0.0/16 in"),
    ("firewall", {"programs": {"ps": running("iscsid", "chronyd", "firewalld")}}, "firewalld runs"),
    ("mtu", {"programs": {"ping": "exit 1"}}, "don't reach 192.168.86.11 whole"),
    ("tailscale", {"programs": {"tailscale": """echo '{"BackendState": "NeedsLogin"}'"""}}, "NeedsLogin"),
    ("tailscale", {"programs": {"tailscale": """case "$1" in status) echo '{"BackendState": "Running"}';; *) echo '{"RouteAll": false}';; esac"""}}, "take the routes"),
    ("ssh", {"programs": {"sshd": 'printf "passwordauthentication yes\\npermitrootlogin no\\n"'}}, "a password is enough"),
    ("version", {"programs": {"k3s": 'echo "k3s version v1.35.1+k3s1 (abc)"'}}, "v1.35.1+k3s1, and k3s1 runs v1.36.3+k3s1"),
    ("token", {"programs": {"ps": running("iscsid", "chronyd") + '; case "$2" in args) echo "k3s agent --token K10abc::server:x";; esac'}}, "process list"),
    ("token", {"files": {"etc/systemd/system/k3s-agent.service.env": "K3S_TOKEN=K10abc\n"}}, "everybody on it can read"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "otherwise", "words"), WRONG, ids=[f"{n}-{w[:20]}" for n, _, w in WRONG])
def test_a_machine_that_is_wrong_in_one_thing_is_said_to_be_in_that(made, wanted, name, otherwise, words):
    seen = verb.looked(made(**otherwise), wanted)
    assert words in seen[name].words
    assert {n for n, one in seen.items() if one.good is False} == {name}
    assert verb.code(seen) == EXIT_BROKE


def test_each_requirement_can_go_red_and_says_what_to_do():
    assert {name for name, _, _ in WRONG} == {*REQUIREMENTS}
    assert all(one.fix and one.look.__doc__ for one in REQUIREMENTS.values())


# requirement, what keeps it from being seen
BLIND = [
    ("system", {"without": ("etc/os-release",)}),
    (
        "modules",
        {"without": ("lib/modules/6.12.0/modules.dep",), "files": {"proc/modules": "", "lib/modules/other": ""}},
    ),
    ("memory", {"without": ("proc/meminfo",)}),
    ("room", {"programs": {"df": "exit 1"}}),
    ("writes", {"programs": {"dd": "exit 1"}}),
    ("errors", {"programs": {"dmesg": "echo denied >&2; exit 1"}}),
    ("errors", {"without": ("smartctl",)}),
    ("ports", {"programs": {"ss": "exit 1"}}),
    ("firewall", {"programs": {"nft": "echo 'chain input { type filter hook input priority 0; policy drop; }'"}}),
    ("mtu", {"programs": {"ip": "exit 1"}}),
    ("tailscale", {"programs": {"tailscale": "echo not-json"}}),
    ("ssh", {"programs": {"sshd": "exit 1"}}),
    ("ssh", {"without": ("sshd",)}),
    ("swap", {"without": ("proc/swaps",)}),
    ("kubelet", {"programs": {"ps": "exit 1"}}),
    ("token", {"programs": {"ps": "exit 1"}}),
    ("multipath", {"programs": {"ps": "exit 1"}}),
    ("firewall", {"without": ("nft",)}),
    ("firewall", {"programs": {"nft": "echo 'chain FORWARD { type filter hook forward priority 0; policy drop; }'"}}),
    ("firewall", {"programs": {"nft": "echo 'chain input { policy accept; tcp dport 22 accept; drop }'"}}),
    ("errors", {"programs": {"smartctl": "echo 'Unknown USB bridge'"}}),
    ("errors", {"programs": {"lsblk": "exit 1"}}),
    ("clock", {"programs": {"timedatectl": "echo no"}}),
    ("version", {"programs": {"k3s": "exit 1"}}),
    ("tailscale", {"programs": {"tailscale": "echo null"}}),
    ("mtu", {"server": {"hostname": "echo '1.2.3.4;touch${IFS}/tmp/x'"}}),
]


@pytest.mark.parametrize(("name", "otherwise"), BLIND, ids=[n for n, _ in BLIND])
def test_what_cannot_be_seen_is_never_called_right(made, wanted, name, otherwise):
    otherwise = dict(otherwise)
    server = otherwise.pop("server", None)
    asked = replace(wanted, server=made("other", server)) if server else wanted
    found = judged(REQUIREMENTS[name], made(**otherwise), asked)
    assert found.good is None, found
    assert verb.code({name: found}) == EXIT_UNPROVEN


def test_what_nobody_asked_for_is_not_exercised(made):
    seen = verb.looked(made(), Wanted())
    assert {n for n, one in seen.items() if not one.asked} == {"disks", "mtu", "tailscale", "version"}
    assert verb.code(seen) == EXIT_HELD


def test_a_machine_that_is_lost_on_the_way_proves_nothing(wanted):
    class Gone:
        def run(self, command):
            raise RuntimeError("ssh: connect to host k3s2 port 22: Connection refused")

    seen = verb.looked(Machine("k3s2", Gone()), wanted)
    assert {one.good for one in seen.values()} == {None}
    assert "Connection refused" in seen["system"].words
    with pytest.raises(CannotLook):
        Machine("k3s2", Gone()).run("id")


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        ("Host key verification failed.", "Host key verification failed"),
        ("ssh: connect to host k3s2 port 22: Connection refused", "Connection refused"),
        ("root@k3s2: Permission denied (publickey).", "Permission denied"),
    ],
)
def test_without_a_way_in_it_is_one_sentence_with_the_next_step(monkeypatch, stderr, words):
    class Answer:
        rc, stdout = 255, ""

    answer = Answer()
    answer.stderr = f"warning\n{stderr}\n"
    asked = []

    class Host:
        def run(self, command):
            raise RuntimeError(answer)

    monkeypatch.setattr(machines.testinfra, "get_host", lambda address, **more: asked.append((address, more)) or Host())
    with pytest.raises(UsageError, match=words) as error:
        reached("root@k3s2")
    assert "ssh root@k3s2 id" in error.value.next_step
    ((address, more),) = asked
    assert address == "ssh://root@k3s2"
    assert "BatchMode=yes" in more["ssh_extra_args"] and "StrictHostKeyChecking=yes" in more["ssh_extra_args"]


def test_who_is_not_root_is_told(monkeypatch, made):
    monkeypatch.setattr(machines, "Machine", lambda name, host: made(programs={"id": "echo 1000"}))
    with pytest.raises(UsageError, match="isn't root"):
        reached("me@k3s2")


def test_a_look_that_trips_over_what_a_machine_says_is_no_verdict(made):
    one = REQUIREMENTS["cores"]
    assert judged(one, made(programs={"nproc": "echo many"}), Wanted()).good is None


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_answer_reads_well(monkeypatch, made, form):
    wrong = made(programs={"nproc": "echo 1"})
    monkeypatch.setattr(verb, "reached", lambda *_, **__: wrong)
    app = verb.typer.Typer()
    app.command()(verb.host)
    done = CliRunner().invoke(app, ["root@k3s2", "--format", form])
    assert done.exit_code == EXIT_BROKE
    if form == "json":
        said = {r["requirement"]: r for r in json.loads(done.stdout)["requirements"]}
        assert said["cores"] == {
            "requirement": "cores",
            "verdict": "broke",
            "seen": "1 core, and 2 are asked",
            "fix": REQUIREMENTS["cores"].fix,
        }
        assert {r["verdict"] for r in said.values()} == {"held", "broke", "not exercised"}
    assert Seen(True, "x").asked
