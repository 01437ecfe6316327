"""Which folder a tree is entered by, what of it is this repository, and what is applied before Flux runs."""

import pytest

from holdfast.errors import UsageError
from holdfast.provision import tools
from holdfast.tree import check as checking
from holdfast.tree.origin import same_address
from holdfast.tree.roles import role

REMOTE = "ssh://git@git.example.org/garden/plots.git"


def layer(name, path, source="flux-system", kind="GitRepository"):
    return (
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n"
        f"metadata: {{name: {name}, namespace: flux-system}}\n"
        f"spec: {{interval: 5m, path: {path}, prune: true, sourceRef: {{kind: {kind}, name: {source}}}}}\n"
    )


def source(name, url, kind="GitRepository", ref="branch: main"):
    return (
        f"apiVersion: source.toolkit.fluxcd.io/v1\nkind: {kind}\n"
        f"metadata: {{name: {name}, namespace: flux-system}}\nspec: {{interval: 5m, url: {url!r}, ref: {{{ref}}}}}\n"
    )


def instance(path, url=REMOTE, kind="GitRepository"):
    return (
        "apiVersion: fluxcd.controlplane.io/v1\nkind: FluxInstance\nmetadata: {name: flux, namespace: flux-system}\n"
        f"spec:\n  distribution: {{version: 2.x}}\n  sync:\n    kind: {kind}\n    url: {url}\n    ref: main\n    path: {path}\n"
    )


def listing(*names):
    return "kind: Kustomization\nresources:\n" + "".join(f"  - {n}\n" for n in names)


def object_(name="one"):
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: default}}\n"


@pytest.fixture
def read(tmp_path):
    def reads(files, *, remote="", branch="main", entry=""):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text if isinstance(text, str) else "---\n".join(text))
        if remote:  # by hand: what a checkout's own configuration says is read as text
            for name in ("objects", "refs"):
                (tmp_path / ".git" / name).mkdir(parents=True)
            (tmp_path / ".git/HEAD").write_text(f"ref: refs/heads/{branch}\n")
            (tmp_path / ".git/config").write_text(f'[core]\n\tbare = false\n[remote "origin"]\n\turl = {remote}\n')
        return tools.read(tmp_path, entry=entry)

    return reads


def applied(tree):
    return sorted(m.name for m in tree.objects if m.kind == "ConfigMap")


APPS = {"apps/a.yaml": object_()}


def test_an_address_that_no_parser_takes_is_nobodys():
    assert same_address("ssh://[::1") == ""


@pytest.mark.parametrize("where", ["boot/instance.yaml", "cluster/instance.yaml"])
def test_a_flux_instance_says_what_is_synced(read, where):
    """Other folders with Kustomizations lie beside it."""
    tree = read(
        {where: instance("cluster"), "cluster/k.yaml": layer("apps", "./apps"), "more/k.yaml": layer("x", "./apps")}
        | APPS
    )
    assert tree.root.folder == "cluster"
    assert where in tree.entry
    assert applied(tree) == ["one"]
    assert where not in tree.unreachable
    assert (tree.locate(tree.root.manifest).file, tree.locate(tree.root.manifest).line) == (where, 10)


VALUES = "instance:\n  # what it syncs\n  sync:\n    kind: GitRepository\n    path: ./k8s/main\n"
RELEASE = (
    "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: flux-instance}\nspec:\n  values:\n"
    + "".join(f"    {line}\n" for line in VALUES.splitlines())
)
HELMFILE = (
    "releases:\n  - name: flux-instance\n    values:\n      - " + VALUES.replace("\n", "\n        ").rstrip() + "\n"
)


@pytest.mark.parametrize("file", [("values.yaml", VALUES), ("release.yaml", RELEASE), ("helmfile.yaml", HELMFILE)])
def test_the_values_of_the_chart_say_it_too(read, file):
    files = {f"k8s/apps/flux/{file[0]}": file[1], "k8s/main/ks.yaml": layer("apps", "./k8s/apps")}
    tree = read(
        files
        | {
            "k8s/apps/kustomization.yaml": listing("a.yaml"),
            "k8s/apps/a.yaml": object_(),
            "x/k.yaml": layer("x", "./k8s/apps"),
        }
    )
    assert tree.root.folder == "k8s/main"
    assert "flux-instance chart" in tree.entry
    assert applied(tree) == ["one"]


def test_a_kustomization_beside_its_app_is_no_entry(read):
    files = {"flux/cluster/ks.yaml": layer("apps", "./apps")}
    for app in ("tea", "milk", "honey"):
        files |= {
            f"apps/{app}/ks.yaml": layer(app, f"./apps/{app}"),
            f"apps/{app}/kustomization.yaml": listing("a.yaml"),
            f"apps/{app}/a.yaml": object_(app),
        }
    files["apps/kustomization.yaml"] = listing("tea/ks.yaml", "milk/ks.yaml", "honey/ks.yaml")
    tree = read(files)
    assert tree.root.folder == "flux/cluster"
    assert applied(tree) == ["honey", "milk", "tea"]


@pytest.mark.parametrize(
    "aside", [".archive/old", "clusters.bak", "attic", "apps/tea/archive", "tests/e2e", "examples/small", "tmpl/flux"]
)
def test_what_lies_aside_is_no_candidate(read, aside):
    more = {f"{aside}/k.yaml": layer("old", "./apps"), f"{aside}/gotk-sync.yaml": layer("flux-system", f"./{aside}")}
    assert read({"flux/k.yaml": layer("apps", "./apps")} | APPS | more).root.folder == "flux"


