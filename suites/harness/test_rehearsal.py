"""The rehearsal without a control plane: what is read out of Flux's words, what is changed in a lane, and how a start is watched to its end."""

import base64
import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from holdfast.drivers.simulated import binding, ready
from holdfast.rehearsal import watcher as watching
from holdfast.rehearsal.blockers import Blocker, Lack, blockers, waits_for
from holdfast.rehearsal.detours import Detour, policies
from holdfast.rehearsal.encrypted import placeholder, replaced
from holdfast.rehearsal.looks import Doing, State, plain, state_of
from holdfast.rehearsal.sick import unhealthy
from holdfast.rehearsal.watcher import Watcher
from holdfast.tree.assumed import ASSUMED, definition, plural
from holdfast.tree.envsubst import UNKNOWN
from holdfast.waiting import Clock


def failed(said, reason="ReconciliationFailed", kind="Kustomization", **more):
    return State(kind, "flux-system", "apps", ready="False", reason=reason, said=said, **more)


# -- Flux's words ---------------------------------------------------------------------------------------------------------------

WORDS = {
    "a kind": (
        'Certificate/apps/web dry-run failed: no matches for kind "Certificate" in version "cert-manager.io/v1"\n',
        (Lack.KIND, "Certificate (cert-manager.io/v1)", "Certificate/apps/web"),
    ),
    "a kind of no group": (
        'PodSecurityPolicy/psp dry-run failed: no matches for kind "PodSecurityPolicy" in version "policy/v1beta1"',
        (Lack.KIND, "PodSecurityPolicy (policy/v1beta1)", "PodSecurityPolicy/psp"),
    ),
    "a namespace": (
        'Deployment/apps/web dry-run failed: namespaces "apps" not found\n',
        (Lack.NAMESPACE, "Namespace/apps", "Deployment/apps/web"),
    ),
    "a namespace, with what was done before": (
        'Deployment/wep/web not found: namespaces "wep" not found\nNamespace/web configured\nService/web/web created\n',
        (Lack.NAMESPACE, "Namespace/wep", "Deployment/wep/web"),
    ),
    "a field": (
        'Service/apps/web dry-run failed (Invalid): Service "web" is invalid: spec.ports[0].port: Invalid value: 0: must be between 1 and 65535',
        (Lack.REFUSED, "Service/apps/web", "Service/apps/web"),
    ),
    "a dependency": (
        "dependency 'flux-system/base' not found: kustomizations.kustomize.toolkit.fluxcd.io \"base\" not found",
        (Lack.DEPENDENCY, "Kustomization/flux-system/base", "Kustomization/flux-system/apps"),
    ),
    "variables": (
        """post build failed for 'web': substitute from 'Secret/words' error: secrets "words" not found""",
        (Lack.CONFIG, "Secret/flux-system/words", "Kustomization/flux-system/apps"),
    ),
    "health": (
        "health check failed after 30.1s: timeout waiting for: [Deployment/apps/web status: 'InProgress']",
        (Lack.HEALTH, "Deployment/apps/web", "Deployment/apps/web"),
    ),
    "a source": (
        'GitRepository.source.toolkit.fluxcd.io "home" not found',
        (Lack.SOURCE, "home", "Kustomization/flux-system/apps"),
    ),
    "a chart's source": (
        'helmrepositories.source.toolkit.fluxcd.io "charts" not found',
        (Lack.SOURCE, "charts", "Kustomization/flux-system/apps"),
    ),
    "what nobody foresaw": (
        "the moon is full",
        (Lack.OTHER, "Kustomization/flux-system/apps", "Kustomization/flux-system/apps"),
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_flux_words_are_read(name):
    said, (lack, what, subject) = WORDS[name]
    (one,) = blockers(failed(said))
    assert (one.lack, one.what, one.object, one.holder) == (lack, what, subject, "Kustomization/flux-system/apps")


def test_a_build_that_fails_is_a_build():
    (one,) = blockers(failed("kustomize build failed: accumulating resources: no such file", "BuildFailed"))
    assert one.lack is Lack.BUILD


def test_what_only_waits_blocks_nothing():
    state = failed("dependency 'flux-system/base' is not ready", "DependencyNotReady")
    assert blockers(state) == []
    assert waits_for(state) == "Kustomization/flux-system/base"
    assert state.doing is Doing.WAITING


def test_several_objects_of_one_try_are_several_blockers():
    said = (
        'Deployment/a/one dry-run failed: namespaces "a" not found\n'
        'Deployment/b/two dry-run failed: namespaces "b" not found\n'
    )
    assert [b.what for b in blockers(failed(said))] == ["Namespace/a", "Namespace/b"]


@given(
    st.text(max_size=400),
    st.sampled_from(["BuildFailed", "ReconciliationFailed", "HealthCheckFailed", "ArtifactFailed", ""]),
)
def test_any_words_at_all_are_taken(said, reason):
    found = blockers(failed(said, reason))
    assert all(isinstance(b, Blocker) and b.holder for b in found)
    assert found or waits_for(failed(said, reason))


def test_two_tries_with_the_same_answer_are_the_same():
    one = "health check failed after 5.003s: timeout waiting for: [Job/a/b status: 'InProgress'] main@sha1:" + "a" * 40
    two = "health check failed after 12m3.2s: timeout waiting for: [Job/a/b status: 'InProgress'] main@sha1:" + "b" * 40
    assert plain(one) == plain(two)
    assert plain(one) != plain(one.replace("a/b", "a/c"))


def test_a_condition_of_an_older_generation_is_none():
    item = {
        "kind": "Kustomization",
        "metadata": {"name": "a", "namespace": "b", "generation": 3},
        "status": {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 2}]},
    }
    assert not state_of(item).settled
    item["metadata"]["generation"] = 2
    assert state_of(item).settled


