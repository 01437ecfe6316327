"""The command `holdfast check`: entries, what is down, allowances, exit codes, the picture."""

import json
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import yaml

from holdfast.paths import ROOT
from suites.harness import pairs
from suites.harness.test_check_properties import FLUX, kustomization, written


def check(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", "check", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/absent"], ["there is no folder /absent", "next:"]),
        ([pairs.valid("image"), "--claim", "no-such"], ["no rule is about 'no-such'", "secrets-not-in-git"]),
        ([pairs.valid("image"), "--if-down", "nowhere"], ["nothing that the tree applies is nowhere"]),
        ([pairs.valid("image"), "--kubernetes", "1.2"], ["there are no schemas of Kubernetes 1.2", "1.36"]),
        ([pairs.valid("image"), "--entry", "clusters/x"], ["there is no folder clusters/x"]),
        ([pairs.valid("image"), "--colour"], ["--help"]),
        ([ROOT / "holdfast"], ["no Flux entry", "--entry"]),
    ],
)
def test_wrong_use_is_one_message_and_exit_64(arguments, words):
    code, out, err = check(*arguments)
    assert code == 64, out
    for part in words:
        assert part in err


@pytest.mark.parametrize(
    ("name", "level", "code"),
    [
        ("image", "breaks-claim", 0),
        ("image", "upgrade-hazard", 1),
        ("wrong-type", "breaks-apply", 1),
        ("unknown-field", "breaks-apply", 0),
        ("unknown-field", "breaks-claim", 1),
        ("probe-port", "breaks-apply", 0),
        ("no-prune", "hygiene", 1),
    ],
)
def test_the_exit_code_follows_the_severity(name, level, code):
    assert check(pairs.invalid(name), "--fail-on", level)[0] == code


def test_several_entries_are_named_and_one_can_be_chosen(tmp_path):
    both = {f"clusters/{n}/flux.yaml": FLUX.replace("./cluster", f"./clusters/{n}") for n in "ab"}
    root = written(tmp_path, both)
    (root / "cluster" / "flux.yaml").unlink()
    code, _, err = check(root)
    assert code == 64
    assert "clusters/a" in err
    assert "clusters/b" in err
    code, out, _ = check(root, "--entry", "clusters/b", "--format", "json")
    assert code == 0
    assert json.loads(out)["entry"].startswith("clusters/b")


@pytest.mark.parametrize("form", ["text", "json", "junit", "sarif"])
def test_all_entries_are_read_and_the_worst_counts(form, tmp_path):
    both = {f"clusters/{n}/flux.yaml": FLUX.replace("./cluster", f"./clusters/{n}") for n in "ab"}
    wrong = {"clusters/b/apps.yaml": yaml.dump(kustomization("apps"))}  # there is no such folder
    root = written(tmp_path, both | wrong)
    (root / "cluster" / "flux.yaml").unlink()
    code, out, _ = check(root, "--all-entries", "--format", form)
    assert code == 1
    assert "clusters/a" in out
    assert "clusters/b" in out
    if form == "json":
        assert [len(e["findings"]) for e in json.loads(out)["entries"]] == [0, 1]
    if form == "junit":
        assert [s.get("failures") for s in ElementTree.fromstring(out)] == ["0", "1"]
    if form == "sarif":
        runs = json.loads(out)["runs"]
        assert [len(r["results"]) for r in runs] == [0, 1]
        assert len({r["automationDetails"]["id"] for r in runs}) == 2
    (root / "clusters/b/apps.yaml").unlink()
    assert check(root, "--all-entries", "--format", form)[0] == 0


def test_all_entries_and_one_of_them_is_a_contradiction(tmp_path):
    code, _, err = check(written(tmp_path, {}), "--all-entries", "--entry", "cluster")
    assert code == 64
    assert "leave one of them out" in err


