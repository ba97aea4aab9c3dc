"""The ledger's only writer: opening its file, its transactions, and the parts that do the work in them.

The parts' methods take part in the caller's transaction: the dispatcher commits a whole tick at once.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from farm import sqlite
from farm.ledger.attempts import Attempts
from farm.ledger.jobs import Jobs
from farm.ledger.queue import Lane
from farm.ledger.runs import Runs
from farm.ledger.tickets import Tickets

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


class Ledger:
    """`open` it, then do everything inside `with ledger.transaction():`, by its parts: `ledger.jobs.submit(…)`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self.path = path
        self.connection = connection
        self.clock = clock
        self._lanes: dict[str, Lane] = {}
        self.runs = Runs(connection, clock)
        self.tickets = Tickets(connection, clock)
        self.jobs = Jobs(connection, clock, self.runs, self.tickets)
        self.attempts = Attempts(connection, clock, self.jobs)

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
            self.runs.refresh()
            self.connection.execute("COMMIT")
        except BaseException:
            self.runs.forget()
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
