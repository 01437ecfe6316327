"""Network policies: what they take away that every pod needs, which is the names of other things."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from holdfast.tree.envsubst import UNKNOWN
from holdfast.tree.findings import Inconclusive, Outcome, Severity, Violation, hit, rule
from holdfast.tree.manifest import Body, Manifest, get, mapping, matches, sequence
from holdfast.tree.releases import Release
from holdfast.tree.tree import Tree

FAMILY = "network"
_DNS_PORTS = frozenset({53, 5353, 8053, 1053})
_HOUSE, _LINK = ipaddress.IPv4Network("192.168.0.0/16"), ipaddress.IPv4Network("169.254.0.0/16")
_PRIVATE = (ipaddress.IPv4Network("10.0.0.0/8"), ipaddress.IPv4Network("172.16.0.0/12"), _HOUSE)
_SPACE_KEYS = ("io.kubernetes.pod.namespace", "io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name")
_OTHERS = frozenset({"projectcalico.org", "crd.projectcalico.org", "policy.networking.k8s.io"})
_MAKERS = frozenset({"ClusterPolicy", "Policy", "GeneratingPolicy", "MutatingPolicy", "ResourceSet", "Bundle"})
_NAMED = re.compile(r"\.svc\b|https?://(?!localhost|127\.)[a-z]|(?<![\w.-])(?!localhost)[a-z][a-z0-9.-]*:[0-9]{2,5}\b")


@dataclass(frozen=True)
class Policy:
    """What a policy says of pods' way out.

    Attributes:
        space: its namespace; empty where it is one of the whole cluster.
        wide: it takes every pod there.
        by_name: it lets something out that is found by its name.
        dns: whether DNS gets out by it; None where that can't be decided.
    """

    manifest: Manifest
    path: tuple[str | int, ...]
    space: str
    selector: Any
    wide: bool
    isolates: bool
    by_name: bool
    dns: bool | None

    def takes(self, space: str, labels: Body) -> bool:
        """Whether it is for the pods with these labels in a namespace."""
        if self.space:
            return self.space == space and matches(self.selector, labels)
        return matches(self.selector, {**labels, **dict.fromkeys(_SPACE_KEYS, space)})


def _or(answers: list[bool | None]) -> bool | None:
    return True if True in answers else None if None in answers else False


# -- Kubernetes' own ---------------------------------------------------------------------------------------------------


def _port(entry: Body) -> bool:
    """Whether an entry of ``ports`` may be that of DNS."""
    port, end = entry.get("port"), entry.get("endPort")
    if port in (None, 0, "0"):
        return True
    number = int(port) if str(port).isdigit() else None
    if number is None:
        return True  # a name: whatever the pods call it
    return number in _DNS_PORTS or (isinstance(end, int) and any(number <= p <= end for p in _DNS_PORTS))


def _block(block: Body) -> bool | None:
    """Whether a range of addresses may hold the cluster's DNS; None where it lies where a house has its own."""
    try:
        net = ipaddress.ip_network(str(block.get("cidr")), strict=False)
        but = [ipaddress.ip_network(str(e), strict=False) for e in sequence(block.get("except"))]
    except ValueError:
        return True
    if isinstance(net, ipaddress.IPv6Network) or net.subnet_of(
        _LINK
    ):  # a cluster of IPv6 has its pods anywhere; DNS on the node itself
        return True
    parts = [p for p in _PRIVATE if net.overlaps(p)]
    open_ = [p for p in parts if not any(p.subnet_of(e) for e in but if isinstance(e, ipaddress.IPv4Network))]
    return None if open_ and net.subnet_of(_HOUSE) and net != _HOUSE else bool(open_)


def _keys(selector: Body) -> set[str]:
    """The labels that a selector asks for."""
    return {
        *mapping(selector.get("matchLabels")),
        *(str(mapping(e).get("key")) for e in sequence(selector.get("matchExpressions"))),
    }


