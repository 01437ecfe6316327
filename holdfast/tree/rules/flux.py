"""Flux itself: controllers, source, intervals, recovery, what is reported back, and whether all of the tree is reached."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from holdfast.durations import go_seconds
from holdfast.tree.boot import reaches
from holdfast.tree.findings import (
    Evidence,
    Inconclusive,
    NotApplicable,
    Outcome,
    Severity,
    Violation,
    hit,
    rule,
)
from holdfast.tree.flux_documents import flux_documents
from holdfast.tree.manifest import Manifest, get, mapping, sequence
from holdfast.tree.needs import Phase, State
from holdfast.tree.origin import same_address
from holdfast.tree.roles import storage_states
from holdfast.tree.rules.order import waited_for
from holdfast.tree.tree import KUSTOMIZE, NOTIFICATION, SOURCE, Tree

_CONTROLLERS = ("source-controller", "kustomize-controller", "helm-controller", "notification-controller")
_WRITES_STATUS = frozenset({"github", "gitlab", "gitea", "bitbucket", "bitbucketserver", "azuredevops"})


@rule(
    "flux.interval",
    "flux-reconciles",
    Severity.BREAKS_CLAIM,
    why="a push waits that long before anything happens",
    do="poll every 30s, or state the other interval",
    opt_in=True,
)
def interval(tree: Tree) -> Iterator[Outcome]:
    """The source that the entry polls, and how often."""
    ref = mapping(tree.root.spec.get("sourceRef")) if tree.root else {}
    sources = [m for m in tree.of("GitRepository", "OCIRepository", "Bucket") if m.name == ref.get("name")]
    if not sources:
        yield NotApplicable("the source that the entry polls isn't in the tree")
        return
    declared = go_seconds(tree.settings.declared.poll)
    for source in sources:
        every = go_seconds(source.spec.get("interval"))
        if every is None or (declared is not None and every > declared):
            yield hit(
                tree,
                source,
                f"{source.id} is polled every {source.spec.get('interval')}, and {declared:g}s is promised",
                "spec",
                "interval",
            )
        else:
            yield Evidence(f"{source.id} is polled every {source.spec.get('interval')}")


@rule(
    "flux.suspended",
    "flux-reconciles",
    Severity.BREAKS_CLAIM,
    why="nothing of it is reconciled, and nothing says so",
    do="resume it, or take it out of the tree",
)
def suspended(tree: Tree) -> Iterator[Outcome]:
    """What is suspended in Git."""
    elsewhere = waited_for(tree)
    for manifest in tree.objects:
        if manifest.id not in elsewhere and manifest.suspended and manifest.group.endswith("toolkit.fluxcd.io"):
            yield hit(tree, manifest, f"{manifest.id} is suspended", "spec", "suspend")
    yield Evidence("nothing is suspended in Git")


@rule(
    "flux.prune",
    "flux-reconciles",
    Severity.HYGIENE,
    why="what is taken out of Git stays in the cluster",
    do="set prune: true",
)
def prune(tree: Tree) -> Iterator[Outcome]:
    """Kustomizations that don't prune."""
    for manifest in tree.of("Kustomization"):
        if manifest.group == KUSTOMIZE and manifest.spec.get("prune") is not True:
            yield hit(tree, manifest, f"{manifest.id} doesn't prune", "spec", "prune")


@rule(
    "flux.remediation",
    "auto-recovery",
    Severity.BREAKS_CLAIM,
    why="after one failed install or upgrade a release without retries stays as it is until somebody looks",
    do="set install.remediation.retries and upgrade.remediation.retries",
    opt_in=True,
)
def remediation(tree: Tree) -> Iterator[Outcome]:
    """Releases that never try again."""
    if not tree.releases:
        yield NotApplicable("the tree has no HelmRelease")
    tried = 0
    for release in tree.releases:
        spec = release.manifest.spec
        for action in ("install", "upgrade"):
            retries = get(spec, action, "remediation", "retries")
            again = get(spec, action, "strategy", "name") == "RetryOnFailure"
            tried += bool(retries or again)
            if not retries and not again:
                yield hit(
                    tree,
                    release.manifest,
                    f"{release.manifest.id} tries its {action} once",
                    "spec",
                    action,
                    "remediation",
                    "retries",
                )
    yield Evidence(f"{len(tree.releases)} releases: {tried} installs and upgrades try again")


