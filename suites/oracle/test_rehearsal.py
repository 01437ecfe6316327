"""The static rules, held against the API server and Flux's own controllers: an invalid tree is refused or stuck, for the reason that the rule gives.

Each pair is rehearsed on a control plane of its own: some 15 seconds a tree. ``HOLDFAST_NIGHTLY=1`` takes every pair, and the valid trees.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from holdfast.drivers import kwok
from holdfast.kube import condition
from holdfast.lane.subject import Subject
from holdfast.paths import ROOT, cache_dir
from holdfast.rehearsal import run
from holdfast.rehearsal.after import look_after
from holdfast.rehearsal.judge import Judge
from holdfast.rehearsal.stage import staged
from holdfast.rehearsal.watcher import Watcher
from suites.harness import pairs

NIGHTLY = bool(os.environ.get("HOLDFAST_NIGHTLY"))
# What Flux or the API server says of a pair's invalid tree, by the rule that the rehearsal gives it; the pair's own rule where none is named.
SAYS = {
    "gone-version": "schema.version",
    "loop-depends-on": "boot.loop",
    "missing-dependency": "apply.missing-dependency",
    "missing-kind": "apply.missing-kind",
    "not-decrypted": "apply.stuck",
    "substitution": "apply.build",
    "wrong-type": "apply.refused",
}
AT_NIGHT = {
    "build-broken-yaml": "apply.build",
    "build-circle": "apply.build",
    "build-link": "apply.build",
    "build-missing-file": "apply.build",
    "build-no-folder": "apply.build",
    "build-outside": "apply.build",
    "build-values-file": "apply.build",
    "duplicate-key": "apply.build",
    "flux-days": "apply.refused",
    "flux-field-of-yesterday": "apply.refused",
    "flux-kind-in-a-health-check": "apply.never-ready",
    "flux-no-chart": "apply.refused",
    "flux-number-for-a-text": "apply.refused",
    "flux-version-not-served": "schema.version",
    "flux-version-of-an-instance": "schema.version",
    "cpus": "apply.never-runs",
    "health-check-elsewhere": "apply.missing-health-check",
    "health-check-moved": "apply.missing-health-check",
    "late-volume": "apply.never-ready",
    "loop-kind": "apply.missing-kind",
    "loop-wait": "boot.loop",
    "missing-account": "apply.never-runs",
    "missing-claim": "apply.never-runs",
    "missing-class": "apply.missing-class",
    "missing-flux-account": "apply.refused",
    "missing-health-check": "apply.missing-health-check",
    "missing-namespace": "apply.missing-namespace",
    "missing-priority": "apply.never-runs",
    "missing-source": "apply.missing-source",
    "moved-source": "apply.missing-source",
    "near-account": "apply.never-runs",
    "near-class": "apply.missing-class",
    "near-health-check": "apply.missing-health-check",
    "near-variables": "apply.missing-variables",
    "no-api-version": "apply.build",
    "no-namespace": "apply.refused",
    "required": "apply.refused",
    "selector": "apply.refused",
    "suspended-dependency": "apply.stuck",
    "unknown-field-of-a-crd": "apply.refused",
    "value": "apply.refused",
    "values-under-a-hash": "apply.missing-values",
    "variable-becomes-a-number": "apply.refused",
    "variable-becomes-a-word": "apply.refused",
    "variable-name": "apply.build",
    "variable-name-generated": "apply.build",
    "variable-value-number": "apply.refused",
    "variable-value-truth": "apply.refused",
    "variables-left-behind": "apply.wrong-namespace",
    "wrong-namespace": "apply.wrong-namespace",
}
PROFILE = "1.36"  # what is said of a rule's proof names its versions
# All is applied, and something of it does nothing.
RUNS_ON = {
    "cpus",
    "missing-account",
    "missing-claim",
    "missing-class",
    "missing-priority",
    "near-account",
    "near-class",
}
# What source-controller says where the lane takes a source for there and a chart for given: it is asked once the rest is applied.
ASKED = {
    "missing-chart": ("HelmRelease/web/shop", "charts/shops"),
    "missing-values-file": ("HelmRelease/web/shop", "charts/shop/hom.yaml"),
    "near-flux-secret": ("HelmRepository/web/charts", '"chart-login" not found'),
}
_ELSEWHERE = "holdfast-elsewhere-sources"


def checkout(tree, tmp_path):
    """A tree as a checkout of its own."""
    folder = tmp_path / "tree"
    if not folder.exists():
        subprocess.run(["cp", "-r", str(tree), str(folder)], check=True)
        git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@localhost"]
        for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "a tree"]):
            subprocess.run([*git, *words], check=True)
    return folder


@contextlib.contextmanager
def running(tree, tmp_path):
    """A stage with a tree on it."""
    with staged(Subject(checkout(tree, tmp_path)), PROFILE) as stage:
        stage.driver.ensure_host()
        stage.start()
        yield stage


def rehearsed(tree, tmp_path, *, strict=False):
    """What a rehearsal of a tree comes to."""
    with running(tree, tmp_path) as stage:
        course = Watcher(stage, strict=strict, limit_s=180, say=lambda _: None).run()
        lame = look_after(stage) if course.converged else []
        return Judge(stage.tree, stage.foretold).outcome(
            course, stage.driver.kubernetes, stage.driver.profile.more["flux"], stage.notes, lame
        )


@pytest.mark.parametrize("name", [*SAYS, *(AT_NIGHT if NIGHTLY else [])])
def test_the_real_thing_refuses_what_the_rule_finds(name, tmp_path):
    out = rehearsed(pairs.invalid(name), tmp_path, strict=True)
    rules = {proof.finding.rule for proof in out.proofs}
    assert (SAYS | AT_NIGHT)[name] in rules, (out.proofs, out.doubts, out.course.unsettled)
    assert out.course.converged is (name in RUNS_ON)


def chart_of(release):
    """The HelmChart that helm-controller makes of a release."""
    spec, meta = release["spec"]["chart"]["spec"], release["metadata"]
    ref = spec["sourceRef"]
    wanted = {"chart": spec["chart"], "valuesFiles": spec.get("valuesFiles", []), "interval": "1m"}
    return {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "HelmChart",
        "metadata": {
            "name": f"{meta['namespace']}-{meta['name']}",
            "namespace": ref.get("namespace", meta["namespace"]),
        },
        "spec": {**wanted, "sourceRef": {"kind": ref["kind"], "name": ref["name"]}},
    }


def answer(stage, identity, within_s=60):
    """What source-controller says of a source, or of a release's chart, once the lane doesn't take it for there any more."""
    kind, space, name = identity.split("/")
    client = stage.client
    client.delete("MutatingAdmissionPolicyBinding", _ELSEWHERE)
    wish = client.get(kind, name, space)
    if kind == "HelmRelease":
        wish = chart_of(wish)
    else:
        wish = {k: wish[k] for k in ("apiVersion", "kind", "spec")} | {
            "metadata": {"name": f"{name}-asked", "namespace": space}
        }
        wish["spec"].pop("suspend", None)
    limit = time.monotonic() + within_s
    while client.dry_run(wish)["spec"].get("suspend"):  # a policy counts some time after it is gone
        assert time.monotonic() < limit
        time.sleep(0.2)
    client.apply(wish)
    meta = wish["metadata"]
    while time.monotonic() < limit:
        ready = condition(client.get(wish["kind"], meta["name"], meta["namespace"]), "Ready")
        if ready.get("status") in ("True", "False"):
            return ready["status"], ready["message"]
        time.sleep(0.2)
    return "", "no answer"


@pytest.mark.parametrize("name", ASKED if NIGHTLY else ["missing-chart"])
@pytest.mark.parametrize("tree", [pairs.invalid, pairs.valid], ids=["invalid", "valid"])
def test_source_controller_says_so_itself(name, tree, tmp_path):
    identity, words = ASKED[name]
    with running(tree(name), tmp_path) as stage:
        assert Watcher(stage, limit_s=180, say=lambda _: None).run().converged
        ready, said = answer(stage, identity)
    if tree is pairs.invalid:
        assert ready == "False", said
        assert words in said
    else:
        assert words not in said, said


@pytest.mark.parametrize("name", [*SAYS, *AT_NIGHT] if NIGHTLY else ["missing-namespace"])
def test_the_valid_tree_starts(name, tmp_path):
    out = rehearsed(pairs.valid(name), tmp_path)
    assert out.proofs == [], [p.finding.what for p in out.proofs]
    assert out.course.converged, out.course.unsettled


def test_a_field_that_is_none_is_dropped_without_a_word(tmp_path):
    """Why the rule calls it a broken claim, and not a refusal: kustomize-controller takes it away itself."""
    out = rehearsed(pairs.invalid("unknown-field"), tmp_path, strict=True)
    assert out.course.converged
    assert out.proofs == []


# Kind; how it is told to fail, None where it isn't; the words of the finding, None where nothing waits for it: then it is none.
WORKLOADS = {
    "shop": ("Deployment", "=image", "ImagePullBackOff"),
    "shop-cache": ("Deployment", None, None),
    "data": ("StatefulSet", "=unready", "it isn't ready"),
    "agent": ("DaemonSet", "", "CrashLoopBackOff"),
    "once": ("Job", "", "Failed"),
    "aside": ("Deployment", "=unready", None),
}


def _workload(name, kind):
    """A workload, and the Service in front of it: its pods stand behind that, ready or not."""
    pod = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "registry.example.org/x:1"}]},
    }
    spec = {"template": pod, "selector": {"matchLabels": {"app": name}}}
    if kind == "Job":
        pod["spec"]["restartPolicy"] = "Never"
        spec = {"template": pod, "backoffLimit": 0}
    elif kind == "StatefulSet":
        spec["serviceName"] = name
    version = "batch/v1" if kind == "Job" else "apps/v1"
    meta = {"name": name, "namespace": "default"}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": meta}
    service["spec"] = {"selector": {"app": name}, "ports": [{"port": 80}]}
    return [{"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec}, service][: 1 if kind == "Job" else 2]


def test_workloads_fail_as_told_and_no_other_does(tmp_path):
    """What is told by the pods' owners only: shop's pods fail, those of shop-cache run."""
    files = {"cluster/flux.yaml": (pairs.valid("image") / "cluster" / "flux.yaml").read_text()}
    for name, (kind, _, words) in WORKLOADS.items():
        made = {"name": name, "namespace": "flux-system"}
        source = {"kind": "GitRepository", "name": "flux-system"}
        spec = {
            "interval": "5m",
            "timeout": "2m",
            "prune": True,
            "wait": words is not None or name == "shop-cache",
            "path": f"./{name}",
            "sourceRef": source,
        }
        layer = {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": made,
            "spec": spec,
        }
        files |= {f"cluster/{name}.yaml": yaml.dump(layer), f"{name}/w.yaml": yaml.dump_all(_workload(name, kind))}
    for file, text in files.items():
        (tmp_path / "from" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / file).write_text(text)
    told = [f"{kind}/default/{name}{how}" for name, (kind, how, _) in WORKLOADS.items() if how is not None]
    tree = checkout(tmp_path / "from", tmp_path)
    fail = [
        "Deployment/default/sh?p=unready",
        *told,
        "CronJob/default/absent",
    ]  # of two that take shop, the last one counts
    out = run.rehearsed(Subject(tree), PROFILE, fail=fail, limit_s=240)
    said = {re.search(r"waits for \w+/default/([\w-]+),", p.finding.what)[1]: p.finding.what for p in out.proofs}
    wanted = {name: words for name, (_, _, words) in WORKLOADS.items() if words is not None}
    assert said.keys() == wanted.keys(), said
    assert all(words in said[name] for name, words in wanted.items()), said
    assert out.course.converged
    absent = "--fail CronJob/default/absent=crash: no such workload came to the cluster"
    assert [d for d in out.doubts if "--fail" in d] == [absent]


def test_what_is_in_the_way_is_taken_out_of_it_and_the_start_goes_on(tmp_path):
    out = rehearsed(pairs.invalid("missing-namespace"), tmp_path)
    assert out.course.converged
    assert [p.finding.rule for p in out.proofs] == ["apply.missing-namespace"]
    assert out.proofs[0].removal.startswith("the lane made Namespace/")


def ours(cache):
    """The processes that have a lane of *cache* in their command line or as their folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(cache) in f"{words} {(path / 'cwd').readlink()}" and path.name != str(os.getpid()):
                found.append(words)
    return found


