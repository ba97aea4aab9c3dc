"""Ids of jobs and attempts: they only grow, and SQLite is handed many of them at once as a JSON array."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import msgspec


def array(ids: Iterable[int]) -> str:
    """As JSON, for json_each."""
    return msgspec.json.encode(list(ids)).decode()


def next_id(connection: sqlite3.Connection, table: str) -> int:
    """The id that the table's next row will get."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(row[0]) + 1 if row else 1
