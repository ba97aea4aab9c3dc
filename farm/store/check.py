"""What `farm doctor` asks of the store: every rule that its rows must keep, read-only.

Each rule is a query for the rows that break it. The index is compared by its row list, by the words of
tombstones (none), and by looking a sample of documents up; `deep` has FTS5 compare every word, on a copy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from farm import fleeting
from farm.errors import FarmError
from farm.sqlite import open_reader
from farm.store.query import Term, expression
from farm.store.row import document_id

SAMPLE = 200
SHOWN = 3

RULES: tuple[tuple[str, str], ...] = (
    (
        "document whose doc_id is not the hash of its source and key",
        "SELECT doc_id FROM document WHERE doc_id <> document_id(source, key)",
    ),
    (
        "document that search does not know",
        "SELECT doc_id FROM document WHERE id NOT IN (SELECT id FROM document_fts_docsize)",
    ),
    (
        "entry of the search index without a document",
        "SELECT id FROM document_fts_docsize WHERE id NOT IN (SELECT id FROM document)",
    ),
    (
        "deleted document whose words search still finds",
        "SELECT d.doc_id FROM document AS d JOIN document_fts_docsize AS s USING (id)"
        " WHERE d.deleted_at IS NOT NULL AND s.sz <> x'0000'",
    ),
    (
        "deleted document that keeps its text",
        "SELECT doc_id FROM document WHERE deleted_at IS NOT NULL AND (title <> '' OR text <> '')",
    ),
    (
        "document that is not as long as it says",
        "SELECT doc_id FROM document WHERE bytes <> length(CAST(text AS BLOB))",
    ),
    (
        "element without a living document",
        "SELECT document || '#' || ordinal FROM element"
        " WHERE document NOT IN (SELECT id FROM document WHERE deleted_at IS NULL)",
    ),
    (
        "document that no landing noted",
        "SELECT doc_id FROM document WHERE fence NOT IN (SELECT attempt_id FROM landing)",
    ),
    (
        "document noted under another job than its attempt's",
        "SELECT d.doc_id FROM document AS d JOIN landing AS l ON l.attempt_id = d.fence"
        " WHERE l.job_id <> d.job_id",
    ),
    (
        "record that no landing noted",
        "SELECT source || ' ' || stream || ':' || key FROM record"
        " WHERE fence NOT IN (SELECT attempt_id FROM landing)",
    ),
    (
        "unit that no landing noted",
        "SELECT source || ' ' || key FROM unit WHERE fence NOT IN (SELECT attempt_id FROM landing)",
    ),
    (
        "cursor that no landing noted",
        "SELECT source FROM cursor WHERE fence NOT IN (SELECT attempt_id FROM landing)",
    ),
    (
        "document of a unit that is gone",
        "SELECT d.doc_id FROM document AS d JOIN unit AS u ON u.source = d.source AND u.key = d.unit"
        " WHERE d.deleted_at IS NULL AND u.gone_at IS NOT NULL",
    ),
    (
        "document with metadata that is not JSON",
        "SELECT doc_id FROM document WHERE NOT json_valid(metadata)",
    ),
    (
        "record with data that is not JSON",
        "SELECT source || ' ' || stream || ':' || key FROM record WHERE NOT json_valid(data)",
    ),
    ("cursor that is not JSON", "SELECT source FROM cursor WHERE NOT json_valid(value)"),
    (
        "document whose last change the outbox does not tell",
        "SELECT d.doc_id FROM document AS d LEFT JOIN outbox AS o"
        " ON o.document = d.id"
        " AND o.source = d.source AND o.kind = 'document' AND o.ref = d.doc_id"
        " WHERE coalesce(o.op, '') <> iif(d.deleted_at IS NULL, 'put', 'delete')",
    ),
    (
        "record whose last change the outbox does not tell",
        "SELECT r.source || ' ' || r.stream || ':' || r.key FROM record AS r LEFT JOIN outbox AS o"
        " ON o.source = r.source AND o.kind = 'record' AND o.ref = r.stream || ':' || r.key"
        " AND o.document IS NULL WHERE coalesce(o.op, '') <> iif(r.deleted_at IS NULL, 'put', 'delete')",
    ),
    (
        "outbox entry that tells of something the store does not hold",
        "SELECT o.ref FROM outbox AS o WHERE o.op = 'put' AND NOT CASE o.kind"
        " WHEN 'document' THEN EXISTS"
        "  (SELECT 1 FROM document WHERE id = o.document AND doc_id = o.ref AND deleted_at IS NULL)"
        " ELSE EXISTS (SELECT 1 FROM record AS r WHERE r.source = o.source AND r.deleted_at IS NULL"
        "  AND r.stream || ':' || r.key = o.ref) END",
    ),
    (
        "outbox entry that tells of the end of a name that a document has",
        "SELECT o.ref FROM outbox AS o JOIN document AS d ON d.doc_id = o.ref"
        " WHERE o.kind = 'document' AND o.document IS NULL",
    ),
    (
        "consumer ahead of the outbox",
        "SELECT consumer FROM outbox_cursor"
        " WHERE seq > coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0)",
    ),
)


def check(path: Path, *, deep: bool = False) -> list[str]:
    """What is wrong with the store at this path, a sentence each; empty when nothing is."""
    try:
        with closing(open_reader(path)) as db:
            return _check(db, path, deep=deep)
    except (FarmError, sqlite3.DatabaseError) as error:
        return [f"store: {error}"]


def jobs_of_documents(path: Path) -> Iterator[tuple[int, str]]:
    """Each job that landed a living document, with one of them: all these must have succeeded in the ledger."""
    with closing(open_reader(path)) as db:
        yield from db.execute(
            "SELECT job_id, min(doc_id) FROM document WHERE deleted_at IS NULL GROUP BY job_id ORDER BY job_id"
        )


def _check(db: sqlite3.Connection, path: Path, *, deep: bool) -> list[str]:
    damage = [row[0] for row in db.execute("PRAGMA quick_check(10)") if row[0] != "ok"]
    if damage:
        return [f"store: {path.name} is damaged: {line}" for line in damage]
    db.create_function("document_id", 2, document_id, deterministic=True)
    wrong = []
    db.execute("BEGIN")  # one view of the store while it is being written
    for rule, sql in RULES:
        rows = [str(row[0]) for row in db.execute(f"{sql} LIMIT 1001")]
        if rows:
            wrong.append(_sentence(rule, rows))
    unfound = _unfound(db)
    if unfound:
        wrong.append(_sentence("document that search does not find by its own words", unfound))
    db.execute("COMMIT")
    if deep and not _words_agree(db):
        wrong.append("store: the search index disagrees with the documents")
    return wrong


def _sentence(rule: str, rows: list[str]) -> str:
    count = "over 1000" if len(rows) > 1000 else str(len(rows))
    examples = ", ".join(rows[:SHOWN]) + (", …" if len(rows) > SHOWN else "")
    return f"store: {count} × {rule} ({examples})"


def _unfound(db: sqlite3.Connection) -> list[str]:
    """Of a sample of documents, those that their first words do not find."""
    missing = []
    for id_, doc_id, beginning in db.execute(
        "SELECT id, doc_id, substr(text, 1, 400) FROM document WHERE deleted_at IS NULL"
        " ORDER BY random() LIMIT ?",
        (SAMPLE,),
    ).fetchall():
        words = beginning.split()[:-1][:5]
        match = expression(str(Term(" ".join(words).replace('"', " "))))
        if (
            match
            and not db.execute(
                "SELECT 1 FROM document_fts WHERE document_fts MATCH ? AND rowid = ?", (match, id_)
            ).fetchone()
        ):
            missing.append(doc_id)
    return missing


def _words_agree(db: sqlite3.Connection) -> bool:
    """FTS5's own comparison needs a connection that may write: it gets a copy."""
    with (
        fleeting.folder("farm-check-") as folder,
        closing(sqlite3.connect(folder / "copy.db", isolation_level=None)) as copy,
    ):
        db.backup(copy)
        try:
            copy.execute("INSERT INTO document_fts (document_fts, rank) VALUES ('integrity-check', 1)")
        except sqlite3.DatabaseError:
            return False
        return True