def test_what_another_cluster_applies_is_neither_latent_nor_unreachable(tmp_path):
    files = {}
    for name in "ab":
        files[f"clusters/{name}/flux.yaml"] = FLUX.replace("./cluster", f"./clusters/{name}")
        files[f"clusters/{name}/apps.yaml"] = yaml.dump(kustomization("apps")).replace("./parts/apps", f"./apps/{name}")
        files[f"apps/{name}/kustomization.yaml"] = "resources: [ns.yaml]\n"
        files[f"apps/{name}/ns.yaml"] = f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n"
    root = written(tmp_path, files)
    (root / "cluster" / "flux.yaml").unlink()
    code, out, _ = check(root, "--entry", "clusters/a", "--format", "json")
    found = json.loads(out)
    assert (code, found["findings"]) == (0, [])
    assert any("clusters/b" in line for line in found["not_read"])
    assert found["claims"]["secrets-not-in-git"]["verdict"] == "held", "another cluster's part is no gap in this one"


def test_a_submodule_is_said_to_be_unread(tmp_path):
    root, other = written(tmp_path / "tree", {}), written(tmp_path / "other", {})
    for folder in (other, root):
        git = [
            "git",
            "-C",
            str(folder),
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "-c",
            "protocol.file.allow=always",
        ]
        subprocess.run([*git, "init", "-q"], check=True)
        if folder == root:
            subprocess.run([*git, "submodule", "--quiet", "add", str(other), "vendored"], check=True)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-qm", "a"], check=True)
    _, out, _ = check(root, "--format", "json")
    assert any(line.startswith("vendored is a Git submodule") for line in json.loads(out)["not_read"])


def test_what_is_down_freezes_what_waits_for_it(tmp_path):
    code, out, _ = check(
        ROOT / "fixtures" / "gitops",
        "--if-down",
        "longhorn-system",
        "--picture",
        tmp_path / "p.html",
        "--format",
        "json",
    )
    said = json.loads(out)
    assert code == 0
    assert {"Kustomization/flux-system/apps-stateful", "Kustomization/flux-system/monitoring-longterm"} <= set(
        said["frozen"]
    )
    assert "Kustomization/flux-system/apps" not in said["frozen"]
    assert set(said["stopped"]) == {"Deployment/notes/notes"}
    assert said["frozen"]["Kustomization/flux-system/apps-stateful"][0]["path"] == "clusters/home/apps.yaml"
    page = (tmp_path / "p.html").read_text()
    assert page.count("<rect") == 9
    assert "apps-stateful" in page


def test_a_loop_is_drawn_and_told(tmp_path):
    check(pairs.invalid("loop-depends-on"), "--picture", tmp_path / "p.html")
    page = (tmp_path / "p.html").read_text()
    assert "never" in page
    assert page.count("<rect") == 3


DEPLOYMENT = (pairs.invalid("never-evicted") / "cluster" / "app.yaml").read_text()


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (
            "# holdfast: allow resilience.never-evicted because it reads the node's own disk",
            0,
            "because it reads the node's own disk",
        ),
        ("# holdfast: allow resilience.never-evicted", 1, "gives no reason"),
        ("# holdfast: allow resilience.never because of a slip", 1, "names no rule"),
        ("# holdfast: allow resilience.budget because it is another rule", 1, "tolerates the loss"),
    ],
)
def test_an_allowance_needs_its_rule_and_a_reason(tmp_path, line, code, words):
    first, second = DEPLOYMENT.split("---\n")
    root = written(tmp_path, {"cluster/app.yaml": f"{first}---\n{line}\n{second}"})
    done = check(root)
    assert done[0] == code, done[1]
    assert words in done[1]


def test_an_allowance_covers_its_own_object_only(tmp_path):
    first, second = DEPLOYMENT.split("---\n")
    other = second.replace("name: web\n  namespace", "name: other\n  namespace").replace("app: web", "app: other")
    root = written(
        tmp_path,
        {
            "cluster/app.yaml": f"{first}---\n# holdfast: allow resilience.never-evicted because of the disk\n{second}---\n{other}"
        },
    )
    code, out, _ = check(root)
    assert code == 1
    assert "Deployment/web/other tolerates" in out.split("allowed, with a reason")[0]
    assert "Deployment/web/web tolerates" not in out.split("allowed, with a reason")[0]


