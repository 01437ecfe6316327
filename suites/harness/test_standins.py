"""The stand-ins' own arithmetic: what they pack, merge and compare."""

import base64
import functools
import http.server
import importlib.util
import os
import queue
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

from holdfast.paths import ROOT
from holdfast.policies import admission_policy
from holdfast.tree.settings_file import Adaptation

FLUX = ROOT / "clusters" / "standins" / "flux"


def program(name, folder=FLUX):
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location(name.replace("-", "_"), folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(folder))


helm, standin = program("helm-controller"), program("standin")


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("1m30s", 90), ("2h", 7200), ("500ms", 0.5), (None, 60)])
def test_durations_of_goes(text, seconds):
    assert standin.seconds(text) == seconds


THE_END = {"type": "END"}


class Api:
    """A kind of an API server: what is listed, and what a watch says next."""

    def __init__(self, *items):
        self.items, self.events = {item["metadata"]["name"]: item for item in items}, queue.Queue()

    def get(self, **_):
        listed = {"items": list(self.items.values()), "metadata": {"resourceVersion": "1"}}
        return type("List", (), {"to_dict": lambda _: listed})()

    def stream(self):
        while (event := self.events.get()) is not None:
            if event is THE_END:
                threading.Event().wait()  # it follows nothing any more
            yield event

    def say(self, kind, item):
        self.events.put({"type": kind, "raw_object": item})


def an_object(name, generation=1, *, suspend=False, leaving=None):
    meta = {"namespace": "apps", "name": name, "uid": name, "generation": generation, "deletionTimestamp": leaving}
    return {"metadata": meta, "spec": {"interval": "1h", "suspend": suspend}}


@pytest.fixture
def reconciled(monkeypatch):
    """A controller over an API: ``(its objects' API, what it reconciled, what it does at each)``."""
    running = []

    def start(*items, suspended=False):
        api, done, behaviour = Api(*items), queue.Queue(), {}
        client = type("Client", (), {"resources": type("R", (), {"get": lambda *_, **__: api})()})()
        monkeypatch.setattr(standin, "connect", lambda: client)
        watch = type("Watch", (), {"stream": lambda _, get, **__: get.__self__.stream()})
        monkeypatch.setattr(standin.kubernetes.watch, "Watch", watch)

        def one(_, item):
            done.put((item["metadata"]["name"], item["metadata"]["generation"]))
            return behaviour.get(item["metadata"]["name"], lambda: None)()

        controller = standin.Controller("test", "v1", "Test", one, suspended=suspended)
        controller.ready = lambda *_: None
        threading.Thread(target=controller.run, daemon=True).start()
        running.append(api)
        return api, done, behaviour

    yield start
    for api in running:
        api.events.put(THE_END)


def nothing_more(done):
    with pytest.raises(queue.Empty):
        done.get(timeout=0.3)


def test_a_stand_in_works_at_a_change_and_not_without_one(reconciled):
    api, done, _ = reconciled(an_object("web"))
    assert done.get(timeout=5) == ("web", 1)
    api.say("MODIFIED", an_object("web"))  # its own status, say
    nothing_more(done)
    api.say("MODIFIED", an_object("web", 2))
    assert done.get(timeout=5) == ("web", 2)
    api.say("ADDED", an_object("db"))
    assert done.get(timeout=5) == ("db", 1)
    api.say("MODIFIED", an_object("web", 2, leaving="now"))
    assert done.get(timeout=5) == ("web", 2)


def test_a_stand_in_leaves_what_is_suspended_and_looks_at_once_when_it_is_resumed(reconciled):
    api, done, _ = reconciled(an_object("web", suspend=True))
    nothing_more(done)
    api.say("MODIFIED", an_object("web"))
    assert done.get(timeout=5) == ("web", 1)
    _, done, _ = reconciled(an_object("web", suspend=True), suspended=True)
    assert done.get(timeout=5) == ("web", 1)


def test_a_stand_in_comes_back_when_it_said(reconciled):
    api, done, behaviour = reconciled(an_object("none"))
    assert done.get(timeout=5) == ("none", 1)
    behaviour["soon"] = lambda: 0.2
    api.say("ADDED", an_object("soon"))
    assert [done.get(timeout=5) for _ in range(3)] == [("soon", 1)] * 3


def test_a_change_while_a_stand_in_works_is_not_lost(reconciled):
    api, done, behaviour = reconciled(an_object("none"))
    assert done.get(timeout=5) == ("none", 1)
    go_on = threading.Event()
    behaviour["slow"] = go_on.wait
    api.say("ADDED", an_object("slow"))
    assert done.get(timeout=5) == ("slow", 1)
    api.say("MODIFIED", an_object("slow", 2))
    nothing_more(done)
    behaviour.clear()
    go_on.set()
    assert done.get(timeout=5) == ("slow", 2)