def test_that_all_lies_aside_is_said(read):
    with pytest.raises(UsageError, match=r"lie aside, in \.archive"):
        read({".archive/k.yaml": layer("old", "./apps")} | APPS)


def test_a_cluster_called_test_is_a_cluster(read):
    with pytest.raises(UsageError, match=r"2 clusters: clusters/main.*; clusters/test"):
        read(
            {
                f"clusters/{n}/flux-system/gotk-sync.yaml": layer("flux-system", f"./clusters/{n}")
                for n in ("main", "test")
            }
        )


def test_several_clusters_are_named_shortly_and_the_largest_first(read):
    files = {f"clusters/c{n}/k.yaml": layer("apps", "./apps") for n in range(8)}
    files |= {"clusters/c5/more.yaml": layer("more", "./more"), "more/a.yaml": object_("two")}
    files |= {
        "parts/one/k.yaml": layer("part", "./apps"),
        "parts/one/kustomization.yaml": "kind: Component\nresources: [k.yaml]\n",
    }
    with pytest.raises(UsageError, match=r"8 clusters: clusters/c5.*; and 2 more") as caught:
        read(files | APPS)
    assert "parts/one" not in caught.value.what
    tree = read(files | APPS, entry="clusters/c5")
    assert applied(tree) == ["one", "two"]


def test_an_instance_and_an_older_sync_around_it_are_one_cluster(read):
    files = {
        "flux/config/sync.yaml": layer("cluster", "./flux"),
        "flux/cluster/k.yaml": layer("apps", "./apps"),
        "apps/flux/instance.yaml": instance("./flux/cluster"),
    }
    assert read(files | APPS).root.folder == "flux"


def test_overlays_of_one_base_are_the_clusters(read):
    files = {"clusters/base/k.yaml": layer("apps", "./apps"), "clusters/base/kustomization.yaml": listing("k.yaml")}
    files |= {f"clusters/{n}/kustomization.yaml": listing("../base") for n in ("home", "away")}
    with pytest.raises(UsageError, match=r"2 clusters: clusters/away .*; clusters/home "):
        read(files | APPS)


def test_what_hands_a_folder_to_flux_bootstrap_is_believed(read):
    files = {
        "one/k.yaml": layer("apps", "./apps"),
        "lab/flux/k.yaml": layer("apps", "./apps"),
        "up.sh": "flux bootstrap git --url=x \\\n  --path=./one\n",
    }
    assert read(files | APPS).root.folder == "one"


def test_templates_are_to_be_rendered_first(read):
    with pytest.raises(UsageError, match=r"templates, such as k/ks\.yaml\.j2") as caught:
        read({"k/ks.yaml.j2": layer("apps", "./apps")})
    assert "render" in caught.value.next_step


@pytest.mark.parametrize(
    "url",
    [
        "git@git.example.org:garden/plots.git",
        "ssh://git@git.example.org:2222/Garden/plots",
        "https://git.example.org/garden/plots",
        "https://token:x@GIT.example.org/garden/plots.git/",
        "http://git.example.org:3000/garden/plots.git",
        "git://git.example.org/garden/plots",
        "git.example.org:garden/plots",
    ],
)
def test_the_spellings_of_one_address_are_equal(url):
    assert same_address(url) == "git.example.org/garden/plots"


@pytest.mark.parametrize(
    "url", ["https://git.example.org/garden/plots2", "git@git.example.com:garden/plots.git", "", "x"]
)
def test_other_addresses_are_not(url):
    assert same_address(url) != same_address(REMOTE)


def test_a_source_with_the_address_of_a_remote_is_this_repository(read):
    files = {
        "boot/s.yaml": source("plots", "https://git.example.org/garden/plots"),
        "boot/k.yaml": layer("apps", "./apps", "plots"),
    }
    tree = read(files | APPS, remote="git@git.example.org:garden/plots.git")
    assert applied(tree) == ["one"]
    assert not tree.not_read


@pytest.mark.parametrize("remote", [REMOTE, ""])
def test_a_foreign_source_at_its_root_isnt_the_sync(read, remote):
    files = {
        "flux/sync.yaml": [source("plots", REMOTE), layer("cluster", "./flux", "plots")],
        "flux/seeds.yaml": [source("seeds", "https://git.example.org/shop/seeds"), layer("seeds", "./", "seeds")],
        "flux/apps.yaml": layer("apps", "./apps", "plots"),
    }
    tree = read(files | APPS, remote=remote)
    assert (tree.root.folder, applied(tree)) == ("flux", ["one"])
    assert [n for n in tree.not_read if "seeds" in n] == list(tree.not_read)
    assert tree.not_read


def test_another_branch_of_this_repository_isnt_what_is_checked_out(read):
    files = {
        "clusters/home/k.yaml": layer("tenant", "./tenant"),
        "tenant/s.yaml": [source("team", REMOTE, ref="branch: team"), layer("team", "./", "team")],
    }
    tree = read(files | APPS, remote=REMOTE)
    assert tree.root.folder == "clusters/home"
    assert any("GitRepository flux-system/team" in n for n in tree.not_read)


@pytest.mark.parametrize("kind", ["OCIRepository", "Bucket"])
@pytest.mark.parametrize("name", ["flux-system", "plots"])
def test_the_paths_in_an_artifact_can_begin_at_a_folder(read, kind, name):
    files = {
        "k8s/clusters/home/s.yaml": [
            source(name, "oci://registry.example.org/plots", kind),
            layer(name, "./clusters/home", name, kind),
        ],
        "k8s/clusters/home/k.yaml": layer("apps", "./apps", name, kind),
        "k8s/clusters/home/slip.yaml": layer("slip", "./apsp", name, kind),
        "k8s/apps/a.yaml": object_(),
    }
    tree = read(files)
    assert tree.root.folder == "k8s/clusters/home"
    assert "begin at k8s/" in tree.entry
    assert applied(tree) == ["one"]
    assert [k.id for k in tree.kustomizations.values() if k.error] == ["flux-system/slip"]