def _of_system(tree: Tree, selector: Body) -> bool | None:
    """Whether a selector of namespaces takes the one in which DNS runs."""
    space = tree.by_key.get(("Namespace", "", "kube-system"))
    labels = {"kubernetes.io/metadata.name": "kube-system", **(mapping(space.meta.get("labels")) if space else {})}
    if matches(selector, labels):
        return True
    keys = _keys(selector)
    return False if keys <= set(labels) else None  # a label that somebody may have given by hand


def _of_dns(selector: Body) -> bool | None:
    """Whether a selector of pods takes those that answer for names; by the usual labels, since they aren't in the tree."""
    text = str(selector).lower()
    if not any(selector.values()) or "dns" in text:
        return True
    keys = _keys(selector)
    return False if keys <= {"k8s-app", "app", "app.kubernetes.io/name"} else None


def _peer(tree: Tree, space: str, peer: Body) -> bool | None:
    if "ipBlock" in peer:
        return _block(mapping(peer["ipBlock"]))
    pods = _of_dns(mapping(peer.get("podSelector")))
    if "namespaceSelector" not in peer:
        return pods if space == "kube-system" else False
    there = _of_system(tree, mapping(peer.get("namespaceSelector")))
    return False if False in (pods, there) else None if None in (pods, there) else True


def _rule_of_kubernetes(tree: Tree, space: str, one: Body) -> bool | None:
    ports = [mapping(p) for p in sequence(one.get("ports"))]
    if ports and not any(map(_port, ports)):
        return False
    peers = [mapping(p) for p in sequence(one.get("to"))]
    return _or([_peer(tree, space, p) for p in peers]) if peers else True


def _of_kubernetes(tree: Tree, manifest: Manifest) -> Policy:
    spec = manifest.spec
    rules = [mapping(r) for r in sequence(spec.get("egress"))]
    kinds = {str(k) for k in sequence(spec.get("policyTypes"))}
    isolates = "Egress" in kinds or (not kinds and bool(rules))
    peers = [mapping(p) for r in rules for p in sequence(r.get("to"))]
    answer = _or([_rule_of_kubernetes(tree, manifest.namespace, r) for r in rules]) if isolates else False
    return Policy(
        manifest,
        ("spec", "egress") if "egress" in spec else ("spec", "policyTypes"),
        manifest.namespace,
        spec.get("podSelector"),
        not any(mapping(spec.get("podSelector")).values()),
        isolates,
        isolates and any("ipBlock" not in p for p in peers),
        answer,
    )


# -- Cilium's ----------------------------------------------------------------------------------------------------------


def _bare(selector: Any) -> Body:
    """A selector of Cilium's without the source of each label (``k8s:``, ``any:``)."""

    def plain(key: object) -> str:
        return re.sub(r"^(?:k8s|any)[:.]", "", str(key))

    return {
        "matchLabels": {plain(k): v for k, v in mapping(mapping(selector).get("matchLabels")).items()},
        "matchExpressions": [
            {**mapping(e), "key": plain(mapping(e).get("key"))}
            for e in sequence(mapping(selector).get("matchExpressions"))
        ],
    }


def _endpoint(space: str, selector: Body) -> bool | None:
    """Whether Cilium's selector of endpoints takes the pods of DNS."""
    bare = _bare(selector)
    pods = {k: v for k, v in bare["matchLabels"].items() if k not in _SPACE_KEYS}
    named = [v for k, v in bare["matchLabels"].items() if k in _SPACE_KEYS]
    spaces = [e for e in bare["matchExpressions"] if e["key"] in _SPACE_KEYS]
    others = [e for e in bare["matchExpressions"] if e["key"] not in _SPACE_KEYS]
    where = matches({"matchExpressions": spaces}, dict.fromkeys(_SPACE_KEYS, "kube-system")) and all(
        n == "kube-system" for n in named
    )
    if not named and not spaces:
        where = space in ("", "kube-system")  # a policy of a namespace means its own
    return _of_dns({"matchLabels": pods, "matchExpressions": others}) if where else False


