"""What a rehearsal comes to: which obstacles are findings, which are doubts, where they stand, and how it is written."""

import json
from xml.etree import ElementTree

import pytest
import yaml

from holdfast.bootstrap import is_changed
from holdfast.policies import chart_policies, elsewhere_policies
from holdfast.rehearsal.after import Lame
from holdfast.rehearsal.blockers import Blocker, Lack
from holdfast.rehearsal.course import Bar, Course, Late, Obstacle
from holdfast.rehearsal.documents import as_json, as_junit
from holdfast.rehearsal.foretold import Foretold
from holdfast.rehearsal.judge import Judge, flux_of
from holdfast.rehearsal.looks import Doing, State
from holdfast.rehearsal.page import page
from holdfast.rehearsal.stage import gates_of
from holdfast.rehearsal.text import lines
from holdfast.tree import check as checking
from holdfast.tree.findings import Severity
from suites.harness import pairs
from suites.harness.test_check_properties import KUSTOMIZE, kustomization, written

HOLDER = "Kustomization/flux-system/apps"


def release(name, chart):
    source = {"kind": "HelmRepository", "name": "charts"}
    spec = {"interval": "1h", "chart": {"spec": {"chart": chart, "version": "1", "sourceRef": source}}}
    meta = {"name": name, "namespace": "apps"}
    return {"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": meta, "spec": spec}


def widget(name, **more):
    return {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": name, "namespace": "apps"}, **more}


def tree(tmp_path, *objects, **files):
    """A tree with one Kustomization that applies *objects*."""
    named = {name.replace("__", "/"): text for name, text in files.items()}
    root = written(
        tmp_path,
        {"cluster/all.yaml": yaml.dump(kustomization("apps")), "parts/apps/o.yaml": yaml.dump_all(objects), **named},
    )
    return checking.load(root, KUSTOMIZE)


def came_to(read, *blockers, after=(), late=(), lame=(), converged=True):
    course = Course(took_s=9.0, converged=converged)
    course.obstacles = [
        Obstacle(b, float(n), after[n - 1] if after else (), "the lane did something")
        for n, b in enumerate(blockers, 1)
    ]
    course.late = list(late)
    course.bars = {
        HOLDER: Bar(State("Kustomization", "flux-system", "apps"), [(0.0, Doing.APPLYING, ""), (4.0, Doing.READY, "")])
    }
    return Judge(read).outcome(course, "1.36.3", "2.9", ["a note"], lame)


KIND = Blocker(Lack.KIND, HOLDER, "Widget (example.org/v1)", "Widget/apps/one", 'no matches for kind "Widget"')


def test_a_kind_that_nothing_brings_is_a_finding_at_its_own_line(tmp_path):
    (proof,) = came_to(tree(tmp_path, widget("one")), KIND).proofs
    assert (proof.finding.rule, proof.finding.severity) == ("apply.missing-kind", Severity.BREAKS_APPLY)
    assert str(proof.finding.locations[0]) == "parts/apps/o.yaml:1"
    assert proof.removal == "the lane did something"


def test_a_kind_that_a_chart_that_is_not_known_may_bring_is_a_doubt(tmp_path):
    out = came_to(tree(tmp_path, widget("one"), release("r", "nobody-knows-it")), KIND)
    assert out.proofs == []
    assert "may install it" in out.doubts[0]


def test_chart_repositories_are_the_lanes_own_and_never_suspended():
    """The tree's own alerts tell of what is suspended: one that fires because of the lane breaks a claim that holds."""
    repositories, _, others, _ = chart_policies("mark", "http://git.example:8088", ["flux-system/manifests"])
    (rule,) = repositories["spec"]["matchConstraints"]["resourceRules"]
    assert rule["resources"] == ["helmrepositories"]
    words = repositories["spec"]["mutations"][0]["jsonPatch"]["expression"]
    assert '"/spec/url", value: "http://git.example:8088"' in words
    assert '"/spec/secretRef"' in words
    assert "suspend" not in words
    (rule,) = others["spec"]["matchConstraints"]["resourceRules"]
    assert rule["resources"] == ["ocirepositories", "helmcharts"]
    assert '["flux-system/manifests"]' in others["spec"]["matchConditions"][0]["expression"]


def test_what_the_api_server_fills_in_is_not_the_lanes_doing():
    """What waits for a policy to count would else wait for nothing."""
    probe = {"spec": {"url": "https://charts.example.org", "interval": "1h"}}
    filled = {"spec": {**probe["spec"], "provider": "generic"}}
    assert not is_changed(probe, filled)
    assert is_changed(probe, {"spec": {**filled["spec"], "suspend": True}})
    assert is_changed(probe, {"spec": {**filled["spec"], "url": "http://git.example:8088"}})


def test_what_a_policy_of_the_lane_denies_is_a_doubt(tmp_path):
    said = "ConfigMap/apps/c dry-run failed (Invalid): policy 'holdfast-flux-kinds' with binding 'holdfast-flux-kinds' denied request: no"
    out = came_to(tree(tmp_path), Blocker(Lack.REFUSED, HOLDER, "ConfigMap/apps/c", "ConfigMap/apps/c", said))
    assert out.proofs == []
    assert "a policy of the lane is in the way" in out.doubts[0]
    theirs = said.replace("holdfast-flux-kinds", "their-own")
    assert came_to(tree(tmp_path), Blocker(Lack.REFUSED, HOLDER, "ConfigMap/apps/c", "ConfigMap/apps/c", theirs)).proofs


def test_what_a_placeholder_breaks_is_a_doubt(tmp_path):
    said = 'Service "x" is invalid: spec.clusterIP: Invalid value: "holdfast-unknown-ip"'
    assert came_to(tree(tmp_path), Blocker(Lack.REFUSED, HOLDER, "Service/apps/x", "Service/apps/x", said)).proofs == []
    held = widget("one", spec={"key": "ENC[AES256_GCM,data:x]"})
    refused = Blocker(Lack.REFUSED, HOLDER, "Widget/apps/one", "Widget/apps/one", "cannot unmarshal string into int32")
    assert came_to(tree(tmp_path, held), refused).proofs == []
    assert len(came_to(tree(tmp_path, widget("one")), refused).proofs) == 1


def test_a_secret_by_hand_is_listed_and_a_slip_is_a_finding(tmp_path):
    there = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "house-settings", "namespace": "flux-system"}}

    def lacking(name):
        return Blocker(Lack.CONFIG, HOLDER, f"Secret/flux-system/{name}", HOLDER, "not found")

    read = tree(tmp_path, there)
    assert came_to(read, lacking("cloud-token")).by_hand == {"Secret/flux-system/cloud-token": HOLDER}
    (proof,) = came_to(read, lacking("house-setting")).proofs
    assert proof.finding.do == "did you mean Secret/flux-system/house-settings?"


