"""What a change of a tree does to a cluster that runs what was there before."""

import subprocess

import pytest
import yaml

from holdfast.tree import check as checking
from holdfast.tree import past
from holdfast.tree.changes import Change
from holdfast.tree.findings import Severity
from holdfast.tree.git import Checkout
from holdfast.tree.immutable import PRICE, refusals
from suites.harness.immutables import CASES, CLASS, CONFIG, DEPLOYMENT, SECRET
from suites.harness.test_check_command import check as holdfast
from suites.harness.test_check_properties import KUSTOMIZE, kustomization, written


@pytest.mark.parametrize(("before", "after", "field"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_change_is_refused_where_a_real_api_server_refuses_it(before, after, field):
    """The same cases are held against one in suites/oracle/test_immutable.py."""
    group = before["apiVersion"].rpartition("/")[0]
    found = list(refusals(group, before["kind"], before, after))
    assert [one.field for one in found] == ([field] if field else [])
    assert all(one.sure for one in found)
    assert not list(refusals(group, before["kind"], before, before))
    if field:
        assert before["kind"] in PRICE


def tree(folder, *objects, name="apps", spec=(), more=()):
    parts = [kustomization(name)]
    parts[0]["spec"] |= {"prune": True, **dict(spec)}
    files = {f"parts/{name}/o.yaml": yaml.safe_dump_all(objects)}
    for other, theirs in more:
        parts.append(kustomization(other))
        parts[-1]["spec"] |= {"prune": True}
        files[f"parts/{other}/o.yaml"] = yaml.safe_dump_all(theirs)
    return checking.load(written(folder, {"cluster/all.yaml": yaml.safe_dump_all(parts), **files}), KUSTOMIZE)


def of(item, **meta):
    return {**item, "metadata": {**item["metadata"], **meta}}


OTHER = next(after for what, _, after, _ in CASES if what == "selector of a Deployment")


def test_a_refused_change_is_a_finding_at_its_line_with_the_ways_out_and_their_price(tmp_path):
    before, after = tree(tmp_path / "a", DEPLOYMENT), tree(tmp_path / "b", OTHER)
    (found,) = Change(before, after).findings()
    assert (found.rule, found.severity, found.object) == (
        "change.immutable",
        Severity.BREAKS_APPLY,
        "Deployment/changes/it",
    )
    assert found.locations[0].file == "parts/apps/o.yaml"
    assert "all its pods stop" in found.do
    assert Change(after, after).findings() == []


def test_what_flux_may_make_anew_is_no_refusal(tmp_path):
    before = tree(tmp_path / "a", DEPLOYMENT)
    by_annotation = of(OTHER, annotations={"kustomize.toolkit.fluxcd.io/force": "enabled"})
    for number, after in enumerate(
        (tree(tmp_path / "b", by_annotation), tree(tmp_path / "c", OTHER, spec={"force": True}))
    ):
        (found,) = Change(before, after).findings()
        assert found.severity == Severity.UPGRADE_HAZARD, number
        assert "has it deleted and made anew" in found.what


def test_no_value_of_a_secret_or_a_config_is_printed(tmp_path):
    for item in ({**SECRET, "immutable": True}, CONFIG):
        field = "stringData" if item["kind"] == "Secret" else "data"
        before, after = (
            tree(tmp_path / item["kind"] / "a", {**item, field: {"a": "hidden"}}),
            tree(tmp_path / item["kind"] / "b", {**item, field: {"a": "veiled"}}),
        )
        (found,) = Change(before, after).findings()
        assert "hidden" not in str(found)
        assert "veiled" not in str(found)


def test_the_first_difference_is_named_and_a_job_that_goes_by_itself_is_a_doubt(tmp_path):
    job, other = next((before, after) for what, before, after, _ in CASES if what == "image of a Job")
    (found,) = Change(tree(tmp_path / "a", job), tree(tmp_path / "b", other)).findings()
    assert 'spec.template.spec.containers.0.image can\'t be changed (from "i" to "j")' in found.what
    assert found.severity == Severity.BREAKS_APPLY
    gone = {**job, "spec": {**job["spec"], "ttlSecondsAfterFinished": 60}}
    (found,) = Change(tree(tmp_path / "c", gone), tree(tmp_path / "d", other)).findings()
    assert found.severity == Severity.UPGRADE_HAZARD


CLAIM = next(before for what, before, _, _ in CASES if what == "class of a claim")
SPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "changes"}}


