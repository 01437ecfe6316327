"""Who can reach what: ports, certificates, accounts."""

import pytest

from holdfast.bootstrap import SYSTEM, certificate, namespace
from holdfast.drivers.driver import NodeShell, Writable
from holdfast.marks import claim, needs
from holdfast.probes.flux import tree_applied
from holdfast.probes.ingress import serves_certificate
from holdfast.probes.nodes import exposes_only, listens_only_on
from holdfast.probes.rbac import admins_are, dedicated_accounts, may
from holdfast.sampling.targets import ingress

pytestmark = pytest.mark.smoke


@claim("ingress-nodeports")
def test_both_node_ports_answer_on_every_node(cluster, sampler):
    """HTTP on 30080 and HTTPS on 30443 answer through each node, on new and on reused connections."""
    cluster.steady(tree_applied(), within="5m")
    with sampler.watch(ingress(), ingress(tls=True)) as seen:
        seen.observe_for(10)
    seen.outage_at_most("0s", "ingress", failed_share=0, what="HTTP on the node port")
    seen.outage_at_most("0s", "ingress-tls", failed_share=0, what="HTTPS on the node port")


@needs(Writable)  # the certificate is one that the lane made up
@claim("ingress-tls")
def test_the_ingress_serves_its_own_certificate(cluster):
    """Through every node, the certificate that is served is the one of the Ingress's Secret."""
    app = cluster.app
    cluster.steady(tree_applied(), within="5m")
    own = (cluster.folder / f"{app.namespace}-{app.tls_secret}.crt").read_text()
    other, _ = certificate((app.host,))
    cluster.negative_control(serves_certificate(cluster.nodes()[0].name, app.host, other))
    for node in cluster.nodes():
        cluster.eventually(serves_certificate(node.name, app.host, own), within="10s")


@needs(NodeShell)
@claim("no-exposed-ports")
def test_nothing_listens_that_is_not_stated(cluster):
    """The sockets of every node, and what Services and pods open, equal the stated list."""
    cluster.steady(tree_applied(), within="5m")
    declared = frozenset(cluster.settings.declared.node_ports)
    node = cluster.nodes()[-1].name
    host = cluster.host(node)
    number = host.check_output("sh -c 'timeout 30 socat TCP-LISTEN:17777,fork /dev/null >/dev/null 2>&1 & echo $!'")
    try:
        cluster.negative_control(listens_only_on(node, declared), within="5s")
    finally:
        host.run(f"kill {number}")
    open_port = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "negative-control", "namespace": SYSTEM},
        "spec": {"type": "NodePort", "selector": {"app": "none"}, "ports": [{"port": 80, "nodePort": 31777}]},
    }
    with cluster.inject.for_a_while():
        cluster.inject.create(open_port)
        cluster.negative_control(exposes_only(declared))
    for one in cluster.nodes():
        cluster.eventually(listens_only_on(one.name, declared), within="10s")
    cluster.eventually(exposes_only(declared), within="10s")


@claim("rbac-least")
def test_accounts_are_dedicated_and_may_no_more_than_the_tree_says(cluster):
    """No component runs under a default account; only the stated ones may do everything; asked of the API itself."""
    cluster.steady(tree_applied(), within="5m")
    admins = frozenset(cluster.settings.declared.cluster_admin)
    objects, image = cluster.objects, _an_image(cluster)
    meta = {"name": "negative-control", "namespace": "holdfast-negative-control"}
    pod = {"containers": [{"name": "negative-control", "image": image, "imagePullPolicy": "IfNotPresent"}]}
    with cluster.inject.for_a_while():
        cluster.inject.create(namespace(meta["namespace"]))
        cluster.inject.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**meta, "name": "default"}})
        cluster.inject.create(
            {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"terminationGracePeriodSeconds": 0, **pod}}
        )
        cluster.negative_control(dedicated_accounts())
    cluster.negative_control(admins_are(frozenset()))
    admin = min(admins)
    cluster.negative_control(may(admin, "delete", "nodes", wanted=False))
    cluster.eventually(dedicated_accounts(), within="60s")
    cluster.eventually(admins_are(admins), within="5s")
    app = cluster.app
    pod = objects.list("Pod", app.namespace)[0]
    for account in (f"{app.namespace}/{pod['spec']['serviceAccountName']}", "flux-system/source-controller"):
        for verb, resource in (
            ("create", "pods"),
            ("delete", "nodes"),
            ("create", "rbac.authorization.k8s.io/clusterrolebindings"),
        ):
            cluster.eventually(may(account, verb, resource, wanted=False), within="5s")


def _an_image(cluster):
    """An image that the nodes have."""
    return cluster.objects.list("Pod", cluster.app.namespace)[0]["spec"]["containers"][0]["image"]
