"""The ledger's only writer. Its rules:

- A job changes its state by `move` and by nothing else: the table of core.lifecycle says what is legal, the
  transition is written in the same transaction, and so are the tally and the ticket.
- Everything works on many jobs at once, by statements over a JSON array of ids: one job costs what SQLite
  needs for its rows, not what Python needs for a call.
- Methods take part in the caller's transaction: the dispatcher commits a whole tick at once.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from operator import attrgetter
from pathlib import Path

import msgspec

from farm import sqlite
from farm.core.job import (
    FINAL,
    TICKETED,
    Ending,
    Event,
    JobSpec,
    Outcome,
    Priority,
    RunState,
    RunType,
    Stage,
    State,
)
from farm.core.lifecycle import IllegalTransition, move
from farm.core.plan import Ticket
from farm.ledger.queue import MESSAGE_SQL, PRIORITY_SQL, Lane

SCHEMA_VERSION = 3
MIGRATIONS: dict[int, str] = {
    1: "CREATE TABLE fuse (source TEXT PRIMARY KEY, failures INTEGER NOT NULL, opened INTEGER NOT NULL,"
    " until REAL, message TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE delivery (id TEXT PRIMARY KEY, event TEXT NOT NULL, sources TEXT NOT NULL,"
    " received_at REAL NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE INDEX delivery_age ON delivery (received_at);",
    2: "DROP INDEX job_unfinished; DROP INDEX job_attention;"
    "ALTER TABLE job ADD COLUMN finished_at REAL;"
    "UPDATE job SET finished_at = updated_at WHERE state IN ('succeeded', 'cancelled');"
    "CREATE UNIQUE INDEX job_unfinished ON job (source, stage, key, version) WHERE finished_at IS NULL;"
    "CREATE INDEX job_attention ON job (state, id)"
    " WHERE state = 'retrying' OR state = 'quarantined' OR state = 'paused';",
}
"""SQL that brings the ledger from this version to the next."""


_attempt_id = attrgetter("attempt_id")
_STAGES = {stage.value: stage for stage in Stage}
"""By name: for thousands of rows, calling the enum takes longer than reading the row."""


@dataclass(frozen=True, slots=True)
class NewJob:
    stage: Stage
    key: str = ""
    version: str = ""
    payload: str = "null"


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a decision about a job needs to know."""

    id: int
    run_id: int
    source: str
    stage: Stage
    key: str
    state: State
    attempts: int
    deaths: int
    losses: int
    memory_bytes: int
    priority: int


@dataclass(frozen=True, slots=True)
class OpenRun:
    id: int
    active: bool
    """It has a pending or running job; else all that is left of it waits (retrying, paused)."""
    discovering: int | None
    """Its unfinished discover job, if any."""


