"""The ledger: what was ever shown of each claim, from the journals of many runs.

It lies in SQLite and is made anew from the journals at any time; a journal is only read.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from holdfast.errors import UsageError
from holdfast.journal import JournalRecord, header, read_bytes, read_file
from holdfast.reporting.versions import ENOUGH_RUNS, seconds_of
from holdfast.verdicts import NOT_ALL, ClaimVerdict, Verdict, verdicts

_VERSION = 1
_SCHEMA = """
CREATE TABLE run (
  name TEXT PRIMARY KEY, began TEXT NOT NULL, lane TEXT NOT NULL, tree TEXT NOT NULL, tree_commit TEXT NOT NULL, kubernetes TEXT NOT NULL,
  holdfast TEXT NOT NULL, problem TEXT NOT NULL, lines INTEGER NOT NULL, hash TEXT NOT NULL, file TEXT NOT NULL
);
CREATE TABLE verdict (
  run TEXT NOT NULL REFERENCES run(name) ON DELETE CASCADE, claim TEXT NOT NULL, level TEXT NOT NULL, verdict TEXT NOT NULL,
  reason TEXT NOT NULL, more TEXT NOT NULL
);
CREATE INDEX by_run ON verdict(run);
"""
JOURNAL, STATIC = "journal.jsonl", "static"
_ANEW = "make it anew from the journals that are there: holdfast ledger --rebuild"
_CLOCKS_APART = timedelta(hours=1)  # a journal of another machine may seem to come from the near future


@dataclass(frozen=True, order=True)
class RunRow:
    """A run: when it began (UTC), and what it was shown on. *problem*: what is wrong with its journal."""

    began: datetime
    name: str
    lane: str
    tree: str
    commit: str
    kubernetes: str
    holdfast: str
    problem: str


@dataclass(frozen=True)
class Standing:
    """The newest word on a claim at a level on a lane.

    Attributes:
        since: what has changed since then, in words.
    """

    verdict: ClaimVerdict
    run: RunRow
    since: tuple[str, ...] = ()

    def age(self, now: datetime) -> timedelta:
        """How old it is."""
        return now - self.run.began


@dataclass(frozen=True)
class Point:
    """One run's figure, in seconds."""

    run: RunRow
    value_s: float


@dataclass(frozen=True)
class History:
    """A figure over time, the oldest first; of each run the worst."""

    claim: str
    lane: str
    what: str
    points: tuple[Point, ...]

    @property
    def is_worse(self) -> bool:
        """Whether the newest lies further beyond all before than these lie apart; told only where there are enough of them."""
        *before, newest = (p.value_s for p in self.points)
        if len(before) < ENOUGH_RUNS:
            return False
        spread = max(before) - min(before)
        return newest > max(before) + max(spread, 0.1 * median(before), 0.1)


@dataclass
class Reading:
    """What a look at folders of runs came to: names of runs that are new, and files that say something else than they did, or nothing."""

    new: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


