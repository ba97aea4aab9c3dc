"""The oracle: what the client was told and what really happened, kept outside the state folder.

Three append-only logs, each line on the disk before the next step is taken:

    acks.jsonl      what the farm acknowledged to the client
    effects.jsonl   what connectors really did: every begin and end of an attempt, told by the attempt itself
    seen.jsonl      what a reader of the databases has once seen committed

The farm is then judged by these and not by itself: nothing of farm is imported here, its tables are read by
SQL of our own, and the legal moves of a job are written down a second time.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

LEGAL = {
    (None, "submit", "pending"),
    ("pending", "lease", "running"),
    ("retrying", "lease", "running"),
    ("running", "succeed", "succeeded"),
    *(("running", event, "failed") for event in ("fail", "time_out", "stall", "run_out_of_memory", "crash")),
    ("running", "interrupt", "pending"),
    ("running", "lose", "pending"),
    ("failed", "retry", "retrying"),
    ("failed", "quarantine", "quarantined"),
    ("retrying", "retry", "pending"),
    ("quarantined", "retry", "pending"),
    *((state, "pause", "paused") for state in ("pending", "retrying", "running")),
    ("paused", "resume", "pending"),
    *((state, "cancel", "cancelled") for state in ("pending", "retrying", "running", "paused")),
    *((state, "supersede", "cancelled") for state in ("pending", "retrying", "paused", "quarantined")),
    ("quarantined", "discard", "cancelled"),
}
"""What the issue and ARCHITECTURE.md allow, not what the code does."""


class Log:
    """Append-only, a JSON object a line, on the disk when `add` returns. Any process may add.

    A line that was cut short by its writer's death (a write is interrupted between two pages of the file) was never
    told to anybody. It stands on a line of its own, since each begins with a line break, and is passed over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def add(self, **fact: Any) -> None:
        os.write(self._fd, b"\n" + json.dumps(fact).encode() + b"\n")
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    @staticmethod
    def read(path: Path, start: int = 0) -> tuple[list[dict[str, Any]], int]:
        """All whole lines from here, and where to go on."""
        try:
            with path.open("rb") as file:
                file.seek(start)
                raw = file.read()
        except FileNotFoundError:
            return [], start
        whole = raw[: raw.rfind(b"\n") + 1]
        return [json.loads(line) for line in whole.splitlines() if line.endswith(b"}")], start + len(whole)


def text_of(key: str, version: str) -> str:
    """What a unit says: the oracle knows it without asking anybody."""
    return f"{key}@{version} " + f"says {key.replace('-', ' ')} " * 5


