"""One lane of this machine: brings its cluster up with the tree on it, hands it to tests, heals and removes what runs left."""

from __future__ import annotations

import datetime
import difflib
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from holdfast.bootstrap import Bootstrap
from holdfast.cluster import Cluster
from holdfast.drivers import profile as profiles
from holdfast.drivers.kind import Kind
from holdfast.drivers.owned import Owned
from holdfast.drivers.profile import Note
from holdfast.errors import UsageError
from holdfast.gitserver import GitServer, Key
from holdfast.kube import KubeClient
from holdfast.lane.state import LaneState, owner_id
from holdfast.lane.subject import Subject
from holdfast.paths import cache_dir
from holdfast.progress import console, step
from holdfast.provision import engine, loop_devices, registry
from holdfast.provision.recipes import Recipes
from holdfast.sampling import agents, writers
from holdfast.tree.checkout import Checkout
from holdfast.tree.git import git
from holdfast.tree.manifest import get, mapping, sequence
from holdfast.tree.settings import Settings
from holdfast.tree.tree import Tree
from holdfast.undo import UndoFile
from holdfast.waiting import CannotLook, patiently

DRIVERS = {"kind": Kind}
# What stands in for something else on a lane without an image registry, with the words for the report.
OFFLINE_STAND_INS = {
    "source-controller": "source-controller is a stand-in of holdfast's own",
    "helm-controller": "helm-controller is a stand-in of holdfast's own",
    "notification-controller": "notification-controller is a stand-in that stores events and sends none",
    "ingress-nginx": "ingress-nginx is a stand-in: Debian's nginx with its configuration rendered from Ingress objects",
    "longhorn": "Longhorn is a stand-in: real CSI volumes that can really fail, one copy of the blocks on one node, nothing is replicated",
    "monitoring": "kube-prometheus-stack is a stand-in: the real prometheus-operator and Prometheus, Debian's Alertmanager and node exporter; "
    "kube-state-metrics and Grafana are small programs of holdfast's, custom resources have no schemas, the chart's own rules aren't there",
    "flannel": "the pod network is not Flannel (static routes offline, else kind's own)",
}
_KIND_NOTES = (
    Note("k3s can't run here: the cluster is kubeadm's, by kind, with etcd", ("*",)),
    Note(
        "behind a dead node's published port the engine refuses at once, where a real dead host would swallow packets",
        ("nodes",),
    ),
    Note(
        "a killed node keeps the host's page cache: writes that were never synced survive it, unlike in a power cut",
        ("storage",),
    ),
)


_OLD_PROFILES = {"swift": "fast", "true": "default"}  # accepted until 0.3


def parse(name: str) -> tuple[str, str]:
    """``kind/fast`` as driver and profile; UsageError for an unknown one, with the nearest name."""
    driver, _, profile = name.partition("/")
    if profile in _OLD_PROFILES:
        console.print(f"  note: the profile {profile} is called {_OLD_PROFILES[profile]} now", style="yellow")
        profile = _OLD_PROFILES[profile]
    known = [f"{d}/{p}" for d in DRIVERS for p in profiles.names()]
    if f"{driver}/{profile}" not in known:
        near = difflib.get_close_matches(name, known, 1, cutoff=0.4)
        raise UsageError(
            f"unknown lane '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""),
            f"lanes are: {', '.join(known)}",
        )
    return driver, profile


