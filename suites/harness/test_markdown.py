"""A result as Markdown is short, and nothing that a tree says becomes markup, a mention or a link."""

import json
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.checking import markdown
from holdfast.paths import ROOT
from holdfast.tree.findings import Finding, Severity
from holdfast.tree.repository import Location
from suites.harness import pairs

TEXTS = st.text(alphabet=st.sampled_from("ab|`<>*_[]()@#!\\\n\r :/~{}&-."), max_size=60)


def finding(what, number=1, severity=Severity.BREAKS_CLAIM, name="a.b"):
    place = (Location(f"{what}.yaml", number),)
    return Finding(name, "apply", severity, what, place, what, what, what)


@given(TEXTS)
def test_a_cell_of_code_holds_neither_its_end_nor_that_of_its_cell(text):
    shown = markdown.code(text)[1:-1]
    assert not {"`", "|", "\n"} & set(shown)


@given(st.lists(st.tuples(TEXTS, st.sampled_from(list(Severity))), max_size=70))
def test_it_has_a_row_a_finding_the_worst_first_and_never_too_many(told):
    found = [finding(what, n, severity, f"r.{n % 13}") for n, (what, severity) in enumerate(told)]
    lines = list(markdown.table(found))
    assert len(lines) <= 50
    head = lines.index("| --- | --- | --- |") if lines else 0
    rows = [line for line in lines[head + 1 :] if line.startswith("|")]
    assert len(rows) == min(len(found), markdown.MOST_ROWS) + (len(found) > markdown.MOST_ROWS)
    told_severities = [Severity.of(m[1]) for line in rows if (m := re.match(r"\| \S+ ([a-z-]+) \|", line))]
    assert told_severities == sorted(told_severities, reverse=True)
    for line in rows:
        assert line.count("|") == 4
    outside = re.sub(r"`[^`]*`", "", "".join(lines))
    assert not set("@&") & set(outside)  # whatever a tree says stands between backticks


@pytest.mark.parametrize("valid", [True, False])
def test_the_command_writes_it_and_fails_as_ever(valid):
    tree = pairs.tree("missing-health-check", valid=valid)
    command = [sys.executable, "-m", "holdfast", "check", str(tree), "--format", "markdown"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    as_json = subprocess.run([*command[:-1], "json"], capture_output=True, text=True, cwd=ROOT, check=False)
    worst = {f["severity"] for f in json.loads(as_json.stdout)["findings"]}
    assert done.returncode == as_json.returncode == (0 if valid else 1)
    assert ("✅" if valid else "❌") in done.stdout.splitlines()[0]
    assert ("apply.missing-health-check" in done.stdout) is not valid
    assert ("breaks-apply" in done.stdout) is ("breaks-apply" in worst)
    assert len(done.stdout.splitlines()) <= 60
