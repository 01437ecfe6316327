"""`holdfast check`: a command of its own, so that a pre-commit hook doesn't wait for what only a cluster needs."""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable, Collection
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from holdfast import claims
from holdfast.checking import documents, explain, markdown, picture, sarif, text
from holdfast.errors import EXIT_UNREAD, UsageError
from holdfast.options import FetchCharts
from holdfast.progress import on_stderr
from holdfast.provision import tools
from holdfast.tree import check as checking
from holdfast.tree import past
from holdfast.tree.boot import Down, down, seeds_of
from holdfast.tree.changes import Change
from holdfast.tree.check import Result
from holdfast.tree.findings import Finding, Severity, allow, allowances
from holdfast.tree.release_changes import ReleaseChanges
from holdfast.tree.repository import Repository
from holdfast.tree.restarts import restarts
from holdfast.tree.steps import Target, steps
from holdfast.tree.tree import Tree


class Format(StrEnum):
    """How the result is written."""

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"
    SARIF = "sarif"
    MARKDOWN = "markdown"


class Level(StrEnum):
    """From which severity on the command fails."""

    BREAKS_APPLY = "breaks-apply"
    BREAKS_CLAIM = "breaks-claim"
    UPGRADE_HAZARD = "upgrade-hazard"
    HYGIENE = "hygiene"


