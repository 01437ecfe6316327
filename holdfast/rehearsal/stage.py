"""A control plane of its own for one rehearsal, with the tree on it."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import re
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from kubernetes.client.exceptions import ApiException

from holdfast.bootstrap import Bootstrap
from holdfast.drivers import kwok
from holdfast.errors import UsageError
from holdfast.gitserver import GitServer, Push
from holdfast.kube import VERSIONS, KubeClient, message_of
from holdfast.lane.subject import Subject
from holdfast.policies import is_kind_of_flux
from holdfast.progress import step
from holdfast.rehearsal import encrypted, folders
from holdfast.rehearsal.detours import CHANGED, Detour, policies
from holdfast.rehearsal.foretold import Foretold
from holdfast.tree import assumed
from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.manifest import Manifest, mapping
from holdfast.tree.tree import Sync, Tree
from holdfast.waiting import CannotLook, patiently

_COUNTS_WITHIN_S = 5.0
_TRIED = {"metadata": {"annotations": {"holdfast.dev/tried": "1"}}}
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
    wanted = VERSIONS[manifest.kind]
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
        self.driver.control_plane.feature_gates = gates_of(subject.tree)
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
    def foretold(self) -> Foretold:
        """What the tree alone says of what will be in the way."""
        return Foretold(self.tree)

    @cached_property
    def client(self) -> KubeClient:
        """The control plane's API."""
        return KubeClient(self.driver.kubeconfig)

    def start(self) -> None:
        """Starts the control plane and puts the tree on it, up to Flux's first look at Git."""
        self.driver.up()
        if gates := self.driver.control_plane.feature_gates:
            self.notes.append(f"feature gates as the tree's own machines have them: {', '.join(sorted(gates))}")
        with step("putting the tree on the control plane"):
            self._start_git()
            self._releases = assumed.releases(self.tree, self.folder / "charts")
            self.give_releases()
            bootstrap = Bootstrap(self.client, self.tree, self.folder, self.sync, tolerant=True)
            self._patiently(
                lambda: bootstrap.assume_elsewhere(self.git.address, self.driver.mark, self.foretold.without_source())
            )
            self._patiently(lambda: self._keep_kinds(bootstrap))
            self._patiently(lambda: bootstrap.adapt(secrets.token_hex(8)))
            self._patiently(self._define_flux)
            self._say_what_is_assumed()
            self._leave_policies_out()
            self._leave_encrypted()
            for detour in self.detours.values():
                self.apply_detour(detour)
            self._patiently(lambda: bootstrap.install_flux(self.git))

    def become(self, subject: Subject, message: str) -> Push:
        """Pushes another tree of the same cluster as a commit on top of what is there, and has Flux look at it; what the lane takes for given
        is that of the new tree from now on."""
        known = copy.deepcopy(self.detours)
        self.subject = subject
        self.__dict__.pop("foretold", None)
        self.tree  # noqa: B018  read before anything is changed
        self._releases = assumed.releases(self.tree, self.folder / f"charts-{subject.checkout.commit[:12]}")
        self.give_releases()
        bootstrap = Bootstrap(self.client, self.tree, self.folder, self.sync, tolerant=True)
        self._patiently(
            lambda: bootstrap.assume_elsewhere(self.git.address, self.driver.mark, self.foretold.without_source())
        )
        self._patiently(lambda: bootstrap.redirect(self.git))
        self._patiently(self._define_flux)
        self._leave_policies_out()
        pushed = self.git.push(functools.partial(self._put, known), message)
        for name in sorted(self.own_sources):
            kind, space, own = name.split("/")
            if self.client.get(kind, own, space):
                self._patiently(functools.partial(self.client.request_reconciliation, kind, own, space))
        return pushed

    @property
    def own_sources(self) -> frozenset[str]:
        """What stands for this repository in the tree: what Flux syncs by, and others of the same address."""
        return frozenset({self.sync.source.id, *(s.id for s in assumed.own_sources(self.tree, self.sync.source))})

    def _put(self, known: Mapping[str, Detour], folder: Path) -> None:
        """The tree's commit in the work tree of the lane's Git server, with placeholders for what nobody here can decrypt; what is otherwise
        about it in the lane than is *known* there counts before anybody sees it."""
        self.subject.checkout.put(folder)
        if self._has_no_key and self._placeholders(folder):
            self.is_encrypted = True
        self._leave_encrypted()
        for name, detour in self.detours.items():
            if known.get(name) != detour:
                self.apply_detour(detour)

    @property
    def _has_no_key(self) -> bool:
        return not any(s.file for s in self.tree.settings.secrets)

    def _placeholders(self, folder: Path) -> list[str]:
        """Puts placeholders for what is encrypted into a checkout; returns the files."""
        return encrypted.replace_in(folder, encrypted.left_encrypted(self.tree))

    def _leave_encrypted(self) -> None:
        """Flux decrypts nothing of what the lane's commit has in plain text."""
        for kustomization in self.tree.kustomizations.values():
            if self.is_encrypted and kustomization.spec.get("decryption"):
                self.detour(kustomization.id, "Kustomization").plain = True

    def _start_git(self) -> None:
        self.git = GitServer(self.folder / "git", _URL, self.sync.branch, ())
        shutil.rmtree(self.git.folder, ignore_errors=True)
        self.git.prepare(self.subject.checkout)
        self.is_encrypted = False
        if self._has_no_key:
            changed: list[str] = []
            self.git.push(
                lambda folder: changed.extend(self._placeholders(folder)), "placeholders for what is encrypted"
            )
            if changed:
                self.is_encrypted = True
                self.notes.append(
                    f"{len(changed)} encrypted files have placeholders in the lane's commit; a key makes it true: [[secret]] file"
                )
        self.git.start(self.driver)

    def _keep_kinds(self, bootstrap: Bootstrap) -> None:
        """Flux's kinds stay those of the lane's controllers, whatever a tree brings."""
        if bootstrap.keep_kinds():
            return
        for manifest in self.tree.of("CustomResourceDefinition"):
            if is_kind_of_flux(manifest.body) and manifest.owner in self.tree.kustomizations:
                what = (manifest.group, manifest.kind, manifest.name)
                self.detour(manifest.owner, "Kustomization").kept.add(what)

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
        if guessed := self.tree.unread_releases:
            self.notes.append(
                f"{len(guessed)} of {len(self.tree.releases)} releases are assumed: their charts aren't read here"
                + ("" if self.subject.fetch else " (--fetch, or --charts FOLDER)")
            )
        self.notes += [f"not fetched: {words}" for words in self.tree.charts.not_fetched]
        self.notes += [f"fetched: {name} for {release}" for release, name in sorted(self.tree.charts.fetched.items())]

    def _patiently(self, action: Callable[[], None]) -> None:
        try:
            patiently(action, "the API server", 60)
        except CannotLook as why:
            raise UsageError(str(why), f"read the logs in {self.folder / 'log'}") from None
        except ApiException as error:
            words = message_of(error) or str(error.reason)
            raise UsageError(f"the API server refuses what comes before Flux: {words}", "see: holdfast check") from None

    # -- what is changed in the lane --------------------------------------------------------------------------------------

    def detour(self, name: str, kind: str) -> Detour:
        """What is otherwise about an object of Flux's (``namespace/name``); a new one changes nothing yet."""
        space, _, own = name.partition("/")
        return self.detours.setdefault(f"{kind}/{name}", Detour(kind, space, own, self.driver.mark))

    def give_releases(self, unhealthy: Collection[str] = ()) -> None:
        """Tells the lane what each release comes to; those that are *unhealthy* (``namespace/name``) fail."""
        down = {name: {"down": True} for name in unhealthy}
        self.driver.give_releases(
            {**self._releases, **{n: {**self._releases.get(n, {}), **d} for n, d in down.items()}}
        )

    def take_back(self, before: Mapping[str, Detour]) -> None:
        """Has the detours be again what they were: a copy of `detours`."""
        for name, detour in list(self.detours.items()):
            was = before.get(name) or Detour(detour.kind, detour.namespace, detour.name, self.driver.mark)
            if was != detour:
                self.detours[name] = was
                self._write(was)
                self._patiently(functools.partial(self._as_in_git, was))

    def _as_in_git(self, detour: Detour) -> None:
        """Gives an object of Flux's the fields back that a detour changed: what a policy wrote stays in it."""
        wanted = next((m for m in self.tree.objects if m.id == detour.id), None)
        there = self.client.get(detour.kind, detour.name, detour.namespace)
        if wanted is None or there is None:
            return
        fields = {field: wanted.spec.get(field) for field in CHANGED if field in wanted.spec or field in there["spec"]}
        body = {"metadata": {"annotations": {assumed.ASSUMED: None}}, "spec": fields}
        limit = time.monotonic() + _COUNTS_WITHIN_S
        while True:  # a policy that was taken away counts for some time yet
            done = self.client.patch(detour.kind, detour.name, detour.namespace, body)
            as_wanted = all(done["spec"].get(field) == value for field, value in fields.items())
            if as_wanted is not detour.changes:
                return
            if time.monotonic() > limit:
                self.notes.append(
                    f"{detour.id} wasn't as Git has it within {_COUNTS_WITHIN_S:g}s: a change of the lane stayed"
                )
                return
            time.sleep(0.2)

    def apply_detour(self, detour: Detour) -> None:
        """Has a detour count from now on; what is there already is changed by its next write."""
        if not self._write(detour):
            return
        there = self.client.get(detour.kind, detour.name, detour.namespace)
        limit = time.monotonic() + _COUNTS_WITHIN_S
        while there:  # a policy counts some time after it was made
            tried = self.client.patch(detour.kind, detour.name, detour.namespace, _TRIED, dry_run="All")
            if tried["spec"] != there["spec"]:
                return
            if time.monotonic() > limit:
                self.notes.append(f"a change of the lane for {detour.id} didn't count within {_COUNTS_WITHIN_S:g}s")
                return
            time.sleep(0.1)

    def _write(self, detour: Detour) -> bool:
        """Writes a detour's policy, or takes it away where nothing is otherwise any more; whether there is one."""
        wishes = policies(detour)
        for wish in wishes:
            self.client.apply(wish)
        for kind in () if wishes else ("MutatingAdmissionPolicyBinding", "MutatingAdmissionPolicy"):
            self.client.delete(kind, detour.policy)
        return bool(wishes)

    def variables_of(self, kustomization: str) -> dict[str, str]:
        """The variables of a Kustomization that nothing in the tree gives, each with a placeholder."""
        known = self.tree.kustomizations.get(kustomization)
        text = json.dumps([m.body for m in known.objects], default=str) if known else ""
        return {name: encrypted.placeholder(name) for name in sorted(set(_NAMED.findall(text)))}


@contextmanager
def staged(subject: Subject, profile: str) -> Iterator[Stage]:
    """A stage in a folder of its own, which is gone afterwards; several may run side by side."""
    with folders.held() as folder:
        stage = Stage(subject, profile, folder)
        try:
            yield stage
        finally:
            stage.driver.down()
