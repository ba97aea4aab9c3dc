"""What ledger, store and spools must say of each other.

The two databases are read at two moments. What has landed was leased before: so the store is looked at
first to judge documents, and the ledger first to judge successes. Either order holds at any moment.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from farm import sqlite
from farm.doctor.finding import MOST, Finding, judged, lasting
from farm.errors import FarmError
from farm.home import LEDGER, STORE
from farm.store.check import check
from farm.words import plural, size, span

SPOOL_PATIENCE_S = 3.0

_UNEARNED = (
    "SELECT '{what} ' || {name} || ' of job ' || d.job_id || ' (' || coalesce(job.state, 'no such job') || ')'"
    " FROM store.{what} AS d LEFT JOIN job ON job.id = d.job_id LEFT JOIN attempt AS a"
    " ON a.id = d.fence AND a.job_id = d.job_id WHERE d.deleted_at IS NULL AND NOT coalesce("
    # an open attempt is being settled, or will be at the next start; a lost one's job runs again
    "a.outcome = 'succeeded' OR (a.id IS NOT NULL AND a.outcome IS NULL)"
    " OR (a.outcome = 'lost' AND job.state IN ('pending', 'running', 'retrying')), 0)"
)

_UNLANDED = (
    "SELECT 'job ' || job.id || ' (' || job.source || ' ' || job.key || ')' FROM attempt AS a"
    " JOIN job ON job.id = a.job_id WHERE a.outcome = 'succeeded' AND (job.stage = 'discover' OR job.version <> '')"
    " AND NOT EXISTS (SELECT 1 FROM store.landing AS l WHERE l.attempt_id = a.id AND l.job_id = a.job_id)"
)


def examine(home: Path) -> Iterator[Finding]:
    """The store by itself, and against the ledger."""
    store = home / STORE
    if not store.exists():
        yield Finding("store", True, "nothing has landed yet")
        return
    began = time.monotonic()
    wrong = check(store)
    what = f"{_held(store)}, examined in " if not wrong else ""
    detail = what + span(time.monotonic() - began) if what else "; ".join(wrong)
    yield Finding("the store keeps its own rules", not wrong, detail)
    if (home / LEDGER).exists():
        yield _compared(
            home,
            "every document and record is of a job that succeeded",
            [
                _UNEARNED.format(what="document", name="d.doc_id"),
                _UNEARNED.format(what="record", name="d.stream || ':' || d.key"),
            ],
            first="store.landing",
        )
        yield _compared(home, "whatever succeeded has landed", [_UNLANDED], first="attempt")


def spools(home: Path, runs: bool) -> Finding:
    """A spool belongs to a launch under way; one of a farm that is down goes at the next start."""
    known = 0

    def look() -> list[str]:
        nonlocal known
        names = sorted(
            path.name for path in (home / "spool").glob("*")
        )  # first: a lease comes before its spool
        states = _launches(home, names)
        known = sum(state is not None for state in states.values())
        return [
            f"spool/{name}" for name, state in states.items() if state is None or (runs and state == "ended")
        ]

    broken = lasting(look, SPOOL_PATIENCE_S)
    fine = ""
    if known:
        fine = plural(known, "spool") + (
            " being written or settled" if runs else ", for the next start to settle"
        )
    return judged("every spool is of an attempt", broken, fine)


def _launches(home: Path, names: list[str]) -> dict[str, str | None]:
    """Of each spool: "open" while an attempt of its launch is, "ended" after that, None when there is none."""
    if not names or not (home / LEDGER).exists():
        return dict.fromkeys(names)
    states: dict[str, str | None] = {}
    with closing(sqlite.open_reader(home / LEDGER)) as db:
        for name in names:
            stem = name.removesuffix(".jsonl")
            states[name] = None
            if stem.isdecimal() and stem != name:
                row = db.execute(
                    "SELECT EXISTS (SELECT 1 FROM attempt WHERE launch_id = :id AND outcome IS NULL)"
                    " FROM attempt WHERE id = :id AND launch_id = :id",
                    {"id": int(stem)},
                ).fetchone()
                if row is not None:
                    states[name] = "open" if row[0] else "ended"
    return states


def _compared(home: Path, what: str, queries: list[str], *, first: str) -> Finding:
    """Rows of these queries over both databases, of which `first` is looked at first."""
    try:
        with closing(sqlite.open_reader(home / LEDGER)) as db:
            db.execute("ATTACH ? AS store", (f"file:{quote(str((home / STORE).absolute()))}?mode=ro",))
            db.execute("PRAGMA cache_size = -65536")
            db.execute("BEGIN")
            for table in (first, "main.attempt" if first.startswith("store.") else "store.landing"):
                db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()
            broken = [row[0] for sql in queries for row in db.execute(f"{sql} LIMIT {MOST + 1}")]
            return judged(what, broken)
    except (FarmError, sqlite3.DatabaseError) as error:
        return Finding(what, False, str(error))


def _held(path: Path) -> str:
    with closing(sqlite.open_reader(path)) as db:
        n = db.execute("SELECT count(*) FROM document WHERE deleted_at IS NULL").fetchone()[0]
    files = (path, path.with_name(f"{path.name}-wal"))
    return f"{plural(n, 'document')}, {size(sum(file.stat().st_size for file in files if file.exists()))}"