@rule(
    "flux.retry",
    "auto-recovery",
    Severity.HYGIENE,
    why="after a failure it waits a whole interval before it tries again",
    do="set retryInterval",
)
def retry(tree: Tree) -> Iterator[Outcome]:
    """Kustomizations with a long interval and no retryInterval."""
    for manifest in tree.of("Kustomization"):
        every = go_seconds(manifest.spec.get("interval"))
        if manifest.group == KUSTOMIZE and every and every > 600 and not manifest.spec.get("retryInterval"):
            yield hit(
                tree,
                manifest,
                f"{manifest.id} tries again only after {manifest.spec.get('interval')}",
                "spec",
                "interval",
            )


@rule(
    "flux.controllers",
    "flux-four-controllers",
    Severity.BREAKS_CLAIM,
    why="what it does for the others doesn't happen",
    do="run flux bootstrap with the default components",
    opt_in=True,
)
def controllers(tree: Tree) -> Iterator[Outcome]:
    """The four controllers, without volumes."""
    found = {m.name: m for m in tree.of("Deployment") if m.name in _CONTROLLERS}
    if not found and (instances := _instances(tree)):
        for manifest, path, components in instances:
            lacking = [c for c in _CONTROLLERS if c not in components]
            for name in lacking:
                yield hit(tree, manifest, f"{manifest.id} doesn't list {name} among Flux's components", *path)
            if not lacking:
                yield from _otherwise(tree, manifest, path[:-1])
                yield Evidence(f"{manifest.id} lists the four, and the Flux Operator keeps them")
        return
    by_hand = {m.name: m for m in tree.bootstrap if m.kind == "Deployment" and m.name in _CONTROLLERS}
    if not found and by_hand:
        file = next(iter(by_hand.values())).file
        yield Inconclusive(
            f"Flux's own components are applied by hand ({file}): nothing shows that the cluster has them so"
        )
        found = by_hand
    if not found:
        yield NotApplicable(
            "the tree doesn't hold Flux's own components",
            "let flux bootstrap write them, or state where they come from",
        )
        return
    if not any(m.kind == "HelmRelease" for m in tree.objects):
        yield Inconclusive(
            "no release is applied, so nothing shows that Helm's repositories and releases are Flux's work"
        )
    for name in _CONTROLLERS:
        if name not in found:
            first = next(iter(found.values()))
            yield Violation(f"Deployment/{first.namespace}/{name}", (tree.locate(first),), f"{name} isn't in the tree")
        elif any(found[name].claims()):
            yield hit(tree, found[name], f"{found[name].id} keeps data on a volume", *found[name].pod_path, "volumes")
        else:
            yield Evidence(f"{found[name].id}, no volume claim")


def _otherwise(tree: Tree, manifest: Manifest, base: tuple[str, ...]) -> Iterator[Outcome]:
    """What has Flux run otherwise than the list of its components says: a volume, patches, nobody who installs it, a need of storage."""
    said = mapping(get(manifest.body, *base))
    if said.get("storage"):
        yield hit(tree, manifest, f"{manifest.id} gives source-controller a volume", *base, "storage")
    if sequence(get(said, "kustomize", "patches")):
        yield Inconclusive(f"{manifest.id} patches Flux's components, and what that comes to isn't judged")
    owner = tree.kustomization_of(manifest)
    if manifest.spec.get("suspend") is True or (owner is not None and owner.spec.get("suspend") is True):
        yield Inconclusive(f"{manifest.id} is suspended: nothing shows that the cluster has it so")
    brings = any(r.chart == "flux-operator" for r in tree.releases)
    if not brings and not any(
        m.name == "flux-operator" and m.kind in ("Deployment", "HelmChart") for m in (*tree.objects, *tree.bootstrap)
    ):
        yield Inconclusive(f"nothing in the tree installs the Flux Operator, which {manifest.id} is for")
    starts = [State(manifest.id, Phase.READY), State(manifest.id, Phase.EXISTS)]
    starts += [State(f"Kustomization/{owner.id}", Phase.APPLIED)] if owner is not None else []
    if reach := reaches(tree.graph, starts, storage_states(tree)):
        yield Inconclusive(f"{manifest.id} waits for storage: {' → '.join(map(str, reach.steps))}")


