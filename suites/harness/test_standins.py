"""The stand-ins' own arithmetic: what they pack, merge and compare."""

import base64
import http.server
import importlib.util
import io
import subprocess
import sys
import tarfile
import threading
import urllib.error
import urllib.request

import pytest

from holdfast.bootstrap import admission_policy
from holdfast.paths import ROOT
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


source, helm, standin = program("source-controller"), program("helm-controller"), program("standin")


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "r"
    folder.mkdir()
    for name in (
        "apps/web.yaml",
        "apps/logo.png",
        "clusters/home.yaml",
        ".github/ci.yml",
        "docs/notes.md",
        ".sops.yaml",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "apps/.sourceignore").write_text("secret-*\n")
    (folder / "apps/secret-plan.yaml").write_text("x")

    def git(*arguments):
        return subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "x")
    return str(folder / ".git"), git("rev-parse", "HEAD")


def names(packed):
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        return sorted(m.name.removeprefix("./") for m in tar.getmembers() if m.isfile())


def test_an_artifact_leaves_out_what_flux_leaves_out(repository):
    packed = names(source.pack(*repository, None))
    assert {"apps/web.yaml", "clusters/home.yaml", "docs/notes.md"} <= set(packed)
    assert not {"apps/logo.png", ".github/ci.yml", "apps/secret-plan.yaml", ".sops.yaml"} & set(packed)


def test_the_sources_own_ignore_takes_the_place_of_the_usual_rules(repository):
    packed = names(source.pack(*repository, "docs/\n"))
    assert "apps/logo.png" in packed
    assert "docs/notes.md" not in packed


def test_the_same_commit_packs_to_the_same_bytes(repository):
    assert source.pack(*repository, None) == source.pack(*repository, None)


@pytest.mark.parametrize(
    ("ref", "wanted"),
    [
        ({"branch": "main"}, ("refs/heads/main", "main")),
        ({"tag": "v1"}, ("refs/tags/v1", "v1")),
        ({"commit": "abc", "branch": "main"}, ("abc", "main")),
        (None, ("refs/heads/master", "master")),
    ],
)
def test_what_a_reference_fetches(ref, wanted):
    assert source.wanted({"ref": ref}) == wanted


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("1m30s", 90), ("2h", 7200), ("500ms", 0.5), (None, 60)])
def test_durations_of_goes(text, seconds):
    assert standin.seconds(text) == seconds


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
        ("flux", "import standin, time; standin.end_when_asked(); print('up', flush=True); time.sleep(60)"),
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
