"""Ids of jobs and attempts: they only grow, and SQLite is handed many of them at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import msgspec

MOST = 2**63 - 1
"""The largest integer that SQLite has."""


class Ids:
    """Jobs, or their tickets, by their ids, each once; `nth` counts them in the order in which they were given.

    What waits in a lane mostly came in together, so that its ids are a run without gaps, which costs SQLite less
    than a list that it has to look up one by one. Any others are a JSON array.

    >>> Ids([7, 8, 9]).are("job.id"), Ids([9, 8]).are("job.id")
    ('job.id BETWEEN :first AND :last', 'job.id IN (SELECT value FROM json_each(:ids))')
    """

    __slots__ = ("all", "given", "run")

    def __init__(self, ids: Iterable[int]) -> None:
        self.all = list(ids)
        self.run = self.all == list(range(self.all[0], self.all[0] + len(self.all))) if self.all else False
        """They are without gaps, and SQLite knows numbers so large."""
        if self.run and self.all[-1] <= MOST:
            self.given: dict[str, object] = {"first": self.all[0], "last": self.all[-1]}
            """What the statements need that are made with these ids."""
        else:
            self.run, self.all = False, list(dict.fromkeys(self.all))
            self.given = {"ids": msgspec.json.encode(self.all).decode()}

    def __len__(self) -> int:
        return len(self.all)

    def are(self, column: str) -> str:
        """The condition that this column has one of them."""
        if self.run:
            return f"{column} BETWEEN :first AND :last"
        return f"{column} IN (SELECT value FROM json_each(:ids))"

    def rows(self, table: str, join: str = "") -> str:
        """What stands after FROM to have their rows of this table, joined with more."""
        if self.run:
            return f"{table} {join} WHERE {table}.id BETWEEN :first AND :last"
        return f"json_each(:ids) AS j CROSS JOIN {table} ON {table}.id = j.value {join}"

    def each(self, table: str) -> str:
        """What stands after the SET of an UPDATE of this table that counts them by `nth`."""
        if self.run:
            return f"WHERE {table}.id BETWEEN :first AND :last"
        return f"FROM json_each(:ids) AS j WHERE {table}.id = j.value"

    def nth(self, table: str) -> str:
        """In `rows` and `each`: the place of a row among the ids, from 0."""
        return f"{table}.id - :first" if self.run else "j.key"


def next_id(connection: sqlite3.Connection, table: str) -> int:
    """The id that the table's next row will get."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(row[0]) + 1 if row else 1
