"""What only a cluster that holdfast didn't make can show: its own network, and its own storage. It is looked at, and nothing else."""

from holdfast.drivers.driver import Live, NodeShell
from holdfast.marks import claim, in_part, needs
from holdfast.probes.flux import tree_applied
from holdfast.probes.longhorn import replicas_apart
from holdfast.probes.nodes import addresses_lie_in, nodes_annotated
from holdfast.tree.rules.network import PODS, SERVICES

NOWHERE = "192.0.2.0/24"  # of documentation: no cluster has it
FLANNEL = "flannel.alpha.coreos.com/backend-type"


@needs(Live)
@claim("network-ranges")
def test_addresses_lie_in_the_ranges_and_flannel_is_the_network(cluster):
    """Nodes, pods and Services have addresses of the ranges that the tree declares (or k3s' own), and each node says that Flannel is there."""
    cluster.steady(tree_applied(), within="1m")
    pods, services = [*cluster.settings.declared.ranges, PODS, SERVICES][:2]
    cluster.negative_control(addresses_lie_in(NOWHERE, services))
    cluster.negative_control(addresses_lie_in(pods, NOWHERE))
    cluster.negative_control(nodes_annotated("holdfast.dev/absent"))
    cluster.eventually(addresses_lie_in(pods, services), within="0s")
    cluster.eventually(nodes_annotated(FLANNEL), within="0s")


@in_part("the replicas go", NodeShell)  # the disks that the sentence names are the nodes' own
@needs(Live)
@claim("longhorn-replicated")
def test_every_volume_in_use_has_its_replicas_on_different_nodes(cluster):
    """Two or three running replicas a volume, no two of them on one node."""
    cluster.steady(tree_applied(), within="1m")
    cluster.negative_control(replicas_apart(99, 99))
    cluster.eventually(replicas_apart(2, 3), within="0s")
