"""The one door through which a fault or a test changes a cluster: how to undo a change is on disk before the change is made, by structure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from holdfast.drivers.driver import (
    AssumedReleases,
    CommandLine,
    Driver,
    EtcdSnapshot,
    GitOutage,
    Guarded,
    NodeMembership,
    NodeNetwork,
    NodePower,
    NodeShell,
    NodeUpgrade,
    Writable,
    capable,
)
from holdfast.kube import KubeClient, Object, without_server_fields
from holdfast.terminal import Terminal, Typed
from holdfast.undo import UndoFile


class Inject:
    """Changes a cluster, each change with its undo step.

    Every method raises NotExercised where the lane may not be changed, or where its driver can't do what is asked.

    Args:
        driver: what powers and cuts nodes.
        client: the cluster's API, with the right to write.
        undo: where the undo steps go.
    """

    def __init__(self, driver: Driver, client: KubeClient, undo: UndoFile) -> None:
        self._driver, self._client, self._undo = driver, client, undo

    def _writable(self) -> None:
        capable(self._driver, Writable).before_change()

    def _before(self, action: str, **fields: Any) -> None:
        self._writable()
        self._undo.before(action, **fields)
        if isinstance(self._driver, Guarded):  # the cluster itself must know, too, before anything is broken
            self._driver.protect({"action": action, **fields})

    def _found(self, kind: str, name: str, namespace: str | None) -> Object:
        self._writable()  # before anything is asked: what may not be changed isn't looked at for that
        found = self._client.get(kind, name, namespace)
        assert found, f"a steady cluster has {kind} {namespace or ''}/{name}"
        return found

    # -- objects -------------------------------------------------------------------------------------------------------

    def scale(self, kind: str, name: str, namespace: str, replicas: int) -> None:
        """Sets a workload's number of replicas."""
        before = self._found(kind, name, namespace)["spec"].get("replicas", 1)
        self._before("scale", kind=kind, name=name, namespace=namespace, replicas=before)
        self._client.scale(kind, name, namespace, replicas)

    def suspend(self, kind: str, name: str, namespace: str) -> None:
        """Suspends an object of Flux's."""
        before = self._found(kind, name, namespace)["spec"].get("suspend", False)
        self._before("suspend", kind=kind, name=name, namespace=namespace, suspend=before)
        self._client.patch(kind, name, namespace, {"spec": {"suspend": True}})

    def patch(self, kind: str, name: str, namespace: str | None, body: Object) -> None:
        """A merge patch; undone field by field, so that what others change meanwhile stays."""
        before = inverse(self._found(kind, name, namespace), body)
        self._before("patch", kind=kind, name=name, namespace=namespace, body=before)
        self._client.patch(kind, name, namespace, body)

    def delete(self, kind: str, name: str, namespace: str | None, *, grace_s: int | None = None) -> None:
        """Deletes an object; undone by putting it back where nobody else has done so."""
        self._before("apply", object=without_server_fields(self._found(kind, name, namespace)))
        self._client.delete(kind, name, namespace, grace_s=grace_s)

    def delete_pod(self, name: str, namespace: str, *, grace_s: int | None = None) -> None:
        """Deletes a pod that something owns and brings back: there is nothing to undo."""
        self._writable()
        self._client.delete("Pod", name, namespace, grace_s=grace_s)

    def evict(self, pod: str, namespace: str) -> None:
        """Has a pod that something brings back elsewhere leave its node: there is nothing to undo. Raises CannotLook while a budget forbids it."""
        self._writable()
        self._client.evict(pod, namespace)

    def create(self, wanted: Object) -> None:
        """Creates an object that wasn't there, or overwrites one of holdfast's own; undone by deleting it."""
        meta = wanted["metadata"]
        self._before("delete", kind=wanted["kind"], name=meta["name"], namespace=meta.get("namespace"))
        self._client.apply(wanted)

    def patch_own(self, kind: str, name: str, namespace: str | None, body: Object) -> None:
        """A merge patch that isn't undone: it is about an object of holdfast's own, which its undo step takes away whole."""
        self._writable()
        self._client.patch(kind, name, namespace, body)

    def annotate(self, kind: str, name: str, namespace: str, annotations: dict[str, str]) -> None:
        """Sets annotations, such as a request to reconcile."""
        self.patch(kind, name, namespace, {"metadata": {"annotations": annotations}})

    def request_reconciliation(self, kind: str, name: str, namespace: str) -> None:
        """Has an object of Flux's reconciled at once, as `flux reconcile` does: nothing that would have to be undone."""
        self._writable()
        self._client.request_reconciliation(kind, name, namespace)

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def power_off(self, node: str) -> None:
        """Cuts a node's power."""
        driver = capable(self._driver, NodePower)
        self._before("power-on", node=node)
        driver.power_off(node)

    def safeguard(self, node: str) -> None:
        """Writes how to give a node back its power and its network, before something that is no fault takes them."""
        self._before("power-on", node=node)
        self._before("restore-network", node=node)

    def safeguard_nodes(self) -> None:
        """Writes how to give the nodes back the taints that they have now, and to uncordon them, before a person changes them."""
        for node in self._client.list("Node"):
            kept = [t for t in node["spec"].get("taints") or [] if t["effect"] != "NoExecute"]
            body = {"spec": {"taints": kept or None, "unschedulable": node["spec"].get("unschedulable")}}
            self._before("patch", kind="Node", name=node["metadata"]["name"], namespace=None, body=body)

    def bring_version(self, version: str) -> None:
        """Puts what a version of Kubernetes needs onto every node."""
        self._writable()
        capable(self._driver, NodeUpgrade).bring_version(version)

    def upgrade_node(self, node: str, version: str) -> float:
        """Takes a node to another version in place; returns how many seconds that took. There is no way back: see `by_hand`."""
        driver = capable(self._driver, NodeUpgrade)
        self._writable()
        number, began = (
            self._undo.before("irreversible", what=f"{node} was on its way to Kubernetes {version}"),
            time.monotonic(),
        )
        driver.upgrade_node(node, version)
        self._undo.settled(number)
        return time.monotonic() - began

    def drain(self, node: str, within_s: float) -> Typed:
        """Cordons a node and has its pods evicted, by `kubectl drain`, which heeds budgets of disruptions; undone by uncordoning it."""
        driver = capable(self._driver, CommandLine)
        self.patch("Node", node, None, {"spec": {"unschedulable": True}})
        words = ["kubectl", "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force"]
        terminal = Terminal(driver.command, self._driver.kubeconfig, Path("/"))
        return terminal.type([*words, f"--timeout={int(within_s)}s"], timeout_s=within_s + 10)

    def remove_node(self, node: str) -> None:
        """Takes a worker out of the cluster; undone by its joining as a new node."""
        driver = capable(self._driver, NodeMembership)
        self._before("join-node", node=node)
        driver.remove_node(node)

    def lose_etcd(self, saved: str) -> None:
        """Destroys what etcd holds; undone by bringing back what was *saved*, a file on the server."""
        driver = capable(self._driver, EtcdSnapshot)
        self._before("restore-etcd", file=saved)
        driver.lose_etcd()

    def stop_git(self) -> None:
        """Takes away the host that serves Git."""
        driver = capable(self._driver, GitOutage)
        self._before("restore-git")
        driver.stop_git()

    def delay_git(self, delay_s: float) -> None:
        """Has whoever asks the host that serves Git wait."""
        driver = capable(self._driver, GitOutage)
        self._before("restore-git")
        driver.delay_git(delay_s)

    def fail_release(self, name: str, namespace: str) -> None:
        """Has a release fail that the lane assumes."""
        driver = capable(self._driver, AssumedReleases)
        self._before("restore-releases")
        driver.fail_release(f"{namespace}/{name}")

    def cut_network(self, node: str, for_s: float) -> None:
        """Cuts a node off the network, for *for_s* seconds at most."""
        driver = capable(self._driver, NodeNetwork)
        self._before("restore-network", node=node)
        driver.cut_network(node, for_s)

    def mount_memory(self, node: str, path: str, size: str) -> None:
        """Lays a file system in memory of a *size* such as ``24m`` over a folder of a node."""
        shell = capable(self._driver, NodeShell).shell(node)
        self._before("unmount", node=node, path=path)
        shell.check_output(f"mkdir -p {path} && mount -t tmpfs -o size={size} tmpfs {path}")

    @contextmanager
    def by_hand(self, folder: Path) -> Iterator[Terminal]:
        """A terminal that stands in *folder*. What is typed there isn't undone: until the block's own end nobody may trust the cluster."""
        driver = capable(self._driver, CommandLine)
        self._writable()
        number = self._undo.before("irreversible", what="commands were typed by hand")
        terminal = Terminal(driver.command, self._driver.kubeconfig, folder)
        yield terminal
        if not terminal.in_doubt:
            self._undo.settled(number)

    # -- undoing -------------------------------------------------------------------------------------------------------

    def heal(self, wait: Callable[[Callable[[], None], str], None] | None = None) -> int:
        """Undoes every change that is open (within a fault: its own), the newest first; returns how many. *wait*: see `UndoFile.replay`."""
        if wait is None:
            return self._undo.replay(self._driver, self._client)
        return self._undo.replay(self._driver, self._client, wait)

    @contextmanager
    def for_a_while(self) -> Iterator[None]:
        """What is changed in the block is undone at its end, and nothing else is."""
        floor, self._undo.floor = self._undo.floor, self._undo.count()
        try:
            yield
        finally:
            try:
                self.heal()
            finally:
                self._undo.floor = floor


def inverse(item: Object, body: Object) -> Object:
    """The merge patch that sets back what the merge patch *body* sets in *item*: values of before, and null for what wasn't there."""
    before: Object = {}
    for key, value in body.items():
        there = item.get(key)
        if isinstance(value, dict) and isinstance(there, dict):
            before[key] = inverse(there, value)
        else:
            before[key] = there
    return before
