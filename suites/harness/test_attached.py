"""A cluster of the user's own: which one is meant is never guessed, another under its name is refused, and nothing but GET leaves."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import kubernetes
import pytest
import yaml

from holdfast import journal
from holdfast.drivers import attached, catalogue, kubeconfigs
from holdfast.drivers import driver as seam
from holdfast.drivers.driver import Live, Writable
from holdfast.errors import NotExercised, UsageError
from holdfast.kube import GetOnlyReader
from holdfast.lane.lane import Lane
from holdfast.lane.subject import Subject
from holdfast.paths import ROOT
from holdfast.run import Run
from holdfast.waiting import CannotLook
from suites.harness import apart

TREE = ROOT / "fixtures" / "gitops"


def config(name, server="https://10.0.0.1:6443", **user):
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": f"{name}-c", "cluster": {"server": server, "certificate-authority": "ca.crt"}}],
        "users": [{"name": f"{name}-u", "user": user or {"token": "secret"}}],
        "contexts": [{"name": name, "context": {"cluster": f"{name}-c", "user": f"{name}-u"}}],
        "current-context": name,
    }


@pytest.fixture
def user(tmp_path, monkeypatch):
    """Kubeconfigs of a user, by name; KUBECONFIG names all of them in their order."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(apart.cache(tmp_path / "cache")))

    def has(**files):
        paths = []
        for name, body in files.items():
            path = tmp_path / name / "config"
            path.parent.mkdir(exist_ok=True)
            path.write_text(body if isinstance(body, str) else yaml.safe_dump(body))
            paths.append(str(path))
        monkeypatch.setenv("KUBECONFIG", os.pathsep.join(paths))
        return tmp_path

    return has


def test_without_a_name_none_is_guessed_not_even_the_only_one(user):
    user(one=config("home"))
    for lane in ("attached", "attached/"):
        with pytest.raises(UsageError, match="none is guessed") as error:
            catalogue.parse(lane)
        assert "home" in error.value.next_step
    with pytest.raises(UsageError, match="there is no context hime"):
        catalogue.parse("attached/hime")
    assert catalogue.parse("attached/home") == ("attached", "home")


def test_no_other_lane_stands_for_it_and_none_reads_the_users_kubeconfig(user):
    user(one="{ not: [yaml")
    assert not [lane for lane in [*catalogue.lanes(), *catalogue.usual()] if lane.startswith("attached")]
    assert catalogue.parse("kwok/1.36") == ("kwok", "1.36")
    with pytest.raises(UsageError, match="can't be read"):
        catalogue.parse("attached/home")


def test_the_first_of_several_files_wins_and_files_are_named_whole(user):
    folder = user(a=config("home", "https://first"), b=config("home", "https://second"), c=config("work"))
    made = kubeconfigs.of_context("home")
    cluster = made["clusters"][0]["cluster"]
    assert cluster == {"server": "https://first", "certificate-authority": str(folder / "a" / "ca.crt")}
    assert [len(made[k]) for k in ("contexts", "clusters", "users")] == [1, 1, 1]
    assert kubeconfigs.contexts() == ["home", "work"]


def test_a_context_that_leads_nowhere_is_said(user):
    broken = config("home")
    broken["users"] = []
    user(one=broken)
    with pytest.raises(UsageError, match="names the user home-u, which isn't there"):
        kubeconfigs.of_context("home")


def test_the_account_of_a_pod_is_a_context_of_its_own(user, tmp_path, monkeypatch):
    user(one=config("home"))
    (tmp_path / "token").write_text("t")
    monkeypatch.setattr(kubeconfigs, "_ACCOUNT", tmp_path)
    assert kubeconfigs.IN_CLUSTER not in kubeconfigs.contexts()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    assert kubeconfigs.contexts()[-1] == kubeconfigs.IN_CLUSTER
    made = kubeconfigs.of_context(kubeconfigs.IN_CLUSTER)
    assert made["clusters"][0]["cluster"]["server"] == "https://[fd00::1]:443"


