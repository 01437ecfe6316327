"""`holdfast check` needs none of what only a lane needs: a hook installs five packages, not the container engine's client."""

import subprocess
import sys

from holdfast.paths import ROOT

BLOCKED = ("docker", "kubernetes", "testcontainers", "allure_commons", "pytest", "testinfra", "cryptography")
SCRIPT = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None     # importing it fails
sys.argv = ["holdfast", "check", "fixtures/gitops", "--format", "json"]
from holdfast.__main__ import main
main()
"""


def test_check_runs_without_the_packages_of_the_lab():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-800:]
    assert '"claims"' in done.stdout


def test_a_verb_of_a_lane_says_which_packages_it_needs():
    script = SCRIPT.replace('["holdfast", "check", "fixtures/gitops", "--format", "json"]', '["holdfast", "verify"]')
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 64
    assert "pip install 'holdfast[lab]'" in done.stderr
    assert "Traceback" not in done.stderr
