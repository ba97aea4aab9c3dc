"""Huey on the ledger: its task registry and its message format, on a queue that leases instead of deleting.

A lane is one source's queue (Huey's queue name). A ticket is a row of Huey's `task` table, extended by a
lease; it carries the job's own id and goes in the transaction that records the job's outcome. Messages are
JSON and their only argument is a job id. Nothing here commits: storage takes part in the ledger's transaction.
"""

from __future__ import annotations

import datetime
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from huey.api import Huey
from huey.registry import Message
from huey.serializer import Serializer
from huey.storage import SqliteStorage

from farm.core.job import Stage

if TYPE_CHECKING:
    from farm.ledger.ledger import Ledger

PRIORITY_SQL = "(job.priority + (run.type = 'event') * 0.5)"
"""Of a job joined with its run: within a lane, what an event asked for goes before the rest of its class."""

MESSAGE_SQL = (
    """'{"id": "' || job.id || '", "name": "farm.ledger.queue.' || job.stage"""
    f"""|| CASE WHEN {PRIORITY_SQL} > 0 THEN '", "priority": ' || {PRIORITY_SQL} ELSE '"' END"""
    """|| ', "args": [' || job.id || ']}'"""
)
"""A ticket's message made by SQLite itself, for bulk: the same bytes as Huey's serializer gives."""


class JsonSerializer(Serializer):  # type: ignore[misc]
    """Huey's messages as JSON; what is unset is left out."""

    def _serialize(self, data: Message) -> bytes:
        fields = {name: value for name, value in data._asdict().items() if value}
        if isinstance(fields.get("eta"), datetime.datetime):
            fields["eta"] = fields["eta"].isoformat()
        return json.dumps(fields).encode()

    def _deserialize(self, data: bytes) -> Message:
        fields = json.loads(bytes(data))
        fields["args"] = tuple(fields.get("args", ()))
        if "eta" in fields:
            fields["eta"] = datetime.datetime.fromisoformat(fields["eta"])
        return Message(**fields)


class LedgerStorage(SqliteStorage):  # type: ignore[misc]
    """Huey's SQLite storage, on the ledger's connection and inside its transaction."""

    def __init__(self, name: str, ledger: Ledger, **kwargs: Any) -> None:
        self.ledger = ledger
        super().__init__(name, filename=str(ledger.path), create_tables=False, **kwargs)

    def _create_connection(self) -> sqlite3.Connection:
        return self.ledger.connection

    def close(self) -> bool:
        """The connection is the ledger's."""
        return False

    @contextmanager
    def db(self, commit: bool = False, close: bool = False) -> Iterator[sqlite3.Cursor]:
        if commit:
            with self.ledger.joined():
                yield self.ledger.connection.cursor()
        else:
            yield self.ledger.connection.cursor()

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        """A ticket for the job that the message names."""
        self._ticket(data, priority, due_at=None)

    def add_to_schedule(self, data: bytes, ts: datetime.datetime) -> None:
        self._ticket(data, None, due_at=ts.replace(tzinfo=ts.tzinfo or datetime.UTC).timestamp())

    def dequeue(self) -> bytes | None:
        """Lease the lane's first ready ticket; it stays in the table until the job's outcome is recorded."""
        with self.ledger.joined():
            heads = self.ledger.tickets.heads(self.name, 1)
            if not heads:
                return None
            self.ledger.attempts.lease([heads[0].job_id], cpu=0.0, memory_bytes=0)
            row = self.ledger.connection.execute("SELECT data FROM task WHERE id = ?", (heads[0].job_id,))
            return bytes(row.fetchone()[0])

    def queue_size(self) -> int:
        return int(
            self._scalar("SELECT count(*) FROM task WHERE queue = ? AND lease IS NULL AND due_at IS NULL")
        )

    def enqueued_items(self, limit: int | None = None) -> list[bytes]:
        return self._messages("due_at IS NULL", "priority DESC, id", limit)

    def schedule_size(self) -> int:
        return int(self._scalar("SELECT count(*) FROM task WHERE queue = ? AND due_at IS NOT NULL"))

    def scheduled_items(self, limit: int | None = None) -> list[bytes]:
        return self._messages("due_at IS NOT NULL", "due_at", limit)

    def read_schedule(self, ts: datetime.datetime) -> list[bytes]:
        """Nothing to hand over: what is due becomes ready in place."""
        self.ledger.tickets.ripen(ts.replace(tzinfo=ts.tzinfo or datetime.UTC).timestamp())
        return []

    def flush_queue(self) -> None:
        raise PermissionError("a lane is emptied by cancelling its jobs, which the ledger records")

    flush_schedule = flush_queue

    def _ticket(self, data: bytes, priority: float | None, due_at: float | None) -> None:
        job_id = json.loads(bytes(data))["args"][0]
        with self.ledger.joined():
            self.ledger.connection.execute(
                "INSERT INTO task (id, queue, data, priority, due_at) VALUES (?, ?, ?, ?, ?)",
                (job_id, self.name, bytes(data), priority or 0.0, due_at),
            )

    def _scalar(self, sql: str) -> Any:
        return self.ledger.connection.execute(sql, (self.name,)).fetchone()[0]

    def _messages(self, where: str, order: str, limit: int | None) -> list[bytes]:
        rows = self.ledger.connection.execute(
            f"SELECT data FROM task WHERE queue = ? AND lease IS NULL AND {where} ORDER BY {order} LIMIT ?",
            (self.name, -1 if limit is None else limit),
        )
        return [bytes(data) for (data,) in rows]


class Lane(Huey):  # type: ignore[misc]
    """One source's queue, with the farm's tasks registered on it."""

    def __init__(self, source: str, ledger: Ledger) -> None:
        super().__init__(
            source,
            results=False,
            serializer=JsonSerializer(),
            storage_class=LedgerStorage,
            ledger=ledger,
        )
        self.tasks = {stage: self.task(name=stage.value)(_registered) for stage in Stage}


def _registered(job_id: int) -> int:
    """A message names a job; what runs it is a cell, never Huey's consumer."""
    return job_id
