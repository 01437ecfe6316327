"""What a start that went well does at its next intervals, with nothing changed in Git: what is pulled at, made anew, or refused."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from holdfast.inventory import inventory_of
from holdfast.kube import Object
from holdfast.rehearsal.after import Lame
from holdfast.rehearsal.looks import Doing, State, look
from holdfast.rehearsal.removal import REFUSALS, Removal
from holdfast.rehearsal.stage import Stage
from holdfast.tree.manifest import Manifest
from holdfast.waiting import CannotLook, Clock

ROUNDS = 2  # what differs after one may have settled only then
_ROUND_S = 90.0
_SETTLE_S = 1.5
_EVERY_S = 0.4
_FLUX = "kustomize-controller"
Key = tuple[str, str, str, str]  # API group, kind, namespace, name


@dataclass(frozen=True)
class Mark:
    """What tells whether an object was written: its uid, and the generation of its spec, or where it has none its resourceVersion."""

    uid: str
    version: str
    writers: tuple[str, ...]


def look_again(stage: Stage, clock: Clock | None = None) -> tuple[list[Lame], list[str]]:
    """Has every Kustomization reconciled again, twice: (what isn't steady, what couldn't be looked at and why)."""
    clock = clock or Clock()
    marks, inventories = _marks(stage)
    changed: defaultdict[Key, int] = defaultdict(int)
    made_anew: set[Key] = set()
    for number in range(1, ROUNDS + 1):
        late = _reconcile(stage, f"again-{number}", clock)
        if late:
            return list(_failed(stage, late)), [
                f"{s.id} wasn't done with another interval within {_ROUND_S:g}s"
                for s in late
                if s.doing is not Doing.FAILED
            ]
        now, inventories = _marks(stage)
        for key, mark in now.items():
            if key in marks and marks[key] != mark:
                changed[key] += 1
                if marks[key].uid != mark.uid:
                    made_anew.add(key)
        marks = now
    unsteady = [key for key, times in changed.items() if times == ROUNDS or key in made_anew]
    return list(_said(stage, sorted(unsteady), made_anew, inventories, marks)), []


def _reconcile(stage: Stage, token: str, clock: Clock) -> list[State]:
    """Asks every Kustomization that is ready for another reconciliation; returns those that didn't come back ready."""
    token = f"{datetime.datetime.now(datetime.UTC).isoformat()}-{token}"
    asked = [s for s in _states(stage).values() if s.doing is Doing.READY]
    removal = Removal(stage)
    asked = [s for s in asked if removal.request(s, token)]
    limit = clock.now() + _ROUND_S
    while True:
        states = _states(stage)
        late = [states[s.id] for s in asked if s.id in states and not _done(states[s.id], token)]
        if not late or clock.now() > limit or all(s.handled == token and s.doing is Doing.FAILED for s in late):
            clock.sleep(_SETTLE_S)  # what others write because of it
            return late
        clock.sleep(_EVERY_S)


def _done(state: State, token: str) -> bool:
    return state.handled == token and state.doing is Doing.READY


def _states(stage: Stage) -> Mapping[str, State]:
    with suppress(CannotLook):
        return {n: s for n, s in look(stage.client).items() if s.kind == "Kustomization"}
    return {}


def _marks(stage: Stage) -> tuple[dict[Key, Mark], dict[Key, list[str]]]:
    """What every object that Flux applied stands at, and the Kustomizations that have it in their inventory."""
    owners: defaultdict[Key, list[str]] = defaultdict(list)
    versions: dict[tuple[str, str], str] = {}
    for item in stage.client.list("Kustomization"):
        name = f"{item['metadata']['namespace']}/{item['metadata']['name']}"
        for one in inventory_of(item):
            owners[one.group, one.kind, one.namespace, one.name].append(name)
            versions[one.group, one.kind] = one.version
    marks: dict[Key, Mark] = {}
    for (group, kind), version in sorted(versions.items()):
        for item in _listed(stage, kind, version):
            meta = item["metadata"]
            key = group, kind, meta.get("namespace", ""), meta["name"]
            if key in owners:
                marks[key] = Mark(meta["uid"], str(meta.get("generation") or meta["resourceVersion"]), _writers(item))
    return marks, dict(owners)


def _listed(stage: Stage, kind: str, version: str) -> list[Object]:
    with suppress(*REFUSALS):
        return stage.client.list(kind, version=version)
    return []


def _writers(item: Object) -> tuple[str, ...]:
    """Who wrote to an object's own fields, the last one first."""
    fields = [f for f in item["metadata"].get("managedFields") or [] if not f.get("subresource")]
    fields.sort(key=lambda f: str(f.get("time", "")), reverse=True)
    return tuple(dict.fromkeys(str(f.get("manager", "")) for f in fields))


def _said(
    stage: Stage, keys: list[Key], made_anew: set[Key], owners: Mapping[Key, list[str]], marks: Mapping[Key, Mark]
) -> Iterator[Lame]:
    by_key = {(m.group, m.kind, m.namespace, m.name): m for m in stage.tree.objects}
    for key in keys:
        manifest = by_key.get(key)
        if manifest is None:
            continue
        both = sorted(set(owners.get(key, [])))
        others = [w for w in marks[key].writers if w != _FLUX] if key in marks else []
        if key in made_anew:
            words = f"{manifest.id} is removed by something and made anew at every interval"
            yield Lame("apply.made-anew", manifest, (), words)
        elif len(both) > 1:
            words = (
                f"{manifest.id} is applied by Kustomizations {' and '.join(both)}, and each undoes what the other wrote"
            )
            yield Lame("apply.duplicate-object", manifest, (), words)
        elif others:
            words = f"{manifest.id} is written by {' and '.join(others)} between two applies of Kustomization {both[0] if both else manifest.owner}"
            yield Lame("apply.pulled-at", manifest, (), words)


def _failed(stage: Stage, late: list[State]) -> Iterator[Lame]:
    """What was applied once and is refused the next time."""
    for state in late:
        known = stage.tree.kustomizations.get(f"{state.namespace}/{state.name}")
        if state.doing is Doing.FAILED and known is not None:
            words = f"{state.id} became ready, and fails when it is applied again: {state.said[:300]}"
            yield Lame("apply.not-again", _manifest(stage, known.manifest), (), words)


def _manifest(stage: Stage, manifest: Manifest) -> Manifest:
    return manifest if manifest.file else stage.tree.root.manifest