def test_an_artifact_of_the_whole_repository_begins_at_its_root(read):
    tree = read(
        {
            "boot/i.yaml": instance("k8s/home", "oci://x/y", "OCIRepository"),
            "k8s/home/k.yaml": layer("apps", "./k8s/apps", kind="OCIRepository"),
            "k8s/apps/a.yaml": object_(),
        }
    )
    assert "begin at" not in tree.entry
    assert applied(tree) == ["one"]


CONTROLLERS = ("source-controller", "kustomize-controller", "helm-controller", "notification-controller")


def controller(name):
    return (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\n  namespace: flux-system\n"
        f"  labels: {{app.kubernetes.io/part-of: flux}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n"
        f"  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec: {{containers: [{{name: manager, image: flux:v1}}]}}\n"
    ).replace("labels: {app.kubernetes.io/part-of: flux}", "labels:\n    app.kubernetes.io/part-of: flux")


PROMISE = {".holdfast.toml": '[check]\npromises = ["flux-four-controllers"]\n'}


def judged(tree):
    result = checking.check(tree, only=["flux-four-controllers"], strict=True)
    return result.claims["flux-four-controllers"].verdict, [f.what for f in result.findings]


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("folder", ["boot", "clusters/home/flux-system", "setup/flux/install"])
def test_components_that_are_applied_by_hand_belong_to_the_start(read, folder, listed):
    files = {
        "clusters/home/k.yaml": [
            source("flux-system", REMOTE),
            layer("home", "./clusters/home"),
            layer("apps", "./apps"),
        ],
        "clusters/home/kustomization.yaml": listing("k.yaml"),
        f"{folder}/gotk-components.yaml": [controller(c) for c in CONTROLLERS],
    }
    if listed:
        files[f"{folder}/kustomization.yaml"] = listing("gotk-components.yaml")
    tree = read(files | APPS | PROMISE)
    assert {m.name for m in tree.bootstrap if m.kind == "Deployment"} == set(CONTROLLERS)
    assert not tree.unreachable
    assert folder not in [k.folder for k in tree.unreferenced]
    assert judged(tree) == ("unproven", [])


def test_a_component_that_is_lacking_by_hand_is_said(read):
    files = {
        "flux/k.yaml": layer("apps", "./apps"),
        "boot/gotk-components.yaml": [controller(c) for c in CONTROLLERS[:3]],
    }
    assert judged(read(files | APPS | PROMISE)) == ("broke", ["notification-controller isn't in the tree"])


OPERATOR = """apiVersion: apps/v1
kind: Deployment
metadata: {name: flux-operator, namespace: flux-system}
spec:
  selector: {matchLabels: {app: o}}
  template:
    metadata: {labels: {app: o}}
    spec: {containers: [{name: o, image: ghcr.io/controlplaneio-fluxcd/flux-operator:v0.30.0}]}
"""


@pytest.mark.parametrize(
    ("components", "verdict"), [("", "held"), (", ".join(CONTROLLERS), "held"), ("source-controller", "broke")]
)
def test_components_that_the_operator_keeps(read, components, verdict):
    more = f"  components: [{components}]\n" if components else ""
    files = {"flux/k.yaml": layer("apps", "./apps"), "apps/i.yaml": instance("./flux") + more}
    assert judged(read(files | APPS | PROMISE))[0] == ("unproven" if verdict == "held" else verdict)  # who keeps them?
    assert judged(read(files | {"apps/o.yaml": OPERATOR} | APPS | PROMISE))[0] == verdict


def test_what_another_cluster_applies_is_none_of_this_one(read):
    files = {}
    for name in ("home", "away"):
        files |= {f"clusters/{name}/flux-system/gotk-sync.yaml": layer("flux-system", f"./clusters/{name}")}
    files["clusters/away/flux-system/gotk-components.yaml"] = [controller(c) for c in CONTROLLERS]
    tree = read(files, entry="clusters/home")
    assert not [m for m in tree.bootstrap if m.kind == "Deployment"]
    assert any("clusters/away is another cluster's" in n for n in tree.not_read)


def generator(*steps):
    listed = "".join(f"        - {{from: '{frm}', to: '{to}'}}\n" for frm, to in steps)
    return (
        "apiVersion: source.extensions.fluxcd.io/v1beta1\nkind: ArtifactGenerator\n"
        "metadata: {name: parts, namespace: flux-system}\nspec:\n"
        "  sources:\n    - {alias: all, kind: GitRepository, name: flux-system}\n"
        f"  artifacts:\n    - name: beds\n      copy:\n{listed}"
    )


@pytest.mark.parametrize(
    ("steps", "path"),
    [
        ([("@all/garden/beds/**", "@artifact/")], "./north"),
        ([("@all/garden/beds/", "@artifact/beds/")], "./beds/north"),
        ([("@all/garden/base/**", "@artifact/base/"), ("@all/garden/beds/**", "@artifact/beds/")], "beds/north"),
    ],
)
def test_a_generated_artifact_is_read_from_the_folders_that_it_is_made_of(read, steps, path):
    files = {
        "clusters/home/g.yaml": [generator(*steps), layer("beds", path, "beds", "ExternalArtifact")],
        "garden/beds/north/kustomization.yaml": listing("a.yaml", *(["../../base"] if len(steps) > 1 else [])),
        "garden/beds/north/a.yaml": object_("leek"),
        "garden/base/kustomization.yaml": listing("b.yaml"),
        "garden/base/b.yaml": object_("soil"),
    }
    tree = read(files)
    assert tree.root.folder == "clusters/home"
    assert applied(tree) == ["leek", "soil"][: len(steps)]
    assert not tree.not_read


