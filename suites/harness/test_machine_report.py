"""What was seen of a machine, in a certificate: a wrong one isn't signed off, and a report that is none is refused."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from holdfast.claims import load as register
from holdfast.errors import UsageError
from holdfast.reporting import certificate_check, certificate_page, certificate_pdf
from holdfast.reporting.certificate import Ready, Wish, certify
from holdfast.reporting.ledger import Ledger
from holdfast.reporting.machine_report import LIFE, load
from holdfast.verdicts import Verdict
from suites.harness.test_ledger import CLAIM, run

NOW = datetime.now(UTC).replace(microsecond=0)


def report(tmp_path, *verdicts, looked=NOW, **more):
    found = [{"requirement": f"look{n}", "verdict": v, "seen": f"seen {n}", "fix": ""} for n, v in enumerate(verdicts)]
    file = tmp_path / "k3s2.json"
    file.write_text(json.dumps({"host": "root@k3s2", "looked": looked.isoformat(), "requirements": found, **more}))
    return file


@pytest.mark.parametrize(
    ("verdicts", "verdict", "ready"),
    [
        (("held", "held", "not exercised"), Verdict.HELD, Ready.READY),
        (("held", "unproven"), Verdict.UNPROVEN, Ready.CONDITIONS),
        (("held", "broke", "unproven"), Verdict.BROKE, Ready.NOT),
        ((), Verdict.UNPROVEN, Ready.CONDITIONS),
        (("not exercised",), Verdict.UNPROVEN, Ready.CONDITIONS),
    ],
)
def test_a_machine_counts_beside_the_claims(tmp_path, verdicts, verdict, ready):
    machine = load(report(tmp_path, *verdicts))
    assert machine.verdict is verdict
    run(tmp_path / "runs", "1")
    with Ledger(tmp_path / "ledger.sqlite") as known:
        known.take([tmp_path / "runs"])
        claim = register()[CLAIM]
        made = certify(known, Wish("home", [claim], 1, datetime.now(UTC), "0.1.0", machines=(machine,)))
    assert made.ready is ready
    assert made.valid_until == NOW + LIFE
    data = json.dumps(made.as_json()).encode()
    file = tmp_path / "certificate.json"
    file.write_bytes(data)
    assert certificate_check.load(file)["result"] == ready.value
    certificate_page.write(tmp_path / "page.html", made, data)
    page = (tmp_path / "page.html").read_text()
    certificate_pdf.write(tmp_path / "page.pdf", made, data)
    assert ("seen 1" in page) is (len(verdicts) > 1 and verdicts[1] != "held")
    assert "root@k3s2" in page


def test_a_right_machine_alone_proves_nothing_of_a_claim(tmp_path):
    run(tmp_path / "runs", "1", held=False)
    with Ledger(tmp_path / "ledger.sqlite") as known:
        known.take([tmp_path / "runs"])
        wish = Wish(
            "home", [register()[CLAIM]], 1, datetime.now(UTC), "0.1.0", machines=(load(report(tmp_path, "held")),)
        )
        assert certify(known, wish).ready is Ready.NOT


def test_what_says_otherwise_than_its_machines_is_no_certificate(tmp_path):
    run(tmp_path / "runs", "1")
    with Ledger(tmp_path / "ledger.sqlite") as known:
        known.take([tmp_path / "runs"])
        machines = (load(report(tmp_path, "broke")),)
        made = certify(
            known, Wish("home", [register()[CLAIM]], 1, datetime.now(UTC), "0.1.0", machines=machines)
        ).as_json()
    for changed in (
        {"result": "ready"},
        {"machines": "none"},
        {"machines": [{"host": "x"}]},
        {"machines": []},
        {"machines": [{**made["machines"][0], "verdict": "fine"}]},
    ):
        file = tmp_path / "certificate.json"
        file.write_text(json.dumps({**made, **changed}))
        with pytest.raises(UsageError):
            certificate_check.load(file)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"host": "x", "looked": "then", "requirements": []}', '{"host": "x", "looked": "2026-01-01T00:00:00", "requirements": []}',
     '{"host": "x", "looked": "2026-01-01T00:00:00+00:00", "requirements": [{"requirement": "a", "verdict": "fine", "seen": ""}]}'],
)  # fmt: skip
def test_what_is_no_report_is_said(tmp_path, text):
    file = tmp_path / "report.json"
    file.write_text(text)
    with pytest.raises(UsageError):
        load(file)
    with pytest.raises(UsageError, match="can't be read"):
        load(tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("days", "ready"), [(0, Ready.READY), (6, Ready.READY), (8, Ready.CONDITIONS), (400, Ready.CONDITIONS)]
)
def test_an_old_look_is_a_condition(tmp_path, days, ready):
    machine = load(report(tmp_path, "held", looked=NOW - timedelta(days=days)))
    run(tmp_path / "runs", "1")
    with Ledger(tmp_path / "ledger.sqlite") as known:
        known.take([tmp_path / "runs"])
        made = certify(known, Wish("home", [register()[CLAIM]], 1, datetime.now(UTC), "0.1.0", machines=(machine,)))
    assert made.ready is ready
    assert (f"looked at {days} days ago" in " ".join(made.conditions)) is (ready is Ready.CONDITIONS)


def test_a_look_of_tomorrow_is_none(tmp_path):
    with pytest.raises(UsageError, match="a time that can't be"):
        load(report(tmp_path, "held", looked=NOW + timedelta(days=1)))
