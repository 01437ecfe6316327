"""What a distribution brings to a new cluster, and the kinds of each Flux minor."""

import pytest
import yaml

from holdfast.drivers import distribution, kwok
from holdfast.drivers.profile import NodeSpec, load
from holdfast.errors import UsageError
from holdfast.paths import ROOT
from holdfast.provision.recipes import Recipes
from holdfast.tree import fluxapi

SERVER, WORKER = NodeSpec("a", "server"), NodeSpec("b", "worker")


def brought(name):
    return {(o["kind"], o["metadata"]["name"]): o for o in distribution.named(name).objects("10.43.0.0/16")}


def taints(name, spec):
    return distribution.named(name).node(spec, "1.36.3")["spec"].get("taints", [])


def test_only_servers_of_k3s_take_pods():
    assert [bool(taints(name, SERVER)) for name in ("k3s", "vanilla", "talos")] == [False, True, True]
    assert not any(taints(name, WORKER) for name in distribution.DISTRIBUTIONS)


def test_only_k3s_brings_a_class_and_kinds_of_its_own_and_one_dns():
    for name in distribution.DISTRIBUTIONS:
        k3s, there = name == "k3s", brought(name)
        assert (("StorageClass", "local-path") in there) is k3s
        assert (("CustomResourceDefinition", "helmcharts.helm.cattle.io") in there) is k3s
        assert there["Deployment", "coredns"]["spec"]["replicas"] == (1 if k3s else 2)
        assert there["Service", "kube-dns"]["spec"]["clusterIP"] == "10.43.0.10"


def test_a_node_says_what_it_is():
    node = distribution.named("k3s").node(SERVER, "1.36.3")
    assert node["status"]["nodeInfo"]["kubeletVersion"] == "v1.36.3+k3s1"
    assert node["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] == "true"
    vanilla = distribution.named("vanilla").node(SERVER, "1.36.3")
    assert vanilla["status"]["nodeInfo"]["kubeletVersion"] == "v1.36.3"
    assert vanilla["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] == ""


def test_only_talos_enforces_pod_security_where_a_namespace_says_nothing():
    assert [name for name in distribution.DISTRIBUTIONS if distribution.named(name).admission()] == ["talos"]
    settings = distribution.named("talos").admission()["plugins"][0]["configuration"]
    assert settings["defaults"]["enforce"] == "baseline"
    assert settings["exemptions"]["namespaces"] == ["kube-system"]


def test_an_unknown_distribution_is_said_with_those_that_there_are():
    with pytest.raises(UsageError, match="unknown distribution 'k0s'") as said:
        distribution.named("k0s")
    assert "k3s, vanilla, talos" in said.value.next_step


def test_the_usual_profile_is_the_last_and_each_profile_has_a_distribution_and_kinds():
    assert kwok.profiles()[-1] == Recipes().kubernetes.rpartition(".")[0]
    for name in kwok.profiles():
        driver = kwok.Kwok(load("kwok", name), ROOT)
        assert driver.distribution
        assert (ROOT / "clusters" / "kinds" / f"flux-{driver.flux}.yaml.gz").is_file()


@pytest.mark.parametrize("flux", Recipes().table["flux"])
def test_the_kinds_of_each_flux_are_those_of_its_controllers(flux):
    groups = {kind["spec"]["group"].partition(".")[0] for kind in kwok.kinds(flux)}
    assert groups == {"source", "kustomize", "helm", "notification"}


def test_the_reference_tree_has_the_kinds_of_the_usual_flux():
    text = (ROOT / "fixtures/gitops/clusters/home/flux-system/gotk-crds.yaml").read_text()
    assert kwok.kinds(Recipes().flux) == [o for o in yaml.load_all(text, Loader=yaml.CSafeLoader) if o]


def _fields(node, *, whole):
    """The dotted names of the fields of a schema: of a definition (*whole*), or as the package data has it."""
    below = node.get("properties" if whole else "p") or {}
    items = node.get("items" if whole else "i")
    found = set()
    for name, one in below.items():
        found |= {name} | {f"{name}.{more}" for more in _fields(one, whole=whole)}
    return found | (_fields(items, whole=whole) if isinstance(items, dict) else set())


@pytest.mark.parametrize("flux", Recipes().table["flux"])
def test_the_lanes_kinds_of_flux_have_the_fields_that_check_knows_of_that_version(flux):
    """Both are made of Flux's Go types, and one of them once of an older version's."""
    known = fluxapi.schemas(flux)
    for kind in kwok.kinds(flux):
        names = kind["spec"]["names"]["kind"]
        for version in (v for v in kind["spec"]["versions"] if v["served"]):
            at = f"{kind['spec']['group']}/{version['name']}/{names}"
            if at in known:
                there = _fields(version["schema"]["openAPIV3Schema"]["properties"]["spec"], whole=True)
                assert there == _fields(known[at]["p"]["spec"], whole=False), at