def test_an_artifact_whose_folders_lie_otherwise_than_in_the_tree_is_said(read):
    steps = [("@all/garden/base/**", "@artifact/base/"), ("@all/garden/beds/north/**", "@artifact/north/")]
    files = {
        "clusters/home/g.yaml": [
            generator(*steps),
            layer("beds", "north", "beds", "ExternalArtifact"),
            layer("apps", "./apps"),
        ],
        "garden/beds/north/kustomization.yaml": listing("../base"),
        "garden/base/b.yaml": object_("soil"),
    }
    assert any("ExternalArtifact flux-system/beds" in n for n in read(files | APPS).not_read)


def test_an_artifact_of_another_source_isnt_read(read):
    text = generator(("@all/garden/**", "@artifact/")).replace("name: flux-system}", "name: seeds}")
    files = {
        "flux/g.yaml": [
            source("seeds", "https://git.example.org/shop/seeds"),
            text,
            layer("beds", "./garden", "beds", "ExternalArtifact"),
        ],
        "flux/k.yaml": layer("apps", "./apps"),
        "garden/a.yaml": object_("leek"),
    }
    assert any("ExternalArtifact flux-system/beds" in n for n in read(files | APPS).not_read)


def test_the_clusters_beside_a_named_one_arent_called_unreferenced(read):
    files = {f"clusters/{n}/kustomization.yaml": listing("k.yaml") for n in ("home", "away")}
    files |= {f"clusters/{n}/k.yaml": layer("apps", "./apps") for n in ("home", "away")}
    tree = read(files | APPS, entry="clusters/home")
    assert not tree.unreferenced
    assert tree.not_read == ("the entry clusters/away is another cluster's: --entry clusters/away reads it",)


def test_a_kustomization_that_applies_the_folder_of_an_instance_with_more_beside_it_is_where_it_begins(read):
    """The instance's folder is only a part of what the larger one applies: with it alone, half of the tree would be lacking."""
    tree = read(
        {
            "boot/i.yaml": instance("flux/cluster"),
            "flux/cluster/k.yaml": layer("apps", "./apps"),
            "flux/config/all.yaml": [source("flux-system", REMOTE), layer("all", "./flux")],
            "flux/more/c.yaml": object_("beside"),
            **APPS,
        },
        remote=REMOTE,
    )
    assert tree.entry.startswith("flux, ")
    assert applied(tree) == ["beside", "one"]


def test_what_is_built_by_hand_with_what_flux_does_not_know_is_no_broken_build(read):
    """A bootstrap folder that inflates a chart: nobody applies it by Flux; one that Flux applies is broken."""
    head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
    chart = head + "helmCharts:\n- {name: cni, repo: 'https://charts.example.org', version: 1.0.0}\n"
    start = [source("flux-system", REMOTE), layer("flux-system", "./cluster"), layer("apps", "./apps")]
    files = {
        "cluster/flux.yaml": start,
        "apps/kustomization.yaml": head + "resources: [c.yaml]\n",
        "apps/c.yaml": object_(),
    }
    found = read({**files, "bootstrap/cni/kustomization.yaml": chart})
    assert not [k.error for k in found.unreferenced if k.error]
    assert any("--enable-helm" in line for line in found.not_read)
    found = read({"apps/kustomization.yaml": chart})
    assert "--enable-helm" in found.kustomizations["flux-system/apps"].error


def test_an_artifact_of_this_repository_is_an_entry_beside_its_git(read):
    """A cluster for trying things out that pulls an artifact: its path says that it is made of this repository, a single folder says nothing."""
    oci = {"url": "oci://registry.example.org/garden", "kind": "OCIRepository"}
    files = {
        "home/flux/instance.yaml": instance("./home/start"),
        "home/start/apps.yaml": layer("apps", "./home/apps"),
        "home/apps/c.yaml": object_(),
        "trial/flux/instance.yaml": instance("./trial/start", **oci),
        "trial/start/apps.yaml": layer("apps", "./trial/apps", kind="OCIRepository"),
        "trial/apps/c.yaml": object_(),
    }
    with pytest.raises(UsageError, match=r"holds 2 clusters: home/start .*trial/start"):
        read(files, remote=REMOTE)
    assert applied(read({}, entry="trial/start")) == ["one"]
    assert read({"trial/flux/instance.yaml": instance("./home", **oci)}).entry.startswith("home/start")


def test_what_the_source_leaves_out_is_no_build_of_it(read):
    """Another cluster's parts, which this one's source doesn't pack: nothing of them can be built from it, and nothing is wrong."""
    ours = source("flux-system", REMOTE).replace("ref: {branch: main}", "ref: {branch: main}, ignore: '/*\n\n!/home\n'")
    assert "ignore" in ours
    parts = {"parts/kustomization.yaml": listing("c.yaml"), "parts/c.yaml": object_()}
    found = read({"home/flux.yaml": [ours, layer("flux-system", "./home")], **parts})
    assert [k.folder for k in found.unreferenced] == []
    found = read({"home/flux.yaml": [source("flux-system", REMOTE), layer("flux-system", "./home")]})
    assert [(k.folder, k.error) for k in found.unreferenced] == [("parts", "")]


