"""The writer of the store: lands what attempts found, each batch in one transaction.

The rules of landing:

1. An attempt lands once. Landing it again changes nothing and gives the counts of the first time; the
   children are named again, for whoever crashed before hearing of them.
2. A row carries the fence of the attempt that wrote it; a smaller one never overwrites it.
3. A unit's documents and records are replaced as a set: what it no longer gives becomes a tombstone.
4. Lines are read once, in order, and written a chunk at a time: memory does not grow with the spool.
5. A bad line is counted and named, and costs no other line.
6. All of a batch or nothing: with the content go its cursor, its index, and the outbox.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Self

from farm.sqlite import in_words, open_reader, open_writer
from farm.store import outbox
from farm.store.batch import Batch
from farm.store.documents import Documents
from farm.store.landing import Landed, Landing
from farm.store.outbox import note_records
from farm.store.units import TEMPORARY

SCHEMA_VERSION = 2
MIGRATIONS: Mapping[int, str] = {
    1: "ALTER TABLE landing DROP COLUMN partial;"
    "DROP INDEX outbox_ref;"
    "ALTER TABLE outbox ADD COLUMN document INTEGER;"
    "UPDATE outbox SET document = (SELECT id FROM document WHERE doc_id = ref) WHERE kind = 'document';"
    "CREATE UNIQUE INDEX outbox_document ON outbox (document) WHERE document IS NOT NULL;"
    "CREATE UNIQUE INDEX outbox_ref ON outbox (source, kind, ref) WHERE document IS NULL;",
}
"""SQL that takes a store of this version to the next."""

ERASED_AT_ONCE = 500
PAGE_BYTES = 8192
"""Half as many pages to log and check as with SQLite's own 4096; a store made with those keeps them."""


class Store:
    """Open it once per farm. Every method may be called from any thread; writers wait for each other."""

    def __init__(self, db: sqlite3.Connection, path: Path, clock: Callable[[], float]) -> None:
        self.path = path
        self._db = db
        self._clock = clock
        self._lock = Lock()
        self._reading = Lock()
        self._reader = open_reader(path, any_thread=True)

    @classmethod
    def open(cls, path: Path, clock: Callable[[], float] = time.time) -> Self:
        """Make, migrate (after a copy) or open the store at this path.

        Raises NewerSchema, StoreDamaged, DiskFull or HomeUnusable.
        """
        schema = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
        db = open_writer(path, schema, SCHEMA_VERSION, MIGRATIONS, any_thread=True, page_bytes=PAGE_BYTES)
        db.execute("PRAGMA temp_store = FILE")  # a listing of a million units need not fit in memory
        db.executescript(TEMPORARY)
        return cls(db, path, clock)

    def close(self) -> None:
        with self._lock, self._reading:
            self._reader.close()
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def land(self, batch: Sequence[Landing]) -> list[Landed]:
        """Land these attempts in this order, in one transaction.

        Whatever raises (DiskFull, HomeUnusable, or what reading the lines raises) leaves nothing of the batch.
        """
        with self._writing() as db:
            return Batch(db, self._clock()).land(batch)

    def landed(self, attempt_ids: Iterable[int]) -> set[int]:
        """Those of these attempts that have landed."""
        return {
            row[0]
            for row in self._read(
                "SELECT attempt_id FROM landing WHERE attempt_id IN (SELECT value FROM json_each(?))",
                json.dumps(list(attempt_ids)),
            )
        }

    def cursor(self, source: str) -> Any:
        """The connector's last position, or None."""
        found = self._read("SELECT value FROM cursor WHERE source = ?", source)
        return json.loads(found[0][0]) if found else None

    def changes(self, consumer: str, limit: int = 1000) -> list[outbox.Change]:
        """What this consumer of the outbox has not yet acknowledged, oldest first."""
        with self._reading:
            return outbox.changes(self._reader, consumer, limit)

    def acknowledge(self, consumer: str, seq: int) -> None:
        """This consumer has taken every change up to here."""
        with self._writing() as db:
            outbox.acknowledge(db, consumer, seq, self._clock())

    def remove_source(self, source: str) -> int:
        """Erase all that came from a source; how many documents and records that were.

        Done in short transactions, so that landing goes on beside it. What it held is forgotten first:
        stopped half-way, it is read again as new, or erased by the next call.
        """
        with self._writing() as db:
            for table in ("cursor", "unit", "stream"):
                db.execute(f"DELETE FROM {table} WHERE source = ?", (source,))
        erased = 0
        while count := self._erase_some(source):
            erased += count
        return erased

    def _erase_some(self, source: str) -> int:
        with self._writing() as db:
            ids = _ids(db, "SELECT id FROM document WHERE source = ? ORDER BY source, key LIMIT ?", source)
            Documents(db, self._clock()).erase(ids)
            records = _ids(db, "SELECT id FROM record WHERE source = ? LIMIT ?", source)
            found = json.dumps(records)
            note_records(db, "delete", found, self._clock())
            db.execute("DELETE FROM record WHERE id IN (SELECT value FROM json_each(?))", (found,))
            return len(ids) + len(records)

    def _read(self, sql: str, *values: object) -> list[Any]:
        with self._reading, closing(self._reader.execute(sql, values)) as rows:
            return rows.fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise in_words(self.path, error) from error
                raise


def _ids(db: sqlite3.Connection, sql: str, source: str) -> list[int]:
    return [row[0] for row in db.execute(sql, (source, ERASED_AT_ONCE))]
