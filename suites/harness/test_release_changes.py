"""What a change does to releases: what helm is refused, what it deletes, which releases are installed anew, and which charts aren't taken at all."""

import copy
import sys

import pytest
import yaml

from holdfast.tree import check as checking
from holdfast.tree.findings import Severity
from holdfast.tree.release_changes import ReleaseChanges
from suites.harness.chart_changes import CASES, KEEP, SPACE, files, here
from suites.harness.immutables import CLAIM, with_value
from suites.harness.test_check_properties import KUSTOMIZE, kustomization, written

RELEASE = {
    "apiVersion": "helm.toolkit.fluxcd.io/v2",
    "kind": "HelmRelease",
    "metadata": {"name": "thing", "namespace": SPACE},
    "spec": {
        "interval": "1h",
        "chart": {
            "spec": {
                "chart": "./charts/thing",
                "sourceRef": {"kind": "GitRepository", "name": "flux-system", "namespace": "flux-system"},
            }
        },
    },
}
# Renders charts without a placeholder in them, as helm does (suites/oracle/test_chart_changes.py holds the same cases against helm).
PLAIN_HELM = f"""#!{sys.executable} -S
import pathlib, sys
chart = pathlib.Path(sys.argv[3])
for folder in ("crds", "templates"):
    for file in sorted((chart / folder).glob("*")):
        print(f"---\\n# Source: thing/{{folder}}/{{file.name}}\\n" + file.read_text())
"""


@pytest.fixture(scope="module")
def helm(tmp_path_factory):
    path = tmp_path_factory.mktemp("bin") / "helm"
    path.write_text(PLAIN_HELM)
    path.chmod(0o755)
    return str(path)


def release(**spec):
    made = copy.deepcopy(RELEASE)
    made["spec"] |= spec
    return made


def tree(folder, chart, made, program="", **more):
    parts = {"cluster/all.yaml": yaml.safe_dump(kustomization("apps")), "parts/apps/r.yaml": yaml.safe_dump(made)}
    return checking.load(written(folder, {**parts, **chart, **more}), KUSTOMIZE, helm=lambda: program)


def change(tmp_path, helm, before, after, **more):
    """What is said of a change from one (chart, release) to another."""
    old, new = (tree(tmp_path / name, *side, helm, **more) for name, side in (("a", before), ("b", after)))
    return ReleaseChanges(old, new).findings()


@pytest.mark.parametrize("case", CASES, ids=[c.what for c in CASES])
def test_what_helm_would_be_refused_and_what_it_would_delete_is_said(tmp_path, helm, case):
    before, after = (files(case, after=flag, version=v) for flag, v in ((False, "0.1.0"), (True, "0.2.0")))
    found = change(tmp_path, helm, (before, RELEASE), (after, RELEASE))
    assert [(f.rule, f.object) for f in found] == list(case.said)
    assert [f.severity is Severity.BREAKS_APPLY for f in found if f.rule == "change.immutable"] == [True] * case.refused
    assert all(f.locations[0].file.startswith("charts/thing/templates/") for f in found if f.rule == "change.immutable")
    assert change(tmp_path / "same", helm, (after, RELEASE), (after, RELEASE)) == []


def test_nothing_is_said_of_a_chart_that_is_not_rendered_or_a_release_that_sleeps(tmp_path, helm):
    case = next(c for c in CASES if c.refused)
    before, after = (files(case, after=flag, version=v) for flag, v in ((False, "0.1.0"), (True, "0.2.0")))
    assert change(tmp_path / "1", "", (before, RELEASE), (after, RELEASE)) == []
    assert change(tmp_path / "2", helm, (before, RELEASE), (after, release(suspend=True))) == []


@pytest.mark.parametrize(
    ("version", "strategy", "rules"),
    [
        ("0.1.0", None, ["change.not-deployed"]),
        ("0.1.0", "Revision", ["change.immutable"]),
        ("0.2.0", None, ["change.immutable"]),
    ],
)
def test_a_chart_of_this_repository_is_taken_once_its_version_changes(tmp_path, helm, version, strategy, rules):
    case = next(c for c in CASES if c.refused)
    made = copy.deepcopy(RELEASE)
    if strategy:
        made["spec"]["chart"]["spec"]["reconcileStrategy"] = strategy
    before, after = files(case, after=False, version="0.1.0"), files(case, after=True, version=version)
    found = change(tmp_path, helm, (before, made), (after, made))
    assert [f.rule for f in found] == rules
    if rules == ["change.not-deployed"]:
        assert str(found[0].locations[0]) == "charts/thing/Chart.yaml:3"
        assert "charts/thing/templates/0-deployment.yaml" in found[0].what


