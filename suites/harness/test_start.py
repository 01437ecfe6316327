"""A start from nothing: what is there by hand, what several things can give, and which cause a standstill has."""

import itertools
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from holdfast.tree.boot import reaches
from holdfast.tree.needs import DependencyGraph, Need, Phase, State
from holdfast.tree.repository import Location
from suites.harness.test_check_command import NAMESPACE, ROUTE, of, said
from suites.harness.test_check_properties import FLUX, written
from suites.harness.test_check_words import CONFIG

RELEASE = {
    "apiVersion": "helm.toolkit.fluxcd.io/v2",
    "kind": "HelmRelease",
    "metadata": {"name": "shop", "namespace": "web"},
    "spec": {
        "interval": "1h",
        "chartRef": {"kind": "OCIRepository", "name": "shop"},
        "install": {"createNamespace": True},
    },
}
CHART = {
    "apiVersion": "source.toolkit.fluxcd.io/v1",
    "kind": "OCIRepository",
    "metadata": {"name": "shop", "namespace": "web"},
    "spec": {"interval": "1h", "url": "oci://registry.example.org/shop", "ref": {"tag": "1.2.3"}},
}


def never(found):
    return {f["rule"]: f["object"] for f in found["findings"] if f["severity"] == "breaks-apply"}


@pytest.mark.parametrize(
    ("beside", "loops"), [("cluster/config/parts.yaml", False), ("cluster/other/parts.yaml", True)]
)
def test_what_the_entry_waits_for_beside_it_is_applied_by_hand_with_it(beside, loops, tmp_path):
    """The entry's Kustomization depends on one of its own folder: who applies that folder gets both; who has only the one waits for ever."""
    documents = list(yaml.safe_load_all(FLUX))
    documents[1]["spec"]["dependsOn"] = [{"name": "parts"}]
    files = {
        "cluster/flux.yaml": "# the entry lies in config/\n",
        "cluster/config/flux.yaml": yaml.dump_all(documents),
        beside: yaml.dump(of("parts", "./parts")),
        "parts/ns.yaml": NAMESPACE,
    }
    _, found = said(written(tmp_path, files))
    assert ("boot.loop" in never(found)) is loops, found["findings"]


def test_a_circle_through_one_of_several_ways_is_none_while_another_only_waits(tmp_path):
    """The namespace comes from a Kustomization that something is missing for; the release in it would make it, too, were it there."""
    files = {
        "cluster/k.yaml": yaml.dump_all(
            [of("spaces", "./spaces", dependsOn=[{"name": "absent"}]), of("shop", "./shop")]
        ),
        "spaces/ns.yaml": NAMESPACE,
        "shop/shop.yaml": yaml.dump_all([CHART, RELEASE]),
    }
    _, found = said(written(tmp_path, files))
    assert never(found) == {"apply.missing-dependency": "Kustomization/flux-system/spaces"}


def test_an_archive_is_left_alone(tmp_path):
    gone = "resources: [what-was-there.yaml]\n"
    files = {"_archive/shop/kustomization.yaml": gone, "apps/shop/kustomization.yaml": gone}
    _, found = said(written(tmp_path, files))
    assert {f["files"][0]["path"] for f in found["findings"] if f["unreferenced"]} == {"apps/shop/kustomization.yaml"}


WIDGETS = {
    "apiVersion": "monitoring.coreos.com/v1",
    "kind": "PodMonitor",
    "metadata": {"name": "w", "namespace": "default"},
}


HELMFILE = "releases:\n  - name: s\n    chart: oci://registry.example.org/kube-prometheus-stack\n"
FETCHED = "crds=(\n  https://git.example.org/{}/releases/download/v0.90.0/definitions.yaml\n)\n"
USE = "apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata:\n  name: kube-prometheus-stack\n  namespace: web\n"


