"""Whoever stands in a tree's folder runs nothing of it: no module of ours, and no child, takes its files for modules."""

import re
import subprocess
import sys

import pytest

from holdfast.paths import ROOT

PLANTED = ("json", "signal", "typing", "asyncio", "pathlib", "holdfast", "yaml", "typer")


@pytest.fixture
def trap(tmp_path):
    """A folder whose modules, where any of them is imported, leave a file."""
    for name in PLANTED:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'a').write({name!r})\n")
    return tmp_path


def starts():
    """Every command line in the code that starts Python on a module, as its words before the module."""
    in_pods = ("agents.py", "writers.py")  # a container's own root folder is where they start
    for path in sorted(p for p in (ROOT / "holdfast").rglob("*.py") if p.name not in in_pods):
        for found in re.finditer(r'(?:sys\.executable|"python3"),\s*((?:"-\w+",[^"\n]*\s*)*)"-m"', path.read_text()):
            yield path.relative_to(ROOT), found.group(1)


def test_every_start_of_a_module_leaves_the_current_folder_out():
    found = list(starts())
    assert len(found) >= 4
    for path, flags in found:
        assert '"-P"' in flags or '"-I"' in flags, path


@pytest.mark.parametrize(
    "words",
    [
        ["-P", "-m", "holdfast.drivers.leash", "true"],
        ["-P", "-m", "holdfast.sampling.process", "--spec", "absent.json", "--out", "out.txt"],
        ["-I", "-m", "pip", "--version"],
    ],
)
def test_a_trap_is_not_sprung(trap, words):
    subprocess.run([sys.executable, *words], cwd=trap, capture_output=True, timeout=60, check=False)
    assert not (trap / "sprung").exists()


def test_the_trap_works(trap):
    subprocess.run([sys.executable, "-m", "holdfast.drivers.leash", "true"], cwd=trap, capture_output=True, check=False)
    assert (trap / "sprung").exists()


def test_check_in_a_trap_runs_none_of_it(trap):
    command = [str(__import__("pathlib").Path(sys.executable).parent / "holdfast"), "check", "."]
    subprocess.run(command, cwd=trap, capture_output=True, timeout=60, check=False)
    assert not (trap / "sprung").exists()
