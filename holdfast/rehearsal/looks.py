"""What stands in the API about Flux's own objects, at one moment."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from holdfast.kube import KubeReader, Object, condition
from holdfast.tree.assumed import ASSUMED

KINDS = ("GitRepository", "Kustomization", "HelmRelease")


class Doing(StrEnum):
    """What an object is at."""

    WAITING = "waiting"  # for another one
    BUILDING = "building"
    APPLYING = "applying"
    CHECKING = "checking"  # its objects' health
    READY = "ready"
    FAILED = "failed"
    ASSUMED = "assumed"  # it isn't read here, and taken for ready
    SUSPENDED = "suspended"


@dataclass(frozen=True)
class State:
    """One of Flux's objects.

    Attributes:
        ready: its Ready condition: ``True``, ``False``, ``Unknown``, or empty where it has none yet, or none of its present generation.
        said: the words of that condition; *progress* those of its Reconciling condition.
        handled: the last request to reconcile that was handled.
        applied: the revision that it applied last, and *source* what it builds from, as ``Kind/namespace/name``; of Kustomizations.
    """

    kind: str
    namespace: str
    name: str
    ready: str = ""
    reason: str = ""
    said: str = ""
    progress: str = ""
    handled: str = ""
    suspended: bool = False
    assumed: bool = False
    applied: str = ""
    source: str = ""

    @property
    def id(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"

    @property
    def doing(self) -> Doing:
        """What it is at, in one word."""
        first = (
            (self.assumed and self.ready == "True", Doing.ASSUMED),
            (self.suspended and not self.assumed, Doing.SUSPENDED),
            (self.ready == "True", Doing.READY),
            (
                self.reason == "ArtifactFailed" and "rtifact not found" in self.said,
                Doing.WAITING,
            ),  # its source is at work
            (self.reason == "DependencyNotReady" and "not found" not in self.said, Doing.WAITING),
            (self.ready == "False", Doing.FAILED),
            ("health checks" in f"{self.progress} {self.said}", Doing.CHECKING),
            ("uilding" in self.progress, Doing.BUILDING),
        )
        return next((doing for is_so, doing in first if is_so), Doing.APPLYING)

    @property
    def settled(self) -> bool:
        """Whether nothing more is expected of it."""
        return self.doing in (Doing.READY, Doing.ASSUMED, Doing.SUSPENDED)

    @property
    def answer(self) -> str:
        """What it says, without what differs from one try to the next."""
        return plain(self.said)


_VARYING = [
    (re.compile(r"after [0-9.µmsh]+s\b"), "after …"),
    (re.compile(r"/[\w./-]*?kustomization-\d+"), ""),  # the folder that it was unpacked into
    (re.compile(r"[\w./-]+@sha1:[0-9a-f]{40}"), "REVISION"),
]


def plain(said: str) -> str:
    """Flux's words without durations, temporary folders and revisions."""
    for pattern, instead in _VARYING:
        said = pattern.sub(instead, said)
    return said.strip()


def state_of(item: Object) -> State:
    """An object of Flux's as a state."""
    meta, spec = item["metadata"], item.get("spec") or {}
    ready = condition(item, "Ready")
    generation = int(meta.get("generation") or 0)
    current = int(ready.get("observedGeneration") or 0) == generation
    return State(
        kind=item["kind"],
        namespace=meta.get("namespace", ""),
        name=meta["name"],
        ready=str(ready.get("status") or "") if current else "",
        reason=str(ready.get("reason") or ""),
        said=str(ready.get("message") or ""),
        progress=str(condition(item, "Reconciling").get("message") or ""),
        handled=str((item.get("status") or {}).get("lastHandledReconcileAt") or ""),
        suspended=spec.get("suspend") is True,
        assumed=spec.get("suspend") is True and ASSUMED in (meta.get("annotations") or {}),
        applied=str((item.get("status") or {}).get("lastAppliedRevision") or ""),
        source=_source(spec, meta.get("namespace", "")) if item["kind"] == "Kustomization" else "",
    )


def _source(spec: Object, namespace: str) -> str:
    ref = spec.get("sourceRef") or {}
    return f"{ref.get('kind')}/{ref.get('namespace') or namespace}/{ref.get('name')}"


def as_of(states: Mapping[str, State], sources: Collection[str], revision: str) -> dict[str, State]:
    """Every state as it stands to one *revision* of some *sources*: whoever builds from them and is ready with another isn't ready yet."""
    commit = revision.rpartition(":")[2]  # each source writes its own branch before it
    return {
        name: replace(state, ready="", reason="", progress="the new commit hasn't come to it yet")
        if state.source in sources
        and state.settled
        and not state.suspended
        and state.applied.rpartition(":")[2] != commit
        else state
        for name, state in states.items()
    }


def look(client: KubeReader) -> dict[str, State]:
    """Everything of Flux's that is there, by id. Raises CannotLook."""
    found = (state_of(item) for kind in KINDS for item in client.list(kind))
    return {state.id: state for state in found}
