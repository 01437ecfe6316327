"""The tree as a lane takes it: the checkout, its documents, its entry, its adaptations."""

import subprocess

import pytest

from holdfast.bootstrap import corefile, made_up
from holdfast.errors import UsageError
from holdfast.paths import CHECKOUT
from holdfast.tree import checkout, documents
from holdfast.tree import settings as settings_file

TREE = CHECKOUT / "fixtures" / "gitops"
SYNC = """apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {{name: flux-system, namespace: flux-system}}
spec: {{url: "ssh://git@github.com/me/it.git", secretRef: {{name: flux-system}}, ref: {{branch: main}}}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {{name: flux-system, namespace: flux-system}}
spec: {{path: ./{path}, sourceRef: {{kind: GitRepository, name: flux-system}}}}
"""


def git(folder, *arguments):
    return subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    sync = folder / "clusters/home/flux-system/gotk-sync.yaml"
    sync.parent.mkdir(parents=True)
    sync.write_text(SYNC.format(path="clusters/home"))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


def start(folder, wanted=""):
    return documents.entry(documents.read(folder), wanted)


def test_a_clean_checkout_is_taken_byte_for_byte(tree, tmp_path):
    found = checkout.read(tree)
    assert (found.commit, found.own, found.said) == (git(tree, "rev-parse", "HEAD"), True, ())
    found.bare(tmp_path / "bare.git", "main")
    assert git(tmp_path / "bare.git", "rev-parse", "main") == found.commit


def test_uncommitted_changes_are_taken_as_they_are_and_said(tree, tmp_path):
    (tree / "new.yaml").write_text("kind: X\n")
    before = git(tree, "status", "--porcelain")
    found = checkout.read(tree)
    assert not found.own
    assert "1 files" in found.said[0]
    assert git(tree, "show", f"{found.commit}:new.yaml") == "kind: X"
    assert git(tree, "rev-parse", f"{found.commit}^") == git(tree, "rev-parse", "HEAD")
    assert git(tree, "status", "--porcelain") == before  # the user's index stays as it was
    found.bare(tmp_path / "bare.git", "main")
    assert checkout.read(tree).commit == found.commit  # the same content, the same commit


def test_a_folder_of_a_larger_repository_is_a_tree_of_its_own(tree, tmp_path):
    found = checkout.read(tree / "clusters")
    assert git(tree, "ls-tree", "-r", "--name-only", found.commit) == "home/flux-system/gotk-sync.yaml"
    assert "larger repository" in found.said[0]


@pytest.mark.parametrize(
    ("make", "words"), [(lambda p: p / "absent", "there is no folder"), (lambda p: p, "is no Git checkout")]
)
def test_what_is_no_checkout_is_said(tmp_path, make, words):
    with pytest.raises(UsageError, match=words) as caught:
        checkout.read(make(tmp_path))
    assert caught.value.next_step


def test_broken_yaml_is_named_with_its_line(tree):
    (tree / "clusters/home/bad.yaml").write_text("kind: A\nmetadata:\n  - x\n  y: [\n")
    with pytest.raises(UsageError, match=r"clusters/home/bad\.yaml:\d+: the YAML is broken"):
        start(tree)


def test_no_entry_is_said(tmp_path):
    with pytest.raises(UsageError, match="no Flux entry"):
        start(tmp_path)


def test_two_entries_are_named_and_one_can_be_chosen(tree):
    second = tree / "clusters/away/flux-system/gotk-sync.yaml"
    second.parent.mkdir(parents=True)
    second.write_text(SYNC.format(path="clusters/away"))
    with pytest.raises(UsageError, match=r"clusters/away.*clusters/home") as caught:
        start(tree)
    assert "--entry" in caught.value.next_step
    assert start(tree, "./clusters/away").folder == "clusters/away"
    with pytest.raises(UsageError, match="no Flux entry at clusters/absent"):
        start(tree, "clusters/absent")


def test_a_link_out_of_the_tree_is_not_followed(tree, tmp_path):
    (tmp_path / "secret.yaml").write_text("kind: Outside\n")
    (tree / "clusters/home/link.yaml").symlink_to(tmp_path / "secret.yaml")
    (tree / "clusters/home/folder").symlink_to(tmp_path)
    assert "Outside" not in {d.kind for d in documents.read(tree)}


