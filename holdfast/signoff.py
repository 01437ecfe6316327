"""`holdfast signoff`: a dated, signed page of what is proved of a cluster and what isn't; and whether an earlier one still holds."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

import holdfast
from holdfast import claims, signature
from holdfast.errors import UsageError
from holdfast.lane.reference import default_tree
from holdfast.lane.subject import Subject
from holdfast.nightly import FILE
from holdfast.options import TreePath
from holdfast.paths import cache_dir, reports_dir
from holdfast.progress import console
from holdfast.reporting import certificate_check, certificate_page, machine_report
from holdfast.reporting.certificate import Certificate, Ready, Wish, certify
from holdfast.reporting.ledger import Ledger
from holdfast.reporting.terminal import STYLES
from holdfast.tree import git
from holdfast.verdicts import EXIT_BROKE, EXIT_HELD, EXIT_UNPROVEN

_CODES = {Ready.READY: EXIT_HELD, Ready.CONDITIONS: EXIT_UNPROVEN, Ready.NOT: EXIT_BROKE}
_COLOURS = {Ready.READY: "green", Ready.CONDITIONS: "yellow", Ready.NOT: "bold red"}


def signoff(  # noqa: PLR0917  a command line
    tree: TreePath = None,
    claim: Annotated[
        list[str] | None,
        typer.Option("--claim", help="Only these claims are asked for (again for more); all without it."),
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with", metavar="RUN", help="Only these runs count, by their names' beginnings (again for more)."
        ),
    ] = None,
    folders: Annotated[
        list[Path] | None,
        typer.Option(
            "--from", metavar="FOLDER", help="A folder with journals (again for more); this machine's runs without it."
        ),
    ] = None,
    host: Annotated[
        list[Path] | None,
        typer.Option(
            "--host",
            metavar="FILE",
            help="What `holdfast host TARGET --format json` said of a machine that is to join (again for more).",
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="Sign it with this SSH key of yours (ssh-keygen -Y sign)."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Where the certificate is written: not into the tree, whose commit it names.",
        ),
    ] = None,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="FILE", help="Whether this certificate still holds, and why not.")
    ] = None,
    signer: Annotated[
        str,
        typer.Option("--signer", metavar="SHA256:…", help="With --check: the key that it must be signed with."),
    ] = "",
) -> None:
    """Writes what is proved of a tree's cluster, and first what isn't, with the digest of each proof and how long it is good for.

    It runs nothing: it is made of the journals of runs (`holdfast verify`, also `--lane attached`). The rules of ready, ready with
    conditions and not ready stand in the guide.

    Exit: 0 ready · 10 not ready · 11 ready with conditions · 64 the command can't be used. With --check: 0 it holds · 10 it says not
    ready · 11 it doesn't hold any more, or nothing vouches for it · 64 it isn't what was signed, or no certificate.
    """
    subject = Subject((tree or default_tree()).resolve())
    with Ledger(cache_dir() / FILE) as known:
        for name in known.take(folders or [reports_dir()]).altered:
            console.print(f"  {name}: its journal isn't what it was, so it proves nothing", style="red", markup=False)
        if check:
            _check(check, known, subject, signer)
        if own := subject.claims_file():
            claims.use(own)
        claims.check_known(claim or [], "the command line")
        register = claims.load()
        asked = [register[name] for name in claim or register]
        runs = {known.run(name).name for name in with_ or []}
        commit, version = subject.checkout.commit, holdfast.__version__
        machines = tuple(machine_report.load(file) for file in host or [])
        wish = Wish(subject.folder.name, asked, len(register), datetime.now(UTC), version, runs, commit, machines)
        made = certify(known, wish)
    files = _written(made, _folder(out, subject), key)
    _show(made)
    for file in files:
        console.print(f"  {file}", markup=False)
    if key is None:
        console.print("  it isn't signed: --key ~/.ssh/id_ed25519", style="yellow", markup=False)
    raise typer.Exit(_CODES[made.ready])


def _folder(out: Path | None, subject: Subject) -> Path:
    """Where to write. Raises UsageError in the tree: a new file there makes its commit another, and the certificate void."""
    if out is None:
        return reports_dir() / "signoff"
    top = git.top_of(subject.folder) or subject.folder
    if out.resolve().is_relative_to(top):
        raise UsageError(
            f"{out} lies in the tree's checkout: a new file there would make its commit another than the certificate's",
            "name a folder outside of it: --out FOLDER",
        )
    return out


def _written(made: Certificate, out: Path, key: Path | None) -> list[Path]:
    """The files of a certificate: JSON, the page, the PDF, and a signature of each where there is a key. All of them, or none."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".signoff-") as made_in:
        files = _files(made, Path(made_in), key)
        return [file.replace(out / file.name) for file in files]


