"""What is called held on strangers' trees: each claim once with all that its sentence says, and once with a part of that missing."""

import json

import pytest
import yaml

from holdfast.tree import check as checking
from holdfast.tree.repository import is_set_aside
from suites.harness.test_check_properties import FLUX, KUSTOMIZE, kustomization, written
from suites.harness.test_strangers import K3S, config, judged, namespace, rules_of


def documents(*items):
    return yaml.safe_dump_all(items, sort_keys=False)


def claims(folder, files, settings='[check]\nclaims = "all"\n'):
    """The verdicts of a tree, by claim."""
    tree = written(folder / "tree", {".holdfast.toml": settings, **files})
    return checking.check(checking.load(tree, KUSTOMIZE), strict=True).claims


def release(name, chart, space, **spec):
    source = {"kind": "HelmRepository", "name": "charts", "namespace": space}
    return {
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": {"name": name, "namespace": space},
        "spec": {
            "interval": "10m",
            "chart": {"spec": {"chart": chart, "version": "1.0.0", "sourceRef": source}},
            **spec,
        },
    }


def charts(space):
    return {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "HelmRepository",
        "metadata": {"name": "charts", "namespace": space},
        "spec": {"interval": "1h", "url": "https://charts.example.org"},
    }


def workload(name, space, image="image.example.org/web:1", kind="Deployment", **pod):
    labels = {"app": name}
    container = {"name": "c", "image": image, "resources": {"limits": {"memory": "64Mi"}}}
    spec = {"serviceAccountName": name, "containers": [container], **pod}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": space},
        "spec": {
            **({"serviceName": name} if kind == "StatefulSet" else {}),
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def account(name, space):
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": space}}


# -- a tree that can't be applied ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("made", "verdict"), [(True, "held"), (False, "unproven")])
def test_what_is_seen_in_a_tree_that_is_not_applied_is_not_seen_of_a_cluster(tmp_path, made, verdict):
    items = [config("one", "web"), *([namespace("web")] if made else [])]
    found = claims(tmp_path, {"cluster/all.yaml": documents(*items)})
    assert found["git-single-source"].verdict == verdict
    assert found["secrets-not-in-git"].verdict == "held"  # of the repository, whatever becomes of it


def test_a_tree_of_flux_alone_says_nothing_of_a_cluster(tmp_path):
    part = {
        "metadata": {
            "name": "critical-pods",
            "namespace": "flux-system",
            "labels": {"app.kubernetes.io/part-of": "flux"},
        }
    }
    own = {"apiVersion": "v1", "kind": "ResourceQuota", **part, "spec": {"hard": {"pods": "1000"}}}
    found = claims(tmp_path, {"cluster/flux-system/gotk-components.yaml": documents(own, namespace("flux-system"))})
    assert found["git-single-source"].verdict == "unproven"
    assert found["rbac-least"].verdict != "held"


# -- rights --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chart", "settings", "verdict"),
    [
        ("ingress-nginx", "", "held"),
        ("longhorn", "", "unproven"),
        ("longhorn", '[declared]\ncluster_admin = ["web/longhorn-support-bundle"]\n', "held"),
        ("longhorn", '[check]\nclaims = ["rbac-least"]\n', "broke"),
        ("sealed-secrets", "", "unproven"),  # known for other things
        ("anything", "", "unproven"),
    ],
)
def test_whom_a_chart_gives_all_rights(tmp_path, chart, settings, verdict):
    items = (namespace("web"), charts("web"), release("one", chart, "web"))
    assert claims(tmp_path, {"cluster/all.yaml": documents(*items)}, settings)["rbac-least"].verdict == verdict


# -- Flux by its operator ------------------------------------------------------------------------------------------------------

INSTANCE = {
    "apiVersion": "fluxcd.controlplane.io/v1",
    "kind": "FluxInstance",
    "metadata": {"name": "flux", "namespace": "flux-system"},
    "spec": {
        "distribution": {"version": "2.x", "registry": "ghcr.io/fluxcd"},
        "sync": {
            "kind": "GitRepository",
            "url": "ssh://git@git.example.org/home.git",
            "ref": "refs/heads/main",
            "path": "cluster",
        },
    },
}


@pytest.mark.parametrize(
    ("more", "operator", "verdict"),
    [
        ({}, True, "held"),
        ({}, False, "unproven"),
        ({"storage": {"class": "ceph-block", "size": "10Gi"}}, True, "broke"),
        (
            {"kustomize": {"patches": [{"patch": "- op: remove\n  path: /spec", "target": {"kind": "Deployment"}}]}},
            True,
            "unproven",
        ),
    ],
)
def test_an_instance_of_flux_says_more_than_its_components(tmp_path, more, operator, verdict):
    made = {**INSTANCE, "spec": {**INSTANCE["spec"], **more}}
    items = [
        namespace("tools"),
        made,
        *([charts("tools"), release("flux-operator", "flux-operator", "tools")] if operator else []),
    ]
    found = claims(tmp_path, {"cluster/all.yaml": documents(*items)})["flux-four-controllers"]
    assert found.verdict == verdict, found.reason