def test_what_is_not_read_is_said_and_makes_claims_unproven(tmp_path):
    other = kustomization("apps")
    other["spec"]["sourceRef"]["name"] = "another-repository"
    code, out, _ = check(written(tmp_path, {"cluster/k.yaml": yaml.dump(other)}), "--format", "json")
    said = json.loads(out)
    assert any("another-repository" in line for line in said["not_read"])
    assert said["claims"]["secrets-not-in-git"]["verdict"] == "unproven"
    assert (code, said["read"]["kustomizations"], said["read"]["of"]) == (11, 1, 2)


def test_a_part_that_is_not_applied_is_latent_and_fails_nothing(tmp_path):
    broken = "resources: [absent.yaml]\n"
    code, out, _ = check(
        written(tmp_path, {"spare/kustomization.yaml": broken, "tests/x/kustomization.yaml": broken}),
        "--format",
        "json",
    )
    said = json.loads(out)
    assert code == 0
    assert all(f["unreferenced"] for f in said["findings"])
    assert any(
        f["rule"] == "apply.build" and f["files"][0]["path"] == "spare/kustomization.yaml" for f in said["findings"]
    )
    assert not any("tests/" in f["files"][0]["path"] for f in said["findings"])


# -- sound trees that look odd -----------------------------------------------------------------------------------------------


def source(name, kind="GitRepository"):
    return {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "flux-system"},
        "spec": {"interval": "10m", "url": f"https://example.org/{name}"},
    }


def of(name, path, source_name="flux-system", **spec):
    made = kustomization(name)
    made["spec"] |= {"path": path, "sourceRef": {"kind": "GitRepository", "name": source_name}, **spec}
    return made


NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: web\n"
ROUTE = {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "elsewhere"}}


def said(root, *arguments):
    code, out, _ = check(root, "--format", "json", *arguments)
    return code, json.loads(out)


def test_a_path_within_another_repository_is_no_entry(tmp_path):
    files = {
        "cluster/podinfo.yaml": yaml.dump_all(
            [source("podinfo"), of("podinfo", "./", "podinfo"), of("apps", "./apps")]
        ),
        "apps/ns.yaml": NAMESPACE,
    }
    code, found = said(written(tmp_path, files))
    assert code == 11
    assert found["entry"].startswith("cluster,")
    assert sum("podinfo" in line for line in found["not_read"]) == 1


def test_a_tree_that_something_else_syncs_knows_its_own_source(tmp_path):
    files = {
        "kubernetes/flux/ks.yaml": yaml.dump(of("apps", "./kubernetes/apps")),
        "kubernetes/apps/crds.yaml": yaml.dump_all([source("crds"), of("crds", "./config/crd", "crds")]),
        "kubernetes/apps/ns.yaml": NAMESPACE,
    }
    root = written(tmp_path, files)
    (root / "cluster" / "flux.yaml").unlink()
    code, found = said(root)
    assert code == 11, found["findings"]
    assert any("crds" in line for line in found["not_read"])


def test_what_an_unread_part_may_bring_is_taken_to_exist(tmp_path):
    files = {
        "cluster/k.yaml": yaml.dump_all(
            [source("infra"), of("infra", "./", "infra"), of("apps", "./apps", dependsOn=[{"name": "infra"}])]
        ),
        "apps/w.yaml": yaml.dump(ROUTE),
    }
    code, found = said(written(tmp_path, files))
    assert code == 11, found["findings"]
    assert {"the kind Widget (example.org)", "Namespace/elsewhere"} <= set(found["assumed"])


