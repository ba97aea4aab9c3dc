"""Renames the documents of units that moved, without reading or indexing their text again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from farm.store.documents import Documents
from farm.store.entry import Entry
from farm.store.outbox import note_moved_documents
from farm.store.row import document_id


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


def move(
    db: sqlite3.Connection, documents: Documents, entry: Entry, moves: Sequence[Move], now: float
) -> None:
    """Give the documents of units that moved their new keys, names and places, without reading them.

    All moves of a listing at once: one may take the name that another leaves.
    """
    if not moves:
        return
    by_unit = {move.old_key: move for move in moves}
    found = db.execute(
        "SELECT id, doc_id, unit, key, uri, title FROM document WHERE source = ? AND deleted_at IS NULL"
        " AND unit IN (SELECT value FROM json_each(?))",
        (entry.landing.source, json.dumps(list(by_unit))),
    ).fetchall()
    renamed = [_renamed(entry.landing.source, row, by_unit[row[2]]) for row in found]
    _make_room(db, documents, renamed)
    retitled = json.dumps(sorted(r.id for r in renamed if r.title != r.old_title))
    documents.unindex(retitled)
    db.executemany(
        "UPDATE document SET doc_id = ?, unit = ?, key = ?, uri = ?, title = ?, job_id = ?, fence = ?"
        " WHERE id = ?",
        [(r.doc_id, r.unit, r.key, r.uri, r.title, entry.landing.job_id, entry.fence, r.id) for r in renamed],
    )
    documents.index(retitled)
    note_moved_documents(db, entry.landing.source, [(r.id, r.doc_id, r.was) for r in renamed], now)


def _make_room(db: sqlite3.Connection, documents: Documents, renamed: Sequence[_Renamed]) -> None:
    """Nobody else may hold a name that a moved document takes."""
    moving = {r.id for r in renamed}
    taken = db.execute(
        "SELECT id FROM document WHERE doc_id IN (SELECT value FROM json_each(?))",
        (json.dumps([r.doc_id for r in renamed if r.was]),),
    ).fetchall()
    if taken:
        documents.erase([row[0] for row in taken if row[0] not in moving])
        db.executemany(
            "UPDATE document SET doc_id = 'moving ' || id WHERE id = ?",
            [(r.id,) for r in renamed if r.was],
        )


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
