"""Clusters that aren't holdfast's, in every state that one can be met in: nothing is written, and what can't be looked at is said in words.

Each trial is a whole command, on a real API server with another server before it that sees every request. The account may do everything, so
nothing but holdfast itself keeps it from writing. ``HOLDFAST_NIGHTLY=1`` takes all of them, and a server that begins to lie after the first look, in each way.
"""

import base64
import copy
import json
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kubernetes import client as official
from kubernetes import config as loading

from holdfast.drivers import kwok
from holdfast.drivers.pki import Pki
from holdfast.lane.subject import Subject
from holdfast.paths import ROOT
from holdfast.rehearsal.stage import staged
from suites.harness import apart
from suites.oracle.between import Answer, between

TREE = ROOT / "fixtures" / "gitops"
NIGHTLY = bool(os.environ.get("HOLDFAST_NIGHTLY"))
REFUSED, RAN = 64, (0, 10, 11, 12)


def some(every, step):
    """Every one at night; by day each second one or so, since each takes a command of its own."""
    return list(every) if NIGHTLY else list(every)[::step]


CLAIM = "network-ranges"  # of nodes, pods and Services: all that there is without Flux


def token_of(client, name, rules):
    """A token of an account that may do what these rules say, and nothing else."""
    meta = {"name": name}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**meta, "namespace": "default"}}
    rights = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": meta, "rules": rules}
    bound = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
    }
    for one in (account, rights, bound):
        client.apply(one)
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
    settings = official.Configuration()
    loading.load_kube_config(config_file=str(client._kubeconfig), client_configuration=settings)
    core = official.CoreV1Api(official.ApiClient(settings))
    return core.create_namespaced_service_account_token(name, "default", asked).status.token