# -- what answers from outside -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "verdict"), [("ghcr.io/tailscale/tailscale:v1.90", "held"), ("image.example.org/web:1", "unproven")]
)
def test_access_by_tailscale_needs_one(tmp_path, image, verdict):
    items = (namespace("web"), account("web", "web"), workload("web", "web", image))
    assert claims(tmp_path, {"cluster/all.yaml": documents(*items)})["no-exposed-ports"].verdict == verdict


def test_an_ingress_without_its_controller_may_be_open_to_anybody(tmp_path):
    rule = {
        "host": "web.example.org",
        "http": {
            "paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
            ]
        },
    }
    entrance = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "web", "namespace": "web"},
        "spec": {"ingressClassName": "traefik", "rules": [rule]},
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }
    items = (
        namespace("web"),
        account("web", "web"),
        workload("web", "web", "tailscale/tailscale:v1.90"),
        service,
        entrance,
    )
    found = claims(tmp_path, {"cluster/all.yaml": documents(*items)})
    assert "what serves it isn't in the tree" in found["no-exposed-ports"].reason
    assert found["ingress-tls"].verdict != "held"


@pytest.mark.parametrize(("issuer", "verdict"), [(True, "held"), (False, "unproven")])
def test_a_certificate_comes_of_an_issuer_that_is_there(tmp_path, issuer, verdict):
    meta = {"name": "web", "namespace": "web", "annotations": {"cert-manager.io/cluster-issuer": "public"}}
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
    entrance = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": meta,
        "spec": {
            "ingressClassName": "nginx",
            "tls": [{"hosts": ["web.example.org"], "secretName": "web-tls"}],
            "rules": [{"host": "web.example.org", "http": {"paths": [path]}}],
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }
    spec = {"acme": {"server": "https://acme.example.org", "privateKeySecretRef": {"name": "key"}, "solvers": []}}
    made = {"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": {"name": "public"}, "spec": spec}
    base = [
        namespace("web"),
        charts("web"),
        release("cert-manager", "cert-manager", "web", values={"crds": {"enabled": True}}),
        release("ingress-nginx", "ingress-nginx", "web"),
    ]
    apps = [account("web", "web"), workload("web", "web"), service, entrance, *([made] if issuer else [])]
    files = {
        "cluster/all.yaml": documents(
            *(kustomization(n, w, wait=True) for n, w in (("base", ()), ("apps", ("base",))))
        ),
        "parts/base/all.yaml": documents(*base),
        "parts/apps/all.yaml": documents(*apps),
    }
    found = claims(tmp_path, files)["ingress-tls"]
    assert found.verdict == verdict, found.reason


# -- what needs what -----------------------------------------------------------------------------------------------------------

STORE = {
    "apiVersion": "external-secrets.io/v1",
    "kind": "ClusterSecretStore",
    "metadata": {"name": "vault"},
    "spec": {"provider": {"vault": {"server": "http://vault.secrets.svc:8200", "path": "kv", "version": "v2"}}},
}
FETCHED = {
    "apiVersion": "external-secrets.io/v1",
    "kind": "ExternalSecret",
    "metadata": {"name": "certificate", "namespace": "web"},
    "spec": {
        "secretStoreRef": {"kind": "ClusterSecretStore", "name": "vault"},
        "target": {"name": "certificate"},
        "dataFrom": [{"extract": {"key": "c"}}],
    },
}


@pytest.mark.parametrize(("needs", "verdict"), [((), "unproven"), (("storage",), "broke")])
def test_core_that_waits_for_an_external_secret_waits_for_who_has_it(tmp_path, needs, verdict):
    """By the store and the Service that it asks: a chart that isn't known is a doubt, one that waits for storage breaks it."""
    crds = [
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.external-secrets.io"},
            "spec": {
                "group": "external-secrets.io",
                "scope": scope,
                "names": {"kind": kind, "plural": plural},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                    }
                ],
            },
        }
        for kind, plural, scope in (
            ("ExternalSecret", "externalsecrets", "Namespaced"),
            ("ClusterSecretStore", "clustersecretstores", "Cluster"),
        )
    ]
    layers = {
        "kinds": (crds, ()),
        "storage": (
            [
                namespace("longhorn-system"),
                charts("longhorn-system"),
                release("longhorn", "longhorn", "longhorn-system"),
            ],
            (),
        ),
        "vault": (
            [namespace("secrets"), charts("secrets"), release("vault", "vault", "secrets"), STORE],
            ("kinds", *needs),
        ),
        "core": (
            [namespace("web"), charts("web"), release("ingress-nginx", "ingress-nginx", "web"), FETCHED],
            ("kinds", "certificate"),
        ),
        "certificate": (
            [namespace("web2"), {**FETCHED, "metadata": {"name": "certificate", "namespace": "web2"}}],
            ("kinds",),
        ),
    }
    files = {f"parts/{name}/all.yaml": documents(*items) for name, (items, _) in layers.items()}
    files["cluster/all.yaml"] = documents(
        *(kustomization(name, before, wait=True) for name, (_, before) in layers.items())
    )
    found = claims(tmp_path, files)["core-no-storage"]
    assert found.verdict == verdict, found.reason