@pytest.mark.parametrize(
    ("file", "text", "by_hand"),
    [
        ("bootstrap/helmfile.yaml", HELMFILE, True),
        ("docs/charts.yaml", HELMFILE, False),
        ("scripts/bootstrap-cluster.sh", FETCHED.format("prometheus-operator/prometheus-operator"), True),
        ("scripts/bootstrap-cluster.sh", FETCHED.format("prometheus-operators/exporter"), False),
        ("bootstrap/monitor.yaml", USE, False),  # who uses a kind doesn't bring it
        ("bootstrap/up.sh", "helm install s oci://registry.example.org/kube-prometheus-stack-lite\n", False),
    ],
)
def test_a_kind_that_is_there_before_flux_runs_needs_nothing_of_the_tree(file, text, by_hand, tmp_path):
    """The release that brings the kind waits for what asks for it; a helmfile has installed its definitions before."""
    stack = RELEASE | {"metadata": {"name": "stack", "namespace": "default"}}
    stack["spec"] = {
        "interval": "1h",
        "chart": {
            "spec": {
                "chart": "kube-prometheus-stack",
                "version": "75.1.0",
                "sourceRef": {"kind": "HelmRepository", "name": "c"},
            }
        },
    }
    charts = {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "HelmRepository",
        "metadata": {"name": "c", "namespace": "default"},
        "spec": {"url": "https://charts.example.org"},
    }
    files = {
        "cluster/k.yaml": yaml.dump_all(
            [of("first", "./first"), of("stack", "./stack", dependsOn=[{"name": "first"}])]
        ),
        "first/w.yaml": yaml.dump(WIDGETS),
        "stack/s.yaml": yaml.dump_all([stack, charts]),
        file: text,
    }
    _, found = said(written(tmp_path, files))
    assert ("boot.loop" in never(found)) is not by_hand, found["findings"]
    assert ("the kind PodMonitor (monitoring.coreos.com)" in found["assumed"]) is by_hand


MADE = "kubectl create namespace web\n"
APPLIED = "kubectl apply -f clusters/$1/first/settings.yaml\n"


@pytest.mark.parametrize(
    ("commands", "there"),
    [
        (MADE, True),
        (APPLIED, True),
        ("", False),
        ("# kubectl create namespace web\n# kubectl apply -f clusters/$1/first/settings.yaml\n", False),
        ("kubectl delete -f clusters/$1/first/settings.yaml\n", False),
        ("kubectl apply -f clusters/$1/not-first/settings.yaml\n", False),
    ],
)
def test_what_a_script_makes_before_flux_runs_is_there(commands, there, tmp_path):
    """A Kustomization takes variables from what another applies, which in turn needs the namespace that the first one makes."""
    settings = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "s", "namespace": "flux-system"},
        "data": {"A": "b"},
    }
    late = {"postBuild": {"substituteFrom": [{"kind": "ConfigMap", "name": "s"}]}}
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "web"}}
    files = {
        "cluster/k.yaml": yaml.dump_all([of("spaces", "./spaces", **late), of("first", "./first")]),
        "spaces/ns.yaml": NAMESPACE,
        "first/settings.yaml": yaml.dump(settings),
        "first/c.yaml": yaml.dump(held),
        "scripts/bootstrap.sh": commands,
    }
    _, found = said(written(tmp_path, files))
    assert ("boot.loop" in never(found)) is not there, found["findings"]


def test_a_release_in_the_namespace_that_it_would_make_is_not_what_makes_it(tmp_path):
    files = {"cluster/k.yaml": yaml.dump(of("shop", "./shop")), "shop/shop.yaml": yaml.dump_all([CHART, RELEASE])}
    _, found = said(written(tmp_path, files))
    assert set(never(found)) == {"apply.missing-namespace"}


def test_a_namespace_that_something_at_the_bootstrap_only_uses_is_missing(tmp_path):
    used = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n  namespace: web\n"
    files = {
        "cluster/k.yaml": yaml.dump(of("first", "./first")),
        "first/c.yaml": used,
        "another/bootstrap/c.yaml": used.replace("name: c", "name: d"),
    }
    _, found = said(written(tmp_path, files))
    assert set(never(found)) == {"apply.missing-namespace"}


@pytest.mark.parametrize(
    ("api", "kind"),
    [("fluxcd.controlplane.io/v1", "ResourceSet"), ("helm.cattle.io/v1", "HelmChart"), ("v1", "ConfigMap")],
)
def test_what_installs_charts_by_itself_may_bring_a_kind(api, kind, tmp_path):
    maker = {"apiVersion": api, "kind": kind, "metadata": {"name": "charts", "namespace": "default"}}
    files = {"cluster/k.yaml": yaml.dump(of("first", "./first")), "first/w.yaml": yaml.dump_all([maker, WIDGETS])}
    _, found = said(written(tmp_path, files))
    assert set(never(found)) == (set() if kind != "ConfigMap" else {"apply.missing-kind"})
    assert ("the kind PodMonitor (monitoring.coreos.com)" in found["assumed"]) is (kind != "ConfigMap")