class Ledger:
    """The runs in one file. Raises UsageError where that is none, or of another version."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        try:
            self._db = sqlite3.connect(path)
        except sqlite3.Error as error:
            raise UsageError(f"{path} can't be opened ({error})", _ANEW) from None
        try:
            self._db.execute("PRAGMA foreign_keys = ON")
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                with self._db:
                    self._db.executescript(_SCHEMA)
                    self._db.execute(f"PRAGMA user_version = {_VERSION}")
            if found in (0, _VERSION):
                self._db.execute("SELECT 1 FROM run, verdict LIMIT 1").fetchone()
        except sqlite3.Error as error:
            self._db.close()
            raise _said(path, error) from None
        if found not in (0, _VERSION):
            self._db.close()
            raise UsageError(f"{path} was written by another version of holdfast", _ANEW)

    def close(self) -> None:
        """Ends it."""
        self._db.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.close()
        if isinstance(error, sqlite3.Error):
            raise _said(self.path, error) from error

    # -- in ------------------------------------------------------------------------------------------------------------

    def take(self, folders: Iterable[Path]) -> Reading:
        """Reads the runs below *folders* that aren't known yet, and those that went on since."""
        found = Reading()
        for file in sorted({f.resolve() for folder in folders for f in _journals(folder)}):
            try:
                record = read_file(file)
                name, words = _begun(record)
                said = verdicts(record)
            except (OSError, ValueError, TypeError, KeyError, AttributeError):
                found.unreadable.append(str(file))
                continue
            known = self._db.execute("SELECT lines, hash, file FROM run WHERE name = ?", (name,)).fetchone()
            if known and not _goes_on(record, *known[:2]):
                found.altered.append(name)
            elif not known or known[0] < len(record.entries):
                self._put(name, words, record, file, said)
                found.new.append(name)
            elif not Path(known[2]).is_file():  # it was moved
                with self._db:
                    self._db.execute("UPDATE run SET file = ? WHERE name = ?", (str(file), name))
        return found

    def _put(
        self, name: str, words: Sequence[str], record: JournalRecord, file: Path, said: Iterable[ClaimVerdict]
    ) -> None:
        whole = (name, *words, record.problem, len(record.entries), record.entries[-1]["hash"], str(file))
        with self._db:
            self._db.execute("DELETE FROM run WHERE name = ?", (name,))
            self._db.execute("INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", whole)
            self._db.executemany(
                "INSERT INTO verdict VALUES (?, ?, ?, ?, ?, ?)",
                [(name, v.claim, v.level, v.verdict.value, v.reason, _more(v)) for v in said],
            )

    # -- out -----------------------------------------------------------------------------------------------------------

    def runs(self, tree: str = "") -> list[RunRow]:
        """The runs (of a tree), the oldest first."""
        rows = self._db.execute(
            "SELECT began, name, lane, tree, tree_commit, kubernetes, holdfast, problem FROM run "
            "WHERE ? IN ('', tree) ORDER BY began, name",
            (tree,),
        )
        return [RunRow(datetime.fromisoformat(began).astimezone(UTC), *rest) for began, *rest in rows]

    def run(self, name: str) -> RunRow:
        """One by its name, or the beginning of it. Raises UsageError."""
        found = [r for r in self.runs() if r.name.startswith(name)]
        exact = [r for r in found if r.name == name]
        if len(exact or found) != 1:
            said = "there is no run" if not found else f"{len(found)} runs are called"
            newest = ", ".join(r.name for r in self.runs()[-3:]) or "none"
            raise UsageError(f"{said} {name}", f"the newest are: {newest}")
        return (exact or found)[0]

    def verdicts(self, run: RunRow) -> list[ClaimVerdict]:
        """What a run came to, of the claims that it had tests for."""
        rows = self._db.execute(
            "SELECT claim, level, verdict, reason, more FROM verdict WHERE run = ? ORDER BY claim, level", (run.name,)
        )
        return [_verdict(run.lane, one) for one in rows]

    def journal(self, run: RunRow) -> Path:
        """Where a run's journal was read; it may be gone."""
        (file,) = self._db.execute("SELECT file FROM run WHERE name = ?", (run.name,)).fetchone()
        return Path(file)

    def evidence(self, run: RunRow) -> tuple[JournalRecord, str] | None:
        """A run's journal and the SHA-256 of its bytes; None where it is gone, isn't whole, or isn't what the verdicts were read from."""
        file = self.journal(run)
        try:
            raw = file.read_bytes()
        except OSError:
            return None
        record = read_bytes(raw)
        lines, last = self._db.execute("SELECT lines, hash FROM run WHERE name = ?", (run.name,)).fetchone()
        same = len(record.entries) == lines and record.entries and record.entries[-1]["hash"] == last
        return (record, hashlib.sha256(raw).hexdigest()) if same and record.sealed and not record.problem else None

    def standings(
        self,
        tree: str,
        only: Collection[str] = (),
        counts: Callable[[RunRow, ClaimVerdict], bool] = lambda *_: True,
    ) -> list[Standing]:
        """The newest word on each claim, level and lane: what showed something comes before a newer run that didn't exercise it.

        Args:
            only: the names of the runs that count; all of the tree's where empty.
            counts: whether a verdict of a run counts.
        """
        runs = [r for r in self.runs(tree) if not only or r.name in only]
        found: dict[tuple[str, str, str], Standing] = {}
        for run in runs:
            for verdict in self.verdicts(run):
                # The tree alone shows the same whatever the lane.
                key = verdict.claim, verdict.level, "" if verdict.level == STATIC else verdict.lane
                if (key in found and says_nothing(verdict)) or not counts(run, verdict):
                    continue
                found[key] = Standing(verdict, run)
        return [
            Standing(s.verdict, s.run, tuple(_since(s.run, runs))) for _, s in sorted(found.items(), key=lambda i: i[0])
        ]

    def histories(self, tree: str) -> list[History]:
        """Every figure in seconds of a tree, over its runs."""
        found: dict[tuple[str, str, str], list[Point]] = {}
        for run in self.runs(tree):
            for (claim, what), value in seconds_of(self.verdicts(run)).items():
                found.setdefault((claim, run.lane, what), []).append(Point(run, value))
        return [History(*key, tuple(points)) for key, points in sorted(found.items())]