def test_without_an_unread_part_the_same_is_missing(tmp_path):
    code, found = said(
        written(tmp_path, {"cluster/k.yaml": yaml.dump(of("apps", "./apps")), "apps/w.yaml": yaml.dump(ROUTE)})
    )
    assert code == 1
    assert {f["rule"] for f in found["findings"]} == {"apply.missing-kind", "apply.missing-namespace"}


@pytest.mark.parametrize("inline", [{}, {"OTHER": "x"}])
def test_a_variable_from_outside_the_tree_is_marked_and_not_judged(tmp_path, inline):
    spec = {"postBuild": {"substituteFrom": [{"kind": "Secret", "name": "cluster-secrets"}], "substitute": inline}}
    claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: p, namespace: '${NS}'}\nspec: {accessModes: [ReadWriteOnce], storageClassName: '${CLASS}', resources: {requests: {storage: 1Gi}}}\n"
    code, found = said(
        written(
            tmp_path,
            {
                "cluster/k.yaml": yaml.dump_all([of("apps", "./apps", **spec), of("more", "./${CLUSTER}/x")]),
                "apps/p.yaml": claim,
            },
        )
    )
    assert "Secret/flux-system/cluster-secrets" in found["assumed"]
    assert [(f["rule"], f["object"]) for f in found["findings"]] == [
        ("apply.build", "Kustomization/flux-system/more")
    ], "no variables are put in there"
    assert code == 1


def test_a_path_that_a_later_config_map_fills_in_is_built(tmp_path):
    late = {"postBuild": {"substituteFrom": [{"kind": "ConfigMap", "name": "settings"}]}}
    settings = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: flux-system}\ndata: {CLUSTER: home}\n"
    )
    files = {
        "cluster/k.yaml": yaml.dump_all([of("apps", "./apps", **late), of("conf", "./conf")]),
        "conf/s.yaml": settings,
        "apps/k.yaml": yaml.dump(of("home", "./parts/${CLUSTER}")),
        "parts/home/ns.yaml": NAMESPACE,
    }
    code, found = said(written(tmp_path, files))
    assert code == 0, found["findings"]
    assert found["not_read"] == []
    assert "flux-system/home" in [i for kustomization in found["boot"]["waves"] for i in kustomization]


@pytest.mark.parametrize(("first", "second"), [("a", "b"), ("b", "a")])
def test_what_two_apply_is_there_once_one_of_them_has(first, second, tmp_path):
    """Both have the repository of a maker's charts among their files: the one that waits for it has it itself."""
    repository = "apiVersion: source.toolkit.fluxcd.io/v1\nkind: HelmRepository\nmetadata: {name: maker, namespace: flux-system}\nspec: {url: 'https://charts.example.org'}\n"
    waits, after = of(first, f"./{first}", wait=True), of(second, f"./{second}", dependsOn=[{"name": first}])
    files = {"cluster/k.yaml": yaml.dump_all([waits, after]), "a/r.yaml": repository, "b/r.yaml": repository}
    _, found = said(written(tmp_path, files))
    assert [f["rule"] for f in found["findings"] if f["severity"] == "breaks-apply"] == []
    assert found["boot"]["waves"][-1] == [f"flux-system/{second}"]


def test_an_absent_thing_is_no_broken_promise_while_something_is_unread(tmp_path):
    files = {
        ".holdfast.toml": "[check]\npromises = ['longhorn-backup']\n",
        "cluster/k.yaml": yaml.dump(of("infra", "./infra")),
        "infra/kustomization.yaml": "resources: ['https://example.org/longhorn.yaml']\n",
    }
    code, found = said(written(tmp_path, files))
    assert code == 11, found["findings"]
    assert found["claims"]["longhorn-backup"]["verdict"] == "unproven"