_TO = ("toEndpoints", "toEntities", "toCIDR", "toCIDRSet", "toServices", "toFQDNs", "toNodes", "toGroups", "toRequires")


def _rule_of_cilium(space: str, one: Body) -> bool | None:
    ports = [mapping(p) for t in sequence(one.get("toPorts")) for p in sequence(mapping(t).get("ports"))]
    if (ports and not any(map(_port, ports))) or (not ports and "icmps" in one):
        return False
    named = [k for k in _TO if one.get(k) is not None]
    if not named:
        return bool(one.get("toPorts"))  # a rule that names nothing lets nothing out
    answers: list[bool | None] = [_endpoint(space, mapping(e)) for e in sequence(one.get("toEndpoints"))]
    entities = {str(e) for e in sequence(one.get("toEntities"))}
    answers.append(bool(entities & {"all", "cluster"}))
    answers += [_block({"cidr": c}) for c in sequence(one.get("toCIDR"))]
    answers += [_block(mapping(c)) for c in sequence(one.get("toCIDRSet"))]
    if {"toServices", "toNodes", "toGroups", "toRequires"} & set(named) or entities & {"host", "remote-node"}:
        answers.append(None)  # DNS on the node itself, or a service of that name
    return _or(answers)


def _of_cilium(manifest: Manifest) -> Iterator[Policy]:
    specs: list[tuple[tuple[str | int, ...], Body]] = [(("spec",), manifest.spec)] if manifest.spec else []
    specs += [(("specs", n), mapping(s)) for n, s in enumerate(sequence(manifest.body.get("specs")))]
    space = "" if manifest.kind == "CiliumClusterwideNetworkPolicy" else manifest.namespace
    for path, spec in specs:
        if "endpointSelector" not in spec:
            continue
        rules = [mapping(r) for r in sequence(spec.get("egress"))]
        denied = bool(sequence(spec.get("egressDeny")))
        isolates = (bool(rules) or denied) and get(spec, "enableDefaultDeny", "egress") is not False
        selector = _bare(spec.get("endpointSelector"))
        odd = [k for k in _keys(selector) if k.startswith(("io.", "reserved")) and k not in _SPACE_KEYS]
        answer = _or([_rule_of_cilium(space, r) for r in rules])
        yield Policy(
            manifest,
            (*path, "egress" if rules else "egressDeny" if denied else "endpointSelector"),
            space,
            selector,
            not any(selector.values()),
            isolates and not odd,  # labels that Cilium gives itself: which pods have them isn't in the tree
            any(r.get(k) for r in rules for k in ("toEndpoints", "toFQDNs", "toServices")),
            None if odd and answer else answer,
        )


def policies(tree: Tree) -> list[Policy]:
    """Every network policy of the tree, of Kubernetes' own kind and of Cilium's."""
    found = [_of_kubernetes(tree, m) for m in tree.of("NetworkPolicy") if m.group == "networking.k8s.io"]
    for manifest in tree.of("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"):
        found += _of_cilium(manifest)
    return [replace(p, dns=None) if UNKNOWN in str(p.manifest.body) else p for p in found]


# -- the rule ----------------------------------------------------------------------------------------------------------


def _asks_the_cluster(manifest: Manifest) -> bool:
    """Whether a workload's pods ask the cluster's DNS."""
    pod = manifest.pod
    return not pod.get("hostNetwork") and pod.get("dnsPolicy", "ClusterFirst") in (
        "ClusterFirst",
        "ClusterFirstWithHostNet",
    )