def check(  # noqa: PLR0917  a command line
    tree: Annotated[Path, typer.Argument(help="The GitOps tree: any repository with a Flux entry.")] = Path(),
    entry: Annotated[
        str, typer.Option("--entry", help="The folder of the Flux entry, where the tree has more than one.")
    ] = "",
    all_entries: Annotated[
        bool, typer.Option("--all-entries", help="Every entry of the repository, a cluster each, one after the other.")
    ] = False,
    if_down: Annotated[
        str,
        typer.Option(
            "--if-down",
            metavar="WHAT",
            help="What freezes and what stops when NAMESPACE or KIND/NAMESPACE/NAME is down.",
        ),
    ] = "",
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="REVISION",
            help="Only what the change from this commit, branch or tag to the tree as it is now brings: what the API server refuses to change, what "
            "is pruned with its data, what changes hands, and every finding that wasn't there.",
        ),
    ] = "",
    kubernetes: Annotated[
        str,
        typer.Option(
            "--kubernetes",
            metavar="VERSION",
            help="The version whose schemas count, such as the one that an upgrade goes to; 1.36, what lanes run, without it.",
        ),
    ] = "",
    flux: Annotated[
        str,
        typer.Option(
            "--flux",
            metavar="VERSION",
            help="The Flux whose kinds count, such as 2.10; without it the tree's own, where it says so.",
        ),
    ] = "",
    chart: Annotated[
        list[str] | None,
        typer.Option(
            "--chart",
            metavar="NAME=VERSION",
            help="A chart (or a release) and the version that an upgrade takes it to: its steps are listed (again for more).",
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--claim", help="Only the rules of this claim id or family (again for more).")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Every finding, claim and unread part in full.")
    ] = False,
    form: Annotated[Format, typer.Option("--format", help="How the result is written.")] = Format.TEXT,
    fail_on: Annotated[Level, typer.Option("--fail-on", help="Exit 1 from this severity on.")] = Level.BREAKS_CLAIM,
    charts: Annotated[
        Path | None,
        typer.Option(
            "--charts",
            metavar="FOLDER",
            help="Charts that are rendered: NAME/, NAME-VERSION/ or NAME-VERSION.tgz in it.",
        ),
    ] = None,
    fetch: FetchCharts = False,
    rule: Annotated[
        str,
        typer.Option("--explain", metavar="RULE", help="What a rule finds, why, an example, and how it is proved."),
    ] = "",
    rules: Annotated[
        bool, typer.Option("--rules", help="Every rule, its severity and claim, and what proves it.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE", help="Also write the order of the start as an HTML page."),
    ] = None,
) -> None:
    """Reads a Flux tree as Flux reads it, and says what will break, with the file and line of every word.

    Needs no cluster, and fetches nothing without --fetch. Exit: 0 nothing at or above --fail-on · 1 findings · 11 none, and more than a tenth wasn't read · 64 wrong use, or the tree can't be read.
    """
    if rules:
        say(json.dumps(explain.table(), indent=2) if form is Format.JSON else "\n".join(explain.rows()))
        return
    if rule:
        say("\n".join(explain.lines(rule)))
        return
    _usable(only or [], charts, html)
    target = Target(kubernetes, flux, _versions(chart or []))
    if all_entries and (entry or if_down or html):
        raise UsageError(
            "--all-entries reads every cluster, and --entry, --if-down and --picture are about one",
            "leave one of them out",
        )
    if against and (all_entries or if_down):
        raise UsageError(
            "--against compares one cluster's tree with what it was", "leave out --all-entries and --if-down"
        )
    with on_stderr():  # a tool may be built first
        entries = checking.entries(tree) if all_entries else [entry]
        trees = [
            tools.read(tree, entry=e, kubernetes=kubernetes, flux=flux, charts=charts, fetch=fetch) for e in entries
        ]
    loaded = trees[0]
    if own := loaded.settings.claims:
        claims.use(loaded.settings.file(loaded.repository.root, own, "the claims file"))
    claims.check_known([c for c in loaded.settings.claimed if c not in checking.claims()], str(loaded.settings.path))
    for notice in loaded.settings.notices:
        print(f"note: {notice}", file=sys.stderr)
    if if_down:
        seeds = seeds_of(loaded.graph, if_down)
        if not seeds:
            raise UsageError(
                f"nothing that the tree applies is {if_down}",
                "name a namespace, KIND/NAME or KIND/NAMESPACE/NAME of the tree",
            )
        found = down(loaded.graph, seeds)
        _draw(html, loaded, found)
        say(
            json.dumps(documents.down_json(if_down, found), indent=2)
            if form is Format.JSON
            else "\n".join(text.down_lines(if_down, found))
        )
        return
    results = [checking.check(one, only=only or ()) for one in trees]
    if against:
        reading = functools.partial(tools.read, kubernetes=kubernetes, flux=flux, charts=charts, fetch=fetch)
        results = [_of_the_change(results[0], against, tree, reading, only or ())]
    _draw(html, loaded, None)
    level = Severity.of(fail_on.value)
    results = [replace(r, steps=tuple(steps(r.tree, target, r.findings))) for r in results] if target else results
    say(_written(results, form, level, verbose=verbose, listed=all_entries))
    if any((worst := r.worst()) is not None and worst >= level for r in results):
        raise typer.Exit(1)
    if any(r.too_little() for r in results):
        raise typer.Exit(EXIT_UNREAD)


def _versions(said: list[str]) -> dict[str, str]:
    """Charts and their versions. Raises UsageError for what isn't one."""
    for one in said:
        if not re.fullmatch(r"[\w./-]+=v?\d[\w.+-]*", one):
            raise UsageError(f"--chart {one} names no version", "write it as longhorn=1.11.0")
    return dict(one.split("=", 1) for one in said)


