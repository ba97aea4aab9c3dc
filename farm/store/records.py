"""Writes records and the streams they belong to, a chunk at a time.

A record's key is what the line says, else its stream's key properties, else a hash of the data: the same
record again changes nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from farm.connector import Record, Schema
from farm.lines import clean
from farm.store.entry import Entry, json_text
from farm.store.notes import left_behind
from farm.store.outbox import note_moved_records, note_records

CHUNK_BYTES = 8 * 1024 * 1024
CHUNK_RECORDS = 5000

_sorted = msgspec.json.Encoder(order="sorted", enc_hook=str)


class _Row(NamedTuple):
    entry: Entry
    data: str
    deleted: bool


class _Concerned(NamedTuple):
    id: int
    stream: str
    key: str
    unit: str
    data: str
    properties: str


class _Moved(NamedTuple):
    id: int
    stream: str
    old_key: str
    key: str
    unit: str
    data: str


class Records:
    """The writer of records within one transaction; `flush` before reading what was added."""

    def __init__(self, db: sqlite3.Connection, now: float) -> None:
        self._db = db
        self._now = now
        self._rows: dict[tuple[str, str, str], _Row] = {}
        self._bytes = 0
        self._keys: dict[tuple[str, str], list[str]] = {}

    def declare(self, entry: Entry, schema: Schema) -> None:
        """A stream's schema and key properties; they hold for the records after it."""
        landing, stream = entry.landing, clean(schema.stream)
        entry.streams.add(stream)
        self._keys[landing.source, stream] = schema.key_properties
        self._db.execute(
            "INSERT INTO stream (source, stream, schema, key_properties, landed_at, job_id, fence)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source, stream) DO UPDATE SET"
            " schema = excluded.schema, key_properties = excluded.key_properties,"
            " landed_at = excluded.landed_at, job_id = excluded.job_id,"
            " fence = excluded.fence WHERE fence <= excluded.fence",
            (
                landing.source,
                stream,
                json_text(schema.schema),
                json_text(schema.key_properties),
                self._now,
                landing.job_id,
                entry.fence,
            ),
        )

    def add(self, entry: Entry, record: Record) -> str:
        """Put a record among those that land with the next flush; else why it cannot be."""
        stream = clean(record.stream)
        key = clean(record.key) or self._key(entry.landing.source, stream, record.record)
        if key is None:
            properties = ", ".join(self._keys[entry.landing.source, stream])
            return f"a record of {stream} without a value of its key ({properties})"
        entry.streams.add(stream)
        at = entry.landing.source, stream, key
        before = self._rows.get(at)
        if before is not None and before.entry is not entry:
            self.flush()
        data = "{}" if record.deleted else json_text(record.record)
        self._rows[at] = _Row(entry, data, record.deleted)
        self._bytes += len(data)
        if self._bytes >= CHUNK_BYTES or len(self._rows) >= CHUNK_RECORDS:
            self.flush()
        return ""

    def flush(self) -> None:
        """Write what was added."""
        if not self._rows:
            return
        rows, self._rows, self._bytes = self._rows, {}, 0
        held = self._held(list(rows))
        put: list[tuple[Any, ...]] = []
        same: list[tuple[Any, ...]] = []
        for at, row in rows.items():
            entry, old = row.entry, held.get(at)
            id_, fence, data, dead = old or (0, 0, "", 1)
            if fence > entry.fence:
                continue  # a later attempt was faster
            if row.deleted:
                if not dead:
                    self.bury([id_], entry)
            elif not dead and data == row.data:
                same.append((entry.unit, entry.landing.job_id, entry.fence, id_))
                entry.unchanged += fence != entry.fence
            else:
                put.append((*at, entry.unit, self._now, entry.landing.job_id, entry.fence, row.data))
                if fence != entry.fence or dead:
                    entry.new += dead
                    entry.changed += not dead
        self._db.executemany("UPDATE record SET unit = ?, job_id = ?, fence = ? WHERE id = ?", same)
        if put:
            self._put(put)

    def bury(self, ids: Sequence[int], entry: Entry) -> None:
        """Make tombstones of these live records."""
        if not ids:
            return
        found = json.dumps(ids)
        self._db.execute(
            "UPDATE record SET data = '{}', deleted_at = ?, job_id = ?, fence = ?"
            " WHERE id IN (SELECT value FROM json_each(?))",
            (self._now, entry.landing.job_id, entry.fence, found),
        )
        note_records(self._db, "delete", found, self._now)
        entry.deleted += len(ids)

    def bury_rest(self, entries: Sequence[Entry]) -> None:
        """Make tombstones of what these entries' units held and no longer give."""
        for entry, ids in left_behind(self._db, "record", entries):
            self.bury(ids, entry)

    def move(self, entry: Entry, keys: Mapping[str, str]) -> None:
        """Units have new keys: their records go along, and what names these units names them as they are now.

        A record's key that begins with its unit's follows it, as a document's does. A property whose schema
        says `"x-unit-key": true` is the key of a unit, in records of any unit.
        """
        if not keys:
            return
        moved: list[_Moved] = []
        for row in self._concerned(entry.landing.source, keys):
            unit = keys.get(row.unit, row.unit)
            key = row.key
            if unit != row.unit and key.startswith(row.unit):
                key = unit + key.removeprefix(row.unit)
            data = json.loads(row.data)
            named = {name: keys[data[name]] for name in json.loads(row.properties) if data.get(name) in keys}
            moved.append(_Moved(row.id, row.stream, row.key, key, unit, json_text({**data, **named})))
        self._make_room(entry.landing.source, moved)
        self._db.executemany(
            "UPDATE record SET key = ?, unit = ?, data = ?, job_id = ?, fence = ? WHERE id = ?",
            [(m.key, m.unit, m.data, entry.landing.job_id, entry.fence, m.id) for m in moved],
        )
        note_moved_records(
            self._db,
            entry.landing.source,
            [(f"{m.stream}:{m.old_key}", f"{m.stream}:{m.key}") for m in moved],
            self._now,
        )

    def _concerned(self, source: str, keys: Mapping[str, str]) -> list[_Concerned]:
        """Live records of these units, and of others that name them."""
        return [
            _Concerned(*row)
            for row in self._db.execute(
                "WITH moved AS (SELECT value AS key FROM json_each(:keys)),"
                " naming AS (SELECT s.stream, p.key AS property FROM stream AS s,"
                "  json_each(s.schema, '$.properties') AS p WHERE s.source = :source AND p.type = 'object'"
                "  AND p.value ->> '$.x-unit-key')"
                " SELECT r.id, r.stream, r.key, r.unit, r.data,"
                "  (SELECT json_group_array(property) FROM naming AS n WHERE n.stream = r.stream)"
                " FROM record AS r WHERE r.source = :source AND r.deleted_at IS NULL AND (r.unit IN moved"
                "  OR EXISTS (SELECT 1 FROM naming AS n WHERE n.stream = r.stream"
                "   AND (r.data ->> n.property) IN moved))",
                {"source": source, "keys": json.dumps(list(keys))},
            )
        ]

    def _make_room(self, source: str, moved: Sequence[_Moved]) -> None:
        """Nobody else may hold a key that a moved record takes; of each other they may."""
        renamed = [m for m in moved if m.key != m.old_key]
        self._db.executemany(
            "UPDATE record SET key = 'moving ' || id WHERE id = ?", [(m.id,) for m in renamed]
        )
        self._db.executemany(
            "DELETE FROM record WHERE source = ? AND stream = ? AND key = ?",
            [(source, m.stream, m.key) for m in renamed],
        )

    def _put(self, rows: list[tuple[Any, ...]]) -> None:
        self._db.executemany(
            "INSERT INTO record (source, stream, key, unit, landed_at, job_id, fence, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source, stream, key) DO UPDATE SET"
            " unit = excluded.unit, landed_at = excluded.landed_at, job_id = excluded.job_id,"
            " fence = excluded.fence, data = excluded.data, deleted_at = NULL",
            rows,
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO outbox (at, op, kind, source, ref) VALUES (?, 'put', 'record', ?, ?)",
            [(self._now, row[0], f"{row[1]}:{row[2]}") for row in rows],
        )

    def _held(
        self, keys: list[tuple[str, str, str]]
    ) -> dict[tuple[str, str, str], tuple[int, int, str, int]]:
        return {
            (row[0], row[1], row[2]): row[3:]
            for row in self._db.execute(
                "SELECT r.source, r.stream, r.key, r.id, r.fence, r.data, r.deleted_at IS NOT NULL"
                " FROM json_each(?) AS j CROSS JOIN record AS r"
                " ON r.source = j.value ->> 0 AND r.stream = j.value ->> 1 AND r.key = j.value ->> 2",
                (json.dumps(keys),),
            )
        }

    def _key(self, source: str, stream: str, data: dict[str, Any]) -> str | None:
        properties = self._keys.get((source, stream))
        if properties is None:
            found = self._db.execute(
                "SELECT key_properties FROM stream WHERE source = ? AND stream = ?", (source, stream)
            ).fetchone()
            properties = self._keys[source, stream] = json.loads(found[0]) if found else []
        if not properties:
            try:
                canonical = _sorted.encode(data)
            except UnicodeEncodeError:
                canonical = json_text(data).encode()
            return blake2b(canonical, digest_size=16).hexdigest()
        values = [data.get(name) for name in properties]
        if any(value is None or value == "" for value in values):
            return None
        if len(values) == 1:
            return clean(values[0]) if isinstance(values[0], str) else json_text(values[0])
        return json_text(values)
