"""What sinks have to hear of, and how far each has listened.

The outbox holds the newest change of each document and record only: a consumer that starts at 0 is given
all that lives (and what has died), one that comes back is given what changed since. Changes are noted in
the transaction that makes them, so none is heard of before it happened, and none is missed.

An entry that tells of a document in the store, living or not, has its id. A name that no document has any more
(it was erased, or moved to another name) has an entry without; it goes when a document takes the name.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Literal, NamedTuple


class Change(NamedTuple):
    """One thing that changed; `ref` is a doc_id, or a record's stream:key."""

    seq: int
    at: float
    op: str
    kind: str
    source: str
    ref: str
    was: str


def changes(db: sqlite3.Connection, consumer: str, limit: int = 1000) -> list[Change]:
    """What this consumer has not yet acknowledged, oldest first."""
    return [
        Change(*row)
        for row in db.execute(
            "SELECT seq, at, op, kind, source, ref, was FROM outbox"
            " WHERE seq > coalesce((SELECT seq FROM outbox_cursor WHERE consumer = ?), 0)"
            " ORDER BY seq LIMIT ?",
            (consumer, limit),
        )
    ]


def acknowledge(db: sqlite3.Connection, consumer: str, seq: int, now: float) -> None:
    """This consumer has taken everything up to here; it never goes back."""
    db.execute(
        "INSERT INTO outbox_cursor (consumer, seq, updated_at) VALUES (?, ?, ?)"
        " ON CONFLICT (consumer) DO UPDATE SET seq = max(seq, excluded.seq),"
        " updated_at = excluded.updated_at",
        (consumer, seq, now),
    )


def note_documents(db: sqlite3.Connection, op: Literal["put", "delete"], ids: str, now: float) -> None:
    """Note put or delete of these documents, whose rows say so already; ids is a JSON array."""
    if op == "put":
        _take_names(db, ids)
    db.execute(
        "INSERT OR REPLACE INTO outbox (at, op, kind, source, ref, document)"
        " SELECT ?, ?, 'document', source, doc_id, id"
        " FROM document WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
        (now, op, ids),
    )


def note_erased_documents(db: sqlite3.Connection, ids: str, now: float) -> None:
    """Note the end of these documents, whose rows go next; ids is a JSON array."""
    db.execute("DELETE FROM outbox WHERE document IN (SELECT value FROM json_each(?))", (ids,))
    db.execute(
        "INSERT OR REPLACE INTO outbox (at, op, kind, source, ref) SELECT ?, 'delete', 'document', source, doc_id"
        " FROM document WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
        (now, ids),
    )


def note_moved_documents(
    db: sqlite3.Connection, source: str, moved: Sequence[tuple[int, str, str]], now: float
) -> None:
    """Note these documents, by id, doc_id and the doc_id they had ("": the same), whose rows say so already.

    First the new name, then the end of the old one: a sink may rename instead of fetching again.
    """
    _take_names(db, json.dumps([id_ for id_, _, _ in moved]))
    db.executemany(
        "INSERT OR REPLACE INTO outbox (at, op, kind, source, ref, was, document)"
        " VALUES (?, 'put', 'document', ?, ?, ?, ?)",
        [(now, source, doc_id, was, id_) for id_, doc_id, was in moved],
    )
    left = {was for _, _, was in moved if was} - {doc_id for _, doc_id, _ in moved}
    db.executemany(
        "INSERT OR REPLACE INTO outbox (at, op, kind, source, ref) VALUES (?, 'delete', 'document', ?, ?)",
        [(now, source, was) for was in sorted(left)],
    )


def _take_names(db: sqlite3.Connection, ids: str) -> None:
    """These documents have their names now: nothing is told of an earlier bearer's end any more."""
    db.execute(
        "DELETE FROM outbox WHERE seq IN (SELECT ended.seq FROM json_each(?) AS given"
        " CROSS JOIN document AS d ON d.id = given.value CROSS JOIN outbox AS ended"
        " ON ended.source = d.source AND ended.kind = 'document' AND ended.ref = d.doc_id"
        " WHERE ended.document IS NULL)",
        (ids,),
    )


def note_records(db: sqlite3.Connection, op: str, ids: str, now: float) -> None:
    """Note put or delete of these records; ids is a JSON array."""
    db.execute(
        "INSERT OR REPLACE INTO outbox (at, op, kind, source, ref)"
        " SELECT ?, ?, 'record', source, stream || ':' || key"
        " FROM record WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
        (now, op, ids),
    )


def note_moved_records(
    db: sqlite3.Connection, source: str, moved: Sequence[tuple[str, str]], now: float
) -> None:
    """Note these records, by the ref they had and the one they have, which may be the same.

    First the new name, then the end of the old one: a sink may rename instead of fetching again.
    """
    db.executemany(
        "INSERT OR REPLACE INTO outbox (at, op, kind, source, ref, was) VALUES (?, 'put', 'record', ?, ?, ?)",
        [(now, source, new, old if new != old else "") for old, new in moved],
    )
    left = {old for old, new in moved if new != old} - {new for _, new in moved}
    db.executemany(
        "INSERT OR REPLACE INTO outbox (at, op, kind, source, ref) VALUES (?, 'delete', 'record', ?, ?)",
        [(now, source, old) for old in sorted(left)],
    )