def begun(tmp_path, stage):
    """A rehearsal in a cache of its own, once its record names the process *stage*: (the process, its cache, its environment)."""
    cache = tmp_path / "cache"
    (cache / "holdfast").mkdir(parents=True)
    (cache / "holdfast" / "bin").symlink_to(cache_dir() / "bin")
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-P", "-m", "holdfast", "rehearse", str(ROOT / "fixtures" / "gitops")]
    out = (tmp_path / "out.txt").open("wb")
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background ignores it
    try:
        run = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    finally:
        signal.signal(signal.SIGINT, handler)
    limit = time.monotonic() + 120
    while not any(stage in record.read_text() for record in cache.glob("holdfast/rehearsals/*/processes.json")):
        assert run.poll() is None, (tmp_path / "out.txt").read_text()
        assert time.monotonic() < limit
        time.sleep(0.05)
    return run, cache / "holdfast", environment


def folders(cache):
    return [p for p in (cache / "rehearsals").iterdir() if p.is_dir()]


@pytest.mark.parametrize("stage", ["token", "kube-scheduler", "git-server"])
def test_a_killed_rehearsal_leaves_nothing_that_the_next_one_does_not_end(tmp_path, stage):
    run, cache, environment = begun(tmp_path, stage)
    run.kill()
    run.wait()
    assert folders(cache)
    cleaning = "from holdfast.rehearsal.folders import clean_dead; clean_dead()"
    subprocess.run([sys.executable, "-P", "-c", cleaning], env=environment, check=True)
    assert ours(cache) == []
    assert folders(cache) == []


@pytest.mark.parametrize("stage", ["kube-scheduler", "git-server"])
def test_ctrl_c_leaves_nothing(tmp_path, stage):
    run, cache, _ = begun(tmp_path, stage)
    run.send_signal(signal.SIGINT)
    run.wait(timeout=90)
    out = (tmp_path / "out.txt").read_text()
    assert "Traceback" not in out
    assert "stopped" in out
    assert ours(cache) == []
    assert folders(cache) == []


@pytest.mark.skipif(
    not os.environ.get("HOLDFAST_NIGHTLY"), reason="at night: each version of Kubernetes is built first"
)
@pytest.mark.parametrize("profile", [p for p in kwok.profiles() if "flux" not in p])
def test_the_reference_tree_starts_on_every_profile(profile):
    out = run.rehearsed(Subject(ROOT / "fixtures" / "gitops"), profile, once=True, limit_s=240)
    assert [(p.finding.rule, p.said) for p in out.proofs] == []
    assert out.doubts == []
    assert out.course.converged