def test_a_file_of_a_chart_that_renders_nothing_may_change_without_a_version(tmp_path, helm):
    case = next(c for c in CASES if c.refused)
    before = files(case, after=False, version="0.1.0")
    assert change(tmp_path, helm, (before, RELEASE), ({**before, "charts/thing/README.md": "words"}, RELEASE)) == []


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({"releaseName": "another"}, "the name of"),
        ({"targetNamespace": "another"}, "the namespace of"),
        ({"storageNamespace": "another"}, "the storage namespace of"),
    ],
)
def test_a_release_under_another_name_is_installed_anew(tmp_path, helm, spec, what):
    chart = files(CASES[0], after=False, version="0.1.0")
    (found,) = change(tmp_path, helm, (chart, RELEASE), (chart, release(**spec)))
    assert (found.rule, found.severity, found.object) == (
        "change.reinstall",
        Severity.UPGRADE_HAZARD,
        "HelmRelease/default/thing",
    )
    assert found.what.startswith(what)
    assert found.locations[0].file == "parts/apps/r.yaml"


def test_so_is_one_of_another_chart_but_not_one_whose_folder_moved(tmp_path, helm):
    chart = files(CASES[0], after=False, version="0.1.0")
    moved = files(CASES[0], after=False, version="0.1.0", folder="apps/thing")
    made = with_value(RELEASE, "spec.chart.spec.chart", "./apps/thing")
    assert change(tmp_path / "1", helm, (chart, RELEASE), (moved, made)) == []
    moved["apps/thing/Chart.yaml"] = moved["apps/thing/Chart.yaml"].replace("name: thing", "name: another")
    (found,) = change(tmp_path / "2", helm, (chart, RELEASE), (moved, made))
    assert found.rule == "change.reinstall"
    assert "the chart of HelmRelease/default/thing becomes another, and was thing" in found.what


@pytest.mark.parametrize("kept", [False, True])
def test_what_goes_from_a_chart_to_a_kustomization_is_said(tmp_path, helm, kept):
    claim = here(CLAIM, **({"annotations": KEEP} if kept else {}))
    case = next(c for c in CASES if c.what == "no claim any more")
    before = files(case, after=False, version="0.1.0")
    before["charts/thing/templates/0-persistentvolumeclaim.yaml"] = yaml.safe_dump(claim)
    after = files(case, after=True, version="0.2.0")
    old = tree(tmp_path / "a", before, RELEASE, helm)
    own = {"parts/apps/claim.yaml": yaml.safe_dump(here(CLAIM, namespace=SPACE))}
    new = tree(tmp_path / "b", after, RELEASE, helm, **own)
    found = ReleaseChanges(old, new).findings()
    assert [(f.rule, f.what) for f in found] == [
        (
            "change.moved",
            "PersistentVolumeClaim/default/it goes from HelmRelease/default/thing to Kustomization/flux-system/apps",
        )
    ] * (not kept)


@pytest.mark.parametrize("readme", [False, True])
@pytest.mark.parametrize("values", [False, True])
def test_what_a_readme_says_hides_no_refusal(tmp_path, helm, readme, values):
    """The templates stay as they are packed while the version does; what the release's values change is applied all the same."""
    case = next(c for c in CASES if c.refused and c.gone == ())
    before, after = (files(case, after=flag, version="0.1.0") for flag in (False, True))
    after = {**after, **({"charts/thing/README.md": "more\n"} if readme else {})}
    found = change(tmp_path, helm, (before, RELEASE), (after, release(values={"a": "b"}) if values else RELEASE))
    assert {f.rule for f in found} == {"change.not-deployed", *({"change.immutable"} if values else ())}


def test_a_readme_alone_changes_nothing(tmp_path, helm):
    before = files(CASES[0], after=False, version="0.1.0")
    after = {**before, "charts/thing/README.md": "more\n"}
    assert change(tmp_path, helm, (before, RELEASE), (after, RELEASE)) == []
