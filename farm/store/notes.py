"""What landings leave beside their content: the units they read, the cursor, and that they landed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Literal

from farm.connector import State
from farm.store.entry import Entry, json_text
from farm.store.landing import Landing


def landed_before(db: sqlite3.Connection, attempts: Iterable[int]) -> set[int]:
    """Those of these attempts that have landed."""
    found = db.execute(
        "SELECT attempt_id FROM landing WHERE attempt_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(attempts)),),
    )
    return {row[0] for row in found}


def overtaken_among(db: sqlite3.Connection, landings: Iterable[Landing]) -> set[int]:
    """Those of these attempts whose unit a later attempt has settled."""
    asked = json.dumps([(landing.source, landing.key, landing.attempt_id) for landing in landings])
    found = db.execute(
        "SELECT asked.value ->> 2 FROM json_each(?) AS asked CROSS JOIN unit"
        " ON unit.source = asked.value ->> 0 AND unit.key = asked.value ->> 1"
        " WHERE unit.fence > asked.value ->> 2",
        (asked,),
    )
    return {row[0] for row in found}


def left_behind(
    db: sqlite3.Connection, table: Literal["document", "record"], entries: Sequence[Entry]
) -> list[tuple[Entry, list[int]]]:
    """What lives of these entries' units that a smaller fence wrote: they have been read, and did not give it."""
    asked = json.dumps([(entry.landing.source, entry.unit, entry.fence) for entry in entries])
    found: dict[int, list[int]] = {}
    for place, id_ in db.execute(
        f"SELECT asked.key, held.id FROM json_each(?) AS asked CROSS JOIN {table} AS held"
        " ON held.source = asked.value ->> 0 AND held.unit = asked.value ->> 1"
        " WHERE held.deleted_at IS NULL AND held.fence < asked.value ->> 2",
        (asked,),
    ):
        found.setdefault(place, []).append(id_)
    return [(entries[place], ids) for place, ids in found.items()]


def keep_unit(db: sqlite3.Connection, entry: Entry, now: float) -> None:
    """The content is what it was: its version is noted. A unit not held has nothing to keep."""
    landing = entry.landing
    held = db.execute(
        "UPDATE unit SET version = ?, uri = iif(? <> '', ?, uri), seen = max(seen, ?),"
        " landed_at = ?, job_id = ?, fence = ? WHERE source = ? AND key = ? AND gone_at IS NULL"
        " RETURNING documents",
        (
            landing.version,
            landing.uri,
            landing.uri,
            entry.fence,
            now,
            landing.job_id,
            entry.fence,
            landing.source,
            landing.key,
        ),
    ).fetchone()
    if held is not None:
        entry.unchanged += held[0]


def note_units(db: sqlite3.Connection, entries: Iterable[Entry], now: float) -> None:
    """These units have been read, in these versions."""
    db.executemany(
        "INSERT INTO unit (source, key, version, content_hash, uri, documents, seen, landed_at,"
        " job_id, fence) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source, key) DO UPDATE SET"
        " version = excluded.version, content_hash = excluded.content_hash, uri = excluded.uri,"
        " documents = excluded.documents, seen = max(seen, excluded.seen),"
        " landed_at = excluded.landed_at, job_id = excluded.job_id, fence = excluded.fence,"
        " gone_at = NULL",
        [
            (
                entry.landing.source,
                entry.landing.key,
                entry.landing.version,
                min(entry.hashes) if len(entry.hashes) == 1 else "",
                entry.landing.uri,
                entry.new + entry.changed + entry.unchanged,
                entry.fence,
                now,
                entry.landing.job_id,
                entry.fence,
            )
            for entry in entries
        ],
    )


def note_landings(db: sqlite3.Connection, entries: Iterable[Entry], now: float) -> None:
    """These attempts have landed, with these counts."""
    db.executemany(
        "INSERT INTO landing VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                entry.fence,
                entry.landing.job_id,
                entry.landing.source,
                entry.landing.stage,
                entry.landing.key,
                entry.new,
                entry.changed,
                entry.deleted,
                entry.unchanged,
                entry.rejected,
                entry.moved,
                len(entry.children),
                entry.complete,
                entry.stale,
                json_text(entry.malformed) if entry.malformed else "[]",
                now,
            )
            for entry in entries
        ],
    )


def note_cursor(db: sqlite3.Connection, entry: Entry, state: State, now: float) -> None:
    """The connector goes on from here; an earlier attempt does not turn it back."""
    db.execute(
        "INSERT INTO cursor (source, value, landed_at, job_id, fence) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (source) DO UPDATE SET value = excluded.value, landed_at = excluded.landed_at,"
        " job_id = excluded.job_id, fence = excluded.fence WHERE fence <= excluded.fence",
        (
            entry.landing.source,
            json_text(state.value),
            now,
            entry.landing.job_id,
            entry.fence,
        ),
    )


def recall(db: sqlite3.Connection, entry: Entry) -> bool:
    """Whether this attempt has landed before; if so, the entry gets the counts of then."""
    noted = db.execute(
        "SELECT new, changed, deleted, unchanged, rejected, moved, complete, stale, malformed"
        " FROM landing WHERE attempt_id = ?",
        (entry.fence,),
    ).fetchone()
    if noted is None:
        return False
    entry.new, entry.changed, entry.deleted, entry.unchanged, entry.rejected, entry.moved = noted[:6]
    entry.complete, entry.stale = map(bool, noted[6:8])
    entry.malformed = json.loads(noted[8])
    return True