class Oracle:
    """Of one farm. `look` after every fault, `settle` when all work should be over; both return complaints."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.acks = Log(folder / "acks.jsonl")
        self.seen = Log(folder / "seen.jsonl")
        self.effects = folder / "effects.jsonl"
        self._lock = threading.Lock()
        self._acked: dict[tuple[str, str], int] = {}
        self._tried: set[tuple[str, str]] = set()
        self._landed: dict[tuple[str, str], str] = {}
        self._succeeded: set[int] = set()
        self._reached = 0
        self._read_to = 0
        self._moved_to = self._moves = 0
        self._states: dict[int, str] = {}
        self._begun: set[tuple[str, int]] = set()
        self._newest: dict[tuple[str, str], int] = {}

    # -- what the client does

    def asks(self, source: str, keys: Iterable[str]) -> None:
        """The client is about to submit these: whether they count is the farm's to say."""
        with self._lock:
            self._tried.update((source, key) for key in keys)

    def acknowledged(self, source: str, keys: Iterable[str], run_id: int) -> None:
        """The farm said that it has them."""
        keys = list(keys)
        self.acks.add(source=source, keys=keys, run=run_id)
        with self._lock:
            self._acked.update(((source, key), run_id) for key in keys)

    @property
    def count(self) -> int:
        return len(self._acked)

    # -- after every fault

    def look(self, home: Path) -> list[str]:
        """What is wrong now, work under way or not."""
        with self._lock:
            acked = dict(self._acked)
        wrong: list[str] = []
        with _databases(home) as db:
            wrong += self._nothing_lost(db, acked)
            wrong += self._nothing_taken_back(db)
            wrong += self._moves_are_legal(db)
            wrong += self._successes_landed(db)
            wrong += self._content_is_true(db)
            wrong += self._cursor_not_ahead(db)
        wrong += self._nothing_ran_twice()
        return wrong

    def _nothing_lost(self, db: sqlite3.Connection, acked: dict[tuple[str, str], int]) -> Iterator[str]:
        jobs: Counter[tuple[str, str]] = Counter()
        for source, key in db.execute(
            "SELECT source, key FROM job WHERE stage = 'extract' AND version = '1'"
        ):
            jobs[source, key] += 1
        for (source, key), run in acked.items():
            if jobs[source, key] != 1:
                yield f"{source} {key} was acknowledged with run {run}; there are {jobs[source, key]} jobs of it"

    def _nothing_taken_back(self, db: sqlite3.Connection) -> Iterator[str]:
        """What a reader has seen committed stays committed, across every crash."""
        rows = db.execute(
            "SELECT source, unit, text FROM store.document WHERE deleted_at IS NULL AND version = '1'"
        )
        landed = {(source, unit): text for source, unit, text in rows}
        for name, text in self._landed.items():
            if landed.get(name) != text:
                yield f"{name[0]} {name[1]} had landed, and now is {'changed' if name in landed else 'gone'}"
        states = dict(db.execute("SELECT id, state FROM job"))
        for id_ in self._succeeded:
            if states.get(id_) != "succeeded":
                yield f"job {id_} had succeeded, and now is {states.get(id_, 'gone')}"
        fresh = sorted(landed.keys() - self._landed.keys())
        succeeded = {id_ for id_, state in states.items() if state == "succeeded"}
        self.seen.add(landed=fresh, succeeded=sorted(succeeded - self._succeeded))
        self._landed, self._succeeded = landed, succeeded

    def _moves_are_legal(self, db: sqlite3.Connection) -> Iterator[str]:
        """Reads on from the last look; that none of what it has read is gone, their number tells."""
        last = self._states
        (kept,) = db.execute("SELECT count(*) FROM transition WHERE id <= ?", (self._moved_to,)).fetchone()
        if kept != self._moves:
            yield f"{self._moves} transitions were there, of which {kept} are left"
        for id_, job, before, event, after in db.execute(
            "SELECT id, job_id, from_state, event, to_state FROM transition WHERE id > ? ORDER BY id",
            (self._moved_to,),
        ):
            if (before, event, after) not in LEGAL:
                yield f"job {job}: {before} -{event}-> {after} is not legal"
            if last.get(job) != before:
                yield f"job {job} was {last.get(job)} and left {before} by {event}"
            last[job] = after
            self._moved_to, self._moves = id_, self._moves + 1
        states: dict[int, str] = dict(db.execute("SELECT id, state FROM job"))
        if states != last:
            odd = next(id_ for id_ in states.keys() | last.keys() if states.get(id_) != last.get(id_))
            yield f"job {odd} is {states.get(odd)}, its transitions say {last.get(odd)}"

    def _successes_landed(self, db: sqlite3.Connection) -> Iterator[str]:
        for source, key in db.execute(
            "SELECT source, key FROM job WHERE stage = 'extract' AND version = '1' AND state = 'succeeded'"
            " EXCEPT SELECT source, unit FROM store.document WHERE deleted_at IS NULL"
        ):
            yield f"{source} {key} is called succeeded and has not landed"
        for job, n in db.execute(
            "SELECT job_id, count(*) FROM attempt WHERE outcome = 'succeeded' GROUP BY job_id HAVING count(*) > 1"
        ):
            yield f"job {job} succeeded {n} times"

    def _content_is_true(self, db: sqlite3.Connection) -> Iterator[str]:
        for source, unit, key, text, n in db.execute(
            "SELECT source, unit, key, text, (SELECT count(*) FROM store.element WHERE document = d.id)"
            " FROM store.document AS d WHERE deleted_at IS NULL AND version = '1'"
        ):
            if unit != key or text.strip() != text_of(unit, "1").strip() or n != 2:
                yield f"{source} {unit} has landed as something that no connector said: {key} {n} {text[:60]!r}"

    def _cursor_not_ahead(self, db: sqlite3.Connection) -> Iterator[str]:
        """A tape is read once: what its cursor passed over is there, all of it, and once."""
        for source, value in db.execute("SELECT source, value FROM store.cursor").fetchall():
            try:
                reached = int(json.loads(value)["tape"])
            except (KeyError, TypeError, ValueError):
                continue  # another connector's
            numbers = sorted(
                json.loads(data)["n"]
                for (data,) in db.execute("SELECT data FROM store.record WHERE source = ?", (source,))
            )
            if numbers != list(range(1, reached + 1)):
                yield f"{source}: the cursor is at {reached}, {len(numbers)} records have landed"
            if reached < self._reached:
                yield f"{source}: the cursor went back from {self._reached} to {reached}"
            self._reached = max(self._reached, reached)

    def _nothing_ran_twice(self) -> Iterator[str]:
        """An attempt begins once, and none does anything after a later one of its unit has begun."""
        begun, newest = self._begun, self._newest
        facts, self._read_to = Log.read(self.effects, self._read_to)
        for fact in facts:
            unit, attempt = (fact["source"], fact["key"]), int(fact["attempt"])
            if fact["did"] == "begin":
                if (fact["source"], attempt) in begun:
                    yield f"attempt {attempt} of {unit[0]} {unit[1]} ran twice"
                begun.add((fact["source"], attempt))
            if attempt < newest.get(unit, 0):
                yield f"attempt {attempt} of {unit[0]} {unit[1]} did {fact['did']} after {newest[unit]} had begun"
            newest[unit] = max(attempt, newest.get(unit, 0))

    # -- when all is over

    def settle(self, home: Path, *, documents_of: dict[str, set[str]] | None = None) -> list[str]:
        """What is wrong when the farm says that nothing is left to do. `documents_of`: sources' keys, by the client."""
        self._moved_to = self._moves = 0  # all of it once more
        self._states = {}
        wrong = self.look(home)
        with self._lock:
            acked, tried = dict(self._acked), set(self._tried)
        with _databases(home) as db:
            states = {
                (source, key): state
                for source, key, state in db.execute(
                    "SELECT source, key, state FROM job WHERE stage = 'extract' AND version = '1'"
                )
            }
            for (source, key), state in states.items():
                wanted = "quarantined" if key.startswith(("bad", "perm")) else "succeeded"
                if state != wanted:
                    wrong.append(f"{source} {key} ended {state}, not {wanted}")
                if (source, key) not in tried:
                    wrong.append(f"{source} {key} is a job that nobody asked for")
            wrong += [f"{source} {key} has no job" for source, key in acked.keys() - states.keys()]
            landed = {
                (s, u)
                for s, u in db.execute(
                    "SELECT source, unit FROM store.document WHERE deleted_at IS NULL AND version = '1'"
                )
            }
            good = {unit for unit in states if not unit[1].startswith(("bad", "perm"))}
            wrong += [f"{source} {key} has not landed" for source, key in sorted(good - landed)[:5]]
            wrong += [f"{source} {key} landed uncalled" for source, key in sorted(landed - good)[:5]]
            wrong += self._counted_once(db)
            for source, keys in (documents_of or {}).items():
                found = [
                    k
                    for (k,) in db.execute(
                        "SELECT key FROM store.document WHERE source = ? AND deleted_at IS NULL", (source,)
                    )
                ]
                if sorted(found) != sorted(keys):
                    wrong.append(f"{source} has {sorted(set(found) ^ keys)[:5]} too many or too few")
        wrong += [f"{path.name} is left in spool" for path in sorted((home / "spool").iterdir())]
        return wrong

    def _counted_once(self, db: sqlite3.Connection) -> Iterator[str]:
        """Of sources whose units never change, a run's sum of new documents is what is there."""
        for source, n in db.execute(
            "SELECT source, sum(documents_new) FROM run WHERE source IN"
            " (SELECT DISTINCT source FROM store.document WHERE version = '1') GROUP BY source"
        ).fetchall():
            (there,) = db.execute(
                "SELECT count(*) FROM store.document WHERE source = ?", (source,)
            ).fetchone()
            if n != there:
                yield f"{source}: its runs count {n} new documents, {there} are there"


@contextlib.contextmanager
def _databases(home: Path) -> Iterator[sqlite3.Connection]:
    """Both databases, read-only, each at one moment: the ledger's is not later than the store's."""
    with contextlib.closing(
        sqlite3.connect(
            f"file:{quote(str(home / 'ledger.db'))}?mode=ro", uri=True, isolation_level=None, timeout=10
        )
    ) as db:
        db.execute("ATTACH ? AS store", (f"file:{quote(str(home / 'store.db'))}?mode=ro",))
        db.execute("BEGIN")
        db.execute("SELECT 1 FROM main.job LIMIT 1").fetchone()
        db.execute("SELECT 1 FROM store.document LIMIT 1").fetchone()
        yield db