def pair(name):
    return checking.load(pairs.invalid(name), KUSTOMIZE)


def test_what_lies_in_another_namespace_is_a_finding_and_nothing_that_is_made_by_hand(tmp_path):
    """Flux's own words are the same in both cases: the tree alone tells them apart."""
    lacking = Blocker(Lack.CONFIG, HOLDER, "ConfigMap/flux-system/settings", HOLDER, 'configmaps "settings" not found')
    out = came_to(pair("wrong-namespace"), lacking)
    assert [p.finding.rule for p in out.proofs] == ["apply.wrong-namespace"]
    assert out.by_hand == {}
    (proof,) = came_to(
        pair("values-under-a-hash"), Blocker(Lack.CONFIG, "HelmRelease/web/shop", "ConfigMap/web/shop-values", said="")
    ).proofs
    assert proof.finding.rule == "apply.missing-values"
    assert came_to(tree(tmp_path), lacking).by_hand == {"ConfigMap/flux-system/settings": HOLDER}


def test_what_a_chart_might_make_is_no_doubt_where_the_name_is_a_slip():
    holder, what = HOLDER, "HelmRelease/web/kiosq"
    (proof,) = came_to(
        pair("near-health-check"), Blocker(Lack.HEALTH, holder, what, what, f"there is no {what}")
    ).proofs
    assert proof.finding.rule == "apply.missing-health-check"
    other = Blocker(Lack.HEALTH, holder, "Widget/web/other", "Widget/web/other", "there is no Widget/web/other")
    assert "a chart that isn't read may make it" in came_to(pair("near-health-check"), other).doubts[0]


