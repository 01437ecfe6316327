"""The house: imports run one way, nothing names a registry or a path of one machine."""

import ast
import re
import subprocess

import pytest

from holdfast.paths import ROOT

# Each room may import the rooms named here, and nothing else of holdfast's (design: "Imports run one way").
ROOMS = [
    "errors durations interrupt",
    "paths progress",
    "tempdir options",
    "events",
    "waiting journal",
    "verdicts claims",
    "marks",
    "experiment",
    "tree",
    "provision kube consent",
    "checking",
    "drivers",
    "undo terminal inventory",
    "inject",
    "cluster",
    "gitserver",
    "policies",
    "bootstrap",
    "probes",
    "commits sampling",
    "faults runbook",
    "evidence",
    "lane",
    "rehearsal",
    "reporting",
    "nightly signature",
    "run",
    "session",
    "fixtures",
    "plugin",
    "hosts",
    "verify up down doctor heal build report init rehearse ledger signoff host",
    "upgrade",
    "__main__",
]
LEVEL = {name: level for level, names in enumerate(ROOMS) for name in names.split()}


def room(path):
    return path.relative_to(ROOT / "holdfast").parts[0].removesuffix(".py")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("holdfast"):
            parts = node.module.split(".")
            yield from ([parts[1]] if len(parts) > 1 else [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("holdfast."))


FILES = sorted((ROOT / "holdfast").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT / "holdfast")))
def test_imports_run_one_way(path):
    here = room(path)
    if here == "__init__":
        return
    for other in set(imports(path)) - {here}:
        assert LEVEL[other] < LEVEL[here], f"{here} must not import {other}: no two rooms of one level know each other"


def test_the_tree_room_knows_no_cluster_and_no_pytest():
    for path in (ROOT / "holdfast/tree").rglob("*.py"):
        assert set(imports(path)) <= {"tree", "errors", "durations"}
        assert "import pytest" not in path.read_text()


def test_reporting_reads_the_journal_the_verdicts_and_the_claims_only():
    for path in (ROOT / "holdfast/reporting").glob("*.py"):
        assert set(imports(path)) <= {"reporting", "journal", "verdicts", "claims", "errors", "paths", "events"}


def test_what_runs_in_pods_needs_the_standard_library_only():
    for name in ("looks.py", "process.py", "records.py"):
        assert set(imports(ROOT / "holdfast/sampling" / name)) <= {"sampling"}
        tree = ast.parse((ROOT / "holdfast/sampling" / name).read_text())
        roots = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        roots |= {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
        import sys

        assert roots - {"holdfast"} <= set(sys.stdlib_module_names)


def tracked():
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    return [ROOT / n for n in names if n and (ROOT / n).is_file() and not (ROOT / n).is_symlink()]


def test_locks_pin_by_hash_and_name_no_index():
    for path in (ROOT / "requirements.lock", ROOT / "clusters/images/python/requirements.lock"):
        text = path.read_text()
        assert not re.search(r"https?://|--index|--find-links|--trusted-host", text)
        for block in re.split(r"\n(?=[A-Za-z0-9])", text.strip()):
            assert block.startswith("#") or "--hash=sha256:" in block, block[:60]


def test_no_file_is_tied_to_one_machine():
    own = str(ROOT.parent)
    for path in tracked():
        text = path.read_text(errors="replace")
        if len(own) > 4:
            assert own + "/" not in text, path


WRITES = {"apply", "create", "patch", "scale", "delete"}


@pytest.mark.parametrize(
    "path",
    sorted(
        p
        for room in ("holdfast/faults", "holdfast/probes", "suites/bootstrap", "suites/faults", "suites/static")
        for p in (ROOT / room).glob("*.py")
    ),
    ids=lambda p: p.name,
)
def test_a_fault_a_probe_or_a_suite_changes_a_cluster_through_one_door(path):
    """``cluster.inject`` writes how to undo a change before it is made; whatever goes past it would be left by a kill."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Attribute):
            continue
        of = node.value
        name = of.attr if isinstance(of, ast.Attribute) else of.id if isinstance(of, ast.Name) else ""
        assert not (node.attr in WRITES and name in ("objects", "client")), (
            f"line {node.lineno}: use cluster.inject.{node.attr}"
        )
        assert not (node.attr == "client" and name == "cluster"), (
            f"line {node.lineno}: use cluster.objects to read, cluster.inject to change"
        )
        assert not (name == "undo" and node.attr in ("before", "replay")), (
            f"line {node.lineno}: cluster.inject and cluster.heal() do that"
        )