@pytest.mark.parametrize(
    ("file", "comment", "off"),
    [
        ("apps/kustomization.yaml", "# - ./kiln", True),
        ("apps/kustomization.yaml", "#- kiln/ks.yaml", True),
        ("apps/kustomization.yaml", "  # ./kiln waits for its new secret", True),
        ("apps/kiln/kustomization.yaml", "# - ./ks.yaml", True),
        ("apps/kustomization.yaml", "# - ./kilns", False),
        ("apps/kustomization.yaml", "# the kiln - a hot one - is next", False),
        ("apps/kustomization.yaml", "", False),
        ("docs/kustomization.yaml", "# - ../apps/kiln", False),
    ],
)
def test_what_is_commented_out_is_turned_off_and_not_forgotten(read, file, comment, off):
    lists = listing("pot/ks.yaml") + "".join(
        f"{line}\n" for line in ([comment] if file == "apps/kustomization.yaml" else [])
    )
    files = {
        "start/flux.yaml": [source("flux-system", REMOTE), layer("flux-system", "./start"), layer("apps", "./apps")],
        "apps/kustomization.yaml": lists,
        "apps/pot/ks.yaml": layer("pot", "./apps/pot/app"),
        "apps/pot/app/c.yaml": object_("pot"),
        "apps/kiln/ks.yaml": layer("kiln", "./apps/kiln/app"),
        "apps/kiln/app/c.yaml": object_("kiln"),
        "apps/kiln/app/kustomization.yaml": listing("c.yaml"),
    }
    if file != "apps/kustomization.yaml":
        files[file] = f"resources: []\n{comment}\n"
    found = checking.check(read(files), only=["git-single-source"]).findings
    (said,) = [f for f in found if f.rule == "flux.unreachable" and f.object == "Kustomization/flux-system/kiln"]
    assert (said.severity.name, "turned off" in said.what) == (("HYGIENE", True) if off else ("BREAKS_CLAIM", False))


def test_a_component_that_nothing_uses_is_built_by_nobody(read):
    """Alone it may well not build: it changes what others hold."""
    merges = "apiVersion: kustomize.config.k8s.io/{}\nkind: {}\nconfigMapGenerator:\n- {{name: c, behavior: merge, literals: [a=b]}}\n"
    start = {"start/flux.yaml": [source("flux-system", REMOTE), layer("flux-system", "./start")]}
    found = read({**start, "parts/oidc/kustomization.yaml": merges.format("v1alpha1", "Component")})
    assert found.unreferenced == ()
    found = read({"parts/oidc/kustomization.yaml": merges.format("v1beta1", "Kustomization")})
    assert "does not exist" in found.unreferenced[0].error


@pytest.mark.parametrize(("classes", "said"), [(1, "other"), (3, "storage")])
def test_a_class_beside_what_all_begins_with_makes_no_storage_of_it(read, classes, said):
    """Everything waits for the Kustomization that applies all others: were that storage, core would always wait for storage."""
    volumes = [
        f"apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {{name: c{n}}}\nprovisioner: x\n"
        for n in range(classes)
    ]
    files = {
        "start/flux.yaml": [source("flux-system", REMOTE), layer("flux-system", "./start"), layer("all", "./all")],
        "all/ks.yaml": [layer("one", "./one"), layer("two", "./two")],
        "all/classes.yaml": volumes,
        "one/c.yaml": object_("one"),
        "two/c.yaml": object_("two"),
    }
    found = read(files)
    assert role(found, found.kustomizations["flux-system/all"]) == said


VARIED = {
    "clusters/house/flux.yaml": instance("clusters/house"),
    "clusters/house/apps.yaml": layer("apps", "./apps"),
    "clusters/shed/apps.yaml": layer("apps", "./apps"),
    "clusters/roof/apps.yaml": layer("apps", "./apps"),
    "parts/garden/apps.yaml": layer("apps", "./apps"),
    "apps/one.yaml": object_(),
}


@pytest.mark.parametrize(
    ("path", "others"),
    [
        ("clusters/${CLUSTER}", ["clusters/roof", "clusters/shed"]),
        ("./clusters/r${CLUSTER}", ["clusters/roof"]),
        ("'{{ cluster }}/garden'", ["parts/garden"]),
        ("$FLUX_PATH", ["clusters/roof", "clusters/shed", "parts/garden"]),
        ("clusters/house", []),
        ("elsewhere/${CLUSTER}", []),
    ],
)
def test_what_a_synced_path_with_a_variable_may_stand_for_are_clusters_too(path, others, read):
    """One cluster is named in full, the others by a template that a script fills in: none of them may be passed over."""
    files = VARIED | {"bootstrap/flux.yaml": instance(path)}
    if not others:
        tree = read(files, remote=REMOTE)
        assert list(tree.kustomizations) == ["flux-system/flux-system", "flux-system/apps"]
        return
    with pytest.raises(UsageError) as caught:
        read(files, remote=REMOTE)
    assert f"{len(others) + 1} clusters: " in str(caught.value)
    assert all(f"{name} (one that the path " in str(caught.value) for name in others), str(caught.value)


def test_a_synced_kustomization_with_a_variable_in_its_path_is_a_template_too(read):
    files = VARIED | {"bootstrap/flux.yaml": layer("flux-system", "'./clusters/${CLUSTER}'")}
    with pytest.raises(UsageError, match=r"3 clusters: clusters/house.*; clusters/roof \(one that .*; clusters/shed "):
        read(files, remote=REMOTE)