def test_a_field_that_a_parent_patches_in_is_not_found_in_a_neighbour(tmp_path):
    """The timeout comes from a patch for all children; another child has one of its own, in its own file."""
    release = RELEASE | {"spec": RELEASE["spec"] | {"timeout": "10m"}}
    patch = {
        "patch": "{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: _}, spec: {timeout: 3m}}",
        "target": {"kind": "Kustomization"},
    }
    slow, quick = of("slow", "./slow", wait=True), of("quick", "./quick", timeout="1m")
    files = {
        "cluster/k.yaml": yaml.dump(of("apps", "./apps", patches=[patch])),
        "apps/quick.yaml": yaml.dump(quick),
        "apps/slow.yaml": yaml.dump(slow),
        "quick/ns.yaml": NAMESPACE,
        "slow/r.yaml": yaml.dump_all([CHART, release]),
    }
    _, found = said(written(tmp_path, files))
    (one,) = [f for f in found["findings"] if f["rule"] == "apply.timeout"]
    assert one["object"] == "Kustomization/flux-system/slow"
    assert one["files"][0]["path"] != "apps/quick.yaml"


DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.org"},
    "spec": {
        "group": "example.org",
        "names": {"kind": "Widget", "plural": "widgets"},
        "scope": "Namespaced",
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}


@pytest.mark.parametrize(
    ("givers", "verdict"), [(["storage"], "broke"), (["parts"], "held"), (["parts", "storage"], "unproven")]
)
def test_what_one_of_several_gives_is_no_sure_need(givers, verdict, tmp_path):
    """Core has an object of a kind: only where nothing but storage brings the kind does core surely need storage."""
    files = {
        ".holdfast.toml": '[roles]\ncore = ["core"]\nstorage = ["storage"]\n',
        "cluster/k.yaml": yaml.dump_all([of(name, f"./{name}") for name in ("core", "parts", "storage")]),
        "core/w.yaml": yaml.dump(ROUTE | {"metadata": {"name": "w", "namespace": "default"}}),
        "parts/c.yaml": yaml.dump(CONFIG | {"metadata": {"name": "parts", "namespace": "default"}}),
        "storage/c.yaml": yaml.dump(CONFIG | {"metadata": {"name": "storage", "namespace": "default"}}),
    }
    for name in givers:
        files[f"{name}/crd.yaml"] = yaml.dump(DEFINITION)
    _, found = said(written(tmp_path, files))
    claim = found["claims"]["core-no-storage"]
    assert claim["verdict"] == verdict, claim
    assert ("core.storage" in {f["rule"] for f in found["findings"]}) is (verdict == "broke")


NODES = st.integers(0, 6)


@given(
    edges=st.sets(st.tuples(NODES, NODES), max_size=16),
    either=st.sets(NODES),
    targets=st.sets(NODES, min_size=1, max_size=2),
)
def test_a_need_is_sure_where_no_choice_among_several_avoids_it(edges, either, targets):
    """Against all choices: of each thing that one of several gives, each of them in turn."""
    states = [State(str(n), Phase.ANY if n in either else Phase.READY) for n in range(7)]
    graph = SimpleNamespace(edges=DependencyGraph())
    graph.needs = lambda a, b: graph.edges.requires[a][b]
    for a, b in sorted(edges):
        graph.edges.add_edge(states[a], states[b], Need(f"{a} needs {b}", Location("a.yaml", 1), "order"))
    wanted = {states[n] for n in targets}
    found = reaches(graph, [states[0]], wanted)
    others = [[b for b in range(7) if (a, b) in edges] for a in range(7)]
    ways = [[[b] for b in others[a]] or [[]] if a in either else [others[a]] for a in range(7)]
    reached = [bool(_from(0, choice) & targets) for choice in itertools.product(*ways)]
    if 0 in targets or not any(reached):
        assert found is None
    else:
        assert found.sure is all(reached)
        assert str(found.steps[0]).startswith("0 ")
        assert found.steps[-1].other in wanted


def _from(start, others):
    seen, queue = {start}, [start]
    while queue:
        for other in others[queue.pop()]:
            if other not in seen:
                seen.add(other)
                queue.append(other)
    return seen
