"""One lane of this machine: brings its cluster up with the tree on it, hands it to tests, heals and removes what runs left."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from holdfast.bootstrap import Bootstrap
from holdfast.cluster import Cluster
from holdfast.drivers import catalogue, disruption
from holdfast.drivers.driver import (
    CHARTS_PORT,
    Agents,
    AssumedReleases,
    GitHosting,
    Guarded,
    ImageLoader,
    Live,
    NodeLook,
    NodeShell,
    capable,
)
from holdfast.errors import UsageError
from holdfast.gitserver import GitServer, Key
from holdfast.kube import GetOnlyReader, KubeClient
from holdfast.lane.fidelity import Fidelity
from holdfast.lane.state import LaneState, owner_id
from holdfast.lane.subject import Subject
from holdfast.lane.upgrading import Upgrading
from holdfast.paths import cache_dir
from holdfast.progress import console, step
from holdfast.sampling import agents, writers
from holdfast.sampling.vantage import rest
from holdfast.tree import assumed
from holdfast.tree.checkout import Checkout
from holdfast.tree.git import git
from holdfast.tree.settings import Settings
from holdfast.tree.tree import Tree
from holdfast.undo import UndoFile
from holdfast.waiting import CannotLook, patiently

_UNDO = "undo-file"


class Lane:
    """A lane by name.

    Args:
        name: ``DRIVER/PROFILE``.
        subject: what is tried on it; several lanes may share one, so that it is read once.
        allow_disruption: the user's own cluster that faults may be injected into, by the name of its context. Raises UsageError where it is
            another one than the lane's.
    """

    def __init__(self, name: str, subject: Subject, allow_disruption: str = "") -> None:
        driver, profile = catalogue.parse(name)
        self.name = f"{driver}/{profile}"
        self.subject = subject
        # A context may be called anything, and two of them must not meet in one folder.
        named = (
            profile
            if profile in catalogue.DRIVERS[driver].profiles()
            else hashlib.sha256(profile.encode()).hexdigest()[:12]
        )
        self.folder = cache_dir() / "lanes" / f"{driver}-{named}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state_file = self.folder / "state.json"
        self.upgrading: Upgrading | None = None
        self.driver = catalogue.DRIVERS[driver].open(profile, self.folder, owner_id())
        if allow_disruption:
            self.driver = disruption.allowed(self.driver, allow_disruption, subject.settings)
        if isinstance(self.driver, NodeLook):
            self.driver.ways = {name: one.ssh for name, one in subject.settings.nodes.items() if one.ssh}
        self.fidelity = Fidelity(self.driver, self.subject)

    @property
    def is_foreign(self) -> bool:
        """Whether the cluster is none that holdfast makes: it is neither made, changed, healed nor removed."""
        return isinstance(self.driver, Live)

    @property
    def checkout(self) -> Checkout:
        """The user's checkout."""
        return self.subject.checkout

    @property
    def settings(self) -> Settings:
        """What `.holdfast.toml` says."""
        return self.subject.settings

    @property
    def tree(self) -> Tree:
        """The tree, read once."""
        return self.subject.tree

    # -- up and down ---------------------------------------------------------------------------------------------------

    def state(self) -> LaneState | None:
        """What is on disk about this lane."""
        return LaneState.read(self.state_file)

    def _bootstrap(self) -> Bootstrap:
        return Bootstrap(KubeClient(self.driver.kubeconfig), self.tree, self.folder)

    def _git(self) -> GitServer:
        sync = self.tree.sync
        return GitServer(self.folder / "git", sync.url, sync.branch, self.settings.aliases)

    def up(self, run: str, undo: Path, without: str = "") -> Cluster:
        """Makes the cluster and puts the tree on it. Interrupted at any point, the next start knows what to remove.

        Args:
            without: a stand-in whose image the nodes don't get, so that it fails from the first second (a lane with offline images only).
        """
        self.down(quiet=True)
        state = LaneState(
            run=run,
            nonce=secrets.token_hex(8),
            tree=str(self.subject.folder),
            commit=self.checkout.commit,
            fidelity=self.fidelity.made_with(),
            undo=[str(undo)],
            branch=self.tree.sync.branch,
            source=[self.tree.sync.source.namespace, self.tree.sync.source.name],
        )
        UndoFile(undo).give_up()  # of a cluster that is gone now
        state.write(self.state_file)
        self.driver.up()
        server = self._start_git(state)
        bootstrap = self._bootstrap()
        with step("putting the tree on the cluster"):
            if isinstance(self.driver, AssumedReleases):
                mark = self.driver.mark
                self.driver.give_releases(assumed.releases(self.tree, self.folder / "charts"))
                self._patiently(lambda: bootstrap.assume_elsewhere(server.address, mark), "the API server")
                if not bootstrap.keep_kinds():
                    console.print(
                        "  note: the tree's own definitions of Flux's kinds take the place of the lane's",
                        style="yellow",
                    )
            elif self.fidelity.assumes_charts:
                host = [*server.hosts, urlsplit(server.url).hostname][0]
                charts = f"http://{host}:{CHARTS_PORT}"
                self._patiently(lambda: bootstrap.assume_charts(state.nonce, charts), "the API server")
            if self.fidelity.offline:
                capable(self.driver, ImageLoader).load_images(self.fidelity.image_names(without))
            self._patiently(lambda: bootstrap.adapt(state.nonce), "the API server")
            bootstrap.install_flux(server)
            self._install_agents(bootstrap.objects)
        state.uid = self._uid(bootstrap.objects)
        state.stage = "ready"
        state.write(self.state_file)
        return self.cluster(undo)

    def attach(self, undo: Path) -> Cluster:
        """A cluster that is there, as a test holds it: to be read; and broken, as far as its owner lets that be."""
        if isinstance(self.driver, Guarded):
            (self.folder / _UNDO).write_text(
                str(undo)
            )  # should this run die: where it stands what else is to be given back
        return Cluster(
            self.driver,
            cast(KubeClient, GetOnlyReader(self.driver.kubeconfig)),
            self.tree.sync,
            self.settings,
            self.folder,
            "",
            UndoFile(undo),
        )

    def revision_of_flux(self) -> str:
        """What Flux has fetched there, such as ``main@sha1:…``; empty where that isn't to be seen."""
        source = self.tree.sync.source
        try:
            found = GetOnlyReader(self.driver.kubeconfig).get(source.kind, source.name, source.namespace) or {}
        except CannotLook:  # an account that may not see it may see other things
            found = {}
        return str(((found.get("status") or {}).get("artifact") or {}).get("revision") or "")

    def _start_git(self, state: LaneState) -> GitServer:
        server = self._git()
        shutil.rmtree(server.folder, ignore_errors=True)
        server.prepare(self.checkout)
        server.start(capable(self.driver, GitHosting))
        state.git = {
            "private": server.key.private,
            "public": server.key.public,
            "known_hosts": server.known_hosts,
            "address": server.address,
        }
        state.write(self.state_file)
        return server

    def _install_agents(self, client: KubeClient) -> None:
        if isinstance(self.driver, Agents):
            agents.install(client, self.driver.agent_image())

    @staticmethod
    def _uid(objects: KubeClient) -> str:
        found = objects.get("Namespace", "kube-system")
        assert found, "every cluster has kube-system"
        return str(found["metadata"]["uid"])

    @staticmethod
    def _patiently(action: Callable[[], object], what: str, within_s: float = 90) -> None:
        """As `patiently`, for a user to read."""
        try:
            patiently(action, what, within_s)
        except CannotLook as why:
            raise UsageError(str(why), "run: holdfast down, then run again") from None

    def cluster(self, undo: Path) -> Cluster:
        """The running cluster as a test holds it."""
        state = self.state()
        assert state, "up() or reuse() came first"
        return Cluster(
            self.driver,
            KubeClient(self.driver.kubeconfig),
            self.tree.sync,
            self.settings,
            self.folder,
            state.nonce,
            UndoFile(undo),
            frozenset(self.fidelity.stand_ins),
        )

    def git(self) -> GitServer:
        """The running lane's Git server."""
        server, state = self._git(), self.state()
        assert state, "up() or reuse() came first"
        assert state.git, "the Git server was started"
        server.key, server.known_hosts = Key(state.git["private"], state.git["public"]), state.git["known_hosts"]
        server.address = state.git.get("address", server.url)
        return server

    def check(self, *, reuse: bool) -> None:
        """What can be known of the lane before a run begins: a kept cluster that fits, or free ports. Raises UsageError."""
        if reuse:
            self._kept()
        else:
            self.driver.preflight()

    def _kept(self) -> LaneState:
        state = self.state()
        if not state or state.stage != "ready" or not self.driver.exists():
            raise UsageError(
                f"there is no kept cluster of {self.name} to reuse", f"run: holdfast up --lane {self.name}"
            )
        if Path(state.tree) != self.subject.folder:
            raise UsageError(
                f"the kept cluster of {self.name} runs another tree ({state.tree})",
                f"run: holdfast down --lane {self.name}",
            )
        if state.fidelity != self.fidelity.made_with():
            raise UsageError(
                f"the kept cluster of {self.name} was made with other images, versions or adaptations than those of now",
                f"run: holdfast down --lane {self.name}",
            )
        return state

    def reuse(self, run: str, undo: Path) -> Cluster:
        """Takes over the kept cluster, healed, with the tree's commit of now."""
        return self._taken_over(self._kept(), run, undo)

    def _taken_over(self, state: LaneState, run: str, undo: Path) -> Cluster:
        self.heal()
        state.run, state.commit, state.undo = run, self.checkout.commit, [str(undo)]
        state.write(self.state_file)
        objects = KubeClient(self.driver.kubeconfig)
        self._patiently(lambda: self._same(objects, state.uid), "the API server")
        self.git().prepare(self.checkout)
        with step("following the tree's commit of now"):
            self._patiently(self._bootstrap().request_reconciliation, "the API server")
            self._install_agents(objects)
        return self.cluster(undo)

    def _same(self, objects: KubeClient, uid: str) -> None:
        if self._uid(objects) != uid:
            raise UsageError(
                "the cluster behind the lane's kubeconfig is another one than the lane made",
                f"run: holdfast down --lane {self.name}",
            )

    # -- an upgrade in place ---------------------------------------------------------------------------------------------

    def upgrade_begins(self) -> None:
        """Notes which version the nodes are taken to, so that one that is cut short can go on."""
        assert self.upgrading, "there is a version to go to"
        state = self.state()
        if state and state.upgrading_to != self.upgrading.to:
            state.upgrading_to, state.upgraded = self.upgrading.to, []
            state.write(self.state_file)

    def node_upgraded(self, node: str) -> None:
        """Notes that a node is there."""
        state = self.state()
        if state and node not in state.upgraded:
            state.upgraded.append(node)
            state.write(self.state_file)

    def nodes_upgraded(self) -> list[str]:
        """The nodes that are there already, of an upgrade that goes on."""
        state = self.state()
        return list(state.upgraded) if state else []

    def interrupted(self) -> LaneState:
        """What an upgrade in place that was cut short has left. Raises UsageError where there is nothing that could go on."""
        state, wanted = self.state(), self.upgrading
        assert wanted, "there is a version to go to"
        anew = "begin anew, without --continue"
        if not state or not state.readable or not state.upgrading_to or not self.driver.exists():
            raise UsageError(f"no upgrade in place was cut short on {self.name}", anew)
        if state.upgrading_to != wanted.to:
            raise UsageError(
                f"the upgrade that was cut short on {self.name} goes to {state.upgrading_to}, not to {wanted.to}",
                f"name it with --to {state.upgrading_to}, or {anew}",
            )
        if Path(state.tree) != self.subject.folder or state.fidelity != self.fidelity.made_with():
            raise UsageError(
                f"the cluster of {self.name} runs another tree, or was made of other images, than those of now", anew
            )
        if lost := [undo for undo in state.undo if not Path(undo).parent.is_dir()]:
            raise UsageError(
                f"what the run that was cut short left broken isn't known any more: {lost[0]} is gone", anew
            )
        return state

    def resume(self, run: str, undo: Path) -> Cluster:
        """Takes over a cluster whose upgrade in place was cut short: what the dead run had broken besides is healed, and its node is done again."""
        state = self.interrupted()
        for path in map(Path, state.undo):
            UndoFile(path).give_up("irreversible")  # kubeadm's steps may all be done once more
        return self._taken_over(state, run, undo)

    def heal(self) -> int:
        """Replays what dead runs left in this lane's undo files, gives Git back the tree's own commit, and lets the samplers rest.

        Returns how many steps were undone. Raises UsageError where what was left can't be known.
        """
        if isinstance(self.driver, Guarded):
            return self._heal_own(self.driver)
        state = self.state()
        if not state or self.is_foreign:
            return 0
        self._known(state)
        if not self.driver.exists():
            return 0
        objects, count = KubeClient(self.driver.kubeconfig), 0

        def same() -> None:
            if state.uid:
                self._patiently(lambda: self._same(objects, state.uid), "the API server")

        for path in map(Path, state.undo):
            file = UndoFile(path)
            if file.open_steps():
                with step(f"healing what {path.parent.name} left"):
                    count += file.replay(self.driver, objects, self._patiently, before_api=same)
            if unreadable := file.unreadable():
                console.print(
                    f"  {unreadable} lines of {path} can't be read: if a fault had begun there, it is not undone. "
                    f"To be sure: holdfast down --lane {self.name}",
                    style="yellow",
                    markup=False,
                )
        count += self._reset_git(state, objects)
        if isinstance(self.driver, NodeShell):
            nodes = [n.name for n in self.driver.nodes()]
            for folder in (agents.FOLDER, *map(writers.folder, writers.names())):
                rest(self.driver, nodes, folder)
        return count

    def _heal_own(self, driver: Guarded) -> int:
        """Has a cluster of the user's own undo what a dead run left in it, and gives back the power that it can't give back by itself."""
        noted = self.folder / _UNDO
        undo = UndoFile(Path(noted.read_text()) if noted.exists() else noted)
        count = undo.replay(self.driver, driver.writer, only="power-on")  # the API may come back only with it
        if done := driver.heal():
            undo.give_up_but("power-on")  # what it is like now, somebody may have wanted since
        count += done + undo.replay(self.driver, driver.writer, self._patiently)
        driver.end_fault()
        noted.unlink(missing_ok=True)
        return count

    def _known(self, state: LaneState) -> None:
        """Raises UsageError where the state can't be read and something is there that may be this lane's."""
        if state.readable:
            return
        if self.driver.exists():
            raise UsageError(
                f"{self.state_file} can't be read, so it isn't known what is to be undone on {self.name}",
                f"run: holdfast down --lane {self.name}",
            )

    def _reset_git(self, state: LaneState, objects: KubeClient) -> int:
        """Puts the branch back on the tree's commit, where a dead run had pushed another one; returns 1 where it had."""
        bare = self.folder / "git" / "repository.git"
        ref = f"refs/heads/{state.branch}"
        if not state.branch or not bare.is_dir() or git("rev-parse", ref, folder=bare, check=False) == state.commit:
            return 0
        git("update-ref", ref, state.commit, folder=bare)
        namespace, name = state.source
        self._patiently(lambda: objects.request_reconciliation("GitRepository", name, namespace), "the API server")
        console.print(
            f"  Git is back at the tree's commit {state.commit[:12]}; Flux takes away what later commits had added"
        )
        return 1

    def keep(self) -> None:
        """Leaves the cluster to later runs."""
        state = self.state()
        if state:
            state.run, state.kept = "", True
            state.write(self.state_file)

    def quarantine(self, why: str) -> None:
        """Marks the cluster as one that no test may run on any more."""
        state = self.state()
        if state:
            state.stage = "quarantined"
            state.write(self.state_file)
        console.print(f"  the cluster is quarantined: {why}", style="red", markup=False)

    def down(self, *, quiet: bool = False) -> bool:
        """Removes the cluster, the Git server and the network of this lane, and nothing else; False where there was nothing."""
        if self.is_foreign:
            return False
        state = self.state()
        there = self.driver.exists()
        if not (state or there):
            return False
        if not quiet or there:
            console.print(f"  removing the cluster of {self.name}")
        self.driver.down()
        for name in ("git", "charts"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for path in self.folder.glob("*.discovery"):
            path.unlink()
        self.state_file.unlink(missing_ok=True)
        return True

    def clean_dead(self) -> None:
        """At a run's start, with the lock held: removes the cluster of a run that died; one that was to be kept is healed instead."""
        state = self.state()
        if self.is_foreign:
            return
        if state is None:
            if self.driver.exists():
                self.down()
            return
        if not state.run and state.stage == "ready":
            return
        console.print(
            f"  found what {state.run or 'an earlier run'} left on {self.name} ({state.stage})",
            style="yellow",
            markup=False,
        )
        readable = all(Path(p).parent.exists() for p in state.undo)  # without the undo file nobody knows what is broken
        if state.kept and state.stage == "ready" and readable:
            try:
                self.heal()
                self.keep()
                return
            except Exception as error:
                console.print(
                    f"  it can't be healed ({type(error).__name__}: {str(error)[:200]})", style="yellow", markup=False
                )
        self.down()
