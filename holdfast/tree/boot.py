"""In which layers a cluster starts from nothing, what never starts and why; what freezes and what stops when something is down."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from holdfast.tree.graph import Graph
from holdfast.tree.manifest import Manifest, mapping
from holdfast.tree.needs import Need, Phase, State
from holdfast.tree.tree import KUSTOMIZE


@dataclass(frozen=True)
class Link:
    """One link of a chain: *state* needs *other* because of *need*."""

    state: State
    other: State
    need: Need

    def __str__(self) -> str:
        return f"{self.need.why} ({self.need.location})"


@dataclass(frozen=True)
class Blocked:
    """Kustomizations that can never start, all by the same cause.

    Attributes:
        chain: the shortest chain of reasons, from the first of them to what is lacking, or round a loop.
        loop: whether the chain ends in a loop.
    """

    kustomizations: tuple[str, ...]
    chain: tuple[Link, ...]
    loop: bool


@dataclass(frozen=True)
class Boot:
    """How a cluster starts.

    Attributes:
        layers: ids of Kustomizations in the order in which they can be applied; those in one layer start together.
        blocked: what never starts.
        never_ready: what is applied and never becomes ready, by cause.
    """

    waves: tuple[tuple[str, ...], ...]
    blocked: tuple[Blocked, ...]
    never_ready: tuple[Blocked, ...]


@dataclass(frozen=True)
class Down:
    """What follows when something is down.

    Attributes:
        seeds: what was taken as down.
        frozen: Kustomizations and releases that get no change any more, each with its chain of reasons.
        unready: Kustomizations that still apply changes and report failure.
        stopped: workloads and Ingresses that stop working, each with its chain.
    """

    seeds: tuple[str, ...]
    frozen: dict[str, tuple[Link, ...]]
    unready: dict[str, tuple[Link, ...]]
    stopped: dict[str, tuple[Link, ...]]


def _reached(graph: Graph, broken: Iterable[State], *, skip: str) -> tuple[set[State], dict[State, int]]:
    """The states that can never come true - *broken* ones, loops, and all that needs them - and of the others how many Kustomizations lie below.

    *skip* names the needs that don't count.
    """
    edges = graph.edges
    counting = {s: [o for o, need in others.items() if not getattr(need, skip)] for s, others in edges.requires.items()}
    missing = {s: min(1, len(o)) if s.phase is Phase.ANY else len(o) for s, o in counting.items()}
    lost, depth = set(broken), dict[State, int]()
    queue = [(int(s.phase is Phase.APPLIED), s) for s in edges if not missing[s] and s.phase is not Phase.MISSING]
    heapq.heapify(queue)
    while queue:
        level, state = heapq.heappop(queue)
        if state in depth or state in lost:
            continue
        depth[state] = level
        for above in edges.required_by[state]:
            if above in depth or above in lost or getattr(edges.requires[above][state], skip):
                continue
            missing[above] -= 1
            if missing[above] <= 0:  # the last of its needs to come true is the deepest
                heapq.heappush(queue, (level + (above.phase is Phase.APPLIED), above))
    return set(edges) - set(depth), depth


def lost(graph: Graph, broken: Iterable[State]) -> set[State]:
    """What can't come true in a start from nothing where *broken* doesn't, these among it."""
    return _reached(graph, broken, skip="run")[0]


def boot(graph: Graph) -> Boot:
    """Starts the tree from nothing, as kustomize-controller would."""
    never, depth = _reached(graph, (), skip="run")
    ids = list(graph.tree.kustomizations)
    applied = {i: State(f"Kustomization/{i}", Phase.APPLIED) for i in ids}
    blocked = [i for i in ids if applied[i] in never]
    unready = [i for i in ids if i not in blocked and State(f"Kustomization/{i}", Phase.READY) in never]
    found: dict[int, list[str]] = {}
    for i in ids:
        if i not in blocked:
            found.setdefault(depth.get(applied[i], 0), []).append(i)
    return Boot(
        tuple(tuple(found[d]) for d in sorted(found)),
        _by_cause(graph, never, blocked, Phase.APPLIED),
        _by_cause(graph, never, unready, Phase.READY),
    )


def _by_cause(graph: Graph, never: set[State], ids: list[str], sort: Phase) -> tuple[Blocked, ...]:
    """Each cause once, with all that it holds back, in the order of the tree."""
    if not ids:
        return ()
    import networkx as nx  # noqa: PLC0415  a tenth of a second that only a tree with a defect needs

    bad = nx.DiGraph()
    bad.add_nodes_from(never)
    bad.add_edges_from(
        (a, b) for a in never for b, need in graph.edges.requires[a].items() if b in never and not need.run
    )
    for state in never:  # where a giver is known, what is only called like one explains nothing
        guessed = [(state, b) for b in bad.successors(state) if graph.needs(state, b).guess]
        if len(guessed) < bad.out_degree(state):
            bad.remove_edges_from(guessed)
    loops = _loops(bad)
    found: dict[Any, tuple[list[str], list[State], bool]] = {}
    for one in ids:
        path, loop = _chain(bad, loops, State(f"Kustomization/{one}", sort))
        cause: frozenset[tuple[State, State]] | State = path[-1]
        if loop:
            round_of = _round_of(graph, path)
            cause = next((c for c in found if isinstance(c, frozenset) and c & round_of), round_of)
        if cause in found:
            found[cause][0].append(one)
            if len(path) < len(found[cause][1]):
                found[cause] = (found[cause][0], path, loop)
        else:
            found[cause] = ([one], path, loop)
    return tuple(
        Blocked(tuple(kustomizations), _steps(graph, path), loop) for kustomizations, path, loop in found.values()
    )


def _round_of(graph: Graph, path: list[State]) -> frozenset[tuple[State, State]]:
    """The links of the circle that a path ends in which somebody could cut: that an object is applied by its owner isn't one.

    Circles with such a link in common end with it, so they are one defect.
    """
    circle = path[path.index(path[-1]) :]
    links = [*zip(circle, circle[1:], strict=False)]
    told = [(a, b) for a, b in links if (need := graph.needs(a, b)).how != "owns" and need.why not in _UNTOLD]
    return frozenset(told or links)


def _loops(bad: Any) -> set[State]:
    """The states that are part of a circle. One that closes through one of several ways is none while another way waits for something else."""
    import networkx as nx  # noqa: PLC0415  see above

    while True:
        parts = [part for part in nx.strongly_connected_components(bad) if len(part) > 1]
        through = [
            (state, other)
            for part in parts
            for state in part
            if state.phase is Phase.ANY and any(o not in part for o in bad.successors(state))
            for other in bad.successors(state)
            if other in part
        ]
        if not through:
            return {state for part in parts for state in part}
        bad.remove_edges_from(through)


def _chain(bad: Any, loops: set[State], start: State) -> tuple[list[State], bool]:
    """The shortest way from *start* to something lacking, or into a loop and once round it."""
    before: dict[State, State | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        if state in loops:
            return [*_back(before, state), *_round(bad, state)], True
        below = sorted(bad.successors(state))
        if not below:
            return _back(before, state), False
        for other in below:
            if other not in before:
                before[other] = state
                queue.append(other)
    return [start], False


def _back(before: dict[State, State | None], state: State) -> list[State]:
    path = [state]
    while (above := before[path[-1]]) is not None:
        path.append(above)
    return path[::-1]


def _round(bad: Any, state: State) -> list[State]:
    """The shortest way from a state back to itself, without its first."""
    before: dict[State, State | None] = {state: None}
    queue = deque([state])
    while queue:
        here = queue.popleft()
        for other in sorted(bad.successors(here)):
            if other == state:
                return [*_back(before, here)[1:], state]
            if other not in before:
                before[other] = here
                queue.append(other)
    return []


_UNTOLD = frozenset(
    {
        "its definitions come first",
        "it is ready once all of it is applied",
        "it must be there itself",
        "it must be there",
        "it is ready once it is installed",
    }
)


def _steps(graph: Graph, path: list[State]) -> tuple[Link, ...]:
    """The links of a path; what goes without saying is left out."""
    steps = [Link(a, b, graph.needs(a, b)) for a, b in zip(path, path[1:], strict=False)]
    told = [s for s in steps if s.need.why not in _UNTOLD]
    return tuple(told or steps)


def seeds_of(graph: Graph, wanted: str) -> list[Manifest]:
    """What NAMESPACE, KIND/NAME or KIND/NAMESPACE/NAME stands for; empty where the tree has nothing of it."""
    objects = graph.tree.objects
    if "/" not in wanted:  # what runs there, not what Flux merely keeps there
        made = [
            m
            for m in objects
            if (m.namespace == wanted and not m.group.startswith(("kustomize.toolkit", "source.toolkit")))
            or (m.kind == "Namespace" and m.name == wanted)
        ]
        return made + [
            r.manifest for r in graph.releases.values() if r.target_namespace == wanted and r.manifest not in made
        ]
    parts = wanted.split("/")
    kind, name = parts[0].lower(), parts[-1]
    namespace = parts[1] if len(parts) == 3 else None
    return [m for m in objects if m.kind.lower() == kind and m.name == name and namespace in (None, m.namespace)]


def down(graph: Graph, seeds: list[Manifest]) -> Down:
    """What follows when *seeds* are not healthy: what isn't reconciled any more, and what stops working.

    A Kustomization that waits for them still applies changes and reports failure; those that depend on it wait for its readiness at the
    new revision and are frozen. What a release once made (definitions, bound volumes) stays.
    """
    visited = {m.id for m in seeds}
    # What has no health of its own is down when it is missing.
    broken = {State(i, s) for i in visited for s in (Phase.READY, Phase.EXISTS)} | {
        State(m.id, Phase.APPLIED) for m in seeds if m.is_(KUSTOMIZE, "Kustomization") or m.id in graph.releases
    }
    root = graph.tree.root
    ref = mapping(root.spec.get("sourceRef")) if root else {}
    if root and f"{ref.get('kind')}/{root.manifest.namespace}/{ref.get('name')}" in visited:
        broken |= {
            State(f"Kustomization/{i}", Phase.APPLIED)
            for i, kustomization in graph.tree.kustomizations.items()
            if not kustomization.not_read
        }
    lost = _reached(graph, broken, skip="boot")[0] - _reached(graph, (), skip="boot")[0]
    why = _reasons(graph, lost, broken)
    frozen, unready, stopped = {}, {}, {}
    for kustomization in graph.tree.kustomizations:
        name = f"Kustomization/{kustomization}"
        if name in visited:
            continue
        if State(name, Phase.APPLIED) in lost:
            frozen[name] = why(State(name, Phase.APPLIED))
        elif State(name, Phase.READY) in lost:
            unready[name] = why(State(name, Phase.READY))
    for manifest in graph.tree.objects:
        state = State(manifest.id, Phase.APPLIED if manifest.id in graph.releases else Phase.READY)
        if state not in lost or manifest.id in visited:
            continue
        if manifest.id in graph.releases:
            frozen[manifest.id] = why(state)
        elif manifest.pod_path or manifest.kind == "Ingress":
            stopped[manifest.id] = why(state)
    return Down(tuple(sorted(visited)), frozen, unready, stopped)


def _reasons(graph: Graph, lost: set[State], broken: set[State]) -> Any:
    def why(state: State) -> tuple[Link, ...]:
        before: dict[State, State | None] = {state: None}
        queue = deque([state])
        while queue:
            here = queue.popleft()
            if here in broken:
                return _steps(graph, _back(before, here))
            for other in sorted(graph.edges.requires[here]):
                if other in lost and other not in before and not graph.needs(here, other).boot:
                    before[other] = here
                    queue.append(other)
        return ()

    return why


@dataclass(frozen=True)
class Reach:
    """That something needs something else: the shortest chain, and whether it is *sure*: whatever is taken of several that would do."""

    steps: tuple[Link, ...]
    sure: bool


def reaches(graph: Graph, starts: Iterable[State], targets: set[State]) -> Reach | None:
    """How any of *starts* needs one of *targets*, by any kind of need; None where none does.

    What is met by one of several needs a target for sure only where each of them does.
    """
    starts = list(starts)
    sure = _surely(graph, targets)
    if steps := _shortest(graph, [s for s in starts if s in sure], targets, sure):
        return Reach(steps, True)
    steps = _shortest(graph, starts, targets, None)
    return Reach(steps, False) if steps else None


def _surely(graph: Graph, targets: set[State]) -> set[State]:
    """What can't be without one of *targets*, these among it."""
    edges = graph.edges
    left = {s: len(others) if s.phase is Phase.ANY else 1 for s, others in edges.requires.items()}
    found, queue = set(targets), deque(targets)
    while queue:
        for above in edges.required_by.get(queue.popleft(), ()):
            left[above] -= 1
            if left[above] == 0 and above not in found:
                found.add(above)
                queue.append(above)
    return found


def _shortest(
    graph: Graph, starts: Iterable[State], targets: set[State], within: set[State] | None
) -> tuple[Link, ...] | None:
    before: dict[State, State | None] = dict.fromkeys(starts)
    queue = deque(before)
    while queue:
        here = queue.popleft()
        if here in targets:
            return _steps(graph, _back(before, here))
        if here not in graph.edges:
            continue
        for other in sorted(graph.edges.requires[here]):
            if other not in before and (within is None or other in within):
                before[other] = here
                queue.append(other)
    return None