def test_a_source_that_is_down_freezes_everything(tmp_path):
    _, out, _ = check(
        ROOT / "fixtures" / "gitops", "--if-down", "GitRepository/flux-system/flux-system", "--format", "json"
    )
    assert len([n for n in json.loads(out)["frozen"] if n.startswith("Kustomization/")]) == 9
    _, out, _ = check(ROOT / "fixtures" / "gitops", "--if-down", "flux-system", "--format", "json")
    found = json.loads(out)
    assert len([n for n in found["frozen"] if n.startswith("Kustomization/")]) == 9
    assert not found["stopped"], "running workloads continue"


def test_a_volume_of_the_trees_own_needs_no_class(tmp_path):
    pair = (
        "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: nfs}\nspec: {storageClassName: manual, capacity: {storage: 1Gi}, accessModes: [ReadWriteMany], nfs: {server: a, path: /}}\n"
        "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: p, namespace: default}\nspec: {storageClassName: manual, accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}\n"
    )
    code, found = said(written(tmp_path, {"cluster/v.yaml": pair}))
    assert code == 0, found["findings"]


@pytest.mark.parametrize(
    "selector",
    [{}, {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["web"]}]}],
)
@pytest.mark.parametrize("kind", ["webhook", "api"])
def test_what_stands_before_a_kind_freezes_what_is_of_it(tmp_path, kind, selector):
    service = {"name": "guard", "namespace": "web"}
    guard = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "guard"},
        "webhooks": [
            {
                "name": "a.b.c",
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"service": service},
                "namespaceSelector": selector,
                "rules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
                ],
            }
        ],
    }
    api = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1.example.org"},
        "spec": {
            "group": "example.org",
            "version": "v1",
            "service": service,
            "groupPriorityMinimum": 1,
            "versionPriority": 1,
        },
    }
    pods = (
        (pairs.valid("service-port") / "cluster" / "app.yaml")
        .read_text()
        .replace("name: web\n  namespace: web\n  labels", "name: guard\n  namespace: web\n  labels")
    )
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: default}\n"
    widget = yaml.dump({**ROUTE, "metadata": {"name": "w", "namespace": "default"}})
    crd = (pairs.valid("missing-kind") / "cluster" / "zz-crd.yaml").read_text()
    files = {
        "cluster/k.yaml": yaml.dump_all([of("guard", "./guard"), of("apps", "./apps"), of("none", "./none")]),
        "guard/web.yaml": pods,
        "guard/hook.yaml": yaml.dump(guard if kind == "webhook" else api),
        "apps/c.yaml": config if kind == "webhook" else widget,
        "cluster/crd.yaml": crd,
        "none/ns.yaml": "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: other\n",
    }
    _, out, _ = check(written(tmp_path, files), "--if-down", "Deployment/web/web", "--format", "json")
    assert set(json.loads(out)["frozen"]) == {"Kustomization/flux-system/apps"}


def test_what_is_suspended_starts_nothing(tmp_path):
    files = {
        "cluster/k.yaml": yaml.dump_all([of("a", "./a", suspend=True), of("b", "./b")]),
        "a/ns.yaml": NAMESPACE,
        "b/c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: web}\n",
    }
    code, found = said(written(tmp_path, files))
    assert code == 1
    assert {i for kustomization in found["boot"]["waves"] for i in kustomization} == {"flux-system/flux-system"}
    assert any(
        f["rule"] == "apply.suspended-dependency" and "Kustomization/flux-system/b" in f["hits"]
        for f in found["findings"]
    )


def test_of_two_objects_of_one_name_the_right_one_is_pointed_at(tmp_path):
    first, second = DEPLOYMENT.split("---\n")
    other = second.replace("namespace: web", "namespace: other").replace(
        "  - operator: Exists", "  - key: x\n          operator: Exists"
    )
    root = written(
        tmp_path, {"cluster/a.yaml": "---\n".join([first, first.replace("name: web", "name: other"), other, second])}
    )
    _, found = said(root)
    lines = (root / "cluster" / "a.yaml").read_text().splitlines()
    places = [f["files"][0]["line"] for f in found["findings"] if f["rule"] == "resilience.never-evicted"]
    assert places == [n for n, line in enumerate(lines, 1) if line.strip() == "- operator: Exists"]


