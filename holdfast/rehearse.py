"""`holdfast rehearse`: a cold start of a tree on a real control plane with Flux's real controllers, without root and without containers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from holdfast.checking.command import Format, Level, say
from holdfast.checking.sarif import as_sarif
from holdfast.drivers import kwok
from holdfast.drivers.profile import load
from holdfast.errors import UsageError
from holdfast.lane.reference import default_tree
from holdfast.lane.subject import Subject
from holdfast.options import ChartsPath, EntryName, FetchCharts
from holdfast.rehearsal import documents, markdown, page, text
from holdfast.rehearsal.outcome import Outcome
from holdfast.rehearsal.run import LIMIT_S, rehearsed
from holdfast.tree.findings import Severity


def rehearse(  # noqa: PLR0917  a command line
    tree: Annotated[
        Path | None, typer.Argument(help="The GitOps tree: a Git checkout of any repository with a Flux entry.")
    ] = None,
    entry: EntryName = "",
    charts: ChartsPath = None,
    fetch: FetchCharts = False,
    kubernetes: Annotated[
        str,
        typer.Option(
            "--kubernetes",
            metavar="VERSION",
            help="The version of the control plane, such as 1.37; each is built at its first use.",
        ),
    ] = "",
    flux: Annotated[
        str, typer.Option("--flux", metavar="MINOR", help="The minor of Flux whose controllers run, such as 2.9.")
    ] = "",
    brought_by: Annotated[
        str,
        typer.Option(
            "--distribution",
            metavar="NAME",
            help="What the cluster is like before the tree comes: k3s (without one), vanilla (kubeadm: servers take no pods, no storage class) "
            "or talos (as vanilla, and Pod Security's baseline is enforced).",
        ),
    ] = "",
    form: Annotated[Format, typer.Option("--format", help="How the result is written.")] = Format.TEXT,
    fail_on: Annotated[Level, typer.Option("--fail-on", help="Exit 1 from this severity on.")] = Level.BREAKS_CLAIM,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Stop at the first obstacles, instead of taking them away in the lane and going on."
        ),
    ] = False,
    if_down: Annotated[
        str,
        typer.Option(
            "--if-down",
            metavar="WHAT",
            help="Afterwards, make a release, a Kustomization or all of a namespace unhealthy, push a commit, and measure what of it arrives.",
        ),
    ] = "",
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="REVISION",
            help="What a change does: this commit, branch or tag runs first, the tree as it lies in the folder is pushed onto it, and then it is "
            "reverted.",
        ),
    ] = "",
    fail: Annotated[
        list[str] | None,
        typer.Option(
            "--fail",
            metavar="WHAT",
            help="A workload whose pods fail from the start, as KIND/NAMESPACE/NAME[=HOW], such as Deployment/monitoring/*=image; HOW is crash "
            "(without one), image (it can't be pulled) or unready. May be given several times.",
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Don't look at what happens at the next intervals, with nothing changed.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--page", metavar="FILE", help="Also write the timeline as an HTML page.")
    ] = None,
    limit_s: Annotated[
        float, typer.Option("--limit", metavar="SECONDS", help="How long the start may take.")
    ] = LIMIT_S,
) -> None:
    """Starts the tree on an empty cluster, watches it to its end, and says what is in the way, in Flux's own words.

    The control plane and Flux's source- and kustomize-controller are real; nodes and pods are simulated, and nothing is fetched without
    --fetch. What is in the way is taken away in the lane, never in the tree, so that one run shows all of it.
    Needs neither root nor a container engine.

    Exit: 0 nothing at or above --fail-on, and everything became ready · 1 findings · 11 not everything became ready, for no reason that was
    found, or of a change the end wasn't compared or the way back not seen to its end · 64 wrong use, or the tree can't be read.
    """
    if against and (if_down or strict):
        raise UsageError("--against shows a change to its end", "leave out --if-down and --strict")
    profile = _profile(kubernetes)
    subject = Subject((tree or default_tree()).resolve(), entry, charts, fetch)
    out = rehearsed(
        subject,
        profile,
        strict=strict,
        once=once,
        if_down=if_down,
        fail=fail or (),
        flux=flux,
        brought_by=brought_by,
        against=against,
        limit_s=limit_s,
    )
    level = Severity.of(fail_on.value)
    _write(out, form, level, html)
    worst = out.worst()
    if worst is not None and worst >= level:
        raise typer.Exit(1)
    if not out.shown:
        raise typer.Exit(11)


def _write(out: Outcome, form: Format, level: Severity, html: Path | None) -> None:
    """What came of it, in the form that was asked for."""
    if form is Format.JSON:
        say(json.dumps(documents.as_json(out), indent=2))
    elif form is Format.JUNIT:
        say(documents.as_junit(out, level))
    elif form is Format.MARKDOWN:
        say(markdown.summary(out, level))
    elif form is Format.SARIF:
        say(json.dumps(as_sarif("rehearse", {"": [p.finding for p in out.proofs]}), indent=2))
    else:
        say("\n".join(text.lines(out, colour=sys.stdout.isatty())))
    if html:  # last: a folder that isn't there must not lose what was said
        html.write_bytes(page.page(out).encode(errors="backslashreplace"))


def _profile(kubernetes: str) -> str:
    """The kwok profile of a Kubernetes version."""
    if not kubernetes:
        return kwok.profiles()[-1]
    known = {
        load("kwok", name).kubernetes: name for name in kwok.profiles()
    }  # of several the usual one, which is the last
    for version, name in known.items():
        if kubernetes in (version, version.rpartition(".")[0]):
            return name
    raise UsageError(f"there is no profile for Kubernetes {kubernetes}", f"there are: {', '.join(sorted(known))}")
