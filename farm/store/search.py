"""Reads the store: searches it and lists what it holds, by read-only connections and short reads."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from farm.sqlite import open_reader
from farm.store.query import Term, terms
from farm.store.ranking import BOUNDS, Bounds, Part, Ranking
from farm.store.snippet import excerpt

LONG_BYTES = 128 * 1024
"""A longer text is not given to FTS5's snippet, which takes 30 ms for each megabyte."""
WINDOW_BYTES = 64 * 1024
WINDOWS = 8


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that a search found; the smaller the score the better; 0: not ranked."""

    doc_id: str
    source: str
    uri: str
    title: str
    snippet: str
    score: float
    ranked_among: int | None = None
    """Best among so many, as more match: those that came in last. None: the best of all that match. 0: not ranked, for
    it would take too long; the newest come first."""


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A document without its text. Times are Unix seconds."""

    doc_id: str
    source: str
    unit: str
    key: str
    uri: str
    title: str
    mime: str
    bytes: int
    created_at: float | None
    modified_at: float | None
    landed_at: float
    deleted_at: float | None
    job_id: int


@dataclass(frozen=True, slots=True)
class DocumentDetail:
    """A document with all that is known of it."""

    row: DocumentRow
    text: str
    version: str
    content_hash: str
    metadata: dict[str, Any]
    elements: list[dict[str, Any]]
    """{type, text, metadata} each."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What the store holds of one source."""

    source: str
    documents: int
    bytes: int
    deleted: int
    records: int
    units: int


def search(
    store: sqlite3.Connection | Path,
    query: str,
    *,
    source: str | None = None,
    limit: int = 20,
    offset: int = 0,
    mark: tuple[str, str] = ("", ""),
    bounds: Bounds = BOUNDS,
) -> list[Hit]:
    """The documents that match, best first; `mark` is put around the words found in a snippet.

    Where very many match, those that came in last are ranked, and the others follow them, newest first, so that pages
    never show one twice (see ranking.py).
    """
    found = terms(query)
    wanted = [term for term in found if not term.excluded]
    if not wanted or limit <= 0:
        return []
    with _reading(store) as db, _at_one_moment(db):
        parts, among = Ranking(db, found, source, bounds).page(limit, max(offset, 0))
        return [hit for part in parts for hit in _hits(db, part, among, wanted, mark)]


def _hits(
    db: sqlite3.Connection, part: Part, among: int | None, wanted: list[Term], mark: tuple[str, str]
) -> list[Hit]:
    """What is shown of these documents, in their order.

    FTS5 goes straight to each of them; but where a beginning is looked for, it would put together anew for each what
    all the words that begin so have, so then it goes through all between the first and the last.
    """
    page = part.scores
    if not page:
        return []
    found, through = {}, "+" if any(term.prefix for term in wanted) else ""
    for id_, doc_id, source, uri, title, snippet in db.execute(
        "SELECT d.id, d.doc_id, d.source, d.uri, d.title,"
        " iif(d.bytes <= ?, snippet(document_fts, 1, ?, ?, '…', 24), NULL)"
        " FROM document_fts AS f CROSS JOIN document AS d ON d.id = f.rowid"
        " WHERE document_fts MATCH ? AND f.rowid BETWEEN ? AND ?"
        f" AND {through}f.rowid IN (SELECT value FROM json_each(?))",
        (LONG_BYTES, *mark, part.match, min(page), max(page), json.dumps(list(page))),
    ):
        shown = excerpt(_windows(db, id_), wanted, mark) if snippet is None else " ".join(snippet.split())
        found[id_] = Hit(doc_id, source, uri, title, shown, page[id_], among)
    return [found[id_] for id_ in page]


