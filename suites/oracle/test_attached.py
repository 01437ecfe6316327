"""A cluster that holdfast didn't make, on a real API server that writes down every request: it is looked at, and nothing else."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from kubernetes import client as official
from kubernetes import config as loading

from holdfast.drivers import kwok
from holdfast.journal import read_file
from holdfast.lane.subject import Subject
from holdfast.paths import ROOT
from holdfast.rehearsal.stage import staged
from holdfast.rehearsal.watcher import Watcher
from holdfast.verdicts import Verdict, verdicts
from suites.harness import apart

TREE = ROOT / "fixtures" / "gitops"
READER = "system:serviceaccount:holdfast:reader"
READS = {"get", "list", "watch"}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """The reference tree on a control plane of processes; gives a kubeconfig with the shipped account, and the requests that it made."""
    with staged(Subject(TREE), kwok.profiles()[-1]) as stage:
        stage.driver.ensure_host()
        audit = stage.driver.control_plane.audit = tmp_path_factory.mktemp("audit") / "audit.log"
        stage.start()
        assert Watcher(stage, limit_s=300, say=lambda _: None).run().converged
        for one in yaml.safe_load_all((ROOT / "clusters/attached/reader.yaml").read_text()):
            stage.client.apply(one)
        admin = json.loads(json.dumps(yaml.safe_load(stage.driver.kubeconfig.read_text())))
        settings = official.Configuration()
        loading.load_kube_config(config_file=str(stage.driver.kubeconfig), client_configuration=settings)
        core = official.CoreV1Api(official.ApiClient(settings))
        token = core.create_namespaced_service_account_token(
            "reader",
            "holdfast",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}},
        ).status.token
        config = {
            **admin,
            "users": [{"name": "reader", "user": {"token": token}}],
            "contexts": [{"name": "home", "context": {"cluster": admin["clusters"][0]["name"], "user": "reader"}}],
            "current-context": "",
        }
        file = tmp_path_factory.mktemp("user") / "config"
        file.write_text(yaml.safe_dump(config))

        def asked():
            lines = [json.loads(line) for line in audit.read_text().splitlines()]
            return [e for e in lines if e["user"]["username"] == READER and e["stage"] == "ResponseComplete"]

        yield SimpleNamespace(config=file, asked=asked, client=stage.client, folder=tmp_path_factory.mktemp("command"))


def holdfast(folder, config, *words):
    """A command of a user with a kubeconfig."""
    environment = apart.environment(folder, KUBECONFIG=str(config), PYTHONPATH=str(ROOT))
    command = [
        sys.executable,
        "-m",
        "holdfast",
        "verify",
        "--lane",
        "attached",
        "--context",
        "home",
        "--tree",
        str(TREE),
        *words,
    ]
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=580
    )


def versions(client):
    """What would differ if anything had been written: the version of each object that nobody else changes."""
    kinds = (
        "Namespace",
        "ConfigMap",
        "Service",
        "Deployment",
        "DaemonSet",
        "ClusterRole",
        "HelmRelease",
        "CustomResourceDefinition",
    )
    return {
        f"{o['kind']}/{o['metadata'].get('namespace')}/{o['metadata']['name']}": o["metadata"].get("generation")
        for kind in kinds
        for o in client.list(kind)
    }


def test_all_suites_together_only_read(foreign):
    """Every suite is offered the cluster; no verb but get, list and watch is asked, nothing is there that wasn't, and no Secret is read."""
    before = versions(foreign.client)
    done = holdfast(foreign.folder, foreign.config)
    assert done.returncode in (0, 10, 11), done.stdout[-3000:] + done.stderr[-2000:]
    asked = foreign.asked()
    assert len(asked) > 20
    assert {e["verb"] for e in asked} <= READS
    assert not [e for e in asked if (e.get("objectRef") or {}).get("resource") == "secrets"]
    assert versions(foreign.client) == before
    journal = next((foreign.folder / "out").glob("*/journal.jsonl"))
    collected = [
        c
        for line in read_file(journal).entries
        if line["event"] == "collected"
        for t in line["tests"]
        for c in t["claims"]
    ]
    assert {c["level"] for c in collected} == {"static", "live"}
    ranges = next(v for v in verdicts(read_file(journal)) if (v.claim, v.level) == ("network-ranges", "live"))
    assert ranges.verdict is Verdict.BROKE  # the addresses are right, and nothing says that the network is Flannel
    assert "lacks flannel.alpha.coreos.com/backend-type" in ranges.reason


def test_a_cluster_of_another_name_is_refused_where_it_takes_a_known_one(foreign):
    """The same context, another cluster behind it: a control plane that was made anew has another kube-system."""
    assert holdfast(foreign.folder, foreign.config, "-k", "no_such_test").returncode == 64
    (identity,) = (foreign.folder / "cache").rglob("identity.json")
    kept = identity.read_text()
    identity.write_text(json.dumps({**json.loads(kept), "uid": "another"}))
    try:
        done = holdfast(foreign.folder, foreign.config, "--claim", "longhorn-metrics")
        assert done.returncode == 64
        assert "leads to another cluster than before: uid differs" in done.stderr
    finally:
        identity.write_text(kept)


def test_an_account_without_rights_is_said(foreign, tmp_path):
    config = yaml.safe_load(foreign.config.read_text())
    config["users"][0]["user"]["token"] = "not-a-token"
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(config))
    done = holdfast(tmp_path, file)
    assert done.returncode == 64
    assert "can't be looked at: the API server answered 401" in done.stderr