def _files(made: Certificate, out: Path, key: Path | None) -> list[Path]:
    stem = out / f"signoff-{made.tree}-{made.made:%Y%m%d-%H%M%S}"
    data = (json.dumps(made.as_json(), indent=2, ensure_ascii=False) + "\n").encode()
    document, page = stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.html")
    document.write_bytes(data)
    certificate_page.write(page, made, data)
    files = [document, page, *_sheets(made, stem.with_name(f"{stem.name}.pdf"), data)]
    return files + [signature.sign(file, key.expanduser()) for file in files] if key else files


def _sheets(made: Certificate, path: Path, signed: bytes) -> list[Path]:
    """The PDF, where what makes it is installed."""
    try:
        from holdfast.reporting import certificate_pdf  # noqa: PLC0415  only a sign-off needs its packages
    except ModuleNotFoundError:
        console.print("  without a PDF: pip install 'holdfast[signoff]'", style="yellow", markup=False)
        return []
    certificate_pdf.write(path, made, signed)
    return [path]


def _show(made: Certificate) -> None:
    console.print(
        f"  {escape(made.tree)} at {made.commit[:12]}: [{_COLOURS[made.ready]}]{made.ready}[/], until {made.valid_until:%Y-%m-%d}"
    )
    for line in (*made.asked, *made.conditions):
        console.print(f"  {line}", style="yellow", markup=False)
    console.print(f"  not proved: {len(made.unproved)} of {len(made.proofs)}", markup=False)
    for proof in made.unproved:
        reason = proof.standing.verdict.reason if proof.standing else proof.doubts[0]
        console.print(
            f"    [{STYLES[proof.verdict]}]{proof.verdict}[/] {proof.claim.id}: " + escape(reason[:160]),
        )
    conditions = [p for p in made.proved if p.doubts]
    console.print(f"  proved: {len(made.proved)}, of which {len(conditions)} with conditions", markup=False)


def _check(path: Path, known: Ledger, subject: Subject, wanted: str) -> NoReturn:
    """Ends with the exit code of a check."""
    by = signature.signer(path) if path.is_file() and path.with_name(f"{path.name}.sig").exists() else ""
    found = certificate_check.load(path)
    commit = subject.checkout.commit if subject.folder.name == found["tree"] else ""
    reasons = list(certificate_check.void_because(found, known, commit, datetime.now(UTC)))
    if not by:
        reasons.insert(0, "it isn't signed, so anybody may have changed it: holdfast signoff --key FILE")
    elif wanted and by != wanted:
        raise UsageError(f"{path} is signed with the key {by}, not with {wanted}", "get it from whom you expect")
    console.print(
        f"  {found['result']}, of {found['tree']} at {found['commit'][:12]}, made {found.get('made')}", markup=False
    )
    if by:
        whose = "as was asked for" if wanted else "whose that is, --signer or ssh-keygen -Y verify says"
        console.print(f"  signed with the key {by}: {whose}", markup=False)
    for reason in reasons:
        console.print(f"  it isn't shown to hold: {reason}", style="red", markup=False)
    if not reasons:
        console.print(f"  it holds, until {found['valid_until']}", style="green", markup=False)
    if found["result"] == Ready.NOT.value:
        raise typer.Exit(EXIT_BROKE)
    raise typer.Exit(EXIT_UNPROVEN if reasons else EXIT_HELD)