# -- what is changed in a lane --------------------------------------------------------------------------------------------------


def expression(detour):
    policy, binding_ = policies(detour)
    assert binding_["spec"]["policyName"] == policy["metadata"]["name"]
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    assert rule["resourceNames"] == ["apps"]
    return policy["spec"]["mutations"][0]["jsonPatch"]["expression"]


def test_a_detour_says_all_that_is_otherwise():
    detour = Detour(
        "Kustomization",
        "flux-system",
        "apps",
        "mark",
        {"flux-system/base"},
        {("apps", "Deployment", "web")},
        {("apiextensions.k8s.io", "CustomResourceDefinition", "of-the-lane")},
        checks_nothing=True,
        assumed=True,
        plain=True,
    )
    said = expression(detour)
    for part in (
        "of-the-lane",
        '"flux-system/base"',
        "$patch: delete",
        "/spec/wait",
        "/spec/suspend",
        "/spec/decryption",
        "/spec/healthChecks",
    ):
        assert part in said
    assert "/spec/suspend" not in expression(
        Detour("Kustomization", "flux-system", "apps", "mark", checks_nothing=True)
    )


@pytest.mark.parametrize(("kind", "name"), [("Ingress", "ingresses"), ("Policy", "policies"), ("Gateway", "gateways"), ("Node", "nodes"), ("Batch", "batches")])  # fmt: skip
def test_a_kind_is_named_as_english_has_it(kind, name):
    assert plural(kind) == name


def test_a_made_up_definition_serves_every_version_and_keeps_one():
    made = definition("example.org", "Widget", ["v1", "v1beta1"], namespaced=True)
    versions = made["spec"]["versions"]
    assert made["metadata"]["name"] == "widgets.example.org"
    assert [v["name"] for v in versions] == ["v1", "v1beta1"]
    assert sum(v["storage"] for v in versions) == 1
    assert all(v["served"] for v in versions)


# -- encrypted files --------------------------------------------------------------------------------------------------------------

ENC = "ENC[AES256_GCM,data:aaaa,iv:bbbb,tag:cccc,type:str]"


def test_an_encrypted_secret_gets_placeholders_and_stays_a_secret():
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"SECRET_DOMAIN": ENC, "n": "MQ=="},
                           "stringData": {"b": ENC}, "sops": {"mac": ENC}})  # fmt: skip
    plain_one = yaml.safe_load(replaced(text))
    assert "sops" not in plain_one
    assert base64.b64decode(plain_one["data"]["SECRET_DOMAIN"]).decode() == placeholder("SECRET_DOMAIN")
    assert plain_one["data"]["n"] == "MQ=="
    assert plain_one["stringData"]["b"] == placeholder("b")


def test_what_is_not_encrypted_is_left_as_it_is():
    assert replaced("kind: ConfigMap\ndata: {a: b}\n") is None
    assert replaced("") is None


def test_lines_and_json_are_taken_too():
    assert replaced(f"A={ENC}\nB=plain\nsops_mac={ENC}\n") == f"A={placeholder('A')}\nB=plain\n"
    assert json.loads(replaced(json.dumps({"a": [{"b": ENC}], "sops": {}}))) == {"a": [{"b": placeholder("b")}]}


@given(st.text())
def test_any_file_is_taken(text):
    found = replaced(text)
    assert found is None or isinstance(found, str)


