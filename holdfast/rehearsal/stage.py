"""A control plane of its own for one rehearsal, with the tree on it."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from kubernetes.client.exceptions import ApiException

from holdfast.bootstrap import Bootstrap
from holdfast.drivers import kwok
from holdfast.errors import UsageError
from holdfast.gitserver import GitServer
from holdfast.kube import KubeClient
from holdfast.lane.subject import Subject
from holdfast.paths import cache_dir
from holdfast.progress import step
from holdfast.rehearsal import encrypted
from holdfast.rehearsal.detours import Detour, policies
from holdfast.rehearsal.looks import KINDS
from holdfast.tree import assumed
from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.manifest import Manifest, mapping
from holdfast.tree.tree import Sync, Tree
from holdfast.waiting import CannotLook, patiently

_COUNTS_WITHIN_S = 5.0
_URL = "ssh://git@lane/tree.git"
_NAMED = re.compile(rf"{UNKNOWN}([A-Za-z_]\w*)")


def sync_of(tree: Tree) -> Sync:
    """What Flux syncs by; made up where the tree doesn't hold it (an entry that an operator's instance names, say)."""
    try:
        found = tree.sync
        return Sync(found.folder, _as_now(found.source), _as_now(found.root))
    except UsageError:
        root = tree.root
        ref = mapping(root.spec.get("sourceRef"))
        space = root.manifest.namespace if root.manifest.file else "flux-system"
        name = str(ref.get("name") or "flux-system")
        source = {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {"name": name, "namespace": str(ref.get("namespace") or space)},
            "spec": {"url": _URL, "ref": {"branch": "main"}, "interval": "1m"},
        }
        body = {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": root.manifest.name or "flux-system", "namespace": space},
            "spec": {
                "path": f"./{root.folder}",
                "interval": "10m",
                "prune": True,
                "sourceRef": {"kind": "GitRepository", "name": name},
                **{k: v for k, v in root.spec.items() if k in ("postBuild", "decryption", "patches", "components")},
            },
        }
        return Sync(root.folder, Manifest(source), root.manifest if root.manifest.file else Manifest(body))


def _as_now(manifest: Manifest) -> Manifest:
    """What Flux syncs by in the version that the lane serves: without it there would be no start at all to look at."""
    wanted = KINDS[manifest.kind]
    if manifest.api == wanted:
        return manifest
    return dataclasses.replace(manifest, body={**manifest.body, "apiVersion": wanted})


_GATES = re.compile(r"""feature-gates["']?\s*[:=]\s*["']?((?:\w+=(?:true|false),?)+)""")


def gates_of(tree: Tree) -> dict[str, bool]:
    """The feature gates that the machine configuration beside a tree sets, as far as files of the repository show them."""
    found: dict[str, bool] = {}
    for file in tree.repository.files:
        text = (
            tree.repository.text(file)
            if file.endswith((".yaml", ".yml", ".j2", ".toml", ".cfg", ".conf", ".sh"))
            else ""
        )
        for listed in _GATES.findall(text) if "feature-gates" in text else []:
            for gate in filter(None, listed.split(",")):
                name, _, value = gate.partition("=")
                found[name] = value == "true"
    return found


class Stage:
    """A control plane with a tree on it.

    Args:
        subject: what is rehearsed.
        profile: of the kwok driver.
        folder: everything of it.

    Attributes:
        notes: what isn't as in production, in words.
    """

    def __init__(self, subject: Subject, profile: str, folder: Path) -> None:
        self.subject, self.folder = subject, folder
        self.driver = kwok.open(profile, folder, "")
        self.driver.feature_gates = gates_of(subject.tree)
        self.notes: list[str] = []
        self.detours: dict[str, Detour] = {}

    @property
    def tree(self) -> Tree:
        """The tree, read once."""
        return self.subject.tree

    @cached_property
    def sync(self) -> Sync:
        """What Flux syncs by."""
        return sync_of(self.tree)

    @cached_property
    def client(self) -> KubeClient:
        """The control plane's API."""
        return KubeClient(self.driver.kubeconfig)

    def start(self) -> None:
        """Starts the control plane and puts the tree on it, up to Flux's first look at Git."""
        self.driver.up()
        if gates := self.driver.feature_gates:
            self.notes.append(f"feature gates as the tree's own machines have them: {', '.join(sorted(gates))}")
        with step("putting the tree on the control plane"):
            self._start_git()
            self.driver.give_releases(assumed.releases(self.tree, self.folder / "charts"))
            bootstrap = Bootstrap(self.client, self.tree, self.folder, self.sync, tolerant=True)
            self._patiently(lambda: bootstrap.assume_elsewhere(self.git.address, self.driver.mark))
            self._patiently(lambda: bootstrap.adapt(secrets.token_hex(8)))
            self._patiently(self._define_flux)
            self._say_what_is_assumed()
            self._leave_policies_out()
            for kustomization in self.tree.kustomizations.values():
                if self.notes_encrypted and kustomization.spec.get("decryption"):
                    self.detour(kustomization.id, "Kustomization").plain = True
            for detour in self.detours.values():
                self.apply_detour(detour)
            self._patiently(lambda: bootstrap.install_flux(self.git))

    def _start_git(self) -> None:
        self.git = GitServer(self.folder / "git", _URL, self.sync.branch, ())
        shutil.rmtree(self.git.folder, ignore_errors=True)
        self.git.prepare(self.subject.checkout)
        self.notes_encrypted = False
        if not any(s.file for s in self.tree.settings.secrets):
            changed: list[str] = []
            self.git.push(
                lambda folder: changed.extend(encrypted.replace_in(folder)), "placeholders for what is encrypted"
            )
            if changed:
                self.notes_encrypted = True
                self.notes.append(
                    f"{len(changed)} encrypted files have placeholders in the lane's commit; a key makes it true: [[secret]] file"
                )
        self.git.start(self.driver)

    def _leave_policies_out(self) -> None:
        """A tree's own mutating policies could undo the lane's."""
        for manifest in self.tree.of("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"):
            if manifest.owner in self.tree.kustomizations:
                self.detour(manifest.owner, "Kustomization").excluded.add(
                    (manifest.group, manifest.kind, manifest.name)
                )
                self.notes.append(f"{manifest.id} is left out: it could undo what the lane changes on the way in")

    def _define_flux(self) -> None:
        """Kinds of Flux's own whose controllers aren't in the lane: what is of them is taken, and nobody does anything about it."""
        specs = [d["spec"] for d in self.client.list("CustomResourceDefinition")]
        made = assumed.of_flux(self.tree, [(s["group"], s["names"]["kind"]) for s in specs])
        for wish in made:
            self.client.apply(wish)
        if made:
            names = ", ".join(wish["spec"]["names"]["kind"] for wish in made)
            self.notes.append(f"nobody in the lane works on {names}: what these would make isn't there")
        for wish in (guessed := assumed.of_unread_charts(self.tree)):
            self.client.apply(wish)
        if guessed:
            names = ", ".join(sorted(wish["spec"]["names"]["kind"] for wish in guessed))
            self.notes.append(f"served from the start, since a chart that isn't read here may bring them: {names}")

    def _say_what_is_assumed(self) -> None:
        unread = assumed.unread(self.tree)
        if unread:
            self.notes.append(f"not read here, so taken for ready: Kustomizations {', '.join(unread)}")
        guessed = [r.manifest.id for r in self.tree.releases if r.manifest.id not in self.tree.charts.rendered]
        if guessed:
            self.notes.append(
                f"{len(guessed)} of {len(self.tree.releases)} releases are assumed: their charts aren't read here (--charts FOLDER)"
            )

    def _patiently(self, action: Callable[[], None]) -> None:
        try:
            patiently(action, "the API server", 60)
        except CannotLook as why:
            raise UsageError(str(why), f"read the logs in {self.folder / 'log'}") from None
        except ApiException as error:
            words = _words(error)
            raise UsageError(f"the API server refuses what comes before Flux: {words}", "see: holdfast check") from None

    # -- what is changed in the lane --------------------------------------------------------------------------------------

    def detour(self, name: str, kind: str) -> Detour:
        """What is otherwise about an object of Flux's (``namespace/name``); a new one changes nothing yet."""
        space, _, own = name.partition("/")
        return self.detours.setdefault(f"{kind}/{name}", Detour(kind, space, own, mark=self.driver.mark))

    def apply_detour(self, detour: Detour) -> None:
        """Has a detour count from now on; what is there already is changed by its next write."""
        for wish in policies(detour):
            self.client.apply(wish)
        version = KINDS[detour.kind]
        there = self.client.get(detour.kind, detour.name, detour.namespace, version=version)
        limit = time.monotonic() + _COUNTS_WITHIN_S
        while there and time.monotonic() < limit:  # a policy counts some time after it was made
            tried = self.client.annotate(
                detour.kind, detour.name, detour.namespace, {"holdfast.dev/tried": "1"}, version, dry_run="All"
            )
            if tried["spec"] != there["spec"]:
                return
            time.sleep(0.1)

    def variables_of(self, kustomization: str) -> dict[str, str]:
        """The variables of a Kustomization that nothing in the tree gives, each with a placeholder."""
        known = self.tree.kustomizations.get(kustomization)
        text = json.dumps([m.body for m in known.objects], default=str) if known else ""
        return {name: encrypted.placeholder(name) for name in sorted(set(_NAMED.findall(text)))}


def _words(error: ApiException) -> str:
    try:
        return str(json.loads(error.body)["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return str(error.reason)[:300]


# -- folders of rehearsals -------------------------------------------------------------------------------------------------


def _root() -> Path:
    return cache_dir() / "rehearsals"


def clean_dead() -> None:
    """Ends what rehearsals left whose process is gone: nobody holds the lock on their folder any more."""
    for folder in sorted(p for p in _root().glob("*") if p.is_dir()):
        with _held(folder) as free:
            if free:
                kwok.open(kwok.profiles()[-1], folder, "").down()
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Holds the lock on a rehearsal's folder, which ends with this process; False where another one has it."""
    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


@contextmanager
def staged(subject: Subject, profile: str) -> Iterator[Stage]:
    """A stage in a folder of its own, which is gone afterwards; several may run side by side."""
    root = _root()
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".making").open("a") as making:  # so that a folder is never seen without its lock held
        fcntl.flock(making, fcntl.LOCK_EX)
        clean_dead()
        folder = root / f"{os.getpid()}-{secrets.token_hex(3)}"
        folder.mkdir(mode=0o700)
        lock = _held(folder)
        assert lock.__enter__(), "a folder of one's own"
    stage: Stage | None = None
    try:
        stage = Stage(subject, profile, folder)
        yield stage
    finally:
        try:
            if stage is not None:
                stage.driver.down()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.__exit__(None, None, None)