def _instances(tree: Tree) -> list[tuple[Manifest, tuple[str, ...], list[str]]]:
    """What has the Flux Operator install Flux: the object, where it lists the components, and these."""
    found = []
    for manifest in [*tree.objects, *tree.bootstrap]:
        base = ("spec",) if manifest.kind == "FluxInstance" else ("spec", "values", "instance")
        said = get(manifest.body, *base)
        if manifest.kind in ("FluxInstance", "HelmRelease") and isinstance(said, dict) and "sync" in said:
            listed = said.get("components")
            found.append((manifest, (*base, "components"), [str(c) for c in listed] if listed else list(_CONTROLLERS)))
    return found


@rule(
    "flux.status",
    "status-reported",
    Severity.BREAKS_CLAIM,
    why="whoever pushes sees in Git no word of whether it was applied",
    do="let the Alert's eventSources take every Kustomization (name: '*')",
    opt_in=True,
)
def status(tree: Tree) -> Iterator[Outcome]:
    """A Provider that writes commit statuses, and an Alert that covers every Kustomization."""
    writing = [m for m in tree.of("Provider") if m.group == NOTIFICATION and m.spec.get("type") in _WRITES_STATUS]
    if not writing:
        yield NotApplicable(
            "the tree has no notification Provider that writes a commit's status",
            "add a Provider (github, gitlab, gitea …) and an Alert for all Kustomizations",
        )
        return
    for provider in writing:
        alerts = [
            a
            for a in tree.of("Alert")
            if get(a.spec, "providerRef", "name") == provider.name
            and a.namespace == provider.namespace
            and a.spec.get("suspend") is not True
        ]
        if not alerts:
            yield hit(
                tree,
                provider,
                f"{provider.id} is named by no Alert",
                "metadata",
                "name",
                do="add an Alert with this providerRef",
            )
        telling = [a for a in alerts if a.spec.get("eventSeverity") != "error"]
        sources = [mapping(s) for a in telling for s in sequence(a.spec.get("eventSources"))]
        uncovered = [
            m
            for m in tree.of("Kustomization")
            if m.group == KUSTOMIZE
            and not any(
                s.get("kind") == "Kustomization"
                and s.get("name") in ("*", m.name)
                and (s.get("namespace") or provider.namespace) == m.namespace
                and _has_labels(m, s.get("matchLabels"))
                for s in sources
            )
        ]
        if alerts and not telling:
            yield hit(
                tree,
                alerts[0],
                f"{alerts[0].id} tells of errors only: what was applied has no status",
                "spec",
                "eventSeverity",
                do="set eventSeverity: info",
            )
        elif alerts and uncovered:
            yield hit(
                tree,
                telling[0],
                f"{telling[0].id} doesn't cover {', '.join(m.id for m in uncovered)}",
                "spec",
                "eventSources",
                hits=tuple(m.id for m in uncovered),
            )
        elif alerts:
            yield from _may_not_write(tree, provider)
            yield Evidence(f"{provider.id} writes the status of every Kustomization's commit")
        yield from (
            Inconclusive(f"{a.id} tells of some events only, by its {key}")
            for a in telling
            for key in ("inclusionList", "exclusionList")
            if a.spec.get(key)
        )


