"""What was fetched from the API, in the source's cache folder: items, pages with their ETags, and how far a walk is.

A page, its items and the walk's next step are written in one transaction: a job that is killed, or told to be
patient, goes on with the next page, and none is fetched twice. Losing the file costs nothing but asking again.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from connectors.github_api.items import Item

_SCHEMA = """
CREATE TABLE IF NOT EXISTS item (
    repository TEXT NOT NULL,
    path       TEXT NOT NULL,
    stream     TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    version    TEXT NOT NULL,
    walk       INTEGER NOT NULL, -- the last full walk that saw it
    body       BLOB NOT NULL,
    PRIMARY KEY (repository, path)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS page (
    url      TEXT PRIMARY KEY,
    etag     TEXT NOT NULL,
    modified TEXT NOT NULL,
    next     TEXT NOT NULL,
    paths    TEXT NOT NULL       -- JSON: what stood on it
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mark (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""


class Page(NamedTuple):
    url: str
    etag: str
    modified: str
    next: str
    paths: list[str]


class Shelf:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = self._open()

    def close(self) -> None:
        self._db.close()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._opened()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            for suffix in ("", "-wal", "-shm"):  # damaged: it is only a copy
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            return self._opened()

    def _opened(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=60, isolation_level=None)
        try:
            if db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                db.execute("PRAGMA journal_mode = wal")
            db.execute("PRAGMA synchronous = normal")
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'mark'").fetchone():
                db.executescript(_SCHEMA)
        except BaseException:
            db.close()
            raise
        return db

    @contextmanager
    def writing(self) -> Iterator[None]:
        """All of it, or none."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.OperationalError):
                self._db.execute("ROLLBACK")
            raise

    # -- items

    def put(self, repository: str, stream: str, items: Iterable[Item], walk: int) -> int:
        """Keep these, unless a newer state of one is here; how many are new or other than before."""
        changed = 0
        for item in items:
            known = self._db.execute(
                "SELECT updated_at, version FROM item WHERE repository = ? AND path = ?",
                (repository, item.path),
            ).fetchone()
            if known is not None and (known[0] > item.updated_at or known[1] == item.version):
                self.saw(repository, [item.path], walk)
                continue
            changed += 1
            self._db.execute(
                "INSERT OR REPLACE INTO item VALUES (?, ?, ?, ?, ?, ?, ?)",
                (repository, item.path, stream, item.updated_at, item.version, walk, item.body),
            )
        return changed

    def saw(self, repository: str, paths: Iterable[str], walk: int) -> None:
        self._db.executemany(
            "UPDATE item SET walk = max(walk, ?) WHERE repository = ? AND path = ?",
            [(walk, repository, path) for path in paths],
        )

    def sweep(self, repository: str, stream: str, walk: int) -> int:
        """Drop what a full walk did not see; how many that were."""
        return self._db.execute(
            "DELETE FROM item WHERE repository = ? AND stream = ? AND walk < ?", (repository, stream, walk)
        ).rowcount

    def drop(self, repository: str, path: str) -> None:
        self._db.execute("DELETE FROM item WHERE repository = ? AND path = ?", (repository, path))

    def body(self, repository: str, path: str) -> bytes | None:
        row = self._db.execute(
            "SELECT body FROM item WHERE repository = ? AND path = ?", (repository, path)
        ).fetchone()
        return row[0] if row else None

    def versions(self, repository: str) -> Iterator[tuple[str, str]]:
        """Path and version of all that is here."""
        yield from self._db.execute(
            "SELECT path, version FROM item WHERE repository = ? ORDER BY path", (repository,)
        )

    # -- pages

    def page(self, url: str) -> Page | None:
        row = self._db.execute("SELECT * FROM page WHERE url = ?", (url,)).fetchone()
        if row is None:
            return None
        url, etag, modified, following, paths = row
        return Page(url, etag, modified, following, msgspec.json.decode(paths))

    def keep_page(self, page: Page) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO page VALUES (?, ?, ?, ?, ?)",
            (*page[:4], msgspec.json.encode(page.paths).decode()),
        )

    def forget_page(self, url: str) -> None:
        self._db.execute("DELETE FROM page WHERE url = ?", (url,))

    # -- marks

    def mark(self, name: str) -> Any:
        row = self._db.execute("SELECT value FROM mark WHERE name = ?", (name,)).fetchone()
        return msgspec.json.decode(row[0]) if row else None

    def set_mark(self, name: str, value: Any) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO mark VALUES (?, ?)", (name, msgspec.json.encode(value).decode())
        )