def _of_the_change(
    result: Result, revision: str, root: Path, reading: Callable[..., Tree], only: Collection[str]
) -> Result:
    """The result without what was so before, and with what the change itself does."""
    with past.at(root, revision) as then, on_stderr():
        try:
            before = reading(then.root, found=then, entry=_entry_of(result.tree, then))
        except UsageError as why:
            raise UsageError(f"at {revision}: {why.what}", why.next_step) from None
        change = Change(before, result.tree)
        known = {part for f in checking.check(before, only=only).findings for part in _without_numbers(f)}
        settings, declared = result.tree.settings, allowances(result.tree.repository)
        of_both = [*change.findings(), *ReleaseChanges(before, result.tree).findings()]
        brought, allowed = allow(of_both, declared, settings.allowed)
        made, changed, gone = change.counts()
        unread = [f"at {revision}, {k.id}: {k.gap}" for k in before.kustomizations.values() if k.gap]
        anew = [one.manifest.id for one in restarts(before, result.tree)]
    new = [f for f in result.findings if _without_numbers(f) - known]
    print(
        f"against {revision} ({then.commit[:12]}): {made} objects are new, {changed} changed, {gone} gone; "
        f"{len(result.findings) - len(new)} findings were there before",
        file=sys.stderr,
    )
    if anew:
        print(f"  their pods are made anew, in this order: {', '.join(anew)}", file=sys.stderr)
    both = sorted([*brought, *new], key=lambda f: -f.severity)
    return replace(result, findings=both, allowed=[*result.allowed, *allowed], not_read=[*result.not_read, *unread])


def _entry_of(now: Tree, then: Repository) -> str:
    """The entry of now, where it was there; else whichever there was."""
    return now.root.folder if now.root.folder in then.folders else ""


def _without_numbers(finding: Finding) -> set[tuple[str, str, str]]:
    """What a finding says, wherever it stands and however many there are; where it tells of many places, of each."""
    if finding.each:
        return {(finding.rule, "", re.sub(r"\d+", "#", what)) for _, what in finding.each}
    one = re.sub(r"\d+", "#", finding.what)
    return {(finding.rule, "", one)}


def _written(results: list[Result], form: Format, level: Severity, *, verbose: bool, listed: bool) -> str:
    """The results in one of the forms. *listed*: of all entries, so as a list even where there is one."""
    if form is Format.JSON:
        found = [documents.as_json(r) for r in results]
        return json.dumps({"entries": found} if listed else found[0], indent=2)
    if form is Format.JUNIT:
        return documents.as_junit(results, level)
    if form is Format.SARIF:
        return json.dumps(sarif.as_sarif("check", {r.tree.root.folder: r.findings for r in results}), indent=2)
    if form is Format.MARKDOWN:
        return "\n\n".join(markdown.summary(r, level) for r in results)
    return "\n\n".join("\n".join(text.lines(r, colour=sys.stdout.isatty(), verbose=verbose)) for r in results)


def _usable(only: list[str], charts: Path | None, html: Path | None) -> None:
    """Raises UsageError where an option names what isn't there: before the tree is read, which may take its time."""
    for wanted in only:
        if wanted not in checking.claims() and wanted not in checking.FAMILIES:
            raise UsageError(
                f"no rule is about '{wanted}'",
                f"there are: {', '.join([*checking.claims(), *sorted(checking.FAMILIES)])}",
            )
    if charts is not None and not charts.is_dir():
        raise UsageError(
            f"--charts {charts}: " + ("that is no folder" if charts.exists() else "there is no such folder"),
            "name the folder that holds the charts: NAME/, NAME-VERSION/ or NAME-VERSION.tgz in it",
        )
    if html is not None and html.is_dir():
        raise UsageError(f"--picture {html}: that is a folder", f"name a file in it: --picture {html / 'start.html'}")
    if html is not None and not html.resolve().parent.is_dir():
        raise UsageError(
            f"--picture {html}: there is no folder {html.resolve().parent}", "make that folder, or name another file"
        )


def _draw(html: Path | None, tree: Tree, found: Down | None) -> None:
    """Writes the picture, where one is wanted. Raises UsageError where it can't be."""
    if html is None:
        return
    try:
        html.write_bytes(picture.page(tree, found).encode(errors="backslashreplace"))
    except OSError as error:
        raise UsageError(
            f"--picture {html}: it can't be written: {error.strerror}", "name a file that can be written"
        ) from None


def say(words: str) -> None:
    """Names of a tree can hold what the terminal can't show."""
    sys.stdout.buffer.write(f"{words}\n".encode(errors="backslashreplace"))
    sys.stdout.flush()