class Ledger:
    """`open` it, then do everything inside `with ledger.transaction():`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self.path = path
        self.connection = connection
        self.clock = clock
        self._lanes: dict[str, Lane] = {}
        self._touched_runs: set[int] = set()

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float] = time.time) -> Ledger:
        """Create or migrate the file; raises NewerSchema or LedgerDamaged, each with a sentence."""
        schema = resources.files("farm.ledger").joinpath("schema.sql").read_text()
        connection = sqlite.open_writer(path, schema, SCHEMA_VERSION, MIGRATIONS)
        return cls(path, connection, clock)

    def close(self) -> None:
        self.connection.close()

    # -- transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One durable step: all of it is on disk after this block, or none of it."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._refresh_runs()
            self.connection.execute("COMMIT")
        except BaseException:
            self._touched_runs.clear()
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    @contextmanager
    def joined(self) -> Iterator[None]:
        """The running transaction, or one of its own."""
        if self.connection.in_transaction:
            yield
        else:
            with self.transaction():
                yield

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """A part of the transaction that can fail alone."""
        self.connection.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            if self.connection.in_transaction:  # a full disk may have ended it all
                self.connection.execute("ROLLBACK TO part")
                self.connection.execute("RELEASE part")
            raise
        self.connection.execute("RELEASE part")

    def lane(self, source: str) -> Lane:
        """The source's queue as a Huey."""
        if source not in self._lanes:
            self._lanes[source] = Lane(source, self)
        return self._lanes[source]

    # -- runs and jobs come in

    def create_run(
        self, source: str, type_: RunType, trigger: str, *, trigger_key: str | None = None, actor: str = ""
    ) -> int | None:
        """The new run's id, or None where this trigger key has had its run."""
        row = self.connection.execute(
            "INSERT INTO run (source, type, state, trigger, trigger_key, actor, requested_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (trigger_key) DO NOTHING RETURNING id",
            (source, type_, RunState.QUEUED, trigger, trigger_key, actor, self.clock()),
        ).fetchone()
        return None if row is None else int(row[0])

    def open_run(self, source: str) -> OpenRun | None:
        """The newest unfinished run of the source."""
        row = self.connection.execute(
            "SELECT id FROM run WHERE source = ? AND finished_at IS NULL ORDER BY id DESC LIMIT 1", (source,)
        ).fetchone()
        if row is None:
            return None
        active = self.connection.execute(
            "SELECT coalesce(sum(n), 0) FROM tally WHERE run_id = ? AND state IN ('pending', 'running')", row
        ).fetchone()[0]
        discovering = self.connection.execute(
            "SELECT id FROM job WHERE source = ? AND stage = 'discover' AND key = '' AND version = ''"
            " AND finished_at IS NULL AND state <> 'quarantined'",
            (source,),
        ).fetchone()
        return OpenRun(int(row[0]), active > 0, discovering and int(discovering[0]))

    def submit(
        self,
        run_id: int,
        source: str,
        jobs: Sequence[NewJob],
        priority: int,
        *,
        cause: str = "",
        actor: str = "farm",
        listed: bool = False,
    ) -> int:
        """How many of the jobs are new. Of the others an unfinished twin exists or this version was discarded.

        `listed`: a listing names these units; see `cancel_unlisted`.
        """
        now = self.clock()
        first = self._next_id("job")
        span = (first, first + len(jobs) - 1)
        newest = self.newest_attempt() if listed else None
        self.connection.executemany(
            "INSERT INTO job (id, run_id, source, stage, key, version, payload, state, priority, listed,"
            " created_at, updated_at) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, 'pending', ?8, ?9, ?10, ?10"
            " WHERE NOT EXISTS (SELECT 1 FROM job WHERE source = ?3 AND key = ?5 AND version = ?6 AND ?6 <> ''"
            "  AND state = 'cancelled' AND reason = 'discarded')"
            " ON CONFLICT (source, stage, key, version) WHERE finished_at IS NULL"
            " DO UPDATE SET listed = coalesce(excluded.listed, listed)",
            [
                (first + i, run_id, source, j.stage, j.key, j.version, j.payload, priority, newest, now)
                for i, j in enumerate(jobs)
            ],
        )
        new = int(
            self.connection.execute("SELECT count(*) FROM job WHERE id BETWEEN ? AND ?", span).fetchone()[0]
        )
        if not new:
            return 0
        self._insert_tickets("job.id BETWEEN ? AND ?", span, due_at=None)
        self.connection.execute(
            "INSERT INTO transition (job_id, from_state, to_state, event, cause, actor, at)"
            " SELECT id, NULL, 'pending', 'submit', ?, ?, ? FROM job WHERE id BETWEEN ? AND ?",
            (cause, actor, now, *span),
        )
        self._tally(run_id, State.PENDING, new)
        if any(job.stage is Stage.EXTRACT and job.version for job in jobs):
            self._supersede_older(span)
        return new

    def cancel_unlisted(self, source: str, listing: int, unread: Sequence[str] = ()) -> None:
        """A complete listing, this attempt, did not name these units: what waits for them is over.

        Of those whose keys begin as one of `unread` it knows nothing.

        What a listing named after this one began is let be. Attempts tell before from after, not times: a clock
        may be set back in the middle of a listing.
        """
        rows = self.connection.execute(
            "SELECT id FROM job WHERE source = ? AND stage = 'extract' AND listed < ?"
            " AND finished_at IS NULL AND state <> 'running'"
            " AND NOT EXISTS (SELECT 1 FROM json_each(?) AS p WHERE substr(job.key, 1, length(p.value)) = p.value)",
            (source, listing, json.dumps(list(unread))),
        ).fetchall()
        if rows:
            self.move([id_ for (id_,) in rows], Event.SUPERSEDE, cause="its unit is gone")

    def _supersede_older(self, span: tuple[int, int]) -> None:
        """A unit's newer version takes the place of what still waits for an older one."""
        older = self.connection.execute(
            "SELECT old.id FROM job AS new CROSS JOIN job AS old ON old.source = new.source AND old.stage = new.stage"
            " AND old.key = new.key AND old.version <> new.version"
            " AND old.finished_at IS NULL AND old.state <> 'running'"
            " WHERE new.id BETWEEN ? AND ? AND old.id < ?",
            (*span, span[0]),
        ).fetchall()
        if older:
            self.move([id_ for (id_,) in older], Event.SUPERSEDE, cause="a newer version of the unit came")

    # -- leases

    def ripen(self, now: float) -> float | None:
        """Make ready what is due; when the next ticket will be due, or None."""
        self.connection.execute(
            "UPDATE task SET due_at = NULL, waiting_since = ? WHERE due_at IS NOT NULL AND due_at <= ?",
            (now, now),
        )
        return self.next_due()

    def set_back(self, now: float) -> None:
        """The wall clock was set back: what is dated later than now waits its delay anew, and no longer."""
        self.connection.execute(
            "UPDATE task SET due_at = ?1 + (due_at - waiting_since), waiting_since = ?1 WHERE waiting_since > ?1",
            (now,),
        )
        self.connection.execute(
            "UPDATE job SET due_at = task.due_at FROM task"
            " WHERE task.id = job.id AND job.state = 'retrying' AND job.due_at > task.due_at"
        )

    def next_due(self) -> float | None:
        due: float | None = self.connection.execute(
            "SELECT min(due_at) FROM task WHERE due_at IS NOT NULL"
        ).fetchone()[0]
        return due

    def heads(self, source: str, limit: int) -> tuple[Ticket, ...]:
        """The lane's first ready tickets, best first; of each class of priority at most `limit`."""
        heads: list[Ticket] = []
        for level in sorted(Priority, reverse=True):
            rows = self.connection.execute(
                "SELECT task.id, job.stage, task.waiting_since, job.memory_bytes"
                " FROM task CROSS JOIN job ON job.id = task.id"
                " WHERE task.queue = ? AND task.lease IS NULL AND task.due_at IS NULL"
                " AND task.priority >= ? AND task.priority < ?"
                " ORDER BY task.priority DESC, task.id LIMIT ?",
                (source, int(level), int(level) + 1, limit),
            )
            heads += [Ticket(i, _STAGES[stage], level, since, memory) for i, stage, since, memory in rows]
        return tuple(heads)

    def lease(self, job_ids: Sequence[int], *, cpu: float, memory_bytes: int) -> list[JobSpec]:
        """Give these jobs an attempt each, whose id is the fence; the first one's id is the launch's."""
        now, ids, first = self.clock(), _array(job_ids), self._next_id("attempt")
        if len(self.move(job_ids, Event.LEASE, number="number + 1")) != len(job_ids):
            raise IllegalTransition(None, Event.LEASE)
        self.connection.execute(
            "INSERT INTO attempt (id, job_id, number, launch_id, cpu, memory_bytes, started_at)"
            " SELECT ? + j.key, job.id, job.number, ?, ?, ?, ? FROM json_each(?) AS j"
            " CROSS JOIN job ON job.id = j.value",
            (first, first, cpu, memory_bytes, now, ids),
        )
        self.connection.execute(
            "UPDATE task SET lease = ? + j.key, due_at = NULL FROM json_each(?) AS j WHERE task.id = j.value",
            (first, ids),
        )
        rows = self.connection.execute(
            "SELECT job.id, ? + j.key, stage, job.key, version, payload FROM json_each(?) AS j"
            " CROSS JOIN job ON job.id = j.value",
            (first, ids),
        )
        specs = [
            JobSpec(i, a, _STAGES[stage], key, version, payload)
            for i, a, stage, key, version, payload in rows
        ]
        specs.sort(key=_attempt_id)  # as they come, but SQLite does not promise it
        return specs

    # -- outcomes

    def close_attempts(self, endings: Iterable[Ending]) -> None:
        """Write down how these attempts ended and what they used."""
        now = self.clock()
        by_outcome: dict[Outcome, list[Ending]] = defaultdict(list)
        for ending in endings:
            by_outcome[ending.outcome].append(ending)
            if ending.exit is not None or ending.signal is not None or ending.evidence is not None:
                self._keep_evidence(ending)
        for outcome, alike in by_outcome.items():
            name = outcome.value
            self.connection.executemany(
                "UPDATE attempt SET ended_at = ?, outcome = ?, wall_s = ?, cpu_s = ?, memory_peak_bytes = ?,"
                " message = ?, started_at = coalesce(nullif(?, 0.0), started_at) WHERE id = ? AND outcome IS NULL",
                [
                    (
                        now,
                        name,
                        e.usage.wall_s,
                        e.usage.cpu_s,
                        e.usage.memory_peak_bytes,
                        e.message,
                        e.started_at,
                        e.attempt_id,
                    )
                    for e in alike
                ],
            )

    def _keep_evidence(self, ending: Ending) -> None:
        """How the process of an attempt that is about to be closed ended, and what it left."""
        evidence = ending.evidence and json.dumps(msgspec.structs.asdict(ending.evidence))
        self.connection.execute(
            "UPDATE attempt SET exit = ?, signal = ?, evidence = ? WHERE id = ? AND outcome IS NULL",
            (ending.exit, ending.signal, evidence, ending.attempt_id),
        )

    def count_documents(
        self,
        job_id: int,
        *,
        new: int = 0,
        changed: int = 0,
        deleted: int = 0,
        unchanged: int = 0,
        rejected: int = 0,
    ) -> None:
        """Add to what the job's run has done to the store."""
        if new or changed or deleted or unchanged or rejected:
            self.connection.execute(
                "UPDATE run SET documents_new = documents_new + ?, documents_changed = documents_changed + ?,"
                " documents_deleted = documents_deleted + ?, documents_unchanged = documents_unchanged + ?,"
                " documents_rejected = documents_rejected + ? WHERE id = (SELECT run_id FROM job WHERE id = ?)",
                (new, changed, deleted, unchanged, rejected, job_id),
            )

    def remark(self, job_id: int, message: str) -> None:
        """What a person should know of the job's run, whatever state it ends in."""
        self.connection.execute(
            "UPDATE run SET message = ? WHERE id = (SELECT run_id FROM job WHERE id = ?)", (message, job_id)
        )

    def waiting_event(self, source: str, priority: int) -> tuple[int, str] | None:
        """Id and payload of the newest event job of at least this priority that no worker has been given."""
        row = self.connection.execute(
            "SELECT id, payload FROM job WHERE source = ? AND stage = 'discover' AND key > 'event:' AND key < 'event;'"
            " AND finished_at IS NULL AND state = 'pending' AND priority >= ?"
            " ORDER BY id DESC LIMIT 1",
            (source, priority),
        ).fetchone()
        return row and (int(row[0]), str(row[1]))

    def ask_otherwise(self, job_id: int, payload: str) -> None:
        """Give a job that is still pending another payload."""
        self.connection.execute(
            "UPDATE job SET payload = ?, updated_at = ? WHERE id = ? AND state = 'pending'",
            (payload, self.clock(), job_id),
        )

    def facts(self, job_ids: Sequence[int]) -> dict[int, JobFacts]:
        rows = self.connection.execute(
            "SELECT id, run_id, source, stage, key, state, attempts, deaths, losses, memory_bytes,"
            " priority FROM job WHERE id IN (SELECT value FROM json_each(?))",
            (_array(job_ids),),
        )
        return {r[0]: JobFacts(r[0], r[1], r[2], Stage(r[3]), r[4], State(r[5]), *r[6:]) for r in rows}

    # -- the one way a job's state changes

    def move(
        self,
        job_ids: Iterable[int],
        event: Event,
        *,
        cause: str = "",
        actor: str = "farm",
        due_at: float | None = None,
        strict: bool = True,
        outcome: Outcome | None = None,
        reason: str | None = None,
        message: str | None = None,
        memory_bytes: int | None = None,
        attempts: str = "",
        deaths: str = "",
        losses: str = "",
        number: str = "",
    ) -> list[int]:
        """Move these jobs by this event; the ids that moved.

        An event that is illegal in a job's state raises IllegalTransition and changes nothing; with
        `strict=False` such a job is passed over. `attempts`, `deaths`, `losses`, `number` are SQL
        expressions ("attempts + 1", "0").
        """
        now = self.clock()
        groups = self.connection.execute(
            "SELECT state, run_id, count(*), json_group_array(id) FROM job"
            " WHERE id IN (SELECT value FROM json_each(?)) GROUP BY state, run_id",
            (_array(job_ids),),
        ).fetchall()
        by_state: dict[State, list[str]] = defaultdict(list)
        tallies: Counter[tuple[int, State]] = Counter()
        targets: dict[State, State] = {}
        for (
            name,
            run_id,
            n,
            ids,
        ) in groups:  # ids: as JSON, so that they need not pass through Python one by one
            state = State(name)
            if state not in targets:
                try:
                    targets[state] = move(state, event)
                except IllegalTransition:
                    if strict:
                        raise
                    continue
            by_state[state].append(ids[1:-1])
            tallies[run_id, state] -= n
            tallies[run_id, targets[state]] += n
        columns = {"outcome": outcome, "reason": reason, "message": message, "memory_bytes": memory_bytes}
        given = {name: value for name, value in columns.items() if value is not None}
        counters = {"attempts": attempts, "deaths": deaths, "losses": losses, "number": number}
        counted = [f"{name} = {expression}" for name, expression in counters.items() if expression]
        moved: list[int] = []
        for state, some in by_state.items():
            to, these = targets[state], f"[{','.join(some)}]"
            moves = {"state": to, "due_at": due_at, "updated_at": now, **given}
            if to in FINAL:
                moves["finished_at"] = now
            self.connection.execute(
                f"UPDATE job SET {', '.join([*(f'{name} = ?' for name in moves), *counted])}"
                " WHERE id IN (SELECT value FROM json_each(?)) AND state = ?",
                (*moves.values(), these, state),
            )
            self.connection.execute(
                "INSERT INTO transition (job_id, from_state, to_state, event, cause, actor, at)"
                " SELECT value, ?, ?, ?, ?, ?, ? FROM json_each(?)",
                (state, to, event, cause, actor, now, these),
            )
            self._keep_tickets(state, to, these, due_at)
            moved += msgspec.json.decode(these)
        for (run_id, state), n in tallies.items():
            self._tally(run_id, state, n)
        return moved

    def _keep_tickets(self, was: State, to: State, ids: str, due_at: float | None) -> None:
        if to in (State.RUNNING, State.FAILED):
            return  # the lease is set by `lease`; FAILED is left again in the same transaction
        if to not in TICKETED:
            self.connection.execute("DELETE FROM task WHERE id IN (SELECT value FROM json_each(?))", (ids,))
        elif was in TICKETED or was is State.FAILED:
            self.connection.execute(
                "UPDATE task SET lease = NULL, due_at = ?, waiting_since = ?"
                " WHERE id IN (SELECT value FROM json_each(?))",
                (due_at, self.clock(), ids),
            )
        else:
            self._insert_tickets("job.id IN (SELECT value FROM json_each(?))", (ids,), due_at)

    def _insert_tickets(self, where: str, parameters: tuple[object, ...], due_at: float | None) -> None:
        self.connection.execute(
            "INSERT INTO task (id, queue, data, priority, due_at, waiting_since)"
            f" SELECT job.id, job.source, CAST({MESSAGE_SQL} AS BLOB), {PRIORITY_SQL}, ?, ? FROM job WHERE {where}",
            (due_at, self.clock(), *parameters),
        )

    def _tally(self, run_id: int, state: State, n: int) -> None:
        if n:
            self.connection.execute(
                "INSERT INTO tally (run_id, state, n) VALUES (?, ?, ?)"
                " ON CONFLICT (run_id, state) DO UPDATE SET n = n + excluded.n",
                (run_id, state, n),
            )
            self._touched_runs.add(run_id)

    def newest_attempt(self) -> int:
        """The number of the newest attempt; the next one gets a larger one."""
        return self._next_id("attempt") - 1

    def number_on(self, attempt_id: int) -> None:
        """The next attempt gets a number past this one."""
        self.connection.execute("DELETE FROM sqlite_sequence WHERE name = 'attempt'")
        self.connection.execute(
            "INSERT INTO sqlite_sequence (name, seq) VALUES ('attempt', ?)", (attempt_id,)
        )

    def next_job_id(self) -> int:
        """The id that the next submitted job will get."""
        return self._next_id("job")

    def _next_id(self, table: str) -> int:
        row = self.connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
        return int(row[0]) + 1 if row else 1

    # -- runs follow their jobs

    def touch_run(self, run_id: int) -> None:
        self._touched_runs.add(run_id)

    def _refresh_runs(self) -> None:
        """A run's state is derived from its jobs, in the transaction that moved them."""
        for run_id in self._touched_runs:
            counts = dict(
                self.connection.execute(
                    "SELECT state, n FROM tally WHERE run_id = ? AND n > 0", (run_id,)
                ).fetchall()
            )
            state = run_state(
                {State(name): n for name, n in counts.items()}, self._discover_failed(run_id, counts)
            )
            over = state not in (RunState.QUEUED, RunState.RUNNING, RunState.PAUSED)
            now = self.clock()
            self.connection.execute(
                "UPDATE run SET state = ?1, started_at = coalesce(started_at, CASE WHEN ?1 <> 'queued' THEN ?2 END),"
                " finished_at = CASE WHEN ?3 THEN coalesce(finished_at, ?2) END WHERE id = ?4"
                " AND (state <> ?1 OR (finished_at IS NULL) = ?3)",
                (state, now, over, run_id),
            )
        self._touched_runs.clear()

    def _discover_failed(self, run_id: int, counts: dict[str, int]) -> bool:
        """Also one whose quarantine was ended by the next run's listing, or by an operator who gave it up."""
        if not (counts.get(State.QUARANTINED) or counts.get(State.CANCELLED)):
            return False
        if any(counts.get(state) for state in (*TICKETED, State.PAUSED)):
            return (
                False  # it is not over: asked in its end, so that a long run is not gone through every time
            )
        row = self.connection.execute(
            "SELECT 1 FROM job WHERE run_id = ? AND stage = 'discover'"
            " AND (state = 'quarantined' OR state = 'cancelled' AND reason <> '') LIMIT 1",
            (run_id,),
        ).fetchone()
        return row is not None


def _array(ids: Iterable[int]) -> str:
    """As JSON, for json_each."""
    return msgspec.json.encode(list(ids)).decode()


def run_state(counts: dict[State, int], discover_failed: bool) -> RunState:
    """What its jobs make of a run: one bad unit makes it partial, only a failed listing makes it failed.

    >>> run_state({State.SUCCEEDED: 9, State.QUARANTINED: 1}, False)
    <RunState.PARTIAL: 'partial'>
    """
    if counts.get(State.RUNNING) or (
        counts.get(State.SUCCEEDED) and (counts.get(State.PENDING) or counts.get(State.RETRYING))
    ):
        return RunState.RUNNING
    if counts.get(State.PENDING) or counts.get(State.RETRYING):
        return RunState.QUEUED if set(counts) == {State.PENDING} else RunState.RUNNING
    if counts.get(State.PAUSED):
        return RunState.PAUSED
    if discover_failed:
        return RunState.FAILED
    if counts.get(State.QUARANTINED):
        return RunState.PARTIAL
    if not counts.get(State.SUCCEEDED) and counts.get(State.CANCELLED):
        return RunState.CANCELLED
    return RunState.PARTIAL if counts.get(State.CANCELLED) else RunState.SUCCEEDED
