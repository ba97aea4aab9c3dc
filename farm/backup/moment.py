"""One moment of a farm at work.

Of the two databases the ledger is read first: a store a little ahead repeats work, one behind would lack what
the ledger calls done. Ahead by an attempt that the ledger has not heard of is too much: its number would be
given twice. A listing that has landed has moved its cursor on, and must bring its spool, which alone names
the units that are still to be submitted.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from farm import home as homes
from farm import sqlite
from farm.backup.manifest import KNOWN
from farm.errors import NewerSchema
from farm.home import LEDGER, STORE

TRIES = 50
"""So often a pair of one moment is sought; the gap is far shorter than the shortest job."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The databases as of one moment, each in a read transaction, and the spools of listings under way."""

    databases: dict[str, sqlite3.Connection]
    spools: dict[str, BinaryIO]


@contextmanager
def moment(home: Path) -> Iterator[Moment]:
    """Held until the block ends. Raises NewerSchema, LedgerDamaged or StoreDamaged."""
    with ExitStack() as stack:
        dbs: dict[str, sqlite3.Connection] = {}
        for name in (LEDGER, STORE):
            if (home / name).exists():
                dbs[name] = stack.enter_context(closing(sqlite.open_reader(home / name)))
                found = dbs[name].execute("PRAGMA user_version").fetchone()[0]
                if found > KNOWN[name]:
                    raise NewerSchema(home / name, found, KNOWN[name])
        live = homes.owner(home) is not None
        for last_try in (*[False] * TRIES, True):
            for db in dbs.values():
                db.execute("BEGIN")
                db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
            spools, whole = _open_spools(home, stack, dbs)
            fits = STORE not in dbs or last_landed(dbs[STORE]) <= last_attempt(dbs[LEDGER])
            if last_try or (fits and (whole or not live)):
                yield Moment(dbs, spools)
                return
            for db in dbs.values():
                db.execute("ROLLBACK")


def _open_spools(
    home: Path, stack: ExitStack, dbs: Mapping[str, sqlite3.Connection]
) -> tuple[dict[str, BinaryIO], bool]:
    """The spools of listings that have landed and are not settled, and whether none was removed just now."""
    spools: dict[str, BinaryIO] = {}
    if STORE not in dbs:
        return spools, True
    running = dict(dbs[LEDGER].execute("SELECT id, launch_id FROM attempt WHERE outcome IS NULL").fetchall())
    landed = dbs[STORE].execute(
        "SELECT attempt_id FROM landing WHERE stage = 'discover'"
        " AND attempt_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(running)),),
    )
    names = {f"spool/{running[attempt_id]}.jsonl" for (attempt_id,) in landed.fetchall()}
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            spools[name] = stack.enter_context((home / name).open("rb"))
    return spools, len(spools) == len(names)


def last_landed(store: sqlite3.Connection) -> int:
    return int(store.execute("SELECT coalesce(max(attempt_id), 0) FROM landing").fetchone()[0])


def last_attempt(ledger: sqlite3.Connection) -> int:
    row = ledger.execute("SELECT seq FROM sqlite_sequence WHERE name = 'attempt'").fetchone()
    return int(row[0]) if row else 0
