"""The sign-off: what a certificate comes to by its rules, that a changed byte is found, and when one doesn't hold any more."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from holdfast import claims, signature
from holdfast.__main__ import _alone
from holdfast.errors import UsageError
from holdfast.reporting import certificate_check, certificate_pdf
from holdfast.reporting.certificate import LIVES, Certificate, Proof, Ready, Wish, certify
from holdfast.reporting.ledger import Ledger, RunRow, Standing
from holdfast.verdicts import ClaimVerdict, Verdict
from suites.harness.test_ledger import CLAIM, OTHER, run

REGISTER = claims.load()


@pytest.fixture
def known(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        yield ledger


def made(known, runs, *names, only=(), now=None):
    known.take([runs])
    asked = [REGISTER[name] for name in names or (CLAIM,)]
    return certify(known, Wish("home", asked, len(asked), now or datetime.now(UTC), "0.1.0", only))


@pytest.mark.parametrize(
    ("more", "result", "condition"),
    [
        ({}, Ready.READY, ""),
        ({"level": "live"}, Ready.READY, ""),
        ({"level": "model"}, Ready.CONDITIONS, "was a stand-in"),
        ({"level": "static"}, Ready.CONDITIONS, "only the tree was read"),
        ({"held": False}, Ready.NOT, ""),
        ({"notes": ["not Flannel"]}, Ready.CONDITIONS, "1 things there are unlike production"),
    ],
)
def test_what_one_claim_comes_to(tmp_path, known, more, result, condition):
    run(tmp_path / "runs", "1", **more)
    found = made(known, tmp_path / "runs")
    assert found.ready is result
    assert condition in " ".join(found.proofs[0].doubts)
    assert bool(found.proofs[0].doubts) is bool(condition)


def test_what_nobody_looked_at_is_not_proved_and_a_condition(tmp_path, known):
    run(tmp_path / "runs", "1")
    found = made(known, tmp_path / "runs", CLAIM, OTHER)
    assert found.ready is Ready.CONDITIONS
    assert [p.claim.id for p in found.unproved] == [OTHER]


def test_nothing_proved_is_not_ready(tmp_path, known):
    run(tmp_path / "runs", "1")
    assert made(known, tmp_path / "runs", OTHER).ready is Ready.NOT


def test_the_strongest_level_counts_and_what_broke_at_any(tmp_path, known):
    runs = tmp_path / "runs"
    run(runs, "1", level="static")
    run(runs, "2", level="lab")
    (proof,) = made(known, runs).proofs
    assert (proof.standing.verdict.level, proof.doubts) == ("lab", ())
    run(runs, "3", level="static", held=False)
    assert made(known, runs).ready is Ready.NOT


def test_evidence_of_another_commit_and_old_evidence_are_conditions(tmp_path, known):
    runs = tmp_path / "runs"
    run(runs, "1")
    run(runs, "2", claim=OTHER, commit="b" * 40)
    (proof,) = made(known, runs).proofs
    assert "was shown on commit aaaaaaaaaaaa" in proof.doubts[0]
    (proof,) = made(known, runs, OTHER, now=datetime.now(UTC) + LIVES["lab"] + timedelta(days=1)).proofs
    assert proof.doubts == ("its evidence is older than 30 days",)


def test_only_the_named_runs_count_and_only_whole_ones(tmp_path, known):
    runs = tmp_path / "runs"
    run(runs, "1")
    run(runs, "2", held=False)
    run(runs, "3", seal=False)
    assert made(known, runs).ready is Ready.NOT
    without = made(known, runs, only={"1"})
    assert without.ready is Ready.CONDITIONS
    assert f"{CLAIM} broke in 2, which was left out" in without.conditions
    with pytest.raises(UsageError, match="no run of home is whole"):
        made(known, runs, only={"3"})


def test_a_run_whose_journal_is_gone_proves_nothing(tmp_path, known):
    path = run(tmp_path / "runs", "1")
    known.take([tmp_path / "runs"])
    (path / "journal.jsonl").unlink()
    with pytest.raises(UsageError, match="has its journal"):
        made(known, tmp_path / "runs")


_STANDINGS = st.tuples(
    st.sampled_from([Verdict.HELD, Verdict.BROKE, Verdict.UNPROVEN, None]),
    st.sampled_from(list(LIVES)),
    st.booleans(),
)


def proof_of(verdict, level, doubt):
    row = RunRow(datetime(2026, 1, 1, tzinfo=UTC), "1", "kind/fast", "home", "c", "k", "h", "")
    one = Standing(ClaimVerdict(CLAIM, level, "kind/fast", verdict, "why", ("t",)), row) if verdict else None
    return Proof(REGISTER[CLAIM], one, "", ("a doubt",) if doubt or one is None else ())


@given(st.lists(_STANDINGS, min_size=1, max_size=6), _STANDINGS)
def test_one_more_thing_to_be_shown_never_makes_it_readier(shown, more):
    order = [Ready.READY, Ready.CONDITIONS, Ready.NOT]

    def of(some):
        return Certificate("home", "c", datetime(2026, 1, 2, tzinfo=UTC), "0", tuple(proof_of(*s) for s in some), {})

    before, after = of(shown), of([*shown, more])
    if (
        before.proved or more[0] is not Verdict.HELD
    ):  # the first thing that is proved is what makes it more than nothing
        assert order.index(after.ready) >= order.index(before.ready)
    if before.proved:
        assert after.valid_until <= before.valid_until


# -- signed, and checked later ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def test_ssh_keygen_alone_verifies_it_and_a_changed_byte_is_found(tmp_path, key):
    file = tmp_path / "certificate.json"
    file.write_text('{"result": "not ready"}\n')
    signature.sign(file, key)
    signature.sign(file, key)  # once more: it asks nobody whether it may write
    public = key.with_suffix(".pub").read_text()
    (tmp_path / "signers").write_text(f"home {public}")
    words = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "signers"), "-I", "home", "-n", signature.NAMESPACE]
    with file.open("rb") as content:
        subprocess.run([*words, "-s", f"{file}.sig"], stdin=content, check=True, capture_output=True)
    assert signature.signer(file).startswith("SHA256:")
    file.write_text('{"result": "ready"}\n')
    with pytest.raises(UsageError, match="is not of these bytes"):
        signature.signer(file)


def test_a_key_that_is_none_is_said_with_the_way_out(tmp_path):
    file = tmp_path / "a.json"
    file.write_text("{}")
    (tmp_path / "key").write_text("no key\n")
    with pytest.raises(UsageError, match="can't be signed") as caught:
        signature.sign(file, tmp_path / "key")
    assert "--key" in caught.value.next_step
    assert not (tmp_path / "a.json.sig").exists()


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOLDFAST_REPORTS", str(tmp_path / "runs"))
    monkeypatch.setattr("holdfast.progress.console.width", 400)
    tree = tmp_path / "home"
    tree.mkdir()
    (tree / "a.yaml").write_text("a: b\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "a commit"]):
        subprocess.run([*git, *words], cwd=tree, check=True)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=tree, check=True, capture_output=True, text=True
    ).stdout.strip()

    def said(*words):
        return CliRunner().invoke(_alone("signoff"), ["--tree", str(tree), *words], catch_exceptions=True)

    said.commit, said.runs, said.tree = commit, tmp_path / "runs", tree
    return said


def test_the_command_writes_it_signs_it_and_says_whether_it_holds(tmp_path, command, key):
    run(command.runs, "1", commit=command.commit)
    done = command("--claim", CLAIM, "--key", str(key), "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.exception or done.stdout
    document = next((tmp_path / "out").glob("*.json"))
    told = json.loads(document.read_text())
    assert (told["result"], told["commit"], told["not_proved"]) == ("ready", command.commit, [])
    assert re.fullmatch(r"[0-9a-f]{64}", told["proved"][0]["evidence_sha256"])
    assert len(list((tmp_path / "out").glob("*.sig"))) == 3
    assert next((tmp_path / "out").glob("*.pdf")).read_bytes().startswith(b"%PDF-")
    page = next((tmp_path / "out").glob("*.html")).read_text()
    assert page.index("Not proved") < page.index("<h2>Proved")
    assert "://" not in page
    assert command("--check", str(document)).exit_code == 0
    document.write_text(document.read_text().replace('"ready"', '"not ready"'))
    assert "not of these bytes" in str(command("--check", str(document)).exception)


def test_one_with_conditions_and_one_that_is_not_ready_have_codes_of_their_own(tmp_path, command):
    run(command.runs, "1", commit=command.commit)
    assert command("--out", str(tmp_path / "out")).exit_code == 11  # all claims are asked for
    run(command.runs, "2", commit=command.commit, held=False)
    assert command("--claim", CLAIM, "--out", str(tmp_path / "out")).exit_code == 10


def test_the_pdf_shows_whatever_stands_in_a_claim(tmp_path, known):
    """Letters that the fonts lack, words that are longer than a line, many claims: no word of it stops the sheets."""
    run(tmp_path / "runs", "1", notes=["→ … ✅ " + "x" * 300])
    found = made(known, tmp_path / "runs", *REGISTER)
    certificate_pdf.write(tmp_path / "c.pdf", found, b"{}")
    assert (tmp_path / "c.pdf").stat().st_size > 5_000


def test_without_the_pdfs_packages_there_is_the_rest(tmp_path, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "holdfast.reporting.certificate_pdf", None)
    monkeypatch.delattr("holdfast.reporting.certificate_pdf", raising=False)
    run(command.runs, "1", commit=command.commit)
    done = command("--claim", CLAIM, "--out", str(tmp_path / "out"))
    assert done.exit_code == 0
    assert "holdfast[signoff]" in done.stdout
    assert sorted(p.suffix for p in (tmp_path / "out").iterdir()) == [".html", ".json"]


@pytest.fixture
def document(tmp_path, command, key):
    """A signed certificate that is ready, of run 1."""
    run(command.runs, "1", commit=command.commit)
    command("--claim", CLAIM, "--out", str(tmp_path / "out"), "--key", str(key))
    return next((tmp_path / "out").glob("*.json"))


@pytest.mark.parametrize(
    "what", ["commit", "newer", "elsewhere", "kubernetes", "hidden", "journal", "gone", "age", "unsigned"]
)
def test_why_it_does_not_hold_any_more_is_said(command, document, key, what):
    assert command("--check", str(document)).exit_code == 0
    if what == "commit":
        (command.tree / "a.yaml").write_text("a: c\n")
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-qam", "another"]
        subprocess.run(git, cwd=command.tree, check=True)
        reason = "the tree is at"
    elif what == "newer":
        run(command.runs, "2", commit=command.commit, held=False)
        reason = "is broke in 2, a newer run"
    elif what == "kubernetes":
        run(command.runs, "2", commit=command.commit, claim=OTHER, kubernetes="1.37.2")
        reason = "runs Kubernetes 1.37.2 now"
    elif what == "hidden":  # by a run that only read the tree
        run(command.runs, "2", commit=command.commit, claim=OTHER, kubernetes="1.37.2")
        run(command.runs, "3", commit=command.commit, claim=OTHER, kubernetes="", level="static")
        reason = "runs Kubernetes 1.37.2 now"
    elif what == "elsewhere":
        run(command.runs, "2", commit=command.commit, held=False, lane="k3d/fast", seal=False)
        reason = "is broke in 2, a newer run"
    elif what == "gone":
        (command.runs / "1" / "journal.jsonl").unlink()
        reason = "isn't here"
    elif what == "unsigned":
        document.with_name(f"{document.name}.sig").unlink()
        reason = "it isn't signed"
    elif what == "journal":
        file = command.runs / "1" / "journal.jsonl"
        file.write_text(file.read_text().replace("seen", "sein"))
        reason = "isn't what it was"
    else:
        told = json.loads(document.read_text())
        told["valid_until"] = told["proved"][0]["valid_until"] = "2026-01-01T00:00:00+00:00"
        document.write_text(json.dumps(told))
        signature.sign(document, key)
        reason = "its evidence has run out"
    done = command("--check", str(document))
    assert done.exit_code == 11, done.exception
    assert reason in done.stdout


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["result"], "not ready"),
        (["valid_until"], "2036-01-01T00:00:00+00:00"),
        (["valid_until"], "x"),
        (["made"], 5),
        (["commit"], 5),
        (["tree"], ["a"]),
        (["lanes"], []),
        (["lanes"], {"x": {}}),
        (["proved"], [{}]),
        (["proved"], 5),
        (["proved", 0, "valid_until"], "2027-01-01T00:00:00"),
        (["proved", 0, "verdict"], "splendid"),
        (["proved", 0, "run"], None),
    ],
)
def test_what_does_not_follow_from_its_proofs_is_no_certificate(document, path, value):
    told = json.loads(document.read_text())
    part = told
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    document.write_text(json.dumps(told))
    with pytest.raises(UsageError):
        certificate_check.load(document)


def test_one_that_says_not_ready_lets_nothing_pass(tmp_path, command, key):
    run(command.runs, "1", commit=command.commit, held=False)
    command("--claim", CLAIM, "--out", str(tmp_path / "out"), "--key", str(key))
    assert command("--check", str(next((tmp_path / "out").glob("*.json")))).exit_code == 10


def test_the_key_that_is_asked_for_must_be_the_signers(command, document):
    by = signature.signer(document)
    assert command("--check", str(document), "--signer", by).exit_code == 0
    assert isinstance(command("--check", str(document), "--signer", "SHA256:another").exception, UsageError)


@pytest.mark.parametrize("what", ["unsealed", "gone", "altered"])
def test_only_whole_runs_prove_and_every_run_can_break(tmp_path, known, what):
    runs = tmp_path / "runs"
    run(runs, "1")
    path = run(runs, "2", held=False, seal=what != "unsealed")
    known.take([runs])
    if what == "gone":
        (path / "journal.jsonl").unlink()
    elif what == "altered":
        (path / "journal.jsonl").write_bytes(b"\xff garbage")
    found = made(known, runs)
    assert found.ready is Ready.NOT
    assert "the run's journal isn't here, or isn't whole" in found.proofs[0].doubts
    assert not found.proofs[0].digest


def test_a_journal_that_is_another_proves_nothing(tmp_path, known):
    runs = tmp_path / "runs"
    path = run(runs, "1")
    known.take([runs])
    (path / "journal.jsonl").unlink()
    path.rmdir()
    run(runs, "1", held=False)
    with pytest.raises(UsageError, match="no run of home is whole"):
        made(known, runs)


@pytest.mark.parametrize(
    ("more", "condition"),
    [
        ({"kubernetes": "1.37.2"}, "it was shown on Kubernetes 1.36.3, and kwok/1.36 has 1.37.2 now"),
        ({"nodes": ["n1", "n2"]}, "it was shown with the nodes n1, and kwok/1.36 has n1, n2 now"),
        ({"holdfast": "0.2.0"}, ""),
        ({"level": "static", "kubernetes": ""}, ""),
    ],
)
def test_a_proof_on_another_cluster_than_the_lanes_is_a_condition(tmp_path, known, more, condition):
    runs = tmp_path / "runs"
    run(runs, "1", nodes=["n1"])
    run(runs, "2", claim=OTHER, **more)
    (proof,) = made(known, runs).proofs
    assert proof.doubts == ((condition,) if condition else ())


def test_a_doubt_on_another_lane_of_the_same_level_is_said(tmp_path, known):
    runs = tmp_path / "runs"
    path = run(runs, "1", lane="kind/fast", seal=False)
    file = path / "journal.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))  # it was cut off: unproven
    run(runs, "2")
    (proof,) = made(known, runs).proofs
    assert "on kind/fast it is unproven" in proof.doubts[0]


def test_the_trees_commit_is_what_it_is_about(tmp_path, command):
    run(command.runs, "1")
    done = command("--claim", CLAIM, "--out", str(tmp_path / "out"))
    assert done.exit_code == 11
    told = json.loads(next((tmp_path / "out").glob("*.json")).read_text())
    assert told["commit"] == command.commit
    assert told["asked"] == [f"only 1 of {len(REGISTER)} claims were asked for: {CLAIM}"]
    assert "it was shown on commit aaaaaaaaaaaa" in told["proved"][0]["conditions"][0]


def test_it_is_not_written_into_the_tree_nor_in_part(tmp_path, command):
    run(command.runs, "1", commit=command.commit)
    done = command("--claim", CLAIM, "--out", str(command.tree / "out"))
    assert "would make its commit another" in str(done.exception)
    done = command("--claim", CLAIM, "--out", str(tmp_path / "out"), "--key", "/absent")
    assert isinstance(done.exception, UsageError)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"certificate": 99}', '{"certificate": 1, "tree": "home"}'])
def test_what_is_no_certificate_is_said(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(UsageError) as caught:
        certificate_check.load(tmp_path / "c.json")
    assert "holdfast signoff" in caught.value.next_step
    with pytest.raises(UsageError):
        certificate_check.load(tmp_path / "absent.json")


def test_what_two_nodes_cannot_give_is_said_with_the_newest_measure_of_it(tmp_path, known):
    runs = tmp_path / "runs"
    run(runs, "1", limits={"dns": "away for 9.0s", "local-traffic": "k3s2 doesn't answer"})
    run(runs, "2", lane="kind/fast", limits={"dns": "away for 7.5s"})
    quorum, dns, spread, local = made(known, runs).as_json()["limits"]
    assert "Measured" not in quorum + spread  # said all the same
    assert re.search(r"one replica .* Measured on kind/fast, \d{4}-\d\d-\d\d: away for 7\.5s\.$", dns)
    assert re.fullmatch(r"Measured on kwok/1\.36, \d{4}-\d\d-\d\d: k3s2 doesn't answer\.", local)
    assert made(known, runs).ready is Ready.READY  # a limit breaks no promise
