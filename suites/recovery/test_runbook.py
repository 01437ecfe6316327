"""The runbook's own words, typed as they stand there while the fault is in that they are about: they bring back what was down."""

from holdfast.claims import get
from holdfast.commits import mark
from holdfast.drivers.driver import CommandLine, NodePower, NodeShell, PodRuntime
from holdfast.durations import seconds
from holdfast.faults.flux import flux_down
from holdfast.faults.ingress import ingress_deleted
from holdfast.faults.longhorn import longhorn_workloads_deleted
from holdfast.faults.nodes import node_loss
from holdfast.marks import claim, in_part, needs
from holdfast.probes.flux import controllers_ready, marked, tree_applied
from holdfast.probes.ingress import answers
from holdfast.probes.longhorn import storage_ready, volumes_work
from holdfast.probes.nodes import marked_as, marks, node_ready
from holdfast.probes.workloads import stateless_run_elsewhere

PROCEDURES = get("emergency-procedures")
LIMIT_S = seconds(PROCEDURES.budget("restored"))


@needs(PodRuntime, CommandLine)
@claim(PROCEDURES)
def test_flux_comes_back_as_the_runbook_says(cluster, faults, runbook, git):
    """No controller runs, and nothing but the runbook brings them back; a commit that was pushed meanwhile arrives."""
    _steady(cluster, runbook, "Flux down")
    with faults(flux_down()):
        git.push(mark(cluster.sync, "typed"), "a commit while Flux is down")
        cluster.negative_control(controllers_ready())
        cluster.negative_control(marked("typed"))
        left_s = runbook.follow("Flux down", LIMIT_S, PROCEDURES)
        cluster.eventually(controllers_ready(), within=left_s)
        cluster.eventually(marked("typed"), within=left_s)


@needs(PodRuntime, CommandLine)
@claim(PROCEDURES)
def test_the_ingress_comes_back_as_the_runbook_says(cluster, faults, runbook):
    """Its workload is deleted; that drift correction may be as quick is no defect of a runbook."""
    _steady(cluster, runbook, "ingress down")
    cluster.negative_control(answers(cluster.nodes()[0].name, "absent.example"))
    with faults(ingress_deleted(hold=False)):
        left_s = runbook.follow("ingress down", LIMIT_S, PROCEDURES)
        for node in cluster.nodes():
            cluster.eventually(answers(node.name, cluster.app.host), within=left_s)


@needs(PodRuntime, NodeShell, CommandLine)
@claim(PROCEDURES)
def test_storage_comes_back_as_the_runbook_says(cluster, faults, runbook):
    """Its workloads and its pods are deleted."""
    _steady(cluster, runbook, "storage down")
    cluster.eventually(volumes_work(), within="60s")
    cluster.negative_control(storage_ready("absent"))
    cluster.negative_control(volumes_work("absent/file"))
    with faults(longhorn_workloads_deleted()):
        left_s = runbook.follow("storage down", LIMIT_S, PROCEDURES)
        cluster.eventually(storage_ready(), within=left_s)
        cluster.eventually(volumes_work(), within=left_s)


@needs(PodRuntime, NodePower, CommandLine)
@claim(PROCEDURES)
def test_a_lost_node_is_dealt_with_as_the_runbook_says(cluster, faults, runbook):
    """Its pods run elsewhere; and once it is back nothing keeps pods away from it that didn't before."""
    _node_lost(cluster, faults, runbook)


@in_part("the scheduler goes", PodRuntime)
@needs(NodePower, CommandLine)
@claim(PROCEDURES)
def test_pods_of_a_lost_node_are_scheduled_elsewhere_as_the_runbook_says(cluster, faults, runbook):
    """The section on a lost node, on nodes that are simulated."""
    _node_lost(cluster, faults, runbook)


@needs(PodRuntime, NodePower, CommandLine)
@claim(PROCEDURES)
def test_the_control_plane_is_dealt_with_as_the_runbook_says(cluster, faults, runbook):
    """The server's power is cut; what the runbook types while it is away, and once it is back."""
    _steady(cluster, runbook, "the control plane lost")
    server = cluster.node("server").name
    cluster.negative_control(node_ready("absent"))

    def back():
        left_s = runbook.follow("the control plane lost", LIMIT_S, PROCEDURES, afterwards=True)
        cluster.eventually(node_ready(server), within=left_s)

    with faults(node_loss(server), recovery="6m", after_heal=back):
        if runbook.section("the control plane lost").commands:
            runbook.follow("the control plane lost", LIMIT_S, PROCEDURES)


def _node_lost(cluster, faults, runbook):
    _steady(cluster, runbook, "a node lost")
    worker, before = cluster.node("worker").name, marks(cluster)
    cluster.negative_control(stateless_run_elsewhere(worker))
    cluster.negative_control(marked_as({**before, worker: ["cordoned"]}))

    def back():
        left_s = runbook.follow("a node lost", LIMIT_S, PROCEDURES, afterwards=True)
        cluster.eventually(marked_as(before), within=left_s)

    with cluster.inject.for_a_while():
        cluster.inject.safeguard_nodes()
        with faults(node_loss(worker), recovery="6m", after_heal=back):
            left_s = runbook.follow("a node lost", LIMIT_S, PROCEDURES)
            cluster.eventually(stateless_run_elsewhere(worker), within=left_s)


def _steady(cluster, runbook, scenario):
    runbook.section(scenario)
    cluster.eventually(tree_applied(), within="5m")
    runbook.negative_control()