@pytest.mark.parametrize(("wait", "said"), [("csi", "stopped StatefulSet/web/data"), ("", "stopped nothing")])
def test_a_claim_without_a_class_is_of_the_default_class_and_of_who_provisions_for_it(tmp_path, wait, said):
    provisioner = "rook-ceph.rbd.csi.ceph.com" if wait else "somebody.example.org"
    meta = {"name": "block", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    block = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": meta, "provisioner": provisioner}
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    data = workload("data", "web", kind="StatefulSet")
    data["spec"]["volumeClaimTemplates"] = [claim]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "data", "namespace": "web"},
        "spec": {"clusterIP": "None", "selector": {"app": "data"}, "ports": [{"port": 80}]},
    }
    items = [
        namespace("web"),
        account("data", "web"),
        namespace("rook-ceph"),
        charts("rook-ceph"),
        release("rook-ceph", "rook-ceph", "rook-ceph"),
        block,
        service,
        data,
    ]
    assert said in claims(tmp_path, {"cluster/all.yaml": documents(*items)})["storage-does-not-cascade"].reason


def test_a_layer_that_is_called_as_core_is_and_holds_nothing_known_shows_nothing_of_apps(tmp_path):
    for name, verdict in (("core", "unproven"), ("web", "held")):
        files = {
            "cluster/all.yaml": documents(kustomization(name)),
            f"parts/{name}/all.yaml": documents(namespace("web"), account("web", "web"), workload("web", "web")),
        }
        assert claims(tmp_path / name, files)["apps-need-core-only"].verdict == verdict


def test_apps_beside_storage_are_not_passed_over(tmp_path):
    items = [
        namespace("longhorn-system"),
        charts("longhorn-system"),
        release("longhorn", "longhorn", "longhorn-system"),
    ]
    files = {
        "cluster/all.yaml": documents(kustomization("storage"), kustomization("web")),
        "parts/storage/all.yaml": documents(
            *items, namespace("shop"), account("shop", "shop"), workload("shop", "shop")
        ),
        "parts/web/all.yaml": documents(namespace("web"), account("web", "web"), workload("web", "web")),
    }
    found = claims(tmp_path, files)["apps-need-core-only"]
    assert found.verdict == "unproven"
    assert "Deployment/shop/shop lies in Kustomization/flux-system/storage, beside storage" in found.reason


def test_ranges_that_a_script_names_are_nobodys_setting(tmp_path):
    one = config("script", data={"run.sh": "allow 10.42.0.0/16\nallow 10.43.0.0/16\n"})
    two = config("routes", data={"pods": "10.42.0.0/16", "services": "10.43.0.0/16"})
    assert claims(tmp_path / "a", {"cluster/all.yaml": documents(one)})["network-ranges"].verdict != "held"
    assert claims(tmp_path / "b", {"cluster/all.yaml": documents(two, K3S)})["network-ranges"].verdict == "held"


# -- what was said to be wrong, and isn't --------------------------------------------------------------------------------------


def test_what_another_cluster_of_the_repository_lists_is_not_applied_by_nothing(tmp_path):
    """Its apps lie beside the clusters' folders, and its own kustomization lists them."""
    sync = FLUX.replace("./cluster", "./clusters/CLUSTER")
    shop = kustomization("shop")
    shop["spec"]["path"] = "./apps/shop/app"
    files = {
        "cluster/flux.yaml": "",
        **{f"clusters/{c}/flux-system/gotk-sync.yaml": sync.replace("CLUSTER", c) for c in ("one", "two")},
        "clusters/one/all.yaml": documents(config("one")),
        "clusters/two/kustomization.yaml": yaml.safe_dump(
            {"resources": ["flux-system/gotk-sync.yaml", "../../apps/shop/ks.yaml"]}
        ),
        "apps/shop/ks.yaml": documents(shop),
        "apps/shop/app/c.yaml": documents(config("shop")),
    }
    tree = checking.load(written(tmp_path, files), KUSTOMIZE, entry="clusters/one")
    assert [f for f in checking.check(tree, strict=True).findings if f.rule == "flux.unreachable"] == []


