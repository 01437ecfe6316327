"""Findings as SARIF: what a code host needs to show each beside its line."""

import json
import subprocess
import sys

from holdfast.checking.sarif import as_sarif
from holdfast.paths import ROOT
from holdfast.tree.findings import Finding, Severity
from holdfast.tree.repository import Location
from suites.harness import pairs


def finding(severity, **more):
    places = (Location("apps/a.yaml", 7), Location("cluster/all.yaml", 3))
    return Finding(
        "apply.x",
        "apply",
        severity,
        "ConfigMap/a/b",
        places,
        "it is wrong",
        "because",
        "fix it",
        ("ConfigMap/a/b",),
        **more,
    )


def test_a_finding_has_its_level_its_line_and_the_other_places():
    (run,) = as_sarif(
        "check", {"": [finding(Severity.BREAKS_APPLY), finding(Severity.HYGIENE), finding(Severity.UPGRADE_HAZARD)]}
    )["runs"]
    assert [r["level"] for r in run["results"]] == ["error", "note", "warning"]
    (place,) = run["results"][0]["locations"]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "apps/a.yaml"
    assert place["physicalLocation"]["region"] == {"startLine": 7}
    assert run["results"][0]["relatedLocations"][0]["physicalLocation"]["region"] == {"startLine": 3}
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["apply.x"]


def test_what_nothing_applies_is_a_note():
    (run,) = as_sarif("check", {"": [finding(Severity.BREAKS_APPLY, unreferenced=True)]})["runs"]
    assert run["results"][0]["level"] == "note"


def test_check_writes_it():
    command = [sys.executable, "-m", "holdfast", "check", str(pairs.invalid("missing-namespace")), "--format", "sarif"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert said["version"] == "2.1.0"
    assert said["runs"][0]["results"][0]["ruleId"] == "apply.missing-namespace"
