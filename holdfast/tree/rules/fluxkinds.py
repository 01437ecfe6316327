"""Flux's own kinds: API versions that the tree's Flux doesn't serve (any more), and fields that don't go together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from holdfast.tree import fluxapi
from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Outcome, Severity, Violation, hit, rule
from holdfast.tree.manifest import Body, Manifest, get, mapping, sequence
from holdfast.tree.repository import Location
from holdfast.tree.sources import PathKey
from holdfast.tree.tree import HELM, KUSTOMIZE, NOTIFICATION, SOURCE, Tree

FAMILY = "schema"
_PARTS = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")
_REFUSED = "the API server doesn't serve it: the whole set of its Kustomization is refused"
_WILL_BE = "with a Flux that doesn't serve it the whole set of its Kustomization is refused"


@dataclass
class _Use:
    """Where an API version of a kind is used, in what is applied or in what isn't."""

    locations: list[Location] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


@rule(
    "schema.flux-version",
    FAMILY,
    Severity.BREAKS_APPLY,
    why=_REFUSED,
    do="write a version that this Flux serves, before Flux is upgraded: flux migrate",
)
def version(tree: Tree) -> Iterator[Outcome]:
    """API versions of Flux's kinds against what the tree's Flux serves: refused where that Flux is known, else a hazard."""
    flux = fluxapi.version_of(tree)
    minor = flux.minor if flux else ""
    defined = _defined(tree)
    for (api, kind, unreferenced, checked), use in _uses(tree).items():
        group = api.rpartition("/")[0]
        if (group, kind) in defined and not tree.flux:
            continue  # schema.version judges by the tree's own definitions
        said = _of_no_kind(api, group, kind) if checked else _judged(api, kind, minor)
        if said:
            severity, what = said
            yield Violation(
                use.ids[0],
                tuple(use.locations),
                what,
                why=_REFUSED if severity is Severity.BREAKS_APPLY else _WILL_BE,
                hits=tuple(dict.fromkeys(use.ids)),
                severity=severity,
                unreferenced=unreferenced,
            )


def _defined(tree: Tree) -> set[tuple[str, str]]:
    return {(str(m.spec.get("group")), str(get(m.spec, "names", "kind"))) for m in tree.of("CustomResourceDefinition")}


def _uses(tree: Tree) -> dict[tuple[str, str, bool, bool], _Use]:
    """Each API version of Flux's kinds that objects have, or that health checks name (the last of the four), whose version Flux doesn't look at."""
    found: dict[tuple[str, str, bool, bool], _Use] = {}

    def add(api: str, kind: str, manifest: Manifest, *path: PathKey) -> None:
        use = found.setdefault((api, kind, manifest.unreferenced, len(path) > 1), _Use())
        use.locations.append(tree.locate(manifest, *path))
        use.ids.append(manifest.id)

    for manifest in [*tree.objects, *tree.unreferenced_objects]:
        if _is_flux(manifest.group) and UNKNOWN not in manifest.api:
            add(manifest.api, manifest.kind, manifest, "apiVersion")
        if manifest.is_(KUSTOMIZE, "Kustomization"):
            for index, check in enumerate(map(mapping, sequence(manifest.spec.get("healthChecks")))):
                api = str(check.get("apiVersion") or "")
                if _is_flux(api.rpartition("/")[0]) and UNKNOWN not in api:
                    add(api, str(check.get("kind")), manifest, "spec", "healthChecks", index, "apiVersion")
    return found


def _is_flux(group: str) -> bool:
    return group.endswith(".toolkit.fluxcd.io") or group == "source.extensions.fluxcd.io"


def _judged(api: str, kind: str, minor: str) -> tuple[Severity, str] | None:
    """What is wrong with an API version of a kind, and how bad it is."""
    group, _, number = api.rpartition("/")
    if not fluxapi.is_known(group, kind):
        return _of_no_kind(api, group, kind)
    life = fluxapi.life(f"{group}/{number}/{kind}")
    if minor in fluxapi.minors():
        serves = fluxapi.served(group, kind, minor)
        if number not in serves:
            return Severity.BREAKS_APPLY, f"Flux {minor} serves no {kind} in {api}" + (
                f"; it serves {', '.join(serves)}" if serves else ""
            )
    elif life is None and not _newer(number, fluxapi.served(group, kind, fluxapi.minors()[-1])):
        return Severity.BREAKS_APPLY, f"no Flux 2 serves {kind} in {api}"
    if life and life.gone:
        better = ", ".join(fluxapi.served(group, kind, fluxapi.minors()[-1]))
        return Severity.UPGRADE_HAZARD, f"{api} of {kind} is gone from Flux {life.gone} on; {better} takes its place"
    return None