@pytest.mark.parametrize(("name", "found"), [("near-account", 1), ("near-class", 0)])
def test_what_does_not_run_beside_a_chart_that_is_not_read_counts_where_the_tree_alone_says_so(name, found):
    read = pair(name)
    lame = Lame("apply.never-runs", read.of("Deployment")[0], (), "0 of 1 pods are ready", unsure=True)
    out = came_to(read, lame=[lame])
    assert len(out.proofs) == found
    assert out.doubts == []


def test_a_kustomization_whose_source_nothing_makes_is_not_taken_for_ready():
    read = pair("moved-source")
    assert Foretold(read).without_source() == ["web/apps"]
    assert Foretold(pair("wrong-namespace")).without_source() == []
    policies = elsewhere_policies(["flux-system/flux-system"], [], "ssh://git@127.0.0.1/x", "mark", ["web/apps"])
    (conditions,) = [
        p["spec"]["matchConditions"]
        for p in policies
        if p["metadata"]["name"].endswith("kustomizations") and "matchConditions" in p["spec"]
    ]
    assert 'in ["web/apps"]' in conditions[0]["expression"]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (
            "0 of 1 pods are ready: Pod/apps/x: 0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector",
            0,
        ),
        ("0 of 1 pods are ready", 1),
    ],
)
def test_what_fits_no_made_up_node_is_a_doubt(tmp_path, said, found):
    read = tree(tmp_path, widget("one"))
    assert len(came_to(read, Blocker(Lack.HEALTH, HOLDER, "Widget/apps/one", "Widget/apps/one", said)).proofs) == found
    assert len(came_to(read, lame=[Lame("apply.never-runs", read.of("Widget")[0], (), said)]).proofs) == found


def test_the_same_words_at_the_same_place_are_one_finding(tmp_path):
    def refused(name):
        return Blocker(
            Lack.REFUSED, HOLDER, f"Widget/apps/{name}", f"Widget/apps/{name}", f'Widget "{name}" is invalid: x'
        )

    (tmp_path / "a").mkdir()
    base = {"parts__apps__kustomization.yaml": "resources: [o.yaml]\n"}
    out = came_to(tree(tmp_path / "a", widget("one"), widget("two"), **base), refused("one"), refused("two"))
    assert len(out.proofs) == 2  # two lines, two causes
    again = came_to(tree(tmp_path / "a", widget("one"), **base), refused("one"), refused("one"))
    assert len(again.proofs) == 1


def test_what_lay_before_is_named_by_the_number_that_is_printed(tmp_path):
    read = tree(tmp_path, widget("one"), release("r", "nobody-knows-it"))
    field = Blocker(Lack.REFUSED, HOLDER, "Widget/apps/one", "Widget/apps/one", "is invalid")
    gone = Blocker(Lack.DEPENDENCY, HOLDER, "Kustomization/flux-system/base", HOLDER, "not found")
    out = came_to(read, KIND, field, gone, after=[(), (1,), (1, 2)])  # the first is a doubt, and has no number
    assert [p.after for p in out.proofs] == [(), (1,)]


def test_what_came_late_is_a_hazard_with_the_time_that_it_costs(tmp_path):
    (proof,) = came_to(tree(tmp_path, widget("one")), late=[Late(KIND, 8.0)]).proofs
    assert (proof.finding.rule, proof.finding.severity) == ("order.late", Severity.UPGRADE_HAZARD)
    assert "again only after 1m" in proof.finding.what


def test_an_allowed_finding_is_not_counted(tmp_path):
    read = tree(tmp_path, **{".holdfast.toml": '[[allow]]\nrule = "schema.field"\nbecause = "x"\n'})
    assert came_to(read).worst() is None


def test_the_trees_own_version_of_flux_is_read(tmp_path):
    kind = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    labels = {"app.kubernetes.io/version": "v2.3.0"}
    crd = {
        **kind,
        "metadata": {"name": "buckets.source.toolkit.fluxcd.io", "labels": labels},
        "spec": {"group": "x", "names": {}},
    }
    assert flux_of(tree(tmp_path, crd)) == "2.3"
    assert flux_of(tree(tmp_path, widget("one"))) == ""


