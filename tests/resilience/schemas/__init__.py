"""A ledger and a store as each pair of schema versions left them: tiny, and committed when a version came.

    python -m tests.resilience.schemas         writes the dumps of the current versions, unless they are there

They are what a farm of those versions left when it was killed at work. They are never changed afterwards: who
changes a schema gives it a new version, a migration, and dumps of its own.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from farm.home import LEDGER, STORE
from farm.ledger import ledger as ledgers
from farm.store import store as stores
from tests.support.farms import Farm, misbehaving
from tests.support.wait import until

HERE = Path(__file__).parent
CURRENT = {LEDGER: ledgers.SCHEMA_VERSION, STORE: stores.SCHEMA_VERSION}
SOURCES = {
    "sleeps": misbehaving("Sleeps", "alder", "birch", "cedar"),
    "broken": misbehaving("Raises", "bad", options={"way": "permanent"}),
    "later": misbehaving("Raises", "bad", retry={"base": "1h", "max": "2h"}),
    "hangs": misbehaving("Hang", "bad", profile={"timeout": "1h", "stall": "1h"}),
}
"""What worked there: jobs that succeeded, one in quarantine, one that waits for its time, one under way."""


def folder_of(versions: Mapping[str, int]) -> Path:
    return HERE / "-".join(f"{Path(name).stem}{version}" for name, version in versions.items())


def every() -> list[dict[str, int]]:
    """The pairs of versions that there are dumps of."""
    found = [re.fullmatch(r"ledger(\d+)-store(\d+)", folder.name) for folder in sorted(HERE.iterdir())]
    return [{LEDGER: int(pair[1]), STORE: int(pair[2])} for pair in found if pair]


def load(home: Path, versions: Mapping[str, int]) -> None:
    """A state folder with the databases of these versions."""
    for name in versions:
        with closing(sqlite3.connect(home / name)) as db:
            db.executescript(
                (folder_of(versions) / Path(name).with_suffix(".sql")).read_text(encoding="utf-8")
            )


def _statements(db: sqlite3.Connection) -> Iterator[str]:
    """The database as SQL; a virtual table is made by its own statement, which makes its shadow tables too."""
    virtual = dict(
        db.execute("SELECT name, sql FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL%'").fetchall()
    )
    shadows = tuple(f"{name}_" for name in virtual)
    skipped = ("BEGIN", "COMMIT", "PRAGMA writable_schema", "INSERT INTO sqlite_master")
    skipped += tuple(f'INSERT INTO "{name}"' for name in virtual)  # its shadow tables have what it holds
    yield "BEGIN;"
    yield from (f"{sql};" for sql in virtual.values())
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall():
        if name.startswith(shadows):
            yield f'DELETE FROM "{name}";'
    for row in db.iterdump():
        if row.startswith(skipped):
            continue
        if not (row.startswith("CREATE TABLE '") and row.split("'")[1].startswith(shadows)):
            yield row
    yield "COMMIT;"


def write() -> None:
    into = folder_of(CURRENT)
    into.mkdir()
    with tempfile.TemporaryDirectory() as folder, Farm(Path(folder) / "home", SOURCES, workers=4) as farm:
        farm.start()
        for source in SOURCES:
            farm.call("run", source=source)
        farm.until_jobs(succeeded=7, quarantined=1, retrying=1, running=1)
        farm.kill()
        until(lambda: not farm.processes(), 10)
        for name, version in CURRENT.items():
            with closing(sqlite3.connect(farm.home / name)) as db:
                if name == LEDGER:  # evidence names files of the machine that it was made on
                    db.execute("UPDATE attempt SET evidence = NULL")
                    db.commit()
                text = "\n".join([*_statements(db), f"PRAGMA user_version = {version};"]) + "\n"
            (into / Path(name).with_suffix(".sql")).write_text(text, encoding="utf-8")
