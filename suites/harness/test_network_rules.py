"""What the rules about the network must not call a defect, and the spellings in which they must see one."""

import shutil

import pytest
import yaml

from holdfast.tree import check as checking
from suites.harness import pairs
from suites.harness.test_check_properties import KUSTOMIZE, written


def found(folder, files, rule):
    """What one rule says of a tree with these objects."""
    texts = {n: v if isinstance(v, str) else yaml.dump_all(v) for n, v in files.items()}
    result = checking.check(checking.load(written(folder, texts), KUSTOMIZE), strict=True)
    return [f for f in result.findings if f.rule == rule], result


def space(name="web"):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def workload(name, namespace="web", kind="Deployment", replicas=None, **pod):
    spec = {
        "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "registry.example.org/c:1.2.3"}], **pod},
        },
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def service(name, namespace="web", **spec):
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80}], **spec},
    }


# -- externalTrafficPolicy Local ---------------------------------------------------------------------------------------

THREE = "[declared]\nnodes = 3\nnode_ports = [30080]\n"


@pytest.mark.parametrize(
    ("settings", "pods", "more", "times"),
    [
        (THREE, workload("web", replicas=2), {}, 1),
        ("", workload("web", replicas=2), {}, 0),  # how many nodes there are isn't known
        ("[declared]\nnodes = 1\n", workload("web", replicas=1), {}, 0),
        (THREE, workload("web", kind="DaemonSet"), {}, 0),
        (THREE, workload("web", replicas=3), {}, 0),
        (THREE, workload("web", nodeSelector={"kubernetes.io/hostname": "barn"}), {}, 0),  # that node is meant
        (THREE, workload("web"), {"type": "LoadBalancer"}, 0),  # who announces it knows where its pods are
        (THREE, workload("web", kind="StatefulSet", replicas=1), {}, 1),
    ],
)
def test_a_node_port_of_some_nodes(tmp_path, settings, pods, more, times):
    port = service("web", **{"type": "NodePort", "externalTrafficPolicy": "Local", **more})
    said, _ = found(
        tmp_path, {".holdfast.toml": settings, "cluster/a.yaml": [space(), pods, port]}, "network.local-traffic"
    )
    assert len(said) == times, said


def ingress(**controller):
    return {
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": {"name": "ingress-nginx", "namespace": "web"},
        "spec": {
            "interval": "10m",
            "chart": {
                "spec": {
                    "chart": "ingress-nginx",
                    "version": "4.13.3",
                    "sourceRef": {"kind": "HelmRepository", "name": "r"},
                }
            },
            "install": {"remediation": {"retries": 3}},
            "values": {
                "controller": {
                    **controller,
                    "service": {
                        "type": "NodePort",
                        "externalTrafficPolicy": "Local",
                        "nodePorts": {"http": 30080, "https": 30443},
                    },
                }
            },
        },
    }


SOURCE = {
    "apiVersion": "source.toolkit.fluxcd.io/v1",
    "kind": "HelmRepository",
    "metadata": {"name": "r", "namespace": "web"},
    "spec": {"interval": "1h", "url": "https://charts.example.org"},
}


@pytest.mark.parametrize(
    ("settings", "controller", "verdicts"),
    [
        (THREE, {"kind": "DaemonSet"}, ("held", "held")),
        (THREE, {"kind": "DaemonSet", "nodeSelector": {"example.org/edge": "yes"}}, ("unproven", "unproven")),
        (THREE, {"replicaCount": 2}, ("broke", "unproven")),
        (THREE, {"replicaCount": 3}, ("unproven", "unproven")),  # nothing makes them spread
        ("", {"replicaCount": 3}, ("unproven", "unproven")),
        (THREE, {"autoscaling": {"enabled": True}, "replicaCount": 2}, ("unproven", "unproven")),
    ],
)
def test_the_claims_about_the_ingress_are_held_only_where_every_node_answers(tmp_path, settings, controller, verdicts):
    promises = '[check]\nclaims = ["ingress-nodeports", "core-always-available"]\n'
    _, result = found(
        tmp_path,
        {".holdfast.toml": f"{settings}{promises}", "cluster/a.yaml": [space(), SOURCE, ingress(**controller)]},
        "",
    )
    assert tuple(result.claims[c].verdict for c in ("ingress-nodeports", "core-always-available")) == verdicts


# -- policies that take DNS away ---------------------------------------------------------------------------------------


def policy(name="closed", selector=None, **spec):
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "web"},
        "spec": {"podSelector": selector or {}, "policyTypes": ["Egress"], **spec},
    }