class Lane:
    """A lane by name.

    Args:
        name: ``DRIVER/PROFILE``.
        tree: the folder of the GitOps tree.
        entry: its Flux entry, where the tree has several.
    """

    def __init__(self, name: str, tree: Path, entry: str = "", charts: Path | None = None) -> None:
        self.driver_name, self.profile_name = parse(name)
        self.name = f"{self.driver_name}/{self.profile_name}"
        self.subject = Subject(tree.resolve(), entry, charts)
        self.profile = profiles.load(self.profile_name)
        self.folder = cache_dir() / "lanes" / self.name.replace("/", "-")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state_file = self.folder / "state.json"
        self.driver = DRIVERS[self.driver_name](
            f"holdfast-{self.driver_name}-{self.profile_name}-{owner_id()}", self.profile, self.folder
        )
        if state := self.state():
            self.driver.owned = Owned(state.token, state.containers)

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

    @property
    def offline(self) -> bool:
        """Whether this lane runs the offline images."""
        return registry.offline(self.profile.kubernetes)

    def notes(self) -> list[Note]:
        """The fidelity notes of this lane with this tree."""
        found = [*self.profile.notes, *(_KIND_NOTES if self.driver_name == "kind" else ())]
        found += [Note(text, (subject,)) for subject, text in OFFLINE_STAND_INS.items() if subject in self.stand_ins]
        found += [
            Note(f"the image {image} is the offline recipe {recipe} in its place", ("apps", "workloads"))
            for image, recipe in self.settings.images.items()
            if self.offline
        ]
        return found + [Note(text, ("adaptations",)) for text in self.settings.notes()]

    @property
    def stand_ins(self) -> frozenset[str]:
        """The subjects that something else stands in for: all offline; behind a mirror, where its helm-controller is ours."""
        if self.offline:
            return frozenset(OFFLINE_STAND_INS)
        images = [image for name, image in self._controllers() if name == "helm-controller"]
        return frozenset(OFFLINE_STAND_INS if any(registry.mirrored_stand_in(i) for i in images) else ["flannel"])

    def _controllers(self) -> list[tuple[str, str]]:
        """The tree's controllers, each with its image."""
        return [
            (m.name, str(mapping(c).get("image")))
            for m in [*self.tree.bootstrap, *self.tree.objects]
            if m.kind == "Deployment" and m.name.endswith("-controller")
            for c in sequence(get(m.pod, "containers"))
        ]

    def state(self) -> LaneState | None:
        """What is on disk about this lane."""
        return LaneState.read(self.state_file)

    def _bootstrap(self) -> Bootstrap:
        return Bootstrap(KubeClient(self.driver.kubeconfig), self.tree, self.folder)

    def _git(self) -> GitServer:
        url = self.tree.sync.url
        return GitServer(
            self.folder / "git", f"{self.driver.cluster}-git", url, self.tree.sync.branch, self.settings.aliases
        )

    def up(self, run: str, undo: Path, without: str = "") -> Cluster:
        """Makes the cluster and puts the tree on it. Interrupted at any point, the next start knows what to remove.

        Args:
            without: a stand-in whose image the nodes don't get, so that it fails from the first second (a lane with offline images only).
        """
        self.down(quiet=True)
        state = LaneState(
            run=run,
            cluster=self.driver.cluster,
            nonce=secrets.token_hex(8),
            tree=str(self.subject.folder),
            commit=self.checkout.commit,
            fidelity=self._fidelity(),
            undo=[str(undo)],
            token=secrets.token_hex(16),
            branch=self.tree.sync.branch,
            source=[self.tree.sync.source.namespace, self.tree.sync.source.name],
        )
        UndoFile(undo).give_up()  # of a cluster that is gone now
        state.write(self.state_file)
        self.driver.owned = Owned(state.token)
        self.driver.up()
        state.containers = self.driver.owned.containers = [n.handle for n in self.driver.nodes()]
        state.write(self.state_file)
        server = self._start_git(state)
        bootstrap = self._bootstrap()
        with step("putting the tree on the cluster"):
            if self.offline:
                self.driver.load_images(self.image_names(without))
            self._patiently(lambda: bootstrap.adapt(state.nonce), "the API server")
            worker = next(n.name for n in self.driver.nodes() if n.role == "worker")
            bootstrap.configure_dns(server.address(self.driver.docker, self.driver.network), worker)
            bootstrap.install_flux(server)
            agents.install(bootstrap.objects, registry.upstream("sampler", self.profile.kubernetes))
        state.uid = self._uid(bootstrap.objects)
        state.stage = "ready"
        state.write(self.state_file)
        return self.cluster(undo)

    def _start_git(self, state: LaneState) -> GitServer:
        server = self._git()
        shutil.rmtree(server.folder, ignore_errors=True)
        server.prepare(self.checkout)
        image = registry.upstream("git-server", self.profile.kubernetes)
        image = image if self.offline else registry.engine_name(image)
        with step("starting the Git server"):
            state.containers.append(server.start(image, self.driver.network, state.token))
        state.git = {"private": server.key.private, "public": server.key.public, "known_hosts": server.known_hosts}
        state.write(self.state_file)
        return server

    def image_names(self, without: str = "") -> dict[str, str]:
        """The names that the tree and the stand-in charts use for images (but one), each with the tag of what runs in its place."""
        recipes = Recipes(self.profile.kubernetes)
        names = {_full(image): recipes.tag(recipe) for image, recipe in self.settings.images.items()}
        for name in {"ingress", "longhorn", "monitoring"} - {without}:
            names[f"docker.io/holdfast/{name}:lane"] = recipes.tag(name)
        for name, image in self._controllers():
            if name in recipes.images:
                names[_full(image)] = recipes.tag(name)
        return names

    @staticmethod
    def _uid(objects: KubeClient) -> str:
        found = objects.get("Namespace", "kube-system")
        assert found, "every cluster has kube-system"
        return str(found["metadata"]["uid"])

    @staticmethod
    def _patiently(action: Callable[[], None], what: str, within_s: float = 90) -> None:
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
            self.profile,
            self.tree.sync,
            self.settings,
            self.folder,
            state.nonce,
            UndoFile(undo),
            self.stand_ins,
        )

    def git(self) -> GitServer:
        """The running lane's Git server."""
        server, state = self._git(), self.state()
        assert state, "up() or reuse() came first"
        assert state.git, "the Git server was started"
        server.key, server.known_hosts = Key(state.git["private"], state.git["public"]), state.git["known_hosts"]
        return server

    def check(self, *, reuse: bool) -> None:
        """What can be known of the lane before a run begins: a kept cluster that fits, or free ports. Raises UsageError."""
        if reuse:
            self._kept()
        else:
            self.driver.check_ports()

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
        if state.fidelity != self._fidelity():
            raise UsageError(
                f"the kept cluster of {self.name} was made with other images, versions or adaptations than those of now",
                f"run: holdfast down --lane {self.name}",
            )
        return state

    def _fidelity(self) -> list[str]:
        """What a cluster is made with, as far as verdicts depend on it."""
        return [
            f"kubernetes {self.profile.kubernetes}",
            f"offline {self.offline}",
            *sorted(self.stand_ins),
            *(n.text for n in self.notes()),
        ]

    def reuse(self, run: str, undo: Path) -> Cluster:
        """Takes over the kept cluster, healed, with the tree's commit of now."""
        state = self._kept()
        self.heal()
        state.run, state.commit, state.undo = run, self.checkout.commit, [str(undo)]
        state.write(self.state_file)
        objects = KubeClient(self.driver.kubeconfig)
        self._patiently(lambda: self._same(objects, state.uid), "the API server")
        self.git().prepare(self.checkout)
        with step("following the tree's commit of now"):
            self._patiently(self._bootstrap().request_reconciliation, "the API server")
            agents.install(objects, registry.upstream("sampler", self.profile.kubernetes))
        return self.cluster(undo)

    def _same(self, objects: KubeClient, uid: str) -> None:
        if self._uid(objects) != uid:
            raise UsageError(
                "the cluster behind the lane's kubeconfig is another one than the lane made",
                f"run: holdfast down --lane {self.name}",
            )

    def heal(self) -> int:
        """Replays what dead runs left in this lane's undo files, gives Git back the tree's own commit, and lets the samplers rest.

        Returns how many steps were undone. Raises UsageError where what was left can't be known.
        """
        state = self.state()
        if not state:
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
        nodes = [n.name for n in self.driver.nodes()]
        for folder in (agents.FOLDER, *map(writers.folder, writers.names())):
            agents.stop(self.driver, nodes, folder=folder)
        return count

    def _known(self, state: LaneState) -> None:
        """Raises UsageError where the state can't be read and something is there that may be this lane's."""
        if state.readable:
            return
        if left := self.driver.named_like_ours():
            raise UsageError(
                f"{self.state_file} can't be read, so it isn't known what {self.name} made and what is to be undone",
                f"if {', '.join(left)} is nobody else's, remove it: docker rm -f -v {' '.join(left)}; then: rm {self.state_file}",
            )

    def _reset_git(self, state: LaneState, objects: KubeClient) -> int:
        """Puts the branch back on the tree's commit, where a dead run had pushed another one; returns 1 where it had."""
        bare = self.folder / "git" / "repository.git"
        ref = f"refs/heads/{state.branch}"
        if not state.branch or not bare.is_dir() or git("rev-parse", ref, folder=bare, check=False) == state.commit:
            return 0
        git("update-ref", ref, state.commit, folder=bare)
        namespace, name = state.source
        now = datetime.datetime.now(datetime.UTC).isoformat()
        wish = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": now}}}
        self._patiently(lambda: objects.patch("GitRepository", name, namespace, wish), "the API server")
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
        state = self.state()
        if state:
            self._known(state)
        there = self.driver.exists()
        if not (state or there):
            return False
        if not quiet or there:
            console.print(f"  removing the cluster of {self.name}")
        self.driver.down()
        if left := loop_devices.release():
            console.print(
                f"  loop devices are still held, and will be freed by the kernel or the next start: {', '.join(left)}",
                style="yellow",
            )
        shutil.rmtree(self.folder / "git", ignore_errors=True)
        for path in self.folder.glob("*.discovery"):
            path.unlink()
        self.state_file.unlink(missing_ok=True)
        return True

    def clean_dead(self) -> None:
        """At a run's start, with the lock held: removes the cluster of a run that died; one that was to be kept is healed instead."""
        state = self.state()
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


def _full(image: str) -> str:
    first = image.partition("/")[0]
    named = image if "." in first or ":" in first else f"docker.io/{image if '/' in image else f'library/{image}'}"
    return named if ":" in named.rpartition("/")[2] else f"{named}:latest"


def ensure_host() -> None:
    """The engine answers, or is installed and started where the user said so."""
    engine.ensure()


__all__ = ["DRIVERS", "Lane", "ensure_host", "parse"]