@given(st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ_abc019-", min_size=1, max_size=40))
def test_a_placeholder_may_be_part_of_a_hosts_name(key):
    word = placeholder(key)
    assert word.startswith(UNKNOWN)
    assert set(word) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not word.endswith("-")


# -- what nobody does without nodes -------------------------------------------------------------------------------------------------


def claim(**more):
    spec = {
        "storageClassName": "fast",
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        **more.pop("spec", {}),
    }
    return {
        "metadata": {"name": "data", "namespace": "apps", "uid": "u1", "annotations": more.pop("annotations", {})},
        "spec": spec,
        "status": {"phase": "Pending"},
    }


def classes(**fast):
    return {"fast": {"provisioner": "driver.example.org", **fast}}


def test_a_claim_gets_a_volume_of_its_own():
    made = binding(claim(), classes())
    assert made["spec"]["claimRef"] == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": "apps",
        "name": "data",
        "uid": "u1",
    }


@pytest.mark.parametrize(
    ("one", "of"),
    [
        (claim(), {}),  # no such class
        (claim(), classes(volumeBindingMode="WaitForFirstConsumer")),  # its pod has no node yet
        (claim(), classes(provisioner="kubernetes.io/no-provisioner")),
        (claim(spec={"accessModes": ["ReadWriteMany"]}), classes(provisioner="rancher.io/local-path")),
    ],
)
def test_a_claim_that_nobody_would_bind_stays_as_it_is(one, of):
    assert binding(one, of) is None


def test_a_late_claim_is_bound_once_its_pod_has_a_node():
    chosen = claim(annotations={"volume.kubernetes.io/selected-node": "k3s2"})
    made = binding(chosen, classes(volumeBindingMode="WaitForFirstConsumer", provisioner="rancher.io/local-path"))
    assert "k3s2" in str(made["spec"]["nodeAffinity"])


def test_only_what_the_lane_suspended_is_taken_for_ready():
    item = {"metadata": {"generation": 2, "annotations": {}}, "spec": {"suspend": True}}
    assert ready(item, "assumed", "mark") is None
    item["metadata"]["annotations"][ASSUMED] = "true"  # a tree may write that
    assert ready(item, "assumed", "mark") is None
    item["metadata"]["annotations"][ASSUMED] = "mark"
    status = ready(item, "assumed", "mark")
    assert status["observedGeneration"] == 2
    assert ready({**item, "status": status}, "assumed", "mark") is None


# -- health ---------------------------------------------------------------------------------------------------------------------


class NoObjects:
    def list(self, *_, **__):
        return []


@pytest.mark.parametrize(
    ("item", "is_sick"),
    [
        ({"kind": "Deployment", "spec": {"replicas": 2}, "status": {"readyReplicas": 1}}, True),
        ({"kind": "Deployment", "spec": {"replicas": 2}, "status": {"readyReplicas": 2}}, False),
        ({"kind": "Deployment", "spec": {"replicas": 0}, "status": {}}, False),
        ({"kind": "PersistentVolumeClaim", "status": {"phase": "Pending"}}, True),
        ({"kind": "PersistentVolumeClaim", "status": {"phase": "Bound"}}, False),
        ({"kind": "Job", "status": {}}, True),
        ({"kind": "Widget", "status": {"conditions": [{"type": "Ready", "status": "False", "message": "no"}]}}, True),
        ({"kind": "Widget", "status": {}}, False),
        ({"kind": "Widget"}, False),
    ],
)
def test_what_is_healthy_is_what_kstatus_says(item, is_sick):
    whole = {"metadata": {"name": "a", "namespace": "b", "uid": "c"}, "spec": {}, **item}
    assert bool(unhealthy(whole, NoObjects())) is is_sick


# -- a start, watched -------------------------------------------------------------------------------------------------------------


class Script:
    """A control plane that does what a test says: a function from (seconds, what was removed so far) to states."""

    def __init__(self, monkeypatch, states, names, depends=None):
        self.now, self.removed, self.requests, self.tokens = 0.0, [], [], {}
        tree = SimpleNamespace(
            kustomizations={
                n: SimpleNamespace(
                    id=n,
                    manifest=SimpleNamespace(file="x.yaml"),
                    depends_on=(depends or {}).get(n, []),
                    way=(),
                    objects=[],
                    spec={},
                )
                for n in names
            }
        )
        script = self

        class Removal:
            def __init__(self, _, *, anew):
                assert not anew  # a start from nothing changes nothing that is there

            def may_come(self, blocker, states):
                return blocker.what.startswith("later")

            def givers(self, blocker):
                return {"Kustomization/f/b"} if blocker.what.startswith("later") else set()

            def give_up_on(self, blocker, states):
                return ""

            def request(self, state, token):
                script.tokens[state.id] = token
                script.requests.append((script.now, state.id))
                return True

            def remove(self, blocker, states):
                script.removed.append(blocker.what)
                return "removed" if blocker.lack is not Lack.OTHER else ""

        def look(_):
            found = states(self.now, self.removed)
            return {s.id: replace(s, handled=self.tokens.get(s.id, "")) for s in found}

        monkeypatch.setattr(watching, "Removal", Removal)
        monkeypatch.setattr(watching, "look", look)
        monkeypatch.setattr(watching, "sick_of", lambda *_: [])
        tree.settings = SimpleNamespace(adaptations=())
        self.stage = SimpleNamespace(tree=tree, client=None, driver=SimpleNamespace(check=lambda: None))
        self.clock = Clock(lambda: self.now, self._sleep)

    def _sleep(self, seconds):
        self.now += seconds

    def run(self, **more):
        return Watcher(self.stage, say=lambda _: None, clock=self.clock, **more).run()


