"""What a file holds, as a number: of its bytes, and of a database's rows however they lie in the file."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import msgspec

ROWS_AT_ONCE = 2000
CHUNK_BYTES = 1024 * 1024

_encode = msgspec.msgpack.Encoder().encode


def sha256(path: Path) -> str:
    """Of the bytes on the disk: what was just written is read back from there."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(db: sqlite3.Connection) -> dict[str, Any]:
    """{"sha256": of all rows, "rows": {table: how many}}: the same for two databases that hold the same.

    Tables of SQLite itself and of full-text indexes are left out: they follow from the others.
    """
    digest = hashlib.sha256()
    rows: dict[str, int] = {}
    for table, order in _tables(db):
        digest.update(f"\n{table}\n".encode())
        count = 0
        found = db.execute(f'SELECT * FROM "{table}" ORDER BY {order}')
        while chunk := found.fetchmany(ROWS_AT_ONCE):
            digest.update(_encode(chunk))
            count += len(chunk)
        rows[table] = count
    return {"sha256": digest.hexdigest(), "rows": rows}


def _tables(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """Each table with what its rows are ordered by: the way they lie, so that nothing is sorted."""
    ordinary = [
        (name, without_rowid)
        for name, without_rowid in db.execute(
            "SELECT name, wr FROM pragma_table_list WHERE type = 'table' AND schema = 'main'"
            " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
        )
    ]
    tables = []
    for name, without_rowid in ordinary:
        key = [
            c
            for (c,) in db.execute("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", (name,))
        ]
        tables.append((name, ", ".join(f'"{c}"' for c in key) if without_rowid else "rowid"))
    return tables