def test_one_that_is_deleted_while_suspended_is_tried_again_and_not_all_the_time(reconciled):
    def fails():
        raise standin.Failed("UninstallFailed", "no")

    api, done, behaviour = reconciled(an_object("none"))
    assert done.get(timeout=5) == ("none", 1)
    behaviour["web"] = fails
    api.say("ADDED", an_object("web", suspend=True, leaving="now"))
    assert done.get(timeout=5) == ("web", 1)
    nothing_more(done)


def test_an_object_without_a_spec_ends_nothing(reconciled):
    bare = {"metadata": {"namespace": "apps", "name": "bare", "uid": "b", "generation": 1}}
    api, done, _ = reconciled(bare)
    assert done.get(timeout=5) == ("bare", 1)
    api.say("ADDED", {"metadata": {"namespace": "apps", "name": "odd"}, "spec": {}})
    api.say("ADDED", an_object("web"))
    assert done.get(timeout=5) == ("web", 1)


def test_beside_a_cluster_no_event_goes_to_a_name_that_may_be_another_clusters():
    environment = {k: v for k, v in os.environ.items() if k != "NOTIFICATIONS"}
    words = [sys.executable, "-c", "import standin; print(standin.NOTIFICATIONS or 'nowhere')"]
    run = functools.partial(subprocess.run, words, cwd=FLUX, capture_output=True, text=True, check=True)
    assert run(env={**environment, "KUBECONFIG": "/absent"}).stdout == "nowhere\n"
    environment.pop("KUBECONFIG", None)
    assert "notification-controller" in run(env=environment).stdout


@pytest.mark.parametrize(
    ("spec", "chart", "uninstalled"),
    [({}, True, True), ({"suspend": True}, True, False), ({}, False, False)],
)
def test_a_release_that_goes_takes_with_it_only_what_helm_installed(monkeypatch, spec, chart, uninstalled):
    called, patched = [], []
    monkeypatch.setattr(helm, "RELEASES", "a file")
    monkeypatch.setattr(helm, "told", lambda _: {"chart": "/x"} if chart else {})
    monkeypatch.setattr(helm, "helm", lambda *words: called.append(words[0]) or (0, "", ""))
    api = type("Api", (), {"patch": lambda _, **words: patched.append(words["body"])})()
    item = {"metadata": {"namespace": "n", "name": "a", "deletionTimestamp": "now"}, "spec": spec}
    helm.reconcile(type("Controller", (), {"api": api})(), item)
    assert called == (["uninstall"] if uninstalled else [])
    assert patched == [{"metadata": {"finalizers": None}}]


@pytest.mark.parametrize(
    ("answer", "release"),
    [
        ((0, '[{"revision": 2, "status": "deployed"}]', ""), {"revision": 2, "status": "deployed"}),
        ((1, "", "Error: release: not found"), None),
        ((1, "", "Error: Kubernetes cluster unreachable: connection refused"), "StateError"),
    ],
)
def test_a_release_that_cannot_be_asked_for_is_not_taken_for_absent(monkeypatch, answer, release):
    """It was installed anew while the API server was away, and stayed pending."""
    monkeypatch.setattr(helm, "helm", lambda *_: answer)
    if release != "StateError":
        assert helm.last_release("web", "apps") == release
        return
    with pytest.raises(helm.standin.Failed) as raised:
        helm.last_release("web", "apps")
    assert raised.value.reason == "StateError"
    assert "connection refused" in str(raised.value)


def test_what_came_while_a_watch_was_away_is_listed(reconciled):
    api, done, _ = reconciled(an_object("web"))
    assert done.get(timeout=5) == ("web", 1)
    api.items["db"] = an_object("db")
    api.events.put(None)  # the watch ends
    assert done.get(timeout=5) == ("db", 1)
    nothing_more(done)


@pytest.mark.parametrize(
    ("want", "have", "same"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {}, False),
        ({"a": [{"x": 1}]}, {"a": [{"x": 1, "y": 2}]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": None}, {}, True),
        ({"a": "1"}, {"a": 1}, True),
    ],
)
def test_drift_is_what_the_chart_says_and_the_object_lacks(want, have, same):
    assert helm.subset(want, have) is same


def test_values_are_merged_map_by_map():
    assert helm.merged({"a": {"b": 1, "c": 2}, "l": [1]}, {"a": {"c": 3}, "l": [2]}) == {
        "a": {"b": 1, "c": 3},
        "l": [2],
    }


def test_an_adaptation_changes_one_object_by_name():
    policy, binding = admission_policy(
        Adaptation(
            kind="Kustomization",
            namespace="flux-system",
            name="remote-access",
            reason="no tailnet",
            set={"/spec/suspend": True},
        ),
        "kustomizations",
    )
    rule = policy["spec"]["matchConstraints"]["resourceRules"][0]
    assert (rule["resources"], rule["resourceNames"]) == (["kustomizations"], ["remote-access"])
    assert policy["spec"]["matchConditions"][0]["expression"] == 'object.metadata.namespace == "flux-system"'
    assert 'path: "/spec/suspend", value: true' in policy["spec"]["mutations"][0]["jsonPatch"]["expression"]
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]