def test_a_leaf_that_builds_its_own_file_is_no_entry_where_one_applied_by_hand_leads_to_it(read):
    """The first Kustomization lies beside what it builds, and no build holds it."""
    tree = read(
        {
            "cluster/ks.yaml": layer("cluster", "./cluster"),
            "cluster/kustomization.yaml": listing("apps"),
            "cluster/apps/kustomization.yaml": listing("one/ks.yaml", "two/ks.yaml"),
            "cluster/apps/one/ks.yaml": layer("one", "./cluster/apps/one"),
            "cluster/apps/one/o.yaml": object_("one"),
            "cluster/apps/two/ks.yaml": layer("two", "./cluster/apps/two/app"),
            "cluster/apps/two/app/o.yaml": object_("two"),
            "flux.yaml": source("flux-system", REMOTE),
        },
        remote=REMOTE,
    )
    assert tree.entry.startswith("cluster, synced by cluster/ks.yaml, which is applied by hand")
    assert {"flux-system/one", "flux-system/two"} <= set(tree.kustomizations)


def test_what_is_named_is_the_kustomization_that_syncs_it(read):
    tree = read(
        {"clusters/ks.yaml": layer("home", "./clusters/home"), "clusters/home/o.yaml": object_(), "x/o.yaml": object_("x"),
         "flux.yaml": source("flux-system", REMOTE)},
        remote=REMOTE, entry="clusters/home",
    )  # fmt: skip
    assert "synced by clusters/ks.yaml" in tree.entry
    assert tree.root.manifest.name == "home"


def test_the_root_of_an_artifact_that_is_no_kustomization_is_the_instances_own_folder(read):
    """What a script pushes as an artifact is a folder that nothing names."""
    tree = read(
        {
            "kubernetes/home/flux-system/instance.yaml": instance(
                "./", "oci://registry.example.org/home-sync", "OCIRepository"
            ),
            "kubernetes/home/flux-system/kustomization.yaml": listing("instance.yaml"),
            "kubernetes/home/kustomization.yaml": listing("flux-system", "o.yaml"),
            "kubernetes/home/o.yaml": object_(),
            "docs/template.yml": "steps: []\n",
        }
    )
    assert tree.entry.startswith("kubernetes/home, said by the FluxInstance")
    assert not tree.root.error


def test_a_stray_list_above_a_cluster_that_syncs_itself_is_no_entry(read):
    """It leads to no more than the cluster's own folder does."""
    tree = read(
        {
            "cluster/kustomization.yaml": listing("flux", "apps"),
            "cluster/flux/kustomization.yaml": listing("config/cluster.yaml", "config/apps.yaml"),
            "cluster/flux/config/cluster.yaml": layer("cluster", "./cluster/flux"),
            "cluster/flux/config/apps.yaml": layer("apps", "./cluster/apps"),
            "cluster/apps/o.yaml": object_(),
            "flux.yaml": source("flux-system", REMOTE),
        },
        remote=REMOTE,
    )
    assert tree.entry.startswith("cluster/flux, synced by cluster/flux/config/cluster.yaml")


def test_a_cluster_that_is_applied_by_hand_is_named_beside_one_that_syncs_itself(read):
    files = {
        "clusters/small/c.yaml": layer("small", "./clusters/small"),
        "clusters/big/kustomization.yaml": listing("repo.yaml", "one.yaml", "two.yaml"),
        "clusters/big/repo.yaml": source("flux-system", REMOTE),
        "clusters/big/one.yaml": layer("one", "./apps/one"),
        "clusters/big/two.yaml": layer("two", "./apps/two"),
        "apps/one/o.yaml": object_("one"),
        "apps/two/o.yaml": object_("two"),
    }
    with pytest.raises(UsageError, match="holds 2 clusters") as error:
        read(files, remote=REMOTE)
    assert "clusters/big (leads to 2 files" in error.value.what


@pytest.mark.parametrize("path", ["../parts/x", "./../../parts/x", "/parts/x", "parts/../parts/x"])
def test_a_path_that_leads_above_the_root_ends_there(read, path):
    """As kustomize-controller joins it."""
    tree = read(
        {"c/flux.yaml": source("flux-system", REMOTE) + "---\n" + layer("flux-system", "./c"), "c/x.yaml": layer("x", path), "parts/x/o.yaml": object_()},
        remote=REMOTE,
    )  # fmt: skip
    assert not tree.kustomizations["flux-system/x"].error
    assert "one" in applied(tree)


def test_an_artifact_that_is_taken_whole_from_a_registry_is_not_this_repository(read):
    """The only Kustomization of a library of apps: its source is some project's own."""
    dashboard = source("board", "oci://registry.example.org/others/board", kind="OCIRepository", ref="tag: v1")
    with pytest.raises(UsageError, match="build from other repositories"):
        read({"apps/board/release.yaml": f"{dashboard}---\n{layer('board', './', 'board', 'OCIRepository')}"})


def test_what_is_deferred_is_no_cluster_and_neither_is_a_part_of_one(read):
    """A cluster's folder leads to a part of itself by a path that a patch puts in, so nothing seems to apply that part."""
    files = {
        "deferred/sets/a.yaml": [layer("sets", "./sets"), layer("more", "./more")],
        "clusters/home/one.yaml": layer("one", "./one"),
        "clusters/home/two.yaml": layer("two", "./two"),
        "clusters/home/control/kustomization.yaml": listing("ks.yaml"),
        "clusters/home/control/ks.yaml": layer("three", "./three"),
        "clusters/home/kustomization.yaml": listing("one.yaml", "two.yaml"),
        **{f"{n}/c.yaml": object_() for n in ("one", "two", "three", "sets", "more")},
    }
    assert read(files).root.folder == "clusters/home"