def test_what_is_pruned_with_its_data_is_said(tmp_path):
    before, after = tree(tmp_path / "a", SPACE, CLAIM), tree(tmp_path / "b", SPACE)
    (found,) = Change(before, after).findings()
    assert (found.rule, found.object) == ("change.pruned", "PersistentVolumeClaim/changes/it")
    assert "its volume's data" in found.what
    kept = of(CLAIM, annotations={"kustomize.toolkit.fluxcd.io/prune": "disabled"})
    assert Change(tree(tmp_path / "c", SPACE, kept), after).findings() == []
    keeping = tree(tmp_path / "d", SPACE, spec={"prune": False})  # the form of now is the one that counts
    assert Change(before, keeping).findings() == []
    assert Change(tree(tmp_path / "e", SPACE, CONFIG), after).findings() == []  # nothing is lost with it


def test_what_goes_from_one_kustomization_to_another_is_said(tmp_path):
    before = tree(tmp_path / "a", SPACE, CLAIM, more=[("data", [])])
    after = tree(tmp_path / "b", SPACE, more=[("data", [CLAIM])])
    (found,) = Change(before, after).findings()
    assert (found.rule, found.object) == ("change.moved", "PersistentVolumeClaim/changes/it")
    assert "from Kustomization/flux-system/apps to Kustomization/flux-system/data" in found.what


PRUNE = "kustomize.toolkit.fluxcd.io/prune"