def test_an_autoscaler_of_one_size_changes_nothing(tmp_path):
    for least, most, found in ((1, 1, []), (1, 3, ["resilience.scaled-twice"])):
        spec = {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": [],
        }
        scaler = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": "web"},
            "spec": spec,
        }
        web = workload("web", "web")
        web["spec"]["replicas"] = 1
        items = (namespace("web"), account("web", "web"), web, scaler)
        assert [
            r
            for r in rules_of(judged(tmp_path / str(most), {"cluster/all.yaml": documents(*items)}))
            if r.startswith("resilience")
        ] == found


@pytest.mark.parametrize("how", ["template", ""])
def test_a_secret_that_is_mirrored_may_say_so_in_the_template_of_what_makes_it(tmp_path, how):
    notes = {"reflector.v1.k8s.emberstack.com/reflection-auto-enabled": "true"}
    meta = {"name": "login", "namespace": "data", **({"annotations": notes} if how else {})}
    sealed = {
        "apiVersion": "bitnami.com/v1alpha1",
        "kind": "SealedSecret",
        "metadata": {"name": "login", "namespace": "data"},
        "spec": {"encryptedData": {"password": "AgBy3i4OJSWK"}, "template": {"metadata": meta}},
    }
    web = workload("web", "web", volumes=[{"name": "s", "secret": {"secretName": "login"}}])
    items = (
        namespace("web"),
        namespace("data"),
        account("web", "web"),
        web,
        sealed,
        charts("data"),
        release("sealed-secrets", "sealed-secrets", "data"),
    )
    assert ("apply.missing-config" in rules_of(judged(tmp_path, {"cluster/all.yaml": documents(*items)}))) is (not how)


def test_a_patch_of_what_an_earlier_patch_took_away_is_for_nothing_on_purpose(tmp_path):
    off = "$patch: delete\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: one\n  namespace: default\n"
    change = {"target": {"kind": "ConfigMap", "name": "one"}, "patch": "- op: add\n  path: /data\n  value: {a: b}\n"}
    for patches, found in (([{"patch": off}, change], []), ([change], ["apply.patch-on-nothing"])):
        files = {
            "cluster/all.yaml": documents(kustomization("web")),
            "parts/web/kustomization.yaml": yaml.safe_dump({"resources": ["c.yaml"], "patches": patches}),
            "parts/web/c.yaml": documents(config("one" if len(patches) > 1 else "other"), config("two")),
        }
        assert rules_of(judged(tmp_path / str(len(patches)), files)) == found


def test_a_namespace_that_its_build_renames_is_patched_all_the_same(tmp_path):
    patch = {
        "target": {"kind": "Namespace", "name": "not-used"},
        "patch": "- op: add\n  path: /metadata/labels\n  value: {a: b}\n",
    }
    files = {
        "cluster/all.yaml": documents(kustomization("web")),
        "parts/web/kustomization.yaml": yaml.safe_dump(
            {"namespace": "web", "resources": ["n.yaml", "c.yaml"], "patches": [patch]}
        ),
        "parts/web/n.yaml": documents(namespace("not-used")),
        "parts/web/c.yaml": documents(config("one")),
    }
    assert "apply.patch-on-nothing" not in rules_of(judged(tmp_path, files))


def test_labels_for_what_is_there_already_need_no_spec(tmp_path):
    bare = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "default", "labels": {"backup": "no"}},
    }
    for spec, found in (({}, []), ({"spec": {"resources": {"requests": {"storage": "1Gi"}}}}, ["schema.value"])):
        files = {"cluster/all.yaml": documents({**bare, **spec})}
        assert [r for r in rules_of(judged(tmp_path / str(len(spec)), files)) if r == "schema.value"] == found


def test_a_name_for_another_name_selects_nothing(tmp_path):
    spec = {"type": "ExternalName", "externalName": "db.example.org", "selector": {"app": "absent"}}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": "web"}, "spec": spec}
    items = (namespace("web"), account("web", "web"), workload("web", "web"), service)
    assert "apply.service-without-pods" not in rules_of(judged(tmp_path, {"cluster/all.yaml": documents(*items)}))


@pytest.mark.parametrize(("version", "found"), [("v2.3.0", False), ("v2.6.0", True)])
def test_a_metric_is_gone_from_the_flux_that_no_longer_has_it(tmp_path, version, found):
    source = {
        "apiVersion": "source.toolkit.fluxcd.io/v1beta2",
        "kind": "OCIRepository",
        "metadata": {"name": "flux-manifests", "namespace": "flux-system"},
        "spec": {"interval": "1h", "url": "oci://ghcr.io/fluxcd/flux-manifests", "ref": {"tag": version}},
    }
    one = {"alert": "Failing", "expr": 'gotk_reconcile_condition{status="False"} == 1'}
    rules = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "flux", "namespace": "default"},
        "spec": {"groups": [{"name": "flux", "rules": [one]}]},
    }
    said = rules_of(judged(tmp_path, {"cluster/all.yaml": documents(source, rules)}))
    assert ("monitoring.gone-metric" in said) is found


