"""Writes documents, their elements, and the full-text index, a chunk at a time.

The index must be told the old text before a row changes; then the row changes; then the index is given
the new text. All three work in the order of the ids, because FTS5 flushes when an id is smaller than the
last. A tombstone stays in the index as a row without words, so that index and table have the same rows.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import msgspec

from farm.connector import Document
from farm.lines import clean
from farm.store.entry import Entry, json_text
from farm.store.outbox import note_documents

CHUNK_BYTES = 8 * 1024 * 1024
CHUNK_DOCUMENTS = 2000

_elements = msgspec.json.Encoder()


def document_id(source: str, key: str) -> str:
    """A document's name everywhere: 32 hex digits made of its source and key.

    >>> document_id("notes", "a.md")
    'd03d5b4807a684f98620e20456943649'
    """
    return blake2b(f"{source}\0{key}".encode(), digest_size=16).hexdigest()


class _Held(NamedTuple):
    id: int
    fence: int
    digest: str
    uri: str
    title: str
    deleted: int


class _Row(NamedTuple):
    entry: Entry
    document: Document
    uri: str
    title: str
    text: str
    bytes: int
    metadata: str
    digest: str


class Documents:
    """The writer of documents within one transaction; `flush` before reading what was added."""

    def __init__(self, db: sqlite3.Connection, now: float) -> None:
        self._db = db
        self._now = now
        self._rows: dict[str, _Row] = {}
        self._bytes = 0
        self._next_id: int = db.execute("SELECT coalesce(max(id), 0) + 1 FROM document").fetchone()[0]

    def add(self, entry: Entry, document: Document) -> None:
        """Put a document among those that land with the next flush."""
        row = _row(entry, document)
        doc_id = document_id(entry.landing.source, row.document.key)
        if doc_id in self._rows:
            self.flush()
        self._rows[doc_id] = row
        self._bytes += row.bytes
        if self._bytes >= CHUNK_BYTES or len(self._rows) >= CHUNK_DOCUMENTS:
            self.flush()

    def flush(self) -> None:
        """Write what was added."""
        if not self._rows:
            return
        rows, self._rows, self._bytes = self._rows, {}, 0
        held = self._held(rows)
        new: list[tuple[int, str, _Row]] = []
        changed: list[tuple[int, str, _Row]] = []
        same: list[tuple[int, _Row]] = []
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
            self._unindex(chunk)
            self._db.execute(
                "UPDATE document SET title = '', text = '', bytes = 0, metadata = '{}', content_hash = '',"
                " digest = '', deleted_at = ?, job_id = ?, fence = ?"
                " WHERE id IN (SELECT value FROM json_each(?))",
                (self._now, entry.landing.job_id, entry.fence, chunk),
            )
            self._db.execute(
                "DELETE FROM element WHERE document IN (SELECT value FROM json_each(?))", (chunk,)
            )
            self._index(chunk)
            note_documents(self._db, "delete", chunk, self._now)
        entry.deleted += len(ids)

    def bury_unit(self, entry: Entry) -> None:
        """Make tombstones of what this entry's unit held and no longer gives."""
        self.bury(
            [
                row[0]
                for row in self._db.execute(
                    "SELECT id FROM document"
                    " WHERE source = ? AND unit = ? AND deleted_at IS NULL AND fence < ?",
                    (entry.landing.source, entry.unit, entry.fence),
                )
            ],
            entry,
        )

    def erase(self, ids: Sequence[int]) -> None:
        """Remove these rows without a trace but the outbox's."""
        for chunk in _chunks(sorted(ids)):
            self._unindex(chunk)
            note_documents(self._db, "delete", chunk, self._now)
            self._db.execute(
                "DELETE FROM element WHERE document IN (SELECT value FROM json_each(?))", (chunk,)
            )
            self._db.execute("DELETE FROM document WHERE id IN (SELECT value FROM json_each(?))", (chunk,))

    def move(self, entry: Entry, moves: Sequence[Move]) -> None:
        """Give the documents of units that moved their new keys, names and places, without reading them.

        All moves of a listing at once: one may take the name that another leaves.
        """
        if not moves:
            return
        by_unit = {move.old_key: move for move in moves}
        found = self._db.execute(
            "SELECT id, doc_id, unit, key, uri, title FROM document WHERE source = ? AND deleted_at IS NULL"
            " AND unit IN (SELECT value FROM json_each(?))",
            (entry.landing.source, json.dumps(list(by_unit))),
        ).fetchall()
        renamed = [_renamed(entry.landing.source, row, by_unit[row[2]]) for row in found]
        self._make_room(renamed)
        retitled = json.dumps(sorted(r.id for r in renamed if r.title != r.old_title))
        self._unindex(retitled)
        self._db.executemany(
            "UPDATE document SET doc_id = ?, unit = ?, key = ?, uri = ?, title = ?, job_id = ?, fence = ?"
            " WHERE id = ?",
            [
                (r.doc_id, r.unit, r.key, r.uri, r.title, entry.landing.job_id, entry.fence, r.id)
                for r in renamed
            ],
        )
        self._index(retitled)
        left = {r.was for r in renamed if r.was} - {r.doc_id for r in renamed}
        # First the new name, then the end of the old one: a sink may rename instead of fetching again.
        self._db.executemany(
            "INSERT OR REPLACE INTO outbox (at, op, kind, source, ref, was)"
            " VALUES (?, 'put', 'document', ?, ?, ?)",
            [(self._now, entry.landing.source, r.doc_id, r.was) for r in renamed],
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO outbox (at, op, kind, source, ref)"
            " VALUES (?, 'delete', 'document', ?, ?)",
            [(self._now, entry.landing.source, was) for was in left],
        )

    def _make_room(self, renamed: Sequence[_Renamed]) -> None:
        """Nobody else may hold a name that a moved document takes."""
        moving = {r.id for r in renamed}
        taken = self._db.execute(
            "SELECT id FROM document WHERE doc_id IN (SELECT value FROM json_each(?))",
            (json.dumps([r.doc_id for r in renamed if r.was]),),
        ).fetchall()
        if taken:
            self.erase([row[0] for row in taken if row[0] not in moving])
            self._db.executemany(
                "UPDATE document SET doc_id = 'moving ' || id WHERE id = ?",
                [(r.id,) for r in renamed if r.was],
            )

    def _held(self, doc_ids: Iterable[str]) -> dict[str, _Held]:
        return {
            row[0]: _Held(*row[1:])
            for row in self._db.execute(
                "SELECT doc_id, id, fence, digest, uri, title, deleted_at IS NOT NULL FROM document"
                " WHERE doc_id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(doc_ids)),),
            )
        }

    def _touch(self, same: Sequence[tuple[int, _Row]]) -> None:
        self._db.executemany(
            "UPDATE document SET unit = ?, version = ?, job_id = ?, fence = ? WHERE id = ?",
            [
                (r.entry.unit, r.entry.landing.version, r.entry.landing.job_id, r.entry.fence, id_)
                for id_, r in same
            ],
        )

    def _write(self, new: list[tuple[int, str, _Row]], changed: list[tuple[int, str, _Row]]) -> None:
        changed.sort(key=lambda item: item[0])
        replaced = json.dumps([item[0] for item in changed])
        if changed:
            self._unindex(replaced)
            self._db.execute(
                "DELETE FROM element WHERE document IN (SELECT value FROM json_each(?))", (replaced,)
            )
            self._db.executemany(
                f"UPDATE document SET {', '.join(f'{column} = ?' for column in _COLUMNS)} WHERE id = ?",
                [(*self._values(doc_id, row), id_) for id_, doc_id, row in changed],
            )
        if new:
            self._db.executemany(
                f"INSERT INTO document (id, {', '.join(_COLUMNS)}) VALUES (?{', ?' * len(_COLUMNS)})",
                [(id_, *self._values(doc_id, row)) for id_, doc_id, row in new],
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
            self._index(ids)
            note_documents(self._db, "put", ids, self._now)

    def _values(self, doc_id: str, row: _Row) -> tuple[Any, ...]:
        landing, document = row.entry.landing, row.document
        return (
            doc_id,
            landing.source,
            row.entry.unit,
            document.key,
            row.uri,
            document.mime,
            document.created_at,
            document.modified_at,
            row.metadata,
            document.content_hash,
            row.digest,
            landing.version,
            row.bytes,
            self._now,
            landing.job_id,
            landing.attempt_id,
            None,
            row.title,
            row.text,
        )

    def _unindex(self, ids: str) -> None:
        self._db.execute(
            "INSERT INTO document_fts (document_fts, rowid, title, text) SELECT 'delete', id, title, text"
            " FROM document WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
            (ids,),
        )

    def _index(self, ids: str) -> None:
        self._db.execute(
            "INSERT INTO document_fts (rowid, title, text) SELECT id, title, text"
            " FROM document WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
            (ids,),
        )


_COLUMNS = (
    "doc_id",
    "source",
    "unit",
    "key",
    "uri",
    "mime",
    "created_at",
    "modified_at",
    "metadata",
    "content_hash",
    "digest",
    "version",
    "bytes",
    "landed_at",
    "job_id",
    "fence",
    "deleted_at",
    "title",
    "text",
)


class Move(NamedTuple):
    """A unit that is now found elsewhere; with the same key, only its uri is another."""

    old_key: str
    old_uri: str
    key: str
    uri: str


class _Renamed(NamedTuple):
    id: int
    doc_id: str
    was: str
    unit: str
    key: str
    uri: str
    title: str
    old_title: str


def _renamed(source: str, row: tuple[int, str, str, str, str, str], move: Move) -> _Renamed:
    id_, old_doc_id, _, old_key, uri, old_title = row
    # Mostly the key is the unit's or begins with it (mailbox#3); any other says nothing of the place.
    key = move.key + old_key.removeprefix(move.old_key) if old_key.startswith(move.old_key) else old_key
    if move.old_uri and uri.startswith(move.old_uri):
        uri = move.uri + uri.removeprefix(move.old_uri)
    doc_id = document_id(source, key)
    return _Renamed(
        id=id_,
        doc_id=doc_id,
        was=old_doc_id if doc_id != old_doc_id else "",
        unit=move.key,
        key=key,
        uri=uri,
        title=_title(old_title, PurePosixPath(move.old_key), PurePosixPath(move.key)),
        old_title=old_title,
    )


def _title(title: str, old: PurePosixPath, new: PurePosixPath) -> str:
    """A title that was the file's name follows it."""
    if title and title == old.name:
        return new.name
    return new.stem if title and title == old.stem else title


def _row(entry: Entry, document: Document) -> _Row:
    title, uri = clean(document.title), clean(document.uri or entry.landing.uri)
    names = (document.key, document.mime, document.content_hash)
    if (cleaned := tuple(map(clean, names))) != names:
        key, mime, content_hash = cleaned
        document = msgspec.structs.replace(document, key=key, mime=mime, content_hash=content_hash)
    text, raw = document.text, b""
    try:
        raw = text.encode()
        if b"\0" in raw:
            raise ValueError
    except ValueError:  # a NUL, or a lone surrogate, which raises a subclass
        text = clean(text)
        raw = text.encode()
    metadata = json_text(document.metadata) if document.metadata else "{}"
    digest = blake2b(raw, digest_size=16)
    about = json_text(
        [metadata, document.mime, document.created_at, document.modified_at, document.content_hash]
    )
    digest.update(about.encode())
    if document.elements:
        try:
            digest.update(_elements.encode(document.elements))
        except (UnicodeEncodeError, TypeError):
            digest.update(json_text(msgspec.to_builtins(document.elements)).encode())
    return _Row(entry, document, uri, title, text, len(raw), metadata, digest.hexdigest())


def _chunks(ids: Sequence[int], size: int = 5000) -> Iterable[str]:
    return (json.dumps(ids[start : start + size]) for start in range(0, len(ids), size))
