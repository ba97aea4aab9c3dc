"""Writes documents, their elements, and the full-text index, a chunk at a time.

The index must be told the old text before a row changes; then the row changes; then the index is given
the new text. All three work in the order of the ids, because FTS5 flushes when an id is smaller than the
last. A tombstone stays in the index as a row without words, so that index and table have the same rows.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from farm.connector import Document
from farm.lines import clean
from farm.store.entry import Entry, json_text
from farm.store.notes import left_behind
from farm.store.outbox import note_documents, note_erased_documents
from farm.store.row import COLUMNS, PLACES, Row, document_id, row_of

CHUNK_BYTES = 8 * 1024 * 1024
CHUNK_DOCUMENTS = 2000


class _Held(NamedTuple):
    id: int
    fence: int
    digest: str
    uri: str
    title: str
    deleted: int


class Documents:
    """The writer of documents within one transaction; `flush` before reading what was added."""

    def __init__(self, db: sqlite3.Connection, now: float) -> None:
        self._db = db
        self._now = now
        self._rows: dict[str, Row] = {}
        self._bytes = 0
        self._next_id: int = db.execute("SELECT coalesce(max(id), 0) + 1 FROM document").fetchone()[0]

    def add(self, entry: Entry, document: Document) -> None:
        """Put a document among those that land with the next flush."""
        row = row_of(entry, document)
        doc_id = document_id(entry.landing.source, row.document.key)
        if doc_id in self._rows:
            self.flush()
        self._rows[doc_id] = row
        self._bytes += len(row.text) + sum(len(element.text) for element in document.elements)
        if self._bytes >= CHUNK_BYTES or len(self._rows) >= CHUNK_DOCUMENTS:
            self.flush()

    def flush(self) -> None:
        """Write what was added."""
        if not self._rows:
            return
        rows, self._rows, self._bytes = self._rows, {}, 0
        held = self._held(rows)
        new: list[tuple[int, str, Row]] = []
        changed: list[tuple[int, str, Row]] = []
        same: list[tuple[int, Row]] = []
        for doc_id, row in rows.items():
            entry, old = row.entry, held.get(doc_id)
            if old is None:
                new.append((self._next_id, doc_id, row))
                self._next_id += 1
                entry.new += 1
            elif old.fence > entry.fence:
                continue  # a later attempt was faster
            elif not old.deleted and (old.digest, old.uri, old.title) == (row.digest, row.uri, row.title):
                same.append((old.id, row))
                entry.unchanged += old.fence != entry.fence
            else:
                changed.append((old.id, doc_id, row))
                if old.fence != entry.fence or old.deleted:
                    entry.new += old.deleted
                    entry.changed += not old.deleted
            if row.document.content_hash:
                entry.hashes.add(row.document.content_hash)
        self._touch(same)
        self._write(new, changed)

    def bury(self, ids: Sequence[int], entry: Entry) -> None:
        """Make tombstones of these live documents: no word of them is found or kept."""
        for chunk in _chunks(sorted(ids)):
            self.unindex(chunk)
            self._db.execute(
                "UPDATE document SET title = '', text = '', bytes = 0, metadata = '{}', content_hash = '',"
                " digest = '', deleted_at = ?, job_id = ?, fence = ?"
                " WHERE id IN (SELECT value FROM json_each(?))",
                (self._now, entry.landing.job_id, entry.fence, chunk),
            )
            self._db.execute(
                "DELETE FROM element WHERE document IN (SELECT value FROM json_each(?))", (chunk,)
            )
            self.index(chunk)
            note_documents(self._db, "delete", chunk, self._now)
        entry.deleted += len(ids)

    def bury_rest(self, entries: Sequence[Entry]) -> None:
        """Make tombstones of what these entries' units held and no longer give."""
        for entry, ids in left_behind(self._db, "document", entries):
            self.bury(ids, entry)

    def erase(self, ids: Sequence[int]) -> None:
        """Remove these rows without a trace but the outbox's."""
        for chunk in _chunks(sorted(ids)):
            self.unindex(chunk)
            note_erased_documents(self._db, chunk, self._now)
            self._db.execute(
                "DELETE FROM element WHERE document IN (SELECT value FROM json_each(?))", (chunk,)
            )
            self._db.execute("DELETE FROM document WHERE id IN (SELECT value FROM json_each(?))", (chunk,))

    def _held(self, doc_ids: Iterable[str]) -> dict[str, _Held]:
        return {
            row[0]: _Held(*row[1:])
            for row in self._db.execute(
                "SELECT doc_id, id, fence, digest, uri, title, deleted_at IS NOT NULL FROM document"
                " WHERE doc_id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(doc_ids)),),
            )
        }

    def _touch(self, same: Sequence[tuple[int, Row]]) -> None:
        self._db.executemany(
            "UPDATE document SET unit = ?, version = ?, job_id = ?, fence = ? WHERE id = ?",
            [
                (r.entry.unit, r.entry.landing.version, r.entry.landing.job_id, r.entry.fence, id_)
                for id_, r in same
            ],
        )

    def _write(self, new: list[tuple[int, str, Row]], changed: list[tuple[int, str, Row]]) -> None:
        changed.sort(key=lambda item: item[0])
        replaced = json.dumps([item[0] for item in changed])
        if changed:
            self.unindex(replaced)
            self._db.execute(
                "DELETE FROM element WHERE document IN (SELECT value FROM json_each(?))", (replaced,)
            )
            self._db.executemany(
                f"UPDATE document SET ({', '.join(COLUMNS)}) = ({', '.join(PLACES)}) WHERE id = ?",
                [(*row.values(doc_id, self._now), id_) for id_, doc_id, row in changed],
            )
        if new:
            self._db.executemany(
                f"INSERT INTO document (id, {', '.join(COLUMNS)}) VALUES (?, {', '.join(PLACES)})",
                [(id_, *row.values(doc_id, self._now)) for id_, doc_id, row in new],
            )
        written = [*changed, *new]
        self._db.executemany(
            "INSERT INTO element (document, ordinal, type, metadata, text) VALUES (?, ?, ?, ?, ?)",
            (
                (id_, ordinal, clean(e.type), json_text(e.metadata) if e.metadata else "{}", clean(e.text))
                for id_, _, row in written
                for ordinal, e in enumerate(row.document.elements)
            ),
        )
        if written:
            ids = json.dumps([item[0] for item in written])
            self.index(ids)
            note_documents(self._db, "put", ids, self._now)

    def unindex(self, ids: str) -> None:
        """Take these documents out of the index, before they change; ids is a JSON array."""
        self._db.execute(
            "INSERT INTO document_fts (document_fts, rowid, title, text) SELECT 'delete', id, title, text"
            " FROM document WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
            (ids,),
        )

    def index(self, ids: str) -> None:
        """Put these documents into the index, after they changed."""
        self._db.execute(
            "INSERT INTO document_fts (rowid, title, text) SELECT id, title, text"
            " FROM document WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
            (ids,),
        )


def _chunks(ids: Sequence[int], size: int = 5000) -> Iterable[str]:
    return (json.dumps(ids[start : start + size]) for start in range(0, len(ids), size))
