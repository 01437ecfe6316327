"""What a wheel brings: everything that the commands work on, in an environment that has no checkout beside it."""

import importlib.util
import os
import subprocess
import sys
import tarfile
import zipfile

import pytest

from holdfast import events
from holdfast.journal import read_file
from holdfast.paths import ROOT
from suites.harness import apart


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """holdfast from its wheel, in a folder of its own, with the locked packages of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in (n for n in files.split("\0") if n and not n.startswith("suites/harness")):
        path = ROOT / name
        if path.exists() or path.is_symlink():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink():
                target.symlink_to(path.readlink())
            else:
                target.write_bytes(path.read_bytes())
                target.chmod(path.stat().st_mode)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder / "site"), str(wheel)], check=True)
    run(folder, "check", "--help", cwd=folder)  # what it brings is unpacked by its first command
    return folder


def run(installed, *arguments, cwd):
    environment = apart.environment(installed, PYTHONPATH=str(installed / "site"))
    environment.pop("HOLDFAST_REPORTS")
    command = [sys.executable, "-P", "-m", "holdfast", *arguments]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)


def test_it_is_the_installed_one_and_its_data_is_in_the_cache(installed, tmp_path):
    script = "import holdfast, holdfast.paths; print(holdfast.__file__, holdfast.paths.ROOT)"
    environment = {**os.environ, "PYTHONPATH": str(installed / "site"), "XDG_CACHE_HOME": str(installed / "cache")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    module, root = done.stdout.split()
    assert module.startswith(str(installed / "site"))
    assert root.startswith(str(installed / "cache" / "holdfast" / "shipped-"))


def test_check_works_on_a_tree(installed, tmp_path):
    done = run(installed, "check", str(ROOT / "fixtures/gitops"), "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"claims"' in done.stdout


def test_verify_knows_its_suites_and_the_reference_tree(installed, tmp_path):
    """The static suite runs to its end, and the report is written, all without a checkout; nothing is written where the user stands."""
    done = run(installed, "verify", "-k", "the_tree_shows", cwd=tmp_path)
    assert done.returncode == 10, done.stdout + done.stderr
    assert "longhorn-backup" in done.stdout
    (report,) = (installed / "cache" / "holdfast" / "reports").glob("*/report.html")
    assert "longhorn-backup" in report.read_text()
    assert not list(tmp_path.iterdir())
    said = [(one["what"], one["held"]) for one in read_file(report.parent / "journal.jsonl").of(events.Assertion)]
    assert ("longhorn-backup", False) in said
    assert len({claim for claim, _ in said}) == len(said)  # what broke isn't said to hold, too


def test_up_knows_its_profiles_and_recipes(installed, tmp_path):
    done = run(installed, "up", cwd=tmp_path)
    assert done.returncode == 64
    assert "the engine at DOCKER_HOST=tcp://127.0.0.1:1 doesn't answer" in done.stdout + done.stderr
    done = run(installed, "up", "--lane", "kind/slow", cwd=tmp_path)
    assert "kind/default, kind/fast" in done.stdout + done.stderr


def test_links_and_executable_files_come_through(installed):
    (root,) = (installed / "cache" / "holdfast").glob("shipped-*")
    links = [p for p in root.rglob("*") if p.is_symlink()]
    assert {str(p.readlink()) for p in links} >= {"kube"}
    tracked = subprocess.run(
        ["git", "ls-files", "-s", "clusters"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    executable = [line.split("\t")[1] for line in tracked.stdout.splitlines() if line.startswith("100755")]
    assert executable
    for name in executable:
        assert os.access(root / name, os.X_OK), name


def test_the_archive_is_the_same_for_the_same_files(installed, monkeypatch):
    spec = importlib.util.spec_from_file_location("packing", installed / "source" / "setup.py")
    packing = importlib.util.module_from_spec(spec)
    monkeypatch.setattr("setuptools.setup", lambda **_: None)
    spec.loader.exec_module(packing)
    assert packing.archive() == packing.archive()
    (wheel,) = installed.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        (name,) = [n for n in content.namelist() if n.startswith("holdfast/shipped-")]
        with content.open(name) as packed, tarfile.open(fileobj=packed) as tar:
            names = set(tar.getnames())
    assert "suites/claims.toml" in names
    assert not any("__pycache__" in n for n in names)
