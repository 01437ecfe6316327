"""Makes findings of what a start met, and tells them from what may be the lane's own doing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from holdfast.rehearsal.after import Lame
from holdfast.rehearsal.blockers import Blocker, Lack
from holdfast.rehearsal.course import Course, Late, Obstacle
from holdfast.rehearsal.doubts import Doubts, of_flux, of_kubernetes_or_flux
from holdfast.rehearsal.foretold import Foretold
from holdfast.rehearsal.outcome import Outcome, Proof
from holdfast.rehearsal.removal import kind_of
from holdfast.tree.findings import RULES, Finding, Severity, allow, allowances
from holdfast.tree.manifest import Manifest, get
from holdfast.tree.near import near
from holdfast.tree.repository import Location
from holdfast.tree.tree import Tree

CLAIM = "apply"
_OF_NAMES = (Lack.CONFIG, Lack.HEALTH)  # what is lacking is an object, of which the tree alone may say more
# What to do about what no rule of `holdfast check` is about; for all else it is that rule's word.
_DO = {
    Lack.REFUSED: "fix the field that the API server names",
    Lack.HEALTH: "fix what keeps it from being healthy, or don't wait for it",
    Lack.RELEASE: "fix what the release says",
    Lack.OTHER: "fix what Flux says",
}
_WHY = {
    Lack.KIND: "the whole set of a Kustomization is tried before anything of it is applied: one thing that is missing holds back all",
    Lack.NAMESPACE: "the whole set of a Kustomization is tried before anything of it is applied: one thing that is missing holds back all",
    Lack.REFUSED: "the whole set of a Kustomization is tried before anything of it is applied: one object that is refused holds back all",
    Lack.DEPENDENCY: "what depends on it never begins",
    Lack.LOOP: "running clusters don't show it: a cluster that is built from nothing never gets past it",
}
# What only a cluster shows, once everything is applied: (severity, why, what to do).
_LAME = {
    "apply.made-anew": (
        Severity.HYGIENE,
        "what it does is done again each time: a Job with a time to live runs at every interval",
        "let it stay, or let something else than an interval start it",
    ),
    "apply.not-again": (
        Severity.BREAKS_APPLY,
        "it looks well on the first day; from its second interval on nothing of it is applied any more",
        "fix what Flux says of it",
    ),
    "apply.pulled-at": (
        Severity.BREAKS_CLAIM,
        "Git isn't the only source of it: each undoes what the other wrote, for ever",
        "leave the field out of Git, or leave it to Git",
    ),
}


class Judge:
    """Makes findings of what a start met."""

    def __init__(self, tree: Tree, foretold: Foretold | None = None) -> None:
        self.tree, self.theirs = tree, flux_of(tree)
        self.foretold = foretold or Foretold(tree)
        self.doubts = Doubts(tree, self.foretold, self.theirs)
        self.by_id = self.doubts.by_id

    def outcome(
        self, course: Course, kubernetes: str, flux: str, notes: Iterable[str], lame: Iterable[Lame] = ()
    ) -> Outcome:
        """The whole."""
        out = Outcome(self.tree, course, kubernetes, flux, notes=list(notes))
        for number, obstacle in enumerate(course.obstacles, 1):
            self._take(out, number, obstacle)
        for late in course.late:
            if late.blocker.lack is not Lack.CONFIG:
                out.proofs.append(self._late(late))
        blamed = {proof.finding.object for proof in out.proofs}
        for one in lame:
            if one.unsure and not self.foretold.of(one.manifest.id):
                continue
            if _served_more(course, one.said):
                out.doubts.append(f"{one.manifest.id}: the lane itself had changed that definition: {one.said[:300]}")
                continue
            if not one.unsure and (doubt := self.doubts.of_the_lane(one.manifest.id, one.said)):
                out.doubts.append(doubt)
            elif one.manifest.id not in blamed:
                out.proofs.append(self._lame(one, course.took_s))
        out.proofs = _merged(out.proofs)
        declared = allowances(self.tree.repository)
        _, allowed = allow([p.finding for p in out.proofs], declared, self.tree.settings.allowed)
        reasons = {id(finding): reason for finding, reason in allowed}
        out.allowed = [(p, reasons[id(p.finding)]) for p in out.proofs if id(p.finding) in reasons]
        out.proofs = _numbered([p for p in out.proofs if id(p.finding) not in reasons])
        return out

    def _take(self, out: Outcome, number: int, obstacle: Obstacle) -> None:
        blocker = obstacle.blocker
        if doubt := self.doubts.about(blocker, out.flux):
            out.doubts.append(doubt)
        elif (at_s := self._made_later(blocker, out.course)) is not None:
            out.proofs.append(self._late(Late(blocker, at_s)))
        elif blocker.lack is Lack.KIND and (given := self.doubts.installed_before(blocker)):
            out.by_hand.setdefault(f"the kind {blocker.what}, before {given} brings it", blocker.holder)
        elif blocker.lack is Lack.KIND and self.doubts.may_be_given(blocker):
            out.doubts.append(
                f"{blocker.object} is of the kind {blocker.what}: a chart that isn't read here may install it"
            )
        elif (
            blocker.lack is Lack.CONFIG
            and not self._near(blocker)
            and not self.foretold.of(blocker.holder, about=blocker.what)
        ):
            out.by_hand.setdefault(blocker.what, blocker.holder)
        else:
            removal = obstacle.removal
            found = self._finding(blocker)
            out.proofs.append(Proof(found, blocker.said, obstacle.at_s, obstacle.after, removal, frozenset({number})))

    def _made_later(self, blocker: Blocker, course: Course) -> float | None:
        """When a namespace came that the tree makes itself, which was only too late; None where it never came, or nothing makes it."""
        if blocker.lack is not Lack.NAMESPACE:
            return None
        name = blocker.what.partition("/")[2]
        holder = blocker.holder.partition("/")[2]
        if holder in {i for b in self.tree.boot.blocked if b.loop for i in b.kustomizations}:
            return None  # its maker waits for it: that the lane made the namespace is what let the maker come
        makers = [m.owner for m in self.tree.of("Namespace") if m.name == name and not self._needs(m.owner, holder)]
        bars = [course.bars.get(f"Kustomization/{n}") for n in makers]
        return min((bar.ready_at for bar in bars if bar and bar.ready_at is not None), default=None)

    def _needs(self, one: str, other: str) -> bool:
        """Whether a Kustomization, by id, comes only after another one: by what it depends on, and by who applies it."""
        wanted, seen = [one], set[str]()
        while wanted:
            here = wanted.pop()
            known = self.tree.kustomizations.get(here)
            if known is not None and here not in seen:
                seen.add(here)
                wanted += [*known.depends_on, *known.way]
        return other in seen - {one}

    def _near(self, blocker: Blocker) -> str:
        """The id of the tree's object of which a name is a slip; empty where there is none."""
        kind, space, name = [*blocker.what.split("/", 2), "", ""][:3]
        names = {m.name: m.id for m in self.tree.of(kind) if m.namespace == space}
        return names.get(near(name, names), "")

    def _finding(self, blocker: Blocker) -> Finding:
        subject = blocker.object or blocker.holder
        what, do = self._words(blocker)
        rule = Lack.VERSION if blocker.lack is Lack.KIND and of_kubernetes_or_flux(blocker) else blocker.lack
        known = self.foretold.of(blocker.holder, about=blocker.what) if blocker.lack in _OF_NAMES else None
        held = [] if blocker.holder == subject else [blocker.holder]
        refused = self.by_id.get(blocker.object) if blocker.lack is Lack.REFUSED else None
        older = (blocker.lack is Lack.KIND and kind_of(blocker)[0].endswith(".toolkit.fluxcd.io")) or (
            refused is not None and of_flux(refused) and not self.theirs
        )
        return Finding(
            known.rule if known else rule.value,
            CLAIM,
            # The tree's own Flux may be of a version that still serves it.
            Severity.UPGRADE_HAZARD if older else Severity.BREAKS_APPLY,
            subject,
            self.locations(blocker),
            what,
            _WHY.get(blocker.lack, "it never becomes ready, and what waits for it never begins"),
            (known.do if known else do) or (RULES[rule.value].do if rule.value in RULES else _DO[rule]),
            hits=(subject, *held),
        )

    def _words(self, blocker: Blocker) -> tuple[str, str]:
        """What is wrong, and what to do where that can be said closer than by its sort."""
        lack, holder = blocker.lack, blocker.holder
        subject = blocker.object or holder
        words = {
            Lack.DEPENDENCY: f"{holder} depends on {blocker.what}, which nothing applies",
            Lack.KIND: f"{subject} is of the kind {blocker.what}, which the cluster doesn't serve",
            Lack.NAMESPACE: f"{subject} lies in {blocker.what}, which nothing makes",
            Lack.CONFIG: f"{holder} takes values from {blocker.what}, which nothing makes",
            Lack.HEALTH: f"{holder} waits for {blocker.what}, which never becomes healthy: {blocker.said}",
            Lack.LOOP: blocker.said,
        }
        meant = self._near(blocker) if lack is Lack.CONFIG else ""
        otherwise = f"Flux says of {subject}: {blocker.said}" if subject == holder else blocker.said
        return words.get(lack, otherwise), f"did you mean {meant}?" if meant else ""

    def locations(self, blocker: Blocker) -> tuple[Location, ...]:
        """Where what is wrong stands, then the holder's own place."""
        found = []
        holder = blocker.holder.partition("/")[2]
        kustomization = self.tree.kustomizations.get(holder)
        if blocker.lack is Lack.BUILD and kustomization and kustomization.built and kustomization.built.location:
            found.append(kustomization.built.location)
        if (manifest := self.doubts.object_of(blocker)) is not None:
            found.append(self._at(manifest, blocker))
        if kustomization and kustomization.manifest.file:
            found.append(self.tree.locate(kustomization.manifest))
        if not found:
            found.append(Location(self.tree.root.folder, 1))
        return tuple(dict.fromkeys(found))

    def _at(self, manifest: Manifest, blocker: Blocker) -> Location:
        lack = blocker.lack
        if lack is Lack.DEPENDENCY:
            known = self.tree.kustomizations.get(blocker.holder.partition("/")[2])
            wanted = blocker.what.partition("/")[2]
            if known and wanted in known.depends_on:
                return self.tree.locate(manifest, "spec", "dependsOn", known.depends_on.index(wanted))
        paths: dict[Lack, tuple[str, ...]] = {
            Lack.KIND: ("apiVersion",),
            Lack.NAMESPACE: ("metadata", "namespace"),
            Lack.SOURCE: ("spec", "sourceRef"),
            Lack.BUILD: ("spec", "path"),
            Lack.CONFIG: ("spec", "postBuild"),
        }
        return self.tree.locate(manifest, *paths.get(lack, ()))

    def _lame(self, lame: Lame, at_s: float) -> Proof:
        known = RULES.get(lame.rule)
        severity, why, do = _LAME.get(
            lame.rule, (Severity.BREAKS_APPLY, "it is applied, and it does nothing", "fix what is said of it")
        )
        finding = Finding(
            lame.rule,
            CLAIM,
            Severity.BREAKS_APPLY if lame.unsure else known.severity if known else severity,
            lame.manifest.id,
            (self.tree.locate(lame.manifest, *lame.path),),
            lame.said,
            (known.why if known else "") or why,
            known.do if known else do,
            hits=(lame.manifest.id,),
        )
        return Proof(finding, lame.said, at_s)

    def _late(self, late: Late) -> Proof:
        blocker = late.blocker
        kustomization = self.tree.kustomizations.get(blocker.holder.partition("/")[2])
        spec = kustomization.spec if kustomization else {}
        again = str(spec.get("retryInterval") or spec.get("interval") or "its interval")
        lacking = blocker.what
        finding = Finding(
            "order.late",
            CLAIM,
            Severity.UPGRADE_HAZARD,
            blocker.holder,
            self.locations(blocker)[::-1],
            f"{blocker.holder} fails at its first try on a new cluster, since {lacking} comes later, and is tried again only after {again}",
            "whether it is there in time is a matter of luck: a start from nothing takes longer by that, or by many times that",
            "let it depend on the Kustomization that brings it",
            hits=(blocker.holder, blocker.object),
        )
        return Proof(finding, blocker.said, late.after_s)


