"""What a landing leaves beside its content: the unit it read, the cursor, and that it landed."""

from __future__ import annotations

import json
import sqlite3

from farm.connector import State
from farm.store.entry import Entry, json_text
from farm.store.landing import Landing


def is_stale(db: sqlite3.Connection, landing: Landing) -> bool:
    """Whether a later attempt has settled this unit."""
    found = db.execute(
        "SELECT fence FROM unit WHERE source = ? AND key = ?", (landing.source, landing.key)
    ).fetchone()
    return found is not None and found[0] > landing.attempt_id


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


def note_unit(db: sqlite3.Connection, entry: Entry, now: float) -> None:
    """The unit has been read, in this version."""
    landing = entry.landing
    db.execute(
        "INSERT INTO unit (source, key, version, content_hash, uri, documents, seen, landed_at,"
        " job_id, fence) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source, key) DO UPDATE SET"
        " version = excluded.version, content_hash = excluded.content_hash, uri = excluded.uri,"
        " documents = excluded.documents, seen = max(seen, excluded.seen),"
        " landed_at = excluded.landed_at, job_id = excluded.job_id, fence = excluded.fence,"
        " gone_at = NULL",
        (
            landing.source,
            landing.key,
            landing.version,
            min(entry.hashes) if len(entry.hashes) == 1 else "",
            landing.uri,
            entry.new + entry.changed + entry.unchanged,
            entry.fence,
            now,
            landing.job_id,
            entry.fence,
        ),
    )


def note_landing(db: sqlite3.Connection, entry: Entry, now: float) -> None:
    """This attempt has landed, with these counts."""
    landing = entry.landing
    db.execute(
        "INSERT INTO landing VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            landing.attempt_id,
            landing.job_id,
            landing.source,
            landing.stage,
            landing.key,
            entry.new,
            entry.changed,
            entry.deleted,
            entry.unchanged,
            entry.rejected,
            entry.moved,
            len(entry.children),
            entry.complete,
            entry.stale,
            landing.partial,
            json_text(entry.malformed),
            now,
        ),
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
