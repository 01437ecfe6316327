"""The tree as a lane takes it: the checkout, its entry, what it needs, its settings."""

import re
import subprocess

import pytest

from holdfast.bootstrap import made_up
from holdfast.drivers.coredns import corefile
from holdfast.errors import UsageError
from holdfast.lane.subject import Subject
from holdfast.paths import ROOT
from holdfast.provision import tools
from holdfast.tree import checkout
from holdfast.tree import settings as tree_settings
from holdfast.tree.needed import astray, lacking
from holdfast.tree.settings import Settings
from holdfast.tree.settings_file import Secret

TREE = ROOT / "fixtures" / "gitops"
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


def git(folder, *arguments, check=True):
    done = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=check,
    )
    return done.stdout.strip()


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


def read(folder, wanted=""):
    return tools.read(folder, entry=wanted)


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
    assert git(tree, "status", "--porcelain") == before  # the user's index stays as it was
    found.bare(tmp_path / "bare.git", "main")
    assert git(tmp_path / "bare.git", "show", f"{found.commit}:new.yaml") == "kind: X"
    assert f"parent {git(tree, 'rev-parse', 'HEAD')}" in git(tmp_path / "bare.git", "cat-file", "-p", found.commit)
    assert not git(tree, "cat-file", "-t", found.commit, check=False)  # the user's repository isn't written
    assert checkout.read(tree).commit == found.commit  # the same content, the same commit


@pytest.mark.parametrize("lacking", ["shallow", "partial"])
def test_a_checkout_without_its_history_serves_the_very_commit(tree, tmp_path, lacking):
    """CI makes shallow ones, and a partial clone lacks old files: neither is asked for what came before."""
    first = git(tree, "rev-parse", "HEAD")
    (tree / "new.yaml").write_text("kind: X\n")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "second")
    (tree / "new.yaml").write_text("kind: Y\n")
    git(tree, "commit", "-q", "-a", "-m", "third")
    copy = tmp_path / "copy"
    if lacking == "shallow":
        git(tmp_path, "clone", "-q", "--depth=1", f"file://{tree}", str(copy))
    else:
        git(tmp_path, "clone", "-q", str(tree), str(copy))
        gone = git(tree, "rev-parse", "HEAD^:new.yaml")
        (copy / ".git" / "objects" / gone[:2] / gone[2:]).unlink()
    found = checkout.read(copy)
    found.bare(tmp_path / "bare.git", "main")
    assert found.own
    assert git(tmp_path / "bare.git", "rev-parse", "main") == git(tree, "rev-parse", "HEAD") != first
    checkout.clone(tmp_path / "bare.git", tmp_path / "clone", "main")
    (tmp_path / "clone" / "more").write_text("x")
    checkout.commit(tmp_path / "clone", "a commit of a test")
    git(tmp_path / "clone", "push", "-q", "origin", "HEAD:main")
    found.bare(tmp_path / "bare.git", "main")  # back to the tree's own
    assert git(tmp_path / "bare.git", "rev-parse", "main") == found.commit


def test_a_folder_of_a_larger_repository_is_a_tree_of_its_own(tree, tmp_path):
    found = checkout.read(tree / "clusters")
    found.bare(tmp_path / "bare.git", "main")
    assert git(tmp_path / "bare.git", "ls-tree", "-r", "--name-only", found.commit) == "home/flux-system/gotk-sync.yaml"
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
    with pytest.raises(UsageError, match=r"clusters/home/bad\.yaml:\d+"):
        Subject(tree).preflight()


def test_no_entry_is_said(tmp_path):
    with pytest.raises(UsageError, match="no Flux entry"):
        read(tmp_path)


def test_two_entries_are_named_and_one_can_be_chosen(tree):
    second = tree / "clusters/away/flux-system/gotk-sync.yaml"
    second.parent.mkdir(parents=True)
    second.write_text(SYNC.format(path="clusters/away"))
    with pytest.raises(UsageError, match=r"clusters/away.*clusters/home") as caught:
        read(tree)
    assert "--entry" in caught.value.next_step
    assert read(tree, "./clusters/away").sync.folder == "clusters/away"
    with pytest.raises(UsageError, match="no folder clusters/absent"):
        read(tree, "clusters/absent")