_VERSION = re.compile(r"v?(\d+\.\d+)")


def flux_of(tree: Tree) -> str:
    """The version of Flux that a tree installs, as major.minor; empty where it doesn't say."""
    for manifest in [*tree.bootstrap, *tree.objects]:
        said = ""
        if manifest.kind == "FluxInstance":
            said = str(get(manifest.spec, "distribution", "version") or "")
        elif manifest.kind == "CustomResourceDefinition" and manifest.name.endswith(".toolkit.fluxcd.io"):
            said = str(get(manifest.body, "metadata", "labels", "app.kubernetes.io/version") or "")
        if found := _VERSION.match(said):
            return found[1]
    return ""


def _served_more(course: Course, said: str) -> bool:
    """Whether words are about a definition of whose kind the lane serves a version that it doesn't have."""
    served = [kind_of(o.blocker) for o in course.obstacles if o.removal.startswith("the lane serves")]
    return any(
        re.search(rf"CustomResourceDefinition/[\w-]*\.{re.escape(group)}\b", said) for group, _, _ in served if group
    )


def _merged(proofs: list[Proof]) -> list[Proof]:
    """One cause, one finding: what is said in the same words of objects that stand at the same place."""
    found: dict[tuple[str, Location, str], Proof] = {}
    for proof in proofs:
        one = proof.finding
        words = one.what
        for hit in one.hits:
            words = words.replace(hit, "…").replace(f'"{hit.rpartition("/")[2]}"', "…")
        key = one.rule, one.locations[0], words
        known = found.get(key)
        if known is None:
            found[key] = proof
            continue
        both = replace(
            known.finding,
            hits=tuple(dict.fromkeys([*known.finding.hits, *one.hits])),
            locations=tuple(dict.fromkeys([*known.finding.locations, *one.locations])),
        )
        found[key] = replace(known, finding=both, obstacles=known.obstacles | proof.obstacles)
    return list(found.values())


def _numbered(proofs: list[Proof]) -> list[Proof]:
    """What lay before each finding by the findings' own numbers; what came to none has no number."""
    number = {o: n for n, proof in enumerate(proofs, 1) for o in proof.obstacles}
    return [
        replace(p, after=tuple(sorted({number[o] for o in p.after if o in number} - {n})))
        for n, p in enumerate(proofs, 1)
    ]
