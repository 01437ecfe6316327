"""A repository's own configuration is untrusted: nothing that it names is run, whatever way it has to name it."""

import subprocess

import pytest

from holdfast.errors import UsageError
from holdfast.tree import checkout, repository

KUSTOMIZATION = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"
# Each way of Git's to run a program, as lines of .git/config ({run} is the program), and attributes that make it count.
CONFIGS = {
    "fsmonitor": "[core]\n\tfsmonitor = {run}\n",
    "filter clean": '[filter "x"]\n\tclean = {run}\n\tsmudge = {run}\n\trequired = true\n',
    "filter process": '[filter "x"]\n\tprocess = {run}\n\trequired = true\n',
    "textconv": '[diff "x"]\n\ttextconv = {run}\n\tcommand = {run}\n',
    "external diff": "[diff]\n\texternal = {run}\n",
    "merge driver": '[merge "x"]\n\tdriver = {run}\n',
    "hooks path": "[core]\n\thooksPath = {hooks}\n",
    "ssh command": '[core]\n\tsshCommand = {run}\n[remote "origin"]\n\turl = ssh://git@example.org/x.git\n\tpromisor = true\n',
    "receive pack": '[remote "origin"]\n\treceivepack = {run}\n\tuploadpack = {run}\n\turl = .\n',
    "pager and editor": "[core]\n\tpager = {run}\n\teditor = {run}\n[pager]\n\tstatus = {run}\n\tls-files = {run}\n",
    "aliases": "[alias]\n\tstatus = !{run}\n\tadd = !{run}\n",
    "credential helper": "[credential]\n\thelper = !{run}\n[core]\n\taskPass = {run}\n",
    "signing": "[commit]\n\tgpgSign = true\n[gpg]\n\tprogram = {run}\n[user]\n\tsigningKey = x\n",
    "include": "[include]\n\tpath = {included}\n",
    "work tree elsewhere": "[core]\n\tworktree = {elsewhere}\n",
}


def git(folder, *arguments):
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], cwd=folder, capture_output=True, check=True
    )


@pytest.fixture
def planted(tmp_path):
    """A checkout with a change that isn't committed; a program that leaves a mark when it is run; and a way to plant it."""
    tree, mark, program = tmp_path / "tree", tmp_path / "ran", tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho $0 $@ >> {mark}\ncat\n")
    program.chmod(0o755)
    (tree / "a").mkdir(parents=True)
    (tree / "a" / "x.yaml").write_text(KUSTOMIZATION)
    (tree / ".gitattributes").write_text("*.yaml filter=x diff=x merge=x\n")
    git(tree, "init", "-q", "-b", "main")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "first")
    (tree / "a" / "x.yaml").write_text(KUSTOMIZATION + "# changed\n")
    hooks, elsewhere = tmp_path / "hooks", tmp_path / "elsewhere"
    hooks.mkdir()
    elsewhere.mkdir()
    (elsewhere / "outside.yaml").write_text("secret")
    for name in (
        "pre-commit",
        "post-index-change",
        "pre-push",
        "reference-transaction",
        "post-checkout",
        "fsmonitor-watchman",
    ):
        for folder in (hooks, tree / ".git" / "hooks"):
            (folder / name).write_bytes(program.read_bytes())
            (folder / name).chmod(0o755)
    included = tmp_path / "included"
    included.write_text(CONFIGS["fsmonitor"].format(run=program))

    def plant(name):
        text = CONFIGS[name].format(run=program, hooks=hooks, included=included, elsewhere=elsewhere)
        with (tree / ".git" / "config").open("a") as file:
            file.write(text)

    return tree, mark, plant


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_that_a_repository_names_is_run(planted, tmp_path, name):
    tree, mark, plant = planted
    plant(name)
    found = checkout.read(tree)
    found.bare(tmp_path / "bare.git", "main")
    checkout.clone(tmp_path / "bare.git", tmp_path / "clone", "main")
    (tmp_path / "clone" / "a" / "x.yaml").write_text(KUSTOMIZATION)
    checkout.commit(tmp_path / "clone", "a commit of a test")
    assert repository.read(tree).files == (".gitattributes", "a/x.yaml")
    assert not mark.exists(), mark.read_text()
    assert not found.own


@pytest.mark.parametrize("name", ["fsmonitor", "filter clean"])
def test_the_planted_program_would_be_run_by_git_itself(planted, name):
    tree, mark, plant = planted
    plant(name)
    subprocess.run(["git", "status"], cwd=tree, capture_output=True, check=False)
    subprocess.run(["git", "add", "--all"], cwd=tree, capture_output=True, check=False)
    assert mark.exists()


def test_a_bare_repository_is_told_to_be_cloned(tmp_path):
    git(tmp_path, "init", "-q", "--bare", str(tmp_path / "x.git"))
    with pytest.raises(UsageError, match="bare repository") as caught:
        checkout.read(tmp_path / "x.git")
    assert "git clone" in caught.value.next_step


@pytest.mark.parametrize("head", ["", "nonsense", "ref: refs/heads/../../x", "f" * 40])
def test_a_broken_head_is_said_and_never_told_to_init(planted, head):
    tree, _, _ = planted
    (tree / ".git" / "HEAD").write_text(head)
    try:
        said = " ".join(checkout.read(tree).said)
    except UsageError as error:
        said = str(error)
    assert "git init" not in said
    assert "HEAD" in said


def test_a_work_tree_of_another_checkout_is_read_as_its_own(planted, tmp_path):
    tree, _, _ = planted
    git(tree, "worktree", "add", "-q", str(tmp_path / "second"), "-b", "second")
    found = checkout.read(tmp_path / "second")
    assert found.own
    found.bare(tmp_path / "bare.git", "main")
    assert repository.read(tmp_path / "second").commit == found.commit