def unshown(
    standings: Sequence[Standing], claims: Iterable[str], now: datetime, days: float
) -> dict[str, timedelta | None]:
    """The claims that no run has shown to hold or to break for so long, each with the age of the newest that did; None where none ever did."""
    found: dict[str, timedelta | None] = {}
    for claim in claims:
        ages = [
            s.age(now)
            for s in standings
            if s.verdict.claim == claim and s.verdict.verdict in (Verdict.HELD, Verdict.BROKE)
        ]
        if not ages:
            found[claim] = None
        elif min(ages) > timedelta(days=days):
            found[claim] = min(ages)
    return found


def says_nothing(verdict: ClaimVerdict) -> bool:
    """Whether a run didn't look at all of a claim: by what it was on, or by what of it was selected."""
    return verdict.verdict is Verdict.NOT_EXERCISED or (
        verdict.verdict is Verdict.UNPROVEN and verdict.reason == NOT_ALL
    )


def _begun(record: JournalRecord) -> tuple[str, tuple[str, ...]]:
    """A run's name, and its row's words. Raises ValueError where it has none, or began at no time or in the future."""
    begin = header(record)
    name = str(begin.get("run") or "")
    began = datetime.fromisoformat(str(begin.get("t")))
    if not name or began.tzinfo is None or began > datetime.now(UTC) + _CLOCKS_APART:
        raise ValueError(name)
    return name, tuple(str(begin.get(k, "")) for k in ("t", "lane", "tree", "commit", "kubernetes", "holdfast"))


def _said(path: Path, error: sqlite3.Error) -> UsageError:
    """What is wrong with the file, and what to do: one that is only in use must not be thrown away."""
    if "locked" in str(error) or "busy" in str(error):
        return UsageError(f"{path} is in use by another holdfast", "wait until that one has ended")
    return UsageError(f"{path} is no ledger ({error})", _ANEW)


def _journals(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", "name a folder of runs: each has its journal.jsonl")
    yield from folder.glob(f"**/{JOURNAL}")


def _goes_on(record: JournalRecord, lines: int, last: str) -> bool:
    """Whether a journal still begins with what was read of it before."""
    return len(record.entries) >= lines and record.entries[lines - 1]["hash"] == last


def _more(verdict: ClaimVerdict) -> str:
    return json.dumps({"tests": verdict.tests, "figures": verdict.figures, "notes": verdict.notes}, default=str)


def _verdict(lane: str, row: tuple[str, str, str, str, str]) -> ClaimVerdict:
    claim, level, verdict, reason, more = row
    told = json.loads(more)
    return ClaimVerdict(
        claim, level, lane, Verdict(verdict), reason, tuple(told["tests"]), tuple(told["figures"]), tuple(told["notes"])
    )


def _since(run: RunRow, runs: Sequence[RunRow]) -> Iterator[str]:
    """What is otherwise now than in a run, by the newest run of all, and the newest on the same lane."""
    newest, same_lane = runs[-1], [r for r in runs if r.lane == run.lane][-1]
    if run.commit != newest.commit:
        between = len({r.commit for r in runs if r.began > run.began} - {run.commit})
        yield f"the tree is at {newest.commit[:12]} now ({between} commit{'s' * (between != 1)} tried since)"
    if same_lane.kubernetes and run.kubernetes and run.kubernetes != same_lane.kubernetes:
        yield f"Kubernetes {run.kubernetes} → {same_lane.kubernetes}"
    if run.holdfast != newest.holdfast:
        yield f"holdfast {run.holdfast} → {newest.holdfast}"
