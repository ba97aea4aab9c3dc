"""Tickets: a waiting job's row in Huey's table, which of them are ready, and which come first.

A job has a ticket while it is pending, running or retrying. What is not due yet has `due_at`; the ticket of a
running job is kept out of the way by its lease, and goes with the job's outcome.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import msgspec

from farm.core.job import TICKETED, Priority, State
from farm.core.plan import Ticket
from farm.ledger.ids import Ids
from farm.ledger.queue import MESSAGE_SQL, PRIORITY_SQL

_LEVEL_SQL = (
    "SELECT * FROM (SELECT task.id AS id, job.stage AS stage, {level} AS level, task.waiting_since AS since,"
    " job.memory_bytes AS memory_bytes"
    " FROM task CROSS JOIN job ON job.id = task.id"
    " WHERE task.queue = :source AND task.lease IS NULL AND task.due_at IS NULL"
    " AND task.priority >= {level} AND task.priority < {level} + 1"
    " ORDER BY task.priority DESC, task.id LIMIT :limit)"
)
HEADS_SQL = (
    "SELECT json_group_array(json_array(id, stage, level, since, memory_bytes)) FROM ("
    + " UNION ALL ".join(_LEVEL_SQL.format(level=int(level)) for level in sorted(Priority, reverse=True))
    + ")"
)
"""One row with all of them: thousands of rows would take twice as long to come to Python one by one. They are in the
order of the lines that are put together; times are rounded to some microseconds."""


class Tickets:
    """Part of `Ledger`: its methods take part in the caller's transaction."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self.connection = connection
        self.clock = clock

    # -- which comes next

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
        found = self.connection.execute(HEADS_SQL, {"source": source, "limit": limit}).fetchone()[0]
        return _heads.decode(found)

    # -- they follow their jobs

    def insert(self, ids: Ids, due_at: float | None) -> None:
        """For those of these jobs that there are."""
        self.connection.execute(
            "INSERT INTO task (id, queue, data, priority, due_at, waiting_since)"
            f" SELECT job.id, job.source, CAST({MESSAGE_SQL} AS BLOB), {PRIORITY_SQL}, :due_at, :now"
            f" FROM {ids.rows('job', 'CROSS JOIN run ON run.id = job.run_id')}",
            {"due_at": due_at, "now": self.clock()} | ids.given,
        )

    def follow(self, was: State, to: State, ids: Ids, due_at: float | None) -> None:
        """These jobs have moved from one state to the other."""
        if to in (State.RUNNING, State.FAILED):
            return  # the lease is set by `Attempts.lease`; FAILED is left again in the same transaction
        if to not in TICKETED:
            self.connection.execute(f"DELETE FROM task WHERE {ids.are('id')}", ids.given)
        elif was in TICKETED or was is State.FAILED:
            self.connection.execute(
                f"UPDATE task SET lease = NULL, due_at = :due_at, waiting_since = :now WHERE {ids.are('id')}",
                {"due_at": due_at, "now": self.clock()} | ids.given,
            )
        else:
            self.insert(ids, due_at)


_heads = msgspec.json.Decoder(tuple[Ticket, ...])
