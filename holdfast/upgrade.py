"""`holdfast upgrade`: the same claims on the versions that run and on those that an upgrade goes to, on the same machine in the same run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from holdfast import claims
from holdfast.drivers import catalogue, profile
from holdfast.drivers.profile import Profile
from holdfast.errors import UsageError
from holdfast.lane.lane import Lane
from holdfast.lane.reference import default_tree
from holdfast.lane.subject import Subject
from holdfast.lane.upgrading import Upgrading
from holdfast.options import ChartsPath, EntryName, TreePath
from holdfast.progress import console
from holdfast.provision.recipes import Recipes
from holdfast.reporting import terminal, versions
from holdfast.reporting.summary import Part
from holdfast.verdicts import exit_code
from holdfast.verify import Wanted, run_on

_CONTAINERS = "kind"  # the driver whose nodes can be taken to another version
_DRIVER = "kwok"  # a version alone is one of its profiles: the other lanes have one each
# What no lane of a throw-away machine shows of an upgrade, said with every result.
NOT_SHOWN = (
    "k3s' own upgrade of a node (its installer, its data directory): on the cluster itself, the server first",
    "Longhorn's engines and their live upgrade, one minor at a time: Longhorn's own notes",
)
_FROM_NOTHING = "an upgrade in place, under load: both versions were started from nothing (--in-place)"
_NO_WAY_BACK = (
    "a way back: Kubernetes doesn't go back; it is a snapshot of etcd from before the upgrade, and the older programs"
)
_IN_PLACE = "in_place"  # the room of the suites that do it


def upgrade(  # noqa: PLR0917  a command line
    current: Annotated[
        str,
        typer.Option(
            "--from", metavar="VERSION", help="The Kubernetes that runs, such as 1.36, or a whole lane: kwok/flux-2.10."
        ),
    ],
    candidate: Annotated[
        str, typer.Option("--to", metavar="VERSION", help="The one that the upgrade goes to, such as 1.37.")
    ],
    tree: TreePath = None,
    entry: EntryName = "",
    charts: ChartsPath = None,
    select: Annotated[str, typer.Option("-k", help="Only tests whose name matches, as pytest's -k.")] = "",
    claim: Annotated[
        list[str] | None, typer.Option("--claim", help="Only the tests of this claim id (again for more).")
    ] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Only the lab smoke.")] = False,
    runs: Annotated[
        int, typer.Option("--runs", min=1, max=20, help="How often on each side; figures are judged from 3 on.")
    ] = 1,
    worse_by: Annotated[
        float | None,
        typer.Option(
            "--worse-by",
            metavar="PERCENT",
            min=0,
            help="Exit 13 where a figure is worse by more than that, beyond its spread.",
        ),
    ] = None,
    in_place: Annotated[
        bool,
        typer.Option("--in-place", help="Take the nodes of one cluster there, one after the other, while it is used."),
    ] = False,
    drain: Annotated[bool, typer.Option("--drain", help="With --in-place: drain each node before.")] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--continue", help="With --in-place: go on with one that was cut short, from the node that it had got to."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Also print all of it as JSON.")] = False,
) -> None:
    """Runs the same claims on the current and on the candidate versions, in turn, and says what the upgrade changes.

    With --in-place a cluster of containers of the current version is taken to the candidate, the server first, with samplers and writers
    running: what the upgrade itself costs, and whether records are lost. Cut short between two nodes, or within one, it goes on with --continue.

    Exit: 0 nothing worse · 10 a claim broke on the candidate only · 11 something isn't shown there · 13 a figure is worse than --worse-by ·
    64 the command or the tree can't be used.
    """
    folder = (tree or default_tree()).resolve()
    if in_place:
        _in_place(current, Upgrading(_whole_version(candidate), drain, resume), Subject(folder, entry, charts))
    if resume or drain:
        raise UsageError("--continue and --drain are about an upgrade of one cluster", "add --in-place")
    names = _lane(current), _lane(candidate)
    if names[0] == names[1]:
        raise UsageError(f"--from and --to are both {names[0]}", "name two versions")
    _refuse_downgrade(*names)
    subject = Subject(folder, entry, charts)
    subject.preflight()
    if own := subject.claims_file():
        claims.use(own)
    claims.check_known(claim or [], "the command line")
    wanted = Wanted(select, frozenset(claim or []), smoke)
    sides: tuple[list[Part], list[Part]] = [], []
    for number in range(runs):  # in turn: a machine that gets slower or faster meanwhile does it to both
        for parts, name in zip(sides, names, strict=True):
            console.print(f"\n  run {number + 1} of {runs} on {name}", markup=False)
            parts.append(run_on(Lane(name, subject), wanted, before=[]))
    found = [[part.found for part in side] for side in sides]
    rows, measured = versions.compared(*found), versions.figures(*found)
    versions.show(console, names, rows, measured)
    not_shown = (*NOT_SHOWN, _FROM_NOTHING)
    _say_not_shown(not_shown)
    if as_json:
        typer.echo(json.dumps(versions.as_json(names, rows, measured) | {"not_shown": not_shown}, indent=2))
    raise typer.Exit(versions.exit_code(rows, measured, None if worse_by is None else worse_by / 100))


def _say_not_shown(lines: Sequence[str]) -> None:
    for line in lines:
        console.print(f"  not shown here: {line}", markup=False)


def _in_place(current: str, upgrading: Upgrading, subject: Subject) -> NoReturn:
    """One cluster, taken from a version to another; ends with the exit code of a run."""
    name, version = _lane_to_upgrade(current), upgrading.to
    _refuse_downgrade(f"{_DRIVER}/{_minor(profile_of(name).kubernetes)}", f"{_DRIVER}/{_minor(version)}")
    if profile_of(name).kubernetes == version:
        raise UsageError(f"{name} runs Kubernetes {version} already", "name another version with --to")
    subject.preflight()
    lane = Lane(name, subject)
    lane.upgrading = upgrading
    part = run_on(lane, Wanted(rooms=(_IN_PLACE,), resume=upgrading.resumed), before=[])
    _say_not_shown((*NOT_SHOWN, _NO_WAY_BACK))
    code = exit_code(part.found)
    console.print(terminal.exit_line(code))
    raise typer.Exit(code)


def profile_of(name: str) -> Profile:
    """The profile of a lane."""
    return profile.load(*catalogue.parse(name))


def _minor(version: str) -> str:
    return ".".join(version.lstrip("v").split(".")[:2])


def _lane_to_upgrade(version: str) -> str:
    """The lane of containers that has a version, or the lane that was named. Raises UsageError."""
    if "/" in version:
        return "/".join(catalogue.parse(version))
    known = {f"{_CONTAINERS}/{n}": profile.load(_CONTAINERS, n) for n in profile.names(_CONTAINERS)}
    found = [name for name, one in known.items() if _minor(one.kubernetes) == _minor(version)]
    if not found:
        there = ", ".join(f"{name} ({one.kubernetes})" for name, one in known.items())
        raise UsageError(f"no lane of containers has Kubernetes {version}", f"there are: {there}")
    return next((name for name in found if not profile_of(name).timers.defaults), found[0])


def _whole_version(version: str) -> str:
    """The version that a recipe makes of a minor, such as 1.37.2 of 1.37. Raises UsageError."""
    known = [str(v) for v in Recipes().table["versions"]["kubernetes"]]
    found = [v for v in known if version.lstrip("v") in (v, _minor(v))]
    if not found:
        raise UsageError(f"there is no recipe for Kubernetes {version}", f"there are: {', '.join(sorted(known))}")
    return found[0]


def _lane(version: str) -> str:
    """The lane of a version, or the lane that was named. Raises UsageError for one that isn't there."""
    if "/" in version:
        driver, name = catalogue.parse(version)
        return f"{driver}/{name}"
    known = [name for name in catalogue.DRIVERS[_DRIVER].profiles() if name[0].isdigit()]
    wanted = _minor(version)
    if wanted not in known:
        raise UsageError(
            f"there is no lane for Kubernetes {version}",
            f"there are: {', '.join(known)}, or name a lane: kwok/flux-2.10",
        )
    return f"{_DRIVER}/{wanted}"


def _refuse_downgrade(current: str, candidate: str) -> None:
    """A control plane doesn't go back: what it has stored the older one may not read."""
    before, after = (name.partition("/")[2].split(".") for name in (current, candidate))
    if not all(part.isdigit() for part in [*before, *after]):
        return
    old, new = tuple(map(int, before)), tuple(map(int, after))
    if new < old:
        raise UsageError(
            f"{candidate} is older than {current}: Kubernetes doesn't go back, and etcd holds what the older one may not read",
            "to go back, restore a snapshot of etcd from before the upgrade; name the newer one with --to",
        )
    if new[1] > old[1] + 1:
        far = f"{current} → {candidate} are {new[1] - old[1]}"
        console.print(f"  note: Kubernetes is upgraded one minor at a time, and {far}", style="yellow", markup=False)