def test_a_value_that_a_patch_sets_is_looked_for_there(tmp_path):
    files = {
        "cluster/k.yaml": yaml.dump(of("apps", "./apps")),
        "apps/web.yaml": (pairs.valid("image") / "cluster" / "app.yaml").read_text(),
        "apps/kustomization.yaml": "resources: [web.yaml]\nimages:\n  - name: registry.example.org:5000/web\n    newTag: latest\n",
    }
    _, found = said(written(tmp_path, files))
    assert [(f["rule"], f["files"][0]) for f in found["findings"]] == [
        ("security.image", {"path": "apps/kustomization.yaml", "line": 4})
    ]


REMOTE = "https://git.example.org/makers/widgets/raw/v1.2.0/install.yaml"


@pytest.mark.parametrize(
    ("kustomization", "objects"),
    [
        ({"resources": ["ns.yaml", REMOTE]}, 1),
        ({"resources": ["base"]}, 1),  # one that lists it further down
        ({"resources": [REMOTE]}, 0),
        # what changes it is left out with it, and keeps nothing else from being read
        (
            {
                "resources": ["ns.yaml", REMOTE],
                "patches": [{"patch": "{apiVersion: v1, kind: ConfigMap, metadata: {name: w}}"}],
            },
            1,
        ),
    ],
)
def test_a_remote_resource_is_unread_and_not_what_lies_beside_it(kustomization, objects, tmp_path):
    files = {
        "cluster/k.yaml": yaml.dump(of("infra", "./infra")),
        "infra/kustomization.yaml": yaml.dump(kustomization),
        "infra/ns.yaml": NAMESPACE,
    }
    if kustomization["resources"] == ["base"]:
        files["infra/base/ns.yaml"] = files.pop("infra/ns.yaml")
        files["infra/base/kustomization.yaml"] = yaml.dump({"resources": ["ns.yaml", REMOTE]})
    code, found = said(written(tmp_path, files))
    assert sum(REMOTE in line for line in found["not_read"]) == 1
    assert found["read"]["objects"] == 3 + objects
    assert code == (0 if objects else 11), found["findings"]


def test_a_patch_of_what_is_not_read_or_not_written_yet_is_no_finding(tmp_path):
    definition = {"target": {"kind": "CustomResourceDefinition", "name": "widgets.example.org"}, "patch": "[]"}
    faster = {"target": {"kind": "Deployment", "name": "(kustomize|helm)-controller"}, "patch": "[]"}
    files = {
        "cluster/k.yaml": yaml.dump_all([of("infra", "./infra"), of("flux", "./flux")]),
        "infra/kustomization.yaml": yaml.dump({"resources": ["ns.yaml", REMOTE], "patches": [definition]}),
        "infra/ns.yaml": NAMESPACE,
        "flux/kustomization.yaml": yaml.dump({"resources": ["gotk-components.yaml", "c.yaml"], "patches": [faster]}),
        "flux/gotk-components.yaml": "# flux bootstrap writes this file\n",
        "flux/c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: flux-system}\n",
    }
    _, found = said(written(tmp_path, files))
    assert [f["rule"] for f in found["findings"] if f["rule"] == "apply.patch-on-nothing"] == []
    by_flux = of("infra", "./infra", patches=[definition])
    remote_alone = {"cluster/k.yaml": yaml.dump_all([by_flux, of("flux", "./flux")])}
    remote_alone["infra/kustomization.yaml"] = yaml.dump({"resources": [REMOTE], "patches": [definition]})
    _, found = said(written(tmp_path, files | remote_alone))
    assert [f["rule"] for f in found["findings"] if f["rule"] == "apply.patch-on-nothing"] == []
    written(tmp_path, {"cluster/k.yaml": files["cluster/k.yaml"]})
    files["infra/kustomization.yaml"] = yaml.dump({"resources": ["ns.yaml"], "patches": [definition]})
    files["flux/kustomization.yaml"] = yaml.dump({"resources": ["c.yaml"], "patches": [faster]})
    _, found = said(written(tmp_path, files))
    assert len([f for f in found["findings"] if f["rule"] == "apply.patch-on-nothing"]) == 2