# -- a sync that something changes -------------------------------------------------------------------------------------------

SYNC = [source("flux-system", REMOTE), layer("flux-system", "./cluster")]
PATCH = """\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: flux-system, namespace: flux-system}
spec:
"""
SUBSTITUTE = "{substitute: {place: greenhouse}}"
FOR_ALL = f"""\
  patches:
    - target: {{kind: Kustomization}}
      patch: |
        apiVersion: kustomize.toolkit.fluxcd.io/v1
        kind: Kustomization
        metadata: {{name: any}}
        spec: {{postBuild: {SUBSTITUTE}}}
"""


@pytest.mark.parametrize("how", ["patches: [{path: all.yaml}]", "patchesStrategicMerge: [all.yaml]"])
def test_what_bootstrap_patches_onto_the_sync_counts_for_all_that_it_builds(read, how):
    """As flux bootstrap's guide has it: a patch beside gotk-sync.yaml, which gives every layer its variables."""
    tree = read(
        {
            "cluster/flux-system/gotk-sync.yaml": SYNC,
            "cluster/flux-system/all.yaml": PATCH + FOR_ALL,
            "cluster/flux-system/kustomization.yaml": f"kind: Kustomization\nresources: [gotk-sync.yaml]\n{how}\n",
            "cluster/apps.yaml": layer("apps", "./apps"),
            "apps/a.yaml": object_("'at-${place}'"),
        },
        remote=REMOTE,
    )
    assert applied(tree) == ["at-greenhouse"]


def test_a_sync_that_several_clusters_share_is_entered_where_one_patches_its_path(read):
    files = {
        "base/gotk-sync.yaml": [source("flux-system", REMOTE), layer("flux-system", "./base")],
        "base/kustomization.yaml": listing("gotk-sync.yaml"),
        "apps/a.yaml": object_(),
    }
    for name in ("north", "south"):
        files |= {
            f"clusters/{name}/kustomization.yaml": f"{listing('../../base', 'apps.yaml')}patches: [{{path: path.yaml}}]\n",
            f"clusters/{name}/path.yaml": f"{PATCH}  path: ./clusters/{name}\n",
            f"clusters/{name}/apps.yaml": layer("apps", "./apps"),
        }
    with pytest.raises(UsageError, match=r"2 clusters: clusters/north \(.*\); clusters/south"):
        read(files, remote=REMOTE)
    tree = read({}, entry="clusters/north")
    assert applied(tree) == ["one"]
    assert "which clusters/north/path.yaml patches" in tree.entry
    found = checking.check(tree, strict=True)
    assert not [f for f in found.findings if f.rule == "flux.unreachable" and "flux-system/flux-system" in f.what]


def test_a_part_that_is_laid_over_a_sync_is_no_sync(read):
    tree = read(
        {
            "clusters/patch.yaml": f"{PATCH}  prune: true\n  sourceRef: {{kind: GitRepository, name: flux-system}}\n",
            "clusters/home/flux-system/gotk-sync.yaml": [
                source("flux-system", REMOTE),
                layer("flux-system", "./clusters/home"),
            ],
            "clusters/home/apps.yaml": layer("apps", "./apps"),
        }
        | APPS,
        remote=REMOTE,
    )
    assert tree.root.folder == "clusters/home"
    assert applied(tree) == ["one"]


@pytest.mark.parametrize(
    ("patch", "target", "name"),
    [
        (f"{PATCH}  postBuild: {SUBSTITUTE}\n", "{kind: Kustomization, name: flux-system}", "at-greenhouse"),
        (f"{PATCH}  postBuild: {SUBSTITUTE}\n", "{}", "at-greenhouse"),
        (f"[{{op: add, path: /spec/postBuild, value: {SUBSTITUTE}}}]", "{kind: Kustomization}", "at-greenhouse"),
        ("[{op: add, path: /spec/postBuild/substitute/place, value: shed}]", "{name: flux.*}", "at-shed"),
        (f"{PATCH}  postBuild: {SUBSTITUTE}\n", "{kind: Deployment}", "at-${place}"),
        (f"{PATCH.replace('name: flux-system', 'name: other')}  postBuild: {SUBSTITUTE}\n", "{}", "at-${place}"),
        ("[{op: add, path: /spec/postBuild/substituteFrom/-, value: {kind: ConfigMap, name: vars}}]", "{kind: Kustomization}", "at-greenhouse"),
        ("[{op: remove, path: /spec/interval}]", "{kind: Kustomization}", "at-${place}"),
        ("{", "{kind: Kustomization}", "at-${place}"),
        (f"{PATCH}  postBuild: {SUBSTITUTE}\n", "{name: '('}", "at-${place}"),
    ],
)  # fmt: skip
def test_an_instance_of_flux_may_patch_the_sync_that_its_operator_makes(read, patch, target, name):
    text = "".join(f"          {line}\n" for line in patch.splitlines())
    patched = f"{instance('cluster')}  kustomize:\n    patches:\n      - target: {target}\n        patch: |\n{text}"
    variables = object_("vars").replace("default", "flux-system") + "data: {place: greenhouse}\n"
    tree = read(
        {"boot/instance.yaml": patched, "cluster/a.yaml": object_("'at-${place}'"), "cluster/v.yaml": variables}
    )
    assert applied(tree) == sorted([name, "vars"])