def test_what_renovate_has_encrypted_is_no_secret(tmp_path):
    cipher = "wcFMA/xDdHCJBTolAQ" + "Zm9vYmFyYmF6cXV4" * 8
    files = {
        "cluster/all.yaml": documents(config("one")),
        "renovate.json": json.dumps({"hostRules": [{"encrypted": {"token": cipher}}]}),
    }
    assert claims(tmp_path, files)["secrets-not-in-git"].verdict == "held"


# -- what a second reading of fresh trees taught -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "held"),
    [
        ({"db": {"password": "harvest"}}, False),
        ({"db": {"url": "postgresql://shop:shop@db.data:5432/shop"}}, False),
        ({"db": {"url": "postgresql://shop@db.data:5432/shop", "existingSecret": "shop"}}, True),
        ({"db": {"password": "${DB_PASSWORD}"}}, True),
    ],
)
def test_a_password_that_is_a_word_is_a_doubt_also_in_a_releases_values(tmp_path, values, held):
    items = (namespace("web"), charts("web"), release("one", "shop", "web", values=values))
    found = claims(tmp_path, {"cluster/all.yaml": documents(*items)})["secrets-not-in-git"]
    assert (found.verdict == "held") is held, found


def test_zeros_in_a_password_make_it_no_placeholder(tmp_path):
    items = (
        namespace("web"),
        charts("web"),
        release("one", "shop", "web", values={"db": {"password": "5241590000000000aB"}}),
    )
    assert claims(tmp_path, {"cluster/all.yaml": documents(*items)})["secrets-not-in-git"].verdict != "held"


@pytest.mark.parametrize("path", ["../../charts/web", "charts/web", "/charts/web", "./charts/../charts/web"])
def test_the_path_of_a_chart_never_leads_out_of_the_repository(tmp_path, path):
    one = release("one", "x", "web")
    one["spec"]["chart"]["spec"] = {
        "chart": path,
        "sourceRef": {"kind": "GitRepository", "name": "flux-system", "namespace": "flux-system"},
    }
    files = {
        "cluster/all.yaml": documents(namespace("web"), one),
        "charts/web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n",
    }
    assert "apply.missing-chart" not in rules_of(judged(tmp_path, files))


def test_labels_that_are_no_mapping_are_lost_and_refused_by_nobody(tmp_path):
    one = namespace("web")
    one["metadata"]["labels"] = "team-a"
    found = judged(tmp_path, {"cluster/all.yaml": documents(one)}).findings
    assert {f.severity.name for f in found if f.rule == "schema.field"} == {"HYGIENE"}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("docs/install.md", "```sh\nkubectl create namespace tools\n```\n"),
        ("docs/install.md", "helm upgrade --install cm jetstack/cert-manager \\\n  -n tools --create-namespace\n"),
        (
            "talos/machine.yaml.tftpl",
            "cluster:\n  inlineManifests:\n    - name: spaces\n      contents: |\n        kind: Namespace\n        metadata:\n          name: tools\n",
        ),
    ],
)
def test_a_namespace_that_a_guide_or_the_machines_make_is_there(tmp_path, file, text):
    files = {"cluster/all.yaml": documents(config("one", "tools"))}
    assert "apply.missing-namespace" in rules_of(judged(tmp_path / "without", files))
    assert "apply.missing-namespace" not in rules_of(judged(tmp_path / "with", {**files, file: text}))


def test_a_folder_that_is_called_old_is_set_aside():
    assert is_set_aside("_old_k8s/clusters/ghost/apps.yaml") and is_set_aside("__archive-2022/a.yaml")
    assert not is_set_aside("older/clusters/home/apps.yaml")


# -- passwords that are none in plain text -------------------------------------------------------------------------------------

BCRYPT = "$2y$10$" + "N9qo8uLOickgx2ZMRZoMye" + "IjZAgcfl7p92ldGxad68LJZdL17lhWy"