# -- kube-state-metrics ------------------------------------------------------------------------------------------------------

MONITORING = ROOT / "clusters" / "standins" / "kube-prometheus-stack"


def test_a_custom_resource_becomes_the_metric_that_its_configuration_names():
    metrics = program("kube_state_metrics", MONITORING)
    each = {
        "type": "Info",
        "info": {
            "labelsFromPath": {
                "name": ["metadata", "name"],
                "suspended": ["spec", "suspend"],
                "ready": ["status", "conditions", "[type=Ready]", "status"],
            }
        },
    }
    resource = {
        "groupVersionKind": {"group": "g", "version": "v1", "kind": "K"},
        "metricNamePrefix": "gotk",
        "metrics": [{"name": "info", "each": each}],
    }
    items = [
        {
            "metadata": {"name": 'a"b'},
            "spec": {"suspend": True},
            "status": {"conditions": [{"type": "Other", "status": "True"}, {"type": "Ready", "status": "False"}]},
        },
        {"metadata": {"name": "new"}, "spec": {}},
    ]
    first, second = metrics.custom(resource, items)
    assert (
        first
        == 'gotk_info{customresource_group="g",customresource_kind="K",customresource_version="v1",name="a\\"b",suspended="true",ready="False"} 1'
    )
    assert 'name="new",suspended="",ready=""' in second
    each["type"] = "Gauge"
    with pytest.raises(SystemExit, match="Info only"):
        list(metrics.custom(resource, items))


def test_flux_stand_ins_count_what_they_reconcile():
    counted = standin.Metrics()
    counted.reconciled("helm-controller", "HelmRelease", ("apps", "web"), "success", 1.5)
    counted.reconciled("helm-controller", "HelmRelease", ("apps", "web"), "error", 0.5)
    text = counted.text()
    assert 'controller_runtime_reconcile_total{controller="helm",result="error"} 1' in text
    assert 'gotk_reconcile_duration_seconds_count{kind="HelmRelease",name="web",namespace="apps"} 2' in text
    assert 'gotk_reconcile_duration_seconds_sum{kind="HelmRelease",name="web",namespace="apps"} 2.000' in text


def test_grafana_asks_for_credentials_and_passes_queries_on(monkeypatch):
    """Against a server that stands for Prometheus: health for anybody, the proxy for the administrator only, an unknown source for nobody."""
    for key, value in (("ADMIN_USER", "admin"), ("ADMIN_PASSWORD", "secret")):
        monkeypatch.setenv(key, value)

    class Prometheus(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, *args):
            pass

    behind = http.server.HTTPServer(("127.0.0.1", 0), Prometheus)
    monkeypatch.setenv("PROMETHEUS_URL", f"http://127.0.0.1:{behind.server_port}/")
    grafana = program("grafana", MONITORING)
    front = grafana.web.Server(("127.0.0.1", 0), grafana.Api)
    for server in (behind, front):
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def ask(path, words=""):
        request = urllib.request.Request(
            f"http://127.0.0.1:{front.server_port}{path}",
            headers={"Authorization": f"Basic {base64.b64encode(words.encode()).decode()}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""

    try:
        assert ask("/api/health")[0] == 200
        assert ask("/api/datasources")[0] == 401
        assert ask("/api/datasources", "admin:wrong")[0] == 401
        assert ask("/api/datasources/proxy/uid/prometheus/api/v1/query?query=up", "admin:secret") == (
            200,
            "/api/v1/query?query=up",
        )
        assert ask("/api/datasources/proxy/uid/absent/api/v1/query?query=up", "admin:secret")[0] == 404
    finally:
        front.shutdown()
        behind.shutdown()


@pytest.mark.parametrize(
    ("folder", "script"),
    [
        # A signal between the interpreter's last look and a long sleep would be handled only after that sleep.
        (
            "flux",
            "import standin, time; standin.end_when_asked(); print('up', flush=True)\nwhile True: time.sleep(0.1)",
        ),
        (
            "kube-prometheus-stack",
            "import web; web.Server.service_actions = lambda _: print('up', flush=True); web.run(0, web.Handler)",
        ),
    ],
)
def test_a_stand_in_ends_when_it_is_asked_to(folder, script):
    """As the first process of a container it would ignore SIGTERM: here, too, it ends by its own handler, and not by the signal."""
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=FLUX.parent / folder, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "up\n"
        process.terminate()
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
