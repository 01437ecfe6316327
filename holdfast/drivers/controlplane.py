"""A real control plane as processes on loopback: etcd, the API server, the controller manager and the scheduler, with keys of their own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from holdfast.drivers.driver import DriverError
from holdfast.drivers.etcd import restore_words
from holdfast.drivers.pki import Pki
from holdfast.drivers.processes import Processes
from holdfast.drivers.profile import Profile

_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
_STORE = ("kube-apiserver", "etcd")  # in the order in which they are stopped
_SNAPSHOT_WITHIN_S = 60.0


class ControlPlane:
    """What is started, with what words.

    Args:
        profile: timers and address ranges.
        folder: everything of it.
        processes: where its programs are started.
        kubeconfig: of an administrator; it is written by `start`.
    """

    def __init__(self, profile: Profile, folder: Path, processes: Processes, kubeconfig: Path) -> None:
        self.profile, self.folder, self.processes, self.kubeconfig = profile, folder, processes, kubeconfig
        self.feature_gates: dict[str, bool] = {}
        self.audit: Path | None = (
            None  # where the API server writes down each request, for whoever has to see what was asked
        )

    def start(
        self, programs: Mapping[str, str], admission: Mapping[str, Any] | None, until_ready: Callable[[], None]
    ) -> None:
        """Starts all of it. Before the API server is ready (*until_ready* waits for it) it doesn't know its own roles.

        *programs*: the path of each; *admission*: the API server's admission configuration.
        """
        self._names = _names(self.folder / "bin", programs)
        self._admission = self.folder / "pki" / "admission.json" if admission else None
        self._urls = {
            name: f"https://127.0.0.1:{port}"
            for name, port in self.processes.ports.take("etcd", "peers", "api").items()
        }
        pki = Pki(self.folder / "pki")
        server, key = pki.issue("server", "kube-apiserver", hosts=("kubernetes", "kubernetes.default.svc"))
        accounts = str(pki.service_accounts())
        for name, group in (("admin", "system:masters"), ("kube-controller-manager", ""), ("kube-scheduler", "")):
            certificate, private = pki.issue(name, "holdfast" if group else f"system:{name}", group=group)
            config = self.kubeconfig if group else pki.folder / f"{name}.kubeconfig"
            pki.kubeconfig(config, self._urls["api"], certificate, private)
        own, ca = (str(server), str(key)), str(pki.folder / "ca.crt")
        if self._admission:
            self._admission.write_text(json.dumps(admission))
        self._start_etcd(programs["etcd"], own, ca)
        self._start_api_server(own, ca, accounts)
        until_ready()
        self._start_managers(ca, accounts)

    def _start_etcd(self, program: str, own: tuple[str, str], ca: str) -> None:
        url = self._urls
        words = [
            "--name=holdfast",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={url['etcd']}",
            f"--advertise-client-urls={url['etcd']}",
            f"--listen-peer-urls={url['peers']}",
            f"--initial-advertise-peer-urls={url['peers']}",
            f"--initial-cluster=holdfast={url['peers']}",
            "--unsafe-no-fsync=true",  # nothing of it must outlive this machine's power
            *_etcd_tls("", *own, ca),
            *_etcd_tls("peer-", *own, ca),
        ]
        self.processes.start("etcd", [program, *words])

    def _start_api_server(self, own: tuple[str, str], ca: str, accounts: str) -> None:
        words = self._words(self._urls, own, ca, accounts)
        if self.feature_gates:
            self.feature_gates = self._known_gates(self.feature_gates)
        gates = {**self.feature_gates, **self.profile.more.get("feature_gates", {})}
        words += [f"--feature-gates={n}={str(on).lower()}" for n, on in sorted(gates.items())]
        words += [f"--runtime-config={what}" for what in self.profile.more.get("runtime_config", [])]
        words += [f"--admission-control-config-file={self._admission}"] if self._admission else []
        words += self._audit_words()
        self.processes.start("kube-apiserver", [self._names["kube-apiserver"], *words])

    def _audit_words(self) -> list[str]:
        if self.audit is None:
            return []
        policy = self.folder / "pki" / "audit.json"
        every = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}
        policy.write_text(json.dumps(every))
        return [f"--audit-policy-file={policy}", f"--audit-log-path={self.audit}"]

    def _known_gates(self, wanted: Mapping[str, bool]) -> dict[str, bool]:
        """Those of some feature gates that this API server knows: it doesn't start with another one."""
        help_text = subprocess.run(
            [self._names["kube-apiserver"], "--help"], capture_output=True, text=True, check=False, timeout=30
        ).stdout
        return {name: on for name, on in wanted.items() if f"{name}=true|false" in help_text}

    def _start_managers(self, ca: str, accounts: str) -> None:
        """The controller manager and the scheduler."""
        for name in _PROGRAMS[1:]:
            config = self.folder / "pki" / f"{name}.kubeconfig"
            words = [f"--{way}kubeconfig={config}" for way in ("", "authentication-", "authorization-")]
            words += ["--secure-port=0", "--leader-elect=false"]
            if name == "kube-controller-manager":
                words += [
                    f"--root-ca-file={ca}",
                    f"--service-account-private-key-file={accounts}",
                    f"--cluster-signing-cert-file={ca}",
                    f"--cluster-signing-key-file={self.folder / 'pki' / 'ca.key'}",
                    "--use-service-account-credentials=true",
                    "--allocate-node-cidrs=true",
                    f"--cluster-cidr={self.profile.more['pod_cidr']}",
                    f"--node-monitor-grace-period={self.profile.timers.node_monitor_grace_s}s",
                    f"--node-monitor-period={self.profile.timers.node_monitor_period_s}s",
                ]
            self.processes.start(name, [self._names[name], *words])

    # -- the power of the machine that it runs on -----------------------------------------------------------------------------

    def power_off(self) -> None:
        """All of it ends at once, without a word before."""
        for name in (*_PROGRAMS, "etcd"):
            self.processes.stop(name, at_once=True)

    def power_on(self, until_ready: Callable[[], None]) -> None:
        """All of it starts as it was started; nothing is done where it runs."""
        if self.is_on():
            return
        for name in (*reversed(_STORE), *_PROGRAMS[1:]):
            if not self.processes.runs(name):
                self.processes.again(name)
            if name == "kube-apiserver":
                until_ready()

    def is_on(self) -> bool:
        """Whether all of it runs."""
        return all(self.processes.runs(name) for name in (*_PROGRAMS, "etcd"))

    # -- what etcd holds ---------------------------------------------------------------------------------------------------

    def save(self, etcdctl: str, file: Path) -> None:
        """Saves what etcd holds into a file. Raises DriverError."""
        given = self._given("etcd")
        keys = [f"--{short}={given[long]}" for short, long in _CLIENT.items()]
        file.parent.mkdir(parents=True, exist_ok=True)
        _run([etcdctl, f"--endpoints={given['advertise-client-urls']}", *keys, "snapshot", "save", str(file)])

    def lose(self) -> None:
        """Stops the API server and etcd, and destroys what etcd holds; it may be done twice."""
        for name in _STORE:
            self.processes.stop(name)
        shutil.rmtree(self.folder / "etcd", ignore_errors=True)

    def restore(self, etcdutl: str, file: Path, until_ready: Callable[[], None]) -> None:
        """Puts back what a file holds, and starts both as they were; where both run, nothing is done. Raises DriverError."""
        if all(self.processes.runs(name) for name in _STORE):
            return
        self.lose()
        given = self._given("etcd")
        _run([etcdutl, *restore_words(str(file), given["data-dir"], given)])
        for name in reversed(_STORE):
            self.processes.again(name)
        until_ready()

    def _given(self, name: str) -> dict[str, str]:
        """The options that a program was started with, also by another process."""
        if name not in self.processes.commands:
            raise DriverError(f"{name} was never started here")
        return {m[1]: m[2] for w in self.processes.commands[name][0] if (m := _OPTION.fullmatch(w))}

    def _words(self, url: Mapping[str, str], own: tuple[str, str], ca: str, accounts: str) -> list[str]:
        return [
            f"--etcd-servers={url['etcd']}",
            f"--etcd-cafile={ca}",
            f"--etcd-certfile={own[0]}",
            f"--etcd-keyfile={own[1]}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--secure-port={url['api'].rpartition(':')[2]}",
            f"--tls-cert-file={own[0]}",
            f"--tls-private-key-file={own[1]}",
            f"--client-ca-file={ca}",
            f"--service-account-key-file={accounts}",
            f"--service-account-signing-key-file={accounts}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={self.profile.more['service_cidr']}",
            "--authorization-mode=Node,RBAC",
            # A tree's webhooks would be called from here, wherever they are.
            "--disable-admission-plugins=MutatingAdmissionWebhook,ValidatingAdmissionWebhook",
            "--allow-privileged=true",
            f"--default-not-ready-toleration-seconds={self.profile.timers.toleration_s}",
            f"--default-unreachable-toleration-seconds={self.profile.timers.toleration_s}",
        ]


_OPTION = re.compile(r"--([\w-]+)=(.*)")
_CLIENT = {"cacert": "trusted-ca-file", "cert": "cert-file", "key": "key-file"}


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SNAPSHOT_WITHIN_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DriverError(f"{Path(command[0]).name}: {error}") from None
    if done.returncode:
        raise DriverError(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()[-300:]}")


def _names(folder: Path, programs: Mapping[str, str]) -> dict[str, str]:
    """Each program under its own name: several may be one file that answers to each."""
    folder.mkdir(exist_ok=True)
    for name in _PROGRAMS:
        (folder / name).symlink_to(programs[name])
    return {name: str(folder / name) for name in _PROGRAMS}


def _etcd_tls(prefix: str, certificate: str, key: str, ca: str) -> list[str]:
    return [
        f"--{prefix}cert-file={certificate}",
        f"--{prefix}key-file={key}",
        f"--{prefix}trusted-ca-file={ca}",
        f"--{prefix}client-cert-auth=true",
    ]
