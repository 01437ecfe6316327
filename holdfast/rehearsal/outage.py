"""`holdfast rehearse --if-down`: something is unhealthy in the lane, a commit is pushed, and it is measured what of the tree still gets it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from holdfast.commits import mark
from holdfast.errors import UsageError
from holdfast.kube import Object, condition
from holdfast.progress import step
from holdfast.rehearsal.detours import HEALTH
from holdfast.rehearsal.removal import REFUSALS
from holdfast.rehearsal.stage import Stage
from holdfast.tree.boot import Down, down, seeds_of
from holdfast.tree.manifest import Manifest
from holdfast.tree.tree import Tree
from holdfast.waiting import CannotLook, Clock

_BRINGS_DOWN_S = 90.0
_QUIET_S = (
    25.0  # Flux asks a dependency that isn't ready every second here, and an unhealthy object for longer than that
)
_LIMIT_S = 240.0
_EVERY_S = 0.5


class Fate(StrEnum):
    """What becomes of a commit in one Kustomization."""

    ARRIVES = "arrives"
    UNHEALTHY = "applied, never ready"
    FROZEN = "frozen"


@dataclass
class Arrival:
    """One Kustomization while something was down.

    Attributes:
        after_s: how long the commit took to be applied and healthy, from its push; None where it wasn't.
        foretold: what `holdfast check --if-down` says of it.
        back_s: how long it took from the end of the outage until the commit was there; None where it was before, or never came.
    """

    kustomization: str
    fate: Fate
    foretold: Fate
    after_s: float | None = None
    back_s: float | None = None


@dataclass
class Outage:
    """What was down, and what became of the others; *down* are those that were made unhealthy."""

    what: str
    down: tuple[str, ...]
    arrivals: list[Arrival] = field(default_factory=list)

    @property
    def surprises(self) -> list[Arrival]:
        """Those that went otherwise than foretold."""
        return [a for a in self.arrivals if a.fate is not a.foretold]


def targets(tree: Tree, wanted: str) -> list[Manifest]:
    """The releases and Kustomizations that *wanted* stands for. Raises UsageError where there are none."""
    seeds = seeds_of(tree.graph, wanted)
    found = [m for m in seeds if m.kind in ("Kustomization", "HelmRelease") and m.group.endswith(".toolkit.fluxcd.io")]
    if found:
        return found
    known = [m.id for m in tree.objects if m.kind in ("Kustomization", "HelmRelease")]
    near = difflib.get_close_matches(wanted, [*known, *{m.namespace for m in tree.objects if m.namespace}], 1)
    why = "is nothing that the lane can make unhealthy" if seeds else "is nothing of this tree"
    hint = f"did you mean {near[0]}? " if near else ""
    raise UsageError(
        f"--if-down {wanted}: it {why}",
        f"{hint}name a HelmRelease/NAMESPACE/NAME, a Kustomization/NAMESPACE/NAME, or a namespace with one",
    )


def watch(stage: Stage, wanted: str, say: Callable[[str], None], clock: Clock | None = None) -> Outage:
    """Takes it down, pushes a commit, looks what arrives, heals it, and looks until all is there. Raises UsageError where it can't be done."""
    clock = clock or Clock()
    found = targets(stage.tree, wanted)
    names = tuple(m.id for m in found)
    with step(f"making {', '.join(names)} unhealthy in the lane"):
        sickness = _Sickness(stage, found)
        sickness.begin(clock)
    pushed = stage.git.push(mark(stage.sync, f"if-down-{clock.now():.0f}"), f"a commit while {wanted} is down")
    began = clock.now()
    _ask_source(stage)
    with step("looking what of a new commit arrives"):
        states, at = _until_quiet(stage, pushed.revision, began, clock)
    foretold = _foretold(down(stage.tree.graph, found))
    out = Outage(wanted, names)
    for name, item in sorted(states.items()):
        if f"Kustomization/{name}" not in names and name in stage.tree.kustomizations and _follows(stage, item):
            out.arrivals.append(
                Arrival(name, _fate(item, pushed.revision), foretold.get(name, Fate.ARRIVES), at.get(name))
            )
    sickness.end()
    began = clock.now()
    with step("looking until all of it is there again"):
        _, back = _until_quiet(stage, pushed.revision, began, clock, known=set(at))
    for one in out.arrivals:
        one.back_s = back.get(one.kustomization)
    for one in out.arrivals:
        say(sentence(one))
    return out


def sentence(one: Arrival) -> str:
    """One of them in words."""
    if one.fate is Fate.ARRIVES:
        words = f"arrives after {one.after_s:.1f}s" if one.after_s is not None else "arrives"
    else:
        words = f"{one.fate}, " + (
            f"there {one.back_s:.1f}s after the end" if one.back_s is not None else "not there after the end either"
        )
    otherwise = "" if one.fate is one.foretold else f"  (foretold: {one.foretold})"
    return f"{one.kustomization}: {words}{otherwise}"


