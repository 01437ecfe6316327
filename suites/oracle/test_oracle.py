"""holdfast's build of a Kustomization against the Go package that kustomize-controller itself uses (clusters/images/flux-build)."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.paths import ROOT
from holdfast.provision import builds, tools
from holdfast.provision.recipes import Recipes
from holdfast.tree import check as checking
from holdfast.tree.sources import Loader
from suites.harness import pairs

PAIRS = sorted(pairs.load())
FLUX = (pairs.valid("image") / "cluster" / "flux.yaml").read_text()


@pytest.fixture(scope="session")
def oracle():
    return builds.binary(Recipes(), "flux-build")


def by_oracle(oracle, root, kustomization):
    """The objects, or the error's text, as kustomize-controller gets them."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name).resolve() / "artifact"
        shutil.copytree(
            root,
            copy,
            ignore=lambda folder, names: [n for n in names if n == ".git" or (Path(folder) / n).is_symlink()],
        )
        done = subprocess.run(
            [str(oracle), str(copy), kustomization.folder],
            input=json.dumps(kustomization.manifest.body),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return done.stderr
        return sorted(
            (b for b in yaml.load_all(done.stdout, Loader=Loader) if b), key=lambda b: json.dumps(b, sort_keys=True)
        )


def ours(kustomization):
    return sorted((m.body for m in kustomization.objects), key=lambda b: json.dumps(b, sort_keys=True))


def same(oracle, tree):
    compared = 0
    for kustomization in tree.kustomizations.values():
        if (
            kustomization.not_read
            or kustomization.left_out
            or kustomization.manifest.unknown
            or any(r.get("kind") for r in kustomization.spec.get("postBuild", {}).get("substituteFrom", []))
        ):
            continue  # without a cluster the oracle has no variables but the inline ones
        theirs = by_oracle(oracle, tree.repository.root, kustomization)
        if kustomization.error:
            assert isinstance(theirs, str), (
                f"{kustomization.id}: we say {kustomization.error}, and kustomize-controller builds it"
            )
        else:
            assert theirs == ours(kustomization), kustomization.id
        compared += 1
    return compared


def test_the_reference_tree(oracle):
    assert same(oracle, checking.load(ROOT / "fixtures" / "gitops", tools.kustomize())) == 9


# What is wrong in them is Flux's own object, which never comes to a build.
REFUSED_ITSELF = {"flux-field-of-yesterday", "flux-number-for-a-text", "variable-value-number", "variable-value-truth"}


@pytest.mark.parametrize(
    ("name", "valid"), [(n, v) for n in PAIRS for v in (False, True) if v or n not in REFUSED_ITSELF]
)
def test_the_small_trees(oracle, name, valid):
    same(oracle, checking.load(pairs.tree(name, valid=valid), tools.kustomize()))


DEPLOYMENT = (pairs.valid("image") / "cluster" / "app.yaml").read_text()
CONFIG = (
    'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n  namespace: web\ndata:\n  one: {one}\n  two: "{two}"\n'
)
TEXTS = st.sampled_from(
    [
        "plain",
        "${A}",
        "x-${A}-y",
        "${B:-none}",
        "${C:=other}",
        "$A",
        "$${A}",
        "${A^^}",
        "${A:1}",
        "${A:0:2}",
        "${A/a/b}",
        "${#A}",
        "${D}",
        "${A#a}",
        "${A%c}",
        "$$A",
        "$$$${A}",
        "$$${A}",
        "${A:+x}",
        "${A:?x}",
        "${A:a}",
        "${A:0:-2}",
        "${A/#a/X}",
        "${A/%c/X}",
        "${P//\\//_}",
        "${E=d}",
        "${U-d}",
        "${A-b}",
        "${A//l}",
        "${A: -3}",
        "${A:-3}",
        "${A#[a-z]}",
        "${A##*b}",
        "${A%%b*}",
        "${A,,}",
        "${A^}",
        "${}",
        "${A",
        "${A:-${B}}",
        "${A:-x${B}y}",
        "${A/b/}",
        "${A//a/${B}}",
        "${A.b}",
        "$",
        "$$",
        "${A:1:1}",
        "${A:9}",
        "${A::2}",
        "{}",
        "a: ${A}",
        "# ${A}",
        "${A} # x",
        "O'${A}",
        "line\\n${A}",
    ]
)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "targetNamespace": st.sampled_from(["other", "web"]),
        "namePrefix": st.just("pre-"),
        "nameSuffix": st.just("-post"),
        "images": st.sampled_from(
            [
                [{"name": "registry.example.org:5000/web", "newTag": "9"}],
                [{"name": "registry.example.org:5000/web", "newName": "x/y", "digest": "sha256:" + "b" * 64}],
            ]
        ),
        "patches": st.sampled_from(
            [
                [{"target": {"kind": "Deployment"}, "patch": "- op: add\n  path: /spec/replicas\n  value: 4\n"}],
                [
                    {
                        "patch": "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  namespace: web\nspec:\n  paused: true\n"
                    }
                ],
            ]
        ),
        "components": st.just(["../component"]),
        "postBuild": st.fixed_dictionaries(
            {
                "substitute": st.dictionaries(
                    st.sampled_from(["A", "B", "C", "P", "E"]),
                    st.sampled_from(
                        [
                            "abc",
                            "hello-world",
                            "1",
                            "true",
                            "a b",
                            "x: y",
                            "",
                            "0644",
                            "aa/bb/aa",
                            "O'Brien",
                            "782e125",
                            "ä€",
                        ]
                    ),
                    min_size=1,
                    max_size=4,
                )
            }
        ),
    },
)


@settings(max_examples=100, deadline=None)
@given(SPECS, TEXTS, TEXTS, st.booleans(), st.booleans())
def test_generated_kustomizations(spec, one, two, listed, own_fields):
    oracle_ = builds.binary(Recipes(), "flux-build")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        files = {
            "cluster/flux.yaml": FLUX,
            "apps/web.yaml": DEPLOYMENT,
            "apps/c.yaml": CONFIG.format(one=one, two=two),
            "component/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nlabels:\n- pairs: {from: component}\n",
        }
        kustomization = yaml.safe_load(FLUX.split("---")[1])
        kustomization["metadata"]["name"] = "apps"
        kustomization["spec"] |= {"path": "./apps", **spec}
        files["cluster/apps.yaml"] = json.dumps(kustomization, indent=1)
        if listed:
            extra = (
                {
                    "namePrefix": "own-",
                    "images": [{"name": "registry.example.org:5000/web", "newTag": "1"}],
                    "commonAnnotations": {"a": "b"},
                }
                if own_fields
                else {}
            )
            files["apps/kustomization.yaml"] = yaml.dump({"resources": ["web.yaml", "c.yaml"], **extra})
        for file, text in files.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(text)
        assert same(oracle_, checking.load(root, tools.kustomize())) == 2