def cilium(kind="CiliumNetworkPolicy", selector=None, **spec):
    meta = {"name": "closed"} if "wide" in kind else {"name": "closed", "namespace": "web"}
    return {
        "apiVersion": "cilium.io/v2",
        "kind": kind,
        "metadata": meta,
        "spec": {"endpointSelector": selector or {}, **spec},
    }


def dns(tmp_path, *objects):
    return len(found(tmp_path, {"cluster/a.yaml": [space(), *objects]}, "network.dns")[0])


SYSTEM = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
NEIGHBOUR = [{"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "db"}}}]}]


@pytest.mark.parametrize(
    "spec",
    [
        {"egress": [{}]},
        {"egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]},
        {"egress": [{"to": [SYSTEM]}]},
        {"egress": [{"to": [SYSTEM], "ports": [{"port": 53, "protocol": "TCP"}]}]},
        {"egress": [{"to": [SYSTEM], "ports": [{"port": "dns", "protocol": "UDP"}]}]},
        {"egress": [{"to": [SYSTEM], "ports": [{"port": 1, "endPort": 1024}]}]},
        {"egress": [{"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}]}]},
        {"egress": [{"to": [{"namespaceSelector": {"matchLabels": {"name": "kube-system"}}}]}]},  # labelled by hand
        {"egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]},
        {"egress": [{"to": [{"ipBlock": {"cidr": "10.43.0.10/32"}}], "ports": [{"port": 53}]}]},
        {"egress": [{"to": [{"ipBlock": {"cidr": "192.168.1.0/24"}}]}]},  # the house's, or the pods'
        {"policyTypes": ["Ingress"]},
        {"policyTypes": []},
    ],
)
def test_dns_gets_out_or_may(tmp_path, spec):
    assert dns(tmp_path, workload("web"), policy(**spec)) == 0


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"egress": []},
        {"egress": NEIGHBOUR},
        {"policyTypes": None, "egress": NEIGHBOUR},
        {"selector": {"matchLabels": {"app": "web"}}, "egress": NEIGHBOUR},
        {"egress": [{"to": [SYSTEM], "ports": [{"port": 443}]}]},
        {"egress": [{"to": [{"ipBlock": {"cidr": "1.2.3.0/24"}}], "ports": [{"port": 53}]}]},
        {"egress": [{"to": [{"podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}]}]},  # of the same namespace
    ],
)
def test_dns_is_shut_in(tmp_path, spec):
    assert dns(tmp_path, workload("web"), policy(**spec)) == 1


def test_what_asks_nobody_for_names_is_left_alone(tmp_path):
    none = policy(selector={"matchLabels": {"app": "web"}})
    assert dns(tmp_path / "a", workload("web"), none) == 0, "a pod that is let out nowhere, on purpose"
    assert dns(tmp_path / "b", workload("web", hostNetwork=True), policy()) == 0
    own = {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"]}}
    assert dns(tmp_path / "c", workload("web", **own), policy(egress=NEIGHBOUR)) == 0
    assert dns(tmp_path / "d", policy()) == 0, "a namespace without pods"


def test_policies_of_one_namespace_are_one_finding_and_say_nothing_of_another(tmp_path):
    said, _ = found(
        tmp_path,
        {"cluster/a.yaml": [space(), space("b"), workload("web"), workload("two"), workload("c", "b"), policy()]},
        "network.dns",
    )
    assert [set(f.hits) for f in said] == [{"NetworkPolicy/web/closed", "Deployment/web/web", "Deployment/web/two"}]


@pytest.mark.parametrize(
    ("spec", "times"),
    [
        ({"egress": []}, 0),  # Cilium: a rule that is empty doesn't apply
        ({"egress": [{}]}, 1),
        ({"egress": [{"toEntities": ["world"]}]}, 1),
        ({"egress": [{"toEntities": ["cluster"]}]}, 0),
        ({"egress": [{"toEndpoints": [{}]}]}, 1),  # the pods of its own namespace
        ({"egress": [{"toPorts": [{"ports": [{"port": "53"}]}]}]}, 0),
        ({"egress": [{}], "enableDefaultDeny": {"egress": False}}, 0),
        ({"egress": [{"toEndpoints": [{"matchLabels": {"io.kubernetes.pod.namespace": "kube-system"}}]}]}, 0),
        ({"ingress": [{}]}, 0),
    ],
)
def test_policies_of_cilium(tmp_path, spec, times):
    assert dns(tmp_path, workload("web"), cilium(**spec)) == times


def test_what_a_cluster_wide_policy_lets_out_counts(tmp_path):
    allow = cilium(
        "CiliumClusterwideNetworkPolicy",
        egress=[
            {
                "toEndpoints": [
                    {"matchLabels": {"k8s:io.kubernetes.pod.namespace": "kube-system", "k8s-app": "kube-dns"}}
                ]
            }
        ],
    )
    assert dns(tmp_path / "a", workload("web"), policy(egress=NEIGHBOUR), allow) == 0
    other = cilium("CiliumClusterwideNetworkPolicy", {"matchLabels": {"app": "other"}}, egress=allow["spec"]["egress"])
    assert dns(tmp_path / "b", workload("web"), policy(egress=NEIGHBOUR), other) == 1


def test_labels_that_a_policy_engine_gives_are_a_doubt(tmp_path):
    engine = {
        "apiVersion": "kyverno.io/v1",
        "kind": "ClusterPolicy",
        "metadata": {"name": "labels"},
        "spec": {"rules": [{"mutate": {"patchStrategicMerge": {"metadata": {"labels": {"dns": "allow"}}}}}]},
    }
    assert dns(tmp_path, workload("web"), policy(egress=NEIGHBOUR), engine) == 0


# -- ports of the nodes ------------------------------------------------------------------------------------------------


def balanced(name, port=443, protocol="TCP", labels=None, **spec):
    made = service(name, type="LoadBalancer", ports=[{"name": "p", "port": port, "protocol": protocol}], **spec)
    made["metadata"]["labels"] = labels or {}
    return made


def traefik(values="deployment:\n  replicas: 2\n"):
    return {
        "apiVersion": "helm.cattle.io/v1",
        "kind": "HelmChartConfig",
        "metadata": {"name": "traefik", "namespace": "kube-system"},
        "spec": {"valuesContent": values},
    }


def ports(tmp_path, *objects, rule="network.load-balancer", **files):
    return len(found(tmp_path, {"cluster/a.yaml": [space(), *objects], **files}, rule)[0])


POOL = {
    "apiVersion": "metallb.io/v1beta1",
    "kind": "IPAddressPool",
    "metadata": {"name": "p", "namespace": "web"},
    "spec": {},
}
KUBE_VIP = workload("kube-vip", kind="DaemonSet")


@pytest.mark.parametrize(
    ("objects", "times"),
    [
        ([traefik(), balanced("a"), balanced("b")], 2),
        ([traefik(), balanced("a")], 1),
        ([traefik(), balanced("a", 80)], 1),
        ([traefik(), balanced("a", 8443), balanced("b", 8443)], 1),
        ([traefik(), balanced("a", protocol="UDP")], 0),
        ([traefik(), balanced("a", 8443)], 0),
        ([traefik("service:\n  type: ClusterIP\n"), balanced("a")], 0),
        ([traefik("service:\n  enabled: false\n"), balanced("a")], 0),
        ([traefik("ports:\n  websecure:\n    exposedPort: 8443\n"), balanced("a")], 0),
        ([traefik("ports:\n  web:\n    expose:\n      default: false\n"), balanced("a", 80)], 0),
        ([traefik(), balanced("a"), POOL], 0),
        ([traefik(), balanced("a"), KUBE_VIP], 0),
        ([traefik(), balanced("a", loadBalancerClass="tailscale")], 0),
        ([traefik(), balanced("a", 53, labels={"svccontroller.k3s.cattle.io/lbpool": "x"}), balanced("b", 53)], 0),
        ([balanced("a"), balanced("b")], 0),  # who balances isn't known
    ],
)
def test_load_balancers_on_one_port(tmp_path, objects, times):
    assert ports(tmp_path, *objects) == times


@pytest.mark.parametrize(
    ("file", "text", "times"),
    [
        ("k3s/config.yaml", "# k3s\ndisable:\n  - servicelb\n", 0),
        ("k3s/config.yaml", "# k3s\ndisable:\n  - local-storage\n", 1),
        ("setup.sh", "curl -sfL https://get.k3s.io | sh -s - server --disable=traefik,servicelb\n", 0),
        ("docs/setup.md", "MetalLB is installed by hand\n", 0),
        ("ansible/vars.yml", 'k3s_server: {disable: ["traefik"]}\n', 0),
    ],
)
def test_what_the_start_files_of_k3s_switch_off(tmp_path, file, text, times):
    assert ports(tmp_path, traefik(), balanced("a"), **{file: text}) == times


def on_host(name, kind="DaemonSet", port=8080, replicas=None, **pod):
    made = workload(name, kind=kind, replicas=replicas, **pod)
    made["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"containerPort": port, "hostPort": port}]
    return made


@pytest.mark.parametrize(
    ("objects", "times"),
    [
        ([on_host("a"), on_host("b")], 1),
        ([on_host("a"), on_host("b", kind="Deployment")], 1),
        ([on_host("a"), on_host("b", nodeSelector={"room": "attic"})], 0),
        ([on_host("a"), on_host("b", port=8081)], 0),
        ([on_host("a", kind="Deployment"), on_host("b", kind="Deployment")], 0),  # there may be a node for each
        ([on_host("a", port=443), traefik()], 1),
        ([on_host("a", port=443), traefik(), POOL], 0),
        ([on_host("a"), on_host("b", kind="Deployment", replicas=0)], 0),
    ],
)
def test_one_host_port_for_two(tmp_path, objects, times):
    assert ports(tmp_path, *objects, rule="network.host-port") == times


def test_two_deployments_for_one_node(tmp_path):
    one = {".holdfast.toml": "[declared]\nnodes = 1\n"}
    both = [on_host("a", kind="Deployment"), on_host("b", kind="Deployment")]
    assert ports(tmp_path, *both, rule="network.host-port", **one) == 1


def test_ports_may_be_declared_open_by_their_number(tmp_path):
    said = '[check]\nclaims = ["no-exposed-ports"]\n[declared]\nexposed = '
    for number, (value, times) in enumerate((("[443]", 0), ("443", 0), ('["Service/web/a", 53]', 0), ("[80]", 1))):
        files = {".holdfast.toml": f"{said}{value}\n"}
        assert ports(tmp_path / str(number), balanced("a"), rule="network.exposed", **files) == times, value


# -- what stops a drain ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replicas", "budget", "times"),
    [
        (1, {"minAvailable": "50%"}, 1),
        (2, {"minAvailable": "50%"}, 0),
        (2, {"minAvailable": "51%"}, 1),  # rounded up: both
        (3, {"minAvailable": "67%"}, 1),
        (3, {"minAvailable": "66%"}, 0),
        (1, {"minAvailable": 1}, 1),
        (1, {"minAvailable": "0%"}, 0),
        (3, {"maxUnavailable": "10%"}, 0),  # rounded up: one
        (3, {"maxUnavailable": "0%"}, 1),
        (3, {"maxUnavailable": 0}, 1),
        (3, {"minAvailable": "100%"}, 1),
    ],
)
def test_a_share_is_rounded_up(tmp_path, replicas, budget, times):
    pdb = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web", "namespace": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, **budget},
    }
    assert ports(tmp_path, workload("web", replicas=replicas), pdb, rule="resilience.budget") == times


def hook(selector=None, **more):
    one = {
        "name": "web.example.org",
        "clientConfig": {"service": {"name": "web", "namespace": "web"}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **more,
    }
    if selector:
        one["namespaceSelector"] = selector
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "web"},
        "webhooks": [one],
    }


@pytest.mark.parametrize(
    ("made", "times"),
    [
        (hook(), 1),
        (hook(rules=[{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]), 1),
        (hook(failurePolicy="Ignore"), 0),
        (hook({"matchLabels": {"inject": "yes"}}), 0),
        (hook(objectSelector={"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}), 0),
        (hook(matchConditions=[{"name": "a", "expression": "false"}]), 0),
        (
            hook(
                rules=[
                    {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}
                ]
            ),
            0,
        ),
    ],
)
def test_a_webhook_in_its_own_way(tmp_path, made, times):
    assert ports(tmp_path, workload("web"), service("web"), made, rule="network.own-webhook") == times


@pytest.mark.parametrize(("name", "wanted"), [("web-certificat", "broke"), ("of-the-house", "unproven")])
def test_a_certificate_that_the_tree_does_not_hold_leaves_doubt(tmp_path, name, wanted):
    """Made by hand, or copied from another namespace: nothing says that it isn't there, unless the name is a slip."""
    tree = shutil.copytree(pairs.invalid("tls-secret"), tmp_path / "tree")
    file = tree / "cluster/app.yaml"
    file.write_text(file.read_text().replace("secretName: web-certificat\n", f"secretName: {name}\n"))
    assert checking.check(checking.load(tree, KUSTOMIZE), strict=True).claims["ingress-tls"].verdict == wanted