def documents(
    store: sqlite3.Connection | Path,
    *,
    source: str | None = None,
    deleted: bool = False,
    limit: int = 100,
    offset: int = 0,
) -> list[DocumentRow]:
    """Documents by source and key: those that live, or the tombstones."""
    where, values = ("source = ? AND ", [source]) if source is not None else ("", [])
    state = "deleted_at IS NOT NULL" if deleted else "deleted_at IS NULL"
    with _reading(store) as db:
        return [
            DocumentRow(*row)
            for row in db.execute(
                f"SELECT {_LISTED} FROM document WHERE {where}{state} ORDER BY source, key LIMIT ? OFFSET ?",
                (*values, limit, offset),
            )
        ]


def document(store: sqlite3.Connection | Path, doc_id: str) -> DocumentDetail | None:
    """The document of this doc_id, or of the only one that begins so; None where there is none."""
    with _reading(store) as db:
        rows = db.execute(
            f"SELECT {_LISTED}, id, text, version, content_hash, metadata FROM document"
            " WHERE doc_id >= ? AND doc_id < ? LIMIT 2",
            (doc_id, doc_id + "\U0010ffff"),
        ).fetchall()
        if len(rows) != 1 or not doc_id:
            return None
        *listed, id_, text, version, content_hash, metadata = rows[0]
        return DocumentDetail(
            row=DocumentRow(*listed),
            text=text,
            version=version,
            content_hash=content_hash,
            metadata=json.loads(metadata),
            elements=[
                {"type": type_, "text": part, "metadata": json.loads(about)}
                for type_, part, about in db.execute(
                    "SELECT type, text, metadata FROM element WHERE document = ? ORDER BY ordinal", (id_,)
                )
            ],
        )


def holdings(store: sqlite3.Connection | Path) -> list[Holding]:
    """What the store holds, source by source."""
    with _reading(store) as db:
        found: dict[str, dict[str, int]] = {}
        for sql in (
            "SELECT source, sum(deleted_at IS NULL) AS documents, sum(bytes) AS bytes,"
            " sum(deleted_at IS NOT NULL) AS deleted FROM document GROUP BY source",
            "SELECT source, count(*) AS records FROM record WHERE deleted_at IS NULL GROUP BY source",
            "SELECT source, count(*) AS units FROM unit WHERE gone_at IS NULL GROUP BY source",
        ):
            rows = db.execute(sql)
            names = [column[0] for column in rows.description[1:]]
            for source, *counts in rows:
                found.setdefault(source, {}).update(zip(names, counts, strict=True))
        nothing = {"documents": 0, "bytes": 0, "deleted": 0, "records": 0, "units": 0}
        return [Holding(source, **{**nothing, **counts}) for source, counts in sorted(found.items())]


def holds(store: Path, source: str) -> bool:
    """Whether the store has anything of this source, also what is gone from it."""
    if not store.exists():
        return False
    sql = " UNION ALL ".join(
        f"SELECT 1 FROM {table} WHERE source = :source" for table in ("document", "record", "unit")
    )
    with _reading(store) as db:
        return db.execute(f"{sql} LIMIT 1", {"source": source}).fetchone() is not None


_LISTED = ", ".join(field.name for field in fields(DocumentRow))


@contextmanager
def _reading(store: sqlite3.Connection | Path) -> Iterator[sqlite3.Connection]:
    """A connection given stays open; a path is opened read-only for this one read."""
    if isinstance(store, sqlite3.Connection):
        yield store
        return
    db = open_reader(store)
    try:
        yield db
    finally:
        db.close()


@contextmanager
def _at_one_moment(db: sqlite3.Connection) -> Iterator[None]:
    """Several reads see one state of the store."""
    if db.in_transaction:
        yield
        return
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("COMMIT")


def _windows(db: sqlite3.Connection, id_: int) -> Iterator[str]:
    """The text's beginning piece by piece, without reading the rest."""
    with db.blobopen("document", "text", id_, readonly=True) as blob:
        for _ in range(WINDOWS):
            piece = blob.read(WINDOW_BYTES)
            if not piece:
                return
            yield piece.decode("utf-8", "ignore")