def _names_something(manifest: Manifest) -> bool:
    """Whether a workload's containers are told a name of something else."""
    return any(
        _NAMED.search(str(word))
        for _, c in manifest.containers(every=True)
        for word in [
            *sequence(c.get("command")),
            *sequence(c.get("args")),
            *(mapping(e).get("value", "") for e in sequence(c.get("env"))),
        ]
    )


def _elsewhere(tree: Tree, space: str) -> str:
    """What may bring a policy that lets DNS out and isn't read here; empty where nothing does."""
    for manifest in tree.objects:
        if manifest.group in _OTHERS and "Policy" in manifest.kind:
            return f"{manifest.id} isn't judged"
        text = str(manifest.spec) if manifest.kind in _MAKERS else ""
        if "NetworkPolicy" in text or ("mutate" in text and "labels" in text):
            return f"{manifest.id} may make policies, or give pods labels"
    for one in tree.kustomizations.values():
        if one.gap and (
            one.spec.get("targetNamespace") == space
            or re.search(rf"polic|network|{re.escape(space)}", f"{one.id} {one.folder}")
        ):
            return f"Kustomization/{one.id} wasn't read"
    return ""


def _own_policies(release: Release) -> bool:
    """Whether a chart that isn't read may bring policies of its own for its pods."""
    source = mapping(get(release.manifest.spec, "chart", "spec", "sourceRef"))
    named = f"{release.chart} {source.get('name')} {release.values}".lower()
    return "networkpolic" in named or "bitnami" in named or bool(release.unread)


@rule(
    "network.dns",
    FAMILY,
    Severity.BREAKS_CLAIM,
    why="each name that these pods ask for stays without an answer: no Service is found, no host outside either",
    do="let them out to port 53, UDP and TCP, of kube-dns in kube-system",
)
def dns(tree: Tree) -> Iterator[Outcome]:
    """Policies that let pods out to some places, or to none, and not to DNS."""
    found = policies(tree)
    if not any(p.isolates for p in found):
        return
    hits: dict[tuple[str, str], tuple[Policy, list[str]]] = {}
    doubts: list[str] = []
    for name, space, labels, certain, needs in _pods(tree):
        taking = [p for p in found if p.space in ("", space) and (p.takes(space, labels) if certain else p.wide)]
        isolating = [p for p in taking if p.isolates]
        if not isolating or True in (p.dns for p in taking):
            continue
        maybe = next(
            (p.manifest.id for p in found if not certain and p.space in ("", space) and p.dns is not False), ""
        )
        unsure = next((p.manifest.id for p in taking if p.dns is None), "")
        if why := maybe or unsure or _elsewhere(tree, space):
            doubts.append(f"whether {name} may ask for names isn't certain ({why})")
            continue
        if any(p.wide or p.by_name for p in isolating) or needs:
            cause = next((p for p in isolating if p.wide), isolating[0])
            hits.setdefault((cause.manifest.id, space), (cause, []))[1].append(name)
    for (_, space), (cause, names) in hits.items():
        yield _violation(tree, cause, space, names)
    yield from map(Inconclusive, doubts[:1])


def _violation(tree: Tree, cause: Policy, space: str, names: list[str]) -> Violation:
    who = (
        f"the pods of {space}"
        if cause.wide
        else f"{names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
    )
    return hit(
        tree,
        cause.manifest,
        f"{cause.manifest.id} shuts {who} in, and no policy lets them out to DNS",
        *cause.path,
        hits=(cause.manifest.id, *names),
    )


def _pods(tree: Tree) -> Iterator[tuple[str, str, Body, bool, bool]]:
    """Whose pods there are: (name, namespace, labels, whether these are known, whether they are told names)."""
    for manifest in tree.workloads():
        if _asks_the_cluster(manifest) and UNKNOWN not in str(manifest.pod_labels):
            yield manifest.id, manifest.namespace, manifest.pod_labels, True, _names_something(manifest)
    for release in tree.unread_releases:
        if not _own_policies(release):
            yield release.manifest.id, release.target_namespace, {}, False, False