@pytest.mark.parametrize(
    ("file", "text", "verdict"),
    [
        ("more/values.yaml", f"users:\n  admin: {BCRYPT}\n", "unproven"),
        ("more/values.yaml", f"users:\n  admin: {BCRYPT.replace('$', '$$')}\n", "unproven"),
        ("machines/user-data", "passwd: $6$rounds=50000$Zk3pQ9xLm2$" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1x" * 2, "unproven"),
        ("more/values.yaml", "hash: $argon2id$v=19$m=65536,t=3,p=4$" + "c29tZXNhbHR2YWx1ZQ$" + "aB3dE5fG7hJ9kL1mN3pQ5rS7", "unproven"),
        ("docs/users.md", f"A line of .htpasswd, such as `me:{BCRYPT}`", "held"),
        ("examples/values.yaml", f"admin: {BCRYPT}\n", "held"),
        ("more/values.yaml", "script: echo $2 $5 $10\n", "held"),
        ("more/run.sh", "echo $1${SOME_LONG_VARIABLE_NAME}\nx=$1$(kubectl_get_something_long_enough)\n", "held"),
        ("more/nginx.conf", "rewrite ^/(.*) /index.php?q=$1$is_args$args$more_and_more_words last;\n", "held"),
        ("more/values.yaml", "image: sha256$0000\n", "held"),
        ("README.md", "* Username: admin\n* Password: Flux&Git0ps\n", "unproven"),
        ("README.md", "Default password: `Gr33nhouse!7`\n", "unproven"),
        ("README.md", "Password: changeme\n", "held"),
        ("README.md", "Password: your own, at least twelve letters\n", "held"),
        ("README.md", "The password: see the vault\n", "held"),
        ("shed_example/minio.env", "accesskey=Zk3pQ9xLm2Vb7Rt\n", "unproven"),
        ("shed_example/minio.env", "accesskey=my-access-key\n", "held"),
    ],
)  # fmt: skip
def test_what_may_lead_to_a_password_is_a_doubt(tmp_path, file, text, verdict):
    found = claims(tmp_path, {"cluster/all.yaml": documents(config("one")), file: text})["secrets-not-in-git"]
    assert found.verdict == verdict, found.reason


@pytest.mark.parametrize(("comment", "verdict"), [(" # better sealed", "unproven"), ("", "unproven")])
def test_the_password_that_a_chart_comes_with_is_the_one_in_force(tmp_path, comment, verdict):
    kustomize = "kind: Kustomization\nresources: [all.yaml]\nconfigMapGenerator: [{name: values, namespace: default, files: [values.yaml]}]\n"
    files = {
        "cluster/all.yaml": documents(config("one")),
        "cluster/kustomization.yaml": kustomize,
        "cluster/values.yaml": f"grafana:\n  adminPassword: prom-operator{comment}\n",
    }
    assert claims(tmp_path, files)["secrets-not-in-git"].verdict == verdict


RUST = 'const KEY: &str = "{0}";\n#[cfg(test)]\nmod tests {{\n    let token = "{1}";\n}}\n'


@pytest.mark.parametrize(
    ("file", "text", "verdict"),
    [
        ("api/src/auth.rs", RUST.format("none", "Zk3pQ9xLm2Vb7RtYw4Ns"), "held"),
        ("api/src/auth.rs", RUST.replace("KEY", "TOKEN").replace("#[cfg(test)]\n", "").format("none", "Zk3pQ9xLm2Vb7RtYw4Ns"), "broke"),
        ("api/src/main.rs", '#[cfg(test)]\nmod tests;\n\nconst TOKEN: &str = "Zk3pQ9xLm2Vb7RtYw4Ns";\n', "broke"),
        ("api/src/main.rs", RUST.format("none", "none") + 'const TOKEN: &str = "Zk3pQ9xLm2Vb7RtYw4Ns";\n', "broke"),
        ("services/vendor-portal/config.env", "DB_PASSWORD=kX9vQ2mT7zLp4RwB\n", "broke"),
        (".yarn/releases/yarn.cjs", 'const searchToken = "Zk3pQ9xLm2Vb7RtYw4Ns";', "held"),
        ("web/vendor/search.js", 'const searchToken = "Zk3pQ9xLm2Vb7RtYw4Ns";', "held"),
        ("web/search.js", 'const searchToken = "Zk3pQ9xLm2Vb7RtYw4Ns";', "broke"),
    ],
)  # fmt: skip
def test_what_others_wrote_and_what_tests_need_is_nobodys_secret(tmp_path, file, text, verdict):
    found = claims(tmp_path, {"cluster/all.yaml": documents(config("one")), file: text})["secrets-not-in-git"]
    assert found.verdict == verdict, found.reason


# -- the repository's own sources ----------------------------------------------------------------------------------------------


def git(name, url, space="flux-system", **spec):
    meta = {"name": name, "namespace": space}
    body = {"interval": "5m", "url": url, "ref": {"branch": "main"}, **spec}
    return {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": meta, "spec": body}


KEYED = {"secretRef": {"name": "flux-system"}}


@pytest.mark.parametrize(
    ("more", "verdict"),
    [
        ((), "held"),
        ((git("again", "https://git.example.org/garden.git"),), "broke"),
        ((git("again", "ssh://git@git.example.org/garden", **KEYED),), "held"),
        ((git("again", "ssh://git@git.example.org/garden"),), "broke"),
        ((git("charts", "https://git.example.org/somebody/charts"),), "held"),  # another repository
        ((git("flux-system", "https://git.example.org/else", space="default"),), "held"),  # of that name elsewhere
    ],
)
def test_each_source_of_the_repository_itself_is_pulled_by_ssh(tmp_path, more, verdict):
    own = git("flux-system", "ssh://git@git.example.org/garden.git", **KEYED)
    files = {
        "cluster/flux.yaml": documents(own, *list(yaml.safe_load_all(FLUX))[1:]),
        "cluster/all.yaml": documents(config("one"), *more),
    }
    found = claims(tmp_path, files)["git-over-ssh"]
    assert found.verdict == verdict, found.reason


# -- the whole of a cluster ----------------------------------------------------------------------------------------------------


def test_rights_are_not_judged_by_fluxs_own_parts(tmp_path):
    """What flux install writes has bindings of its own: they make no cluster of a tree that has nothing else."""
    meta = {"name": "crd-controller", "labels": {"app.kubernetes.io/instance": "flux-system"}}
    bound = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "image-automation-controller", "namespace": "flux-system"}],
    }
    tree = written(
        tmp_path / "tree", {"cluster/flux-system/gotk-components.yaml": documents(bound, namespace("flux-system"))}
    )
    result = checking.check(checking.load(tree, KUSTOMIZE), strict=True)
    assert result.claims["rbac-least"].verdict == "not exercised"
    assert "apply.binding" not in rules_of(result)  # Flux binds the accounts of all its controllers, in each version