def test_feature_gates_are_read_from_machine_configuration(tmp_path):
    read = tree(
        tmp_path,
        **{"talos__a.yaml": 'extraArgs:\n  feature-gates: "A=true,B=false"\n', "k3s.cfg": "--feature-gates=C=true\n"},
    )
    assert gates_of(read) == {"A": True, "B": False, "C": True}


def test_every_form_holds_the_finding(tmp_path):
    out = came_to(
        tree(tmp_path, widget("one<script>")), Blocker(Lack.OTHER, HOLDER, HOLDER, HOLDER, "<script>alert(1)</script>")
    )
    text = "\n".join(lines(out, colour=False))
    assert "1 breaks-apply" in text
    assert "once 1 thing was out of the way" in text
    assert json.loads(json.dumps(as_json(out)))["findings"][0]["in_the_lane"] == "the lane did something"
    suite = ElementTree.fromstring(as_junit(out, Severity.BREAKS_CLAIM))
    assert suite.get("failures") == "1"
    assert "<script>" not in page(out)
    assert "&lt;script&gt;" in page(out)


def test_what_never_became_ready_fails_in_junit(tmp_path):
    out = came_to(tree(tmp_path), converged=False)
    out.course.unsettled = {HOLDER: "no word yet"}
    assert ElementTree.fromstring(as_junit(out, Severity.BREAKS_CLAIM)).get("failures") == "1"
    assert "1 never became ready" in "\n".join(lines(out, colour=False))


# -- what is the lane's own doing -------------------------------------------------------------------------------------------


def test_words_of_flux_that_say_nothing_of_the_tree_are_doubts(tmp_path):
    read = tree(tmp_path, widget("one"))
    clone = "failed to checkout: unable to clone 'ssh://git@127.0.0.1:4711/home.git': unexpected EOF"
    source = "GitRepository/flux-system/flux-system"
    for blocker in (
        Blocker(Lack.OTHER, source, source, source, clone),
        Blocker(
            Lack.OTHER, HOLDER, HOLDER, HOLDER, "Running health checks for revision main@sha1:1 with a timeout of 1m30s"
        ),
    ):
        out = came_to(read, blocker)
        assert not out.proofs, blocker
        assert len(out.doubts) == 1
    stuck = Blocker(Lack.OTHER, HOLDER, HOLDER, HOLDER, "decryption of 'a.yaml' failed: no key")
    assert len(came_to(read, stuck).proofs) == 1


SPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps"}}
NO_SPACE = Blocker(Lack.NAMESPACE, HOLDER, "Namespace/apps", "Widget/apps/one", 'namespaces "apps" not found')


@pytest.mark.parametrize(
    ("needs", "rule"), [((), "order.late"), (("apps",), "apply.missing-namespace")], ids=["beside", "after"]
)
def test_a_namespace_that_the_tree_makes_is_late_unless_whoever_makes_it_waits(tmp_path, needs, rule):
    parts = [kustomization("apps"), kustomization("spaces", needs)]
    files = {"parts/apps/o.yaml": yaml.dump(widget("one")), "parts/spaces/o.yaml": yaml.dump(SPACE)}
    read = checking.load(written(tmp_path, {"cluster/all.yaml": yaml.dump_all(parts), **files}), KUSTOMIZE)
    course = Course(took_s=9.0, converged=True, obstacles=[Obstacle(NO_SPACE, 1.0, (), "the lane made it")])
    course.bars = {
        f"Kustomization/flux-system/{n}": Bar(State("Kustomization", "flux-system", n), [(4.0, Doing.READY, "")])
        for n in ("apps", "spaces")
    }
    (proof,) = Judge(read).outcome(course, "1.36.3", "2.9", [], ()).proofs
    assert proof.finding.rule == rule


