"""What `holdfast check --against` foretells of a change is what Flux and the API server do when it is pushed, forwards and back."""

import copy
import os
import subprocess

import pytest
import yaml

from holdfast.lane.subject import Subject
from holdfast.provision import tools
from holdfast.rehearsal import run
from holdfast.tree import past
from holdfast.tree.restarts import restarts
from suites.harness import change_pairs, pairs
from suites.harness.immutables import CASES, SPACE

PROFILE = "1.36"
_WHO = {f"GIT_{who}_{what}": "a@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
GIT = {**os.environ, **_WHO}
PLAIN = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}}


def named(body, number):
    """An object of a case under a name of its own, so that all cases lie side by side."""
    made = copy.deepcopy(body)
    if made["kind"] == "CustomResourceDefinition":
        group = f"w{number}.example.org"
        made["metadata"]["name"] = f"widgets.{group}"
        made["spec"]["group"] = group
    else:
        made["metadata"]["name"] = f"it-{number}"
    return made


def layer(name):
    spec = {
        "interval": "10m",
        "retryInterval": "4s",
        "path": f"./parts/{name}",
        "prune": True,
        "sourceRef": {"kind": "GitRepository", "name": "flux-system"},
    }
    meta = {"name": name, "namespace": "flux-system"}
    return {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": meta, "spec": spec}


def plain(name, namespace=SPACE, **more):
    return {**PLAIN, "metadata": {"name": name, "namespace": namespace}, **more}


def written(folder, parts):
    """Writes a repository: a Kustomization for each of *parts* (name to objects), and commits it."""
    subprocess.run(["git", "rm", "-rqf", "--ignore-unmatch", "."], cwd=folder, check=True)
    files = {
        "cluster/flux.yaml": (pairs.valid("image") / "cluster" / "flux.yaml").read_text(),
        "cluster/space.yaml": yaml.safe_dump({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}}),
    }
    for name, objects in parts.items():
        files[f"cluster/{name}.yaml"] = yaml.safe_dump(layer(name))
        files[f"parts/{name}/objects.yaml"] = yaml.safe_dump_all(objects)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost"]
    for words in (["add", "-A"], ["commit", "-qm", "a commit"]):
        subprocess.run([*git, *words], cwd=folder, check=True)


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "tree"
    folder.mkdir()
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=folder, check=True)
    return folder


def rehearsed(folder):
    out = run.rehearsed(Subject(folder), PROFILE, against="HEAD~1", limit_s=300)
    assert out.course.converged, out.course.unsettled
    return out, out.transition


def test_what_is_refused_is_what_was_foretold_and_so_is_the_way_back(repository):
    before = {f"case-{n}": [named(old, n)] for n, (_, old, _, _) in enumerate(CASES)}
    after = {f"case-{n}": [named(new, n)] for n, (_, _, new, _) in enumerate(CASES)}
    written(repository, before)
    written(repository, after)
    _, transition = rehearsed(repository)
    assert [f"{p.object}: {p.foretold or 'nothing'} / {p.seen or 'nothing'}" for p in transition.disagreements] == []
    assert len(transition.predictions) >= sum(bool(field) for *_, field in CASES)
    assert transition.compared
    assert (transition.left, transition.lacking) == ([], [])
    # Flux changes nothing where the API server keeps what isn't said any more: an address that a new one would get.
    [headless] = [n for n, (what, *_) in enumerate(CASES) if what == "a headless Service that says nothing"]
    assert transition.otherwise == [f"Service/{SPACE}/it-{headless}"]
    assert transition.revert.converged
    assert transition.revert.left == transition.revert.lacking == []


def test_what_goes_what_comes_and_what_stays(repository):
    """Without an obstacle: pruned, renamed, moved to another Kustomization, kept in spite of prune, and never pruned at all."""
    keep = {"kustomize.toolkit.fluxcd.io/prune": "disabled"}
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": SPACE},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    kept = {**PLAIN, "metadata": {"name": "kept", "namespace": SPACE, "annotations": keep}}
    one = [claim, kept, plain("same"), plain("renamed-before"), plain("moved")]
    written(repository, {"one": one, "two": [plain("other")]})
    written(
        repository,
        {"one": [plain("same"), plain("renamed-after")], "two": [plain("other", data={"a": "c"}), plain("moved")]},
    )
    out, transition = rehearsed(repository)
    assert transition.gone == [f"ConfigMap/{SPACE}/renamed-before", f"PersistentVolumeClaim/{SPACE}/data"]
    assert f"ConfigMap/{SPACE}/renamed-after" in transition.made
    assert transition.left == [f"ConfigMap/{SPACE}/kept"]
    assert out.proofs == []  # its owner says that it stays
    assert transition.disagreements == []
    assert transition.lacking == transition.otherwise == []
    assert transition.revert.clean, transition.revert