class _Sickness:
    """Makes releases and Kustomizations unhealthy in the lane, and well again."""

    def __init__(self, stage: Stage, found: list[Manifest]) -> None:
        self.stage, self.found = stage, found
        self._before: dict[str, Object] = {}

    def begin(self, clock: Clock) -> None:
        releases = {f"{m.namespace}/{m.name}" for m in self.found if m.kind == "HelmRelease"}
        self.stage.give_releases(releases)
        for manifest in self.found:
            if manifest.kind == "Kustomization":
                there = self.stage.client.get(manifest.kind, manifest.name, manifest.namespace) or {"spec": {}}
                self._before[manifest.id] = {field: there["spec"].get(field) for field in HEALTH}
                self._change(manifest, unhealthy=True)
            _ask(self.stage, manifest.kind, manifest.name, manifest.namespace)
        limit = clock.now() + _BRINGS_DOWN_S
        while waiting := [m.id for m in self.found if not _is_unhealthy(self.stage, m)]:
            if clock.now() > limit:
                raise UsageError(
                    f"{', '.join(waiting)} stays ready in the lane", "name another one: its Kustomization, say"
                )
            clock.sleep(_EVERY_S)

    def end(self) -> None:
        self.stage.give_releases()
        for manifest in self.found:
            if manifest.kind == "Kustomization":
                self._change(manifest, unhealthy=False)
                # What the policy wrote stays in the object: nobody else has these fields.
                self.stage.client.patch(
                    manifest.kind, manifest.name, manifest.namespace, {"spec": self._before[manifest.id]}
                )
            _ask(self.stage, manifest.kind, manifest.name, manifest.namespace)

    def _change(self, manifest: Manifest, *, unhealthy: bool) -> None:
        detour = self.stage.detour(f"{manifest.namespace}/{manifest.name}", "Kustomization")
        detour.unhealthy = unhealthy
        self.stage.apply_detour(detour)


def _is_unhealthy(stage: Stage, manifest: Manifest) -> bool:
    with suppress(CannotLook):
        item = stage.client.get(manifest.kind, manifest.name, manifest.namespace)
        return item is None or condition(item, "Ready").get("status") == "False"
    return False


def _ask(stage: Stage, kind: str, name: str, namespace: str) -> None:
    with suppress(*REFUSALS):  # what isn't there can't be asked
        stage.client.request_reconciliation(kind, name, namespace)


def _ask_source(stage: Stage) -> None:
    source = stage.sync.source
    _ask(stage, source.kind, source.name, source.namespace)


def _until_quiet(
    stage: Stage, revision: str, began: float, clock: Clock, known: set[str] | None = None
) -> tuple[dict[str, Object], dict[str, float]]:
    """Every Kustomization once no more of them got the revision for a while, and when each that wasn't *known* got it."""
    at: dict[str, float] = {}
    states: dict[str, Object] = {}
    moved = began
    while True:
        with suppress(CannotLook):
            states = {
                f"{i['metadata']['namespace']}/{i['metadata']['name']}": i for i in stage.client.list("Kustomization")
            }
        now = clock.now()
        for name, item in states.items():
            if name not in at and name not in (known or ()) and _fate(item, revision) is Fate.ARRIVES:
                at[name], moved = round(now - began, 1), now
        everywhere = states and all(
            _fate(i, revision) is Fate.ARRIVES or not _follows(stage, i) for i in states.values()
        )
        if everywhere or now - moved > _QUIET_S or now - began > _LIMIT_S:
            return states, at
        clock.sleep(_EVERY_S)


def _fate(item: Object, revision: str) -> Fate:
    status = item.get("status") or {}
    if status.get("lastAppliedRevision") == revision and condition(item, "Ready").get("status") == "True":
        return Fate.ARRIVES
    return Fate.UNHEALTHY if status.get("lastAttemptedRevision") == revision else Fate.FROZEN


def _follows(stage: Stage, item: Object) -> bool:
    """Whether a Kustomization is applied from the source that the commit was pushed to."""
    meta, ref = item["metadata"], item["spec"].get("sourceRef") or {}
    source = stage.sync.source
    same = (ref.get("kind"), ref.get("name"), ref.get("namespace") or meta["namespace"])
    return item["spec"].get("suspend") is not True and same == (source.kind, source.name, source.namespace)


def _foretold(static: Down) -> Mapping[str, Fate]:
    """What the tree alone says, by Kustomization; those that it doesn't name get every commit."""
    found = {name.partition("/")[2]: Fate.FROZEN for name in static.frozen if name.startswith("Kustomization/")}
    return {**{n.partition("/")[2]: Fate.UNHEALTHY for n in static.unready}, **found}
