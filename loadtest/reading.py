"""Reading documents without a farm: the connector's own listing and extraction, called as functions, and the rows
and full-text index of the farm's store, written by plain statements. What the farm's peers do the real work with.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from connectors.local_files import LocalFiles, LocalFilesOptions
from farm.connector import Document, Unit
from farm.core.job import Stage
from farm.sqlite import open_writer
from farm.store import store
from farm.store.entry import Entry, json_text
from farm.store.landing import Landing
from farm.store.row import COLUMNS, PLACES, document_id, row_of

SOURCE = "papers"
BUSY_S = 60.0

Found = tuple[Unit, list[Document]]
"""A file, and what was extracted from it."""


class Context:
    """What the connector asks of its context, outside a worker."""

    def __init__(self, folder: Path) -> None:
        self.options = LocalFilesOptions(path=folder)
        self.log = logging.getLogger("loadtest")
        self.held = ""
        self.paths = None
        self.stop_requested = False

    def progress(self, done: int = 0, total: int | None = None, message: str = "") -> None:
        """Nobody looks."""


@functools.cache
def _context(folder: str) -> Any:
    return Context(Path(folder))


def listed(folder: Path) -> list[Unit]:
    """The files that the connector would read."""
    return [item for item in LocalFiles().discover(_context(str(folder)), None) if isinstance(item, Unit)]


def extracted(folder: str, unit: Unit) -> Found:
    """What the connector finds in one file."""
    items = LocalFiles().extract(_context(folder), unit)
    return unit, [item for item in items if isinstance(item, Document)]


def warm_up(folder: str) -> None:
    """Read every document there: what readers load at their first document of a kind is loaded after it."""
    for unit in listed(Path(folder)):
        extracted(folder, unit)


class Rows:
    """The tables `document`, `element` and `unit` and the full-text index, as the farm's store has them.

    No ledger, no record of landings, no outbox, no fences. `synchronous=NORMAL`: a power cut may take the last
    transactions.
    """

    def __init__(self, path: Path) -> None:
        schema = Path(store.__file__).with_name("schema.sql").read_text()
        self._db = open_writer(path, schema, store.SCHEMA_VERSION, {})
        self._db.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000:.0f}")
        self._db.execute("PRAGMA synchronous = NORMAL")

    def write(self, found: Iterable[Found], *, again: bool = False) -> int:
        """Write in one transaction; how many documents. `again`: some may be there from an earlier time."""
        now = time.time()
        rows = [
            (document_id(SOURCE, document.key), unit, row_of(_entry(unit), document))
            for unit, documents in found
            for document in documents
        ]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            if again:
                self._remove([doc_id for doc_id, _, _ in rows])
            first = self._db.execute("SELECT coalesce(max(id), 0) + 1 FROM document").fetchone()[0]
            numbered = list(zip(itertools.count(first), rows, strict=False))
            self._db.executemany(
                f"INSERT INTO document (id, {', '.join(COLUMNS)}) VALUES (?, {', '.join(PLACES)})",
                [(id_, *row.values(doc_id, now)) for id_, (doc_id, _, row) in numbered],
            )
            self._db.executemany(
                "INSERT INTO element (document, ordinal, type, metadata, text) VALUES (?, ?, ?, ?, ?)",
                [
                    (id_, ordinal, e.type, json_text(e.metadata) if e.metadata else "{}", e.text)
                    for id_, (_, _, row) in numbered
                    for ordinal, e in enumerate(row.document.elements)
                ],
            )
            self._db.execute(
                "INSERT INTO document_fts (rowid, title, text) SELECT id, title, text FROM document"
                " WHERE id >= ? ORDER BY id",
                (first,),
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO unit VALUES (?, ?, ?, ?, ?, 1, 0, ?, 0, 0, NULL)",
                [
                    (SOURCE, unit.key, unit.version, row.document.content_hash, unit.uri, now)
                    for _, unit, row in rows
                ],
            )
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        return len(rows)

    def _remove(self, doc_ids: list[str]) -> None:
        held = self._db.execute(
            "SELECT id FROM document WHERE doc_id IN (SELECT value FROM json_each(?))", (json.dumps(doc_ids),)
        ).fetchall()
        for (id_,) in held:
            self._db.execute(
                "INSERT INTO document_fts (document_fts, rowid, title, text) SELECT 'delete', id, title, text"
                " FROM document WHERE id = ?",
                (id_,),
            )
            self._db.execute("DELETE FROM element WHERE document = ?", (id_,))
            self._db.execute("DELETE FROM document WHERE id = ?", (id_,))

    def close(self) -> None:
        self._db.close()


@functools.cache
def _rows(path: str) -> Rows:
    """One connection for each process."""
    return Rows(Path(path))


def read_and_write(folder: str, key: str, version: str, uri: str, path: str) -> None:
    """The whole task of a queue's worker: extract one file, and commit its rows before the task counts as done.

    A task that is delivered a second time replaces what it wrote the first time.
    """
    unit = Unit(key, version, uri=uri)
    _rows(path).write([extracted(folder, unit)], again=True)


def arguments(folder: Path, unit: Unit, path: Path) -> tuple[str, str, str, str, str]:
    """Those of `read_and_write`, as a queue can carry them."""
    return str(folder), unit.key, unit.version, unit.uri, str(path)


def _entry(unit: Unit) -> Entry:
    return Entry(Landing(SOURCE, 0, 0, Stage.EXTRACT, (), unit.key, unit.version, unit.uri))


def in_batches(found: Iterable[Found], *, documents: int = 500) -> Iterator[list[Found]]:
    """As many as there are at a time, up to so many."""
    iterator = iter(found)
    while batch := list(itertools.islice(iterator, documents)):
        yield batch


def done(path: Path) -> int:
    """How many files are in the tables by now."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_S)) as db:
        return int(db.execute("SELECT count(*) FROM unit WHERE source = ?", (SOURCE,)).fetchone()[0])


def digest(path: Path) -> str:
    """Of all rows and what the index says of them, without ids, times and fences: who did the same work has the same.

    Raises sqlite3.DatabaseError when the index does not fit the table. Only when nobody else writes.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("INSERT INTO document_fts (document_fts, rank) VALUES ('integrity-check', 1)")
        found = hashlib.blake2b()
        for row in db.execute(
            "SELECT d.key, d.uri, d.mime, d.metadata, d.content_hash, d.digest, d.title, d.text, u.version,"
            " (SELECT json_group_array(type || metadata || text) FROM element WHERE document = d.id)"
            " FROM document AS d JOIN unit AS u ON u.source = d.source AND u.key = d.unit"
            " WHERE d.source = ? AND d.deleted_at IS NULL ORDER BY d.key",
            (SOURCE,),
        ):
            found.update(repr(row).encode("utf-8", "surrogatepass"))
    return found.hexdigest()