@pytest.mark.parametrize(
    ("subject", "counts"),
    [
        ({"kind": "User", "name": "somebody@example.org"}, False),
        ({"kind": "Group", "name": "oidc:admins"}, False),
        ({"kind": "Group", "name": "${GROUP}"}, None),  # it may be every pod's
        ({"kind": "Group", "name": "system:serviceaccounts"}, True),  # every pod's
        ({"kind": "ServiceAccount", "name": "${ACCOUNT}", "namespace": "web"}, True),
    ],
)
def test_people_with_all_rights_are_no_parts_of_the_cluster(subject, counts, tmp_path):
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "all"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [subject],
    }
    late = {"postBuild": {"substituteFrom": [{"kind": "Secret", "name": "made-by-hand"}]}}
    files = {"cluster/k.yaml": yaml.dump(of("infra", "./infra", **late)), "infra/b.yaml": yaml.dump(binding)}
    _, found = said(written(tmp_path, files))
    assert ("security.cluster-admin" in {f["rule"] for f in found["findings"]}) is (counts is True)
    verdict = {True: "broke", False: "held", None: "unproven"}[counts]
    assert found["claims"]["rbac-least"]["verdict"] == verdict, found["claims"]["rbac-least"]
    assert "holdfast-unknown" not in json.dumps(found)  # what a variable stands for isn't known, its name is


def test_what_is_encrypted_whole_is_unread_and_no_defect(tmp_path):
    whole = dict.fromkeys(("apiVersion", "kind"), "ENC[AES256_GCM,data:x,iv:y,tag:z,type:str]")
    whole["metadata"] = dict.fromkeys(("name", "namespace"), "ENC[AES256_GCM,data:x,iv:y,tag:z,type:str]")
    named = {"apiVersion": "v1", "kind": "Secret", "metadata": whole["metadata"]}
    files = {
        "cluster/k.yaml": yaml.dump(of("infra", "./infra", decryption={"provider": "sops"})),
        "infra/a.yaml": yaml.dump(whole | {"sops": {"mac": "x"}}),
        "infra/b.yaml": yaml.dump(named | {"sops": {"mac": "x"}}),
    }
    _, found = said(written(tmp_path, files))
    assert [f for f in found["findings"] if f["severity"] == "breaks-apply"] == []
    assert any(line.startswith("infra/a.yaml: an object that is encrypted whole") for line in found["not_read"])
    assert found["claims"]["rbac-least"]["verdict"] == "unproven"


def test_a_patch_that_renames_what_it_finds_is_on_something(tmp_path):
    renamed = {
        "patch": "[{op: replace, path: /metadata/name, value: shop}]",
        "target": {"kind": "ConfigMap", "name": "base-shop"},
    }
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: base-shop, namespace: default}\n"
    files = {
        "cluster/k.yaml": yaml.dump(of("infra", "./infra")),
        "infra/kustomization.yaml": yaml.dump(
            {"resources": ["c.yaml"], "patches": [renamed | {"options": {"allowNameChange": True}}]}
        ),
        "infra/c.yaml": config,
    }
    _, found = said(written(tmp_path, files))
    assert [f["rule"] for f in found["findings"] if f["rule"] == "apply.patch-on-nothing"] == []


CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: default}\n"
GENERATED = {"name": "web-pages", "namespace": "web", "literals": ["A=b"], "options": {"disableNameSuffixHash": True}}


def test_what_is_generated_beside_a_remote_resource_keeps_its_namespace(tmp_path):
    files = {
        "cluster/k.yaml": yaml.dump(of("infra", "./infra")),
        "infra/kustomization.yaml": yaml.dump({"resources": [REMOTE], "configMapGenerator": [GENERATED]}),
    }
    _, found = said(written(tmp_path, files))
    assert "_placeholder" not in json.dumps(found)


