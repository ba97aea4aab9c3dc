"""Ids of jobs and attempts: they only grow, and SQLite is handed many of them at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import msgspec


class Ids:
    """Jobs, or their tickets, by their ids and in this order.

    What waits in a lane mostly came in together, so that its ids are a run without gaps, which costs SQLite less
    than a list that it has to look up one by one. Any others are a JSON array.

    >>> Ids([7, 8, 9]).are("job.id"), Ids([9, 8]).are("job.id")
    ('job.id BETWEEN :first AND :last', 'job.id IN (SELECT value FROM json_each(:ids))')
    """

    __slots__ = ("_run", "given", "list")

    def __init__(self, ids: Iterable[int]) -> None:
        self.list = list(ids)
        self._run = bool(self.list) and self.list == list(range(self.list[0], self.list[0] + len(self.list)))
        if self._run:
            self.given: dict[str, object] = {"first": self.list[0], "last": self.list[-1]}
            """What the statements need that are made with these ids."""
        else:
            self.list = list(dict.fromkeys(self.list))
            self.given = {"ids": msgspec.json.encode(self.list).decode()}

    def __len__(self) -> int:
        return len(self.list)

    def are(self, column: str) -> str:
        """The condition that this column has one of them."""
        if self._run:
            return f"{column} BETWEEN :first AND :last"
        return f"{column} IN (SELECT value FROM json_each(:ids))"

    def rows(self, table: str, join: str = "") -> str:
        """What stands after FROM to have their rows of this table, joined with more."""
        if self._run:
            return f"{table} {join} WHERE {table}.id BETWEEN :first AND :last"
        return f"json_each(:ids) AS j CROSS JOIN {table} ON {table}.id = j.value {join}"

    def each(self, table: str) -> str:
        """What stands after the SET of an UPDATE of this table that counts them by `nth`."""
        if self._run:
            return f"WHERE {table}.id BETWEEN :first AND :last"
        return f"FROM json_each(:ids) AS j WHERE {table}.id = j.value"

    def nth(self, table: str) -> str:
        """In `rows` and `each`: the place of a row among the ids, from 0."""
        return f"{table}.id - :first" if self._run else "j.key"


def next_id(connection: sqlite3.Connection, table: str) -> int:
    """The id that the table's next row will get."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(row[0]) + 1 if row else 1