def test_a_namespace_whose_maker_waits_for_the_holder_is_no_matter_of_time(tmp_path):
    """That the lane made it is what let its maker come."""
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "namespace": "apps"}}
    claim = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "two", "namespace": "default"}}
    container = {"name": "c", "image": "i", "envFrom": [{"configMapRef": {"name": "two"}}]}
    waits = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "waits", "namespace": "default"},
        "spec": {"containers": [container]},
    }
    mid = kustomization("mid")
    mid["spec"]["wait"] = True
    files = {
        "cluster/all.yaml": yaml.dump_all([kustomization("apps"), kustomization("spaces", ["mid"]), mid]),
        "parts/apps/o.yaml": yaml.dump_all([claim, config]),
        "parts/mid/o.yaml": yaml.dump(waits),
        "parts/spaces/o.yaml": yaml.dump(SPACE),
    }
    course = Course(took_s=9.0, converged=True, obstacles=[Obstacle(NO_SPACE, 1.0, (), "the lane made it")])
    course.bars = {
        f"Kustomization/flux-system/{n}": Bar(State("Kustomization", "flux-system", n), [(4.0, Doing.READY, "")])
        for n in ("apps", "spaces", "mid")
    }
    read = checking.load(written(tmp_path, files), KUSTOMIZE)
    assert [b.loop for b in read.boot.blocked] == [True]
    proofs = Judge(read).outcome(course, "1.36.3", "2.9", [], ()).proofs
    assert {p.finding.severity for p in proofs} == {Severity.BREAKS_APPLY}


def test_an_object_without_a_namespace_is_found_by_its_name(tmp_path):
    """kustomize's namespace sets one on what has none, and Flux says it so."""
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "reader"}}
    refused = Blocker(Lack.REFUSED, HOLDER, "ClusterRole/apps/reader", "ClusterRole/apps/reader", "is invalid")
    (proof,) = came_to(tree(tmp_path, role), refused).proofs
    assert proof.finding.locations[0].file == "parts/apps/o.yaml"


def test_a_definition_that_the_lane_changed_is_no_finding(tmp_path):
    read = tree(tmp_path, widget("one"))
    owner = next(m for m in read.objects if m.name == "apps")
    lame = Lame("apply.not-again", owner, (), "Flux says: CustomResourceDefinition/widgets.example.org is invalid")
    course = Course(took_s=9.0, converged=True)
    assert len(Judge(read).outcome(course, "1", "2.9", [], [lame]).proofs) == 1
    course.obstacles = [
        Obstacle(KIND, 1.0, (), "the lane serves Widget (example.org/v1), and takes whatever it is given")
    ]
    out = Judge(read).outcome(course, "1", "2.9", [], [lame])
    assert [p.finding.rule for p in out.proofs] == ["apply.missing-kind"]
    assert "the lane itself" in out.doubts[0]
    other = Lame("apply.not-again", owner, (), "Flux says: CustomResourceDefinition/gears.example.com is invalid")
    assert "apply.not-again" in [p.finding.rule for p in Judge(read).outcome(course, "1", "2.9", [], [other]).proofs]


@pytest.mark.parametrize(
    ("said", "found"), [("field nams not found in type", 1), ("https://example.net/base can't be fetched", 0)]
)
def test_a_build_is_the_lanes_doing_only_where_it_fails_at_what_was_left_out(tmp_path, said, found):
    root = "resources: [o.yaml, 'https://example.net/base']\n"
    read = tree(tmp_path, widget("one"), **{"parts__apps__kustomization.yaml": root})
    out = came_to(read, Blocker(Lack.BUILD, HOLDER, HOLDER, HOLDER, f"kustomize build failed: {said}"))
    assert (len(out.proofs), len(out.doubts)) == (found, 1 - found)


def test_a_start_of_what_was_hardly_read_shows_nothing(tmp_path):
    other = kustomization("other")
    other["spec"]["sourceRef"] = {"kind": "GitRepository", "name": "of-somebody-else"}
    source = {
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
        "metadata": {"name": "of-somebody-else", "namespace": "flux-system"},
        "spec": {"interval": "1h", "url": "https://git.example.com/other.git"},
    }  # fmt: skip
    out = came_to(tree(tmp_path, widget("one"), other, source))
    assert (out.assumed, out.too_little, out.shown) == (1, True, False)
    assert "1 of 3 taken for ready" in "\n".join(lines(out, colour=False))
    assert came_to(tree(tmp_path / "whole", widget("one"))).shown