def test_an_entry_without_a_source_is_said_where_a_lane_asks_for_it(tree):
    sync = tree / "clusters/home/flux-system/gotk-sync.yaml"
    sync.write_text(sync.read_text().partition("---\n")[2])
    found = read(tree)
    with pytest.raises(UsageError, match="no Kustomization with a GitRepository"):
        _ = found.sync


def test_a_link_out_of_the_tree_is_not_followed(tree, tmp_path):
    (tmp_path / "secret.yaml").write_text("apiVersion: v1\nkind: Outside\nmetadata: {name: x}\n")
    (tree / "clusters/home/link.yaml").symlink_to(tmp_path / "secret.yaml")
    (tree / "clusters/home/folder").symlink_to(tmp_path)
    assert "Outside" not in {m.kind for m in [*read(tree).objects, *read(tree).bootstrap]}


def test_only_what_the_entry_reaches_counts(tree):
    (tree / "apps").mkdir()
    (tree / "apps/web.yaml").write_text("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n")
    (tree / "old").mkdir()
    (tree / "old/web.yaml").write_text("apiVersion: v1\nkind: Old\nmetadata: {name: web}\n")
    (tree / "clusters/home/apps.yaml").write_text(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps, namespace: flux-system}\n"
        "spec: {path: ./apps, sourceRef: {kind: GitRepository, name: flux-system}}\n"
    )
    found = read(tree)
    assert {m.kind for m in found.objects} == {"GitRepository", "Kustomization", "Deployment"}
    assert {(m.kind, m.name) for m in found.bootstrap} == {
        ("GitRepository", "flux-system"),
        ("Kustomization", "flux-system"),
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
    said = lacking(read(tree))
    assert [str(s).split(",")[0].split(" (")[0] for s in said] == [
        "the Secret apps/needed",
        "the Secret apps/mounted",
        "the Git host github.com",
    ]
    assert all("clusters/home" in str(s) for s in said)
    (tree / ".holdfast.toml").write_text(
        "[git]\naliases = ['github.com']\n"
        + "".join(f"[[secret]]\nnamespace='apps'\nname='{n}'\nkeys=['a']\n" for n in ("needed", "mounted"))
    )
    assert lacking(read(tree)) == []


def test_the_reference_tree_lacks_nothing():
    assert lacking(read(TREE)) == []
    assert astray(read(TREE)) == []


def test_an_object_to_change_that_nobody_makes_is_named(tree):
    (tree / ".holdfast.toml").write_text(
        "[git]\naliases = ['github.com']\n[[suspend]]\nkind='Kustomization'\nnamespace='flux-system'\nname='vpm'\nreason='x'\n"
    )
    with pytest.raises(UsageError, match="nothing of the tree is Kustomization/flux-system/vpm"):
        Subject(tree).preflight()


def test_a_recipe_that_does_not_exist_is_named_with_those_that_do(tree):
    (tree / ".holdfast.toml").write_text("[git]\naliases = ['github.com']\n[images]\n'nginx:1' = 'webb'\n")
    with pytest.raises(UsageError, match="no recipe 'webb' for nginx:1") as caught:
        Subject(tree).preflight()
    assert "web" in caught.value.next_step


def test_a_trees_own_settings_name_no_file_outside_of_it(tree, tmp_path):
    (tmp_path / "key").write_text("secret of this machine")
    words = "[git]\naliases = ['github.com']\n[[secret]]\nnamespace='a'\nname='b'\nfile='{}'\n"
    for name in (str(tmp_path / "key"), "../key", "link"):
        (tree / "link").unlink(missing_ok=True)
        (tree / "link").symlink_to(tmp_path / "key")
        (tree / ".holdfast.toml").write_text(words.format(name))
        with pytest.raises(UsageError, match="no file outside of the tree") as caught:
            Subject(tree).preflight()
        assert "tree.holdfast.toml" in caught.value.next_step
    (tree / "link").unlink()
    (tree / ".holdfast.toml").unlink()
    beside = tmp_path / "tree.holdfast.toml"
    beside.write_text(words.format(tmp_path / "key"))
    Subject(tree).preflight()  # the machine's owner wrote these
    beside.write_text(words.format(tmp_path / "absent"))
    with pytest.raises(UsageError, match="there is no"):
        Subject(tree).preflight()


SECRET = "[[secret]]\nnamespace='a'\nname='b'\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[gti]\n", "unknown section 'gti'; did you mean 'git'"),
        ("[secret]\nname='a'\n", r"'secret' is written as \[\[secret\]\]"),
        ("a = \n", "holdfast.toml"),
        ("[[app]]\nname='a'\ncolour='red'\n", "3: .*unknown key 'colour'"),
        ("[[suspend]]\nkind='K'\n", "'name' is missing"),
        (SECRET + "keys = 'abc'\n", "4: .*'keys' must be a list, and is text"),
        (SECRET, "needs exactly one of keys, tls and file, and has none"),
        (SECRET + "tls = 'x'\n", "'tls' must be a list"),
        (SECRET + "keys=['a']\ntls=['x']\n", "has keys and tls"),
        ("[[patch]]\nkind='K'\nname='n'\nreason='r'\nset='x'\n", "5: .*'set' must be a table"),
        ("[[patch]]\nkind='K'\nname='n'\nreason='r'\nset={'spec/x'=1}\n", "must be a JSON pointer"),
        ("[ingress]\nworkload='web'\n", "2: 'workload' must be Kind/name"),
        ("[storage]\nnamspace='x'\n", "2: unknown key 'namspace'; did you mean 'namespace'"),
        ("[roles]\ncores=['x']\n", "cores"),
        ("[[allow]]\nrule='x'\nbecause=' '\n", "'because' must be filled in"),
        ("[declared]\npoll='often'\n", "write a duration"),
        ("claims = 3\n", "1: 'claims' must be text"),
    ],
)
def test_a_wrong_file_is_said_with_the_key_its_line_and_the_right_form(tree, text, words):
    (tree / ".holdfast.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        tree_settings.load(tree)
    assert re.search(words, str(caught.value)), str(caught.value)
    assert caught.value.next_step


def test_every_error_is_said_at_once(tree):
    (tree / ".holdfast.toml").write_text("[ingress]\nx=1\nnamespace=2\n[git]\naliases='a'\n[nonsense]\n")
    with pytest.raises(UsageError) as caught:
        tree_settings.load(tree)
    for part in (
        ":2: unknown key 'x'",
        ":3: 'namespace' must be text",
        ":5: 'aliases' must be a list",
        "unknown section 'nonsense'",
    ):
        assert part in str(caught.value)


def test_old_spellings_are_taken_with_a_note(tree):
    (tree / ".holdfast.toml").write_text("[stated]\nnode_ports=[30080]\n[check]\npromises='all'\n")
    found = tree_settings.load(tree)
    assert (found.declared.node_ports, found.claimed) == ((30080,), ("all",))
    assert len(found.notices) == 2


def test_a_certificate_is_made_for_the_hosts_and_kept_for_the_probes(tmp_path):
    made = made_up(
        Secret(namespace="apps", name="tls", tls=("a.example", "b.example")),
        Settings(),
        tmp_path,
        tmp_path,
    )
    assert made["type"] == "kubernetes.io/tls"
    assert "BEGIN CERTIFICATE" in (tmp_path / "apps-tls.crt").read_text()


def test_an_age_key_is_taken_from_a_file_and_a_missing_one_is_said(tmp_path):
    (tmp_path / "age.txt").write_text("AGE-SECRET")
    made = made_up(
        Secret(namespace="flux-system", name="sops", file="age.txt", key="age.agekey"),
        Settings(),
        tmp_path,
        tmp_path,
    )
    assert list(made["data"]) == ["age.agekey"]
    with pytest.raises(UsageError, match="there is no"):
        made_up(Secret(namespace="flux-system", name="sops", file="absent"), Settings(), tmp_path, tmp_path)


def test_the_hosts_block_is_put_in_once():
    plain = ".:53 {\n    errors\n    kubernetes cluster.local\n    forward . /etc/resolv.conf\n}\n"
    once = corefile(plain, "10.0.0.9", ("github.com",))
    assert once.count("10.0.0.9 github.com") == 1
    assert corefile(once, "10.0.0.7", ("github.com",)).count("github.com") == 1
    assert once.index("github.com") < once.index("kubernetes cluster.local")


def test_an_allowance_of_no_rule_is_said_with_the_nearest(tree):
    (tree / ".holdfast.toml").write_text("[[allow]]\nrule='longhorn.backups'\nbecause='x'\n")
    with pytest.raises(UsageError, match=r"longhorn\.backups; did you mean 'longhorn\.backup'"):
        read(tree)