def test_what_lies_beside_an_operators_sync_adds_to_it_and_takes_nothing_away(read):
    """A gotk-sync.yaml that stayed: it sets its own fields, and leaves the operator its."""
    text = f"{PATCH}  postBuild: {SUBSTITUTE}\n".replace("\n", "\n          ")
    patched = f"{instance('cluster')}  kustomize:\n    patches:\n      - target: {{kind: Kustomization}}\n        patch: |\n          {text}\n"
    tree = read(
        {"boot/instance.yaml": patched, "cluster/a.yaml": object_("'at-${place}'"), "cluster/gotk-sync.yaml": SYNC}
    )
    assert applied(tree) == ["at-greenhouse"]


# -- what is there beside it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", ["kustomization.yaml", ""])
def test_the_file_of_the_sync_is_applied_whatever_its_folder_lists(read, listed):
    files = {
        "cluster/flux-system/gotk-sync.yaml": SYNC,
        "cluster/kustomization.yaml": listing("apps.yaml"),
        "cluster/apps.yaml": layer("apps", "./apps"),
        **({"cluster/flux-system/kustomization.yaml": listing("../gone")} if listed else {}),
    }
    tree = read(files | APPS, remote=REMOTE)
    assert ("GitRepository", "flux-system", "flux-system") in {m.key for m in tree.bootstrap}
    assert not [f for f in checking.check(tree).findings if f.rule == "apply.missing-source"]


def test_what_a_source_leaves_out_says_nothing_of_another_of_the_same_address(read):
    ignoring = source("apps", REMOTE).replace("spec: {", "spec: {ignore: '/*', ")
    files = {"clusters/home/sources.yaml": ignoring, "clusters/home/apps.yaml": layer("apps", "./apps", source="apps")}
    assert read(files | APPS, remote=REMOTE).kustomizations["flux-system/flux-system"].error == ""


def test_a_folder_may_be_a_repository_of_its_own_elsewhere(read):
    """Several repositories in one, each of which is pushed apart: the sync's file lies where its path says, below the folder."""
    files = {
        "repos/system/clusters/home/flux-system/gotk-sync.yaml": [
            source("flux-system", "https://git.example.org/garden/system"),
            layer("flux-system", "./clusters/home"),
        ],
        "repos/system/clusters/home/apps.yaml": layer("apps", "./tools"),
        "repos/system/tools/a.yaml": object_(),
        "tools/readme.yaml": object_("another"),
    }
    tree = read(files)
    assert tree.root.folder == "repos/system/clusters/home"
    assert applied(tree) == ["one"]


@pytest.mark.parametrize("path", ["./parts", "./other"])
def test_a_library_is_entered_by_the_examples_of_its_use(read, path):
    files = {
        "parts/ks.yaml": layer("inner", "./apps"),
        "examples/one/flux-system/gotk-sync.yaml": [
            source("flux-system", REMOTE),
            layer("flux-system", "./examples/one"),
        ],
        "examples/one/parts.yaml": layer("parts", path),
    }
    tree = read(files | APPS, remote=REMOTE)
    assert tree.root.folder == ("examples/one" if path == "./parts" else "parts")


def test_a_flux_object_in_a_file_called_kustomization_is_nothing_that_is_built(read):
    files = {"cluster/k.yaml": layer("apps", "./apps"), "more/db/kustomization.yaml": layer("db", "./apps")}
    found = checking.check(read(files | APPS), strict=True).findings
    assert not [f for f in found if f.rule == "apply.build"]


def test_kustomizations_of_this_repository_that_nothing_leads_to_are_not_called_another_ones(read):
    files = {"deploy/kustomization.yml": layer("apps", "./apps", source="garden")}
    with pytest.raises(UsageError, match="are applied by nothing in it, such as that in deploy"):
        read(files | APPS | {"deploy/source.yaml.txt": ""}, remote=REMOTE)


@pytest.mark.parametrize(
    "sync",
    [
        [source("flux-system", "https://git.example.org/other/repo"), layer("flux-system", "./other/place")],
        [layer("flux-system", "'./clusters/${place}'")],
        [layer("flux-system", "./gone")],
    ],
)
def test_a_sync_that_leads_elsewhere_leaves_the_entry_as_it_was_found(read, sync):
    """Another repository's, one with a variable, one to a folder that isn't there: none of them is what this tree is entered by."""
    files = {
        "cluster/k.yaml": layer("flux-system", "./cluster"),
        "cluster/apps.yaml": layer("apps", "./apps"),
        "cluster/deploy/sync.yaml": sync,
    }
    tree = read(files | APPS, remote=REMOTE, entry="cluster")
    assert tree.root.folder == "cluster"
    assert not tree.root.error or "other" not in tree.root.error


@pytest.mark.parametrize("body", ["spec: {wait: true}\n", "spec:\n", "", "spec: []\n", "spec: {path: 7}\n"])
def test_a_part_without_a_path_moves_no_entry(read, body):
    part = PATCH.removesuffix("spec:\n") + body
    files = {
        "kustomization.yaml": f"{listing('clusters/home')}patches: [{{path: part.yaml}}]\n",
        "part.yaml": part,
        "clusters/home/flux-system/gotk-sync.yaml": [
            source("flux-system", REMOTE),
            layer("flux-system", "./clusters/home"),
        ],
        "clusters/home/kustomization.yaml": listing("flux-system/gotk-sync.yaml", "apps.yaml"),
        "clusters/home/apps.yaml": layer("apps", "./apps"),
    }
    assert read(files | APPS, remote=REMOTE).root.folder == "clusters/home"
