"""A node that leaves and joins: what is typed on which node, and what becomes of it where a step fails."""

from types import SimpleNamespace

import pytest
import yaml

from holdfast.drivers import kind, kubeadm_join, profile
from holdfast.drivers.driver import DriverError

TOKEN, DIGEST = "abcdef.0123456789abcdef", f"sha256:{'a' * 64}"
COMMAND = f"kubeadm join control-plane:6443 --token {TOKEN} --discovery-token-ca-cert-hash {DIGEST} \n"
REGISTRATION = """\
kind: ClusterConfiguration
clusterName: home
---
kind: JoinConfiguration
apiVersion: kubeadm.k8s.io/v1beta4
discovery:
  bootstrapToken: {apiServerEndpoint: "control-plane:6443", token: first.0123456789abcdef, unsafeSkipCAVerification: true}
  tlsBootstrapToken: first.0123456789abcdef
nodeRegistration: {name: k3s2, taints: []}
---
kind: KubeletConfiguration
"""


class Shell:
    """Answers by the beginning of a command; a failing one has words."""

    def __init__(self, answers=(), failing=""):
        self.answers, self.failing, self.typed = dict(answers), failing, []

    def run(self, command):
        self.typed.append(command)
        if self.failing and command.startswith(self.failing):
            return SimpleNamespace(rc=1, stdout="", stderr="one\ntwo\n\nerror: the reason\n")
        said = next((words for begin, words in self.answers.items() if command.startswith(begin)), "")
        return SimpleNamespace(rc=0, stdout=said, stderr="")


def server(**more):
    return Shell({"kubeadm token create": COMMAND}, **more)


def test_it_joins_as_before_but_by_a_token_of_its_own_and_only_that_cluster():
    found = yaml.safe_load(kubeadm_join.join_config(REGISTRATION, TOKEN, DIGEST))
    assert found["kind"] == "JoinConfiguration"
    assert found["nodeRegistration"] == {"name": "k3s2", "taints": []}
    assert found["discovery"] == {
        "bootstrapToken": {"apiServerEndpoint": "control-plane:6443", "token": TOKEN, "caCertHashes": [DIGEST]},
        "tlsBootstrapToken": TOKEN,
    }


def test_a_node_that_never_joined_is_said():
    with pytest.raises(DriverError, match="no JoinConfiguration"):
        kubeadm_join.join_config("kind: InitConfiguration\n", TOKEN, DIGEST)


@pytest.mark.parametrize("failing", ["", "kubeadm join"])
def test_the_token_is_in_no_command_and_ends_with_the_joining(failing):
    """A command is seen by whoever lists processes: here and on the node."""
    control_plane, node, written = server(), Shell(failing=failing), {}

    def join():
        kubeadm_join.join(control_plane, node, REGISTRATION, lambda folder, files: written.update({folder: files}))

    if failing:
        with pytest.raises(DriverError, match=r"kubeadm join: .*the reason"):
            join()
    else:
        join()
    assert not [c for c in [*node.typed, *control_plane.typed] if TOKEN in c or TOKEN.partition(".")[2] in c]
    ((folder, files),) = written.items()
    assert TOKEN in files["join.yaml"]
    assert node.typed[0] == f"mkdir -p {folder} && chmod 700 {folder}"  # before anything is in it
    assert node.typed[-1] == f"rm -rf {folder}"
    assert control_plane.typed[-1] == "kubeadm token delete abcdef"


def test_a_server_that_gives_no_token_is_said():
    with pytest.raises(DriverError, match=r"kubeadm token: .*the reason"):
        kubeadm_join.join(server(failing="kubeadm token create"), Shell(), REGISTRATION, lambda *_: None)
    with pytest.raises(DriverError, match="has no --token"):
        kubeadm_join.join(Shell({"kubeadm token create": "nothing\n"}), Shell(), REGISTRATION, lambda *_: None)


def test_it_leaves_by_itself_before_its_name_goes():
    control_plane, node = server(), Shell()
    kubeadm_join.leave(control_plane, node, "k3s2")
    assert [c.split()[:2] for c in node.typed] == [["kubeadm", "reset"]]
    assert "delete node k3s2" in control_plane.typed[0]
    with pytest.raises(DriverError, match="kubeadm reset"):
        kubeadm_join.leave(control_plane, Shell(failing="kubeadm reset"), "k3s2")
    assert len(control_plane.typed) == 1  # the name stays while the node is what it was


@pytest.mark.parametrize(
    ("known", "credentials", "member"),
    [("node/k3s2\n", True, True), ("", True, False), ("node/k3s2\n", False, False), ("", False, False)],
)
def test_a_member_is_known_by_both_sides(known, credentials, member):
    control_plane = Shell({"kubectl": known})
    node = Shell(failing="" if credentials else "test -s")
    assert kubeadm_join.is_member(control_plane, node, "k3s2") is member


def test_a_cluster_that_does_not_say_leaves_no_guess():
    with pytest.raises(DriverError, match="the reason"):
        kubeadm_join.is_member(Shell(failing="kubectl"), Shell(), "k3s2")


@pytest.mark.parametrize("member", [True, False])
def test_a_node_that_joined_gets_its_network_also_where_somebody_else_had_it_join(monkeypatch, tmp_path, member):
    """Who had it join may have been killed right after: a node without a network is no node."""
    done = []
    made = kind.Kind("holdfast-kind-fast-x", profile.load("kind", "fast"), tmp_path)
    monkeypatch.setattr(made, "shell", lambda node: node)
    monkeypatch.setattr(made, "read_files", lambda *_: {"kubeadm.conf": b"x"})
    monkeypatch.setattr(made, "_wire_pod_network", lambda: done.append("network"))
    for name, value in (("is_member", member), ("leave", None), ("join", None)):
        monkeypatch.setattr(kubeadm_join, name, lambda *_, name=name, value=value: done.append(name) or value)
    made.join_node("k3s2")
    assert done == (["is_member", "network"] if member else ["is_member", "leave", "join", "network"])