NGINX = {"controller": {"kind": "DaemonSet"}}


@pytest.mark.parametrize(
    ("settings", "version", "verdict"),
    [
        ("[declared]\nnodes = 2\n", "4.13.0", "held"),
        ("", "4.13.0", "unproven"),  # on one node a DaemonSet runs once
        ("[declared]\nnodes = 2\n", "*", "unproven"),
    ],
)
def test_core_is_always_there_where_the_nodes_and_the_chart_are_known(tmp_path, settings, version, verdict):
    made = release("nginx", "ingress-nginx", "web", values=NGINX)
    made["spec"]["chart"]["spec"]["version"] = version
    files = {
        "cluster/core.yaml": documents(kustomization("core")),
        "parts/core/all.yaml": documents(namespace("web"), charts("web"), made),
    }
    found = claims(tmp_path, files, f'[check]\nclaims = "all"\n{settings}')["core-always-available"]
    assert found.verdict == verdict, found.reason


@pytest.mark.parametrize(("apart", "verdict"), [(True, "held"), (False, "unproven")])
def test_an_app_beside_flux_itself_is_not_isolated(tmp_path, apart, verdict):
    items = [namespace("web"), account("web", "web"), workload("web", "web")]
    own = [namespace("tea"), account("tea", "tea"), workload("tea", "tea")]
    files = {
        "cluster/apps.yaml": documents(kustomization("apps"), *([] if apart else own)),
        "parts/apps/all.yaml": documents(*items),
    }
    found = claims(tmp_path, files)["app-isolation"]
    assert found.verdict == verdict, found.reason


# -- a second reading by strangers ---------------------------------------------------------------------------------------------

VERIFIER = "SCRAM-SHA-256$4096:" + "c29tZXNhbHR2YWx1ZQ==$" + "Zk3pQ9xLm2Vb7RtYw4Ns" * 2 + "=:" + "aB3dE5fG7hJ9" * 4
KEY = '{"verifier": "x", "uniqueKey": {"alg": "A256GCM", "kty": "oct", "k": "Zk3pQ9xLm2Vb7RtYw4NsZk3pQ9xLm2Vb7RtYw4Ns123"}}'


@pytest.mark.parametrize(
    ("file", "text", "verdict"),
    [
        ("more/dump.sql", f"ALTER ROLE postgres WITH SUPERUSER PASSWORD '{VERIFIER}';\n", "unproven"),
        ("1password-credentials.json", KEY, "broke"),
        ("1password-credentials.json", KEY.replace("oct", "RSA"), "held"),
        ("more/jwks.json", '{"k": "Zk3pQ9xLm2Vb7RtYw4NsZk3pQ9xLm2Vb7RtYw4Ns123", "kty": "oct"}', "broke"),
        ("more/template.secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: template}\nstringData: {password: Zk3pQ9xLm2Vb7RtYw4Ns}\n", "held"),
    ],
)  # fmt: skip
def test_keys_and_verifiers_in_the_forms_of_their_programs(tmp_path, file, text, verdict):
    found = claims(tmp_path, {"cluster/all.yaml": documents(config("one")), file: text})["secrets-not-in-git"]
    assert found.verdict == verdict, found.reason


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        ({"stringData": {"username": "coder", "password": "coder"}}, "unproven"),
        ({"data": {"password": "Y29kZXI="}}, "unproven"),
        ({"stringData": {"password": "${DB_PASSWORD}"}}, "held"),
        ({"stringData": {"username": "coder"}}, "held"),
    ],
)
def test_what_is_applied_as_a_password_is_one_however_weak(tmp_path, data, verdict):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "namespace": "default"}, **data}
    found = claims(tmp_path, {"cluster/all.yaml": documents(secret)})["secrets-not-in-git"]
    assert found.verdict == verdict, found.reason