@pytest.mark.parametrize(
    ("meta", "spec"),
    [
        ({"labels": {PRUNE: "Disabled"}}, {}),
        ({"annotations": {"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}}, {}),
        ({"annotations": {"kustomize.toolkit.fluxcd.io/ssa": "Ignore"}}, {}),
        ({}, {"suspend": True}),
    ],
)
def test_what_flux_leaves_alone_is_neither_refused_nor_pruned(tmp_path, meta, spec):
    before = tree(tmp_path / "a", SPACE, of(CLAIM, **meta), of(DEPLOYMENT, **meta), spec=spec)
    gone, changed = (
        tree(tmp_path / "b", SPACE, spec=spec),
        tree(tmp_path / "c", SPACE, of(CLAIM, **meta), of(OTHER, **meta), spec=spec),
    )
    assert Change(before, gone).findings() == []
    wanted = [] if PRUNE not in meta.get("labels", {}) else ["change.immutable"]
    assert [f.rule for f in Change(before, changed).findings()] == wanted


@pytest.mark.parametrize(
    ("policy", "prune", "deleted"),
    [
        ("", True, True),
        ("Orphan", True, False),
        ("Delete", False, True),
        ("", False, False),
        ("MirrorPrune", True, True),
    ],
)
def test_a_kustomization_that_goes_takes_with_it_what_its_policy_says(tmp_path, policy, prune, deleted):
    spec = {"prune": prune, **({"deletionPolicy": policy} if policy else {})}
    before = tree(tmp_path / "a", SPACE, CLAIM, spec=spec, more=[("other", [CONFIG])])
    after = tree(tmp_path / "b", CONFIG, name="other")
    found = {(f.rule, f.object) for f in Change(before, after).findings()}
    assert (("change.pruned", "PersistentVolumeClaim/changes/it") in found) is deleted
    renamed = tree(tmp_path / "c", SPACE, CLAIM, name="other")
    found = {(f.rule, f.object) for f in Change(before, renamed).findings()}
    assert (("change.moved", "PersistentVolumeClaim/changes/it") in found) is deleted


def test_what_cannot_be_built_now_is_not_gone(tmp_path):
    before, after = tree(tmp_path / "a", SPACE, CLAIM), tree(tmp_path / "b", SPACE)
    root = written(
        tmp_path / "c",
        {
            "cluster/all.yaml": yaml.safe_dump(kustomization("apps")),
            "parts/apps/kustomization.yaml": "resources: [absent.yaml]\n",
        },
    )
    assert Change(before, after).findings()
    assert Change(before, checking.load(root, KUSTOMIZE)).findings() == []


def test_what_a_job_takes_from_a_secret_is_not_printed(tmp_path):
    job = next(before for what, before, _, _ in CASES if what == "image of a Job")

    def told(value):
        pod = {
            "containers": [{"name": "c", "image": "i", "env": [{"name": "P", "value": value}]}],
            "restartPolicy": "Never",
        }
        return {**job, "spec": {"template": {"spec": pod}}}

    (found,) = Change(tree(tmp_path / "a", told("hidden")), tree(tmp_path / "b", told("veiled"))).findings()
    assert "env.0.value can't be changed" in found.what
    assert "hidden" not in found.what + str(found.each)


def git(folder, *words):
    names = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    return subprocess.run(
        ["git", "-C", str(folder), *names, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A checkout with a commit on main, and another tree in the folder now."""
    folder = tmp_path / "r"
    tree(folder, SPACE, DEPLOYMENT)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "before")
    git(folder, "tag", "v1")
    git(folder, "update-ref", "refs/remotes/origin/main", "HEAD")
    tree(folder, SPACE, OTHER)
    return folder


@pytest.mark.parametrize("revision", ["main", "origin/main", "v1", "HEAD", "refs/heads/main"])
def test_a_revision_is_named_as_git_names_it(repository, revision):
    with Checkout(repository) as source:
        assert source.commit(revision) == git(repository, "rev-parse", "HEAD")
        assert source.commit("absent") == ""
        assert source.commit("--all") == ""
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "after")
    git(repository, "pack-refs", "--all")
    with Checkout(repository) as source:
        assert source.commit("main~1") == source.commit("HEAD~1") == git(repository, "rev-parse", "v1^{commit}")


def test_the_files_of_another_commit_run_nothing_of_the_repositorys(repository, tmp_path):
    trap = tmp_path / "sprung"
    (repository / ".gitattributes").write_text("*.yaml filter=trap export-ignore\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "a filter")
    git(repository, "config", "filter.trap.smudge", f"touch {trap}; cat")
    with past.at(repository, "HEAD") as then:
        assert "parts/apps/o.yaml" in then.files
    assert not trap.exists()


def test_the_command_shows_only_what_the_change_brings(repository):
    code, out, err = holdfast(repository, "--against", "main")
    assert code == 1, out + err
    assert "spec.selector.matchLabels.more can't be changed" in out
    assert "against main" in err
    git(repository, "checkout", "-q", ".")
    code, out, err = holdfast(repository, "--against", "main")
    assert (code, "change." in out) == (0, False)
    assert "0 objects are new, 0 changed, 0 gone" in err


def test_a_commit_that_is_not_there_is_said_with_the_way_out(repository):
    code, _, err = holdfast(repository, "--against", "absent")
    assert code == 64
    assert "has no commit absent" in err
    assert "fetch-depth: 0" in err
    assert holdfast(repository, "--against", "main", "--all-entries")[0] == 64


def test_a_change_may_be_allowed_with_a_reason(repository):
    (repository / ".holdfast.toml").write_text(
        '[[allow]]\nrule = "change.immutable"\nbecause = "it is deleted by hand before"\n'
    )
    code, out, err = holdfast(repository, "--against", "main")
    assert code == 0, out + err
    assert "it is deleted by hand before" in out


def test_a_line_that_moved_is_no_new_finding(repository):
    git(repository, "checkout", "-q", ".")
    git(repository, "rm", "-q", "-r", "--cached", "parts")
    doubled = (
        (repository / "parts/apps/o.yaml").read_text().replace("kind: Deployment", "kind: Deployment\nkind: Deployment")
    )
    (repository / "parts/apps/o.yaml").write_text(doubled)
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "a key twice")
    (repository / "parts/apps/o.yaml").write_text("# a word more\n" + doubled)
    assert holdfast(repository)[0] == 1
    code, out, err = holdfast(repository, "--against", "HEAD")
    assert (code, "no finding" in out) == (11, True), out + err  # it wasn't built, and that isn't new


def test_a_commit_is_read_as_it_is_and_its_neighbours_too(repository):
    """No attribute of a tree's counts, tracked folders of tools are files as others are, and the settings are those of now."""
    (repository / ".gitattributes").write_text("*.yaml working-tree-encoding=UTF-16LE\n")
    (repository / "node_modules").mkdir()
    (repository / "node_modules/a.txt").write_text("a")
    git(repository, "add", "-A", "-f")
    git(repository, "-c", "core.attributesFile=/dev/null", "commit", "-qm", "odd")
    (repository / ".git/FETCH_HEAD").write_text(git(repository, "rev-parse", "HEAD") + "\tbranch 'main' of there\n")
    (repository / ".holdfast.toml").write_text("# of now\n")
    with past.at(repository, "FETCH_HEAD") as then:
        assert "node_modules/a.txt" in then.files
        assert (then.root / ".holdfast.toml").read_text() == "# of now\n"
    git(repository, "branch", "renovate/@types-x")
    with Checkout(repository) as source:
        assert source.commit("renovate/@types-x") == git(repository, "rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("expansion", "name", "severity"),
    [
        (None, "a", Severity.BREAKS_APPLY),
        (False, "a", Severity.BREAKS_APPLY),
        (True, "a", None),
        (None, "unknown", None),
        (None, "local-path", Severity.UPGRADE_HAZARD),  # as k3s brings it; a cluster may have another of that name
    ],
)
def test_a_claim_grows_only_where_its_class_lets_it(tmp_path, expansion, name, severity):
    said = {} if expansion is None else {"allowVolumeExpansion": expansion}
    storage = {**CLASS, "metadata": {"name": "a"}, **said}

    def claim(size):
        spec = {**CLAIM["spec"], "storageClassName": name, "resources": {"requests": {"storage": size}}}
        return {**CLAIM, "spec": spec}

    before, after = tree(tmp_path / "a", storage, claim("1Gi")), tree(tmp_path / "b", storage, claim("2Gi"))
    found = Change(before, after).findings()
    assert [f.severity for f in found] == ([severity] if severity else [])
    assert Change(before, tree(tmp_path / "c", storage, claim("1024Mi"))).findings() == []


@pytest.mark.parametrize(
    ("source", "more", "sure"),
    [
        ({"iscsi": {"targetPortal": "10.0.0.1", "iqn": "a", "lun": 1}}, {"iscsiInterface": "default"}, False),
        ({"rbd": {"monitors": ["10.0.0.1"], "image": "a"}}, {"pool": "rbd"}, False),
        ({"rbd": {"monitors": ["10.0.0.1"], "image": "a"}}, {"image": "b"}, True),
        ({"nfs": {"server": "10.0.0.1", "path": "/a"}}, {"path": "/b"}, True),
    ],
)
def test_what_a_source_leaves_out_may_be_what_the_api_server_fills_in(source, more, sure):
    """A real one takes the first two, and refuses another interface or pool."""
    ((kind, was),) = source.items()
    before, after = ({"spec": {kind: said}} for said in (was, {**was, **more}))
    assert [r.sure for r in refusals("", "PersistentVolume", before, after)] == [sure]
