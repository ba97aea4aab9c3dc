"""Tickets: a waiting job's row in Huey's table, which of them are ready, and which come first.

A job has a ticket while it is pending, running or retrying. What is not due yet has `due_at`; the ticket of a
running job is kept out of the way by its lease, and goes with the job's outcome.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from farm.core.job import TICKETED, Priority, Stage, State
from farm.core.plan import Ticket
from farm.ledger.queue import MESSAGE_SQL, PRIORITY_SQL

STAGES = {stage.value: stage for stage in Stage}
"""By name: for thousands of rows, calling the enum takes longer than reading the row."""


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
            heads += [Ticket(i, STAGES[stage], level, since, memory) for i, stage, since, memory in rows]
        return tuple(heads)

    # -- they follow their jobs

    def insert(self, where: str, parameters: tuple[object, ...], due_at: float | None) -> None:
        """For the jobs that this condition finds."""
        self.connection.execute(
            "INSERT INTO task (id, queue, data, priority, due_at, waiting_since)"
            f" SELECT job.id, job.source, CAST({MESSAGE_SQL} AS BLOB), {PRIORITY_SQL}, ?, ? FROM job WHERE {where}",
            (due_at, self.clock(), *parameters),
        )

    def follow(self, was: State, to: State, ids: str, due_at: float | None) -> None:
        """These jobs (a JSON array of ids) have moved from one state to the other."""
        if to in (State.RUNNING, State.FAILED):
            return  # the lease is set by `Attempts.lease`; FAILED is left again in the same transaction
        if to not in TICKETED:
            self.connection.execute("DELETE FROM task WHERE id IN (SELECT value FROM json_each(?))", (ids,))
        elif was in TICKETED or was is State.FAILED:
            self.connection.execute(
                "UPDATE task SET lease = NULL, due_at = ?, waiting_since = ?"
                " WHERE id IN (SELECT value FROM json_each(?))",
                (due_at, self.clock(), ids),
            )
        else:
            self.insert("job.id IN (SELECT value FROM json_each(?))", (ids,), due_at)
