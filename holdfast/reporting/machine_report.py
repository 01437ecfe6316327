"""What `holdfast host` saw of a machine, as a certificate tells it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from holdfast.errors import UsageError
from holdfast.verdicts import Verdict

LIFE = timedelta(days=7)  # as what was seen of a running cluster
_NEXT = "make one: holdfast host TARGET --format json > FILE"


@dataclass(frozen=True)
class MachineReport:
    """A report of a machine.

    Attributes:
        looked: when (with its zone).
        sha256: of the report's bytes.
        wrong, unseen: requirements with what was seen of each, as sentences.
        right: how many are as they must be.
    """

    host: str
    looked: datetime
    sha256: str
    wrong: tuple[str, ...]
    unseen: tuple[str, ...]
    right: int

    @property
    def verdict(self) -> Verdict:
        """The worst of its looks."""
        return Verdict.BROKE if self.wrong else Verdict.UNPROVEN if self.unseen or not self.right else Verdict.HELD

    def as_json(self) -> dict[str, Any]:
        """What of it is signed."""
        return {
            "host": self.host,
            "looked": self.looked.isoformat(timespec="seconds"),
            "verdict": self.verdict.value,
            "right": self.right,
            "wrong": list(self.wrong),
            "unseen": list(self.unseen),
            "report_sha256": self.sha256,
            "valid_until": (self.looked + LIFE).isoformat(timespec="seconds"),
        }


def load(path: Path) -> MachineReport:
    """Reads a report. Raises UsageError for what is none."""
    try:
        raw = path.read_bytes()
        body = json.loads(raw)
        looked = datetime.fromisoformat(body["looked"])
        seen = [(str(r["requirement"]), Verdict(r["verdict"]), str(r["seen"])) for r in body["requirements"]]
        host = str(body["host"])
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}", _NEXT) from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path} is no report of a machine", _NEXT) from None
    if looked.tzinfo is None or looked > datetime.now(UTC) + timedelta(hours=1):
        raise UsageError(f"{path} says a time that can't be: {body['looked']}", _NEXT)
    by = {v: tuple(f"{name}: {words}" for name, verdict, words in seen if verdict is v) for v in Verdict}
    digest = hashlib.sha256(raw).hexdigest()
    return MachineReport(host, looked, digest, by[Verdict.BROKE], by[Verdict.UNPROVEN], len(by[Verdict.HELD]))