def _may_not_write(tree: Tree, provider: Manifest) -> Iterator[Inconclusive]:
    """Why a Provider's words may not reach the repository: another address, no Secret, nothing that applies it."""
    entry = get(tree.root.spec, "sourceRef", "name") if tree.root else None
    urls = [str(m.spec.get("url") or "") for m in tree.of("GitRepository") if m.group == SOURCE and m.name == entry]
    address = str(provider.spec.get("address") or "")
    if urls and address and same_address(address) not in map(same_address, urls):
        yield Inconclusive(f"{provider.id} writes to {address}, and the entry is read from {urls[0]}")
    secret = str(get(provider.spec, "secretRef", "name") or "")
    if secret and not tree.names.has("Secret", provider.namespace, secret):
        yield Inconclusive(f"{provider.id} writes with Secret/{provider.namespace}/{secret}, which isn't in the tree")
    owner = tree.kustomization_of(provider)
    if owner is not None and owner.spec.get("suspend") is True:
        yield Inconclusive(f"Kustomization/{owner.id}, which applies {provider.id}, is suspended")


def _has_labels(manifest: Manifest, wanted: object) -> bool:
    """Whether an object has all the labels that a source of events asks for."""
    labels = mapping(get(manifest.body, "metadata", "labels"))
    return all(labels.get(k) == v for k, v in mapping(wanted).items())


def _scheme(url: str) -> str:
    """How an address is reached; empty for what is none, such as one that is still to be filled in."""
    try:
        return urlsplit(url).scheme
    except ValueError:
        return ""


@rule(
    "flux.ssh",
    "git-over-ssh",
    Severity.BREAKS_CLAIM,
    why="what it pulls isn't tied to a key of its own",
    do="use ssh://git@HOST/… and a secretRef with identity and known_hosts",
    opt_in=True,
)
def ssh(tree: Tree) -> Iterator[Outcome]:
    """The sources of the repository itself: by SSH, with a key."""
    ref = mapping(tree.root.spec.get("sourceRef")) if tree.root else {}
    space = str(ref.get("namespace") or tree.root.manifest.namespace) if tree.root else ""
    every = [m for m in tree.of("GitRepository") if m.group == SOURCE]
    sources = [m for m in every if (m.namespace, m.name) == (space, ref.get("name"))]
    if not sources:
        yield NotApplicable("the GitRepository that the entry reads isn't in the tree")
        return
    own = {*map(same_address, tree.repository.remotes), *(same_address(str(m.spec.get("url"))) for m in sources)} - {""}
    sources += [m for m in every if m not in sources and same_address(str(m.spec.get("url"))) in own]
    for file, body in flux_documents(tree.sources):
        address = str(get(body, "spec", "sync", "url") or "") if body.get("kind") == "FluxInstance" else ""
        if address and _scheme(address) != "ssh":
            yield Inconclusive(f"the FluxInstance in {file} syncs from {_scheme(address) or 'another address'}")
    for source in sources:
        url = str(source.spec.get("url") or "")
        if _scheme(url) != "ssh":
            yield hit(
                tree,
                source,
                f"{source.id} is pulled by {_scheme(url) or 'something else than SSH'}",
                "spec",
                "url",
            )
        elif not get(source.spec, "secretRef", "name"):
            yield hit(tree, source, f"{source.id} is pulled by SSH without a key", "spec", "url")
        else:
            yield Evidence(
                f"{source.id} is pulled by SSH with the key in Secret/{source.namespace}/{get(source.spec, 'secretRef', 'name')}"
            )
            held = tree.by_key.get(("Secret", source.namespace, str(get(source.spec, "secretRef", "name"))))
            keys = {*mapping(held.body.get("data")), *mapping(held.body.get("stringData"))} if held else set()
            if held is not None and "known_hosts" not in keys:
                yield hit(tree, held, f"{held.id} has no known_hosts, so {source.id} can't be pulled", "data")
            if held is not None and "identity" not in keys:
                yield Inconclusive(f"{held.id} has no identity")