class Reader:
    """A cluster of one server and one worker."""

    uid = "one"

    def get(self, kind, name, namespace=None, **_):
        return {"metadata": {"uid": self.uid}} if (kind, name) == ("Namespace", "kube-system") else None

    def list(self, kind, *_, **__):
        labels = {"k3s2": {}, "k3s1": {"node-role.kubernetes.io/control-plane": "true"}}
        info = {"kubeletVersion": "v1.36.3+k3s1", "containerRuntimeVersion": "containerd://2.4"}
        return [
            {
                "metadata": {"name": n, "labels": m},
                "status": {"nodeInfo": info, "addresses": [{"type": "InternalIP", "address": f"10.0.0.{len(m)}"}]},
            }
            for n, m in labels.items()
        ]


@pytest.fixture
def driver(user, monkeypatch):
    folder = user(one=config("home"))
    reader = Reader()
    monkeypatch.setattr(attached.Attached, "reader", property(lambda _: reader))
    made = attached.open("home", folder / "lane", "")
    made.preflight()
    return SimpleNamespace(made=made, reader=reader, folder=folder)


def test_it_says_what_it_consists_of(driver):
    made = driver.made
    assert [(n.name, n.role) for n in made.nodes()] == [("k3s1", "server"), ("k3s2", "worker")]
    assert made.kubernetes == "1.36.3+k3s1"
    assert made.address("k3s1", 30080) == ("10.0.0.1", 30080)
    assert (made.runtime(), made.stand_ins({}), made.evidence_level) == ("containerd://2.4", {}, "live")
    assert made.kubeconfig.stat().st_mode & 0o077 == 0


def test_it_is_live_and_can_change_nothing(driver):
    changing = {seam.Writable, seam.NodePower, seam.NodeNetwork, seam.NodeShell, seam.ImageLoader, seam.Agents, seam.EtcdSnapshot, seam.GitOutage,
                seam.NodeMembership, seam.NodeUpgrade, seam.CommandLine, seam.GitHosting, seam.AssumedReleases}  # fmt: skip
    assert [c.__name__ for c in changing if isinstance(driver.made, c)] == []
    assert isinstance(driver.made, Live)
    for act in (driver.made.up, driver.made.down):
        with pytest.raises(UsageError, match="your own"):
            act()
    assert driver.made.exists() is False


def test_another_cluster_under_the_same_name_is_refused(driver):
    driver.made.preflight()  # the same one: nothing is said
    driver.reader.uid = "another"
    with pytest.raises(UsageError, match="another cluster than before: uid differs"):
        driver.made.preflight()
    assert not driver.made.kubeconfig.exists()
    Path(os.environ["KUBECONFIG"]).write_text(yaml.safe_dump(config("home", "https://elsewhere")))
    driver.reader.uid = "one"
    with pytest.raises(UsageError, match="server differs"):
        driver.made.preflight()
    (driver.folder / "lane" / "identity.json").unlink()  # as the message says
    driver.made.preflight()


def test_one_that_cannot_be_looked_at_is_said(driver):
    def silent(*_, **__):
        raise CannotLook("the API server answered 401")

    driver.reader.get = silent
    with pytest.raises(UsageError, match="can't be looked at: the API server answered 401"):
        driver.made.preflight()


def test_two_contexts_never_meet_in_one_folder(user):
    user(one=config("a/b"), two=config("a-b"), three=config("a:b"))
    subject = Subject(TREE)
    folders = {Lane(f"attached/{name}", subject).folder for name in ("a/b", "a-b", "a:b")}
    assert len(folders) == 3
    assert Lane("kwok/1.36", subject).folder.name == "kwok-1.36"