EVERYTHING = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
SOME = {
    "nothing": [],
    "namespaces": [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list"]}],
    "nodes": [{"apiGroups": [""], "resources": ["namespaces", "nodes"], "verbs": ["get", "list"]}],
    "no-services": [{"apiGroups": [""], "resources": ["namespaces", "nodes", "pods"], "verbs": ["get", "list"]}],
}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A control plane of processes with two nodes, the server before it, and kubeconfigs for it."""
    with staged(Subject(TREE), kwok.profiles()[-1]) as stage:
        stage.driver.ensure_host()
        audit = stage.driver.control_plane.audit = tmp_path_factory.mktemp("audit") / "audit.log"
        stage.start()
        admin = yaml.safe_load(stage.driver.kubeconfig.read_text())["clusters"][0]["cluster"]
        authority = tmp_path_factory.mktemp("authority") / "ca.crt"
        authority.write_bytes(base64.b64decode(admin["certificate-authority-data"]))
        tokens = {
            name: token_of(stage.client, f"t-{name}", rules) for name, rules in {"all": EVERYTHING, **SOME}.items()
        }
        with between(tmp_path_factory.mktemp("between"), admin["server"], authority) as middle:
            yield SimpleNamespace(middle=middle, tokens=tokens, audit=audit, client=stage.client)


@pytest.fixture
def user(foreign, tmp_path):
    """A person at a terminal: a kubeconfig that may be changed, and a command that is typed."""
    foreign.middle.again()
    cluster = {
        "server": foreign.middle.url,
        "certificate-authority-data": base64.b64encode(foreign.middle.authority.encode()).decode(),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": foreign.tokens["all"]}}],
        "contexts": [{"name": "home", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "home",
    }
    file = tmp_path / "config"
    environment = apart.environment(tmp_path, KUBECONFIG=str(file), PYTHONPATH=str(ROOT))

    def typed(*words, context="home", claim=CLAIM, limit_s=120, **more):
        if not file.exists() and not file.is_symlink():
            file.write_text(yaml.safe_dump(config))
        named = [*(["--context", context] if context is not None else []), *(["--claim", claim] if claim else [])]
        command = [
            sys.executable,
            "-m",
            "holdfast",
            "verify",
            "--lane",
            "attached",
            *named,
            "--tree",
            str(TREE),
        ]
        return subprocess.run(
            [*command, *words], env={**environment, **more}, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=limit_s
        )  # fmt: skip

    return SimpleNamespace(
        config=config, cluster=cluster, account=config["users"][0]["user"], file=file, typed=typed, foreign=foreign,
        middle=foreign.middle, folder=tmp_path, environment=environment,
    )  # fmt: skip


def holds(user, done, code, words=""):
    """What each trial must come to, whatever was met."""
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said[-3000:]
    assert user.middle.writes == []
    assert done.returncode in ((code,) if isinstance(code, int) else code), said[-2000:]
    assert words in said, said[-2000:]
    assert not [t for t in user.foreign.tokens.values() if t in said]  # no token is ever shown
    assert not [f for f in user.folder.rglob("kubeconfig") if f.is_file()]  # and no copy of one stays


# -- the kubeconfig ------------------------------------------------------------------------------------------------------------


def test_the_cluster_itself_is_looked_at(user):
    """Without this no other trial would say anything."""
    holds(user, user.typed(), RAN)
    assert len(user.middle.asked) > 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is no context home"),
        ("a: [", "can't be read"),
        ("- a\n- list\n", "there is no context home"),
        ("contexts: home\n", "there is no context home"),
        ("contexts: [home]\n", "there is no context home"),
        ("contexts: [{name: home}]\n", "names the cluster None, which isn't there"),
        ("contexts: [{name: home, context: {cluster: c, user: u}}]\n", "names the cluster c, which isn't there"),
        ("contexts: [{name: home, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://x'}}]\n", "names the user u"),
        (b"\xff\xfe\x00", "can't be read"),
    ],
)  # fmt: skip
def test_a_kubeconfig_that_says_nothing_of_use(user, text, words):
    user.file.write_bytes(text if isinstance(text, bytes) else text.encode())
    holds(user, user.typed(), REFUSED, words)
    assert user.middle.asked == []


def test_no_kubeconfig_and_a_folder_in_its_place(user):
    user.file.symlink_to(user.folder / "nowhere")
    holds(user, user.typed(), REFUSED, "there is no context home")
    user.file.unlink()
    user.file.mkdir()
    holds(user, user.typed(), REFUSED, "can't be read")


@pytest.mark.parametrize(
    "name", some(["Home", "home ", "hоme", "home2", "hom", "", "../home", "home\n", "HOME", "c", "u", "*"], 2)
)
def test_contexts_that_look_alike(user, name):
    """Also one with a letter of another alphabet: none is taken for another, and the current one for none."""
    holds(user, user.typed(context=name), REFUSED, "context")
    assert user.middle.asked == []


def test_without_a_name_the_current_context_is_not_taken(user):
    holds(user, user.typed(context=None), REFUSED, "none is guessed")
    assert user.middle.asked == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"server": "not a url"}, "has no address of a server: not a url"),
        ({"server": ""}, "has no address of a server: none"),
        ({"server": "http://k3s1.example.org:6443"}, "is reached without encryption"),
        ({"server": "https://127.0.0.1:1"}, "can't be looked at"),
        ({"server": "https://nowhere.invalid:6443"}, "can't be looked at"),
        ({"certificate-authority-data": "bm90IGEgY2VydGlmaWNhdGU="}, "can't be"),
        ({"certificate-authority-data": "%%%"}, "can't be"),
        ({"certificate-authority-data": None}, "can't be looked at"),  # nobody vouches for it
        ({"certificate-authority-data": None, "certificate-authority": "gone.crt"}, "can't be"),
        ({"proxy-url": "http://127.0.0.1:1"}, "can't be looked at"),
        ({"tls-server-name": "another.example.org"}, "can't be looked at"),
    ],
)
def test_a_cluster_that_is_not_reached(user, changes, words):
    user.cluster.update(changes)
    for key in [k for k, v in user.cluster.items() if v is None]:
        del user.cluster[key]
    holds(user, user.typed(), REFUSED, words)


def test_a_cluster_whose_authority_is_another(user):
    other = Pki(user.folder / "other")
    user.cluster["certificate-authority-data"] = base64.b64encode((other.folder / "ca.crt").read_bytes()).decode()
    holds(user, user.typed(), REFUSED, "can't be looked at")
    assert user.middle.asked == []


# -- the account ---------------------------------------------------------------------------------------------------------------


def script(folder, text):
    path = folder / "plugin"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def plugin(command):
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": command, "interactiveMode": "Never"}}


@pytest.mark.parametrize(
    "account",
    [
        {},
        {"token": "not-a-token"},
        {"username": "admin", "password": "admin"},
        {"tokenFile": "gone"},
        {"auth-provider": {"name": "gcp"}},
        plugin("no-such-plugin"),
    ],
    ids=["nobody", "a wrong token", "a name", "no file", "a provider", "no plugin"],
)
def test_an_account_that_is_none(user, account):
    user.config["users"][0]["user"] = account
    holds(user, user.typed(), REFUSED)


@pytest.mark.parametrize(
    "text", some(["exit 1", "echo nothing", "echo '{}'", 'echo \'{"status": {"token": "x"}}\'', "sleep 1; exit 7"], 2)
)
def test_a_plugin_that_gives_no_account(user, text):
    user.config["users"][0]["user"] = plugin(script(user.folder, text))
    holds(user, user.typed(), REFUSED)


def test_a_plugin_that_gives_one(user):
    answer = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": user.foreign.tokens["all"]},
    }
    user.config["users"][0]["user"] = plugin(script(user.folder, f"echo '{json.dumps(answer)}'"))
    holds(user, user.typed(), RAN)


def test_a_certificate_that_has_run_out(user):
    key = ec.generate_private_key(ec.SECP256R1())
    name, then = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "me")]), datetime.now(UTC) - timedelta(days=9)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    signed = made.not_valid_before(then).not_valid_after(then + timedelta(days=1)).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    user.config["users"][0]["user"] = {
        "client-certificate-data": base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode(),
        "client-key-data": base64.b64encode(private).decode(),
    }
    holds(user, user.typed(), REFUSED)


@pytest.mark.parametrize(
    ("rights", "code"), [("nothing", (REFUSED,)), ("namespaces", (REFUSED,)), ("nodes", RAN), ("no-services", RAN)]
)
def test_an_account_with_less_rights(user, rights, code):
    user.account["token"] = user.foreign.tokens[rights]
    done = user.typed()
    holds(user, done, code)
    if code is RAN:
        assert done.returncode == 11  # unproven, and not held
        assert "403" in done.stdout


# -- which cluster it is -------------------------------------------------------------------------------------------------------


def other_uid(path, answer):
    if "namespaces/kube-system" not in path or answer.status != 200:
        return answer
    body = json.loads(answer.body)
    body["metadata"]["uid"] = "another"
    return Answer(200, json.dumps(body).encode(), answer.headers)


def test_the_same_name_with_another_cluster_behind_it(user):
    holds(user, user.typed(), RAN)
    user.middle.again(other_uid)
    holds(user, user.typed(), REFUSED, "leads to another cluster than before: uid differs")
    assert len(user.middle.asked) < 40  # what the API server serves, and one Namespace


@pytest.mark.parametrize("text", some(["", "{", "[]", "null", '{"uid": "x"}', '"home"'], 3))
def test_what_was_written_down_of_a_cluster_was_changed(user, text):
    holds(user, user.typed(), RAN)
    (file,) = (user.folder / "cache").rglob("identity.json")
    file.write_text(text)
    user.middle.again()
    holds(user, user.typed(), REFUSED, "identity.json")


def test_another_cluster_takes_its_place_during_the_run(user):
    """The first look is at one, and what comes later at another: the run isn't sealed, so it proves nothing."""
    seen = []

    def later(path, answer):
        if "namespaces/kube-system" in path:
            seen.append(path)
        return other_uid(path, answer) if len(seen) > 1 else answer

    user.middle.again(later)
    done = user.typed()
    assert user.middle.writes == []
    assert done.returncode not in (0, 10), done.stdout[-3000:]
    assert "another cluster" in done.stdout + done.stderr


def test_the_kubeconfig_changes_during_the_run(user):
    """The context's own part of it was taken at the beginning."""
    user.file.write_text(yaml.safe_dump(user.config))
    other = copy.deepcopy(user.config)
    other["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"

    def change():
        while not user.middle.asked:
            time.sleep(0.02)
        user.file.write_text(yaml.safe_dump(other))

    changing = threading.Thread(target=change)
    changing.start()
    holds(user, user.typed(), RAN)
    changing.join()


def test_two_commands_at_once(user):
    """The second is told who is there, or waits: neither takes the other's copy of the kubeconfig away."""
    user.file.write_text(yaml.safe_dump(user.config))
    done = []
    first = threading.Thread(target=lambda: done.append(user.typed()))
    first.start()
    second = user.typed()
    first.join()
    assert user.middle.writes == []
    for one in (*done, second):
        assert "Traceback" not in one.stdout + one.stderr
        assert one.returncode in (*RAN, REFUSED)
    assert any(one.returncode in RAN for one in (*done, second))


# -- what it answers -----------------------------------------------------------------------------------------------------------


def always(status=200, body=b"", after_s=0.0, cut=None, **headers):
    return lambda _path, _answer: Answer(
        status, body, {k.replace("_", "-"): v for k, v in headers.items()}, cut, after_s
    )


def of_kind(word, lie):
    """A lie about the paths with a word in them."""
    return lambda path, answer: lie(path, answer) if word in path else answer


def changed(edit):
    """A lie about a JSON document."""

    def told(_path, answer):
        try:
            body = json.loads(answer.body)
        except ValueError:
            return answer
        edit(body)
        return Answer(answer.status, json.dumps(body).encode(), answer.headers)

    return told


PAGE = b"<html><body>Please log in to the network</body></html>"
LIES = {
    "500": always(500, b"oops"),
    "503": always(503, b"later", Retry_After="1"),
    "429": always(429, b"slow down", Retry_After="1"),
    "401": always(401, b"{}"),
    "403": always(403, b"{}"),
    "a page to log in": always(200, PAGE, Content_Type="text/html"),
    "a redirect elsewhere": always(302, b"", Location="http://127.0.0.1:1/login"),
    "a redirect that keeps the method": always(307, b"", Location="https://127.0.0.1:1/"),
    "an empty answer": always(200, b""),
    "half an answer": always(200, b'{"kind": "Namespace", "metadata": {"na', Content_Type="application/json"),
    "an answer that is cut": lambda _p, a: Answer(a.status, a.body, a.headers, cut=len(a.body) // 2),
    "a number": always(200, b"7", Content_Type="application/json"),
    "a list": always(200, b"[]", Content_Type="application/json"),
    "null": always(200, b"null", Content_Type="application/json"),
    "no text": always(200, bytes(range(256)), Content_Type="application/json"),
    "silence": always(200, b"{}", after_s=7.0),
    "its own words for an error, with 200": always(200, b'{"kind": "Status", "status": "Failure", "code": 403}', Content_Type="application/json"),
    "10 MB": always(200, b'{"a": "' + b"x" * 10_000_000 + b'"}', Content_Type="application/json"),
}  # fmt: skip


@pytest.mark.parametrize("lie", some(LIES, 2))
def test_a_server_that_answers_something_else(user, lie):
    user.middle.again(LIES[lie])
    holds(user, user.typed(), REFUSED)


@pytest.mark.parametrize(
    "lie", [name for name in LIES if name not in ("silence", "10 MB")] if NIGHTLY else ["500", "a page to log in"]
)
def test_a_server_that_begins_to_do_so_once_it_is_known(user, lie):
    user.middle.again(of_kind("/services", LIES[lie]))
    done = user.typed()
    holds(user, done, (*RAN, REFUSED))
    assert done.returncode not in (0, 10)  # neither held nor broke: nobody saw the Services


def no_items(body):
    body["items"] = []


def two_versions(body):
    for number, node in enumerate(body.get("items") or []):
        node["status"]["nodeInfo"]["kubeletVersion"] = f"v1.3{5 + number}.0"


def not_ready(body):
    for node in body.get("items") or []:
        node["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}]


def cordoned(body):
    for node in body.get("items") or []:
        node["spec"]["unschedulable"] = True


def no_status(body):
    for one in body.get("items") or []:
        one.pop("status", None)


def no_spec(body):
    for one in body.get("items") or []:
        one.pop("spec", None)


def no_labels(body):
    for one in body.get("items") or []:
        one["metadata"].pop("labels", None)


@pytest.mark.parametrize(
    ("word", "edit", "code"),
    [
        ("/nodes", no_items, (*RAN, REFUSED)),
        ("/nodes", two_versions, RAN),  # in the middle of an upgrade
        ("/nodes", not_ready, RAN),
        ("/nodes", cordoned, RAN),
        ("/nodes", no_status, (*RAN, REFUSED)),
        ("/nodes", no_spec, (*RAN, REFUSED)),
        ("/nodes", no_labels, RAN),
        ("/pods", no_items, RAN),
        ("/pods", no_status, RAN),
        ("/services", no_items, RAN),
        ("/services", no_spec, (*RAN, REFUSED)),
    ],
)
def test_a_cluster_in_a_state_of_its_own(user, word, edit, code):
    user.middle.again(of_kind(word, changed(edit)))
    holds(user, user.typed(), code)


def test_a_cluster_without_a_namespace_that_each_has(user):
    gone = Answer(404, b'{"kind": "Status", "code": 404, "reason": "NotFound"}', {"Content-Type": "application/json"})
    user.middle.again(of_kind("namespaces/kube-system", lambda _p, _a: gone))
    holds(user, user.typed(), REFUSED, "has no kube-system")


@pytest.mark.parametrize("status", some([503, 404, 500], 3))
def test_an_api_of_another_server_that_is_broken(user, status):
    """As metrics-server's is while it is away: the others answer."""
    user.middle.again(of_kind("/apis/apps", always(status, b"{}", Content_Type="application/json")))
    holds(user, user.typed(), (*RAN, REFUSED))


# -- all of it -----------------------------------------------------------------------------------------------------------------


def test_with_every_right_every_suite_only_reads(user):
    """Not one claim but all of them, by an account that may do anything: the API server's own record of it has no write either."""
    before = len(user.foreign.audit.read_text().splitlines())
    done = user.typed(claim=None, limit_s=580)
    holds(user, done, RAN)
    lines = [json.loads(line) for line in user.foreign.audit.read_text().splitlines()[before:]]
    ours = [e for e in lines if e["user"]["username"] == "system:serviceaccount:default:t-all"]
    assert len(ours) > 20
    assert {e["verb"] for e in ours} <= {"get", "list", "watch"}
    assert not [e for e in ours if (e.get("objectRef") or {}).get("resource") == "secrets"]


def test_faults_that_were_not_asked_for_on_a_terminal_write_nothing(user):
    """--allow-disruption alone isn't a yes: nobody sits at this terminal."""
    done = user.typed("--allow-disruption", "home", HOLDFAST_UNATTENDED="")
    holds(user, done, (*RAN, REFUSED))


def test_another_name_after_allow_disruption_is_refused(user):
    holds(user, user.typed("--allow-disruption", "hоme"), REFUSED)
    assert user.middle.asked == []


def test_the_trials_are_at_least_sixty(request):
    """As many states of a stranger's cluster as the safety of it was promised by."""
    here = [item for item in request.session.items if item.path == request.path]
    assert len(here) > 60 or len(request.session.items) < 60  # one alone may be run by hand