VOLUME = {
    "accessModes": ["ReadWriteOnce"],
    "storageClassName": "local-path",
    "resources": {"requests": {"storage": "1Gi"}},
}


def with_volume(name, space):
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": space},
        "spec": VOLUME,
    }
    data = {"name": "d", "persistentVolumeClaim": {"claimName": name}}
    return [claim, account(name, space), workload(name, space, volumes=[data])]


@pytest.mark.parametrize(
    ("first", "second", "needs", "verdict"),
    [
        (False, False, (), "held"),
        (True, False, (), "held"),
        (True, True, (), "unproven"),  # none is there that needs core only
        (False, False, ("one",), "unproven"),  # an app waits for another
    ],
)
def test_apps_need_core_only_where_one_shows_it_and_none_waits_for_another(tmp_path, first, second, needs, verdict):
    files = {"cluster/apps.yaml": documents(kustomization("one"), kustomization("two", needs))}
    for name, has in (("one", first), ("two", second)):
        own = with_volume(name, name) if has else [account(name, name), workload(name, name)]
        files[f"parts/{name}/all.yaml"] = documents(namespace(name), *own)
    found = claims(tmp_path, files)["apps-need-core-only"]
    assert found.verdict == verdict, found.reason


CLUSTER = {
    "apiVersion": "postgresql.cnpg.io/v1",
    "kind": "Cluster",
    "metadata": {"name": "db", "namespace": "one"},
    "spec": {"storage": {"size": "1Gi"}},
}


def test_a_database_that_an_operator_makes_has_volumes_too(tmp_path):
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    names = {"kind": "Cluster", "plural": "clusters"}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "clusters.postgresql.cnpg.io"},
        "spec": {"group": "postgresql.cnpg.io", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    for more, verdict in (((), "held"), ((CLUSTER,), "unproven")):
        files = {
            "cluster/apps.yaml": documents(kustomization("one")),
            "parts/one/all.yaml": documents(
                crd, namespace("one"), account("one", "one"), workload("one", "one"), *more
            ),
        }
        found = claims(tmp_path / verdict, files)["apps-need-core-only"]
        assert found.verdict == verdict, found.reason
    assert "Cluster/one/db has an operator make volumes" in found.reason


def test_longhorn_without_its_chart_is_storage_all_the_same(tmp_path):
    manager = workload("longhorn-manager", "longhorn-system", kind="DaemonSet")
    files = {
        "cluster/all.yaml": documents(kustomization("blocks"), kustomization("one")),
        "parts/blocks/all.yaml": documents(
            namespace("longhorn-system"), account("longhorn-manager", "longhorn-system"), manager
        ),
        "parts/one/all.yaml": documents(namespace("one"), account("one", "one"), workload("one", "one")),
    }
    assert claims(tmp_path, files)["storage-does-not-cascade"].verdict != "not exercised"


@pytest.mark.parametrize(
    ("password", "verdict"),
    [
        ("ChangeThisGrafanaPassword", "unproven"),
        ("${GRAFANA_PASSWORD}", "held"),
        ("", "held"),
        ("<path:vault/grafana#password>", "held"),
    ],
)
def test_a_placeholder_that_is_applied_is_the_password(tmp_path, password, verdict):
    made = release("grafana", "grafana", "web", values={"adminPassword": password})
    found = claims(tmp_path, {"cluster/all.yaml": documents(namespace("web"), charts("web"), made)})[
        "secrets-not-in-git"
    ]
    assert found.verdict == verdict, found.reason


@pytest.mark.parametrize(("head", "verdict"), [("#cloud-config\n", "unproven"), ("", "held")])
def test_a_word_that_a_machine_is_given_for_a_password_is_a_doubt(tmp_path, head, verdict):
    text = f"{head}chpasswd:\n  users:\n    - {{name: ubuntu, type: text}}\n      password: ubuntu\n"
    files = {"cluster/all.yaml": documents(config("one")), "machines/one.cloudinit": text}
    assert claims(tmp_path, files)["secrets-not-in-git"].verdict == verdict


@pytest.mark.parametrize(
    ("more", "verdict"), [((), "unproven"), ((release("one", "x", "web"), charts("web"), namespace("web")), "held")]
)
def test_four_controllers_of_which_one_has_nothing_to_do_are_not_shown(tmp_path, more, verdict):
    made = [workload(f"{n}-controller", "flux-system") for n in ("source", "kustomize", "helm", "notification")]
    accounts = [account(f"{n}-controller", "flux-system") for n in ("source", "kustomize", "helm", "notification")]
    found = claims(tmp_path, {"cluster/all.yaml": documents(namespace("flux-system"), *made, *accounts, *more)})[
        "flux-four-controllers"
    ]
    assert found.verdict == verdict, found.reason