def test_only_what_the_entry_reaches_counts(tree):
    (tree / "apps").mkdir()
    (tree / "apps/web.yaml").write_text("kind: Deployment\nmetadata: {name: web}\n")
    (tree / "old").mkdir()
    (tree / "old/web.yaml").write_text("kind: Old\nmetadata: {name: web}\n")
    (tree / "clusters/home/apps.yaml").write_text(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps}\nspec: {path: ./apps}\n"
    )
    everything = documents.read(tree)
    assert {d.kind for d in documents.reachable(everything, documents.entry(everything))} == {
        "GitRepository",
        "Kustomization",
        "Deployment",
    }


NEEDS = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: apps}
spec:
  template:
    spec:
      containers:
        - env: [{name: A, valueFrom: {secretKeyRef: {name: needed, key: a}}}, {name: B, valueFrom: {secretKeyRef: {name: maybe, key: b, optional: true}}}]
      volumes: [{name: v, secret: {secretName: mounted}}, {name: w, secret: {secretName: perhaps, optional: true}}]
"""


def test_what_nobody_gave_is_named_before_anything_is_built(tree):
    (tree / "clusters/home/web.yaml").write_text(NEEDS)
    everything = documents.read(tree)
    said = settings_file.lacking(everything, settings_file.Settings(), documents.entry(everything))
    assert [s.split(",")[0].split(" (")[0] for s in said] == [
        "the Secret apps/needed",
        "the Secret apps/mounted",
        "the Git host github.com",
    ]
    assert all("clusters/home" in s for s in said)
    given = settings_file.Settings(
        aliases=("github.com",),
        secrets=(settings_file.Secret("apps", "needed"), settings_file.Secret("apps", "mounted")),
    )
    assert settings_file.lacking(everything, given, documents.entry(everything)) == []


def test_the_reference_tree_lacks_nothing():
    everything = documents.read(TREE)
    found = settings_file.load(TREE)
    entry = documents.entry(everything, found.entry)
    assert settings_file.lacking(documents.reachable(everything, entry), found, entry) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[gti]\n", "unknown section 'gti'; did you mean 'git'"),
        ("[secret]\nname='a'\n", r"write it as \[\[secret\]\]"),
        ("a = \n", "holdfast.toml"),
        ("[[app]]\nname='a'\ncolour='red'\n", "unexpected keyword argument 'colour'"),
        ("[[suspend]]\nkind='K'\n", "missing"),
    ],
)
def test_a_wrong_file_is_said(tree, text, words):
    (tree / ".holdfast.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        settings_file.load(tree)
    assert __import__("re").search(words, str(caught.value))


def test_a_certificate_is_made_for_the_hosts_and_kept_for_the_probes(tmp_path):
    made = made_up(settings_file.Secret("apps", "tls", tls=("a.example", "b.example")), tmp_path, tmp_path)
    assert made["type"] == "kubernetes.io/tls"
    assert "BEGIN CERTIFICATE" in (tmp_path / "apps-tls.crt").read_text()


def test_an_age_key_is_taken_from_a_file_and_a_missing_one_is_said(tmp_path):
    (tmp_path / "age.txt").write_text("AGE-SECRET")
    made = made_up(settings_file.Secret("flux-system", "sops", file="age.txt", key="age.agekey"), tmp_path, tmp_path)
    assert list(made["data"]) == ["age.agekey"]
    with pytest.raises(UsageError, match="isn't there"):
        made_up(settings_file.Secret("flux-system", "sops", file="absent"), tmp_path, tmp_path)


def test_the_hosts_block_is_put_in_once():
    plain = ".:53 {\n    errors\n    kubernetes cluster.local\n    forward . /etc/resolv.conf\n}\n"
    once = corefile(plain, "10.0.0.9", ("github.com",))
    assert once.count("10.0.0.9 github.com") == 1
    assert corefile(once, "10.0.0.7", ("github.com",)).count("github.com") == 1
    assert once.index("github.com") < once.index("kubernetes cluster.local")