def _of_no_kind(api: str, group: str, kind: str) -> tuple[Severity, str] | None:
    """A kind that this group of Flux's hasn't got and another has."""
    homes = [
        f"{n.split('/')[0]}/{n.split('/')[1]}" for n in fluxapi.schemas(fluxapi.minors()[-1]) if n.endswith(f"/{kind}")
    ]
    if not homes or not kind or fluxapi.is_known(group, kind):
        return None
    return Severity.BREAKS_APPLY, f"{group} has no kind {kind} ({api}); it is of {', '.join(homes)}"


def _newer(number: str, known: list[str]) -> bool:
    """Whether a version may be of a Flux that comes after those that are known."""
    return not known or _rank(number) > max(_rank(k) for k in known)


def _rank(number: str) -> tuple[int, int, int]:
    found = _PARTS.fullmatch(number)
    if not found:
        return (0, 0, 0)
    return int(found[1]), {"alpha": 0, "beta": 1}.get(found[2] or "", 2), int(found[3] or 0)


# What the CRDs say in CEL: (group, kind) → the fields that stand together, whether they may, and the words.
_Test = Callable[[Body], bool]
_TOGETHER: list[tuple[str, str, tuple[str, ...], _Test, str]] = [
    (
        HELM,
        "HelmRelease",
        ("spec",),
        lambda s: bool(s.get("chart")) != bool(s.get("chartRef")),
        "needs one of spec.chart and spec.chartRef, and has {both:both|none}",
    ),
    *(
        (
            group,
            kind,
            ("spec", "kubeConfig"),
            lambda k: bool(k.get("secretRef")) != bool(k.get("configMapRef")),
            "needs one of spec.kubeConfig's secretRef and configMapRef",
        )
        for group, kind in ((HELM, "HelmRelease"), (KUSTOMIZE, "Kustomization"))
    ),
    (
        HELM,
        "HelmRelease",
        ("spec", "install", "strategy"),
        lambda s: not s.get("retryInterval") or s.get("name") != "RemediateOnFailure",
        "has a retryInterval in install.strategy, which RemediateOnFailure doesn't take",
    ),
    (
        HELM,
        "HelmRelease",
        ("spec", "upgrade", "strategy"),
        lambda s: not s.get("retryInterval") or s.get("name") == "RetryOnFailure",
        "has a retryInterval in upgrade.strategy, which only RetryOnFailure takes",
    ),
    (
        SOURCE,
        "GitRepository",
        ("spec",),
        lambda s: not s.get("serviceAccountName") or s.get("provider") in ("azure", "aws"),
        "has a serviceAccountName, which only the providers azure and aws take",
    ),
    (
        SOURCE,
        "HelmChart",
        ("spec",),
        lambda s: not s.get("verify") or mapping(s.get("sourceRef")).get("kind") == "HelmRepository",
        "has verify, which only a chart of a HelmRepository takes",
    ),
    (
        NOTIFICATION,
        "Receiver",
        ("spec",),
        lambda s: bool(s.get("secretRef")) != (s.get("type") == "generic-oidc"),
        "needs a secretRef, unless its type is generic-oidc",
    ),
    (
        "image.toolkit.fluxcd.io",
        "ImagePolicy",
        ("spec",),
        lambda s: bool(s.get("interval")) == (s.get("digestReflectionPolicy") == "Always"),
        "has spec.interval without digestReflectionPolicy: Always, or the other way round",
    ),
]


@rule(
    "schema.flux-fields",
    FAMILY,
    Severity.BREAKS_APPLY,
    why=_REFUSED.replace("doesn't serve it", "refuses it"),
    do="keep one of them",
)
def fields(tree: Tree) -> Iterator[Outcome]:
    """Fields of Flux's kinds that can't stand together, or of which one is needed."""
    for manifest in [*tree.objects, *tree.unreferenced_objects]:
        if not _is_flux(manifest.group):
            continue
        for group, kind, path, is_right, words in _TOGETHER:
            at = get(manifest.body, *path)
            if manifest.is_(group, kind) and isinstance(at, dict) and not is_right(at):
                both = bool(at.get("chart"))
                text = words.replace("{both:both|none}", "both" if both else "none")
                yield hit(tree, manifest, f"{manifest.id} {text}", *path)
