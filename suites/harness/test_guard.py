"""The tree's own guard of changes: held only where it is ours and stops something; what asks a cluster is in doubt; nothing at all broke."""

import shutil

import pytest

from holdfast.provision import tools
from holdfast.tree import check as checking
from holdfast.tree.rules.guard import seeded
from suites.harness import pairs

STEP = '      - run: holdfast check . --against "origin/$GITHUB_BASE_REF"\n'
WORKFLOW = ".github/workflows/change.yaml"
HOOK = "repos:\n  - repo: https://git.example.org/holdfast\n    hooks:\n      - id: holdfast-check\n"


@pytest.fixture(scope="module")
def kustomize():
    return tools.kustomize()


def verdict(kustomize, folder, files):
    tree = shutil.copytree(pairs.valid("no-guard"), folder / "tree")
    (tree / WORKFLOW).unlink()
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    found = checking.check(checking.load(tree, kustomize)).claims["immutable-detected"]
    return found.verdict, found.reason


def step(text):
    return {WORKFLOW: f"jobs:\n  check:\n    steps:\n{text}"}


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (step(STEP), "held"),
        (step(STEP.replace("check .", "rehearse .")), "held"),
        ({".gitlab-ci.yml": "check:\n  script:\n    - holdfast check . --against main\n"}, "held"),
        ({".pre-commit-config.yaml": f"{HOOK}        args: [--against, main]\n"}, "held"),
        ({".pre-commit-config.yaml": HOOK}, "broke"),  # it looks at the tree, not at a change
        (step("      - run: flux diff kustomization apps --path apps\n"), "unproven"),
        (step("      - run: kubectl apply --dry-run=server -f apps\n"), "unproven"),
        (step(STEP.replace("\n", " || true\n")), "broke"),
        (step(f"{STEP}        continue-on-error: true\n"), "broke"),
        (step(f"      # {STEP.strip()}\n"), "broke"),
        (step("      - run: holdfast check .\n"), "broke"),
        ({"docs/ci.md": STEP}, "broke"),  # a text about it is no pipeline
        ({}, "broke"),
    ],
)
def test_the_guard_is_what_the_repository_runs(kustomize, tmp_path, files, wanted):
    found, reason = verdict(kustomize, tmp_path, files)
    assert found == wanted, reason
    assert reason


def test_a_seeded_change_is_tried_on_each_kind_that_has_such_fields(kustomize):
    refused, missed = seeded(checking.load(pairs.valid("no-guard"), kustomize))
    assert (refused, missed) == (["Deployment"], [])
