"""Compares what a discover attempt listed with what the store holds: children, moves, and what is gone.

The listing goes line by line into a temporary table, so that it may be as long as it likes; the
comparison is a handful of joins. A unit is gone when a line says so, or when a complete listing does not
name it and did look where it was, unless a later attempt has seen it (attempts are numbered as they begin;
clocks may be set back).

A new unit and a gone one of the same version are one that moved; where several share a version nobody can
tell which became which, and they are read again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

from farm.connector import Gone, Unit
from farm.core.job import RunType
from farm.lines import clean
from farm.store.documents import Documents
from farm.store.entry import Entry, json_text
from farm.store.landing import Child
from farm.store.moves import Move, move
from farm.store.records import Records

CHUNK_LINES = 5000

TEMPORARY = """
CREATE TEMP TABLE listed (
    key TEXT PRIMARY KEY, ordinal INTEGER NOT NULL, version TEXT, data TEXT NOT NULL, uri TEXT NOT NULL
) WITHOUT ROWID; -- version NULL: a line says that it is gone
CREATE TEMP TABLE gone (key TEXT PRIMARY KEY, version TEXT NOT NULL, uri TEXT NOT NULL) WITHOUT ROWID;
"""

_encode = msgspec.json.Encoder().encode


class Listing:
    """The units that one discover attempt listed."""

    def __init__(self, db: sqlite3.Connection, entry: Entry, now: float) -> None:
        self._db = db
        self._entry = entry
        self._now = now
        self._lines: list[tuple[str, int, str | None, str, str]] = []
        self._ordinal = 0
        self._of = {
            "source": entry.landing.source,
            "fence": entry.fence,
            "job": entry.landing.job_id,
            "now": now,
            "replay": entry.landing.run_type is RunType.REPLAY,
        }
        db.execute("DELETE FROM temp.listed")
        db.execute("DELETE FROM temp.gone")

    def add(self, line: Unit | Gone) -> None:
        """Note a line; of several about one unit the last one holds."""
        version, data, uri = None, "{}", ""
        if isinstance(line, Unit):
            version, data, uri = (
                clean(line.version),
                json_text(line.data) if line.data else "{}",
                clean(line.uri),
            )
        self._ordinal += 1
        self._lines.append((clean(line.key), self._ordinal, version, data, uri))
        if len(self._lines) >= CHUNK_LINES:
            self._flush()

    def compare(self, documents: Documents, records: Records) -> None:
        """Carry out what the listing means for what the store holds, and name the children."""
        self._flush()
        self._find_gone()
        self._count_unchanged()
        self._move(documents, records)
        self._bury(documents, records)
        if not self._entry.complete:
            self._see()
        self.name_children()

    def name_children(self) -> None:
        """The listed units that the store does not hold in the listed version."""
        self._flush()
        if self._ordinal:
            self._entry.children.extend(self._children())

    def _flush(self) -> None:
        if self._lines:
            self._db.executemany("INSERT OR REPLACE INTO temp.listed VALUES (?, ?, ?, ?, ?)", self._lines)
            self._lines.clear()

    def _find_gone(self) -> None:
        self._db.execute(
            "INSERT INTO temp.gone SELECT u.key, u.version, u.uri FROM temp.listed AS l JOIN unit AS u"
            " ON u.source = :source AND u.key = l.key"
            " WHERE l.version IS NULL AND u.gone_at IS NULL AND u.fence < :fence",
            self._of,
        )
        if self._entry.complete:
            self._db.execute(
                "INSERT OR IGNORE INTO temp.gone SELECT key, version, uri FROM unit AS u"
                " WHERE source = :source AND gone_at IS NULL AND fence < :fence AND seen < :fence"
                " AND NOT EXISTS (SELECT 1 FROM temp.listed AS l WHERE l.key = u.key)"
                " AND NOT EXISTS (SELECT 1 FROM json_each(:unread) AS p"
                "  WHERE substr(u.key, 1, length(p.value)) = p.value)",
                {**self._of, "unread": json_text(self._entry.unread)},
            )

    def _count_unchanged(self) -> None:
        self._entry.unchanged += self._db.execute(
            "SELECT coalesce(sum(u.documents), 0) FROM temp.listed AS l JOIN unit AS u"
            " ON u.source = :source AND u.key = l.key AND u.version = l.version"
            " WHERE u.gone_at IS NULL AND NOT :replay",
            self._of,
        ).fetchone()[0]

    def _move(self, documents: Documents, records: Records) -> None:
        moved = self._db.execute(
            "SELECT g.key, g.uri, l.key, l.uri FROM"
            " (SELECT key, uri, version FROM temp.gone WHERE version <> ''"
            "  GROUP BY version HAVING count(*) = 1) AS g"
            # One that vanished before it was read has nothing to take along: it is read where it is now.
            " JOIN unit AS held ON held.source = :source AND held.key = g.key AND held.documents > 0"
            " JOIN (SELECT l.key, l.uri, l.version FROM temp.listed AS l LEFT JOIN unit AS u"
            "  ON u.source = :source AND u.key = l.key"
            "  WHERE l.version IS NOT NULL AND (u.key IS NULL OR u.gone_at IS NOT NULL AND u.fence < :fence)"
            "  GROUP BY l.version HAVING count(*) = 1) AS l USING (version)",
            self._of,
        ).fetchall()
        elsewhere = self._db.execute(
            "SELECT u.key, u.uri, l.key, l.uri FROM temp.listed AS l JOIN unit AS u"
            " ON u.source = :source AND u.key = l.key AND u.version = l.version"
            " WHERE u.gone_at IS NULL AND u.fence < :fence AND l.uri <> '' AND l.uri <> u.uri",
            self._of,
        ).fetchall()
        move(self._db, documents, self._entry, [Move(*row) for row in (*moved, *elsewhere)], self._now)
        self._db.executemany(
            "INSERT OR REPLACE INTO unit (source, key, version, content_hash, uri, documents, seen,"
            " landed_at, job_id, fence) SELECT source, :key, version, content_hash, :uri, documents,"
            " max(seen, :fence), landed_at, :job, :fence FROM unit"
            " WHERE source = :source AND key = :old",
            [{**self._of, "old": row[0], "key": row[2], "uri": row[3]} for row in (*moved, *elsewhere)],
        )
        records.move(self._entry, {row[0]: row[2] for row in moved})
        # The old name stays as a gone unit, so that a late attempt at it lands nothing.
        self._db.executemany(
            "UPDATE unit SET gone_at = :now, documents = 0, job_id = :job, fence = :fence"
            " WHERE source = :source AND key = :old",
            [{**self._of, "old": row[0]} for row in moved],
        )
        self._db.executemany("DELETE FROM temp.gone WHERE key = ?", [(row[0],) for row in moved])
        self._entry.moved += len(moved)

    def _bury(self, documents: Documents, records: Records) -> None:
        for table, writer in (("document", documents), ("record", records)):
            found = self._db.execute(
                f"SELECT d.id FROM temp.gone AS g CROSS JOIN {table} AS d"
                " ON d.source = :source AND d.unit = g.key WHERE d.deleted_at IS NULL AND d.fence < :fence",
                self._of,
            ).fetchall()
            writer.bury([row[0] for row in found], self._entry)
        self._db.execute(
            "UPDATE unit SET gone_at = :now, documents = 0, job_id = :job, fence = :fence"
            " WHERE source = :source AND key IN (SELECT key FROM temp.gone)",
            self._of,
        )

    def _see(self) -> None:
        """Part of a listing (an event run) proves to a complete one begun before it that these exist."""
        self._db.execute(
            "UPDATE unit SET seen = :fence"
            " WHERE source = :source AND gone_at IS NULL AND seen < :fence"
            " AND key IN (SELECT key FROM temp.listed WHERE version IS NOT NULL)",
            self._of,
        )

    def _children(self) -> Iterator[Child]:
        for key, version, data, uri, held in self._db.execute(
            "SELECT l.key, l.version, l.data, l.uri, iif(:replay, '', coalesce(u.content_hash, ''))"
            " FROM temp.listed AS l LEFT JOIN unit AS u"
            " ON u.source = :source AND u.key = l.key AND u.gone_at IS NULL"
            " WHERE l.version IS NOT NULL AND (u.key IS NULL OR u.version <> l.version OR :replay)"
            " ORDER BY l.ordinal",
            self._of,
        ):
            payload = b'{"data":%b,"uri":%b,"held":%b}' % (data.encode(), _encode(uri), _encode(held))
            yield Child(key, version, payload.decode())