def at(name, **more):
    return State("Kustomization", "f", name, **more)


def test_a_start_that_goes_well_ends_when_the_last_is_ready(monkeypatch):
    def states(now, _):
        return [at("a", ready="True" if now > 2 else "Unknown"), at("b", ready="True" if now > 5 else "Unknown")]

    course = Script(monkeypatch, states, ["f/a", "f/b"]).run()
    assert course.converged
    assert course.obstacles == []
    assert 5 < course.took_s < 6
    assert course.bars["Kustomization/f/a"].ready_at < 3


def test_what_fails_twice_in_the_same_words_is_in_the_way_within_seconds(monkeypatch):
    def states(_, removed):
        words = 'Deployment/x/y dry-run failed: namespaces "x" not found'
        return [at("a", ready="True") if removed else at("a", ready="False", reason="ReconciliationFailed", said=words)]

    course = Script(monkeypatch, states, ["f/a"]).run()
    assert [o.blocker.what for o in course.obstacles] == ["Namespace/x"]
    assert course.obstacles[0].at_s < 3
    assert course.converged


def test_what_may_still_come_is_waited_for_and_is_late(monkeypatch):
    def states(now, _):
        words = "substitute from 'Secret/later' error: not found"
        a = at("a", ready="True") if now > 8 else at("a", ready="False", reason="BuildFailed", said=words)
        return [a, at("b", ready="True" if now > 7 else "Unknown", progress=f"step {int(now)}")]

    monkeypatch.setattr(
        watching,
        "blockers",
        lambda s: [Blocker(Lack.CONFIG, s.id, "later/x", s.id, s.said)] if s.ready == "False" else [],
    )
    course = Script(monkeypatch, states, ["f/a", "f/b"]).run()
    assert course.obstacles == []
    assert [late.blocker.what for late in course.late] == ["later/x"]


def test_strict_takes_nothing_away(monkeypatch):
    script = Script(
        monkeypatch,
        lambda *_: [at("a", ready="False", reason="BuildFailed", said="kustomize build failed: x")],
        ["f/a"],
    )
    course = script.run(strict=True)
    assert not course.converged
    assert script.removed == []
    assert course.obstacles[0].removal == ""


def test_a_circle_is_cut_once(monkeypatch):
    def wait(name, other):
        return at(name, ready="False", reason="DependencyNotReady", said=f"dependency 'f/{other}' is not ready")

    def states(_, removed):
        return [at("a", ready="True"), at("b", ready="True")] if removed else [wait("a", "b"), wait("b", "a")]

    course = Script(monkeypatch, states, ["f/a", "f/b"], {"f/a": ["f/b"], "f/b": ["f/a"]}).run()
    assert [o.blocker.lack for o in course.obstacles] == [Lack.LOOP]
    assert course.converged


def test_what_cannot_be_removed_is_stuck_and_the_end_comes_all_the_same(monkeypatch):
    course = Script(monkeypatch, lambda *_: [at("a", ready="False", said="the moon is full")], ["f/a"]).run()
    assert not course.converged
    assert course.unsettled == {"Kustomization/f/a": "the moon is full"}
    assert course.took_s < 30


def test_what_never_came_is_said(monkeypatch):
    course = Script(monkeypatch, lambda *_: [at("a", ready="True")], ["f/a", "f/b"]).run()
    assert not course.converged
    assert course.unsettled == {"Kustomization/f/b": "it never came to the cluster"}


def test_time_is_up_at_some_time(monkeypatch):
    ticks = itertools.count()
    course = Script(monkeypatch, lambda *_: [at("a", ready="Unknown", progress=f"step {next(ticks)}")], ["f/a"]).run(
        limit_s=20
    )
    assert not course.converged
    assert course.took_s < 25