def test_a_tree_against_itself_changes_nothing(repository):
    """Files split, merged and named otherwise are no change of the cluster."""
    written(repository, {"one": [plain("a"), plain("b")]})
    written(repository, {"one": [plain("b"), plain("a")]})
    (repository / "cluster" / "one.yaml").rename(repository / "cluster" / "layers.yaml")
    subprocess.run(["git", "add", "-A"], cwd=repository, check=True)
    out, transition = rehearsed(repository)
    assert (transition.made, transition.gone, transition.recreated, transition.restarted) == ([], [], [], [])
    assert out.proofs == []
    assert transition.revert.clean


def test_what_was_in_the_way_before_is_told_apart_and_what_is_suspended_is_not_left_behind(repository):
    """The old commit has two layers that are refused; the new one mends one of them, and suspends a third that runs."""
    bad = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "bad", "namespace": SPACE},
        "spec": {"ports": [{"port": "http"}]},
    }
    good = {**bad, "spec": {"ports": [{"port": 80}]}}
    other = {**bad, "metadata": {"name": "other", "namespace": SPACE}}
    written(repository, {"mended": [bad, plain("beside")], "still-bad": [other], "asleep": [plain("sleeper")]})
    asleep = layer("asleep")
    asleep["spec"]["suspend"] = True
    written(repository, {"mended": [good, plain("beside")], "still-bad": [other], "asleep": [plain("sleeper")]})
    (repository / "cluster" / "asleep.yaml").write_text(yaml.safe_dump(asleep))
    out, transition = rehearsed(repository)
    assert [p.finding.what for p in out.proofs] == []
    notes = "\n".join(out.notes)
    assert f"in the way at HEAD~1, too: Service/{SPACE}/other" in notes
    assert f"in the way at HEAD~1, and no more: Kustomization/flux-system/mended: Service/{SPACE}/bad" in notes
    assert f"Service/{SPACE}/bad" in transition.made
    assert (transition.gone, transition.left) == ([], [])
    assert transition.revert.converged


def test_a_layer_that_the_change_takes_away_is_in_nobodys_way(repository):
    """Its folder is gone before whoever applied it deletes it: until then it can't be built."""
    written(repository, {"above": [layer("inner")], "inner": [plain("inner")]})
    (repository / "cluster" / "inner.yaml").unlink()
    subprocess.run(["git", "commit", "-qam", "a commit"], cwd=repository, check=True, env=GIT)
    written(repository, {"above": [plain("instead")]})
    out, transition = rehearsed(repository)
    assert [p.finding.what for p in out.proofs] == []
    assert transition.gone == [f"ConfigMap/{SPACE}/inner", "Kustomization/flux-system/inner"]
    assert transition.revert.clean, transition.revert


def _layers(which):
    return {p.name: list(yaml.safe_load_all(getattr(p, which))) for p in change_pairs.load().values()}


def test_every_pair_of_changes_is_judged_alike_by_check_and_by_flux(repository):
    """All of them side by side: what breaks is refused, or is gone, as it was foretold; and the way back is clean."""
    written(repository, _layers("before"))
    written(repository, _layers("breaking"))
    _, transition = rehearsed(repository)
    assert [f"{p.object}: {p.foretold or 'nothing'} / {p.seen or 'nothing'}" for p in transition.disagreements] == []
    refused = {p.object for p in transition.predictions if p.seen}
    pairs_of = change_pairs.load().values()
    assert refused >= {p.object for p in pairs_of if p.rule == "change.immutable"}
    assert set(transition.gone) >= {p.object for p in pairs_of if p.rule == "change.pruned"}
    assert transition.revert.converged


def test_every_sound_sibling_is_applied(repository):
    written(repository, _layers("before"))
    written(repository, _layers("valid"))
    out, transition = rehearsed(repository)
    assert [p.finding.what for p in out.proofs] == []
    assert transition.predictions == transition.disagreements == []
    assert transition.gone == []
    with past.at(repository, "HEAD~1") as then:
        foretold = restarts(tools.read(then.root, found=then), out.tree)
    assert sorted(transition.restarted) == sorted(one.manifest.id for one in foretold if one.manifest.kind != "Job")
    assert transition.revert.clean, transition.revert