def test_a_lane_of_the_users_own_is_neither_healed_removed_nor_made_anew(user, tmp_path):
    user(one=config("home"))
    lane = Lane("attached/home", Subject(TREE))
    (lane.folder / "state.json").write_text(
        json.dumps({"stage": "making", "run": "dead", "undo": [str(tmp_path / "undo")]})
    )
    lane.clean_dead()
    assert lane.is_foreign
    assert (lane.heal(), lane.down()) == (0, False)
    run = Run(lane, tmp_path / "run")
    for act in (run.rebuild, lambda: run.cold("longhorn")):
        with pytest.raises(NotExercised, match="user's own"):
            act()


@pytest.mark.parametrize("uid", ["one", "another"])
def test_a_run_of_two_clusters_is_never_sealed_and_no_copy_of_a_key_stays(user, tmp_path, driver, uid):
    lane = Lane("attached/home", Subject(TREE))
    lane.driver = driver.made
    run = Run(lane, tmp_path / "run")
    run._cluster = lane.attach(tmp_path / "undo.jsonl")
    driver.reader.uid = uid
    run.end(keep=False)
    assert journal.read_file(run.folder / "journal.jsonl").sealed is (uid == "one")
    assert not driver.made.kubeconfig.exists()


def test_what_kubernetes_no_longer_takes_is_refused(user):
    old = config("home")
    old["users"][0]["user"] = {"auth-provider": {"name": "gcp"}}
    user(one=old)
    with pytest.raises(UsageError, match="auth-provider"):
        kubeconfigs.of_context("home")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "post"])
def test_no_client_of_it_sends_anything_but_get(tmp_path, method):
    """Below everything that tests and faults use: whatever they ask, it doesn't leave."""
    reader = GetOnlyReader(tmp_path / "kubeconfig")
    client = reader._api_client(kubernetes.client.Configuration(host="http://127.0.0.1:1"))
    with pytest.raises(NotExercised, match=f"would be a {method.upper()}"):
        client.call_api(method, "http://127.0.0.1:1/api/v1/namespaces")
    with pytest.raises(NotExercised, match="no Secret"):
        reader.get("Secret", "a", "b")


def test_the_cluster_that_a_test_holds_refuses_to_be_changed(user, tmp_path, driver):
    lane = Lane("attached/home", Subject(TREE))
    lane.driver = driver.made
    cluster = lane.attach(tmp_path / "undo.jsonl")
    assert isinstance(cluster.objects, GetOnlyReader)
    for change in (
        lambda: cluster.inject.scale("Deployment", "a", "b", 0),
        lambda: cluster.inject.delete_pod("a", "b"),
        lambda: cluster.inject.create({"kind": "ConfigMap", "metadata": {"name": "a"}}),
        lambda: cluster.inject.request_reconciliation("Kustomization", "a", "b"),
        lambda: cluster.inject.power_off("k3s1"),
    ):
        with pytest.raises(NotExercised):
            change()
    assert not (tmp_path / "undo.jsonl").exists()
    assert Writable not in type(driver.made).__mro__


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("", "no address of a server: none"),
        ("k3s1", "no address of a server: k3s1"),
        ("ftp://k3s1", "no address of a server"),
        ("https://[::1", "no address of a server"),
        ("http://k3s1:6443", "without encryption"),
        ("http://admin:geheim@k3s1:6443", r"without encryption \(at k3s1\)"),
        ("ftp://admin:geheim@k3s1", "server: k3s1"),
        ("https://k3s1:6443", ""),
        ("http://127.0.0.1:8001", ""),  # kubectl proxy
    ],
)
def test_an_address_that_no_account_may_be_sent_to_is_refused(user, server, words):
    user(one=config("home", server))
    if not words:
        assert kubeconfigs.of_context("home")["clusters"][0]["cluster"]["server"] == server
        return
    with pytest.raises(UsageError, match=words) as error:
        kubeconfigs.of_context("home")
    assert "geheim" not in str(error.value)


def test_a_cluster_that_is_none_is_said(user):
    broken = config("home")
    broken["clusters"][0]["cluster"] = "x"
    user(one=broken)
    with pytest.raises(UsageError, match="no address of a server: none"):
        kubeconfigs.of_context("home")