@pytest.mark.parametrize(
    "files",
    [
        {
            "infra/kustomization.yaml": yaml.dump({"resources": [REMOTE, "c.yaml", {"path": "c.yaml"}]}),
            "infra/c.yaml": CONFIG,
        },
        {"infra/kustomization.yaml": f"8080: x\nresources: [{REMOTE}, c.yaml]\n", "infra/c.yaml": CONFIG},
        {
            ".sourceignore": "base/\n",
            "infra/kustomization.yaml": "resources: [../base]\n",
            "base/kustomization.yaml": yaml.dump({"resources": [REMOTE, "c.yaml"]}),
            "base/c.yaml": CONFIG,
        },
    ],
)
def test_odd_things_beside_a_remote_resource_end_no_check(files, tmp_path):
    code, found = said(written(tmp_path, {"cluster/k.yaml": yaml.dump(of("infra", "./infra")), **files}))
    assert code in (1, 11)
    assert found["read"]["kustomizations"] == 1


def test_a_file_that_is_not_there_is_a_defect_beside_a_remote_resource_too(tmp_path):
    files = {
        "cluster/k.yaml": yaml.dump(of("infra", "./infra")),
        "infra/kustomization.yaml": yaml.dump({"resources": [REMOTE, "absent.yaml"]}),
    }
    code, found = said(written(tmp_path, files))
    assert (code, [f["rule"] for f in found["findings"]]) == (1, ["apply.build"])


def test_the_name_of_a_kustomization_speaks_for_what_it_would_fetch(tmp_path):
    used = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: gadgets}\n"
    files = {
        "cluster/k.yaml": yaml.dump_all([of("gadgets", "./infra"), of("apps", "./apps")]),
        "infra/kustomization.yaml": yaml.dump({"resources": ["https://get.example.org/v1/install.yaml", "c.yaml"]}),
        "infra/c.yaml": CONFIG,
        "apps/c.yaml": used,
    }
    _, found = said(written(tmp_path, files))
    assert [f["rule"] for f in found["findings"] if f["severity"] == "breaks-apply"] == []


def test_all_entries_of_a_tree_whose_only_sync_names_no_folder(tmp_path):
    sync = {
        "kind": "GitRepository",
        "url": "https://git.example.org/home.git",
        "ref": "refs/heads/main",
        "path": "absent",
    }
    instance = {
        "apiVersion": "fluxcd.controlplane.io/v1",
        "kind": "FluxInstance",
        "metadata": {"name": "flux", "namespace": "flux-system"},
        "spec": {"distribution": {"version": "2.x", "registry": "ghcr.io/fluxcd"}, "sync": sync},
    }
    root = written(tmp_path, {"cluster/flux.yaml": yaml.dump(instance)})
    assert check(root)[0] == check(root, "--all-entries")[0] == 1


INSTALLER = """
apiVersion: batch/v1
kind: Job
metadata: {name: install, namespace: web}
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: install, image: 'registry.example.org/tools:1.2.3', command: [sh, -c, COMMAND]}
"""
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: shop, namespace: web}\nspec: {selector: {app: shop}, ports: [{port: 80}]}\n"


@pytest.mark.parametrize(
    ("command", "found_"), [("helm upgrade --install shop charts/shop", False), ("echo helm", True)]
)
def test_pods_that_a_script_installs_are_not_missing(command, found_, tmp_path):
    files = {
        "cluster/k.yaml": yaml.dump(of("shop", "./shop")),
        "shop/ns.yaml": NAMESPACE,
        "shop/job.yaml": INSTALLER.replace("COMMAND", f"'{command}'"),
        "shop/service.yaml": SERVICE,
    }
    _, found = said(written(tmp_path, files))
    assert ("apply.service-without-pods" in {f["rule"] for f in found["findings"]}) is found_
