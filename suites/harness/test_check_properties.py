"""Properties of `holdfast check`: known layers and loops, the same objects in other files, and trees that want to do harm."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.checking import documents
from holdfast.errors import UsageError
from holdfast.provision import tools
from holdfast.tree import check as checking
from holdfast.tree.boot import down, seeds_of
from suites.harness import pairs

FLUX = (pairs.valid("image") / "cluster" / "flux.yaml").read_text()
MARKER = "marker-of-a-file-outside"
KUSTOMIZE = tools.kustomize()


def kustomization(name, needs=(), wait=False):
    spec = {
        "interval": "1m",
        "path": f"./parts/{name}",
        "prune": True,
        "sourceRef": {"kind": "GitRepository", "name": "flux-system"},
        "wait": wait,
    }
    if needs:
        spec["dependsOn"] = [{"name": n} for n in needs]
    return {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": "flux-system"},
        "spec": spec,
    }


def written(folder, files):
    for name, content in {"cluster/flux.yaml": FLUX, **files}.items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", errors="surrogateescape"))
    return Path(folder)


def tree_of(folder, needs):
    """A tree with one Kustomization a name, each with a ConfigMap."""
    files = {"cluster/all.yaml": yaml.dump_all([kustomization(n, sorted(wanted)) for n, wanted in needs.items()])}
    for name in needs:
        files[f"parts/{name}/c.yaml"] = yaml.dump(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}
        )
    return checking.load(written(folder, files), KUSTOMIZE)


@st.composite
def layered(draw):
    """Names in layers; each one needs some of the layers below, and one of the layer right below."""
    kustomizations = [[f"k{i}-{j}" for j in range(draw(st.integers(1, 3)))] for i in range(draw(st.integers(1, 4)))]
    needs = {}
    for i, names in enumerate(kustomizations):
        below = [n for kustomization in kustomizations[:i] for n in kustomization]
        for name in names:
            needs[name] = (
                {draw(st.sampled_from(kustomizations[i - 1]))} | set(draw(st.lists(st.sampled_from(below), max_size=2)))
                if i
                else set()
            )
    return kustomizations, needs


@settings(max_examples=8, deadline=None)
@given(layered())
def test_known_layers_come_out_as_they_were_put_in(case):
    kustomizations, needs = case
    with tempfile.TemporaryDirectory() as folder:
        found = tree_of(folder, needs).boot
    assert not found.blocked
    assert [sorted(wave) for wave in found.waves] == [
        ["flux-system/flux-system"],
        *(sorted(f"flux-system/{n}" for n in kustomization) for kustomization in kustomizations),
    ]


@settings(max_examples=8, deadline=None)
@given(st.integers(2, 5), st.integers(0, 3))
def test_a_known_loop_is_found_with_all_that_hangs_on_it_and_nothing_else(size, hanging):
    ring = {f"r{i}": {f"r{(i + 1) % size}"} for i in range(size)}
    rest = {f"h{i}": {"r0" if i == 0 else f"h{i - 1}"} for i in range(hanging)}
    with tempfile.TemporaryDirectory() as folder:
        found = tree_of(folder, {**ring, **rest, "free": set()}).boot
    assert len(found.blocked) == 1
    assert found.blocked[0].loop
    assert set(found.blocked[0].kustomizations) == {f"flux-system/{n}" for n in (*ring, *rest)}
    assert len(found.blocked[0].chain) == size
    assert found.waves == (("flux-system/flux-system",), ("flux-system/free",))


@settings(max_examples=8, deadline=None)
@given(layered(), st.data())
def test_what_freezes_is_what_hangs_on_it(case, data):
    _, needs = case
    one = data.draw(st.sampled_from(sorted(needs)))
    above, todo = set(), [one]
    while todo:
        here = todo.pop()
        todo += [n for n, wanted in needs.items() if here in wanted and n not in above]
        above |= {n for n, wanted in needs.items() if here in wanted}
    with tempfile.TemporaryDirectory() as folder:
        graph = tree_of(folder, needs).graph
        frozen = down(graph, seeds_of(graph, f"Kustomization/flux-system/{one}")).frozen
    assert set(frozen) == {f"Kustomization/flux-system/{n}" for n in above}


LAYOUTS = [
    "unknown-field",
    "never-evicted",
    "budget",
    "missing-config",
    "ingress-backend",
    "cluster-admin",
    "shared-volume",
    "probe-port",
]


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(LAYOUTS), st.randoms(use_true_random=False), st.integers(1, 5))
def test_the_same_objects_in_other_files_give_the_same_findings(name, random, count):
    source = pairs.invalid(name)
    texts = [
        t
        for f in sorted((source / "cluster").glob("*.yaml"))
        if f.name != "flux.yaml"
        for t in f.read_text().split("---\n")
        if t.strip()
    ]
    random.shuffle(texts)
    files = {}
    for number, text in enumerate(texts):
        home = f"cluster/{random.choice(['', 'a/', 'b/c/'])}{number % count}.yaml"
        files[home] = f"{files[home]}---\n{text}" if home in files else text
    with tempfile.TemporaryDirectory() as folder:
        moved = checking.check(checking.load(written(folder, files), KUSTOMIZE), strict=True)
        for finding in moved.findings:
            for place in finding.locations:
                assert place.line <= len((Path(folder) / place.file).read_text().splitlines())
    kept = checking.check(checking.load(source, KUSTOMIZE), strict=True)
    assert {(f.rule, f.object, f.what) for f in moved.findings} == {(f.rule, f.object, f.what) for f in kept.findings}


NASTY = [
    "a: &a [*a]\n",
    (
        "a: &a {x: 1}\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
        "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n"
    ),
    "\ufeffapiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: bom\n  namespace: default\n",
    "key:\tvalue\n",
    "\tkey: value\n",
    "---\n---\n...\n---\n",
    "{}",
    "[]",
    "5",
    "",
    "!!python/object/apply:os.system ['touch /tmp/x']\n",
    "kind: 5\napiVersion: []\nmetadata: []\nspec: text\n",
    "apiVersion: v1\nkind: List\nitems: null\n",
    "apiVersion: v1\nkind: List\nitems: [5, null, {kind: Pod}]\n",
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x, namespace: default}\nspec: 5\n",
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x, namespace: default}\nspec: {template: {spec: {containers: {a: b}, volumes: text, tolerations: [5]}}}\n",
    "apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: default, labels: text}\nspec: {ports: {a: b}, selector: [1]}\n",
    "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: x, namespace: default}\nspec: {rules: [5, {http: 5}, {host: {}}], tls: [text]}\n",
    "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: x, namespace: default}\nspec: {chart: 5, values: text, valuesFrom: {}, dependsOn: [5]}\n",
    "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: x, namespace: default}\nspec: {path: 5, dependsOn: {}, postBuild: [], healthChecks: text}\n",
    "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: y, namespace: default}\nspec: {path: ../../outside, sourceRef: {kind: GitRepository, name: flux-system}}\n",
    "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: z, namespace: flux-system}\nspec: {path: ./hostile, patches: [5, {target: {kind: '['}}], sourceRef: {kind: GitRepository, name: flux-system}}\n",
    "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: x}\nroleRef: text\nsubjects: {a: 5}\n",
    "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {name: x, namespace: default}\nspec: {groups: [5, {rules: [5, {alert: [], expr: {}}]}]}\n",
    "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ndata: [1]\nstringData: {a: {b: c}}\n",
    "? [a, b]\n: {c: d}\n",
    "a: 0x\nb: 1_\nc: .inf\nd: 2024-99-99\n",
]
HOSTILE = [
    "generators: ['{{apiVersion: builtin, kind: ConfigMapGenerator, metadata: {{name: x}}, files: [{out}/secret.txt]}}']",
    "ConfigMapGenerator:\n- name: a\n  files: [x={out}/secret.txt]",
    "Resources: [{out}/secret.txt]",
    "generators: [folder]",
    "resources: [{out}/secret.txt]",
    "resources: [../../../../../../../../../../../..{out}/secret.txt]",
    "configMapGenerator:\n- name: a\n  files: [x={out}/secret.txt]",
    "configMapGenerator:\n- name: a\n  envs: [{out}/secret.txt]",
    "generators:\n- |-\n  apiVersion: builtin\n  kind: ConfigMapGenerator\n  metadata: {{name: a}}\n  files: [{out}/secret.txt]",
    "generators: [gen.yaml]",
    "transformers: [gen.yaml]",
    "patches:\n- path: {out}/secret.txt",
    "replacements:\n- path: {out}/secret.txt",
    "openapi:\n  path: {out}/secret.txt",
    "crds: [{out}/secret.txt]",
    "resources: [link.yaml]",
    "resources: [linked]",
    "configurations: [{out}/secret.txt]",
    "components: [{out}]",
    "bases: [{out}]",
    "resources: ['https://example.org/x.yaml']",
    "resources: ['git@example.org:a/b']",
    "helmCharts:\n- name: x\n  valuesFile: {out}/secret.txt",
    "resources: 5",
    "resources: [5, null, {{}}]",
    "patches: [{{patch: 5}}]",
    "resources: [.]",
    "resources: ['']",
    "secretGenerator:\n- name: a\n  files: ['{out}/secret.txt']",
    "resources: [hostile.txt]",
]


def survives(folder, files):
    try:
        result = checking.check(checking.load(written(folder, files), KUSTOMIZE), strict=True)
    except UsageError as error:
        return str(error)
    said = json.dumps(documents.as_json(result))
    for finding in result.findings:
        assert finding.locations, "no finding without a place"
    return said


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_tree_reads_nothing_from_outside(tmp_path, text):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text(
        f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {MARKER}\n  namespace: default\ndata:\n  a: {MARKER}\n"
    )
    (outside / "kustomization.yaml").write_text("resources: [secret.txt]\n")
    root = tmp_path / "tree"
    gen = f"apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata:\n  name: a\nfiles: [{outside}/secret.txt]\n"
    written(
        root,
        {
            "hostile/kustomization.yaml": text.format(out=outside) + "\n",
            "hostile/gen.yaml": gen,
            "hostile/hostile.txt": f"a: {outside}/secret.txt\n",
            "hostile/folder/kustomization.yaml": "resources: [../gen.yaml]\n",
            "cluster/k.yaml": yaml.dump(kustomization("hostile")).replace("./parts/hostile", "./hostile"),
        },
    )
    (root / "hostile" / "link.yaml").symlink_to(outside / "secret.txt")
    (root / "hostile" / "linked").symlink_to(outside)
    assert MARKER not in survives(root, {})


def test_a_patch_of_flux_has_no_path(tmp_path):
    (tmp_path / "secret.txt").write_text(
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c, namespace: default}}\ndata: {{a: {MARKER}}}\n"
    )
    k = kustomization("hostile")
    k["spec"]["patches"] = [{"path": str(tmp_path / "secret.txt"), "target": {"kind": "ConfigMap"}}]
    files = {
        "cluster/k.yaml": yaml.dump(k),
        "parts/hostile/c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: default}\n",
    }
    assert MARKER not in survives(tmp_path / "tree", files)


def test_the_trees_own_git_settings_run_nothing(tmp_path):
    root = written(tmp_path / "tree", {})
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "a"], check=True)
    for key in ("core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "diff.external", "core.hooksPath"):
        subprocess.run([*git, "config", key, f"touch {tmp_path}/pwned"], check=True)
    (root / ".git" / "config").open("a").write(
        f'[extensions]\npartialClone = origin\n[remote "origin"]\nurl = ext::sh -c touch% {tmp_path}/pwned\npromisor = true\n[protocol "ext"]\nallow = always\n'
    )
    for tree_object in (root / ".git" / "objects").glob("??/*"):
        tree_object.unlink()
    survives(root, {})
    assert not (tmp_path / "pwned").exists()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(NASTY) | st.binary(max_size=60) | st.text(max_size=60), min_size=1, max_size=3),
    st.booleans(),
)
def test_no_file_brings_a_traceback(texts, listed):
    with tempfile.TemporaryDirectory() as folder:
        files = {f"cluster/n{i}.yaml": text for i, text in enumerate(texts)}
        if listed:
            files["cluster/kustomization.yaml"] = yaml.dump(
                {"resources": ["flux.yaml", *(f"n{i}.yaml" for i in range(len(texts)))]}
            )
        survives(folder, files)


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_each_nasty_file_alone(tmp_path, text):
    survives(tmp_path, {"cluster/kustomization.yaml": "resources: [flux.yaml, n.yaml]\n", "cluster/n.yaml": text})


def test_a_large_file_a_deep_one_and_a_name_that_is_no_text(tmp_path):
    deep = "a: " + "[" * 3000 + "]" * 3000 + "\n"
    root = written(
        tmp_path,
        {
            "cluster/big.yaml": "# " + "x" * 10_000_000 + "\n",
            "other/deep.yaml": f"apiVersion: v1\nkind: ConfigMap\n{deep}",
        },
    )
    (Path(os.fsdecode(os.fsencode(root) + b"/other/\xff.yaml"))).write_text("a: b\n")
    said = json.loads(survives(root, {}))
    assert any("is no text" in line for line in said["not_read"])