@pytest.mark.parametrize("text", ["", "{", "[]", '"home"', "null"])
def test_what_was_written_down_of_it_and_can_not_be_read_is_said(driver, text):
    """Never taken for a first use: which cluster was meant isn't known any more."""
    (driver.folder / "lane" / "identity.json").write_text(text)
    with pytest.raises(UsageError, match="isn't known which cluster"):
        driver.made.preflight()
    assert not driver.made.kubeconfig.exists()


def test_no_copy_of_an_account_stays_whatever_goes_wrong(driver):
    def broken(*_, **__):
        raise RuntimeError("a defect")

    driver.reader.get = broken
    with pytest.raises(RuntimeError):
        driver.made.preflight()
    assert not driver.made.kubeconfig.exists()


def test_nodes_that_have_not_said_what_they_are_are_no_defect(driver):
    driver.reader.list = lambda *_: [{"metadata": {"name": "k3s9"}, "status": {}}, {"metadata": {"name": "k3s8"}}]
    assert driver.made.kubernetes == "of no node"
    assert driver.made.runtime() == "nothing that is known"
    assert driver.made.address("k3s9", 30080) is None


class Answers:
    """An API of the dynamic client's that answers with these bytes."""

    def __init__(self, data):
        self.data = data

    def get(self, **_):
        return SimpleNamespace(data=self.data)


OBJECT = b'{"kind": "Namespace", "metadata": {"name": "a"}}'


@pytest.mark.parametrize("data", [b"", b"<html>", b"7", b"[]", b"null", b'"a"', OBJECT[:20], bytes(range(256)), b'{"kind": "Namespace"}',
                                  OBJECT.replace(b"Namespace", b"Status"), b'{"kind": "Namespace", "metadata": 1}'])  # fmt: skip
def test_an_answer_that_is_not_of_kubernetes_is_none(tmp_path, monkeypatch, data):
    reader = GetOnlyReader(tmp_path / "kubeconfig")
    monkeypatch.setattr(reader, "_api", lambda *_: Answers(data))
    with pytest.raises(CannotLook, match="isn't of Kubernetes"):
        reader.get("Namespace", "a")
    for listed in (
        data,
        b'{"kind": "NamespaceList", "apiVersion": "v1", "metadata": {}, "items": [%s]}' % (data or b"1"),
    ):
        monkeypatch.setattr(reader, "_api", lambda *_, listed=listed: Answers(listed))
        if data != OBJECT.replace(b"Namespace", b"Status") or listed is data:
            with pytest.raises(CannotLook, match="isn't of Kubernetes"):
                reader.list("Namespace")


def test_an_answer_that_is_of_kubernetes_is_read(tmp_path, monkeypatch):
    reader = GetOnlyReader(tmp_path / "kubeconfig")
    monkeypatch.setattr(reader, "_api", lambda *_: Answers(OBJECT))
    assert reader.get("Namespace", "a")["metadata"]["name"] == "a"
    listed = b'{"kind": "NamespaceList", "apiVersion": "v1", "metadata": {}, "items": null}'
    monkeypatch.setattr(reader, "_api", lambda *_: Answers(listed))
    assert reader.list("Namespace") == []


@pytest.mark.parametrize(("how", "replaced"), [("another", True), ("silent", False)])
def test_a_cluster_that_nobody_can_look_at_is_not_called_another(user, tmp_path, driver, how, replaced):
    """What broke it may be why it doesn't answer: that it broke stays."""
    lane = Lane("attached/home", Subject(TREE))
    lane.driver = driver.made
    run = Run(lane, tmp_path / "run")
    run._cluster = lane.attach(tmp_path / "undo.jsonl")

    def silent(*_, **__):
        raise CannotLook("the API server doesn't answer")

    if how == "another":
        driver.reader.uid = "another"
    else:
        driver.reader.get = silent
    run.end(keep=False)
    found = journal.read_file(run.folder / "journal.jsonl")
    assert not found.sealed
    assert ("cluster-replaced" in {line["event"] for line in found.entries}) is replaced
