"""The order of a start: loops, what nothing in the tree gives, what waits for what can't come in its time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from holdfast.durations import go_seconds
from holdfast.tree.boot import Blocked, Link
from holdfast.tree.findings import Outcome, Severity, Violation, hit, rule
from holdfast.tree.fluxapi import applies_as_kubectl
from holdfast.tree.given import GIVEN_CLASSES
from holdfast.tree.needs import Phase, State
from holdfast.tree.releases import without_releases
from holdfast.tree.repository import Location
from holdfast.tree.tree import Tree

FAMILY = "apply"
_LACKING = {
    "dependsOn": ("apply.missing-dependency", "apply what it depends on, or take the dependency out"),
    "kind": ("apply.missing-kind", "apply the CRD first: in this Kustomization, or in one that this one depends on"),
    "namespace": (
        "apply.missing-namespace",
        "add the Namespace to the tree (one that a person made is missing from the next cluster), or fix its name",
    ),
    "source": ("apply.missing-source", "apply the source, or fix the reference (kind, name, namespace)"),
    "storage": ("apply.missing-class", "name a class that exists, or add it to the tree"),
    "healthCheck": ("apply.missing-health-check", "fix the name in the health check, or take it out"),
    "variables": ("apply.missing-variables", "fix the name in substituteFrom, or add what it names"),
    "values": ("apply.missing-values", "fix the name in valuesFrom, or add what it names"),
    "elsewhere": (
        "apply.wrong-namespace",
        "put both in one namespace: Flux looks for it beside the object that names it",
    ),
    "suspend": ("apply.suspended-dependency", "resume it, or take it out of what must be ready"),
}


@rule(
    "boot.loop",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="running clusters don't show it: a cluster that is built from nothing never gets past it",
    do="cut one link of the chain",
)
def loops(tree: Tree) -> Iterator[Outcome]:
    """Kustomizations that wait for each other in a circle, by whatever means."""
    found: list[tuple[set[str], list[Blocked]]] = []
    for blocked in [*tree.boot.blocked, *tree.boot.never_ready]:
        if not blocked.loop:
            continue
        links = {str(step) for step in _circle(blocked.chain) if step.need.how != "owns"}
        known = next((one for one in found if one[0] & links), None)
        if known:  # what is applied by it, and never ready for the same reason
            known[1].append(blocked)
        else:
            found.append((links, [blocked]))
    yield from (_chained(tree, *blocked) for _, blocked in found)


def _circle(chain: Sequence[Link]) -> Sequence[Link]:
    """The links of a chain that go round, without those that lead there."""
    return chain[next((i for i, step in enumerate(chain) if step.state.id == chain[-1].other.id), 0) :]


def _chained(tree: Tree, blocked: Blocked, *more: Blocked) -> Violation:
    names = tuple(f"Kustomization/{i}" for i in blocked.kustomizations)
    others = tuple(f"Kustomization/{i}" for one in more for i in one.kustomizations)
    chain = " → ".join(str(step) for step in blocked.chain)
    stand = tuple(dict.fromkeys(step.need.location for step in blocked.chain))
    verb = "can never be applied" if blocked in tree.boot.blocked else "can never become ready"
    who = _some(names)
    said = f"{who} {verb} on an empty cluster: {chain}, and so round in a circle"
    # The tree's own Flux, of before server-side apply, applies what it can and comes back for the rest.
    severity = Severity.UPGRADE_HAZARD if applies_as_kubectl(tree) else None
    return Violation(names[0], stand, said, hits=tuple(dict.fromkeys([*names, *others])), severity=severity)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= _NAMED else f"{names[0]} and {len(names) - 1} others"


_NAMED = 3  # Kustomizations that one sentence names; where there are more, all are among the hits


_WHY = dict.fromkeys(
    ("kind", "namespace"),
    "the whole set of a Kustomization is tried before anything of it is applied: one thing that is missing holds back all",
) | {"dependsOn": "what depends on it never begins"}


def _causes(tree: Tree, how: str) -> Iterator[Outcome]:
    graph = tree.graph
    for lacking in sorted(s for s in graph.edges if s.phase is Phase.MISSING):
        needers = sorted(s for s in graph.edges.required_by[lacking] if graph.needs(s, lacking).how == how)
        if not needers:
            continue
        needs = [graph.needs(s, lacking) for s in needers]
        held = [h for h in _lost(tree, lacking) if h not in {s.id for s in needers}]
        if how == "suspend":  # what is applied by the suspended one alone was put to sleep with it
            held = [h for h in held if not _only_by(tree, h, needers)]
        never = {f"Kustomization/{i}" for b in tree.boot.blocked for i in b.kustomizations}
        parts = [("it holds back", [h for h in held if h in never]), ("it keeps", [h for h in held if h not in never])]
        told = [f"{verb} {_some(names)}" for verb, names in parts if names]
        also = f"; {' and '.join(told)}" if told else ""
        also += " from becoming ready" if parts[1][1] else ""
        yield Violation(
            needers[0].id,
            tuple(dict.fromkeys([*(n.location for n in needs), *_meant(tree, lacking)])),
            f"{needs[0].why}{also}",
            why=_WHY.get(how, f"it never becomes ready{', and what waits for it never begins' if held else ''}"),
            hits=tuple(dict.fromkeys([*(s.id for s in needers), *held])),
            cause=_habit(how, lacking, needs[0].why),
        )


def _habit(how: str, lacking: State, said: str) -> str:
    """What else is missing for the same reason: the namespaces that nobody wrote down, the kinds of one operator; empty for a slip of one name."""
    if "did you mean" in said:
        return ""
    if how == "kind":
        return lacking.id.rpartition("(")[2].rstrip(")")  # the group
    return "namespaces" if how == "namespace" else ""


def _only_by(tree: Tree, held: str, suspended: list[State]) -> bool:
    known = tree.kustomizations.get(held.partition("/")[2])
    return known is not None and any(f"Kustomization/{way}" == s.id for way in known.way for s in suspended)


def _meant(tree: Tree, lacking: State) -> Iterator[Location]:
    """Where the thing stands that a name was meant for, where the build or its namespace keeps it away."""
    kind, _, rest = lacking.id.partition("/")
    namespace, _, name = rest.rpartition("/")
    if rest:
        yield from tree.names.other_place(kind, namespace, name)


def _lost(tree: Tree, lacking: State) -> list[str]:
    """The Kustomizations that this alone keeps from being applied or ready."""
    found = []
    for blocked in [*tree.boot.blocked, *tree.boot.never_ready]:
        if blocked.chain and blocked.chain[-1].other == lacking:
            found += [f"Kustomization/{i}" for i in blocked.kustomizations]
    return found


def waited_for(tree: Tree) -> set[str]:
    """The suspended Kustomizations that another waits for: apply.suspended-dependency says them."""
    return {said.object for said in _causes(tree, "suspend") if isinstance(said, Violation) and len(said.hits) > 1}


def _missing_rule(how: str, name: str, do: str) -> None:
    @rule(name, FAMILY, Severity.BREAKS_APPLY, why="", do=do)
    def judge(tree: Tree) -> Iterator[Outcome]:
        for said in _causes(tree, how):
            # A suspended Kustomization is a defect of the order only where another waits for it.
            if how != "suspend" or (isinstance(said, Violation) and len(said.hits) > 1):
                yield said


for _how, (_name, _do) in _LACKING.items():
    _missing_rule(_how, _name, _do)


@rule(
    "apply.late-volume",
    FAMILY,
    Severity.BREAKS_APPLY,
    why="the claim stays Pending until a pod mounts it, so its Kustomization never becomes ready",
    do="apply the claim and its pod in one Kustomization, or let it not wait",
)
def late_volume(tree: Tree) -> Iterator[Outcome]:
    """Claims of a class that binds late, in a Kustomization that waits for them, with no pod that mounts them."""
    for claim in tree.of("PersistentVolumeClaim"):
        kustomization, name = tree.kustomization_of(claim), claim.spec.get("storageClassName")
        own = tree.by_key.get(("StorageClass", "", str(name)))
        late = name in GIVEN_CLASSES or (
            own is not None and own.body.get("volumeBindingMode") == "WaitForFirstConsumer"
        )
        if (
            kustomization
            and kustomization.waits
            and late
            and without_releases(tree, claim.namespace)
            and claim.namespace not in tree.unseen_makers
            and not any(claim.name in {c for _, c in m.claims()} for m in tree.workloads_in(claim.namespace))
        ):
            yield hit(
                tree,
                claim,
                f"{claim.id} binds only once a pod mounts it, none does, and Kustomization/{kustomization.id} waits for it",
                "spec",
                "storageClassName",
            )


@rule(
    "apply.timeout",
    FAMILY,
    Severity.UPGRADE_HAZARD,
    why="the Kustomization reports failure, and holds back its dependants, while the release is still within its time",
    do="give the Kustomization at least the timeout of its slowest release",
)
def timeout(tree: Tree) -> Iterator[Outcome]:
    """Kustomizations that wait for a release for less time than the release itself may take."""
    for release in tree.releases:
        kustomization = tree.kustomization_of(release.manifest)
        limit = (
            go_seconds(kustomization.spec.get("timeout") or kustomization.spec.get("interval"))
            if kustomization and kustomization.waits
            else None
        )
        own = go_seconds(release.manifest.spec.get("timeout") or "5m")
        if kustomization and limit is not None and own is not None and limit < own and kustomization.manifest.file:
            yield Violation(
                kustomization.manifest.id,
                (
                    tree.locate(kustomization.manifest, "spec", "timeout"),
                    tree.locate(release.manifest, "spec", "timeout"),
                ),
                f"Kustomization/{kustomization.id} waits {limit:g}s, and {release.manifest.id} may take {own:g}s",
                hits=(kustomization.manifest.id, release.manifest.id),
            )
